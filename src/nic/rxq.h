// SPDX-License-Identifier: BSD-3-Clause
// Receive queues: advanced descriptors with one or several buffers a packet (82599 §7.1).
// Private to src/nic.
#ifndef VIREO_NIC_RXQ_H
#define VIREO_NIC_RXQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mem/address.h"
#include "nic/frame.h"

struct nic_port;

struct nic_rxq {
    _Atomic uint32_t tail;
    bool enabled;
    iova_t base;
    uint32_t desc_count;
    _Atomic uint32_t head;
    uint32_t buffer_bytes;  // SRRCTL.BSIZEPACKET, 1 KiB units → bytes
    uint32_t header_bytes;  // SRRCTL.BSIZEHEADER
    uint32_t desc_type;     // SRRCTL.DESCTYPE
    bool drop_enable;       // SRRCTL.Drop_En or PFQDE
    bool strip_vlan;        // RXDCTL.VME
    uint32_t frame_len_max; // RXDCTL.RLPML where enabled, else the port's
};

bool nic_rxq_enable(struct nic_port *port, unsigned queue); // like nic_txq_enable
void nic_rxq_disable(struct nic_port *port, unsigned queue);
void nic_rxq_set_tail(struct nic_port *port, unsigned queue, uint32_t tail);

enum nic_rx_result {
    NIC_RX_DONE,
    NIC_RX_DROPPED, // counted
    NIC_RX_WAIT,    // ring full, and the queue says not to drop
};
// Worker: copies `frame` into pool `pool`: picks the queue by RSS, writes back descriptors, raises
// the queue's cause.
enum nic_rx_result nic_rxq_deliver(struct nic_port *port, unsigned pool,
                                   const struct nic_frame *frame, uint64_t now_ns);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// One packet as its transmit descriptors describe it, and the frames that come of it: one, or the
// segments of TSO. Worker, inside the gate. Private to src/nic.
#ifndef VIREO_NIC_PACKET_H
#define VIREO_NIC_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "hw82599/desc.h"
#include "mem/dma.h"
#include "nic/frame.h"
#include "nic/offload.h"
#include "nic/switch.h"
#include "nic/txq.h"

struct nic_packet {
    struct {
        uint64_t addr;
        uint32_t len_bytes;
    } buffer[NIC_TX_DESC_MAX];
    unsigned buffer_count;
    uint32_t total_len;     // all buffers
    uint32_t head_len;      // how much is snapshotted
    uint32_t payload_len;   // with offload.segment
    uint32_t segment_count; // frames: 1 without offload.segment
    struct nic_offload offload;
    bool insert_vlan; // `vlan_tci` goes before whatever the packet has
    uint16_t vlan_tci;
    uint16_t vlan_ethertype;
    bool malformed; // a later step found what it asks for impossible
    // With offload.segment: the headers, copied once, that every segment starts from.
    uint8_t head[NIC_FRAME_HEAD_MAX];
    bool has_vlan;
};

// The short way for most packets: one buffer that one cached translation covers, nothing asked of
// the card. Builds the frame, as nic_packet_frame() would. False, with nothing done, for any other:
// go the long way.
bool nic_packet_plain(const struct hw_tx_data_desc *desc, struct dma_port *dma,
                      const struct nic_derived *tables, unsigned pool, struct nic_frame *frame);

// What a packet's first data descriptor (commands and options) asks for by the context that it
// names, checksums and segments; *out was zeros. False where that makes no sense.
bool nic_packet_offload(struct nic_offload *out, uint32_t cmd, uint32_t olinfo,
                        const struct nic_txq *q, const struct nic_derived *tables);

// Reads `count` descriptors (1 … NIC_TX_DESC_MAX, the last with EOP), already copied from the ring;
// `q` has the contexts, `pool` the rules for tags. False where they make no sense.
bool nic_packet_parse(struct nic_packet *packet, const struct hw_tx_data_desc *desc, uint32_t count,
                      const struct nic_txq *q, const struct nic_derived *tables, unsigned pool);

// With offload.segment, before the first nic_packet_frame(): copies the headers. False where the
// IOMMU refuses, or they are not what the descriptors say (packet->malformed).
bool nic_packet_headers(struct nic_packet *packet, struct dma_port *dma);

// Builds frame `segment` (0 … segment_count - 1): headers in the frame, payload where it lies in
// the sender's memory, checksums made, nic_frame_parse() done. frame->source_pool is the caller's.
// False as above.
bool nic_packet_frame(struct nic_packet *packet, struct dma_port *dma, uint32_t segment,
                      struct nic_frame *frame);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// Transmit queues: descriptor fetch, data and context descriptors, offloads, write-back (82599
// §7.2). Private to src/nic.
#ifndef VIREO_NIC_TXQ_H
#define VIREO_NIC_TXQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mem/address.h"

struct nic_port;

#define NIC_TXQ_BATCH     32u // packets one queue may send in a round
#define NIC_TX_DESC_MAX   40u // descriptors a packet (82599 §7.2.1.1)

struct nic_txq {
    _Atomic uint32_t tail;  // last tail written: control thread or doorbell sample; masked on use
    bool enabled;
    iova_t base;
    uint32_t desc_count;    // ring length, multiple of 8
    _Atomic uint32_t head;  // next descriptor to fetch: written by the worker
    iova_t head_writeback;  // TDWBA, 0 where off
    // Contexts 0 and 1 as last loaded (82599 §7.2.3.2.3).
    struct {
        uint32_t words[4];
    } context[2];
    bool faulted;           // descriptor fetch was refused: stopped until the queue is enabled anew
};

// Control thread, gate closed. Reads the queue's registers; TXDCTL.ENABLE set: takes base, length
// and head, and starts; cleared: stops. A length that is no multiple of 128, zero, or a head past
// the end: the queue stays off, and false comes back.
bool nic_txq_enable(struct nic_port *port, unsigned queue);
void nic_txq_disable(struct nic_port *port, unsigned queue);
// A trapped doorbell. Control thread; gate open or closed.
void nic_txq_set_tail(struct nic_port *port, unsigned queue, uint32_t tail);

// Worker: sends at most NIC_TXQ_BATCH packets; returns packets taken from the ring.
unsigned nic_txq_poll(struct nic_port *port, unsigned queue, uint64_t now_ns);
// True where the queue is enabled and tail differs from head.
bool nic_txq_has_work(const struct nic_port *port, unsigned queue);

#endif

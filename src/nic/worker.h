// SPDX-License-Identifier: BSD-3-Clause
// What the worker keeps with each port: which queues have work, which wait, whose causes are due.
// Private to src/nic. The public face of the worker is nic.h.
#ifndef VIREO_NIC_WORKER_H
#define VIREO_NIC_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct nic_port;
struct nic_worker;

#define NIC_QUEUE_WORDS 2u // bitmaps of NIC_QUEUES_MAX queues

struct nic_port_work {
    _Atomic(struct nic_worker *) worker; // who runs this port, NULL where nobody does
    // Transmit queues that may have something to send. Set by whoever writes a tail, taken by the
    // worker. A queue with its bit clear is not looked at.
    _Atomic uint64_t tx_active[NIC_QUEUE_WORDS];
    // Transmit queues held back by a full receive ring: the worker's own. `waiting` tells those who
    // fill rings that somebody waits; `refilled` tells the worker that one was filled.
    uint64_t tx_waiting[NIC_QUEUE_WORDS];
    uint64_t tx_wait_retry_ns; // next try without having been told
    _Atomic bool waiting, refilled;
    // Receive queues that nic_rxq_flush() has to look at: the worker's.
    uint64_t rx_pending[NIC_QUEUE_WORDS];
    // Transmit queues held back by their rate limit, and when the first of them may go on.
    uint64_t tx_paced[NIC_QUEUE_WORDS];
    uint64_t tx_paced_ns; // 0: none
    // Queues with descriptors written back in this round, whose cause is to be raised: the
    // worker's.
    uint64_t rx_note[NIC_QUEUE_WORDS], tx_note[NIC_QUEUE_WORDS];
    unsigned cable_pause; // rounds in which the uplink is not asked, since it had nothing
};

// A transmit queue may have work now: wakes the worker. Any thread.
void nic_worker_activate(struct nic_port *port, unsigned queue);
// A receive ring got room, or stopped, or now drops. Any thread.
void nic_worker_refilled(struct nic_port *port);

// The rest: worker, inside the gate. Raises the causes that were noted; worker, after each queue.
void nic_worker_notify(struct nic_port *port, uint64_t now_ns);

#define NIC_WORKER_NOTE(kind)                                                                      \
    static inline void nic_work_note_##kind(struct nic_port_work *work, unsigned queue)            \
    {                                                                                              \
        work->kind##_note[queue / 64] |= 1ull << (queue % 64);                                     \
    }
NIC_WORKER_NOTE(rx)
NIC_WORKER_NOTE(tx)
#undef NIC_WORKER_NOTE

#endif

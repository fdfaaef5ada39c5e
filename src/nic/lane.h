// SPDX-License-Identifier: BSD-3-Clause
// A worker's share of a port. With one worker there is one lane, and nothing is locked. With
// several, functions (VFs and the PF) are dealt out to the workers: the lane of a queue is its
// function's, and only that worker sends from it, samples its doorbells, and is woken for it. Any
// worker delivers to any receive queue, and locks the receiving function meanwhile. Private to
// src/nic.
//
// What several workers touch, and what makes it good:
//   transmit queues, their DMA ports      one owner
//   receive queues, the receive DMA port  nic_rx_enter() … nic_rx_leave()
//   counters of pools and queues          receive: the same lock; transmit: one owner
//   port totals                           each lane has its own (stats.h)
//   interrupts                            atomics, by any thread (intr.h)
//   derived tables                        written before any worker reads them (worker.c)
//   uplink                                any lane sends, one receives (uplink.h)
#ifndef VIREO_NIC_LANE_H
#define VIREO_NIC_LANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct nic_port;
struct nic_worker;

#define NIC_QUEUE_WORDS 2u  // bitmaps of NIC_QUEUES_MAX queues
#define NIC_LINE_APART  64u // bytes that keep two workers' words off each other's cache lines

// For the few instructions, or the few frames, that two workers cannot do at once.
struct nic_lock {
    _Atomic bool taken;
    uint8_t apart[NIC_LINE_APART - 1];
};

struct nic_lane {
    _Atomic(struct nic_worker *) worker; // who runs it, NULL where nobody does
    unsigned index;
    // Transmit queues that may have something to send. Set by whoever writes a tail, taken by the
    // worker. A queue with its bit clear is not looked at.
    _Atomic uint64_t tx_active[NIC_QUEUE_WORDS];
    // The same where the worker itself has found out: its own, and the control thread's while the
    // gate is closed, who then kicks the worker.
    uint64_t tx_ready[NIC_QUEUE_WORDS];
    // Transmit queues held back by a full receive ring: the worker's own. `waiting` tells those who
    // fill rings that somebody waits; `refilled` tells the worker that one was filled. A queue
    // first announces that it will wait, then tries once more, then waits: room that came before
    // the announcement is found by that try, room that came after it is told.
    uint64_t tx_announced[NIC_QUEUE_WORDS], tx_waiting[NIC_QUEUE_WORDS];
    uint64_t tx_retried[NIC_QUEUE_WORDS]; // those that try again without having been told
    uint64_t tx_wait_retry_ns;            // when they do
    _Atomic bool waiting, refilled;
    _Atomic uint64_t wait_count; // times that a queue began to wait
    _Atomic uint64_t
        untold_count; // that one found room which nobody had told it of: there are none
    _Atomic uint64_t lock_wait_count; // that another worker had the receiver
    // Receive queues that nic_rxq_flush() has to look at: the worker's.
    uint64_t rx_pending[NIC_QUEUE_WORDS];
    // Transmit queues held back by their rate limit, and when the first of them may go on.
    uint64_t tx_paced[NIC_QUEUE_WORDS];
    uint64_t tx_paced_ns; // 0: none
    // Queues with descriptors written back in this round, whose cause is to be raised: the
    // worker's.
    uint64_t rx_note[NIC_QUEUE_WORDS], tx_note[NIC_QUEUE_WORDS];
    unsigned cable_pause; // rounds in which the uplink is not asked, since it had nothing
    // The receiving function that this worker has locked, and for how many deliveries so far.
    struct nic_lock *held;
    unsigned held_frames;
    uint8_t apart[NIC_LINE_APART];
};

// `count` workers (1 … NIC_WORKERS_MAX) share the port from now on. Gate closed, none runs.
void nic_lanes_set(struct nic_port *port, unsigned count);
// Functions came or went, or their queues: deals them out anew. What was active, waiting or paced
// is looked at again. Gate closed.
void nic_lanes_deal(struct nic_port *port);

// Waits without sleeping: what it guards is short. Yields the core to a holder that has none.
// Returns whether it had to wait.
bool nic_lock_take(struct nic_lock *lock);
void nic_lock_give(struct nic_lock *lock);

// nic_rx_enter() and nic_rx_leave() (port.h) where there are several workers.
void nic_rx_take(struct nic_port *port, struct nic_lane *lane, unsigned queue);
void nic_rx_give(struct nic_lane *lane);

static inline void nic_lane_ready(struct nic_lane *lane, unsigned queue)
{
    lane->tx_ready[queue / 64] |= 1ull << (queue % 64);
}

// The lane's own worker has seen that a receive ring got room: nobody is to be woken.
static inline void nic_lane_refilled(struct nic_lane *lane)
{
    if (atomic_load_explicit(&lane->waiting, memory_order_relaxed))
        atomic_store_explicit(&lane->refilled, true, memory_order_relaxed);
}

#define NIC_LANE_NOTE(kind)                                                                        \
    static inline void nic_lane_note_##kind(struct nic_lane *lane, unsigned queue)                 \
    {                                                                                              \
        lane->kind##_note[queue / 64] |= 1ull << (queue % 64);                                     \
    }
NIC_LANE_NOTE(rx)
NIC_LANE_NOTE(tx)
#undef NIC_LANE_NOTE

#endif

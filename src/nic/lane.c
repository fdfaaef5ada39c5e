// SPDX-License-Identifier: BSD-3-Clause
#include "nic/lane.h"

#include <assert.h>
#include <sched.h>
#include <string.h>

#include "base/bits.h"
#include "nic/port.h"

#define SPINS_A_YIELD 200u // looks at a lock before the core is offered to others
#define HELD_MAX      32u  // deliveries in a row to one function before others get their turn

bool nic_lock_take(struct nic_lock *lock)
{
    bool waited = false;
    unsigned spins = 0;

    // Acquire: pairs with the release in nic_lock_give().
    while (atomic_exchange_explicit(&lock->taken, true, memory_order_acquire)) {
        waited = true;
        while (atomic_load_explicit(&lock->taken, memory_order_relaxed)) {
            // Who holds it may have lost its core to a guest.
            if (++spins % SPINS_A_YIELD == 0)
                sched_yield();
            else
                __builtin_ia32_pause();
        }
    }
    return waited;
}

void nic_lock_give(struct nic_lock *lock)
{
    atomic_store_explicit(&lock->taken, false, memory_order_release);
}

// One lock is held at a time, so there is no order to keep.
void nic_rx_take(struct nic_port *port, struct nic_lane *lane, unsigned queue)
{
    struct nic_lock *lock = &port->rx_lock[nic_vf_of_queue(port, queue) + 1];

    if (lane->held == lock && ++lane->held_frames < HELD_MAX)
        return;
    nic_rx_give(lane);
    if (nic_lock_take(lock))
        nic_count(&lane->lock_wait_count, 1);
    lane->held = lock;
    lane->held_frames = 0;
}

void nic_rx_give(struct nic_lane *lane)
{
    if (!lane->held)
        return;
    nic_lock_give(lane->held);
    lane->held = NULL;
}

void nic_lanes_deal(struct nic_port *port)
{
    unsigned count = port->lane_count ? port->lane_count : 1;
    uint64_t active[NIC_QUEUE_WORDS] = {0};

    assert(gate_is_closed(port->gate));
    for (unsigned i = 0; i < NIC_WORKERS_MAX; i++) {
        struct nic_lane *lane = &port->lane[i];

        for (unsigned w = 0; w < NIC_QUEUE_WORDS; w++) {
            active[w] |= atomic_exchange(&lane->tx_active[w], 0);
            active[w] |= lane->tx_ready[w] | lane->tx_waiting[w] | lane->tx_paced[w];
            lane->tx_ready[w] = lane->tx_waiting[w] = lane->tx_paced[w] = 0;
            lane->tx_announced[w] = lane->tx_retried[w] = 0;
        }
        lane->tx_paced_ns = 0;
        atomic_store(&lane->waiting, false);
    }
    port->lane_of_cable = (uint8_t)(port->index % count);
    for (unsigned queue = 0; queue < NIC_QUEUES_MAX; queue++) {
        int vf = nic_vf_of_queue(port, queue);
        uint64_t bit = BIT64(queue % 64);

        // All of the PF's to one: they share its DMA port.
        port->lane_of_queue[queue] = (uint8_t)((vf < 0 ? port->index : (unsigned)vf) % count);
        if (active[queue / 64] & bit)
            atomic_fetch_or(&nic_lane_of_queue(port, queue)->tx_active[queue / 64], bit);
    }
    if (port->shared)
        nic_worker_kick(port->card);
}

void nic_lanes_set(struct nic_port *port, unsigned count)
{
    assert(gate_is_closed(port->gate) && count >= 1 && count <= NIC_WORKERS_MAX);
    for (unsigned i = 0; i < NIC_WORKERS_MAX; i++)
        port->lane[i].index = i;
    port->lane_count = count;
    port->shared = count > 1;
    nic_lanes_deal(port);
}

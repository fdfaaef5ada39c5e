// SPDX-License-Identifier: BSD-3-Clause
#include "nic/watch.h"

#include "base/bits.h"
#include "nic/doorbell.h"
#include "nic/port.h"

#define ASK_AHEAD 4u // VFs

static_assert(NIC_VFS_MAX == 64, "bitmaps of VFs");

// Our VFs with mapped doorbells. One that nobody drives is not looked at: without bus mastering it
// could move nothing. All of this changes with the gate closed only.
static void refresh(struct nic_watch *watch, const struct nic_port *port,
                    const struct nic_lane *lane)
{
    watch->mine = 0;
    for (unsigned vf = 0; vf < port->vf_count; vf++) {
        if (port->doorbells[vf] && port->vf_dma[vf]->bus_master &&
            (!port->shared || vf % port->lane_count == lane->index))
            watch->mine |= BIT64(vf);
    }
    watch->hot &= watch->mine;
    watch->rang &= watch->mine;
}

bool nic_watch_any(struct nic_watch *watch, const struct nic_port *port,
                   const struct nic_lane *lane)
{
    unsigned closings = atomic_load_explicit(&port->gate->closings, memory_order_relaxed);

    if (unlikely(watch->closings != closings)) {
        watch->closings = closings;
        refresh(watch, port, lane);
    }
    return watch->mine;
}

static bool rang(struct nic_watch *watch, unsigned vf, bool changed)
{
    if (!changed)
        return false;
    watch->rang |= BIT64(vf);
    watch->hot |= BIT64(vf);
    watch->since_turn |= BIT64(vf);
    return true;
}

bool nic_watch_senders(struct nic_watch *watch, struct nic_port *port)
{
    bool any = false;

    for (uint64_t left = watch->hot; left; left &= left - 1) {
        unsigned vf = (unsigned)__builtin_ctzll(left);

        any |= rang(watch, vf, nic_doorbell_look_tx(port, vf));
    }
    return any;
}

bool nic_watch_receivers(struct nic_watch *watch, struct nic_port *port)
{
    bool any = false;

    for (uint64_t left = watch->hot; left; left &= left - 1) {
        unsigned vf = (unsigned)__builtin_ctzll(left);

        any |= rang(watch, vf, nic_doorbell_look_rx(port, vf));
    }
    return any;
}

// Asks for what the VFs ahead will need, while there are many.
static void ask_ahead(const struct nic_watch *watch, const struct nic_port *port, unsigned vf)
{
    unsigned far = (vf + 2 * ASK_AHEAD) % NIC_VFS_MAX, near = (vf + ASK_AHEAD) % NIC_VFS_MAX;

    if (watch->mine >> far & 1)
        nic_doorbell_ask_state(port, far);
    if (watch->mine >> near & 1)
        nic_doorbell_ask_pages(port, near);
}

bool nic_watch_others(struct nic_watch *watch, struct nic_port *port, unsigned others)
{
    uint64_t left = watch->mine;
    bool any = false;

    // Those that rang lately have their turn too: for the rings that are off.
    for (; others && left; others--) {
        uint64_t from_next = left & ~(BIT64(watch->next) - 1);
        unsigned vf = (unsigned)__builtin_ctzll(from_next ? from_next : left);

        if (others > ASK_AHEAD)
            ask_ahead(watch, port, vf);
        any |= rang(watch, vf, nic_doorbell_look_all(port, vf));
        // Not while it rings: each store takes a line away from the guest.
        if (!(watch->since_turn & BIT64(vf)))
            nic_doorbell_report(port, vf);
        watch->since_turn &= ~BIT64(vf);
        left &= ~BIT64(vf);
        watch->next = (vf + 1) % NIC_VFS_MAX;
    }
    return any;
}

void nic_watch_moved(struct nic_watch *watch)
{
    if (++watch->rounds < NIC_WATCH_HOT_ROUNDS)
        return;
    watch->rounds = 0;
    watch->hot = watch->rang;
    watch->rang = 0;
}

void nic_watch_publish(struct nic_watch *watch, struct nic_port *port, uint64_t now_ns)
{
    watch->published_ns = now_ns;
    for (uint64_t left = watch->hot; left; left &= left - 1)
        nic_doorbell_report(port, (unsigned)__builtin_ctzll(left));
}

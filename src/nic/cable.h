// SPDX-License-Identifier: BSD-3-Clause
// The cable's statistics, added up over a batch, and the short way in: frames from the uplink that
// go to one pool each, many in a row. Private to src/nic.
#ifndef VIREO_NIC_CABLE_H
#define VIREO_NIC_CABLE_H

#include <stdint.h>

#include "nic/stats.h"
#include "uplink/uplink.h"

struct nic_port;

#define NIC_CABLE_BINS 6u // of sizes with FCS: 64, 65-127, 128-255, 256-511, 512-1023, more

// Frames in one direction, no multicasts among them.
struct nic_cable_sums {
    uint32_t frames, broadcast, bin[NIC_CABLE_BINS];
    uint64_t bytes;
};

// Which bin a frame of `len_bytes` without FCS is counted in.
static inline unsigned nic_cable_bin(uint32_t len_bytes)
{
    uint32_t len = len_bytes + 4;
    unsigned bin = len < 65 ? 0 : 26u - (unsigned)__builtin_clz(len);

    return bin < NIC_CABLE_BINS ? bin : NIC_CABLE_BINS - 1;
}

static inline void nic_cable_note(struct nic_cable_sums *sums, uint32_t len_bytes)
{
    sums->frames++;
    sums->bytes += len_bytes;
    sums->bin[nic_cable_bin(len_bytes)]++;
}

static inline void nic_cable_add_tx(struct nic_totals *c, const struct nic_cable_sums *sums)
{
    nic_count(&c->tx_uplink_frames, sums->frames);
    nic_count(&c->tx_uplink_bytes, sums->bytes);
    nic_count(&c->tx_uplink_broadcast, sums->broadcast);
    for (unsigned i = 0; i < NIC_CABLE_BINS; i++)
        nic_count(&c->tx_uplink_size_bins[i], sums->bin[i]);
}

static inline void nic_cable_add_rx(struct nic_totals *c, const struct nic_cable_sums *sums)
{
    nic_count(&c->rx_uplink_frames, sums->frames);
    nic_count(&c->rx_uplink_bytes, sums->bytes);
    nic_count(&c->rx_uplink_broadcast, sums->broadcast);
    for (unsigned i = 0; i < NIC_CABLE_BINS; i++)
        nic_count(&c->rx_uplink_size_bins[i], sums->bin[i]);
}

// Delivers the first of `count` frames, up to one that cannot go this way, with the same outcome as
// nic_forward_from_cable() has for each. Returns how many. The worker of nic_lane_of_cable().
unsigned nic_cable_receive(struct nic_port *port, const struct uplink_frame *in, unsigned count);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// From a frame to its receivers: asks the switch, delivers to pools, sends on the cable; and the
// cable's other direction. Worker, inside the gate. Private to src/nic.
#ifndef VIREO_NIC_FORWARD_H
#define VIREO_NIC_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "nic/frame.h"
#include "uplink/uplink.h"

struct nic_port;
struct nic_txq;

#define NIC_CABLE_BATCH UPLINK_BATCH // frames taken from the uplink in a round

// What an earlier attempt to forward the same frame has done already.
struct nic_forwarded {
    uint64_t pools;
    bool uplink;
};

// What one queue sent in this round: added to the counters once, at its end.
struct nic_tx_sums {
    uint32_t frames, pool_frames, loopback_frames;
    uint64_t bytes, pool_bytes, loopback_bytes;
};

// Forwards a parsed frame from a pool, sent by queue `q` of it. False where a receiver without drop
// enable has no room: *done then says who has the frame already; call again later with that. Adds
// it to *sums when it is through.
bool nic_forward_from_pool(struct nic_port *port, struct nic_txq *q, struct nic_frame *frame,
                           struct nic_forwarded *done, struct nic_tx_sums *sums);

// The worker of nic_lane_of_cable(): takes at most NIC_CABLE_BATCH frames from the uplink and
// delivers them. Returns how many.
unsigned nic_forward_from_cable(struct nic_port *port);

#endif

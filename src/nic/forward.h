// SPDX-License-Identifier: BSD-3-Clause
// From a frame to its receivers: asks the switch, delivers to pools, sends on the cable; and the
// cable's other direction. Worker, inside the gate. Private to src/nic.
#ifndef VIREO_NIC_FORWARD_H
#define VIREO_NIC_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "nic/frame.h"

struct nic_port;

#define NIC_CABLE_BATCH 32u // frames taken from the uplink in a round

// What an earlier attempt to forward the same frame has done already.
struct nic_forwarded {
    uint64_t pools;
    bool uplink;
};

// Forwards a parsed frame from a pool. False where a receiver without drop enable has no room:
// *done then says who has the frame already; call again later with that. Counts it as sent when it
// is through.
bool nic_forward_from_pool(struct nic_port *port, struct nic_frame *frame,
                           struct nic_forwarded *done);

// Takes at most NIC_CABLE_BATCH frames from the uplink and delivers them. Returns how many.
unsigned nic_forward_from_cable(struct nic_port *port);

#endif

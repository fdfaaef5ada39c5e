// SPDX-License-Identifier: BSD-3-Clause
// What a kernel's stack sends, many packets in a row: context descriptors; packets in one buffer or
// several, whose checksums the card makes, or which it cuts into segments; to one pool or to the
// cable. Private to src/nic.
//
// A packet goes this way where each frame of it follows a known path (path.h) and needs no tag.
// What is checked is a private copy of the headers, what is summed is what is delivered, and the
// outcome is that of the general way (packet.c, forward.c, rxq.c): same bytes, descriptors and
// counters. Whatever else there is ends the run *before* anything was done for that frame.
#ifndef VIREO_NIC_STACK_H
#define VIREO_NIC_STACK_H

#include <stdint.h>

#include "hw82599/desc.h"
#include "nic/forward.h"

struct nic_port;

// Takes the first of the `count` descriptors at desc[0] that queue `queue` has copied from its
// ring, up to a packet that cannot go this way, or the end of the round's share of frames. Returns
// how many. Of the packet behind them frames may have been sent: q->resume.segment. Adds what was
// sent to *sums. The worker, inside the gate; nic_rxq_flush() follows.
uint32_t nic_stack_send(struct nic_port *port, unsigned queue, const struct hw_tx_data_desc *desc,
                        uint32_t count, struct nic_tx_sums *sums);

#endif

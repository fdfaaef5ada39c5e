// SPDX-License-Identifier: BSD-3-Clause
// The express lane: what most frames are, from one VF's buffer straight into another's, many in a
// row. Everything that is the same for the frames of a run is looked up once. Private to src/nic.
//
// A frame goes this way where it is one data descriptor that asks nothing of the card; untagged; no
// IP, or TCP, UDP or SCTP in IP without options; to exactly one pool; into one buffer. Each is
// checked for each frame, on a private copy of its head, with the same outcome as the general way
// (packet.c, forward.c, rxq.c): same descriptors, bytes, counters. Whatever else there is ends the
// run *before* anything was done for that frame, and the general way takes it from there.
#ifndef VIREO_NIC_EXPRESS_H
#define VIREO_NIC_EXPRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "hw82599/desc.h"
#include "nic/forward.h"

struct nic_port;

// Sends the first of the `count` packets at desc[0] that queue `queue` has copied from its ring, up
// to one that cannot go this way. Adds them to *sums; returns how many. The worker, inside the
// gate; nic_rxq_flush() follows.
uint32_t nic_express_send(struct nic_port *port, unsigned queue, const struct hw_tx_data_desc *desc,
                          uint32_t count, struct nic_tx_sums *sums);

// Whether to use vector instructions where the processor has them, as is the case unless told
// otherwise: for the test that compares. Returns whether they are used.
bool nic_express_use_kernels(bool use);

#endif

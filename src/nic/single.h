// SPDX-License-Identifier: BSD-3-Clause
// A frame that is alone in its ring: what is waited for, one round trip after the other. The
// express lane (express.h) sets up for many, and each stage waits for what the one before has asked
// for. Here nothing is set up, and the frame's receiver is guessed by the last one's path before
// there is a look at the frame: so the lines of both guests are waited for at once. Private to
// src/nic.
#ifndef VIREO_NIC_SINGLE_H
#define VIREO_NIC_SINGLE_H

#include <stdbool.h>
#include <stdint.h>

struct nic_port;
struct nic_tx_sums;

// Sends the one frame whose descriptor is at `head`, of queue `queue`, which may send: as the
// express lane would, the transmit descriptor's report with it. Adds it to *sums. False, with
// nothing done, where it cannot go this way. The worker, inside the gate; nic_rxq_flush() follows.
bool nic_single_send(struct nic_port *port, unsigned queue, uint32_t head,
                     struct nic_tx_sums *sums);

#endif

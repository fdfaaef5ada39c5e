// SPDX-License-Identifier: BSD-3-Clause
// How the rest of the card gives work to the workers. What a worker keeps with each port is lane.h;
// the public face of workers is nic.h. Private to src/nic.
#ifndef VIREO_NIC_WORKER_H
#define VIREO_NIC_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct nic_port;
struct nic_lane;

// A transmit queue may have work now: wakes the worker. Any thread.
void nic_worker_activate(struct nic_port *port, unsigned queue);
// A receive ring got room, or stopped, or now drops; what says so was stored before, with
// sequential consistency. Any thread.
void nic_worker_refilled(struct nic_port *port);
// Wakes all workers of the port. Any thread.
void nic_worker_kick_port(struct nic_port *port);

// The rest: worker, inside the gate. Raises the causes that were noted; worker, after each queue.
void nic_worker_notify(struct nic_port *port, struct nic_lane *lane, uint64_t now_ns);

#endif

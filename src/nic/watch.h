// SPDX-License-Identifier: BSD-3-Clause
// Which VFs' doorbell pages (doorbell.h) a worker looks at in a round. Those that rang lately in
// each; the others take turns, a few in a round, so that a hundred VFs that do nothing cost those
// that do little. Worker, inside the gate. Private to src/nic.
#ifndef VIREO_NIC_WATCH_H
#define VIREO_NIC_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct nic_lane;
struct nic_port;

#define NIC_WATCH_ALL         64u   // others that may be looked at in a round: all
#define NIC_WATCH_HOT_ROUNDS  1024u // that moved frames: who has not rung in so many takes turns
#define NIC_WATCH_QUIET_TURNS 8u    // rounds without a sleep or frames: one turn in so many

struct nic_watch {
    uint64_t mine;         // VFs whose pages this worker looks at
    uint64_t hot;          // of them, those that rang lately
    uint64_t rang;         // since `hot` was last thinned out
    unsigned rounds;       // since then
    uint64_t since_turn;   // those that rang since they last had their turn
    unsigned next;         // VF whose turn it is, or the first after it
    unsigned closings;     // of the gate, when `mine` was worked out
    uint64_t published_ns; // when heads and statistics last were
};

// Works out again whose pages are to be looked at, if that may have changed. True: there are some.
bool nic_watch_any(struct nic_watch *watch, const struct nic_port *port,
                   const struct nic_lane *lane);
// A round's looks. True where a guest has rung. First at who sends: what is found is sent before
// the next look, since that may wait for a line that a guest has just written. A round ends with
// who receives, so that this is known when the next one sends.
bool nic_watch_senders(struct nic_watch *watch, struct nic_port *port);
bool nic_watch_receivers(struct nic_watch *watch, struct nic_port *port);
// And at so many that have their turn, senders and receivers.
bool nic_watch_others(struct nic_watch *watch, struct nic_port *port, unsigned others);
// A round moved frames.
void nic_watch_moved(struct nic_watch *watch);
// Heads and statistics of those that ring; the others' are published when they have their turn.
void nic_watch_publish(struct nic_watch *watch, struct nic_port *port, uint64_t now_ns);

#endif

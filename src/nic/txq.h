// SPDX-License-Identifier: BSD-3-Clause
// Transmit queues: descriptor fetch, data, context and legacy descriptors, offloads, write-back
// (82599 §7.2). Private to src/nic.
#ifndef VIREO_NIC_TXQ_H
#define VIREO_NIC_TXQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mem/address.h"
#include "nic/path.h"
#include "nic/rate.h"
#include "nic/switch.h"

struct nic_port;

#define NIC_TXQ_BATCH   64u  // descriptors fetched at once: more than the largest packet has
#define NIC_TXQ_BATCHES 2u   // of them that one queue may send in a round
#define NIC_TXQ_FRAMES  128u // frames one queue may send in a round: a packet may be many segments
#define NIC_TX_DESC_MAX 40u  // data descriptors a packet (82599 §7.2)
#define NIC_TX_CONTEXTS 2u

struct nic_txq {
    _Atomic uint32_t tail; // last tail written: control thread or doorbell sample; checked on use
    _Atomic uint32_t head; // next descriptor to fetch: written by the worker while enabled
    bool enabled;
    bool faulted;        // descriptors could not be reached: stopped until enabled anew
    bool discarding;     // dropping up to the next EOP: a packet of too many descriptors
    uint32_t desc_count; // ring length, multiple of 8
    iova_t base;
    iova_t head_writeback; // TDWBA, 0 where off
    struct nic_rate rate;  // what RTTBCNRC says: the port's, no reset of the queue clears it
    // Contexts as last loaded (82599 §7.2.3.2.3).
    struct {
        uint32_t vlan_macip_lens, type_tucmd, mss_l4len_idx;
    } context[NIC_TX_CONTEXTS];
    // The packet at head, where it was begun in an earlier round: its first segments are sent, and
    // the next one has already reached these pools (and the cable). It is built again from memory;
    // a guest that changes it meanwhile changes only what it sends.
    struct {
        uint32_t segment;
        uint64_t pools_done;
        bool uplink_done;
    } resume;
    struct nic_flow flows[NIC_FLOWS]; // decisions of late, see switch.h
    struct nic_path
        paths[NIC_PATHS];    // of untagged packets, and those that the card tags; see path.h
    const struct nic_path *last_path; // of them: a guess of what the next frame's is, or NULL
    uint64_t express_frames; // that went by the express lane
    uint64_t single_frames;  // that were alone (single.h)
    bool express_ended;      // its last run, before all had been sent
    bool general_only; // no short ways: set by the test that compares both ways, by nobody else
};

// Gate closed, or the worker itself. TXDCTL was written: ENABLE newly set: takes base, length, head
// and head write-back from the registers, and starts; cleared: stops. Returns whether the queue
// runs: it stays off where the length is zero or the head lies past the end.
bool nic_txq_control(struct nic_port *port, unsigned queue);
void nic_txq_disable(struct nic_port *port, unsigned queue);
// Disabled, head and tail 0, contexts forgotten: reset of the port or of a VF. Gate closed.
void nic_txq_reset(struct nic_port *port, unsigned queue);
// A trapped doorbell. Control thread; gate open or closed. Wakes the worker.
void nic_txq_set_tail(struct nic_port *port, unsigned queue, uint32_t tail);

// Context descriptors: what they say is good for the packets behind them. Worker.
bool nic_txq_is_context(const struct hw_tx_data_desc *desc);
void nic_txq_load_context(struct nic_txq *q, const struct hw_tx_data_desc *desc);

enum nic_tx_result {
    NIC_TX_IDLE,  // nothing more that can be sent now: look again after the next doorbell
    NIC_TX_MORE,  // the round's share is used up
    NIC_TX_WAIT,  // a receiver's ring is full, and it may not be dropped
    NIC_TX_PACED, // its rate limit: until rate.free_ns
};
// Worker: sends at most NIC_TXQ_BATCHES × NIC_TXQ_BATCH packets and NIC_TXQ_FRAMES frames; *frames
// counts those.
enum nic_tx_result nic_txq_poll(struct nic_port *port, unsigned queue, unsigned *frames);

#endif

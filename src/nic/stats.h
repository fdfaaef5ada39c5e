// SPDX-License-Identifier: BSD-3-Clause
// What the card counts. Workers add; the control thread reads, for the statistics registers
// (82599 §8.2.3.23) and for nic_function_counts_get(). Private to src/nic.
#ifndef VIREO_NIC_STATS_H
#define VIREO_NIC_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "hw82599/regs.h"
#include "nic/lane.h"
#include "nic/nic.h"

// One pool's share: bytes without FCS.
struct nic_pool_counters {
    _Atomic uint64_t rx_frames, rx_bytes, rx_multicast_frames, tx_frames, tx_bytes;
    _Atomic uint64_t rx_no_descriptor_drops, rx_fault_drops;
    _Atomic uint64_t tx_fault_drops, tx_spoof_drops, tx_malformed_drops;
};

struct nic_queue_counters {
    _Atomic uint64_t rx_frames, rx_bytes, rx_drops, tx_frames, tx_bytes;
};

// Port totals, as MAC-level statistics registers want them: frames that went over the cable (to or
// from the uplink), and loopback frames that the switch kept inside. One a lane, so that no two
// workers write one; their sum is what counts.
struct nic_totals {
    _Atomic uint64_t tx_uplink_frames, tx_uplink_bytes, tx_uplink_multicast, tx_uplink_broadcast;
    _Atomic uint64_t rx_uplink_frames, rx_uplink_bytes, rx_uplink_multicast, rx_uplink_broadcast;
    _Atomic uint64_t tx_uplink_size_bins[6],
        rx_uplink_size_bins[6]; // 64, -127, -255, -511, -1023, more
    _Atomic uint64_t rx_undersize, rx_oversize, rx_no_match, rx_missed;
    _Atomic uint64_t rx_l3_l4_xsum_errors;
    _Atomic uint64_t loopback_frames, loopback_bytes;
    uint8_t apart[NIC_LINE_APART];
};

struct nic_counters {
    struct nic_pool_counters pool[64];
    struct nic_queue_counters queue[128];
    struct nic_totals total[NIC_WORKERS_MAX]; // by lane
};

// Where registers that clear on read were last read, by row of regs.def and index. Control thread.
#define NIC_STATS_INDEX_MAX 16u
struct nic_stats_marks {
    uint64_t read[HW_ROW_NONE][NIC_STATS_INDEX_MAX]; // totals at the last clear
    uint64_t latched[HW_ROW_NONE]
                    [NIC_STATS_INDEX_MAX]; // of a pair: total when the low half was read
};

struct nic_port;

// The register cycle of a row marked STAT: what was counted since it was last cleared, and clears.
// Rows of one pool (PVF…) run free and have no side effect: any thread may read those.
uint32_t nic_stats_read(struct nic_port *port, enum hw_row row, unsigned index);
// All read-to-clear registers read 0 now: reset. Control thread.
void nic_stats_clear(struct nic_port *port);
// RQSMR, TQSM: queues move from one counter to another; what was counted stays where it is.
void nic_stats_rqsmr_write(struct nic_port *port, unsigned index, uint32_t value);
void nic_stats_tqsm_write(struct nic_port *port, unsigned index, uint32_t value);

// One writer at a time (lane.h): a relaxed load and store, no locked instruction.
static inline void nic_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

#endif

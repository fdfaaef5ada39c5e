// SPDX-License-Identifier: BSD-3-Clause
// The embedded switch (82599 §7.10.3) and the filters that feed it. The decision is a pure
// function: frame and tables in, destinations out. Private to src/nic.
#ifndef VIREO_NIC_SWITCH_H
#define VIREO_NIC_SWITCH_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bits.h"
#include "nic/frame.h"
#include "nic/rss.h"

struct nic_port;

#define NIC_RAR_COUNT  128u
#define NIC_VLVF_COUNT 64u
#define NIC_POOLS_MAX  64u
#define NIC_MAC_SLOTS  512u // open addressing over at most 128 addresses; a power of two

#define NIC_MAC_USED      (1ull << 63)
#define NIC_MAC_BROADCAST 0xffffffffffffull

struct nic_mac_slot {
    uint64_t mac; // low 48 bits, first byte on the wire in bits 7:0; NIC_MAC_USED where used
    uint64_t pools;
};

// Everything the data path needs of the port's registers, recomputed whole by nic_derive() when one
// of them was written (register rows marked DERIVED). What a frame reads comes first.
struct nic_derived {
    bool rx_enabled, tx_enabled; // RXCTRL.RXEN, DMATXCTL.TE
    bool vt_mode;                // PFVTCTL.VT_Ena
    bool loopback;               // PFDTXGSWC.LBE: VM to VM switching
    bool mac_loopback;           // HLREG0.LPBK: what goes out of the port comes back in
    bool replication;            // PFVTCTL.Rpl_En
    bool default_pool_disabled;  // PFVTCTL.Dis_Def_Pool
    bool crc_strip;              // else receivers get the FCS too
    bool tx_pad;                 // HLREG0.TXPADEN: short frames are padded on the cable
    bool vlan_filter;            // VLNCTRL.VFE
    bool unicast_promisc, multicast_promisc, broadcast_accept; // FCTRL
    bool multicast_filter;                                     // MCSTCTRL.MFE
    bool hash_reported;          // RXCSUM.PCSD: the descriptor carries the RSS hash
    unsigned multicast_shift;    // MCSTCTRL.MO: lowest of the 12 address bits that index MTA, UTA
    unsigned queues_per_pool;    // 0 without VT; 2, 4 or 8
    unsigned pool_count;         // 1 without VT
    unsigned default_pool;       // PFVTCTL.DEF_PL
    uint64_t rx_pools, tx_pools; // PFVFRE, PFVFTE; without VT all ones
    uint64_t spoof_mac_pools, spoof_vlan_pools; // PFVFSPOOF
    // Accept modes of PFVML2FLT, a bit a pool.
    uint64_t accept_broadcast, accept_multicast_hash, accept_unicast_hash, accept_multicast_all;
    uint64_t accept_untagged;
    uint64_t insert_vlan_pools;    // PFVMVIR: what they send gets the pool's own tag
    uint32_t vmvir[NIC_POOLS_MAX]; // per pool: tag insertion
    uint32_t frame_len_max;        // what pools receive, without FCS and one VLAN tag
    uint16_t vlan_ethertype;       // VLNCTRL.VET
    uint16_t tcp_flags_first, tcp_flags_mid, tcp_flags_last; // DTXTCPFLGL, DTXTCPFLGH
    uint8_t rss_queue_mask[NIC_POOLS_MAX]; // PSRTYPE.RQPL: RETA bits that count in this pool
    struct nic_rss_tables rss;
    // All valid RAR/MPSAR pairs. Hash: nic_switch_mac_slot().
    struct nic_mac_slot mac[NIC_MAC_SLOTS];
    uint32_t mta[128], vfta[128], uta[128];
    uint64_t vlan_pools[4096]; // by PFVLVF/PFVLVFB; 0 where no entry has the VLAN
    uint64_t version;          // moves on with every nic_derive(): what was decided before is void
};

// Where one frame goes.
struct nic_destinations {
    uint64_t pools; // receivers, never the sender's own pool
    bool uplink;
    bool spoofed;   // dropped: source MAC or VLAN not the pool's own
    bool multicast; // destination is a group address
};

// Decisions of late, by a transmit queue: all frames of a flow (addresses and tag) go the same way
// until the tables change. Direct-mapped.
#define NIC_FLOWS 8u
struct nic_flow {
    uint64_t version;   // of the tables; 0 in an empty entry
    uint64_t macs_low;  // bytes 0-7 of the frame
    uint32_t macs_high; // bytes 8-11
    uint32_t tag;       // NIC_FLOW_TAGGED and the TCI, 0 without a tag
    struct nic_destinations to;
};
#define NIC_FLOW_TAGGED 0x10000u

// Rebuilds port->derived from port->regs. Worker, inside the gate, when derived_stale is set.
void nic_derive(struct nic_port *port);

// Decides for a frame from pool frame->source_pool (or the uplink). Pure.
void nic_switch_decide(const struct nic_derived *tables, const struct nic_frame *frame,
                       struct nic_destinations *out);

// The slot of `mac` in the table, or the free one where it would go. There always is a free one:
// at most NIC_RAR_COUNT of NIC_MAC_SLOTS are used.
static inline unsigned nic_switch_mac_slot(const struct nic_mac_slot *slots, uint64_t mac)
{
    unsigned i = (unsigned)((mac * 0x9e3779b97f4a7c15ull) >> 55);

    while (slots[i].mac && slots[i].mac != (mac | NIC_MAC_USED))
        i = (i + 1) & (NIC_MAC_SLOTS - 1);
    return i;
}

// nic_switch_decide() for a frame from a pool, remembered in `flows`, which serve that pool alone.
static inline const struct nic_destinations *
nic_switch_decide_flow(const struct nic_derived *tables, struct nic_flow *flows,
                       const struct nic_frame *frame)
{
    uint32_t tag = frame->has_vlan ? NIC_FLOW_TAGGED | frame->vlan_tci : 0, macs_high;
    struct nic_flow *flow;
    uint64_t macs_low;

    memcpy(&macs_low, frame->head, sizeof macs_low);
    memcpy(&macs_high, frame->head + sizeof macs_low, sizeof macs_high);
    flow = &flows[frame->head[5] % NIC_FLOWS];
    if (unlikely(((flow->macs_low ^ macs_low) | (flow->version ^ tables->version) |
                  (flow->macs_high ^ macs_high) | (flow->tag ^ tag)) != 0)) {
        nic_switch_decide(tables, frame, &flow->to);
        flow->macs_low = macs_low;
        flow->macs_high = macs_high;
        flow->tag = tag;
        flow->version = tables->version;
    }
    return &flow->to;
}

#endif

// SPDX-License-Identifier: BSD-3-Clause
// The embedded switch (82599 §7.10.3) and the filters that feed it. The decision is a pure function:
// frame and tables in, destinations out. Private to src/nic.
#ifndef VIREO_NIC_SWITCH_H
#define VIREO_NIC_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

#include "nic/frame.h"

struct nic_port;

#define NIC_RAR_COUNT  128u
#define NIC_VLVF_COUNT 64u
#define NIC_MAC_SLOTS  512u // open addressing over at most 128 addresses

// Everything the data path needs of the port's registers, recomputed whole by nic_derive() when one
// of them was written (register rows marked DERIVED).
struct nic_derived {
    bool rx_enabled, tx_enabled;   // RXCTRL.RXEN, DMATXCTL.TE
    bool vt_mode;                  // PFVTCTL.VT_Ena
    bool loopback;                 // PFDTXGSWC.LBE: VM to VM switching
    bool replication;              // PFVTCTL.Rpl_En
    unsigned queues_per_pool;      // 0 without VT; 2, 4 or 8
    unsigned pool_count;
    unsigned default_pool;         // PFVTCTL.DEF_PL
    bool default_pool_disabled;    // PFVTCTL.Dis_Def_Pool
    uint64_t rx_pools, tx_pools;   // PFVFRE, PFVFTE
    uint64_t spoof_mac_pools, spoof_vlan_pools; // PFVFSPOOF
    uint32_t vmolr[64], vmvir[64]; // per pool: accept modes; tag insertion
    uint32_t frame_len_max;        // MAXFRS or the default 1518, with FCS
    uint32_t fctrl, vlnctrl, mcstctrl;
    bool crc_strip;
    bool vlan_filter;              // VLNCTRL.VFE
    // MAC → pools, hash of all valid RAR/MPSAR pairs.
    struct {
        uint64_t mac; // low 48 bits; bit 63 set where used
        uint64_t pools;
    } mac[NIC_MAC_SLOTS];
    uint32_t mta[128], vfta[128], uta[128];
    uint64_t vlan_pools[4096];     // by VLVF/VLVFB; 0 where no VLVF entry
    uint8_t vlan_known[512];       // bit a VLAN: some VLVF entry has it
    uint32_t rss_key[10];
    uint8_t reta[128];
    uint32_t mrqc;
    uint32_t psrtype[64];          // by pool: RQPL, header split kinds
};

// Where one frame goes.
struct nic_destinations {
    uint64_t pools;      // receivers, never the sender's own pool
    bool uplink;
    bool spoofed;        // dropped: source MAC or VLAN not the pool's own
    bool multicast;      // destination is a group address
};

// Rebuilds port->derived from port->regs. Worker, inside the gate, when derived_stale is set.
void nic_derive(struct nic_port *port);

// Decides for a frame from pool frame->source_pool (or the uplink, -1). Pure.
void nic_switch_decide(const struct nic_derived *tables, const struct nic_frame *frame,
                       struct nic_destinations *out);

// RSS: the queue within the pool (0 … queues-1) for a frame, its hash and type for the descriptor
// (82599 §7.1.2.8). Pure.
unsigned nic_switch_rss(const struct nic_derived *tables, const struct nic_frame *frame,
                        unsigned pool, uint32_t *hash, unsigned *rss_type);

#endif

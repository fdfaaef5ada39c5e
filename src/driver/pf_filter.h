// SPDX-License-Identifier: BSD-3-Clause
// The port's shared filter tables, as the PF driver keeps them: unicast addresses (RAR/MPSAR),
// VLANs (VFTA, PFVLVF/PFVLVFB), multicast hashes (MTA) and the unicast overflow table (PFUTA). The
// driver holds a copy of each and writes only what changed, so a VF can not make it read registers
// back. 82599 §7.1.1, §7.10.3. Private to src/driver.
#ifndef VIREO_DRIVER_PF_FILTER_H
#define VIREO_DRIVER_PF_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/bus.h"

#define PF_POOLS            64u
#define PF_MACS             128u // RAR entries
#define PF_MAC_FIRST_SHARED 64u  // 0: the PF; 1 … 63: VF 0 … 62; from here on: first come
#define PF_VLANS            64u  // PFVLVF entries; [0] is for VLAN 0
#define PF_MULTICAST_WORDS  128u
#define PF_VF_HASHES_MAX    30u // multicast hashes a VF: what fits into a message

struct pf_filter {
    struct driver_bus *bus;
    struct {
        uint8_t mac[6];
        uint8_t pool;
        bool used;
    } macs[PF_MACS];
    struct {
        uint16_t vlan;
        uint64_t pools; // 0: the entry is free
    } vlans[PF_VLANS];
    uint32_t multicast[PF_MULTICAST_WORDS];
    struct {
        uint16_t hashes[PF_VF_HASHES_MAX];
        unsigned count;
    } vf_multicast[PF_POOLS];
    uint64_t promiscuous_pools;
};

// Clears all tables, here and in the card.
void pf_filter_init(struct pf_filter *f, struct driver_bus *bus);

// Entry 0 is the PF's own, entry 1 + n VF n's. Replaces what was there.
void pf_filter_set_mac(struct pf_filter *f, unsigned entry, const uint8_t mac[6], unsigned pool);
void pf_filter_clear_mac(struct pf_filter *f, unsigned entry);
// One more address for a pool, from the shared entries. 0 (also where the pool has it), -ENOSPC.
int pf_filter_add_macvlan(struct pf_filter *f, const uint8_t mac[6], unsigned pool);
void pf_filter_clear_macvlans(struct pf_filter *f, unsigned pool);

// vlan 0 … 4095, where 0 stands for untagged frames. 0, -ENOSPC: all 64 entries are taken.
int pf_filter_add_vlan(struct pf_filter *f, uint16_t vlan, unsigned pool);
void pf_filter_remove_vlan(struct pf_filter *f, uint16_t vlan, unsigned pool);
// Takes the pool out of all VLANs but `keep`. True where there was another.
bool pf_filter_clear_vlans(struct pf_filter *f, unsigned pool, uint16_t keep);

// Replaces the pool's hashes (12 bits each, as MCSTCTRL.MO 0 makes them). count is cut to
// PF_VF_HASHES_MAX.
void pf_filter_set_multicast(struct pf_filter *f, unsigned pool, const uint16_t *hashes,
                             unsigned count);

// Fills the unicast overflow table while any pool is promiscuous: then every unicast frame is an
// overflow packet, and goes to the pools whose PFVML2FLT.ROPE is set (82599 §7.10.3).
void pf_filter_set_promiscuous(struct pf_filter *f, unsigned pool, bool on);

#endif

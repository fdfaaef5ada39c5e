// SPDX-License-Identifier: BSD-3-Clause
#include "driver/pf_filter.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/le.h"
#include "hw82599/regs.h"

// --- Unicast addresses ---

static void write_mac(struct pf_filter *f, unsigned entry)
{
    uint64_t pools = f->macs[entry].used ? BIT64(f->macs[entry].pool) : 0;

    // Off while it changes: a half-written address must not match.
    driver_reg_write(f->bus, HW_RAH(entry), 0);
    driver_reg_write(f->bus, HW_MPSAR_LO(entry), (uint32_t)pools);
    driver_reg_write(f->bus, HW_MPSAR_HI(entry), (uint32_t)(pools >> 32));
    if (!f->macs[entry].used) {
        driver_reg_write(f->bus, HW_RAL(entry), 0);
        return;
    }
    driver_reg_write(f->bus, HW_RAL(entry), le32_get(f->macs[entry].mac));
    driver_reg_write(f->bus, HW_RAH(entry), le16_get(f->macs[entry].mac + 4) | HW_RAH_AV);
}

void pf_filter_set_mac(struct pf_filter *f, unsigned entry, const uint8_t mac[6], unsigned pool)
{
    assert(entry < PF_MACS && pool < PF_POOLS);
    if (f->macs[entry].used && f->macs[entry].pool == pool && !memcmp(f->macs[entry].mac, mac, 6))
        return;
    memcpy(f->macs[entry].mac, mac, 6);
    f->macs[entry].pool = (uint8_t)pool;
    f->macs[entry].used = true;
    write_mac(f, entry);
}

void pf_filter_clear_mac(struct pf_filter *f, unsigned entry)
{
    assert(entry < PF_MACS);
    if (!f->macs[entry].used)
        return;
    f->macs[entry].used = false;
    write_mac(f, entry);
}

int pf_filter_add_macvlan(struct pf_filter *f, const uint8_t mac[6], unsigned pool)
{
    unsigned free_entry = PF_MACS;

    for (unsigned i = PF_MACS; i-- > PF_MAC_FIRST_SHARED;) {
        if (!f->macs[i].used)
            free_entry = i;
        else if (f->macs[i].pool == pool && !memcmp(f->macs[i].mac, mac, 6))
            return 0;
    }
    if (free_entry == PF_MACS)
        return -ENOSPC;
    pf_filter_set_mac(f, free_entry, mac, pool);
    return 0;
}

void pf_filter_clear_macvlans(struct pf_filter *f, unsigned pool)
{
    for (unsigned i = PF_MAC_FIRST_SHARED; i < PF_MACS; i++) {
        if (f->macs[i].used && f->macs[i].pool == pool)
            pf_filter_clear_mac(f, i);
    }
}

// --- VLANs ---

// The entry of `vlan`, else a free one, else PF_VLANS.
static unsigned find_vlan(const struct pf_filter *f, uint16_t vlan)
{
    unsigned free_entry = PF_VLANS;

    if (!vlan)
        return 0;
    for (unsigned i = PF_VLANS; --i > 0;) {
        if (!f->vlans[i].pools)
            free_entry = i;
        else if (f->vlans[i].vlan == vlan)
            return i;
    }
    return free_entry;
}

static void write_vfta(struct pf_filter *f, unsigned word)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < PF_VLANS; i++) {
        if (f->vlans[i].pools && f->vlans[i].vlan / 32 == word)
            bits |= BIT(f->vlans[i].vlan % 32);
    }
    driver_reg_write(f->bus, HW_VFTA(word), bits);
}

static void write_vlan(struct pf_filter *f, unsigned entry)
{
    uint64_t pools = f->vlans[entry].pools;

    // The VLAN leaves VFTA before its pools do, or strays would go to the default pool.
    if (!pools)
        write_vfta(f, f->vlans[entry].vlan / 32);
    driver_reg_write(f->bus, HW_PFVLVFB(2 * entry), (uint32_t)pools);
    driver_reg_write(f->bus, HW_PFVLVFB(2 * entry + 1), (uint32_t)(pools >> 32));
    driver_reg_write(f->bus, HW_PFVLVF(entry), pools ? f->vlans[entry].vlan | HW_PFVLVF_VI_EN : 0);
    if (pools)
        write_vfta(f, f->vlans[entry].vlan / 32);
}

int pf_filter_add_vlan(struct pf_filter *f, uint16_t vlan, unsigned pool)
{
    unsigned entry = find_vlan(f, vlan);

    assert(vlan < 4096 && pool < PF_POOLS);
    if (entry == PF_VLANS)
        return -ENOSPC;
    if (f->vlans[entry].pools & BIT64(pool))
        return 0;
    f->vlans[entry].vlan = vlan;
    f->vlans[entry].pools |= BIT64(pool);
    write_vlan(f, entry);
    return 0;
}

void pf_filter_remove_vlan(struct pf_filter *f, uint16_t vlan, unsigned pool)
{
    unsigned entry = find_vlan(f, vlan);

    assert(vlan < 4096 && pool < PF_POOLS);
    if (entry == PF_VLANS || !(f->vlans[entry].pools & BIT64(pool)))
        return;
    f->vlans[entry].pools &= ~BIT64(pool);
    write_vlan(f, entry);
}

bool pf_filter_clear_vlans(struct pf_filter *f, unsigned pool, uint16_t keep)
{
    bool found = false;

    assert(pool < PF_POOLS);
    for (unsigned i = 0; i < PF_VLANS; i++) {
        if (f->vlans[i].vlan != keep && (f->vlans[i].pools & BIT64(pool))) {
            f->vlans[i].pools &= ~BIT64(pool);
            write_vlan(f, i);
            found = true;
        }
    }
    return found;
}

// --- Multicast ---

void pf_filter_set_multicast(struct pf_filter *f, unsigned pool, const uint16_t *hashes,
                             unsigned count)
{
    uint32_t words[PF_MULTICAST_WORDS] = {0};

    assert(pool < PF_POOLS);
    if (count > PF_VF_HASHES_MAX)
        count = PF_VF_HASHES_MAX;
    f->vf_multicast[pool].count = count;
    for (unsigned i = 0; i < count; i++)
        f->vf_multicast[pool].hashes[i] = hashes[i] & 0xfff;
    // The table is the port's: what other pools want stays in.
    for (unsigned p = 0; p < PF_POOLS; p++) {
        for (unsigned i = 0; i < f->vf_multicast[p].count; i++) {
            uint16_t hash = f->vf_multicast[p].hashes[i];

            words[hash >> 5] |= BIT(hash & 31);
        }
    }
    for (unsigned i = 0; i < PF_MULTICAST_WORDS; i++) {
        if (words[i] != f->multicast[i]) {
            f->multicast[i] = words[i];
            driver_reg_write(f->bus, HW_MTA(i), words[i]);
        }
    }
}

void pf_filter_set_promiscuous(struct pf_filter *f, unsigned pool, bool on)
{
    uint64_t before = f->promiscuous_pools;

    assert(pool < PF_POOLS);
    if (on)
        f->promiscuous_pools |= BIT64(pool);
    else
        f->promiscuous_pools &= ~BIT64(pool);
    if (!before == !f->promiscuous_pools)
        return;
    for (unsigned i = 0; i < PF_MULTICAST_WORDS; i++)
        driver_reg_write(f->bus, HW_PFUTA(i), on ? UINT32_MAX : 0);
}

void pf_filter_init(struct pf_filter *f, struct driver_bus *bus)
{
    *f = (struct pf_filter){.bus = bus};
    for (unsigned i = 0; i < PF_MACS; i++)
        write_mac(f, i);
    for (unsigned i = 0; i < PF_VLANS; i++) {
        driver_reg_write(bus, HW_PFVLVFB(2 * i), 0);
        driver_reg_write(bus, HW_PFVLVFB(2 * i + 1), 0);
        driver_reg_write(bus, HW_PFVLVF(i), 0);
    }
    for (unsigned i = 0; i < PF_MULTICAST_WORDS; i++) {
        driver_reg_write(bus, HW_MTA(i), 0);
        driver_reg_write(bus, HW_VFTA(i), 0);
        driver_reg_write(bus, HW_PFUTA(i), 0);
    }
}

// SPDX-License-Identifier: BSD-3-Clause
#include "nic/switch.h"

#include "base/bits.h"

#define MAC_GROUP 1u // first bit on the wire: a group address

// The 12 bits of a destination that index MTA and PFUTA (82599 §8.2.3.7.7).
static bool hash_table_has(const struct nic_derived *t, const uint32_t table[128], uint64_t mac)
{
    unsigned bit = (unsigned)(mac >> t->multicast_shift) & 0xfff;

    return table[bit / 32] >> (bit % 32) & 1;
}

static const struct nic_mac_slot *mac_find(const struct nic_derived *t, uint64_t mac)
{
    const struct nic_mac_slot *slot = &t->mac[nic_switch_mac_slot(t->mac, mac)];

    return slot->mac ? slot : NULL;
}

// The pools that may see a frame with this tag or without one. Without VLAN filtering: all.
static uint64_t vlan_members(const struct nic_derived *t, const struct nic_frame *frame)
{
    if (!t->vlan_filter)
        return UINT64_MAX;
    return frame->has_vlan ? t->vlan_pools[frame->vlan_tci & 0xfff] : t->accept_untagged;
}

// Whether the port takes a frame from the cable at all (82599 §7.1.1).
static bool port_accepts(const struct nic_derived *t, const struct nic_frame *frame, uint64_t dst,
                         bool exact)
{
    if (t->vlan_filter && frame->has_vlan) {
        unsigned vlan = frame->vlan_tci & 0xfff;

        if (!(t->vfta[vlan / 32] >> (vlan % 32) & 1))
            return false;
    }
    if (exact)
        return true;
    if (dst == NIC_MAC_BROADCAST)
        return t->broadcast_accept;
    if (dst & MAC_GROUP)
        return t->multicast_promisc || (t->multicast_filter && hash_table_has(t, t->mta, dst));
    return t->unicast_promisc || hash_table_has(t, t->uta, dst);
}

// Candidates by destination address (82599 §7.10.3).
static uint64_t pools_by_mac(const struct nic_derived *t, uint64_t dst,
                             const struct nic_mac_slot *exact)
{
    uint64_t pools = exact ? exact->pools : 0;

    if (dst == NIC_MAC_BROADCAST)
        return pools | t->accept_broadcast;
    if (dst & MAC_GROUP) {
        if (!pools && t->multicast_filter && hash_table_has(t, t->mta, dst))
            pools = t->accept_multicast_hash;
        return pools | t->accept_multicast_all;
    }
    if (!pools && hash_table_has(t, t->uta, dst))
        pools = t->accept_unicast_hash;
    return pools;
}

// Anti-spoofing (82599 §7.10.3): the source address must be one of the pool's filters, and a
// tag one of its VLANs.
static bool is_spoofed(const struct nic_derived *t, const struct nic_frame *frame, uint64_t self)
{
    if (t->spoof_mac_pools & self) {
        const struct nic_mac_slot *own = mac_find(t, nic_frame_mac(frame->head + 6));

        if (!own || !(own->pools & self))
            return true;
    }
    return (t->spoof_vlan_pools & self) && frame->has_vlan &&
           !(t->vlan_pools[frame->vlan_tci & 0xfff] & self);
}

static void decide_from_pool(const struct nic_derived *t, const struct nic_frame *frame,
                             uint64_t dst, struct nic_destinations *out)
{
    uint64_t self = BIT64(frame->source_pool), pools;
    const struct nic_mac_slot *exact;
    bool group = dst & MAC_GROUP;

    if (is_spoofed(t, frame, self)) {
        out->spoofed = true;
        return;
    }
    if (!t->loopback) {
        out->uplink = true;
        return;
    }
    exact = mac_find(t, dst);
    pools = pools_by_mac(t, dst, exact) & vlan_members(t, frame);
    // §7.10.3.4: here the default pool is for group addresses only; a unicast frame that matches no
    // exact filter goes out on the cable instead, and one that matches never does.
    if (!pools && group && !t->default_pool_disabled)
        pools = BIT64(t->default_pool);
    if (!t->replication && group)
        pools = t->default_pool_disabled ? 0 : BIT64(t->default_pool);
    out->pools = pools & ~self & t->rx_pools;
    out->uplink = group || !exact;
}

static void decide_from_uplink(const struct nic_derived *t, const struct nic_frame *frame,
                               uint64_t dst, struct nic_destinations *out)
{
    const struct nic_mac_slot *exact = mac_find(t, dst);
    uint64_t pools;

    if (!port_accepts(t, frame, dst, exact != NULL))
        return;
    if (!t->vt_mode) {
        out->pools = 1;
        return;
    }
    pools = pools_by_mac(t, dst, exact) & vlan_members(t, frame);
    if (!t->replication && (dst & MAC_GROUP))
        pools = 0; // not replicated: the default pool gets it
    if (!pools && !t->default_pool_disabled)
        pools = BIT64(t->default_pool);
    out->pools = pools & t->rx_pools;
}

void nic_switch_decide(const struct nic_derived *t, const struct nic_frame *frame,
                       struct nic_destinations *out)
{
    uint64_t dst = nic_frame_mac(frame->head);

    *out = (struct nic_destinations){.multicast = dst & MAC_GROUP};
    if (frame->source_pool == NIC_SOURCE_UPLINK)
        decide_from_uplink(t, frame, dst, out);
    else if (t->vt_mode)
        decide_from_pool(t, frame, dst, out);
    else
        out->uplink = true;
    // Without replication a frame has one receiver (82599 §7.10.3): the lowest pool of several.
    if (!t->replication && out->pools)
        out->pools &= -out->pools;
}

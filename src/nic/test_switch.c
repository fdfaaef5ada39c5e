// SPDX-License-Identifier: BSD-3-Clause
// The switch's tables, row by row of 82599 §7.10.3, on tables made by hand.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "nic/switch.h"

#define UPLINK  NIC_SOURCE_UPLINK
#define NO_VLAN (-1)
#define PF_POOL 10u
#define PF      BIT64(PF_POOL)

static const uint8_t mac_a[6] = {2, 0, 0, 0, 0, 0xa}, mac_b[6] = {2, 0, 0, 0, 0, 0xb};
static const uint8_t mac_c[6] = {2, 0, 0, 0, 0, 0xc}, mac_other[6] = {2, 9, 9, 9, 9, 9};
static const uint8_t mac_all[6] = {255, 255, 255, 255, 255, 255};
static const uint8_t mac_group[6] = {0x01, 0, 0x5e, 0, 0, 0xfb}; // 224.0.0.251
static const uint8_t mac_group2[6] = {0x33, 0x33, 0, 0, 0, 1};

static void add_mac(struct nic_derived *t, const uint8_t mac[6], uint64_t pools)
{
    struct nic_mac_slot *slot = &t->mac[nic_switch_mac_slot(t->mac, nic_frame_mac(mac))];

    slot->mac = nic_frame_mac(mac) | NIC_MAC_USED;
    slot->pools |= pools;
}

static void set_hash(uint32_t table[128], const uint8_t mac[6])
{
    unsigned bit = (mac[4] >> 4 | mac[5] << 4) & 0xfff; // MO 0: address bits 47:36

    table[bit / 32] |= BIT(bit % 32);
}

// Pools 0, 1, 2 with MACs a, b, c; all take broadcasts and untagged frames.
static struct nic_derived *tables_new(void)
{
    struct nic_derived *t = calloc(1, sizeof *t);

    assert_non_null(t);
    t->vt_mode = t->loopback = t->replication = t->vlan_filter = true;
    t->broadcast_accept = t->multicast_filter = true;
    t->multicast_shift = 36;
    t->queues_per_pool = 2;
    t->pool_count = 64;
    t->default_pool = PF_POOL;
    t->rx_pools = t->tx_pools = UINT64_MAX;
    t->accept_broadcast = t->accept_untagged = 7 | PF;
    t->vlan_ethertype = 0x8100;
    add_mac(t, mac_a, BIT64(0));
    add_mac(t, mac_b, BIT64(1));
    add_mac(t, mac_c, BIT64(2));
    return t;
}

static struct nic_destinations decide(const struct nic_derived *t, int source, const uint8_t dst[6],
                                      const uint8_t src[6], int vlan)
{
    struct nic_frame frame = {.head_len = 14, .len_bytes = 14, .source_pool = source};
    struct nic_destinations out;

    memcpy(frame.head, dst, 6);
    memcpy(frame.head + 6, src, 6);
    if (vlan != NO_VLAN) {
        frame.has_vlan = true;
        frame.vlan_tci = (uint16_t)vlan;
    }
    nic_switch_decide(t, &frame, &out);
    return out;
}

#define CHECK(d, want_pools, want_uplink)                                                          \
    do {                                                                                           \
        struct nic_destinations d_ = (d);                                                          \
        assert_int_equal(d_.pools, (want_pools));                                                  \
        assert_int_equal(d_.uplink, (want_uplink));                                                \
        assert_false(d_.spoofed);                                                                  \
    } while (0)

static void test_unicast_from_pool(void **state)
{
    struct nic_derived *t = tables_new();

    (void)state;
    CHECK(decide(t, 0, mac_b, mac_a, NO_VLAN), 2, false);
    CHECK(decide(t, 0, mac_other, mac_a, NO_VLAN), 0, true);
    CHECK(decide(t, 0, mac_a, mac_a, NO_VLAN), 0, false); // to itself: nowhere
    add_mac(t, mac_b, BIT64(0) | BIT64(63));              // shared with the sender and pool 63
    CHECK(decide(t, 0, mac_b, mac_a, NO_VLAN), BIT64(1), false); // pool 63 takes no untagged
    t->accept_untagged |= BIT64(63);
    CHECK(decide(t, 0, mac_b, mac_a, NO_VLAN), BIT64(1) | BIT64(63), false);
    t->rx_pools = ~BIT64(1);
    CHECK(decide(t, 0, mac_b, mac_a, NO_VLAN), BIT64(63), false);
    t->loopback = false; // VEPA: the far end switches
    CHECK(decide(t, 0, mac_b, mac_a, NO_VLAN), 0, true);
    free(t);
}

static void test_unicast_hash(void **state)
{
    struct nic_derived *t = tables_new();

    (void)state;
    set_hash(t->uta, mac_other);
    CHECK(decide(t, 0, mac_other, mac_a, NO_VLAN), 0, true);
    t->accept_unicast_hash = 3;
    // An inexact match does not keep it from the cable.
    CHECK(decide(t, 0, mac_other, mac_a, NO_VLAN), 2, true);
    CHECK(decide(t, UPLINK, mac_other, mac_a, NO_VLAN), 3, false);
    CHECK(decide(t, 0, mac_b, mac_a, NO_VLAN), 2, false); // an exact match comes first
    free(t);
}

static void test_group_from_pool(void **state)
{
    struct nic_derived *t = tables_new();

    (void)state;
    CHECK(decide(t, 0, mac_all, mac_a, NO_VLAN), 6 | PF, true);
    t->accept_broadcast = 3;
    CHECK(decide(t, 0, mac_all, mac_a, NO_VLAN), 2, true);
    assert_true(decide(t, 0, mac_all, mac_a, NO_VLAN).multicast);
    assert_false(decide(t, 0, mac_b, mac_a, NO_VLAN).multicast);

    // Nobody listens to the group: the default pool and the cable.
    CHECK(decide(t, 0, mac_group, mac_a, NO_VLAN), PF, true);
    set_hash(t->mta, mac_group);
    t->accept_multicast_hash = 5;
    CHECK(decide(t, 0, mac_group, mac_a, NO_VLAN), 4, true);
    CHECK(decide(t, 2, mac_group, mac_c, NO_VLAN), 1, true);
    CHECK(decide(t, 2, mac_group2, mac_c, NO_VLAN), PF, true); // other hash
    t->accept_multicast_all = 2;
    CHECK(decide(t, 2, mac_group2, mac_c, NO_VLAN), 2, true);
    CHECK(decide(t, 0, mac_group, mac_a, NO_VLAN), 6, true);
    t->multicast_filter = false; // MTA is not looked at
    CHECK(decide(t, 0, mac_group, mac_a, NO_VLAN), 2, true);
    // A group address among the exact filters.
    add_mac(t, mac_group2, 1);
    CHECK(decide(t, 2, mac_group2, mac_c, NO_VLAN), 3, true);
    t->default_pool_disabled = true;
    t->accept_multicast_all = 0;
    CHECK(decide(t, 0, mac_group, mac_a, NO_VLAN), 0, true);
    free(t);
}

static void test_multicast_offsets(void **state)
{
    static const unsigned shifts[] = {36, 35, 34, 32};
    struct nic_derived *t = tables_new();

    (void)state;
    t->accept_multicast_hash = 2;
    t->default_pool_disabled = true;
    for (unsigned mo = 0; mo < 4; mo++) {
        unsigned bit = (unsigned)(nic_frame_mac(mac_group) >> shifts[mo]) & 0xfff;

        memset(t->mta, 0, sizeof t->mta);
        t->multicast_shift = shifts[mo];
        CHECK(decide(t, 0, mac_group, mac_a, NO_VLAN), 0, true);
        t->mta[bit / 32] = BIT(bit % 32);
        CHECK(decide(t, 0, mac_group, mac_a, NO_VLAN), 2, true);
    }
    free(t);
}

static void test_from_uplink(void **state)
{
    struct nic_derived *t = tables_new();

    (void)state;
    CHECK(decide(t, UPLINK, mac_b, mac_other, NO_VLAN), 2, false);
    CHECK(decide(t, UPLINK, mac_all, mac_other, NO_VLAN), 7 | PF, false);
    CHECK(decide(t, UPLINK, mac_other, mac_b, NO_VLAN), 0, false); // nobody's
    t->unicast_promisc = true;
    CHECK(decide(t, UPLINK, mac_other, mac_b, NO_VLAN), PF, false); // the default pool's now
    t->default_pool_disabled = true;
    CHECK(decide(t, UPLINK, mac_other, mac_b, NO_VLAN), 0, false);
    t->default_pool_disabled = false;
    t->broadcast_accept = false;
    CHECK(decide(t, UPLINK, mac_all, mac_other, NO_VLAN), 0, false);

    CHECK(decide(t, UPLINK, mac_group, mac_other, NO_VLAN), 0, false);
    t->accept_multicast_hash = t->accept_multicast_all = 2;
    CHECK(decide(t, UPLINK, mac_group, mac_other, NO_VLAN), 0, false); // the port does not take it
    t->multicast_promisc = true;
    CHECK(decide(t, UPLINK, mac_group, mac_other, NO_VLAN), 2, false);
    t->multicast_promisc = false;
    set_hash(t->mta, mac_group);
    CHECK(decide(t, UPLINK, mac_group, mac_other, NO_VLAN), 2, false);
    // A frame from outside with an inside source is not kept from that source's pool: only what a
    // pool sent itself is.
    CHECK(decide(t, UPLINK, mac_b, mac_b, NO_VLAN), 2, false);
    t->rx_pools = 0;
    CHECK(decide(t, UPLINK, mac_b, mac_other, NO_VLAN), 0, false);
    free(t);
}

static void test_vlans(void **state)
{
    struct nic_derived *t = tables_new();

    (void)state;
    t->vlan_pools[100] = 3;
    t->vlan_pools[0] = 4;
    t->vlan_pools[4095] = 2;
    t->vfta[100 / 32] |= BIT(100 % 32);
    CHECK(decide(t, 0, mac_b, mac_a, 100), 2, false);
    CHECK(decide(t, 0, mac_b, mac_a, 100 | 7 << 13), 2, false); // priority is no part of the VLAN
    CHECK(decide(t, 0, mac_b, mac_a, 101), 0, false); // matches a MAC: not on the cable either
    CHECK(decide(t, 0, mac_c, mac_a, 100), 0, false);
    CHECK(decide(t, 0, mac_c, mac_a, 0), 4, false);
    CHECK(decide(t, 0, mac_b, mac_a, 4095), 2, false);
    CHECK(decide(t, 0, mac_all, mac_a, 100), 2, true);
    CHECK(decide(t, 2, mac_all, mac_c, 100), 3, true);
    // From outside: VFTA decides for the port, the VLAN's pools after it.
    CHECK(decide(t, UPLINK, mac_b, mac_other, 100), 2, false);
    CHECK(decide(t, UPLINK, mac_b, mac_other, 4095), 0, false);
    CHECK(decide(t, UPLINK, mac_all, mac_other, 100), 3, false);
    CHECK(decide(t, UPLINK, mac_c, mac_other, 100), PF, false); // no pool left: the default pool
    // Untagged frames only to pools that take them.
    t->accept_untagged = 1 | PF;
    CHECK(decide(t, 0, mac_b, mac_a, NO_VLAN), 0, false);
    CHECK(decide(t, 1, mac_all, mac_b, NO_VLAN), 1 | PF, true);
    t->vlan_filter = false;
    CHECK(decide(t, 0, mac_b, mac_a, 101), 2, false);
    CHECK(decide(t, 0, mac_b, mac_a, NO_VLAN), 2, false);
    free(t);
}

static void test_spoofing(void **state)
{
    struct nic_derived *t = tables_new();

    (void)state;
    CHECK(decide(t, 0, mac_b, mac_c, NO_VLAN), 2, false); // not checked
    t->spoof_mac_pools = 1;
    assert_true(decide(t, 0, mac_b, mac_c, NO_VLAN).spoofed);     // somebody else's
    assert_true(decide(t, 0, mac_b, mac_other, NO_VLAN).spoofed); // nobody's
    assert_true(decide(t, 0, mac_other, mac_b, NO_VLAN).spoofed); // to the cable as well
    assert_int_equal(decide(t, 0, mac_b, mac_c, NO_VLAN).pools, 0);
    assert_false(decide(t, 0, mac_other, mac_b, NO_VLAN).uplink);
    CHECK(decide(t, 0, mac_b, mac_a, NO_VLAN), 2, false);
    CHECK(decide(t, 1, mac_c, mac_a, NO_VLAN), 4, false); // pool 1 is not checked
    t->loopback = false;
    assert_true(decide(t, 0, mac_b, mac_c, NO_VLAN).spoofed);
    t->loopback = true;

    t->spoof_mac_pools = 0;
    t->spoof_vlan_pools = BIT64(0) | BIT64(63);
    t->vlan_pools[5] = 2;
    t->vlan_pools[6] = 3;
    assert_true(decide(t, 0, mac_b, mac_a, 5).spoofed);
    CHECK(decide(t, 0, mac_b, mac_a, 6), 2, false);
    CHECK(decide(t, 0, mac_b, mac_a, NO_VLAN), 2, false);
    CHECK(decide(t, 1, mac_a, mac_b, 5), 0, false);
    assert_true(decide(t, 63, mac_b, mac_a, 6).spoofed);
    free(t);
}

static void test_without_replication(void **state)
{
    struct nic_derived *t = tables_new();

    (void)state;
    t->replication = false;
    CHECK(decide(t, 0, mac_b, mac_a, NO_VLAN), 2, false);
    CHECK(decide(t, 0, mac_all, mac_a, NO_VLAN), PF, true);
    CHECK(decide(t, UPLINK, mac_all, mac_other, NO_VLAN), PF, false);
    add_mac(t, mac_b, 4);
    CHECK(decide(t, 0, mac_b, mac_a, NO_VLAN), 2, false); // of several the lowest
    free(t);
}

static void test_without_vt(void **state)
{
    struct nic_derived *t = tables_new();

    (void)state;
    t->vt_mode = false;
    t->default_pool = 0;
    CHECK(decide(t, 0, mac_b, mac_a, NO_VLAN), 0, true); // no switch: everything goes out
    CHECK(decide(t, UPLINK, mac_a, mac_other, NO_VLAN), 1, false);
    CHECK(decide(t, UPLINK, mac_other, mac_b, NO_VLAN), 0, false);
    CHECK(decide(t, UPLINK, mac_a, mac_other, 7), 0, false);
    t->vfta[0] = BIT(7);
    CHECK(decide(t, UPLINK, mac_a, mac_other, 7), 1, false);
    free(t);
}

// As many addresses as the card has, all in the table, and none that was not put there.
static void test_mac_table_full(void **state)
{
    struct nic_derived *t = calloc(1, sizeof *t);
    uint8_t mac[6] = {2, 0, 0, 0, 0, 0};
    unsigned used = 0;

    (void)state;
    for (unsigned i = 0; i < NIC_RAR_COUNT; i++) {
        mac[5] = (uint8_t)i;
        add_mac(t, mac, BIT64(i % 64));
    }
    for (unsigned i = 0; i < NIC_MAC_SLOTS; i++)
        used += t->mac[i].mac != 0;
    assert_int_equal(used, NIC_RAR_COUNT);
    for (unsigned i = 0; i < 256; i++) {
        const struct nic_mac_slot *slot;

        mac[5] = (uint8_t)i;
        slot = &t->mac[nic_switch_mac_slot(t->mac, nic_frame_mac(mac))];
        assert_int_equal(slot->pools, i < NIC_RAR_COUNT ? BIT64(i % 64) : 0);
    }
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unicast_from_pool), cmocka_unit_test(test_unicast_hash),
        cmocka_unit_test(test_group_from_pool),   cmocka_unit_test(test_multicast_offsets),
        cmocka_unit_test(test_from_uplink),       cmocka_unit_test(test_vlans),
        cmocka_unit_test(test_spoofing),          cmocka_unit_test(test_without_replication),
        cmocka_unit_test(test_without_vt),        cmocka_unit_test(test_mac_table_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
// The PF's mailbox policy, message by message, and what a hostile VF can do with it.
#include "driver/test_pf_fixture.h"

#include <poll.h>
#include <stdlib.h>

#define ADD (1u << HW_MSG_INFO_SHIFT)

static void test_reset_first(void **state)
{
    struct pf_fixture f;
    uint32_t msg[HW_MAILBOX_WORDS] = {HW_MSG_API_NEGOTIATE, PF_API_14};
    struct pf_vf_state s;

    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    // Before VF_RESET: refused, without CTS.
    assert_int_equal(vf_ask(&f, 1, msg), HW_MSG_API_NEGOTIATE | HW_MSG_NACK);
    assert_false(rx_is_on(&f, 1));
    f.card->regs[HW_TDWBAL(4) / 4] = 0x1001;
    f.card->mailbox[1].words[15] = 0x5ec7e7;
    msg[0] = HW_MSG_VF_RESET;
    vf_put(&f, 1, msg, 1);
    pf_driver_service(f.pf);
    assert_true(vf_get(&f, 1, msg));
    pf_driver_service(f.pf);
    assert_int_equal(msg[0], HW_MSG_VF_RESET | HW_MSG_ACK);
    pf_driver_vf_state(f.pf, 1, &s);
    assert_true(s.up);
    assert_int_equal(s.requests, 2);
    assert_int_equal(s.nacks, 1);
    assert_memory_equal(&msg[1], s.mac, 6);
    assert_int_equal(msg[3], 0);
    assert_int_equal(msg[15], 0); // nothing of the last owner's
    assert_int_equal(test_card_reg(f.card, HW_TDWBAL(4)), 0);
    assert_true(rx_is_on(&f, 1) && tx_is_on(&f, 1));
    assert_false(rx_is_on(&f, 0) || tx_is_on(&f, 0));
    // VF_RESET with anything else in word 0 is not one.
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_VF_RESET | ADD, 0, 0), REFUSED);
    // A message that is an answer of ours is taken and not answered.
    msg[0] = HW_MSG_SET_VLAN | HW_MSG_ACK;
    vf_put(&f, 1, msg, 1);
    pf_driver_service(f.pf);
    assert_false(vf_get(&f, 1, msg));
    fixture_end(&f);
}

static void test_negotiate(void **state)
{
    static const int apis[] = {PF_API_10, PF_API_11, PF_API_12, PF_API_13, PF_API_14, PF_API_15};
    struct pf_vf_state s;

    (void)state;
    for (unsigned max = 0; max < ARRAY_LEN(apis); max++) {
        struct pf_fixture f;

        fixture_init(&f);
        f.config.mailbox_api_max = (enum pf_mailbox_api)apis[max];
        fixture_open(&f);
        vf_start(&f, 0, -1);
        pf_driver_vf_state(f.pf, 0, &s);
        assert_int_equal(s.api, -1);
        for (uint32_t api = 0; api < 10; api++) {
            bool known = api != HW_API_20 && api <= (uint32_t)apis[max];

            assert_int_equal(vf_ask3(&f, 0, HW_MSG_API_NEGOTIATE, api, 0), known ? DONE : REFUSED);
        }
        assert_int_equal(vf_ask3(&f, 0, HW_MSG_API_NEGOTIATE, UINT32_MAX, 0), REFUSED);
        pf_driver_vf_state(f.pf, 0, &s);
        assert_int_equal(s.api, apis[max]); // the last one that was accepted
        fixture_end(&f);
    }
}

static void test_set_mac(void **state)
{
    struct pf_fixture f;
    uint8_t mac[6];

    (void)state;
    fixture_init(&f);
    f.config.vf[0] = (struct pf_vf_policy){.mac = {0x02, 1, 2, 3, 4, 5}, .link_up = true};
    f.config.vf[1].trusted = true;
    fixture_open(&f);
    vf_start(&f, 0, PF_API_14);
    vf_start(&f, 1, PF_API_14);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_MAC_ADDR, 0x03020102, 0x0504), DONE); // its own
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_MAC_ADDR, 0x03020102, 0x0604), REFUSED);
    assert_int_equal(rar_pools(&f, 1, mac), 1);
    assert_memory_equal(mac, f.config.vf[0].mac, 6);
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_MAC_ADDR, 0x33221102, 0xffff5544), DONE);
    assert_int_equal(rar_pools(&f, 2, mac), 2);
    assert_memory_equal(mac, "\x02\x11\x22\x33\x44\x55", 6);
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_MAC_ADDR, 0x33221103, 0x5544), REFUSED); // group
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_MAC_ADDR, 0, 0), REFUSED);
    assert_int_equal(rar_pools(&f, 2, mac), 2);
    assert_memory_equal(mac, "\x02\x11\x22\x33\x44\x55", 6);
    fixture_end(&f);
}

static void test_set_multicast(void **state)
{
    struct pf_fixture f;
    uint32_t msg[HW_MAILBOX_WORDS] = {0};
    unsigned bits = 0;

    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    vf_start(&f, 0, PF_API_14);
    vf_start(&f, 1, PF_API_14);
    // 30 fit. 255 is what a hostile one says: no more than 30 are read.
    for (unsigned count = 30; count <= 255; count += 225) {
        msg[0] = HW_MSG_SET_MULTICAST | count << HW_MSG_INFO_SHIFT;
        for (unsigned i = 0; i < 30; i++)
            msg[1 + i / 2] = (i % 2 ? msg[1 + i / 2] : 0) | (0xf000 | i * 33) << 16 * (i % 2);
        assert_int_equal(vf_ask(&f, 0, msg) & 0xff00ffff, HW_MSG_SET_MULTICAST | DONE);
        bits = 0;
        for (unsigned i = 0; i < HW_MTA_COUNT; i++)
            bits += (unsigned)__builtin_popcount(test_card_reg(f.card, HW_MTA(i)));
        assert_int_equal(bits, 30);
    }
    assert_true(test_card_reg(f.card, HW_MTA(1)) & BIT(1)); // hash 33: word 1, bit 1
    assert_true(test_card_reg(f.card, HW_PFVML2FLT(0)) & HW_PFVML2FLT_ROMPE);
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_MULTICAST | ADD, 33, 0), DONE);
    // What another VF wants stays when the first one's list goes.
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_MULTICAST, 0, 0), DONE);
    assert_int_equal(test_card_reg(f.card, HW_MTA(1)), BIT(1));
    assert_int_equal(test_card_reg(f.card, HW_MTA(2)), 0);
    assert_false(test_card_reg(f.card, HW_PFVML2FLT(0)) & HW_PFVML2FLT_ROMPE);
    fixture_end(&f);
}

static void test_set_vlan(void **state)
{
    struct pf_fixture f;

    (void)state;
    fixture_init(&f);
    f.config.vf[2].vlan = 4094;
    f.config.vf[2].qos = 5;
    fixture_open(&f);
    for (unsigned i = 0; i < 3; i++)
        vf_start(&f, i, PF_API_14);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_VLAN | ADD, 4095, 0), DONE);
    assert_int_equal(vlan_pools(&f, 4095), 1);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_VLAN, 4095, 0), DONE);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_VLAN, 77, 0), DONE); // never added
    assert_false(vfta_has(&f, 4095));
    // VLAN 0, also where it hides behind upper bits, can not be left.
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_VLAN, 0xfffff000, 0), DONE);
    assert_int_equal(vlan_pools(&f, 0), 0xb);
    // 64 entries: [0] for VLAN 0, one for the port VLAN.
    for (unsigned i = 1; i <= 62; i++)
        assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_VLAN | ADD, i, 0), DONE);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_VLAN | ADD, 63, 0), REFUSED);
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_VLAN | ADD, 62, 0), DONE); // has an entry
    assert_int_equal(vlan_pools(&f, 62), 3);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_VLAN, 61, 0), DONE);
    assert_int_equal(vlan_pools(&f, 61), 0);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_VLAN | ADD, 63, 0), DONE);
    // A VF with a port VLAN has that one only.
    assert_int_equal(vf_ask3(&f, 2, HW_MSG_SET_VLAN | ADD, 62, 0), REFUSED);
    assert_int_equal(vf_ask3(&f, 2, HW_MSG_SET_VLAN | ADD, 0, 0), REFUSED);
    assert_int_equal(vf_ask3(&f, 2, HW_MSG_SET_VLAN, 4094, 0), REFUSED);
    assert_int_equal(vf_ask3(&f, 2, HW_MSG_SET_VLAN, 62, 0), DONE); // was not in it
    assert_int_equal(vf_ask3(&f, 2, HW_MSG_SET_VLAN, 0, 0), DONE);
    assert_int_equal(vlan_pools(&f, 62), 3);
    assert_int_equal(vlan_pools(&f, 4094), 4);
    assert_int_equal(test_card_reg(f.card, HW_PFVMVIR(2)), 0x40000000 | 5 << 13 | 4094);
    fixture_end(&f);
}

static void test_lpe_follows_vfs(void **state)
{
    struct pf_fixture f;

    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    vf_start(&f, 0, PF_API_11);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_LPE, 67, 0), REFUSED);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_LPE, 68, 0), DONE);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_LPE, 9729, 0), REFUSED);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_LPE, UINT32_MAX, 0), REFUSED);
    assert_int_equal(test_card_reg(f.card, HW_MAXFRS) >> 16, 1518);
    // One that has only just been reset may still turn out to be new enough.
    vf_start(&f, 3, -1);
    assert_true(rx_is_on(&f, 3));
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_LPE, 9728, 0), DONE);
    assert_int_equal(test_card_reg(f.card, HW_MAXFRS) >> 16, 9728);
    assert_false(rx_is_on(&f, 3));
    assert_true(rx_is_on(&f, 0));
    // One that comes now receives once it has said that it can.
    vf_start(&f, 1, PF_API_12);
    assert_false(rx_is_on(&f, 1));
    assert_true(tx_is_on(&f, 1));
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_LPE, 1518, 0), DONE);
    assert_true(rx_is_on(&f, 1));
    // API 1.0 can not say so.
    vf_start(&f, 2, PF_API_10);
    assert_int_equal(vf_ask3(&f, 2, HW_MSG_SET_LPE, 1518, 0), REFUSED);
    assert_false(rx_is_on(&f, 2));
    // The long frames' last user leaves: 1500 again, and the old VF receives.
    test_card_vf_reset(f.card, 0);
    pf_driver_service(f.pf);
    assert_int_equal(test_card_reg(f.card, HW_MAXFRS) >> 16, 1518);
    assert_true(rx_is_on(&f, 2));
    assert_int_equal(vf_ask3(&f, 2, HW_MSG_SET_LPE, 1519, 0), REFUSED);
    // And now it is the old one that holds the port at 1500.
    vf_start(&f, 0, PF_API_14);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_LPE, 1519, 0), REFUSED);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_LPE, 1518, 0), DONE);
    assert_true(rx_is_on(&f, 2));
    fixture_end(&f);
}

static void test_lpe_fixed(void **state)
{
    struct pf_fixture f;

    (void)state;
    fixture_init(&f);
    f.config.mtu = 9000;
    fixture_open(&f);
    assert_int_equal(test_card_reg(f.card, HW_MAXFRS) >> 16, 9018);
    vf_start(&f, 0, PF_API_14);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_LPE, 9019, 0), REFUSED);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_LPE, 9018, 0), DONE);
    assert_true(rx_is_on(&f, 0));
    vf_start(&f, 1, PF_API_10);
    assert_false(rx_is_on(&f, 1));
    fixture_end(&f);
    fixture_init(&f);
    f.config.mtu = 1500;
    fixture_open(&f);
    vf_start(&f, 0, PF_API_14);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_LPE, 1519, 0), REFUSED);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_LPE, 1518, 0), DONE);
    fixture_end(&f);
}

static void test_macvlan(void **state)
{
    struct pf_fixture f;
    uint8_t mac[6];

    (void)state;
    fixture_init(&f);
    f.config.vf[1].trusted = true;
    fixture_open(&f);
    vf_start(&f, 0, PF_API_14);
    vf_start(&f, 1, PF_API_14);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_MACVLAN | ADD, 0x02, 0), REFUSED);
    assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_MACVLAN, 0, 0), DONE); // an empty list is fine
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_MACVLAN | ADD, 0x01, 0), REFUSED); // group
    assert_true(test_card_reg(f.card, HW_PFVFSPOOF(0)) & BIT(1));
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_MACVLAN | ADD * (i + 1), 0x02 | i << 8, 0),
                         DONE);
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_MACVLAN | 2 * ADD, 0x02 | 64 << 8, 0), REFUSED);
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_MACVLAN | 2 * ADD, 0x02 | 63 << 8, 0), DONE);
    assert_int_equal(rar_pools(&f, 127, mac), 2);
    assert_int_equal(rar_pools(&f, 2, mac), 2); // its own
    assert_false(test_card_reg(f.card, HW_PFVFSPOOF(0)) & (BIT(1) | BIT(9)));
    assert_true(test_card_reg(f.card, HW_PFVFSPOOF(0)) & BIT(0));
    // Index 1 starts a new list.
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_MACVLAN | ADD, 0x02, 0), DONE);
    assert_int_equal(rar_pools(&f, 64, mac), 2);
    assert_int_equal(rar_pools(&f, 65, mac), 0);
    assert_int_equal(rar_pools(&f, 127, mac), 0);
    fixture_end(&f);
}

static void test_queries(void **state)
{
    static const struct {
        uint32_t id;
        int since;
    } queries[] = {
        {HW_MSG_GET_QUEUES, PF_API_11},     {HW_MSG_GET_RETA, PF_API_12},
        {HW_MSG_GET_RSS_KEY, PF_API_12},    {HW_MSG_UPDATE_XCAST_MODE, PF_API_12},
        {HW_MSG_GET_LINK_STATE, PF_API_12},
    };
    static const int apis[] = {PF_API_10, PF_API_11, PF_API_12, PF_API_13, PF_API_14};
    struct pf_fixture f;
    uint32_t msg[HW_MAILBOX_WORDS] = {HW_MSG_GET_QUEUES};

    (void)state;
    fixture_init(&f);
    f.config.vf[1].vlan = 5;
    f.config.vf[1].link_up = false;
    fixture_open(&f);
    for (unsigned i = 0; i < ARRAY_LEN(queries); i++) {
        for (unsigned j = 0; j < ARRAY_LEN(apis); j++) {
            vf_start(&f, 0, apis[j]);
            assert_int_equal(vf_ask3(&f, 0, queries[i].id, 0, 0),
                             apis[j] >= queries[i].since ? DONE : REFUSED);
        }
    }
    assert_int_equal(vf_ask(&f, 0, msg), HW_MSG_GET_QUEUES | DONE);
    assert_int_equal(msg[HW_MSG_QUEUES_TX], 4);
    assert_int_equal(msg[HW_MSG_QUEUES_RX], 4);
    assert_int_equal(msg[HW_MSG_QUEUES_TRANS_VLAN], 0);
    assert_int_equal(msg[HW_MSG_QUEUES_DEFAULT], 0);
    memset(msg, 0xff, sizeof msg);
    msg[0] = HW_MSG_GET_RETA;
    assert_int_equal(vf_ask(&f, 0, msg), HW_MSG_GET_RETA | DONE);
    for (unsigned i = 0; i < 128; i++)
        assert_int_equal(msg[1 + i / 16] >> 2 * (i % 16) & 3,
                         test_card_reg(f.card, HW_RETA(i / 4)) >> 8 * (i % 4) & 0xff);
    assert_int_equal(msg[9], UINT32_MAX);
    msg[0] = HW_MSG_GET_RSS_KEY;
    assert_int_equal(vf_ask(&f, 0, msg), HW_MSG_GET_RSS_KEY | DONE);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(msg[1 + i], test_card_reg(f.card, HW_RSSRK(i)));
    msg[0] = HW_MSG_GET_LINK_STATE;
    vf_ask(&f, 0, msg);
    assert_int_equal(msg[1], 1);
    vf_start(&f, 1, PF_API_14);
    msg[0] = HW_MSG_GET_LINK_STATE;
    vf_ask(&f, 1, msg);
    assert_int_equal(msg[1], 0);
    msg[0] = HW_MSG_GET_QUEUES;
    vf_ask(&f, 1, msg);
    assert_int_equal(msg[HW_MSG_QUEUES_TRANS_VLAN], 1);
    fixture_end(&f);
}

static uint32_t ask_xcast(struct pf_fixture *f, unsigned vf, uint32_t mode, uint32_t *got)
{
    uint32_t msg[HW_MAILBOX_WORDS] = {HW_MSG_UPDATE_XCAST_MODE, mode};
    uint32_t flags = vf_ask(f, vf, msg) & (DONE | REFUSED);

    *got = msg[1];
    return flags;
}

static void test_xcast(void **state)
{
    const uint32_t all = HW_PFVML2FLT_ROMPE | HW_PFVML2FLT_ROPE | HW_PFVML2FLT_BAM |
                         HW_PFVML2FLT_MPE | HW_PFVML2FLT_AUPE;
    struct pf_fixture f;
    uint32_t got;

    (void)state;
    fixture_init(&f);
    f.config.vf[1].trusted = f.config.vf[2].trusted = true;
    fixture_open(&f);
    vf_start(&f, 0, PF_API_14);
    vf_start(&f, 1, PF_API_12);
    // Not trusted: gets its own groups, whatever it asks for.
    for (uint32_t mode = HW_XCAST_MULTI; mode <= HW_XCAST_PROMISC; mode++) {
        assert_int_equal(ask_xcast(&f, 0, mode, &got), DONE);
        assert_int_equal(got, HW_XCAST_MULTI);
        assert_int_equal(test_card_reg(f.card, HW_PFVML2FLT(0)),
                         HW_PFVML2FLT_BAM | HW_PFVML2FLT_AUPE | HW_PFVML2FLT_ROMPE);
    }
    assert_int_equal(ask_xcast(&f, 0, 4, &got), REFUSED);
    assert_int_equal(ask_xcast(&f, 0, UINT32_MAX, &got), REFUSED);
    assert_int_equal(ask_xcast(&f, 0, HW_XCAST_NONE, &got), DONE);
    assert_false(test_card_reg(f.card, HW_PFVML2FLT(0)) & HW_PFVML2FLT_ROMPE);
    // Trusted, but promiscuous came with 1.3.
    assert_int_equal(ask_xcast(&f, 1, HW_XCAST_PROMISC, &got), REFUSED);
    assert_int_equal(ask_xcast(&f, 1, HW_XCAST_ALLMULTI, &got), DONE);
    assert_int_equal(test_card_reg(f.card, HW_PFVML2FLT(1)), all & ~HW_PFVML2FLT_ROPE);
    vf_start(&f, 1, PF_API_13);
    assert_int_equal(test_card_reg(f.card, HW_PFUTA(127)), 0);
    assert_int_equal(ask_xcast(&f, 1, HW_XCAST_PROMISC, &got), DONE);
    assert_int_equal(got, HW_XCAST_PROMISC);
    assert_int_equal(test_card_reg(f.card, HW_PFVML2FLT(1)), all);
    assert_int_equal(test_card_reg(f.card, HW_PFUTA(0)), UINT32_MAX);
    vf_start(&f, 2, PF_API_13);
    assert_int_equal(ask_xcast(&f, 2, HW_XCAST_PROMISC, &got), DONE);
    assert_int_equal(ask_xcast(&f, 2, HW_XCAST_NONE, &got), DONE);
    assert_int_equal(test_card_reg(f.card, HW_PFUTA(127)), UINT32_MAX); // still one left
    assert_int_equal(ask_xcast(&f, 1, HW_XCAST_MULTI, &got), DONE);
    assert_int_equal(test_card_reg(f.card, HW_PFUTA(127)), 0);
    fixture_end(&f);
}

static void test_unknown(void **state)
{
    static const uint32_t ids[] = {
        0, 7, HW_MSG_IPSEC_ADD, HW_MSG_IPSEC_DEL, 0x0f, 0x11, 0x12, 0x13, 0x0100, 0xffff};
    struct pf_fixture f;

    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    vf_start(&f, 0, PF_API_14);
    for (unsigned i = 0; i < ARRAY_LEN(ids); i++)
        assert_int_equal(vf_ask3(&f, 0, ids[i], 1, 1), REFUSED);
    fixture_end(&f);
}

// API 1.5: after the answer to API_NEGOTIATE the VF keeps the buffer until it has the ACK, and the
// PF until the VF has acknowledged.
static void test_api_15_locking(void **state)
{
    struct pf_fixture f;
    uint32_t bits, msg[HW_MAILBOX_WORDS];

    (void)state;
    fixture_init(&f);
    f.config.mailbox_api_max = PF_API_15;
    fixture_open(&f);
    vf_start(&f, 0, -1);
    f.card->mailbox[0].words[1] = PF_API_15;
    vf_put(&f, 0, (const uint32_t[]){HW_MSG_API_NEGOTIATE}, 1);
    pf_driver_service(f.pf);
    assert_false(f.card->mailbox[0].pfu); // this answer is still of the old kind
    assert_true(vf_get(&f, 0, msg));
    assert_int_equal(msg[0], HW_MSG_API_NEGOTIATE | DONE);
    pf_driver_service(f.pf);
    for (unsigned i = 0; i < 3; i++) {
        test_card_vf_write(f.card, 0, HW_VFMAILBOX_VFU);
        assert_true(test_card_vf_read(f.card, 0) & HW_VFMAILBOX_VFU);
        f.card->mailbox[0].words[0] = HW_MSG_GET_LINK_STATE;
        test_card_vf_write(f.card, 0, HW_VFMAILBOX_REQ | HW_VFMAILBOX_VFU);
        pf_driver_service(f.pf);
        bits = test_card_vf_read(f.card, 0);
        assert_true(bits & HW_VFMAILBOX_PFACK);
        assert_false(bits & HW_VFMAILBOX_PFSTS); // the buffer is the VF's
        test_card_vf_write(f.card, 0, 0);
        // The PF comes back by its own timer.
        assert_int_equal(
            poll(&(struct pollfd){.fd = pf_driver_irq_fd(f.pf), .events = POLLIN}, 1, 10000), 1);
        pf_driver_service(f.pf);
        bits = test_card_vf_read(f.card, 0);
        assert_true(bits & HW_VFMAILBOX_PFSTS);
        assert_true(f.card->mailbox[0].pfu);
        assert_int_equal(f.card->mailbox[0].words[0], HW_MSG_GET_LINK_STATE | DONE);
        assert_int_equal(f.card->mailbox[0].words[1], 1);
        if (i < 2) {
            test_card_vf_write(f.card, 0, HW_VFMAILBOX_ACK);
            pf_driver_service(f.pf);
        } else {
            // It forgot to: the PF does not keep it for ever.
            assert_int_equal(
                poll(&(struct pollfd){.fd = pf_driver_irq_fd(f.pf), .events = POLLIN}, 1, 10000),
                1);
            pf_driver_service(f.pf);
        }
        assert_false(f.card->mailbox[0].pfu);
    }
    fixture_end(&f);
}

// Any words, at any rate, in any order: the neighbour keeps all it has, and one call does a bounded
// amount of work.
static void test_hostile_words(void **state)
{
    struct pf_fixture f;
    struct pf_vf_state before, after;
    uint32_t seed = 1;
    unsigned accesses_max = 0;
    uint8_t mac[6];

    (void)state;
    fixture_init(&f);
    f.config.mailbox_api_max = PF_API_15;
    f.config.mtu = 9000;
    fixture_open(&f);
    vf_start(&f, 1, PF_API_14);
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_VLAN | ADD, 4000, 0), DONE);
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_LPE, 9018, 0), DONE);
    pf_driver_vf_state(f.pf, 1, &before);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned start;

        for (unsigned j = 0; j < HW_MAILBOX_WORDS; j++) {
            seed = seed * 1664525u + 1013904223u;
            f.card->mailbox[0].words[j] = seed >> (seed >> 28);
        }
        // Mostly what a handler answers to, and mostly cleared to send.
        if (i % 8)
            f.card->mailbox[0].words[0] &= 0x00ff001f;
        if (i % 64 == 0)
            f.card->mailbox[0].words[0] = HW_MSG_VF_RESET;
        test_card_vf_write(f.card, 0, seed & 0xff);
        test_card_vf_write(f.card, 0, HW_VFMAILBOX_REQ | (seed >> 8 & 0x0f));
        if (i % 1000 == 0)
            test_card_vf_reset(f.card, 0);
        start = f.card->pf_accesses;
        pf_driver_service(f.pf);
        if (f.card->pf_accesses - start > accesses_max)
            accesses_max = f.card->pf_accesses - start;
    }
    assert_in_range(accesses_max, 1, 1500);
    pf_driver_vf_state(f.pf, 1, &after);
    assert_memory_equal(before.mac, after.mac, sizeof before.mac);
    assert_true(after.up);
    assert_int_equal(after.api, PF_API_14);
    assert_int_equal(after.mtu_frame_bytes, 9018);
    assert_int_equal(after.requests, before.requests);
    assert_int_equal(after.answers_dropped, 0);
    assert_int_equal(rar_pools(&f, 2, mac), 2);
    assert_memory_equal(mac, before.mac, 6);
    assert_true(vlan_pools(&f, 4000) & 2);
    assert_true(rx_is_on(&f, 1) && tx_is_on(&f, 1));
    assert_int_equal(test_card_reg(f.card, HW_MAXFRS) >> 16, 9018);
    assert_int_equal(vf_ask3(&f, 1, HW_MSG_GET_LINK_STATE, 0, 0), DONE);
    // And it never got more than its own MAC.
    pf_driver_vf_state(f.pf, 0, &after);
    assert_int_equal(rar_pools(&f, 1, mac), 1);
    assert_int_equal(mac[0], 1 << 2 | 2);
    for (unsigned i = 5; i < 128; i++)
        assert_int_equal(rar_pools(&f, i, mac), 0);
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_first),   cmocka_unit_test(test_negotiate),
        cmocka_unit_test(test_set_mac),       cmocka_unit_test(test_set_multicast),
        cmocka_unit_test(test_set_vlan),      cmocka_unit_test(test_lpe_follows_vfs),
        cmocka_unit_test(test_lpe_fixed),     cmocka_unit_test(test_macvlan),
        cmocka_unit_test(test_queries),       cmocka_unit_test(test_xcast),
        cmocka_unit_test(test_unknown),       cmocka_unit_test(test_api_15_locking),
        cmocka_unit_test(test_hostile_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

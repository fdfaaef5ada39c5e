// SPDX-License-Identifier: BSD-3-Clause
// The PF driver's start, its events, and what the host can ask of it.
#include "driver/test_pf_fixture.h"

#include <errno.h>
#include <poll.h>

#include "driver/pf_mailbox.h"

static bool poll_readable(const struct pf_driver *pf, int timeout_ms)
{
    struct pollfd p = {.fd = pf_driver_irq_fd(pf), .events = POLLIN};

    return poll(&p, 1, timeout_ms) == 1;
}

static int try_open(struct pf_fixture *f, char *error, size_t error_len)
{
    return pf_driver_open(&f->card->pf_bus, &f->config, &f->pf, error, error_len);
}

static void test_open_32_pools(void **state)
{
    struct pf_fixture f;
    uint8_t mac[6], want[6] = {0x00, 0x1b, 0x21, 0x0a, 0x0b, 0x0c};

    (void)state;
    fixture_init(&f);
    f.config.vf_count = 31;
    fixture_open(&f);
    pf_driver_mac(f.pf, mac);
    assert_memory_equal(mac, want, 6);
    assert_true(pf_driver_link_is_up(f.pf));
    assert_int_equal(f.card->command & 6, 6);
    assert_int_equal(test_card_reg(f.card, HW_MTQC), HW_MTQC_VT_ENA | HW_MTQC_32VF);
    assert_int_equal(test_card_reg(f.card, HW_MRQC) & HW_MRQC_MRQE_MASK, HW_MRQC_VMDQ32_RSS);
    assert_int_equal(test_card_reg(f.card, HW_GCR_EXT), HW_GCR_EXT_VT_MODE_32);
    assert_int_equal(test_card_reg(f.card, HW_GPIE) >> HW_GPIE_VT_MODE_SHIFT & 3, 2);
    assert_int_equal(test_card_reg(f.card, HW_PFVTCTL) & HW_PFVTCTL_DEF_PL_MASK,
                     31 << HW_PFVTCTL_DEF_PL_SHIFT);
    assert_true(test_card_reg(f.card, HW_PFVTCTL) & HW_PFVTCTL_VT_ENA);
    assert_int_equal(test_card_reg(f.card, HW_PFDTXGSWC), HW_PFDTXGSWC_LBE);
    assert_true(test_card_reg(f.card, HW_RXCTRL) & HW_RXCTRL_RXEN);
    assert_false(test_card_reg(f.card, HW_SECRXCTRL) & HW_SECRXCTRL_RX_DIS);
    assert_true(test_card_reg(f.card, HW_DMATXCTL) & HW_DMATXCTL_TE);
    assert_true(test_card_reg(f.card, HW_CTRL_EXT) & HW_CTRL_EXT_PFRSTD);
    assert_int_equal(test_card_reg(f.card, HW_MAXFRS) >> HW_MAXFRS_MFS_SHIFT, 1518);
    assert_int_equal(test_card_reg(f.card, HW_EIMS), HW_EICR_MAILBOX | HW_EICR_LSC);
    for (unsigned i = 0; i < HW_QUEUES; i++)
        assert_true(f.card->drop_enabled[i]);
    // Nobody may send or receive before it has introduced itself.
    assert_int_equal(test_card_reg(f.card, HW_PFVFRE(0)), 0);
    assert_int_equal(test_card_reg(f.card, HW_PFVFTE(0)), 0);
    assert_int_equal(vlan_pools(&f, 0), BIT64(31) - 1);
    assert_true(vfta_has(&f, 0));
    assert_int_equal(test_card_reg(f.card, HW_PFVFSPOOF(0)), 0xffff);
    assert_int_equal(test_card_reg(f.card, HW_PFVFSPOOF(3)), 0x7f7f); // VFs 24 … 30
    fixture_end(&f);
}

static void test_open_64_pools(void **state)
{
    struct pf_fixture f;
    uint8_t mac[6];

    (void)state;
    for (unsigned vfs = 32; vfs <= 63; vfs += 31) {
        fixture_init(&f);
        f.config.vf_count = vfs;
        fixture_open(&f);
        assert_int_equal(test_card_reg(f.card, HW_MTQC), HW_MTQC_VT_ENA | HW_MTQC_64VF);
        assert_int_equal(test_card_reg(f.card, HW_MRQC) & HW_MRQC_MRQE_MASK, HW_MRQC_VMDQ64_RSS);
        assert_int_equal(test_card_reg(f.card, HW_GCR_EXT), HW_GCR_EXT_VT_MODE_64);
        assert_int_equal(rar_pools(&f, 0, mac), BIT64(vfs));
        assert_int_equal(rar_pools(&f, vfs, mac), BIT64(vfs - 1));
        for (unsigned i = 0; i < 128; i++) // only queues that a pool has
            assert_true((test_card_reg(f.card, HW_RETA(i / 4)) >> 8 * (i % 4) & 0xff) < 2);
        fixture_end(&f);
    }
}

static void test_macs_are_stable_and_differ(void **state)
{
    struct pf_fixture f, g;
    struct pf_vf_state a, b;

    (void)state;
    fixture_init(&f);
    fixture_init(&g);
    f.config.vf_count = g.config.vf_count = 63;
    g.card->eeprom[0x102] = 0x0d0b; // the next port: one more
    test_card_seal_eeprom(g.card);
    fixture_open(&f);
    fixture_open(&g);
    for (unsigned i = 0; i < 63; i++) {
        uint8_t pf_mac[6];

        assert_int_equal(pf_driver_vf_state(f.pf, i, &a), 0);
        assert_int_equal(a.mac[0] & 3, 2); // unicast, locally administered
        assert_memory_equal(a.mac + 1, "\x1b\x21\x0a\x0b\x0c", 5);
        pf_driver_mac(f.pf, pf_mac);
        assert_memory_not_equal(a.mac, pf_mac, 6);
        for (unsigned j = 0; j < 63; j++) {
            pf_driver_vf_state(f.pf, j, &b);
            assert_true(i == j || memcmp(a.mac, b.mac, 6));
            pf_driver_vf_state(g.pf, j, &b);
            assert_memory_not_equal(a.mac, b.mac, 6);
        }
    }
    pf_driver_vf_state(f.pf, 5, &a);
    assert_int_equal(a.mac[0], 6 << 2 | 2);
    fixture_end(&f);
    fixture_end(&g);
}

static void test_bad_config(void **state)
{
    char error[200];
    struct pf_fixture f;
    static const struct {
        struct pf_vf_policy policy;
        int want;
    } policies[] = {
        {{.vlan = 4094, .qos = 7}, 0},
        {{.vlan = 4095}, -EINVAL},
        {{.qos = 8}, -EINVAL},
        {{.mac = {0x01, 0, 0, 0, 0, 1}}, -EINVAL}, // group address
        {{.mac = {0x02, 0, 0, 0, 0, 1}}, 0},
    };
    static const struct {
        unsigned vfs, mtu;
        int api, want;
    } configs[] = {
        {63, 0, PF_API_15, 0},
        {64, 0, PF_API_14, -EINVAL},
        {0, 0, PF_API_10, 0},
        {4, 0, 1, -EINVAL},
        {4, 0, 7, -EINVAL},
        {4, 0, -1, -EINVAL},
        {4, 1499, PF_API_14, -EINVAL},
        {4, 1500, PF_API_14, 0},
        {4, 9710, PF_API_14, 0},
        {4, 9711, PF_API_14, -EINVAL},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(policies); i++) {
        fixture_init(&f);
        f.config.vf[3] = policies[i].policy;
        assert_int_equal(try_open(&f, error, sizeof error), policies[i].want);
        fixture_end(&f);
    }
    for (unsigned i = 0; i < ARRAY_LEN(configs); i++) {
        fixture_init(&f);
        f.config.vf_count = configs[i].vfs;
        f.config.mtu = (uint16_t)configs[i].mtu;
        f.config.mailbox_api_max = (enum pf_mailbox_api)configs[i].api;
        assert_int_equal(try_open(&f, error, sizeof error), configs[i].want);
        fixture_end(&f);
    }
}

static void test_bad_card(void **state)
{
    char error[200] = "";
    struct pf_fixture f;

    (void)state;
    fixture_init(&f); // checksum
    f.card->eeprom[0x20] ^= 1;
    assert_int_equal(try_open(&f, error, sizeof error), -EIO);
    assert_non_null(strstr(error, "checksum"));
    fixture_end(&f);
    fixture_init(&f); // the checksum covers what a pointer points to
    f.card->eeprom[0x101] ^= 1;
    assert_int_equal(try_open(&f, error, sizeof error), -EIO);
    fixture_end(&f);
    fixture_init(&f); // a section that runs out of the EEPROM, by one word
    f.card->eeprom[4] = HW_EEPROM_WORDS - 4;
    f.card->eeprom[HW_EEPROM_WORDS - 4] = 4;
    assert_int_equal(try_open(&f, error, sizeof error), -EIO);
    assert_non_null(strstr(error, "too long"));
    fixture_end(&f);
    fixture_init(&f); // a pointer just outside
    f.card->eeprom[14] = HW_EEPROM_WORDS;
    assert_int_equal(try_open(&f, error, sizeof error), -EIO);
    assert_non_null(strstr(error, "outside"));
    fixture_end(&f);
    fixture_init(&f); // a group address as the PF's MAC
    f.card->eeprom[0x100] |= 1;
    test_card_seal_eeprom(f.card);
    assert_int_equal(try_open(&f, error, sizeof error), -EIO);
    fixture_end(&f);
    fixture_init(&f);
    f.card->config_id = 0x100e8086;
    assert_int_equal(try_open(&f, error, sizeof error), -ENODEV);
    fixture_end(&f);
    fixture_init(&f);
    f.card->reset_hangs = true;
    assert_int_equal(try_open(&f, error, sizeof error), -ETIMEDOUT);
    fixture_end(&f);
}

static void test_close_stops_the_port(void **state)
{
    struct pf_fixture f;

    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    vf_start(&f, 0, PF_API_14);
    pf_driver_close(f.pf);
    f.pf = NULL;
    assert_int_equal(f.card->flrs, 1);
    assert_true(test_card_vf_read(f.card, 0) & HW_VFMAILBOX_RSTI);
    fixture_end(&f);
}

// The interrupt's fd is readable exactly while there is something to do.
static void test_fd(void **state)
{
    struct pf_fixture f;
    uint32_t msg[HW_MAILBOX_WORDS] = {HW_MSG_VF_RESET};

    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    pf_driver_service(f.pf);
    assert_false(poll_readable(f.pf, 0));
    vf_put(&f, 2, msg, 1);
    assert_true(poll_readable(f.pf, 0));
    pf_driver_service(f.pf);
    assert_false(poll_readable(f.pf, 0));
    assert_true(vf_get(&f, 2, msg));
    pf_driver_service(f.pf);
    fixture_end(&f);
}

static void test_link_change_is_told(void **state)
{
    struct pf_fixture f;
    uint32_t msg[HW_MAILBOX_WORDS];

    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    vf_start(&f, 1, PF_API_14);
    test_card_set_link(f.card, false);
    pf_driver_service(f.pf);
    assert_false(pf_driver_link_is_up(f.pf));
    assert_true(vf_get(&f, 1, msg));
    assert_int_equal(msg[0], HW_MSG_PF_CONTROL | HW_MSG_CTS);
    assert_true(vf_get(&f, 0, msg)); // not up: no CTS
    assert_int_equal(msg[0], HW_MSG_PF_CONTROL);
    test_card_set_link(f.card, false); // no change
    pf_driver_service(f.pf);
    assert_false(vf_get(&f, 1, msg));
    test_card_set_link(f.card, true);
    pf_driver_service(f.pf);
    assert_true(vf_get(&f, 1, msg));
    assert_int_equal(msg[0], HW_MSG_PF_CONTROL | HW_MSG_CTS);
    fixture_end(&f);
}

// An answer that the VF has not read is not overwritten by a notice, which follows later.
static void test_notice_waits_for_unread_answer(void **state)
{
    struct pf_fixture f;
    uint32_t msg[HW_MAILBOX_WORDS] = {HW_MSG_GET_LINK_STATE};

    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    vf_start(&f, 0, PF_API_14);
    vf_put(&f, 0, msg, 1);
    pf_driver_service(f.pf);
    test_card_set_link(f.card, false);
    pf_driver_service(f.pf);
    assert_true(vf_get(&f, 0, msg));
    assert_int_equal(msg[0], HW_MSG_GET_LINK_STATE | DONE);
    pf_driver_service(f.pf); // its ACK
    assert_true(vf_get(&f, 0, msg));
    assert_int_equal(msg[0], HW_MSG_PF_CONTROL | HW_MSG_CTS);
    fixture_end(&f);
}

// Nor is a request that came in just now.
static void test_notice_spares_a_request(void **state)
{
    struct pf_mailbox m;
    struct pf_fixture f;

    (void)state;
    fixture_init(&f);
    pf_mailbox_init(&m, &f.card->pf_bus, 3);
    pf_mailbox_notify(&m, HW_MSG_PF_CONTROL, 0);
    vf_put(&f, 3, (const uint32_t[]){HW_MSG_SET_VLAN}, 1);
    assert_int_equal(pf_mailbox_run(&m, 1000), 1000 + PF_MAILBOX_RETRY_MS * 1000000);
    assert_int_equal(f.card->mailbox[3].words[0], HW_MSG_SET_VLAN);
    assert_false(f.card->mailbox[3].pfu);
    f.card->regs[HW_PFMBICR(0) / 4] = 0;
    assert_int_equal(pf_mailbox_run(&m, 1001), 1000 + PF_MAILBOX_RETRY_MS * 1000000);
    assert_int_equal(pf_mailbox_run(&m, 2000000), UINT64_MAX);
    assert_int_equal(f.card->mailbox[3].words[0], HW_MSG_PF_CONTROL);
    fixture_end(&f);
}

// A VF that sits on the buffer costs the PF a bounded number of attempts, driven by its timer.
static void test_stuck_vf(void **state)
{
    struct pf_fixture f;
    struct pf_vf_state s;
    uint32_t msg[HW_MAILBOX_WORDS];
    unsigned calls = 0;
    uint64_t requests;

    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    vf_start(&f, 0, PF_API_14);
    vf_start(&f, 1, PF_API_14);
    test_card_vf_write(f.card, 0, HW_VFMAILBOX_VFU);
    test_card_set_link(f.card, false);
    pf_driver_service(f.pf);
    assert_true(vf_get(&f, 1, msg)); // the neighbour has its notice
    pf_driver_service(f.pf);
    while (poll_readable(f.pf, 500)) {
        pf_driver_service(f.pf);
        calls++;
    }
    assert_in_range(calls, 1, 200); // not in a busy loop; few where the machine is slow
    pf_driver_vf_state(f.pf, 0, &s);
    assert_int_equal(s.answers_dropped, 1);
    requests = s.requests;
    // A reset takes the buffer from it.
    test_card_vf_write(f.card, 0, HW_VFMAILBOX_VFU);
    test_card_vf_reset(f.card, 0);
    pf_driver_service(f.pf);
    assert_false(f.card->mailbox[0].vfu);
    vf_start(&f, 0, PF_API_14);
    pf_driver_vf_state(f.pf, 0, &s);
    assert_int_equal(s.requests, requests + 2);
    assert_true(s.up);
    fixture_end(&f);
}

// A VF that lost CTS and answers every message with ACK is told so at a slow pace.
static void test_no_ping_pong(void **state)
{
    struct pf_fixture f;
    uint32_t msg[HW_MAILBOX_WORDS];
    struct pf_vf_policy policy = {.link_up = true, .trusted = true};
    unsigned nacks = 0;

    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    vf_start(&f, 0, PF_API_14);
    assert_int_equal(pf_driver_vf_set_policy(f.pf, 0, &policy), 0);
    assert_true(vf_get(&f, 0, msg));
    assert_int_equal(msg[0], HW_MSG_PF_CONTROL);
    for (unsigned i = 0; i < 20; i++) {
        pf_driver_service(f.pf);
        if (vf_get(&f, 0, msg)) {
            assert_int_equal(msg[0], HW_MSG_NACK);
            nacks++;
        }
    }
    assert_int_equal(nacks, 1);
    assert_true(poll_readable(f.pf, 10000)); // about a second later: once more
    pf_driver_service(f.pf);
    assert_true(vf_get(&f, 0, msg));
    assert_int_equal(msg[0], HW_MSG_NACK);
    fixture_end(&f);
}

static void test_vf_reset_forgets(void **state)
{
    struct pf_fixture f;
    struct pf_vf_state s;
    uint8_t mac[6];

    (void)state;
    fixture_init(&f);
    f.config.vf[0].trusted = true;
    fixture_open(&f);
    for (unsigned round = 0; round < 2; round++) {
        vf_start(&f, 0, PF_API_14);
        vf_start(&f, 1, PF_API_14);
        assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_MAC_ADDR, 0x33221102, 0x5544), DONE);
        assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_VLAN | 1 << 16, 100, 0), DONE);
        assert_int_equal(vf_ask3(&f, 1, HW_MSG_SET_VLAN | 1 << 16, 100, 0), DONE);
        assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_MULTICAST | 1 << 16, 0x123, 0), DONE);
        assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_MACVLAN | 1 << 16, 0x02, 0x0100), DONE);
        assert_int_equal(vf_ask3(&f, 0, HW_MSG_UPDATE_XCAST_MODE, HW_XCAST_PROMISC, 0), DONE);
        assert_int_equal(vf_ask3(&f, 0, HW_MSG_SET_LPE, 9018, 0), DONE);
        assert_true(rx_is_on(&f, 0) && tx_is_on(&f, 0));
        if (round) {
            pf_driver_vf_reset(f.pf, 0);
        } else {
            test_card_vf_reset(f.card, 0);
            pf_driver_service(f.pf);
        }
        pf_driver_vf_state(f.pf, 0, &s);
        assert_false(s.up);
        assert_int_equal(s.api, -1);
        assert_int_equal(s.mtu_frame_bytes, 0);
        assert_int_equal(s.mac[0], 1 << 2 | 2);
        assert_int_equal(rar_pools(&f, 1, mac), 1);
        assert_memory_equal(mac, s.mac, 6);
        assert_int_equal(rar_pools(&f, 64, mac), 0);
        assert_int_equal(vlan_pools(&f, 100), 2);
        assert_int_equal(test_card_reg(f.card, HW_MTA(0x123 >> 5)), 0);
        assert_int_equal(test_card_reg(f.card, HW_PFUTA(0)), 0);
        assert_int_equal(test_card_reg(f.card, HW_PFVML2FLT(0)),
                         HW_PFVML2FLT_BAM | HW_PFVML2FLT_AUPE);
        assert_int_equal(test_card_reg(f.card, HW_PFVFSPOOF(0)) & 0x101, 0x101);
        assert_int_equal(test_card_reg(f.card, HW_MAXFRS) >> 16, 1518);
        assert_false(rx_is_on(&f, 0) || tx_is_on(&f, 0));
        assert_true(rx_is_on(&f, 1) && tx_is_on(&f, 1));
    }
    pf_driver_vf_reset(f.pf, 4); // no such VF
    fixture_end(&f);
}

static void test_policy_change(void **state)
{
    struct pf_fixture f;
    struct pf_vf_state s;
    struct pf_vf_policy policy = {.mac = {2, 0, 0, 0, 0, 9}, .vlan = 7, .qos = 3, .link_up = true};
    uint32_t msg[HW_MAILBOX_WORDS];
    uint8_t mac[6];

    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    vf_start(&f, 2, PF_API_14);
    assert_int_equal(vf_ask3(&f, 2, HW_MSG_SET_VLAN | 1 << 16, 100, 0), DONE);
    assert_int_equal(pf_driver_vf_set_policy(f.pf, 2, &policy), 0);
    assert_int_equal(rar_pools(&f, 3, mac), BIT64(2));
    assert_memory_equal(mac, policy.mac, 6);
    assert_int_equal(vlan_pools(&f, 7), BIT64(2));
    assert_int_equal(vlan_pools(&f, 100), 0);
    assert_int_equal(vlan_pools(&f, 0), 0xb); // all others
    assert_int_equal(test_card_reg(f.card, HW_PFVMVIR(2)), 0x40000000 | 3 << 13 | 7);
    assert_int_equal(test_card_reg(f.card, HW_PFVML2FLT(2)) & HW_PFVML2FLT_AUPE, 0);
    assert_int_equal(test_card_reg(f.card, HW_PFVFSPOOF(0)), 0x0b0b);
    assert_false(rx_is_on(&f, 2) || tx_is_on(&f, 2)); // until it has started over
    assert_true(vf_get(&f, 2, msg));
    assert_int_equal(msg[0], HW_MSG_PF_CONTROL);
    vf_start(&f, 2, PF_API_14);
    assert_true(rx_is_on(&f, 2) && tx_is_on(&f, 2));
    assert_int_equal(vlan_pools(&f, 7), BIT64(2));

    policy.link_up = false;
    policy.vlan = policy.qos = 0;
    assert_int_equal(pf_driver_vf_set_policy(f.pf, 2, &policy), 0);
    vf_start(&f, 2, PF_API_14);
    assert_false(rx_is_on(&f, 2) || tx_is_on(&f, 2));
    assert_int_equal(vlan_pools(&f, 7), 0);
    assert_int_equal(vlan_pools(&f, 0), 0xf);
    assert_int_equal(test_card_reg(f.card, HW_PFVMVIR(2)), 0);

    // Nothing that its driver has to know: it goes on.
    policy.link_up = true;
    assert_int_equal(pf_driver_vf_set_policy(f.pf, 2, &policy), 0);
    vf_start(&f, 2, PF_API_14);
    policy.vlan = 8;
    policy.spoof_check = true;
    assert_int_equal(pf_driver_vf_set_policy(f.pf, 2, &policy), 0);
    assert_true(rx_is_on(&f, 2) && tx_is_on(&f, 2));
    assert_int_equal(vlan_pools(&f, 8), BIT64(2));
    assert_int_equal(vlan_pools(&f, 0), 0xb);
    assert_int_equal(test_card_reg(f.card, HW_PFVFSPOOF(0)), 0x0f0f);
    assert_false(vf_get(&f, 2, msg));
    policy.vlan = 4095;
    assert_int_equal(pf_driver_vf_set_policy(f.pf, 2, &policy), -EINVAL);
    policy.vlan = 1;
    assert_int_equal(pf_driver_vf_set_policy(f.pf, 4, &policy), -EINVAL);
    assert_int_equal(pf_driver_vf_state(f.pf, 4, &s), -EINVAL);
    fixture_end(&f);
}

static void test_lost_bus(void **state)
{
    struct pf_fixture f;

    (void)state;
    fixture_init(&f);
    fixture_open(&f);
    f.card->pf_bus.lost = true;
    pf_driver_service(f.pf);
    assert_true(pf_driver_link_is_up(f.pf));
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_32_pools),
        cmocka_unit_test(test_open_64_pools),
        cmocka_unit_test(test_macs_are_stable_and_differ),
        cmocka_unit_test(test_bad_config),
        cmocka_unit_test(test_bad_card),
        cmocka_unit_test(test_close_stops_the_port),
        cmocka_unit_test(test_fd),
        cmocka_unit_test(test_link_change_is_told),
        cmocka_unit_test(test_notice_waits_for_unread_answer),
        cmocka_unit_test(test_notice_spares_a_request),
        cmocka_unit_test(test_stuck_vf),
        cmocka_unit_test(test_no_ping_pong),
        cmocka_unit_test(test_vf_reset_forgets),
        cmocka_unit_test(test_policy_change),
        cmocka_unit_test(test_lost_bus),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

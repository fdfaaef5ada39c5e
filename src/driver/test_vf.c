// SPDX-License-Identifier: BSD-3-Clause
// The VF driver starts, asks the PF for things, and starts over.
#include "driver/test_vf_fixture.h"

#include <errno.h>
#include <stdlib.h>

// --- Start ---

static void test_open(void **state)
{
    static const enum pf_mailbox_api apis[] = {PF_API_10, PF_API_11, PF_API_12,
                                               PF_API_13, PF_API_14, PF_API_15};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(apis); i++) {
        struct vf_fixture f;
        struct pf_vf_state s;
        uint8_t mac[6];
        unsigned queues = apis[i] == PF_API_10 ? 1 : 2; // 1.0 has no way to ask

        vf_fixture_init(&f);
        f.pf.config.mailbox_api_max = apis[i];
        f.config.queue_count = 2;
        f.config.buffer_count = 128;
        f.config.interrupts = true;
        vf_fixture_open(&f);
        pf_driver_vf_state(f.pf.pf, 0, &s);
        vf_driver_mac(f.vf, mac);
        assert_memory_equal(mac, s.mac, 6);
        assert_int_equal(vf_driver_api(f.vf), apis[i] == PF_API_15 ? PF_API_14 : apis[i]);
        assert_int_equal(s.api, vf_driver_api(f.vf));
        assert_int_equal(s.mtu_frame_bytes, 1518);
        assert_int_equal(vf_driver_queue_count(f.vf), queues);
        assert_int_equal(vf_reg(&f, HW_VFPSRTYPE) >> HW_PSRTYPE_RQPL_SHIFT, queues - 1);
        for (unsigned q = 0; q < queues; q++) {
            assert_int_equal(vf_reg(&f, HW_VFRXDCTL(q)), HW_RXDCTL_ENABLE | HW_RXDCTL_VME);
            assert_int_equal(vf_reg(&f, HW_VFSRRCTL(q)), 2 | 1 << 25 | HW_SRRCTL_DROP_EN);
            assert_int_equal(vf_reg(&f, HW_VFRDT(q)), 63);
            assert_int_equal(vf_reg(&f, HW_VFRDLEN(q)), 64 * 16);
            assert_true(vf_reg(&f, HW_VFTXDCTL(q)) & HW_TXDCTL_ENABLE);
            assert_true(vf_irq_fd(f.vf, q) >= 0);
        }
        assert_int_equal(vf_reg(&f, HW_VTIVAR(0)), queues == 2 ? 0x00810080 : 0x80);
        assert_int_equal(vf_irq_fd(f.vf, queues), -1);
        vf_irq_arm(f.vf, queues - 1);
        assert_int_equal(vf_reg(&f, HW_VTEIMS), BIT(queues - 1));
        assert_true(vf_driver_link_is_up(f.vf));
        assert_int_equal(pool_size(f.vf), 128 - queues * 64);
        vf_fixture_end(&f);
    }
}

// A PF that allows fewer queues than we would like, or says nonsense.
static uint32_t stingy_allowed;

static void run_stingy_pf(void *ctx)
{
    struct pf_fixture *f = ctx;
    uint32_t *words = f->card->mailbox[0].words;

    run_pf(ctx);
    if (words[0] == (HW_MSG_GET_QUEUES | DONE))
        words[HW_MSG_QUEUES_TX] = stingy_allowed;
}

static void test_queues_by_pf(void **state)
{
    static const struct {
        uint32_t allowed;
        unsigned want;
    } cases[] = {{1, 1}, {2, 2}, {0, 2}, {UINT32_MAX, 2}};
    char error[200];

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct vf_fixture f;

        vf_fixture_init(&f);
        f.config.queue_count = 2;
        f.config.buffer_count = 128;
        fixture_open(&f.pf);
        f.pf.card->on_event = run_stingy_pf;
        f.pf.card->on_event_ctx = &f.pf;
        stingy_allowed = cases[i].allowed;
        assert_int_equal(vf_driver_open(&f.bus->bus, &f.config, &f.vf, error, sizeof error), 0);
        assert_int_equal(vf_driver_queue_count(f.vf), cases[i].want);
        vf_fixture_end(&f);
    }
}

static void test_open_fails(void **state)
{
    static const struct vf_config configs[] = {
        {0, 64, 64, 2048, 1514, false, 1},     {3, 64, 192, 2048, 1514, false, 1},
        {1, 56, 64, 2048, 1514, false, 1},     {1, 65, 70, 2048, 1514, false, 1},
        {1, 4104, 5000, 2048, 1514, false, 1}, {1, 64, 63, 2048, 1514, false, 1},
        {2, 64, 127, 2048, 1514, false, 1},    {1, 64, 64, 1024, 1514, false, 1},
        {1, 64, 64, 17408, 1514, false, 1},    {1, 64, 64, 2049, 1514, false, 1},
        {1, 64, 64, 2048, 1513, false, 1},     {1, 64, 64, 2048, 9711, false, 1},
    };
    char error[200];
    struct vf_fixture f;

    (void)state;
    vf_fixture_init(&f);
    for (unsigned i = 0; i < ARRAY_LEN(configs); i++) {
        f.config = configs[i];
        assert_int_equal(vf_fixture_try(&f, error, sizeof error), -EINVAL);
    }
    vf_fixture_end(&f);
    vf_fixture_init(&f); // no PF
    assert_int_equal(vf_fixture_try(&f, error, sizeof error), -ETIMEDOUT);
    assert_non_null(strstr(error, "PF"));
    fixture_open(&f.pf); // a PF that does not answer
    f.pf.card->on_event = NULL;
    assert_int_equal(vf_driver_open(&f.bus->bus, &f.config, &f.vf, error, sizeof error),
                     -ETIMEDOUT);
    assert_non_null(strstr(error, "VF_RESET"));
    f.bus->config_id = 0x12345678;
    assert_int_equal(vf_fixture_try(&f, error, sizeof error), -ENODEV);
    f.bus->config_id = UINT32_MAX; // what a VF's own config space says
    f.config.frame_bytes_max = 9014;
    assert_int_equal(vf_fixture_try(&f, error, sizeof error), 0);
    vf_fixture_end(&f);
    vf_fixture_init(&f);
    f.pf.config.mtu = 1500;
    f.config.frame_bytes_max = 1515;
    fixture_open(&f.pf);
    assert_int_equal(vf_fixture_try(&f, error, sizeof error), -EPERM);
    assert_non_null(strstr(error, "frame size"));
    vf_fixture_end(&f);
    for (unsigned i = 1; i <= 3; i++) { // no memory: for buffers, receive ring, transmit ring
        vf_fixture_init(&f);
        fixture_open(&f.pf);
        f.bus->dma_fail_at = i;
        assert_int_equal(vf_fixture_try(&f, error, sizeof error), -ENOMEM);
        vf_fixture_end(&f);
    }
}

// --- While it runs ---

static void test_requests(void **state)
{
    static const uint8_t groups[31][6] = {{0x01, 0x00, 0x5e, 0x00, 0x01, 0x23}};
    struct vf_fixture f;
    uint8_t other[6] = {2, 0, 0, 0, 0, 7}, mac[6];

    (void)state;
    vf_fixture_init(&f);
    f.pf.config.vf[1].trusted = true;
    f.pf.config.vf[0].vlan = 9;
    vf_fixture_open(&f);
    assert_int_equal(vf_driver_set_mac(f.vf, other), -EPERM);
    vf_driver_mac(f.vf, mac);
    assert_int_equal(mac[0], 6);
    assert_int_equal(vf_driver_set_mac(f.vf, mac), 0);
    assert_int_equal(vf_driver_add_vlan(f.vf, 5, true), -EPERM);
    assert_int_equal(vf_driver_add_vlan(f.vf, 4096, true), -EINVAL);
    assert_int_equal(vf_driver_set_multicast(f.vf, groups, 1), 0);
    assert_true(test_card_reg(f.pf.card, HW_MTA(0x230 >> 5)) & BIT(0x230 & 31)); // 0x2301 >> 4
    assert_int_equal(vf_driver_set_multicast(f.vf, groups, 30), 0);
    assert_int_equal(vf_driver_set_multicast(f.vf, groups, 31), -ENOSPC);
    vf_fixture_end(&f);
    vf_fixture_init(&f);
    f.bus = &f.pf.card->vf[1];
    f.pf.config.vf[1].trusted = true;
    vf_fixture_open(&f);
    assert_int_equal(vf_driver_set_mac(f.vf, other), 0);
    vf_driver_mac(f.vf, mac);
    assert_memory_equal(mac, other, 6);
    assert_int_equal(vf_driver_add_vlan(f.vf, 4095, true), 0);
    assert_int_equal(vlan_pools(&f.pf, 4095), 2);
    vf_fixture_end(&f);
}

// More than its groups is for a trusted VF, and for an API that has the message.
static void test_receive_modes(void **state)
{
    static const struct {
        enum pf_mailbox_api api;
        bool trusted;
        int groups, all_multicast, promiscuous;
    } cases[] = {
        {PF_API_11, true, -ENOTSUP, -ENOTSUP, -ENOTSUP},
        {PF_API_12, true, 0, 0, -ENOTSUP},
        {PF_API_13, true, 0, 0, 0},
        {PF_API_14, true, 0, 0, 0},
        {PF_API_14, false, 0, -EPERM, -EPERM},
    };
    struct vf_fixture f;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t modes;

        vf_fixture_init(&f);
        f.pf.config.mailbox_api_max = cases[i].api;
        f.pf.config.vf[0].trusted = cases[i].trusted;
        vf_fixture_open(&f);
        assert_int_equal(vf_driver_set_receive_mode(f.vf, VF_RECEIVE_GROUPS), cases[i].groups);
        assert_int_equal(vf_driver_set_receive_mode(f.vf, VF_RECEIVE_ALL_MULTICAST),
                         cases[i].all_multicast);
        modes = test_card_reg(f.pf.card, HW_PFVML2FLT(0));
        assert_int_equal(!!(modes & HW_PFVML2FLT_MPE), !cases[i].all_multicast);
        assert_int_equal(vf_driver_set_receive_mode(f.vf, VF_RECEIVE_PROMISCUOUS),
                         cases[i].promiscuous);
        modes = test_card_reg(f.pf.card, HW_PFVML2FLT(0));
        assert_int_equal(!!(modes & HW_PFVML2FLT_ROPE), !cases[i].promiscuous);
        vf_fixture_end(&f);
    }
}

static void test_service(void **state)
{
    struct pf_vf_policy policy = {.link_up = false};
    struct vf_fixture f;
    char error[200];

    (void)state;
    vf_fixture_init(&f);
    vf_fixture_open(&f);
    assert_int_equal(vf_driver_service(f.vf), 0);
    test_card_set_link(f.pf.card, false);
    assert_int_equal(vf_driver_service(f.vf), 0);
    assert_false(vf_driver_link_is_up(f.vf));
    test_card_set_link(f.pf.card, true);
    assert_int_equal(vf_driver_service(f.vf), 0);
    assert_true(vf_driver_link_is_up(f.vf));
    // The host takes the link: start over, and then it is down.
    assert_int_equal(pf_driver_vf_set_policy(f.pf.pf, 0, &policy), 0);
    assert_int_equal(vf_driver_service(f.vf), -EIO);
    vf_driver_close(f.vf);
    assert_int_equal(vf_fixture_try(&f, error, sizeof error), 0);
    assert_false(vf_driver_link_is_up(f.vf));
    // The PF goes away.
    pf_driver_close(f.pf.pf);
    f.pf.pf = NULL;
    assert_int_equal(vf_driver_service(f.vf), -EIO);
    assert_int_equal(vf_driver_set_mac(f.vf, policy.mac), -ETIMEDOUT);
    f.bus->bus.lost = true;
    assert_int_equal(vf_driver_service(f.vf), -ENODEV);
    assert_false(vf_driver_link_is_up(f.vf));
    f.bus->bus.lost = false;
    vf_fixture_end(&f);
}

// Queue registers in mapped pages: no write of theirs reaches the bus, and page 0 is read so that
// the card looks.
static void test_mapped_pages(void **state)
{
    struct vf_fixture f;
    struct vf_buffer *b;
    uint32_t *pages = aligned_alloc(4096, 0x2000);

    (void)state;
    assert_non_null(pages);
    memset(pages, 0, 0x2000);
    vf_fixture_init(&f);
    f.bus->bus.mapped = (volatile uint8_t *)pages;
    f.bus->bus.mapped_start = 0x1000;
    f.bus->bus.mapped_len = 0x2000;
    vf_fixture_open(&f);
    assert_true(f.bus->status_reads >= 2); // after setting up each queue
    assert_int_equal(vf_reg(&f, HW_VFTDLEN(0)), 0);
    assert_int_equal(pages[(HW_VFTDLEN(0) - 0x1000) / 4], 64 * 16);
    assert_int_equal(pages[(HW_VFRDT(0) - 0x1000) / 4], 63);
    f.bus->writes = 0;
    b = make_frame(f.vf, 60);
    assert_int_equal(vf_send(f.vf, 0, &b, 1), 1);
    assert_int_equal(pages[(HW_VFTDT(0) - 0x1000) / 4], 2);
    assert_int_equal(f.bus->writes, 0);
    vf_fixture_end(&f);
    free(pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),          cmocka_unit_test(test_queues_by_pf),
        cmocka_unit_test(test_open_fails),    cmocka_unit_test(test_requests),
        cmocka_unit_test(test_receive_modes), cmocka_unit_test(test_service),
        cmocka_unit_test(test_mapped_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
// The card on its segment: configuration space at the offsets that drivers hard-code, VFs, two
// ports, refusals.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "nic/test_card.h"

static struct test_card *t;

static int setup(void **state)
{
    (void)state;
    t = test_card_open(2, 4, NIC_DOORBELLS_TRAPPED);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_card_close(t);
    return 0;
}

static uint32_t config(rid_t rid, uint32_t offset, unsigned len)
{
    return pci_config_read(t->seg, rid, offset, len);
}

static void check_capability(rid_t rid, unsigned offset, unsigned id)
{
    unsigned at = config(rid, 0x34, 1);

    for (unsigned i = 0; i < 48 && at; i++, at = config(rid, at + 1, 1)) {
        if (at == offset) {
            assert_int_equal(config(rid, at, 1), id);
            return;
        }
    }
    fail_msg("no capability at 0x%02x", offset);
}

static void check_extended(rid_t rid, unsigned offset, unsigned id)
{
    unsigned at = 0x100;

    for (unsigned i = 0; i < 48 && at; i++, at = config(rid, at, 4) >> 20) {
        if (at == offset) {
            assert_int_equal(config(rid, at, 2), id);
            return;
        }
    }
    fail_msg("no extended capability at 0x%03x", offset);
}

static void test_pf_config(void **state)
{
    rid_t rid = test_card_pf_rid(0);

    (void)state;
    assert_int_equal(config(rid, 0x00, 4), 0x10fb8086);
    assert_int_equal(config(rid, 0x08, 4), 0x02000001);
    assert_int_equal(config(rid, 0x0e, 1), 0x80); // two functions
    assert_int_equal(config(rid, 0x2c, 4), 0x00038086);
    check_capability(rid, 0x40, 0x01);
    check_capability(rid, 0x50, 0x05);
    check_capability(rid, 0x70, 0x11);
    check_capability(rid, 0xa0, 0x10);
    check_capability(rid, 0xe0, 0x03);
    check_extended(rid, 0x100, 0x0001);
    check_extended(rid, 0x140, 0x0003);
    check_extended(rid, 0x150, 0x000e);
    check_extended(rid, 0x160, 0x0010);
    assert_int_equal(config(rid, 0x72, 2) & 0x7ff, 63); // 64 vectors, where ixgbe looks
    assert_int_equal(config(rid, 0x74, 4), 4);          // table in BAR 4
    assert_int_equal(config(rid, 0x78, 4), 0x2004);
    assert_int_equal(config(rid, 0x144, 4), 0x1234);
    assert_int_equal(config(rid, 0x154, 2) >> 8, 1); // ARI: the next function
    assert_int_equal(config(test_card_pf_rid(1), 0x154, 2) >> 8, 0);
    // BAR sizes.
    pci_config_write(t->seg, rid, 0x10, 4, UINT32_MAX);
    assert_int_equal(config(rid, 0x10, 4), 0xfff8000c);
    pci_config_write(t->seg, rid, 0x18, 4, UINT32_MAX);
    assert_int_equal(config(rid, 0x18, 4) & 0xffff, 0xffe1);
    pci_config_write(t->seg, rid, 0x20, 4, UINT32_MAX);
    assert_int_equal(config(rid, 0x20, 4), 0xffffc00c);
}

static void test_sriov_config(void **state)
{
    rid_t rid = test_card_pf_rid(0);

    (void)state;
    assert_int_equal(config(rid, 0x16c, 4), 64 << 16 | 64); // TotalVFs, InitialVFs
    assert_int_equal(config(rid, 0x174, 2), 128);
    assert_int_equal(config(rid, 0x176, 2), 2);
    assert_int_equal(config(rid, 0x17a, 2), 0x10ed);
    assert_int_equal(config(rid, 0x17c, 4), 0x553);
    pci_config_write(t->seg, rid, 0x168, 2, 0x0010); // no VFs
    pci_config_write(t->seg, rid, 0x168, 2, 0);      // and no ARI
    assert_int_equal(config(rid, 0x174, 2), 384);
}

static void test_vf_config(void **state)
{
    (void)state;
    for (unsigned vf = 0; vf < 4; vf++) {
        rid_t rid = test_card_vf_rid(0, vf);

        assert_true(pci_function_exists(t->seg, rid));
        assert_int_equal(config(rid, 0x00, 4), 0xffffffff);
        assert_int_equal(config(rid, 0x08, 4), 0x02000001);
        assert_int_equal(config(rid, 0x0e, 1), 0x00);
        check_capability(rid, 0x70, 0x11);
        check_capability(rid, 0xa0, 0x10);
        check_extended(rid, 0x100, 0x0001);
        check_extended(rid, 0x150, 0x000e);
        assert_int_equal(config(rid, 0x72, 2) & 0x7ff, 2); // 3 vectors
        assert_int_equal(config(rid, 0x74, 4), 3);
        assert_int_equal(config(rid, 0x78, 4), 0x2003);
    }
    assert_false(pci_function_exists(t->seg, test_card_vf_rid(0, 4)));
}

static void test_ports_are_apart(void **state)
{
    uint64_t port1 = TEST_PF_BAR0 + 0x100000;

    (void)state;
    pf_write(t, HW_MTA(0), 1);
    assert_int_equal(pci_mem_read(t->seg, port1 + HW_MTA(0), 4), 0);
    assert_int_equal(pf_read(t, HW_STATUS) & 0xc, 0);
    assert_int_equal(pci_mem_read(t->seg, port1 + HW_STATUS, 4) & 0xc, 4);
    pci_mem_write(t->seg, port1 + HW_CTRL, 4, HW_CTRL_RST);
    assert_int_equal(pf_read(t, HW_MTA(0)), 1);
    test_card_enable_vfs(t, 1, 2);
    assert_true(pci_function_exists(t->seg, test_card_vf_rid(1, 1)));
    assert_int_equal(pci_mem_read(t->seg, TEST_VF_BAR0 + 0x800000 + HW_VFSTATUS, 4), 4);
}

static void test_pf_flr_takes_the_vfs(void **state)
{
    (void)state;
    test_card_start_pf(t, 2);
    vf_write(t, 0, HW_VFTDLEN(0), 128);
    vf_write(t, 0, HW_VFTXDCTL(0), HW_TXDCTL_ENABLE);
    assert_true(t->port->txq[0].enabled);
    pf_config_write(t, HW_CAP_PCIE + 8, 2, 0x8000);
    assert_false(t->port->txq[0].enabled);
    assert_int_equal(t->port->vf_count, 0);
    assert_false(pci_function_exists(t->seg, test_card_vf_rid(0, 0)));
    test_card_enable_pf(t, 0);
    assert_int_equal(pf_read(t, HW_PFVTCTL), 0);
    assert_int_equal(pf_read(t, HW_RAL(0)), 0x33221102);
}

static void test_bad_configurations(void **state)
{
    struct nic_card_config config = {.port_count = 1, .bus = 7};
    struct nic_card *card = NULL;

    (void)state;
    config.port[0].uplink = &t->uplink[0];
    config.port[0].mac[5] = 1;
    config.port_count = 0;
    assert_int_equal(nic_card_create(&config, t->seg, &t->gate, &card), -EINVAL);
    config.port_count = NIC_PORTS_MAX + 1;
    assert_int_equal(nic_card_create(&config, t->seg, &t->gate, &card), -EINVAL);
    config.port_count = 2; // the second has no uplink
    assert_int_equal(nic_card_create(&config, t->seg, &t->gate, &card), -EINVAL);
    config.port_count = 1;
    config.port[0].mac[0] = 1; // a group address
    assert_int_equal(nic_card_create(&config, t->seg, &t->gate, &card), -EINVAL);
    config.port[0].mac[0] = 0;
    config.port[0].mac[5] = 0;
    assert_int_equal(nic_card_create(&config, t->seg, &t->gate, &card), -EINVAL);
    config.port[0].mac[5] = 1;
    config.bus = TEST_BUS; // somebody is there
    assert_int_equal(nic_card_create(&config, t->seg, &t->gate, &card), -EEXIST);
    assert_null(card);
    config.bus = 7;
    assert_int_equal(nic_card_create(&config, t->seg, &t->gate, &card), 0);
    assert_int_equal(pci_config_read(t->seg, rid_make(7, 0, 0), 0x0e, 1), 0); // one function
    nic_card_destroy(card);
    assert_false(pci_function_exists(t->seg, rid_make(7, 0, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pf_config, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sriov_config, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vf_config, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ports_are_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pf_flr_takes_the_vfs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_configurations, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

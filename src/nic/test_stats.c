// SPDX-License-Identifier: BSD-3-Clause
// Statistics registers: clear on read, pairs of 36 bits, queue counters, free-running ones of
// pools.
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
    t = test_card_open(1, 2, NIC_DOORBELLS_TRAPPED);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_card_close(t);
    return 0;
}

static void test_clear_on_read(void **state)
{
    struct nic_counters *c = &t->port->counters;

    (void)state;
    c->total[0].rx_uplink_frames = 10;
    c->total[0].rx_uplink_size_bins[5] = 4;
    assert_int_equal(pf_read(t, HW_GPRC), 10);
    assert_int_equal(pf_read(t, HW_GPRC), 0);
    assert_int_equal(pf_read(t, HW_TPR), 10); // its own mark
    assert_int_equal(pf_read(t, HW_PRC1522), 4);
    c->total[0].rx_uplink_frames += 3;
    assert_int_equal(pf_read(t, HW_GPRC), 3);
    // More than 32 bits since the last read: it sticks.
    c->total[0].rx_uplink_frames += 1ull << 33;
    assert_int_equal(pf_read(t, HW_GPRC), UINT32_MAX);
    // A software reset clears, though the card itself goes on counting.
    c->total[0].rx_uplink_frames += 5;
    pf_write(t, HW_CTRL, HW_CTRL_RST);
    assert_int_equal(pf_read(t, HW_GPRC), 0);
    assert_int_equal(pf_read(t, HW_RXMPC(7)), 0);
    c->total[0].rx_missed = 2;
    assert_int_equal(pf_read(t, HW_RXMPC(0)), 2);
    assert_int_equal(pf_read(t, HW_RXMPC(1)), 0);
}

static void test_pairs(void **state)
{
    struct nic_counters *c = &t->port->counters;

    (void)state;
    c->total[0].rx_uplink_bytes = 0x312345600ull;
    c->total[0].rx_uplink_frames = 4; // 4 bytes of FCS each
    assert_int_equal(pf_read(t, HW_GORCL), 0x12345610);
    assert_int_equal(pf_read(t, HW_GORCL), 0x12345610); // the low half does not clear
    c->total[0].rx_uplink_bytes += 0x100;               // comes between the two
    assert_int_equal(pf_read(t, HW_GORCH), 3);
    assert_int_equal(pf_read(t, HW_GORCL), 0x100);
    assert_int_equal(pf_read(t, HW_GORCH), 0);
    assert_int_equal(pf_read(t, HW_GORCL), 0);
}

static void test_queue_counters(void **state)
{
    struct nic_counters *c = &t->port->counters;

    (void)state;
    c->queue[0].rx_frames = 1;
    c->queue[127].rx_frames = 2;
    c->queue[127].tx_frames = 9;
    // All queues count in counter 0 after a reset.
    assert_int_equal(pf_read(t, HW_QPRC(0)), 3);
    assert_int_equal(pf_read(t, HW_QPRC(15)), 0);
    c->queue[0].rx_frames += 10;
    c->queue[127].rx_frames += 20;
    // Queue 127 moves to counter 15: what was counted stays where it was.
    pf_write(t, HW_RQSMR(31), 0x0f000000);
    assert_int_equal(pf_read(t, HW_RQSMR(31)), 0x0f000000);
    assert_int_equal(pf_read(t, HW_QPRC(15)), 0);
    assert_int_equal(pf_read(t, HW_QPRC(0)), 30);
    c->queue[127].rx_frames += 5;
    c->queue[127].rx_bytes += 500;
    c->queue[126].rx_frames += 6;
    assert_int_equal(pf_read(t, HW_QPRC(15)), 5);
    assert_int_equal(pf_read(t, HW_QPRC(0)), 6);
    assert_int_equal(pf_read(t, HW_QBRC_L(15)), 520);
    assert_int_equal(pf_read(t, HW_QBRC_H(15)), 0);
    assert_int_equal(pf_read(t, HW_QBRC_L(15)), 0);
    // Transmit has a map of its own, and its counters a second place.
    assert_int_equal(pf_read(t, 0x06030), 9);
    assert_int_equal(pf_read(t, HW_QPTC(0)), 0);
}

static void test_pool_counters_run_free(void **state)
{
    struct nic_counters *c = &t->port->counters;

    (void)state;
    c->pool[63].tx_frames = 0x1ffffffffull;
    c->pool[63].tx_bytes = 0xffffffffffull;
    assert_int_equal(pf_read(t, HW_PVFGPTC(63)), 0xffffffff);
    assert_int_equal(pf_read(t, HW_PVFGPTC(63)), 0xffffffff);
    c->pool[63].tx_frames++; // wraps at 32 bits
    assert_int_equal(pf_read(t, HW_PVFGPTC(63)), 0);
    c->pool[63].tx_frames = 0;
    assert_int_equal(pf_read(t, HW_PVFGOTC_LSB(63)), 0xffffffff);
    assert_int_equal(pf_read(t, HW_PVFGOTC_MSB(63)), 0xf);
    pf_write(t, HW_CTRL, HW_CTRL_RST);
    assert_int_equal(pf_read(t, HW_PVFGOTC_LSB(63)), 0xffffffff);
    c->pool[0].tx_spoof_drops = 2;
    c->pool[63].tx_spoof_drops = 3;
    assert_int_equal(pf_read(t, HW_SSVPC), 5);
    assert_int_equal(pf_read(t, HW_SSVPC), 0);
}

static void test_function_counts(void **state)
{
    struct nic_function_counts counts;
    struct nic_counters *c = &t->port->counters;

    (void)state;
    c->pool[1].rx_fault_drops = 4;
    c->pool[1].tx_malformed_drops = 5;
    assert_int_equal(nic_function_counts_get(t->card, 0, 1, &counts), 0);
    assert_int_equal(counts.rx_fault_drops, 4);
    assert_int_equal(counts.tx_malformed_drops, 5);
    // The PF's are its default pool's; without virtualisation everything is in pool 0.
    c->pool[0].tx_frames = 3;
    c->pool[2].tx_frames = 7;
    assert_int_equal(nic_function_counts_get(t->card, 0, -1, &counts), 0);
    assert_int_equal(counts.rx_fault_drops, 0);
    assert_int_equal(counts.tx_frames, 3);
    pf_write(t, HW_PFVTCTL, HW_PFVTCTL_VT_ENA | 2 << HW_PFVTCTL_DEF_PL_SHIFT);
    assert_int_equal(nic_function_counts_get(t->card, 0, -1, &counts), 0);
    assert_int_equal(counts.tx_frames, 7);
    assert_int_equal(counts.odd_register_cycles, 0);
    pf_read(t, 0x1fffc);
    vf_write(t, 0, 0x3ffc, 0);
    pci_mem_write(t->seg, TEST_VF_BAR0, 1, 0);
    assert_int_equal(nic_function_counts_get(t->card, 0, -1, &counts), 0);
    assert_int_equal(counts.odd_register_cycles, 1);
    assert_int_equal(nic_function_counts_get(t->card, 0, 0, &counts), 0);
    assert_int_equal(counts.odd_register_cycles, 2);
    assert_int_equal(nic_function_counts_get(t->card, 0, 63, &counts), 0);
    assert_int_equal(nic_function_counts_get(t->card, 0, 64, &counts), -EINVAL);
    assert_int_equal(nic_function_counts_get(t->card, 0, -2, &counts), -EINVAL);
    assert_int_equal(nic_function_counts_get(t->card, 1, 0, &counts), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_clear_on_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pairs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_queue_counters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pool_counters_run_free, setup, teardown),
        cmocka_unit_test_setup_teardown(test_function_counts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

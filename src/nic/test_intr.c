// SPDX-License-Identifier: BSD-3-Clause
// Interrupts: allocation, masks, auto-mask and auto-clear as ixgbe and ixgbevf rely on them,
// moderation.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/clock.h"
#include "nic/test_card.h"

#define START NS_PER_S // some time after the epoch of the test's clock

static struct test_card *t;

static int setup(void **state)
{
    (void)state;
    t = test_card_open(1, 4, NIC_DOORBELLS_TRAPPED);
    test_card_start_pf(t, 2);
    pf_write(t, HW_EIAM_EX(0), UINT32_MAX);
    pf_write(t, HW_EIAM_EX(1), UINT32_MAX);
    pf_write(t, HW_EIAC, 0xffff);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_card_close(t);
    return 0;
}

// As ixgbevf sets VF 1 up: queue pair 0 on vector 0, pair 1 on vector 1, mailbox on 2.
static void start_vf(void)
{
    vf_write(t, 1, HW_VTIVAR(0), 0x81818080);
    vf_write(t, 1, HW_VTIVAR_MISC, 0x82);
    vf_write(t, 1, HW_VTEIAM, 7);
    vf_write(t, 1, HW_VTEIAC, 7);
    vf_write(t, 1, HW_VTEIMS, 7);
}

static void test_vf_queues(void **state)
{
    (void)state;
    start_vf();
    nic_intr_queue(t->port, false, 2, START); // VF 1's queue 0
    assert_int_equal(t->raised[2][0], 1);
    nic_intr_queue(t->port, true, 3, START);
    assert_int_equal(t->raised[2][1], 1);
    // The message masked its vector and cleared its cause.
    assert_int_equal(vf_read(t, 1, HW_VTEIMS), 4);
    assert_int_equal(vf_read(t, 1, HW_VTEICS), 0);
    nic_intr_queue(t->port, true, 2, START);
    assert_int_equal(t->raised[2][0], 1);
    assert_int_equal(vf_read(t, 1, HW_VTEICS), 1);
    // The end of NAPI re-arms it, and what came meanwhile is told now.
    vf_write(t, 1, HW_VTEIMS, 1);
    assert_int_equal(t->raised[2][0], 2);
    assert_int_equal(vf_read(t, 1, HW_VTEIMS), 4);
    // Nothing came: nothing is told.
    vf_write(t, 1, HW_VTEIMS, 1);
    assert_int_equal(t->raised[2][0], 2);
    // Another VF's queue is none of this VF's business.
    nic_intr_queue(t->port, false, 0, START);
    nic_intr_queue(t->port, false, 4, START);
    assert_int_equal(t->raised[2][0] + t->raised[1][0] + t->raised[3][0], 2);
}

static void test_vf_software_interrupts_and_masks(void **state)
{
    (void)state;
    start_vf();
    vf_write(t, 1, HW_VTEICS, UINT32_MAX);
    assert_int_equal(t->raised[2][0], 1);
    assert_int_equal(t->raised[2][1], 1);
    assert_int_equal(t->raised[2][2], 1);
    assert_int_equal(vf_read(t, 1, HW_VTEIMS), 0);
    vf_write(t, 1, HW_VTEIAC, 0);
    vf_write(t, 1, HW_VTEICS, 2);
    assert_int_equal(vf_read(t, 1, HW_VTEICR), 2);
    assert_int_equal(vf_read(t, 1, HW_VTEICR), 0); // read to clear
    vf_write(t, 1, HW_VTEICS, 6);
    vf_write(t, 1, HW_VTEICR, 4); // write 1 to clear
    assert_int_equal(vf_read(t, 1, HW_VTEICS), 2);
    vf_write(t, 1, HW_VTEIMS, UINT32_MAX);
    assert_int_equal(vf_read(t, 1, HW_VTEIMS), 5); // vector 1 fired and masked itself
    vf_write(t, 1, HW_VTEIMC, 1);
    assert_int_equal(vf_read(t, 1, HW_VTEIMS), 4);
    assert_int_equal(vf_read(t, 1, HW_VTEIMC), 0);
}

static void test_vf_without_auto_mask(void **state)
{
    (void)state;
    start_vf();
    vf_write(t, 1, HW_VTEIAM, 0);
    vf_write(t, 1, HW_VTEIAC, 0);
    nic_intr_queue(t->port, false, 2, START);
    nic_intr_queue(t->port, false, 2, START);
    assert_int_equal(t->raised[2][0], 2);
    assert_int_equal(vf_read(t, 1, HW_VTEIMS), 7);
    assert_int_equal(vf_read(t, 1, HW_VTEICR), 1);
}

static void test_hostile_allocation(void **state)
{
    (void)state;
    start_vf();
    vf_write(t, 1, HW_VTIVAR(0), UINT32_MAX); // vector 3: there is none
    vf_write(t, 1, HW_VTIVAR_MISC, UINT32_MAX);
    nic_intr_queue(t->port, false, 2, START);
    pf_write(t, HW_PFMAILBOX(1), HW_PFMAILBOX_STS);
    assert_int_equal(t->raised[2][0] + t->raised[2][1] + t->raised[2][2], 0);
    assert_int_equal(vf_read(t, 1, HW_VTIVAR(0)), 0x83838383);
    assert_int_equal(vf_read(t, 1, HW_VTIVAR_MISC), 0x83);
    vf_write(t, 1, HW_VTIVAR(0), 0x00808080); // an entry without the valid bit
    nic_intr_queue(t->port, true, 3, START);
    assert_int_equal(t->raised[2][0], 0);
    nic_intr_queue(t->port, false, 3, START);
    assert_int_equal(t->raised[2][0], 1);
}

static void test_pf_queues(void **state)
{
    (void)state;
    // Queues of pools without a VF are the PF's. 9: high half of IVAR 4.
    pf_write(t, HW_IVAR(4), 0x80008000 | 63u << 16 | 15u << 8 | 0x8000);
    pf_write(t, HW_IVAR(4), 0xaa80u << 16); // queue 9: receive vector 0, transmit vector 42
    pf_write(t, HW_EIMS_EX(0), 1);
    pf_write(t, HW_EIMS_EX(1), 1u << 10);
    nic_intr_queue(t->port, false, 9, START);
    nic_intr_queue(t->port, true, 9, START);
    assert_int_equal(t->raised[0][0], 1);
    assert_int_equal(t->raised[0][42], 1);
    assert_int_equal(pf_read(t, HW_EIMS_EX(0)) | pf_read(t, HW_EIMS_EX(1)), 0);
    nic_intr_queue(t->port, false, 8, START); // not valid
    assert_int_equal(t->raised[0][0], 1);
    // Masked: kept, and told when it is unmasked. The low 16 are EIMS's as well.
    nic_intr_queue(t->port, false, 9, START);
    assert_int_equal(t->raised[0][0], 1);
    pf_write(t, HW_EIMS, 1);
    assert_int_equal(t->raised[0][0], 2);
    // VF queues do not reach the PF.
    pf_write(t, HW_IVAR(0), 0x80808080);
    pf_write(t, HW_EIMS, 1);
    nic_intr_queue(t->port, false, 0, START);
    assert_int_equal(t->raised[0][0], 2);
}

static void test_pf_other_causes(void **state)
{
    (void)state;
    nic_intr_cause(t->port, &t->port->intr_pf, HW_EICR_LSC, START);
    assert_int_equal(t->raised[0][63], 1);
    // As ixgbe's handler: EICS shows without clearing, EICR clears what is written.
    assert_int_equal(pf_read(t, HW_EICS), HW_EICR_LSC | HW_EICR_OTHER);
    nic_intr_cause(t->port, &t->port->intr_pf, HW_EICR_MAILBOX, START + 1);
    assert_int_equal(t->raised[0][63], 2);
    pf_write(t, HW_EICR, HW_EICR_LSC);
    assert_int_equal(pf_read(t, HW_EICS), HW_EICR_MAILBOX | HW_EICR_OTHER);
    pf_write(t, HW_EICR, HW_EICR_MAILBOX);
    assert_int_equal(pf_read(t, HW_EICS), 0);
    pf_write(t, HW_EIMS, HW_EICR_MAILBOX | HW_EICR_LSC); // nothing waits
    assert_int_equal(t->raised[0][63], 2);
    pf_write(t, HW_EIMC, HW_EICR_LSC);
    assert_int_equal(pf_read(t, HW_EIMS), HW_EICR_MAILBOX);
    pf_write(t, HW_EICS, HW_EICR_LSC);
    assert_int_equal(t->raised[0][63], 2);
    pf_write(t, HW_EIMS, HW_EICR_LSC);
    assert_int_equal(t->raised[0][63], 3);
}

static void test_eicr_read(void **state)
{
    (void)state;
    pf_write(t, HW_EICS, 0x00018003);
    // GPIE.OCD: a read clears the other causes only.
    assert_int_equal(pf_read(t, HW_EICR), 0x80018003);
    assert_int_equal(pf_read(t, HW_EICR), 0x00008003);
    // Without MSI-X and OCD it clears all, and masks what EIAM says; everything is vector 0.
    pf_write(t, HW_GPIE, 0);
    pf_write(t, HW_EIAM, 0xffff);
    pf_write(t, HW_EIMS, 0x0010000f);
    t->raised[0][0] = 0;
    pf_write(t, HW_EICS, 0x4);
    assert_int_equal(t->raised[0][0], 1);
    assert_int_equal(pf_read(t, HW_EICR), 0x00008007);
    assert_int_equal(pf_read(t, HW_EICR), 0);
    assert_int_equal(pf_read(t, HW_EIMS) & 0x0010000f, 0x00100008);
    pf_write(t, HW_EICS, 0x00100000);
    assert_int_equal(t->raised[0][0], 2);
}

static void test_moderation(void **state)
{
    const uint64_t interval = 25 * 2048; // 200 >> 3 units: about 20000 a second

    (void)state;
    start_vf();
    vf_write(t, 1, HW_VTEIAM, 0);
    vf_write(t, 1, HW_VTEITR(0), 200 | HW_EITR_CNT_WDIS);
    assert_int_equal(vf_read(t, 1, HW_VTEITR(0)), 200);
    nic_intr_queue(t->port, false, 2, START);
    assert_int_equal(t->raised[2][0], 1);
    // Within the interval: held back, once.
    nic_intr_queue(t->port, false, 2, START + 1);
    nic_intr_queue(t->port, true, 2, START + 2);
    assert_int_equal(t->raised[2][0], 1);
    assert_true(nic_intr_poll(t->port, START + 3) == START + interval);
    assert_true(nic_intr_poll(t->port, START + interval - 1) == START + interval);
    assert_int_equal(t->raised[2][0], 1);
    assert_true(nic_intr_poll(t->port, START + interval) == UINT64_MAX);
    assert_int_equal(t->raised[2][0], 2);
    // The other vector has its own interval: none.
    nic_intr_queue(t->port, false, 3, START + interval);
    nic_intr_queue(t->port, false, 3, START + interval);
    assert_int_equal(t->raised[2][1], 2);
    // After the interval: at once.
    nic_intr_queue(t->port, false, 2, START + 2 * interval);
    assert_int_equal(t->raised[2][0], 3);
    // Held back, but the driver has masked or cleared it meanwhile: dropped.
    nic_intr_queue(t->port, false, 2, START + 2 * interval + 1);
    vf_write(t, 1, HW_VTEIMC, 1);
    assert_true(nic_intr_poll(t->port, START + 3 * interval) == UINT64_MAX);
    assert_int_equal(t->raised[2][0], 3);
    vf_read(t, 1, HW_VTEICR);
    vf_write(t, 1, HW_VTEIMS, 1);
    assert_int_equal(t->raised[2][0], 3);
    // A write without CNT_WDIS starts the interval over.
    nic_intr_queue(t->port, false, 2, START + 3 * interval);
    vf_write(t, 1, HW_VTEITR(0), 200);
    nic_intr_queue(t->port, false, 2, START + 3 * interval + 1);
    assert_int_equal(t->raised[2][0], 5);
}

// Several functions wait at once; the poll says the earliest.
static void test_moderation_of_many(void **state)
{
    (void)state;
    for (unsigned vf = 0; vf < 4; vf++) {
        vf_write(t, vf, HW_VTIVAR(0), 0x80);
        vf_write(t, vf, HW_VTEIMS, 1);
        vf_write(t, vf, HW_VTEITR(0), (vf + 1) << 3);
        nic_intr_queue(t->port, false, vf * 2, START);
        nic_intr_queue(t->port, false, vf * 2, START + 1);
    }
    assert_true(nic_intr_poll(t->port, START + 1) == START + 2048);
    assert_true(nic_intr_poll(t->port, START + 2 * 2048) == START + 3 * 2048);
    assert_int_equal(t->raised[1][0], 2);
    assert_int_equal(t->raised[2][0], 2);
    assert_int_equal(t->raised[3][0], 1);
    assert_true(nic_intr_poll(t->port, START + 4 * 2048) == UINT64_MAX);
    assert_int_equal(t->raised[3][0], 2);
    assert_int_equal(t->raised[4][0], 2);
    // The longest interval that fits the field.
    vf_write(t, 0, HW_VTEITR(0), UINT32_MAX);
    assert_int_equal(vf_read(t, 0, HW_VTEITR(0)), 0x8ff8);
    nic_intr_queue(t->port, false, 0, START + NS_PER_S);
    nic_intr_queue(t->port, false, 0, START + NS_PER_S);
    assert_true(nic_intr_poll(t->port, START + NS_PER_S) == START + NS_PER_S + 511 * 2048);
}

static void test_reset_forgets(void **state)
{
    (void)state;
    start_vf();
    vf_write(t, 1, HW_VTEITR(0), 200);
    nic_intr_queue(t->port, false, 2, START);
    vf_write(t, 1, HW_VTEIMS, 1);
    nic_intr_queue(t->port, false, 2, START + 1); // pending
    vf_write(t, 1, HW_VFCTRL, HW_VFCTRL_RST);
    assert_true(nic_intr_poll(t->port, START + NS_PER_S) == UINT64_MAX);
    assert_int_equal(t->raised[2][0], 1);
    assert_int_equal(vf_read(t, 1, HW_VTEIMS), 0);
    assert_int_equal(vf_read(t, 1, HW_VTIVAR(0)), 0);
    assert_int_equal(vf_read(t, 1, HW_VTEITR(0)), 0);
    nic_intr_queue(t->port, false, 2, START + NS_PER_S);
    assert_int_equal(t->raised[2][0], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_vf_queues, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vf_software_interrupts_and_masks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vf_without_auto_mask, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_allocation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pf_queues, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pf_other_causes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_eicr_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_moderation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_moderation_of_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_forgets, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

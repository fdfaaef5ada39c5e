// SPDX-License-Identifier: BSD-3-Clause
// The mailbox as the two drivers use it: ownership, status bits, causes, resets.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "nic/test_card.h"

#define LAST (NIC_VFS_MAX - 1)

static struct test_card *t;

static int setup(void **state)
{
    (void)state;
    t = test_card_open(1, NIC_VFS_MAX, NIC_DOORBELLS_TRAPPED);
    test_card_start_pf(t, 2);
    for (unsigned vf = 0; vf < NIC_VFS_MAX; vf++) {
        vf_read(t, vf, HW_VFMAILBOX); // RSTD
        vf_write(t, vf, HW_VTIVAR_MISC, HW_IVAR_VALID | 2);
        vf_write(t, vf, HW_VTEIMS, 7);
        vf_read(t, vf, HW_VTEICR);
    }
    memset(t->raised, 0, sizeof t->raised);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_card_close(t);
    return 0;
}

static void test_request_and_reply(void **state)
{
    struct nic_function_counts counts;
    const unsigned vf = 17;

    (void)state;
    // The VF takes the buffer, writes, and asks.
    vf_write(t, vf, HW_VFMAILBOX, HW_VFMAILBOX_VFU);
    assert_int_equal(vf_read(t, vf, HW_VFMAILBOX), HW_VFMAILBOX_VFU);
    vf_write(t, vf, HW_VFMBMEM(0), HW_MSG_VF_RESET);
    vf_write(t, vf, HW_VFMBMEM(15), 0x15);
    // The PF cannot take it meanwhile.
    pf_write(t, HW_PFMAILBOX(vf), HW_PFMAILBOX_PFU);
    assert_int_equal(pf_read(t, HW_PFMAILBOX(vf)), HW_PFMAILBOX_VFU);
    vf_write(t, vf, HW_VFMAILBOX, HW_VFMAILBOX_REQ); // gives it up
    assert_int_equal(pf_read(t, HW_PFMAILBOX(vf)), 0);
    assert_int_equal(t->raised[0][63], 1);
    assert_int_equal(pf_read(t, HW_EICS) & HW_EICR_MAILBOX, HW_EICR_MAILBOX);
    assert_int_equal(pf_read(t, HW_PFMBICR(1)), 0x00000002);
    assert_int_equal(pf_read(t, HW_PFMBICR(0)) | pf_read(t, HW_PFMBICR(2)), 0);
    pf_write(t, HW_PFMBICR(1), HW_PFMBICR_REQ(vf));
    assert_int_equal(pf_read(t, HW_PFMBICR(1)), 0);

    // The PF takes it, reads, acknowledges; the VF cannot take it in between.
    pf_write(t, HW_PFMAILBOX(vf), HW_PFMAILBOX_PFU);
    assert_int_equal(pf_read(t, HW_PFMAILBOX(vf)), HW_PFMAILBOX_PFU);
    vf_write(t, vf, HW_VFMAILBOX, HW_VFMAILBOX_VFU);
    assert_int_equal(vf_read(t, vf, HW_VFMAILBOX), HW_VFMAILBOX_PFU);
    assert_int_equal(pf_read(t, HW_PFMBMEM(vf * 16)), HW_MSG_VF_RESET);
    assert_int_equal(pf_read(t, HW_PFMBMEM(vf * 16 + 15)), 0x15);
    pf_write(t, HW_PFMAILBOX(vf), HW_PFMAILBOX_ACK);
    assert_int_equal(t->raised[1 + vf][2], 1);
    assert_int_equal(vf_read(t, vf, HW_VFMAILBOX), HW_VFMAILBOX_PFACK);
    assert_int_equal(vf_read(t, vf, HW_VFMAILBOX), 0); // read to clear

    // A reply, and its acknowledgement.
    pf_write(t, HW_PFMAILBOX(vf), HW_PFMAILBOX_PFU);
    pf_write(t, HW_PFMBMEM(vf * 16), HW_MSG_VF_RESET | HW_MSG_ACK);
    pf_write(t, HW_PFMAILBOX(vf), HW_PFMAILBOX_STS);
    assert_int_equal(t->raised[1 + vf][2], 2);
    assert_int_equal(vf_read(t, vf, HW_VFMAILBOX), HW_VFMAILBOX_PFSTS);
    assert_int_equal(vf_read(t, vf, HW_VFMBMEM(0)), HW_MSG_VF_RESET | HW_MSG_ACK);
    vf_write(t, vf, HW_VFMAILBOX, HW_VFMAILBOX_ACK);
    assert_int_equal(pf_read(t, HW_PFMBICR(1)), 0x00020000);

    assert_int_equal(nic_function_counts_get(t->card, 0, (int)vf, &counts), 0);
    assert_int_equal(counts.mailbox_to_pf, 1);
    assert_int_equal(counts.mailbox_from_pf, 1);
    assert_int_equal(counts.interrupts, 2);
    // Nobody else heard of it.
    for (unsigned other = 0; other < NIC_VFS_MAX; other++) {
        if (other != vf) {
            assert_int_equal(t->raised[1 + other][2], 0);
            assert_int_equal(vf_read(t, other, HW_VFMAILBOX), 0);
            assert_int_equal(vf_read(t, other, HW_VFMBMEM(0)), 0);
        }
    }
}

static void test_first_and_last_vf(void **state)
{
    (void)state;
    vf_write(t, 0, HW_VFMAILBOX, HW_VFMAILBOX_REQ);
    vf_write(t, LAST, HW_VFMAILBOX, HW_VFMAILBOX_REQ | HW_VFMAILBOX_ACK);
    assert_int_equal(pf_read(t, HW_PFMBICR(0)), 0x00000001);
    assert_int_equal(pf_read(t, HW_PFMBICR(3)), 0x80008000);
    vf_write(t, LAST, HW_VFMBMEM(15), 0x1234);
    assert_int_equal(pf_read(t, HW_PFMBMEM(LAST * 16 + 15)), 0x1234);
    assert_int_equal(pf_read(t, 0x13000 + 64 * LAST + 60), 0x1234);
}

// Both may have the buffer in turn, never at once; a PF can take it from a VF that is stuck.
static void test_ownership(void **state)
{
    (void)state;
    vf_write(t, 0, HW_VFMAILBOX, HW_VFMAILBOX_VFU);
    pf_write(t, HW_PFMAILBOX(0), HW_PFMAILBOX_RVFU | HW_PFMAILBOX_PFU);
    assert_int_equal(pf_read(t, HW_PFMAILBOX(0)), HW_PFMAILBOX_PFU);
    assert_int_equal(vf_read(t, 0, HW_VFMAILBOX), HW_VFMAILBOX_PFU);
    pf_write(t, HW_PFMAILBOX(0), 0);
    assert_int_equal(vf_read(t, 0, HW_VFMAILBOX), 0);
    // A VF that holds it gives it up by writing without VFU.
    vf_write(t, 0, HW_VFMAILBOX, HW_VFMAILBOX_VFU | HW_VFMAILBOX_REQ);
    assert_int_equal(vf_read(t, 0, HW_VFMAILBOX), HW_VFMAILBOX_VFU);
    vf_write(t, 0, HW_VFMAILBOX, 0);
    assert_int_equal(vf_read(t, 0, HW_VFMAILBOX), 0);
    // It cannot set what is not its own.
    vf_write(t, 0, HW_VFMAILBOX, UINT32_MAX);
    assert_int_equal(vf_read(t, 0, HW_VFMAILBOX), HW_VFMAILBOX_VFU);
}

static void test_interrupt_mask(void **state)
{
    (void)state;
    pf_write(t, HW_PFMBIMR(1), ~HW_PFVFLRE_BIT(40));
    vf_write(t, 40, HW_VFMAILBOX, HW_VFMAILBOX_REQ);
    assert_int_equal(t->raised[0][63], 0);
    assert_int_equal(pf_read(t, HW_PFMBICR(2)), HW_PFMBICR_REQ(40));
    vf_write(t, 41, HW_VFMAILBOX, HW_VFMAILBOX_REQ);
    assert_int_equal(t->raised[0][63], 1);
}

static void test_vf_reset(void **state)
{
    (void)state;
    vf_write(t, 33, HW_VFMBMEM(3), 0xdead);
    vf_write(t, 33, HW_VFMAILBOX, HW_VFMAILBOX_VFU);
    pf_write(t, HW_PFMAILBOX(33), HW_PFMAILBOX_STS);
    vf_write(t, 33, HW_VFCTRL, HW_VFCTRL_RST);
    assert_int_equal(vf_read(t, 33, HW_VFCTRL), 0);
    assert_int_equal(vf_read(t, 33, HW_VFMAILBOX), 0); // neither RSTI nor RSTD: that is the PF's
    assert_int_equal(vf_read(t, 33, HW_VFMBMEM(3)), 0);
    assert_int_equal(t->raised[0][63], 1);
    assert_int_equal(pf_read(t, 0x00600), 0);
    assert_int_equal(pf_read(t, 0x001c0), 0x2);
    pf_write(t, HW_PFVFLREC(1), 0x4); // another's
    assert_int_equal(pf_read(t, HW_PFVFLRE(1)), 0x2);
    pf_write(t, HW_PFVFLREC(1), 0x2);
    assert_int_equal(pf_read(t, HW_PFVFLRE(1)), 0);
    // A function level reset says the same.
    pci_config_write(t->seg, test_card_vf_rid(0, 0), HW_CAP_PCIE + 8, 2, 0x8000);
    assert_int_equal(pf_read(t, HW_PFVFLRE(0)), 0x1);
    assert_int_equal(t->raised[0][63], 2);
}

static void test_pf_reset(void **state)
{
    (void)state;
    vf_write(t, 5, HW_VFMAILBOX, HW_VFMAILBOX_VFU);
    pf_write(t, HW_CTRL, HW_CTRL_RST);
    assert_int_equal(vf_read(t, 5, HW_VFMAILBOX), HW_VFMAILBOX_RSTI);
    assert_int_equal(vf_read(t, 5, HW_VFMAILBOX), HW_VFMAILBOX_RSTI); // not read to clear
    pf_write(t, HW_CTRL_EXT, HW_CTRL_EXT_PFRSTD | HW_CTRL_EXT_DRV_LOAD);
    assert_int_equal(pf_read(t, HW_CTRL_EXT), HW_CTRL_EXT_DRV_LOAD); // clears itself
    assert_int_equal(vf_read(t, 5, HW_VFMAILBOX), HW_VFMAILBOX_RSTD);
    assert_int_equal(vf_read(t, 5, HW_VFMAILBOX), 0);
    assert_int_equal(vf_read(t, LAST, HW_VFMAILBOX), HW_VFMAILBOX_RSTD);
    // Said once: not again without another reset.
    pf_write(t, HW_CTRL_EXT, HW_CTRL_EXT_PFRSTD);
    assert_int_equal(vf_read(t, 5, HW_VFMAILBOX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_request_and_reply, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_and_last_vf, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ownership, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interrupt_mask, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vf_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pf_reset, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

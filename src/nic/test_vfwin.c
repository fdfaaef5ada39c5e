// SPDX-License-Identifier: BSD-3-Clause
// VF BAR0 as a window onto the port's registers, with 2, 4 and 8 queues a pool, and what a VF must
// not reach through it.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <sys/mman.h>

#include "nic/doorbell.h"
#include "nic/regs.h"
#include "nic/test_card.h"
#include "nic/vfwin.h"

static struct test_card *t;

static int setup(void **state)
{
    (void)state;
    t = test_card_open(1, 3, NIC_DOORBELLS_TRAPPED);
    return 0;
}

static int setup_mapped(void **state)
{
    (void)state;
    t = test_card_open(1, 3, NIC_DOORBELLS_MAPPED);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_card_close(t);
    return 0;
}

static void check_windows(unsigned queues)
{
    for (unsigned vf = 0; vf < 3; vf++) {
        for (unsigned n = 0; n < 8; n++) {
            uint32_t mark = 0x100000 | vf << 12 | n << 8;
            unsigned queue = vf * queues + n;

            vf_write(t, vf, HW_VFRDBAL(n), mark);
            vf_write(t, vf, HW_VFTDBAH(n), mark);
            if (n < queues) {
                assert_int_equal(pf_read(t, HW_RDBAL(queue)), mark);
                assert_int_equal(pf_read(t, HW_TDBAH(queue)), mark);
                assert_int_equal(vf_read(t, vf, HW_VFRDBAL(n)), mark);
            } else {
                assert_int_equal(vf_read(t, vf, HW_VFRDBAL(n)), 0);
                assert_int_equal(vf_read(t, vf, HW_VFTDBAH(n)), 0);
            }
        }
    }
    // The queue after the last VF's is the PF's, untouched.
    assert_int_equal(pf_read(t, HW_RDBAL(3 * queues)), 0);
    assert_int_equal(pf_read(t, HW_TDBAH(3 * queues)), 0);
}

static void test_queues_of_2(void **state)
{
    (void)state;
    test_card_start_pf(t, 2);
    check_windows(2);
}

static void test_queues_of_4(void **state)
{
    (void)state;
    test_card_start_pf(t, 4);
    check_windows(4);
}

static void test_queues_of_8(void **state)
{
    (void)state;
    test_card_start_pf(t, 8);
    check_windows(8);
}

// Before the PF driver chose a mode, a VF has no queues at all.
static void test_no_queues(void **state)
{
    (void)state;
    vf_write(t, 0, HW_VFRDBAL(0), 0x1000);
    assert_int_equal(vf_read(t, 0, HW_VFRDBAL(0)), 0);
    assert_int_equal(pf_read(t, HW_RDBAL(0)), 0);
    assert_int_equal(nic_vf_of_queue(t->port, 0), -1);
}

// With 32 pools there are no queues for VF 32 and up, though it may exist.
static void test_more_vfs_than_pools(void **state)
{
    (void)state;
    pf_config_write(t, HW_EXTCAP_SRIOV + 8, 2, 0);
    test_card_enable_vfs(t, 0, 64);
    test_card_start_pf(t, 4);
    vf_write(t, 31, HW_VFRDBAL(3), 0x80);
    assert_int_equal(pf_read(t, HW_RDBAL(127)), 0x80);
    vf_write(t, 32, HW_VFRDBAL(0), 0x100);
    assert_int_equal(vf_read(t, 32, HW_VFRDBAL(0)), 0);
    vf_write(t, 63, HW_VFRXDCTL(0), HW_RXDCTL_ENABLE);
    vf_write(t, 63, HW_VFRDT(7), 1);
    vf_write(t, 63, HW_VFCTRL, HW_VFCTRL_RST);
    assert_int_equal(pf_read(t, HW_RDBAL(127)), 0x80);
    // They are VFs all the same: with a mailbox, and interrupts.
    vf_write(t, 63, HW_VTIVAR_MISC, HW_IVAR_VALID);
    vf_write(t, 63, HW_VTEIMS, 1);
    pf_write(t, HW_PFMAILBOX(63), HW_PFMAILBOX_STS);
    assert_int_equal(t->raised[64][0], 1);
    assert_int_equal(pf_read(t, HW_STATUS) >> HW_STATUS_NUM_VFS_SHIFT & 0xff, 64);
    nic_worker_poll(t->worker);
}

static void test_pool_and_port_windows(void **state)
{
    (void)state;
    test_card_start_pf(t, 2);
    vf_write(t, 2, HW_VFPSRTYPE, 0x20000330);
    assert_int_equal(pf_read(t, HW_PSRTYPE(2)), 0x20000330);
    assert_int_equal(pf_read(t, HW_PSRTYPE(1)), 0);
    // A VF reads the port's status and timer, and writes neither.
    vf_write(t, 0, HW_VFLINKS, 0);
    assert_int_equal(vf_read(t, 0, HW_VFLINKS), pf_read(t, HW_LINKS));
    assert_int_equal(vf_read(t, 0, HW_VFSTATUS), 0);
    assert_int_not_equal(vf_read(t, 0, HW_VFFRTIMER), 0);
    // Statistics are its own, and read-only.
    t->port->counters.pool[1].rx_frames = 7;
    t->port->counters.pool[1].rx_bytes = 0x200000000ull - 7 * 4;
    vf_write(t, 1, HW_VFGPRC, 0);
    assert_int_equal(vf_read(t, 1, HW_VFGPRC), 7);
    assert_int_equal(vf_read(t, 1, HW_VFGPRC), 7);
    assert_int_equal(vf_read(t, 1, HW_VFGORC_LSB), 0);
    assert_int_equal(vf_read(t, 1, HW_VFGORC_MSB), 2);
    assert_int_equal(vf_read(t, 0, HW_VFGPRC), 0);
    assert_int_equal(pf_read(t, HW_PVFGPRC(1)), 7);
}

static void test_masks_hold_and_unknown_is_nothing(void **state)
{
    uint64_t reads, writes;

    (void)state;
    test_card_start_pf(t, 2);
    vf_write(t, 0, HW_VFRDBAL(0), UINT32_MAX);
    assert_int_equal(vf_read(t, 0, HW_VFRDBAL(0)), 0xffffff80);
    vf_write(t, 0, HW_VFRDLEN(1), UINT32_MAX);
    assert_int_equal(vf_read(t, 0, HW_VFRDLEN(1)), 0x000fff80);
    vf_write(t, 0, HW_VFTDT(1), UINT32_MAX);
    assert_int_equal(vf_read(t, 0, HW_VFTDT(1)), 0xffff);
    reads = t->port->odd_vf[0].unknown_reads;
    writes = t->port->odd_vf[0].unknown_writes;
    for (uint32_t at = 0; at < HW_VF_BAR_BYTES; at += 4) {
        unsigned index;

        if (nic_vfwin_find(at, &index) != HW_VFROW_NONE)
            continue;
        vf_write(t, 0, at, UINT32_MAX);
        assert_int_equal(vf_read(t, 0, at), 0);
        writes--;
        reads--;
    }
    assert_true(t->port->odd_vf[0].unknown_reads - reads ==
                t->port->odd_vf[0].unknown_writes - writes);
    assert_true(t->port->odd_vf[0].unknown_reads > 3000);
}

// Whatever one VF writes anywhere, no register but its own queues', its pool's and its mailbox's
// changes.
static void test_a_vf_cannot_reach_others(void **state)
{
    static uint32_t before[NIC_REGS_LEN_BYTES / 4];

    (void)state;
    test_card_start_pf(t, 2);
    memcpy(before, t->port->regs, sizeof before);
    for (uint32_t at = 0; at < HW_VF_BAR_BYTES; at += 4) {
        vf_write(t, 1, at, UINT32_MAX);
        vf_write(t, 1, at, 0x5a5a5a5a);
    }
    for (uint32_t at = 0; at < NIC_REGS_LEN_BYTES; at += 4) {
        unsigned index;
        enum hw_row row = nic_regs_find(at, &index);
        bool queue, own;

        if (before[at / 4] == t->port->regs[at / 4])
            continue;
        assert_int_not_equal(row, HW_ROW_NONE);
        queue = nic_regs_count(row) == HW_QUEUES;
        own = (queue && (index == 2 || index == 3)) || (row == HW_ROW_PSRTYPE && index == 1) ||
              (row == HW_ROW_PFMBICR && index == 0) || (row == HW_ROW_PFVFLRE && index == 0);
        if (!own)
            fail_msg("VF 1 changed %s[%u]", nic_reg_rows[row].name, index);
    }
    assert_int_equal(pf_read(t, HW_PFMBICR(0)) & ~0x00020002u, 0);
    assert_int_equal(pf_read(t, HW_PFVFLRE(0)), 0x2);
}

static void test_reset_leaves_other_queues(void **state)
{
    (void)state;
    test_card_start_pf(t, 2);
    for (unsigned vf = 0; vf < 3; vf++) {
        vf_write(t, vf, HW_VFTDBAL(1), (uint32_t)TEST_IOVA);
        vf_write(t, vf, HW_VFTDLEN(1), 128);
        vf_write(t, vf, HW_VFTXDCTL(1), HW_TXDCTL_ENABLE);
        vf_write(t, vf, HW_VFSRRCTL(0), 0x04000402);
    }
    pf_write(t, HW_PFQDE, 3 << HW_PFQDE_INDEX_SHIFT | HW_PFQDE_WE | HW_PFQDE_QDE);
    vf_write(t, 1, HW_VFPSRTYPE, 0x20000000);
    vf_write(t, 1, HW_VFCTRL, HW_VFCTRL_RST);
    assert_true(t->port->rxq[3].drop_pf); // the PF's say outlives it
    assert_false(t->port->rxq[2].drop_pf);
    assert_true(t->port->txq[1].enabled);
    assert_false(t->port->txq[3].enabled);
    assert_true(t->port->txq[5].enabled);
    assert_int_equal(vf_read(t, 1, HW_VFTDBAL(1)), 0);
    assert_int_equal(vf_read(t, 1, HW_VFSRRCTL(0)), 0x402);
    assert_int_equal(vf_read(t, 1, HW_VFPSRTYPE), 0);
    assert_int_equal(vf_read(t, 2, HW_VFSRRCTL(0)), 0x04000402);
    // VF Enable cleared: all of them are gone, and come back from reset.
    pf_config_write(t, HW_EXTCAP_SRIOV + 8, 2, 0);
    assert_false(t->port->txq[1].enabled);
    assert_false(t->port->txq[5].enabled);
    test_card_enable_vfs(t, 0, 1);
    assert_int_equal(vf_read(t, 0, HW_VFTXDCTL(1)), 0);
    assert_int_equal(vf_read(t, 0, HW_VFSRRCTL(0)), 0x402);
    // A change of mode takes queues from whoever had them.
    vf_write(t, 0, HW_VFTDLEN(1), 128);
    vf_write(t, 0, HW_VFTXDCTL(1), HW_TXDCTL_ENABLE);
    assert_true(t->port->txq[1].enabled);
    pf_write(t, HW_GCR_EXT, HW_GCR_EXT_VT_MODE_32);
    assert_false(t->port->txq[1].enabled);
}

// Mapped doorbells: every cycle to page 0 first takes over what the guest wrote into the pages.
static void test_page_0_samples_the_pages(void **state)
{
    struct pci_backing backing;
    volatile uint32_t *tail;
    uint8_t *pages;

    (void)state;
    test_card_start_pf(t, 2);
    assert_int_equal(pci_backing_get(t->seg, test_card_vf_rid(0, 1), 0, 0, &backing), 0);
    assert_int_equal(backing.bar_offset, NIC_DOORBELL_BAR_OFFSET);
    assert_int_equal(backing.len_bytes, NIC_DOORBELL_LEN_BYTES);
    assert_int_equal(backing.fd_offset, backing.bar_offset);
    assert_int_equal(pci_backing_get(t->seg, test_card_vf_rid(0, 1), 0, 0x1001, &backing), -ENOENT);
    assert_int_equal(pci_backing_get(t->seg, test_card_vf_rid(0, 1), 3, 0, &backing), -ENOENT);
    assert_int_equal(pci_backing_get(t->seg, test_card_pf_rid(0), 0, 0, &backing), -ENOENT);
    pages = mmap(NULL, NIC_DOORBELL_LEN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                 nic_doorbell_fd(t->port->doorbells[1]), NIC_DOORBELL_BAR_OFFSET);
    assert_true(pages != MAP_FAILED);
    tail = (volatile uint32_t *)(pages + HW_VFTDT(1) - NIC_DOORBELL_BAR_OFFSET);
    *tail = 0x1234;
    assert_int_equal(nic_reg(t->port, HW_TDT(3)), 0);
    // An interrupt's handler does not wait for the worker.
    vf_write(t, 1, HW_VTEIMS, 1);
    vf_write(t, 1, HW_VTEITR(0), 0x100);
    assert_int_equal(nic_reg(t->port, HW_TDT(3)), 0);
    vf_read(t, 1, HW_VFSTATUS);
    assert_int_equal(nic_reg(t->port, HW_TDT(3)), 0x1234);
    // A reset puts the pages back as well.
    *tail = 0x2345;
    vf_write(t, 1, HW_VFCTRL, HW_VFCTRL_RST);
    assert_int_equal(*tail, 0);
    assert_int_equal(nic_reg(t->port, HW_TDT(3)), 0);
    // A cycle that comes to those pages all the same is seen in them.
    vf_write(t, 1, HW_VFTDLEN(1), 0x1000);
    assert_int_equal(*(volatile uint32_t *)(pages + HW_VFTDLEN(1) - NIC_DOORBELL_BAR_OFFSET),
                     0x1000);
    assert_int_equal(vf_read(t, 1, HW_VFTDLEN(1)), 0x1000);
    munmap(pages, NIC_DOORBELL_LEN_BYTES);
}

// Each kind of cycle is told apart, and each VF's from the others'.
static void test_cycles_by_kind(void **state)
{
    struct nic_function_counts before, after, other;

    (void)state;
    test_card_start_pf(t, 2);
    assert_int_equal(nic_function_counts_get(t->card, 0, 0, &other), 0);
    assert_int_equal(nic_function_counts_get(t->card, 0, 1, &before), 0);
    vf_write(t, 1, HW_VFRDT(0), 1);
    vf_write(t, 1, HW_VFTDT(1), 1);
    for (unsigned i = 0; i < 3; i++)
        vf_write(t, 1, HW_VTEIMS, 1);
    for (unsigned i = 0; i < 4; i++)
        vf_write(t, 1, HW_VTEITR(1), 8);
    vf_read(t, 1, HW_VFMBMEM(0));
    vf_read(t, 1, HW_VFSTATUS);
    vf_read(t, 1, HW_VFRDH(0));
    assert_int_equal(nic_function_counts_get(t->card, 0, 1, &after), 0);
    assert_int_equal(after.doorbell_cycles - before.doorbell_cycles, 2);
    assert_int_equal(after.interrupt_cycles - before.interrupt_cycles, 3);
    assert_int_equal(after.moderation_cycles - before.moderation_cycles, 4);
    assert_int_equal(after.mailbox_cycles - before.mailbox_cycles, 1);
    assert_int_equal(after.other_cycles - before.other_cycles, 2);
    assert_int_equal(nic_function_counts_get(t->card, 0, 0, &after), 0);
    assert_memory_equal(&after, &other, sizeof after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_queues_of_2, setup, teardown),
        cmocka_unit_test_setup_teardown(test_queues_of_4, setup, teardown),
        cmocka_unit_test_setup_teardown(test_queues_of_8, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_queues, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_vfs_than_pools, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_vfs_than_pools, setup_mapped, teardown),
        cmocka_unit_test_setup_teardown(test_pool_and_port_windows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_masks_hold_and_unknown_is_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_vf_cannot_reach_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_leaves_other_queues, setup, teardown),
        cmocka_unit_test_setup_teardown(test_page_0_samples_the_pages, setup_mapped, teardown),
        cmocka_unit_test_setup_teardown(test_cycles_by_kind, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

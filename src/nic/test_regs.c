// SPDX-License-Identifier: BSD-3-Clause
// The register file: masks, access kinds, aliases, widths, resets, and what drivers poll.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "nic/regs.h"
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

// --- the table ----------------------------------------------------------------------------------

static void test_rows_and_hooks_agree(void **state)
{
    (void)state;
    for (unsigned row = 0; row < HW_ROW_NONE; row++) {
        const struct nic_reg_row *r = &nic_reg_rows[row];
        const struct nic_reg_hook *hook = nic_regs_hook((enum hw_row)row);
        bool hooked = hook->read || hook->write;

        if (hooked != (r->access == NIC_REG_HOOK))
            fail_msg("%s: hooked %d, access kind %d", r->name, hooked, r->access);
        // What cannot be written has no mask, and the other way round.
        if ((r->access == NIC_REG_RO || r->access == NIC_REG_RC) && r->write_mask)
            fail_msg("%s: read-only with write mask 0x%x", r->name, r->write_mask);
        if ((r->access == NIC_REG_RW || r->access == NIC_REG_W1C) && !r->write_mask)
            fail_msg("%s: no bit can be written", r->name);
    }
}

static void test_every_register_is_found(void **state)
{
    (void)state;
    for (unsigned row = 0; row < HW_ROW_NONE; row++) {
        for (unsigned i = 0; i < nic_regs_count((enum hw_row)row); i++) {
            unsigned index = ~0u;

            assert_int_equal(nic_regs_find(nic_regs_offset((enum hw_row)row, i), &index), row);
            assert_int_equal(index, i);
        }
    }
}

// Registers that only store: each bit of the mask can be set and cleared, no other one changes.
static void test_masks(void **state)
{
    (void)state;
    for (unsigned row = 0; row < HW_ROW_NONE; row++) {
        const struct nic_reg_row *r = &nic_reg_rows[row];
        unsigned last = nic_regs_count((enum hw_row)row) - 1;

        if (r->access != NIC_REG_RW)
            continue;
        for (unsigned i = 0; i <= last; i += last ? last : 1) {
            uint32_t at = nic_regs_offset((enum hw_row)row, i);
            uint32_t fixed = pf_read(t, at) & ~r->write_mask;

            pf_write(t, at, UINT32_MAX);
            assert_int_equal(pf_read(t, at), r->write_mask | fixed);
            pf_write(t, at, 0x5a5a5a5a);
            assert_int_equal(pf_read(t, at), (0x5a5a5a5a & r->write_mask) | fixed);
            pf_write(t, at, 0);
            assert_int_equal(pf_read(t, at), fixed);
        }
    }
}

static void test_read_only_and_unknown(void **state)
{
    uint32_t before = pf_read(t, HW_MREVID);

    (void)state;
    pf_write(t, HW_MREVID, ~before);
    assert_int_equal(pf_read(t, HW_MREVID), before);

    assert_int_equal(t->port->odd_pf.unknown_reads, 0);
    assert_int_equal(pf_read(t, 0x1fffc), 0);
    assert_int_equal(pf_read(t, 0x20000), 0); // one past the file
    assert_int_equal(pf_read(t, 0x7fffc), 0); // the BAR's last
    assert_int_equal(t->port->odd_pf.unknown_reads, 3);
    pf_write(t, 0x1fffc, 1);
    pf_write(t, 0x20000, 1);
    assert_int_equal(t->port->odd_pf.unknown_writes, 2);
    assert_int_equal(pf_read(t, 0x1fffc), 0);
}

static void test_write_1_to_clear(void **state)
{
    (void)state;
    nic_reg_store(t->port, HW_PFMBICR(0), 0x00030003);
    pf_write(t, HW_PFMBICR(0), 0x00010002);
    assert_int_equal(pf_read(t, HW_PFMBICR(0)), 0x00020001);
    assert_int_equal(pf_read(t, HW_PFMBICR(0)), 0x00020001);
}

static void test_read_to_clear(void **state)
{
    (void)state;
    nic_reg_store(t->port, HW_LVMMC, 0x77);
    pf_write(t, HW_LVMMC, 0);
    assert_int_equal(pf_read(t, HW_LVMMC), 0x77);
    assert_int_equal(pf_read(t, HW_LVMMC), 0);
}

static void test_aliases(void **state)
{
    unsigned index;

    (void)state;
    pf_write(t, 0x2100 + 4 * 15, 0x04000402);
    assert_int_equal(pf_read(t, HW_SRRCTL(15)), 0x04000402);
    pf_write(t, HW_RAL(15), 0x12345678);
    assert_int_equal(pf_read(t, 0x5400 + 8 * 15), 0x12345678);
    pf_write(t, 0x5404 + 8 * 3, 0x8000abcd);
    assert_int_equal(pf_read(t, HW_RAH(3)), 0x8000abcd);
    pf_write(t, 0x5480 + 4 * 7, 0x20000330);
    assert_int_equal(pf_read(t, HW_PSRTYPE(7)), 0x20000330);
    pf_write(t, 0x2200, 0x00002200);
    assert_int_equal(pf_read(t, HW_DCA_RXCTRL(0)), 0x00002200);
    // What follows the 16th is somebody else.
    assert_int_equal(nic_regs_find(0x2100 + 4 * 16, &index), HW_ROW_RTRPT4C);
    assert_int_equal(nic_regs_find(0x5400 + 8 * 16, &index), HW_ROW_PSRTYPE);
}

static void test_widths(void **state)
{
    uint64_t at = TEST_PF_BAR0 + HW_RAL(5);

    (void)state;
    pci_mem_write(t->seg, at, 8, 0x8000eeff44332211ull);
    assert_int_equal(pf_read(t, HW_RAL(5)), 0x44332211);
    assert_int_equal(pf_read(t, HW_RAH(5)), 0x8000eeff);
    assert_true(pci_mem_read(t->seg, at, 8) == 0x8000eeff44332211ull);
    assert_int_equal(pci_mem_read(t->seg, at + 1, 1), 0x22);
    assert_int_equal(pci_mem_read(t->seg, at + 2, 2), 0x4433);
    pci_mem_write(t->seg, at, 1, 0xaa);
    pci_mem_write(t->seg, at + 2, 2, 0xbbbb);
    assert_int_equal(pf_read(t, HW_RAL(5)), 0x44332211);
    assert_int_equal(t->port->odd_pf.narrow_writes, 2);
}

// The patterns of ixgbe's register test (ethtool -t), with the masks that it expects.
static void test_ethtool_patterns(void **state)
{
    static const uint32_t patterns[] = {0x5a5a5a5a, 0xa5a5a5a5, 0, 0xffffffff};
    const struct {
        uint32_t at, mask, write;
    } rows[] = {
        {HW_FCRTL(0), 0x8007fff0, 0x8007fff0}, {HW_FCRTH(0), 0x8007fff0, 0x8007fff0},
        {HW_PFCTOP, 0xffffffff, 0xffffffff},   {HW_RDBAL(3), 0xffffff80, 0xffffff80},
        {HW_RDBAH(0), 0xffffffff, 0xffffffff}, {HW_RDLEN(0), 0x000fff80, 0x000fffff},
        {HW_RDT(0), 0x0000ffff, 0x0000ffff},   {HW_FCTTV(0), 0xffffffff, 0xffffffff},
        {HW_TDBAL(0), 0xffffff80, 0xffffffff}, {HW_TDBAH(0), 0xffffffff, 0xffffffff},
        {HW_TDLEN(0), 0x000fff80, 0x000fff80}, {HW_RAL(1), 0xffffffff, 0xffffffff},
        {HW_RAH(1), 0x8001ffff, 0x800cffff},   {HW_MTA(127), 0xffffffff, 0xffffffff},
        {HW_RXCTRL, 0x00000001, 0x00000001},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (unsigned p = 0; p < 4; p++) {
            pf_write(t, rows[i].at, patterns[p] & rows[i].write);
            assert_int_equal(pf_read(t, rows[i].at), patterns[p] & rows[i].write & rows[i].mask);
        }
    }
}

// --- behaviour ----------------------------------------------------------------------------------

static void test_derived_registers_mark_the_tables_stale(void **state)
{
    (void)state;
    t->port->derived_stale = false;
    pf_write(t, HW_WUFC, 1); // not one of them
    assert_false(t->port->derived_stale);
    pf_write(t, HW_MTA(5), 1);
    assert_true(t->port->derived_stale);
    t->port->derived_stale = false;
    pf_write(t, 0x5400, 1); // by an alias
    assert_true(t->port->derived_stale);
}

static void test_software_reset(void **state)
{
    (void)state;
    pf_write(t, HW_VLNCTRL, 0x40008100);
    pf_write(t, HW_RAL(0), 0);
    pf_write(t, HW_GCR, 0x00011000); // survives
    pf_write(t, HW_RXPBSIZE(0), 0);
    pf_write(t, HW_CTRL, HW_CTRL_RST);
    assert_int_equal(pf_read(t, HW_CTRL), 0);
    assert_int_equal(pf_read(t, HW_VLNCTRL), 0x00008100);
    assert_int_equal(pf_read(t, HW_RAL(0)), 0x33221102);
    assert_int_equal(pf_read(t, HW_RAH(0)), 0x80005044);
    assert_int_equal(pf_read(t, HW_GCR) & 0x0001f000, 0x00011000);
    assert_int_equal(pf_read(t, HW_RXPBSIZE(0)), 512 << 10);
    assert_int_equal(pf_read(t, HW_RXPBSIZE(1)), 0);
    // A link reset does the same.
    pf_write(t, HW_VLNCTRL, 0x40008100);
    pf_write(t, HW_CTRL, HW_CTRL_LRST);
    assert_int_equal(pf_read(t, HW_CTRL), 0);
    assert_int_equal(pf_read(t, HW_VLNCTRL), 0x00008100);
    // And so does a function level reset, which leaves nothing.
    pf_write(t, HW_SW_FW_SYNC, 0x3);
    pf_config_write(t, HW_CAP_PCIE + 8, 2, 0x8000);
    test_card_enable_pf(t, 0);
    assert_int_equal(pf_read(t, HW_SW_FW_SYNC), 0);
    assert_int_equal(pf_read(t, HW_GCR), 0x00040000);
}

static void test_master_disable(void **state)
{
    (void)state;
    assert_int_equal(pf_read(t, HW_STATUS) & HW_STATUS_MASTER_ENABLE, HW_STATUS_MASTER_ENABLE);
    pf_write(t, HW_CTRL, HW_CTRL_MASTER_DISABLE);
    assert_int_equal(pf_read(t, HW_CTRL), HW_CTRL_MASTER_DISABLE);
    assert_int_equal(pf_read(t, HW_STATUS) & HW_STATUS_MASTER_ENABLE, 0);
}

static void test_status_counts_vfs(void **state)
{
    (void)state;
    assert_int_equal(pf_read(t, HW_STATUS) >> HW_STATUS_NUM_VFS_SHIFT & 0xff, 2);
    assert_true(pf_read(t, HW_STATUS) & HW_STATUS_IOV_ACTIVE);
    pf_config_write(t, HW_EXTCAP_SRIOV + 8, 2, 0);
    assert_int_equal(pf_read(t, HW_STATUS) >> HW_STATUS_NUM_VFS_SHIFT & 0xff, 0);
    assert_false(pf_read(t, HW_STATUS) & HW_STATUS_IOV_ACTIVE);
}

// What ixgbe polls in probe, reset and open, and what it must read in the end.
static void test_what_drivers_poll(void **state)
{
    (void)state;
    assert_int_equal(pf_read(t, HW_EEC) & (HW_EEC_AUTO_RD | HW_EEC_PRES), 0x300);
    assert_int_equal(pf_read(t, HW_EEMNGCTL) & 0xc0000, 0xc0000);
    assert_true(pf_read(t, HW_RDRXCTL) & HW_RDRXCTL_DMAIDONE);
    pf_write(t, HW_RDRXCTL, 0);
    assert_true(pf_read(t, HW_RDRXCTL) & HW_RDRXCTL_DMAIDONE);
    pf_write(t, HW_SECRXCTRL, HW_SECRXCTRL_RX_DIS);
    assert_true(pf_read(t, HW_SECRXSTAT) & HW_SECRXSTAT_RDY);
    pf_write(t, HW_SECTXCTRL, HW_SECTXCTRL_TX_DIS);
    assert_true(pf_read(t, HW_SECTXSTAT) & HW_SECTXSTAT_RDY);
    pf_write(t, HW_FDIRCTRL, 0x00000001);
    assert_true(pf_read(t, HW_FDIRCTRL) & HW_FDIRCTRL_INIT_DONE);
    pf_write(t, HW_FDIRCMD, 0x00008003);
    assert_int_equal(pf_read(t, HW_FDIRCMD) & 3, 0);
    // Pipeline reset: auto-negotiation's state machine has moved.
    pf_write(t, HW_AUTOC, pf_read(t, HW_AUTOC) | HW_AUTOC_AN_RESTART);
    assert_int_equal(pf_read(t, HW_AUTOC) & HW_AUTOC_AN_RESTART, 0);
    assert_int_not_equal(pf_read(t, HW_ANLP1) & 0x000f0000, 0);
    assert_int_equal(pf_read(t, HW_AUTOC) >> HW_AUTOC_LMS_SHIFT & 7, HW_AUTOC_LMS_10G_SERIAL);
    // MDIO: over at once, and nobody there.
    pf_write(t, HW_MSCA, HW_MSCA_MDI_COMMAND | 0x0c010000);
    assert_int_equal(pf_read(t, HW_MSCA) & HW_MSCA_MDI_COMMAND, 0);
    assert_int_equal(pf_read(t, HW_MSRWD) >> 16, 0xffff);
    // The cage is full, unless SDP2 is made an output.
    assert_true(pf_read(t, HW_ESDP) & HW_ESDP_SDP2);
    pf_write(t, HW_ESDP, HW_ESDP_SDP2 << HW_ESDP_DIR_SHIFT);
    assert_false(pf_read(t, HW_ESDP) & HW_ESDP_SDP2);
    // No firmware error: ixgbe looks every 2 seconds, and complains unless the firmware is valid.
    assert_int_equal(pf_read(t, HW_FWSM) & 0x01f88000, 0x00008000);
}

static void test_semaphore(void **state)
{
    (void)state;
    assert_int_equal(pf_read(t, HW_SWSM) & HW_SWSM_SMBI, 0); // taken
    assert_int_equal(pf_read(t, HW_SWSM) & HW_SWSM_SMBI, HW_SWSM_SMBI);
    pf_write(t, HW_SWSM, HW_SWSM_SMBI | HW_SWSM_SWESMBI);
    assert_true(pf_read(t, HW_SWSM) & HW_SWSM_SWESMBI);
    pf_write(t, HW_SWSM, 0);
    assert_int_equal(pf_read(t, HW_SWSM) & HW_SWSM_SMBI, 0);
}

static void test_link_follows_the_uplink(void **state)
{
    (void)state;
    test_card_start_pf(t, 2);
    assert_int_equal(pf_read(t, HW_LINKS), HW_LINKS_UP | HW_LINKS_SPEED_10G);
    assert_int_equal(vf_read(t, 1, HW_VFLINKS), HW_LINKS_UP | HW_LINKS_SPEED_10G);
    pf_read(t, HW_EICR);
    t->uplink[0].link_up = false;
    nic_card_poll_links(t->card);
    assert_true(pf_read(t, HW_EICR) & HW_EICR_LSC);
    assert_int_equal(t->raised[0][63], 1);
    assert_int_equal(pf_read(t, HW_LINKS) & HW_LINKS_UP, 0);
    nic_card_poll_links(t->card);
    assert_int_equal(t->raised[0][63], 1); // once a change
    t->uplink[0].link_up = true;
    assert_int_equal(vf_read(t, 0, HW_VFLINKS) & HW_LINKS_UP, HW_LINKS_UP); // a read looks too
    assert_int_equal(t->raised[0][63], 2);
}

static void test_indexed_registers(void **state)
{
    (void)state;
    pf_write(t, HW_RTTDQSEL, 5);
    pf_write(t, HW_RTTBCNRC, 0x80012345);
    pf_write(t, HW_RTTDT1C, 0x77);
    pf_write(t, HW_RTTDQSEL, 6);
    assert_int_equal(pf_read(t, HW_RTTBCNRC), 0);
    pf_write(t, HW_RTTDQSEL, 5);
    assert_int_equal(pf_read(t, HW_RTTBCNRC), 0x80012345);
    assert_int_equal(pf_read(t, HW_RTTDT1C), 0x77);

    pf_write(t, HW_PFQDE, 9 << HW_PFQDE_INDEX_SHIFT | HW_PFQDE_WE | HW_PFQDE_QDE);
    assert_true(t->port->rxq[9].drop_pf);
    assert_false(t->port->rxq[8].drop_pf);
    pf_write(t, HW_PFQDE, 9 << HW_PFQDE_INDEX_SHIFT | HW_PFQDE_RE);
    assert_int_equal(pf_read(t, HW_PFQDE) & HW_PFQDE_QDE, 1);
    pf_write(t, HW_PFQDE, 8 << HW_PFQDE_INDEX_SHIFT | HW_PFQDE_RE | HW_PFQDE_QDE);
    assert_int_equal(pf_read(t, HW_PFQDE) & HW_PFQDE_QDE, 0);
}

// A ring that cannot run does not say that it does.
static void test_queue_enable(void **state)
{
    (void)state;
    pf_write(t, HW_RXDCTL(100), HW_RXDCTL_ENABLE); // no length
    assert_int_equal(pf_read(t, HW_RXDCTL(100)), 0);
    pf_write(t, HW_RDBAL(100), (uint32_t)TEST_IOVA);
    pf_write(t, HW_RDLEN(100), 128 * 16);
    pf_write(t, HW_RDH(100), 128); // past the end
    pf_write(t, HW_RXDCTL(100), HW_RXDCTL_ENABLE);
    assert_int_equal(pf_read(t, HW_RXDCTL(100)), 0);
    pf_write(t, HW_RDH(100), 127);
    pf_write(t, HW_RXDCTL(100), HW_RXDCTL_ENABLE | HW_RXDCTL_VME);
    assert_int_equal(pf_read(t, HW_RXDCTL(100)), HW_RXDCTL_ENABLE | HW_RXDCTL_VME);
    assert_true(t->port->rxq[100].enabled);
    pf_write(t, HW_RDH(100), 5); // the card's while it runs
    assert_int_equal(pf_read(t, HW_RDH(100)), 127);
    pf_write(t, HW_RDT(100), 0x1ffff);
    assert_int_equal(pf_read(t, HW_RDT(100)), 0xffff);
    pf_write(t, HW_RXDCTL(100), 0);
    assert_false(t->port->rxq[100].enabled);
    assert_int_equal(pf_read(t, HW_RDH(100)), 127);

    pf_write(t, HW_TXDCTL(1), HW_TXDCTL_ENABLE);
    assert_int_equal(pf_read(t, HW_TXDCTL(1)) & HW_TXDCTL_ENABLE, 0);
    pf_write(t, HW_TDLEN(1), 128);
    pf_write(t, HW_TXDCTL(1), HW_TXDCTL_ENABLE | 8 << HW_TXDCTL_WTHRESH_SHIFT);
    assert_int_equal(pf_read(t, HW_TXDCTL(1)), HW_TXDCTL_ENABLE | 8 << HW_TXDCTL_WTHRESH_SHIFT);
    pf_write(t, HW_CTRL, HW_CTRL_RST);
    assert_int_equal(pf_read(t, HW_TXDCTL(1)), 0);
    assert_false(t->port->txq[1].enabled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_and_hooks_agree),
        cmocka_unit_test(test_every_register_is_found),
        cmocka_unit_test_setup_teardown(test_masks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_only_and_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_1_to_clear, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_to_clear, setup, teardown),
        cmocka_unit_test_setup_teardown(test_aliases, setup, teardown),
        cmocka_unit_test_setup_teardown(test_widths, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ethtool_patterns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_derived_registers_mark_the_tables_stale, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_software_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_master_disable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_status_counts_vfs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_drivers_poll, setup, teardown),
        cmocka_unit_test_setup_teardown(test_semaphore, setup, teardown),
        cmocka_unit_test_setup_teardown(test_link_follows_the_uplink, setup, teardown),
        cmocka_unit_test_setup_teardown(test_indexed_registers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_queue_enable, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

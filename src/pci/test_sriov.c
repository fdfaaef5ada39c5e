// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/bits.h"
#include "pci/test_fixture.h"

#define CONTROL   (TEST_SRIOV + 0x08)
#define NUM_VFS   (TEST_SRIOV + 0x10)
#define OFFSET    (TEST_SRIOV + 0x14)
#define PAGE_SIZE (TEST_SRIOV + 0x20)
#define VF_BAR    (TEST_SRIOV + 0x24)
#define VFE       0x01u
#define MSE       0x08u
#define ARI       0x10u

static rid_t vf_rid(unsigned bus, unsigned first, unsigned n)
{
    return (rid_t){(uint16_t)(bus << 8 | (first + 2 * n))};
}

static unsigned count_existing(void)
{
    unsigned count = 0;

    for (unsigned rid = 0; rid < 0x10000; rid++)
        count += pci_function_exists(card.seg, (rid_t){(uint16_t)rid});
    return count;
}

static void test_after_reset(void **state)
{
    (void)state;
    assert_int_equal(rd(TEST_PF0, TEST_SRIOV, 4), 0x00010010);
    assert_int_equal(rd(TEST_PF0, TEST_SRIOV + 4, 4), 0x00000002);
    assert_int_equal(rd(TEST_PF0, CONTROL, 4), 0);
    assert_int_equal(rd(TEST_PF0, TEST_SRIOV + 0x0c, 4), 0x00400040);
    assert_int_equal(rd(TEST_PF0, NUM_VFS, 4), 0);
    assert_int_equal(rd(TEST_PF1, NUM_VFS, 4), 0x00010000); // depends on itself
    assert_int_equal(rd(TEST_PF0, OFFSET, 4), 0x00020180);
    assert_int_equal(rd(TEST_PF0, TEST_SRIOV + 0x18, 4), 0x10ed0000);
    assert_int_equal(rd(TEST_PF0, TEST_SRIOV + 0x1c, 4), 0x553);
    assert_int_equal(rd(TEST_PF0, PAGE_SIZE, 4), 1);
    assert_int_equal(rd(TEST_PF0, TEST_SRIOV + 0x3c, 4), 0);
    // Read-only throughout: capabilities, status, InitialVFs, TotalVFs, offset, stride, IDs,
    // supported page sizes, migration state.
    wr(TEST_PF0, TEST_SRIOV + 4, 4, 0xffffffff);
    wr(TEST_PF0, TEST_SRIOV + 0x0a, 2, 0xffff);
    wr(TEST_PF0, TEST_SRIOV + 0x0c, 4, 0xffffffff);
    wr(TEST_PF0, NUM_VFS + 2, 2, 0xffff);
    wr(TEST_PF0, OFFSET, 4, 0xffffffff);
    wr(TEST_PF0, TEST_SRIOV + 0x18, 4, 0xffffffff);
    wr(TEST_PF0, TEST_SRIOV + 0x1c, 4, 0xffffffff);
    wr(TEST_PF0, TEST_SRIOV + 0x3c, 4, 0xffffffff);
    assert_int_equal(rd(TEST_PF0, TEST_SRIOV + 4, 4), 2);
    assert_int_equal(rd(TEST_PF0, CONTROL, 4), 0);
    assert_int_equal(rd(TEST_PF0, TEST_SRIOV + 0x0c, 4), 0x00400040);
    assert_int_equal(rd(TEST_PF0, NUM_VFS, 4), 0);
    assert_int_equal(rd(TEST_PF0, OFFSET, 4), 0x00020180);
    assert_int_equal(rd(TEST_PF0, TEST_SRIOV + 0x18, 4), 0x10ed0000);
    assert_int_equal(rd(TEST_PF0, TEST_SRIOV + 0x1c, 4), 0x553);
    assert_int_equal(rd(TEST_PF0, TEST_SRIOV + 0x3c, 4), 0);
    // Control: VF Enable was refused (NumVFs 0), migration bits are not there.
    wr(TEST_PF0, CONTROL, 2, 0xffff);
    assert_int_equal(rd(TEST_PF0, CONTROL, 4), MSE | ARI);
}

static void test_ari_hierarchy(void **state)
{
    (void)state;
    // Only the lowest PF has the bit; both offsets follow it.
    wr(TEST_PF1, CONTROL, 2, ARI);
    assert_int_equal(rd(TEST_PF1, CONTROL, 2), 0);
    assert_int_equal(rd(TEST_PF0, OFFSET, 2), 384);
    wr(TEST_PF0, CONTROL, 2, ARI);
    assert_int_equal(rd(TEST_PF0, OFFSET, 2), 128);
    assert_int_equal(rd(TEST_PF1, OFFSET, 2), 128);
    // It stays while any PF of the device has VFs.
    test_enable_vfs(&card, TEST_PF1, 1, true, 0, 0);
    wr(TEST_PF0, CONTROL, 2, 0);
    assert_int_equal(rd(TEST_PF0, CONTROL, 2), ARI);
    assert_int_equal(rd(TEST_PF1, OFFSET, 2), 128);
    wr(TEST_PF1, CONTROL, 2, 0);
    wr(TEST_PF0, CONTROL, 2, 0);
    assert_int_equal(rd(TEST_PF1, OFFSET, 2), 384);
    // Together with VF Enable in one write: the new offset counts.
    wr(TEST_PF0, NUM_VFS, 2, 1);
    wr(TEST_PF0, CONTROL, 2, ARI | VFE);
    assert_true(pci_function_exists(card.seg, rid_make(1, 16, 0)));
    assert_false(pci_function_exists(card.seg, rid_make(2, 16, 0)));
}

static void test_num_vfs(void **state)
{
    (void)state;
    wr(TEST_PF0, CONTROL, 2, ARI);
    for (unsigned bad = 0; bad <= 65; bad += 65) {
        wr(TEST_PF0, NUM_VFS, 2, bad);
        wr(TEST_PF0, CONTROL, 2, ARI | VFE | MSE);
        assert_int_equal(rd(TEST_PF0, CONTROL, 2), ARI | MSE);
        assert_int_equal(count_existing(), 3);
    }
    wr(TEST_PF0, NUM_VFS, 2, 0xffff);
    wr(TEST_PF0, CONTROL, 2, ARI | VFE);
    assert_int_equal(rd(TEST_PF0, CONTROL, 2), ARI);
    assert_int_equal(card.event_count, 0);

    wr(TEST_PF0, NUM_VFS, 2, 64);
    wr(TEST_PF0, CONTROL, 2, ARI | VFE);
    assert_int_equal(rd(TEST_PF0, CONTROL, 2), ARI | VFE);
    assert_int_equal(count_existing(), 3 + 64);
    assert_true(pci_function_exists(card.seg, vf_rid(1, 0x80, 63)));
    // Fixed while VF Enable is set.
    wr(TEST_PF0, NUM_VFS, 2, 2);
    assert_int_equal(rd(TEST_PF0, NUM_VFS, 2), 64);
    wr(TEST_PF0, NUM_VFS, 1, 2);
    assert_int_equal(rd(TEST_PF0, NUM_VFS, 2), 64);
    wr(TEST_PF0, CONTROL, 2, ARI | VFE); // no change, no event
    assert_int_equal(card.event_count, 1);
    wr(TEST_PF0, CONTROL, 2, ARI);
    assert_int_equal(count_existing(), 3);
    wr(TEST_PF0, NUM_VFS, 2, 2);
    assert_int_equal(rd(TEST_PF0, NUM_VFS, 2), 2);
}

static void test_events(void **state)
{
    (void)state;
    test_enable_vfs(&card, TEST_PF0, 2, true, 0x100000, 0x200000);
    assert_int_equal(card.event_count, 1);
    assert_int_equal(card.events[0].kind, TEST_VFS_CHANGED);
    assert_int_equal(card.events[0].arg, 2);
    assert_true(card.events[0].gate_closed);
    assert_false(card.events[0].vfs_answer); // told before they answer
    wr(vf_rid(1, 0x80, 1), 4, 2, 4);
    wr(TEST_PF0, CONTROL, 2, ARI);
    assert_int_equal(card.event_count, 6);
    // VF 0 reset; VF 1 bus master off, reset; then the PF is told.
    assert_string_equal(card.events[2].name, "port0/vf0");
    assert_int_equal(card.events[2].kind, TEST_RESET);
    assert_int_equal(card.events[2].arg, PCI_RESET_VF_DISABLE);
    assert_int_equal(card.events[3].kind, TEST_MASTER);
    assert_string_equal(card.events[4].name, "port0/vf1");
    assert_int_equal(card.events[4].arg, PCI_RESET_VF_DISABLE);
    assert_int_equal(card.events[5].kind, TEST_VFS_CHANGED);
    assert_int_equal(card.events[5].arg, 0);
    assert_false(pci_function_dma(card.vf[0][1].fn)->bus_master);
    for (unsigned i = 0; i < card.event_count; i++)
        assert_true(card.events[i].gate_closed);
    assert_false(gate_is_closed(&card.gate));
}

static void test_rids(void **state)
{
    (void)state;
    test_enable_vfs(&card, TEST_PF0, 64, true, 0x100000, 0x200000);
    test_enable_vfs(&card, TEST_PF1, 64, true, 0x300000, 0x400000);
    assert_int_equal(count_existing(), 3 + 128);
    for (unsigned n = 0; n < 64; n++) {
        assert_true(pci_function_exists(card.seg, vf_rid(1, 0x80, n)));
        assert_true(pci_function_exists(card.seg, vf_rid(1, 0x81, n)));
        assert_int_equal(pci_function_rid(card.vf[1][n].fn).v, vf_rid(1, 0x81, n).v);
        assert_int_equal(pci_function_dma(card.vf[0][n].fn)->rid.v, vf_rid(1, 0x80, n).v);
    }
    wr(TEST_PF0, CONTROL, 2, ARI);
    wr(TEST_PF1, CONTROL, 2, 0);
    test_enable_vfs(&card, TEST_PF1, 3, false, 0x300000, 0x400000);
    assert_int_equal(count_existing(), 3 + 3);
    assert_true(pci_function_exists(card.seg, rid_make(2, 16, 1)));
    assert_true(pci_function_exists(card.seg, rid_make(2, 16, 3)));
    assert_true(pci_function_exists(card.seg, rid_make(2, 16, 5)));
    assert_int_equal(pci_function_dma(card.vf[1][0].fn)->rid.v, 0x281);
}

// Somebody sits where a VF would be.
static void test_rid_taken(void **state)
{
    struct pci_function_info info = {.name = "squatter"};
    struct pci_function_ops none = {0};
    struct pci_function *fn;

    (void)state;
    assert_int_equal(pci_function_create(&info, &none, NULL, &fn), 0);
    assert_int_equal(pci_segment_add(card.seg, rid_make(1, 16, 4), fn), 0);
    test_enable_vfs(&card, TEST_PF0, 3, true, 0x100000, 0x200000);
    assert_int_equal(rd(TEST_PF0, CONTROL, 2), ARI | MSE);
    assert_int_equal(count_existing(), 4);
    test_enable_vfs(&card, TEST_PF0, 2, true, 0x100000, 0x200000);
    assert_int_equal(rd(TEST_PF0, CONTROL, 2), ARI | MSE | VFE);
    assert_int_equal(count_existing(), 6);
    pci_function_destroy(fn);
}

static void test_page_size(void **state)
{
    static const uint32_t bad[] = {0, 3, 4, 0x553, 0x80000000, 0x1001};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        wr(TEST_PF0, PAGE_SIZE, 4, bad[i]);
        assert_int_equal(rd(TEST_PF0, PAGE_SIZE, 4), 1);
    }
    wr(TEST_PF0, VF_BAR, 4, 0xffffffff);
    wr(TEST_PF0, VF_BAR + 4, 4, 0xffffffff);
    wr(TEST_PF0, VF_BAR + 8, 4, 0xffffffff);
    assert_int_equal(rd(TEST_PF0, VF_BAR, 4), 0xffffc004); // 16 KiB: more than a page
    assert_int_equal(rd(TEST_PF0, VF_BAR + 4, 4), 0xffffffff);
    assert_int_equal(rd(TEST_PF0, VF_BAR + 8, 4), 0); // no VF BAR2
    wr(TEST_PF0, PAGE_SIZE, 4, 0x10);                 // 64 KiB
    assert_int_equal(rd(TEST_PF0, PAGE_SIZE, 4), 0x10);
    assert_int_equal(rd(TEST_PF0, VF_BAR, 4), 0xffff0004);
    wr(TEST_PF0, PAGE_SIZE, 4, 0x400); // 4 MiB
    assert_int_equal(rd(TEST_PF0, VF_BAR, 4), 0xffc00004);
    wr(TEST_PF0, PAGE_SIZE, 4, 0x2);
    wr(TEST_PF0, VF_BAR, 4, 0xffffffff);
    assert_int_equal(rd(TEST_PF0, VF_BAR, 4), 0xffffc004);
    wr(TEST_PF0, NUM_VFS, 2, 1);
    wr(TEST_PF0, CONTROL, 2, VFE);
    wr(TEST_PF0, PAGE_SIZE, 4, 1);
    assert_int_equal(rd(TEST_PF0, PAGE_SIZE, 4), 2); // fixed while VF Enable is set
}

static void test_vf_header(void **state)
{
    rid_t vf = vf_rid(1, 0x80, 0);

    (void)state;
    test_enable_vfs(&card, TEST_PF0, 1, true, 0x100000, 0x200000);
    assert_int_equal(rd(vf, 0, 4), 0xffffffff);
    assert_int_equal(rd(vf, 8, 4), 0x02000001);
    assert_int_equal(rd(vf, 0x0c, 4), 0); // header type 00
    assert_int_equal(rd(vf, 0x2c, 4), 0x00038086);
    assert_int_equal(rd(vf, 0x34, 1), TEST_MSIX);
    assert_int_equal(rd(vf, 0x06, 2), 0x0010);
    wr(vf, 4, 4, 0xffffffff);
    assert_int_equal(rd(vf, 4, 4), 0x00100004); // bus master is all there is
    for (unsigned at = 0x0c; at < 0x40; at += 4) {
        uint32_t old = rd(vf, at, 4);

        wr(vf, at, 4, 0xffffffff);
        assert_int_equal(rd(vf, at, 4), old);
        assert_true(at < 0x10 || at >= 0x28 || old == 0); // BARs read zero
    }
    assert_int_equal(rd(vf, TEST_MSIX, 2), 0xa011);
    assert_int_equal(rd(vf, TEST_MSIX + 2, 2), 2);
    assert_int_equal(rd(vf, TEST_EXPRESS + 1, 1), 0);
    assert_int_equal(rd(vf, TEST_EXPRESS + 4, 4), 0x10008cc2);
    wr(vf, TEST_EXPRESS + 8, 2, 0x7fff); // all but FLR is the PF's
    assert_int_equal(rd(vf, TEST_EXPRESS + 8, 2), 0);
    wr(vf, TEST_AER + 8, 4, 0xffffffff);
    assert_int_equal(rd(vf, TEST_AER + 8, 4), 0);
    assert_int_equal(rd(vf, TEST_AER, 4), 0x15010001); // next: ARI at 150
    assert_int_equal(rd(vf, TEST_ARI, 4), 0x0001000e);
    assert_int_equal(rd(vf, TEST_ARI + 4, 4), 0);
}

static void test_vf_flr(void **state)
{
    rid_t vf = vf_rid(1, 0x80, 1);

    (void)state;
    test_enable_vfs(&card, TEST_PF0, 2, true, 0x100000, 0x200000);
    wr(vf, 4, 2, 4);
    wr(vf, TEST_MSIX + 2, 2, 0x8000);
    assert_true(pci_function_dma(card.vf[0][1].fn)->bus_master);
    wr(vf, TEST_EXPRESS + 8, 2, 0x8000);
    assert_int_equal(rd(vf, 4, 2), 0);
    assert_int_equal(rd(vf, TEST_MSIX + 2, 2), 2);
    assert_false(pci_function_dma(card.vf[0][1].fn)->bus_master);
    assert_int_equal(test_events_of(&card, TEST_RESET, "port0/vf1"), 1);
    assert_int_equal(test_events_of(&card, TEST_RESET, "port0/vf0"), 0);
    assert_int_equal(test_events_of(&card, TEST_RESET, "port0"), 0);
    assert_true(pci_function_exists(card.seg, vf)); // it is still there
    assert_int_equal(rd(TEST_PF0, CONTROL, 2), VFE | MSE | ARI);
}

static void test_pf_flr(void **state)
{
    (void)state;
    test_enable_vfs(&card, TEST_PF0, 3, true, 0x100000, 0x200000);
    test_enable_vfs(&card, TEST_PF1, 2, true, 0x300000, 0x400000);
    wr(TEST_PF0, TEST_EXPRESS + 8, 2, 0x8000);
    assert_int_equal(count_existing(), 3 + 2); // the neighbour's stay
    assert_int_equal(rd(TEST_PF0, NUM_VFS, 2), 0);
    assert_int_equal(rd(TEST_PF0, VF_BAR, 4), 4);
    // ARI Capable Hierarchy is the device's, not this function's: its VFs would move.
    assert_int_equal(rd(TEST_PF0, CONTROL, 2), ARI);
    assert_int_equal(rd(TEST_PF0, OFFSET, 2), 128);
    assert_int_equal(rd(TEST_PF1, OFFSET, 2), 128);
    assert_int_equal(rd(TEST_PF1, CONTROL, 2), VFE | MSE);
    assert_int_equal(test_events_of(&card, TEST_RESET, "port0/vf2"), 1);
    // VFs first, then vfs_changed, then the PF.
    assert_int_equal(card.events[card.event_count - 1].kind, TEST_RESET);
    assert_string_equal(card.events[card.event_count - 1].name, "port0");
    assert_int_equal(card.events[card.event_count - 2].kind, TEST_VFS_CHANGED);
    // And again.
    test_enable_vfs(&card, TEST_PF0, 1, true, 0x100000, 0x200000);
    assert_int_equal(count_existing(), 3 + 3);
}

static void test_pf_power(void **state)
{
    rid_t vf = vf_rid(1, 0x80, 0);

    (void)state;
    test_enable_vfs(&card, TEST_PF0, 1, true, 0x100000, 0x200000);
    wr(vf, 4, 2, 4);
    pci_mem_write(card.seg, 0x100000, 4, 1);
    assert_int_equal(card.vf[0][0].writes, 1);
    wr(TEST_PF0, TEST_PM + 4, 2, 3);
    assert_false(pci_function_dma(card.vf[0][0].fn)->bus_master);
    pci_mem_write(card.seg, 0x100000, 4, 1);
    assert_int_equal(card.vf[0][0].writes, 1);
    wr(TEST_PF0, TEST_PM + 4, 2, 0);
    assert_int_equal(count_existing(), 3);
    assert_int_equal(rd(TEST_PF0, CONTROL, 2), ARI);
}

// BAR0s at `base`, `stride` apart, 16 KiB each.
static void check_apertures(unsigned num_vfs, uint64_t base, uint64_t stride)
{
    for (unsigned n = 0; n < num_vfs; n++) {
        struct test_function *vf = &card.vf[0][n];
        unsigned before = vf->writes;

        pci_mem_write(card.seg, base + n * stride, 4, 1);
        assert_int_equal(vf->writes, before + 1);
        assert_int_equal(vf->offset, 0);
        pci_mem_write(card.seg, base + n * stride + 0x3fff, 1, 1);
        assert_int_equal(vf->writes, before + 2);
        assert_int_equal(vf->offset, 0x3fff);
        assert_int_equal(vf->bar, 0);
        if (stride > 0x4000) { // the rest of its page is nobody's
            assert_int_equal(pci_mem_read(card.seg, base + n * stride + 0x4000, 4), 0xffffffff);
            assert_int_equal(pci_mem_read(card.seg, base + (n + 1) * stride - 1, 1), 0xff);
        }
    }
    // One before, one past the last.
    assert_int_equal(pci_mem_read(card.seg, base - 4, 4), 0xffffffff);
    assert_int_equal(pci_mem_read(card.seg, base + num_vfs * stride, 4), 0xffffffff);
    for (unsigned n = 0; n < TEST_VFS; n++)
        assert_int_equal(card.vf[0][n].reads, 0);
}

static void test_apertures(void **state)
{
    (void)state;
    test_enable_vfs(&card, TEST_PF0, 5, true, 0x4000000000, 0x5000000000);
    check_apertures(5, 0x4000000000, 0x4000);
    wr(TEST_PF0, CONTROL, 2, ARI);
    pci_mem_write(card.seg, 0x4000000000, 4, 1);
    assert_int_equal(card.vf[0][0].writes, 2);
    wr(TEST_PF0, PAGE_SIZE, 4, 0x10);
    test_enable_vfs(&card, TEST_PF0, 64, true, 0x4000000000, 0x5000000000);
    check_apertures(64, 0x4000000000, 0x10000);
    // VF MSE off: nothing, though the VFs are there.
    wr(TEST_PF0, CONTROL, 2, ARI | VFE);
    pci_mem_write(card.seg, 0x4000000000, 4, 1);
    assert_int_equal(card.vf[0][0].writes, 4);
    assert_true(pci_function_exists(card.seg, vf_rid(1, 0x80, 0)));
    // The PF's own Memory Space has no say.
    wr(TEST_PF0, CONTROL, 2, ARI | VFE | MSE);
    assert_int_equal(rd(TEST_PF0, 4, 2) & 2, 0);
    pci_mem_write(card.seg, 0x4000000000, 4, 1);
    assert_int_equal(card.vf[0][0].writes, 5);
}

static void test_vf_msix(void **state)
{
    uint64_t table = 0x5000000000 + 0x4000; // of VF 1

    (void)state;
    test_enable_vfs(&card, TEST_PF0, 2, true, 0x4000000000, 0x5000000000);
    pci_mem_write(card.seg, table + 0x20, 8, 0xfee02000);
    pci_mem_write(card.seg, table + 0x28, 8, 0x77);
    wr(vf_rid(1, 0x80, 1), TEST_MSIX + 2, 2, 0x8000);
    pci_msix_raise(card.vf[0][1].fn, 2);
    assert_int_equal(pci_mem_read(card.seg, table + 0x2000, 8), 4); // no bus master yet
    pci_msix_raise(card.vf[0][1].fn, 3); // an 82599 VF can name a vector that it has not
    wr(vf_rid(1, 0x80, 1), 4, 2, 4);
    assert_int_equal(card.message_count, 1);
    assert_int_equal(card.messages[0].rid.v, vf_rid(1, 0x80, 1).v);
    assert_int_equal(card.messages[0].vector, 2);
    assert_int_equal(card.messages[0].data, 0x77);
    assert_int_equal(card.vf[0][1].writes, 0);
    pci_mem_write(card.seg, table + 0x30, 4, 1); // past three vectors
    assert_int_equal(card.vf[0][1].writes, 1);
    // A VF that ceased to exist sends nothing, and comes back clean.
    wr(TEST_PF0, CONTROL, 2, ARI);
    pci_msix_raise(card.vf[0][1].fn, 2);
    assert_int_equal(card.message_count, 1);
    wr(TEST_PF0, CONTROL, 2, ARI | VFE | MSE);
    assert_int_equal(rd(vf_rid(1, 0x80, 1), TEST_MSIX + 2, 2), 2);
    assert_true(pci_mem_read(card.seg, table + 0x28, 8) == 0x100000000);
}

static void test_destroy_with_vfs(void **state)
{
    (void)state;
    test_enable_vfs(&card, TEST_PF0, 64, true, 0x4000000000, 0x5000000000);
    pci_function_destroy(card.pf[0].fn);
    card.pf[0].fn = NULL;
    assert_int_equal(count_existing(), 2);
    // The next PF is now the lowest, and has ARI Capable Hierarchy to itself after a reset.
    pci_mem_write(card.seg, 0x4000000000, 4, 1);
    assert_int_equal(card.vf[0][0].writes, 0);
    pci_bus_reset(card.seg, 1);
    wr(TEST_PF1, CONTROL, 2, ARI);
    assert_int_equal(rd(TEST_PF1, OFFSET, 2), 128);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_after_reset), T(test_ari_hierarchy),    T(test_num_vfs),   T(test_events),
        T(test_rids),        T(test_rid_taken),        T(test_page_size), T(test_vf_header),
        T(test_vf_flr),      T(test_pf_flr),           T(test_pf_power),  T(test_apertures),
        T(test_vf_msix),     T(test_destroy_with_vfs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

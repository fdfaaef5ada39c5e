// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bits.h"
#include "pci/dump.h"
#include "pci/space.h"
#include "pci/test_fixture.h"

static void flr(rid_t rid)
{
    wr(rid, TEST_EXPRESS + 8, 2, rd(rid, TEST_EXPRESS + 8, 2) | 0x8000);
}

static void test_space_masks(void **state)
{
    static struct pci_space space;

    (void)state;
    pci_space_claim(&space, 0x40, 8, PCI_OWNER_PM);
    pci_space_define32(&space, 0x40, 0x11223344, 0x00ff00f0, 0);
    pci_space_define32(&space, 0x44, 0xff00ff00, 0x000000ff, 0x0f000f00);
    // Written, read-only, and bytes that are not enabled.
    assert_int_equal(pci_space_merge(&space, 0x40, 0xffffffff, 0xffffffff), 0x11ff33f4);
    assert_int_equal(pci_space_merge(&space, 0x40, 0, 0xffffffff), 0x11003304);
    assert_int_equal(pci_space_merge(&space, 0x40, 0xffffffff, 0x000000ff), 0x112233f4);
    assert_int_equal(pci_space_merge(&space, 0x40, 0xffffffff, 0x00ff0000), 0x11ff3344);
    // Ones clear, zeros leave, disabled bytes leave.
    assert_int_equal(pci_space_merge(&space, 0x44, 0x0f000f5a, 0xffffffff), 0xf000f05a);
    assert_int_equal(pci_space_merge(&space, 0x44, 0x00000000, 0xffffffff), 0xff00ff00);
    assert_int_equal(pci_space_merge(&space, 0x44, 0xffffffff, 0x0000ff00), 0xff00f000);

    space.bytes[0x40] = 0xab;
    space.bytes[0x41] = 0xcd;
    space.keep_mask[0x40] = 0xf0;
    pci_space_reset(&space, true);
    assert_int_equal(space.bytes[0x40], 0xa4);
    assert_int_equal(space.bytes[0x41], 0x33);
    pci_space_reset(&space, false);
    assert_int_equal(space.bytes[0x40], 0x44);
}

static void test_absent_and_malformed(void **state)
{
    (void)state;
    assert_true(pci_function_exists(card.seg, TEST_PF0));
    assert_false(pci_function_exists(card.seg, rid_make(1, 0, 2)));
    assert_false(pci_function_exists(card.seg, rid_make(1, 16, 0))); // VF, not enabled
    assert_int_equal(rd(rid_make(1, 0, 2), 0, 1), 0xff);
    assert_int_equal(rd(rid_make(1, 0, 2), 0, 2), 0xffff);
    assert_int_equal(rd(rid_make(1, 16, 0), 0, 4), 0xffffffff);
    wr(rid_make(1, 16, 0), 4, 4, 0xffffffff);

    assert_int_equal(rd(TEST_PF0, 1, 2), 0xffff);     // misaligned
    assert_int_equal(rd(TEST_PF0, 2, 4), 0xffffffff); // misaligned
    assert_int_equal(rd(TEST_PF0, 4096, 1), 0xff);    // past the end
    assert_int_equal(rd(TEST_PF0, 4095, 1), 0);       // the last byte
    assert_int_equal(rd(TEST_PF0, 4092, 4), 0);       // the last dword
    assert_int_equal(rd(TEST_PF0, UINT32_MAX, 1), 0xff);
    assert_int_equal(rd(TEST_PF0, 0, 3), 0xffffffff); // no such length
    assert_int_equal(rd(TEST_PF0, 0, 8), 0xffffffff);
    wr(TEST_PF0, 4096, 4, 0xffffffff);
    wr(TEST_PF0, 3, 2, 0xffff);
    wr(TEST_PF0, 4, 8, 0xffff);
    wr(TEST_PF0, 4, 3, 0xffff);
    assert_int_equal(rd(TEST_PF0, 4, 2), 0);
}

static void test_header(void **state)
{
    (void)state;
    assert_int_equal(rd(TEST_PF0, 0, 4), 0x10fb8086);
    assert_int_equal(rd(TEST_PF0, 2, 2), 0x10fb);
    assert_int_equal(rd(TEST_PF0, 3, 1), 0x10);
    assert_int_equal(rd(TEST_PF0, 8, 4), 0x02000001);
    assert_int_equal(rd(TEST_PF0, 0x0e, 1), 0x80); // multi-function
    assert_int_equal(rd(TEST_OTHER, 0x0e, 1), 0x00);
    assert_int_equal(rd(TEST_OTHER, 0x0a, 2), 0x0302);
    assert_int_equal(rd(TEST_PF0, 0x34, 1), TEST_PM);
    assert_int_equal(rd(TEST_PF0, 0x3d, 1), 0); // no INTx
    assert_int_equal(rd(TEST_PF0, 0x06, 2), 0x0010);
    for (unsigned at = 0; at < 4; at += 4)
        wr(TEST_PF0, at, 4, 0);
    assert_int_equal(rd(TEST_PF0, 0, 4), 0x10fb8086);
    // Command: what a PCIe function has.
    wr(TEST_PF0, 4, 2, 0xffff);
    assert_int_equal(rd(TEST_PF0, 4, 2), 0x0547);
    wr(TEST_PF0, 4, 1, 0);
    assert_int_equal(rd(TEST_PF0, 4, 2), 0x0500);
    // Interrupt line and cache line size are scratch.
    wr(TEST_PF0, 0x3c, 1, 0xa5);
    assert_int_equal(rd(TEST_PF0, 0x3c, 4), 0xa5);
    wr(TEST_PF0, 0x0c, 4, 0xffffffff);
    assert_int_equal(rd(TEST_PF0, 0x0c, 4), 0x008000ff);
}

static void test_capability_lists(void **state)
{
    static const unsigned caps[] = {0x40, 0x50, 0x70, 0xa0, 0xe0, 0};
    static const unsigned ext[] = {0x100, 0x140, 0x150, 0x160, 0};
    unsigned at = 0x34;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(caps); i++) {
        assert_int_equal(rd(TEST_PF0, at, 1), caps[i]);
        at = caps[i] + 1;
    }
    for (unsigned i = 0; i + 1 < ARRAY_LEN(ext); i++)
        assert_int_equal(rd(TEST_PF0, ext[i] + 2, 2) >> 4, ext[i + 1]);
    // Where the first is elsewhere, a null capability leads to it.
    assert_int_equal(rd(TEST_OTHER, 0x100, 4), 0x18000000);
    assert_int_equal(rd(TEST_OTHER, 0x180, 4), 0x0001000d);
}

static void test_bus_master(void **state)
{
    (void)state;
    assert_false(pci_function_dma(card.pf[0].fn)->bus_master);
    wr(TEST_PF0, 4, 2, 0x0004);
    wr(TEST_PF0, 4, 2, 0x0006); // no change of this bit
    assert_true(pci_function_dma(card.pf[0].fn)->bus_master);
    assert_false(pci_function_dma(card.pf[1].fn)->bus_master);
    wr(TEST_PF0, 4, 2, 0x0002);
    assert_false(pci_function_dma(card.pf[0].fn)->bus_master);
    assert_int_equal(card.event_count, 2);
    assert_int_equal(card.events[0].arg, 1);
    assert_int_equal(card.events[1].arg, 0);
    assert_true(card.events[0].gate_closed && card.events[1].gate_closed);
}

static void test_flr(void **state)
{
    uint8_t before[4096], after[4096];

    (void)state;
    pci_function_snapshot(card.pf[0].fn, before);
    wr(TEST_PF0, 0x10, 4, 0xfe000000);
    wr(TEST_PF0, 4, 2, 0x0507);
    wr(TEST_PF0, 0x3c, 1, 9);
    wr(TEST_PF0, TEST_MSIX + 2, 2, 0xc000);
    wr(TEST_PF0, TEST_MSI + 4, 4, 0xfee00000);
    wr(TEST_PF0, TEST_EXPRESS + 8, 2, 0x283f); // payload 256, all errors
    wr(TEST_PF0, TEST_EXPRESS + 16, 2, 0x0040);
    wr(TEST_PF0, TEST_AER + 8, 4, 0x00100000);
    flr(TEST_PF0);
    pci_function_snapshot(card.pf[0].fn, after);
    // What PCIe §6.6.2 keeps: payload size, link control, sticky error registers.
    assert_int_equal(rd(TEST_PF0, TEST_EXPRESS + 8, 2), 0x2830);
    assert_int_equal(rd(TEST_PF0, TEST_EXPRESS + 16, 2), 0x0040);
    assert_int_equal(rd(TEST_PF0, TEST_AER + 8, 4), 0x00100000);
    before[TEST_EXPRESS + 8] = 0x30;
    before[TEST_EXPRESS + 16] = 0x40;
    before[TEST_AER + 10] = 0x10;
    assert_memory_equal(before, after, sizeof after);
    // Bus mastering went first, then the reset; the neighbour saw nothing.
    assert_int_equal(test_events_of(&card, TEST_RESET, "port0"), 1);
    assert_int_equal(test_events_of(&card, TEST_RESET, "port1"), 0);
    assert_int_equal(card.events[card.event_count - 2].kind, TEST_MASTER);
    assert_int_equal(card.events[card.event_count - 1].kind, TEST_RESET);
    assert_int_equal(card.events[card.event_count - 1].arg, PCI_RESET_FLR);
    assert_true(card.events[card.event_count - 1].gate_closed);
    assert_false(gate_is_closed(&card.gate));
    assert_false(pci_function_dma(card.pf[0].fn)->bus_master);
}

static void test_flr_by_byte(void **state)
{
    (void)state;
    wr(TEST_PF0, TEST_EXPRESS + 8, 1, 0xff); // not the byte with the bit
    assert_int_equal(test_events_of(&card, TEST_RESET, "port0"), 0);
    wr(TEST_PF0, TEST_EXPRESS + 9, 1, 0x80);
    assert_int_equal(test_events_of(&card, TEST_RESET, "port0"), 1);
    wr(TEST_PF0, TEST_EXPRESS + 8, 4, 0x8000);
    assert_int_equal(test_events_of(&card, TEST_RESET, "port0"), 2);
    assert_int_equal(rd(TEST_PF0, TEST_EXPRESS + 9, 1) & 0x80, 0);
    // Device Status' bits clear by ones only.
    wr(TEST_PF0, TEST_EXPRESS + 10, 2, 0x800f);
    assert_int_equal(test_events_of(&card, TEST_RESET, "port0"), 2);
}

static void test_conventional_reset(void **state)
{
    uint8_t before[4096], after[4096];

    (void)state;
    pci_function_snapshot(card.pf[1].fn, before);
    test_enable_vfs(&card, TEST_PF1, 3, true, 0x100000, 0x200000);
    wr(TEST_PF1, TEST_EXPRESS + 8, 2, 0x283f);
    wr(TEST_PF1, TEST_AER + 8, 4, 0x00100000);
    wr(TEST_OTHER, 4, 2, 4);
    pci_bus_reset(card.seg, 1);
    pci_function_snapshot(card.pf[1].fn, after);
    assert_memory_equal(before, after, sizeof after); // VF offset back at 384 too
    assert_int_equal(test_events_of(&card, TEST_RESET, "port0"), 1);
    assert_int_equal(test_events_of(&card, TEST_RESET, "port1"), 1);
    assert_int_equal(test_events_of(&card, TEST_RESET, "port1/vf2"), 1);
    assert_int_equal(test_events_of(&card, TEST_RESET, "gpu"), 0); // bus 2
    assert_int_equal(rd(TEST_OTHER, 4, 2), 4);
    assert_int_equal(card.events[card.event_count - 1].arg, PCI_RESET_CONVENTIONAL);
    assert_int_equal(rd(TEST_PF0, TEST_SRIOV + 8, 2), 0); // ARI Capable Hierarchy
}

static void test_power(void **state)
{
    (void)state;
    wr(TEST_PF0, 0x10, 4, 0xfe000000);
    wr(TEST_PF0, 4, 2, 0x0006);
    // D1 and D2 are not there: the state stays.
    wr(TEST_PF0, TEST_PM + 4, 2, 0x0001);
    assert_int_equal(rd(TEST_PF0, TEST_PM + 4, 2), 0x2000);
    wr(TEST_PF0, TEST_PM + 4, 2, 0x0002);
    assert_int_equal(rd(TEST_PF0, TEST_PM + 4, 2), 0x2000);
    assert_true(pci_function_dma(card.pf[0].fn)->bus_master);

    wr(TEST_PF0, TEST_PM + 4, 2, 0x0103);
    assert_int_equal(rd(TEST_PF0, TEST_PM + 4, 2), 0x2103);
    wr(TEST_PF0, TEST_PM + 4, 2, 0x0101); // from D3hot neither
    assert_int_equal(rd(TEST_PF0, TEST_PM + 4, 2), 0x2103);
    assert_false(pci_function_dma(card.pf[0].fn)->bus_master);
    assert_int_equal(pci_mem_read(card.seg, 0xfe000000, 4), 0xffffffff);
    assert_int_equal(rd(TEST_PF0, 4, 2), 0x0006); // config space is still there
    assert_int_equal(test_events_of(&card, TEST_RESET, "port0"), 0);

    // No_Soft_Reset is 0: back in D0 everything but the PME context is gone.
    wr(TEST_PF0, TEST_PM + 4, 2, 0x0100);
    assert_int_equal(rd(TEST_PF0, TEST_PM + 4, 2), 0x2100);
    assert_int_equal(test_events_of(&card, TEST_RESET, "port0"), 1);
    assert_int_equal(rd(TEST_PF0, 4, 2), 0);
    assert_int_equal(rd(TEST_PF0, 0x10, 4), 0x0000000c);
    assert_false(pci_function_dma(card.pf[0].fn)->bus_master);
}

static uint32_t vpd_read(uint32_t address)
{
    wr(TEST_PF0, TEST_VPD + 2, 2, address);
    assert_int_equal(rd(TEST_PF0, TEST_VPD + 2, 2), 0x8000 | (address & 0x7ffc));
    return rd(TEST_PF0, TEST_VPD + 4, 4);
}

static void test_vpd(void **state)
{
    static const uint8_t vpd[] = {0x82, 3, 0, 'a', 'b', 'c', 0x78};

    (void)state;
    assert_int_equal(vpd_read(0), 0x00000078);
    assert_int_equal(pci_vpd_set(card.pf[0].fn, vpd, 0), -EINVAL);
    assert_int_equal(pci_vpd_set(card.pf[0].fn, vpd, 0x8001), -EINVAL);
    assert_int_equal(pci_vpd_set(card.pf[0].fn, vpd, sizeof vpd), 0);
    assert_int_equal(vpd_read(0), 0x61000382);
    assert_int_equal(vpd_read(4), 0x00786362); // half of it past the end
    assert_int_equal(vpd_read(8), 0);
    assert_int_equal(vpd_read(0x7ffc), 0);
    assert_int_equal(vpd_read(5), 0x00786362); // low bits are not there
    // A write completes and changes nothing.
    wr(TEST_PF0, TEST_VPD + 4, 4, 0xffffffff);
    wr(TEST_PF0, TEST_VPD + 2, 2, 0x8000);
    assert_int_equal(rd(TEST_PF0, TEST_VPD + 2, 2), 0);
    assert_int_equal(vpd_read(0), 0x61000382);
}

static void test_aer(void **state)
{
    (void)state;
    wr(TEST_PF0, TEST_AER + 8, 4, 0xffffffff);
    assert_int_equal(rd(TEST_PF0, TEST_AER + 8, 4), 0x001ff010);
    wr(TEST_PF0, TEST_AER + 0x0c, 4, 0);
    assert_int_equal(rd(TEST_PF0, TEST_AER + 0x0c, 4), 0);
    wr(TEST_PF0, TEST_AER + 0x14, 4, 0xffffffff);
    assert_int_equal(rd(TEST_PF0, TEST_AER + 0x14, 4), 0x000031c1);
    wr(TEST_PF0, TEST_AER + 0x18, 4, 0xffffffff);
    assert_int_equal(rd(TEST_PF0, TEST_AER + 0x18, 4), 0x000001e0);
    wr(TEST_PF0, TEST_AER + 4, 4, 0xffffffff);
    assert_int_equal(rd(TEST_PF0, TEST_AER + 4, 4), 0);
}

static void test_serial_and_ari(void **state)
{
    (void)state;
    assert_int_equal(rd(TEST_PF0, TEST_DSN + 4, 4), 0xff123456);
    assert_int_equal(rd(TEST_PF0, TEST_DSN + 8, 4), 0xa0369fff);
    assert_int_equal(rd(TEST_PF0, TEST_ARI + 4, 4), 0x00000100);
    assert_int_equal(rd(TEST_PF1, TEST_ARI + 4, 4), 0);
}

static void test_dump(void **state)
{
    uint8_t bytes[4096] = {0x86, 0x80, 0xfb, 0x10, [8] = 1, [11] = 2, [4095] = 0xee};
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    assert_int_equal(pci_dump(out, TEST_PF1, bytes, 63), -EINVAL);
    assert_int_equal(pci_dump(out, TEST_PF1, bytes, 65), -EINVAL);
    assert_int_equal(pci_dump(out, TEST_PF1, bytes, 48), -EINVAL);
    assert_int_equal(pci_dump(out, TEST_PF1, bytes, 4112), -EINVAL);
    assert_int_equal(pci_dump(out, TEST_PF1, bytes, 4096), 0);
    fclose(out);
    assert_int_equal(
        strncmp(text, "01:00.1 Ethernet controller: 8086:10fb (rev 01)\n00: 86 80", 57), 0);
    assert_non_null(strstr(text, "\n100: 00 00"));
    assert_non_null(strstr(text, "\nff0: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ee\n\n"));
    free(text);
    // A full disk is told.
    out = fopen("/dev/full", "w");
    setbuf(out, NULL);
    assert_int_equal(pci_dump(out, TEST_PF1, bytes, 4096), -EIO);
    fclose(out);
}

// Whatever is written, read-only bytes stay and no write is left hanging.
static void test_read_only_bytes(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 4096; at += 4) {
        uint32_t old = rd(TEST_OTHER, at, 4);

        if (at == 4 || at == TEST_EXPRESS + 8)
            continue;
        wr(TEST_OTHER, at, 4, ~old);
        wr(TEST_OTHER, at, 4, old);
        assert_int_equal(rd(TEST_OTHER, at, 4), old);
    }
    assert_int_equal(rd(TEST_OTHER, 0x180, 4), 0x0001000d);
}

static void test_add_twice(void **state)
{
    struct pci_function_info info = {.name = "third"};
    struct pci_function_ops none = {0};
    struct pci_function *fn;

    (void)state;
    assert_int_equal(pci_function_create(&info, &none, NULL, &fn), 0);
    assert_int_equal(pci_segment_add(card.seg, TEST_PF0, fn), -EEXIST);
    assert_int_equal(pci_segment_add(card.seg, rid_make(1, 0, 2), fn), 0);
    assert_int_equal(pci_function_rid(fn).v, 0x102);
    assert_string_equal(pci_function_name(fn), "third");
    // A function without callbacks answers all the same.
    test_write(&card, rid_make(1, 0, 2), 4, 2, 7);
    pci_function_destroy(fn);
    assert_false(pci_function_exists(card.seg, rid_make(1, 0, 2)));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_space_masks),
        T(test_absent_and_malformed),
        T(test_header),
        T(test_capability_lists),
        T(test_bus_master),
        T(test_flr),
        T(test_flr_by_byte),
        T(test_conventional_reset),
        T(test_power),
        T(test_vpd),
        T(test_aer),
        T(test_serial_and_ari),
        T(test_dump),
        T(test_read_only_bytes),
        T(test_add_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "iommu/vtd_regs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/bits.h"

static void test_rows_do_not_overlap(void **state)
{
    static char owner[VTD_REGS_LEN_BYTES];

    (void)state;
    for (int i = 0; i < VTD_ROW_COUNT; i++) {
        const struct vtd_reg_row *row = &vtd_reg_rows[i];
        uint32_t bytes = row->width_bits / 8;

        assert_true(row->width_bits == 32 || row->width_bits == 64);
        assert_true(row->count > 0 && (row->count == 1 || row->stride >= bytes));
        for (uint32_t n = 0; n < row->count; n++) {
            uint32_t offset = row->offset + n * row->stride;

            assert_int_equal(offset % bytes, 0);
            assert_true(offset + bytes <= VTD_REGS_LEN_BYTES);
            for (uint32_t b = 0; b < bytes; b++)
                assert_int_equal(owner[offset + b]++, 0);
        }
    }
}

static void test_masks_and_resets_fit_the_width(void **state)
{
    (void)state;
    for (int i = 0; i < VTD_ROW_COUNT; i++) {
        const struct vtd_reg_row *row = &vtd_reg_rows[i];

        if (row->width_bits == 32) {
            assert_int_equal(row->mask >> 32, 0);
            assert_int_equal(row->reset >> 32, 0);
        }
        if (row->kind == VTD_KIND_RO)
            assert_int_equal(row->mask, 0);
        assert_true(row->name[0] && row->section[0] && row->text[0]);
    }
}

static void test_find(void **state)
{
    uint32_t at = 0;

    (void)state;
    assert_int_equal(vtd_regs_find(0, &at), VTD_ROW_VER);
    assert_int_equal(vtd_regs_find(4, &at), -1);
    assert_int_equal(vtd_regs_find(0x8, &at), VTD_ROW_CAP);
    assert_int_equal(at, 0x8);
    assert_int_equal(vtd_regs_find(0xc, &at), VTD_ROW_CAP);
    assert_int_equal(at, 0x8);
    assert_int_equal(vtd_regs_find(0x18, &at), VTD_ROW_GCMD);
    assert_int_equal(vtd_regs_find(0x1c, &at), VTD_ROW_GSTS);
    for (uint32_t n = 0; n < VTD_FAULT_RECORDS; n++) {
        uint32_t record = 0x220 + n * 16;

        assert_int_equal(vtd_regs_find(record + 4, &at), VTD_ROW_FRCD_LO);
        assert_int_equal(at, record);
        assert_int_equal(vtd_regs_find(record + 12, &at), VTD_ROW_FRCD_HI);
        assert_int_equal(at, record + 8);
    }
    assert_int_equal(vtd_regs_find(0x220 + 16 * VTD_FAULT_RECORDS, &at), -1);
    assert_int_equal(vtd_regs_find(0x21c, &at), -1);
    assert_int_equal(vtd_regs_find(VTD_REGS_LEN_BYTES - 4, &at), -1);
}

// Where Linux' driver (its dmar_fault, iommu.h) looks for things, by what CAP and ECAP say.
static void test_capabilities_point_to_the_registers(void **state)
{
    uint64_t cap = VTD_CAP_VALUE, ecap = VTD_ECAP_VALUE;

    (void)state;
    assert_int_equal(((cap >> 24) & 0x3ff) * 16, VTD_FRCD_LO);
    assert_int_equal(((cap >> 40) & 0xff) + 1, VTD_FAULT_RECORDS);
    assert_int_equal(((ecap >> 8) & 0x3ff) * 16, VTD_IVA);
    assert_int_equal(VTD_IVA + 8, VTD_IOTLB);
    assert_int_equal((cap >> 8) & 0x1f, 0x6); // 39 and 48 bits
    assert_int_equal(((cap >> 16) & 0x3f) + 1, 48);
    assert_int_equal((cap >> 34) & 0xf, 0x3); // 2 MiB and 1 GiB
    assert_int_equal((cap >> 7) & 1, 0);      // no caching mode
    assert_int_equal((cap >> 4) & 1, 0);      // no write buffer to flush
    assert_int_equal((cap >> 5) & 3, 0);      // no protected memory
    assert_int_equal(1ul << (4 + 2 * (cap & 7)), 65536);
    assert_int_equal((cap >> 39) & 1, 1);
    assert_true(((cap >> 48) & 0x3f) >= 18);
    assert_int_equal((ecap >> 1) & 1, 1);
    assert_int_equal((ecap >> 3) & 3, 0); // no interrupt remapping
    assert_int_equal((ecap >> 2) & 1, 0); // no device TLBs
}

static void test_write_kinds(void **state)
{
    static struct vtd_regs regs;
    static const struct vtd_reg_row w1c = {
        .offset = 0x100, .count = 1, .width_bits = 32, .mask = 0x0f, .kind = VTD_KIND_W1C};

    (void)state;
    vtd_regs_init(&regs);
    assert_int_equal(vtd_regs_get32(&regs, VTD_VER), 0x10);
    assert_int_equal(vtd_regs_get32(&regs, VTD_FECTL), VTD_EVENT_IM);
    assert_true(vtd_regs_get64(&regs, VTD_CAP) == VTD_CAP_VALUE);

    vtd_regs_write32(&regs, &vtd_reg_rows[VTD_ROW_CAP], VTD_CAP, VTD_CAP + 4, 0);
    assert_true(vtd_regs_get64(&regs, VTD_CAP) == VTD_CAP_VALUE);
    vtd_regs_write32(&regs, &vtd_reg_rows[VTD_ROW_RTADDR], VTD_RTADDR, VTD_RTADDR, 0x12345fff);
    vtd_regs_write32(&regs, &vtd_reg_rows[VTD_ROW_RTADDR], VTD_RTADDR, VTD_RTADDR + 4, 0xabcd);
    assert_true(vtd_regs_get64(&regs, VTD_RTADDR) == 0xabcd12345000);
    vtd_regs_write32(&regs, &vtd_reg_rows[VTD_ROW_FEADDR], VTD_FEADDR, VTD_FEADDR, 0xfee01007);
    assert_int_equal(vtd_regs_get32(&regs, VTD_FEADDR), 0xfee01004);
    vtd_regs_set32(&regs, 0x100, 0xff);
    vtd_regs_write32(&regs, &w1c, 0x100, 0x100, 0x3c);
    assert_int_equal(vtd_regs_get32(&regs, 0x100), 0xf3);
    vtd_regs_destroy(&regs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_do_not_overlap),
        cmocka_unit_test(test_masks_and_resets_fit_the_width),
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_capabilities_point_to_the_registers),
        cmocka_unit_test(test_write_kinds),
    };

    return cmocka_run_group_tests_name("vtd_regs", tests, NULL, NULL);
}

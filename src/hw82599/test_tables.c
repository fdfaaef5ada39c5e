// SPDX-License-Identifier: BSD-3-Clause
// The register tables prove themselves: no two registers at one offset, and the arrays that are
// split or aliased lie where drivers look for them.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "hw82599/mailbox.h"
#include "hw82599/regs.h"

#define REGS_LEN_BYTES 0x20000u

static const char *taken[REGS_LEN_BYTES / 4];
static unsigned clashes;

static void claim(const char *name, uint32_t offset, uint32_t stride, uint32_t count,
                  uint32_t limit)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = offset + stride * i;

        if (at % 4 || at >= limit || taken[at / 4]) {
            fprintf(stderr, "%s[%u] at 0x%05x: %s\n", name, i, at,
                    at < limit && taken[at / 4] ? taken[at / 4] : "misaligned or outside");
            clashes++;
        } else {
            taken[at / 4] = name;
        }
    }
}

static void test_pf_registers_do_not_overlap(void **state)
{
    (void)state;
    memset(taken, 0, sizeof taken);
    clashes = 0;
#define REG(name, offset, ...)                 claim(#name, offset, 4, 1, REGS_LEN_BYTES);
#define REGS(name, offset, stride, count, ...) claim(#name, offset, stride, count, REGS_LEN_BYTES);
#define SPLIT(name, offset, stride, count, offset2, stride2, count2, ...)                          \
    claim(#name, offset, stride, count, REGS_LEN_BYTES);                                           \
    claim(#name, offset2, stride2, count2, REGS_LEN_BYTES);
#define ALIAS(name, offset, stride, count) claim(#name, offset, stride, count, REGS_LEN_BYTES);
#include "hw82599/regs.def"
#undef REG
#undef REGS
#undef SPLIT
#undef ALIAS
    assert_int_equal(clashes, 0);
}

static void test_vf_registers_do_not_overlap(void **state)
{
    (void)state;
    memset(taken, 0, sizeof taken);
    clashes = 0;
#define VFREG(name, offset, ...) claim(#name, offset, 4, 1, HW_VF_BAR_BYTES);
#define VFREGS(name, offset, stride, count, ...)                                                   \
    claim(#name, offset, stride, count, HW_VF_BAR_BYTES);
#include "hw82599/vfregs.def"
#undef VFREG
#undef VFREGS
    assert_int_equal(clashes, 0);
}

// A clash must be seen, or the two tests above prove nothing.
static void test_a_clash_is_seen(void **state)
{
    (void)state;
    memset(taken, 0, sizeof taken);
    clashes = 0;
    claim("a", 0x100, 4, 2, REGS_LEN_BYTES);
    claim("b", 0x104, 4, 1, REGS_LEN_BYTES);
    claim("c", REGS_LEN_BYTES, 4, 1, REGS_LEN_BYTES);
    claim("d", 0x202, 4, 1, REGS_LEN_BYTES);
    assert_int_equal(clashes, 3);
}

// Last of the first range and first of the second, as drivers compute them.
static void test_split_arrays(void **state)
{
    (void)state;
    assert_int_equal(HW_RDBAL(63), 0x1fc0);
    assert_int_equal(HW_RDBAL(64), 0xd000);
    assert_int_equal(HW_RDT(127), 0xd018 + 63 * 0x40);
    assert_int_equal(HW_SRRCTL(0), 0x1014);
    assert_int_equal(HW_SRRCTL(64), 0xd014);
    assert_int_equal(HW_RXDCTL(64), 0xd028);
    assert_int_equal(HW_RDBAL_COUNT, 128);
    assert_int_equal(HW_TDBAL(127), 0x6000 + 127 * 0x40);
    assert_int_equal(HW_TDT(64), 0x7018);
    assert_int_equal(HW_EITR(23), 0x87c);
    assert_int_equal(HW_EITR(24), 0x12300);
    assert_int_equal(HW_EITR_COUNT, 129);
    assert_int_equal(HW_RAL(0), 0xa200);
    assert_int_equal(HW_RAH(127), 0xa204 + 127 * 8);
    assert_int_equal(HW_PSRTYPE(63), 0xea00 + 63 * 4);
    assert_int_equal(HW_PFVFLRE(0), 0x600);
    assert_int_equal(HW_PFVFLRE(1), 0x1c0);
    assert_int_equal(HW_PFMBMEM(63 * 16 + 15), 0x13000 + 63 * 64 + 60);
    assert_int_equal(HW_PFVLVFB(127), 0xf3fc);
}

static void test_vf_offsets(void **state)
{
    (void)state;
    assert_int_equal(HW_VFCTRL, 0x000);
    assert_int_equal(HW_VTEIMS, 0x108);
    assert_int_equal(HW_VTIVAR(3), 0x12c);
    assert_int_equal(HW_VTIVAR_MISC, 0x140);
    assert_int_equal(HW_VFMBMEM(15), 0x23c);
    assert_int_equal(HW_VFMAILBOX, 0x2fc);
    assert_int_equal(HW_VFPSRTYPE, 0x300);
    assert_int_equal(HW_VTEITR(2), 0x828);
    assert_int_equal(HW_VFRDT(7), 0x1018 + 7 * 0x40);
    assert_int_equal(HW_VFTDWBAH(1), 0x207c);
    assert_int_equal(HW_VFGOTC_MSB, 0x2024);
}

static void test_mailbox_words(void **state)
{
    (void)state;
    assert_int_equal(HW_VFMAILBOX_RC_BITS, 0xb0);
    assert_int_equal(HW_PFMBICR_REQ(17), 0x2);
    assert_int_equal(HW_PFMBICR_ACK(31), 0x80000000);
    assert_int_equal(HW_PFMBICR_INDEX(63), 3);
    assert_int_equal(HW_PFVFLRE_BIT(63), 0x80000000);
    assert_int_equal(HW_API_11, 2);
    assert_int_equal(HW_API_15, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pf_registers_do_not_overlap),
        cmocka_unit_test(test_vf_registers_do_not_overlap),
        cmocka_unit_test(test_a_clash_is_seen),
        cmocka_unit_test(test_split_arrays),
        cmocka_unit_test(test_vf_offsets),
        cmocka_unit_test(test_mailbox_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

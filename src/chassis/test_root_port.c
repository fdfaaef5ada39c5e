// SPDX-License-Identifier: BSD-3-Clause
// The root port and the ways through it: configuration cycles by bus and function number, memory
// cycles by window, and what is reset with the bus.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/bits.h"
#include "chassis/test_card.h"

#define PORT ((rid_t){0})
#define ONES 0xffffffffu

static int setup(void **state)
{
    struct test_chassis *t = calloc(1, sizeof *t);

    *state = t;
    return test_chassis_create(t);
}

static int teardown(void **state)
{
    test_chassis_destroy(*state);
    free(*state);
    return 0;
}

static uint32_t port_get(struct test_chassis *t, unsigned reg)
{
    return (uint32_t)test_bar_get(t, test_ecam(PORT, reg), 4);
}

static uint32_t pf_id(struct test_chassis *t)
{
    return (uint32_t)test_bar_get(t, test_ecam(TEST_PF, 0), 4);
}

// What may change by writing ones, of every dword of the configuration space.
static void test_masks(void **state)
{
    static const struct {
        unsigned reg;
        uint32_t before, after;
    } rows[] = {
        {0x00, 0x00025649, 0x00025649},
        {0x04, 0x00100000, 0x00100546},
        {0x08, 0x06040000, 0x06040000},
        {0x0c, 0x00010000, 0x000100ff},
        {0x10, 0, 0},
        {0x18, 0, 0x00ffffff},
        {0x1c, 0, 0},
        {0x20, 0x0000fff0, 0xfff0fff0},
        {0x24, 0x0001fff1, 0xfff1fff1},
        {0x28, 0, ONES},
        {0x2c, 0, ONES},
        {0x30, 0, 0},
        {0x34, 0x40, 0x40},
        {0x40, 0x48035001, 0x48035001},
        {0x44, 0x00000008, 0x0000010b},
        {0x50, 0x00806005, 0x00f16005},
        {0x54, 0, 0xfffffffc},
        {0x58, 0, ONES},
        {0x5c, 0, 0x0000ffff},
        {0x60, 0x00420010, 0x00420010},
        {0x64, 0x00008002, 0x00008002},
        {0x68, 0x00002010, 0x000070ff},
        {0x6c, 0x01123482, 0x01123482},
        {0x84, 0x0000003f, 0x0000003f},
        {0x88, 0, 0x0000003f},
        {0x100, 0x0001000d, 0x0001000d},
        {0x104, 0x0000001f, 0x001f001f},
        {0x108, 0, 0},
        {0xffc, 0, 0},
    };
    struct test_chassis *t = *state;

    test_place(t, TEST_BASE);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(port_get(t, rows[i].reg), rows[i].before);
        test_bar_set(t, test_ecam(PORT, rows[i].reg), 4, ONES);
        assert_int_equal(port_get(t, rows[i].reg), rows[i].after);
    }
    t->device.ops->reset(t->chassis);
    test_place(t, TEST_BASE);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(port_get(t, rows[i].reg), rows[i].before);
}

static void test_narrow_and_wide_cycles(void **state)
{
    struct test_chassis *t = *state;

    test_place(t, TEST_BASE);
    assert_int_equal(test_bar_get(t, test_ecam(PORT, 0), 1), 0x49);
    assert_int_equal(test_bar_get(t, test_ecam(PORT, 2), 2), 0x0002);
    assert_int_equal(test_bar_get(t, test_ecam(PORT, 0), 8), 0x0010000000025649ull);
    // Each byte of the bus numbers by itself.
    for (unsigned i = 0; i < 3; i++)
        test_bar_set(t, test_ecam(PORT, 0x18 + i), 1, 0x10 + i);
    assert_int_equal(port_get(t, 0x18), 0x00121110);
    test_bar_set(t, test_ecam(PORT, 0x28), 8, 0x1111111122222222ull);
    assert_int_equal(port_get(t, 0x28), 0x22222222);
    assert_int_equal(port_get(t, 0x2c), 0x11111111);
}

static void test_config_goes_by_bus(void **state)
{
    struct test_chassis *t = *state;

    test_place(t, TEST_BASE);
    assert_int_equal(pf_id(t), ONES); // no bus number yet
    test_boot(t);
    assert_int_equal(pf_id(t), 0x10fb8086);
    // Other functions of bus 0, other buses, the last byte of ECAM.
    assert_int_equal(test_bar_get(t, test_ecam((rid_t){1}, 0), 4), ONES);
    assert_int_equal(test_bar_get(t, test_ecam((rid_t){0x0200}, 0), 4), ONES);
    assert_int_equal(test_bar_get(t, CHASSIS_ECAM_LEN_BYTES - 1, 1), 0xff);
    test_bar_set(t, CHASSIS_ECAM_LEN_BYTES - 1, 1, 0);
    // Outside [secondary, subordinate], or with another number than the card's.
    test_bar_set(t, test_ecam(PORT, 0x1a), 1, 0);
    assert_int_equal(pf_id(t), ONES);
    test_bar_set(t, test_ecam(PORT, 0x18), 4, 0x00020200);
    assert_int_equal(pf_id(t), ONES);
    assert_int_equal(test_bar_get(t, test_ecam((rid_t){0x0200}, 0), 4), ONES);
    test_bar_set(t, test_ecam(PORT, 0x18), 4, 0x00010100);
    assert_int_equal(pf_id(t), 0x10fb8086);
}

static void vfs_enable(struct test_chassis *t, bool ari)
{
    test_bar_set(t, test_ecam(TEST_PF, TEST_SRIOV + 0x08), 2, ari ? 0x10 : 0);
    test_bar_set(t, test_ecam(TEST_PF, TEST_SRIOV + 0x10), 2, TEST_VFS);
    test_bar_set(t, test_ecam(TEST_PF, TEST_SRIOV + 0x08), 2, (ari ? 0x10 : 0) | 0x09);
}

static void test_vfs_need_ari_forwarding(void **state)
{
    struct test_chassis *t = *state;

    test_boot(t);
    vfs_enable(t, true);
    // Class code: the ID of a VF reads FFFF.
    for (unsigned n = 0; n < TEST_VFS; n++)
        assert_int_equal(test_bar_get(t, test_ecam(TEST_VF(n), 8), 4), 0x02000000);
    assert_int_equal(test_bar_get(t, test_ecam(TEST_VF(TEST_VFS), 8), 4), ONES);
    test_bar_set(t, test_ecam(PORT, 0x88), 2, 0);
    assert_int_equal(test_bar_get(t, test_ecam(TEST_VF(0), 8), 4), ONES);
    assert_int_equal(pf_id(t), 0x10fb8086);
}

static void test_vfs_on_the_next_bus(void **state)
{
    struct test_chassis *t = *state;
    rid_t first = {(uint16_t)(TEST_PF.v + 384)};

    test_boot(t);
    test_bar_set(t, test_ecam(PORT, 0x88), 2, 0);
    vfs_enable(t, false);
    assert_int_equal(test_bar_get(t, test_ecam(first, 8), 4), ONES);
    test_bar_set(t, test_ecam(PORT, 0x1a), 1, 2);
    assert_int_equal(test_bar_get(t, test_ecam(first, 8), 4), 0x02000000);
}

static void test_memory_goes_by_window(void **state)
{
    struct test_chassis *t = *state;
    const uint64_t at = CHASSIS_WINDOW_OFFSET;

    test_boot(t);
    assert_int_equal(test_bar_get(t, at + 8, 8), 0x1122334455667788ull);
    test_bar_set(t, at + 0x7fffc, 4, 0xabcd);
    assert_int_equal(t->last_offset, 0x7fffc);
    assert_int_equal(t->last_value, 0xabcd);
    // In the window, in no BAR; beyond the window; the BAR's last bytes; between the parts.
    assert_int_equal(test_bar_get(t, at + 0x90000, 4), ONES);
    assert_int_equal(test_bar_get(t, CHASSIS_BAR_LEN_BYTES - 8, 8), UINT64_MAX);
    assert_int_equal(test_bar_get(t, CHASSIS_DRHD_OFFSET + 0x1000, 8), UINT64_MAX);
    assert_int_equal(test_bar_get(t, CHASSIS_WINDOW_OFFSET - 8, 8), UINT64_MAX);
    test_bar_set(t, CHASSIS_WINDOW_OFFSET - 8, 8, 0);
    test_bar_set(t, CHASSIS_BAR_LEN_BYTES - 8, 8, 0);
    // A window that starts above the BAR; one that ends right below the BAR's second MiB.
    test_bar_set(t, test_ecam(PORT, 0x20), 2, (TEST_BAR0 + 0x100000) >> 16);
    assert_int_equal(test_bar_get(t, at + 8, 8), UINT64_MAX);
    test_bar_set(t, test_ecam(PORT, 0x20), 4, TEST_BAR0 >> 16 | TEST_BAR0);
    assert_int_equal(test_bar_get(t, at + 8, 8), 0x1122334455667788ull);
    // The other window does as well.
    test_bar_set(t, test_ecam(PORT, 0x20), 4, 0x0000fff0);
    test_bar_set(t, test_ecam(PORT, 0x24), 4, TEST_BAR0 >> 16 | TEST_BAR0);
    assert_int_equal(test_bar_get(t, at + 8, 8), 0x1122334455667788ull);
    test_bar_set(t, test_ecam(PORT, 0x28), 8, 0x0000000100000001ull); // 4 GiB up
    assert_int_equal(test_bar_get(t, at + 8, 8), UINT64_MAX);
    test_bar_set(t, test_ecam(PORT, 0x28), 8, 0);
    // Memory Space Enable; power.
    test_bar_set(t, test_ecam(PORT, 0x04), 2, 4);
    assert_int_equal(test_bar_get(t, at + 8, 8), UINT64_MAX);
    test_bar_set(t, test_ecam(PORT, 0x04), 2, 6);
    test_bar_set(t, test_ecam(PORT, 0x44), 2, 3);
    assert_int_equal(test_bar_get(t, at + 8, 8), UINT64_MAX);
    assert_int_equal(pf_id(t), ONES);
    test_bar_set(t, test_ecam(PORT, 0x44), 2, 0);
    assert_int_equal(test_bar_get(t, at + 8, 8), 0x1122334455667788ull);
}

// By Secondary Bus Reset (byte or word), and by Link Disable.
static void test_bus_reset(void **state)
{
    static const struct {
        unsigned reg, len;
        uint32_t value;
    } ways[] = {{0x3e, 2, 0x40}, {0x3e, 1, 0x40}, {0x3c, 4, 0x00400000}, {0x70, 2, 0x10}};
    struct test_chassis *t = *state;

    for (unsigned i = 0; i < ARRAY_LEN(ways); i++) {
        unsigned before;

        test_boot(t);
        vfs_enable(t, true);
        before = t->resets;
        test_bar_set(t, test_ecam(PORT, ways[i].reg), ways[i].len, ways[i].value);
        assert_int_equal(t->resets, before + 1);
        assert_int_equal(pf_id(t), ONES); // as long as it lasts
        assert_int_equal(port_get(t, 0x70) >> 16, ways[i].reg == 0x70 ? 0x1082 : 0x3082);
        test_bar_set(t, test_ecam(PORT, ways[i].reg), ways[i].len, ways[i].value); // no edge
        assert_int_equal(t->resets, before + 1);
        test_bar_set(t, test_ecam(PORT, ways[i].reg), ways[i].len, 0);
        assert_int_equal(t->resets, before + 1);
        assert_int_equal(pf_id(t), 0x10fb8086);
        assert_int_equal(test_bar_get(t, test_ecam(TEST_PF, 0x04), 2), 0);
        assert_int_equal(test_bar_get(t, test_ecam(TEST_VF(0), 8), 4), ONES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_masks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_narrow_and_wide_cycles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_config_goes_by_bus, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vfs_need_ari_forwarding, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vfs_on_the_next_bus, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_goes_by_window, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bus_reset, setup, teardown),
    };

    return cmocka_run_group_tests_name("chassis/root_port", tests, NULL, NULL);
}

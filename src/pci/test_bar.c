// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/bits.h"
#include "pci/test_fixture.h"

static void test_sizing(void **state)
{
    (void)state;
    for (unsigned at = 0x10; at < 0x28; at += 4) {
        wr(TEST_PF0, at, 4, 0xffffffff);
        wr(TEST_OTHER, at, 4, 0xffffffff);
    }
    assert_int_equal(rd(TEST_PF0, 0x10, 4), 0xfff8000c); // 512 KiB, 64-bit, prefetchable
    assert_int_equal(rd(TEST_PF0, 0x14, 4), 0xffffffff);
    assert_int_equal(rd(TEST_PF0, 0x18, 4), 0xffffffe1); // 32 bytes of I/O
    assert_int_equal(rd(TEST_PF0, 0x1c, 4), 0);          // none
    assert_int_equal(rd(TEST_PF0, 0x20, 4), 0xffffc00c); // 16 KiB
    assert_int_equal(rd(TEST_PF0, 0x24, 4), 0xffffffff);
    assert_int_equal(rd(TEST_OTHER, 0x10, 4), 0xfffffff0); // 16 bytes, 32-bit
    assert_int_equal(rd(TEST_OTHER, 0x14, 4), 0xfffff000);
    assert_int_equal(rd(TEST_OTHER, 0x24, 4), 0xfffffffd); // 4 bytes of I/O
    wr(TEST_PF0, 0x10, 4, 0xfedcba98);
    assert_int_equal(rd(TEST_PF0, 0x10, 4), 0xfed8000c);
    assert_int_equal(rd(TEST_PF0, 0x30, 4), 0); // no expansion ROM
}

static void test_bad_bars(void **state)
{
    struct pci_function_info info = {.name = "bad"};
    struct pci_function_ops none = {0};
    struct pci_function *fn;

    (void)state;
    assert_int_equal(pci_function_create(&info, &none, NULL, &fn), 0);
    assert_int_equal(pci_bar_init(fn, 6, PCI_BAR_MEM32, 16), -EINVAL);
    assert_int_equal(pci_bar_init(fn, 5, PCI_BAR_MEM64, 16), -EINVAL); // no room for the upper half
    assert_int_equal(pci_bar_init(fn, 0, PCI_BAR_MEM32, 0), -EINVAL);
    assert_int_equal(pci_bar_init(fn, 0, PCI_BAR_MEM32, 24), -EINVAL);
    assert_int_equal(pci_bar_init(fn, 0, PCI_BAR_MEM32, 8), -EINVAL);
    assert_int_equal(pci_bar_init(fn, 0, PCI_BAR_IO, 2), -EINVAL);
    assert_int_equal(pci_bar_init(fn, 0, PCI_BAR_MEM32, 0x100000000), -EINVAL);
    assert_int_equal(pci_bar_init(fn, 2, PCI_BAR_MEM64, 0x100000000), 0);
    assert_int_equal(pci_bar_init(fn, 1, PCI_BAR_MEM64, 16), -EINVAL);
    assert_int_equal(pci_bar_init(fn, 2, PCI_BAR_MEM32, 16), -EINVAL);
    assert_int_equal(pci_bar_init(fn, 3, PCI_BAR_MEM32, 16), -EINVAL);
    assert_int_equal(pci_bar_init(fn, 1, PCI_BAR_MEM32, 16), 0);
    // A BAR of 4 GiB has no bits in its lower half.
    assert_int_equal(pci_segment_add(card.seg, rid_make(3, 0, 0), fn), 0);
    wr(rid_make(3, 0, 0), 0x18, 4, 0xffffffff);
    wr(rid_make(3, 0, 0), 0x1c, 4, 0xffffffff);
    assert_int_equal(rd(rid_make(3, 0, 0), 0x18, 4), 0x00000004);
    assert_int_equal(rd(rid_make(3, 0, 0), 0x1c, 4), 0xffffffff);
    pci_function_destroy(fn);
}

static void test_routing(void **state)
{
    struct test_function *pf = &card.pf[0];
    uint64_t base = 0x12fe000000;

    (void)state;
    wr(TEST_PF0, 0x10, 4, (uint32_t)base);
    wr(TEST_PF0, 0x14, 4, (uint32_t)(base >> 32));
    assert_true(pci_mem_read(card.seg, base, 8) == ~0ull); // Memory Space off
    wr(TEST_PF0, 4, 2, 1);                                 // I/O is another space
    assert_true(pci_mem_read(card.seg, base, 8) == ~0ull);
    assert_int_equal(pf->reads, 0);
    wr(TEST_PF0, 4, 2, 2);
    assert_true(pci_mem_read(card.seg, base, 8) == 0x8877665544332211);
    assert_true(pci_mem_read(card.seg, base + 8, 4) == 0x44332219);
    assert_true(pci_mem_read(card.seg, base + 0x7ffff, 1) == (0x11 ^ 0xff));
    assert_int_equal(pf->offset, 0x7ffff);
    assert_int_equal(pf->reads, 3);
    pci_mem_write(card.seg, base + 0x7fff8, 8, 0x0102030405060708);
    assert_int_equal(pf->offset, 0x7fff8);
    assert_true(pf->value == 0x0102030405060708);
    pci_mem_write(card.seg, base, 2, 0x12345678);
    assert_int_equal(pf->value, 0x5678);
    // One past both ends.
    pci_mem_write(card.seg, base - 1, 1, 0);
    pci_mem_write(card.seg, base + 0x80000, 4, 0);
    assert_int_equal(pf->writes, 2);
    assert_int_equal(pci_mem_read(card.seg, base + 0x80000, 2), 0xffff);
    // Bad lengths and alignments.
    assert_int_equal(pci_mem_read(card.seg, base + 1, 2), 0xffff);
    assert_int_equal(pci_mem_read(card.seg, base, 3), 0xffffff);
    assert_true(pci_mem_read(card.seg, base, 16) == ~0ull);
    assert_true(pci_mem_read(card.seg, base + 4, 8) == ~0ull);
    pci_mem_read(card.seg, base, 0);
    pci_mem_write(card.seg, base + 2, 4, 0);
    assert_int_equal(pf->reads, 3);
    assert_int_equal(pf->writes, 2);
    assert_int_equal(card.pf[1].reads, 0);
}

static void test_top_of_memory(void **state)
{
    (void)state;
    wr(TEST_PF0, 0x10, 4, 0xffffffff);
    wr(TEST_PF0, 0x14, 4, 0xffffffff);
    wr(TEST_PF0, 4, 2, 2);
    pci_mem_write(card.seg, UINT64_MAX - 7, 8, 1);
    assert_int_equal(card.pf[0].offset, 0x7fff8);
    pci_mem_write(card.seg, UINT64_MAX, 1, 1);
    assert_int_equal(card.pf[0].offset, 0x7ffff);
    pci_mem_write(card.seg, 0xffffffff, 1, 1); // BAR4 is at 0, and ends well below
    assert_int_equal(card.pf[0].writes, 2);
}

static void test_small_bar_and_io(void **state)
{
    struct test_function *gpu = &card.other;

    (void)state;
    wr(TEST_OTHER, 0x10, 4, 0xd0000010);
    wr(TEST_OTHER, 0x14, 4, 0xd0001000);
    wr(TEST_OTHER, 0x24, 4, 0xd0002000);
    wr(TEST_OTHER, 4, 2, 3);
    pci_mem_write(card.seg, 0xd000001f, 1, 1);
    assert_int_equal(gpu->offset, 15);
    pci_mem_write(card.seg, 0xd0000020, 1, 1);
    pci_mem_write(card.seg, 0xd000000f, 1, 1);
    pci_mem_write(card.seg, 0xd0002000, 1, 1); // I/O BARs claim no memory
    assert_int_equal(gpu->writes, 1);
    pci_mem_write(card.seg, 0xd0001ffc, 4, 1);
    assert_int_equal(gpu->bar, 1);
}

static void test_backing(void **state)
{
    struct pci_backing got;

    (void)state;
    assert_int_equal(pci_backing_get(card.seg, TEST_PF0, 0, 0, &got), 0);
    assert_int_equal(got.bar_offset, 0x1000);
    assert_int_equal(pci_backing_get(card.seg, TEST_PF0, 0, 0x1001, &got), -ENOENT);
    assert_int_equal(pci_backing_get(card.seg, TEST_PF0, 1, 0, &got), -ENOENT);
    assert_int_equal(pci_backing_get(card.seg, TEST_PF0, 6, 0, &got), -ENOENT);
    assert_int_equal(pci_backing_get(card.seg, rid_make(1, 16, 0), 0, 0, &got), -ENOENT);
    test_enable_vfs(&card, TEST_PF0, 1, true, 0x100000, 0x200000);
    assert_int_equal(pci_backing_get(card.seg, rid_make(1, 16, 0), 0, 0, &got), 0);
}

static void test_dma_counts(void **state)
{
    struct dma_port *port = pci_function_dma(card.pf[0].fn);
    struct pci_dma_counts counts;
    uint32_t word;

    (void)state;
    assert_int_equal(port->rid.v, 0x100);
    assert_int_not_equal(dma_read(port, (iova_t){0x1000}, &word, 4), 0);
    wr(TEST_PF0, 4, 2, 4);
    assert_int_not_equal(dma_read(port, (iova_t){0x1000}, &word, 4), 0);
    assert_int_not_equal(dma_read(port, (iova_t){0x1000}, &word, 4), 0);
    assert_int_equal(pci_dma_counts_get(card.seg, TEST_PF0, &counts), 0);
    assert_int_equal(counts.blocked, 1);
    assert_int_equal(counts.faults, 2);
    assert_int_equal(counts.walks, 2);
    assert_int_equal(pci_dma_counts_get(card.seg, rid_make(9, 0, 0), &counts), -ENOENT);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_sizing),           T(test_bad_bars), T(test_routing),    T(test_top_of_memory),
        T(test_small_bar_and_io), T(test_backing),  T(test_dma_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

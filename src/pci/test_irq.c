// SPDX-License-Identifier: BSD-3-Clause
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/bits.h"
#include "pci/state.h"
#include "pci/test_device.h"

#define TABLE      0xe0000000ull // BAR4
#define PBA        (TABLE + 0x2000)
#define MSIX_CTRL  (TEST_MSIX + 2)
#define MSIX_ON    0x8000u
#define MSIX_FMASK 0x4000u

static struct test_card card;

static uint64_t mem_read(uint64_t addr, unsigned len)
{
    return pci_mem_read(card.seg, addr, len);
}

static void mem_write(uint64_t addr, unsigned len, uint64_t value)
{
    pci_mem_write(card.seg, addr, len, value);
}

static void vector_program(unsigned vector, bool masked)
{
    mem_write(TABLE + vector * 16, 4, 0xfee00000 + vector * 0x1000);
    mem_write(TABLE + vector * 16 + 4, 4, vector);
    mem_write(TABLE + vector * 16 + 8, 4, 0x4000 + vector);
    mem_write(TABLE + vector * 16 + 12, 4, masked);
}

static int setup(void **state)
{
    (void)state;
    test_card_create(&card);
    test_write(&card, TEST_PF0, 0x20, 4, (uint32_t)TABLE);
    test_write(&card, TEST_PF0, 4, 2, 0x0006);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_card_destroy(&card);
    return 0;
}

static void test_table(void **state)
{
    (void)state;
    // Reset: masked, all else zero.
    for (unsigned v = 0; v < 64; v++) {
        assert_int_equal(mem_read(TABLE + v * 16, 8), 0);
        assert_true(mem_read(TABLE + v * 16 + 8, 8) == 0x100000000);
    }
    mem_write(TABLE, 8, 0x11223344fee01237);
    assert_true(mem_read(TABLE, 8) == 0x11223344fee01234); // a dword's address
    mem_write(TABLE + 8, 8, 0xfffffffe55667788);
    assert_true(mem_read(TABLE + 8, 8) == 0x55667788); // only the mask bit is there
    mem_write(TABLE + 12, 4, 0xffffffff);
    assert_int_equal(mem_read(TABLE + 12, 4), 1);
    mem_write(TABLE + 4, 4, 0xaabbccdd);
    assert_true(mem_read(TABLE, 8) == 0xaabbccddfee01234);
    // Short reads give the bytes, short writes are dropped.
    assert_int_equal(mem_read(TABLE + 1, 1), 0x12);
    assert_int_equal(mem_read(TABLE + 6, 2), 0xaabb);
    mem_write(TABLE, 1, 0);
    mem_write(TABLE + 2, 2, 0);
    assert_int_equal(mem_read(TABLE, 4), 0xfee01234);
    // The last vector, and past the table: the device model's.
    mem_write(TABLE + 63 * 16 + 8, 4, 0x99);
    assert_int_equal(mem_read(TABLE + 63 * 16 + 8, 4), 0x99);
    assert_int_equal(card.pf[0].reads + card.pf[0].writes, 0);
    mem_write(TABLE + 64 * 16, 4, 1);
    assert_int_equal(card.pf[0].writes, 1);
    assert_int_equal(card.pf[0].offset, 64 * 16);
    mem_read(PBA - 8, 8);
    assert_int_equal(card.pf[0].reads, 1);
    mem_read(PBA, 8);
    assert_int_equal(card.pf[0].reads, 1);
    mem_read(PBA + 8, 8); // 64 pending bits
    assert_int_equal(card.pf[0].reads, 2);
}

static void test_control(void **state)
{
    (void)state;
    assert_int_equal(test_read(&card, TEST_PF0, MSIX_CTRL, 2), 63);
    test_write(&card, TEST_PF0, MSIX_CTRL, 2, 0xffff);
    assert_int_equal(test_read(&card, TEST_PF0, MSIX_CTRL, 2), 0xc03f);
    assert_int_equal(test_read(&card, TEST_PF0, TEST_MSIX + 4, 4), 0x00000004);
    assert_int_equal(test_read(&card, TEST_PF0, TEST_MSIX + 8, 4), 0x00002004);
}

static void test_raise(void **state)
{
    (void)state;
    vector_program(5, false);
    pci_msix_raise(card.pf[0].fn, 5); // MSI-X is off: lost
    assert_int_equal(mem_read(PBA, 8), 0);
    test_write(&card, TEST_PF0, MSIX_CTRL, 2, MSIX_ON);
    assert_int_equal(card.message_count, 0);
    pci_msix_raise(card.pf[0].fn, 5);
    assert_int_equal(card.message_count, 1);
    assert_int_equal(card.messages[0].rid.v, 0x100);
    assert_int_equal(card.messages[0].vector, 5);
    assert_true(card.messages[0].addr == 0x5fee05000);
    assert_int_equal(card.messages[0].data, 0x4005);
    assert_int_equal(mem_read(PBA, 8), 0);
    pci_msix_raise(card.pf[0].fn, 64); // a guest's choice of vector is not trusted
    pci_msix_raise(card.pf[0].fn, ~0u);
    assert_int_equal(card.message_count, 1);
}

static void test_vector_mask(void **state)
{
    (void)state;
    test_write(&card, TEST_PF0, MSIX_CTRL, 2, MSIX_ON);
    vector_program(0, true);
    vector_program(63, true);
    pci_msix_raise(card.pf[0].fn, 63);
    pci_msix_raise(card.pf[0].fn, 63);
    assert_int_equal(card.message_count, 0);
    assert_true(mem_read(PBA, 8) == BIT64(63));
    assert_int_equal(mem_read(PBA + 4, 4), BIT(31));
    assert_int_equal(mem_read(PBA + 7, 1), 0x80);
    mem_write(PBA, 8, 0); // read-only
    assert_true(mem_read(PBA, 8) == BIT64(63));
    mem_write(TABLE + 12, 4, 0); // another vector
    assert_int_equal(card.message_count, 0);
    mem_write(TABLE + 63 * 16 + 12, 4, 0);
    assert_int_equal(card.message_count, 1); // once, however often it was raised
    assert_int_equal(card.messages[0].vector, 63);
    assert_int_equal(mem_read(PBA, 8), 0);
}

static void test_function_mask(void **state)
{
    (void)state;
    vector_program(1, false);
    vector_program(2, false);
    vector_program(3, true);
    test_write(&card, TEST_PF0, MSIX_CTRL, 2, MSIX_ON | MSIX_FMASK);
    for (unsigned v = 1; v <= 3; v++)
        pci_msix_raise(card.pf[0].fn, v);
    assert_int_equal(card.message_count, 0);
    assert_int_equal(mem_read(PBA, 8), 0xe);
    test_write(&card, TEST_PF0, MSIX_CTRL, 2, MSIX_ON);
    assert_int_equal(card.message_count, 2);
    assert_int_equal(mem_read(PBA, 8), 0x8); // still masked by itself
    // Off: what was pending is gone.
    test_write(&card, TEST_PF0, MSIX_CTRL, 2, 0);
    assert_int_equal(mem_read(PBA, 8), 0);
    test_write(&card, TEST_PF0, MSIX_CTRL, 2, MSIX_ON);
    mem_write(TABLE + 3 * 16 + 12, 4, 0);
    assert_int_equal(card.message_count, 2);
}

static void test_bus_master(void **state)
{
    (void)state;
    vector_program(1, false);
    test_write(&card, TEST_PF0, MSIX_CTRL, 2, MSIX_ON);
    test_write(&card, TEST_PF0, 4, 2, 0x0002);
    pci_msix_raise(card.pf[0].fn, 1);
    assert_int_equal(card.message_count, 0); // a message is a memory write of its own
    assert_int_equal(mem_read(PBA, 8), 2);
    test_write(&card, TEST_PF0, 4, 2, 0x0006);
    assert_int_equal(card.message_count, 1);
    // D3hot likewise.
    test_write(&card, TEST_PF0, TEST_PM + 4, 2, 3);
    pci_msix_raise(card.pf[0].fn, 1);
    assert_int_equal(card.message_count, 1);
}

static void test_flr_clears(void **state)
{
    (void)state;
    vector_program(1, true);
    vector_program(2, false);
    test_write(&card, TEST_PF0, MSIX_CTRL, 2, MSIX_ON);
    pci_msix_raise(card.pf[0].fn, 1);
    test_write(&card, TEST_PF0, TEST_EXPRESS + 8, 2, 0x8000);
    assert_int_equal(test_read(&card, TEST_PF0, MSIX_CTRL, 2), 63);
    pci_msix_raise(card.pf[0].fn, 2);
    assert_int_equal(card.message_count, 0);
    test_write(&card, TEST_PF0, 0x20, 4, (uint32_t)TABLE);
    test_write(&card, TEST_PF0, 4, 2, 0x0006);
    test_write(&card, TEST_PF0, MSIX_CTRL, 2, MSIX_ON);
    assert_int_equal(mem_read(PBA, 8), 0);
    assert_true(mem_read(TABLE + 2 * 16, 8) == 0);
    assert_true(mem_read(TABLE + 2 * 16 + 8, 8) == 0x100000000);
}

static void test_msi(void **state)
{
    (void)state;
    test_write(&card, TEST_PF0, TEST_MSI + 4, 4, 0xfee01003);
    assert_int_equal(test_read(&card, TEST_PF0, TEST_MSI + 4, 4), 0xfee01000);
    test_write(&card, TEST_PF0, TEST_MSI + 8, 4, 1);
    test_write(&card, TEST_PF0, TEST_MSI + 12, 2, 0x4041);
    pci_msix_raise(card.pf[0].fn, 7);
    assert_int_equal(card.message_count, 0);
    test_write(&card, TEST_PF0, TEST_MSI + 2, 2, 1);
    pci_msix_raise(card.pf[0].fn, 7);
    assert_int_equal(card.message_count, 1);
    assert_int_equal(card.messages[0].vector, 0);
    assert_true(card.messages[0].addr == 0x1fee01000);
    assert_int_equal(card.messages[0].data, 0x4041);
    // Masked: pending, and sent when it no longer is.
    test_write(&card, TEST_PF0, TEST_MSI + 16, 4, 0xffffffff);
    assert_int_equal(test_read(&card, TEST_PF0, TEST_MSI + 16, 4), 1);
    pci_msix_raise(card.pf[0].fn, 0);
    assert_int_equal(card.message_count, 1);
    assert_int_equal(test_read(&card, TEST_PF0, TEST_MSI + 20, 4), 1);
    test_write(&card, TEST_PF0, TEST_MSI + 20, 4, 0); // read-only
    assert_int_equal(test_read(&card, TEST_PF0, TEST_MSI + 20, 1), 1);
    test_write(&card, TEST_PF0, TEST_MSI + 16, 4, 0);
    assert_int_equal(card.message_count, 2);
    assert_int_equal(test_read(&card, TEST_PF0, TEST_MSI + 20, 4), 0);
    // MSI-X on top of it goes first.
    vector_program(9, false);
    test_write(&card, TEST_PF0, MSIX_CTRL, 2, MSIX_ON);
    pci_msix_raise(card.pf[0].fn, 9);
    assert_int_equal(card.messages[2].vector, 9);
    assert_int_equal(card.messages[2].data, 0x4009);
}

// A raise that meets the control thread in the middle of changing the vector leaves its pending
// bit, and the control thread sends when it is done.
static void test_raise_during_change(void **state)
{
    _Atomic uint32_t *seq = &card.pf[0].fn->irq.table[4].seq;

    (void)state;
    vector_program(4, false);
    test_write(&card, TEST_PF0, MSIX_CTRL, 2, MSIX_ON);
    atomic_fetch_add(seq, 1);
    pci_msix_raise(card.pf[0].fn, 4);
    assert_int_equal(card.message_count, 0);
    assert_int_equal(mem_read(PBA, 8), BIT(4));
    atomic_fetch_add(seq, 1);
    mem_write(TABLE + 4 * 16 + 8, 4, 0x1234);
    assert_int_equal(card.message_count, 1);
    assert_int_equal(card.messages[0].data, 0x1234);
}

#define THREAD_RAISES 500000u

static _Atomic bool running;
static _Atomic unsigned sent, torn;

// Every message that the thread's vector may ever have: address and data say the same number.
static void check_message(void *ctx, rid_t rid, unsigned vector, uint64_t addr, uint32_t data)
{
    unsigned n = (unsigned)(addr >> 12) & 0xf;

    (void)ctx, (void)rid;
    atomic_fetch_add(&sent, 1);
    if (vector != 4 || addr >> 32 != n || (data & 0xf) != n)
        atomic_fetch_add(&torn, 1);
}

static void *raiser(void *arg)
{
    for (unsigned i = 0; i < THREAD_RAISES; i++)
        pci_msix_raise(card.pf[0].fn, (unsigned)(uintptr_t)arg);
    atomic_store(&running, false);
    return NULL;
}

// A worker raises while the control thread masks, unmasks and moves the vector: nothing gets lost
// in the end, and no message is put together from two.
static void test_concurrent(void **state)
{
    pthread_t thread;

    (void)state;
    pci_segment_set_interrupt_sink(card.seg, &(struct pci_interrupt_sink){.raise = check_message});
    vector_program(4, false);
    test_write(&card, TEST_PF0, MSIX_CTRL, 2, MSIX_ON);
    atomic_store(&running, true);
    assert_int_equal(pthread_create(&thread, NULL, raiser, (void *)(uintptr_t)4), 0);
    for (unsigned i = 0; atomic_load(&running); i++) {
        uint32_t n = i % 16;

        switch (i % 3) {
        case 0: // the way Linux moves a vector
            mem_write(TABLE + 4 * 16 + 12, 4, 1);
            mem_write(TABLE + 4 * 16, 4, 0xfee00000 + n * 0x1000);
            mem_write(TABLE + 4 * 16 + 4, 4, n);
            mem_write(TABLE + 4 * 16 + 8, 4, n);
            mem_write(TABLE + 4 * 16 + 12, 4, 0);
            break;
        case 1:
            test_write(&card, TEST_PF0, MSIX_CTRL, 2, MSIX_ON | MSIX_FMASK);
            test_write(&card, TEST_PF0, MSIX_CTRL, 2, MSIX_ON);
            break;
        default:
            mem_read(PBA, 8);
            break;
        }
    }
    pthread_join(thread, NULL);
    mem_write(TABLE + 4 * 16 + 12, 4, 0);
    assert_int_equal(mem_read(PBA, 8), 0);
    assert_true(atomic_load(&sent) > 0);
    assert_int_equal(atomic_load(&torn), 0);
    atomic_store(&sent, 0);
    pci_msix_raise(card.pf[0].fn, 4);
    assert_int_equal(atomic_load(&sent), 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_table),       T(test_control),       T(test_raise),
        T(test_vector_mask), T(test_function_mask), T(test_bus_master),
        T(test_flr_clears),  T(test_msi),           T(test_raise_during_change),
        T(test_concurrent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

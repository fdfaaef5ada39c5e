// SPDX-License-Identifier: BSD-3-Clause
#include "mem/dma.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define SMALL (1ull << DMA_SMALL_SHIFT)
#define LARGE (1ull << DMA_LARGE_SHIFT)

// An IOMMU of one window: [base, base + len) of IOVAs, read or write as `access` says, in pages of
// `shift`, with one page that is refused.
struct fake {
    dma_generation_t generation;
    uint8_t *memory;
    uint64_t base, len;
    uint64_t hole; // a page; UINT64_MAX: none
    uint8_t shift, access;
    unsigned walks, refusals;
    uint64_t refused_iova;
    bool invalidate_in_walk;
};

static int fake_translate(void *ctx, rid_t rid, iova_t iova, enum dma_access access,
                          struct dma_translation *out)
{
    struct fake *f = ctx;
    uint64_t page = bits_align_down(iova.v, 1ull << f->shift);

    assert_int_equal(rid.v, 0x1234);
    f->walks++;
    if (f->invalidate_in_walk)
        atomic_fetch_add(&f->generation, 1);
    if (iova.v < f->base || iova.v - f->base >= f->len || !(f->access & access) ||
        bits_align_down(iova.v, SMALL) == f->hole)
        return -EFAULT;
    *out = (struct dma_translation){
        .iova = page, .host = f->memory + (page - f->base), .shift = f->shift, .access = f->access};
    return 0;
}

static void fake_refuse(void *ctx, rid_t rid, iova_t iova, enum dma_access access)
{
    struct fake *f = ctx;

    (void)access;
    assert_int_equal(rid.v, 0x1234);
    f->refusals++;
    f->refused_iova = iova.v;
}

static const struct dma_port_ops fake_ops = {fake_translate, fake_refuse};

struct fixture {
    struct fake fake;
    struct dma_port port;
};

static int setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof *fx);

    fx->fake = (struct fake){.generation = 1,
                             .memory = aligned_alloc(SMALL, 4 * LARGE),
                             .base = 4 * LARGE,
                             .len = 4 * LARGE,
                             .hole = UINT64_MAX,
                             .shift = DMA_SMALL_SHIFT,
                             .access = DMA_READ | DMA_WRITE};
    for (uint64_t i = 0; i < 4 * LARGE; i++)
        fx->fake.memory[i] = (uint8_t)(i >> 3 ^ i >> 12);
    dma_port_init(&fx->port, (rid_t){0x1234}, &fake_ops, &fx->fake, &fx->fake.generation);
    fx->port.bus_master = true;
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    free(fx->fake.memory);
    free(fx);
    return 0;
}

static void test_read_and_write_across_pages(void **state)
{
    struct fixture *fx = *state;
    uint64_t base = fx->fake.base;
    uint8_t buf[3 * 4096], ones[4098];

    for (uint32_t len = 4095; len <= 4097; len++) {
        memset(buf, 0xee, sizeof buf);
        assert_int_equal(dma_read(&fx->port, (iova_t){base + 1}, buf, len), 0);
        assert_memory_equal(buf, fx->fake.memory + 1, len);
        assert_int_equal(buf[len], 0xee);
    }
    assert_int_equal(dma_read(&fx->port, (iova_t){base + 7}, buf, 2 * 4096 + 9), 0);
    assert_memory_equal(buf, fx->fake.memory + 7, 2 * 4096 + 9);
    assert_int_equal(fx->port.miss_count, 3);

    memset(ones, 0x11, sizeof ones);
    memcpy(buf, fx->fake.memory, sizeof buf);
    assert_int_equal(dma_write(&fx->port, (iova_t){base + 4095}, ones, 4098), 0);
    memset(buf + 4095, 0x11, 4098);
    assert_memory_equal(fx->fake.memory, buf, sizeof buf);
    assert_int_equal(fx->port.fault_count, 0);
}

static void test_nothing_is_nothing(void **state)
{
    struct fixture *fx = *state;

    assert_int_equal(dma_read(&fx->port, (iova_t){0}, NULL, 0), 0);
    assert_int_equal(dma_write(&fx->port, (iova_t){UINT64_MAX}, NULL, 0), 0);
    assert_int_equal(fx->fake.walks + fx->fake.refusals, 0);
}

static void test_unmapped_half_way(void **state)
{
    struct fixture *fx = *state;
    uint64_t base = fx->fake.base;
    uint8_t buf[2 * 4096] = {0};

    fx->fake.hole = base + SMALL;
    assert_int_equal(dma_read(&fx->port, (iova_t){base + 100}, buf, 4096), -EFAULT);
    assert_memory_equal(buf, fx->fake.memory + 100, 4096 - 100);
    assert_int_equal(buf[4096 - 100], 0);
    assert_int_equal(fx->port.fault_count, 1);
    // The last byte before the window, the first behind it.
    assert_int_equal(dma_read(&fx->port, (iova_t){base - 1}, buf, 1), -EFAULT);
    assert_int_equal(dma_read(&fx->port, (iova_t){base + fx->fake.len - 1}, buf, 1), 0);
    assert_int_equal(dma_read(&fx->port, (iova_t){base + fx->fake.len - 1}, buf, 2), -EFAULT);
    assert_int_equal(fx->port.fault_count, 3);
}

static void test_address_space_does_not_wrap(void **state)
{
    struct fixture *fx = *state;
    uint8_t buf[8];

    fx->fake.base = 0; // page 0 is mapped: a wrap would read it
    assert_int_equal(dma_read(&fx->port, (iova_t){UINT64_MAX - 3}, buf, 8), -EFAULT);
    assert_int_equal(dma_write(&fx->port, (iova_t){UINT64_MAX - 3}, buf, 5), -EFAULT);
    assert_int_equal(fx->fake.refusals, 2);
    assert_int_equal(fx->port.fault_count, 2);
    assert_int_equal(fx->fake.walks, 0);
    fx->port.bus_master = false;
    assert_int_equal(dma_read(&fx->port, (iova_t){UINT64_MAX - 3}, buf, 8), -EFAULT);
    assert_int_equal(fx->fake.refusals, 2);
    assert_int_equal(fx->port.blocked_count, 1);
}

static void test_bus_master_off_issues_nothing(void **state)
{
    struct fixture *fx = *state;
    uint8_t byte = 0;
    uint32_t run;

    assert_int_equal(dma_read(&fx->port, (iova_t){fx->fake.base}, &byte, 1), 0);
    fx->port.bus_master = false;
    assert_int_equal(dma_read(&fx->port, (iova_t){fx->fake.base}, &byte, 1), -EFAULT);
    assert_int_equal(dma_write(&fx->port, (iova_t){fx->fake.base}, &byte, 1), -EFAULT);
    assert_null(dma_at(&fx->port, (iova_t){fx->fake.base}, 1, DMA_READ, &run));
    assert_int_equal(fx->port.blocked_count, 3);
    assert_int_equal(fx->port.fault_count, 0);
    assert_int_equal(fx->fake.walks, 1);
}

static void test_run_and_span(void **state)
{
    struct fixture *fx = *state;
    uint64_t base = fx->fake.base;
    uint32_t run = 0;

    assert_ptr_equal(dma_at(&fx->port, (iova_t){base + 4000}, 96, DMA_READ, &run),
                     fx->fake.memory + 4000);
    assert_int_equal(run, 96);
    assert_non_null(dma_at(&fx->port, (iova_t){base + 4000}, 97, DMA_READ, &run));
    assert_int_equal(run, 96);
    assert_non_null(dma_at(&fx->port, (iova_t){base + 4095}, UINT32_MAX, DMA_READ, &run));
    assert_int_equal(run, 1);
    assert_non_null(dma_span(&fx->port, (iova_t){base}, 4096, DMA_READ));
    assert_null(dma_span(&fx->port, (iova_t){base}, 4097, DMA_READ));
    assert_null(dma_span(&fx->port, (iova_t){base - 1}, 1, DMA_READ));
    fx->fake.shift = DMA_LARGE_SHIFT;
    dma_port_flush(&fx->port);
    assert_non_null(dma_span(&fx->port, (iova_t){base}, LARGE, DMA_READ));
    assert_null(dma_span(&fx->port, (iova_t){base + 1}, LARGE, DMA_READ));
}

static void test_cache_hits_until_the_generation_moves(void **state)
{
    struct fixture *fx = *state;
    uint64_t base = fx->fake.base;
    uint8_t byte;

    for (int shift = 0; shift < 2; shift++) {
        fx->fake.shift = shift ? DMA_LARGE_SHIFT : DMA_SMALL_SHIFT;
        dma_port_flush(&fx->port);
        fx->fake.walks = 0;
        assert_int_equal(dma_read(&fx->port, (iova_t){base}, &byte, 1), 0);
        assert_int_equal(dma_read(&fx->port, (iova_t){base + 8}, &byte, 1), 0);
        assert_int_equal(fx->fake.walks, 1);
        atomic_fetch_add(&fx->fake.generation, 1);
        assert_int_equal(dma_read(&fx->port, (iova_t){base}, &byte, 1), 0);
        assert_int_equal(fx->fake.walks, 2);
        dma_port_flush(&fx->port);
        assert_int_equal(dma_read(&fx->port, (iova_t){base}, &byte, 1), 0);
        assert_int_equal(fx->fake.walks, 3);
    }
    // Pages that share a slot push each other out, and never answer for each other.
    fx->fake.shift = DMA_SMALL_SHIFT;
    dma_port_flush(&fx->port);
    assert_int_equal(dma_read(&fx->port, (iova_t){base + SMALL * 2}, &byte, 1), 0);
    assert_int_equal(byte, fx->fake.memory[SMALL * 2]);
    assert_int_equal(
        dma_read(&fx->port, (iova_t){base + SMALL * (2 + DMA_SMALL_ENTRIES)}, &byte, 1), 0);
    assert_int_equal(byte, fx->fake.memory[SMALL * (2 + DMA_SMALL_ENTRIES)]);
}

// An invalidation while the walk runs: what the walk found may not be used again.
static void test_invalidation_during_the_walk(void **state)
{
    struct fixture *fx = *state;
    uint8_t byte;

    fx->fake.invalidate_in_walk = true;
    assert_int_equal(dma_read(&fx->port, (iova_t){fx->fake.base}, &byte, 1), 0);
    fx->fake.invalidate_in_walk = false;
    assert_int_equal(dma_read(&fx->port, (iova_t){fx->fake.base}, &byte, 1), 0);
    assert_int_equal(fx->fake.walks, 2);
}

static void test_access_rights_are_not_mixed_up(void **state)
{
    struct fixture *fx = *state;
    uint8_t byte = 0;

    fx->fake.access = DMA_READ;
    assert_int_equal(dma_read(&fx->port, (iova_t){fx->fake.base}, &byte, 1), 0);
    assert_int_equal(dma_write(&fx->port, (iova_t){fx->fake.base}, &byte, 1), -EFAULT);
    // The refused write has not cost the read its entry, nor given the write one.
    assert_int_equal(dma_read(&fx->port, (iova_t){fx->fake.base}, &byte, 1), 0);
    assert_int_equal(fx->fake.walks, 2);
    assert_int_equal(dma_write(&fx->port, (iova_t){fx->fake.base}, &byte, 1), -EFAULT);
    assert_int_equal(fx->port.fault_count, 2);
}

static void test_interrupt_range_is_refused(void **state)
{
    struct fixture *fx = *state;
    const uint64_t end = DMA_INTERRUPT_BASE + DMA_INTERRUPT_LEN;
    uint8_t buf[16] = {0};

    fx->fake.base = DMA_INTERRUPT_BASE - LARGE;
    fx->fake.shift = DMA_LARGE_SHIFT; // one page of the tables spans the range
    assert_int_equal(dma_write(&fx->port, (iova_t){DMA_INTERRUPT_BASE - 1}, buf, 1), 0);
    assert_int_equal(dma_write(&fx->port, (iova_t){end}, buf, 1), 0);
    assert_int_equal(fx->fake.refusals, 0);
    assert_int_equal(dma_write(&fx->port, (iova_t){DMA_INTERRUPT_BASE}, buf, 4), -EFAULT);
    assert_int_equal(fx->fake.refused_iova, DMA_INTERRUPT_BASE);
    assert_int_equal(dma_read(&fx->port, (iova_t){end - 1}, buf, 1), -EFAULT);
    assert_int_equal(fx->fake.refusals, 2);
    // Half-way into it: the bytes before are written, the rest is not.
    memset(buf, 0x77, sizeof buf);
    memset(fx->fake.memory + LARGE - 8, 0, 16);
    assert_int_equal(dma_write(&fx->port, (iova_t){DMA_INTERRUPT_BASE - 8}, buf, 16), -EFAULT);
    assert_memory_equal(fx->fake.memory + LARGE - 8, buf, 8);
    assert_int_equal(fx->fake.memory[LARGE], 0);
    assert_int_equal(fx->port.fault_count, 3);
    // Behind the range the 2 MiB page holds good, byte for byte, in 4 KiB pieces.
    assert_int_equal(dma_read(&fx->port, (iova_t){end + 4096}, buf, 16), 0);
    assert_memory_equal(buf, fx->fake.memory + LARGE + DMA_INTERRUPT_LEN + 4096, 16);
}

// Pages that are neighbours on both sides become one run, walked page by page, in whatever order.
static void test_neighbours_become_a_run(void **state)
{
    struct fixture *fx = *state;
    uint64_t base = fx->fake.base, middle = base + 600 * SMALL;
    struct dma_run run;
    uint8_t byte;

    for (unsigned i = 0; i < 300; i++) { // more than the cache of small pages has
        assert_int_equal(dma_read(&fx->port, (iova_t){middle + i * SMALL}, &byte, 1), 0);
        assert_int_equal(dma_read(&fx->port, (iova_t){middle - (i + 1) * SMALL}, &byte, 1), 0);
    }
    assert_int_equal(fx->fake.walks, 600);
    assert_true(dma_run_find(&fx->port, middle, DMA_WRITE, &run));
    assert_int_equal(run.iova, middle - 300 * SMALL);
    assert_int_equal(run.len_bytes, 600 * SMALL);
    assert_ptr_equal(dma_run_at(&run, middle, SMALL), fx->fake.memory + (middle - base));
    assert_ptr_equal(dma_run_at(&run, run.iova + run.len_bytes - 1, 1),
                     fx->fake.memory + (run.iova - base) + run.len_bytes - 1);
    assert_null(dma_run_at(&run, run.iova + run.len_bytes - 1, 2));
    assert_null(dma_run_at(&run, run.iova + run.len_bytes, 1));
    assert_null(dma_run_at(&run, run.iova - 1, 1));
    // What the small cache has lost comes from the run, without a walk, and is right.
    for (unsigned i = 0; i < 600; i++) {
        uint64_t offset = middle - 300 * SMALL - base + i * SMALL + 5;

        assert_int_equal(dma_read(&fx->port, (iova_t){base + offset}, &byte, 1), 0);
        assert_int_equal(byte, fx->fake.memory[offset]);
    }
    assert_int_equal(fx->fake.walks, 600);
    assert_false(dma_run_find(&fx->port, middle + 300 * SMALL, DMA_READ, &run));
    // Nothing is issued without bus mastering, nor by what an invalidation made stale.
    fx->port.bus_master = false;
    assert_false(dma_run_find(&fx->port, middle, DMA_READ, &run));
    fx->port.bus_master = true;
    atomic_fetch_add(&fx->fake.generation, 1);
    assert_false(dma_run_find(&fx->port, middle, DMA_READ, &run));
    assert_int_equal(dma_read(&fx->port, (iova_t){middle}, &byte, 1), 0);
    assert_int_equal(fx->fake.walks, 601);
}

// Pages with other rights, or from elsewhere here, do not join; nor do the ends of a hole.
static void test_runs_keep_apart(void **state)
{
    struct fixture *fx = *state;
    uint64_t base = fx->fake.base;
    struct dma_run run;
    uint8_t byte = 1;

    fx->fake.hole = base + SMALL;
    assert_int_equal(dma_read(&fx->port, (iova_t){base}, &byte, 1), 0);
    assert_int_equal(dma_read(&fx->port, (iova_t){base + SMALL}, &byte, 1), -EFAULT);
    assert_int_equal(dma_read(&fx->port, (iova_t){base + 2 * SMALL}, &byte, 1), 0);
    assert_false(dma_run_find(&fx->port, base + SMALL, DMA_READ, &run));
    fx->fake.access = DMA_READ;
    assert_int_equal(dma_read(&fx->port, (iova_t){base + 3 * SMALL}, &byte, 1), 0);
    assert_true(dma_run_find(&fx->port, base + 2 * SMALL, DMA_WRITE, &run));
    assert_int_equal(run.len_bytes, SMALL);
    assert_false(dma_run_find(&fx->port, base + 3 * SMALL, DMA_WRITE, &run));
    assert_int_equal(dma_write(&fx->port, (iova_t){base + 3 * SMALL}, &byte, 1), -EFAULT);
    fx->fake.memory += 16 * SMALL; // the next page comes from elsewhere
    assert_int_equal(dma_read(&fx->port, (iova_t){base + 4 * SMALL}, &byte, 1), 0);
    fx->fake.memory -= 16 * SMALL;
    assert_true(dma_run_find(&fx->port, base + 4 * SMALL, DMA_READ, &run));
    assert_int_equal(run.len_bytes, SMALL);
}

#define WITH_PORT(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PORT(test_read_and_write_across_pages),
        WITH_PORT(test_nothing_is_nothing),
        WITH_PORT(test_unmapped_half_way),
        WITH_PORT(test_address_space_does_not_wrap),
        WITH_PORT(test_bus_master_off_issues_nothing),
        WITH_PORT(test_run_and_span),
        WITH_PORT(test_cache_hits_until_the_generation_moves),
        WITH_PORT(test_invalidation_during_the_walk),
        WITH_PORT(test_access_rights_are_not_mixed_up),
        WITH_PORT(test_interrupt_range_is_refused),
        WITH_PORT(test_neighbours_become_a_run),
        WITH_PORT(test_runs_keep_apart),
    };

    return cmocka_run_group_tests_name("dma", tests, NULL, NULL);
}

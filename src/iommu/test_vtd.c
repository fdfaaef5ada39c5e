// SPDX-License-Identifier: BSD-3-Clause
// The unit as software drives it: register cycles, invalidation by registers and by queue, what is
// cached until then, and workers that translate meanwhile.
#include "iommu/test_vtd_machine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"

// --- Register cycles ------------------------------------------------------------------------

static void test_bad_cycles(void **state)
{
    struct machine *m = *state;
    static const struct {
        uint32_t offset;
        unsigned len;
    } bad[] = {{0, 1},    {0, 2},    {0, 0},          {2, 4}, {4, 8},
               {4096, 4}, {4096, 8}, {UINT32_MAX, 4}, {0, 3}, {0xfffffff8, 8}};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_true(vtd_reg_read(m->vtd, bad[i].offset, bad[i].len) == UINT64_MAX);
        vtd_reg_write(m->vtd, bad[i].offset, bad[i].len, UINT64_MAX);
    }
    assert_int_equal(reg32(m, VTD_GSTS), 0);
    // The edges of the page are cycles like others, to nothing.
    vtd_reg_write(m->vtd, 4088, 8, UINT64_MAX);
    vtd_reg_write(m->vtd, 4092, 4, UINT64_MAX);
    assert_int_equal(vtd_reg_read(m->vtd, 4088, 8), 0);
    assert_int_equal(vtd_reg_read(m->vtd, 4092, 4), 0);
}

static void test_widths(void **state)
{
    struct machine *m = *state;

    assert_int_equal(reg32(m, VTD_VER), 0x10);
    assert_true(reg(m, VTD_CAP) == VTD_CAP_VALUE);
    assert_int_equal(reg32(m, VTD_CAP + 4), (uint32_t)(VTD_CAP_VALUE >> 32));
    // A 64-bit register by halves, and two 32-bit registers in one cycle.
    reg32_set(m, VTD_RTADDR, 0xabcdefff);
    reg32_set(m, VTD_RTADDR + 4, 0x12);
    assert_true(reg(m, VTD_RTADDR) == 0x12abcde000);
    vtd_reg_write(m->vtd, VTD_FEADDR, 8, 0x11223344fee00fff);
    assert_int_equal(reg32(m, VTD_FEADDR), 0xfee00ffc);
    assert_int_equal(reg32(m, VTD_FEUADDR), 0x11223344);
    vtd_reg_write(m->vtd, VTD_GCMD, 8, VTD_GCMD_SRTP | UINT64_MAX << 32);
    assert_int_equal(reg32(m, VTD_GCMD), 0);
    assert_int_equal(reg32(m, VTD_GSTS), VTD_GSTS_RTPS);
    // The low half of a register and a gap behind it.
    vtd_reg_write(m->vtd, VTD_VER, 8, UINT64_MAX);
    assert_int_equal(reg32(m, VTD_VER), 0x10);
}

// Commands for what CAP and ECAP deny have no effect.
static void test_unsupported_commands(void **state)
{
    struct machine *m = *state;

    reg32_set(m, VTD_GCMD, ~(VTD_GCMD_TE | VTD_GCMD_QIE | VTD_GCMD_SRTP));
    assert_int_equal(reg32(m, VTD_GSTS), 0);
    reg32_set(m, VTD_PMEN, UINT32_MAX);
    assert_int_equal(reg32(m, VTD_PMEN), 0);
    reg32_set(m, VTD_IRTA, UINT32_MAX);
    assert_int_equal(reg32(m, VTD_IRTA), 0);
}

// --- What is cached, and until when ---------------------------------------------------------

static struct dma_port *port_make(struct machine *m)
{
    struct dma_port *port = calloc(1, sizeof *port);

    dma_port_init(port, RID, vtd_dma_ops(), m->vtd, vtd_generation(m->vtd));
    port->bus_master = true;
    return port;
}

static uint8_t byte_read(struct dma_port *port, uint64_t iova)
{
    uint8_t byte = 0xff;

    return dma_read(port, (iova_t){iova}, &byte, 1) ? 0xee : byte;
}

static void test_port_sees_changes_after_invalidation(void **state)
{
    struct machine *m = *state;
    struct dma_port *port = port_make(m);

    machine_tables(m, 4);
    machine_on(m);
    m->mem[DATA_AT] = 1;
    m->mem[DATA_AT + PAGE] = 2;
    assert_int_equal(byte_read(port, IOVA), 1);
    put64(m, TABLE1_AT + 8 * 8, (DATA_AT + PAGE) | RW);
    assert_int_equal(byte_read(port, IOVA), 1); // cached
    machine_flush(m);
    assert_int_equal(byte_read(port, IOVA), 2);
    // What is not mapped is not cached: mapping it needs no invalidation (CAP.CM = 0).
    assert_int_equal(byte_read(port, IOVA + PAGE), 0xee);
    put64(m, TABLE1_AT + 9 * 8, DATA_AT | RW);
    assert_int_equal(byte_read(port, IOVA + PAGE), 1);
    assert_int_equal(port->fault_count, 1);
    // Off and on again drop everything as well.
    put64(m, TABLE1_AT + 9 * 8, (DATA_AT + PAGE) | RW);
    reg32_set(m, VTD_GCMD, 0);
    m->mem[0x100] = 9;
    assert_int_equal(byte_read(port, 0x100), 9);
    reg32_set(m, VTD_GCMD, VTD_GCMD_TE);
    assert_int_equal(byte_read(port, IOVA + PAGE), 2);
    assert_int_equal(byte_read(port, 0x100), 0xee);
    free(port);
}

static void test_context_cache(void **state)
{
    struct machine *m = *state;
    struct dma_translation t;

    machine_tables(m, 4);
    machine_on(m);
    assert_int_equal(machine_translate(m, IOVA, DMA_READ, &t), 0);
    put64(m, CTX_ENTRY, 0);
    assert_int_equal(machine_translate(m, IOVA, DMA_READ, &t), 0); // cached
    // Another requester of the same slot is not taken for it.
    assert_int_equal(
        vtd_dma_ops()->translate(m->vtd, (rid_t){0x0111}, (iova_t){IOVA}, DMA_READ, &t), -EFAULT);
    vtd_reg_write(m->vtd, VTD_CCMD, 8,
                  VTD_CCMD_ICC | (uint64_t)VTD_GRAN_SELECTIVE << VTD_CCMD_CIRG_SHIFT | RID.v << 16);
    assert_int_equal(machine_translate(m, IOVA, DMA_READ, &t), -EFAULT);
    // What was not present is not cached.
    put64(m, CTX_ENTRY, TABLE4_AT | VTD_CONTEXT_LO_P);
    assert_int_equal(machine_translate(m, IOVA, DMA_READ, &t), 0);
}

static void test_register_invalidation(void **state)
{
    struct machine *m = *state;
    uint64_t before;

    for (uint64_t gran = VTD_GRAN_GLOBAL; gran <= VTD_GRAN_SELECTIVE; gran++) {
        before = atomic_load(vtd_generation(m->vtd));
        vtd_reg_write(m->vtd, VTD_CCMD, 8, VTD_CCMD_ICC | gran << VTD_CCMD_CIRG_SHIFT | 77);
        assert_true(reg(m, VTD_CCMD) == (gran << VTD_CCMD_CIRG_SHIFT |
                                         (uint64_t)VTD_GRAN_GLOBAL << VTD_CCMD_CAIG_SHIFT | 77));
        assert_true(atomic_load(vtd_generation(m->vtd)) > before);

        before = atomic_load(vtd_generation(m->vtd));
        vtd_reg_write(m->vtd, VTD_IVA, 8, 0x1234567000 | VTD_IVA_IH | 3);
        vtd_reg_write(m->vtd, VTD_IOTLB, 8,
                      VTD_IOTLB_IVT | gran << VTD_IOTLB_IIRG_SHIFT | VTD_IOTLB_DRAIN);
        assert_int_equal(reg(m, VTD_IOTLB) >> VTD_IOTLB_IAIG_SHIFT & 3, VTD_GRAN_GLOBAL);
        assert_false(reg(m, VTD_IOTLB) & VTD_IOTLB_IVT);
        assert_true(atomic_load(vtd_generation(m->vtd)) > before);
    }
    // The reserved granularity does nothing, and says so; a write without the command bit as well.
    before = atomic_load(vtd_generation(m->vtd));
    vtd_reg_write(m->vtd, VTD_CCMD, 8, VTD_CCMD_ICC);
    vtd_reg_write(m->vtd, VTD_IOTLB, 8, VTD_IOTLB_IVT);
    assert_int_equal(reg(m, VTD_CCMD), 0);
    assert_int_equal(reg(m, VTD_IOTLB), 0);
    vtd_reg_write(m->vtd, VTD_IOTLB, 8, (uint64_t)VTD_GRAN_GLOBAL << VTD_IOTLB_IIRG_SHIFT);
    assert_int_equal(atomic_load(vtd_generation(m->vtd)), before);
    // By halves, as a 32-bit kernel does it: the command is in the upper one.
    reg32_set(m, VTD_IOTLB, 0);
    reg32_set(m, VTD_IOTLB + 4, (uint32_t)(VTD_IOTLB_IVT >> 32 | 1u << 28));
    assert_false(reg(m, VTD_IOTLB) & VTD_IOTLB_IVT);
    assert_true(atomic_load(vtd_generation(m->vtd)) > before);
}

// --- The invalidation queue -----------------------------------------------------------------

#define DESC_IOTLB_GLOBAL (VTD_INV_IOTLB | VTD_GRAN_GLOBAL << VTD_INV_GRAN_SHIFT)

static void queue_on(struct machine *m, unsigned size_code)
{
    vtd_reg_write(m->vtd, VTD_IQT, 8, 0);
    vtd_reg_write(m->vtd, VTD_IQA, 8, QUEUE_AT | size_code);
    reg32_set(m, VTD_GCMD, VTD_GCMD_QIE);
    assert_int_equal(reg32(m, VTD_GSTS) & VTD_GSTS_QIES, VTD_GSTS_QIES);
}

static void desc_put(struct machine *m, unsigned i, uint64_t lo, uint64_t hi)
{
    put64(m, QUEUE_AT + i * 16, lo);
    put64(m, QUEUE_AT + i * 16 + 8, hi);
}

static uint64_t desc_wait(uint32_t data, uint64_t flags)
{
    return VTD_INV_WAIT | flags | (uint64_t)data << VTD_INV_WAIT_DATA_SHIFT;
}

static void tail_set(struct machine *m, unsigned i)
{
    vtd_reg_write(m->vtd, VTD_IQT, 8, i * 16ull);
}

static unsigned head(struct machine *m)
{
    return (unsigned)reg(m, VTD_IQH) / 16;
}

static void test_queue_runs_and_reports(void **state)
{
    struct machine *m = *state;
    uint64_t before = atomic_load(vtd_generation(m->vtd));

    queue_on(m, 0);
    desc_put(m, 0, VTD_INV_CONTEXT | VTD_GRAN_GLOBAL << VTD_INV_GRAN_SHIFT, 0);
    desc_put(m, 1, DESC_IOTLB_GLOBAL | VTD_INV_IOTLB_DR | VTD_INV_IOTLB_DW, 0);
    desc_put(m, 2, desc_wait(0xdeadbeef, VTD_INV_WAIT_SW | VTD_INV_WAIT_FN), STATUS_AT);
    tail_set(m, 2);
    assert_int_equal(head(m), 2);
    assert_int_equal(le32_get(m->mem + STATUS_AT), 0);
    assert_true(atomic_load(vtd_generation(m->vtd)) >= before + 2);
    tail_set(m, 3);
    assert_int_equal(head(m), 3);
    assert_int_equal(le32_get(m->mem + STATUS_AT), 0xdeadbeef);
    assert_int_equal(le32_get(m->mem + STATUS_AT + 4), 0);
    // All selective forms, with all their fields in use.
    desc_put(m, 3, VTD_INV_CONTEXT | 3u << 4 | 77u << 16 | 0x10ull << 32 | 3ull << 48, 0);
    desc_put(m, 4, VTD_INV_IOTLB | 2u << 4 | 77u << 16, 0);
    desc_put(m, 5, VTD_INV_IOTLB | 3u << 4 | 77u << 16, IOVA | VTD_IVA_IH | VTD_MAMV);
    desc_put(m, 6, VTD_INV_CONTEXT | 2u << 4 | 77u << 16, 0);
    before = atomic_load(vtd_generation(m->vtd));
    tail_set(m, 7);
    assert_int_equal(head(m), 7);
    assert_int_equal(atomic_load(vtd_generation(m->vtd)), before + 4);
    assert_int_equal(reg32(m, VTD_FSTS), 0);
    assert_int_equal(m->msg_count, 0);
    // Off: the head goes back to 0, and a tail does nothing.
    reg32_set(m, VTD_GCMD, 0);
    assert_int_equal(head(m), 0);
    tail_set(m, 3);
    assert_int_equal(head(m), 0);
    assert_int_equal(atomic_load(vtd_generation(m->vtd)), before + 4);
}

static void test_queue_wraps(void **state)
{
    struct machine *m = *state;

    for (unsigned size_code = 0; size_code <= 2; size_code += 2) {
        unsigned count = 256u << size_code;

        for (unsigned i = 0; i < count; i++)
            desc_put(m, i, desc_wait(i, VTD_INV_WAIT_SW), 0x40000);
        reg32_set(m, VTD_GCMD, 0);
        queue_on(m, size_code);
        tail_set(m, count - 1);
        assert_int_equal(head(m), count - 1);
        assert_int_equal(le32_get(m->mem + 0x40000), count - 2);
        tail_set(m, 0);
        assert_int_equal(head(m), 0);
        assert_int_equal(le32_get(m->mem + 0x40000), count - 1);
        tail_set(m, 2);
        tail_set(m, 1); // all the way round
        assert_int_equal(head(m), 1);
        assert_int_equal(le32_get(m->mem + 0x40000), 0);
    }
    assert_int_equal(reg32(m, VTD_FSTS), 0);
}

static void test_queue_wait_interrupt(void **state)
{
    struct machine *m = *state;

    queue_on(m, 0);
    reg32_set(m, VTD_IEDATA, 0x4041);
    reg32_set(m, VTD_IEADDR, 0xfee02000);
    reg32_set(m, VTD_IEUADDR, 0x5);
    for (unsigned i = 0; i < 6; i++)
        desc_put(m, i, desc_wait(0, VTD_INV_WAIT_IF), 0);
    // Masked: pending, and gone again when software serves the cause itself.
    tail_set(m, 1);
    assert_int_equal(reg32(m, VTD_ICS), VTD_ICS_IWC);
    assert_int_equal(reg32(m, VTD_IECTL), VTD_EVENT_IM | VTD_EVENT_IP);
    reg32_set(m, VTD_ICS, VTD_ICS_IWC);
    assert_int_equal(reg32(m, VTD_ICS), 0);
    assert_int_equal(reg32(m, VTD_IECTL), VTD_EVENT_IM);
    reg32_set(m, VTD_IECTL, 0);
    assert_int_equal(m->msg_count, 0);
    // Unmasked: one message until it is served.
    tail_set(m, 2);
    assert_int_equal(m->msg_count, 1);
    assert_true(m->msg_addr == 0x5fee02000);
    assert_int_equal(m->msg_data, 0x4041);
    tail_set(m, 3);
    assert_int_equal(m->msg_count, 1);
    reg32_set(m, VTD_ICS, VTD_ICS_IWC);
    // Pending while masked, sent when unmasked, once.
    reg32_set(m, VTD_IECTL, VTD_EVENT_IM);
    tail_set(m, 4);
    assert_int_equal(m->msg_count, 1);
    reg32_set(m, VTD_IECTL, 0);
    assert_int_equal(m->msg_count, 2);
    assert_int_equal(reg32(m, VTD_IECTL), 0);
    reg32_set(m, VTD_IECTL, 0);
    assert_int_equal(m->msg_count, 2);
    // IP is not software's to set.
    reg32_set(m, VTD_IECTL, VTD_EVENT_IM | VTD_EVENT_IP);
    assert_int_equal(reg32(m, VTD_IECTL), VTD_EVENT_IM);
}

static void test_queue_errors_stop_and_resume(void **state)
{
    struct machine *m = *state;
    static const struct {
        uint64_t lo, hi;
        unsigned reason;
    } bad[] = {
        {0, 0, VTD_IQERCD_TYPE},
        {3, 0, VTD_IQERCD_TYPE}, // device TLB: not supported
        {4, 0, VTD_IQERCD_TYPE}, // interrupt entry cache: not supported
        {15, 0, VTD_IQERCD_TYPE},
        {VTD_INV_CONTEXT, 0, VTD_IQERCD_RESERVED},
        {VTD_INV_CONTEXT | 1u << 4 | 1u << 6, 0, VTD_IQERCD_RESERVED},
        {VTD_INV_CONTEXT | 1u << 4 | 1ull << 50, 0, VTD_IQERCD_RESERVED},
        {VTD_INV_CONTEXT | 1u << 4, 1, VTD_IQERCD_RESERVED},
        {VTD_INV_IOTLB, 0, VTD_IQERCD_RESERVED},
        {VTD_INV_IOTLB | 1u << 4 | 1u << 8, 0, VTD_IQERCD_RESERVED},
        {VTD_INV_IOTLB | 1u << 4 | 1u << 9, 0, VTD_IQERCD_RESERVED}, // extended type
        {VTD_INV_IOTLB | 1u << 4 | 1ull << 63, 0, VTD_IQERCD_RESERVED},
        {VTD_INV_IOTLB | 3u << 4, 1u << 7, VTD_IQERCD_RESERVED},
        {VTD_INV_IOTLB | 3u << 4, 1u << 11, VTD_IQERCD_RESERVED},
        {VTD_INV_IOTLB | 3u << 4, VTD_MAMV + 1, VTD_IQERCD_RESERVED},
        {VTD_INV_WAIT | 1u << 7, 0, VTD_IQERCD_RESERVED},
        {VTD_INV_WAIT | VTD_INV_WAIT_SW, STATUS_AT + 1, VTD_IQERCD_RESERVED},
        {VTD_INV_WAIT | VTD_INV_WAIT_SW, STATUS_AT + 2, VTD_IQERCD_RESERVED},
    };

    queue_on(m, 0);
    reg32_set(m, VTD_FECTL, 0);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        desc_put(m, i, bad[i].lo, bad[i].hi);
        desc_put(m, i + 1, desc_wait(i + 1, VTD_INV_WAIT_SW), STATUS_AT);
        tail_set(m, i + 1);
        assert_int_equal(head(m), i);
        assert_int_equal(reg32(m, VTD_FSTS), VTD_FSTS_IQE);
        assert_int_equal(reg(m, VTD_IQERCD), bad[i].reason);
        assert_int_equal(m->msg_count, 2 * i + 1);
        // It stays where it is, whatever the tail does.
        tail_set(m, i + 2);
        assert_int_equal(head(m), i);
        assert_int_equal(m->msg_count, 2 * i + 1);
        // Cleared without a repair, the same error again.
        reg32_set(m, VTD_FSTS, VTD_FSTS_IQE);
        assert_int_equal(reg32(m, VTD_FSTS), VTD_FSTS_IQE);
        assert_int_equal(m->msg_count, 2 * i + 2);
        // As Linux does it: the bad descriptor is replaced by a wait, then the error is cleared.
        tail_set(m, i + 1);
        desc_put(m, i, desc_wait(1000 + i, VTD_INV_WAIT_SW), STATUS_AT);
        reg32_set(m, VTD_FSTS, VTD_FSTS_IQE);
        assert_int_equal(reg32(m, VTD_FSTS), 0);
        assert_int_equal(reg(m, VTD_IQERCD), 0);
        assert_int_equal(head(m), i + 1);
        assert_int_equal(le32_get(m->mem + STATUS_AT), 1000 + i);
    }
}

static void test_queue_outside_memory(void **state)
{
    struct machine *m = *state;

    // The tail outside the queue; the last valid one is fine.
    queue_on(m, 0);
    vtd_reg_write(m->vtd, VTD_IQT, 8, 256 * 16);
    assert_int_equal(reg32(m, VTD_FSTS), VTD_FSTS_IQE);
    assert_int_equal(reg(m, VTD_IQERCD), VTD_IQERCD_TAIL);
    tail_set(m, 0);
    reg32_set(m, VTD_FSTS, VTD_FSTS_IQE);
    assert_int_equal(reg32(m, VTD_FSTS), 0);
    vtd_reg_write(m->vtd, VTD_IQT, 8, UINT64_MAX);
    assert_int_equal(reg32(m, VTD_FSTS), VTD_FSTS_IQE);
    assert_int_equal(reg(m, VTD_IQT), 0x7fff0);
    reg32_set(m, VTD_GCMD, 0);
    tail_set(m, 0);
    reg32_set(m, VTD_FSTS, VTD_FSTS_IQE);

    // Half of the queue is memory.
    for (unsigned i = 0; i < 256; i++) {
        put64(m, MEM_LEN - PAGE + i * 16, desc_wait(i, VTD_INV_WAIT_SW));
        put64(m, MEM_LEN - PAGE + i * 16 + 8, STATUS_AT);
    }
    vtd_reg_write(m->vtd, VTD_IQA, 8, (MEM_LEN - PAGE) | 1);
    reg32_set(m, VTD_GCMD, VTD_GCMD_QIE);
    tail_set(m, 300);
    assert_int_equal(head(m), 256);
    assert_int_equal(le32_get(m->mem + STATUS_AT), 255);
    assert_int_equal(reg(m, VTD_IQERCD), VTD_IQERCD_FETCH);
    // The queue shrinks under its own head.
    vtd_reg_write(m->vtd, VTD_IQA, 8, QUEUE_AT);
    tail_set(m, 5);
    reg32_set(m, VTD_FSTS, VTD_FSTS_IQE);
    assert_int_equal(reg32(m, VTD_FSTS), VTD_FSTS_IQE);
    assert_int_equal(reg(m, VTD_IQERCD), VTD_IQERCD_TAIL);
    // Nowhere at all.
    reg32_set(m, VTD_GCMD, 0);
    reg32_set(m, VTD_FSTS, VTD_FSTS_IQE);
    vtd_reg_write(m->vtd, VTD_IQA, 8, UINT64_MAX);
    reg32_set(m, VTD_GCMD, VTD_GCMD_QIE); // tail is 5: runs at once
    assert_int_equal(reg(m, VTD_IQERCD), VTD_IQERCD_FETCH);
}

// A status that goes to no memory, or to read-only memory, is lost; the queue goes on.
static void test_queue_status_outside_memory(void **state)
{
    struct machine *m = *state;
    struct mem_region *rom = machine_add(m, 16 * MIB, PAGE, MEM_READ);

    queue_on(m, 0);
    desc_put(m, 0, desc_wait(1, VTD_INV_WAIT_SW), MEM_LEN);
    desc_put(m, 1, desc_wait(2, VTD_INV_WAIT_SW), ~3ull);
    desc_put(m, 2, desc_wait(3, VTD_INV_WAIT_SW), 16 * MIB);
    desc_put(m, 3, desc_wait(4, VTD_INV_WAIT_SW), STATUS_AT);
    tail_set(m, 4);
    assert_int_equal(head(m), 4);
    assert_int_equal(le32_get(mem_region_host(rom)), 0);
    assert_int_equal(le32_get(m->mem + STATUS_AT), 4);
    assert_int_equal(reg32(m, VTD_FSTS), 0);
}

// --- Workers --------------------------------------------------------------------------------

struct worker {
    struct machine *m;
    struct gate_worker gate;
    pthread_t thread;
    rid_t rid;
    _Atomic unsigned long writes;
    unsigned long refused;
};

static atomic_bool workers_stop;

static void *worker_run(void *arg)
{
    struct worker *w = arg;
    struct dma_port *port = port_make(w->m);
    uint64_t word = 0x5a5a5a5a5a5a5a5a;

    port->rid = w->rid;
    gate_enter(&w->gate);
    while (!atomic_load(&workers_stop)) {
        for (unsigned i = 0; i < 32; i++)
            if (dma_write(port, (iova_t){IOVA + i * 64 + w->rid.v % 8 * 8}, &word, sizeof word))
                w->refused++;
        atomic_fetch_add(&w->writes, 1);
        gate_poll(&w->gate);
    }
    gate_leave(&w->gate);
    free(port);
    return NULL;
}

static void wait_for_writes(struct worker *w)
{
    unsigned long from = atomic_load(&w->writes);

    while (atomic_load(&w->writes) < from + 2)
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

// The promise of an invalidation: once its wait descriptor has reported, no worker touches the page
// that was unmapped before it. Two workers write to one IOVA without pause.
static void test_no_worker_uses_a_translation_after_invalidation(void **state)
{
    struct machine *m = *state;
    static const uint8_t zeros[4096];
    struct worker workers[2] = {{.m = m, .rid = RID}, {.m = m, .rid = {RID.v + 1}}};
    bool held = true;
    unsigned round;

    machine_tables(m, 4);
    memcpy(m->mem + CTX_ENTRY + 16, m->mem + CTX_ENTRY, 16);
    vtd_reg_write(m->vtd, VTD_RTADDR, 8, ROOT_AT);
    queue_on(m, 0);
    reg32_set(m, VTD_GCMD, VTD_GCMD_QIE | VTD_GCMD_SRTP);
    reg32_set(m, VTD_GCMD, VTD_GCMD_QIE | VTD_GCMD_TE);
    atomic_store(&workers_stop, false);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(gate_worker_add(&m->gate, &workers[i].gate), 0);
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
    }
    // Nothing is asserted while the workers run: they would outlive the machine.
    for (round = 0; round < 100 && held; round++) {
        uint64_t old = DATA_AT + (round & 1) * PAGE, new = DATA_AT + (~round & 1) * PAGE;
        unsigned at = 2 * round % 256;

        wait_for_writes(&workers[round & 1]);
        // As the OS would, while the hardware may look at it.
        __atomic_store_n((uint64_t *)(m->mem + TABLE1_AT + 8 * 8), htole64(new | RW),
                         __ATOMIC_RELAXED);
        desc_put(m, at, VTD_INV_IOTLB | 3u << 4 | 77u << 16, IOVA);
        desc_put(m, at + 1, desc_wait(round + 1, VTD_INV_WAIT_SW), STATUS_AT);
        tail_set(m, (at + 2) % 256);
        held = le32_get(m->mem + STATUS_AT) == round + 1;
        // The page is free: whoever owns it now finds nothing but their own.
        memset(m->mem + old, 0, PAGE);
        wait_for_writes(&workers[~round & 1]);
        held = held && !memcmp(m->mem + old, zeros, PAGE);
    }
    atomic_store(&workers_stop, true);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(workers[i].thread, NULL);
        gate_worker_remove(&m->gate, &workers[i].gate);
        assert_int_equal(workers[i].refused, 0);
    }
    assert_true(held);
    assert_int_equal(round, 100);
}

// Reads and clears the log as Linux does: from FRI on, in the order of the ring, up to the first
// record that is free. False where a record is not what the two workers can have caused.
static bool log_drain(struct machine *m, unsigned seen[2])
{
    uint32_t status = reg32(m, VTD_FSTS);
    unsigned i = status >> VTD_FSTS_FRI_SHIFT & 0xff;
    bool good = true;

    if (!(status & VTD_FSTS_PPF))
        return true;
    for (;; i = (i + 1) % VTD_FAULT_RECORDS) {
        uint32_t at = VTD_FRCD_LO + i * VTD_FAULT_RECORD_LEN;
        uint64_t hi = reg(m, at + 8), lo = reg(m, at); // F first: then the rest is there
        unsigned worker = VTD_FRCD_SID(hi) - RID.v;

        if (!(hi & VTD_FRCD_F))
            break;
        good = good && worker < 2 && lo == IOVA && VTD_FRCD_REASON(hi) == VTD_FAULT_WRITE_DENIED;
        if (worker < 2)
            seen[worker]++;
        reg32_set(m, at + 12, (uint32_t)(VTD_FRCD_F >> 32));
    }
    reg32_set(m, VTD_FSTS, VTD_FSTS_PFO);
    return good;
}

// Faults from two workers while software reads and clears the log: records are whole, and no fault
// is left behind without an event to come.
static void test_faults_while_the_log_is_read(void **state)
{
    struct machine *m = *state;
    struct worker workers[2] = {{.m = m, .rid = RID}, {.m = m, .rid = {RID.v + 1}}};
    uint64_t end_ns = clock_now_ns() + 20 * NS_PER_S;
    unsigned seen[2] = {0}, events = 0;
    bool good = true;

    machine_tables(m, 4);
    put64(m, TABLE1_AT + 8 * 8, 0);
    memcpy(m->mem + CTX_ENTRY + 16, m->mem + CTX_ENTRY, 16);
    machine_on(m);
    reg32_set(m, VTD_FECTL, 0);
    atomic_store(&workers_stop, false);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(gate_worker_add(&m->gate, &workers[i].gate), 0);
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
    }
    // By interrupt only: an event that is lost ends this.
    while (clock_now_ns() < end_ns && good && (seen[0] < 50 || seen[1] < 50)) {
        if (m->msg_count != events) {
            events = m->msg_count;
            good = log_drain(m, seen);
        } else {
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        }
    }
    atomic_store(&workers_stop, true);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(workers[i].thread, NULL);
        gate_worker_remove(&m->gate, &workers[i].gate);
    }
    assert_true(good);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(workers[i].refused >= seen[i]);
        assert_true(seen[i] >= 50);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_MACHINE(test_bad_cycles),
        WITH_MACHINE(test_widths),
        WITH_MACHINE(test_unsupported_commands),
        WITH_MACHINE(test_port_sees_changes_after_invalidation),
        WITH_MACHINE(test_context_cache),
        WITH_MACHINE(test_register_invalidation),
        WITH_MACHINE(test_queue_runs_and_reports),
        WITH_MACHINE(test_queue_wraps),
        WITH_MACHINE(test_queue_wait_interrupt),
        WITH_MACHINE(test_queue_errors_stop_and_resume),
        WITH_MACHINE(test_queue_outside_memory),
        WITH_MACHINE(test_queue_status_outside_memory),
        WITH_MACHINE(test_no_worker_uses_a_translation_after_invalidation),
        WITH_MACHINE(test_faults_while_the_log_is_read),
    };

    return cmocka_run_group_tests_name("vtd", tests, NULL, NULL);
}

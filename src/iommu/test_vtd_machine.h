// SPDX-License-Identifier: BSD-3-Clause
// For the tests: a small machine with a remapping unit. 8 MiB of memory at address 0 and tables in
// it at fixed places, as an OS would have them; one function, 00:02.0.
#ifndef VIREO_IOMMU_TEST_VTD_MACHINE_H
#define VIREO_IOMMU_TEST_VTD_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bits.h"
#include "base/le.h"
#include "iommu/vtd.h"
#include "iommu/vtd_format.h"

#define PAGE 0x1000ull
#define MIB  0x100000ull
#define GIB  0x40000000ull

#define MEM_LEN   (8 * MIB)
#define ROOT_AT   0x1000ull
#define CTX_AT    0x2000ull
#define TABLE4_AT 0x3000ull
#define TABLE3_AT 0x4000ull
#define TABLE2_AT 0x5000ull
#define TABLE1_AT 0x6000ull
#define QUEUE_AT  0x8000ull
#define STATUS_AT 0x9008ull
#define DATA_AT   0x200000ull
#define RID       (rid_make(0, 2, 0))
#define CTX_ENTRY (CTX_AT + 0x10 * 16)
// One address whose indices are different on each level.
#define IOVA ((5ull << 39) | (6ull << 30) | (7ull << 21) | (8ull << 12))
#define RW   (VTD_SS_R | VTD_SS_W)

struct machine {
    struct gate gate;
    struct mem_space *space;
    struct mem_region *region;
    uint8_t *mem;
    struct vtd *vtd;
    _Atomic unsigned msg_count;
    _Atomic uint64_t msg_addr;
    _Atomic uint32_t msg_data;
};

static inline void machine_msi(void *ctx, uint64_t addr, uint32_t data)
{
    struct machine *m = ctx;

    m->msg_addr = addr;
    m->msg_data = data;
    m->msg_count++;
}

static inline struct mem_region *machine_add(struct machine *m, uint64_t hpa, uint64_t len,
                                             unsigned prot)
{
    struct mem_map_request req = {.len_bytes = len, .prot = prot, .hpa = {hpa}};
    struct mem_region *region;

    req.fd = memfd_create("vireo-test", MFD_CLOEXEC);
    assert_true(req.fd >= 0);
    assert_int_equal(ftruncate(req.fd, (off_t)len), 0);
    gate_close(&m->gate);
    assert_int_equal(mem_region_map(m->space, &req, -1, &region), 0);
    gate_open(&m->gate);
    close(req.fd);
    return region;
}

static inline int machine_setup(void **state)
{
    struct machine *m = calloc(1, sizeof *m);

    gate_init(&m->gate);
    if (mem_space_create(&m->gate, &m->space))
        return -1;
    m->region = machine_add(m, 0, MEM_LEN, MEM_READ | MEM_WRITE);
    m->mem = mem_region_host(m->region);
    if (vtd_create(m->space, &m->gate, machine_msi, m, &m->vtd))
        return -1;
    *state = m;
    return 0;
}

static inline int machine_teardown(void **state)
{
    struct machine *m = *state;

    vtd_destroy(m->vtd);
    gate_close(&m->gate);
    mem_space_destroy(m->space);
    gate_open(&m->gate);
    gate_destroy(&m->gate);
    free(m);
    return 0;
}

static inline void put64(struct machine *m, uint64_t at, uint64_t value)
{
    le64_put(m->mem + at, value);
}

static inline uint64_t reg(struct machine *m, uint32_t offset)
{
    return vtd_reg_read(m->vtd, offset, 8);
}

static inline uint32_t reg32(struct machine *m, uint32_t offset)
{
    return (uint32_t)vtd_reg_read(m->vtd, offset, 4);
}

static inline void reg32_set(struct machine *m, uint32_t offset, uint32_t value)
{
    vtd_reg_write(m->vtd, offset, 4, value);
}

// Tables: IOVA's page is at DATA_AT, read and write. `levels` 3 or 4.
static inline void machine_tables(struct machine *m, unsigned levels)
{
    put64(m, ROOT_AT, CTX_AT | VTD_ROOT_P);
    put64(m, CTX_ENTRY, (levels == 4 ? TABLE4_AT : TABLE3_AT) | VTD_CONTEXT_LO_P);
    put64(m, CTX_ENTRY + 8,
          (levels == 4 ? VTD_CONTEXT_AW_48 : VTD_CONTEXT_AW_39) | 77ull
                                                                      << VTD_CONTEXT_HI_DID_SHIFT);
    put64(m, TABLE4_AT + 5 * 8, TABLE3_AT | RW);
    put64(m, TABLE3_AT + 6 * 8, TABLE2_AT | RW);
    put64(m, TABLE2_AT + 7 * 8, TABLE1_AT | RW);
    put64(m, TABLE1_AT + 8 * 8, DATA_AT | RW);
}

static inline void machine_on(struct machine *m)
{
    vtd_reg_write(m->vtd, VTD_RTADDR, 8, ROOT_AT);
    reg32_set(m, VTD_GCMD, VTD_GCMD_SRTP);
    assert_int_equal(reg32(m, VTD_GSTS), VTD_GSTS_RTPS);
    reg32_set(m, VTD_GCMD, VTD_GCMD_TE);
    assert_int_equal(reg32(m, VTD_GSTS), VTD_GSTS_RTPS | VTD_GSTS_TES);
}

// Caches are not what most tests are about.
static inline void machine_flush(struct machine *m)
{
    vtd_reg_write(m->vtd, VTD_IOTLB, 8,
                  VTD_IOTLB_IVT | (uint64_t)VTD_GRAN_GLOBAL << VTD_IOTLB_IIRG_SHIFT);
    assert_false(reg(m, VTD_IOTLB) & VTD_IOTLB_IVT);
}

static inline int machine_translate(struct machine *m, uint64_t iova, enum dma_access access,
                                    struct dma_translation *out)
{
    return vtd_dma_ops()->translate(m->vtd, RID, (iova_t){iova}, access, out);
}

// The pending fault that FRI points to: its reason; cleared as Linux does it. 0 where none is.
static inline unsigned machine_take_fault(struct machine *m, uint64_t *lo, uint64_t *hi)
{
    uint32_t status = reg32(m, VTD_FSTS);
    uint32_t at = VTD_FRCD_LO + (status >> VTD_FSTS_FRI_SHIFT & 0xff) * VTD_FAULT_RECORD_LEN;

    if (!(status & VTD_FSTS_PPF))
        return 0;
    *lo = reg(m, at);
    *hi = reg(m, at + 8);
    assert_true(*hi & VTD_FRCD_F);
    reg32_set(m, at + 12, (uint32_t)(VTD_FRCD_F >> 32));
    assert_false(reg(m, at + 8) & VTD_FRCD_F);
    return VTD_FRCD_REASON(*hi);
}

// Translation of one access, what it gives: the host address of `iova`, or the fault.
struct outcome {
    unsigned reason; // 0: allowed
    struct dma_translation t;
    uint8_t *host;
};

static inline struct outcome machine_try(struct machine *m, uint64_t iova, enum dma_access access)
{
    struct outcome o = {0};
    uint64_t lo = 0, hi = 0;
    int ret;

    machine_flush(m);
    ret = machine_translate(m, iova, access, &o.t);
    o.reason = machine_take_fault(m, &lo, &hi);
    if (!ret) {
        assert_int_equal(o.reason, 0);
        assert_int_equal(o.t.iova, bits_align_down(iova, 1ull << o.t.shift));
        o.host = o.t.host + (iova - o.t.iova);
        return o;
    }
    assert_int_equal(ret, -EFAULT);
    if (o.reason) {
        assert_int_equal(VTD_FRCD_SID(hi), RID.v);
        assert_int_equal(lo, bits_align_down(iova, PAGE));
        assert_int_equal(!!(hi & VTD_FRCD_READ), access == DMA_READ);
    }
    return o;
}

#define WITH_MACHINE(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)

#endif

// SPDX-License-Identifier: BSD-3-Clause
// The remapping unit under any sequence of register cycles and any contents of the tables and the
// invalidation queue. Whatever they say, a translation lies in memory and is what was asked for,
// and the unit neither crashes nor hangs. The bytes of the input are a program of small steps.
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

#include "base/le.h"
#include "iommu/vtd.h"
#include "iommu/vtd_format.h"

#define PAGES     64u
#define MEM_LEN   (PAGES * 4096ull)
#define MEM_AT    0x200000ull // a 2 MiB boundary
#define STEPS_MAX 512u
// Behind the memory, a page that can only be read; then nothing.
#define ROM_AT (MEM_AT + MEM_LEN)

struct input {
    const uint8_t *at;
    size_t left;
};

static uint64_t take(struct input *in, unsigned bytes)
{
    uint64_t v = 0;

    for (; bytes && in->left; bytes--, in->left--)
        v = v << 8 | *in->at++;
    return v;
}

static uint8_t *region_add(struct mem_space *space, uint64_t hpa, uint64_t len, unsigned prot)
{
    struct mem_map_request req = {.len_bytes = len, .prot = prot, .hpa = {hpa}};
    struct mem_region *region;

    req.fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (req.fd < 0 || ftruncate(req.fd, (off_t)len) || mem_region_map(space, &req, -1, &region))
        abort();
    close(req.fd);
    return mem_region_host(region);
}

static void msi(void *ctx, uint64_t addr, uint32_t data)
{
    (void)ctx;
    (void)addr;
    (void)data;
}

// An address that is likely to mean something: a page of the memory, with some low bits.
static uint64_t table_value(struct input *in)
{
    uint64_t page = take(in, 1), flags = take(in, 2);

    return (MEM_AT + page % (PAGES + 4) * 4096) | (flags & 0xfff) | (flags >> 12) << 60;
}

static void check(const struct dma_translation *t, uint64_t iova, enum dma_access access,
                  const uint8_t *mem, const uint8_t *rom)
{
    uint64_t size = 1ull << t->shift;
    bool in_mem = t->host >= mem && t->host + size <= mem + MEM_LEN;
    bool in_rom = t->host >= rom && t->host + size <= rom + 4096;

    assert(t->shift == DMA_SMALL_SHIFT || t->shift == DMA_LARGE_SHIFT);
    assert(t->iova == (iova & ~(size - 1)));
    assert(t->access & access);
    assert(in_mem || (in_rom && t->access == DMA_READ));
    assert(iova - DMA_INTERRUPT_BASE >= DMA_INTERRUPT_LEN);
}

static void step(struct input *in, struct vtd *vtd, uint8_t *mem, const uint8_t *rom)
{
    static const uint32_t favourites[] = {VTD_GCMD, VTD_RTADDR, VTD_CCMD,  VTD_FSTS,
                                          VTD_IQT,  VTD_IQA,    VTD_IOTLB, VTD_FECTL};
    struct dma_translation t;
    enum dma_access access;
    uint64_t a, b;

    switch (take(in, 1) % 8) {
    case 0: // any cycle
        a = take(in, 2);
        b = take(in, 1);
        vtd_reg_write(vtd, (uint32_t)a, (unsigned)b % 16, take(in, 8));
        break;
    case 1: // a likely one
        a = favourites[take(in, 1) % 8];
        vtd_reg_write(vtd, (uint32_t)a, take(in, 1) & 1 ? 8 : 4, take(in, 4) << 32 | take(in, 4));
        break;
    case 2: // tables and queue where the memory is
        a = table_value(in);
        vtd_reg_write(vtd, take(in, 1) & 1 ? VTD_RTADDR : VTD_IQA, 8, a);
        vtd_reg_write(vtd, VTD_GCMD, 4, VTD_GCMD_SRTP | VTD_GCMD_TE | VTD_GCMD_QIE);
        break;
    case 3:
        a = take(in, 3) % (MEM_LEN / 8) * 8;
        le64_put(mem + a, take(in, 8));
        break;
    case 4:
        a = take(in, 3) % (MEM_LEN / 8) * 8;
        le64_put(mem + a, table_value(in));
        break;
    case 5: // a whole page of one entry
        a = take(in, 1) % PAGES * 4096;
        b = table_value(in);
        for (unsigned i = 0; i < VTD_TABLE_ENTRIES; i++)
            le64_put(mem + a + i * 8, b);
        break;
    case 6:
        a = take(in, 2);
        (void)vtd_reg_read(vtd, (uint32_t)a, take(in, 1) % 16);
        break;
    default:
        a = take(in, 1);
        b = take(in, a & 2 ? 8 : 6);
        access = a & 1 ? DMA_READ : DMA_WRITE;
        if (!vtd_dma_ops()->translate(vtd, (rid_t){(uint16_t)(a >> 2)}, (iova_t){b}, access, &t))
            check(&t, b, access, mem, rom);
        break;
    }
}

// Good tables to start from, as an OS has them: every requester has the same domain, every entry of
// a table leads to the next one, the last to pages of memory. The input spoils them.
static void tables_put(uint8_t *mem)
{
    for (unsigned i = 0; i < VTD_TABLE_ENTRIES; i++) {
        le64_put(mem + i * 8, i & 1 ? 0 : (MEM_AT + 4096) | VTD_ROOT_P);
        le64_put(mem + 4096 + i * 8, i & 1 ? VTD_CONTEXT_AW_48 : (MEM_AT + 2 * 4096) | 1);
        for (unsigned level = 4; level > 1; level--)
            le64_put(mem + (6 - level) * 4096 + i * 8,
                     (MEM_AT + (7 - level) * 4096) | VTD_SS_R | VTD_SS_W);
        le64_put(mem + 5 * 4096 + i * 8, (MEM_AT + i % PAGES * 4096) | VTD_SS_R | VTD_SS_W);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct mem_space *space;
    struct gate gate;
    struct vtd *vtd;
    uint8_t *mem, *rom;

    gate_init(&gate);
    gate_close(&gate);
    if (mem_space_create(&gate, &space))
        abort();
    mem = region_add(space, MEM_AT, MEM_LEN, MEM_READ | MEM_WRITE);
    rom = region_add(space, ROM_AT, 4096, MEM_READ);
    gate_open(&gate);
    if (vtd_create(space, &gate, msi, NULL, &vtd))
        abort();
    tables_put(mem);
    vtd_reg_write(vtd, VTD_RTADDR, 8, MEM_AT);
    vtd_reg_write(vtd, VTD_GCMD, 4, VTD_GCMD_SRTP | VTD_GCMD_TE);
    for (unsigned i = 0; i < STEPS_MAX && in.left; i++)
        step(&in, vtd, mem, rom);
    vtd_destroy(vtd);
    gate_close(&gate);
    mem_space_destroy(space);
    gate_open(&gate);
    gate_destroy(&gate);
    return 0;
}

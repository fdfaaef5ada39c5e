// SPDX-License-Identifier: BSD-3-Clause
#include "pci/access.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"
#include "mem/gate.h"
#include "pci/state.h"

#define SRIOV_DEPENDENCY_LINK 0x12u

int pci_segment_create(struct gate *gate, const struct dma_port_ops *dma_ops, void *dma_ctx,
                       const dma_generation_t *generation, struct pci_segment **out)
{
    struct pci_segment *seg = calloc(1, sizeof *seg);

    if (!seg)
        return -ENOMEM;
    seg->gate = gate;
    seg->dma_ops = dma_ops;
    seg->dma_ctx = dma_ctx;
    seg->generation = generation;
    *out = seg;
    return 0;
}

// VFs go without a word to the device model: it is what is being taken down.
static void detach(struct pci_function *fn)
{
    struct pci_segment *seg = fn->seg;
    struct pci_function **link = &seg->functions;

    for (unsigned n = 0; fn->sriov && n < fn->sriov->info.total_vfs; n++) {
        struct pci_function *vf = fn->sriov->vfs[n];

        if (seg->by_rid[vf->rid.v] == vf)
            seg->by_rid[vf->rid.v] = NULL;
        vf->seg = NULL;
    }
    while (*link != fn)
        link = &(*link)->next;
    *link = fn->next;
    seg->by_rid[fn->rid.v] = NULL;
    fn->seg = NULL;
}

void pci_segment_destroy(struct pci_segment *seg)
{
    if (!seg)
        return;
    while (seg->functions)
        detach(seg->functions);
    free(seg);
}

void pci_function_destroy(struct pci_function *fn)
{
    if (!fn)
        return;
    assert(!fn->pf || !fn->seg); // a VF goes after its PF, or after the segment
    if (fn->seg)
        detach(fn);
    if (fn->sriov)
        free(fn->sriov->vfs);
    free(fn->sriov);
    pci_irq_free(&fn->irq);
    free(fn->vpd);
    free(fn->name);
    free(fn);
}

// The MSI-X table and pending bits lie in a memory BAR: a device model that says otherwise is
// wrong.
static void check_msix(const struct pci_function *fn)
{
    const struct pci_irq *irq = &fn->irq;
    const struct pci_bar *bar = &fn->bars[irq->bar];
    uint64_t pba_len = ((uint64_t)irq->vector_count + 63) / 64 * 8;

    if (!irq->vector_count)
        return;
    assert(bar->present && bar->kind != PCI_BAR_IO);
    assert(bits_range_within(irq->table_offset, irq->vector_count * 16, 0, bar->size_bytes));
    assert(bits_range_within(irq->pba_offset, pba_len, 0, bar->size_bytes));
}

int pci_segment_add(struct pci_segment *seg, rid_t rid, struct pci_function *fn)
{
    struct pci_function **link = &seg->functions;

    assert(!fn->seg && !fn->pf);
    if (seg->by_rid[rid.v])
        return -EEXIST;
    check_msix(fn);
    while (*link && (*link)->rid.v < rid.v)
        link = &(*link)->next;
    fn->next = *link;
    *link = fn;
    seg->by_rid[rid.v] = fn;
    fn->seg = seg;
    fn->rid = rid;
    pci_function_dma_init(fn, rid, seg);
    // Link Control 2 is function 0's to speak for the link (PCIe §7.5.3.19).
    if (fn->cap_offset[PCI_OWNER_EXPRESS] && (rid.v & 7))
        pci_space_define16(&fn->space, fn->cap_offset[PCI_OWNER_EXPRESS] + 0x30, 0, 0, 0);
    if (!fn->sriov)
        return 0;
    // VFs depend on no other PF than their own (PCIe §9.3.3.8).
    fn->space.bytes[fn->sriov->offset + SRIOV_DEPENDENCY_LINK] = (uint8_t)rid.v;
    fn->space.reset[fn->sriov->offset + SRIOV_DEPENDENCY_LINK] = (uint8_t)rid.v;
    pci_sriov_refresh(fn);
    for (unsigned n = 0; n < fn->sriov->info.total_vfs; n++) {
        struct pci_function *vf = fn->sriov->vfs[n];

        check_msix(vf);
        vf->seg = seg;
        vf->rid = pci_sriov_rid(fn, n);
        pci_function_dma_init(vf, vf->rid, seg);
    }
    return 0;
}

static bool config_access_ok(uint32_t offset, unsigned len)
{
    return (len == 1 || len == 2 || len == 4) && offset % len == 0 &&
           bits_range_within(offset, len, 0, PCI_CONFIG_LEN_BYTES);
}

uint32_t pci_config_read(struct pci_segment *seg, rid_t rid, uint32_t offset, unsigned len)
{
    struct pci_function *fn = seg->by_rid[rid.v];

    if (!fn || !config_access_ok(offset, len))
        return len == 1 ? 0xff : len == 2 ? 0xffff : 0xffffffff;
    return pci_function_config_read(fn, offset, len);
}

void pci_config_write(struct pci_segment *seg, rid_t rid, uint32_t offset, unsigned len,
                      uint32_t value)
{
    struct pci_function *fn = seg->by_rid[rid.v];

    if (fn && config_access_ok(offset, len))
        pci_function_config_write(fn, offset, len, value);
}

bool pci_function_exists(struct pci_segment *seg, rid_t rid)
{
    return seg->by_rid[rid.v];
}

void pci_bus_reset(struct pci_segment *seg, uint8_t bus)
{
    gate_close(seg->gate);
    // All VFs first: what is reset is the device, with ARI Capable Hierarchy for all its PFs.
    for (struct pci_function *fn = seg->functions; fn; fn = fn->next) {
        if (fn->rid.v >> 8 == bus && fn->sriov && fn->sriov->num_vfs)
            pci_sriov_disable(fn);
    }
    for (struct pci_function *fn = seg->functions; fn; fn = fn->next) {
        if (fn->rid.v >> 8 == bus)
            pci_function_reset(fn, PCI_RESET_CONVENTIONAL);
    }
    gate_open(seg->gate);
}

struct target {
    struct pci_function *fn;
    unsigned bar;
    uint64_t offset;
};

static bool route_bars(struct pci_function *fn, uint64_t addr, struct target *out)
{
    uint8_t command = fn->space.bytes[PCI_HDR_COMMAND];

    if (!(command & PCI_CMD_MEMORY) || !pci_function_in_d0(fn))
        return false;
    for (unsigned i = 0; i < PCI_BARS; i++) {
        const struct pci_bar *bar = &fn->bars[i];

        if (!bar->present || bar->kind == PCI_BAR_IO ||
            !bits_range_within(addr, 1, pci_function_bar_base(fn, i), bar->size_bytes))
            continue;
        *out = (struct target){fn, i, addr - pci_function_bar_base(fn, i)};
        return true;
    }
    return false;
}

// Between the end of a VF's BAR and the next System Page nobody answers.
static bool route_vf_bars(struct pci_function *fn, uint64_t addr, struct target *out)
{
    if (!pci_sriov_memory_enabled(fn))
        return false;
    for (unsigned i = 0; i < PCI_BARS; i++) {
        uint64_t size = fn->sriov->info.vf_bar[i].size_bytes, base, stride, n;

        if (!size)
            continue;
        base = pci_sriov_bar_base(fn, i);
        stride = pci_sriov_bar_stride(fn, i);
        if (addr < base)
            continue;
        n = (addr - base) / stride;
        if (n >= fn->sriov->num_vfs || (addr - base) % stride >= size)
            continue;
        *out = (struct target){fn->sriov->vfs[n], i, (addr - base) % stride};
        return true;
    }
    return false;
}

// BARs and accesses are aligned to their size, so an access lies in the BAR as a whole where its
// first byte does.
static bool route(struct pci_segment *seg, uint64_t addr, unsigned len, struct target *out)
{
    if (!bits_is_pow2(len) || len > 8 || addr % len)
        return false;
    for (struct pci_function *fn = seg->functions; fn; fn = fn->next) {
        if (route_bars(fn, addr, out) || route_vf_bars(fn, addr, out))
            return true;
    }
    return false;
}

uint64_t pci_mem_read(struct pci_segment *seg, uint64_t bus_addr, unsigned len)
{
    struct target to;

    if (!route(seg, bus_addr, len, &to))
        return len < 8 ? BIT64(len * 8) - 1 : ~0ull;
    return pci_function_bar_read(to.fn, to.bar, to.offset, len);
}

void pci_mem_write(struct pci_segment *seg, uint64_t bus_addr, unsigned len, uint64_t value)
{
    struct target to;

    if (route(seg, bus_addr, len, &to))
        pci_function_bar_write(to.fn, to.bar, to.offset, len, value);
}

int pci_backing_get(struct pci_segment *seg, rid_t rid, unsigned bar, uint64_t offset,
                    struct pci_backing *out)
{
    struct pci_function *fn = seg->by_rid[rid.v];

    if (!fn || bar >= PCI_BARS || !fn->bars[bar].present || !fn->ops.backing)
        return -ENOENT;
    return fn->ops.backing(fn->dev, bar, offset, out);
}

void pci_segment_set_interrupt_sink(struct pci_segment *seg, const struct pci_interrupt_sink *sink)
{
    gate_close(seg->gate);
    seg->sink = sink ? *sink : (struct pci_interrupt_sink){0};
    gate_open(seg->gate);
}

int pci_dma_counts_get(struct pci_segment *seg, rid_t rid, struct pci_dma_counts *out)
{
    struct pci_function *fn = seg->by_rid[rid.v];

    if (!fn)
        return -ENOENT;
    gate_close(seg->gate);
    *out = (struct pci_dma_counts){0};
    for (unsigned i = 0; i < PCI_DMA_PORTS; i++) {
        out->faults += fn->dma[i].fault_count;
        out->blocked += fn->dma[i].blocked_count;
        out->walks += fn->dma[i].miss_count;
    }
    gate_open(seg->gate);
    return 0;
}

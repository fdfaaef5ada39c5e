// SPDX-License-Identifier: BSD-3-Clause
// The SR-IOV capability (PCIe §9.3.3): VFs come and go with VF Enable, at the RIDs and addresses
// that the capability says.
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/le.h"
#include "base/log.h"
#include "mem/gate.h"
#include "pci/state.h"

#define EXTCAP_ID_SRIOV 0x0010u

enum { // offsets in the capability
    SRIOV_CAPABILITIES = 0x04,
    SRIOV_CONTROL = 0x08, // and status, the upper half
    SRIOV_INITIAL_VFS = 0x0c,
    SRIOV_TOTAL_VFS = 0x0e,
    SRIOV_NUM_VFS = 0x10, // and Function Dependency Link
    SRIOV_FIRST_VF_OFFSET = 0x14,
    SRIOV_VF_STRIDE = 0x16,
    SRIOV_VF_DEVICE_ID = 0x1a,
    SRIOV_SUPPORTED_PAGE_SIZES = 0x1c,
    SRIOV_SYSTEM_PAGE_SIZE = 0x20,
    SRIOV_VF_BAR0 = 0x24,
    SRIOV_LEN = 0x40,
};

#define CONTROL_VF_ENABLE 0x01u
#define CONTROL_VF_MSE    0x08u
#define CONTROL_ARI       0x10u
// ARI Capable Hierarchy Preserved: no reset but a conventional one clears the bit.
#define CAPABILITIES_ARI_PRESERVED 0x02u

static uint8_t *cap_at(const struct pci_function *fn, unsigned rel)
{
    return (uint8_t *)fn->space.bytes + fn->sriov->offset + rel;
}

static bool bar_is_64(enum pci_bar_kind kind)
{
    return kind == PCI_BAR_MEM64 || kind == PCI_BAR_MEM64_PREFETCH;
}

// Functions of one device share bus and device number. The lowest of them that has the capability
// has ARI Capable Hierarchy for all.
static bool same_device(const struct pci_function *a, const struct pci_function *b)
{
    return a->rid.v >> 3 == b->rid.v >> 3;
}

static struct pci_function *ari_holder(const struct pci_function *fn)
{
    for (struct pci_function *other = fn->seg->functions; other; other = other->next) {
        if (other->sriov && same_device(other, fn))
            return other; // the list is in RID order
    }
    return NULL;
}

static bool any_vfs_in_device(const struct pci_function *fn)
{
    for (const struct pci_function *other = fn->seg->functions; other; other = other->next) {
        if (other->sriov && other->sriov->num_vfs && same_device(other, fn))
            return true;
    }
    return false;
}

uint64_t pci_sriov_bar_stride(const struct pci_function *fn, unsigned bar)
{
    uint64_t page = (uint64_t)le32_get(cap_at(fn, SRIOV_SYSTEM_PAGE_SIZE)) << 12;
    uint64_t size = fn->sriov->info.vf_bar[bar].size_bytes;

    return size < page ? page : size;
}

uint64_t pci_sriov_bar_base(const struct pci_function *fn, unsigned bar)
{
    uint64_t base = le32_get(cap_at(fn, SRIOV_VF_BAR0 + 4 * bar)) & ~0xfu;

    if (bar_is_64(fn->sriov->info.vf_bar[bar].kind))
        base |= (uint64_t)le32_get(cap_at(fn, SRIOV_VF_BAR0 + 4 * bar + 4)) << 32;
    return base;
}

bool pci_sriov_memory_enabled(const struct pci_function *fn)
{
    return fn->sriov && fn->sriov->num_vfs && (*cap_at(fn, SRIOV_CONTROL) & CONTROL_VF_MSE) &&
           pci_function_in_d0(fn);
}

rid_t pci_sriov_rid(const struct pci_function *fn, unsigned n)
{
    unsigned offset = le16_get(cap_at(fn, SRIOV_FIRST_VF_OFFSET));

    // 16 bits, carries dropped (PCIe §9.3.3.9).
    return (rid_t){(uint16_t)(fn->rid.v + offset + n * fn->sriov->info.vf_stride)};
}

// VF BARs size as the System Page Size rounds them (PCIe §9.3.3.14).
static void refresh_bars(struct pci_function *fn)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        uint8_t *mask = fn->space.write_mask + fn->sriov->offset + SRIOV_VF_BAR0 + 4 * i;
        uint8_t *value = cap_at(fn, SRIOV_VF_BAR0 + 4 * i);
        enum pci_bar_kind kind = fn->sriov->info.vf_bar[i].kind;
        uint64_t bits;

        if (!fn->sriov->info.vf_bar[i].size_bytes)
            continue;
        bits = ~(pci_sriov_bar_stride(fn, i) - 1);
        le32_put(mask, (uint32_t)bits);
        le32_put(value, le32_get(value) & ((uint32_t)bits | 0xf));
        if (bar_is_64(kind)) {
            le32_put(mask + 4, (uint32_t)(bits >> 32));
            le32_put(value + 4, le32_get(value + 4) & (uint32_t)(bits >> 32));
        }
    }
}

void pci_sriov_refresh(struct pci_function *fn)
{
    struct pci_function *holder = ari_holder(fn);
    bool ari = *cap_at(holder, SRIOV_CONTROL) & CONTROL_ARI;

    refresh_bars(fn);
    for (struct pci_function *pf = fn->seg->functions; pf; pf = pf->next) {
        const struct pci_sriov_info *info;
        uint8_t *mask;

        if (!pf->sriov || !same_device(pf, fn))
            continue;
        info = &pf->sriov->info;
        mask = pf->space.write_mask + pf->sriov->offset + SRIOV_CONTROL;
        if (pf == holder) {
            *mask |= CONTROL_ARI;
        } else {
            *mask &= (uint8_t)~CONTROL_ARI;
            *cap_at(pf, SRIOV_CONTROL) &= (uint8_t)~CONTROL_ARI;
        }
        le16_put(cap_at(pf, SRIOV_FIRST_VF_OFFSET),
                 ari ? info->first_vf_offset_ari : info->first_vf_offset_no_ari);
    }
}

static void vf_start(struct pci_function *pf, unsigned n)
{
    struct pci_function *vf = pf->sriov->vfs[n];

    vf->rid = pci_sriov_rid(pf, n);
    pci_space_reset(&vf->space, false);
    pci_irq_reset(&vf->irq);
    pci_function_dma_init(vf, vf->rid, pf->seg);
}

static void vf_stop(struct pci_function *vf)
{
    vf->seg->by_rid[vf->rid.v] = NULL;
    pci_function_reset(vf, PCI_RESET_VF_DISABLE);
}

static void enable(struct pci_function *fn)
{
    struct pci_sriov *sriov = fn->sriov;
    unsigned num_vfs = le16_get(cap_at(fn, SRIOV_NUM_VFS));

    gate_close(fn->seg->gate);
    for (unsigned n = 0; n < num_vfs; n++)
        vf_start(fn, n);
    sriov->num_vfs = num_vfs;
    if (fn->ops.vfs_changed)
        fn->ops.vfs_changed(fn->dev, true, num_vfs);
    for (unsigned n = 0; n < num_vfs; n++)
        fn->seg->by_rid[sriov->vfs[n]->rid.v] = sriov->vfs[n];
    gate_open(fn->seg->gate);
    log_limited(LOG_LEVEL_INFO, "pci: %s " RID_FMT ": %u VFs enabled", fn->name, RID_ARGS(fn->rid),
                num_vfs);
}

void pci_sriov_disable(struct pci_function *fn)
{
    struct pci_sriov *sriov = fn->sriov;
    unsigned num_vfs = sriov->num_vfs;

    assert(gate_is_closed(fn->seg->gate));
    sriov->num_vfs = 0;
    *cap_at(fn, SRIOV_CONTROL) &= (uint8_t)~CONTROL_VF_ENABLE;
    for (unsigned n = 0; n < num_vfs; n++)
        vf_stop(sriov->vfs[n]);
    if (fn->ops.vfs_changed)
        fn->ops.vfs_changed(fn->dev, false, 0);
    log_limited(LOG_LEVEL_INFO, "pci: %s " RID_FMT ": VFs disabled", fn->name, RID_ARGS(fn->rid));
}

// NumVFs makes sense, and nobody else answers at the VFs' RIDs.
static bool may_enable(const struct pci_function *fn)
{
    unsigned num_vfs = le16_get(cap_at(fn, SRIOV_NUM_VFS));

    if (num_vfs < 1 || num_vfs > fn->sriov->info.total_vfs) {
        log_warn_limited("pci: %s " RID_FMT ": VF Enable refused: NumVFs is %u, not 1 to %u",
                         fn->name, RID_ARGS(fn->rid), num_vfs, fn->sriov->info.total_vfs);
        return false;
    }
    for (unsigned n = 0; n < num_vfs; n++) {
        rid_t rid = pci_sriov_rid(fn, n);

        if (fn->seg->by_rid[rid.v]) {
            log_warn_limited(
                "pci: %s " RID_FMT ": VF Enable refused: " RID_FMT " of VF %u is taken by %s",
                fn->name, RID_ARGS(fn->rid), RID_ARGS(rid), n, fn->seg->by_rid[rid.v]->name);
            return false;
        }
    }
    return true;
}

uint32_t pci_sriov_filter(struct pci_function *fn, const struct pci_config_cycle *cycle)
{
    bool enabled = fn->sriov->num_vfs;

    switch (cycle->rel) {
    case SRIOV_CONTROL:
        // VFs that exist may not move (PCIe §9.3.3.3.5).
        if (any_vfs_in_device(fn))
            return (cycle->new & ~CONTROL_ARI) | (cycle->old & CONTROL_ARI);
        return cycle->new;
    case SRIOV_NUM_VFS:
        return enabled ? cycle->old : cycle->new;
    case SRIOV_SYSTEM_PAGE_SIZE:
        // Exactly one bit, and a supported one (§9.3.3.13).
        if (enabled || !bits_is_pow2(cycle->new) ||
            !(cycle->new & fn->sriov->info.supported_page_sizes))
            return cycle->old;
        return cycle->new;
    default:
        return cycle->new;
    }
}

void pci_sriov_written(struct pci_function *fn, const struct pci_config_cycle *cycle)
{
    uint32_t changed = cycle->old ^ cycle->new;

    if (cycle->rel == SRIOV_SYSTEM_PAGE_SIZE && changed)
        refresh_bars(fn);
    if (cycle->rel != SRIOV_CONTROL)
        return;
    // First: VF Enable in the same write goes by the new offset.
    if (changed & CONTROL_ARI)
        pci_sriov_refresh(fn);
    if (!(changed & CONTROL_VF_ENABLE))
        return;
    if (!(cycle->new &CONTROL_VF_ENABLE)) {
        gate_close(fn->seg->gate);
        pci_sriov_disable(fn);
        gate_open(fn->seg->gate);
    } else if (may_enable(fn)) {
        enable(fn);
    } else {
        *cap_at(fn, SRIOV_CONTROL) &= (uint8_t)~CONTROL_VF_ENABLE;
    }
}

static void bars_init(struct pci_function *fn, unsigned offset, const struct pci_sriov_info *info)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        enum pci_bar_kind kind = info->vf_bar[i].kind;
        uint64_t size = info->vf_bar[i].size_bytes;

        if (!size)
            continue;
        assert(bits_is_pow2(size) && size >= 16 && kind != PCI_BAR_IO);
        assert(bar_is_64(kind) || size <= 0x80000000);
        assert(!bar_is_64(kind) || (i + 1 < PCI_BARS && !info->vf_bar[i + 1].size_bytes));
        pci_space_define32(&fn->space, offset + SRIOV_VF_BAR0 + 4 * i,
                           (bar_is_64(kind) ? 4u : 0u) | (kind == PCI_BAR_MEM64_PREFETCH ? 8u : 0u),
                           0, 0);
    }
}

static void vfs_init(struct pci_function *fn)
{
    const struct pci_sriov_info *info = &fn->sriov->info;

    for (unsigned n = 0; n < info->total_vfs; n++) {
        struct pci_function *vf = fn->sriov->vfs[n];

        assert(!vf->pf && !vf->seg && !vf->sriov);
        pci_function_make_vf(vf);
        vf->pf = fn;
        for (unsigned i = 0; i < PCI_BARS; i++)
            vf->bars[i] = (struct pci_bar){info->vf_bar[i].size_bytes != 0, info->vf_bar[i].kind,
                                           info->vf_bar[i].size_bytes};
    }
}

int pci_extcap_add_sriov(struct pci_function *fn, unsigned offset,
                         const struct pci_sriov_info *info, struct pci_function **vfs)
{
    struct pci_space *space = &fn->space;
    struct pci_sriov *sriov = calloc(1, sizeof *sriov);
    struct pci_function **copy = calloc(info->total_vfs, sizeof *copy);

    if (!sriov || !copy) {
        free(sriov);
        free(copy);
        return -ENOMEM;
    }
    // Every function supports 4 KiB, and it is the System Page Size after reset.
    assert(info->total_vfs && (info->supported_page_sizes & 1) && info->vf_stride && !fn->pf);
    memcpy(copy, vfs, info->total_vfs * sizeof *copy);
    *sriov = (struct pci_sriov){.info = *info, .vfs = copy, .offset = offset};
    fn->sriov = sriov;

    pci_extcap_claim(fn, offset, EXTCAP_ID_SRIOV, 1, SRIOV_LEN, PCI_OWNER_SRIOV);
    pci_space_define32(space, offset + SRIOV_CAPABILITIES, CAPABILITIES_ARI_PRESERVED, 0, 0);
    pci_space_define32(space, offset + SRIOV_CONTROL, 0, CONTROL_VF_ENABLE | CONTROL_VF_MSE, 0);
    pci_space_keep32(space, offset + SRIOV_CONTROL, CONTROL_ARI);
    pci_space_define16(space, offset + SRIOV_INITIAL_VFS, info->total_vfs, 0, 0);
    pci_space_define16(space, offset + SRIOV_TOTAL_VFS, info->total_vfs, 0, 0);
    // Function Dependency Link: the function itself, set when its RID is known.
    pci_space_define32(space, offset + SRIOV_NUM_VFS, 0, 0x0000ffff, 0);
    pci_space_define16(space, offset + SRIOV_FIRST_VF_OFFSET, info->first_vf_offset_no_ari, 0, 0);
    pci_space_define16(space, offset + SRIOV_VF_STRIDE, info->vf_stride, 0, 0);
    pci_space_define16(space, offset + SRIOV_VF_DEVICE_ID, info->vf_device_id, 0, 0);
    pci_space_define32(space, offset + SRIOV_SUPPORTED_PAGE_SIZES, info->supported_page_sizes, 0,
                       0);
    pci_space_define32(space, offset + SRIOV_SYSTEM_PAGE_SIZE, 1, info->supported_page_sizes, 0);
    bars_init(fn, offset, info);
    vfs_init(fn);
    return 0;
}

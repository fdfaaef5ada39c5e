// SPDX-License-Identifier: BSD-3-Clause
#include "pci/function.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/le.h"
#include "base/log.h"
#include "mem/gate.h"
#include "pci/state.h"

#define PM_STATUS      0x04u // PMCSR, in the capability
#define PM_STATE_MASK  0x0003u
#define PM_D3HOT       0x0003u
#define PM_PME_CONTEXT 0x8100u // PME_Status, PME_En

#define MSI_PENDING       0x14u
#define EXPRESS_DEVCTL    0x08u
#define DEVCTL_FLR        BIT(15)
#define BAR_FLAG_IO       0x1u
#define BAR_FLAG_64       0x4u
#define BAR_FLAG_PREFETCH 0x8u

int pci_function_create(const struct pci_function_info *info, const struct pci_function_ops *ops,
                        void *dev, struct pci_function **out)
{
    struct pci_function *fn = calloc(1, sizeof *fn);
    struct pci_space *space;

    if (!fn)
        return -ENOMEM;
    fn->name = strdup(info->name ? info->name : "");
    if (!fn->name) {
        free(fn);
        return -ENOMEM;
    }
    fn->ops = *ops;
    fn->dev = dev;
    space = &fn->space;
    pci_space_claim(space, 0, 0x40, PCI_OWNER_HEADER);
    pci_space_define32(space, 0x00, info->vendor_id | (uint32_t)info->device_id << 16, 0, 0);
    // Parity Error Response, SERR# Enable, Interrupt Disable; BARs add their enables.
    pci_space_define16(space, PCI_HDR_COMMAND, 0, PCI_CMD_MASTER | 0x0540, 0);
    pci_space_define16(space, 0x06, 0, 0, 0xf900);
    pci_space_define32(space, 0x08, info->class_code << 8 | info->revision_id, 0, 0);
    pci_space_define32(space, 0x0c, info->cache_line_dwords | (info->multifunction ? BIT(23) : 0),
                       0x000000ff, 0);
    pci_space_define32(space, 0x2c, info->subsystem_vendor_id | (uint32_t)info->subsystem_id << 16,
                       0, 0);
    // Deviation: Interrupt Pin is 0, INTx is not modelled.
    pci_space_define32(space, 0x3c, 0, 0x000000ff, 0);
    *out = fn;
    return 0;
}

rid_t pci_function_rid(const struct pci_function *fn)
{
    return fn->rid;
}

const char *pci_function_name(const struct pci_function *fn)
{
    return fn->name;
}

struct dma_port *pci_function_dma(struct pci_function *fn)
{
    return fn->dma;
}

void pci_function_dma_init(struct pci_function *fn, rid_t rid, const struct pci_segment *seg)
{
    for (unsigned i = 0; i < PCI_DMA_PORTS; i++)
        dma_port_init(&fn->dma[i], rid, seg->dma_ops, seg->dma_ctx, seg->generation);
}

static bool bar_is_64(enum pci_bar_kind kind)
{
    return kind == PCI_BAR_MEM64 || kind == PCI_BAR_MEM64_PREFETCH;
}

static bool bar_is_free(const struct pci_function *fn, unsigned index)
{
    if (index >= PCI_BARS || fn->bars[index].present)
        return false;
    return !index || !fn->bars[index - 1].present || !bar_is_64(fn->bars[index - 1].kind);
}

int pci_bar_init(struct pci_function *fn, unsigned index, enum pci_bar_kind kind,
                 uint64_t size_bytes)
{
    unsigned at = PCI_HDR_BAR0 + 4 * index;
    uint32_t flags = kind == PCI_BAR_IO ? BAR_FLAG_IO : bar_is_64(kind) ? BAR_FLAG_64 : 0;
    uint16_t command = le16_get(fn->space.write_mask + PCI_HDR_COMMAND);

    assert(!fn->seg && !fn->pf);
    if (!bits_is_pow2(size_bytes) || size_bytes < (kind == PCI_BAR_IO ? 4 : 16) ||
        (!bar_is_64(kind) && size_bytes > 0x80000000))
        return -EINVAL;
    if (!bar_is_free(fn, index) || (bar_is_64(kind) && !bar_is_free(fn, index + 1)))
        return -EINVAL;
    if (kind == PCI_BAR_MEM64_PREFETCH)
        flags |= BAR_FLAG_PREFETCH;
    pci_space_define32(&fn->space, at, flags, (uint32_t) ~(size_bytes - 1), 0);
    if (bar_is_64(kind))
        pci_space_define32(&fn->space, at + 4, 0, (uint32_t)(~(size_bytes - 1) >> 32), 0);
    command |= kind == PCI_BAR_IO ? PCI_CMD_IO : PCI_CMD_MEMORY;
    le16_put(fn->space.write_mask + PCI_HDR_COMMAND, command);
    fn->bars[index] = (struct pci_bar){true, kind, size_bytes};
    return 0;
}

uint64_t pci_function_bar_base(const struct pci_function *fn, unsigned bar)
{
    const uint8_t *at = fn->space.bytes + PCI_HDR_BAR0 + 4 * bar;
    enum pci_bar_kind kind = fn->bars[bar].kind;
    uint64_t base = le32_get(at) & (kind == PCI_BAR_IO ? ~0x3u : ~0xfu);

    if (bar_is_64(kind))
        base |= (uint64_t)le32_get(at + 4) << 32;
    return base;
}

// VF n's accesses are those of its PF's device: they stop with the PF's power.
bool pci_function_in_d0(const struct pci_function *fn)
{
    unsigned pm = fn->cap_offset[PCI_OWNER_PM];

    if (pm && (le16_get(fn->space.bytes + pm + PM_STATUS) & PM_STATE_MASK))
        return false;
    return !fn->pf || pci_function_in_d0(fn->pf);
}

void pci_function_update_master(struct pci_function *fn)
{
    bool master =
        (le16_get(fn->space.bytes + PCI_HDR_COMMAND) & PCI_CMD_MASTER) && pci_function_in_d0(fn);

    if (master != fn->dma[0].bus_master) {
        gate_close(fn->seg->gate);
        for (unsigned i = 0; i < PCI_DMA_PORTS; i++)
            fn->dma[i].bus_master = master;
        if (fn->ops.bus_master_changed)
            fn->ops.bus_master_changed(fn->dev, master);
        gate_open(fn->seg->gate);
        pci_irq_set_state(fn, PCI_IRQ_CAN_SEND, master ? PCI_IRQ_CAN_SEND : 0);
    }
    for (unsigned n = 0; fn->sriov && n < fn->sriov->num_vfs; n++)
        pci_function_update_master(fn->sriov->vfs[n]);
}

void pci_function_reset(struct pci_function *fn, enum pci_reset kind)
{
    gate_close(fn->seg->gate);
    if (fn->sriov && fn->sriov->num_vfs)
        pci_sriov_disable(fn);
    pci_space_reset(&fn->space, kind == PCI_RESET_FLR);
    if (fn->sriov)
        pci_sriov_refresh(fn);
    pci_irq_reset(&fn->irq);
    pci_function_update_master(fn);
    for (unsigned i = 0; i < PCI_DMA_PORTS; i++)
        dma_port_flush(&fn->dma[i]);
    if (fn->ops.reset)
        fn->ops.reset(fn->dev, kind);
    gate_open(fn->seg->gate);
}

static void header_written(struct pci_function *fn, const struct pci_config_cycle *cycle)
{
    if (cycle->rel == PCI_HDR_COMMAND && ((cycle->old ^ cycle->new) & PCI_CMD_MASTER))
        pci_function_update_master(fn);
}

static uint32_t pm_filter(struct pci_function *fn, const struct pci_config_cycle *cycle)
{
    uint32_t state = cycle->new &PM_STATE_MASK;

    (void)fn;
    // D1 and D2 are not supported: the write completes, the state stays (PCI PM 1.2 §3.2.4).
    if (cycle->rel == PM_STATUS && state != 0 && state != PM_D3HOT)
        return (cycle->new & ~PM_STATE_MASK) | (cycle->old & PM_STATE_MASK);
    return cycle->new;
}

static void pm_written(struct pci_function *fn, const struct pci_config_cycle *cycle)
{
    uint8_t *status = fn->space.bytes + fn->cap_offset[PCI_OWNER_PM] + PM_STATUS;
    uint16_t pme = cycle->new &PM_PME_CONTEXT;

    if (cycle->rel != PM_STATUS || !((cycle->old ^ cycle->new) & PM_STATE_MASK))
        return;
    if ((cycle->new &PM_STATE_MASK) == PM_D3HOT) {
        pci_function_update_master(fn);
        return;
    }
    // D3hot to D0 without No_Soft_Reset: all is lost but the PME context (PCI PM 1.2 §5.4.1).
    pci_function_reset(fn, PCI_RESET_FLR);
    le16_put(status, (uint16_t)((le16_get(status) & ~PM_PME_CONTEXT) | pme));
}

static void msi_written(struct pci_function *fn, const struct pci_config_cycle *cycle)
{
    const uint8_t *cap = fn->space.bytes + fn->cap_offset[PCI_OWNER_MSI];

    (void)cycle;
    pci_irq_set_msi(fn, le32_get(cap + 4) | (uint64_t)le32_get(cap + 8) << 32, le32_get(cap + 12),
                    le32_get(cap + 16) & 1);
    pci_irq_set_state(fn, PCI_IRQ_MSI_ENABLED, cap[2] & 1 ? PCI_IRQ_MSI_ENABLED : 0);
}

static void msix_written(struct pci_function *fn, const struct pci_config_cycle *cycle)
{
    uint32_t state = (cycle->new &BIT(31) ? PCI_IRQ_MSIX_ENABLED : 0) |
                     (cycle->new &BIT(30) ? PCI_IRQ_MSIX_MASKED : 0);

    if (cycle->rel == 0)
        pci_irq_set_state(fn, PCI_IRQ_MSIX_ENABLED | PCI_IRQ_MSIX_MASKED, state);
}

static void express_written(struct pci_function *fn, const struct pci_config_cycle *cycle)
{
    if (cycle->rel == EXPRESS_DEVCTL && (cycle->written & DEVCTL_FLR))
        pci_function_reset(fn, PCI_RESET_FLR);
}

// What a write to a capability does beyond its masks.
static const struct {
    // What the dword becomes, given what the masks made of it.
    uint32_t (*filter)(struct pci_function *fn, const struct pci_config_cycle *cycle);
    // It has become so.
    void (*written)(struct pci_function *fn, const struct pci_config_cycle *cycle);
} owners[PCI_OWNER_COUNT] = {
    [PCI_OWNER_HEADER] = {NULL, header_written},
    [PCI_OWNER_PM] = {pm_filter, pm_written},
    [PCI_OWNER_MSI] = {NULL, msi_written},
    [PCI_OWNER_MSIX] = {NULL, msix_written},
    [PCI_OWNER_EXPRESS] = {NULL, express_written},
    [PCI_OWNER_VPD] = {NULL, pci_vpd_written},
    [PCI_OWNER_SRIOV] = {pci_sriov_filter, pci_sriov_written},
};

static uint32_t dword_read(struct pci_function *fn, unsigned offset)
{
    if (fn->space.owner[offset / 4] == PCI_OWNER_MSI &&
        offset == fn->cap_offset[PCI_OWNER_MSI] + MSI_PENDING)
        return atomic_load(&fn->irq.msi_pending);
    return le32_get(fn->space.bytes + offset);
}

uint32_t pci_function_config_read(struct pci_function *fn, uint32_t offset, unsigned len)
{
    uint32_t value = dword_read(fn, offset & ~3u) >> (offset % 4 * 8);

    return len == 4 ? value : value & (BIT(len * 8) - 1);
}

void pci_function_config_write(struct pci_function *fn, uint32_t offset, unsigned len,
                               uint32_t value)
{
    unsigned at = offset & ~3u, shift = offset % 4 * 8;
    unsigned owner = fn->space.owner[at / 4];
    struct pci_config_cycle cycle = {
        .rel = at - fn->cap_offset[owner],
        .old = le32_get(fn->space.bytes + at),
        .enable = (len == 4 ? ~0u : BIT(len * 8) - 1) << shift,
    };

    cycle.written = (value << shift) & cycle.enable;
    cycle.new = pci_space_merge(&fn->space, at, cycle.written, cycle.enable);
    if (owners[owner].filter)
        cycle.new = owners[owner].filter(fn, &cycle);
    le32_put(fn->space.bytes + at, cycle.new);
    if (owners[owner].written)
        owners[owner].written(fn, &cycle);
}

void pci_function_snapshot(struct pci_function *fn, uint8_t out[PCI_CONFIG_LEN_BYTES])
{
    for (unsigned at = 0; at < PCI_CONFIG_LEN_BYTES; at += 4)
        le32_put(out + at, dword_read(fn, at));
}

static uint64_t all_ones(unsigned len)
{
    return len == 8 ? ~0ull : BIT64(len * 8) - 1;
}

uint64_t pci_function_bar_read(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned len)
{
    if (pci_irq_owns(&fn->irq, bar, offset, len))
        return pci_irq_bar_read(&fn->irq, offset, len);
    return fn->ops.bar_read ? fn->ops.bar_read(fn->dev, bar, offset, len) & all_ones(len) : 0;
}

void pci_function_bar_write(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned len,
                            uint64_t value)
{
    if (pci_irq_owns(&fn->irq, bar, offset, len))
        pci_irq_bar_write(fn, offset, len, value);
    else if (fn->ops.bar_write)
        fn->ops.bar_write(fn->dev, bar, offset, len, value & all_ones(len));
}

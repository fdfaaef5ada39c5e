// SPDX-License-Identifier: BSD-3-Clause
// The card as PCI functions: configuration space at the 82599's exact offsets, BARs, resets.
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "nic/doorbell.h"
#include "nic/nic.h"
#include "nic/port.h"
#include "nic/regs.h"
#include "nic/vfwin.h"

#define SUBSYSTEM_VENDOR_ID 0x8086u
#define SUBSYSTEM_ID        0x0003u // X520-2
#define CACHE_LINE_DWORDS   0x10u
#define BAR_REGISTERS       0u
#define BAR_IO              2u
#define PF_BAR_MSIX         4u
#define VF_BAR_MSIX         3u
#define IO_ADDR             0u // IOADDR and IODATA in the I/O BAR (82599 §8.1)
#define IO_DATA             4u

struct vf_context {
    struct nic_port *port;
    unsigned index;
};

struct nic_card {
    unsigned port_count;
    struct nic_port *port[NIC_PORTS_MAX];
    struct vf_context vf[NIC_PORTS_MAX][NIC_VFS_MAX];
};

struct nic_port *nic_card_port(struct nic_card *card, unsigned index)
{
    return index < card->port_count ? card->port[index] : NULL;
}

// --- cycles -------------------------------------------------------------------------------------

struct window {
    uint32_t (*read)(struct nic_port *port, unsigned vf, uint32_t offset);
    void (*write)(struct nic_port *port, unsigned vf, uint32_t offset, uint32_t value);
};

static const struct window vf_window = {nic_vfwin_read, nic_vfwin_write};

// Registers are 32 bits. A cycle of 64 is two, low half first; one of less than 32 reads the whole
// register and takes its part, and writes nothing: the 82599 does not support those (§8.1).
static uint64_t cycle_read(const struct window *window, struct nic_port *port, unsigned vf,
                           uint64_t offset, unsigned len)
{
    uint32_t at = (uint32_t)offset & ~3u;
    uint32_t low = window->read(port, vf, at);

    if (len == 8)
        return low | (uint64_t)window->read(port, vf, at + 4) << 32;
    if (len == 4)
        return low;
    return low >> 8 * (offset & 3) & (len == 2 ? 0xffff : 0xff);
}

static void cycle_write(const struct window *window, struct nic_port *port, unsigned vf,
                        uint64_t offset, unsigned len, uint64_t value)
{
    if (len < 4) {
        (window == &vf_window ? &port->odd_vf[vf] : &port->odd_pf)->narrow_writes++;
        return;
    }
    window->write(port, vf, (uint32_t)offset, (uint32_t)value);
    if (len == 8)
        window->write(port, vf, (uint32_t)offset + 4, (uint32_t)(value >> 32));
}

static uint32_t pf_read(struct nic_port *port, unsigned vf, uint32_t offset)
{
    (void)vf;
    return nic_regs_read(port, offset);
}

static void pf_write(struct nic_port *port, unsigned vf, uint32_t offset, uint32_t value)
{
    (void)vf;
    nic_regs_write(port, offset, value);
}

static uint32_t io_read(struct nic_port *port, unsigned vf, uint32_t offset)
{
    (void)vf;
    if (offset == IO_ADDR)
        return port->io_addr;
    return offset == IO_DATA ? nic_regs_read(port, port->io_addr) : 0;
}

static void io_write(struct nic_port *port, unsigned vf, uint32_t offset, uint32_t value)
{
    (void)vf;
    if (offset == IO_ADDR)
        port->io_addr = value;
    else if (offset == IO_DATA)
        nic_regs_write(port, port->io_addr, value);
}

static const struct window pf_window = {pf_read, pf_write};
static const struct window io_window = {io_read, io_write};

static uint64_t pf_bar_read(void *dev, unsigned bar, uint64_t offset, unsigned len)
{
    if (bar == PF_BAR_MSIX)
        return 0; // beside the table
    return cycle_read(bar == BAR_IO ? &io_window : &pf_window, dev, 0, offset, len);
}

static void pf_bar_write(void *dev, unsigned bar, uint64_t offset, unsigned len, uint64_t value)
{
    if (bar == PF_BAR_MSIX)
        return;
    cycle_write(bar == BAR_IO ? &io_window : &pf_window, dev, 0, offset, len, value);
}

static uint64_t vf_bar_read(void *dev, unsigned bar, uint64_t offset, unsigned len)
{
    const struct vf_context *vf = dev;

    if (bar != BAR_REGISTERS)
        return 0;
    return cycle_read(&vf_window, vf->port, vf->index, offset, len);
}

static void vf_bar_write(void *dev, unsigned bar, uint64_t offset, unsigned len, uint64_t value)
{
    const struct vf_context *vf = dev;

    if (bar == BAR_REGISTERS)
        cycle_write(&vf_window, vf->port, vf->index, offset, len, value);
}

// --- events -------------------------------------------------------------------------------------

static void pf_reset(void *dev, enum pci_reset kind)
{
    struct nic_port *port = dev;

    (void)kind; // a function level reset and a hot reset leave the same state (82599 §4.2.1)
    port->io_addr = 0;
    nic_port_reset(port, true);
}

static void vf_reset(void *dev, enum pci_reset kind)
{
    const struct vf_context *vf = dev;

    nic_vfwin_reset(vf->port, vf->index, kind != PCI_RESET_VF_DISABLE);
}

static void pf_bus_master_changed(void *dev, bool enabled)
{
    struct nic_port *port = dev;

    if (enabled)
        nic_worker_kick(port->card);
}

static void vf_bus_master_changed(void *dev, bool enabled)
{
    const struct vf_context *vf = dev;

    // What the guest rang before it took the bus away from the VF does not count any more later.
    if (!enabled && vf->port->doorbells[vf->index])
        nic_doorbell_sample(vf->port, vf->index);
    if (enabled)
        nic_worker_kick(vf->port->card);
}

static void pf_vfs_changed(void *dev, bool enabled, unsigned num_vfs)
{
    struct nic_port *port = dev;
    unsigned count = enabled ? num_vfs : 0;

    assert(count <= NIC_VFS_MAX);
    // Queues change hands between the PF and its VFs. Those of VFs that go were reset before they
    // went; those of VFs that come start from reset.
    for (unsigned vf = port->num_vfs; vf < count; vf++)
        nic_vfwin_reset(port, vf, false);
    port->num_vfs = count;
    nic_port_vfs_changed(port);
}

static int vf_backing(void *dev, unsigned bar, uint64_t offset, struct pci_backing *out)
{
    const struct vf_context *vf = dev;
    const struct nic_doorbell_pages *pages = vf->port->doorbells[vf->index];

    if (bar != BAR_REGISTERS || offset > NIC_DOORBELL_BAR_OFFSET || !pages)
        return -ENOENT;
    *out = (struct pci_backing){
        .fd = nic_doorbell_fd(pages),
        .fd_offset = NIC_DOORBELL_BAR_OFFSET,
        .bar_offset = NIC_DOORBELL_BAR_OFFSET,
        .len_bytes = NIC_DOORBELL_LEN_BYTES,
    };
    return 0;
}

static const struct pci_function_ops pf_ops = {
    .bar_read = pf_bar_read,
    .bar_write = pf_bar_write,
    .reset = pf_reset,
    .bus_master_changed = pf_bus_master_changed,
    .vfs_changed = pf_vfs_changed,
};

static const struct pci_function_ops vf_ops = {
    .bar_read = vf_bar_read,
    .bar_write = vf_bar_write,
    .reset = vf_reset,
    .bus_master_changed = vf_bus_master_changed,
    .backing = vf_backing,
};

// --- creation -----------------------------------------------------------------------------------

static int create_vf(struct nic_card *card, struct nic_port *port, unsigned index)
{
    char name[32];
    struct pci_function_info info = {
        .vendor_id = HW_VENDOR_ID,
        .device_id = HW_VF_DEVICE_ID,
        .subsystem_vendor_id = SUBSYSTEM_VENDOR_ID,
        .subsystem_id = SUBSYSTEM_ID,
        .class_code = HW_CLASS_CODE,
        .revision_id = HW_REVISION_ID,
        .name = name,
    };
    struct vf_context *context = &card->vf[port->index][index];
    struct pci_function *fn;
    int ret;

    snprintf(name, sizeof name, "port%u/vf%u", port->index, index);
    *context = (struct vf_context){port, index};
    ret = pci_function_create(&info, &vf_ops, context, &port->vf[index]);
    if (ret)
        return ret;
    fn = port->vf[index];
    ret = pci_cap_add_msix(fn, HW_CAP_MSIX, HW_VF_VECTORS, VF_BAR_MSIX, 0, HW_MSIX_PBA);
    if (ret)
        return ret;
    pci_cap_add_express(fn, HW_CAP_PCIE);
    pci_extcap_add_aer(fn, HW_EXTCAP_AER);
    pci_extcap_add_ari(fn, HW_EXTCAP_ARI, 0);
    port->vf_dma[index] = pci_function_dma(fn);
    nic_intr_init(&port->intr_vf[index], fn, true, index);
    return 0;
}

static int create_pf(struct nic_port *port, const struct nic_card_config *config)
{
    char name[32];
    struct pci_function_info info = {
        .vendor_id = HW_VENDOR_ID,
        .device_id = HW_PF_DEVICE_ID,
        .subsystem_vendor_id = SUBSYSTEM_VENDOR_ID,
        .subsystem_id = SUBSYSTEM_ID,
        .class_code = HW_CLASS_CODE,
        .revision_id = HW_REVISION_ID,
        .multifunction = config->port_count > 1,
        .name = name,
        .cache_line_dwords = CACHE_LINE_DWORDS,
    };
    struct pci_sriov_info sriov = {
        .total_vfs = NIC_VFS_MAX,
        .first_vf_offset_ari = HW_FIRST_VF_OFFSET_ARI,
        .first_vf_offset_no_ari = HW_FIRST_VF_OFFSET_NO_ARI,
        .vf_stride = HW_VF_STRIDE,
        .vf_device_id = HW_VF_DEVICE_ID,
        .supported_page_sizes = HW_VF_PAGE_SIZES,
        .vf_bar = {[BAR_REGISTERS] = {HW_VF_BAR_BYTES, PCI_BAR_MEM64_PREFETCH},
                   [VF_BAR_MSIX] = {HW_VF_BAR_BYTES, PCI_BAR_MEM64_PREFETCH}},
    };
    unsigned next = port->index + 1 < config->port_count ? port->index + 1 : 0;
    int ret;

    snprintf(name, sizeof name, "port%u", port->index);
    ret = pci_function_create(&info, &pf_ops, port, &port->pf);
    if (ret)
        return ret;
    ret = pci_bar_init(port->pf, BAR_REGISTERS, PCI_BAR_MEM64_PREFETCH, HW_PF_BAR0_BYTES);
    if (!ret)
        ret = pci_bar_init(port->pf, BAR_IO, PCI_BAR_IO, HW_PF_IO_BYTES);
    if (!ret)
        ret = pci_bar_init(port->pf, PF_BAR_MSIX, PCI_BAR_MEM64_PREFETCH, HW_PF_MSIX_BYTES);
    if (ret)
        return ret;
    pci_cap_add_pm(port->pf, HW_CAP_PM);
    pci_cap_add_msi(port->pf, HW_CAP_MSI);
    ret = pci_cap_add_msix(port->pf, HW_CAP_MSIX, HW_PF_VECTORS, PF_BAR_MSIX, 0, HW_MSIX_PBA);
    if (ret)
        return ret;
    pci_cap_add_express(port->pf, HW_CAP_PCIE);
    pci_cap_add_vpd(port->pf, HW_CAP_VPD);
    pci_extcap_add_aer(port->pf, HW_EXTCAP_AER);
    pci_extcap_add_dsn(port->pf, HW_EXTCAP_DSN, config->serial);
    pci_extcap_add_ari(port->pf, HW_EXTCAP_ARI, next);
    port->pf_dma = pci_function_dma(port->pf);
    nic_intr_init(&port->intr_pf, port->pf, false, 0);
    return pci_extcap_add_sriov(port->pf, HW_EXTCAP_SRIOV, &sriov, port->vf);
}

static void destroy_port(struct nic_port *port)
{
    // The PF first: it takes its VFs off the segment.
    if (port->pf)
        pci_function_destroy(port->pf);
    for (unsigned vf = 0; vf < NIC_VFS_MAX; vf++) {
        if (port->vf[vf])
            pci_function_destroy(port->vf[vf]);
        if (port->doorbells[vf])
            nic_doorbell_destroy(port->doorbells[vf]);
    }
    free(port);
}

static int create_port(struct nic_card *card, const struct nic_card_config *config, unsigned index,
                       struct gate *gate)
{
    struct nic_port *port = calloc(1, sizeof *port);
    uint8_t macs[NIC_PORTS_MAX][NIC_MAC_LEN];
    int ret = 0;

    if (!port)
        return -ENOMEM;
    card->port[index] = port;
    card->port_count = index + 1;
    port->card = card;
    port->index = index;
    port->gate = gate;
    port->uplink = config->port[index].uplink;
    for (unsigned i = 0; i < NIC_PORTS_MAX; i++)
        memcpy(macs[i], config->port[i < config->port_count ? i : 0].mac, NIC_MAC_LEN);
    nic_eeprom_init(&port->eeprom, (const uint8_t(*)[NIC_MAC_LEN])macs);
    for (unsigned vf = 0; vf < NIC_VFS_MAX && !ret; vf++) {
        ret = create_vf(card, port, vf);
        if (!ret && config->port[index].vf_doorbells[vf] == NIC_DOORBELLS_MAPPED)
            ret = nic_doorbell_create(&port->doorbells[vf]);
    }
    return ret ? ret : create_pf(port, config);
}

static bool config_is_valid(const struct nic_card_config *config)
{
    if (config->port_count < 1 || config->port_count > NIC_PORTS_MAX)
        return false;
    for (unsigned i = 0; i < config->port_count; i++) {
        static const uint8_t zero[NIC_MAC_LEN];

        if (!config->port[i].uplink || (config->port[i].mac[0] & 1) ||
            !memcmp(config->port[i].mac, zero, NIC_MAC_LEN))
            return false;
        for (unsigned vf = 0; vf < NIC_VFS_MAX; vf++) {
            if (config->port[i].vf_doorbells[vf] > NIC_DOORBELLS_MAPPED)
                return false;
        }
    }
    return true;
}

int nic_card_create(const struct nic_card_config *config, struct pci_segment *seg,
                    struct gate *gate, struct nic_card **out)
{
    struct nic_card *card;
    int ret = 0;

    if (!config_is_valid(config))
        return -EINVAL;
    card = calloc(1, sizeof *card);
    if (!card)
        return -ENOMEM;
    for (unsigned i = 0; i < config->port_count && !ret; i++) {
        ret = create_port(card, config, i, gate);
        if (!ret) {
            gate_close(gate);
            nic_port_reset(card->port[i], true);
            gate_open(gate);
            ret = pci_segment_add(seg, rid_make(config->bus, 0, i), card->port[i]->pf);
        }
    }
    if (ret) {
        nic_card_destroy(card);
        return ret;
    }
    *out = card;
    return 0;
}

void nic_card_destroy(struct nic_card *card)
{
    for (unsigned i = 0; i < card->port_count; i++)
        destroy_port(card->port[i]);
    free(card);
}

void nic_card_poll_links(struct nic_card *card)
{
    for (unsigned i = 0; i < card->port_count; i++)
        nic_port_link_poll(card->port[i]);
}

// The PF's own pool: the default pool where there are pools (82599 §8.2.3.27.1 PFVTCTL).
static unsigned pf_pool(const struct nic_port *port)
{
    uint32_t vtctl = nic_reg(port, HW_PFVTCTL);

    if (!(vtctl & HW_PFVTCTL_VT_ENA))
        return 0;
    return (vtctl & HW_PFVTCTL_DEF_PL_MASK) >> HW_PFVTCTL_DEF_PL_SHIFT;
}

int nic_function_counts_get(const struct nic_card *card, unsigned port_index, int vf,
                            struct nic_function_counts *out)
{
    const struct nic_port *port;
    const struct nic_pool_counters *pool;
    const struct nic_intr *intr;
    const struct nic_odd_cycles *odd;

    if (port_index >= card->port_count || vf < -1 || vf >= (int)NIC_VFS_MAX)
        return -EINVAL;
    port = card->port[port_index];
    intr = vf < 0 ? &port->intr_pf : &port->intr_vf[vf];
    odd = vf < 0 ? &port->odd_pf : &port->odd_vf[vf];
    pool = &port->counters.pool[vf < 0 ? pf_pool(port) : (unsigned)vf];
    *out = (struct nic_function_counts){
        .rx_frames = pool->rx_frames,
        .rx_bytes = pool->rx_bytes,
        .rx_multicast_frames = pool->rx_multicast_frames,
        .tx_frames = pool->tx_frames,
        .tx_bytes = pool->tx_bytes,
        .rx_no_descriptor_drops = pool->rx_no_descriptor_drops,
        .rx_fault_drops = pool->rx_fault_drops,
        .tx_fault_drops = pool->tx_fault_drops,
        .tx_spoof_drops = pool->tx_spoof_drops,
        .tx_malformed_drops = pool->tx_malformed_drops,
        .interrupts = intr->raised_count,
        .odd_register_cycles = odd->unknown_reads + odd->unknown_writes + odd->narrow_writes,
    };
    if (vf >= 0) {
        out->mailbox_to_pf = port->mailbox[vf].to_pf;
        out->mailbox_from_pf = port->mailbox[vf].from_pf;
        out->doorbell_cycles = port->vf_cycles[vf].doorbell;
        out->interrupt_cycles = port->vf_cycles[vf].interrupt;
        out->moderation_cycles = port->vf_cycles[vf].moderation;
        out->mailbox_cycles = port->vf_cycles[vf].mailbox;
        out->other_cycles = port->vf_cycles[vf].other;
    } else {
        for (unsigned i = 0; i < NIC_VFS_MAX; i++) {
            out->mailbox_to_pf += port->mailbox[i].to_pf;
            out->mailbox_from_pf += port->mailbox[i].from_pf;
        }
    }
    return 0;
}

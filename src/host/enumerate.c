// SPDX-License-Identifier: BSD-3-Clause
#include "host/enumerate.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"

enum {
    CFG_VENDOR_ID = 0x00,
    CFG_DEVICE_ID = 0x02,
    CFG_COMMAND = 0x04,
    CFG_STATUS = 0x06,
    CFG_BAR0 = 0x10,
    CFG_CAP_POINTER = 0x34,
    CFG_EXTENDED = 0x100,
    COMMAND_MEM = 0x2,
    COMMAND_BME = 0x4,
    STATUS_CAP_LIST = 0x10,
    CAP_EXPRESS = 0x10,
    CAP_MSIX = 0x11,
    EXTCAP_ARI = 0x0e,
    EXTCAP_SRIOV = 0x10,
    EXPRESS_DEVCAP = 0x04,
    EXPRESS_DEVCTL = 0x08,
    DEVCTL_FLR = 0x8000,
    CAPS_MAX = 48,     // a conventional list holds at most this many 4-byte-aligned headers
    EXTCAPS_MAX = 960, // likewise in extended config space
};
#define DEVCAP_FLR BIT(28)

// SR-IOV capability (PCIe §9.3.3).
enum {
    SRIOV_CONTROL = 0x08,
    SRIOV_TOTAL_VFS = 0x0e,
    SRIOV_NUM_VFS = 0x10,
    SRIOV_FIRST_OFFSET = 0x14,
    SRIOV_STRIDE = 0x16,
    SRIOV_VF_DEVICE_ID = 0x1a,
    SRIOV_SUPPORTED_PAGES = 0x1c,
    SRIOV_SYSTEM_PAGE = 0x20,
    SRIOV_VF_BAR0 = 0x24,
    CONTROL_VF_ENABLE = 0x01,
    CONTROL_VF_MSE = 0x08,
    CONTROL_ARI = 0x10,
};

void host_window_init(struct host_window *window)
{
    *window = (struct host_window){
        .next = HOST_MMIO_BASE,
        .end = HOST_MMIO_BASE + HOST_MMIO_LEN,
        .next32 = HOST_MMIO32_BASE,
        .end32 = HOST_MMIO32_BASE + HOST_MMIO32_LEN,
    };
}

// `count` times `size`, aligned to `size`. 0 where the window is full.
static uint64_t window_take(struct host_window *window, uint64_t size, unsigned count,
                            bool is_64bit)
{
    uint64_t *next = is_64bit ? &window->next : &window->next32;
    uint64_t end = is_64bit ? window->end : window->end32;
    uint64_t addr = bits_align_up(*next, size);

    if (!bits_range_within(addr, size * count, *next, end - *next))
        return 0;
    *next = addr + size * count;
    return addr;
}

uint64_t host_function_msix_table(const struct host_function *fn)
{
    return fn->bar[fn->msix_bar].addr + fn->msix_table_offset;
}

uint32_t host_cap_find(struct pci_segment *seg, rid_t rid, uint8_t id)
{
    uint32_t at;

    if (!(pci_config_read(seg, rid, CFG_STATUS, 2) & STATUS_CAP_LIST))
        return 0;
    at = pci_config_read(seg, rid, CFG_CAP_POINTER, 1) & 0xfc;
    for (unsigned i = 0; at >= 0x40 && i < CAPS_MAX; i++) {
        uint32_t header = pci_config_read(seg, rid, at, 2);

        if ((header & 0xff) == id)
            return at;
        at = header >> 8 & 0xfc;
    }
    return 0;
}

uint32_t host_extcap_find(struct pci_segment *seg, rid_t rid, uint16_t id)
{
    uint32_t at = CFG_EXTENDED;

    for (unsigned i = 0; at >= CFG_EXTENDED && i < EXTCAPS_MAX; i++) {
        uint32_t header = pci_config_read(seg, rid, at, 4);

        if (header == 0 || header == UINT32_MAX)
            return 0;
        if ((header & 0xffff) == id)
            return at;
        at = header >> 20 & 0xffc;
    }
    return 0;
}

// Sizes the BARs at config offset `at` (six of them) and gives the memory ones `count` times their
// size. With VF BARs `count` is the number of VFs.
static int bars_assign(struct pci_segment *seg, rid_t rid, uint32_t at, unsigned count,
                       struct host_window *window, struct host_bar bar[6])
{
    for (unsigned i = 0; i < 6; i++) {
        uint32_t offset = at + i * 4;
        uint32_t low = pci_config_read(seg, rid, offset, 4);
        uint64_t mask;

        pci_config_write(seg, rid, offset, 4, UINT32_MAX);
        mask = pci_config_read(seg, rid, offset, 4);
        pci_config_write(seg, rid, offset, 4, low);
        bar[i].is_io = low & 1;
        if (!mask || bar[i].is_io)
            continue;
        bar[i].is_64bit = (low & 6) == 4;
        bar[i].prefetchable = low & 8;
        mask &= ~0xfull;
        if (bar[i].is_64bit && i < 5) {
            pci_config_write(seg, rid, offset + 4, 4, UINT32_MAX);
            mask |= (uint64_t)pci_config_read(seg, rid, offset + 4, 4) << 32;
        } else {
            mask |= 0xffffffffull << 32;
        }
        bar[i].size_bytes = ~mask + 1;
        if (!bits_is_pow2(bar[i].size_bytes))
            return -EIO;
        bar[i].addr = window_take(window, bar[i].size_bytes, count, bar[i].is_64bit);
        if (!bar[i].addr)
            return -ENOSPC;
        pci_config_write(seg, rid, offset, 4, (uint32_t)bar[i].addr);
        if (bar[i].is_64bit && i < 5) {
            pci_config_write(seg, rid, offset + 4, 4, (uint32_t)(bar[i].addr >> 32));
            i++;
        }
    }
    return 0;
}

static void caps_probe(struct pci_segment *seg, struct host_function *fn)
{
    fn->cap_express = host_cap_find(seg, fn->rid, CAP_EXPRESS);
    fn->cap_msix = host_cap_find(seg, fn->rid, CAP_MSIX);
    fn->extcap_sriov = host_extcap_find(seg, fn->rid, EXTCAP_SRIOV);
    fn->extcap_ari = host_extcap_find(seg, fn->rid, EXTCAP_ARI);
    if (fn->cap_msix) {
        uint32_t table = pci_config_read(seg, fn->rid, fn->cap_msix + 4, 4);

        fn->msix_vectors = (pci_config_read(seg, fn->rid, fn->cap_msix + 2, 2) & 0x7ff) + 1;
        fn->msix_bar = table & 7;
        fn->msix_table_offset = table & ~7u;
        if (fn->msix_bar > 5)
            fn->cap_msix = 0;
    }
}

int host_function_probe(struct pci_segment *seg, rid_t rid, struct host_window *window,
                        struct host_function *out)
{
    uint32_t command;
    int ret;

    *out = (struct host_function){.rid = rid};
    out->vendor_id = (uint16_t)pci_config_read(seg, rid, CFG_VENDOR_ID, 2);
    out->device_id = (uint16_t)pci_config_read(seg, rid, CFG_DEVICE_ID, 2);
    if (out->vendor_id == 0xffff)
        return -ENODEV;
    command = pci_config_read(seg, rid, CFG_COMMAND, 2) & ~(uint32_t)(COMMAND_MEM | COMMAND_BME);
    pci_config_write(seg, rid, CFG_COMMAND, 2, command);
    ret = bars_assign(seg, rid, CFG_BAR0, 1, window, out->bar);
    if (ret)
        return ret;
    caps_probe(seg, out);
    pci_config_write(seg, rid, CFG_COMMAND, 2, command | COMMAND_MEM | COMMAND_BME);
    return 0;
}

int host_sriov_enable(struct pci_segment *seg, const struct host_function *pf, unsigned num_vfs,
                      struct host_window *window, struct host_sriov *out)
{
    uint32_t cap = pf->extcap_sriov;
    rid_t rid = pf->rid;
    int ret;

    *out = (struct host_sriov){0};
    if (!cap)
        return -ENODEV;
    out->total_vfs = (uint16_t)pci_config_read(seg, rid, cap + SRIOV_TOTAL_VFS, 2);
    out->vf_device_id = (uint16_t)pci_config_read(seg, rid, cap + SRIOV_VF_DEVICE_ID, 2);
    if (!num_vfs || num_vfs > out->total_vfs)
        return -ERANGE;
    if (!(pci_config_read(seg, rid, cap + SRIOV_SUPPORTED_PAGES, 4) & 1))
        return -EIO;
    host_sriov_disable(seg, pf);
    // ARI first: First VF Offset follows it. Only the lowest PF's bit is writable; the others' VFs
    // follow that one (PCIe §9.3.3.3.5).
    pci_config_write(seg, rid, cap + SRIOV_CONTROL, 2, CONTROL_ARI);
    pci_config_write(seg, rid, cap + SRIOV_SYSTEM_PAGE, 4, 1); // 4 KiB, before the BARs are sized
    ret = bars_assign(seg, rid, cap + SRIOV_VF_BAR0, num_vfs, window, out->vf_bar);
    if (ret)
        return ret;
    pci_config_write(seg, rid, cap + SRIOV_NUM_VFS, 2, num_vfs);
    pci_config_write(seg, rid, cap + SRIOV_CONTROL, 2,
                     CONTROL_ARI | CONTROL_VF_ENABLE | CONTROL_VF_MSE);
    if (!(pci_config_read(seg, rid, cap + SRIOV_CONTROL, 2) & CONTROL_VF_ENABLE))
        return -EIO;
    out->first_offset = pci_config_read(seg, rid, cap + SRIOV_FIRST_OFFSET, 2);
    out->stride = pci_config_read(seg, rid, cap + SRIOV_STRIDE, 2);
    return 0;
}

void host_sriov_disable(struct pci_segment *seg, const struct host_function *pf)
{
    if (pf->extcap_sriov)
        pci_config_write(seg, pf->rid, pf->extcap_sriov + SRIOV_CONTROL, 2, 0);
}

int host_vf_probe(struct pci_segment *seg, const struct host_function *pf,
                  const struct host_sriov *sriov, unsigned vf, struct host_function *out)
{
    rid_t rid = {(uint16_t)(pf->rid.v + sriov->first_offset + vf * sriov->stride)};

    *out = (struct host_function){
        .rid = rid, .vendor_id = pf->vendor_id, .device_id = sriov->vf_device_id};
    if (!pci_function_exists(seg, rid))
        return -ENODEV;
    for (unsigned i = 0; i < 6; i++) {
        out->bar[i] = sriov->vf_bar[i];
        if (out->bar[i].addr)
            out->bar[i].addr += vf * out->bar[i].size_bytes;
    }
    caps_probe(seg, out);
    return 0;
}

int host_function_flr(struct pci_segment *seg, const struct host_function *fn)
{
    uint32_t cap = fn->cap_express;
    uint32_t control;

    if (!cap || !(pci_config_read(seg, fn->rid, cap + EXPRESS_DEVCAP, 4) & DEVCAP_FLR))
        return -ENOTSUP;
    pci_config_write(seg, fn->rid, CFG_COMMAND, 2, 0);
    control = pci_config_read(seg, fn->rid, cap + EXPRESS_DEVCTL, 2);
    // Deviation: PCIe §6.6.2 has software wait 100 ms. This card completes the reset before the
    // config write is answered, and the host knows it: no wait.
    pci_config_write(seg, fn->rid, cap + EXPRESS_DEVCTL, 2, control | DEVCTL_FLR);
    return 0;
}

void host_function_restore(struct pci_segment *seg, const struct host_function *fn)
{
    for (unsigned i = 0; i < 6; i++) {
        if (!fn->bar[i].addr)
            continue;
        pci_config_write(seg, fn->rid, CFG_BAR0 + i * 4, 4, (uint32_t)fn->bar[i].addr);
        if (fn->bar[i].is_64bit && i < 5)
            pci_config_write(seg, fn->rid, CFG_BAR0 + i * 4 + 4, 4,
                             (uint32_t)(fn->bar[i].addr >> 32));
    }
    pci_config_write(seg, fn->rid, CFG_COMMAND, 2, COMMAND_MEM | COMMAND_BME);
}

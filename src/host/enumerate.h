// SPDX-License-Identifier: BSD-3-Clause
// Enumeration, as firmware and an OS's PCI core do it: find functions, size their BARs, give them
// addresses, find capabilities, set SR-IOV up. Config cycles only. Control thread.
#ifndef VIREO_HOST_ENUMERATE_H
#define VIREO_HOST_ENUMERATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pci/access.h"

#define HOST_MMIO_BASE   0x100000000ull // window for BARs: 64-bit, above 4 GiB
#define HOST_MMIO_LEN    0x100000000ull
#define HOST_MMIO32_BASE 0xc0000000ull // for BARs that take 32 bits only
#define HOST_MMIO32_LEN  0x3e000000ull // ends below the interrupt range

// Hands out bus addresses, each region aligned to its size.
struct host_window {
    uint64_t next, end;
    uint64_t next32, end32;
};

struct host_bar {
    uint64_t addr; // 0: not there
    uint64_t size_bytes;
    bool is_64bit, is_io, prefetchable;
};

struct host_function {
    rid_t rid;
    uint16_t vendor_id, device_id;
    struct host_bar bar[6];
    uint32_t cap_express, cap_msix; // config offsets, 0: not there
    uint32_t extcap_sriov, extcap_ari;
    unsigned msix_vectors, msix_bar;
    uint32_t msix_table_offset;
};

struct host_sriov {
    uint16_t total_vfs, vf_device_id;
    unsigned first_offset, stride; // valid once VFs are enabled
    struct host_bar vf_bar[6];     // address and size of VF 0's; VF n's is n × size further
};

void host_window_init(struct host_window *window);
// The bus address of MSI-X entry 0 of `fn`.
uint64_t host_function_msix_table(const struct host_function *fn);

// Offset of capability `id` (0: not there). Bounded: a looped list ends.
uint32_t host_cap_find(struct pci_segment *seg, rid_t rid, uint8_t id);
uint32_t host_extcap_find(struct pci_segment *seg, rid_t rid, uint16_t id);

// Reads what function `rid` is, gives its memory BARs addresses, and turns Memory Space and Bus
// Master on. 0, -ENODEV (nothing there), -ENOSPC (window full).
int host_function_probe(struct pci_segment *seg, rid_t rid, struct host_window *window,
                        struct host_function *out);

// Enables `num_vfs` VFs of `pf`: ARI, System Page Size 4 KiB, VF BARs from the window, NumVFs, VF
// Enable, VF MSE (PCIe §9.3.3.3). 0, -ENODEV (no SR-IOV), -ERANGE (more than TotalVFs), -ENOSPC,
// -EIO.
int host_sriov_enable(struct pci_segment *seg, const struct host_function *pf, unsigned num_vfs,
                      struct host_window *window, struct host_sriov *out);
void host_sriov_disable(struct pci_segment *seg, const struct host_function *pf);
// What function VF `vf` is: its RID, BARs by the PF's VF BARs, capabilities. 0 or -ENODEV.
int host_vf_probe(struct pci_segment *seg, const struct host_function *pf,
                  const struct host_sriov *sriov, unsigned vf, struct host_function *out);

// Function Level Reset through Device Control (PCIe §6.6.2), without the wait that it asks for:
// this card is done when the write is. The function comes back with its command register, BARs and
// MSI-X cleared. 0, -ENOTSUP.
int host_function_flr(struct pci_segment *seg, const struct host_function *fn);
// After a reset: BARs (not a VF's: those are the PF's) as in `fn`, Memory Space and Bus Master on.
void host_function_restore(struct pci_segment *seg, const struct host_function *fn);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// One PCI Express function, as its device model builds it: 4 KiB of config space (bytes, write
// mask, write-1-to-clear mask), capabilities, BARs, MSI-X, SR-IOV. A second kind of device (a GPU,
// an NVMe) is a new room beside `nic` that uses this header. Threads: control thread, except
// pci_msix_raise() and pci_function_dma().
#ifndef VIREO_PCI_FUNCTION_H
#define VIREO_PCI_FUNCTION_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/address.h"
#include "mem/dma.h"
#include "pci/access.h"

struct pci_function;

enum pci_reset {
    PCI_RESET_FLR, // PCIe §6.6.2: Initiate Function Level Reset, DEVCTL bit 15; also D3hot
                   // to D0, where No_Soft_Reset is 0 (PCIe §5.3.1.4.1)
    PCI_RESET_CONVENTIONAL, // PCIe §6.6.1: hot reset or power-up
    PCI_RESET_VF_DISABLE,   // VF Enable cleared: the VF ceases to exist
};

// What a device model does on events. All run on the control thread; those marked [gate] with the
// gate closed, so no worker is in the middle of a batch. Any may be NULL.
struct pci_function_ops {
    // Memory cycles within a BAR. `offset` lies within the BAR, `len` 1, 2, 4 or 8, aligned to len.
    uint64_t (*bar_read)(void *dev, unsigned bar, uint64_t offset, unsigned len);
    void (*bar_write)(void *dev, unsigned bar, uint64_t offset, unsigned len, uint64_t value);
    // [gate] The function's own state goes to its reset values; config space has been reset
    // already.
    void (*reset)(void *dev, enum pci_reset kind);
    // [gate] The function may master the bus or no longer may: Bus Master Enable, or the power
    // state (D3hot: no). The DMA port has been told already. On a reset this comes before `reset`.
    void (*bus_master_changed)(void *dev, bool enabled);
    // [gate] SR-IOV VF Enable changed; num_vfs is 1…TotalVFs when enabled, else 0. PF only. When
    // enabling: called before VFs answer config cycles. Disabling: after their reset, also when the
    // PF itself is being reset (then before the PF's own `reset`).
    void (*vfs_changed)(void *dev, bool enabled, unsigned num_vfs);
    // Mappable pages: see pci_backing_get(). 0 or -ENOENT.
    int (*backing)(void *dev, unsigned bar, uint64_t offset, struct pci_backing *out);
};

struct pci_function_info {
    uint16_t vendor_id, device_id, subsystem_vendor_id, subsystem_id;
    uint32_t class_code; // 24 bits: base, sub, interface
    uint8_t revision_id;
    bool multifunction;
    const char *name; // for logs, e.g. "port0", "port0/vf3"; copied
    // Cache Line Size after reset, in dwords. 0 by the book (PCI 3.0 §6.2.4); an 82599 says 0x10.
    uint8_t cache_line_dwords;
};

enum pci_bar_kind { PCI_BAR_MEM32, PCI_BAR_MEM64, PCI_BAR_MEM64_PREFETCH, PCI_BAR_IO };

// 0 or -ENOMEM.
int pci_function_create(const struct pci_function_info *info, const struct pci_function_ops *ops,
                        void *dev, struct pci_function **out);

// Takes the function off its segment (its VFs too). Before its VFs are destroyed.
void pci_function_destroy(struct pci_function *fn);

// Puts a function (not a VF: those come with pci_extcap_add_sriov) on the segment. 0, -EEXIST.
int pci_segment_add(struct pci_segment *seg, rid_t rid, struct pci_function *fn);

// size: a power of two ≥ 16 (I/O: ≥ 4). A 64-bit BAR takes index and index+1. 0, or -EINVAL: bad
// size or index, or the index is taken.
int pci_bar_init(struct pci_function *fn, unsigned index, enum pci_bar_kind kind,
                 uint64_t size_bytes);

// Capabilities go at the offsets given (the 82599's are fixed, some drivers hard-code them), and
// are linked in the order of the calls. Each asserts on overlap: a bug of the device model.
void pci_cap_add_pm(struct pci_function *fn, unsigned offset);
void pci_cap_add_msi(struct pci_function *fn, unsigned offset);
// Table and PBA live in BAR `bar`; the pci room serves those offsets itself, bar_read never sees
// them. vectors 1…2048. 0 or -ENOMEM.
int pci_cap_add_msix(struct pci_function *fn, unsigned offset, unsigned vectors, unsigned bar,
                     uint32_t table_offset, uint32_t pba_offset);
// PCI Express endpoint capability v2 with FLR; link 5 GT/s x8, max payload 512.
void pci_cap_add_express(struct pci_function *fn, unsigned offset);
// Vital Product Data, read-only: software's writes complete and change nothing. Until
// pci_vpd_set() there is an end tag and nothing else.
void pci_cap_add_vpd(struct pci_function *fn, unsigned offset);
// Copies `len_bytes` (1…32768) of VPD resources (PCI 3.0 appendix I). 0, -EINVAL, -ENOMEM.
int pci_vpd_set(struct pci_function *fn, const void *data, uint32_t len_bytes);
void pci_extcap_add_aer(struct pci_function *fn, unsigned offset);
void pci_extcap_add_dsn(struct pci_function *fn, unsigned offset, uint64_t serial);
// next_function: ARI's Next Function Number, 0 where none.
void pci_extcap_add_ari(struct pci_function *fn, unsigned offset, unsigned next_function);
void pci_extcap_add_acs(struct pci_function *fn, unsigned offset);

// SR-IOV (PCIe §9.3.3).
struct pci_sriov_info {
    uint16_t total_vfs; // also InitialVFs
    // By ARI Capable Hierarchy, which only the lowest PF of a device has, for all of them.
    uint16_t first_vf_offset_ari, first_vf_offset_no_ari;
    uint16_t vf_stride;
    uint16_t vf_device_id;
    uint32_t supported_page_sizes; // bit n: 2^(n+12) bytes
    struct {
        uint64_t size_bytes; // of one VF's BAR, 0 where none
        enum pci_bar_kind kind;
    } vf_bar[6];
};
// `vfs`: total_vfs functions made with pci_function_create(); ownership stays with the caller; they
// must outlive fn. A VF's own vendor/device ID read FFFF (PCIe §9.3.4.1.1-2): the pci room sees to
// it, its BARs (§9.3.4.1.11: read zero), its header type, and the control bits that belong to the
// PF. So this comes after everything else was added to the VFs, and before pci_segment_add(). 0 or
// -ENOMEM.
int pci_extcap_add_sriov(struct pci_function *fn, unsigned offset,
                         const struct pci_sriov_info *info, struct pci_function **vfs);

// Raises MSI-X vector `vector` (or MSI, message 0, where MSI-X is off and MSI is on). Masked, or
// the function may not master the bus: sets the pending bit, and the message goes out when that is
// over. A vector past the table is dropped (guests choose vectors), and so is everything while both
// mechanisms are off: INTx is not modelled. Any thread.
void pci_msix_raise(struct pci_function *fn, unsigned vector);

rid_t pci_function_rid(const struct pci_function *fn);
const char *pci_function_name(const struct pci_function *fn);
// The function's DMA ports, an array of PCI_DMA_PORTS: one for each thread that may issue accesses
// at the same time. Worker side. Valid as long as fn.
#define PCI_DMA_PORTS 2u
struct dma_port *pci_function_dma(struct pci_function *fn);

// For tests and dumps: bytes of config space, as a config read would give them, no side effects.
void pci_function_snapshot(struct pci_function *fn, uint8_t out[PCI_CONFIG_LEN_BYTES]);

#endif

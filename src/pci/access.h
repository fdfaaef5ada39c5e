// SPDX-License-Identifier: BSD-3-Clause
// The PCI Express segment as software sees it: configuration cycles, memory cycles, interrupts.
// This is all that `host` and `chassis` may see of a card; they never reach into a device model.
// Threads: the control thread, except where it says otherwise.
#ifndef VIREO_PCI_ACCESS_H
#define VIREO_PCI_ACCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/address.h"
#include "mem/dma.h"
#include "mem/gate.h"

struct pci_segment;

#define PCI_CONFIG_LEN_BYTES 4096u

// `dma_ops`/`dma_ctx`/`generation`: the IOMMU in front of every function (mem/dma.h). They and
// `gate` outlive the segment. 0 or -ENOMEM.
int pci_segment_create(struct gate *gate, const struct dma_port_ops *dma_ops, void *dma_ctx,
                       const dma_generation_t *generation, struct pci_segment **out);
void pci_segment_destroy(struct pci_segment *seg);

// Configuration cycle. `len` 1, 2 or 4; `offset` 0…4095, aligned to `len`. A read of a function
// that is not there (VF not enabled) or of a bad offset/len gives all-ones; a write is dropped.
uint32_t pci_config_read(struct pci_segment *seg, rid_t rid, uint32_t offset, unsigned len);
void pci_config_write(struct pci_segment *seg, rid_t rid, uint32_t offset, unsigned len,
                      uint32_t value);
bool pci_function_exists(struct pci_segment *seg, rid_t rid);

// Conventional reset of every function on `bus` (hot reset: PCIe §6.6.1): VFs cease to exist,
// everything goes to its power-up value.
void pci_bus_reset(struct pci_segment *seg, uint8_t bus);

// Memory cycle, routed by the BARs of all functions whose Memory Space (VFs: VF MSE) is enabled.
// `len` 1, 2, 4 or 8, aligned. Unclaimed: all-ones / dropped.
uint64_t pci_mem_read(struct pci_segment *seg, uint64_t bus_addr, unsigned len);
void pci_mem_write(struct pci_segment *seg, uint64_t bus_addr, unsigned len, uint64_t value);

// Pages of a BAR that are plain memory and may be mapped into a VM (mapped doorbells), if any:
// the first such run at or after byte `offset` of BAR `bar` of function `rid`.
struct pci_backing {
    int fd;              // owned by the function; valid while the function exists
    uint64_t fd_offset;  // where in the file
    uint64_t bar_offset; // where in the BAR; multiple of 4096
    uint64_t len_bytes;  // multiple of 4096
};
// 0, or -ENOENT where there is none.
int pci_backing_get(struct pci_segment *seg, rid_t rid, unsigned bar, uint64_t offset,
                    struct pci_backing *out);

// Where interrupts of the segment go. Called from workers and the control thread; must not block,
// and must not call back into the segment. `vector` is the MSI-X table index (MSI: message number),
// addr/data the message as the function's table has it.
struct pci_interrupt_sink {
    void (*raise)(void *ctx, rid_t rid, unsigned vector, uint64_t addr, uint32_t data);
    void *ctx;
};
// Copied. NULL: nowhere. Closes the gate for the change.
void pci_segment_set_interrupt_sink(struct pci_segment *seg, const struct pci_interrupt_sink *sink);

// DMA counters of one function, summed over its ports.
struct pci_dma_counts {
    uint64_t faults;  // refused by the IOMMU
    uint64_t blocked; // not issued: bus mastering off
    uint64_t walks;   // IOTLB misses
};
// 0, or -ENOENT. Closes the gate for a moment: not for every packet.
int pci_dma_counts_get(struct pci_segment *seg, rid_t rid, struct pci_dma_counts *out);

#endif

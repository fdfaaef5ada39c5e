// SPDX-License-Identifier: BSD-3-Clause
// Intel VT-d remapping hardware (DRHD): one register page, tables in memory, walked on every IOTLB
// miss. Legacy mode: root table → context table → second-stage page tables, 3 or 4 levels, 4 KiB,
// 2 MiB and 1 GiB pages (VT-d §3, §9). Faults go to the fault-recording registers (§7, §11.4.7.6).
// While translation is off (GSTS.TES = 0) addresses are physical: the unit passes them on, and an
// access where there is no memory fails without a record.
// Register offsets and formats: iommu/vtd_format.h.
// Threads: registers from the control thread; translation from any worker inside the gate.
#ifndef VIREO_IOMMU_VTD_H
#define VIREO_IOMMU_VTD_H

#include <stdatomic.h>
#include <stdint.h>

#include "mem/dma.h"
#include "mem/space.h"

struct vtd;

#define VTD_REGS_LEN_BYTES 4096u

// `fault_msi` gets the fault event interrupt message (FEADDR/FEDATA) and the invalidation event's
// (IEADDR/IEDATA), from any thread; must not block, nor write registers; `addr` and `data` are as
// software wrote them. `space` and `gate` outlive the unit. 0 or -ENOMEM.
int vtd_create(struct mem_space *space, struct gate *gate,
               void (*fault_msi)(void *ctx, uint64_t addr, uint32_t data), void *ctx,
               struct vtd **out);
void vtd_destroy(struct vtd *vtd);

// Power-up: translation and queue off, every register at its reset value, nothing cached.
void vtd_reset(struct vtd *vtd);
// Regions of the space were, or will be, taken away: nothing translated before is used again. With
// the gate closed (asserted) around this and the removal.
void vtd_memory_changed(struct vtd *vtd);

// A write that invalidates, or that turns translation on or off, stops the workers (the gate) until
// no translation made before is in use any more; that is done when this returns.
// Register cycles: `len` 4 or 8, aligned, within the page. Others: all-ones / dropped.
uint64_t vtd_reg_read(struct vtd *vtd, uint32_t offset, unsigned len);
void vtd_reg_write(struct vtd *vtd, uint32_t offset, unsigned len, uint64_t value);

// What a DMA port needs: dma_port_init(port, rid, vtd_dma_ops(), vtd, vtd_generation(vtd)).
const struct dma_port_ops *vtd_dma_ops(void);
const dma_generation_t *vtd_generation(const struct vtd *vtd);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// Primary fault logging (VT-d §7.2, §11.4.7): the ring of fault recording registers, FSTS, and when
// the fault event interrupt is due. Works on the register file; all calls under its lock.
#ifndef VIREO_IOMMU_VTD_FAULT_H
#define VIREO_IOMMU_VTD_FAULT_H

#include "iommu/vtd_regs.h"
#include "mem/dma.h"

struct vtd_fault_log {
    unsigned next; // the record that the next fault goes to
};

// Records a fault, unless the log has overflowed, or has a pending fault of this requester already
// (§7.2.1 allows to collapse them: a device gone wild keeps one record, not all of them).
void vtd_fault_record(struct vtd_fault_log *log, struct vtd_regs *regs, rid_t rid, uint64_t iova,
                      enum dma_access access, enum vtd_fault reason, struct vtd_message *msg);

// Software wrote `value` to FSTS / to the high half of the record at `offset`: bits that are
// cleared by writing 1.
void vtd_fault_status_written(struct vtd_regs *regs, uint32_t value);
void vtd_fault_record_written(struct vtd_regs *regs, uint32_t offset, uint64_t value);

// The invalidation queue, which was running, has stopped (FSTS.IQE) for `reason` (IQERCD.IQEI).
void vtd_fault_queue_error(struct vtd_regs *regs, unsigned reason, struct vtd_message *msg);

#endif

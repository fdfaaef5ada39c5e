// SPDX-License-Identifier: BSD-3-Clause
#include "iommu/vtd_fault.h"

#include "base/bits.h"

static uint32_t record_offset(unsigned i)
{
    return VTD_FRCD_LO + i * VTD_FAULT_RECORD_LEN;
}

static uint64_t record_high(const struct vtd_regs *regs, unsigned i)
{
    return vtd_regs_get64(regs, record_offset(i) + 8);
}

static void status_change(struct vtd_regs *regs, uint32_t clear, uint32_t set)
{
    vtd_regs_set32(regs, VTD_FSTS, (vtd_regs_get32(regs, VTD_FSTS) & ~clear) | set);
}

void vtd_fault_record(struct vtd_fault_log *log, struct vtd_regs *regs, rid_t rid, uint64_t iova,
                      enum dma_access access, enum vtd_fault reason, struct vtd_message *msg)
{
    uint32_t status = vtd_regs_get32(regs, VTD_FSTS);
    unsigned i = log->next;

    if (status & VTD_FSTS_PFO)
        return;
    for (unsigned k = 0; k < VTD_FAULT_RECORDS; k++) {
        uint64_t high = record_high(regs, k);

        if ((high & VTD_FRCD_F) && VTD_FRCD_SID(high) == rid.v)
            return;
    }
    if (record_high(regs, i) & VTD_FRCD_F) {
        status_change(regs, 0, VTD_FSTS_PFO);
        return;
    }
    vtd_regs_set64(regs, record_offset(i), bits_align_down(iova, VTD_PAGE_BYTES));
    vtd_regs_set64(regs, record_offset(i) + 8,
                   VTD_FRCD_F | (access == DMA_READ ? VTD_FRCD_READ : 0) |
                       (uint64_t)reason << VTD_FRCD_REASON_SHIFT | rid.v);
    log->next = (i + 1) % VTD_FAULT_RECORDS;
    // Only the first of the pending faults is an event; software reads on from there (FRI).
    if (!(status & VTD_FSTS_PPF)) {
        status_change(regs, VTD_FSTS_FRI_MASK, VTD_FSTS_PPF | i << VTD_FSTS_FRI_SHIFT);
        vtd_event_raise(regs, VTD_FECTL, msg);
    }
}

// A message that is held pending has lost its cause when every status bit is clear (§11.4.7.2).
static void event_recheck(struct vtd_regs *regs)
{
    if (!(vtd_regs_get32(regs, VTD_FSTS) & (VTD_FSTS_PFO | VTD_FSTS_PPF | VTD_FSTS_IQE)))
        vtd_event_withdraw(regs, VTD_FECTL);
}

void vtd_fault_status_written(struct vtd_regs *regs, uint32_t value)
{
    if (value & VTD_FSTS_IQE)
        vtd_regs_set64(regs, VTD_IQERCD, 0);
    status_change(regs, value & (VTD_FSTS_PFO | VTD_FSTS_IQE), 0);
    event_recheck(regs);
}

void vtd_fault_record_written(struct vtd_regs *regs, uint32_t offset, uint64_t value)
{
    uint64_t high = vtd_regs_get64(regs, offset);

    if (!(value & VTD_FRCD_F))
        return;
    vtd_regs_set64(regs, offset, high & ~VTD_FRCD_F);
    for (unsigned i = 0; i < VTD_FAULT_RECORDS; i++)
        if (record_high(regs, i) & VTD_FRCD_F)
            return;
    status_change(regs, VTD_FSTS_PPF, 0);
    event_recheck(regs);
}

void vtd_fault_queue_error(struct vtd_regs *regs, unsigned reason, struct vtd_message *msg)
{
    vtd_regs_set64(regs, VTD_IQERCD, reason);
    status_change(regs, 0, VTD_FSTS_IQE);
    vtd_event_raise(regs, VTD_FECTL, msg);
}

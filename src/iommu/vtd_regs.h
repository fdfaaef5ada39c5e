// SPDX-License-Identifier: BSD-3-Clause
// The register file of the remapping unit: storage and access rules, made from vtd_regs.def. Knows
// what is where and who may write it; what a write causes is vtd.c's business.
// Threads: any, under `lock`: faults come from workers, register cycles from the control thread.
#ifndef VIREO_IOMMU_VTD_REGS_H
#define VIREO_IOMMU_VTD_REGS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "iommu/vtd.h"
#include "iommu/vtd_format.h"

enum vtd_reg_kind { VTD_KIND_RO, VTD_KIND_RW, VTD_KIND_W1C, VTD_KIND_HOOK };

struct vtd_reg_row {
    const char *name, *section, *text;
    uint32_t offset, stride, count;
    unsigned width_bits; // 32 or 64
    uint64_t reset, mask;
    enum vtd_reg_kind kind;
};

// Rows by number: VTD_ROW_GCMD, …
enum vtd_reg_row_number {
#define VTD_REG(name, offset, stride, count, width, reset, mask, kind, section, text)              \
    VTD_ROW_##name,
#include "iommu/vtd_regs.def"
#undef VTD_REG
    VTD_ROW_COUNT
};

extern const struct vtd_reg_row vtd_reg_rows[VTD_ROW_COUNT];

struct vtd_regs {
    pthread_mutex_t lock;
    uint32_t words[VTD_REGS_LEN_BYTES / 4];
};

void vtd_regs_init(struct vtd_regs *regs); // all registers at their reset values
void vtd_regs_destroy(struct vtd_regs *regs);
void vtd_regs_reset(struct vtd_regs *regs); // the same values again. Caller holds `lock`

// The row of the register that `offset` (a multiple of 4) lies in and, in *reg_offset, where that
// register starts; -1 where there is none.
int vtd_regs_find(uint32_t offset, uint32_t *reg_offset);

// Raw storage, for the unit itself. Caller holds `lock`.
uint32_t vtd_regs_get32(const struct vtd_regs *regs, uint32_t offset);
uint64_t vtd_regs_get64(const struct vtd_regs *regs, uint32_t offset);
void vtd_regs_set32(struct vtd_regs *regs, uint32_t offset, uint32_t value);
void vtd_regs_set64(struct vtd_regs *regs, uint32_t offset, uint64_t value);

// Software's write of the 32 bits at `offset`, by the row's kind and mask. Takes the lock.
void vtd_regs_write32(struct vtd_regs *regs, const struct vtd_reg_row *row, uint32_t reg_offset,
                      uint32_t offset, uint32_t value);

// An interrupt message that has become due under the lock, to be sent after it.
struct vtd_message {
    bool is_due;
    uint64_t addr;
    uint32_t data;
};

// The event interrupts (§7.3, §6.5.4): `ctl` is VTD_FECTL or VTD_IECTL. Caller holds `lock`.
// Something has happened: the message is due, or held pending while it is masked.
void vtd_event_raise(struct vtd_regs *regs, uint32_t ctl, struct vtd_message *msg);
// The control register was written: a pending message becomes due where it is unmasked.
void vtd_event_control_written(struct vtd_regs *regs, uint32_t ctl, struct vtd_message *msg);
// Software has served the cause before the message could be sent.
void vtd_event_withdraw(struct vtd_regs *regs, uint32_t ctl);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// The register file of one port: storage, reset values, masks and access kinds, all from
// hw82599/regs.def. Private to src/nic.
// Threads: control thread.
#ifndef VIREO_NIC_REGS_H
#define VIREO_NIC_REGS_H

#include <stdbool.h>
#include <stdint.h>

#include "hw82599/regs.h"

struct nic_port;

enum nic_reg_access {
    NIC_REG_RO,
    NIC_REG_RW,
    NIC_REG_W1C,
    NIC_REG_RC,   // read to clear
    NIC_REG_WO,   // reads 0
    NIC_REG_HOOK, // a function decides
};

enum nic_reg_flags {
    NIC_REG_DERIVED = 1, // nic_derive() reads it
    NIC_REG_STAT = 2,    // value from the counters (stats.c)
    NIC_REG_KEEP = 4,    // survives a software reset
};

struct nic_reg_row {
    const char *name;
    uint32_t offset, stride, count;
    uint32_t offset2, stride2, count2; // second range, or count2 0
    uint32_t reset, write_mask;
    enum nic_reg_access access;
    unsigned flags;
    const char *section, *text;
};

extern const struct nic_reg_row nic_reg_rows[HW_ROW_NONE];

// Where a row with a hook goes. `index` is within the row. A hook that is NULL: plain storage.
struct nic_reg_hook {
    uint32_t (*read)(struct nic_port *port, unsigned index);
    // `value` has been masked with the row's write mask.
    void (*write)(struct nic_port *port, unsigned index, uint32_t value);
};

const struct nic_reg_hook *nic_regs_hook(enum hw_row row); // both NULL where the row has none

// The row and index at a byte offset (aliases resolved), or HW_ROW_NONE.
enum hw_row nic_regs_find(uint32_t offset, unsigned *index);
// Byte offset of a row's register: where its storage is. index < count + count2.
uint32_t nic_regs_offset(enum hw_row row, unsigned index);
unsigned nic_regs_count(enum hw_row row);

// A register cycle of 32 bits. Unknown offsets (also past the file) read 0, are dropped, and are
// counted.
uint32_t nic_regs_read(struct nic_port *port, uint32_t offset);
void nic_regs_write(struct nic_port *port, uint32_t offset, uint32_t value);
// The same for a register that has been found.
uint32_t nic_regs_read_row(struct nic_port *port, enum hw_row row, unsigned index);
void nic_regs_write_row(struct nic_port *port, enum hw_row row, unsigned index, uint32_t value);

// The register to what it is after a reset, without side effects. Gate closed.
void nic_regs_reset_row(struct nic_port *port, enum hw_row row, unsigned index);
// All of them; rows marked KEEP only with `all`.
void nic_regs_reset(struct nic_port *port, bool all);

#endif

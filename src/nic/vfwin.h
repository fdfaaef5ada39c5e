// SPDX-License-Identifier: BSD-3-Clause
// A VF's BAR0: windows onto the port's register file, and what is the VF's own (82599 §7.10,
// §8.3). Everything here comes from a guest. Control thread. Private to src/nic.
#ifndef VIREO_NIC_VFWIN_H
#define VIREO_NIC_VFWIN_H

#include <stdbool.h>
#include <stdint.h>

#include "hw82599/regs.h"

struct nic_port;

// 32-bit cycles; offset below HW_VF_BAR_BYTES. Unknown offsets read 0, are dropped, and are
// counted. With mapped doorbells, what the guest wrote into its pages is applied first, except by
// cycles to interrupts' causes, masks and moderation.
uint32_t nic_vfwin_read(struct nic_port *port, unsigned vf, uint32_t offset);
void nic_vfwin_write(struct nic_port *port, unsigned vf, uint32_t offset, uint32_t value);

// The row and index at an offset of a VF's BAR0, or HW_VFROW_NONE.
enum hw_vfrow nic_vfwin_find(uint32_t offset, unsigned *index);
// The register of the port's file that a window shows, or HW_ROW_NONE: the VF's own, or a queue
// that it does not have.
enum hw_row nic_vfwin_target(const struct nic_port *port, unsigned vf, enum hw_vfrow row,
                             unsigned index, unsigned *target_index);

// The VF's queues, interrupts and mailbox to reset values; `announce`: the PF sees it in PFVFLRE.
// Gate closed.
void nic_vfwin_reset(struct nic_port *port, unsigned vf, bool announce);

#endif

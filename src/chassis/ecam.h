// SPDX-License-Identifier: BSD-3-Clause
// Memory cycles to the ECAM become configuration cycles: of the root port on bus 0, and through it
// of what is below (PCIe §7.2.2). Threads: control thread.
#ifndef VIREO_CHASSIS_ECAM_H
#define VIREO_CHASSIS_ECAM_H

#include <stdint.h>

#include "chassis/root_port.h"
#include "pci/access.h"

// `offset` below CHASSIS_ECAM_LEN_BYTES; `len` 1, 2, 4 or 8, aligned. 8 bytes are two cycles of 4,
// the lower first. Where nobody answers: all-ones / dropped.
uint64_t ecam_read(struct root_port *port, struct pci_segment *seg, uint64_t offset, unsigned len);
void ecam_write(struct root_port *port, struct pci_segment *seg, uint64_t offset, unsigned len,
                uint64_t value);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// Memory cycles to the segment's part of the VM's address space: through the root port's windows to
// the functions' BARs. Threads: control thread.
#ifndef VIREO_CHASSIS_WINDOW_H
#define VIREO_CHASSIS_WINDOW_H

#include <stdint.h>

#include "chassis/root_port.h"
#include "pci/access.h"

// `addr`: guest-physical, which is the bus address; `len` 1, 2, 4 or 8, aligned. Where nobody
// answers: all-ones / dropped.
uint64_t window_read(const struct root_port *port, struct pci_segment *seg, uint64_t addr,
                     unsigned len);
void window_write(const struct root_port *port, struct pci_segment *seg, uint64_t addr,
                  unsigned len, uint64_t value);

#endif

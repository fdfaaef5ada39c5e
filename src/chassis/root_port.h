// SPDX-License-Identifier: BSD-3-Clause
// The root port of the segment, 00:00.0: a type 1 header with bridge windows, and the capabilities
// that an OS wants of a port before it enables SR-IOV behind it (ARI Forwarding) and gives VFs away
// (ACS). Decides what goes on to the bus below (PCI-to-PCI Bridge 1.2 §4; PCIe §6.13, §7.5.1.3).
// Deviation: the card answers as bus CHASSIS_CARD_BUS only. With another Secondary Bus Number it
// has no configuration space, where hardware would take the new number.
// Deviation: Bus Master Enable of the port is stored, and stops no DMA.
// Threads: control thread.
#ifndef VIREO_CHASSIS_ROOT_PORT_H
#define VIREO_CHASSIS_ROOT_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "pci/access.h"

struct root_port;

// `seg` outlives the port. 0 or -ENOMEM.
int root_port_create(struct pci_segment *seg, struct root_port **out);
void root_port_destroy(struct root_port *port); // NULL is fine
// Power-up values. Does not reset what is below.
void root_port_reset(struct root_port *port);

// `len` 1, 2 or 4, offset aligned to it and below 4096. A write may reset the bus below (Secondary
// Bus Reset, Link Disable: hot reset, PCIe §6.6.1).
uint32_t root_port_config_read(const struct root_port *port, uint32_t offset, unsigned len);
void root_port_config_write(struct root_port *port, uint32_t offset, unsigned len, uint32_t value);

// True where a configuration cycle for `rid` goes on to the segment's functions.
bool root_port_takes_config(const struct root_port *port, rid_t rid);
// True where a memory cycle does: it lies in one of the two windows. addr+len does not wrap.
bool root_port_takes_memory(const struct root_port *port, uint64_t addr, unsigned len);

#endif

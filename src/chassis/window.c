// SPDX-License-Identifier: BSD-3-Clause
#include "chassis/window.h"

uint64_t window_read(const struct root_port *port, struct pci_segment *seg, uint64_t addr,
                     unsigned len)
{
    return root_port_takes_memory(port, addr, len) ? pci_mem_read(seg, addr, len) : ~0ull;
}

void window_write(const struct root_port *port, struct pci_segment *seg, uint64_t addr,
                  unsigned len, uint64_t value)
{
    if (root_port_takes_memory(port, addr, len))
        pci_mem_write(seg, addr, len, value);
}

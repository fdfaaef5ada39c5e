// SPDX-License-Identifier: BSD-3-Clause
// The config space that the VM sees of its VF. A VF's own has FFFF for its IDs, no BARs and no
// Memory Space Enable (PCIe §9.3.4): the host keeps those here, passes the rest through to the
// function, and keeps MSI-X and resets to itself.
// Threads: the control thread.
#ifndef VIREO_HOST_VCONFIG_H
#define VIREO_HOST_VCONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "host/enumerate.h"

struct host_vconfig {
    struct pci_segment *seg;
    struct host_function fn;
    uint16_t command; // Memory Space Enable and INTx Disable, which a VF does not have
    uint16_t msix_control;
    uint8_t interrupt_line;
    uint32_t bar[6];
};

// `fn` is copied.
void host_vconfig_init(struct host_vconfig *config, struct pci_segment *seg,
                       const struct host_function *fn);
// After a reset of the function.
void host_vconfig_reset(struct host_vconfig *config);
// Any range within 4096 bytes; bytes past it read all-ones.
void host_vconfig_read(struct host_vconfig *config, uint32_t offset, uint8_t *buf, uint32_t len);
// Writes the range; *flr is set where it asked for a Function Level Reset, which is the caller's to
// do.
void host_vconfig_write(struct host_vconfig *config, uint32_t offset, const uint8_t *buf,
                        uint32_t len, bool *flr);

#endif

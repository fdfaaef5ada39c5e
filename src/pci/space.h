// SPDX-License-Identifier: BSD-3-Clause
// The 4 KiB configuration space of one function as bytes and masks: what reads back, which bits a
// write changes, which bits writing a one clears, what a reset brings back and what survives it.
// It knows no capability by name. Private to src/pci.
// Threads: control thread.
#ifndef VIREO_PCI_SPACE_H
#define VIREO_PCI_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "pci/access.h"

// What a dword belongs to: finds the code that acts on a write, and overlapping capabilities.
enum pci_owner {
    PCI_OWNER_NONE,
    PCI_OWNER_HEADER,
    PCI_OWNER_PM,
    PCI_OWNER_MSI,
    PCI_OWNER_MSIX,
    PCI_OWNER_EXPRESS,
    PCI_OWNER_VPD,
    PCI_OWNER_AER,
    PCI_OWNER_DSN,
    PCI_OWNER_ARI,
    PCI_OWNER_ACS,
    PCI_OWNER_SRIOV,
    PCI_OWNER_NULL, // the head of a list whose first capability is elsewhere
    PCI_OWNER_COUNT,
};

struct pci_space {
    uint8_t bytes[PCI_CONFIG_LEN_BYTES];
    uint8_t reset[PCI_CONFIG_LEN_BYTES];      // value after power-up
    uint8_t write_mask[PCI_CONFIG_LEN_BYTES]; // bits that a write changes
    uint8_t w1c_mask[PCI_CONFIG_LEN_BYTES];   // bits that writing a one clears
    uint8_t keep_mask[PCI_CONFIG_LEN_BYTES];  // bits that a function level reset leaves alone
    uint8_t owner[PCI_CONFIG_LEN_BYTES / 4];  // enum pci_owner
};

// Gives [offset, offset+len) to `owner`; both multiples of 4. Asserts that it was free: who
// overlaps is a device model with a bug.
void pci_space_claim(struct pci_space *space, unsigned offset, unsigned len, enum pci_owner owner);

// Defines a field: its value now and after reset, and its masks. `offset` need not be aligned.
void pci_space_define16(struct pci_space *space, unsigned offset, uint16_t value,
                        uint16_t write_mask, uint16_t w1c_mask);
void pci_space_define32(struct pci_space *space, unsigned offset, uint32_t value,
                        uint32_t write_mask, uint32_t w1c_mask);
// Bits that survive a function level reset (PCIe §6.6.2).
void pci_space_keep16(struct pci_space *space, unsigned offset, uint16_t mask);
void pci_space_keep32(struct pci_space *space, unsigned offset, uint32_t mask);

// What the dword at `offset` (aligned) becomes when `value` is written to the bytes in `enable`.
uint32_t pci_space_merge(const struct pci_space *space, unsigned offset, uint32_t value,
                         uint32_t enable);
// All bytes to their reset values; `keep`: except what a function level reset leaves alone.
void pci_space_reset(struct pci_space *space, bool keep);

#endif

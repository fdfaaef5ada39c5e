// SPDX-License-Identifier: BSD-3-Clause
// Message signalled interrupts of one function: the MSI-X table and pending bits (PCI 3.0 §6.8.2),
// and MSI with one message (§6.8.1). Private to src/pci.
//
// Threads: raising from any thread, everything else from the control thread, with no lock between
// them. A raise sets the pending bit, then looks whether it may be sent; whatever makes a vector
// sendable (unmask, enable, bus mastering) is stored first, then the pending bits are looked at.
// All of these are sequentially consistent, so at least one side sees the other, and taking the
// pending bit away with an atomic AND makes sure that only one sends.
#ifndef VIREO_PCI_IRQ_H
#define VIREO_PCI_IRQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PCI_MSIX_VECTORS_MAX 2048u

struct pci_function;

// One message. The control thread makes `seq` odd while it changes the rest.
struct pci_vector {
    _Atomic uint32_t seq;
    _Atomic uint32_t control; // bit 0: masked
    _Atomic uint32_t data;
    _Atomic uint64_t addr;
};

enum {
    PCI_IRQ_MSIX_ENABLED = 1 << 0,
    PCI_IRQ_MSIX_MASKED = 1 << 1, // Function Mask
    PCI_IRQ_MSI_ENABLED = 1 << 2,
    PCI_IRQ_CAN_SEND = 1 << 3, // bus mastering on, in D0
};

struct pci_irq {
    _Atomic uint32_t state; // PCI_IRQ_*
    unsigned vector_count;  // 0: no MSI-X
    unsigned bar;
    uint32_t table_offset, pba_offset; // bytes, in `bar`
    struct pci_vector *table;
    _Atomic uint64_t *pending;
    struct pci_vector msi;
    _Atomic uint32_t msi_pending;
};

// 0 or -ENOMEM.
int pci_irq_init(struct pci_irq *irq, unsigned vectors, unsigned bar, uint32_t table_offset,
                 uint32_t pba_offset);
void pci_irq_free(struct pci_irq *irq);
// All masked, nothing pending, both mechanisms off.
void pci_irq_reset(struct pci_irq *irq);

// Sets the bits of `mask` in the state to `bits`, and sends what that lets go.
void pci_irq_set_state(struct pci_function *fn, uint32_t mask, uint32_t bits);
// MSI's address, data and mask bit 0 as config space has them now.
void pci_irq_set_msi(struct pci_function *fn, uint64_t addr, uint32_t data, bool masked);

// True where [offset, offset+len) of `bar` touches the table or the pending bits: then the access
// is served here.
bool pci_irq_owns(const struct pci_irq *irq, unsigned bar, uint64_t offset, unsigned len);
uint64_t pci_irq_bar_read(struct pci_irq *irq, uint64_t offset, unsigned len);
// Writes of 4 and 8 bytes; others are dropped (PCI 3.0 §6.8.2: undefined).
void pci_irq_bar_write(struct pci_function *fn, uint64_t offset, unsigned len, uint64_t value);

#endif

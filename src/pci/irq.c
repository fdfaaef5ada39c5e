// SPDX-License-Identifier: BSD-3-Clause
#include "pci/irq.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"
#include "pci/state.h"

#define ENTRY_LEN_BYTES 16u
#define VECTOR_MASKED   1u

static unsigned pending_words(const struct pci_irq *irq)
{
    return (irq->vector_count + 63) / 64;
}

int pci_irq_init(struct pci_irq *irq, unsigned vectors, unsigned bar, uint32_t table_offset,
                 uint32_t pba_offset)
{
    irq->vector_count = vectors;
    irq->bar = bar;
    irq->table_offset = table_offset;
    irq->pba_offset = pba_offset;
    irq->table = calloc(vectors, sizeof *irq->table);
    irq->pending = calloc(pending_words(irq), sizeof *irq->pending);
    if (!irq->table || !irq->pending) {
        pci_irq_free(irq);
        return -ENOMEM;
    }
    pci_irq_reset(irq);
    return 0;
}

void pci_irq_free(struct pci_irq *irq)
{
    free(irq->table);
    free((void *)irq->pending);
    irq->table = NULL;
    irq->pending = NULL;
    irq->vector_count = 0;
}

static void vector_set(struct pci_vector *vec, uint64_t addr, uint32_t data, uint32_t control)
{
    atomic_fetch_add(&vec->seq, 1);
    atomic_store(&vec->addr, addr);
    atomic_store(&vec->data, data);
    atomic_store(&vec->control, control);
    atomic_fetch_add(&vec->seq, 1);
}

// The message of an unmasked vector. False where it is masked, or is just being changed: who
// changes it looks at the pending bit afterwards.
static bool vector_message(struct pci_vector *vec, uint64_t *addr, uint32_t *data)
{
    uint32_t seq = atomic_load(&vec->seq);
    uint32_t control = atomic_load(&vec->control);

    *addr = atomic_load(&vec->addr);
    *data = atomic_load(&vec->data);
    return !(seq & 1) && !(control & VECTOR_MASKED) && atomic_load(&vec->seq) == seq;
}

void pci_irq_reset(struct pci_irq *irq)
{
    atomic_store(&irq->state, 0);
    for (unsigned v = 0; v < irq->vector_count; v++)
        vector_set(&irq->table[v], 0, 0, VECTOR_MASKED);
    for (unsigned w = 0; w < pending_words(irq); w++)
        atomic_store(&irq->pending[w], 0);
    vector_set(&irq->msi, 0, 0, 0);
    atomic_store(&irq->msi_pending, 0);
}

static void send(struct pci_function *fn, unsigned vector, uint64_t addr, uint32_t data)
{
    const struct pci_interrupt_sink *sink = &fn->seg->sink;

    if (sink->raise)
        sink->raise(sink->ctx, fn->rid, vector, addr, data);
}

static void msix_deliver(struct pci_function *fn, unsigned vector)
{
    struct pci_irq *irq = &fn->irq;
    uint32_t state = atomic_load(&irq->state);
    uint64_t bit = BIT64(vector % 64), addr;
    uint32_t data;

    if ((state & (PCI_IRQ_MSIX_ENABLED | PCI_IRQ_MSIX_MASKED | PCI_IRQ_CAN_SEND)) !=
        (PCI_IRQ_MSIX_ENABLED | PCI_IRQ_CAN_SEND))
        return;
    if (!vector_message(&irq->table[vector], &addr, &data))
        return;
    if (atomic_fetch_and(&irq->pending[vector / 64], ~bit) & bit)
        send(fn, vector, addr, data);
}

static void msi_deliver(struct pci_function *fn)
{
    struct pci_irq *irq = &fn->irq;
    uint32_t state = atomic_load(&irq->state);
    uint64_t addr;
    uint32_t data;

    if ((state & (PCI_IRQ_MSIX_ENABLED | PCI_IRQ_MSI_ENABLED | PCI_IRQ_CAN_SEND)) !=
        (PCI_IRQ_MSI_ENABLED | PCI_IRQ_CAN_SEND))
        return;
    if (vector_message(&irq->msi, &addr, &data) && (atomic_fetch_and(&irq->msi_pending, ~1u) & 1))
        send(fn, 0, addr, data);
}

void pci_msix_raise(struct pci_function *fn, unsigned vector)
{
    struct pci_irq *irq = &fn->irq;
    uint32_t state = atomic_load(&irq->state);

    if (state & PCI_IRQ_MSIX_ENABLED) {
        if (vector >= irq->vector_count)
            return;
        atomic_fetch_or(&irq->pending[vector / 64], BIT64(vector % 64));
        msix_deliver(fn, vector);
    } else if (state & PCI_IRQ_MSI_ENABLED) {
        atomic_fetch_or(&irq->msi_pending, 1u);
        msi_deliver(fn);
    }
}

void pci_irq_set_state(struct pci_function *fn, uint32_t mask, uint32_t bits)
{
    struct pci_irq *irq = &fn->irq;
    uint32_t old = atomic_load(&irq->state);
    uint32_t new = (old & ~mask) | (bits & mask);

    atomic_store(&irq->state, new);
    // What a switched-off mechanism still had pending is not for the next driver.
    if (old & ~new &PCI_IRQ_MSIX_ENABLED) {
        for (unsigned w = 0; w < pending_words(irq); w++)
            atomic_store(&irq->pending[w], 0);
    }
    if (old & ~new &PCI_IRQ_MSI_ENABLED)
        atomic_store(&irq->msi_pending, 0);
    for (unsigned w = 0; w < pending_words(irq); w++) {
        uint64_t pending = atomic_load(&irq->pending[w]);

        for (; pending; pending &= pending - 1)
            msix_deliver(fn, w * 64 + (unsigned)__builtin_ctzll(pending));
    }
    if (atomic_load(&irq->msi_pending))
        msi_deliver(fn);
}

void pci_irq_set_msi(struct pci_function *fn, uint64_t addr, uint32_t data, bool masked)
{
    vector_set(&fn->irq.msi, addr, data, masked ? VECTOR_MASKED : 0);
    if (atomic_load(&fn->irq.msi_pending))
        msi_deliver(fn);
}

static uint64_t table_len(const struct pci_irq *irq)
{
    return (uint64_t)irq->vector_count * ENTRY_LEN_BYTES;
}

static bool overlaps(uint64_t offset, unsigned len, uint64_t base, uint64_t size)
{
    return offset < base + size && base < offset + len;
}

bool pci_irq_owns(const struct pci_irq *irq, unsigned bar, uint64_t offset, unsigned len)
{
    if (!irq->vector_count || bar != irq->bar)
        return false;
    return overlaps(offset, len, irq->table_offset, table_len(irq)) ||
           overlaps(offset, len, irq->pba_offset, 8ull * pending_words(irq));
}

// One dword of the table or the pending bits; others read zero.
static uint32_t dword_read(struct pci_irq *irq, uint64_t offset)
{
    if (overlaps(offset, 4, irq->table_offset, table_len(irq))) {
        struct pci_vector *vec = &irq->table[(offset - irq->table_offset) / ENTRY_LEN_BYTES];

        switch ((offset - irq->table_offset) % ENTRY_LEN_BYTES) {
        case 0:
            return (uint32_t)atomic_load(&vec->addr);
        case 4:
            return (uint32_t)(atomic_load(&vec->addr) >> 32);
        case 8:
            return atomic_load(&vec->data);
        default:
            return atomic_load(&vec->control);
        }
    }
    if (overlaps(offset, 4, irq->pba_offset, 8ull * pending_words(irq))) {
        uint64_t rel = offset - irq->pba_offset;

        return (uint32_t)(atomic_load(&irq->pending[rel / 8]) >> (rel % 8 * 8));
    }
    return 0;
}

uint64_t pci_irq_bar_read(struct pci_irq *irq, uint64_t offset, unsigned len)
{
    uint64_t start = bits_align_down(offset, 4);
    uint64_t value = dword_read(irq, start);

    if (len == 8)
        return value | (uint64_t)dword_read(irq, start + 4) << 32;
    value >>= (offset - start) * 8;
    return len == 4 ? value : value & (BIT64(len * 8) - 1);
}

static void dword_write(struct pci_function *fn, uint64_t offset, uint32_t value)
{
    struct pci_irq *irq = &fn->irq;
    struct pci_vector *vec;
    unsigned vector;
    uint64_t addr;
    uint32_t data, control;

    // Pending bits are read-only.
    if (!overlaps(offset, 4, irq->table_offset, table_len(irq)))
        return;
    vector = (unsigned)((offset - irq->table_offset) / ENTRY_LEN_BYTES);
    vec = &irq->table[vector];
    addr = atomic_load(&vec->addr);
    data = atomic_load(&vec->data);
    control = atomic_load(&vec->control);
    switch ((offset - irq->table_offset) % ENTRY_LEN_BYTES) {
    case 0:
        // The message is a dword write: bits 1-0 are zero (PCI 3.0 §6.8.2.7).
        addr = (addr & ~0xffffffffull) | (value & ~3u);
        break;
    case 4:
        addr = (addr & 0xffffffffull) | (uint64_t)value << 32;
        break;
    case 8:
        data = value;
        break;
    default:
        control = value & VECTOR_MASKED;
        break;
    }
    vector_set(vec, addr, data, control);
    if (atomic_load(&irq->pending[vector / 64]) & BIT64(vector % 64))
        msix_deliver(fn, vector);
}

void pci_irq_bar_write(struct pci_function *fn, uint64_t offset, unsigned len, uint64_t value)
{
    if (len < 4)
        return;
    dword_write(fn, offset, (uint32_t)value);
    if (len == 8)
        dword_write(fn, offset + 4, (uint32_t)(value >> 32));
}

// SPDX-License-Identifier: BSD-3-Clause
#include "host/irq.h"

#include <assert.h>
#include <errno.h>

// MSI-X capability and table (PCIe §7.7.2, §6.1.4.2).
enum {
    MSIX_CONTROL = 2,
    MSIX_CONTROL_SIZE_MASK = 0x7ff,
    MSIX_CONTROL_ENABLE = 0x8000,
    MSIX_ENTRY_ADDR_LO = 0,
    MSIX_ENTRY_ADDR_HI = 4,
    MSIX_ENTRY_DATA = 8,
    MSIX_ENTRY_CONTROL = 12,
    MSIX_ENTRY_MASKED = 1,
};

void host_irq_init(struct host_irq_table *table, struct gate *gate)
{
    *table = (struct host_irq_table){.gate = gate};
    for (unsigned i = 0; i < HOST_IRQS_MAX; i++)
        table->entry[i].fd = -1;
    host_signal_init(&table->sender);
}

void host_irq_fini(struct host_irq_table *table)
{
    host_signal_fini(&table->sender);
}

void host_irq_raise(void *ctx, rid_t rid, unsigned vector, uint64_t addr, uint32_t data)
{
    struct host_irq_table *table = ctx;

    (void)vector;
    if (addr != HOST_IRQ_ADDRESS || data >= HOST_IRQS_MAX || !table->entry[data].used ||
        table->entry[data].rid.v != rid.v || table->entry[data].fd < 0) {
        atomic_fetch_add_explicit(&table->stray, 1, memory_order_relaxed);
        return;
    }
    if (host_signal_send(&table->sender, table->entry[data].fd))
        atomic_fetch_add_explicit(&table->entry[data].raised, 1, memory_order_relaxed);
}

int host_irq_alloc(struct host_irq_table *table, rid_t rid, unsigned count)
{
    unsigned run = 0;

    for (unsigned i = 0; i < HOST_IRQS_MAX; i++) {
        run = table->entry[i].used ? 0 : run + 1;
        if (run < count)
            continue;
        gate_close(table->gate);
        for (unsigned j = i + 1 - count; j <= i; j++) {
            table->entry[j].used = true;
            table->entry[j].rid = rid;
            table->entry[j].fd = -1;
            atomic_store_explicit(&table->entry[j].raised, 0, memory_order_relaxed);
        }
        gate_open(table->gate);
        return (int)(i + 1 - count);
    }
    return -ENOSPC;
}

void host_irq_free(struct host_irq_table *table, unsigned first, unsigned count)
{
    assert(first + count <= HOST_IRQS_MAX);
    gate_close(table->gate);
    for (unsigned i = first; i < first + count; i++) {
        table->entry[i].used = false;
        table->entry[i].fd = -1;
    }
    gate_open(table->gate);
}

void host_irq_set_fd(struct host_irq_table *table, unsigned index, int fd)
{
    assert(index < HOST_IRQS_MAX && table->entry[index].used);
    gate_close(table->gate);
    table->entry[index].fd = fd;
    gate_open(table->gate);
}

uint64_t host_irq_raised(const struct host_irq_table *table, unsigned first, unsigned count)
{
    uint64_t sum = 0;

    for (unsigned i = first; i < first + count; i++)
        sum += atomic_load_explicit(&table->entry[i].raised, memory_order_relaxed);
    return sum;
}

void host_irq_program_msix(struct pci_segment *seg, rid_t rid, uint32_t cap, uint64_t table_addr,
                           unsigned first, unsigned count)
{
    uint32_t control = pci_config_read(seg, rid, cap + MSIX_CONTROL, 2);
    unsigned size = (control & MSIX_CONTROL_SIZE_MASK) + 1;

    for (unsigned i = 0; i < size; i++) {
        uint64_t entry = table_addr + i * HOST_MSIX_ENTRY_LEN;

        // Masked while it changes, so that no half-written message is ever sent (PCIe §6.1.4.2).
        pci_mem_write(seg, entry + MSIX_ENTRY_CONTROL, 4, MSIX_ENTRY_MASKED);
        if (i >= count)
            continue;
        pci_mem_write(seg, entry + MSIX_ENTRY_ADDR_LO, 4, HOST_IRQ_ADDRESS);
        pci_mem_write(seg, entry + MSIX_ENTRY_ADDR_HI, 4, 0);
        pci_mem_write(seg, entry + MSIX_ENTRY_DATA, 4, first + i);
        pci_mem_write(seg, entry + MSIX_ENTRY_CONTROL, 4, 0);
    }
    control &= ~(uint32_t)MSIX_CONTROL_ENABLE;
    if (count)
        control |= MSIX_CONTROL_ENABLE;
    pci_config_write(seg, rid, cap + MSIX_CONTROL, 2, control);
}

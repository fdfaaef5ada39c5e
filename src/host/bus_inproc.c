// SPDX-License-Identifier: BSD-3-Clause
#include "host/bus_inproc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bits.h"
#include "driver/bus_irq.h"

#define DMA_ALIGN 0x200000ull // IOVAs congruent to our own mapping: superpages

struct bus_inproc {
    struct driver_bus bus;
    const struct host_machine *machine;
    struct host_irq_table *irqs;
    struct host_function fn;
    struct host_domain *domain;
    uint64_t next_iova;
    struct bus_irqs irq_fds;
    unsigned vector_count, irq_first; // of the host's interrupt table; only where there are any
};

static struct bus_inproc *inproc_of(struct driver_bus *bus)
{
    return container_of(bus, struct bus_inproc, bus);
}

static uint32_t inproc_config_read(struct driver_bus *bus, uint32_t offset, unsigned len)
{
    struct bus_inproc *in = inproc_of(bus);

    return pci_config_read(in->machine->seg, in->fn.rid, offset, len);
}

static void inproc_config_write(struct driver_bus *bus, uint32_t offset, unsigned len,
                                uint32_t value)
{
    struct bus_inproc *in = inproc_of(bus);

    pci_config_write(in->machine->seg, in->fn.rid, offset, len, value);
}

static uint32_t inproc_reg_read(struct driver_bus *bus, uint32_t offset)
{
    struct bus_inproc *in = inproc_of(bus);

    return (uint32_t)pci_mem_read(in->machine->seg, in->fn.bar[0].addr + offset, 4);
}

static void inproc_reg_write(struct driver_bus *bus, uint32_t offset, uint32_t value)
{
    struct bus_inproc *in = inproc_of(bus);

    pci_mem_write(in->machine->seg, in->fn.bar[0].addr + offset, 4, value);
}

static int inproc_dma_alloc(struct driver_bus *bus, uint64_t len_bytes, struct driver_dma *out)
{
    struct bus_inproc *in = inproc_of(bus);
    uint64_t len = bits_align_up(len_bytes, 4096);
    struct mem_region *region;
    uint64_t iova;
    int ret;

    if (!len_bytes || len < len_bytes)
        return -EINVAL;
    gate_close(in->machine->gate);
    ret = mem_region_alloc(in->machine->space, len, &region);
    if (!ret) {
        hpa_t hpa = mem_region_hpa(region);

        iova = bits_align_up(in->next_iova, DMA_ALIGN) + (hpa.v & (DMA_ALIGN - 1));
        ret = host_domain_map(in->domain, iova, hpa, len, MEM_READ | MEM_WRITE);
        if (ret) {
            mem_region_remove(in->machine->space, region);
        } else {
            in->next_iova = iova + len;
            *out = (struct driver_dma){mem_region_host(region), iova, len, region};
        }
    }
    gate_open(in->machine->gate);
    return ret;
}

static void inproc_dma_free(struct driver_bus *bus, struct driver_dma *dma)
{
    struct bus_inproc *in = inproc_of(bus);

    gate_close(in->machine->gate);
    host_domain_unmap(in->domain, dma->iova, dma->len_bytes);
    mem_region_remove(in->machine->space, dma->opaque);
    gate_open(in->machine->gate);
    *dma = (struct driver_dma){0};
}

static void msix_program(struct bus_inproc *in)
{
    host_irq_program_msix(in->machine->seg, in->fn.rid, in->fn.cap_msix,
                          host_function_msix_table(&in->fn), in->irq_first, in->vector_count);
}

static int set_msix(struct driver_bus *bus, const int *fds, unsigned count)
{
    struct bus_inproc *in = inproc_of(bus);
    unsigned before = in->vector_count;
    int first;

    in->vector_count = 0;
    if (before) {
        msix_program(in);
        host_irq_free(in->irqs, in->irq_first, before);
    }
    if (!count)
        return 0;
    first = host_irq_alloc(in->irqs, in->fn.rid, count);
    if (first < 0)
        return first;
    for (unsigned i = 0; i < count; i++)
        host_irq_set_fd(in->irqs, (unsigned)first + i, fds[i]);
    in->irq_first = (unsigned)first;
    in->vector_count = count;
    msix_program(in);
    return 0;
}

static int inproc_irq_enable(struct driver_bus *bus, unsigned vectors, int *fds)
{
    struct bus_inproc *in = inproc_of(bus);
    unsigned available = in->fn.cap_msix ? in->fn.msix_vectors : 0;

    return bus_irqs_enable(&in->irq_fds, bus, set_msix, available, vectors, fds);
}

static int inproc_reset(struct driver_bus *bus)
{
    struct bus_inproc *in = inproc_of(bus);
    int ret = host_function_flr(in->machine->seg, &in->fn);

    if (ret)
        return ret;
    host_function_restore(in->machine->seg, &in->fn);
    if (in->vector_count)
        msix_program(in);
    return 0;
}

static void inproc_close(struct driver_bus *bus)
{
    struct bus_inproc *in = inproc_of(bus);

    set_msix(bus, NULL, 0);
    bus_irqs_close(&in->irq_fds);
    if (in->domain) {
        host_domain_detach(in->domain, in->fn.rid);
        host_domain_destroy(in->domain);
    }
    free(in);
}

static const struct driver_bus_ops inproc_ops = {
    .config_read = inproc_config_read,
    .config_write = inproc_config_write,
    .reg_read = inproc_reg_read,
    .reg_write = inproc_reg_write,
    .dma_alloc = inproc_dma_alloc,
    .dma_free = inproc_dma_free,
    .irq_enable = inproc_irq_enable,
    .reset = inproc_reset,
    .close = inproc_close,
};

int host_bus_inproc_open(const struct host_machine *machine, struct host_iommu *iommu,
                         struct host_irq_table *irqs, const struct host_function *fn,
                         const char *name, struct driver_bus **out)
{
    struct bus_inproc *in = calloc(1, sizeof *in);
    int ret;

    if (!in)
        return -ENOMEM;
    in->bus.ops = &inproc_ops;
    snprintf(in->bus.name, sizeof in->bus.name, "%s", name);
    in->machine = machine;
    in->irqs = irqs;
    in->fn = *fn;
    in->next_iova = HOST_BUS_DMA_BASE;
    ret = host_domain_create(iommu, &in->domain);
    if (!ret) {
        ret = host_domain_attach(in->domain, fn->rid);
        if (ret)
            host_domain_destroy(in->domain);
    }
    if (ret) {
        free(in);
        return ret;
    }
    *out = &in->bus;
    return 0;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "host/bus_inproc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"

#define BUS_VECTORS_MAX 16u
#define DMA_ALIGN       0x200000ull // IOVAs congruent to our own mapping: superpages

struct bus_inproc {
    struct driver_bus bus;
    const struct host_machine *machine;
    struct host_irq_table *irqs;
    struct host_function fn;
    struct host_domain *domain;
    uint64_t next_iova;
    unsigned vector_count;
    int irq_first;
    int fds[BUS_VECTORS_MAX];
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

static void irqs_release(struct bus_inproc *in)
{
    if (in->irq_first < 0)
        return;
    host_irq_program_msix(in->machine->seg, in->fn.rid, in->fn.cap_msix,
                          host_function_msix_table(&in->fn), 0, 0);
    host_irq_free(in->irqs, (unsigned)in->irq_first, in->vector_count);
    for (unsigned i = 0; i < in->vector_count; i++)
        close(in->fds[i]);
    in->irq_first = -1;
}

static int inproc_irq_enable(struct driver_bus *bus, unsigned vectors, int *fds)
{
    struct bus_inproc *in = inproc_of(bus);
    int first;

    if (!in->fn.cap_msix || !vectors || vectors > in->fn.msix_vectors || vectors > BUS_VECTORS_MAX)
        return -ENOTSUP;
    if (in->irq_first >= 0)
        return -EBUSY;
    first = host_irq_alloc(in->irqs, in->fn.rid, vectors);
    if (first < 0)
        return first;
    for (unsigned i = 0; i < vectors; i++) {
        in->fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (in->fds[i] < 0) {
            int ret = -errno;

            while (i--)
                close(in->fds[i]);
            host_irq_free(in->irqs, (unsigned)first, vectors);
            return ret;
        }
    }
    for (unsigned i = 0; i < vectors; i++) {
        host_irq_set_fd(in->irqs, (unsigned)first + i, in->fds[i]);
        fds[i] = in->fds[i];
    }
    in->irq_first = first;
    in->vector_count = vectors;
    host_irq_program_msix(in->machine->seg, in->fn.rid, in->fn.cap_msix,
                          host_function_msix_table(&in->fn), (unsigned)first, vectors);
    return 0;
}

static int inproc_reset(struct driver_bus *bus)
{
    struct bus_inproc *in = inproc_of(bus);
    int ret = host_function_flr(in->machine->seg, &in->fn);

    if (ret)
        return ret;
    host_function_restore(in->machine->seg, &in->fn);
    if (in->irq_first >= 0)
        host_irq_program_msix(in->machine->seg, in->fn.rid, in->fn.cap_msix,
                              host_function_msix_table(&in->fn), (unsigned)in->irq_first,
                              in->vector_count);
    return 0;
}

static void inproc_close(struct driver_bus *bus)
{
    struct bus_inproc *in = inproc_of(bus);

    irqs_release(in);
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
    in->irq_first = -1;
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

// SPDX-License-Identifier: BSD-3-Clause
#include "mem/dma.h"

#include <assert.h>

void dma_port_init(struct dma_port *port, rid_t rid, const struct dma_port_ops *ops, void *ctx,
                   const dma_generation_t *generation)
{
    memset(port, 0, sizeof *port);
    port->rid = rid;
    port->ops = ops;
    port->ctx = ctx;
    port->generation = generation;
}

void dma_port_flush(struct dma_port *port)
{
    memset(port->small, 0, sizeof port->small);
    memset(port->large, 0, sizeof port->large);
}

static bool in_interrupt_range(uint64_t iova)
{
    return iova - DMA_INTERRUPT_BASE < DMA_INTERRUPT_LEN;
}

// A large page of the tables may span the interrupt range; what is cached must not.
static void narrow_to_small(struct dma_translation *t, uint64_t iova)
{
    uint64_t page = bits_align_down(iova, 1ull << DMA_SMALL_SHIFT);

    t->host += page - t->iova;
    t->iova = page;
    t->shift = DMA_SMALL_SHIFT;
}

const struct dma_translation *dma_port_fill(struct dma_port *port, iova_t iova,
                                            enum dma_access access)
{
    struct dma_translation t = {0}, *slot;
    // acquire: pairs with the release of whoever moves the generation on. Read before the walk: an
    // invalidation during the walk makes the result stale at once.
    uint64_t gen = atomic_load_explicit(port->generation, memory_order_acquire);

    port->miss_count++;
    if (in_interrupt_range(iova.v)) {
        port->ops->refuse(port->ctx, port->rid, iova, access);
        port->fault_count++;
        return NULL;
    }
    if (port->ops->translate(port->ctx, port->rid, iova, access, &t)) {
        port->fault_count++;
        return NULL;
    }
    assert(t.shift == DMA_SMALL_SHIFT || t.shift == DMA_LARGE_SHIFT);
    assert(t.iova == bits_align_down(iova.v, 1ull << t.shift) && (t.access & access));
    if (t.shift == DMA_LARGE_SHIFT &&
        t.iova == bits_align_down(DMA_INTERRUPT_BASE, 1ull << DMA_LARGE_SHIFT))
        narrow_to_small(&t, iova.v);
    t.generation = gen;
    if (t.shift == DMA_LARGE_SHIFT)
        slot = &port->large[(iova.v >> DMA_LARGE_SHIFT) & (DMA_LARGE_ENTRIES - 1)];
    else
        slot = &port->small[(iova.v >> DMA_SMALL_SHIFT) & (DMA_SMALL_ENTRIES - 1)];
    *slot = t;
    return slot;
}

// An access that would run over the end of the 64-bit address space is one that no page covers.
static bool wraps(struct dma_port *port, iova_t iova, uint32_t len_bytes, enum dma_access access)
{
    if (likely(!len_bytes || iova.v + (len_bytes - 1) >= iova.v))
        return false;
    if (port->bus_master) {
        port->ops->refuse(port->ctx, port->rid, iova, access);
        port->fault_count++;
    } else {
        port->blocked_count++;
    }
    return true;
}

int dma_read(struct dma_port *port, iova_t iova, void *dst, uint32_t len_bytes)
{
    uint8_t *to = dst;

    if (wraps(port, iova, len_bytes, DMA_READ))
        return -EFAULT;
    while (len_bytes) {
        uint32_t run;
        const void *from = dma_at(port, iova, len_bytes, DMA_READ, &run);

        if (!from)
            return -EFAULT;
        memcpy(to, from, run);
        to += run;
        iova.v += run;
        len_bytes -= run;
    }
    return 0;
}

int dma_write(struct dma_port *port, iova_t iova, const void *src, uint32_t len_bytes)
{
    const uint8_t *from = src;

    if (wraps(port, iova, len_bytes, DMA_WRITE))
        return -EFAULT;
    while (len_bytes) {
        uint32_t run;
        void *to = dma_at(port, iova, len_bytes, DMA_WRITE, &run);

        if (!to)
            return -EFAULT;
        memcpy(to, from, run);
        from += run;
        iova.v += run;
        len_bytes -= run;
    }
    return 0;
}

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
    memset(port->run, 0, sizeof port->run);
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

static bool find_page(const struct dma_port *port, uint64_t iova, uint64_t generation,
                      enum dma_access access, struct dma_run *out)
{
    const struct dma_translation *t =
        &port->large[(iova >> DMA_LARGE_SHIFT) & (DMA_LARGE_ENTRIES - 1)];

    if (t->generation != generation || (iova - t->iova) >> DMA_LARGE_SHIFT) {
        t = &port->small[(iova >> DMA_SMALL_SHIFT) & (DMA_SMALL_ENTRIES - 1)];
        if (t->generation != generation || (iova - t->iova) >> DMA_SMALL_SHIFT)
            return false;
    }
    *out = (struct dma_run){t->iova, 1ull << t->shift, t->host, t->generation, t->access};
    return t->access & access;
}

bool dma_run_find(const struct dma_port *port, uint64_t iova, enum dma_access access,
                  struct dma_run *out)
{
    uint64_t generation = atomic_load_explicit(port->generation, memory_order_acquire);

    if (!port->bus_master)
        return false;
    for (unsigned i = 0; i < DMA_RUNS; i++) {
        const struct dma_run *run = &port->run[i];

        if (iova - run->iova < run->len_bytes && run->generation == generation &&
            (run->access & access)) {
            *out = *run;
            return true;
        }
    }
    return find_page(port, iova, generation, access, out);
}

// Joins `with` onto `run` where it follows it. Both are of the same generation and access.
static bool join(struct dma_run *run, const struct dma_run *with)
{
    if (run->iova + run->len_bytes != with->iova || run->host + run->len_bytes != with->host ||
        !with->iova) // that would be round the end of the address space
        return false;
    run->len_bytes += with->len_bytes;
    return true;
}

// Adds a page that was walked to the runs: onto its neighbours, or else in the place of the
// shortest, so that a run that has grown stays.
static void add_to_runs(struct dma_port *port, const struct dma_translation *t)
{
    struct dma_run grown = {t->iova, 1ull << t->shift, t->host, t->generation, t->access};
    struct dma_run *slot = NULL;

    for (unsigned i = 0; i < DMA_RUNS; i++) {
        struct dma_run *run = &port->run[i];

        if (run->generation != t->generation) {
            *run = (struct dma_run){0}; // stale, or empty
        } else if (t->iova - run->iova < run->len_bytes) {
            // Walked again since the tables now allow more, without an invalidation: as if new.
            *run = (struct dma_run){0};
        } else if (run->access == t->access) {
            if (join(run, &grown)) {
                grown = *run;
                *run = (struct dma_run){0};
            } else if (join(&grown, run)) {
                *run = (struct dma_run){0};
            }
        }
        if (!slot || run->len_bytes < slot->len_bytes)
            slot = run;
    }
    *slot = grown;
}

// A page of a run, as a translation for the caches: a large one where the run has all of it.
static bool find_in_runs(const struct dma_port *port, uint64_t iova, enum dma_access access,
                         struct dma_translation *out)
{
    uint64_t page = bits_align_down(iova, 1ull << DMA_LARGE_SHIFT);
    struct dma_run run;

    if (!dma_run_find(port, iova, access, &run))
        return false;
    *out = (struct dma_translation){
        .generation = run.generation, .shift = DMA_LARGE_SHIFT, .access = run.access};
    if (!dma_run_at(&run, page, 1u << DMA_LARGE_SHIFT)) {
        out->shift = DMA_SMALL_SHIFT;
        page = bits_align_down(iova, 1ull << DMA_SMALL_SHIFT);
    }
    out->iova = page;
    out->host = run.host + (page - run.iova);
    return true;
}

static struct dma_translation *slot_of(struct dma_port *port, uint64_t iova, uint8_t shift)
{
    if (shift == DMA_LARGE_SHIFT)
        return &port->large[(iova >> DMA_LARGE_SHIFT) & (DMA_LARGE_ENTRIES - 1)];
    return &port->small[(iova >> DMA_SMALL_SHIFT) & (DMA_SMALL_ENTRIES - 1)];
}

const struct dma_translation *dma_port_fill(struct dma_port *port, iova_t iova,
                                            enum dma_access access)
{
    struct dma_translation t = {0}, *slot;
    // acquire: pairs with the release of whoever moves the generation on. Read before the walk: an
    // invalidation during the walk makes the result stale at once.
    uint64_t gen = atomic_load_explicit(port->generation, memory_order_acquire);

    if (find_in_runs(port, iova.v, access, &t)) {
        slot = slot_of(port, iova.v, t.shift);
        *slot = t;
        return slot;
    }
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
    add_to_runs(port, &t);
    slot = slot_of(port, iova.v, t.shift);
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

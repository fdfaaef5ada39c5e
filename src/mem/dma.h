// SPDX-License-Identifier: BSD-3-Clause
// The DMA port: how a function reaches memory. One port a function and worker.
//
// A port issues accesses as one requester ID. Each goes through the translation of `ops` (the
// IOMMU); what was translated is cached here, in the port, the way a device's ATC would, and
// dropped when the IOMMU's generation moves on. A miss walks the real tables. A refused access
// touches no memory: the IOMMU has recorded the fault, the port counts it, the caller gets NULL or
// -EFAULT.
//
// Threads: a port is used by one worker, inside the gate. bus_master changes with the gate closed.
#ifndef VIREO_MEM_DMA_H
#define VIREO_MEM_DMA_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bits.h"
#include "mem/address.h"

enum dma_access { DMA_READ = 1, DMA_WRITE = 2 };

#define DMA_SMALL_SHIFT   12
#define DMA_LARGE_SHIFT   21
#define DMA_SMALL_ENTRIES 256u // direct-mapped, a 4 KiB page each
#define DMA_LARGE_ENTRIES 64u  // direct-mapped, a 2 MiB page each (1 GiB pages fill one at a time)
#define DMA_RUNS          8u   // runs of pages that are neighbours on both sides

// Writes to this range are interrupt messages, never translated (VT-d §3.13).
#define DMA_INTERRUPT_BASE 0xfee00000ull
#define DMA_INTERRUPT_LEN  0x00100000ull

// Moves on with every invalidation, starts at 1. 64 bits: a count that could wrap would let a VM,
// with patience, bring an old translation back to life.
typedef _Atomic uint64_t dma_generation_t;

// One translated page: [iova, iova + (1 << shift)) is at host address `host`.
struct dma_translation {
    uint64_t iova; // aligned to 1 << shift
    uint8_t *host;
    uint64_t generation; // of the IOMMU, read before the walk; 0 in an empty entry. dma_port_fill()
                         // sets it, not the translator
    uint8_t shift;       // DMA_SMALL_SHIFT or DMA_LARGE_SHIFT: the largest of the two that the page
                         // tables and the region both allow
    uint8_t access;      // mask of enum dma_access that is allowed
};

// Translated pages that are neighbours here as they are there: [iova, iova + len_bytes) is at
// `host`. Each page of it was walked on its own. A pool of buffers, or all memory of a VM, is one
// run, whatever the size of its pages: one comparison tells that a buffer lies in it.
struct dma_run {
    uint64_t iova, len_bytes;
    uint8_t *host;
    uint64_t generation; // as in struct dma_translation
    uint8_t access;
};

struct dma_port_ops {
    // Translates the page that holds `iova` for one access of kind `access`. 0 and *out, or -EFAULT
    // with the fault recorded.
    int (*translate)(void *ctx, rid_t rid, iova_t iova, enum dma_access access,
                     struct dma_translation *out);
    // Records a fault for an access that never reaches translation (an interrupt-range access).
    void (*refuse)(void *ctx, rid_t rid, iova_t iova, enum dma_access access);
};

struct dma_port {
    const struct dma_port_ops *ops;
    void *ctx;
    const dma_generation_t *generation; // the IOMMU's
    rid_t rid;
    bool bus_master;        // PCI Command bit 2; while clear, nothing is issued
    uint64_t fault_count;   // accesses the IOMMU refused
    uint64_t blocked_count; // accesses not issued for want of bus mastering
    uint64_t miss_count;    // walks
    struct dma_translation small[DMA_SMALL_ENTRIES];
    struct dma_translation large[DMA_LARGE_ENTRIES];
    struct dma_run run[DMA_RUNS];
};

void dma_port_init(struct dma_port *port, rid_t rid, const struct dma_port_ops *ops, void *ctx,
                   const dma_generation_t *generation);
// Drops all cached translations of this port.
void dma_port_flush(struct dma_port *port);

// Slow path of dma_at(): from a run, or walk; and cache.
const struct dma_translation *dma_port_fill(struct dma_port *port, iova_t iova,
                                            enum dma_access access);

static inline const struct dma_translation *dma_port_lookup(struct dma_port *port, iova_t iova,
                                                            enum dma_access access)
{
    uint64_t gen = atomic_load_explicit(port->generation, memory_order_acquire);
    const struct dma_translation *t =
        &port->large[(iova.v >> DMA_LARGE_SHIFT) & (DMA_LARGE_ENTRIES - 1)];

    if (likely(t->iova == bits_align_down(iova.v, 1ull << DMA_LARGE_SHIFT) &&
               t->generation == gen && (t->access & access)))
        return t;
    t = &port->small[(iova.v >> DMA_SMALL_SHIFT) & (DMA_SMALL_ENTRIES - 1)];
    if (likely(t->iova == bits_align_down(iova.v, 1ull << DMA_SMALL_SHIFT) &&
               t->generation == gen && (t->access & access)))
        return t;
    return dma_port_fill(port, iova, access);
}

// The host address of `iova`, and in *run how many of the `len` bytes (> 0) from there on one
// translation covers: 1 … len. NULL where refused. The pointer is good until the worker next leaves
// the gate.
static inline void *dma_at(struct dma_port *port, iova_t iova, uint32_t len_bytes,
                           enum dma_access access, uint32_t *run)
{
    const struct dma_translation *t;
    uint64_t offset, left;

    if (unlikely(!port->bus_master)) {
        port->blocked_count++;
        return NULL;
    }
    t = dma_port_lookup(port, iova, access);
    if (unlikely(!t))
        return NULL;
    offset = iova.v - t->iova;
    left = (1ull << t->shift) - offset;
    *run = left < len_bytes ? (uint32_t)left : len_bytes;
    return t->host + offset;
}

// The host address of all of [iova, iova+len), or NULL where it is refused *or* is not contiguous
// here: fall back on dma_read/dma_write then.
static inline void *dma_span(struct dma_port *port, iova_t iova, uint32_t len_bytes,
                             enum dma_access access)
{
    uint32_t run;
    void *p = dma_at(port, iova, len_bytes, access, &run);

    return p && run == len_bytes ? p : NULL;
}

// The host address of all of [iova, iova+len), where one cached translation covers it; else NULL.
// Never walks, never faults: for the short way through, and for what is only likely to be accessed.
static inline void *dma_peek(const struct dma_port *port, uint64_t iova, uint32_t len_bytes,
                             enum dma_access access)
{
    uint64_t gen = atomic_load_explicit(port->generation, memory_order_acquire), offset;
    const struct dma_translation *t =
        &port->large[(iova >> DMA_LARGE_SHIFT) & (DMA_LARGE_ENTRIES - 1)];

    offset = iova - t->iova;
    if (unlikely(offset >> DMA_LARGE_SHIFT || t->generation != gen)) {
        t = &port->small[(iova >> DMA_SMALL_SHIFT) & (DMA_SMALL_ENTRIES - 1)];
        offset = iova - t->iova;
        if (offset >> DMA_SMALL_SHIFT || t->generation != gen)
            return NULL;
    }
    if (unlikely(!(t->access & access) || len_bytes > (1ull << t->shift) - offset ||
                 !port->bus_master))
        return NULL;
    return t->host + offset;
}

// The run that holds `iova`, or else the page, into *out: good until the worker next leaves the gate.
// False where neither is cached, or `access` is not allowed, or nothing may be issued. Never walks,
// never faults, as dma_peek(): whoever gets false goes through dma_at(), which fills the caches.
bool dma_run_find(const struct dma_port *port, uint64_t iova, enum dma_access access,
                  struct dma_run *out);

// The host address of all of [iova, iova+len) where it lies in `run`, else NULL.
static inline uint8_t *dma_run_at(const struct dma_run *run, uint64_t iova, uint32_t len_bytes)
{
    uint64_t offset = iova - run->iova;

    if (unlikely(offset >= run->len_bytes || len_bytes > run->len_bytes - offset))
        return NULL;
    return run->host + offset;
}

// Copies `len` bytes (0 allowed), page by page. 0, or -EFAULT where any page was refused; bytes
// before that page have then been copied.
int dma_read(struct dma_port *port, iova_t iova, void *dst, uint32_t len_bytes);
int dma_write(struct dma_port *port, iova_t iova, const void *src, uint32_t len_bytes);

#endif

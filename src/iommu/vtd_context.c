// SPDX-License-Identifier: BSD-3-Clause
#include "iommu/vtd_context.h"

#include <endian.h>

static uint64_t load64(const void *p)
{
    // Once, and whole: whoever owns the tables may be writing them.
    return le64toh(__atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED));
}

// Both halves of the 16-byte entry `index` of the table at `table`.
static bool entry_read(const struct mem_space *space, uint64_t table, unsigned index, uint64_t *lo,
                       uint64_t *hi)
{
    const uint8_t *p = mem_space_at(space, (hpa_t){table + index * VTD_CONTEXT_ENTRY_BYTES},
                                    VTD_CONTEXT_ENTRY_BYTES, MEM_READ, NULL);

    if (!p)
        return false;
    *lo = load64(p);
    *hi = load64(p + 8);
    return true;
}

static enum vtd_fault tables_read(const struct mem_space *space, hpa_t root, rid_t rid,
                                  uint64_t *lo, uint64_t *hi)
{
    uint64_t root_lo, root_hi;

    if (!entry_read(space, root.v, rid.v >> 8, &root_lo, &root_hi))
        return VTD_FAULT_ROOT_ACCESS;
    if (!(root_lo & VTD_ROOT_P))
        return VTD_FAULT_ROOT_NOT_PRESENT;
    if ((root_lo & VTD_ROOT_RESERVED) || root_hi)
        return VTD_FAULT_ROOT_RESERVED;
    if (!entry_read(space, root_lo & VTD_ADDR_MASK, rid.v & 0xff, lo, hi))
        return VTD_FAULT_CONTEXT_ACCESS;
    return VTD_FAULT_NONE;
}

static enum vtd_fault entry_decode(uint64_t lo, uint64_t hi, struct vtd_context *out)
{
    unsigned type = (unsigned)(lo & VTD_CONTEXT_LO_T_MASK) >> VTD_CONTEXT_LO_T_SHIFT;
    unsigned width = (unsigned)(hi & VTD_CONTEXT_HI_AW_MASK);

    // FPD holds whether or not the entry is present (§9.3).
    out->faults_hidden = lo & VTD_CONTEXT_LO_FPD;
    if (!(lo & VTD_CONTEXT_LO_P))
        return VTD_FAULT_CONTEXT_NOT_PRESENT;
    if ((lo & VTD_CONTEXT_LO_RESERVED) || (hi & VTD_CONTEXT_HI_RESERVED))
        return VTD_FAULT_CONTEXT_RESERVED;
    if (type != VTD_CONTEXT_T_SECOND_STAGE && type != VTD_CONTEXT_T_PASS_THROUGH)
        return VTD_FAULT_CONTEXT_INVALID;
    if (width != VTD_CONTEXT_AW_39 && width != VTD_CONTEXT_AW_48)
        return VTD_FAULT_CONTEXT_INVALID;
    out->table.v = lo & VTD_ADDR_MASK;
    out->levels = width == VTD_CONTEXT_AW_39 ? 3 : 4;
    out->pass_through = type == VTD_CONTEXT_T_PASS_THROUGH;
    return VTD_FAULT_NONE;
}

static bool slot_read(struct vtd_context_slot *slot, uint64_t generation, rid_t rid, uint64_t *lo,
                      uint64_t *hi)
{
    // acquire: pairs with the release at the end of slot_fill()
    uint32_t seq = atomic_load_explicit(&slot->seq, memory_order_acquire);
    bool hit = atomic_load_explicit(&slot->generation, memory_order_relaxed) == generation &&
               atomic_load_explicit(&slot->rid, memory_order_relaxed) == rid.v;

    *lo = atomic_load_explicit(&slot->lo, memory_order_relaxed);
    *hi = atomic_load_explicit(&slot->hi, memory_order_relaxed);
    // acquire: pairs with the release fence in slot_fill()
    atomic_thread_fence(memory_order_acquire);
    return hit && !(seq & 1) && atomic_load_explicit(&slot->seq, memory_order_relaxed) == seq;
}

static void slot_fill(struct vtd_context_slot *slot, uint64_t generation, rid_t rid, uint64_t lo,
                      uint64_t hi)
{
    uint32_t seq = atomic_load_explicit(&slot->seq, memory_order_relaxed);

    // Somebody else is at it: the cache can do without this one.
    if ((seq & 1) || !atomic_compare_exchange_strong_explicit(
                         &slot->seq, &seq, seq + 1, memory_order_acquire, memory_order_relaxed))
        return;
    // release: pairs with the acquire fence in slot_read()
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&slot->generation, generation, memory_order_relaxed);
    atomic_store_explicit(&slot->rid, rid.v, memory_order_relaxed);
    atomic_store_explicit(&slot->lo, lo, memory_order_relaxed);
    atomic_store_explicit(&slot->hi, hi, memory_order_relaxed);
    // release: pairs with the acquire in slot_read()
    atomic_store_explicit(&slot->seq, seq + 2, memory_order_release);
}

enum vtd_fault vtd_context_find(struct vtd_context_cache *cache, const struct mem_space *space,
                                hpa_t root, uint64_t generation, rid_t rid, struct vtd_context *out)
{
    struct vtd_context_slot *slot = &cache->slots[(rid.v ^ rid.v >> 8) % VTD_CONTEXT_CACHE_ENTRIES];
    enum vtd_fault fault;
    uint64_t lo, hi;

    *out = (struct vtd_context){0};
    if (slot_read(slot, generation, rid, &lo, &hi))
        return entry_decode(lo, hi, out);
    fault = tables_read(space, root, rid, &lo, &hi);
    if (fault)
        return fault;
    fault = entry_decode(lo, hi, out);
    // What is not there is not cached (CAP.CM = 0): software need not invalidate to add it (§6.1).
    if (!fault)
        slot_fill(slot, generation, rid, lo, hi);
    return fault;
}

// SPDX-License-Identifier: BSD-3-Clause
// From requester ID to domain: root table, context table (VT-d §3.4, §9.1, §9.3), and the context
// cache in front of them.
// Threads: any number of walkers at once; nobody waits for anybody.
#ifndef VIREO_IOMMU_VTD_CONTEXT_H
#define VIREO_IOMMU_VTD_CONTEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "iommu/vtd_format.h"
#include "mem/space.h"

#define VTD_CONTEXT_CACHE_ENTRIES 256u // direct-mapped

struct vtd_context {
    hpa_t table;        // of the top level
    unsigned levels;    // 3 or 4
    bool pass_through;  // addresses are not translated
    bool faults_hidden; // FPD: qualified faults are not recorded
};

struct vtd_context_cache {
    struct vtd_context_slot {
        _Atomic uint32_t seq; // odd while a walker fills the slot
        _Atomic uint32_t rid;
        _Atomic uint64_t generation, lo, hi;
    } slots[VTD_CONTEXT_CACHE_ENTRIES];
};

// The context of `rid`, from the cache where it was put there in the same `generation` (which the
// caller read before), else from the tables at `root`. VTD_FAULT_NONE, or the reason; then only
// out->faults_hidden means something.
enum vtd_fault vtd_context_find(struct vtd_context_cache *cache, const struct mem_space *space,
                                hpa_t root, uint64_t generation, rid_t rid,
                                struct vtd_context *out);

#endif

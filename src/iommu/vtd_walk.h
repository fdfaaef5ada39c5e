// SPDX-License-Identifier: BSD-3-Clause
// The walk through second-stage page tables (VT-d §3.7, §9.8). Pure reads; any thread.
#ifndef VIREO_IOMMU_VTD_WALK_H
#define VIREO_IOMMU_VTD_WALK_H

#include <stdint.h>

#include "iommu/vtd_format.h"
#include "mem/dma.h"
#include "mem/space.h"

struct vtd_page {
    hpa_t hpa;       // of the page's first byte
    unsigned shift;  // of the page: 12, 21 or 30
    unsigned access; // mask of enum dma_access
};

// Finds the page of `iova` in the tables of `levels` (3 or 4) levels at `table`. VTD_FAULT_NONE and
// *out, or the reason. At most `levels` reads, whatever the tables hold.
enum vtd_fault vtd_walk(const struct mem_space *space, hpa_t table, unsigned levels, iova_t iova,
                        enum dma_access access, struct vtd_page *out);

#endif

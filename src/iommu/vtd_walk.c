// SPDX-License-Identifier: BSD-3-Clause
#include "iommu/vtd_walk.h"

#include <endian.h>

#include "base/bits.h"

_Static_assert(DMA_READ == (int)VTD_SS_R && DMA_WRITE == (int)VTD_SS_W,
               "an entry's R and W are an access mask");

// Bits that must be zero in a present entry. A leaf has no bits of the address below its page's
// size; what leads to a next table has no SNP.
static uint64_t reserved_bits(unsigned level, bool leaf)
{
    if (!leaf)
        return VTD_SS_RESERVED | VTD_SS_SNP | (level > 3 ? VTD_SS_PS : 0);
    return VTD_SS_RESERVED |
           (level > 1 ? VTD_MASK64(VTD_LEVEL_SHIFT(level) - 1, VTD_PAGE_SHIFT) : 0);
}

enum vtd_fault vtd_walk(const struct mem_space *space, hpa_t table, unsigned levels, iova_t iova,
                        enum dma_access access, struct vtd_page *out)
{
    unsigned allowed = DMA_READ | DMA_WRITE;

    if (iova.v >> VTD_LEVEL_SHIFT(levels + 1))
        return VTD_FAULT_ADDRESS_WIDTH;
    for (unsigned level = levels;; level--) {
        unsigned shift = VTD_LEVEL_SHIFT(level);
        unsigned index = (iova.v >> shift) & (VTD_TABLE_ENTRIES - 1);
        const uint64_t *p = mem_space_at(space, (hpa_t){table.v + index * 8}, 8, MEM_READ, NULL);
        uint64_t entry;
        bool leaf;

        // An unreadable top table is a fault of the context entry that names it (§7.1.3).
        if (!p)
            return level == levels ? VTD_FAULT_CONTEXT_INVALID : VTD_FAULT_TABLE_ACCESS;
        // Once, and whole: whoever owns the tables may be writing them.
        entry = le64toh(__atomic_load_n(p, __ATOMIC_RELAXED));
        if (!(entry & access))
            return access == DMA_WRITE ? VTD_FAULT_WRITE_DENIED : VTD_FAULT_READ_DENIED;
        allowed &= (unsigned)entry;
        leaf = level == 1 || (level <= 3 && (entry & VTD_SS_PS));
        if (entry & reserved_bits(level, leaf))
            return VTD_FAULT_ENTRY_RESERVED;
        table.v = entry & VTD_ADDR_MASK;
        if (leaf) {
            *out = (struct vtd_page){.hpa = table, .shift = shift, .access = allowed};
            return VTD_FAULT_NONE;
        }
    }
}

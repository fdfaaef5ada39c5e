// SPDX-License-Identifier: BSD-3-Clause
// The IOVAs that a bus gives to DMA memory: upwards and never used twice, from 4 GiB, which is
// clear of the interrupt range at 0xfee00000, up to 39 bits, the narrowest address width of a VT-d
// unit. For the kinds of bus, not for drivers.
#ifndef VIREO_DRIVER_BUS_IOVA_H
#define VIREO_DRIVER_BUS_IOVA_H

#include <errno.h>
#include <stdint.h>

#include "base/bits.h"

#define BUS_IOVA_FIRST (1ull << 32)
#define BUS_IOVA_END   (1ull << 39)
#define BUS_PAGE_4K    (1ull << 12)
#define BUS_PAGE_2M    (1ull << 21)

// Where `len_bytes` go when all below `next` is used, rounded up to pages. The caller's next `next`
// is their end. 0, -EINVAL, -ENOMEM.
static inline int bus_iova_place(uint64_t next, uint64_t len_bytes, uint64_t *iova, uint64_t *len)
{
    if (!len_bytes || len_bytes > BUS_IOVA_END)
        return -EINVAL;
    *len = bits_align_up(len_bytes, BUS_PAGE_4K);
    // What is large enough starts on a 2 MiB boundary, so that the IOMMU can use superpages.
    *iova = bits_align_up(next, *len >= BUS_PAGE_2M ? BUS_PAGE_2M : BUS_PAGE_4K);
    return *len > BUS_IOVA_END - *iova ? -ENOMEM : 0;
}

#endif

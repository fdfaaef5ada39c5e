// SPDX-License-Identifier: BSD-3-Clause
// Addresses and IDs that must not be mixed are distinct types.
#ifndef VIREO_MEM_ADDRESS_H
#define VIREO_MEM_ADDRESS_H

#include <stdint.h>

// An address as a function puts it on the bus, before the IOMMU.
typedef struct {
    uint64_t v;
} iova_t;

// An address in the machine's physical memory, after the IOMMU. In endpoint mode the machine is the
// daemon and its "physical" address of a byte is its own virtual one; in chassis mode it is the
// VM's guest-physical address. Either way it means something only to a mem_space.
typedef struct {
    uint64_t v;
} hpa_t;

// Requester ID: bus[15:8] device[7:3] function[2:0], or bus[15:8] function[7:0] with ARI
// (PCIe §2.2.6.2, §6.13).
typedef struct {
    uint16_t v;
} rid_t;

static inline rid_t rid_make(unsigned bus, unsigned dev, unsigned fn)
{
    return (rid_t){(uint16_t)(bus << 8 | (dev & 31) << 3 | (fn & 7))};
}

// printf("%02x:%02x.%x", RID_ARGS(rid)): how lspci writes it.
#define RID_FMT       "%02x:%02x.%x"
#define RID_ARGS(rid) (rid).v >> 8, ((rid).v >> 3) & 31, (rid).v & 7

#endif

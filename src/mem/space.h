// SPDX-License-Identifier: BSD-3-Clause
// A machine's physical memory: a set of regions that do not overlap, each backed by a mapping in
// this process. Everything the card reads or writes lies in a region, or is not touched.
//
// Endpoint mode: one space for the daemon. Each VM's memory is added as it is DMA_MAPped, at the
// hpa of its own mapping (MEM_HPA_IDENTITY), together with the daemon's IOMMU tables; what keeps
// one VM out of another's regions is the IOMMU in front. Chassis mode: one space for the VM, hpa =
// guest-physical address.
//
// Threads: lookups from any worker inside the gate and from the control thread; whoever adds or
// removes a region is the control thread with the gate closed (asserted).
//
// A peer that truncates a memfd that we map would raise SIGBUS here. mem_sigbus_install() catches
// it: the region that was hit gets anonymous zero pages in place of the lost file and is marked
// dead; its owner is told through the `dead_fd` eventfd and takes the device from that VM. Nobody
// else notices.
#ifndef VIREO_MEM_SPACE_H
#define VIREO_MEM_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem/address.h"
#include "mem/gate.h"

// Over all VMs, and less where vm.max_map_count allows less. A DMA_MAP past it is refused (ENOSPC).
#define MEM_REGIONS_MAX  65536u
#define MEM_HPA_IDENTITY UINT64_MAX

enum { MEM_READ = 1, MEM_WRITE = 2 };

struct mem_space;
struct mem_region;

// A file to be mapped as a region. All fields are checked: len_bytes and offset_bytes multiples of
// 4096 (of the page size on hugetlbfs), len > 0, offset + len within the file, prot a mix of
// MEM_READ and MEM_WRITE. The file must be a regular one on a local memory or disk file system: a
// page fault on FUSE or on the network could hold a worker.
struct mem_map_request {
    int fd;                // stays the caller's: the mapping outlives it
    uint64_t offset_bytes; // in the file
    uint64_t len_bytes;
    unsigned prot;
    hpa_t hpa;          // MEM_HPA_IDENTITY: the address of our own mapping
    uint64_t congruent; // multiple of 4096. Our mapping is placed at an address equal to this
                        // modulo 2 MiB (modulo 1 GiB for a region of 1 GiB and more): pass the
                        // IOVA, so that second-stage superpages are possible
};

int mem_space_create(struct gate *gate, struct mem_space **out); // 0, -ENOMEM
void mem_space_destroy(struct mem_space *space);                 // removes what is left

// 0 and *out, or -EINVAL (a bad field, file too short, not mappable), -EEXIST (overlaps a region),
// -ENOSPC, -ENOMEM, or mmap's error. `owner_dead_fd`: an eventfd (may be -1) that gets 1 when this
// region dies; stays the caller's, and must live until the region is removed.
int mem_region_map(struct mem_space *space, const struct mem_map_request *req, int owner_dead_fd,
                   struct mem_region **out);
// Zeroed anonymous memory of the daemon's own (IOMMU tables), page-aligned, at hpa identity.
// len_bytes a multiple of 4096, > 0. Errors as above.
int mem_region_alloc(struct mem_space *space, uint64_t len_bytes, struct mem_region **out);
void mem_region_remove(struct mem_space *space, struct mem_region *region);

hpa_t mem_region_hpa(const struct mem_region *region);
uint64_t mem_region_len_bytes(const struct mem_region *region);
void *mem_region_host(const struct mem_region *region);
bool mem_region_is_dead(const struct mem_region *region);
// True where the file is not sealed against shrinking (F_SEAL_SHRINK): its owner can make the
// region die. Survived, but worth a line in the log.
bool mem_region_may_shrink(const struct mem_region *region);

// The host address of `hpa` where [hpa, hpa+len) lies in one region that allows `prot` (a mix of
// MEM_READ, MEM_WRITE); else NULL. *run (may be NULL) = how many bytes from hpa on the region still
// has. len 0 gives NULL.
void *mem_space_at(const struct mem_space *space, hpa_t hpa, uint64_t len_bytes, unsigned prot,
                   uint64_t *run);

// Once per process, before any thread. Chains to the previous handler for addresses that are not in
// a region. No thread may block SIGBUS: the kernel ends a process whose fault is blocked. 0 or
// -errno.
int mem_sigbus_install(void);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// The VM's memory, as the client maps it: regions of a mem_space at their guest-physical addresses.
// Threads: control thread.
#ifndef VIREO_CHASSIS_MEMORY_H
#define VIREO_CHASSIS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "iommu/vtd.h"
#include "mem/space.h"
#include "vfiouser/server.h"

// q35 with several NUMA nodes and DIMMs has a few dozen.
#define CHASSIS_MAPS_MAX 4096u

struct chassis_memory;

// `dead_fd`: an eventfd for mem_region_map(). All outlive the object. 0 or -ENOMEM.
int chassis_memory_create(struct gate *gate, struct mem_space *space, struct vtd *vtd, int dead_fd,
                          struct chassis_memory **out);
void chassis_memory_destroy(struct chassis_memory *memory); // NULL is fine

// As the callbacks of vfiouser_device_ops. A map without an fd is no memory of the card's; -EINVAL
// where it is the VM's own RAM.
int chassis_memory_map(struct chassis_memory *memory, const struct vfiouser_dma_map *map);
int chassis_memory_unmap(struct chassis_memory *memory, uint64_t iova, uint64_t len_bytes,
                         bool all);
// True where address 0 is mapped: there the VM's RAM starts.
bool chassis_memory_is_there(const struct chassis_memory *memory);
// What is wrong with the memory of a VM that runs, as a sentence; NULL where nothing is. It came
// without a file; or it is blank where firmware has written: what the VM writes goes elsewhere.
const char *chassis_memory_fault(const struct chassis_memory *memory);

#endif

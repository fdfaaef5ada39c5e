// SPDX-License-Identifier: BSD-3-Clause
// The host's VT-d driver: programs the remapping unit through its registers and through root,
// context and second-stage tables in memory, like an OS (VT-d §3, §6, §9). One domain a function
// that is assigned; a function without a domain reaches nothing.
// Threads: the control thread; host_iommu_fault_signal() any thread.
#ifndef VIREO_HOST_IOMMU_DRIVER_H
#define VIREO_HOST_IOMMU_DRIVER_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "iommu/vtd.h"
#include "mem/space.h"

#define HOST_TABLE_PAGES_MAX 65536u // of one domain: 256 MiB of tables, then -ENOSPC

struct host_iommu;
struct host_domain;

// Turns translation on with an empty root table: from here on every DMA faults until a domain is
// attached. 0, -ENOMEM, -EIO (the unit does not answer).
int host_iommu_create(sd_event *loop, struct gate *gate, struct mem_space *space, struct vtd *vtd,
                      struct host_iommu **out);
void host_iommu_destroy(struct host_iommu *iommu);
void host_iommu_fault_signal(struct host_iommu *iommu); // fault event arrived; any thread
uint64_t host_iommu_faults(struct host_iommu *iommu);   // recorded so far (overflowed ones: once)

int host_domain_create(struct host_iommu *iommu, struct host_domain **out); // 0, -ENOMEM, -ENOSPC
// No function may still be attached.
void host_domain_destroy(struct host_domain *domain);
// Points the context entry of `rid` at `domain` (0, -ENOMEM) / makes it not present. Both
// invalidate, and drain the workers.
int host_domain_attach(struct host_domain *domain, rid_t rid);
void host_domain_detach(struct host_domain *domain, rid_t rid);

// Maps [iova, iova+len) to [hpa, hpa+len) with the largest pages that both allow. Page-aligned; the
// range must hold no mapping. `prot`: MEM_READ | MEM_WRITE. 0, -EINVAL, -ERANGE (past 48 bits),
// -ENOMEM, -ENOSPC (tables); on error nothing is left mapped. Gate closed.
int host_domain_map(struct host_domain *domain, uint64_t iova, hpa_t hpa, uint64_t len_bytes,
                    unsigned prot);
// Clears [iova, iova+len) and invalidates. Bounds must be those of mappings. Gate closed: when it
// returns no worker holds a translation of the range.
void host_domain_unmap(struct host_domain *domain, uint64_t iova, uint64_t len_bytes);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// One VF of a port, as the host assigns it: a vfio-user socket, and while a VM holds it, an IOMMU
// domain with the VM's memory, a virtual config space and the VM's eventfds.
// Threads: the control thread.
#ifndef VIREO_HOST_ASSIGN_H
#define VIREO_HOST_ASSIGN_H

#include "driver/pf.h"
#include "host/enumerate.h"
#include "host/host.h"
#include "host/iommu_driver.h"
#include "host/irq.h"

#define HOST_VF_MAPS_MAX 16384u // DMA maps of one VM; past it -ENOSPC (a vIOMMU maps page by page)

struct host_vf;

struct host_vf_place {
    const struct host_machine *machine;
    struct host_iommu *iommu;
    struct host_irq_table *irqs;
    struct pf_driver *pf;
    unsigned port, vf;
    const struct host_function *fn; // copied
    const char *socket_path;        // copied
};

// Listens. 0; on error -errno and a sentence in `error`.
int host_vf_create(const struct host_vf_place *place, struct host_vf **out, char *error,
                   size_t error_len);
void host_vf_destroy(struct host_vf *vf);
void host_vf_info(struct host_vf *vf, struct host_vf_info *out);

#endif

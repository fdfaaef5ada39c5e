// SPDX-License-Identifier: BSD-3-Clause
// The driver bus over a segment in the same process: config and memory cycles, DMA memory mapped
// through the IOMMU into a domain of the function's own, interrupts as eventfds.
// Threads: the control thread; the fds may be polled anywhere.
#ifndef VIREO_HOST_BUS_INPROC_H
#define VIREO_HOST_BUS_INPROC_H

#include "driver/bus.h"
#include "host/enumerate.h"
#include "host/host.h"
#include "host/iommu_driver.h"
#include "host/irq.h"

#define HOST_BUS_DMA_BASE 0x100000ull // first IOVA that dma_alloc gives out

// `fn` is copied. Gives the function a new domain and attaches it. 0, -ENOMEM, -ENOSPC.
int host_bus_inproc_open(const struct host_machine *machine, struct host_iommu *iommu,
                         struct host_irq_table *irqs, const struct host_function *fn,
                         const char *name, struct driver_bus **out);

#endif

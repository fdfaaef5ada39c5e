// SPDX-License-Identifier: BSD-3-Clause
// A guest's buses: VFs over vfio-user sockets that see the same DMA memory at the same addresses,
// as the functions of one VM do, so that a frame received on one VF can be sent on another without
// a copy.
// Threads: the guest's one.
#ifndef VIREO_BENCH_BUS_H
#define VIREO_BENCH_BUS_H

#include <stddef.h>

#include "driver/bus.h"

struct bench_bus_group;

int bench_bus_group_create(struct bench_bus_group **out); // 0, -ENOMEM
// After all its buses were closed; NULL is fine.
void bench_bus_group_destroy(struct bench_bus_group *group);
// One more bus of the group: all memory that any of them allocates from now on is mapped for it
// too, so open those that share before their drivers. Group NULL: a bus for itself. 0; on error
// -errno and a sentence in `error`.
int bench_bus_open(struct bench_bus_group *group, const char *socket_path, struct driver_bus **out,
                   char *error, size_t error_len);

#endif

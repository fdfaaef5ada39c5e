// SPDX-License-Identifier: BSD-3-Clause
// Endpoint mode's host compute: does for a port what the Linux host does in chassis mode. It
// enumerates the segment, runs the PF driver, sets SR-IOV up through config space, programs the
// IOMMU's tables and registers, and gives each VF to exactly one VM over vfio-user with its config
// space virtualised. It never sees the card's structs: config cycles, memory cycles, interrupts.
// Threads: the control thread (the loop's).
#ifndef VIREO_HOST_HOST_H
#define VIREO_HOST_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "driver/pf.h"
#include "iommu/vtd.h"
#include "mem/gate.h"
#include "mem/space.h"
#include "pci/access.h"
#include "vfiouser/server.h"

struct host;

// The machine that the host runs on: all owned by the caller, outlive the host.
struct host_machine {
    sd_event *loop;
    struct gate *gate;
    struct mem_space *space;
    struct vtd *vtd;
    struct pci_segment *seg;
};

struct host_port_config {
    struct pf_config pf;
    const char *socket_pattern; // printf pattern with one %u for the VF: "/run/vireo/vf%u.sock"
};

// Enumerates, and turns the IOMMU on. 0; on error -errno and a sentence in `error`.
int host_create(const struct host_machine *machine, struct host **out, char *error,
                size_t error_len);
void host_destroy(struct host *host);

// What the host's IOMMU driver needs to be told when the unit raises its fault event.
void host_iommu_fault_event(struct host *host); // any thread; does not block

// Takes port `index` (0…): PF driver up, VFs enabled, one listening socket each. 0; on error -errno
// (-ENODEV: no such port, or it runs already) and a sentence in `error`, and the port is as it was.
int host_port_start(struct host *host, unsigned index, const struct host_port_config *config,
                    char *error, size_t error_len);
struct pf_driver *host_port_pf(struct host *host, unsigned index); // NULL where not started
rid_t host_port_rid(const struct host *host, unsigned index);      // of its PF; ffff: no such port

struct host_vf_info {
    rid_t rid;
    char socket_path[108];
    pid_t client_pid; // 0: free
    // How the client's memory is out of the card's reach, "is private to it", as far as that can be
    // told; NULL: nothing is known against it.
    const char *memory_fault;
    uint64_t dma_maps, dma_mapped_bytes;
    struct pci_dma_counts dma;
    struct vfiouser_counts messages;
    uint64_t interrupts; // eventfds signalled
};
// 0, or -ENOENT: no such VF.
int host_vf_info_get(struct host *host, unsigned port, unsigned vf, struct host_vf_info *out);
uint64_t host_iommu_fault_count(const struct host *host);

#endif

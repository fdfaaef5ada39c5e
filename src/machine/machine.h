// SPDX-License-Identifier: BSD-3-Clause
// A whole machine: uplinks, card, IOMMU, PCI segment, workers, and the host that runs them. vireod,
// the embedded demo, the benchmark and tests all build theirs here.
// Threads: the control thread, which is also the one that runs the loop.
#ifndef VIREO_MACHINE_MACHINE_H
#define VIREO_MACHINE_MACHINE_H

#include <stddef.h>
#include <systemd/sd-event.h>

#include "machine/config.h"
#include "host/host.h"
#include "nic/nic.h"
#include "pci/access.h"
#include "uplink/uplink.h"

struct machine;

// Builds and starts everything: when it returns 0, each VF has its listening socket,
// run_dir/portP-vfV.sock. `config` is copied; run_dir exists. The process has called
// mem_sigbus_install(). On error -errno and a sentence in `error`, and nothing is left.
int machine_create(const struct card_config *config, const char *run_dir, sd_event *loop,
                   struct machine **out, char *error, size_t error_len);
void machine_destroy(struct machine *machine); // removes the sockets; NULL is fine

// As configured, with what machine_vf_set_policy() changed since.
const struct card_config *machine_config(const struct machine *machine);
// 0; -EINVAL (no such VF, bad policy); -ENOSPC (no free VLAN filter).
int machine_vf_set_policy(struct machine *machine, unsigned port, unsigned vf,
                          const struct pf_vf_policy *policy);

struct host *machine_host(const struct machine *machine);
const struct nic_card *machine_card(const struct machine *machine);
// `index` below machine_config()->worker_count.
const struct nic_worker *machine_worker(const struct machine *machine, unsigned index);
struct pci_segment *machine_segment(const struct machine *machine);
const struct uplink *machine_uplink(const struct machine *machine, unsigned port);

#endif

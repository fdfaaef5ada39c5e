// SPDX-License-Identifier: BSD-3-Clause
// What vireod answers over its control socket. The context of every method is the machine.
//   stats         {}                          everything that is counted
//   vf.list       {}                          the VFs and their settings
//   vf.set        {port, vf, mac?, vlan?, qos?, spoofchk?, trust?, link?}
//   pci.list      {}                          functions by requester ID
//   pci.dump      {rid?}                      {"text": …}: config space as lspci -F reads it
//   iommu.faults  {}                          {"count": N}
//   version       {}                          {"vireo": "…", "pid": N}
// Threads: the loop's.
#ifndef VIREO_MACHINE_METHODS_H
#define VIREO_MACHINE_METHODS_H

#include "machine/machine.h"
#include "ctl/ctl.h"

extern const struct ctl_method machine_methods[];

#define METHODS_MAC_TEXT_LEN 18u
// "02:00:00:00:00:01" of a MAC.
void methods_mac_text(const uint8_t mac[NIC_MAC_LEN], char out[METHODS_MAC_TEXT_LEN]);

// The same as the method "stats" gives: for the embedded demo. A new reference.
json_t *methods_stats(struct machine *machine);

// The method "version", whatever the context.
int methods_version(void *ctx, const json_t *params, json_t **result, char *error, size_t len);

#endif

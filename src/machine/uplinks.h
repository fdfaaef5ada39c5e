// SPDX-License-Identifier: BSD-3-Clause
// The far ends of a card's cables, one a port: opened by the config, and their links watched.
// Threads: the loop's.
#ifndef VIREO_MACHINE_UPLINKS_H
#define VIREO_MACHINE_UPLINKS_H

#include <stddef.h>
#include <systemd/sd-event.h>

#include "machine/config.h"
#include "nic/nic.h"
#include "uplink/uplink.h"

// Opens each port's. 0; on error -errno and a sentence that names the port; those in `out` are the
// caller's to close either way.
int uplinks_open(const struct card_config *config, struct uplink *out[NIC_PORTS_MAX], char *error,
                 size_t error_len);
void uplinks_close(struct uplink *uplinks[NIC_PORTS_MAX]); // NULL ones are fine

// Tells `card` of links that come up or go down, within a second. Where no link can change there is
// no timer, so that an idle daemon is not woken: *out is NULL. The caller unrefs *out before the
// card goes. 0 or -errno.
int uplinks_watch(struct uplink *const uplinks[NIC_PORTS_MAX], struct nic_card *card,
                  sd_event *loop, sd_event_source **out);

#endif

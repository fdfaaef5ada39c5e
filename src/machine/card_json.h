// SPDX-License-Identifier: BSD-3-Clause
// What a card counts, as JSON: the parts that vireod's methods say alike in endpoint and in chassis
// mode. Each returns a new reference. Threads: the loop's.
#ifndef VIREO_MACHINE_CARD_JSON_H
#define VIREO_MACHINE_CARD_JSON_H

#include <jansson.h>

#include "nic/nic.h"
#include "uplink/uplink.h"
#include "vfiouser/server.h"

void card_json_count(json_t *object, const char *key, uint64_t value);

// A VF, or the PF where vf is -1.
json_t *card_json_function(const struct nic_card *card, unsigned port, int vf);
json_t *card_json_worker(const struct nic_worker_counts *counts); // one's, or the sum of several
json_t *card_json_uplink(const struct uplink_config *config, const struct uplink *uplink);
// Messages received, by command; those of which there was none are left out.
json_t *card_json_messages(const struct vfiouser_counts *counts);

#endif

// SPDX-License-Identifier: BSD-3-Clause
#include "machine/uplinks.h"

#include <stdio.h>
#include <time.h>

#define LINK_POLL_US 1000000u

int uplinks_open(const struct card_config *config, struct uplink *out[NIC_PORTS_MAX], char *error,
                 size_t error_len)
{
    for (unsigned i = 0; i < config->port_count; i++) {
        char why[400];
        int ret = uplink_open(&config->port[i].uplink, &out[i], why, sizeof why);

        if (ret) {
            snprintf(error, error_len, "port %u: %s", i, why);
            return ret;
        }
    }
    return 0;
}

void uplinks_close(struct uplink *uplinks[NIC_PORTS_MAX])
{
    for (unsigned i = 0; i < NIC_PORTS_MAX; i++)
        uplink_close(uplinks[i]);
}

static int links_poll(sd_event_source *source, uint64_t usec, void *ctx)
{
    int ret;

    (void)usec;
    nic_card_poll_links(ctx);
    ret = sd_event_source_set_time_relative(source, LINK_POLL_US);
    return ret < 0 ? ret : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int uplinks_watch(struct uplink *const uplinks[NIC_PORTS_MAX], struct nic_card *card,
                  sd_event *loop, sd_event_source **out)
{
    *out = NULL;
    for (unsigned i = 0; i < NIC_PORTS_MAX; i++) {
        int ret;

        if (!uplinks[i] || !uplink_link_can_change(uplinks[i]))
            continue;
        ret = sd_event_add_time_relative(loop, out, CLOCK_MONOTONIC, LINK_POLL_US, 0, links_poll,
                                         card);
        return ret < 0 ? ret : 0;
    }
    return 0;
}

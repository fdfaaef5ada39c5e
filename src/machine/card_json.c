// SPDX-License-Identifier: BSD-3-Clause
#include "machine/card_json.h"

void card_json_count(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

json_t *card_json_function(const struct nic_card *card, unsigned port, int vf)
{
    struct nic_function_counts c;
    json_t *out = json_object();

    if (nic_function_counts_get(card, port, vf, &c))
        return out;
#define COUNT(field) card_json_count(out, #field, c.field)
    COUNT(rx_frames);
    COUNT(rx_bytes);
    COUNT(rx_multicast_frames);
    COUNT(tx_frames);
    COUNT(tx_bytes);
    COUNT(rx_no_descriptor_drops);
    COUNT(rx_fault_drops);
    COUNT(tx_fault_drops);
    COUNT(tx_spoof_drops);
    COUNT(tx_malformed_drops);
    COUNT(interrupts);
    COUNT(mailbox_to_pf);
    COUNT(mailbox_from_pf);
    COUNT(doorbell_cycles);
    COUNT(interrupt_cycles);
    COUNT(moderation_cycles);
    COUNT(mailbox_cycles);
    COUNT(other_cycles);
#undef COUNT
    return out;
}

json_t *card_json_worker(const struct nic_worker_counts *c)
{
    json_t *out = json_object();

#define COUNT(field) card_json_count(out, #field, c->field)
    COUNT(batches);
    COUNT(idle_batches);
    COUNT(wakeups);
    COUNT(sleeps);
    COUNT(slept_ns);
    COUNT(frames);
    COUNT(waits);
    COUNT(untold);
    COUNT(lock_waits);
#undef COUNT
    return out;
}

json_t *card_json_uplink(const struct uplink_config *config, const struct uplink *uplink)
{
    static const char *const kinds[] = {
        [UPLINK_NULL] = "null", [UPLINK_TAP] = "tap", [UPLINK_PCAP] = "pcap"};
    struct uplink_counts c;
    json_t *out = json_pack("{s:s, s:b}", "kind", kinds[config->kind], "link",
                            (int)uplink_link_is_up(uplink));

    if (config->kind == UPLINK_TAP)
        json_object_set_new(out, "ifname", json_string(config->ifname));
    uplink_counts_get(uplink, &c);
#define COUNT(field) card_json_count(out, #field, c.field)
    COUNT(tx_frames);
    COUNT(tx_bytes);
    COUNT(tx_drops);
    COUNT(rx_frames);
    COUNT(rx_bytes);
    COUNT(rx_drops);
#undef COUNT
    return out;
}

json_t *card_json_messages(const struct vfiouser_counts *c)
{
    json_t *out = json_object();

    for (unsigned i = 1; i < VFIOUSER_COMMANDS; i++) {
        if (c->received[i])
            card_json_count(out, vfiouser_command_name(i), c->received[i]);
    }
    return out;
}

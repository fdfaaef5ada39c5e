// SPDX-License-Identifier: BSD-3-Clause
#include "machine/methods.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine/card_json.h"
#include "base/bits.h"
#include "base/log.h"
#include "text/printable.h"
#include "pci/dump.h"

void methods_mac_text(const uint8_t mac[NIC_MAC_LEN], char out[METHODS_MAC_TEXT_LEN])
{
    snprintf(out, METHODS_MAC_TEXT_LEN, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
             mac[3], mac[4], mac[5]);
}

static json_t *mac_json(const uint8_t mac[NIC_MAC_LEN])
{
    char text[METHODS_MAC_TEXT_LEN];

    methods_mac_text(mac, text);
    return json_string(text);
}

static json_t *rid_json(rid_t rid)
{
    return json_sprintf(RID_FMT, RID_ARGS(rid));
}

static const char *doorbells_name(enum nic_doorbells kind)
{
    return kind == NIC_DOORBELLS_MAPPED ? "mapped" : "trapped";
}

// --- stats ---

static json_t *by_region_json(const uint64_t *counts)
{
    json_t *out = json_object();

    for (unsigned i = 0; i < VFIOUSER_REGIONS; i++) {
        char key[4];

        snprintf(key, sizeof key, "%u", i);
        if (counts[i])
            card_json_count(out, key, counts[i]);
    }
    return out;
}

// Who the VF is, who has it, and how it is set: what vf.list gives and stats starts from.
static json_t *vf_json(struct machine *m, unsigned port, unsigned vf,
                       const struct host_vf_info *info)
{
    const struct card_config_port *config = &machine_config(m)->port[port];
    const struct pf_vf_policy *policy = &config->pf.vf[vf];
    struct pf_vf_state state = {.api = -1};
    json_t *out;

    pf_driver_vf_state(host_port_pf(machine_host(m), port), vf, &state);
    out = json_pack(
        "{s:i, s:i, s:o, s:o, s:i, s:i, s:b, s:b, s:b, s:s, s:s, s:i, s:s?, s:b, s:s, s:i}", "port",
        (int)port, "vf", (int)vf, "rid", rid_json(info->rid), "mac", mac_json(state.mac), "vlan",
        policy->vlan, "qos", policy->qos, "spoofchk", (int)policy->spoof_check, "trust",
        (int)policy->trusted, "link", (int)policy->link_up, "doorbells",
        doorbells_name(config->doorbells[vf]), "socket", info->socket_path, "client_pid",
        (int)info->client_pid, "memory_fault", info->memory_fault, "up", (int)state.up,
        "mailbox_api", card_config_api_name(state.api), "frame_bytes", state.mtu_frame_bytes);
    card_json_count(out, "mailbox_requests", state.requests);
    card_json_count(out, "mailbox_nacks", state.nacks);
    return out;
}

static json_t *vf_stats_json(struct machine *m, unsigned port, unsigned vf)
{
    struct host_vf_info info = {0};
    json_t *out;

    if (host_vf_info_get(machine_host(m), port, vf, &info))
        return json_null();
    out = vf_json(m, port, vf, &info);
    json_object_set_new(out, "messages", card_json_messages(&info.messages));
    json_object_set_new(out, "reads_by_region", by_region_json(info.messages.reads_by_region));
    json_object_set_new(out, "writes_by_region", by_region_json(info.messages.writes_by_region));
    card_json_count(out, "writes_posted", info.messages.region_writes_posted);
    card_json_count(out, "messages_malformed", info.messages.received[0]);
    card_json_count(out, "refused_clients", info.messages.refused_clients);
    card_json_count(out, "dma_maps", info.dma_maps);
    card_json_count(out, "dma_mapped_bytes", info.dma_mapped_bytes);
    card_json_count(out, "dma_faults", info.dma.faults);
    card_json_count(out, "dma_blocked", info.dma.blocked);
    card_json_count(out, "iotlb_misses", info.dma.walks);
    card_json_count(out, "interrupts", info.interrupts);
    json_object_set_new(out, "counts", card_json_function(machine_card(m), port, (int)vf));
    return out;
}

static json_t *port_stats_json(struct machine *m, unsigned port)
{
    struct pf_driver *pf = host_port_pf(machine_host(m), port);
    json_t *vfs = json_array();

    for (unsigned vf = 0; vf < machine_config(m)->port[port].pf.vf_count; vf++)
        json_array_append_new(vfs, vf_stats_json(m, port, vf));
    return json_pack(
        "{s:i, s:o, s:o, s:b, s:o, s:o, s:o}", "port", (int)port, "rid",
        rid_json(host_port_rid(machine_host(m), port)), "mac",
        mac_json(machine_config(m)->port[port].mac), "link", (int)pf_driver_link_is_up(pf),
        "uplink", card_json_uplink(&machine_config(m)->port[port].uplink, machine_uplink(m, port)),
        "counts", card_json_function(machine_card(m), port, -1), "vfs", vfs);
}

// All workers together, and each.
static json_t *worker_json(const struct machine *m)
{
    struct nic_worker_counts sum = {0};
    json_t *each = json_array(), *out;

    for (unsigned i = 0; i < machine_config(m)->worker_count; i++) {
        struct nic_worker_counts own = {0};

        nic_worker_counts_add(machine_worker(m, i), &sum);
        nic_worker_counts_add(machine_worker(m, i), &own);
        json_array_append_new(each, card_json_worker(&own));
    }
    out = card_json_worker(&sum);
    card_json_count(out, "threads", machine_config(m)->worker_count);
    json_object_set_new(out, "each", each);
    return out;
}

json_t *methods_stats(struct machine *m)
{
    json_t *ports = json_array();

    for (unsigned i = 0; i < machine_config(m)->port_count; i++)
        json_array_append_new(ports, port_stats_json(m, i));
    return json_pack("{s:o, s:o, s:I}", "ports", ports, "worker", worker_json(m), "iommu_faults",
                     (json_int_t)host_iommu_fault_count(machine_host(m)));
}

static int method_stats(void *ctx, const json_t *params, json_t **result, char *error, size_t len)
{
    (void)params, (void)error, (void)len;
    *result = methods_stats(ctx);
    return 0;
}

// --- VFs ---

static int method_vf_list(void *ctx, const json_t *params, json_t **result, char *error, size_t len)
{
    struct machine *m = ctx;

    (void)params, (void)error, (void)len;
    *result = json_array();
    for (unsigned port = 0; port < machine_config(m)->port_count; port++) {
        for (unsigned vf = 0; vf < machine_config(m)->port[port].pf.vf_count; vf++) {
            struct host_vf_info info = {0};

            if (!host_vf_info_get(machine_host(m), port, vf, &info))
                json_array_append_new(*result, vf_json(m, port, vf, &info));
        }
    }
    return 0;
}

// A whole number of 0 … max at `key`. 0, or -EINVAL with a sentence.
static int param_int(const json_t *value, const char *key, unsigned max, unsigned *out, char *error,
                     size_t len)
{
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value)) {
        snprintf(error, len, "'%s' is a whole number, 0 to %u", key, max);
        return -EINVAL;
    }
    if (n < 0 || n > (json_int_t)max) {
        snprintf(error, len, "%s: found %" JSON_INTEGER_FORMAT "; allowed is 0 to %u", key, n, max);
        return -EINVAL;
    }
    *out = (unsigned)n;
    return 0;
}

// One setting of vf.set into the policy.
static int policy_apply(struct pf_vf_policy *policy, const char *key, const json_t *value,
                        char *error, size_t len)
{
    bool *flag = !strcmp(key, "spoofchk") ? &policy->spoof_check
                 : !strcmp(key, "trust")  ? &policy->trusted
                 : !strcmp(key, "link")   ? &policy->link_up
                                          : NULL;
    char name[32];
    unsigned n = 0;
    int ret;

    if (flag) {
        if (!json_is_boolean(value)) {
            snprintf(error, len, "'%s' is true or false", key);
            return -EINVAL;
        }
        *flag = json_is_true(value);
        return 0;
    }
    if (!strcmp(key, "mac")) {
        const char *text = json_string_value(value);

        if (!text || card_config_mac_parse(text, policy->mac) || policy->mac[0] & 1) {
            snprintf(error, len, "'mac' is a unicast MAC like \"02:00:00:00:00:01\"");
            return -EINVAL;
        }
        return 0;
    }
    if (!strcmp(key, "vlan")) {
        ret = param_int(value, key, 4094, &n, error, len);
        policy->vlan = (uint16_t)n;
        return ret;
    }
    if (!strcmp(key, "qos")) {
        ret = param_int(value, key, 7, &n, error, len);
        policy->qos = (uint8_t)n;
        return ret;
    }
    snprintf(name, sizeof name, "%s", key);
    printable_make(name);
    snprintf(error, len, "no setting '%s': there are mac, vlan, qos, spoofchk, trust, link", name);
    return -EINVAL;
}

// What the config refuses as well. 0, or -EINVAL with a sentence.
static int mac_check_free(const struct machine *m, unsigned port, unsigned vf,
                          const uint8_t mac[NIC_MAC_LEN], char *error, size_t len)
{
    char text[METHODS_MAC_TEXT_LEN];

    methods_mac_text(mac, text);
    for (unsigned p = 0; p < machine_config(m)->port_count; p++) {
        const struct card_config_port *config = &machine_config(m)->port[p];
        struct pf_vf_state state;

        if (!memcmp(config->mac, mac, NIC_MAC_LEN)) {
            snprintf(error, len, "mac: found %s, which port %u has", text, p);
            return -EINVAL;
        }
        for (unsigned i = 0; i < config->pf.vf_count; i++) {
            if ((p == port && i == vf) ||
                pf_driver_vf_state(host_port_pf(machine_host(m), p), i, &state) ||
                memcmp(state.mac, mac, NIC_MAC_LEN))
                continue;
            snprintf(error, len, "mac: found %s, which VF %u of port %u has", text, i, p);
            return -EINVAL;
        }
    }
    return 0;
}

// The VF that `params` names, checked to be there.
static int params_vf(const struct machine *m, const json_t *params, unsigned *port, unsigned *vf,
                     char *error, size_t len)
{
    int ret = param_int(json_object_get(params, "port"), "port", machine_config(m)->port_count - 1,
                        port, error, len);

    if (ret)
        return ret;
    return param_int(json_object_get(params, "vf"), "vf",
                     machine_config(m)->port[*port].pf.vf_count - 1, vf, error, len);
}

static int method_vf_set(void *ctx, const json_t *params, json_t **result, char *error, size_t len)
{
    struct machine *m = ctx;
    struct host_vf_info info = {0};
    struct pf_vf_policy policy;
    unsigned port, vf;
    const char *key;
    json_t *value;
    int ret = params_vf(m, params, &port, &vf, error, len);

    if (ret)
        return ret;
    policy = machine_config(m)->port[port].pf.vf[vf];
    json_object_foreach((json_t *)params, key, value)
    {
        if (!strcmp(key, "port") || !strcmp(key, "vf"))
            continue;
        ret = policy_apply(&policy, key, value, error, len);
        if (ret)
            return ret;
    }
    if (json_object_get(params, "mac")) {
        ret = mac_check_free(m, port, vf, policy.mac, error, len);
        if (ret)
            return ret;
    }
    if (policy.qos && !policy.vlan) {
        snprintf(error, len, "qos %u without a vlan: it is the priority of the port VLAN's tag",
                 policy.qos);
        return -EINVAL;
    }
    ret = machine_vf_set_policy(m, port, vf, &policy);
    if (ret) {
        snprintf(error, len, "port %u VF %u: %s", port, vf,
                 ret == -ENOSPC ? "all 64 VLAN filters of the port are taken" : strerror(-ret));
        return ret;
    }
    log_info("ctl: port %u VF %u: policy changed", port, vf);
    ret = host_vf_info_get(machine_host(m), port, vf, &info);
    if (!ret)
        *result = vf_json(m, port, vf, &info);
    return ret;
}

// --- PCI ---

// Calls `fn` for every function of the card, PFs first, until it returns non-zero.
static int functions_each(struct machine *m, int (*fn)(struct machine *m, rid_t rid, void *ctx),
                          void *ctx)
{
    for (unsigned port = 0; port < machine_config(m)->port_count; port++) {
        int ret = fn(m, host_port_rid(machine_host(m), port), ctx);
        if (ret)
            return ret;
    }
    for (unsigned port = 0; port < machine_config(m)->port_count; port++) {
        for (unsigned vf = 0; vf < machine_config(m)->port[port].pf.vf_count; vf++) {
            struct host_vf_info info = {0};
            int ret = host_vf_info_get(machine_host(m), port, vf, &info);

            if (!ret)
                ret = fn(m, info.rid, ctx);
            if (ret)
                return ret;
        }
    }
    return 0;
}

static int function_list(struct machine *m, rid_t rid, void *ctx)
{
    uint32_t id = pci_config_read(machine_segment(m), rid, 0, 4);
    uint32_t class = pci_config_read(machine_segment(m), rid, 8, 4);

    json_array_append_new(ctx,
                          json_pack("{s:o, s:i, s:i, s:i, s:i}", "rid", rid_json(rid), "vendor",
                                    (int)(id & 0xffff), "device", (int)(id >> 16), "class",
                                    (int)(class >> 8), "revision", (int)(class & 0xff)));
    return 0;
}

static int method_pci_list(void *ctx, const json_t *params, json_t **result, char *error,
                           size_t len)
{
    (void)params, (void)error, (void)len;
    *result = json_array();
    return functions_each(ctx, function_list, *result);
}

struct dump {
    FILE *out;
    const char *only; // "01:00.0", or NULL for all
    unsigned count;
};

static int function_dump(struct machine *m, rid_t rid, void *ctx)
{
    uint8_t bytes[PCI_CONFIG_LEN_BYTES];
    struct dump *dump = ctx;
    char name[16];

    snprintf(name, sizeof name, RID_FMT, RID_ARGS(rid));
    if (dump->only && strcmp(dump->only, name))
        return 0;
    for (uint32_t offset = 0; offset < sizeof bytes; offset += 4) {
        uint32_t value = htole32(pci_config_read(machine_segment(m), rid, offset, 4));
        memcpy(bytes + offset, &value, sizeof value);
    }
    dump->count++;
    return pci_dump(dump->out, rid, bytes, sizeof bytes);
}

static int method_pci_dump(void *ctx, const json_t *params, json_t **result, char *error,
                           size_t len)
{
    const json_t *rid = json_object_get(params, "rid");
    struct dump dump = {.only = json_string_value(rid)};
    char *text = NULL;
    size_t text_len;
    int ret;

    if (rid && !dump.only) {
        snprintf(error, len, "'rid' is a string like \"01:00.0\"");
        return -EINVAL;
    }
    dump.out = open_memstream(&text, &text_len);
    if (!dump.out)
        return -ENOMEM;
    ret = functions_each(ctx, function_dump, &dump);
    if (fclose(dump.out) && !ret)
        ret = -ENOMEM;
    if (!ret && dump.only && !dump.count) {
        char name[32];

        snprintf(name, sizeof name, "%s", dump.only);
        printable_make(name);
        snprintf(error, len, "no function '%s': 'vireo pci list' shows all", name);
        ret = -ENOENT;
    }
    if (!ret)
        *result = json_pack("{s:s#}", "text", text, (int)text_len);
    free(text);
    return ret;
}

// --- the rest ---

static int method_iommu_faults(void *ctx, const json_t *params, json_t **result, char *error,
                               size_t len)
{
    (void)params, (void)error, (void)len;
    *result = json_pack("{s:I}", "count", (json_int_t)host_iommu_fault_count(machine_host(ctx)));
    return 0;
}

int methods_version(void *ctx, const json_t *params, json_t **result, char *error, size_t len)
{
    (void)ctx, (void)params, (void)error, (void)len;
    *result = json_pack("{s:s, s:i}", "vireo", VIREO_VERSION, "pid", (int)getpid());
    return 0;
}

const struct ctl_method machine_methods[] = {
    {"stats", "everything that is counted", method_stats},
    {"vf.list", "the VFs, who has them and how they are set", method_vf_list},
    {"vf.set", "changes a VF's mac, vlan, qos, spoofchk, trust or link", method_vf_set},
    {"pci.list", "the card's functions", method_pci_list},
    {"pci.dump", "config space as lspci -F reads it", method_pci_dump},
    {"iommu.faults", "how many DMA accesses the IOMMU refused", method_iommu_faults},
    {"version", "version and PID of the daemon", methods_version},
    {NULL, NULL, NULL},
};

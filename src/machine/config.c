// SPDX-License-Identifier: BSD-3-Clause
// Sections are tables of fields: a field knows its name and how to read itself. Unknown names are
// found against the same tables.
#include "machine/config.h"

#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine/config_text.h"
#include "text/printable.h"
#include "text/spelling.h"
#include "base/bits.h"

#define VLAN_MAX      4094
#define QOS_MAX       7
#define MTU_MIN       1500
#define MTU_MAX       9710
#define PPS_MAX       10000000
#define SEED_DEFAULT  "vireo"
#define SEED_LEN_MAX  64
#define PATH_TEXT_MAX 160 // of a setting's path in an error

struct parse {
    const char *name; // of the file
    char *error;
    size_t error_len;
    struct card_config *out;
    const char *seed;
    bool mac_given[NIC_PORTS_MAX];
    unsigned port_index;    // port being read
    struct vf_settings *vf; // VF section being read
};

// What a VF section sets; vf_defaults fills one, each `vf` entry starts from a copy.
struct vf_settings {
    int index;
    struct pf_vf_policy policy;
    enum nic_doorbells doorbells;
};

typedef int (*field_read_fn)(struct parse *p, const config_setting_t *s);

struct field {
    const char *name;
    field_read_fn read;
    bool required;
};

// "ports[0].vf[1].vlan" of a setting.
static void setting_path(const config_setting_t *s, char *out, size_t len)
{
    char parent[PATH_TEXT_MAX] = "";
    const char *name = config_setting_name(s);

    if (config_setting_is_root(s)) {
        out[0] = 0;
        return;
    }
    setting_path(config_setting_parent(s), parent, sizeof parent);
    if (name)
        snprintf(out, len, "%s%s%s", parent, parent[0] ? "." : "", name);
    else
        snprintf(out, len, "%s[%d]", parent, config_setting_index(s));
}

// Writes "FILE:LINE: PATH: text" and returns -EINVAL.
__attribute__((format(printf, 3, 4))) static int fail(struct parse *p, const config_setting_t *s,
                                                      const char *fmt, ...)
{
    char path[PATH_TEXT_MAX];
    va_list args;
    int len;

    setting_path(s, path, sizeof path);
    if (config_setting_source_line(s))
        len = snprintf(p->error, p->error_len, "%s:%u: %s%s", p->name,
                       (unsigned)config_setting_source_line(s), path, path[0] ? ": " : "");
    else // the whole file
        len = snprintf(p->error, p->error_len, "%s: ", p->name);
    va_start(args, fmt);
    if (len >= 0 && (size_t)len < p->error_len)
        vsnprintf(p->error + len, p->error_len - (size_t)len, fmt, args);
    va_end(args);
    return -EINVAL;
}

static const char *type_name(const config_setting_t *s)
{
    switch (config_setting_type(s)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return "a whole number";
    case CONFIG_TYPE_FLOAT:
        return "a number with a point";
    case CONFIG_TYPE_STRING:
        return "a string";
    case CONFIG_TYPE_BOOL:
        return "true or false";
    case CONFIG_TYPE_ARRAY:
        return "an array [ … ]";
    case CONFIG_TYPE_LIST:
        return "a list ( … )";
    case CONFIG_TYPE_GROUP:
        return "a group { … }";
    default:
        return "something else";
    }
}

static int int_read(struct parse *p, const config_setting_t *s, int64_t min, int64_t max,
                    int64_t *out)
{
    int type = config_setting_type(s);
    int64_t value;

    if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
        return fail(p, s, "found %s; allowed is a whole number, %lld to %lld", type_name(s),
                    (long long)min, (long long)max);
    value = type == CONFIG_TYPE_INT ? config_setting_get_int(s) : config_setting_get_int64(s);
    if (value < min || value > max)
        return fail(p, s, "found %lld; allowed is %lld to %lld", (long long)value, (long long)min,
                    (long long)max);
    *out = value;
    return 0;
}

static int bool_read(struct parse *p, const config_setting_t *s, bool *out)
{
    if (config_setting_type(s) != CONFIG_TYPE_BOOL)
        return fail(p, s, "found %s; allowed is true or false", type_name(s));
    *out = config_setting_get_bool(s);
    return 0;
}

// min_len … max_len bytes.
static int string_read(struct parse *p, const config_setting_t *s, size_t min_len, size_t max_len,
                       const char **out)
{
    const char *text = config_setting_get_string(s); // NULL: no string

    *out = text;
    if (!text)
        return fail(p, s, "found %s; allowed is a string in quotes", type_name(s));
    if (strlen(text) < min_len || strlen(text) > max_len)
        return fail(p, s, "found a string of %zu bytes; allowed is %zu to %zu", strlen(text),
                    min_len, max_len);
    return 0;
}

// One of `names`; *out is its index.
static int choice_read(struct parse *p, const config_setting_t *s, const char *const *names,
                       unsigned count, unsigned *out)
{
    char allowed[128] = "";
    const char *text;
    int ret = string_read(p, s, 0, SIZE_MAX, &text);

    if (ret)
        return ret;
    for (unsigned i = 0; i < count; i++) {
        size_t len = strlen(allowed);
        if (!strcmp(text, names[i])) {
            *out = i;
            return 0;
        }
        snprintf(allowed + len, sizeof allowed - len, "%s\"%s\"", i ? ", " : "", names[i]);
    }
    return fail(p, s, "found \"%.32s\"; allowed is %s", text, allowed);
}

int card_config_mac_parse(const char *text, uint8_t mac[NIC_MAC_LEN])
{
    static const char digits[] = "0123456789abcdefABCDEF";
    char copy[3 * NIC_MAC_LEN] = "";

    if (strlen(text) != sizeof copy - 1)
        return -EINVAL;
    for (unsigned i = 0; i < NIC_MAC_LEN; i++) {
        const char *pair = text + 3 * i;
        if (!strchr(digits, pair[0]) || !strchr(digits, pair[1]) ||
            (i < NIC_MAC_LEN - 1 && pair[2] != ':'))
            return -EINVAL;
        mac[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return 0;
}

// True where a port or VF that was read before has it.
static bool mac_is_taken(const struct parse *p, const uint8_t mac[NIC_MAC_LEN])
{
    for (unsigned i = 0; i < NIC_PORTS_MAX; i++) {
        const struct card_config_port *port = &p->out->port[i];

        if (!memcmp(port->mac, mac, NIC_MAC_LEN))
            return true;
        for (unsigned n = 0; n < PF_VFS_MAX; n++) {
            if (!memcmp(port->pf.vf[n].mac, mac, NIC_MAC_LEN))
                return true;
        }
    }
    return false;
}

static int mac_read(struct parse *p, const config_setting_t *s, uint8_t out[NIC_MAC_LEN])
{
    static const uint8_t zero[NIC_MAC_LEN];
    uint8_t mac[NIC_MAC_LEN];
    const char *text;
    int ret = string_read(p, s, 0, SIZE_MAX, &text);

    if (ret)
        return ret;
    if (card_config_mac_parse(text, mac))
        return fail(p, s, "found \"%.32s\"; allowed is a MAC like \"02:00:00:00:00:01\"", text);
    if (mac[0] & 1 || !memcmp(mac, zero, sizeof zero))
        return fail(p, s,
                    "found \"%s\"; allowed is a unicast MAC (an even first byte, not all zero)",
                    text);
    if (mac_is_taken(p, mac))
        return fail(p, s, "found \"%s\", which another port or VF has", text);
    memcpy(out, mac, sizeof mac);
    return 0;
}

static const struct {
    const char *name;
    enum pf_mailbox_api api;
} apis[] = {
    {"1.0", PF_API_10}, {"1.1", PF_API_11}, {"1.2", PF_API_12},
    {"1.3", PF_API_13}, {"1.4", PF_API_14}, {"1.5", PF_API_15},
};

int card_config_api_parse(const char *text, enum pf_mailbox_api *out)
{
    for (size_t i = 0; i < ARRAY_LEN(apis); i++) {
        if (!strcmp(text, apis[i].name)) {
            *out = apis[i].api;
            return 0;
        }
    }
    return -EINVAL;
}

const char *card_config_api_name(int api)
{
    for (size_t i = 0; i < ARRAY_LEN(apis); i++) {
        if ((int)apis[i].api == api)
            return apis[i].name;
    }
    return api == -1 ? "-" : "?";
}

// Reads a group by its fields, in the fields' order, not the file's.
static int group_read(struct parse *p, const config_setting_t *group, const struct field *fields,
                      unsigned count)
{
    if (!config_setting_is_group(group))
        return fail(p, group, "found %s; allowed is a group { … }", type_name(group));
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
        const char *names[16];
        const char *near;
        unsigned n;

        for (n = 0; n < count; n++) {
            names[n] = fields[n].name;
            if (!strcmp(fields[n].name, config_setting_name(s)))
                break;
        }
        if (n < count)
            continue;
        near = spelling_nearest(config_setting_name(s), names, count);
        return fail(p, s, "no such setting%s%s%s examples/card.conf for all there are",
                    near ? ": did you mean '" : "", near ? near : "", near ? "'? See" : "; see");
    }
    for (unsigned n = 0; n < count; n++) {
        const config_setting_t *s = config_setting_get_member(group, fields[n].name);
        int ret;

        if (!s && fields[n].required)
            return fail(p, group, "'%s' is missing", fields[n].name);
        ret = s ? fields[n].read(p, s) : 0;
        if (ret)
            return ret;
    }
    return 0;
}

static struct card_config_port *port_of(struct parse *p)
{
    return &p->out->port[p->port_index];
}

// --- uplink ---

static int uplink_kind_read(struct parse *p, const config_setting_t *s)
{
    static const char *const names[] = {
        [UPLINK_NULL] = "null", [UPLINK_TAP] = "tap", [UPLINK_PCAP] = "pcap"};
    unsigned kind = 0;
    int ret = choice_read(p, s, names, ARRAY_LEN(names), &kind);

    port_of(p)->uplink.kind = (enum uplink_kind)kind;
    return ret;
}

// A setting that only one kind has.
static int uplink_kind_expect(struct parse *p, const config_setting_t *s, enum uplink_kind kind)
{
    if (port_of(p)->uplink.kind == kind)
        return 0;
    return fail(p, s, "belongs to an uplink of kind \"%s\"", kind == UPLINK_TAP ? "tap" : "pcap");
}

static int uplink_text_read(struct parse *p, const config_setting_t *s, enum uplink_kind kind,
                            char *out, size_t size)
{
    const char *text;
    int ret = uplink_kind_expect(p, s, kind);

    if (!ret)
        ret = string_read(p, s, 1, size - 1, &text);
    if (!ret)
        strcpy(out, text);
    return ret;
}

static int uplink_ifname_read(struct parse *p, const config_setting_t *s)
{
    struct uplink_config *up = &port_of(p)->uplink;
    int ret = uplink_text_read(p, s, UPLINK_TAP, up->ifname, sizeof up->ifname);

    if (!ret && !uplink_ifname_is_valid(up->ifname))
        return fail(p, s, "found \"%s\"; %s", up->ifname, UPLINK_IFNAME_RULE);
    return ret;
}

static int uplink_replay_read(struct parse *p, const config_setting_t *s)
{
    struct uplink_config *up = &port_of(p)->uplink;

    return uplink_text_read(p, s, UPLINK_PCAP, up->replay_path, sizeof up->replay_path);
}

static int uplink_record_read(struct parse *p, const config_setting_t *s)
{
    struct uplink_config *up = &port_of(p)->uplink;

    return uplink_text_read(p, s, UPLINK_PCAP, up->record_path, sizeof up->record_path);
}

static int uplink_loop_read(struct parse *p, const config_setting_t *s)
{
    int ret = uplink_kind_expect(p, s, UPLINK_PCAP);

    return ret ? ret : bool_read(p, s, &port_of(p)->uplink.replay_loop);
}

static int uplink_pps_read(struct parse *p, const config_setting_t *s)
{
    int64_t pps = 0;
    int ret = uplink_kind_expect(p, s, UPLINK_PCAP);

    if (!ret)
        ret = int_read(p, s, 0, PPS_MAX, &pps);
    port_of(p)->uplink.replay_pps = (uint32_t)pps;
    return ret;
}

static int uplink_read(struct parse *p, const config_setting_t *s)
{
    static const struct field fields[] = {
        {"kind", uplink_kind_read, true},         {"ifname", uplink_ifname_read, false},
        {"replay", uplink_replay_read, false},    {"record", uplink_record_read, false},
        {"replay_loop", uplink_loop_read, false}, {"replay_pps", uplink_pps_read, false},
    };
    const struct uplink_config *up = &port_of(p)->uplink;
    int ret = group_read(p, s, fields, ARRAY_LEN(fields));

    if (ret)
        return ret;
    if (up->kind == UPLINK_TAP && !up->ifname[0])
        return fail(p, s, "a tap needs 'ifname', the interface to create or attach to");
    if (up->kind == UPLINK_PCAP && !up->replay_path[0] && !up->record_path[0])
        return fail(p, s, "a pcap needs 'replay', 'record' or both");
    return 0;
}

// --- VFs ---

static int vf_index_read(struct parse *p, const config_setting_t *s)
{
    int64_t index = 0;
    int ret = int_read(p, s, 0, (int64_t)port_of(p)->pf.vf_count - 1, &index);

    p->vf->index = (int)index;
    return ret;
}

static int vf_mac_read(struct parse *p, const config_setting_t *s)
{
    return mac_read(p, s, p->vf->policy.mac);
}

static int vf_vlan_read(struct parse *p, const config_setting_t *s)
{
    int64_t vlan = 0;
    int ret = int_read(p, s, 0, VLAN_MAX, &vlan);

    p->vf->policy.vlan = (uint16_t)vlan;
    return ret;
}

static int vf_qos_read(struct parse *p, const config_setting_t *s)
{
    int64_t qos = 0;
    int ret = int_read(p, s, 0, QOS_MAX, &qos);

    p->vf->policy.qos = (uint8_t)qos;
    return ret;
}

static int vf_spoofchk_read(struct parse *p, const config_setting_t *s)
{
    return bool_read(p, s, &p->vf->policy.spoof_check);
}

static int vf_trust_read(struct parse *p, const config_setting_t *s)
{
    return bool_read(p, s, &p->vf->policy.trusted);
}

static int vf_link_read(struct parse *p, const config_setting_t *s)
{
    return bool_read(p, s, &p->vf->policy.link_up);
}

static int vf_doorbells_read(struct parse *p, const config_setting_t *s)
{
    static const char *const names[] = {
        [NIC_DOORBELLS_TRAPPED] = "trapped", [NIC_DOORBELLS_MAPPED] = "mapped"};
    unsigned kind = 0;
    int ret = choice_read(p, s, names, ARRAY_LEN(names), &kind);

    p->vf->doorbells = (enum nic_doorbells)kind;
    return ret;
}

#define VF_FIELDS                                                                                  \
    {"vlan", vf_vlan_read, false}, {"qos", vf_qos_read, false},                                    \
        {"spoofchk", vf_spoofchk_read, false}, {"trust", vf_trust_read, false},                    \
        {"link", vf_link_read, false},                                                             \
    {                                                                                              \
        "doorbells", vf_doorbells_read, false                                                      \
    }

static int vf_section_read(struct parse *p, const config_setting_t *s, const struct field *fields,
                           unsigned count, struct vf_settings *vf)
{
    int ret;

    p->vf = vf;
    ret = group_read(p, s, fields, count);
    p->vf = NULL;
    if (!ret && vf->policy.qos && !vf->policy.vlan)
        return fail(p, s, "qos %u without a vlan: it is the priority of the port VLAN's tag",
                    vf->policy.qos);
    return ret;
}

static void vf_settings_store(struct card_config_port *port, unsigned n,
                              const struct vf_settings *vf)
{
    port->pf.vf[n] = vf->policy;
    port->doorbells[n] = vf->doorbells;
}

static int vf_defaults_read(struct parse *p, const config_setting_t *s)
{
    static const struct field fields[] = {VF_FIELDS};
    struct card_config_port *port = port_of(p);
    struct vf_settings vf = {.policy = port->pf.vf[0], .doorbells = port->doorbells[0]};
    int ret = vf_section_read(p, s, fields, ARRAY_LEN(fields), &vf);

    for (unsigned n = 0; !ret && n < port->pf.vf_count; n++)
        vf_settings_store(port, n, &vf);
    return ret;
}

static int vf_list_read(struct parse *p, const config_setting_t *s)
{
    static const struct field fields[] = {
        {"index", vf_index_read, true}, {"mac", vf_mac_read, false}, VF_FIELDS};
    struct card_config_port *port = port_of(p);
    struct vf_settings base = {.policy = port->pf.vf[0], .doorbells = port->doorbells[0]};
    bool seen[PF_VFS_MAX] = {false};

    if (!config_setting_is_list(s))
        return fail(p, s, "found %s; allowed is a list of groups ( { … }, { … } )", type_name(s));
    for (int i = 0; i < config_setting_length(s); i++) {
        const config_setting_t *entry = config_setting_get_elem(s, (unsigned)i);
        struct vf_settings vf = base;
        int ret = vf_section_read(p, entry, fields, ARRAY_LEN(fields), &vf);

        if (ret)
            return ret;
        if (seen[vf.index])
            return fail(p, entry, "VF %d has an entry already", vf.index);
        seen[vf.index] = true;
        vf_settings_store(port, (unsigned)vf.index, &vf);
    }
    return 0;
}

static int vfs_read(struct parse *p, const config_setting_t *s)
{
    struct card_config_port *port = port_of(p);
    int64_t count = 0;
    int ret = int_read(p, s, 1, PF_VFS_MAX, &count);

    port->pf.vf_count = (unsigned)count;
    return ret;
}

// --- ports and the whole ---

static int port_mac_read(struct parse *p, const config_setting_t *s)
{
    p->mac_given[p->port_index] = true;
    return mac_read(p, s, port_of(p)->mac);
}

static int port_api_read(struct parse *p, const config_setting_t *s)
{
    const char *text;
    int ret = string_read(p, s, 0, SIZE_MAX, &text);

    if (!ret && card_config_api_parse(text, &port_of(p)->pf.mailbox_api_max))
        return fail(p, s, "found \"%.32s\"; allowed is \"1.0\" to \"1.5\"", text);
    return ret;
}

static int port_mtu_read(struct parse *p, const config_setting_t *s)
{
    int64_t mtu = 0;
    int ret = int_read(p, s, 0, MTU_MAX, &mtu);

    if (!ret && mtu && mtu < MTU_MIN)
        return fail(p, s, "found %lld; allowed is 0 (follows the VFs), or %d to %d", (long long)mtu,
                    MTU_MIN, MTU_MAX);
    port_of(p)->pf.mtu = (uint16_t)mtu;
    return ret;
}

static int port_read(struct parse *p, const config_setting_t *s)
{
    // vfs before what is sized by it; the defaults before the exceptions.
    static const struct field fields[] = {
        {"mac", port_mac_read, false},
        {"uplink", uplink_read, true},
        {"mailbox_api", port_api_read, false},
        {"mtu", port_mtu_read, false},
        {"vfs", vfs_read, true},
        {"vf_defaults", vf_defaults_read, false},
        {"vf", vf_list_read, false},
    };
    struct card_config_port *port = port_of(p);

    port->pf.mailbox_api_max = PF_API_14;
    for (unsigned n = 0; n < PF_VFS_MAX; n++)
        port->pf.vf[n] = (struct pf_vf_policy){.spoof_check = true, .link_up = true};
    return group_read(p, s, fields, ARRAY_LEN(fields));
}

static int ports_read(struct parse *p, const config_setting_t *s)
{
    int count;

    if (!config_setting_is_list(s))
        return fail(p, s, "found %s; allowed is a list of groups ( { … }, { … } )", type_name(s));
    count = config_setting_length(s);
    if (count < 1 || count > (int)NIC_PORTS_MAX)
        return fail(p, s, "found %d ports; allowed is 1 to %u", count, NIC_PORTS_MAX);
    for (int i = 0; i < count; i++) {
        int ret;

        p->port_index = (unsigned)i;
        ret = port_read(p, config_setting_get_elem(s, (unsigned)i));
        if (ret)
            return ret;
    }
    p->out->port_count = (unsigned)count;
    return 0;
}

static int log_level_read(struct parse *p, const config_setting_t *s)
{
    const char *text;
    int ret = string_read(p, s, 0, SIZE_MAX, &text);

    if (!ret && log_level_parse(text, &p->out->log_level))
        return fail(p, s, "found \"%.32s\"; allowed is \"error\", \"warn\", \"info\", \"debug\"",
                    text);
    return ret;
}

static int seed_read(struct parse *p, const config_setting_t *s)
{
    return string_read(p, s, 1, SEED_LEN_MAX, &p->seed);
}

static int workers_read(struct parse *p, const config_setting_t *s)
{
    int64_t count = 0;
    int ret = int_read(p, s, 1, NIC_WORKERS_MAX, &count);

    p->out->worker_count = (unsigned)count;
    return ret;
}

// FNV-1a over the seed and what is derived: the same on every machine and in every version.
static uint64_t seed_hash(const char *seed, char what)
{
    uint64_t hash = 0xcbf29ce484222325ull;

    for (; *seed; seed++)
        hash = (hash ^ (uint8_t)*seed) * 0x100000001b3ull;
    hash = (hash ^ (uint8_t)what) * 0x100000001b3ull;
    return hash;
}

// Serial number, and the MACs of ports that have none.
static int identity_derive(struct parse *p, const config_setting_t *root)
{
    uint64_t hash = seed_hash(p->seed, 'm');

    p->out->serial = seed_hash(p->seed, 's');
    for (unsigned i = 0; i < p->out->port_count; i++) {
        // Locally administered. The ports differ in the fifth byte; the PF driver makes the VFs'
        // addresses from this one by changing the first.
        uint8_t mac[NIC_MAC_LEN] = {
            0x02, (uint8_t)(hash >> 24), (uint8_t)(hash >> 16), (uint8_t)(hash >> 8), (uint8_t)i,
            0};

        if (p->mac_given[i])
            continue;
        if (mac_is_taken(p, mac))
            return fail(p, root,
                        "a VF has the MAC that port %u gets from the seed: give the port a 'mac'",
                        i);
        memcpy(p->out->port[i].mac, mac, sizeof mac);
    }
    return 0;
}

static int root_read(struct parse *p, const config_setting_t *root)
{
    static const struct field fields[] = {
        {"log_level", log_level_read, false},
        {"seed", seed_read, false},
        {"workers", workers_read, false},
        {"ports", ports_read, true},
    };
    int ret = group_read(p, root, fields, ARRAY_LEN(fields));

    return ret ? ret : identity_derive(p, root);
}

int card_config_parse(const char *text, size_t len, const char *name, struct card_config *out,
                      char *error, size_t error_len)
{
    struct parse p = {.name = name, .error = error, .error_len = error_len, .out = out};
    char *copy;
    config_t config;
    int ret;

    *out = (struct card_config){.log_level = LOG_LEVEL_INFO, .worker_count = 1};
    p.seed = SEED_DEFAULT;
    if (len > CARD_CONFIG_FILE_MAX_BYTES || memchr(text, 0, len)) {
        snprintf(error, error_len, "%s: %s", name,
                 len > CARD_CONFIG_FILE_MAX_BYTES ? "longer than 1 MiB"
                                                  : "has a NUL byte: this is no text");
        return -EINVAL;
    }
    copy = strndup(text, len);
    if (!copy) {
        snprintf(error, error_len, "%s: out of memory", name);
        return -ENOMEM;
    }
    config_init(&config);
    ret = config_text_check(copy, name, error, error_len);
    if (!ret && !config_read_string(&config, copy)) {
        snprintf(error, error_len, "%s:%d: %s", name, config_error_line(&config),
                 config_error_text(&config));
        ret = -EINVAL;
    }
    if (!ret)
        ret = root_read(&p, config_root_setting(&config));
    if (ret)
        printable_make(error); // it may quote the file
    config_destroy(&config);
    free(copy);
    return ret;
}

int card_config_read(const char *path, struct card_config *out, char *error, size_t error_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *text = NULL;
    size_t len = 0;
    struct stat st;
    int ret = 0;

    if (fd < 0 || fstat(fd, &st))
        ret = -errno;
    else if (!S_ISREG(st.st_mode))
        ret = -EISDIR;
    if (!ret) {
        text = malloc(CARD_CONFIG_FILE_MAX_BYTES + 1);
        ret = text ? 0 : -ENOMEM;
    }
    while (!ret && len < CARD_CONFIG_FILE_MAX_BYTES + 1) {
        ssize_t n = read(fd, text + len, CARD_CONFIG_FILE_MAX_BYTES + 1 - len);
        if (n < 0)
            ret = -errno;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    if (ret)
        snprintf(error, error_len, "%s: %s", path,
                 ret == -EISDIR ? "not a regular file" : strerror(-ret));
    else
        ret = card_config_parse(text, len, path, out, error, error_len);
    free(text);
    return ret;
}

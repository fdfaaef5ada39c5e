// SPDX-License-Identifier: BSD-3-Clause
#include "machine/chassis_mode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "machine/card_json.h"
#include "machine/methods.h"
#include "machine/uplinks.h"
#include "chassis/acpi.h"
#include "chassis/chassis.h"
#include "mem/gate.h"
#include "nic/nic.h"

struct chassis_mode {
    struct card_config config;
    char *run_dir; // absolute
    uint32_t base;
    struct gate gate;
    struct chassis *chassis;
    struct uplink *uplink[NIC_PORTS_MAX];
    struct nic_card *card;
    struct nic_worker *worker[NIC_WORKERS_MAX]; // as many as the config says
    sd_event_source *link_timer;                // NULL where no uplink's link can change
    bool has_tables;                            // written into run_dir
    bool listens;
};

int chassis_mode_base_parse(const char *text, uint32_t *out)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 16);
    if (errno || end == text || *end || !value || value > CHASSIS_BASE_DEFAULT ||
        value % CHASSIS_BAR_LEN_BYTES)
        return -EINVAL;
    *out = (uint32_t)value;
    return 0;
}

// The card's doorbells are all trapped: what the VM's kernel maps is the carrier's BAR.
static int hardware_build(struct chassis_mode *m)
{
    struct nic_card_config card = {
        .port_count = m->config.port_count, .bus = CHASSIS_CARD_BUS, .serial = m->config.serial};
    int ret = chassis_create(&m->gate, m->base, &m->chassis);

    if (ret)
        return ret;
    for (unsigned i = 0; i < m->config.port_count; i++) {
        memcpy(card.port[i].mac, m->config.port[i].mac, NIC_MAC_LEN);
        card.port[i].uplink = m->uplink[i];
    }
    ret = nic_card_create(&card, chassis_segment(m->chassis), &m->gate, &m->card);
    for (unsigned i = 0; !ret && i < m->config.worker_count; i++)
        ret = nic_worker_create(m->card, i, m->config.worker_count, &m->worker[i]);
    for (unsigned i = 0; !ret && i < m->config.worker_count; i++)
        ret = nic_worker_start(m->worker[i]);
    return ret;
}

static int listen_start(struct chassis_mode *m, sd_event *loop, char *error, size_t error_len)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    int len = snprintf(path, sizeof path, "%s/" CHASSIS_SOCKET_NAME, m->run_dir);
    int ret;

    if (len < 0 || (size_t)len >= sizeof path) {
        snprintf(error, error_len, "run directory %s: its path is too long for a socket",
                 m->run_dir);
        return -ENAMETOOLONG;
    }
    // Before the socket: who waits for that finds them.
    ret = acpi_tables_write(m->run_dir, m->base, error, error_len);
    m->has_tables = !ret;
    if (!ret)
        ret = chassis_listen(m->chassis, loop, path, error, error_len);
    if (ret)
        return ret;
    m->listens = true;
    return uplinks_watch(m->uplink, m->card, loop, &m->link_timer);
}

static int mode_build(struct chassis_mode *m, sd_event *loop, char *error, size_t error_len)
{
    int ret = uplinks_open(&m->config, m->uplink, error, error_len);

    if (ret)
        return ret;
    ret = hardware_build(m);
    if (ret) {
        snprintf(error, error_len, "building the card: %s", strerror(-ret));
        return ret;
    }
    return listen_start(m, loop, error, error_len);
}

int chassis_mode_create(const struct card_config *config, const char *run_dir, uint32_t base,
                        sd_event *loop, struct chassis_mode **out, char *error, size_t error_len)
{
    struct chassis_mode *m = calloc(1, sizeof *m);
    int ret = -ENOMEM;

    error[0] = 0;
    if (m) {
        m->config = *config;
        m->base = base;
        m->run_dir = realpath(run_dir, NULL);
        gate_init(&m->gate);
        ret = m->run_dir ? mode_build(m, loop, error, error_len) : -errno;
    }
    if (ret) {
        if (!error[0])
            snprintf(error, error_len, "%s", strerror(-ret));
        chassis_mode_destroy(m);
        return ret;
    }
    *out = m;
    return 0;
}

void chassis_mode_destroy(struct chassis_mode *m)
{
    if (!m)
        return;
    sd_event_source_disable_unref(m->link_timer);
    if (m->listens)
        chassis_stop(m->chassis);
    if (m->has_tables)
        acpi_tables_remove(m->run_dir);
    for (unsigned i = 0; i < NIC_WORKERS_MAX; i++)
        nic_worker_destroy(m->worker[i]);
    if (m->card)
        nic_card_destroy(m->card);
    chassis_destroy(m->chassis);
    uplinks_close(m->uplink);
    gate_destroy(&m->gate);
    free(m->run_dir);
    free(m);
}

void chassis_mode_print(const struct chassis_mode *m)
{
    printf("socket   %s/" CHASSIS_SOCKET_NAME "\n"
           "tables   %s/" ACPI_SSDT_NAME ", %s/" ACPI_DMAR_NAME "\n"
           "segment  %u at %08x\n",
           m->run_dir, m->run_dir, m->run_dir, CHASSIS_SEGMENT, m->base);
    for (unsigned i = 0; i < m->config.port_count; i++) {
        char mac[METHODS_MAC_TEXT_LEN];

        methods_mac_text(m->config.port[i].mac, mac);
        printf("port %u   %04x:%02x:00.%u, MAC %s\n", i, CHASSIS_SEGMENT, CHASSIS_CARD_BUS, i, mac);
    }
}

// --- methods ---

static json_t *info_json(const struct chassis_mode *m)
{
    return json_pack(
        "{s:o, s:o, s:o, s:i, s:b}", "socket", json_sprintf("%s/" CHASSIS_SOCKET_NAME, m->run_dir),
        "ssdt", json_sprintf("%s/" ACPI_SSDT_NAME, m->run_dir), "dmar",
        json_sprintf("%s/" ACPI_DMAR_NAME, m->run_dir), "client_pid",
        (int)chassis_client_pid(m->chassis), "booted", (int)chassis_is_booted(m->chassis));
}

static json_t *cycles_json(const struct chassis_mode *m)
{
    json_t *out = json_object();
    struct chassis_counts c;

    chassis_counts_get(m->chassis, &c);
#define COUNT(field) card_json_count(out, #field, c.field)
    COUNT(config_reads);
    COUNT(config_writes);
    COUNT(iommu_reads);
    COUNT(iommu_writes);
    COUNT(window_reads);
    COUNT(window_writes);
    COUNT(interrupts);
    COUNT(interrupts_lost);
    COUNT(iommu_interrupts);
#undef COUNT
    return out;
}

static json_t *messages_json(const struct chassis_mode *m)
{
    struct vfiouser_counts c;
    json_t *out;

    chassis_messages_get(m->chassis, &c);
    out = card_json_messages(&c);
    card_json_count(out, "malformed", c.received[0]);
    card_json_count(out, "writes_posted", c.region_writes_posted);
    card_json_count(out, "dma_writes_posted", c.dma_writes_posted);
    return out;
}

static json_t *port_json(const struct chassis_mode *m, unsigned port)
{
    json_t *vfs = json_array();

    for (int vf = 0; vf < (int)NIC_VFS_MAX; vf++)
        json_array_append_new(vfs, card_json_function(m->card, port, vf));
    return json_pack("{s:i, s:o, s:o, s:o}", "port", (int)port, "uplink",
                     card_json_uplink(&m->config.port[port].uplink, m->uplink[port]), "counts",
                     card_json_function(m->card, port, -1), "vfs", vfs);
}

static int method_info(void *ctx, const json_t *params, json_t **result, char *error, size_t len)
{
    (void)params, (void)error, (void)len;
    *result = info_json(ctx);
    return 0;
}

static int method_stats(void *ctx, const json_t *params, json_t **result, char *error, size_t len)
{
    struct chassis_mode *m = ctx;
    json_t *ports = json_array();

    (void)params, (void)error, (void)len;
    for (unsigned i = 0; i < m->config.port_count; i++)
        json_array_append_new(ports, port_json(m, i));
    *result = info_json(m);
    json_object_set_new(*result, "cycles", cycles_json(m));
    json_object_set_new(*result, "messages", messages_json(m));
    json_object_set_new(*result, "ports", ports);
    return 0;
}

const struct ctl_method chassis_mode_methods[] = {
    {"chassis.info", "the socket and tables, and who has the card", method_info},
    {"stats", "everything that is counted", method_stats},
    {"version", "version and PID of the daemon", methods_version},
    {NULL, NULL, NULL},
};

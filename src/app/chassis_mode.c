// SPDX-License-Identifier: BSD-3-Clause
#include "app/chassis_mode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "app/methods.h"
#include "base/clock.h"
#include "base/log.h"
#include "chassis/acpi.h"
#include "chassis/chassis.h"
#include "mem/gate.h"
#include "nic/nic.h"
#include "uplink/uplink.h"

#define LINK_POLL_US 1000000u

struct chassis_mode {
    struct card_config config;
    char *run_dir; // absolute
    uint32_t base;
    struct gate gate;
    struct chassis *chassis;
    struct uplink *uplink[NIC_PORTS_MAX];
    struct nic_card *card;
    struct nic_worker *worker;
    sd_event_source *link_timer;
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

static int uplinks_open(struct chassis_mode *m, char *error, size_t error_len)
{
    for (unsigned i = 0; i < m->config.port_count; i++) {
        char why[400];
        int ret = uplink_open(&m->config.port[i].uplink, &m->uplink[i], why, sizeof why);

        if (ret) {
            snprintf(error, error_len, "port %u: %s", i, why);
            return ret;
        }
    }
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
    if (!ret)
        ret = nic_worker_create(m->card, &m->worker);
    return ret ? ret : nic_worker_start(m->worker);
}

static int links_poll(sd_event_source *source, uint64_t usec, void *ctx)
{
    struct chassis_mode *m = ctx;

    (void)usec;
    nic_card_poll_links(m->card);
    sd_event_source_set_time_relative(source, LINK_POLL_US);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
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
    if (!ret)
        ret = chassis_listen(m->chassis, loop, path, error, error_len);
    if (ret)
        return ret;
    m->listens = true;
    ret = sd_event_add_time_relative(loop, &m->link_timer, CLOCK_MONOTONIC, LINK_POLL_US, 0,
                                     links_poll, m);
    return ret < 0 ? ret : 0;
}

static int mode_build(struct chassis_mode *m, sd_event *loop, char *error, size_t error_len)
{
    int ret = uplinks_open(m, error, error_len);

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
    if (m->worker)
        nic_worker_destroy(m->worker);
    if (m->card)
        nic_card_destroy(m->card);
    chassis_destroy(m->chassis);
    for (unsigned i = 0; i < NIC_PORTS_MAX; i++)
        uplink_close(m->uplink[i]);
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

// --- methods
// --------------------------------------------------------------------------------------

static void set_count(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

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
#define COUNT(field) set_count(out, #field, c.field)
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
    json_t *out = json_object();
    struct vfiouser_counts c;

    chassis_messages_get(m->chassis, &c);
    for (unsigned i = 1; i < VFIOUSER_COMMANDS; i++) {
        if (c.received[i])
            set_count(out, vfiouser_command_name(i), c.received[i]);
    }
    set_count(out, "malformed", c.received[0]);
    set_count(out, "writes_posted", c.region_writes_posted);
    set_count(out, "dma_writes_posted", c.dma_writes_posted);
    return out;
}

static json_t *function_json(const struct chassis_mode *m, unsigned port, int vf)
{
    struct nic_function_counts c;
    json_t *out = json_object();

    if (nic_function_counts_get(m->card, port, vf, &c))
        return out;
#define COUNT(field) set_count(out, #field, c.field)
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
#undef COUNT
    return out;
}

static json_t *port_json(const struct chassis_mode *m, unsigned port)
{
    json_t *vfs = json_array();
    json_t *uplink = json_pack("{s:b}", "link", (int)uplink_link_is_up(m->uplink[port]));
    struct uplink_counts c;

    uplink_counts_get(m->uplink[port], &c);
    set_count(uplink, "tx_frames", c.tx_frames);
    set_count(uplink, "rx_frames", c.rx_frames);
    set_count(uplink, "tx_drops", c.tx_drops);
    set_count(uplink, "rx_drops", c.rx_drops);
    for (int vf = 0; vf < (int)NIC_VFS_MAX; vf++)
        json_array_append_new(vfs, function_json(m, port, vf));
    return json_pack("{s:i, s:o, s:o, s:o}", "port", (int)port, "uplink", uplink, "counts",
                     function_json(m, port, -1), "vfs", vfs);
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

static int method_version(void *ctx, const json_t *params, json_t **result, char *error, size_t len)
{
    (void)ctx, (void)params, (void)error, (void)len;
    *result = json_pack("{s:s, s:i}", "vireo", VIREO_VERSION, "pid", (int)getpid());
    return 0;
}

const struct ctl_method chassis_mode_methods[] = {
    {"chassis.info", "the socket and tables, and who has the card", method_info},
    {"stats", "everything that is counted", method_stats},
    {"version", "version and PID of the daemon", method_version},
    {NULL, NULL, NULL},
};

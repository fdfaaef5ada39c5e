// SPDX-License-Identifier: BSD-3-Clause
#include "machine/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "machine/uplinks.h"
#include "iommu/vtd.h"
#include "mem/gate.h"
#include "mem/space.h"

#define CARD_BUS 1u // PFs at 01:00.0 and 01:00.1, VFs from 01:10.0 on

#define SOCKET_NAME_MAX "/port0-vf62.sock"

struct machine {
    struct card_config config;
    struct gate gate;
    struct mem_space *space;
    struct vtd *vtd;
    struct pci_segment *seg;
    struct uplink *uplink[NIC_PORTS_MAX];
    struct nic_card *card;
    struct nic_worker *worker[NIC_WORKERS_MAX]; // as many as the config says
    struct host *host;
    sd_event_source *link_timer; // NULL where no uplink's link can change
};

// The IOMMU's fault event: any thread. Nothing does DMA before the workers start, and by then the
// host is there.
static void fault_msi(void *ctx, uint64_t addr, uint32_t data)
{
    struct machine *m = ctx;

    (void)addr;
    (void)data;
    if (m->host)
        host_iommu_fault_event(m->host);
}

// What the hardware is: everything that is there before a host looks at it.
static int hardware_build(struct machine *m)
{
    struct nic_card_config card = {
        .port_count = m->config.port_count, .bus = CARD_BUS, .serial = m->config.serial};
    int ret = mem_space_create(&m->gate, &m->space);

    if (!ret)
        ret = vtd_create(m->space, &m->gate, fault_msi, m, &m->vtd);
    if (!ret)
        ret = pci_segment_create(&m->gate, vtd_dma_ops(), m->vtd, vtd_generation(m->vtd), &m->seg);
    if (ret)
        return ret;
    for (unsigned i = 0; i < m->config.port_count; i++) {
        memcpy(card.port[i].mac, m->config.port[i].mac, NIC_MAC_LEN);
        memcpy(card.port[i].vf_doorbells, m->config.port[i].doorbells,
               sizeof card.port[i].vf_doorbells);
        card.port[i].uplink = m->uplink[i];
    }
    ret = nic_card_create(&card, m->seg, &m->gate, &m->card);
    for (unsigned i = 0; !ret && i < m->config.worker_count; i++)
        ret = nic_worker_create(m->card, i, m->config.worker_count, &m->worker[i]);
    return ret;
}

static int ports_start(struct machine *m, const char *run_dir, char *error, size_t error_len)
{
    for (unsigned i = 0; i < m->config.port_count; i++) {
        char pattern[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];
        char why[400] = "";
        struct host_port_config port = {.pf = m->config.port[i].pf, .socket_pattern = pattern};
        int ret;

        snprintf(pattern, sizeof pattern, "%s/port%u-vf%%u.sock", run_dir, i);
        ret = host_port_start(m->host, i, &port, why, sizeof why);
        if (ret) {
            snprintf(error, error_len, "port %u: %s", i, why[0] ? why : strerror(-ret));
            return ret;
        }
    }
    return 0;
}

// The run directory becomes part of socket paths and of a printf pattern.
static int run_dir_check(const char *run_dir, char *error, size_t error_len)
{
    size_t room = sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof SOCKET_NAME_MAX;

    if (strlen(run_dir) > room) {
        snprintf(error, error_len,
                 "the run directory's path is %zu bytes long; a socket's path leaves room for %zu",
                 strlen(run_dir), room);
        return -ENAMETOOLONG;
    }
    if (strchr(run_dir, '%')) {
        snprintf(error, error_len, "the run directory's path must not contain '%%'");
        return -EINVAL;
    }
    return 0;
}

static int machine_build(struct machine *m, const char *run_dir, sd_event *loop, char *error,
                         size_t error_len)
{
    struct host_machine parts;
    int ret = run_dir_check(run_dir, error, error_len);

    if (!ret)
        ret = uplinks_open(&m->config, m->uplink, error, error_len);
    if (ret)
        return ret;
    ret = hardware_build(m);
    if (ret) {
        snprintf(error, error_len, "building the card: %s", strerror(-ret));
        return ret;
    }
    parts = (struct host_machine){
        .loop = loop, .gate = &m->gate, .space = m->space, .vtd = m->vtd, .seg = m->seg};
    ret = host_create(&parts, &m->host, error, error_len);
    if (ret)
        return ret;
    for (unsigned i = 0; !ret && i < m->config.worker_count; i++)
        ret = nic_worker_start(m->worker[i]);
    if (ret) {
        snprintf(error, error_len, "starting the card's workers: %s", strerror(-ret));
        return ret;
    }
    ret = ports_start(m, run_dir, error, error_len);
    return ret ? ret : uplinks_watch(m->uplink, m->card, loop, &m->link_timer);
}

int machine_create(const struct card_config *config, const char *run_dir, sd_event *loop,
                   struct machine **out, char *error, size_t error_len)
{
    struct machine *m = calloc(1, sizeof *m);
    int ret;

    if (!m) {
        snprintf(error, error_len, "out of memory");
        return -ENOMEM;
    }
    m->config = *config;
    gate_init(&m->gate);
    error[0] = 0;
    ret = machine_build(m, run_dir, loop, error, error_len);
    if (ret) {
        if (!error[0])
            snprintf(error, error_len, "%s", strerror(-ret));
        machine_destroy(m);
        return ret;
    }
    *out = m;
    return 0;
}

void machine_destroy(struct machine *m)
{
    struct host *host;

    if (!m)
        return;
    sd_event_source_disable_unref(m->link_timer);
    // The host takes its clients away and resets the card, with the workers still there to drain.
    // No DMA is left afterwards, so no fault event can be on its way to a host that is gone.
    host = m->host;
    host_destroy(host);
    for (unsigned i = 0; i < NIC_WORKERS_MAX; i++)
        nic_worker_destroy(m->worker[i]);
    m->host = NULL;
    if (m->card)
        nic_card_destroy(m->card);
    if (m->seg)
        pci_segment_destroy(m->seg);
    if (m->vtd)
        vtd_destroy(m->vtd);
    uplinks_close(m->uplink);
    if (m->space)
        mem_space_destroy(m->space);
    gate_destroy(&m->gate);
    free(m);
}

const struct card_config *machine_config(const struct machine *m)
{
    return &m->config;
}

int machine_vf_set_policy(struct machine *m, unsigned port, unsigned vf,
                          const struct pf_vf_policy *policy)
{
    int ret;

    if (port >= m->config.port_count || vf >= m->config.port[port].pf.vf_count)
        return -EINVAL;
    ret = pf_driver_vf_set_policy(host_port_pf(m->host, port), vf, policy);
    if (!ret)
        m->config.port[port].pf.vf[vf] = *policy;
    return ret;
}

struct host *machine_host(const struct machine *m)
{
    return m->host;
}

const struct nic_card *machine_card(const struct machine *m)
{
    return m->card;
}

const struct nic_worker *machine_worker(const struct machine *m, unsigned index)
{
    return m->worker[index];
}

struct pci_segment *machine_segment(const struct machine *m)
{
    return m->seg;
}

const struct uplink *machine_uplink(const struct machine *m, unsigned port)
{
    return m->uplink[port];
}

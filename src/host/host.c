// SPDX-License-Identifier: BSD-3-Clause
#include "host/host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "host/assign.h"
#include "host/bus_inproc.h"
#include "host/enumerate.h"
#include "host/iommu_driver.h"
#include "host/irq.h"

#define PORTS_MAX 8u

struct port {
    bool started;
    struct host_function fn;
    struct host_sriov sriov;
    struct driver_bus *bus;
    struct pf_driver *pf;
    sd_event_source *irq_source;
    struct host_vf *vf[PF_VFS_MAX];
    unsigned vf_count;
};

struct host {
    struct host_machine machine;
    struct host_iommu *iommu;
    struct host_irq_table irqs;
    struct host_window window;
    struct port port[PORTS_MAX]; // functions with SR-IOV, in the order of their requester IDs
    unsigned port_count;
};

static int functions_enumerate(struct host *host)
{
    for (unsigned rid = 0; rid <= UINT16_MAX; rid++) {
        rid_t at = {(uint16_t)rid};
        struct host_function fn;
        int ret;

        if (!pci_function_exists(host->machine.seg, at))
            continue;
        ret = host_function_probe(host->machine.seg, at, &host->window, &fn);
        if (ret)
            return ret;
        log_info("host: " RID_FMT " is %04x:%04x%s", RID_ARGS(at), fn.vendor_id, fn.device_id,
                 fn.extcap_sriov ? ", with SR-IOV" : "");
        if (fn.extcap_sriov && host->port_count < PORTS_MAX)
            host->port[host->port_count++].fn = fn;
    }
    return 0;
}

int host_create(const struct host_machine *machine, struct host **out, char *error,
                size_t error_len)
{
    struct host *host = calloc(1, sizeof *host);
    int ret;

    if (!host) {
        snprintf(error, error_len, "out of memory");
        return -ENOMEM;
    }
    host->machine = *machine;
    host_irq_init(&host->irqs, machine->gate);
    host_window_init(&host->window);
    pci_segment_set_interrupt_sink(
        machine->seg, &(struct pci_interrupt_sink){.raise = host_irq_raise, .ctx = &host->irqs});
    ret =
        host_iommu_create(machine->loop, machine->gate, machine->space, machine->vtd, &host->iommu);
    if (ret) {
        snprintf(error, error_len, "the IOMMU could not be turned on: %s", strerror(-ret));
        goto fail;
    }
    ret = functions_enumerate(host);
    if (ret) {
        snprintf(error, error_len, "enumerating the PCI segment: %s", strerror(-ret));
        goto fail;
    }
    *out = host;
    return 0;
fail:
    host_destroy(host);
    return ret;
}

static void port_stop(struct host *host, struct port *port)
{
    for (unsigned i = 0; i < port->vf_count; i++)
        host_vf_destroy(port->vf[i]);
    port->vf_count = 0;
    if (port->pf) {
        host_sriov_disable(host->machine.seg, &port->fn);
        sd_event_source_disable_unref(port->irq_source);
        pf_driver_close(port->pf);
        port->pf = NULL;
    }
    if (port->bus)
        port->bus->ops->close(port->bus);
    port->bus = NULL;
    port->started = false;
}

void host_destroy(struct host *host)
{
    if (!host)
        return;
    for (unsigned i = 0; i < host->port_count; i++)
        port_stop(host, &host->port[i]);
    if (host->iommu)
        host_iommu_destroy(host->iommu);
    pci_segment_set_interrupt_sink(host->machine.seg, NULL);
    host_irq_fini(&host->irqs);
    free(host);
}

void host_iommu_fault_event(struct host *host)
{
    if (host->iommu)
        host_iommu_fault_signal(host->iommu);
}

static int pf_interrupt(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
    struct port *port = ctx;

    (void)source, (void)fd, (void)revents;
    pf_driver_service(port->pf);
    return 0;
}

static int vfs_start(struct host *host, unsigned index, const struct host_port_config *config,
                     char *error, size_t error_len)
{
    struct port *port = &host->port[index];

    for (unsigned i = 0; i < config->pf.vf_count; i++) {
        char path[108];
        struct host_function fn;
        int ret = host_vf_probe(host->machine.seg, &port->fn, &port->sriov, i, &fn);

        if (ret) {
            snprintf(error, error_len, "port %u: VF %u does not answer", index, i);
            return ret;
        }
        // The pattern is the daemon's own, checked by its config code; not a peer's.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        if ((size_t)snprintf(path, sizeof path, config->socket_pattern, i) >= sizeof path) {
            snprintf(error, error_len, "the socket path of VF %u is longer than %zu bytes", i,
                     sizeof path - 1);
            return -ENAMETOOLONG;
        }
#pragma GCC diagnostic pop
        ret = host_vf_create(&(struct host_vf_place){.machine = &host->machine,
                                                     .iommu = host->iommu,
                                                     .irqs = &host->irqs,
                                                     .pf = port->pf,
                                                     .port = index,
                                                     .vf = i,
                                                     .fn = &fn,
                                                     .socket_path = path},
                             &port->vf[i], error, error_len);
        if (ret)
            return ret;
        port->vf_count = i + 1;
    }
    return 0;
}

int host_port_start(struct host *host, unsigned index, const struct host_port_config *config,
                    char *error, size_t error_len)
{
    struct port *port;
    char name[16];
    int ret;

    if (index >= host->port_count || host->port[index].started) {
        snprintf(error, error_len, "port %u is not there, or runs already", index);
        return -ENODEV;
    }
    port = &host->port[index];
    snprintf(name, sizeof name, RID_FMT, RID_ARGS(port->fn.rid));
    ret =
        host_bus_inproc_open(&host->machine, host->iommu, &host->irqs, &port->fn, name, &port->bus);
    if (ret) {
        snprintf(error, error_len, "port %u: %s", index, strerror(-ret));
        return ret;
    }
    port->started = true;
    ret = pf_driver_open(port->bus, &config->pf, &port->pf, error, error_len);
    if (ret)
        goto fail;
    ret = sd_event_add_io(host->machine.loop, &port->irq_source, pf_driver_irq_fd(port->pf),
                          EPOLLIN, pf_interrupt, port);
    if (ret < 0) {
        snprintf(error, error_len, "port %u: %s", index, strerror(-ret));
        goto fail;
    }
    if (config->pf.vf_count) {
        ret = host_sriov_enable(host->machine.seg, &port->fn, config->pf.vf_count, &host->window,
                                &port->sriov);
        if (ret) {
            snprintf(error, error_len, "port %u: enabling %u VFs: %s", index, config->pf.vf_count,
                     strerror(-ret));
            goto fail;
        }
        ret = vfs_start(host, index, config, error, error_len);
        if (ret)
            goto fail;
    }
    return 0;
fail:
    port_stop(host, port);
    return ret;
}

struct pf_driver *host_port_pf(struct host *host, unsigned index)
{
    return index < host->port_count ? host->port[index].pf : NULL;
}

rid_t host_port_rid(const struct host *host, unsigned index)
{
    return index < host->port_count ? host->port[index].fn.rid : (rid_t){UINT16_MAX};
}

int host_vf_info_get(struct host *host, unsigned port, unsigned vf, struct host_vf_info *out)
{
    if (port >= host->port_count || vf >= host->port[port].vf_count)
        return -ENOENT;
    host_vf_info(host->port[port].vf[vf], out);
    return 0;
}

uint64_t host_iommu_fault_count(const struct host *host)
{
    return host_iommu_faults(host->iommu);
}

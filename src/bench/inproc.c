// SPDX-License-Identifier: BSD-3-Clause
#include "bench/inproc.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <systemd/sd-event.h>

#include "bench/subject.h"
#include "base/bits.h"
#include "driver/pf.h"
#include "host/bus_inproc.h"
#include "host/enumerate.h"
#include "host/host.h"
#include "host/iommu_driver.h"
#include "host/irq.h"
#include "iommu/vtd.h"
#include "mem/gate.h"
#include "mem/space.h"
#include "nic/nic.h"
#include "uplink/uplink.h"

#define CARD_BUS    1u
#define WORKER_NAME "vireo-worker\n"

struct bench_inproc {
    struct gate gate;
    struct host_machine host;
    struct uplink *uplink;
    struct nic_card *card;
    struct nic_worker *worker[BENCH_INPROC_WORKERS_MAX];
    pid_t worker_tid;
    struct host_irq_table irqs;
    struct host_iommu *iommu;
    struct host_window window;
    struct host_function pf_fn;
    struct host_sriov sriov;
    struct driver_bus *pf_bus;
    struct pf_driver *pf;
    unsigned vf_count;
    // The ops of the VFs' buses: bus_inproc's, but for reads, which let the PF answer, and for the
    // end, when the doorbell pages go.
    struct driver_bus_ops vf_ops;
    uint32_t (*reg_read)(struct driver_bus *bus, uint32_t offset);
    void (*close)(struct driver_bus *bus);
};

// --- the card and its host ---

static void fault_msi(void *ctx, uint64_t addr, uint32_t data)
{
    struct bench_inproc *m = ctx;

    (void)addr, (void)data;
    if (m->iommu)
        host_iommu_fault_signal(m->iommu);
}

static int hardware_build(struct bench_inproc *m, bool mapped, char *error, size_t error_len)
{
    const struct uplink_config nothing = {.kind = UPLINK_NULL};
    struct nic_card_config card = {
        .port_count = 1, .bus = CARD_BUS, .serial = 1, .port[0].mac = {0x02, 0, 0, 0, 0, 1}};
    int ret = uplink_open(&nothing, &m->uplink, error, error_len);

    if (!ret)
        ret = sd_event_new(&m->host.loop);
    if (ret >= 0)
        ret = mem_space_create(&m->gate, &m->host.space);
    if (!ret)
        ret = vtd_create(m->host.space, &m->gate, fault_msi, m, &m->host.vtd);
    if (!ret)
        ret = pci_segment_create(&m->gate, vtd_dma_ops(), m->host.vtd, vtd_generation(m->host.vtd),
                                 &m->host.seg);
    if (ret)
        return ret;
    for (unsigned i = 0; i < NIC_VFS_MAX; i++)
        card.port[0].vf_doorbells[i] = mapped ? NIC_DOORBELLS_MAPPED : NIC_DOORBELLS_TRAPPED;
    card.port[0].uplink = m->uplink;
    return nic_card_create(&card, m->host.seg, &m->gate, &m->card);
}

static int pf_start(struct bench_inproc *m, char *error, size_t error_len)
{
    struct pf_config pf = {.vf_count = m->vf_count, .mailbox_api_max = PF_API_14};
    int ret = host_bus_inproc_open(&m->host, m->iommu, &m->irqs, &m->pf_fn, "pf", &m->pf_bus);

    for (unsigned i = 0; i < m->vf_count; i++)
        pf.vf[i] = (struct pf_vf_policy){.spoof_check = true, .link_up = true};
    return ret ? ret : pf_driver_open(m->pf_bus, &pf, &m->pf, error, error_len);
}

static int host_build(struct bench_inproc *m, char *error, size_t error_len)
{
    int ret;

    host_irq_init(&m->irqs, &m->gate);
    host_window_init(&m->window);
    pci_segment_set_interrupt_sink(
        m->host.seg, &(struct pci_interrupt_sink){.raise = host_irq_raise, .ctx = &m->irqs});
    ret = host_iommu_create(m->host.loop, &m->gate, m->host.space, m->host.vtd, &m->iommu);
    if (!ret)
        ret = host_function_probe(m->host.seg, (rid_t){CARD_BUS << 8}, &m->window, &m->pf_fn);
    if (!ret)
        ret = bench_inproc_worker_start(m);
    if (!ret)
        ret = pf_start(m, error, error_len);
    return ret ? ret
               : host_sriov_enable(m->host.seg, &m->pf_fn, m->vf_count, &m->window, &m->sriov);
}

int bench_inproc_open(unsigned vf_count, bool mapped_doorbells, struct bench_inproc **out,
                      char *error, size_t error_len)
{
    struct bench_inproc *m = calloc(1, sizeof *m);
    int ret;

    if (!m)
        return -ENOMEM;
    gate_init(&m->gate);
    m->host.gate = &m->gate;
    m->vf_count = vf_count;
    error[0] = 0;
    ret = hardware_build(m, mapped_doorbells, error, error_len);
    if (!ret)
        ret = host_build(m, error, error_len);
    if (ret) {
        if (!error[0])
            snprintf(error, error_len, "a card of this process's own: %s", strerror(-ret));
        bench_inproc_close(m);
        return ret;
    }
    *out = m;
    return 0;
}

void bench_inproc_close(struct bench_inproc *m)
{
    if (!m)
        return;
    if (m->pf) {
        host_sriov_disable(m->host.seg, &m->pf_fn);
        pf_driver_close(m->pf);
    }
    if (m->pf_bus)
        m->pf_bus->ops->close(m->pf_bus);
    if (m->iommu)
        host_iommu_destroy(m->iommu);
    if (m->host.seg)
        pci_segment_set_interrupt_sink(m->host.seg, NULL);
    bench_inproc_worker_stop(m);
    if (m->card)
        nic_card_destroy(m->card);
    if (m->host.seg)
        pci_segment_destroy(m->host.seg);
    if (m->host.vtd)
        vtd_destroy(m->host.vtd);
    uplink_close(m->uplink);
    if (m->host.space)
        mem_space_destroy(m->host.space);
    sd_event_unref(m->host.loop);
    gate_destroy(&m->gate);
    free(m);
}

// --- the worker ---

static pid_t worker_find(void)
{
    struct dirent *entry;
    pid_t found = 0;
    DIR *dir = opendir("/proc/self/task");

    while (dir && (entry = readdir(dir))) {
        char path[64], name[32] = "";
        FILE *file;

        snprintf(path, sizeof path, "/proc/self/task/%.20s/comm", entry->d_name);
        file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (file && fgets(name, sizeof name, file) && !strcmp(name, WORKER_NAME))
            found = (pid_t)atoi(entry->d_name);
        if (file)
            fclose(file);
    }
    if (dir)
        closedir(dir);
    return found;
}

int bench_inproc_workers_start(struct bench_inproc *m, unsigned count)
{
    static const char *const cpus[BENCH_INPROC_WORKERS_MAX] = {BENCH_DEVICE_CPU, BENCH_GUEST_CPU};
    struct timespec ms = {0, 1000000};
    cpu_set_t ours;
    int ret = 0;

    if (m->worker_tid)
        return 0;
    for (unsigned i = 0; !ret && i < count; i++)
        ret = nic_worker_create(m->card, i, count, &m->worker[i]);
    // A thread begins on the cores of who starts it.
    sched_getaffinity(0, sizeof ours, &ours);
    for (unsigned i = 0; !ret && i < count; i++) {
        bench_cpu_bind(cpus[i]);
        ret = nic_worker_start(m->worker[i]);
    }
    sched_setaffinity(0, sizeof ours, &ours);
    // It names itself, some time soon.
    for (unsigned i = 0; !ret && i < 1000 && !(m->worker_tid = worker_find()); i++)
        nanosleep(&ms, NULL);
    return ret || m->worker_tid ? ret : -ESRCH;
}

int bench_inproc_worker_start(struct bench_inproc *m)
{
    return bench_inproc_workers_start(m, 1);
}

void bench_inproc_worker_stop(struct bench_inproc *m)
{
    for (unsigned i = 0; i < BENCH_INPROC_WORKERS_MAX; i++) {
        nic_worker_destroy(m->worker[i]);
        m->worker[i] = NULL;
    }
    m->worker_tid = 0;
}

uint64_t bench_inproc_uplink_frames(const struct bench_inproc *m)
{
    struct uplink_counts counts;

    uplink_counts_get(m->uplink, &counts);
    return counts.tx_frames;
}

pid_t bench_inproc_worker_tid(const struct bench_inproc *m)
{
    return m->worker_tid;
}

// --- buses ---

// The VF's driver waits for the PF's answer in the thread that the PF's driver runs in.
static uint32_t read_and_serve(struct driver_bus *bus, uint32_t offset)
{
    const struct bench_inproc *m = container_of(bus->ops, const struct bench_inproc, vf_ops);
    struct pollfd irq = {.fd = pf_driver_irq_fd(m->pf), .events = POLLIN};

    if (poll(&irq, 1, 0) == 1)
        pf_driver_service(m->pf);
    return m->reg_read(bus, offset);
}

static void unmap_and_close(struct driver_bus *bus)
{
    const struct bench_inproc *m = container_of(bus->ops, const struct bench_inproc, vf_ops);

    if (bus->mapped)
        munmap((void *)bus->mapped, bus->mapped_len);
    m->close(bus);
}

static int doorbells_map(struct bench_inproc *m, const struct host_function *fn,
                         struct driver_bus *bus)
{
    struct pci_backing pages;
    void *at;

    if (pci_backing_get(m->host.seg, fn->rid, 0, 0, &pages))
        return 0; // trapped
    at = mmap(NULL, pages.len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, pages.fd,
              (off_t)pages.fd_offset);
    if (at == MAP_FAILED)
        return -errno;
    bus->mapped = at;
    bus->mapped_start = (uint32_t)pages.bar_offset;
    bus->mapped_len = (uint32_t)pages.len_bytes;
    return 0;
}

static int bus_open(struct bench_inproc *m, unsigned vf, struct driver_bus **out, char *error,
                    size_t error_len)
{
    struct host_function fn;
    struct driver_bus *bus = NULL;
    char name[16];
    int ret = host_vf_probe(m->host.seg, &m->pf_fn, &m->sriov, vf, &fn);

    snprintf(name, sizeof name, "VF %u", vf);
    if (!ret)
        ret = host_bus_inproc_open(&m->host, m->iommu, &m->irqs, &fn, name, &bus);
    if (!ret)
        ret = doorbells_map(m, &fn, bus);
    if (ret) {
        snprintf(error, error_len, "a bus to VF %u: %s", vf, strerror(-ret));
        if (bus)
            bus->ops->close(bus);
        return ret;
    }
    m->reg_read = bus->ops->reg_read;
    m->vf_ops = *bus->ops;
    m->vf_ops.reg_read = read_and_serve;
    m->close = bus->ops->close;
    m->vf_ops.close = unmap_and_close;
    bus->ops = &m->vf_ops;
    *out = bus;
    return 0;
}

int bench_inproc_side(struct bench_inproc *m, unsigned vf, unsigned ring, struct bench_side *side,
                      char *error, size_t error_len)
{
    const struct vf_config config = {.queue_count = 1,
                                     .ring_len = ring,
                                     .buffer_count = ring + 8 * BENCH_BURST,
                                     .buffer_bytes = 2048,
                                     .frame_bytes_max = 1514,
                                     .reset_timeout_ms = 4000};
    int ret = bus_open(m, vf, &side->bus, error, error_len);

    return ret ? ret : bench_side_open(side, &config, error, error_len);
}

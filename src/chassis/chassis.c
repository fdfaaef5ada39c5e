// SPDX-License-Identifier: BSD-3-Clause
#include "chassis/chassis.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/le.h"
#include "base/log.h"
#include "chassis/carrier.h"
#include "chassis/ecam.h"
#include "chassis/memory.h"
#include "chassis/root_port.h"
#include "chassis/window.h"
#include "iommu/vtd.h"
#include "mem/space.h"

enum { REGION_BAR0 = 0, REGION_CONFIG = 7, IRQ_ERROR = 3 }; // VFIO's numbers (linux/vfio.h)

struct chassis {
    struct gate *gate;
    struct mem_space *space;
    struct vtd *vtd;
    struct pci_segment *seg;
    struct root_port *port;
    struct chassis_memory *memory;
    struct carrier carrier;
    bool is_checked, is_refused; // the VM's memory, since the last reset
    int dead_fd;                 // gets a count when the VM's memory vanished under us
    sd_event_source *dead_source;
    struct vfiouser_server *server; // changes with the gate closed: workers post through it
    struct chassis_counts counts;   // the loop's
    _Atomic uint64_t interrupts, interrupts_lost, iommu_interrupts;
};

// --- interrupts: any thread -------------------------------------------------------------------

// An interrupt message (VT-d §3.13, §5.1.2: an aligned dword write to FEExxxxx) becomes a DMA_WRITE
// on the carrier's socket. The unit before the functions does not remap it.
static void interrupt_post(struct chassis *c, uint64_t addr, uint32_t data)
{
    struct vfiouser_server *server = c->server;
    uint8_t bytes[4];

    le32_put(bytes, data);
    if (server && !vfiouser_server_post_dma_write(server, addr, bytes, sizeof bytes))
        atomic_fetch_add_explicit(&c->interrupts, 1, memory_order_relaxed);
    else
        atomic_fetch_add_explicit(&c->interrupts_lost, 1, memory_order_relaxed);
}

static bool is_interrupt_address(uint64_t addr)
{
    return bits_range_within(addr, 4, DMA_INTERRUPT_BASE, DMA_INTERRUPT_LEN) && !(addr & 3);
}

// A message that is aimed elsewhere is a write like any other: a driver may have its device's
// interrupts land in memory. Rare, so nothing is cached.
static void message_write(struct chassis *c, rid_t rid, uint64_t addr, uint32_t data)
{
    struct dma_translation t;

    if (addr & 3 || vtd_dma_ops()->translate(c->vtd, rid, (iova_t){addr}, DMA_WRITE, &t)) {
        atomic_fetch_add_explicit(&c->interrupts_lost, 1, memory_order_relaxed);
        return;
    }
    __atomic_store_n((uint32_t *)(t.host + (addr - t.iova)), htole32(data), __ATOMIC_RELEASE);
}

static void function_interrupt(void *ctx, rid_t rid, unsigned vector, uint64_t addr, uint32_t data)
{
    struct chassis *c = ctx;

    (void)vector;
    if (is_interrupt_address(addr))
        interrupt_post(c, addr, data);
    else
        message_write(c, rid, addr, data);
}

static void iommu_interrupt(void *ctx, uint64_t addr, uint32_t data)
{
    struct chassis *c = ctx;

    atomic_fetch_add_explicit(&c->iommu_interrupts, 1, memory_order_relaxed);
    if (is_interrupt_address(addr))
        interrupt_post(c, addr, data);
    else
        atomic_fetch_add_explicit(&c->interrupts_lost, 1, memory_order_relaxed);
}

// --- the carrier's callbacks ------------------------------------------------------------------

// Power-up of everything in the BAR.
static int on_reset(void *dev)
{
    struct chassis *c = dev;

    carrier_reset(&c->carrier);
    c->is_checked = c->is_refused = false;
    root_port_reset(c->port);
    pci_bus_reset(c->seg, CHASSIS_CARD_BUS);
    vtd_reset(c->vtd);
    return 0;
}

static int on_attach(void *dev, pid_t client_pid)
{
    log_info("chassis: the VM of process %d has the card", (int)client_pid);
    return on_reset(dev);
}

static void on_detach(void *dev)
{
    struct chassis *c = dev;

    on_reset(c);
    chassis_memory_unmap(c->memory, 0, 0, true);
    log_info("chassis: free again");
}

static void bar_read(struct chassis *c, uint64_t offset, uint8_t *buf, uint32_t len)
{
    uint64_t value = ~0ull;
    uint8_t bytes[8];

    if (offset < CHASSIS_ECAM_LEN_BYTES) {
        c->counts.config_reads++;
        value = ecam_read(c->port, c->seg, offset, len);
    } else if (bits_range_within(offset, len, CHASSIS_DRHD_OFFSET, VTD_REGS_LEN_BYTES)) {
        c->counts.iommu_reads++;
        value = vtd_reg_read(c->vtd, (uint32_t)(offset - CHASSIS_DRHD_OFFSET), len);
    } else if (offset >= CHASSIS_WINDOW_OFFSET) {
        c->counts.window_reads++;
        value = window_read(c->port, c->seg, c->carrier.base + offset, len);
    }
    le64_put(bytes, value);
    memcpy(buf, bytes, len);
}

static void bar_write(struct chassis *c, uint64_t offset, const uint8_t *buf, uint32_t len)
{
    uint8_t bytes[8] = {0};
    uint64_t value;

    memcpy(bytes, buf, len);
    value = le64_get(bytes);
    if (offset < CHASSIS_ECAM_LEN_BYTES) {
        c->counts.config_writes++;
        ecam_write(c->port, c->seg, offset, len, value);
    } else if (bits_range_within(offset, len, CHASSIS_DRHD_OFFSET, VTD_REGS_LEN_BYTES)) {
        c->counts.iommu_writes++;
        vtd_reg_write(c->vtd, (uint32_t)(offset - CHASSIS_DRHD_OFFSET), len, value);
    } else if (offset >= CHASSIS_WINDOW_OFFSET) {
        c->counts.window_writes++;
        window_write(c->port, c->seg, c->carrier.base + offset, len, value);
    }
}

// Whether anything is in the BAR. Whoever reads it first is the VM's kernel, which wants to know
// early whether there is an IOMMU: with memory that we do not share it would wait for ever for
// that.
static bool bar_is_open(struct chassis *c)
{
    const char *fault;

    if (!carrier_is_placed(&c->carrier))
        return false;
    if (!c->is_checked) {
        fault = chassis_memory_fault(c->memory);
        c->is_checked = true;
        c->is_refused = fault;
        if (fault)
            log_error("chassis: refused, the VM sees no card: %s", fault);
    }
    return !c->is_refused;
}

static int on_read(void *dev, unsigned region, uint64_t offset, void *buf, uint32_t len)
{
    struct chassis *c = dev;

    if (region == REGION_CONFIG)
        carrier_config_read(&c->carrier, (uint32_t)offset, buf, len);
    else if (bar_is_open(c))
        bar_read(c, offset, buf, len);
    else
        memset(buf, 0xff, len);
    return 0;
}

static int on_write(void *dev, unsigned region, uint64_t offset, const void *buf, uint32_t len)
{
    struct chassis *c = dev;

    if (region != REGION_CONFIG) {
        if (bar_is_open(c))
            bar_write(c, offset, buf, len);
        return 0;
    }
    if (carrier_config_write(&c->carrier, (uint32_t)offset, buf, len) && bar_is_open(c))
        log_info("chassis: the VM's kernel has found segment %u at %08x", CHASSIS_SEGMENT,
                 c->carrier.base);
    return 0;
}

static int on_dma_map(void *dev, const struct vfiouser_dma_map *map)
{
    struct chassis *c = dev;

    return chassis_memory_map(c->memory, map);
}

static int on_dma_unmap(void *dev, uint64_t iova, uint64_t len_bytes, bool all)
{
    struct chassis *c = dev;
    bool was_there = chassis_memory_is_there(c->memory);
    int ret = chassis_memory_unmap(c->memory, iova, len_bytes, all);

    // A kernel that runs never takes its memory from its devices; firmware does, before.
    if (c->carrier.is_hidden && was_there && !chassis_memory_is_there(c->memory))
        log_limited(LOG_LEVEL_ERROR,
                    "chassis: QEMU has an IOMMU of its own before the carrier: leave out -device "
                    "intel-iommu (amd-iommu, virtio-iommu); the chassis brings one");
    return ret;
}

static int on_set_irqs(void *dev, unsigned index, unsigned start, unsigned count, const int *fds)
{
    (void)dev, (void)start;
    // QEMU wants one for errors, and warns where there is none. It is never signalled.
    if (index != IRQ_ERROR)
        return -EINVAL;
    for (unsigned i = 0; i < count; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    return 0;
}

static int on_memory_died(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
    struct chassis *c = ctx;
    uint64_t count;

    (void)source, (void)revents;
    if (read(fd, &count, sizeof count) == sizeof count && c->server)
        vfiouser_server_drop_client(c->server, "its memory file was truncated under the device");
    return 0;
}

// --- life ---------------------------------------------------------------------------------------

static const struct vfiouser_device_ops carrier_ops = {
    .attach = on_attach,
    .detach = on_detach,
    .region_read = on_read,
    .region_write = on_write,
    .dma_map = on_dma_map,
    .dma_unmap = on_dma_unmap,
    .set_irqs = on_set_irqs,
    .reset = on_reset,
};

static int build(struct chassis *c)
{
    struct pci_interrupt_sink sink = {function_interrupt, c};
    int ret;

    c->dead_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->dead_fd < 0)
        return -errno;
    ret = mem_space_create(c->gate, &c->space);
    if (!ret)
        ret = vtd_create(c->space, c->gate, iommu_interrupt, c, &c->vtd);
    if (!ret)
        ret = pci_segment_create(c->gate, vtd_dma_ops(), c->vtd, vtd_generation(c->vtd), &c->seg);
    if (!ret)
        ret = root_port_create(c->seg, &c->port);
    if (!ret)
        ret = chassis_memory_create(c->gate, c->space, c->vtd, c->dead_fd, &c->memory);
    if (!ret)
        pci_segment_set_interrupt_sink(c->seg, &sink);
    return ret;
}

int chassis_create(struct gate *gate, uint32_t base, struct chassis **out)
{
    struct chassis *c;
    int ret;

    if (!base || base & (CHASSIS_BAR_LEN_BYTES - 1) || base > CHASSIS_BASE_DEFAULT)
        return -EINVAL;
    c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    c->gate = gate;
    carrier_init(&c->carrier, base);
    ret = build(c);
    if (ret) {
        chassis_destroy(c);
        return ret;
    }
    *out = c;
    return 0;
}

void chassis_destroy(struct chassis *chassis)
{
    if (!chassis)
        return;
    chassis_memory_destroy(chassis->memory);
    root_port_destroy(chassis->port);
    pci_segment_destroy(chassis->seg);
    vtd_destroy(chassis->vtd);
    if (chassis->space)
        mem_space_destroy(chassis->space);
    if (chassis->dead_fd >= 0)
        close(chassis->dead_fd);
    free(chassis);
}

struct pci_segment *chassis_segment(const struct chassis *chassis)
{
    return chassis->seg;
}

void chassis_device_describe(struct chassis *chassis, struct vfiouser_device *out)
{
    *out = (struct vfiouser_device){
        .name = "chassis", .ops = &carrier_ops, .ctx = chassis, .posts_dma = true};
    for (unsigned i = 0; i < VFIOUSER_REGIONS; i++)
        out->regions[i].mmap_fd = -1;
    out->regions[REGION_BAR0] = (struct vfiouser_region){
        .size_bytes = CHASSIS_BAR_LEN_BYTES, .read = true, .write = true, .mmap_fd = -1};
    out->regions[REGION_CONFIG] = (struct vfiouser_region){
        .size_bytes = CARRIER_CONFIG_LEN_BYTES, .read = true, .write = true, .mmap_fd = -1};
    out->irq_counts[IRQ_ERROR] = 1;
}

int chassis_listen(struct chassis *chassis, sd_event *loop, const char *socket_path, char *error,
                   size_t error_len)
{
    struct vfiouser_device device;
    struct vfiouser_server *server;
    int ret;

    chassis_device_describe(chassis, &device);
    ret = sd_event_add_io(loop, &chassis->dead_source, chassis->dead_fd, EPOLLIN, on_memory_died,
                          chassis);
    if (ret < 0) {
        snprintf(error, error_len, "%s", strerror(-ret));
        return ret;
    }
    ret = vfiouser_server_create(loop, socket_path, &device, &server, error, error_len);
    if (ret)
        return ret;
    gate_close(chassis->gate);
    chassis->server = server;
    gate_open(chassis->gate);
    return 0;
}

void chassis_stop(struct chassis *chassis)
{
    struct vfiouser_server *server = chassis->server;

    // Workers first: none posts to a server that goes.
    gate_close(chassis->gate);
    chassis->server = NULL;
    gate_open(chassis->gate);
    vfiouser_server_destroy(server);
    sd_event_source_disable_unref(chassis->dead_source);
    chassis->dead_source = NULL;
}

// --- what it has counted ------------------------------------------------------------------------

void chassis_counts_get(const struct chassis *chassis, struct chassis_counts *out)
{
    *out = chassis->counts;
    out->interrupts = atomic_load_explicit(&chassis->interrupts, memory_order_relaxed);
    out->interrupts_lost = atomic_load_explicit(&chassis->interrupts_lost, memory_order_relaxed);
    out->iommu_interrupts = atomic_load_explicit(&chassis->iommu_interrupts, memory_order_relaxed);
}

void chassis_messages_get(const struct chassis *chassis, struct vfiouser_counts *out)
{
    *out = (struct vfiouser_counts){0};
    if (chassis->server)
        vfiouser_server_counts_get(chassis->server, out);
}

pid_t chassis_client_pid(const struct chassis *chassis)
{
    return chassis->server ? vfiouser_server_client_pid(chassis->server) : 0;
}

bool chassis_is_booted(const struct chassis *chassis)
{
    return chassis->carrier.is_hidden && !chassis->is_refused;
}

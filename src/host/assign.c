// SPDX-License-Identifier: BSD-3-Clause
#include "host/assign.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "host/vconfig.h"

// VFIO's numbering of a PCI device's regions and interrupts (linux/vfio.h).
enum {
    REGION_BAR0 = 0,
    REGION_BAR5 = 5,
    REGION_CONFIG = 7,
    IRQ_MSIX = 2,
    IRQ_ERROR = 3,
    IRQ_REQUEST = 4,
};

#define VF_VECTORS_MAX 16u

// Of a VM with its RAM at address 0 (x86): what it has there at least, and where its firmware has
// left something by the time that a driver runs.
#define RAM_AT_ZERO_BYTES (640u << 10)
#define LOW_MEMORY_BYTES  (16u << 20)
#define BLANK_PAGE_BYTES  4096u

struct vm_map {
    uint64_t iova, len_bytes;
    struct mem_region *region;
};

struct host_vf {
    struct host_vf_place place;
    struct host_function fn;
    char name[32];
    char socket_path[108];
    struct vfiouser_server *server;
    pid_t client_pid; // while a client is attached
    struct host_vconfig config;
    struct host_domain *domain;
    int dead_fd; // gets a count when memory of the VM's vanished under us
    sd_event_source *dead_source;

    struct vm_map *maps; // sorted by iova
    unsigned map_count, map_room;
    uint64_t mapped_bytes;
    const char *memory_fault; // struct host_vf_info
    bool memory_checked;

    int irq_first;
    unsigned vector_count;
    int vector_fd[VF_VECTORS_MAX];
    bool msix_on;
};

// ---- DMA maps

// Index of the first map that ends after `iova`.
static unsigned map_find(const struct host_vf *vf, uint64_t iova)
{
    unsigned low = 0, high = vf->map_count;

    while (low < high) {
        unsigned mid = (low + high) / 2;

        if (vf->maps[mid].iova + vf->maps[mid].len_bytes > iova)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

static int map_insert(struct host_vf *vf, unsigned at, const struct vm_map *map)
{
    if (vf->map_count == vf->map_room) {
        unsigned room = vf->map_room ? vf->map_room * 2 : 16;
        struct vm_map *maps = reallocarray(vf->maps, room, sizeof *maps);

        if (!maps)
            return -ENOMEM;
        vf->maps = maps;
        vf->map_room = room;
    }
    memmove(vf->maps + at + 1, vf->maps + at, (vf->map_count - at) * sizeof *map);
    vf->maps[at] = *map;
    vf->map_count++;
    vf->mapped_bytes += map->len_bytes;
    return 0;
}

// ---- Memory that is not shared with us
//
// A VM whose memory we do not have starts all the same, and its driver binds; but the card sees
// other memory than the VM, or none, and no frame passes. Nothing in the protocol tells, so that it
// is found out, and said once a client.

static void memory_fault_set(struct host_vf *vf, const char *fault)
{
    if (!vf->memory_fault)
        log_limited(LOG_LEVEL_ERROR,
                    "%s: no frame will pass: the memory of process %d %s: give QEMU -object "
                    "memory-backend-memfd,id=m,size=…,share=on and -machine memory-backend=m; "
                    "libvirt: <memoryBacking> with <source type='memfd'/> and <access "
                    "mode='shared'/>",
                    vf->name, (int)vf->client_pid, fault);
    vf->memory_fault = fault;
}

static bool page_is_blank(const struct host_vf *vf, uint64_t iova)
{
    unsigned i = map_find(vf, iova);
    const uint8_t *page;
    hpa_t hpa;

    if (i == vf->map_count || vf->maps[i].iova > iova)
        return true;
    hpa = mem_region_hpa(vf->maps[i].region);
    hpa.v += iova - vf->maps[i].iova;
    page = mem_space_at(vf->place.machine->space, hpa, BLANK_PAGE_BYTES, MEM_READ, NULL);
    // Blank is what equals itself moved by one, and starts with a zero.
    return !page || (!page[0] && !memcmp(page, page + 1, BLANK_PAGE_BYTES - 1));
}

// When the VM first comes to the VF's registers. A file that QEMU maps privately (share=off) is as
// it was made, while the VM's own copy has at least what the firmware wrote. A client without RAM
// at address 0 is no such VM.
static void memory_check(struct host_vf *vf)
{
    vf->memory_checked = true;
    if (!vf->map_count || vf->maps[0].iova || vf->maps[0].len_bytes < RAM_AT_ZERO_BYTES)
        return;
    for (uint64_t iova = 0; iova < LOW_MEMORY_BYTES; iova += BLANK_PAGE_BYTES) {
        if (!page_is_blank(vf, iova))
            return;
    }
    memory_fault_set(vf, "is private to it (share=off)");
}

static int vf_dma_map(void *dev, const struct vfiouser_dma_map *map)
{
    struct host_vf *vf = dev;
    const struct host_machine *machine = vf->place.machine;
    unsigned prot = (map->read ? MEM_READ : 0) | (map->write ? MEM_WRITE : 0);
    struct vm_map added = {.iova = map->iova, .len_bytes = map->len_bytes};
    uint64_t last = map->iova + (map->len_bytes - 1); // the end may be 2^64
    unsigned at = map_find(vf, map->iova);
    int ret;

    if (at < vf->map_count && vf->maps[at].iova <= last)
        return -EEXIST;
    // Without an fd (a ROM, another device's BAR) there is nothing here to reach it by: DMA to it
    // faults. QEMU sends such maps and expects success. What can be written at 0 is the VM's RAM.
    if (map->fd < 0) {
        if (!map->iova && map->write)
            memory_fault_set(vf, "has no file that the card could map");
        return 0;
    }
    if (!prot)
        return -EINVAL;
    if (vf->map_count == HOST_VF_MAPS_MAX)
        return -ENOSPC;
    gate_close(machine->gate);
    ret = mem_region_map(machine->space,
                         &(struct mem_map_request){.fd = map->fd,
                                                   .offset_bytes = map->fd_offset,
                                                   .len_bytes = map->len_bytes,
                                                   .prot = prot,
                                                   .hpa = {MEM_HPA_IDENTITY},
                                                   .congruent = map->iova},
                         vf->dead_fd, &added.region);
    if (!ret) {
        ret = host_domain_map(vf->domain, map->iova, mem_region_hpa(added.region), map->len_bytes,
                              prot);
        if (!ret) {
            ret = map_insert(vf, at, &added);
            if (ret)
                host_domain_unmap(vf->domain, map->iova, map->len_bytes);
        }
        if (ret)
            mem_region_remove(machine->space, added.region);
    }
    gate_open(machine->gate);
    return ret;
}

// Takes maps [first, last) away: entries, IOTLB, then the memory, with the workers drained.
static void maps_remove(struct host_vf *vf, unsigned first, unsigned last)
{
    const struct host_machine *machine = vf->place.machine;

    if (first == last)
        return;
    gate_close(machine->gate);
    for (unsigned i = first; i < last; i++) {
        host_domain_unmap(vf->domain, vf->maps[i].iova, vf->maps[i].len_bytes);
        mem_region_remove(machine->space, vf->maps[i].region);
        vf->mapped_bytes -= vf->maps[i].len_bytes;
    }
    gate_open(machine->gate);
    memmove(vf->maps + first, vf->maps + last, (vf->map_count - last) * sizeof *vf->maps);
    vf->map_count -= last - first;
}

static int vf_dma_unmap(void *dev, uint64_t iova, uint64_t len_bytes, bool all)
{
    struct host_vf *vf = dev;
    unsigned first, last;
    uint64_t end;

    if (all) {
        maps_remove(vf, 0, vf->map_count);
        return 0;
    }
    end = iova + (len_bytes - 1); // its last byte: the range may end with the address space
    first = map_find(vf, iova);
    // As VFIO does: a map is taken away whole or not at all.
    if (first < vf->map_count && vf->maps[first].iova < iova)
        return -EINVAL;
    for (last = first; last < vf->map_count && vf->maps[last].iova <= end; last++) {
        if (vf->maps[last].iova + (vf->maps[last].len_bytes - 1) > end)
            return -EINVAL;
    }
    maps_remove(vf, first, last);
    return 0;
}

static int vf_memory_died(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
    struct host_vf *vf = ctx;
    uint64_t count;

    (void)source, (void)revents;
    if (read(fd, &count, sizeof count) == sizeof count)
        vfiouser_server_drop_client(vf->server, "its memory file was truncated under the device");
    return 0;
}

// ---- Interrupts

static void vector_set(struct host_vf *vf, unsigned vector, int fd)
{
    int old = vf->vector_fd[vector];

    host_irq_set_fd(vf->place.irqs, (unsigned)vf->irq_first + vector, fd);
    vf->vector_fd[vector] = fd;
    if (old >= 0)
        close(old);
}

static void msix_program(struct host_vf *vf, bool on)
{
    host_irq_program_msix(vf->place.machine->seg, vf->fn.rid, vf->fn.cap_msix,
                          host_function_msix_table(&vf->fn), (unsigned)vf->irq_first,
                          on ? vf->vector_count : 0);
    vf->msix_on = on;
}

static void vectors_disable(struct host_vf *vf)
{
    if (vf->msix_on)
        msix_program(vf, false);
    for (unsigned i = 0; i < vf->vector_count; i++)
        vector_set(vf, i, -1);
}

// The server has seen to it that the fds are eventfds.
static int vf_set_irqs(void *dev, unsigned index, unsigned start, unsigned count, const int *fds)
{
    struct host_vf *vf = dev;

    if (index == IRQ_ERROR || index == IRQ_REQUEST) {
        // Never raised: errors are reported in AER, and the host never asks for the VF back.
        for (unsigned i = 0; i < count; i++) {
            if (fds[i] >= 0)
                close(fds[i]);
        }
        return 0;
    }
    if (index != IRQ_MSIX || start + count > vf->vector_count)
        return -EINVAL;
    if (!count) {
        vectors_disable(vf);
        return 0;
    }
    for (unsigned i = 0; i < count; i++)
        vector_set(vf, start + i, fds[i]);
    if (!vf->msix_on)
        msix_program(vf, true);
    return 0;
}

// ---- Reset, attach, detach

// Level-resets the function; what the VM's IOMMU domain and eventfds are stays.
static int vf_reset(void *dev)
{
    struct host_vf *vf = dev;
    int ret = host_function_flr(vf->place.machine->seg, &vf->fn);

    if (ret)
        return ret;
    host_vconfig_reset(&vf->config);
    if (vf->msix_on)
        msix_program(vf, true);
    return 0;
}

static int vf_attach(void *dev, pid_t client_pid)
{
    struct host_vf *vf = dev;
    int ret = host_domain_create(vf->place.iommu, &vf->domain);

    if (ret)
        return ret;
    ret = host_domain_attach(vf->domain, vf->fn.rid);
    if (!ret) {
        ret = vf_reset(vf);
        if (ret)
            host_domain_detach(vf->domain, vf->fn.rid);
    }
    if (ret) {
        host_domain_destroy(vf->domain);
        vf->domain = NULL;
        return ret;
    }
    pf_driver_vf_reset(vf->place.pf, vf->place.vf);
    vf->client_pid = client_pid;
    vf->memory_fault = NULL;
    vf->memory_checked = false;
    log_info("%s: assigned to process %d", vf->name, (int)client_pid);
    return 0;
}

static void vf_detach(void *dev)
{
    struct host_vf *vf = dev;

    vectors_disable(vf);
    vf_reset(vf);
    pf_driver_vf_reset(vf->place.pf, vf->place.vf);
    maps_remove(vf, 0, vf->map_count);
    vf->memory_fault = NULL;
    host_domain_detach(vf->domain, vf->fn.rid);
    host_domain_destroy(vf->domain);
    vf->domain = NULL;
    log_info("%s: free again", vf->name);
}

// ---- Regions

static int vf_region_read(void *dev, unsigned region, uint64_t offset, void *buf,
                          uint32_t len_bytes)
{
    struct host_vf *vf = dev;
    uint64_t value;

    if (region == REGION_CONFIG) {
        host_vconfig_read(&vf->config, (uint32_t)offset, buf, len_bytes);
        return 0;
    }
    if (region > REGION_BAR5 || len_bytes > sizeof value)
        return -EINVAL;
    if (!vf->memory_checked)
        memory_check(vf);
    value = pci_mem_read(vf->place.machine->seg, vf->fn.bar[region].addr + offset, len_bytes);
    memcpy(buf, &value, len_bytes);
    return 0;
}

static int vf_region_write(void *dev, unsigned region, uint64_t offset, const void *buf,
                           uint32_t len_bytes)
{
    struct host_vf *vf = dev;
    uint64_t value = 0;
    bool flr;

    if (region == REGION_CONFIG) {
        host_vconfig_write(&vf->config, (uint32_t)offset, buf, len_bytes, &flr);
        return flr ? vf_reset(vf) : 0;
    }
    if (region > REGION_BAR5 || len_bytes > sizeof value)
        return -EINVAL;
    // The MSI-X table is the host's: a VM's vectors are eventfds, and its writes are QEMU's to
    // emulate. Dropped, as a VFIO host drops them.
    if (vf->fn.cap_msix && region == vf->fn.msix_bar)
        return 0;
    memcpy(&value, buf, len_bytes);
    if (!vf->memory_checked)
        memory_check(vf);
    pci_mem_write(vf->place.machine->seg, vf->fn.bar[region].addr + offset, len_bytes, value);
    return 0;
}

static const struct vfiouser_device_ops vf_ops = {
    .attach = vf_attach,
    .detach = vf_detach,
    .region_read = vf_region_read,
    .region_write = vf_region_write,
    .dma_map = vf_dma_map,
    .dma_unmap = vf_dma_unmap,
    .set_irqs = vf_set_irqs,
    .reset = vf_reset,
};

static void regions_describe(struct host_vf *vf, struct vfiouser_device *device)
{
    struct pci_backing backing;

    for (unsigned i = 0; i <= REGION_BAR5; i++) {
        device->regions[i] = (struct vfiouser_region){
            .size_bytes = vf->fn.bar[i].size_bytes,
            .read = vf->fn.bar[i].size_bytes,
            .write = vf->fn.bar[i].size_bytes,
            .mmap_fd = -1,
        };
        if (vf->fn.bar[i].size_bytes &&
            !pci_backing_get(vf->place.machine->seg, vf->fn.rid, i, 0, &backing)) {
            device->regions[i].mmap_count = 1;
            device->regions[i].mmap[0].offset = backing.bar_offset;
            device->regions[i].mmap[0].len_bytes = backing.len_bytes;
            device->regions[i].mmap_fd = backing.fd;
            device->regions[i].mmap_fd_offset = backing.fd_offset - backing.bar_offset;
        }
    }
    device->regions[REGION_CONFIG] = (struct vfiouser_region){
        .size_bytes = PCI_CONFIG_LEN_BYTES, .read = true, .write = true, .mmap_fd = -1};
    device->irq_counts[IRQ_MSIX] = vf->vector_count;
    device->irq_counts[IRQ_ERROR] = 1;
    device->irq_counts[IRQ_REQUEST] = 1;
}

int host_vf_create(const struct host_vf_place *place, struct host_vf **out, char *error,
                   size_t error_len)
{
    struct host_vf *vf = calloc(1, sizeof *vf);
    struct vfiouser_device device = {.ops = &vf_ops, .ctx = vf};
    int ret = -ENOMEM;

    if (!vf)
        goto fail;
    vf->place = *place;
    vf->fn = *place->fn;
    vf->place.fn = &vf->fn;
    vf->irq_first = -1;
    vf->dead_fd = -1;
    for (unsigned i = 0; i < VF_VECTORS_MAX; i++)
        vf->vector_fd[i] = -1;
    snprintf(vf->name, sizeof vf->name, "port%u/vf%u " RID_FMT, place->port, place->vf,
             RID_ARGS(vf->fn.rid));
    snprintf(vf->socket_path, sizeof vf->socket_path, "%s", place->socket_path);
    vf->place.socket_path = vf->socket_path;
    vf->vector_count = vf->fn.msix_vectors < VF_VECTORS_MAX ? vf->fn.msix_vectors : VF_VECTORS_MAX;
    host_vconfig_init(&vf->config, place->machine->seg, &vf->fn);
    ret = host_irq_alloc(place->irqs, vf->fn.rid, vf->vector_count);
    if (ret < 0)
        goto fail;
    vf->irq_first = ret;
    vf->dead_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (vf->dead_fd < 0) {
        ret = -errno;
        goto fail;
    }
    ret = sd_event_add_io(place->machine->loop, &vf->dead_source, vf->dead_fd, EPOLLIN,
                          vf_memory_died, vf);
    if (ret < 0)
        goto fail;
    regions_describe(vf, &device);
    device.name = vf->name;
    ret = vfiouser_server_create(place->machine->loop, vf->socket_path, &device, &vf->server, error,
                                 error_len);
    if (ret)
        goto fail_told;
    *out = vf;
    return 0;
fail:
    snprintf(error, error_len, "VF %u of port %u: %s", place->vf, place->port, strerror(-ret));
fail_told:
    host_vf_destroy(vf);
    return ret;
}

void host_vf_destroy(struct host_vf *vf)
{
    if (!vf)
        return;
    vfiouser_server_destroy(vf->server); // detaches
    sd_event_source_disable_unref(vf->dead_source);
    if (vf->dead_fd >= 0)
        close(vf->dead_fd);
    if (vf->irq_first >= 0)
        host_irq_free(vf->place.irqs, (unsigned)vf->irq_first, vf->vector_count);
    free(vf->maps);
    free(vf);
}

void host_vf_info(struct host_vf *vf, struct host_vf_info *out)
{
    *out = (struct host_vf_info){
        .rid = vf->fn.rid,
        .client_pid = vfiouser_server_client_pid(vf->server),
        .memory_fault = vf->memory_fault,
        .dma_maps = vf->map_count,
        .dma_mapped_bytes = vf->mapped_bytes,
        .interrupts = host_irq_raised(vf->place.irqs, (unsigned)vf->irq_first, vf->vector_count),
    };
    memcpy(out->socket_path, vf->socket_path, sizeof out->socket_path);
    pci_dma_counts_get(vf->place.machine->seg, vf->fn.rid, &out->dma);
    vfiouser_server_counts_get(vf->server, &out->messages);
}

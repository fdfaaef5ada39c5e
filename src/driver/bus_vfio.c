// SPDX-License-Identifier: BSD-3-Clause
// The bus over Linux VFIO (/dev/vfio): BAR0 is mapped, so register cycles are plain loads and
// stores; DMA memory is ours, pinned and entered in the IOMMU by the kernel; interrupts are
// eventfds that the kernel signals. Linux: include/uapi/linux/vfio.h.
//
// One container a function: each function has an IOMMU domain of its own.
#include "driver/bus.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/le.h"
#include "base/log.h"
#include "driver/bus_iova.h"
#include "driver/bus_irq.h"
#include "driver/vfio_place.h"

#define SYSFS "/sys"

struct bus_vfio {
    struct driver_bus bus;
    int container_fd, group_fd, device_fd;
    int request_fd; // readable: the kernel wants the function back (unbind, hot unplug); or -1
    volatile uint32_t *bar0; // NULL: it can't be mapped
    struct vfio_region_info bar0_info, config_info;
    uint64_t next_iova;
    unsigned vectors_available;
    struct bus_irqs irqs;
};

static struct bus_vfio *from_bus(struct driver_bus *bus)
{
    return container_of(bus, struct bus_vfio, bus);
}

// The kernel waits for as long as we hold a function that it wants to take away.
static void notice_request(struct bus_vfio *b)
{
    uint64_t count;

    if (b->request_fd >= 0 && !b->bus.lost &&
        read(b->request_fd, &count, sizeof count) == sizeof count) {
        b->bus.lost = true;
        log_warn("driver: %s: the kernel wants this function back", b->bus.name);
    }
}

static uint32_t region_read(struct bus_vfio *b, const struct vfio_region_info *region,
                            uint32_t offset, unsigned len)
{
    uint8_t bytes[4] = {0};
    ssize_t n;

    if (b->bus.lost)
        return UINT32_MAX;
    n = pread(b->device_fd, bytes, len, (off_t)(region->offset + offset));
    if (n != (ssize_t)len) {
        log_warn_limited("driver: %s: read at 0x%x: %s", b->bus.name, offset,
                         n < 0 ? strerror(errno) : "cut short");
        return UINT32_MAX;
    }
    return le32_get(bytes);
}

static void region_write(struct bus_vfio *b, const struct vfio_region_info *region, uint32_t offset,
                         unsigned len, uint32_t value)
{
    uint8_t bytes[4];
    ssize_t n;

    if (b->bus.lost)
        return;
    le32_put(bytes, value);
    n = pwrite(b->device_fd, bytes, len, (off_t)(region->offset + offset));
    if (n != (ssize_t)len)
        log_warn_limited("driver: %s: write at 0x%x: %s", b->bus.name, offset,
                         n < 0 ? strerror(errno) : "cut short");
}

static uint32_t bus_config_read(struct driver_bus *bus, uint32_t offset, unsigned len)
{
    struct bus_vfio *b = from_bus(bus);

    return region_read(b, &b->config_info, offset, len);
}

static void bus_config_write(struct driver_bus *bus, uint32_t offset, unsigned len, uint32_t value)
{
    struct bus_vfio *b = from_bus(bus);

    region_write(b, &b->config_info, offset, len, value);
}

static uint32_t bus_reg_read(struct driver_bus *bus, uint32_t offset)
{
    struct bus_vfio *b = from_bus(bus);
    uint32_t value;

    notice_request(b);
    if (b->bus.lost || offset + 4ull > b->bar0_info.size)
        return UINT32_MAX;
    if (!b->bar0)
        return region_read(b, &b->bar0_info, offset, 4);
    value = le32toh(b->bar0[offset / 4]);
    // acquire: pairs with the card's writing of descriptors before its registers say so
    atomic_thread_fence(memory_order_acquire);
    return value;
}

static void bus_reg_write(struct driver_bus *bus, uint32_t offset, uint32_t value)
{
    struct bus_vfio *b = from_bus(bus);

    if (b->bus.lost || offset + 4ull > b->bar0_info.size)
        return;
    if (!b->bar0) {
        region_write(b, &b->bar0_info, offset, 4, value);
        return;
    }
    // release: descriptors first, then the tail; pairs with the card's fetching after the tail. An
    // x86 CPU keeps stores to memory and to a device in order.
    atomic_thread_fence(memory_order_release);
    b->bar0[offset / 4] = htole32(value);
}

static int bus_dma_alloc(struct driver_bus *bus, uint64_t len_bytes, struct driver_dma *out)
{
    struct bus_vfio *b = from_bus(bus);
    struct vfio_iommu_type1_dma_map map = {
        .argsz = sizeof map, .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE};
    uint64_t iova, len;
    void *host;
    int ret;

    if (b->bus.lost)
        return -ENOTCONN;
    ret = bus_iova_place(b->next_iova, len_bytes, &iova, &len);
    if (ret)
        return ret;
    map.iova = iova;
    map.size = len;
    host = mmap(NULL, map.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (host == MAP_FAILED)
        return -errno;
    map.vaddr = (uintptr_t)host;
    if (ioctl(b->container_fd, VFIO_IOMMU_MAP_DMA, &map)) {
        ret = -errno;
        log_warn_limited("driver: %s: cannot map %llu bytes for DMA: %s%s", b->bus.name,
                         (unsigned long long)map.size, strerror(errno),
                         errno == ENOMEM ? "; more locked memory is needed: ulimit -l" : "");
        munmap(host, map.size);
        return ret;
    }
    b->next_iova = map.iova + map.size;
    *out = (struct driver_dma){.host = host, .iova = map.iova, .len_bytes = map.size};
    return 0;
}

static void bus_dma_free(struct driver_bus *bus, struct driver_dma *dma)
{
    struct bus_vfio *b = from_bus(bus);
    struct vfio_iommu_type1_dma_unmap unmap = {
        .argsz = sizeof unmap, .iova = dma->iova, .size = dma->len_bytes};

    if (!dma->host)
        return;
    // The kernel keeps its pins on the pages where this fails: what the function still writes goes
    // nowhere else.
    if (ioctl(b->container_fd, VFIO_IOMMU_UNMAP_DMA, &unmap))
        log_warn_limited("driver: %s: cannot unmap: %s", b->bus.name, strerror(errno));
    munmap(dma->host, dma->len_bytes);
    *dma = (struct driver_dma){0};
}

// Lets the kernel signal fds[i] for vector i of an interrupt kind; count 0 ends that.
static int set_irqs(struct bus_vfio *b, unsigned index, const int *fds, unsigned count)
{
    union {
        struct vfio_irq_set set;
        uint8_t bytes[sizeof(struct vfio_irq_set) + BUS_VECTORS_MAX * sizeof(int32_t)];
    } request = {.set = {.index = index,
                         .count = count,
                         .flags = VFIO_IRQ_SET_ACTION_TRIGGER |
                                  (count ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE)}};

    request.set.argsz = (uint32_t)(sizeof request.set + count * sizeof(int32_t));
    if (count)
        memcpy(request.bytes + sizeof request.set, fds, count * sizeof(int32_t));
    return ioctl(b->device_fd, VFIO_DEVICE_SET_IRQS, &request) ? -errno : 0;
}

static int set_msix(struct driver_bus *bus, const int *fds, unsigned count)
{
    return set_irqs(from_bus(bus), VFIO_PCI_MSIX_IRQ_INDEX, fds, count);
}

static int bus_irq_enable(struct driver_bus *bus, unsigned vectors, int *fds)
{
    struct bus_vfio *b = from_bus(bus);

    if (b->bus.lost)
        return -ENOTCONN;
    return bus_irqs_enable(&b->irqs, bus, set_msix, b->vectors_available, vectors, fds);
}

static int bus_reset(struct driver_bus *bus)
{
    struct bus_vfio *b = from_bus(bus);

    if (b->bus.lost)
        return -ENOTCONN;
    if (ioctl(b->device_fd, VFIO_DEVICE_RESET)) {
        int ret = errno == ENOTTY ? -ENOTSUP : -errno;

        log_warn_limited("driver: %s: reset: %s", b->bus.name, strerror(errno));
        return ret;
    }
    return 0;
}

// The kernel ends interrupts and DMA, and resets the function, when its last descriptor goes.
static void bus_close(struct driver_bus *bus)
{
    struct bus_vfio *b = from_bus(bus);

    if (b->bar0)
        munmap((void *)(uintptr_t)b->bar0, b->bar0_info.size);
    if (b->device_fd >= 0)
        close(b->device_fd);
    bus_irqs_close(&b->irqs);
    if (b->request_fd >= 0)
        close(b->request_fd);
    if (b->group_fd >= 0)
        close(b->group_fd);
    if (b->container_fd >= 0)
        close(b->container_fd);
    free(b);
}

static const struct driver_bus_ops vfio_ops = {
    .config_read = bus_config_read,
    .config_write = bus_config_write,
    .reg_read = bus_reg_read,
    .reg_write = bus_reg_write,
    .dma_alloc = bus_dma_alloc,
    .dma_free = bus_dma_free,
    .irq_enable = bus_irq_enable,
    .reset = bus_reset,
    .close = bus_close,
};

// --- Opening: container, group, IOMMU, device ---

static int open_container(struct bus_vfio *b, char *error, size_t error_len)
{
    int ret;

    b->container_fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
    if (b->container_fd < 0) {
        ret = -errno;
        snprintf(error, error_len, "/dev/vfio/vfio: %s%s", strerror(-ret),
                 ret == -ENOENT || ret == -ENODEV ? "; modprobe vfio-pci, as root" : "");
        return ret;
    }
    if (ioctl(b->container_fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION) {
        snprintf(error, error_len, "/dev/vfio/vfio: the kernel has another VFIO than version %d",
                 VFIO_API_VERSION);
        return -ENOTSUP;
    }
    return 0;
}

static int open_group(struct bus_vfio *b, unsigned group, char *error, size_t error_len)
{
    struct vfio_group_status status = {.argsz = sizeof status};
    char path[32], strangers[160];
    int ret;

    snprintf(path, sizeof path, "/dev/vfio/%u", group);
    b->group_fd = open(path, O_RDWR | O_CLOEXEC);
    if (b->group_fd < 0) {
        ret = -errno;
        snprintf(error, error_len, "%s (of %s): %s%s", path, b->bus.name, strerror(-ret),
                 ret == -EACCES  ? "; run as root, or give yourself that file with chown"
                 : ret == -EBUSY ? ": another program has it"
                 : ret == -ENOENT
                     ? "; a group without an IOMMU (vfio-noiommu) is not used: turn the IOMMU on"
                     : "");
        return ret;
    }
    if (ioctl(b->group_fd, VFIO_GROUP_GET_STATUS, &status)) {
        ret = -errno;
        snprintf(error, error_len, "%s: %s", path, strerror(-ret));
        return ret;
    }
    if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
        vfio_list_strangers(SYSFS, group, strangers, sizeof strangers);
        snprintf(error, error_len,
                 "%s: IOMMU group %u has functions that are not vfio-pci's: %s; bind those too, "
                 "or unbind them from their drivers",
                 b->bus.name, group, strangers);
        return -EPERM;
    }
    return 0;
}

// Puts the group into the container, and an IOMMU domain behind it.
static int set_iommu(struct bus_vfio *b, char *error, size_t error_len)
{
    unsigned long type = ioctl(b->container_fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) == 1
                             ? VFIO_TYPE1v2_IOMMU
                             : VFIO_TYPE1_IOMMU;
    int ret;

    if (ioctl(b->group_fd, VFIO_GROUP_SET_CONTAINER, &b->container_fd)) {
        ret = -errno;
        snprintf(error, error_len, "%s: the group into the container: %s", b->bus.name,
                 strerror(-ret));
        return ret;
    }
    if (!ioctl(b->container_fd, VFIO_SET_IOMMU, type))
        return 0;
    ret = -errno;
    snprintf(error, error_len, "%s: the IOMMU refuses: %s%s", b->bus.name, strerror(-ret),
             ret == -EPERM    ? "; without interrupt remapping the kernel wants to be told that "
                                "you trust the card: echo 1 > /sys/module/vfio_iommu_type1/"
                                "parameters/allow_unsafe_interrupts"
             : ret == -ENODEV ? "; modprobe vfio_iommu_type1, and boot with intel_iommu=on"
                              : "");
    return ret;
}

static int region_info(struct bus_vfio *b, unsigned index, struct vfio_region_info *info)
{
    *info = (struct vfio_region_info){.argsz = sizeof *info, .index = index};
    return ioctl(b->device_fd, VFIO_DEVICE_GET_REGION_INFO, info) ? -errno : 0;
}

// An older kernel has no such interrupt: then nobody can ask us.
static int listen_for_request(struct bus_vfio *b)
{
    struct vfio_irq_info info = {.argsz = sizeof info, .index = VFIO_PCI_REQ_IRQ_INDEX};

    if (ioctl(b->device_fd, VFIO_DEVICE_GET_IRQ_INFO, &info) || info.count != 1)
        return 0;
    b->request_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (b->request_fd < 0)
        return -errno;
    return set_irqs(b, VFIO_PCI_REQ_IRQ_INDEX, &b->request_fd, 1);
}

static int open_device(struct bus_vfio *b, const char *address, char *error, size_t error_len)
{
    struct vfio_irq_info msix = {.argsz = sizeof msix, .index = VFIO_PCI_MSIX_IRQ_INDEX};
    void *bar0;
    int ret;

    b->device_fd = ioctl(b->group_fd, VFIO_GROUP_GET_DEVICE_FD, address);
    if (b->device_fd < 0) {
        ret = -errno;
        snprintf(error, error_len, "%s: the kernel does not hand it out: %s%s", address,
                 strerror(-ret),
                 ret == -EACCES ? "; a VF whose PF is vfio-pci's as well needs a token, which this "
                                  "program has not: leave the PF to its own driver"
                                : "");
        return ret;
    }
    ret = region_info(b, VFIO_PCI_CONFIG_REGION_INDEX, &b->config_info);
    if (!ret)
        ret = region_info(b, VFIO_PCI_BAR0_REGION_INDEX, &b->bar0_info);
    if (!ret && b->bar0_info.size < BUS_PAGE_4K)
        ret = -ENODEV;
    if (!ret && ioctl(b->device_fd, VFIO_DEVICE_GET_IRQ_INFO, &msix) == 0)
        b->vectors_available = msix.count;
    if (!ret)
        ret = listen_for_request(b);
    if (ret) {
        snprintf(error, error_len, "%s: no usable BAR0 or interrupts: %s", address, strerror(-ret));
        return ret;
    }
    if (!(b->bar0_info.flags & VFIO_REGION_INFO_FLAG_MMAP))
        return 0;
    bar0 = mmap(NULL, b->bar0_info.size, PROT_READ | PROT_WRITE, MAP_SHARED, b->device_fd,
                (off_t)b->bar0_info.offset);
    if (bar0 != MAP_FAILED) // else by pread and pwrite
        b->bar0 = bar0;
    return 0;
}

int driver_bus_vfio_open(const char *spec, struct driver_bus **out, char *error, size_t error_len)
{
    char address[VFIO_ADDRESS_BYTES];
    struct bus_vfio *b;
    unsigned group;
    int ret;

    if (!vfio_parse_address(spec, address)) {
        snprintf(error, error_len, "'%s': a PCI address is wanted, 0001:01:10.0", spec);
        return -EINVAL;
    }
    ret = vfio_find_group(SYSFS, address, &group, error, error_len);
    if (ret)
        return ret;
    b = calloc(1, sizeof *b);
    if (!b) {
        snprintf(error, error_len, "out of memory");
        return -ENOMEM;
    }
    b->bus.ops = &vfio_ops;
    b->next_iova = BUS_IOVA_FIRST;
    b->container_fd = b->group_fd = b->device_fd = b->request_fd = -1;
    snprintf(b->bus.name, sizeof b->bus.name, "%s", address);
    ret = open_container(b, error, error_len);
    if (!ret)
        ret = open_group(b, group, error, error_len);
    if (!ret)
        ret = set_iommu(b, error, error_len);
    if (!ret)
        ret = open_device(b, address, error, error_len);
    if (ret) {
        bus_close(&b->bus);
        return ret;
    }
    *out = &b->bus;
    return 0;
}

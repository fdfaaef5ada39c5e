// SPDX-License-Identifier: BSD-3-Clause
// The bus over a vfio-user socket: register cycles are messages (writes posted), DMA memory is a
// memfd of ours that the server maps, interrupts are eventfds that it signals. Pages of BAR0 that
// the server offers for mapping are mapped by the client already; the drivers write there directly.
#include "driver/bus.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/le.h"
#include "base/log.h"
#include "driver/bus_iova.h"
#include "driver/bus_irq.h"
#include "vfiouser/client.h"

// VFIO's numbering of a PCI device's regions and interrupts.
#define REGION_BAR0   0u
#define REGION_CONFIG 7u
#define IRQ_MSIX      2u

struct bus_vfiouser {
    struct driver_bus bus;
    struct vfiouser_client *client;
    struct bus_vfiouser *joined; // the next of those that see the same memory; alone: itself
    uint64_t next_iova;
    struct bus_irqs irqs;
};

static struct bus_vfiouser *from_bus(struct driver_bus *bus)
{
    return container_of(bus, struct bus_vfiouser, bus);
}

// Every failed request ends here: says once that the far side is gone.
static void note_error(struct bus_vfiouser *b, const char *what, int err)
{
    if (b->bus.lost)
        return;
    if (vfiouser_client_is_lost(b->client)) {
        b->bus.lost = true;
        log_warn("driver: %s: connection lost (%s: %s)", b->bus.name, what, strerror(-err));
    } else {
        log_warn_limited("driver: %s: %s: %s", b->bus.name, what, strerror(-err));
    }
}

static uint32_t region_read(struct bus_vfiouser *b, unsigned region, uint32_t offset, unsigned len)
{
    uint8_t bytes[4] = {0};
    int ret;

    if (b->bus.lost)
        return UINT32_MAX;
    ret = vfiouser_client_read(b->client, region, offset, bytes, len);
    if (ret) {
        note_error(b, "register read", ret);
        return UINT32_MAX;
    }
    return le32_get(bytes);
}

static void region_write(struct bus_vfiouser *b, unsigned region, uint32_t offset, unsigned len,
                         uint32_t value, bool posted)
{
    uint8_t bytes[4];
    int ret;

    if (b->bus.lost)
        return;
    le32_put(bytes, value);
    ret = vfiouser_client_write(b->client, region, offset, bytes, len, posted);
    if (ret)
        note_error(b, "register write", ret);
}

static uint32_t bus_config_read(struct driver_bus *bus, uint32_t offset, unsigned len)
{
    return region_read(from_bus(bus), REGION_CONFIG, offset, len);
}

static void bus_config_write(struct driver_bus *bus, uint32_t offset, unsigned len, uint32_t value)
{
    // Not posted on PCI Express either (PCIe §2.1.1).
    region_write(from_bus(bus), REGION_CONFIG, offset, len, value, false);
}

static uint32_t bus_reg_read(struct driver_bus *bus, uint32_t offset)
{
    return region_read(from_bus(bus), REGION_BAR0, offset, 4);
}

static void bus_reg_write(struct driver_bus *bus, uint32_t offset, uint32_t value)
{
    region_write(from_bus(bus), REGION_BAR0, offset, 4, value, true);
}

// A memfd of `len_bytes`, mapped. It is sealed against shrinking before the server sees it, so the
// server need not fear that its pages vanish.
static int make_memory(uint64_t len_bytes, int *fd_out, void **host_out)
{
    int fd = memfd_create("vireo-dma", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *host;
    int ret;

    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)len_bytes) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        ret = -errno;
        close(fd);
        return ret;
    }
    host = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (host == MAP_FAILED) {
        ret = -errno;
        close(fd);
        return ret;
    }
    *fd_out = fd;
    *host_out = host;
    return 0;
}

// For `b` and those joined with it, up to `end`, which is not meant unless it is `b`: then for all.
static void unmap_until(struct bus_vfiouser *b, const struct bus_vfiouser *end, uint64_t iova,
                        uint64_t len)
{
    struct bus_vfiouser *each = b;

    do {
        int ret = each->bus.lost ? 0 : vfiouser_client_dma_unmap(each->client, iova, len);

        if (ret)
            note_error(each, "DMA_UNMAP", ret);
        each = each->joined;
    } while (each != end);
}

static int map_for_all(struct bus_vfiouser *b, uint64_t iova, uint64_t len, int fd)
{
    struct bus_vfiouser *each = b;

    do {
        int ret = 0;

        if (!each->bus.lost)
            ret = vfiouser_client_dma_map(each->client, iova, len, fd, 0, true, true);
        if (ret) {
            note_error(each, "DMA_MAP", ret);
            if (each != b)
                unmap_until(b, each, iova, len);
            return ret;
        }
        each = each->joined;
    } while (each != b);
    return 0;
}

static int bus_dma_alloc(struct driver_bus *bus, uint64_t len_bytes, struct driver_dma *out)
{
    struct bus_vfiouser *b = from_bus(bus), *each;
    uint64_t iova, len;
    void *host = NULL;
    int fd = -1, ret;

    if (b->bus.lost)
        return -ENOTCONN;
    ret = bus_iova_place(b->next_iova, len_bytes, &iova, &len);
    if (!ret)
        ret = make_memory(len, &fd, &host);
    if (ret)
        return ret;
    ret = map_for_all(b, iova, len, fd);
    close(fd); // the mapping keeps the file, and the server has a descriptor of its own
    if (ret) {
        munmap(host, len);
        return ret;
    }
    b->next_iova = iova + len;
    for (each = b->joined; each != b; each = each->joined)
        each->next_iova = b->next_iova;
    *out = (struct driver_dma){.host = host, .iova = iova, .len_bytes = len};
    return 0;
}

static void bus_dma_free(struct driver_bus *bus, struct driver_dma *dma)
{
    struct bus_vfiouser *b = from_bus(bus);

    if (!dma->host)
        return;
    unmap_until(b, b, dma->iova, dma->len_bytes);
    munmap(dma->host, dma->len_bytes);
    *dma = (struct driver_dma){0};
}

static int set_irqs(struct driver_bus *bus, const int *fds, unsigned count)
{
    return vfiouser_client_set_irqs(from_bus(bus)->client, IRQ_MSIX, 0, count, fds);
}

static int bus_irq_enable(struct driver_bus *bus, unsigned vectors, int *fds)
{
    struct bus_vfiouser *b = from_bus(bus);
    unsigned available;
    int ret = vfiouser_client_irq_count(b->client, IRQ_MSIX, &available);

    return ret ? ret : bus_irqs_enable(&b->irqs, bus, set_irqs, available, vectors, fds);
}

static int bus_reset(struct driver_bus *bus)
{
    struct bus_vfiouser *b = from_bus(bus);
    int ret = b->bus.lost ? -ENOTCONN : vfiouser_client_reset(b->client);

    if (ret)
        note_error(b, "DEVICE_RESET", ret);
    return ret;
}

static void bus_close(struct driver_bus *bus)
{
    struct bus_vfiouser *b = from_bus(bus), *before = b;

    while (before->joined != b)
        before = before->joined;
    before->joined = b->joined;
    vfiouser_client_close(b->client);
    bus_irqs_close(&b->irqs);
    free(b);
}

static const struct driver_bus_ops vfiouser_ops = {
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

// The last characters of the path say which function it is.
static void name_from_path(struct driver_bus *bus, const char *path)
{
    size_t len = strlen(path);
    size_t skip = len >= sizeof bus->name ? len - (sizeof bus->name - 1) : 0;

    snprintf(bus->name, sizeof bus->name, "%s", path + skip);
}

int driver_bus_vfiouser_open(const char *socket_path, struct driver_bus **out, char *error,
                             size_t error_len)
{
    struct vfiouser_client_region bar0;
    struct bus_vfiouser *b = calloc(1, sizeof *b);
    int ret;

    if (!b) {
        snprintf(error, error_len, "out of memory");
        return -ENOMEM;
    }
    b->bus.ops = &vfiouser_ops;
    b->joined = b;
    b->next_iova = BUS_IOVA_FIRST;
    name_from_path(&b->bus, socket_path);
    ret = vfiouser_client_open(socket_path, &b->client, error, error_len);
    if (ret) {
        free(b);
        return ret;
    }
    ret = vfiouser_client_region(b->client, REGION_BAR0, &bar0);
    if (!ret && bar0.size_bytes < BUS_PAGE_4K)
        ret = -ENODEV;
    if (ret) {
        snprintf(error, error_len, "%s: no usable BAR0: %s", socket_path, strerror(-ret));
        bus_close(&b->bus);
        return ret;
    }
    if (bar0.mapped && bar0.mapped_offset + bar0.mapped_len <= UINT32_MAX) {
        b->bus.mapped = bar0.mapped;
        b->bus.mapped_start = (uint32_t)bar0.mapped_offset;
        b->bus.mapped_len = (uint32_t)bar0.mapped_len;
    }
    *out = &b->bus;
    return 0;
}

int driver_bus_vfiouser_join(struct driver_bus *bus, struct driver_bus *with)
{
    struct bus_vfiouser *a = from_bus(bus), *b = from_bus(with), *each, *next;
    uint64_t next_iova;

    if (bus->ops != &vfiouser_ops || with->ops != &vfiouser_ops)
        return -EINVAL;
    for (each = a->joined; each != a; each = each->joined) {
        if (each == b)
            return 0;
    }
    if (a == b)
        return 0;
    next_iova = a->next_iova > b->next_iova ? a->next_iova : b->next_iova;
    next = a->joined; // two rings become one
    a->joined = b->joined;
    b->joined = next;
    each = a;
    do {
        each->next_iova = next_iova;
        each = each->joined;
    } while (each != a);
    return 0;
}

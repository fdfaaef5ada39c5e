// SPDX-License-Identifier: BSD-3-Clause
#include "bench/bus.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/le.h"
#include "vfiouser/client.h"

// VFIO's numbering of a PCI device's regions and interrupts.
#define REGION_BAR0   0u
#define REGION_CONFIG 7u
#define IRQ_MSIX      2u

#define VECTORS_MAX 3u // a VF of the 82599 has three
#define BUSES_MAX   64u
#define IOVA_FIRST  (1ull << 32)
#define PAGE_4K     (1ull << 12)
#define PAGE_2M     (1ull << 21)

struct bench_bus {
    struct driver_bus bus;
    struct vfiouser_client *client;
    struct bench_bus_group *group;
    bool owns_group; // a bus for itself
    int irq_fds[VECTORS_MAX];
    unsigned irq_count;
};

struct bench_bus_group {
    struct bench_bus *bus[BUSES_MAX];
    unsigned bus_count;
    uint64_t next_iova; // addresses are never used twice
};

static struct bench_bus *from_bus(struct driver_bus *bus)
{
    return container_of(bus, struct bench_bus, bus);
}

static uint32_t region_read(struct bench_bus *b, unsigned region, uint32_t offset, unsigned len)
{
    uint8_t bytes[4] = {0};

    if (!b->bus.lost && vfiouser_client_read(b->client, region, offset, bytes, len))
        b->bus.lost = true;
    return b->bus.lost ? UINT32_MAX : le32_get(bytes);
}

static void region_write(struct bench_bus *b, unsigned region, uint32_t offset, unsigned len,
                         uint32_t value, bool posted)
{
    uint8_t bytes[4];

    le32_put(bytes, value);
    if (!b->bus.lost && vfiouser_client_write(b->client, region, offset, bytes, len, posted))
        b->bus.lost = true;
}

static uint32_t bus_config_read(struct driver_bus *bus, uint32_t offset, unsigned len)
{
    return region_read(from_bus(bus), REGION_CONFIG, offset, len);
}

static void bus_config_write(struct driver_bus *bus, uint32_t offset, unsigned len, uint32_t value)
{
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

// A sealed memfd, mapped here. Its descriptor, or -errno.
static int make_memory(uint64_t len, void **host)
{
    int fd = memfd_create("vireo-bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int ret;

    if (fd < 0)
        return -errno;
    if (!ftruncate(fd, (off_t)len) && !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)) {
        *host = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (*host != MAP_FAILED)
            return fd;
    }
    ret = -errno;
    close(fd);
    return ret;
}

static void unmap_everywhere(struct bench_bus_group *group, unsigned count, uint64_t iova,
                             uint64_t len)
{
    for (unsigned i = 0; i < count; i++) {
        if (!group->bus[i]->bus.lost)
            vfiouser_client_dma_unmap(group->bus[i]->client, iova, len);
    }
}

static int bus_dma_alloc(struct driver_bus *bus, uint64_t len_bytes, struct driver_dma *out)
{
    struct bench_bus_group *group = from_bus(bus)->group;
    uint64_t len = bits_align_up(len_bytes, PAGE_4K);
    // What is large starts on a superpage.
    uint64_t iova = bits_align_up(group->next_iova, len >= PAGE_2M ? PAGE_2M : PAGE_4K);
    void *host = NULL;
    int fd = make_memory(len, &host), ret = 0;

    if (fd < 0)
        return fd;
    for (unsigned i = 0; !ret && i < group->bus_count; i++) {
        ret = vfiouser_client_dma_map(group->bus[i]->client, iova, len, fd, 0, true, true);
        if (ret)
            unmap_everywhere(group, i, iova, len);
    }
    close(fd); // the mappings keep the file
    if (ret) {
        munmap(host, len);
        return ret;
    }
    group->next_iova = iova + len;
    *out = (struct driver_dma){.host = host, .iova = iova, .len_bytes = len};
    return 0;
}

static void bus_dma_free(struct driver_bus *bus, struct driver_dma *dma)
{
    struct bench_bus_group *group = from_bus(bus)->group;

    if (!dma->host)
        return;
    unmap_everywhere(group, group->bus_count, dma->iova, dma->len_bytes);
    munmap(dma->host, dma->len_bytes);
    *dma = (struct driver_dma){0};
}

static int bus_irq_enable(struct driver_bus *bus, unsigned vectors, int *fds)
{
    struct bench_bus *b = from_bus(bus);
    int ret;

    if (!vectors || vectors > VECTORS_MAX || b->irq_count)
        return -ENOTSUP;
    while (b->irq_count < vectors) {
        int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

        if (fd < 0)
            return -errno;
        b->irq_fds[b->irq_count++] = fd;
    }
    ret = vfiouser_client_set_irqs(b->client, IRQ_MSIX, 0, vectors, b->irq_fds);
    if (!ret)
        memcpy(fds, b->irq_fds, vectors * sizeof fds[0]);
    return ret;
}

static void bus_close(struct driver_bus *bus)
{
    struct bench_bus *b = from_bus(bus);
    struct bench_bus_group *group = b->group;

    vfiouser_client_close(b->client);
    for (unsigned i = 0; i < b->irq_count; i++)
        close(b->irq_fds[i]);
    for (unsigned i = 0; i < group->bus_count; i++) {
        if (group->bus[i] == b)
            group->bus[i] = group->bus[--group->bus_count];
    }
    if (b->owns_group)
        bench_bus_group_destroy(group);
    free(b);
}

static const struct driver_bus_ops bench_bus_ops = {
    .config_read = bus_config_read,
    .config_write = bus_config_write,
    .reg_read = bus_reg_read,
    .reg_write = bus_reg_write,
    .dma_alloc = bus_dma_alloc,
    .dma_free = bus_dma_free,
    .irq_enable = bus_irq_enable,
    .close = bus_close,
};

int bench_bus_group_create(struct bench_bus_group **out)
{
    struct bench_bus_group *group = calloc(1, sizeof *group);

    if (!group)
        return -ENOMEM;
    group->next_iova = IOVA_FIRST;
    *out = group;
    return 0;
}

void bench_bus_group_destroy(struct bench_bus_group *group)
{
    free(group);
}

static int connect_bus(struct bench_bus *b, const char *socket_path, char *error, size_t error_len)
{
    struct vfiouser_client_region bar0;
    int ret = vfiouser_client_open(socket_path, &b->client, error, error_len);

    if (ret)
        return ret;
    ret = vfiouser_client_region(b->client, REGION_BAR0, &bar0);
    if (ret) {
        snprintf(error, error_len, "%s: no BAR0: %s", socket_path, strerror(-ret));
        vfiouser_client_close(b->client);
        return ret;
    }
    if (bar0.mapped) {
        b->bus.mapped = bar0.mapped;
        b->bus.mapped_start = (uint32_t)bar0.mapped_offset;
        b->bus.mapped_len = (uint32_t)bar0.mapped_len;
    }
    return 0;
}

int bench_bus_open(struct bench_bus_group *group, const char *socket_path, struct driver_bus **out,
                   char *error, size_t error_len)
{
    struct bench_bus *b = calloc(1, sizeof *b);
    int ret = b ? 0 : -ENOMEM;

    if (!ret && !group) {
        ret = bench_bus_group_create(&group);
        b->owns_group = !ret;
    }
    if (!ret && group->bus_count == BUSES_MAX)
        ret = -ENOSPC;
    if (!ret) {
        b->bus.ops = &bench_bus_ops;
        b->group = group;
        snprintf(b->bus.name, sizeof b->bus.name, "VF %u", group->bus_count);
        ret = connect_bus(b, socket_path, error, error_len);
    }
    if (ret) {
        if (b && b->owns_group)
            bench_bus_group_destroy(group);
        free(b);
        return ret;
    }
    group->bus[group->bus_count++] = b;
    *out = &b->bus;
    return 0;
}

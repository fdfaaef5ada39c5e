// SPDX-License-Identifier: BSD-3-Clause
#include "support/toy_vfiouser_device.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/le.h"

static void config_init(uint8_t *config)
{
    memset(config, 0, TOY_CONFIG_LEN);
    le16_put(config + 0x00, 0x1234);
    le16_put(config + 0x02, 0x5678);
    le16_put(config + 0x06, 0x0010); // a capability list
    config[0x0b] = 0xff;             // class: none of the defined
    config[0x10] = 0x04;             // BAR0: 64-bit memory
    config[0x34] = 0x40;
    config[0x40] = 0x11; // MSI-X, table at BAR2 + 0, PBA at BAR2 + 0x800
    config[0x41] = 0x60;
    le16_put(config + 0x42, TOY_VECTORS - 1);
    le32_put(config + 0x44, 0x000 | TOY_BAR2);
    le32_put(config + 0x48, 0x800 | TOY_BAR2);
    config[0x60] = 0x10; // PCI Express endpoint, version 2
    le16_put(config + 0x62, 0x0002);
}

int toy_device_create(struct toy_device **out)
{
    struct toy_device *toy = calloc(1, sizeof *toy);

    if (!toy)
        return -ENOMEM;
    toy->bar0_fd = memfd_create("toy-bar0", MFD_CLOEXEC);
    if (toy->bar0_fd < 0 || ftruncate(toy->bar0_fd, TOY_BAR0_LEN)) {
        free(toy);
        return -errno;
    }
    toy->bar0 = mmap(NULL, TOY_BAR0_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, toy->bar0_fd, 0);
    if (toy->bar0 == MAP_FAILED) {
        close(toy->bar0_fd);
        free(toy);
        return -errno;
    }
    for (unsigned i = 0; i < TOY_VECTORS; i++)
        toy->vectors[i] = -1;
    toy->error_irq = -1;
    config_init(toy->config);
    *out = toy;
    return 0;
}

static void map_drop(struct toy_device *toy, unsigned i)
{
    if (toy->maps[i].host)
        munmap(toy->maps[i].host, toy->maps[i].len_bytes);
    toy->maps[i] = toy->maps[--toy->map_count];
}

static void vector_set(int *vector, int fd)
{
    if (*vector >= 0)
        close(*vector);
    *vector = fd;
}

static void toy_detach(void *ctx)
{
    struct toy_device *toy = ctx;

    toy->detaches++;
    toy->client_pid = 0;
    while (toy->map_count)
        map_drop(toy, 0);
    for (unsigned i = 0; i < TOY_VECTORS; i++)
        vector_set(&toy->vectors[i], -1);
    vector_set(&toy->error_irq, -1);
}

void toy_device_destroy(struct toy_device *toy)
{
    toy_detach(toy);
    munmap(toy->bar0, TOY_BAR0_LEN);
    close(toy->bar0_fd);
    free(toy);
}

static int toy_attach(void *ctx, pid_t client_pid)
{
    struct toy_device *toy = ctx;

    if (toy->attach_error)
        return toy->attach_error;
    toy->attaches++;
    toy->client_pid = client_pid;
    return 0;
}

static uint8_t *region_bytes(struct toy_device *toy, unsigned region)
{
    switch (region) {
    case TOY_BAR0:
        return toy->bar0;
    case TOY_BAR2:
        return toy->bar2;
    case TOY_CONFIG:
        return toy->config;
    default:
        return NULL;
    }
}

static int toy_region_read(void *ctx, unsigned region, uint64_t offset, void *buf,
                           uint32_t len_bytes)
{
    const uint8_t *bytes = region_bytes(ctx, region);

    if (bytes)
        memcpy(buf, bytes + offset, len_bytes);
    return 0;
}

// The host address of an IOVA range within one map that allows what is asked.
static uint8_t *dma_at(struct toy_device *toy, uint64_t iova, uint64_t len, bool write)
{
    for (unsigned i = 0; i < toy->map_count; i++) {
        struct toy_map *map = &toy->maps[i];

        if (map->host && (write ? map->write : map->read) &&
            bits_range_within(iova, len, map->iova, map->len_bytes))
            return map->host + (iova - map->iova);
    }
    return NULL;
}

static void copy_engine_go(struct toy_device *toy)
{
    uint32_t len = le32_get(toy->bar0 + TOY_REG_LEN);
    uint32_t vector = le32_get(toy->bar0 + TOY_REG_GO);
    const uint8_t *src = dma_at(toy, le64_get(toy->bar0 + TOY_REG_SRC), len, false);
    uint8_t *dst = dma_at(toy, le64_get(toy->bar0 + TOY_REG_DST), len, true);
    uint64_t one = 1;

    le32_put(toy->bar0 + TOY_REG_GO, src && dst);
    if (src && dst)
        memmove(dst, src, len);
    if (vector < TOY_VECTORS && toy->vectors[vector] >= 0 &&
        write(toy->vectors[vector], &one, sizeof one) < 0)
        perror("toy: eventfd");
}

static int toy_region_write(void *ctx, unsigned region, uint64_t offset, const void *buf,
                            uint32_t len_bytes)
{
    struct toy_device *toy = ctx;
    uint8_t *bytes = region_bytes(toy, region);

    if (!bytes)
        return -EIO;
    memcpy(bytes + offset, buf, len_bytes);
    if (region == TOY_BAR0 && offset == TOY_REG_GO)
        copy_engine_go(toy);
    if (region == TOY_BAR0 && offset == 0x3000 && toy->poke)
        toy->poke(toy->poke_ctx);
    return 0;
}

static int toy_dma_map(void *ctx, const struct vfiouser_dma_map *map)
{
    struct toy_device *toy = ctx;
    struct toy_map new = {map->iova, map->len_bytes, map->read, map->write, NULL};
    int prot = (map->read ? PROT_READ : 0) | (map->write ? PROT_WRITE : 0);
    struct stat st;

    toy->maps_seen++;
    if (toy->map_count == TOY_DMA_MAPS_MAX)
        return -ENOSPC;
    for (unsigned i = 0; i < toy->map_count; i++) {
        const struct toy_map *old = &toy->maps[i];

        if (map->iova <= old->iova + (old->len_bytes - 1) &&
            old->iova <= map->iova + (map->len_bytes - 1))
            return -EEXIST;
    }
    if (map->fd >= 0) {
        if (fstat(map->fd, &st) || !S_ISREG(st.st_mode) ||
            !bits_range_within(map->fd_offset, map->len_bytes, 0, (uint64_t)st.st_size))
            return -EINVAL;
        new.host = mmap(NULL, map->len_bytes, prot, MAP_SHARED, map->fd, (off_t)map->fd_offset);
        if (new.host == MAP_FAILED)
            return -errno;
    }
    toy->maps[toy->map_count++] = new;
    return 0;
}

static int toy_dma_unmap(void *ctx, uint64_t iova, uint64_t len_bytes, bool all)
{
    struct toy_device *toy = ctx;
    unsigned i = 0;

    toy->unmaps_seen++;
    while (i < toy->map_count) {
        if (all || bits_range_within(toy->maps[i].iova, toy->maps[i].len_bytes, iova, len_bytes))
            map_drop(toy, i);
        else
            i++;
    }
    return 0;
}

static int toy_set_irqs(void *ctx, unsigned index, unsigned start, unsigned count, const int *fds)
{
    struct toy_device *toy = ctx;

    toy->irq_calls++;
    if (!count) {
        toy->irq_disables++;
        for (unsigned i = 0; index == TOY_MSIX && i < TOY_VECTORS; i++)
            vector_set(&toy->vectors[i], -1);
        if (index != TOY_MSIX)
            vector_set(&toy->error_irq, -1);
    }
    for (unsigned i = 0; i < count; i++)
        vector_set(index == TOY_MSIX ? &toy->vectors[start + i] : &toy->error_irq, fds[i]);
    return 0;
}

static int toy_reset(void *ctx)
{
    struct toy_device *toy = ctx;

    toy->resets++;
    memset(toy->bar0, 0, TOY_BAR0_LEN);
    return 0;
}

static const struct vfiouser_device_ops toy_ops = {
    .attach = toy_attach,
    .detach = toy_detach,
    .region_read = toy_region_read,
    .region_write = toy_region_write,
    .dma_map = toy_dma_map,
    .dma_unmap = toy_dma_unmap,
    .set_irqs = toy_set_irqs,
    .reset = toy_reset,
};

void toy_device_describe(struct toy_device *toy, const char *name, bool mapped,
                         struct vfiouser_device *out)
{
    *out = (struct vfiouser_device){
        .name = name,
        .regions[TOY_BAR0] = {.size_bytes = TOY_BAR0_LEN, .read = true, .write = true},
        .regions[TOY_BAR2] = {.size_bytes = TOY_BAR2_LEN, .read = true, .write = true},
        .regions[TOY_ROM] = {.size_bytes = TOY_ROM_LEN, .read = true},
        .regions[TOY_CONFIG] = {.size_bytes = TOY_CONFIG_LEN, .read = true, .write = true},
        .irq_counts = {[TOY_MSIX] = TOY_VECTORS, [3] = 1},
        .ops = &toy_ops,
        .ctx = toy,
    };
    if (mapped) {
        out->regions[TOY_BAR0].mmap_count = 1;
        out->regions[TOY_BAR0].mmap[0].offset = TOY_MAPPED_OFFSET;
        out->regions[TOY_BAR0].mmap[0].len_bytes = TOY_MAPPED_LEN;
        out->regions[TOY_BAR0].mmap_fd = toy->bar0_fd;
    }
}

struct toy_server {
    pthread_t thread;
    sd_event *loop;
    struct vfiouser_server *server;
    int wake_fd;
    pthread_mutex_t lock;
    pthread_cond_t done;
    void (*fn)(struct vfiouser_server *server, void *ctx); // NULL: nothing to call
    void *fn_ctx;
    bool stop;
};

static int wake_event(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
    struct toy_server *toy_server = ctx;
    uint64_t n;

    (void)source, (void)revents;
    if (read(fd, &n, sizeof n) < 0)
        return 0;
    pthread_mutex_lock(&toy_server->lock);
    if (toy_server->fn)
        toy_server->fn(toy_server->server, toy_server->fn_ctx);
    toy_server->fn = NULL;
    if (toy_server->stop)
        sd_event_exit(toy_server->loop, 0);
    pthread_cond_signal(&toy_server->done);
    pthread_mutex_unlock(&toy_server->lock);
    return 0;
}

static void *toy_server_main(void *ctx)
{
    struct toy_server *toy_server = ctx;

    sd_event_loop(toy_server->loop);
    return NULL;
}

int toy_server_start(struct toy_device *toy, const char *name, const char *socket_path, bool mapped,
                     struct toy_server **out, char *error, size_t error_len)
{
    struct toy_server *toy_server = calloc(1, sizeof *toy_server);
    struct vfiouser_device device;
    int err;

    if (!toy_server)
        return -ENOMEM;
    pthread_mutex_init(&toy_server->lock, NULL);
    pthread_cond_init(&toy_server->done, NULL);
    toy_device_describe(toy, name, mapped, &device);
    toy_server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    err = sd_event_new(&toy_server->loop);
    if (err >= 0)
        err = sd_event_add_io(toy_server->loop, NULL, toy_server->wake_fd, EPOLLIN, wake_event,
                              toy_server);
    if (err >= 0)
        err = vfiouser_server_create(toy_server->loop, socket_path, &device, &toy_server->server,
                                     error, error_len);
    if (err >= 0)
        err = -pthread_create(&toy_server->thread, NULL, toy_server_main, toy_server);
    if (err < 0) {
        vfiouser_server_destroy(toy_server->server);
        sd_event_unref(toy_server->loop);
        close(toy_server->wake_fd);
        free(toy_server);
        return err;
    }
    *out = toy_server;
    return 0;
}

static void wake(struct toy_server *toy_server)
{
    uint64_t one = 1;

    if (write(toy_server->wake_fd, &one, sizeof one) < 0)
        perror("toy: wake");
}

void toy_server_call(struct toy_server *toy_server,
                     void (*fn)(struct vfiouser_server *server, void *ctx), void *ctx)
{
    pthread_mutex_lock(&toy_server->lock);
    toy_server->fn = fn;
    toy_server->fn_ctx = ctx;
    wake(toy_server);
    while (toy_server->fn)
        pthread_cond_wait(&toy_server->done, &toy_server->lock);
    pthread_mutex_unlock(&toy_server->lock);
}

void toy_server_stop(struct toy_server *toy_server)
{
    pthread_mutex_lock(&toy_server->lock);
    toy_server->stop = true;
    wake(toy_server);
    pthread_mutex_unlock(&toy_server->lock);
    pthread_join(toy_server->thread, NULL);
    vfiouser_server_destroy(toy_server->server);
    sd_event_unref(toy_server->loop);
    close(toy_server->wake_fd);
    pthread_mutex_destroy(&toy_server->lock);
    pthread_cond_destroy(&toy_server->done);
    free(toy_server);
}

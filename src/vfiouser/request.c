// SPDX-License-Identifier: BSD-3-Clause
#include "vfiouser/request.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"

enum { // VFIO's numbers of the PCI regions
    REGION_ROM = 6,
    REGION_CONFIG = 7,
};

typedef int (*handler_fn)(const struct vfiouser_session *session, struct vfiouser_message *message,
                          struct vfiouser_reply *reply);

void vfiouser_reply_free(struct vfiouser_reply *reply)
{
    free(reply->payload);
    reply->payload = NULL;
    reply->capacity = reply->len = 0;
}

// The reply's payload: `len` bytes of zero.
static int reply_reserve(struct vfiouser_reply *reply, size_t len)
{
    if (len > reply->capacity) {
        uint8_t *bigger = realloc(reply->payload, len);

        if (!bigger)
            return -ENOMEM;
        reply->payload = bigger;
        reply->capacity = len;
    }
    memset(reply->payload, 0, len);
    reply->len = len;
    return 0;
}

static int handle_version_again(const struct vfiouser_session *session,
                                struct vfiouser_message *message, struct vfiouser_reply *reply)
{
    (void)session, (void)message, (void)reply;
    return -EINVAL;
}

static int handle_unsupported(const struct vfiouser_session *session,
                              struct vfiouser_message *message, struct vfiouser_reply *reply)
{
    (void)session, (void)message, (void)reply;
    return -ENOTSUP;
}

static int handle_backwards(const struct vfiouser_session *session,
                            struct vfiouser_message *message, struct vfiouser_reply *reply)
{
    (void)session, (void)message, (void)reply;
    return -EINVAL;
}

static int handle_dma_map(const struct vfiouser_session *session, struct vfiouser_message *message,
                          struct vfiouser_reply *reply)
{
    struct vfiouser_dma_map_request request;
    struct vfiouser_dma_map map;
    int err;

    err =
        vfiouser_dma_map_parse(message->payload, message->payload_len, message->fd_count, &request);
    if (err)
        return err;
    map = (struct vfiouser_dma_map){
        .iova = request.iova,
        .len_bytes = request.len_bytes,
        .fd_offset = request.fd_offset,
        .read = request.read,
        .write = request.write,
        .fd = message->fd_count ? message->fds[0] : -1,
    };
    reply->device_asked = true;
    return session->device->ops->dma_map(session->device->ctx, &map);
}

static int handle_dma_unmap(const struct vfiouser_session *session,
                            struct vfiouser_message *message, struct vfiouser_reply *reply)
{
    struct vfiouser_dma_unmap_request request;
    int err = vfiouser_dma_unmap_parse(message->payload, message->payload_len, &request);

    if (!err)
        err = reply_reserve(reply, message->payload_len);
    if (err)
        return err;
    memcpy(reply->payload, message->payload, message->payload_len);
    reply->device_asked = true;
    return session->device->ops->dma_unmap(session->device->ctx, request.iova, request.len_bytes,
                                           request.all);
}

static int handle_get_info(const struct vfiouser_session *session, struct vfiouser_message *message,
                           struct vfiouser_reply *reply)
{
    struct vfiouser_device_info info = {
        .flags = VFIOUSER_DEVICE_PCI | (session->device->ops->reset ? VFIOUSER_DEVICE_RESETS : 0),
        .regions = VFIOUSER_REGIONS,
        .irqs = VFIOUSER_IRQS,
    };
    struct vfiouser_query query;
    int err = vfiouser_query_parse(VFIOUSER_DEVICE_GET_INFO, message->payload, message->payload_len,
                                   &query);

    if (!err)
        err = reply_reserve(reply, sizeof(struct vfiouser_wire_device_info));
    if (!err)
        vfiouser_device_info_build(reply->payload, &info);
    return err;
}

static int handle_get_region_info(const struct vfiouser_session *session,
                                  struct vfiouser_message *message, struct vfiouser_reply *reply)
{
    const struct vfiouser_region *region;
    struct vfiouser_region_info info = {0};
    struct vfiouser_query query;
    int err = vfiouser_query_parse(VFIOUSER_DEVICE_GET_REGION_INFO, message->payload,
                                   message->payload_len, &query);

    if (err)
        return err;
    if (query.index >= VFIOUSER_REGIONS)
        return -EINVAL;
    err = reply_reserve(reply, VFIOUSER_REGION_INFO_MAX);
    if (err)
        return err;
    region = &session->device->regions[query.index];
    info.index = query.index;
    info.size = region->size_bytes;
    if (region->size_bytes) {
        info.flags = (region->read ? VFIOUSER_REGION_READABLE : 0) |
                     (region->write ? VFIOUSER_REGION_WRITEABLE : 0) |
                     (region->mmap_count ? VFIOUSER_REGION_MAPPABLE : 0);
        info.area_count = region->mmap_count;
        info.offset = region->mmap_count ? region->mmap_fd_offset : 0;
    }
    for (unsigned i = 0; i < info.area_count; i++) {
        info.areas[i].offset = region->mmap[i].offset;
        info.areas[i].len_bytes = region->mmap[i].len_bytes;
    }
    reply->len = vfiouser_region_info_build(reply->payload, query.argsz, &info);
    // The fd goes with the full reply: a client that has no room for the areas asks again.
    if (info.area_count && vfiouser_region_info_parse(reply->payload, reply->len, &info) == 0 &&
        info.argsz <= reply->len)
        reply->fd = region->mmap_fd;
    return 0;
}

static int handle_get_irq_info(const struct vfiouser_session *session,
                               struct vfiouser_message *message, struct vfiouser_reply *reply)
{
    struct vfiouser_query query;
    int err = vfiouser_query_parse(VFIOUSER_DEVICE_GET_IRQ_INFO, message->payload,
                                   message->payload_len, &query);

    if (err)
        return err;
    if (query.index >= VFIOUSER_IRQS)
        return -EINVAL;
    err = reply_reserve(reply, sizeof(struct vfiouser_wire_irq_info));
    if (!err)
        vfiouser_irq_info_build(reply->payload, query.index,
                                session->device->irq_counts[query.index]);
    return err;
}

// Whoever signals an interrupt writes to this fd, and must not block or fill a file: so it has to
// be an eventfd. Non-blocking, because a full counter would block the writer.
static int irq_fd_check(int fd)
{
    char path[32], target[32];
    ssize_t len;
    int flags;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    len = readlink(path, target, sizeof target - 1);
    if (len < 0)
        return -errno;
    target[len] = '\0';
    if (strcmp(target, "anon_inode:[eventfd]"))
        return -EINVAL;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK))
        return -errno;
    return 0;
}

static int handle_set_irqs(const struct vfiouser_session *session, struct vfiouser_message *message,
                           struct vfiouser_reply *reply)
{
    const struct vfiouser_device *device = session->device;
    struct vfiouser_irq_set_request request;
    int fds[VFIOUSER_VECTORS_MAX];
    int err = vfiouser_irq_set_parse(message->payload, message->payload_len, message->fd_count,
                                     device->irq_counts, &request);

    if (err)
        return err;
    // irq_counts are within VECTORS_MAX: vfiouser_server_create() looked.
    for (unsigned i = 0; i < request.count; i++) {
        fds[i] = message->fd_count ? message->fds[i] : -1;
        err = fds[i] < 0 ? 0 : irq_fd_check(fds[i]);
        if (err)
            return err;
    }
    reply->device_asked = true;
    err = device->ops->set_irqs(device->ctx, request.index, request.start, request.count,
                                request.disable ? NULL : fds);
    for (unsigned i = 0; !err && i < message->fd_count; i++)
        vfiouser_message_take_fd(message, i);
    return err;
}

// Config space and the ROM are bytes; the rest are registers, one at a time.
static int access_check(const struct vfiouser_session *session,
                        const struct vfiouser_region_access *access, bool write)
{
    const struct vfiouser_region *region;

    if (access->region >= VFIOUSER_REGIONS || access->count > session->data_max)
        return -EINVAL;
    region = &session->device->regions[access->region];
    if (!bits_range_within(access->offset, access->count, 0, region->size_bytes))
        return -EINVAL;
    if (access->region != REGION_CONFIG && access->region != REGION_ROM) {
        if (access->count > 8 || !bits_is_pow2(access->count) ||
            access->offset & (access->count - 1))
            return -EINVAL;
    }
    return (write ? region->write : region->read) ? 0 : -EPERM;
}

static int handle_region_read(const struct vfiouser_session *session,
                              struct vfiouser_message *message, struct vfiouser_reply *reply)
{
    struct vfiouser_region_access access;
    size_t fixed;
    int err = vfiouser_region_read_parse(message->payload, message->payload_len, &access);

    if (!err)
        err = access_check(session, &access, false);
    if (!err)
        err = reply_reserve(reply, sizeof(struct vfiouser_wire_region_access) + access.count);
    if (err)
        return err;
    session->counts->reads_by_region[access.region]++;
    fixed = vfiouser_region_access_build(reply->payload, &access);
    reply->device_asked = true;
    return session->device->ops->region_read(session->device->ctx, access.region, access.offset,
                                             reply->payload + fixed, access.count);
}

static int region_write(const struct vfiouser_session *session,
                        const struct vfiouser_region_access *access, bool posted)
{
    session->counts->writes_by_region[access->region]++;
    if (posted)
        session->counts->region_writes_posted++;
    return session->device->ops->region_write(session->device->ctx, access->region, access->offset,
                                              access->data, access->count);
}

static int handle_region_write(const struct vfiouser_session *session,
                               struct vfiouser_message *message, struct vfiouser_reply *reply)
{
    struct vfiouser_region_access access;
    int err = vfiouser_region_write_parse(message->payload, message->payload_len, &access);

    if (!err)
        err = access_check(session, &access, true);
    if (!err)
        err = reply_reserve(reply, sizeof(struct vfiouser_wire_region_access));
    if (err)
        return err;
    vfiouser_region_access_build(reply->payload, &access);
    reply->device_asked = true;
    return region_write(session, &access, message->header.flags & VFIOUSER_FLAG_NO_REPLY);
}

static int handle_write_multi(const struct vfiouser_session *session,
                              struct vfiouser_message *message, struct vfiouser_reply *reply)
{
    bool posted = message->header.flags & VFIOUSER_FLAG_NO_REPLY;
    struct vfiouser_region_access access;
    int count = vfiouser_write_multi_count(message->payload, message->payload_len);
    int err;

    if (count < 0)
        return count;
    // All are good before the first is done.
    for (int i = 0; i < count; i++) {
        err = vfiouser_write_multi_at(message->payload, (unsigned)i, &access);
        if (!err)
            err = access_check(session, &access, true);
        if (err)
            return err;
    }
    err = reply_reserve(reply, 8);
    if (err)
        return err;
    memcpy(reply->payload, message->payload, 8);
    reply->device_asked = true;
    for (int i = 0; i < count && !err; i++) {
        vfiouser_write_multi_at(message->payload, (unsigned)i, &access);
        err = region_write(session, &access, posted);
    }
    return err;
}

static int handle_reset(const struct vfiouser_session *session, struct vfiouser_message *message,
                        struct vfiouser_reply *reply)
{
    const struct vfiouser_device *device = session->device;

    (void)message;
    reply->device_asked = true;
    return device->ops->reset ? device->ops->reset(device->ctx) : -ENOTSUP;
}

static const handler_fn handlers[VFIOUSER_COMMANDS] = {
#define COMMAND(number, name, handler, fds_max, len_min, len_max) [number] = handle_##handler,
#include "vfiouser/commands.def"
#undef COMMAND
};

// What the message table alone can say.
static int message_check(const struct vfiouser_message *message)
{
    const struct vfiouser_command_info *info = vfiouser_command_info(message->header.command);

    if ((message->header.flags & VFIOUSER_FLAG_TYPE) != VFIOUSER_TYPE_COMMAND || !info)
        return -EINVAL;
    if (message->payload_len < info->len_min || message->payload_len > info->len_max)
        return -EINVAL;
    return message->fds_lost || message->fd_count > info->fds_max ? -EINVAL : 0;
}

int vfiouser_request_handle(const struct vfiouser_session *session,
                            struct vfiouser_message *message, struct vfiouser_reply *reply)
{
    int err = message_check(message);

    reply->len = 0;
    reply->fd = -1;
    reply->device_asked = false;
    if (err) {
        session->counts->received[0]++;
        return err;
    }
    session->counts->received[message->header.command]++;
    err = handlers[message->header.command](session, message, reply);
    if (err == -EINVAL && !reply->device_asked)
        session->counts->received[0]++;
    if (err) {
        reply->len = 0;
        reply->fd = -1;
    }
    return err;
}

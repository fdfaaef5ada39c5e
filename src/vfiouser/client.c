// SPDX-License-Identifier: BSD-3-Clause
#include "vfiouser/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "vfiouser/message.h"
#include "vfiouser/server.h"
#include "vfiouser/socket.h"
#include "vfiouser/version.h"

#define REQUEST_TIMEOUT_MS 5000u // as QEMU has it

struct mapping {
    void *base;
    uint64_t offset, len_bytes; // in the region
};

struct vfiouser_client {
    struct vfiouser_socket *sock; // NULL once lost
    uint16_t next_id;
    uint32_t data_max;
    unsigned fds_max; // that the server takes in one message
    struct mapping mappings[VFIOUSER_REGIONS];
};

struct request {
    unsigned command;
    bool posted;
    const void *payload;
    size_t payload_len;
    const int *fds;
    unsigned fd_count;
};

bool vfiouser_client_is_lost(const struct vfiouser_client *client)
{
    return !client->sock;
}

// What was asked may still be answered, or half sent: nothing on this connection can be trusted.
static int client_lose(struct vfiouser_client *client, int err)
{
    vfiouser_socket_destroy(client->sock);
    client->sock = NULL;
    return err;
}

static int socket_wait(const struct vfiouser_client *client, short events, uint64_t deadline_ns)
{
    struct pollfd pfd = {.fd = vfiouser_socket_fd(client->sock), .events = events};
    uint64_t now_ns;
    int n;

    do {
        now_ns = clock_now_ns();
        if (now_ns >= deadline_ns)
            return -ETIMEDOUT;
        n = poll(&pfd, 1, (int)((deadline_ns - now_ns) / NS_PER_MS) + 1);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return n ? 0 : -ETIMEDOUT;
}

static int request_send(struct vfiouser_client *client, const struct request *request, uint16_t id,
                        uint64_t deadline_ns)
{
    struct vfiouser_header header = {
        .id = id,
        .command = (uint16_t)request->command,
        .size = (uint32_t)(VFIOUSER_HEADER_LEN + request->payload_len),
        .flags = VFIOUSER_TYPE_COMMAND | (request->posted ? VFIOUSER_FLAG_NO_REPLY : 0),
    };
    int err = vfiouser_socket_send(client->sock, &header, request->payload, request->payload_len,
                                   request->fds, request->fd_count);

    while (!err && vfiouser_socket_has_output(client->sock)) {
        err = socket_wait(client, POLLOUT, deadline_ns);
        if (!err)
            err = vfiouser_socket_flush(client->sock);
    }
    return err;
}

// What a server asks of a client (DMA_READ, DMA_WRITE) this client has not: its memory is mapped.
static int command_refuse(struct vfiouser_client *client, const struct vfiouser_header *command)
{
    struct vfiouser_header header = {
        .id = command->id,
        .command = command->command,
        .size = VFIOUSER_HEADER_LEN,
        .flags = VFIOUSER_TYPE_REPLY | VFIOUSER_FLAG_ERROR,
        .error = ENOTSUP,
    };

    if (command->flags & VFIOUSER_FLAG_NO_REPLY)
        return 0;
    return vfiouser_socket_send(client->sock, &header, NULL, 0, NULL, 0);
}

// 0 with the reply to `id`, or -errno of the connection.
static int reply_wait(struct vfiouser_client *client, unsigned command, uint16_t id,
                      uint64_t deadline_ns, struct vfiouser_message **out)
{
    for (;;) {
        int n = vfiouser_socket_receive(client->sock, VFIOUSER_PAYLOAD_MAX, out);
        int err = n < 0 ? n : 0;

        if (n > 0 && ((*out)->header.flags & VFIOUSER_FLAG_TYPE) == VFIOUSER_TYPE_REPLY) {
            const struct vfiouser_header *header = &(*out)->header;

            return header->id == id && header->command == command ? 0 : -EPROTO;
        }
        // A server that asks without end must not keep us, either.
        if (n > 0)
            err =
                clock_now_ns() < deadline_ns ? command_refuse(client, &(*out)->header) : -ETIMEDOUT;
        else if (!n)
            err = socket_wait(client, POLLIN, deadline_ns);
        if (err)
            return err;
    }
}

// 0 and the reply (NULL where posted), valid until the next request; or -errno.
static int client_request(struct vfiouser_client *client, const struct request *request,
                          struct vfiouser_message **reply)
{
    uint64_t deadline_ns = clock_now_ns() + REQUEST_TIMEOUT_MS * NS_PER_MS;
    uint16_t id;
    int err;

    *reply = NULL;
    if (!client->sock)
        return -ENOTCONN;
    id = client->next_id++;
    err = request_send(client, request, id, deadline_ns);
    if (!err && request->posted)
        return 0;
    if (!err)
        err = reply_wait(client, request->command, id, deadline_ns, reply);
    if (err)
        return client_lose(client, err == -EPIPE ? -ECONNRESET : err);
    if ((*reply)->header.flags & VFIOUSER_FLAG_ERROR) {
        uint32_t error = (*reply)->header.error;

        // An errno it may leave out, and could lie about.
        return error && error < 4096 ? -(int)error : -EIO;
    }
    return 0;
}

static int socket_connect(const char *socket_path, int *out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    // connect() waits where the backlog is full.
    struct timeval limit = {.tv_sec = REQUEST_TIMEOUT_MS / 1000};
    int fd, err = 0;

    if (strlen(socket_path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    memcpy(address.sun_path, socket_path, strlen(socket_path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) ||
        connect(fd, (struct sockaddr *)&address, sizeof address))
        err = errno == EAGAIN ? -ETIMEDOUT : -errno;
    if (err)
        close(fd);
    else
        *out = fd;
    return err;
}

static int version_negotiate(struct vfiouser_client *client)
{
    struct request request = {.command = VFIOUSER_VERSION};
    struct vfiouser_version ours, theirs;
    struct vfiouser_message *reply;
    uint8_t payload[512];
    const char *why;
    int len, err;

    vfiouser_version_ours(&ours);
    len = vfiouser_version_build(payload, sizeof payload, &ours);
    if (len < 0)
        return len;
    request.payload = payload;
    request.payload_len = (size_t)len;
    err = client_request(client, &request, &reply);
    if (err)
        return err;
    if (vfiouser_version_parse(reply->payload, reply->payload_len, &theirs, &why) ||
        theirs.major != ours.major || theirs.minor > ours.minor)
        return -EPROTO;
    client->data_max = VFIOUSER_DATA_MAX;
    if (theirs.caps[VFIOUSER_CAP_MAX_DATA_XFER_SIZE] < client->data_max)
        client->data_max = (uint32_t)theirs.caps[VFIOUSER_CAP_MAX_DATA_XFER_SIZE];
    client->fds_max = VFIOUSER_FDS_MAX;
    if (theirs.caps[VFIOUSER_CAP_MAX_MSG_FDS] < client->fds_max)
        client->fds_max = (unsigned)theirs.caps[VFIOUSER_CAP_MAX_MSG_FDS];
    return 0;
}

int vfiouser_client_open(const char *socket_path, struct vfiouser_client **out, char *error,
                         size_t error_len)
{
    struct vfiouser_client *client = calloc(1, sizeof *client);
    int fd = -1;
    int err = client ? socket_connect(socket_path, &fd) : -ENOMEM;

    if (err) {
        snprintf(error, error_len, "cannot connect to '%s': %s%s", socket_path, strerror(-err),
                 err == -ENOENT || err == -ECONNREFUSED ? ": is its server (vireod) running?" : "");
        free(client);
        return err;
    }
    err = vfiouser_socket_create(fd, &client->sock);
    if (err)
        close(fd);
    else
        err = version_negotiate(client);
    if (err) {
        snprintf(error, error_len, "'%s' refuses us: %s", socket_path,
                 err == -EBUSY ? "somebody else holds the device" : strerror(-err));
        vfiouser_client_close(client);
        return err;
    }
    *out = client;
    return 0;
}

void vfiouser_client_close(struct vfiouser_client *client)
{
    if (!client)
        return;
    vfiouser_socket_destroy(client->sock);
    for (unsigned i = 0; i < VFIOUSER_REGIONS; i++) {
        if (client->mappings[i].base)
            munmap(client->mappings[i].base, client->mappings[i].len_bytes);
    }
    free(client);
}

// Maps the first area, once.
static int region_map(struct vfiouser_client *client, unsigned index,
                      const struct vfiouser_region_info *info, int fd)
{
    struct mapping *mapping = &client->mappings[index];
    uint64_t offset = info->areas[0].offset, len = info->areas[0].len_bytes;
    int prot = (info->flags & VFIOUSER_REGION_READABLE ? PROT_READ : 0) |
               (info->flags & VFIOUSER_REGION_WRITEABLE ? PROT_WRITE : 0);
    void *base;

    if (mapping->base)
        return 0;
    if (!len || (offset | len | info->offset) & (VFIOUSER_PAGE - 1) ||
        info->offset > (uint64_t)INT64_MAX - info->size)
        return -EPROTO;
    base = mmap(NULL, len, prot, MAP_SHARED, fd, (off_t)(info->offset + offset));
    if (base == MAP_FAILED)
        return -errno;
    *mapping = (struct mapping){base, offset, len};
    return 0;
}

// Asks with room for the fixed part, then with as much as the server says it needs.
static int region_info(struct vfiouser_client *client, unsigned index,
                       struct vfiouser_region_info *info, struct vfiouser_message **reply)
{
    uint8_t payload[sizeof(struct vfiouser_wire_region_info)];
    struct vfiouser_query query = {sizeof payload, index};
    struct request request = {.command = VFIOUSER_DEVICE_GET_REGION_INFO, .payload = payload};
    int err = 0;

    for (unsigned attempt = 0; attempt < 2 && !err; attempt++) {
        request.payload_len = vfiouser_query_build(request.command, payload, &query);
        err = client_request(client, &request, reply);
        if (!err)
            err = vfiouser_region_info_parse((*reply)->payload, (*reply)->payload_len, info);
        if (err)
            break;
        if (info->index == index && info->argsz <= query.argsz)
            return 0;
        query.argsz = info->argsz;
        if (info->index != index || attempt || query.argsz > VFIOUSER_PAYLOAD_MAX)
            err = -EPROTO;
    }
    return err;
}

int vfiouser_client_region(struct vfiouser_client *client, unsigned index,
                           struct vfiouser_client_region *out)
{
    struct vfiouser_message *reply;
    struct vfiouser_region_info info;
    int err;

    if (index >= VFIOUSER_REGIONS)
        return -EINVAL;
    err = region_info(client, index, &info, &reply);
    if (!err && info.flags & VFIOUSER_REGION_MAPPABLE && info.area_count) {
        err = reply->fd_count == 1 ? 0 : -EPROTO;
        if (!err)
            err = region_map(client, index, &info, reply->fds[0]);
    }
    if (err)
        return err;
    *out = (struct vfiouser_client_region){
        .size_bytes = info.size,
        .read = info.flags & VFIOUSER_REGION_READABLE,
        .write = info.flags & VFIOUSER_REGION_WRITEABLE,
        .mapped = client->mappings[index].base,
        .mapped_offset = client->mappings[index].offset,
        .mapped_len = client->mappings[index].len_bytes,
    };
    return 0;
}

int vfiouser_client_irq_count(struct vfiouser_client *client, unsigned index, unsigned *out)
{
    uint8_t payload[sizeof(struct vfiouser_wire_irq_info)];
    struct vfiouser_query query = {sizeof payload, index};
    struct request request = {.command = VFIOUSER_DEVICE_GET_IRQ_INFO, .payload = payload};
    struct vfiouser_message *reply;
    uint32_t count;
    int err;

    request.payload_len = vfiouser_query_build(request.command, payload, &query);
    err = client_request(client, &request, &reply);
    if (!err)
        err = vfiouser_irq_info_parse(reply->payload, reply->payload_len, &count);
    if (!err)
        *out = count;
    return err;
}

int vfiouser_client_read(struct vfiouser_client *client, unsigned region, uint64_t offset,
                         void *buf, uint32_t len_bytes)
{
    struct vfiouser_region_access access = {.offset = offset, .region = region, .count = len_bytes};
    uint8_t payload[sizeof(struct vfiouser_wire_region_access)];
    struct request request = {
        .command = VFIOUSER_REGION_READ,
        .payload = payload,
        .payload_len = vfiouser_region_access_build(payload, &access),
    };
    struct vfiouser_message *reply;
    int err;

    if (len_bytes > client->data_max)
        return -EINVAL;
    err = client_request(client, &request, &reply);
    if (err)
        return err;
    // The reply has the shape of a REGION_WRITE.
    if (vfiouser_region_write_parse(reply->payload, reply->payload_len, &access) ||
        access.count != len_bytes)
        return -EPROTO;
    memcpy(buf, access.data, len_bytes);
    return 0;
}

int vfiouser_client_write(struct vfiouser_client *client, unsigned region, uint64_t offset,
                          const void *buf, uint32_t len_bytes, bool posted)
{
    struct vfiouser_region_access access = {.offset = offset, .region = region, .count = len_bytes};
    const size_t fixed = sizeof(struct vfiouser_wire_region_access);
    uint8_t small[sizeof(struct vfiouser_wire_region_access) + 64];
    uint8_t *payload = small;
    struct vfiouser_message *reply;
    struct request request = {.command = VFIOUSER_REGION_WRITE, .posted = posted};
    int err;

    if (len_bytes > client->data_max)
        return -EINVAL;
    if (fixed + len_bytes > sizeof small) {
        payload = malloc(fixed + len_bytes);
        if (!payload)
            return -ENOMEM;
    }
    vfiouser_region_access_build(payload, &access);
    memcpy(payload + fixed, buf, len_bytes);
    request.payload = payload;
    request.payload_len = fixed + len_bytes;
    err = client_request(client, &request, &reply);
    if (payload != small)
        free(payload);
    return err;
}

int vfiouser_client_dma_map(struct vfiouser_client *client, uint64_t iova, uint64_t len_bytes,
                            int fd, uint64_t fd_offset, bool read, bool write)
{
    struct vfiouser_dma_map_request map = {iova, len_bytes, fd_offset, read, write};
    uint8_t payload[sizeof(struct vfiouser_wire_dma_map)];
    struct request request = {
        .command = VFIOUSER_DMA_MAP,
        .payload = payload,
        .payload_len = vfiouser_dma_map_build(payload, &map),
        .fds = &fd,
        .fd_count = fd >= 0,
    };
    struct vfiouser_message *reply;

    return client_request(client, &request, &reply);
}

int vfiouser_client_dma_unmap(struct vfiouser_client *client, uint64_t iova, uint64_t len_bytes)
{
    struct vfiouser_dma_unmap_request unmap = {iova, len_bytes, false};
    uint8_t payload[sizeof(struct vfiouser_wire_dma_unmap)];
    struct request request = {
        .command = VFIOUSER_DMA_UNMAP,
        .payload = payload,
        .payload_len = vfiouser_dma_unmap_build(payload, &unmap),
    };
    struct vfiouser_message *reply;

    return client_request(client, &request, &reply);
}

static int irqs_send(struct vfiouser_client *client, const struct vfiouser_irq_set_request *set,
                     const int *fds, unsigned fd_count)
{
    uint8_t payload[sizeof(struct vfiouser_wire_irq_set)];
    struct request request = {
        .command = VFIOUSER_DEVICE_SET_IRQS,
        .payload = payload,
        .payload_len = vfiouser_irq_set_build(payload, set),
        .fds = fds,
        .fd_count = fd_count,
    };
    struct vfiouser_message *reply;

    return client_request(client, &request, &reply);
}

int vfiouser_client_set_irqs(struct vfiouser_client *client, unsigned index, unsigned start,
                             unsigned count, const int *fds)
{
    struct vfiouser_irq_set_request set = {.index = index, .start = start, .disable = !count};
    unsigned done = 0;
    int err;

    if (!count)
        return irqs_send(client, &set, NULL, 0);
    // A message has fds for all of its vectors or for none: one for each run of the same kind.
    do {
        bool armed = fds[done] >= 0;

        set.start = start + done;
        set.count = 0;
        while (done + set.count < count && set.count < client->fds_max &&
               (fds[done + set.count] >= 0) == armed)
            set.count++;
        err = irqs_send(client, &set, fds + done, armed ? set.count : 0);
        done += set.count;
    } while (!err && done < count);
    return err;
}

int vfiouser_client_reset(struct vfiouser_client *client)
{
    struct request request = {.command = VFIOUSER_DEVICE_RESET};
    struct vfiouser_message *reply;

    return client_request(client, &request, &reply);
}

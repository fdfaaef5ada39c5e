// SPDX-License-Identifier: BSD-3-Clause
#include "vfiouser/server.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <poll.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/log.h"
#include "vfiouser/request.h"
#include "vfiouser/socket.h"
#include "vfiouser/version.h"

// Connections that have not sent VERSION. A new one pushes the oldest out, so that silent clients
// keep nobody from the device.
#define WAITING_MAX 16u
// Messages of one client before others have their turn.
#define MESSAGES_PER_TURN 64u
#define ACCEPTS_PER_TURN  16u
// After accept() found no fd left.
#define ACCEPT_PAUSE_US 500000u

struct connection {
    struct vfiouser_server *server;
    struct connection *next;
    struct vfiouser_socket *sock;
    sd_event_source *source;
    uint32_t events; // what `source` waits for
    pid_t pid;
    uint32_t data_max; // agreed in VERSION
    // What form of DMA_WRITE the client reads (message.h).
    bool is_probed, awaits_probe;
    uint16_t probe_id;
    bool short_count; // under out_lock
    // Close when the present message is done: its handling must not free what it runs on.
    const char *doomed;
};

struct vfiouser_server {
    struct vfiouser_device device;
    char name[64];
    sd_event *loop;
    int listen_fd;
    sd_event_source *listen_source, *accept_timer;
    struct sockaddr_un address;
    dev_t socket_dev; // the socket's file, so that destroy unlinks no other
    ino_t socket_ino;

    struct connection *waiting; // newest first
    unsigned waiting_count;
    struct connection *holder;     // attached; NULL where the device is free
    struct connection *dispatched; // in whose message we are
    struct vfiouser_reply reply;
    struct vfiouser_counts counts;

    // Other threads send, too: whoever sends to a socket or changes `holder` has the lock. The loop
    // alone reads `holder` without it. What could not be sent, or failed, is the loop's to finish:
    // it is told through post_fd.
    pthread_mutex_t out_lock;
    int post_fd;
    sd_event_source *post_source;
    int post_error;   // under the lock: of the present holder
    uint16_t post_id; // under the lock
    uint64_t posted;  // under the lock
};

static void connection_free(struct connection *conn)
{
    sd_event_source_disable_unref(conn->source);
    vfiouser_socket_destroy(conn->sock);
    free(conn);
}

static void holder_set(struct vfiouser_server *server, struct connection *conn)
{
    pthread_mutex_lock(&server->out_lock);
    server->holder = conn;
    server->post_error = 0;
    pthread_mutex_unlock(&server->out_lock);
}

// Takes the connection out of its server's hands and ends it. The device is free before detach.
static void connection_close(struct connection *conn, const char *why)
{
    struct vfiouser_server *server = conn->server;

    if (server->holder == conn) {
        log_info("vfiouser: %s: client PID %d is gone: %s", server->name, (int)conn->pid, why);
        holder_set(server, NULL);
        connection_free(conn);
        server->device.ops->detach(server->device.ctx);
        return;
    }
    for (struct connection **p = &server->waiting; *p; p = &(*p)->next) {
        if (*p == conn) {
            *p = conn->next;
            server->waiting_count--;
            break;
        }
    }
    log_debug("vfiouser: %s: PID %d did not attach: %s", server->name, (int)conn->pid, why);
    connection_free(conn);
}

// Waits for room to send where something is left to send.
static int connection_watch(struct connection *conn)
{
    uint32_t events = EPOLLIN;
    int err = 0;

    pthread_mutex_lock(&conn->server->out_lock);
    if (vfiouser_socket_has_output(conn->sock))
        events |= EPOLLOUT;
    pthread_mutex_unlock(&conn->server->out_lock);
    if (events != conn->events)
        err = sd_event_source_set_io_events(conn->source, events);
    if (err >= 0)
        conn->events = events;
    return err < 0 ? err : 0;
}

// 0, or -errno: then the connection is to be closed. `err` is what the request came to.
static int reply_send(struct connection *conn, const struct vfiouser_header *request, int err,
                      const struct vfiouser_reply *reply)
{
    struct vfiouser_header header = {
        .id = request->id,
        .command = request->command,
        .flags = VFIOUSER_TYPE_REPLY | (err ? VFIOUSER_FLAG_ERROR : 0),
        .error = err ? (uint32_t)-err : 0,
        .size = VFIOUSER_HEADER_LEN,
    };
    size_t len = err ? 0 : reply->len;
    bool with_fd = !err && reply->fd >= 0;
    int ret;

    if (request->flags & VFIOUSER_FLAG_NO_REPLY)
        return 0;
    header.size += (uint32_t)len;
    pthread_mutex_lock(&conn->server->out_lock);
    ret = vfiouser_socket_send(conn->sock, &header, reply->payload, len, &reply->fd, with_fd);
    pthread_mutex_unlock(&conn->server->out_lock);
    return ret;
}

// What waits to be sent. 0, or -errno: then the connection is to be closed.
static int output_flush(struct connection *conn)
{
    int err;

    pthread_mutex_lock(&conn->server->out_lock);
    err = conn->server->holder == conn ? conn->server->post_error : 0;
    if (!err)
        err = vfiouser_socket_flush(conn->sock);
    pthread_mutex_unlock(&conn->server->out_lock);
    return err;
}

// An exited VM's end may still wait to be read when its successor says VERSION.
static void holder_check_alive(struct vfiouser_server *server)
{
    struct pollfd pfd;

    if (!server->holder)
        return;
    pfd = (struct pollfd){.fd = vfiouser_socket_fd(server->holder->sock), .events = POLLRDHUP};
    if (poll(&pfd, 1, 0) > 0 && pfd.revents & (POLLRDHUP | POLLHUP | POLLERR))
        connection_close(server->holder, "disconnected");
}

static int version_agree(struct connection *conn, const struct vfiouser_message *message,
                         struct vfiouser_version *agreed)
{
    struct vfiouser_server *server = conn->server;
    struct vfiouser_version theirs;
    const char *why = "fds with VERSION, or a wrong length";
    int err = -EINVAL;

    if (!message->fd_count && !message->fds_lost && message->payload_len <= VFIOUSER_VERSION_MAX)
        err = vfiouser_version_parse(message->payload, message->payload_len, &theirs, &why);
    if (!err) {
        why = "another major version";
        err = vfiouser_version_agree(&theirs, agreed);
    }
    if (err) {
        server->counts.received[0]++;
        log_warn_limited("vfiouser: %s: bad VERSION from PID %d: %s", server->name, (int)conn->pid,
                         why);
    }
    return err;
}

static int version_attach(struct connection *conn, const struct vfiouser_version *agreed)
{
    struct vfiouser_server *server = conn->server;
    uint8_t payload[512];
    int len, err;

    holder_check_alive(server);
    if (server->holder) {
        log_warn_limited("vfiouser: %s: PID %d is refused (EBUSY): PID %d holds the device",
                         server->name, (int)conn->pid, (int)server->holder->pid);
        return -EBUSY;
    }
    len = vfiouser_version_build(payload, sizeof payload, agreed);
    if (len < 0)
        return len;
    free(server->reply.payload);
    server->reply = (struct vfiouser_reply){.payload = malloc((size_t)len), .fd = -1};
    if (!server->reply.payload)
        return -ENOMEM;
    server->reply.capacity = server->reply.len = (size_t)len;
    memcpy(server->reply.payload, payload, (size_t)len);
    err = server->device.ops->attach(server->device.ctx, conn->pid);
    if (err)
        log_warn_limited("vfiouser: %s: PID %d is refused: %s", server->name, (int)conn->pid,
                         strerror(-err));
    return err;
}

// From the waiting list to the device.
static void connection_hold(struct connection *conn, uint32_t data_max)
{
    struct vfiouser_server *server = conn->server;
    struct connection **p = &server->waiting;

    while (*p != conn)
        p = &(*p)->next;
    *p = conn->next;
    server->waiting_count--;
    holder_set(server, conn);
    conn->data_max = data_max;
    log_info("vfiouser: %s: attached to client PID %d", server->name, (int)conn->pid);
}

// The first message of a connection: VERSION, or the end.
static int first_message(struct connection *conn, struct vfiouser_message *message)
{
    struct vfiouser_server *server = conn->server;
    struct vfiouser_version agreed;
    int err, sent;

    server->reply.len = 0;
    server->reply.fd = -1;
    if (message->header.command != VFIOUSER_VERSION ||
        (message->header.flags & VFIOUSER_FLAG_TYPE) != VFIOUSER_TYPE_COMMAND) {
        server->counts.received[0]++;
        log_warn_limited("vfiouser: %s: PID %d sent %s before VERSION", server->name,
                         (int)conn->pid, vfiouser_command_name(message->header.command));
        err = -EINVAL;
    } else {
        server->counts.received[VFIOUSER_VERSION]++;
        err = version_agree(conn, message, &agreed);
        if (!err)
            err = version_attach(conn, &agreed);
        if (!err)
            connection_hold(conn, (uint32_t)agreed.caps[VFIOUSER_CAP_MAX_DATA_XFER_SIZE]);
    }
    if (err)
        server->counts.refused_clients++;
    sent = 0;
    if ((message->header.flags & VFIOUSER_FLAG_TYPE) == VFIOUSER_TYPE_COMMAND)
        sent = reply_send(conn, &message->header, err, &server->reply);
    if (err && !conn->doomed)
        conn->doomed = "its VERSION was refused";
    return sent;
}

// Asks which form of DMA_WRITE the client reads. It answers when it likes, nobody waits. 0, or
// -errno: then the connection is to be closed.
static int probe_send(struct connection *conn)
{
    struct vfiouser_server *server = conn->server;
    struct vfiouser_header header = {.command = VFIOUSER_DMA_WRITE, .flags = VFIOUSER_TYPE_COMMAND};
    uint8_t payload[VFIOUSER_DMA_WRITE_FIXED + 4];
    size_t len = vfiouser_dma_write_probe_build(payload);
    int err;

    header.size = VFIOUSER_HEADER_LEN + (uint32_t)len;
    conn->is_probed = conn->awaits_probe = true;
    pthread_mutex_lock(&server->out_lock);
    header.id = conn->probe_id = server->post_id++;
    err = vfiouser_socket_send(conn->sock, &header, payload, len, NULL, 0);
    pthread_mutex_unlock(&server->out_lock);
    return err;
}

// A client answers in the order of what it was asked: of several replies with the probe's ID, the
// first is the probe's.
static bool probe_take(struct connection *conn, const struct vfiouser_header *reply)
{
    bool short_count = !(reply->flags & VFIOUSER_FLAG_ERROR);

    if (!conn->awaits_probe || reply->command != VFIOUSER_DMA_WRITE || reply->id != conn->probe_id)
        return false;
    conn->awaits_probe = false;
    pthread_mutex_lock(&conn->server->out_lock);
    conn->short_count = short_count;
    pthread_mutex_unlock(&conn->server->out_lock);
    log_info("vfiouser: %s: client PID %d reads DMA_WRITEs with a count of %u bits",
             conn->server->name, (int)conn->pid, short_count ? 32 : 64);
    return true;
}

static int later_message(struct connection *conn, struct vfiouser_message *message)
{
    struct vfiouser_server *server = conn->server;
    struct vfiouser_session session = {&server->device, &server->counts, conn->data_max};
    int err, sent;

    if ((message->header.flags & VFIOUSER_FLAG_TYPE) == VFIOUSER_TYPE_REPLY &&
        probe_take(conn, &message->header))
        return 0;
    // An answer to a reply would be the start of an endless exchange. QEMU tells of a DMA_WRITE
    // that failed, though it was asked not to.
    if ((message->header.flags & (VFIOUSER_FLAG_TYPE | VFIOUSER_FLAG_ERROR)) ==
            (VFIOUSER_TYPE_REPLY | VFIOUSER_FLAG_ERROR) &&
        message->header.command == VFIOUSER_DMA_WRITE) {
        server->counts.dma_writes_failed++;
        log_limited(LOG_LEVEL_WARN, "vfiouser: %s: client PID %d: a DMA_WRITE failed: %s",
                    server->name, (int)conn->pid, strerror((int)message->header.error));
        return 0;
    }
    if ((message->header.flags & VFIOUSER_FLAG_TYPE) == VFIOUSER_TYPE_REPLY) {
        server->counts.received[0]++;
        log_warn_limited("vfiouser: %s: client PID %d sent a reply that nobody waits for",
                         server->name, (int)conn->pid);
        return 0;
    }
    err = vfiouser_request_handle(&session, message, &server->reply);
    if (err)
        log_limited(err == -EINVAL ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG,
                    "vfiouser: %s: %s (%u bytes, %u fds) from PID %d: %s", server->name,
                    vfiouser_command_name(message->header.command), message->header.size,
                    message->fd_count, (int)conn->pid, strerror(-err));
    if (conn->doomed)
        return 0;
    sent = reply_send(conn, &message->header, err, &server->reply);
    // By its first reset QEMU has put the device in its place.
    if (!sent && message->header.command == VFIOUSER_DEVICE_RESET && server->device.posts_dma &&
        !conn->is_probed)
        sent = probe_send(conn);
    return sent;
}

static const char *close_reason(int err)
{
    switch (err) {
    case -ECONNRESET:
    case -EPIPE:
        return "disconnected";
    case -EPROTO:
        return "a message of a size that cannot be";
    case -ENOBUFS:
        return "it does not read its replies";
    default:
        return strerror(-err);
    }
}

// One message. 1: done, there may be more. 0: nothing more now. -errno: close.
static int connection_step(struct connection *conn)
{
    struct vfiouser_server *server = conn->server;
    bool held = server->holder == conn;
    struct vfiouser_message *message;
    int err = vfiouser_socket_receive(conn->sock,
                                      held ? VFIOUSER_PAYLOAD_MAX : VFIOUSER_VERSION_MAX, &message);

    if (err == -EPROTO) {
        server->counts.received[0]++;
        log_warn_limited("vfiouser: %s: PID %d sent a message of %u bytes: connection closed",
                         server->name, (int)conn->pid, message->header.size);
    }
    if (err <= 0)
        return err;
    assert(!server->dispatched);
    server->dispatched = conn;
    err = held ? later_message(conn, message) : first_message(conn, message);
    server->dispatched = NULL;
    return err ? err : 1;
}

static int connection_event(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
    struct connection *conn = ctx;
    int err = 0;

    (void)source, (void)fd;
    if (revents & EPOLLOUT)
        err = output_flush(conn);
    if (revents & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        for (unsigned i = 0; i < MESSAGES_PER_TURN && !err; i++) {
            int step = connection_step(conn);

            if (step < 0)
                err = step;
            if (step <= 0 || conn->doomed)
                break;
        }
    }
    if (!err && !conn->doomed)
        err = connection_watch(conn);
    if (conn->doomed)
        connection_close(conn, conn->doomed);
    else if (err)
        connection_close(conn, close_reason(err));
    return 0;
}

// Another thread could not send all of what it posted.
static int post_event(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
    struct vfiouser_server *server = ctx;
    struct connection *conn = server->holder;
    uint64_t count;
    int err = 0;

    (void)source, (void)revents;
    if (read(fd, &count, sizeof count) != sizeof count || !conn)
        return 0;
    err = output_flush(conn);
    if (!err)
        err = connection_watch(conn);
    if (err)
        connection_close(conn, close_reason(err));
    return 0;
}

int vfiouser_server_post_dma_write(struct vfiouser_server *server, uint64_t address,
                                   const void *data, uint32_t len_bytes)
{
    struct vfiouser_header header = {
        .command = VFIOUSER_DMA_WRITE,
        .flags = VFIOUSER_TYPE_COMMAND | VFIOUSER_FLAG_NO_REPLY,
    };
    uint8_t payload[VFIOUSER_DMA_WRITE_FIXED + VFIOUSER_POST_MAX_BYTES];
    bool tell_loop = false;
    int err = -ENOTCONN;
    size_t len;

    assert(len_bytes && len_bytes <= VFIOUSER_POST_MAX_BYTES);
    pthread_mutex_lock(&server->out_lock);
    if (server->holder)
        err = server->post_error;
    if (server->holder && !err) {
        struct vfiouser_socket *sock = server->holder->sock;
        bool waited = vfiouser_socket_has_output(sock);

        len = vfiouser_dma_write_build(payload, server->holder->short_count, address, data,
                                       len_bytes);
        header.size = VFIOUSER_HEADER_LEN + (uint32_t)len;
        header.id = server->post_id++;
        err = vfiouser_socket_send(sock, &header, payload, len, NULL, 0);
        server->post_error = err;
        server->posted += !err;
        // Where output waited before, the loop watches already.
        tell_loop = err || (!waited && vfiouser_socket_has_output(sock));
    }
    pthread_mutex_unlock(&server->out_lock);
    if (tell_loop && write(server->post_fd, &(uint64_t){1}, sizeof(uint64_t)) < 0)
        log_warn_limited("vfiouser: %s: cannot wake the loop: %s", server->name, strerror(errno));
    return err;
}

// Oldest is last.
static struct connection *waiting_oldest(struct vfiouser_server *server)
{
    struct connection *conn = server->waiting;

    while (conn->next)
        conn = conn->next;
    return conn;
}

// Takes `fd`, whatever comes of it.
static void connection_start(struct vfiouser_server *server, int fd)
{
    struct connection *conn = calloc(1, sizeof *conn);
    struct ucred cred = {0};
    socklen_t len = sizeof cred;

    if (!conn || vfiouser_socket_create(fd, &conn->sock)) {
        close(fd);
        free(conn);
        return;
    }
    conn->server = server;
    if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
        conn->pid = cred.pid;
    conn->events = EPOLLIN;
    if (sd_event_add_io(server->loop, &conn->source, fd, conn->events, connection_event, conn) <
        0) {
        connection_free(conn);
        return;
    }
    if (server->waiting_count == WAITING_MAX)
        connection_close(waiting_oldest(server), "others came and it never sent VERSION");
    conn->next = server->waiting;
    server->waiting = conn;
    server->waiting_count++;
}

static int accept_again(sd_event_source *source, uint64_t usec, void *ctx)
{
    struct vfiouser_server *server = ctx;

    (void)source, (void)usec;
    sd_event_source_set_enabled(server->listen_source, SD_EVENT_ON);
    return 0;
}

// With no fd left the listening socket stays readable: without a pause, a busy loop.
static void accept_pause(struct vfiouser_server *server, int err)
{
    log_warn_limited("vfiouser: %s: cannot accept a client: %s", server->name, strerror(-err));
    if (sd_event_source_set_time_relative(server->accept_timer, ACCEPT_PAUSE_US) < 0 ||
        sd_event_source_set_enabled(server->accept_timer, SD_EVENT_ONESHOT) < 0)
        return;
    sd_event_source_set_enabled(server->listen_source, SD_EVENT_OFF);
}

static int listen_event(sd_event_source *source, int listen_fd, uint32_t revents, void *ctx)
{
    struct vfiouser_server *server = ctx;

    (void)source, (void)revents;
    for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0) {
            connection_start(server, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            accept_pause(server, -errno);
            break;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            break;
        }
    }
    return 0;
}

// 0 where nothing is at the path any more; -EADDRINUSE where somebody listens there.
static int stale_remove(const struct sockaddr_un *address)
{
    struct stat st;
    int fd, err = 0;

    if (lstat(address->sun_path, &st))
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    // Anything but a refusal, a full backlog too, means that somebody is there.
    if (!connect(fd, (const struct sockaddr *)address, sizeof *address))
        err = -EADDRINUSE;
    else if (errno != ECONNREFUSED)
        err = errno == EAGAIN ? -EADDRINUSE : -errno;
    close(fd);
    if (!err && unlink(address->sun_path) && errno != ENOENT)
        err = -errno;
    return err;
}

static int listen_open(struct vfiouser_server *server)
{
    struct stat st;
    int err = stale_remove(&server->address);

    if (err)
        return err;
    server->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server->listen_fd < 0)
        return -errno;
    // Before bind(), which gives the file the socket's mode: so it is never open to others.
    if (fchmod(server->listen_fd, 0600) ||
        bind(server->listen_fd, (struct sockaddr *)&server->address, sizeof server->address))
        return -errno;
    if (!lstat(server->address.sun_path, &st)) {
        server->socket_dev = st.st_dev;
        server->socket_ino = st.st_ino;
    }
    if (listen(server->listen_fd, (int)WAITING_MAX))
        return -errno;
    return 0;
}

// Our callers' bugs, not a peer's.
static void device_check(const struct vfiouser_device *device)
{
    assert(device->ops->attach && device->ops->detach && device->ops->region_read &&
           device->ops->region_write && device->ops->dma_map && device->ops->dma_unmap &&
           device->ops->set_irqs);
    for (unsigned i = 0; i < VFIOUSER_IRQS; i++)
        assert(device->irq_counts[i] <= VFIOUSER_VECTORS_MAX);
    for (unsigned i = 0; i < VFIOUSER_REGIONS; i++) {
        const struct vfiouser_region *region = &device->regions[i];

        assert(region->mmap_count <= VFIOUSER_MMAPS_MAX);
        for (unsigned m = 0; m < region->mmap_count; m++) {
            assert(region->mmap_fd >= 0);
            assert(!((region->mmap[m].offset | region->mmap[m].len_bytes) & (VFIOUSER_PAGE - 1)));
            assert(bits_range_within(region->mmap[m].offset, region->mmap[m].len_bytes, 0,
                                     region->size_bytes));
        }
    }
}

static int loop_add(struct vfiouser_server *server)
{
    int err = sd_event_add_io(server->loop, &server->listen_source, server->listen_fd, EPOLLIN,
                              listen_event, server);

    if (err >= 0)
        err = sd_event_add_io(server->loop, &server->post_source, server->post_fd, EPOLLIN,
                              post_event, server);
    if (err >= 0)
        err = sd_event_add_time_relative(server->loop, &server->accept_timer, CLOCK_MONOTONIC, 0, 0,
                                         accept_again, server);
    if (err >= 0)
        err = sd_event_source_set_enabled(server->accept_timer, SD_EVENT_OFF);
    return err < 0 ? err : 0;
}

int vfiouser_server_create(sd_event *loop, const char *socket_path,
                           const struct vfiouser_device *device, struct vfiouser_server **out,
                           char *error, size_t error_len)
{
    struct vfiouser_server *server;
    size_t path_len = strlen(socket_path);
    int err;

    device_check(device);
    if (!path_len || path_len >= sizeof server->address.sun_path) {
        snprintf(error, error_len, "socket path '%s': must be 1 to %zu bytes long", socket_path,
                 sizeof server->address.sun_path - 1);
        return path_len ? -ENAMETOOLONG : -EINVAL;
    }
    server = calloc(1, sizeof *server);
    if (!server) {
        snprintf(error, error_len, "out of memory");
        return -ENOMEM;
    }
    server->device = *device;
    snprintf(server->name, sizeof server->name, "%s", device->name);
    server->device.name = server->name;
    server->loop = sd_event_ref(loop);
    server->listen_fd = -1;
    pthread_mutex_init(&server->out_lock, NULL);
    server->post_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->address.sun_family = AF_UNIX;
    memcpy(server->address.sun_path, socket_path, path_len);
    err = server->post_fd < 0 ? -errno : listen_open(server);
    if (!err)
        err = loop_add(server);
    if (err) {
        snprintf(error, error_len, "cannot listen on '%s': %s%s", socket_path, strerror(-err),
                 err == -EADDRINUSE ? ": another process serves it; stop that"
                 : err == -EEXIST   ? " and is no socket; move it away"
                 : err == -EMFILE   ? ": raise the limit (ulimit -n)"
                                    : "");
        vfiouser_server_destroy(server);
        return err;
    }
    *out = server;
    return 0;
}

static void socket_file_remove(const struct vfiouser_server *server)
{
    struct stat st;

    if (server->socket_ino && !lstat(server->address.sun_path, &st) &&
        st.st_dev == server->socket_dev && st.st_ino == server->socket_ino)
        unlink(server->address.sun_path);
}

void vfiouser_server_destroy(struct vfiouser_server *server)
{
    if (!server)
        return;
    assert(!server->dispatched);
    sd_event_source_disable_unref(server->listen_source);
    sd_event_source_disable_unref(server->accept_timer);
    sd_event_source_disable_unref(server->post_source);
    while (server->waiting)
        connection_close(server->waiting, "the server ends");
    if (server->holder)
        connection_close(server->holder, "the server ends");
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    if (server->post_fd >= 0)
        close(server->post_fd);
    pthread_mutex_destroy(&server->out_lock);
    socket_file_remove(server);
    sd_event_unref(server->loop);
    vfiouser_reply_free(&server->reply);
    free(server);
}

void vfiouser_server_drop_client(struct vfiouser_server *server, const char *why)
{
    if (!server->holder)
        return;
    if (server->holder == server->dispatched) {
        log_info("vfiouser: %s: dropping client PID %d: %s", server->name, (int)server->holder->pid,
                 why);
        server->holder->doomed = "dropped by the device";
    } else {
        connection_close(server->holder, why);
    }
}

pid_t vfiouser_server_client_pid(const struct vfiouser_server *server)
{
    return server->holder ? server->holder->pid : 0;
}

void vfiouser_server_counts_get(const struct vfiouser_server *server, struct vfiouser_counts *out)
{
    *out = server->counts;
    pthread_mutex_lock((pthread_mutex_t *)&server->out_lock);
    out->dma_writes_posted = server->posted;
    pthread_mutex_unlock((pthread_mutex_t *)&server->out_lock);
}

// SPDX-License-Identifier: BSD-3-Clause
// The sockets of the server: lines in, lines out, every buffer and round bounded.
//
// A client's next line is looked at only when its last answer is written out: one that never reads
// costs one answer's memory and its own slot, no more.
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "ctl/ctl.h"
#include "ctl/rpc.h"

// Lines of one client that are answered before the loop gets a turn.
#define LINES_PER_ROUND 4u
#define LISTEN_BACKLOG  16
// After accept() found no fd left.
#define ACCEPT_PAUSE_US 500000u

struct client {
    struct ctl_server *server;
    int fd; // -1: the slot is free
    sd_event_source *source;
    uint64_t last_use; // server->use_count when it last sent something
    bool input_ended;  // it has shut its side down: answer what is left, then close
    bool closing;      // close once the answer is written
    char *answer;      // what is being written, NULL where nothing is
    size_t answer_len, answer_done;
    size_t in_len;
    char in[CTL_REQUEST_MAX_BYTES + 1]; // with the newline
};

struct ctl_server {
    sd_event *loop;
    const struct ctl_method *methods;
    void *ctx;
    int fd;
    sd_event_source *source, *accept_timer;
    uint64_t use_count;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    struct client clients[CTL_CLIENTS_MAX];
};

static void client_close(struct client *c)
{
    if (c->fd < 0)
        return;
    sd_event_source_disable_unref(c->source);
    close(c->fd);
    free(c->answer);
    c->source = NULL;
    c->answer = NULL;
    c->fd = -1;
}

// Writes what it takes. 0, or -errno where the client is gone.
static int client_flush(struct client *c)
{
    while (c->answer_done < c->answer_len) {
        ssize_t n = send(c->fd, c->answer + c->answer_done, c->answer_len - c->answer_done,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        c->answer_done += (size_t)n;
    }
    free(c->answer);
    c->answer = NULL;
    c->answer_len = c->answer_done = 0;
    return 0;
}

// Takes one line off the input and answers it. False where no whole line is there.
static bool client_line(struct client *c)
{
    char *end = memchr(c->in, '\n', c->in_len);
    size_t len;

    if (!end) {
        if (c->in_len == sizeof c->in) {
            c->answer = rpc_refusal(RPC_INVALID_REQUEST, "the line is too long", &c->answer_len);
            c->closing = true;
        }
        return false;
    }
    len = (size_t)(end - c->in);
    if (len) // an empty line is no request
        c->answer = rpc_answer(c->server->methods, c->server->ctx, c->in, len, &c->answer_len);
    c->in_len -= len + 1;
    memmove(c->in, end + 1, c->in_len);
    return true;
}

// One read, if there is room. 0, or -errno where the connection is lost.
static int client_fill(struct client *c)
{
    ssize_t n;

    if (c->input_ended || c->in_len == sizeof c->in)
        return 0;
    n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (!n)
        c->input_ended = true;
    else
        c->last_use = ++c->server->use_count;
    c->in_len += (size_t)n;
    return 0;
}

static int client_event(sd_event_source *source, int fd, uint32_t events, void *ctx)
{
    struct client *c = ctx;
    bool more = true;
    int ret = 0;

    (void)fd;
    if (!(events & (EPOLLIN | EPOLLOUT)))
        ret = -EPIPE; // EPOLLERR or EPOLLHUP alone
    if (!ret)
        ret = client_flush(c);
    if (!ret && !c->answer && (events & EPOLLIN))
        ret = client_fill(c);
    for (unsigned n = 0; !ret && !c->answer && more && !c->closing; n++) {
        if (n == LINES_PER_ROUND)
            break;
        more = client_line(c);
        ret = client_flush(c);
    }
    if (!ret && !c->answer && (c->closing || (c->input_ended && !more)))
        ret = -EPIPE; // done
    if (!ret) {
        // A pending answer, or lines left over, want EPOLLOUT: it calls us again at once.
        bool out = c->answer || more;
        ret = sd_event_source_set_io_events(source, out ? EPOLLOUT : EPOLLIN);
    }
    if (ret)
        client_close(c);
    return 0;
}

static struct client *client_slot(struct ctl_server *server)
{
    struct client *oldest = &server->clients[0];

    for (unsigned i = 0; i < CTL_CLIENTS_MAX; i++) {
        struct client *c = &server->clients[i];
        if (c->fd < 0)
            return c;
        if (c->last_use < oldest->last_use)
            oldest = c;
    }
    log_warn_limited("ctl: more than %u clients: the one quiet longest is closed", CTL_CLIENTS_MAX);
    client_close(oldest);
    return oldest;
}

static int accept_again(sd_event_source *source, uint64_t usec, void *ctx)
{
    struct ctl_server *server = ctx;

    (void)source, (void)usec;
    sd_event_source_set_enabled(server->source, SD_EVENT_ON);
    return 0;
}

// With no fd left the listening socket stays readable: without a pause, a busy loop.
static void accept_pause(struct ctl_server *server)
{
    if (sd_event_source_set_time_relative(server->accept_timer, ACCEPT_PAUSE_US) < 0 ||
        sd_event_source_set_enabled(server->accept_timer, SD_EVENT_ONESHOT) < 0)
        return;
    sd_event_source_set_enabled(server->source, SD_EVENT_OFF);
}

static int accept_event(sd_event_source *source, int fd, uint32_t events, void *ctx)
{
    struct ctl_server *server = ctx;
    struct client *c;
    int client_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)source;
    (void)events;
    if (client_fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
            log_warn_limited("ctl: accept: %s", strerror(errno));
            accept_pause(server);
        }
        return 0;
    }
    c = client_slot(server);
    c->fd = client_fd;
    c->last_use = ++server->use_count;
    c->input_ended = c->closing = false;
    c->in_len = c->answer_len = c->answer_done = 0;
    if (sd_event_add_io(server->loop, &c->source, client_fd, EPOLLIN, client_event, c) < 0)
        client_close(c);
    return 0;
}

// A socket file that nobody listens on is removed; anything else stays. 0, -EADDRINUSE, -EEXIST.
static int stale_socket_remove(const struct sockaddr_un *addr)
{
    struct stat st;
    int fd, ret;

    if (lstat(addr->sun_path, &st))
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    ret = connect(fd, (const struct sockaddr *)addr, sizeof *addr) ? -errno : 0;
    close(fd);
    if (ret != -ECONNREFUSED)
        return -EADDRINUSE;
    return unlink(addr->sun_path) ? -errno : 0;
}

static int server_listen(struct ctl_server *server)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int ret;

    memcpy(addr.sun_path, server->path, sizeof addr.sun_path);
    ret = stale_socket_remove(&addr);
    if (ret)
        return ret;
    server->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server->fd < 0)
        return -errno;
    // Nobody can connect between bind and listen: so the mode is right from the first client on.
    if (bind(server->fd, (struct sockaddr *)&addr, sizeof addr)) {
        ret = -errno;
        close(server->fd);
        server->fd = -1; // the path is not ours to unlink
        return ret;
    }
    if (chmod(server->path, 0600) || listen(server->fd, LISTEN_BACKLOG))
        return -errno;
    ret = sd_event_add_io(server->loop, &server->source, server->fd, EPOLLIN, accept_event, server);
    if (ret >= 0)
        ret = sd_event_add_time_relative(server->loop, &server->accept_timer, CLOCK_MONOTONIC, 0, 0,
                                         accept_again, server);
    return ret < 0 ? ret : sd_event_source_set_enabled(server->accept_timer, SD_EVENT_OFF);
}

int ctl_server_create(sd_event *loop, const char *socket_path, const struct ctl_method *methods,
                      void *ctx, struct ctl_server **out, char *error, size_t error_len)
{
    struct ctl_server *server;
    int ret;

    if (strlen(socket_path) >= sizeof server->path) {
        snprintf(error, error_len, "%s: longer than a socket's path can be (%zu bytes)",
                 socket_path, sizeof server->path - 1);
        return -ENAMETOOLONG;
    }
    server = calloc(1, sizeof *server);
    if (!server) {
        snprintf(error, error_len, "%s: out of memory", socket_path);
        return -ENOMEM;
    }
    strcpy(server->path, socket_path);
    server->loop = sd_event_ref(loop);
    server->methods = methods;
    server->ctx = ctx;
    server->fd = -1;
    for (unsigned i = 0; i < CTL_CLIENTS_MAX; i++)
        server->clients[i] = (struct client){.server = server, .fd = -1};
    ret = server_listen(server);
    if (ret < 0) {
        snprintf(error, error_len, "%s: %s%s", socket_path,
                 ret == -EADDRINUSE ? "another process listens there"
                 : ret == -EEXIST   ? "is there and is no socket"
                                    : strerror(-ret),
                 ret == -EMFILE ? ": raise the limit (ulimit -n)" : "");
        ctl_server_destroy(server);
        return ret;
    }
    *out = server;
    return 0;
}

void ctl_server_destroy(struct ctl_server *server)
{
    if (!server)
        return;
    for (unsigned i = 0; i < CTL_CLIENTS_MAX; i++)
        client_close(&server->clients[i]);
    sd_event_source_disable_unref(server->source);
    sd_event_source_disable_unref(server->accept_timer);
    if (server->fd >= 0) {
        close(server->fd);
        unlink(server->path);
    }
    sd_event_unref(server->loop);
    free(server);
}

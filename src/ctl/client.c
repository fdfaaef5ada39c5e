// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/ctl.h"

#define ERRNO_MAX        4095
#define CONNECT_RETRY_MS 10

// Waits for `events` until the deadline. 0, -ETIMEDOUT, -errno.
static int wait_for(int fd, short events, uint64_t deadline_ns)
{
    struct pollfd wait = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now_ns = clock_now_ns();
        uint64_t left_ms = now_ns < deadline_ns ? (deadline_ns - now_ns) / NS_PER_MS + 1 : 0;
        int n;

        if (!left_ms)
            return -ETIMEDOUT;
        n = poll(&wait, 1, left_ms > 60000 ? 60000 : (int)left_ms);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

static int request_send(int fd, const char *line, size_t len, uint64_t deadline_ns)
{
    while (len) {
        ssize_t n = send(fd, line, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (n < 0) {
            int ret = wait_for(fd, POLLOUT, deadline_ns);
            if (ret)
                return ret;
            continue;
        }
        line += n;
        len -= (size_t)n;
    }
    return 0;
}

// One line. *out is to be freed.
static int answer_receive(int fd, uint64_t deadline_ns, char **out, size_t *out_len)
{
    size_t len = 0, room = 0;
    char *line = NULL;
    int ret = 0;

    for (;;) {
        ssize_t n;

        if (len == room) {
            char *more = room < CTL_RESPONSE_MAX_BYTES ? realloc(line, room + 65536) : NULL;
            if (!more) {
                ret = room < CTL_RESPONSE_MAX_BYTES ? -ENOMEM : -EPROTO;
                break;
            }
            line = more;
            room += 65536;
        }
        ret = wait_for(fd, POLLIN, deadline_ns);
        if (ret)
            break;
        n = recv(fd, line + len, room - len, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0) {
            ret = n ? -errno : -ECONNRESET;
            break;
        }
        len += (size_t)n;
        if (line[len - 1] == '\n') {
            *out = line;
            *out_len = len - 1;
            return 0;
        }
    }
    free(line);
    return ret;
}

// Takes the result or the error out of an answer.
static int answer_read(const char *line, size_t len, json_t **result, char *error, size_t error_len)
{
    json_t *answer = json_loadb(line, len, 0, NULL);
    const json_t *failure = json_object_get(answer, "error");
    json_t *value = json_object_get(answer, "result");
    int ret = -EPROTO;

    if (failure) {
        const char *message = json_string_value(json_object_get(failure, "message"));
        json_int_t err =
            json_integer_value(json_object_get(json_object_get(failure, "data"), "errno"));
        snprintf(error, error_len, "%s", message ? message : "an error without a message");
        if (err > 0 && err <= ERRNO_MAX)
            ret = -(int)err;
    } else if (value) {
        *result = json_incref(value);
        ret = 0;
    } else {
        snprintf(error, error_len, "the answer is no JSON-RPC");
    }
    json_decref(answer);
    return ret;
}

static int client_connect(const char *socket_path, uint64_t deadline_ns, int *out)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(socket_path) >= sizeof addr.sun_path)
        return -ENAMETOOLONG;
    strcpy(addr.sun_path, socket_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    while (connect(fd, (struct sockaddr *)&addr, sizeof addr)) {
        int ret = -errno;
        // A unix socket connects at once, or its backlog is full, which nothing can be polled for.
        if (ret == -EAGAIN && clock_now_ns() < deadline_ns) {
            poll(NULL, 0, CONNECT_RETRY_MS);
            continue;
        }
        close(fd);
        return ret == -EAGAIN ? -ETIMEDOUT : ret;
    }
    *out = fd;
    return 0;
}

int ctl_call(const char *socket_path, const char *method, json_t *params, unsigned timeout_ms,
             json_t **result, char *error, size_t error_len)
{
    uint64_t deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    json_t *request = json_pack("{s:s, s:s, s:i}", "jsonrpc", "2.0", "method", method, "id", 1);
    char *text, *line = NULL;
    size_t len = 0;
    int fd = -1, ret = -ENOMEM;

    if (request && params)
        json_object_set(request, "params", params);
    text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    json_decref(request);
    if (text)
        ret = client_connect(socket_path, deadline_ns, &fd);
    if (!ret)
        ret = request_send(fd, text, strlen(text), deadline_ns);
    if (!ret)
        ret = request_send(fd, "\n", 1, deadline_ns);
    if (!ret)
        ret = answer_receive(fd, deadline_ns, &line, &len);
    if (ret)
        snprintf(error, error_len, "%s: %s", socket_path, strerror(-ret));
    else
        ret = answer_read(line, len, result, error, error_len);
    if (fd >= 0)
        close(fd);
    free(line);
    free(text);
    return ret;
}

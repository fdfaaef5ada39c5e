// SPDX-License-Identifier: BSD-3-Clause
#include "vfiouser/socket.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "vfiouser/discard.h"

// As many as the kernel ever puts into one message: it would drop what does not fit, on our thread.
#define KERNEL_FDS_MAX 253u

// fds that leave with the byte at `at` of the output.
struct out_fd {
    size_t at;
    int fd;
};

struct vfiouser_socket {
    int fd;

    uint8_t in_header[VFIOUSER_HEADER_LEN];
    size_t in_len; // received of the present message, header included
    bool in_done;  // `message` was handed out
    size_t in_capacity;
    struct vfiouser_message message;

    // Bytes [out_start, out_end) of `out` wait to be sent. Allocated only for a peer that is slow.
    uint8_t *out;
    size_t out_start, out_end, out_capacity;
    struct out_fd out_fds[VFIOUSER_OUT_MAX_FDS];
    unsigned out_fd_count;
};

int vfiouser_socket_create(int fd, struct vfiouser_socket **out)
{
    struct vfiouser_socket *sock = calloc(1, sizeof *sock);
    int flags, err;

    if (!sock)
        return -ENOMEM;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK)) {
        err = -errno;
        free(sock);
        return err;
    }
    sock->fd = fd;
    *out = sock;
    return 0;
}

static void message_close_fds(struct vfiouser_message *message)
{
    for (unsigned i = 0; i < message->fd_count; i++) {
        if (message->fds[i] >= 0)
            vfiouser_discard(message->fds[i]);
    }
    message->fd_count = 0;
}

void vfiouser_socket_destroy(struct vfiouser_socket *sock)
{
    if (!sock)
        return;
    message_close_fds(&sock->message);
    for (unsigned i = 0; i < sock->out_fd_count; i++)
        close(sock->out_fds[i].fd);
    vfiouser_discard_socket(sock->fd);
    free(sock->message.payload);
    free(sock->out);
    free(sock);
}

int vfiouser_socket_fd(const struct vfiouser_socket *sock)
{
    return sock->fd;
}

int vfiouser_message_take_fd(struct vfiouser_message *message, unsigned index)
{
    int fd;

    assert(index < message->fd_count && message->fds[index] >= 0);
    fd = message->fds[index];
    message->fds[index] = -1;
    return fd;
}

// Keeps the fds of one recvmsg() with the message that they came in, up to the limit.
static void receive_fds(struct vfiouser_message *message, struct msghdr *msg)
{
    if (msg->msg_flags & MSG_CTRUNC)
        message->fds_lost = true;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (message->fd_count < VFIOUSER_FDS_MAX) {
                message->fds[message->fd_count++] = fd;
            } else {
                message->fds_lost = true;
                vfiouser_discard(fd);
            }
        }
    }
    if (message->fds_lost)
        message_close_fds(message);
}

// Never more than `len` bytes, so that no byte or fd of the next message is taken.
static int receive_bytes(struct vfiouser_socket *sock, uint8_t *buf, size_t len, size_t *got)
{
    union {
        struct cmsghdr align;
        uint8_t buf[CMSG_SPACE(KERNEL_FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {buf, len};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    ssize_t n;

    *got = 0;
    do {
        n = recvmsg(sock->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
    receive_fds(&sock->message, &msg);
    if (!n)
        return -ECONNRESET;
    *got = (size_t)n;
    return 0;
}

static int receive_header(struct vfiouser_socket *sock, size_t payload_max)
{
    struct vfiouser_message *message = &sock->message;
    size_t got;
    int err;

    err = receive_bytes(sock, sock->in_header + sock->in_len, VFIOUSER_HEADER_LEN - sock->in_len,
                        &got);
    if (err)
        return err;
    sock->in_len += got;
    if (sock->in_len < VFIOUSER_HEADER_LEN)
        return 0;
    err = vfiouser_header_parse(sock->in_header, &message->header);
    if (err)
        return err;
    message->payload_len = message->header.size - VFIOUSER_HEADER_LEN;
    if (message->payload_len > payload_max)
        return -EPROTO;
    if (message->payload_len > sock->in_capacity) {
        uint8_t *bigger = realloc(message->payload, message->payload_len);

        if (!bigger)
            return -ENOMEM;
        message->payload = bigger;
        sock->in_capacity = message->payload_len;
    }
    return 0;
}

int vfiouser_socket_receive(struct vfiouser_socket *sock, size_t payload_max,
                            struct vfiouser_message **out)
{
    struct vfiouser_message *message = &sock->message;
    size_t got, left;
    int err;

    *out = message;
    if (sock->in_done) {
        message_close_fds(message);
        message->fds_lost = false;
        sock->in_len = 0;
        sock->in_done = false;
    }
    if (sock->in_len < VFIOUSER_HEADER_LEN) {
        err = receive_header(sock, payload_max);
        if (err || sock->in_len < VFIOUSER_HEADER_LEN)
            return err;
    }
    left = VFIOUSER_HEADER_LEN + message->payload_len - sock->in_len;
    if (left) {
        err = receive_bytes(sock, message->payload + message->payload_len - left, left, &got);
        if (err)
            return err;
        sock->in_len += got;
        if (got < left)
            return 0;
    }
    sock->in_done = true;
    return 1;
}

// sendmsg() of up to `len` bytes with `fds` on the first. What the socket took, or -errno.
static ssize_t send_some(int fd, const struct iovec *iov, size_t iov_count, const int *fds,
                         unsigned fd_count)
{
    union {
        struct cmsghdr align;
        uint8_t buf[CMSG_SPACE(VFIOUSER_FDS_MAX * sizeof(int))];
    } control;
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = iov_count};
    ssize_t n;

    if (fd_count) {
        struct cmsghdr *c;

        memset(&control, 0, sizeof control);
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    do {
        n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
    return n;
}

// Makes room for `len` more bytes at out_end.
static int out_reserve(struct vfiouser_socket *sock, size_t len)
{
    size_t waiting = sock->out_end - sock->out_start;
    size_t capacity = sock->out_capacity ? sock->out_capacity : 4096;
    uint8_t *bigger;

    if (len > VFIOUSER_OUT_MAX_BYTES - waiting)
        return -ENOBUFS;
    if (sock->out_start) {
        memmove(sock->out, sock->out + sock->out_start, waiting);
        for (unsigned i = 0; i < sock->out_fd_count; i++)
            sock->out_fds[i].at -= sock->out_start;
        sock->out_start = 0;
        sock->out_end = waiting;
    }
    while (capacity < waiting + len)
        capacity *= 2;
    if (capacity == sock->out_capacity)
        return 0;
    bigger = realloc(sock->out, capacity);
    if (!bigger)
        return -ENOMEM;
    sock->out = bigger;
    sock->out_capacity = capacity;
    return 0;
}

// The fds are duplicated: the caller may close its own before they leave.
static int out_add_fds(struct vfiouser_socket *sock, const int *fds, unsigned fd_count)
{
    if (fd_count > VFIOUSER_OUT_MAX_FDS - sock->out_fd_count)
        return -ENOBUFS;
    for (unsigned i = 0; i < fd_count; i++) {
        int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

        if (fd < 0)
            return -errno;
        sock->out_fds[sock->out_fd_count++] = (struct out_fd){sock->out_end, fd};
    }
    return 0;
}

// How many fds leave with the next byte; and where the next send has to end, so that later fds
// leave with theirs.
static unsigned out_fds_next(const struct vfiouser_socket *sock, int *fds, size_t *end)
{
    unsigned n = 0;

    while (n < sock->out_fd_count && sock->out_fds[n].at == sock->out_start) {
        fds[n] = sock->out_fds[n].fd;
        n++;
    }
    *end = n < sock->out_fd_count ? sock->out_fds[n].at : sock->out_end;
    return n;
}

int vfiouser_socket_flush(struct vfiouser_socket *sock)
{
    int fds[VFIOUSER_OUT_MAX_FDS];

    while (sock->out_start < sock->out_end) {
        size_t end;
        unsigned fd_count = out_fds_next(sock, fds, &end);
        struct iovec iov = {sock->out + sock->out_start, end - sock->out_start};
        ssize_t n = send_some(sock->fd, &iov, 1, fds, fd_count);

        if (n <= 0)
            return (int)n;
        for (unsigned i = 0; i < fd_count; i++)
            close(fds[i]);
        sock->out_fd_count -= fd_count;
        memmove(sock->out_fds, sock->out_fds + fd_count,
                sock->out_fd_count * sizeof sock->out_fds[0]);
        sock->out_start += (size_t)n;
    }
    free(sock->out);
    sock->out = NULL;
    sock->out_start = sock->out_end = sock->out_capacity = 0;
    return 0;
}

int vfiouser_socket_send(struct vfiouser_socket *sock, const struct vfiouser_header *header,
                         const void *payload, size_t payload_len, const int *fds, unsigned fd_count)
{
    uint8_t bytes[VFIOUSER_HEADER_LEN];
    struct iovec iov[2] = {{bytes, sizeof bytes}, {(void *)payload, payload_len}};
    size_t done = 0, head;
    ssize_t n;
    int err;

    assert(fd_count <= VFIOUSER_FDS_MAX);
    assert(header->size == VFIOUSER_HEADER_LEN + payload_len);
    vfiouser_header_build(bytes, header);
    // Straight from the caller's memory where nothing waits: the usual case.
    if (!vfiouser_socket_has_output(sock)) {
        n = send_some(sock->fd, iov, payload_len ? 2 : 1, fds, fd_count);
        if (n < 0)
            return (int)n;
        done = (size_t)n;
        if (done == header->size)
            return 0;
    }
    err = out_reserve(sock, header->size - done);
    if (!err && !done)
        err = out_add_fds(sock, fds, fd_count);
    if (err)
        return err;
    head = done < sizeof bytes ? sizeof bytes - done : 0;
    memcpy(sock->out + sock->out_end, bytes + sizeof bytes - head, head);
    sock->out_end += head;
    if (payload_len) {
        size_t tail = header->size - done - head;

        memcpy(sock->out + sock->out_end, (const uint8_t *)payload + payload_len - tail, tail);
        sock->out_end += tail;
    }
    return 0;
}

bool vfiouser_socket_has_output(const struct vfiouser_socket *sock)
{
    return sock->out_start < sock->out_end;
}

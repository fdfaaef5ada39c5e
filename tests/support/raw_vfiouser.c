// SPDX-License-Identifier: BSD-3-Clause
#include "support/raw_vfiouser.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/le.h"

#define RAW_FDS_MAX 253u // the kernel's SCM_MAX_FD

int raw_connect(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int err;

    assert(strlen(socket_path) < sizeof address.sun_path);
    strcpy(address.sun_path, socket_path);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

ssize_t raw_send(int sock, const void *bytes, size_t len, const int *fds, unsigned fd_count)
{
    union {
        struct cmsghdr align;
        uint8_t buf[CMSG_SPACE(RAW_FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {(void *)bytes, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    assert(fd_count <= RAW_FDS_MAX);
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
    n = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

size_t raw_message(uint8_t *out, uint16_t id, unsigned command, uint32_t flags, const void *payload,
                   size_t payload_len)
{
    struct vfiouser_header header = {
        .id = id,
        .command = (uint16_t)command,
        .size = (uint32_t)(VFIOUSER_HEADER_LEN + payload_len),
        .flags = flags,
    };

    vfiouser_header_build(out, &header);
    if (!payload)
        memset(out + VFIOUSER_HEADER_LEN, 0, payload_len);
    else
        memcpy(out + VFIOUSER_HEADER_LEN, payload, payload_len);
    return VFIOUSER_HEADER_LEN + payload_len;
}

size_t raw_version(uint8_t *out, uint16_t id)
{
    static const char json[] =
        "{\"capabilities\": {\"max_msg_fds\": 16, \"max_data_xfer_size\": 1048576, "
        "\"max_dma_maps\": 65535, \"pgsizes\": 4096, \"write_multiple\": true}}";
    uint8_t payload[4 + sizeof json];

    le16_put(payload, 0);
    le16_put(payload + 2, 1);
    memcpy(payload + 4, json, sizeof json);
    return raw_message(out, id, VFIOUSER_VERSION, 0, payload, sizeof payload);
}

ssize_t raw_receive(int sock, void *bytes, size_t len, int *fds, unsigned *fd_count)
{
    union {
        struct cmsghdr align;
        uint8_t buf[CMSG_SPACE(RAW_FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {bytes, len};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    unsigned kept = 0;
    ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0)
        return -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (fds && kept < VFIOUSER_FDS_MAX)
                fds[kept++] = fd;
            else
                close(fd);
        }
    }
    if (fd_count)
        *fd_count = kept;
    return n;
}

int raw_lowest_free_fd(void)
{
    int fd = dup(0);

    close(fd);
    return fd;
}

bool raw_fds_are_back(int free_fd)
{
    for (unsigned i = 0; i < 300 && raw_lowest_free_fd() != free_fd; i++)
        usleep(10000);
    return raw_lowest_free_fd() == free_fd;
}

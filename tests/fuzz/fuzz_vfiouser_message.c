// SPDX-License-Identifier: BSD-3-Clause
// The whole vfio-user server, with any bytes and any fds from a client. The input is a list of
// sends: raw bytes; a message whose header fits its payload, which gets past the framing; or a good
// request with a few bytes changed, which gets to the device. Whatever comes: the server does not
// crash or spin, its replies are well-formed, the device is let go when the client is gone, and no
// fd is left behind.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

#include "base/log.h"
#include "support/raw_vfiouser.h"
#include "support/toy_vfiouser_device.h"

#define SENDS_MAX 64u
#define TURNS_MAX 10000u // of the loop, after one send; more means that it spins

static struct {
    char path[64];
    sd_event *loop; // NULL: not made yet
    struct toy_device *toy;
    struct vfiouser_server *server;
    int fds[4]; // to be sent: an eventfd, memory, a pipe's end, the server's own kind of socket
} world;

static void path_remove(void)
{
    unlink(world.path);
    *strrchr(world.path, '/') = '\0';
    rmdir(world.path);
}

static void world_make(void)
{
    struct vfiouser_device device;
    char error[256];
    int pipes[2];

    log_set_level(LOG_LEVEL_ERROR);
    strcpy(world.path, "/tmp/vireo-fuzz-XXXXXX");
    MUST(mkdtemp(world.path));
    strcat(world.path, "/s");
    MUST(sd_event_new(&world.loop) >= 0);
    MUST(!toy_device_create(&world.toy));
    toy_device_describe(world.toy, "fuzz", true, &device);
    MUST(!vfiouser_server_create(world.loop, world.path, &device, &world.server, error,
                                 sizeof error));
    atexit(path_remove);
    MUST(!pipe(pipes));
    world.fds[0] = eventfd(0, EFD_CLOEXEC);
    world.fds[1] = memfd_create("fuzz", MFD_CLOEXEC);
    MUST(!ftruncate(world.fds[1], 0x10000));
    world.fds[2] = pipes[1];
    world.fds[3] = dup(pipes[0]);
}

static void turn(void)
{
    unsigned turns = 0;

    while (sd_event_run(world.loop, 0) > 0)
        MUST(++turns < TURNS_MAX);
}

// Reads all replies. False where the server has closed.
static bool replies_check(int sock)
{
    static uint8_t reply[VFIOUSER_HEADER_LEN + VFIOUSER_PAYLOAD_MAX];

    for (;;) {
        struct vfiouser_header header;
        ssize_t n = raw_receive(sock, reply, VFIOUSER_HEADER_LEN, NULL, NULL);
        size_t have = 0;

        if (n == -EAGAIN)
            return true;
        if (n <= 0)
            return false;
        MUST(n == VFIOUSER_HEADER_LEN && !vfiouser_header_parse(reply, &header));
        MUST((header.flags & ~VFIOUSER_FLAG_ERROR) == VFIOUSER_TYPE_REPLY);
        if (header.flags & VFIOUSER_FLAG_ERROR)
            MUST(header.size == VFIOUSER_HEADER_LEN && header.error && header.error < 4096);
        while (have < header.size - VFIOUSER_HEADER_LEN) {
            n = raw_receive(sock, reply, header.size - VFIOUSER_HEADER_LEN - have, NULL, NULL);
            if (n == -EAGAIN)
                turn();
            else if (n <= 0)
                return false;
            else
                have += (size_t)n;
        }
    }
}

struct input {
    const uint8_t *at;
    size_t left;
};

static uint8_t take(struct input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->at++;
}

// A request as a good client would send it, about places and vectors that the input picks.
static size_t good_payload(uint8_t command, struct input *in, uint8_t *payload)
{
    uint8_t where = take(in);
    struct vfiouser_dma_map_request map = {where << 12, 0x1000u + (where & 0xf000), 0, true, true};
    struct vfiouser_dma_unmap_request unmap = {where << 12, 0x4000, where & 1};
    struct vfiouser_irq_set_request irqs = {TOY_MSIX, where & 3, where >> 2 & 3, !(where & 12)};
    struct vfiouser_query query = {where & 1 ? 32 : 4096, where >> 1};
    struct vfiouser_region_access access = {where & ~7u, where & 7, 8, NULL};

    switch (command) {
    case VFIOUSER_DMA_MAP:
        return vfiouser_dma_map_build(payload, &map);
    case VFIOUSER_DMA_UNMAP:
        return vfiouser_dma_unmap_build(payload, &unmap);
    case VFIOUSER_DEVICE_SET_IRQS:
        return vfiouser_irq_set_build(payload, &irqs);
    case VFIOUSER_DEVICE_GET_INFO:
    case VFIOUSER_DEVICE_GET_REGION_INFO:
    case VFIOUSER_DEVICE_GET_IRQ_INFO:
        return vfiouser_query_build(command, payload, &query);
    case VFIOUSER_REGION_READ:
        return vfiouser_region_access_build(payload, &access);
    case VFIOUSER_REGION_WRITE:
        memset(payload, where, 32);
        return vfiouser_region_access_build(payload, &access) + 8;
    case VFIOUSER_REGION_WRITE_MULTI:
        memset(payload, 0, 56);
        payload[0] = 2;
        vfiouser_region_access_build(payload + 8, &access);
        vfiouser_region_access_build(payload + 32, &access);
        return 56;
    default:
        return 0;
    }
}

static size_t spoilt_message(uint8_t kind, struct input *in, uint8_t *bytes)
{
    uint8_t payload[64], command = take(in) % VFIOUSER_COMMANDS;
    size_t len = good_payload(command, in, payload);

    len = raw_message(bytes, kind, command, kind & 4 ? VFIOUSER_FLAG_NO_REPLY : 0, payload, len);
    for (unsigned n = kind >> 3 & 3; n; n--) {
        uint8_t at = take(in);

        bytes[at % len] = take(in);
    }
    return len;
}

// One send: kind, fds, then by kind. False at the end.
static bool send_next(struct input *in, int sock)
{
    static uint8_t bytes[VFIOUSER_HEADER_LEN + 4096];
    uint8_t kind = take(in), fd_bits = take(in), command;
    int fds[32];
    unsigned fd_count = fd_bits & 0x80 ? 17 : fd_bits & 7;
    size_t len;

    if (!in->left)
        return false;
    for (unsigned i = 0; i < fd_count; i++)
        fds[i] = world.fds[(fd_bits >> 3 & 3) ^ (i & fd_bits >> 5 & 3)];
    if ((kind & 3) == 3) {
        len = spoilt_message(kind, in, bytes);
    } else {
        command = take(in);
        len = take(in);
        len |= (size_t)(take(in) & 3) << 8;
        len = len < in->left ? len : in->left;
        in->at += len;
        in->left -= len;
        if (kind & 1)
            len = raw_message(bytes, kind, command % (VFIOUSER_COMMANDS + 1),
                              kind & 4 ? VFIOUSER_FLAG_NO_REPLY : 0, in->at - len, len);
        else
            memcpy(bytes, in->at - len, len);
    }
    if (len)
        raw_send(sock, bytes, len, fds, fd_count);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t version[512];
    uint8_t how;
    int sock, free_fd;

    if (!world.loop) {
        world_make();
        turn();
    }
    // Between inputs the fuzzer itself may open some.
    free_fd = raw_lowest_free_fd();
    how = take(&in);
    sock = raw_connect(world.path);
    MUST(sock >= 0);
    turn();
    if (how & 1) {
        raw_send(sock, version, raw_version(version, 1), NULL, 0);
        turn();
        MUST(replies_check(sock));
        MUST(vfiouser_server_client_pid(world.server) == getpid());
    }
    for (unsigned i = 0; i < SENDS_MAX && send_next(&in, sock); i++) {
        if (how & 2)
            continue; // all at once
        turn();
        if (!replies_check(sock))
            break;
    }
    if (how & 4) {
        turn();
        replies_check(sock);
    }
    close(sock);
    turn();
    MUST(vfiouser_server_client_pid(world.server) == 0);
    MUST(world.toy->attaches == world.toy->detaches && world.toy->map_count == 0);
    MUST(raw_fds_are_back(free_fd));
    return 0;
}

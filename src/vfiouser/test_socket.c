// SPDX-License-Identifier: BSD-3-Clause
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/raw_vfiouser.h"
#include "vfiouser/socket.h"

struct fixture {
    struct vfiouser_socket *sock;
    int peer; // non-blocking
    int free_fd;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    int pair[2];

    if (!f)
        return -1;
    f->free_fd = raw_lowest_free_fd();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) ||
        vfiouser_socket_create(pair[0], &f->sock))
        return -1;
    f->peer = pair[1];
    *state = f;
    return 0;
}

// Also the test that nothing leaks an fd.
static int teardown(void **state)
{
    struct fixture *f = *state;
    int leaked;

    vfiouser_socket_destroy(f->sock);
    close(f->peer);
    leaked = !raw_fds_are_back(f->free_fd);
    free(f);
    return leaked;
}

static void test_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    static const uint8_t payload[32] = "0123456789abcdefghijklmnopqrstu";
    struct vfiouser_message *message;
    uint8_t bytes[64];
    size_t len = raw_message(bytes, 7, VFIOUSER_DMA_MAP, 0, payload, sizeof payload);
    int fd = eventfd(0, 0);
    struct stat sent, got;

    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < len; i++) {
            assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), 0);
            // An fd may come with any byte of its message.
            assert_int_equal(raw_send(f->peer, bytes + i, 1, &fd, i == 20 * round), 1);
        }
        assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), 1);
        assert_int_equal(message->header.id, 7);
        assert_int_equal(message->payload_len, sizeof payload);
        assert_memory_equal(message->payload, payload, sizeof payload);
        assert_int_equal(message->fd_count, 1);
        assert_false(message->fds_lost);
        fstat(fd, &sent);
        fstat(message->fds[0], &got);
        assert_true(sent.st_ino == got.st_ino);
    }
    close(fd);
    assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), 0);
}

static void test_several_in_one_send(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_message *message;
    uint8_t bytes[256];
    size_t len = 0;

    for (uint16_t id = 0; id < 5; id++)
        len += raw_message(bytes + len, id, VFIOUSER_REGION_READ, 0, NULL, id);
    assert_int_equal(raw_send(f->peer, bytes, len, NULL, 0), len);
    for (uint16_t id = 0; id < 5; id++) {
        assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), 1);
        assert_int_equal(message->header.id, id);
        assert_int_equal(message->payload_len, id);
    }
    assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), 0);
    close(f->peer);
    assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), -ECONNRESET);
    f->peer = dup(0);
}

// fds belong to the message that they came with, also where two messages are waiting.
static void test_fds_stay_with_their_message(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_message *message;
    uint8_t bytes[64];
    size_t len = raw_message(bytes, 1, VFIOUSER_DEVICE_RESET, 0, NULL, 0);
    int fds[2] = {eventfd(0, 0), eventfd(0, 0)};
    int taken;

    raw_send(f->peer, bytes, len, fds, 2);
    raw_send(f->peer, bytes, len, NULL, 0);
    raw_send(f->peer, bytes, len, fds, 1);
    assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), 1);
    assert_int_equal(message->fd_count, 2);
    taken = vfiouser_message_take_fd(message, 1);
    assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), 1);
    assert_int_equal(message->fd_count, 0);
    assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), 1);
    assert_int_equal(message->fd_count, 1);
    assert_int_equal(close(taken), 0); // still ours
    close(fds[0]);
    close(fds[1]);
}

static void test_fd_flood(void **state)
{
    static const struct {
        unsigned at_header, at_payload;
        bool lost;
    } cases[] = {{16, 0, false}, {17, 0, true}, {253, 0, true},
                 {8, 8, false},  {8, 9, true},  {0, 253, true}};
    struct fixture *f = *state;
    struct vfiouser_message *message;
    uint8_t bytes[64];
    size_t len = raw_message(bytes, 1, VFIOUSER_REGION_READ, 0, NULL, 16);
    int fds[253];

    for (unsigned i = 0; i < 253; i++)
        fds[i] = f->peer;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        raw_send(f->peer, bytes, 16, fds, cases[i].at_header);
        raw_send(f->peer, bytes + 16, len - 16, fds, cases[i].at_payload);
        assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), 1);
        assert_int_equal(message->fds_lost, cases[i].lost);
        assert_int_equal(message->fd_count, cases[i].lost ? 0 : 16);
    }
    // What was lost is not held against the next message.
    raw_send(f->peer, bytes, len, NULL, 0);
    assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), 1);
    assert_false(message->fds_lost);
}

static void test_payload_limit(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_message *message;
    uint8_t bytes[128];

    raw_send(f->peer, bytes, raw_message(bytes, 1, VFIOUSER_REGION_READ, 0, NULL, 64), NULL, 0);
    assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), 1);
    raw_send(f->peer, bytes, raw_message(bytes, 1, VFIOUSER_REGION_READ, 0, NULL, 65), NULL, 0);
    assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), -EPROTO);
}

static void reply_send(struct fixture *f, uint16_t id, const uint8_t *payload, size_t len, int fd,
                       int want)
{
    struct vfiouser_header header = {id, VFIOUSER_REGION_READ, (uint32_t)(16 + len), 1, 0};

    assert_int_equal(vfiouser_socket_send(f->sock, &header, payload, len, &fd, fd >= 0), want);
}

// A peer that reads late gets every byte in order, and each fd with its message.
static void test_slow_reader(void **state)
{
    enum { REPLIES = 200, LEN = 4096, WITH_FD = 150 };
    struct fixture *f = *state;
    static uint8_t payload[LEN], bytes[16 + LEN];
    int fd = eventfd(0, 0);
    unsigned next = 0;
    size_t have = 0;

    for (unsigned i = 0; i < REPLIES; i++) {
        memset(payload, (int)i, LEN);
        reply_send(f, (uint16_t)i, payload, LEN, i == WITH_FD ? fd : -1, 0);
    }
    close(fd); // the queue has its own
    assert_true(vfiouser_socket_has_output(f->sock));
    while (next < REPLIES) {
        unsigned fd_count;
        int fds[VFIOUSER_FDS_MAX];
        // Odd sizes, so that messages are cut anywhere.
        size_t want = sizeof bytes - have < 1237 ? sizeof bytes - have : 1237;
        ssize_t n = raw_receive(f->peer, bytes + have, want, fds, &fd_count);

        if (n == -EAGAIN) {
            assert_true(vfiouser_socket_has_output(f->sock));
            assert_int_equal(vfiouser_socket_flush(f->sock), 0);
            continue;
        }
        assert_true(n > 0);
        assert_int_equal(fd_count, next == WITH_FD && !have);
        if (fd_count)
            close(fds[0]);
        have += (size_t)n;
        if (have == sizeof bytes) {
            struct vfiouser_header header;

            assert_int_equal(vfiouser_header_parse(bytes, &header), 0);
            assert_int_equal(header.id, next);
            memset(payload, (int)next, LEN);
            assert_memory_equal(bytes + 16, payload, LEN);
            have = 0;
            next++;
        }
    }
    assert_int_equal(vfiouser_socket_flush(f->sock), 0);
    assert_false(vfiouser_socket_has_output(f->sock));
}

static void test_queue_is_bounded(void **state)
{
    struct fixture *f = *state;
    static uint8_t payload[65536];
    struct vfiouser_header header = {1, VFIOUSER_REGION_READ, 16 + sizeof payload, 1, 0};
    size_t sent = 0;
    int err;

    do {
        err = vfiouser_socket_send(f->sock, &header, payload, sizeof payload, NULL, 0);
        sent += header.size;
        assert_true(sent < 2 * VFIOUSER_OUT_MAX_BYTES);
    } while (!err);
    assert_int_equal(err, -ENOBUFS);
    assert_true(sent > VFIOUSER_OUT_MAX_BYTES);
}

static void test_queued_fds_are_bounded(void **state)
{
    struct fixture *f = *state;
    static uint8_t payload[4096];
    int fd = eventfd(0, 0);

    while (!vfiouser_socket_has_output(f->sock))
        reply_send(f, 1, payload, sizeof payload, -1, 0);
    for (unsigned i = 0; i < VFIOUSER_OUT_MAX_FDS; i++)
        reply_send(f, 1, payload, 16, fd, 0);
    reply_send(f, 1, payload, 16, fd, -ENOBUFS);
    close(fd);
}

// A TCP socket whose close() waits for its peer to read, which it does not: LINGER_S long.
#define LINGER_S 6

static int lingering_socket(int *reader)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct linger linger = {1, LINGER_S};
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
    char bytes[4096] = {0};

    if (listener < 0 || bind(listener, (struct sockaddr *)&addr, len) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&addr, &len))
        return -1;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, len), 0);
    *reader = accept(listener, NULL, NULL);
    close(listener);
    while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    return fd;
}

// However a peer leaves us an fd that waits when it is closed, we do not wait: in a message, in one
// with too many of them, and in one that was never received.
static void test_closing_never_waits(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_message *message;
    uint8_t bytes[16], two[32];
    int readers[3], fds[VFIOUSER_FDS_MAX + 1], fd;
    uint64_t start_ns = clock_now_ns();

    raw_message(bytes, 1, VFIOUSER_DMA_MAP, 0, NULL, 0);
    fd = lingering_socket(&readers[0]);
    if (fd < 0)
        skip();
    raw_send(f->peer, bytes, sizeof bytes, &fd, 1);
    close(fd);
    assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), 1);
    assert_int_equal(message->fd_count, 1);

    fds[VFIOUSER_FDS_MAX] = lingering_socket(&readers[1]);
    for (unsigned i = 0; i < VFIOUSER_FDS_MAX; i++)
        fds[i] = f->peer;
    raw_send(f->peer, bytes, sizeof bytes, fds, VFIOUSER_FDS_MAX + 1);
    close(fds[VFIOUSER_FDS_MAX]);
    assert_int_equal(vfiouser_socket_receive(f->sock, 64, &message), 1);
    assert_true(message->fds_lost);

    fd = lingering_socket(&readers[2]);
    memset(two, 0, sizeof two);
    raw_send(f->peer, two, sizeof two, &fd, 1);
    close(fd);
    vfiouser_socket_destroy(f->sock);
    f->sock = NULL;
    assert_true(clock_now_ns() - start_ns < LINGER_S * NS_PER_S / 2);

    // Their ends: so that ours are closed, and the fd numbers free again.
    for (unsigned i = 0; i < 3; i++)
        close(readers[i]);
    assert_true(raw_fds_are_back(f->free_fd));
}

static void test_peer_gone(void **state)
{
    struct fixture *f = *state;

    close(f->peer);
    reply_send(f, 1, NULL, 0, -1, -EPIPE);
    f->peer = dup(0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_byte_by_byte),
        TEST(test_several_in_one_send),
        TEST(test_fds_stay_with_their_message),
        TEST(test_fd_flood),
        TEST(test_payload_limit),
        TEST(test_slow_reader),
        TEST(test_queue_is_bounded),
        TEST(test_queued_fds_are_bounded),
        TEST(test_closing_never_waits),
        TEST(test_peer_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

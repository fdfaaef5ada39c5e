// SPDX-License-Identifier: BSD-3-Clause
// What a client may do to the server: everything. After each attack the server must answer a
// well-behaved client, and have leaked nothing (the fixture's teardown looks).
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/le.h"
#include "support/raw_vfiouser.h"
#include "support/vfiouser_fixture.h"

static void test_garbage(void **state)
{
    struct fixture *f = *state;
    uint8_t junk[4096];

    srandom(1);
    for (unsigned round = 0; round < 200; round++) {
        int sock = round % 2 ? fixture_attached_client(f) : fixture_client(f);
        unsigned n = 1 + (unsigned)random() % sizeof junk;

        for (unsigned i = 0; i < n; i++)
            junk[i] = (uint8_t)random();
        // A size that may be right lets some of it past the framing.
        if (round % 4 > 1 && n >= 16)
            le32_put(junk + 4, 16 + (unsigned)random() % 64);
        raw_send(sock, junk, n, NULL, 0);
        fixture_pump(f);
        fixture_client_end(f, sock);
    }
}

static void test_sizes_that_cannot_be(void **state)
{
    static const uint32_t sizes[] = {0, 15, 17 + VFIOUSER_PAYLOAD_MAX, 0x80000000, UINT32_MAX};
    struct fixture *f = *state;
    uint8_t bytes[64];

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (unsigned attached = 0; attached < 2; attached++) {
            int sock = attached ? fixture_attached_client(f) : fixture_client(f);
            uint64_t bad = fixture_counts(f).received[0];

            raw_message(bytes, 1, VFIOUSER_REGION_READ, 0, NULL, 16);
            le32_put(bytes + 4, sizes[i]);
            raw_send(sock, bytes, 32, NULL, 0);
            fixture_pump(f);
            assert_int_equal(fixture_reply(f, sock), CLOSED);
            assert_int_equal(fixture_counts(f).received[0], bad + 1);
            fixture_client_end(f, sock);
        }
    }
}

// A header that announces a megabyte which never comes holds nothing up.
static void test_announced_and_never_sent(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);
    uint8_t bytes[16];

    raw_message(bytes, 1, VFIOUSER_REGION_WRITE, 0, NULL, 0);
    le32_put(bytes + 4, VFIOUSER_HEADER_LEN + VFIOUSER_PAYLOAD_MAX);
    raw_send(sock, bytes, sizeof bytes, NULL, 0);
    fixture_pump(f);
    assert_int_equal(fixture_reply(f, sock), NO_REPLY_CAME);
    fixture_client_end(f, sock);
    // Before VERSION not even that is believed.
    sock = fixture_client(f);
    raw_send(sock, bytes, sizeof bytes, NULL, 0);
    fixture_pump(f);
    assert_int_equal(fixture_reply(f, sock), CLOSED);
    fixture_client_end(f, sock);
}

static void test_disconnect_anywhere(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[64];
    struct vfiouser_dma_map_request map = {0, 0x1000, 0, true, true};
    uint8_t payload[32];
    size_t len;

    vfiouser_dma_map_build(payload, &map);
    len = raw_message(bytes, 1, VFIOUSER_DMA_MAP, 0, payload, sizeof payload);
    for (size_t cut = 1; cut < len; cut++) {
        int sock = fixture_attached_client(f);

        raw_send(sock, bytes, cut, &f->toy->bar0_fd, 1);
        if (cut % 2)
            fixture_pump(f);
        fixture_client_end(f, sock);
        assert_int_equal(f->toy->map_count, 0);
        assert_int_equal(f->toy->detaches, f->toy->attaches);
    }
}

// Each command at its table's limits, and one byte off.
static void test_fds_where_none_belong(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);
    int fds[253];

    for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = f->toy->bar0_fd;
    for (unsigned command = 2; command < VFIOUSER_COMMANDS; command++) {
        const struct vfiouser_command_info *info = vfiouser_command_info(command);

        if (info && !info->fds_max)
            assert_int_equal(fixture_request_fds(f, sock, command, NULL, info->len_min, fds, 1),
                             -EINVAL);
    }
    assert_int_equal(fixture_dma_map(f, sock, 0, 0x1000, fds, 2), -EINVAL);
    assert_int_equal(fixture_dma_map(f, sock, 0, 0x1000, fds, 16), -EINVAL);
    assert_int_equal(fixture_dma_map(f, sock, 0, 0x1000, fds, 17), -EINVAL);
    assert_int_equal(fixture_dma_map(f, sock, 0, 0x1000, fds, 253), -EINVAL);
    assert_int_equal(f->toy->maps_seen, 0);
    assert_int_equal(fixture_dma_map(f, sock, 0, 0x1000, fds, 1), 0);
    assert_int_equal(f->toy->maps_seen, 1);
    fixture_client_end(f, sock);
}

static void test_replies_from_the_client(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);
    uint8_t bytes[64];

    for (unsigned command = 0; command < VFIOUSER_COMMANDS; command++) {
        size_t len = raw_message(bytes, 1, command, VFIOUSER_TYPE_REPLY, NULL, command);

        raw_send(sock, bytes, len, NULL, 0);
    }
    fixture_pump(f);
    assert_int_equal(fixture_reply(f, sock), NO_REPLY_CAME);
    assert_int_equal(fixture_counts(f).received[0], VFIOUSER_COMMANDS);
    // Types that do not exist are commands gone wrong.
    raw_send(sock, bytes, raw_message(bytes, 1, VFIOUSER_DEVICE_RESET, 2, NULL, 0), NULL, 0);
    fixture_pump(f);
    assert_int_equal(fixture_reply(f, sock), -EINVAL);
    assert_int_equal(f->toy->resets, 0);
    fixture_client_end(f, sock);
    // As a first message, too: no answer, just the end.
    sock = fixture_client(f);
    raw_send(sock, bytes, raw_message(bytes, 1, VFIOUSER_VERSION, 1, NULL, 4), NULL, 0);
    fixture_pump(f);
    assert_int_equal(fixture_reply(f, sock), CLOSED);
    fixture_client_end(f, sock);
}

static void test_commands_before_version(void **state)
{
    struct fixture *f = *state;

    for (unsigned command = 0; command < VFIOUSER_COMMANDS; command++) {
        int sock;

        if (command == VFIOUSER_VERSION)
            continue;
        sock = fixture_client(f);
        assert_int_equal(fixture_request(f, sock, command, NULL, 32), -EINVAL);
        assert_int_equal(fixture_reply(f, sock), CLOSED);
        fixture_client_end(f, sock);
    }
    assert_int_equal(f->toy->attaches, 0);
    assert_int_equal(fixture_counts(f).refused_clients, VFIOUSER_COMMANDS - 1);
}

static void test_bad_versions(void **state)
{
    struct fixture *f = *state;
    uint8_t good[512], bytes[512];
    size_t len = raw_version(good, 1);

    for (unsigned kind = 0; kind < 5; kind++) {
        int sock = fixture_client(f);
        unsigned fd_count = 0;

        memcpy(bytes, good, len);
        if (kind == 0)
            le16_put(bytes + 16, 1); // major
        else if (kind == 1)
            bytes[len - 1] = ' '; // no NUL
        else if (kind == 2)
            bytes[20] = 'x'; // no JSON
        else if (kind == 3)
            bytes[30] = 0; // a NUL before the end
        else
            fd_count = 1;
        raw_send(sock, bytes, len, &sock, fd_count);
        fixture_pump(f);
        assert_int_equal(fixture_reply(f, sock), -EINVAL);
        assert_int_equal(fixture_reply(f, sock), CLOSED);
        fixture_client_end(f, sock);
    }
    assert_int_equal(f->toy->attaches, 0);
    assert_int_equal(fixture_counts(f).refused_clients, 5);
}

static void test_device_refuses(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_client(f);

    f->toy->attach_error = -EPERM;
    assert_int_equal(fixture_version(f, sock), -EPERM);
    assert_int_equal(fixture_reply(f, sock), CLOSED);
    fixture_client_end(f, sock);
    f->toy->attach_error = 0;
    assert_int_equal(f->toy->detaches, 0);
}

static void test_second_client(void **state)
{
    struct fixture *f = *state;
    int first = fixture_attached_client(f), second;
    int saved = dup(2), log = memfd_create("log", MFD_CLOEXEC);
    char text[4096] = "", want[128];

    dup2(log, 2);
    second = fixture_client(f);
    assert_int_equal(fixture_version(f, second), -EBUSY);
    assert_int_equal(fixture_reply(f, second), CLOSED);
    dup2(saved, 2);
    close(saved);
    assert_true(pread(log, text, sizeof text - 1, 0) > 0);
    close(log);
    snprintf(want, sizeof want, "toy0: PID %d is refused (EBUSY): PID %d holds the device",
             (int)getpid(), (int)getpid());
    assert_non_null(strstr(text, want));
    // The first one noticed nothing.
    assert_int_equal(fixture_reply(f, first), NO_REPLY_CAME);
    assert_int_equal(fixture_region_access(f, first, false, TOY_CONFIG, 0, 4), 0);
    assert_int_equal(f->toy->attaches, 1);
    assert_int_equal(f->toy->detaches, 0);
    assert_int_equal(fixture_counts(f).refused_clients, 1);
    fixture_client_end(f, second);
    fixture_client_end(f, first);
}

// The holder is gone, but the loop comes to its successor first.
static void test_successor_overtakes(void **state)
{
    struct fixture *f = *state;
    int first = fixture_attached_client(f), second = fixture_client(f);
    uint8_t bytes[512];
    size_t len = raw_version(bytes, 1);

    assert_int_equal(raw_send(second, bytes, len, NULL, 0), len);
    close(first);
    fixture_pump(f);
    assert_int_equal(fixture_reply(f, second), 0);
    assert_int_equal(f->toy->attaches, 2);
    assert_int_equal(f->toy->detaches, 1);
    fixture_client_end(f, second);
}

static void test_silent_clients(void **state)
{
    struct fixture *f = *state;
    int silent[100], sock;

    for (unsigned i = 0; i < ARRAY_LEN(silent); i++) {
        silent[i] = fixture_client(f);
        raw_send(silent[i], "abc", i % 4, NULL, 0);
        fixture_pump(f);
    }
    sock = fixture_attached_client(f);
    assert_int_equal(fixture_region_access(f, sock, false, TOY_CONFIG, 0, 4), 0);
    assert_int_equal(fixture_reply(f, silent[0]), CLOSED); // made room
    fixture_client_end(f, sock);
    for (unsigned i = 0; i < ARRAY_LEN(silent); i++)
        close(silent[i]);
    fixture_pump(f);
}

// The server must neither wait for it nor remember without end.
static void test_client_that_stops_reading(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);
    uint8_t bytes[32], payload[16] = {0};
    unsigned sent = 0;

    le32_put(payload + 8, TOY_CONFIG);
    le32_put(payload + 12, TOY_CONFIG_LEN);
    raw_message(bytes, 1, VFIOUSER_REGION_READ, 0, payload, sizeof payload);
    while (f->toy->detaches == 0) {
        assert_true(sent * TOY_CONFIG_LEN < 16u << 20);
        if (raw_send(sock, bytes, sizeof bytes, NULL, 0) > 0)
            sent++;
        fixture_pump(f);
    }
    assert_true(sent * TOY_CONFIG_LEN > 4u << 20);
    assert_int_equal(vfiouser_server_client_pid(f->server), 0);
    fixture_client_end(f, sock);
}

static void test_client_that_reads_late(void **state)
{
    enum { REQUESTS = 500 };
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);
    uint8_t bytes[32], payload[16] = {0};
    uint8_t got[16 + 16 + TOY_CONFIG_LEN];
    size_t have = 0;
    unsigned next = 0;

    le32_put(payload + 8, TOY_CONFIG);
    le32_put(payload + 12, TOY_CONFIG_LEN);
    for (unsigned i = 0; i < REQUESTS; i++) {
        raw_message(bytes, (uint16_t)i, VFIOUSER_REGION_READ, 0, payload, sizeof payload);
        assert_int_equal(raw_send(sock, bytes, sizeof bytes, NULL, 0), sizeof bytes);
        fixture_pump(f);
    }
    while (next < REQUESTS) {
        ssize_t n = raw_receive(sock, got + have, sizeof got - have, NULL, NULL);

        if (n == -EAGAIN) {
            fixture_pump(f);
            continue;
        }
        assert_true(n > 0);
        have += (size_t)n;
        if (have < sizeof got)
            continue;
        assert_int_equal(le16_get(got), next);
        assert_memory_equal(got + 32, f->toy->config, TOY_CONFIG_LEN);
        have = 0;
        next++;
    }
    fixture_client_end(f, sock);
}

// A whole session, a byte at a time.
static void test_out_of_fds(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);
    int late = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int fill[16], err = NO_REPLY_CAME;
    struct rlimit saved, low;
    uint8_t bytes[512];
    size_t len;
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    getrlimit(RLIMIT_NOFILE, &saved);
    low = saved;
    low.rlim_cur = (rlim_t)raw_lowest_free_fd();
    for (unsigned i = 0; i < ARRAY_LEN(fill); i++)
        fill[i] = f->toy->bar0_fd;
    setrlimit(RLIMIT_NOFILE, &low);
    // An fd that cannot be received is an error of its message, and of nothing else.
    assert_int_equal(fixture_dma_map(f, sock, 0, 0x1000, fill, 1), -EINVAL);
    assert_int_equal(fixture_region_access(f, sock, false, TOY_CONFIG, 0, 4), 0);
    // A client that cannot be accepted does not make the loop spin (fixture_pump() would notice).
    strcpy(address.sun_path, f->path);
    assert_int_equal(connect(late, (struct sockaddr *)&address, sizeof address), 0);
    fixture_pump(f);
    assert_int_equal(fixture_region_access(f, sock, false, TOY_CONFIG, 0, 4), 0);
    setrlimit(RLIMIT_NOFILE, &saved);
    fixture_client_end(f, sock);
    // And is accepted when there are fds again: it is answered then.
    len = raw_version(bytes, 1);
    assert_int_equal(raw_send(late, bytes, len, NULL, 0), len);
    for (unsigned i = 0; i < 100 && err == NO_REPLY_CAME; i++) {
        sd_event_run(f->loop, 100000);
        fixture_pump(f);
        err = fixture_reply(f, late);
    }
    assert_int_equal(err, 0);
    fixture_client_end(f, late);
}

static void drop_from_inside(void *ctx)
{
    struct fixture *f = ctx;

    vfiouser_server_drop_client(f->server, "the test says so");
    // Still there while its callback runs.
    assert_int_equal(f->toy->detaches, 0);
}

static void test_drop_client(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);

    f->toy->poke = drop_from_inside;
    f->toy->poke_ctx = f;
    assert_int_equal(fixture_region_access(f, sock, true, TOY_BAR0, 0x3000, 4), CLOSED);
    assert_int_equal(f->toy->detaches, 1);
    f->toy->poke = NULL;
    fixture_client_end(f, sock);
    sock = fixture_attached_client(f);
    vfiouser_server_drop_client(f->server, "the test says so");
    assert_int_equal(f->toy->detaches, 2);
    assert_int_equal(fixture_reply(f, sock), CLOSED);
    vfiouser_server_drop_client(f->server, "nobody there");
    assert_int_equal(f->toy->detaches, 2);
    fixture_client_end(f, sock);
}

// Two clients of two devices on one loop: one that floods does not keep the other waiting.
static void test_flood_is_fair(void **state)
{
    struct fixture *f = *state;
    int flood = fixture_attached_client(f), sock;
    struct vfiouser_server *other;
    struct vfiouser_device device;
    struct toy_device *toy;
    uint8_t bytes[512], payload[20] = {0};
    char path[80], error[256];
    size_t len;

    assert_int_equal(toy_device_create(&toy), 0);
    toy_device_describe(toy, "toy1", false, &device);
    snprintf(path, sizeof path, "%s2", f->path);
    assert_int_equal(vfiouser_server_create(f->loop, path, &device, &other, error, sizeof error),
                     0);
    sock = raw_connect(path);
    fixture_pump(f);
    le32_put(payload + 12, 4);
    len = raw_message(bytes, 1, VFIOUSER_REGION_WRITE, VFIOUSER_FLAG_NO_REPLY, payload,
                      sizeof payload);
    for (unsigned i = 0; i < 10; i++) {
        uint64_t before = fixture_counts(f).received[VFIOUSER_REGION_WRITE];

        while (raw_send(flood, bytes, len, NULL, 0) > 0)
            ;
        if (!i) {
            uint8_t version[512];

            raw_send(sock, version, raw_version(version, 1), NULL, 0);
        }
        sd_event_run(f->loop, 0);
        assert_true(fixture_counts(f).received[VFIOUSER_REGION_WRITE] - before <= 64);
    }
    assert_true(fixture_counts(f).received[VFIOUSER_REGION_WRITE] > 64);
    assert_int_equal(toy->attaches, 1);
    close(sock);
    fixture_client_end(f, flood);
    vfiouser_server_destroy(other);
    toy_device_destroy(toy);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_garbage),
        TEST(test_sizes_that_cannot_be),
        TEST(test_announced_and_never_sent),
        TEST(test_disconnect_anywhere),
        TEST(test_fds_where_none_belong),
        TEST(test_replies_from_the_client),
        TEST(test_commands_before_version),
        TEST(test_bad_versions),
        TEST(test_device_refuses),
        TEST(test_second_client),
        TEST(test_successor_overtakes),
        TEST(test_silent_clients),
        TEST(test_client_that_stops_reading),
        TEST(test_client_that_reads_late),
        TEST(test_out_of_fds),
        TEST(test_drop_client),
        TEST(test_flood_is_fair),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
// DMA_WRITEs that the server posts, from the loop's thread and from others.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/le.h"
#include "support/raw_vfiouser.h"
#include "support/vfiouser_fixture.h"

#define MSI_ADDRESS 0xfee01004ull
#define POSTS       20000u
#define THREADS     2u

static int post(struct fixture *f, uint32_t value)
{
    uint8_t data[4];

    le32_put(data, value);
    return vfiouser_server_post_dma_write(f->server, MSI_ADDRESS, data, sizeof data);
}

static void test_bytes_on_the_wire(void **state)
{
    static const uint8_t data[VFIOUSER_POST_MAX_BYTES] = {0xaa};
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);
    uint8_t bytes[16 + 16 + VFIOUSER_POST_MAX_BYTES];

    assert_int_equal(post(f, 0x12345678), 0);
    // At once, without a turn of the loop.
    assert_int_equal(raw_receive(sock, bytes, sizeof bytes, NULL, NULL), 36);
    assert_int_equal(le16_get(bytes + 2), VFIOUSER_DMA_WRITE);
    assert_int_equal(le32_get(bytes + 4), 36);
    assert_int_equal(le32_get(bytes + 8), VFIOUSER_FLAG_NO_REPLY);
    assert_int_equal(le32_get(bytes + 12), 0);
    assert_int_equal(le64_get(bytes + 16), MSI_ADDRESS);
    assert_int_equal(le64_get(bytes + 24), 4);
    assert_int_equal(le32_get(bytes + 32), 0x12345678);

    assert_int_equal(vfiouser_server_post_dma_write(f->server, 0, data, sizeof data), 0);
    assert_int_equal(raw_receive(sock, bytes, sizeof bytes, NULL, NULL), sizeof bytes);
    assert_memory_equal(bytes + 32, data, sizeof data);
    assert_int_equal(fixture_counts(f).dma_writes_posted, 2);
    fixture_client_end(f, sock);
}

// QEMU answers what it could not write, although it was asked not to.
static void test_failure_is_counted(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);
    uint8_t bytes[64];

    assert_int_equal(post(f, 1), 0);
    assert_int_equal(raw_receive(sock, bytes, sizeof bytes, NULL, NULL), 36);
    raw_message(bytes, le16_get(bytes), VFIOUSER_DMA_WRITE,
                VFIOUSER_TYPE_REPLY | VFIOUSER_FLAG_ERROR, NULL, 0);
    le32_put(bytes + 12, ENODEV);
    assert_int_equal(raw_send(sock, bytes, 16, NULL, 0), 16);
    fixture_pump(f);
    assert_int_equal(raw_receive(sock, bytes, 1, NULL, NULL), -EAGAIN); // and no answer to that
    assert_int_equal(fixture_counts(f).dma_writes_failed, 1);
    assert_int_equal(fixture_counts(f).received[0], 0);
    fixture_client_end(f, sock);
}

// A server whose device says that it posts, and a client that has sent its first DEVICE_RESET.
struct posting {
    char path[80];
    struct vfiouser_server *server;
    int sock;
};

static int reset_send(struct fixture *f, struct posting *p)
{
    uint8_t bytes[16];

    raw_message(bytes, 9, VFIOUSER_DEVICE_RESET, 0, NULL, 0);
    assert_int_equal(raw_send(p->sock, bytes, 16, NULL, 0), 16);
    fixture_pump(f);
    assert_int_equal(raw_receive(p->sock, bytes, 16, NULL, NULL), 16);
    assert_int_equal(le16_get(bytes + 2), VFIOUSER_DEVICE_RESET);
    return (int)le32_get(bytes + 12);
}

static void posting_start(struct fixture *f, struct posting *p)
{
    struct vfiouser_device device;
    char error[200];

    snprintf(p->path, sizeof p->path, "%s/posting", f->dir);
    toy_device_describe(f->toy, "posting", false, &device);
    device.posts_dma = true;
    assert_int_equal(
        vfiouser_server_create(f->loop, p->path, &device, &p->server, error, sizeof error), 0);
    p->sock = raw_connect(p->path);
    assert_true(p->sock >= 0);
    assert_int_equal(fixture_version(f, p->sock), 0);
    assert_int_equal(reset_send(f, p), 0);
}

static void posting_end(struct fixture *f, struct posting *p)
{
    close(p->sock);
    fixture_pump(f);
    vfiouser_server_destroy(p->server);
}

// The probe, after the first reset's reply. To a reader of 32 bits it writes nothing (count 0), to
// one of 64 it is too short for its count. Returns its ID.
static uint16_t probe_expect(struct posting *p)
{
    uint8_t bytes[64];

    assert_int_equal(raw_receive(p->sock, bytes, sizeof bytes, NULL, NULL), 36);
    assert_int_equal(le16_get(bytes + 2), VFIOUSER_DMA_WRITE);
    assert_int_equal(le32_get(bytes + 4), 36);
    assert_int_equal(le32_get(bytes + 8), 0); // a reply, please
    assert_int_equal(le32_get(bytes + 24), 0);
    assert_true(le64_get(bytes + 24) > 4);
    return le16_get(bytes);
}

static void probe_answer(struct fixture *f, struct posting *p, uint16_t id, int err)
{
    uint8_t bytes[16];

    raw_message(bytes, id, VFIOUSER_DMA_WRITE,
                VFIOUSER_TYPE_REPLY | (err ? VFIOUSER_FLAG_ERROR : 0), NULL, 0);
    le32_put(bytes + 12, (uint32_t)err);
    assert_int_equal(raw_send(p->sock, bytes, 16, NULL, 0), 16);
    fixture_pump(f);
}

static void post_expect(struct posting *p, size_t data_at)
{
    uint8_t bytes[64], data[4];

    le32_put(data, 0x12345678);
    assert_int_equal(vfiouser_server_post_dma_write(p->server, MSI_ADDRESS, data, 4), 0);
    assert_int_equal(raw_receive(p->sock, bytes, sizeof bytes, NULL, NULL), 36);
    assert_int_equal(le32_get(bytes + 4), 36);
    assert_int_equal(le32_get(bytes + 8), VFIOUSER_FLAG_NO_REPLY);
    assert_int_equal(le64_get(bytes + 16), MSI_ADDRESS);
    assert_int_equal(le32_get(bytes + 24), 4);
    assert_int_equal(le32_get(bytes + data_at), 0x12345678);
    // The other place, which one form takes for a part of the count, and the other for padding.
    assert_int_equal(le32_get(bytes + (data_at == 28 ? 32 : 28)), 0);
}

// The specification's form: before the client has answered, and after it has said E2BIG.
static void test_count_of_64_bits(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_counts counts;
    struct posting p;
    uint16_t id;

    posting_start(f, &p);
    id = probe_expect(&p);
    post_expect(&p, 32);
    probe_answer(f, &p, id, E2BIG);
    post_expect(&p, 32);
    // An answer to the probe is no failed DMA_WRITE; a second one with its ID is.
    vfiouser_server_counts_get(p.server, &counts);
    assert_int_equal(counts.dma_writes_failed, 0);
    probe_answer(f, &p, id, E2BIG);
    vfiouser_server_counts_get(p.server, &counts);
    assert_int_equal(counts.dma_writes_failed, 1);
    post_expect(&p, 32);
    // Once a connection.
    assert_int_equal(reset_send(f, &p), 0);
    post_expect(&p, 32);
    posting_end(f, &p);
}

// The first form: the client has written its no bytes, and says so.
static void test_count_of_32_bits(void **state)
{
    struct fixture *f = *state;
    struct posting p;
    uint16_t id;

    posting_start(f, &p);
    id = probe_expect(&p);
    probe_answer(f, &p, (uint16_t)(id + 1), 0); // somebody else's
    post_expect(&p, 32);
    probe_answer(f, &p, id, 0);
    post_expect(&p, 28);
    assert_int_equal(reset_send(f, &p), 0);
    post_expect(&p, 28);
    // The next client is asked again.
    close(p.sock);
    fixture_pump(f);
    p.sock = raw_connect(p.path);
    assert_int_equal(fixture_version(f, p.sock), 0);
    post_expect(&p, 32);
    assert_int_equal(reset_send(f, &p), 0);
    probe_expect(&p);
    posting_end(f, &p);
}

static void test_nobody_there(void **state)
{
    struct fixture *f = *state;
    int sock;

    assert_int_equal(post(f, 1), -ENOTCONN);
    sock = fixture_client(f); // connected, no VERSION yet
    assert_int_equal(post(f, 1), -ENOTCONN);
    assert_int_equal(fixture_version(f, sock), 0);
    assert_int_equal(post(f, 1), 0);
    fixture_client_end(f, sock);
    assert_int_equal(post(f, 1), -ENOTCONN);
    assert_int_equal(fixture_counts(f).dma_writes_posted, 1);
}

// NULL: all went.
static void *poster(void *ctx)
{
    struct fixture *f = ctx;
    bool failed = false;

    for (uint32_t i = 0; i < POSTS; i++)
        failed |= post(f, i) != 0;
    return failed ? ctx : NULL;
}

// Messages of two threads and the loop's replies, with a client that reads late: all come, whole.
static void test_threads(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);
    unsigned posted = 0, replies = 0, sent = 0;
    pthread_t threads[THREADS];
    uint8_t bytes[64];

    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, poster, f), 0);
    while (posted < THREADS * POSTS || replies < sent) {
        struct pollfd pfd = {.fd = sock, .events = POLLIN};
        ssize_t n;

        if (sent < 200) {
            uint8_t query[16] = {16};
            size_t len = raw_message(bytes, 7, VFIOUSER_DEVICE_GET_INFO, 0, query, sizeof query);

            assert_int_equal(raw_send(sock, bytes, len, NULL, 0), len);
            sent++;
        }
        fixture_pump(f);
        for (unsigned i = 0; i < 100; i++) {
            ssize_t payload;

            n = raw_receive(sock, bytes, 16, NULL, NULL);
            if (n == -EAGAIN)
                break;
            assert_int_equal(n, 16);
            payload = le16_get(bytes + 2) == VFIOUSER_DMA_WRITE ? 20 : 16;
            assert_int_equal(le32_get(bytes + 4), 16 + payload);
            // The sender was stopped in the middle of it, perhaps.
            for (ssize_t got = 0; got<payload; got += n> 0 ? n : 0) {
                fixture_pump(f);
                n = raw_receive(sock, bytes + 16 + got, (size_t)(payload - got), NULL, NULL);
                assert_true(n > 0 || n == -EAGAIN);
            }
            if (payload == 20)
                posted++;
            else
                replies++;
        }
        assert_true(poll(&pfd, 1, 0) >= 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        void *failed = NULL;

        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    fixture_pump(f);
    assert_int_equal(raw_receive(sock, bytes, 1, NULL, NULL), -EAGAIN);
    assert_int_equal(fixture_counts(f).dma_writes_posted, THREADS * POSTS);
    fixture_client_end(f, sock);
}

static void test_client_that_does_not_read(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f), err = 0;
    unsigned n = 0;

    while (!err && n++ < 1000000)
        err = post(f, n);
    assert_int_equal(err, -ENOBUFS);
    assert_int_equal(post(f, 0), -ENOBUFS); // and does not write into the middle of a message
    assert_true(vfiouser_server_client_pid(f->server) != 0);
    fixture_pump(f);
    assert_int_equal(vfiouser_server_client_pid(f->server), 0);
    assert_int_equal(f->toy->detaches, 1);
    assert_int_equal(post(f, 0), -ENOTCONN);
    close(sock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bytes_on_the_wire, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_failure_is_counted, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_count_of_64_bits, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_count_of_32_bits, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_nobody_there, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_threads, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_client_that_does_not_read, fixture_setup,
                                        fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

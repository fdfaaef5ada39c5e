// SPDX-License-Identifier: BSD-3-Clause
// Our client against our server from end to end, and against servers that misbehave.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/le.h"
#include "support/raw_vfiouser.h"
#include "support/toy_vfiouser_device.h"
#include "vfiouser/client.h"

struct fixture {
    char dir[32], path[64];
    struct toy_device *toy;
    struct toy_server *server;
    struct vfiouser_client *client;
    int free_fd;
    char error[256];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->free_fd = raw_lowest_free_fd();
    strcpy(f->dir, "/tmp/vireo-test-XXXXXX");
    if (!mkdtemp(f->dir) || toy_device_create(&f->toy))
        return -1;
    snprintf(f->path, sizeof f->path, "%s/toy.sock", f->dir);
    if (toy_server_start(f->toy, "toy0", f->path, true, &f->server, f->error, sizeof f->error) ||
        vfiouser_client_open(f->path, &f->client, f->error, sizeof f->error))
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    int leaked;

    vfiouser_client_close(f->client);
    if (f->server)
        toy_server_stop(f->server);
    toy_device_destroy(f->toy);
    rmdir(f->dir);
    leaked = !raw_fds_are_back(f->free_fd);
    free(f);
    return leaked;
}

static void test_regions(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_client_region region, again;
    unsigned count;
    uint32_t value;

    assert_int_equal(vfiouser_client_region(f->client, TOY_BAR0, &region), 0);
    assert_int_equal(region.size_bytes, TOY_BAR0_LEN);
    assert_true(region.read && region.write && region.mapped);
    assert_int_equal(region.mapped_offset, TOY_MAPPED_OFFSET);
    assert_int_equal(region.mapped_len, TOY_MAPPED_LEN);
    // The same bytes by mapping and by message, both ways.
    le32_put((uint8_t *)region.mapped + 0x10, 0x12345678);
    assert_int_equal(vfiouser_client_read(f->client, TOY_BAR0, TOY_MAPPED_OFFSET + 0x10, &value, 4),
                     0);
    assert_int_equal(value, 0x12345678);
    value = 0x9abcdef0;
    assert_int_equal(vfiouser_client_write(f->client, TOY_BAR0,
                                           TOY_MAPPED_OFFSET + TOY_MAPPED_LEN - 4, &value, 4,
                                           false),
                     0);
    assert_int_equal(le32_get((uint8_t *)region.mapped + TOY_MAPPED_LEN - 4), 0x9abcdef0);
    assert_int_equal(vfiouser_client_region(f->client, TOY_BAR0, &again), 0);
    assert_ptr_equal(again.mapped, region.mapped);

    assert_int_equal(vfiouser_client_region(f->client, TOY_BAR2, &region), 0);
    assert_null(region.mapped);
    assert_int_equal(vfiouser_client_region(f->client, TOY_ROM, &region), 0);
    assert_true(region.read && !region.write);
    assert_int_equal(vfiouser_client_region(f->client, 1, &region), 0);
    assert_int_equal(region.size_bytes, 0);
    assert_int_equal(vfiouser_client_region(f->client, VFIOUSER_REGIONS, &region), -EINVAL);

    assert_int_equal(vfiouser_client_irq_count(f->client, TOY_MSIX, &count), 0);
    assert_int_equal(count, TOY_VECTORS);
    assert_int_equal(vfiouser_client_irq_count(f->client, 0, &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(vfiouser_client_irq_count(f->client, VFIOUSER_IRQS, &count), -EINVAL);
}

static void test_access(void **state)
{
    struct fixture *f = *state;
    uint8_t config[TOY_CONFIG_LEN], config_back[TOY_CONFIG_LEN];
    uint64_t value = 0x1122334455667788;

    assert_int_equal(vfiouser_client_read(f->client, TOY_CONFIG, 0, config, sizeof config), 0);
    assert_int_equal(le16_get(config), 0x1234);
    memset(config + 0x100, 0x5a, sizeof config - 0x100);
    assert_int_equal(vfiouser_client_write(f->client, TOY_CONFIG, 0, config, sizeof config, false),
                     0);
    assert_int_equal(
        vfiouser_client_read(f->client, TOY_CONFIG, 0, config_back, sizeof config_back), 0);
    assert_memory_equal(config, config_back, sizeof config);
    // A posted write is done before the next request is answered.
    assert_int_equal(vfiouser_client_write(f->client, TOY_BAR2, 8, &value, 8, true), 0);
    value = 0;
    assert_int_equal(vfiouser_client_read(f->client, TOY_BAR2, 8, &value, 8), 0);
    assert_true(value == 0x1122334455667788);
    // Errors come back, and the connection lives on.
    assert_int_equal(vfiouser_client_read(f->client, TOY_BAR0, TOY_BAR0_LEN, &value, 4), -EINVAL);
    assert_int_equal(vfiouser_client_write(f->client, TOY_ROM, 0, &value, 4, false), -EPERM);
    assert_int_equal(vfiouser_client_read(f->client, TOY_CONFIG, 0, config, UINT32_MAX), -EINVAL);
    assert_false(vfiouser_client_is_lost(f->client));
    assert_int_equal(vfiouser_client_reset(f->client), 0);
    assert_int_equal(f->toy->resets, 1);
}

static bool signalled(int fd)
{
    struct pollfd pfd = {fd, POLLIN, 0};

    return poll(&pfd, 1, 0) > 0;
}

static void reg_write(struct fixture *f, uint32_t reg, uint64_t value, uint32_t len)
{
    assert_int_equal(vfiouser_client_write(f->client, TOY_BAR0, reg, &value, len, false), 0);
}

static uint32_t copy(struct fixture *f, uint64_t src, uint64_t dst, uint32_t len, uint32_t vector)
{
    uint32_t done;

    reg_write(f, TOY_REG_SRC, src, 8);
    reg_write(f, TOY_REG_DST, dst, 8);
    reg_write(f, TOY_REG_LEN, len, 4);
    reg_write(f, TOY_REG_GO, vector, 4);
    assert_int_equal(vfiouser_client_read(f->client, TOY_BAR0, TOY_REG_GO, &done, 4), 0);
    return done;
}

static void test_dma_and_interrupts(void **state)
{
    struct fixture *f = *state;
    int ram = memfd_create("ram", MFD_CLOEXEC);
    int fds[TOY_VECTORS] = {eventfd(0, EFD_NONBLOCK), -1, eventfd(0, EFD_NONBLOCK),
                            eventfd(0, EFD_NONBLOCK)};
    uint8_t *host;

    assert_int_equal(ftruncate(ram, 0x3000), 0);
    host = mmap(NULL, 0x3000, PROT_READ | PROT_WRITE, MAP_SHARED, ram, 0);
    strcpy((char *)host + 0x1010, "a packet");
    assert_int_equal(vfiouser_client_dma_map(f->client, 0x100000, 0x1000, ram, 0x1000, true, false),
                     0);
    assert_int_equal(vfiouser_client_dma_map(f->client, 0x200000, 0x1000, ram, 0x2000, true, true),
                     0);
    assert_int_equal(vfiouser_client_dma_map(f->client, 0x200000, 0x1000, ram, 0, true, true),
                     -EEXIST);
    assert_int_equal(vfiouser_client_dma_map(f->client, 0x300000, 0x1000, -1, 0, true, true), 0);
    // fds and gaps: three messages.
    assert_int_equal(vfiouser_client_set_irqs(f->client, TOY_MSIX, 0, TOY_VECTORS, fds), 0);
    assert_int_equal(f->toy->irq_calls, 3);
    assert_int_equal(copy(f, 0x100010, 0x200ff7, 9, 2), 1);
    assert_string_equal((char *)host + 0x2ff7, "a packet");
    assert_true(signalled(fds[2]) && !signalled(fds[0]) && !signalled(fds[3]));
    assert_int_equal(copy(f, 0x100010, 0x200ff8, 9, 1), 0); // one byte past the end
    assert_int_equal(copy(f, 0x200000, 0x100000, 9, 1), 0); // read-only
    assert_int_equal(copy(f, 0x100000, 0x300000, 9, 0), 0); // not mappable
    assert_true(signalled(fds[0]));
    assert_int_equal(vfiouser_client_dma_unmap(f->client, 0x100000, 0x1000), 0);
    assert_int_equal(vfiouser_client_dma_unmap(f->client, 0x100000, 0x1000), 0);
    assert_int_equal(copy(f, 0x100010, 0x200000, 9, 3), 0);
    assert_true(signalled(fds[3]));
    assert_int_equal(vfiouser_client_set_irqs(f->client, TOY_MSIX, 0, 0, NULL), 0);
    assert_int_equal(f->toy->irq_disables, 1);
    for (unsigned i = 0; i < TOY_VECTORS; i++) {
        assert_int_equal(f->toy->vectors[i], -1);
        if (fds[i] >= 0)
            close(fds[i]);
    }
    munmap(host, 0x3000);
    close(ram);
}

static void test_second_and_next_client(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_client *second = NULL;
    uint32_t value;

    assert_int_equal(vfiouser_client_open(f->path, &second, f->error, sizeof f->error), -EBUSY);
    assert_null(second);
    assert_non_null(strstr(f->error, "somebody else holds the device"));
    assert_int_equal(vfiouser_client_read(f->client, TOY_CONFIG, 0, &value, 4), 0);
    // Closed and opened again at once: the server must see the end before the beginning.
    for (unsigned i = 0; i < 50; i++) {
        vfiouser_client_close(f->client);
        assert_int_equal(vfiouser_client_open(f->path, &f->client, f->error, sizeof f->error), 0);
    }
    assert_int_equal(vfiouser_client_open("/no/such", &second, f->error, sizeof f->error), -ENOENT);
}

static void drop(struct vfiouser_server *server, void *ctx)
{
    (void)ctx;
    vfiouser_server_drop_client(server, "the test says so");
}

static void test_server_dies(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_client_region region;
    uint32_t value;
    int err;

    assert_int_equal(vfiouser_client_region(f->client, TOY_BAR0, &region), 0);
    toy_server_call(f->server, drop, NULL);
    err = vfiouser_client_read(f->client, TOY_CONFIG, 0, &value, 4);
    assert_int_equal(err, -ECONNRESET);
    assert_true(vfiouser_client_is_lost(f->client));
    assert_int_equal(vfiouser_client_read(f->client, TOY_CONFIG, 0, &value, 4), -ENOTCONN);
    assert_int_equal(vfiouser_client_write(f->client, TOY_BAR0, 0, &value, 4, true), -ENOTCONN);
    assert_int_equal(vfiouser_client_reset(f->client), -ENOTCONN);
    *(volatile uint32_t *)region.mapped = 1; // still there
}

// A server that accepts one client, agrees on the version, and answers the next request with
// `reply` as it stands, the request's id put in where `copy_id`; then hangs up when the client
// does.
struct fake {
    int listen_fd, fd; // fd: goes with the reply, or -1
    bool mute;         // does not answer at all
    bool copy_id, ask_first;
    bool chatters; // asks without end instead of an answer, and wants none itself
    uint8_t reply[256];
    size_t reply_len;
    uint32_t refusal; // the error in the answer to what it asked
};

static void read_exactly(int sock, uint8_t *buf, size_t len)
{
    if (len && recv(sock, buf, len, MSG_WAITALL) < 0)
        perror("fake server");
}

// Returns the payload's length.
static size_t read_message(int sock, uint8_t *buf)
{
    read_exactly(sock, buf, 16);
    read_exactly(sock, buf + 16, le32_get(buf + 4) - 16);
    return le32_get(buf + 4) - 16;
}

// Until the client hangs up, or for longer than any request takes.
static void chatter(int sock)
{
    uint64_t deadline_ns = clock_now_ns() + 12 * NS_PER_S;
    uint8_t buf[64];
    size_t len =
        raw_message(buf, 9, VFIOUSER_DMA_READ, VFIOUSER_FLAG_NO_REPLY, (const uint8_t[16]){0}, 16);

    while (clock_now_ns() < deadline_ns && send(sock, buf, len, MSG_NOSIGNAL) >= 0)
        usleep(200);
}

static void *fake_main(void *ctx)
{
    struct fake *fake = ctx;
    uint8_t buf[4096] = {0}, version[512];
    int sock = accept4(fake->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    size_t len;

    if (!fake->mute) {
        read_message(sock, buf);
        len = raw_version(version, le16_get(buf));
        le32_put(version + 8, VFIOUSER_TYPE_REPLY);
        raw_send(sock, version, len, NULL, 0);
        read_message(sock, buf);
        if (fake->copy_id)
            memcpy(fake->reply, buf, 2);
        if (fake->ask_first) {
            raw_send(sock, version, raw_message(version, 9, VFIOUSER_DMA_READ, 0, NULL, 16), NULL,
                     0);
            read_message(sock, buf);
            fake->refusal = le32_get(buf + 12);
        }
        if (fake->chatters)
            chatter(sock);
        else if (fake->reply_len)
            raw_send(sock, fake->reply, fake->reply_len, &fake->fd, fake->fd >= 0);
        else
            shutdown(sock, SHUT_RDWR);
    }
    while (recv(sock, buf, sizeof buf, 0) > 0)
        ;
    close(sock);
    return NULL;
}

typedef int (*call_fn)(struct vfiouser_client *client);

// What `call` comes to with that server, and whether the connection is lost then.
static int against(struct fixture *f, struct fake *fake, call_fn call, bool *lost)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct vfiouser_client *client = NULL;
    pthread_t thread;
    int err;

    snprintf(address.sun_path, sizeof address.sun_path, "%s/fake", f->dir);
    fake->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fake->listen_fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fake->listen_fd, 1), 0);
    assert_int_equal(pthread_create(&thread, NULL, fake_main, fake), 0);
    err = vfiouser_client_open(address.sun_path, &client, f->error, sizeof f->error);
    if (!err) {
        err = call(client);
        *lost = vfiouser_client_is_lost(client);
        vfiouser_client_close(client);
    }
    pthread_join(thread, NULL);
    close(fake->listen_fd);
    unlink(address.sun_path);
    return err;
}

static int call_reset(struct vfiouser_client *client)
{
    return vfiouser_client_reset(client);
}

static int call_read(struct vfiouser_client *client)
{
    uint8_t buf[8];

    return vfiouser_client_read(client, 0, 0, buf, sizeof buf);
}

static int call_region(struct vfiouser_client *client)
{
    struct vfiouser_client_region region;

    return vfiouser_client_region(client, 0, &region);
}

static void test_bad_replies(void **state)
{
    struct fixture *f = *state;
    struct fake fake = {.fd = -1, .copy_id = true};
    bool lost;

    fake.reply_len =
        raw_message(fake.reply, 0, VFIOUSER_DEVICE_RESET, VFIOUSER_TYPE_REPLY, NULL, 0);
    assert_int_equal(against(f, &fake, call_reset, &lost), 0);
    assert_false(lost);
    // The server asks something in between: refused, and the reply still found.
    fake.ask_first = true;
    assert_int_equal(against(f, &fake, call_reset, &lost), 0);
    assert_int_equal(fake.refusal, ENOTSUP);
    fake.ask_first = false;
    // An error without a number; with one that is none.
    le32_put(fake.reply + 8, VFIOUSER_TYPE_REPLY | VFIOUSER_FLAG_ERROR);
    assert_int_equal(against(f, &fake, call_reset, &lost), -EIO);
    le32_put(fake.reply + 12, UINT32_MAX);
    assert_int_equal(against(f, &fake, call_reset, &lost), -EIO);
    le32_put(fake.reply + 12, ENODEV);
    assert_int_equal(against(f, &fake, call_reset, &lost), -ENODEV);
    assert_false(lost);
    // To something else.
    assert_int_equal(against(f, &fake, call_read, &lost), -EPROTO);
    assert_true(lost);
    fake.copy_id = false;
    le16_put(fake.reply, 0x5555);
    assert_int_equal(against(f, &fake, call_reset, &lost), -EPROTO);
    assert_true(lost);
    fake.copy_id = true;
    // Longer than any message, and shorter than a header.
    le32_put(fake.reply + 4, UINT32_MAX);
    assert_int_equal(against(f, &fake, call_reset, &lost), -EPROTO);
    assert_true(lost);
    le32_put(fake.reply + 4, 15);
    assert_int_equal(against(f, &fake, call_reset, &lost), -EPROTO);
    assert_true(lost);
    // None at all.
    fake.reply_len = 0;
    assert_int_equal(against(f, &fake, call_reset, &lost), -ECONNRESET);
    assert_true(lost);
}

static void test_bad_contents(void **state)
{
    struct fixture *f = *state;
    struct fake fake = {.fd = -1, .copy_id = true};
    struct vfiouser_region_access access = {.count = 8};
    struct vfiouser_region_info info = {
        .flags = VFIOUSER_REGION_READABLE | VFIOUSER_REGION_MAPPABLE,
        .size = 0x1000,
        .area_count = 1,
        .areas = {{0, 0x1000}},
    };
    uint8_t payload[VFIOUSER_REGION_INFO_MAX] = {0};
    bool lost;

    for (size_t data = 0; data < 20; data++) {
        vfiouser_region_access_build(payload, &access);
        fake.reply_len = raw_message(fake.reply, 0, VFIOUSER_REGION_READ, VFIOUSER_TYPE_REPLY,
                                     payload, 16 + data);
        assert_int_equal(against(f, &fake, call_read, &lost), data == 8 ? 0 : -EPROTO);
    }
    fake.reply_len =
        raw_message(fake.reply, 0, VFIOUSER_DEVICE_GET_REGION_INFO, VFIOUSER_TYPE_REPLY, payload,
                    vfiouser_region_info_build(payload, 32, &info));
    // Mappable, without an fd; with one that cannot be mapped; with a good one.
    assert_int_equal(against(f, &fake, call_region, &lost), -EPROTO);
    fake.fd = eventfd(0, 0);
    assert_true(against(f, &fake, call_region, &lost) < 0);
    close(fake.fd);
    fake.fd = f->toy->bar0_fd;
    assert_int_equal(against(f, &fake, call_region, &lost), 0);
    // An offset that mmap() would take for something else.
    le64_put(fake.reply + 16 + 24, UINT64_MAX - 0xfff);
    assert_int_equal(against(f, &fake, call_region, &lost), -EPROTO);
    le64_put(fake.reply + 16 + 24, 1);
    assert_int_equal(against(f, &fake, call_region, &lost), -EPROTO);
    // Another region's.
    le64_put(fake.reply + 16 + 24, 0);
    le32_put(fake.reply + 16 + 8, 5);
    assert_int_equal(against(f, &fake, call_region, &lost), -EPROTO);
}

static void expect_timeout(struct fixture *f, struct fake *fake)
{
    uint64_t start_ns = clock_now_ns(), took_ns;
    bool lost;

    assert_int_equal(against(f, fake, call_reset, &lost), -ETIMEDOUT);
    took_ns = clock_now_ns() - start_ns;
    assert_true(took_ns >= 5 * NS_PER_S && took_ns < 10 * NS_PER_S);
}

static void test_no_answer(void **state)
{
    struct fake mute = {.fd = -1, .mute = true}, chatters = {.fd = -1, .chatters = true};

    expect_timeout(*state, &mute);
    expect_timeout(*state, &chatters);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_regions),
        TEST(test_access),
        TEST(test_dma_and_interrupts),
        TEST(test_second_and_next_client),
        TEST(test_server_dies),
        TEST(test_bad_replies),
        TEST(test_bad_contents),
        TEST(test_no_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
// Every request at the limits of what the server takes, over a real socket, and what it answers.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/le.h"
#include "support/raw_vfiouser.h"
#include "support/vfiouser_fixture.h"

static void test_unknown_commands(void **state)
{
    static const unsigned unknown[] = {0, 19, VFIOUSER_COMMANDS - 1, VFIOUSER_COMMANDS, 65535};
    static const unsigned not_here[] = {VFIOUSER_DEVICE_GET_REGION_IO_FDS, VFIOUSER_DIRTY_PAGES,
                                        VFIOUSER_DEVICE_FEATURE, VFIOUSER_MIG_DATA_READ,
                                        VFIOUSER_MIG_DATA_WRITE};
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);

    for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
        assert_int_equal(fixture_request(f, sock, unknown[i], NULL, 16), -EINVAL);
    assert_int_equal(fixture_counts(f).received[0], ARRAY_LEN(unknown));
    for (size_t i = 0; i < ARRAY_LEN(not_here); i++)
        assert_int_equal(fixture_request(f, sock, not_here[i], NULL, 16), -ENOTSUP);
    // From server to client only.
    assert_int_equal(fixture_request(f, sock, VFIOUSER_DMA_READ, NULL, 16), -EINVAL);
    assert_int_equal(fixture_request(f, sock, VFIOUSER_DMA_WRITE, NULL, 16), -EINVAL);
    assert_int_equal(fixture_request(f, sock, VFIOUSER_VERSION, NULL, 4), -EINVAL);
    assert_int_equal(fixture_region_access(f, sock, false, TOY_CONFIG, 0, 4), 0);
    fixture_client_end(f, sock);
}

static void test_payload_lengths(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);

    for (unsigned command = 2; command < VFIOUSER_COMMANDS; command++) {
        const struct vfiouser_command_info *info = vfiouser_command_info(command);
        uint64_t bad = fixture_counts(f).received[0];

        if (!info)
            continue;
        if (info->len_min)
            assert_int_equal(fixture_request(f, sock, command, NULL, info->len_min - 1), -EINVAL);
        if (info->len_max < 8192)
            assert_int_equal(fixture_request(f, sock, command, NULL, info->len_max + 1), -EINVAL);
        assert_int_equal(fixture_counts(f).received[0],
                         bad + !!info->len_min + (info->len_max < 8192));
    }
    assert_int_equal(fixture_request(f, sock, VFIOUSER_DEVICE_RESET, NULL, 0), 0);
    assert_int_equal(f->toy->resets, 1);
    fixture_client_end(f, sock);
}

static void test_interrupt_fds_are_eventfds(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);
    int pipes[2], other, event = eventfd(0, 0);
    int before = raw_lowest_free_fd();

    assert_int_equal(pipe(pipes), 0);
    other = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(fixture_set_vectors(f, sock, 0, 1, &f->toy->bar0_fd, 1), -EINVAL);
    assert_int_equal(fixture_set_vectors(f, sock, 0, 1, &pipes[1], 1), -EINVAL);
    assert_int_equal(fixture_set_vectors(f, sock, 0, 1, &other, 1), -EINVAL);
    assert_int_equal(fixture_set_vectors(f, sock, 0, 2, (int[]){event, pipes[1]}, 2), -EINVAL);
    assert_int_equal(f->toy->irq_calls, 0);
    assert_int_equal(fixture_set_vectors(f, sock, 0, 2, (int[]){event, event}, 1), -EINVAL);
    assert_int_equal(fixture_set_vectors(f, sock, 0, 2, (int[]){event, event}, 2), 0);
    assert_true(f->toy->vectors[0] >= 0 && f->toy->vectors[1] >= 0);
    assert_int_equal(fixture_set_vectors(f, sock, 0, 2, NULL, 0), 0);
    assert_true(f->toy->vectors[0] < 0 && f->toy->vectors[1] < 0);
    assert_int_equal(fixture_set_vectors(f, sock, 3, 2, NULL, 0), -EINVAL);
    close(pipes[0]);
    close(pipes[1]);
    close(other);
    // The message's own copies are gone with the next message.
    assert_int_equal(fixture_region_access(f, sock, false, TOY_CONFIG, 0, 4), 0);
    assert_true(raw_fds_are_back(before));
    close(event);
    fixture_client_end(f, sock);
}

static void test_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_client(f);
    struct vfiouser_dma_map_request map = {0x5000, 0x1000, 0, true, true};
    uint8_t bytes[1024], payload[32] = {0};
    size_t len, map_at;

    len = raw_version(bytes, 1);
    map_at = len;
    vfiouser_dma_map_build(payload, &map);
    len += raw_message(bytes + len, 2, VFIOUSER_DMA_MAP, 0, payload, 32);
    memset(payload, 0, sizeof payload);
    le32_put(payload, 16);
    len += raw_message(bytes + len, 3, VFIOUSER_DEVICE_GET_INFO, 0, payload, 16);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(raw_send(sock, bytes + i, 1, &f->toy->bar0_fd, i == map_at), 1);
        fixture_pump(f);
    }
    assert_int_equal(fixture_reply(f, sock), 0);
    assert_int_equal(fixture_reply(f, sock), 0);
    assert_int_equal(f->toy->map_count, 1);
    assert_int_equal(fixture_reply(f, sock), 0);
    assert_int_equal(le32_get(f->reply + 16 + 4), 3); // RESET and PCI
    assert_int_equal(le32_get(f->reply + 16 + 8), VFIOUSER_REGIONS);
    assert_int_equal(le32_get(f->reply + 16 + 12), VFIOUSER_IRQS);
    fixture_client_end(f, sock);
}

static void test_pipelined_and_posted(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);
    uint8_t bytes[4096], payload[20] = {0};
    size_t len = 0;

    le32_put(payload + 8, TOY_BAR0);
    le32_put(payload + 12, 4);
    for (uint16_t i = 0; i < 50; i++) {
        le64_put(payload, 0x100 + 4u * i);
        le32_put(payload + 16, 0x1000u + i);
        len += raw_message(bytes + len, i, VFIOUSER_REGION_WRITE,
                           i % 2 ? VFIOUSER_FLAG_NO_REPLY : 0, payload, 20);
    }
    // Posted and wrong: still no reply.
    le64_put(payload, TOY_BAR0_LEN);
    len += raw_message(bytes + len, 99, VFIOUSER_REGION_WRITE, VFIOUSER_FLAG_NO_REPLY, payload, 20);
    assert_int_equal(raw_send(sock, bytes, len, NULL, 0), len);
    fixture_pump(f);
    for (uint16_t i = 0; i < 50; i += 2) {
        assert_int_equal(fixture_reply(f, sock), 0);
        assert_int_equal(le16_get(f->reply), i);
        assert_int_equal(f->reply_len, 32);
    }
    assert_int_equal(fixture_reply(f, sock), NO_REPLY_CAME);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(le32_get(f->toy->bar0 + 0x100 + 4 * i), 0x1000 + i);
    assert_int_equal(fixture_counts(f).region_writes_posted, 25);
    assert_int_equal(fixture_counts(f).writes_by_region[TOY_BAR0], 50);
    assert_int_equal(fixture_counts(f).received[VFIOUSER_REGION_WRITE], 51);
    fixture_client_end(f, sock);
}

struct access_case {
    bool write;
    unsigned region;
    uint64_t offset;
    uint32_t count;
    int err;
};

static void test_region_access(void **state)
{
    static const struct access_case cases[] = {
        // registers: 1, 2, 4, 8, aligned, within
        {false, TOY_BAR0, 0, 1, 0},
        {false, TOY_BAR0, 0, 2, 0},
        {false, TOY_BAR0, 0, 3, -EINVAL},
        {false, TOY_BAR0, 0, 4, 0},
        {false, TOY_BAR0, 0, 8, 0},
        {false, TOY_BAR0, 0, 16, -EINVAL},
        {false, TOY_BAR0, 0, 0, -EINVAL},
        {false, TOY_BAR0, 1, 1, 0},
        {false, TOY_BAR0, 1, 2, -EINVAL},
        {false, TOY_BAR0, 2, 4, -EINVAL},
        {false, TOY_BAR0, 4, 8, -EINVAL},
        {true, TOY_BAR0, 2, 4, -EINVAL},
        {false, TOY_BAR0, TOY_BAR0_LEN - 1, 1, 0},
        {false, TOY_BAR0, TOY_BAR0_LEN - 8, 8, 0},
        {false, TOY_BAR0, TOY_BAR0_LEN - 4, 8, -EINVAL},
        {false, TOY_BAR0, TOY_BAR0_LEN, 1, -EINVAL},
        {true, TOY_BAR0, TOY_BAR0_LEN - 4, 4, 0},
        {true, TOY_BAR0, TOY_BAR0_LEN, 4, -EINVAL},
        {false, TOY_BAR0, UINT64_MAX, 1, -EINVAL},
        {false, TOY_BAR0, UINT64_MAX - 3, 4, -EINVAL},
        {true, TOY_BAR0, UINT64_MAX - 3, 4, -EINVAL},
        // bytes: any range within
        {false, TOY_CONFIG, 0, TOY_CONFIG_LEN, 0},
        {false, TOY_CONFIG, 0, TOY_CONFIG_LEN + 1, -EINVAL},
        {false, TOY_CONFIG, 1, TOY_CONFIG_LEN, -EINVAL},
        {false, TOY_CONFIG, 3, 7, 0},
        {false, TOY_CONFIG, 0, UINT32_MAX, -EINVAL},
        {true, TOY_CONFIG, 0x81, 3, 0},
        {true, TOY_CONFIG, TOY_CONFIG_LEN - 2, 3, -EINVAL},
        {false, TOY_ROM, 0, 4096 - 16, 0},
        {true, TOY_ROM, 0, 4, -EPERM},
        // not there
        {false, 1, 0, 4, -EINVAL},
        {true, 1, 0, 4, -EINVAL},
        {false, 8, 0, 4, -EINVAL},
        {false, VFIOUSER_REGIONS, 0, 4, -EINVAL},
        {true, UINT32_MAX, 0, 4, -EINVAL},
    };
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct access_case *c = &cases[i];
        bool whole =
            !c->write && c->region == TOY_CONFIG && c->count == TOY_CONFIG_LEN && !c->offset;
        int err;

        if (whole)
            continue; // longer than f->reply: test_client_that_reads_late has it
        err = fixture_region_access(f, sock, c->write, c->region, c->offset, c->count);
        if (err != c->err)
            fail_msg("case %zu: %d", i, err);
        if (!err)
            assert_int_equal(f->reply_len, 32 + (c->write ? 0 : c->count));
    }
    fixture_client_end(f, sock);
}

static void multi_put(uint8_t *payload, unsigned i, uint64_t offset, unsigned region,
                      uint32_t count, uint64_t value)
{
    uint8_t *p = payload + 8 + 24 * i;

    le64_put(p, offset);
    le32_put(p + 8, region);
    le32_put(p + 12, count);
    le64_put(p + 16, value);
}

static void test_write_multi(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);
    uint8_t payload[8 + 3 * 24] = {3}, bytes[128];
    size_t len;

    multi_put(payload, 0, 0x100, TOY_BAR0, 4, 0x11);
    multi_put(payload, 1, 0x200, TOY_BAR2, 8, 0x22);
    multi_put(payload, 2, TOY_BAR0_LEN, TOY_BAR0, 4, 0x33);
    // The last is bad: none is done.
    assert_int_equal(fixture_request(f, sock, VFIOUSER_REGION_WRITE_MULTI, payload, sizeof payload),
                     -EINVAL);
    assert_int_equal(f->toy->bar0[0x100], 0);
    multi_put(payload, 2, 0x100, TOY_BAR0, 1, 0x33);
    assert_int_equal(fixture_request(f, sock, VFIOUSER_REGION_WRITE_MULTI, payload, sizeof payload),
                     0);
    assert_int_equal(f->reply_len, 16 + 8);
    assert_int_equal(le64_get(f->reply + 16), 3);
    assert_int_equal(f->toy->bar0[0x100], 0x33); // in order
    assert_int_equal(f->toy->bar2[0x200], 0x22);
    assert_int_equal(fixture_counts(f).region_writes_posted, 0);
    len = raw_message(bytes, 1, VFIOUSER_REGION_WRITE_MULTI, VFIOUSER_FLAG_NO_REPLY, payload,
                      sizeof payload);
    raw_send(sock, bytes, len, NULL, 0);
    fixture_pump(f);
    assert_int_equal(fixture_reply(f, sock), NO_REPLY_CAME);
    assert_int_equal(fixture_counts(f).region_writes_posted, 3);
    payload[0] = 2;
    assert_int_equal(fixture_request(f, sock, VFIOUSER_REGION_WRITE_MULTI, payload, sizeof payload),
                     -EINVAL);
    fixture_client_end(f, sock);
}

static int region_info(struct fixture *f, int sock, unsigned index, uint32_t argsz)
{
    uint8_t payload[32] = {0};

    le32_put(payload, argsz);
    le32_put(payload + 8, index);
    return fixture_request(f, sock, VFIOUSER_DEVICE_GET_REGION_INFO, payload, sizeof payload);
}

static void test_region_info(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);

    assert_int_equal(region_info(f, sock, TOY_BAR0, 31), -EINVAL);
    assert_int_equal(region_info(f, sock, VFIOUSER_REGIONS, 32), -EINVAL);
    assert_int_equal(region_info(f, sock, UINT32_MAX, 32), -EINVAL);
    for (uint32_t argsz = 32; argsz < 64; argsz++) {
        assert_int_equal(region_info(f, sock, TOY_BAR0, argsz), 0);
        assert_int_equal(f->reply_len, 16 + 32);
        assert_int_equal(le32_get(f->reply + 16), 64);
        assert_int_equal(f->reply_fd, -1);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(region_info(f, sock, TOY_BAR0, i ? UINT32_MAX : 64), 0);
        assert_int_equal(f->reply_len, 16 + 64);
        assert_true(f->reply_fd >= 0);
        close(f->reply_fd);
        assert_int_equal(le32_get(f->reply + 16 + 4), 0xf);
        assert_int_equal(le64_get(f->reply + 16 + 48), TOY_MAPPED_OFFSET);
        assert_int_equal(le64_get(f->reply + 16 + 56), TOY_MAPPED_LEN);
    }
    assert_int_equal(region_info(f, sock, TOY_BAR2, 4096), 0);
    assert_int_equal(f->reply_fd, -1);
    assert_int_equal(f->reply_len, 16 + 32);
    assert_int_equal(le32_get(f->reply + 16 + 4), 3);
    assert_int_equal(region_info(f, sock, 1, 32), 0); // not there: size 0
    assert_int_equal(le64_get(f->reply + 16 + 16), 0);
    assert_int_equal(le32_get(f->reply + 16 + 4), 0);
    fixture_client_end(f, sock);
}

static void test_dma(void **state)
{
    struct fixture *f = *state;
    int sock = fixture_attached_client(f);
    struct vfiouser_dma_unmap_request unmap = {0x100000, 0x1000, false};
    uint8_t payload[24];

    assert_int_equal(fixture_dma_map(f, sock, 0x1000, 0x1000, &f->toy->bar0_fd, 1), 0);
    assert_int_equal(fixture_dma_map(f, sock, 0x1000, 0x1000, &f->toy->bar0_fd, 1), -EEXIST);
    assert_int_equal(fixture_dma_map(f, sock, 0x1001, 0x1000, &f->toy->bar0_fd, 1), -EINVAL);
    assert_int_equal(fixture_dma_map(f, sock, 0x8000, 0x1000, NULL, 0), 0);
    // Never mapped: success, and the request comes back.
    vfiouser_dma_unmap_build(payload, &unmap);
    assert_int_equal(fixture_request(f, sock, VFIOUSER_DMA_UNMAP, payload, sizeof payload), 0);
    assert_int_equal(f->reply_len, 16 + 24);
    assert_memory_equal(f->reply + 16, payload, sizeof payload);
    assert_int_equal(f->toy->map_count, 2);
    unmap.all = true;
    vfiouser_dma_unmap_build(payload, &unmap);
    assert_int_equal(fixture_request(f, sock, VFIOUSER_DMA_UNMAP, payload, sizeof payload), 0);
    assert_int_equal(f->toy->map_count, 0);
    fixture_client_end(f, sock);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_unknown_commands),
        TEST(test_payload_lengths),
        TEST(test_interrupt_fds_are_eventfds),
        TEST(test_byte_by_byte),
        TEST(test_pipelined_and_posted),
        TEST(test_region_access),
        TEST(test_write_multi),
        TEST(test_region_info),
        TEST(test_dma),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

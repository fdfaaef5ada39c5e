// SPDX-License-Identifier: BSD-3-Clause
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/le.h"
#include "vfiouser/message.h"
#include "vfiouser/server.h"

static void test_header(void **state)
{
    static const uint8_t wire[VFIOUSER_HEADER_LEN] = {
        0x34, 0x12, 0x09, 0x00, 0x20, 0, 0, 0, 0x10, 0, 0, 0, 0x10, 0, 0, 0,
    };
    uint8_t bytes[VFIOUSER_HEADER_LEN];
    struct vfiouser_header h;

    (void)state;
    assert_int_equal(vfiouser_header_parse(wire, &h), 0);
    assert_int_equal(h.id, 0x1234);
    assert_int_equal(h.command, VFIOUSER_REGION_READ);
    assert_int_equal(h.size, 32);
    assert_int_equal(h.flags, VFIOUSER_FLAG_NO_REPLY);
    assert_int_equal(h.error, EBUSY);
    vfiouser_header_build(bytes, &h);
    assert_memory_equal(bytes, wire, sizeof wire);
}

static void test_header_size_limits(void **state)
{
    static const struct {
        uint32_t size;
        int err;
    } cases[] = {
        {0, -EPROTO},
        {15, -EPROTO},
        {16, 0},
        {17, 0},
        {16 + VFIOUSER_PAYLOAD_MAX, 0},
        {16 + VFIOUSER_PAYLOAD_MAX + 1, -EPROTO},
        {UINT32_MAX, -EPROTO},
    };
    uint8_t bytes[VFIOUSER_HEADER_LEN] = {0};
    struct vfiouser_header h;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        le32_put(bytes + 4, cases[i].size);
        assert_int_equal(vfiouser_header_parse(bytes, &h), cases[i].err);
    }
}

static void test_table(void **state)
{
    (void)state;
    assert_string_equal(vfiouser_command_name(2), "DMA_MAP");
    assert_string_equal(vfiouser_command_name(0), "?");
    assert_string_equal(vfiouser_command_name(VFIOUSER_COMMANDS), "?");
    assert_string_equal(vfiouser_command_name(UINT32_MAX), "?");
    for (unsigned i = 0; i < VFIOUSER_COMMANDS; i++) {
        const struct vfiouser_command_info *info = vfiouser_command_info(i);

        assert_int_equal(info != NULL, i >= 1 && i <= 18);
        if (info) {
            assert_true(info->len_min <= info->len_max);
            assert_true(info->len_max <= VFIOUSER_PAYLOAD_MAX);
        }
    }
}

struct dma_case {
    uint32_t argsz, flags;
    uint64_t offset, address, size;
    unsigned fds;
    int err;
};

static void test_dma_map_limits(void **state)
{
    static const struct dma_case cases[] = {
        {32, 3, 0x1000, 0x2000, 0x3000, 1, 0},
        {31, 3, 0, 0, 0x1000, 1, -EINVAL},
        {UINT32_MAX, 3, 0, 0, 0x1000, 1, 0},
        // flags
        {32, 0, 0, 0, 0x1000, 1, -EINVAL},
        {32, 1, 0, 0, 0x1000, 0, 0},
        {32, 2, 0, 0, 0x1000, 0, 0},
        {32, 4 | 3, 0, 0, 0x1000, 0, -EINVAL},
        {32, 4 | 3, 0, 0, 0x1000, 1, 0},
        {32, 8 | 3, 0, 0, 0x1000, 0, -EINVAL},
        {32, 8 | 3, 0, 0, 0x1000, 1, -ENOTSUP},
        {32, 8 | 4 | 3, 0, 0, 0x1000, 1, 0},
        {32, 16 | 3, 0, 0, 0x1000, 1, -EINVAL},
        // size
        {32, 3, 0, 0, 0, 1, -EINVAL},
        {32, 3, 0, 0, 0xfff, 1, -EINVAL},
        {32, 3, 0, 0, 0x1001, 1, -EINVAL},
        // address: misaligned, up to 2^64, past it
        {32, 3, 0, 1, 0x1000, 1, -EINVAL},
        {32, 3, 0, 0xfff, 0x1000, 1, -EINVAL},
        {32, 3, 0, -0x1000ull, 0x1000, 1, 0},
        {32, 3, 0, -0x1000ull, 0x2000, 1, -EINVAL},
        {32, 3, 0, 0x1000, -0x1000ull, 0, 0},
        {32, 3, 0, 0x2000, -0x1000ull, 0, -EINVAL},
        // where the fd is: misaligned, up to 2^63, past it; not looked at without an fd
        {32, 3, 1, 0, 0x1000, 1, -EINVAL},
        {32, 3, 0x7fffffffffffe000, 0, 0x1000, 1, 0},
        {32, 3, 0x7fffffffffffe000, 0, 0x2000, 1, -EINVAL},
        {32, 3, 0xfffffffffffff000, 0, 0x1000, 1, -EINVAL},
        {32, 3, 0xfffffffffffff001, 0, 0x1000, 0, 0},
        {32, 3, 0, 0, 0x1000, 2, -EINVAL},
    };
    struct vfiouser_dma_map_request out;
    uint8_t payload[33] = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct dma_case *c = &cases[i];

        le32_put(payload, c->argsz);
        le32_put(payload + 4, c->flags);
        le64_put(payload + 8, c->offset);
        le64_put(payload + 16, c->address);
        le64_put(payload + 24, c->size);
        if (vfiouser_dma_map_parse(payload, 32, c->fds, &out) != c->err)
            fail_msg("case %zu", i);
        if (!c->err) {
            assert_true(out.iova == c->address && out.len_bytes == c->size);
            assert_true(out.fd_offset == (c->fds ? c->offset : 0));
            assert_int_equal(out.read, c->flags & 1);
            assert_int_equal(out.write, !!(c->flags & 2));
        }
        assert_int_equal(vfiouser_dma_map_parse(payload, 31, c->fds, &out), -EINVAL);
        assert_int_equal(vfiouser_dma_map_parse(payload, 33, c->fds, &out), -EINVAL);
    }
}

static void test_dma_map_round_trip(void **state)
{
    struct vfiouser_dma_map_request in = {0x1000, 0x2000, 0x3000, true, false}, out;
    uint8_t payload[32];

    (void)state;
    assert_int_equal(vfiouser_dma_map_build(payload, &in), 32);
    assert_int_equal(vfiouser_dma_map_parse(payload, 32, 1, &out), 0);
    assert_true(out.iova == 0x1000 && out.len_bytes == 0x2000 && out.fd_offset == 0x3000);
    assert_true(out.read && !out.write);
}

static void test_dma_unmap_limits(void **state)
{
    static const struct {
        uint32_t argsz, flags;
        uint64_t address, size;
        size_t len;
        int err;
    } cases[] = {
        {24, 0, 0x1000, 0x1000, 24, 0},
        {24, 0, 0x1000, 0x1000, 23, -EINVAL},
        {24, 0, 0x1000, 0x1000, 25, -EINVAL},
        {23, 0, 0x1000, 0x1000, 24, -EINVAL},
        {UINT32_MAX, 0, 0x1000, 0x1000, 24, 0},
        {24, 0, 0x1000, 0, 24, -EINVAL},
        {24, 0, 0x1001, 0x1000, 24, -EINVAL},
        {24, 0, 0x1000, 0x1001, 24, -EINVAL},
        {24, 0, -0x1000ull, 0x1000, 24, 0},
        {24, 0, -0x1000ull, 0x2000, 24, -EINVAL},
        {24, 0, 0, 1ull << 63, 24, 0},
        // all: what else stands there does not matter
        {24, 2, 0, 0, 24, 0},
        {24, 2, 1, 1, 24, 0},
        {24, 4, 0x1000, 0x1000, 24, -EINVAL},
        // dirty bitmap
        {24, 1, 0x1000, 0x1000, 24, -ENOTSUP},
        {40, 1, 0x1000, 0x1000, 40, -ENOTSUP},
        {24, 3, 0x1000, 0x1000, 24, -ENOTSUP},
    };
    struct vfiouser_dma_unmap_request out;
    uint8_t payload[40] = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        le32_put(payload, cases[i].argsz);
        le32_put(payload + 4, cases[i].flags);
        le64_put(payload + 8, cases[i].address);
        le64_put(payload + 16, cases[i].size);
        if (vfiouser_dma_unmap_parse(payload, cases[i].len, &out) != cases[i].err)
            fail_msg("case %zu", i);
        if (!cases[i].err && cases[i].flags & 2)
            assert_true(out.all && !out.iova && !out.len_bytes);
        else if (!cases[i].err)
            assert_true(!out.all && out.iova == cases[i].address && out.len_bytes == cases[i].size);
    }
    assert_int_equal(vfiouser_dma_unmap_build(payload, &out), 24);
}

static void test_query_limits(void **state)
{
    static const struct {
        unsigned command;
        size_t len;
    } kinds[] = {
        {VFIOUSER_DEVICE_GET_INFO, 16},
        {VFIOUSER_DEVICE_GET_REGION_INFO, 32},
        {VFIOUSER_DEVICE_GET_IRQ_INFO, 16},
    };
    uint8_t payload[64] = {0};
    struct vfiouser_query q;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        uint32_t len = (uint32_t)kinds[i].len;

        le32_put(payload + 8, 7);
        le32_put(payload, len);
        assert_int_equal(vfiouser_query_parse(kinds[i].command, payload, len, &q), 0);
        assert_int_equal(q.index, 7);
        assert_int_equal(vfiouser_query_parse(kinds[i].command, payload, len - 1, &q), -EINVAL);
        assert_int_equal(vfiouser_query_parse(kinds[i].command, payload, len + 1, &q), 0);
        le32_put(payload, len - 1);
        assert_int_equal(vfiouser_query_parse(kinds[i].command, payload, len, &q), -EINVAL);
        le32_put(payload, UINT32_MAX);
        assert_int_equal(vfiouser_query_parse(kinds[i].command, payload, len, &q), 0);
        assert_int_equal(q.argsz, UINT32_MAX);
        q = (struct vfiouser_query){48, 3};
        assert_int_equal(vfiouser_query_build(kinds[i].command, payload, &q), len);
        assert_int_equal(le32_get(payload), 48);
    }
}

static struct vfiouser_region_info sparse_region(void)
{
    return (struct vfiouser_region_info){
        .index = 0,
        .flags = VFIOUSER_REGION_READABLE | VFIOUSER_REGION_MAPPABLE,
        .size = 0x4000,
        .offset = 0x8000,
        .area_count = 2,
        .areas = {{0x1000, 0x1000}, {0x3000, 0x1000}},
    };
}

static void test_region_info_argsz(void **state)
{
    struct vfiouser_region_info in = sparse_region(), out;
    uint8_t payload[VFIOUSER_REGION_INFO_MAX];
    const uint32_t full = 32 + 16 + 2 * 16;

    (void)state;
    for (uint32_t argsz = 32; argsz < full; argsz++) {
        memset(payload, 0xee, sizeof payload);
        assert_int_equal(vfiouser_region_info_build(payload, argsz, &in), 32);
        assert_int_equal(le32_get(payload), full);
        assert_false(le32_get(payload + 4) & VFIOUSER_REGION_CAPS);
        assert_int_equal(payload[32], 0xee);
        assert_int_equal(vfiouser_region_info_parse(payload, 32, &out), 0);
        assert_int_equal(out.argsz, full);
        assert_int_equal(out.area_count, 0);
    }
    assert_int_equal(vfiouser_region_info_build(payload, full, &in), full);
    assert_int_equal(vfiouser_region_info_build(payload, UINT32_MAX, &in), full);
    assert_int_equal(vfiouser_region_info_parse(payload, full, &out), 0);
    assert_int_equal(out.area_count, 2);
    assert_true(out.areas[1].offset == 0x3000 && out.areas[1].len_bytes == 0x1000);
    assert_true(out.offset == 0x8000 && out.size == 0x4000);
    assert_int_equal(le16_get(payload + 32), 1); // sparse mmap, version 1
    assert_int_equal(le16_get(payload + 34), 1);
    assert_int_equal(le32_get(payload + 36), 0);
}

static void test_region_info_whole(void **state)
{
    struct vfiouser_region_info in = sparse_region(), out;
    uint8_t payload[VFIOUSER_REGION_INFO_MAX];

    (void)state;
    in.area_count = 1;
    in.areas[0].offset = 0;
    in.areas[0].len_bytes = in.size;
    assert_int_equal(vfiouser_region_info_build(payload, 32, &in), 32);
    assert_int_equal(vfiouser_region_info_parse(payload, 32, &out), 0);
    assert_int_equal(out.area_count, 1);
    assert_true(out.areas[0].len_bytes == in.size);
    in.areas[0].len_bytes -= 0x1000;
    assert_int_equal(vfiouser_region_info_build(payload, 4096, &in), 64);
}

// What a hostile server could answer.
static void test_region_info_bad_replies(void **state)
{
    struct vfiouser_region_info in = sparse_region(), out;
    uint8_t good[VFIOUSER_REGION_INFO_MAX], p[VFIOUSER_REGION_INFO_MAX];
    size_t len = vfiouser_region_info_build(good, 4096, &in);

    (void)state;
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(vfiouser_region_info_parse(good, cut, &out), -EPROTO);
    memcpy(p, good, len);
    le32_put(p + 12, 31); // capability in the fixed part
    assert_int_equal(vfiouser_region_info_parse(p, len, &out), -EPROTO);
    le32_put(p + 12, (uint32_t)len - 7);
    assert_int_equal(vfiouser_region_info_parse(p, len, &out), -EPROTO);
    le32_put(p + 12, UINT32_MAX);
    assert_int_equal(vfiouser_region_info_parse(p, len, &out), -EPROTO);
    memcpy(p, good, len);
    le16_put(p + 32, 99); // another capability, whose next is itself
    le32_put(p + 36, 32);
    assert_int_equal(vfiouser_region_info_parse(p, len, &out), -EPROTO);
    memcpy(p, good, len);
    le32_put(p + 40, 3); // more areas than there are
    assert_int_equal(vfiouser_region_info_parse(p, len, &out), -EPROTO);
    le32_put(p + 40, UINT32_MAX);
    assert_int_equal(vfiouser_region_info_parse(p, len, &out), -EPROTO);
    memcpy(p, good, len);
    le64_put(p + 64 + 8, 0x1001); // past the region's end
    assert_int_equal(vfiouser_region_info_parse(p, len, &out), -EPROTO);
    le64_put(p + 64, UINT64_MAX); // and around 2^64
    assert_int_equal(vfiouser_region_info_parse(p, len, &out), -EPROTO);
}

struct irq_case {
    uint32_t argsz, flags, index, start, count;
    unsigned fds;
    size_t len;
    int err;
};

static void test_irq_set_limits(void **state)
{
    static const unsigned counts[VFIOUSER_IRQS] = {0, 0, 4, 1, 0};
    static const struct irq_case cases[] = {
        {20, 0x24, 2, 0, 4, 4, 20, 0},
        {20, 0x24, 2, 0, 4, 0, 20, 0},
        {20, 0x24, 2, 0, 4, 3, 20, -EINVAL},
        {20, 0x24, 2, 0, 4, 5, 20, -EINVAL},
        {20, 0x24, 2, 0, 4, 4, 19, -EINVAL},
        {20, 0x24, 2, 0, 4, 4, 21, -EINVAL},
        {19, 0x24, 2, 0, 4, 4, 20, -EINVAL},
        {UINT32_MAX, 0x24, 2, 0, 4, 4, 20, 0},
        // ranges
        {20, 0x24, 2, 3, 1, 1, 20, 0},
        {20, 0x24, 2, 4, 1, 1, 20, -EINVAL},
        {20, 0x24, 2, 3, 2, 2, 20, -EINVAL},
        {20, 0x24, 2, 0, 5, 0, 20, -EINVAL},
        {20, 0x24, 2, 1, UINT32_MAX, 0, 20, -EINVAL},
        {20, 0x24, 2, UINT32_MAX, 2, 2, 20, -EINVAL},
        {20, 0x24, 3, 0, 1, 1, 20, 0},
        {20, 0x24, 3, 0, 2, 2, 20, -EINVAL},
        {20, 0x24, 0, 0, 1, 1, 20, -EINVAL},
        {20, 0x24, 4, 0, 1, 1, 20, -EINVAL},
        {20, 0x24, 5, 0, 1, 1, 20, -EINVAL},
        {20, 0x24, UINT32_MAX, 0, 1, 1, 20, -EINVAL},
        // disable
        {20, 0x21, 2, 0, 0, 0, 20, 0},
        {20, 0x21, 2, 1, 0, 0, 20, -EINVAL},
        {20, 0x24, 2, 0, 0, 0, 20, -EINVAL},
        {20, 0x22, 2, 0, 0, 0, 20, -EINVAL},
        {20, 0x09, 2, 0, 0, 0, 20, -EINVAL},
        {20, 0x21, 2, 0, 0, 1, 20, -EINVAL},
        {20, 0x21, 0, 0, 0, 0, 20, -EINVAL},
        // one kind of data, one action
        {20, 0x25, 2, 0, 1, 1, 20, -EINVAL},
        {20, 0x20, 2, 0, 1, 1, 20, -EINVAL},
        {20, 0x04, 2, 0, 1, 1, 20, -EINVAL},
        {20, 0x34, 2, 0, 1, 1, 20, -EINVAL},
        {20, 0x64, 2, 0, 1, 1, 20, -EINVAL},
        // well-formed, but not here
        {20, 0x21, 2, 0, 1, 0, 20, -ENOTSUP},
        {20, 0x21, 2, 0, 1, 1, 20, -EINVAL},
        {22, 0x22, 2, 0, 2, 0, 22, -ENOTSUP},
        {22, 0x22, 2, 0, 2, 0, 21, -EINVAL},
        {22, 0x22, 2, 0, 2, 0, 23, -EINVAL},
        {20, 0x09, 2, 0, 1, 0, 20, -ENOTSUP},
        {20, 0x11, 2, 0, 1, 0, 20, -ENOTSUP},
        {20, 0x0c, 2, 0, 1, 1, 20, -ENOTSUP},
    };
    struct vfiouser_irq_set_request out;
    uint8_t payload[24] = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct irq_case *c = &cases[i];

        le32_put(payload, c->argsz);
        le32_put(payload + 4, c->flags);
        le32_put(payload + 8, c->index);
        le32_put(payload + 12, c->start);
        le32_put(payload + 16, c->count);
        if (vfiouser_irq_set_parse(payload, c->len, c->fds, counts, &out) != c->err)
            fail_msg("case %zu", i);
        if (!c->err) {
            assert_int_equal(out.index, c->index);
            assert_int_equal(out.start, c->start);
            assert_int_equal(out.count, c->count);
            assert_int_equal(out.disable, !c->count);
        }
    }
}

static void test_region_access_limits(void **state)
{
    struct vfiouser_region_access in = {.offset = UINT64_MAX, .region = 7, .count = 4}, out;
    uint8_t payload[32] = {0};

    (void)state;
    vfiouser_region_access_build(payload, &in);
    assert_int_equal(vfiouser_region_read_parse(payload, 15, &out), -EINVAL);
    assert_int_equal(vfiouser_region_read_parse(payload, 17, &out), -EINVAL);
    assert_int_equal(vfiouser_region_read_parse(payload, 16, &out), 0);
    assert_true(out.offset == UINT64_MAX && out.region == 7 && out.count == 4 && !out.data);
    assert_int_equal(vfiouser_region_write_parse(payload, 15, &out), -EINVAL);
    assert_int_equal(vfiouser_region_write_parse(payload, 16, &out), -EINVAL);
    assert_int_equal(vfiouser_region_write_parse(payload, 19, &out), -EINVAL);
    assert_int_equal(vfiouser_region_write_parse(payload, 21, &out), -EINVAL);
    assert_int_equal(vfiouser_region_write_parse(payload, 20, &out), 0);
    assert_ptr_equal(out.data, payload + 16);
    le32_put(payload + 12, 0);
    assert_int_equal(vfiouser_region_read_parse(payload, 16, &out), -EINVAL);
    assert_int_equal(vfiouser_region_write_parse(payload, 16, &out), -EINVAL);
    le32_put(payload + 12, VFIOUSER_DATA_MAX);
    assert_int_equal(vfiouser_region_read_parse(payload, 16, &out), 0);
    le32_put(payload + 12, VFIOUSER_DATA_MAX + 1);
    assert_int_equal(vfiouser_region_read_parse(payload, 16, &out), -EINVAL);
    le32_put(payload + 12, UINT32_MAX); // UINT32_MAX + 16 wraps to 15
    assert_int_equal(vfiouser_region_write_parse(payload, 31, &out), -EINVAL);
}

static void test_write_multi_limits(void **state)
{
    static uint8_t payload[8 + 24 * (VFIOUSER_MULTI_MAX + 1)];
    struct vfiouser_region_access out;

    (void)state;
    for (unsigned n = 0; n <= VFIOUSER_MULTI_MAX + 1; n++) {
        size_t len = 8 + 24 * n;
        int want = n && n <= VFIOUSER_MULTI_MAX ? (int)n : -EINVAL;

        le64_put(payload, n);
        assert_int_equal(vfiouser_write_multi_count(payload, len), want);
        assert_int_equal(vfiouser_write_multi_count(payload, len - 1), -EINVAL);
        assert_int_equal(vfiouser_write_multi_count(payload, len + 24), -EINVAL);
    }
    le64_put(payload, 0x0aaaaaaaaaaaaaabull); // times 24 wraps to 8
    assert_int_equal(vfiouser_write_multi_count(payload, 8 + 8), -EINVAL);
    assert_int_equal(vfiouser_write_multi_count(payload, 8 + 24), -EINVAL);
    le64_put(payload + 8 + 24, 0x1234);
    le32_put(payload + 8 + 24 + 8, 3);
    for (uint32_t count = 0; count <= 9; count++) {
        le32_put(payload + 8 + 24 + 12, count);
        assert_int_equal(vfiouser_write_multi_at(payload, 1, &out),
                         count >= 1 && count <= 8 ? 0 : -EINVAL);
    }
    assert_true(out.offset == 0x1234 && out.region == 3);
    assert_ptr_equal(out.data, payload + 8 + 24 + 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_header_size_limits),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_dma_map_limits),
        cmocka_unit_test(test_dma_map_round_trip),
        cmocka_unit_test(test_dma_unmap_limits),
        cmocka_unit_test(test_query_limits),
        cmocka_unit_test(test_region_info_argsz),
        cmocka_unit_test(test_region_info_whole),
        cmocka_unit_test(test_region_info_bad_replies),
        cmocka_unit_test(test_irq_set_limits),
        cmocka_unit_test(test_region_access_limits),
        cmocka_unit_test(test_write_multi_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

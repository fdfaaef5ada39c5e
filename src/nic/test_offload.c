// SPDX-License-Identifier: BSD-3-Clause
// Checksums and segment headers against a plain reference: 16-bit words one at a time, CRCs bit by
// bit.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "hw82599/desc.h"
#include "nic/offload.h"
#include "nic/sum.h"

// --- reference ---

static uint16_t ref_sum(const uint8_t *p, size_t len, uint32_t start)
{
    uint32_t sum = start;

    for (size_t i = 0; i < len; i++) {
        sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

static uint32_t ref_crc(uint32_t polynomial, const uint8_t *p, size_t len)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int b = 0; b < 8; b++)
            crc = crc & 1 ? crc >> 1 ^ polynomial : crc >> 1;
    }
    return ~crc;
}

// Sum over pseudo-header and L4 bytes of an untagged IP frame: 0xffff where the checksum is right.
static uint16_t ref_l4(const uint8_t *frame, uint32_t l4_offset, uint32_t len, uint8_t protocol)
{
    bool v4 = frame[12] == 0x08;
    uint32_t sum = ref_sum(frame + 14 + (v4 ? 12 : 8), v4 ? 8 : 32, 0);

    sum += protocol;
    sum += len - l4_offset;
    return ref_sum(frame + l4_offset, len - l4_offset, (sum & 0xffff) + (sum >> 16));
}

// --- frames ---

static void fill(uint8_t *p, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)((seed = seed * 1103515245u + 12345u) >> 16);
}

// An IP frame as a driver hands it over for checksum offload: header sum 0, pseudo-header's sum in
// the L4 field (without the length for segmentation).
static uint32_t build(uint8_t *f, bool v4, enum nic_l4_kind kind, uint32_t payload, bool tso,
                      struct nic_offload *o)
{
    static const uint8_t protocol[] = {17, 6, 132}, header[] = {8, 20, 12}, field[] = {6, 16, 8};
    uint32_t ip_len = v4 ? 20 : 40, l4 = 14 + ip_len, len = l4 + header[kind] + payload;
    uint32_t sum;

    fill(f, len, len);
    memcpy(f + 12, v4 ? "\x08\x00" : "\x86\xdd", 2);
    if (v4) {
        memcpy(f + 14, "\x45\x00", 2);
        f[16] = (uint8_t)((len - 14) >> 8);
        f[17] = (uint8_t)(len - 14);
        memcpy(f + 18, "\x12\xff\x40\x00\x40", 5);
        f[23] = protocol[kind];
        memset(f + 24, 0, 2);
    } else {
        memcpy(f + 14, "\x60\x00\x00\x00", 4);
        f[18] = (uint8_t)((len - l4) >> 8);
        f[19] = (uint8_t)(len - l4);
        f[20] = protocol[kind];
        f[21] = 64;
    }
    if (kind == NIC_L4_TCP)
        f[l4 + 12] = 0x50;
    sum = ref_sum(f + 14 + (v4 ? 12 : 8), v4 ? 8 : 32, 0) + protocol[kind] + (tso ? 0 : len - l4);
    sum = (sum & 0xffff) + (sum >> 16);
    if (kind != NIC_L4_SCTP) {
        f[l4 + field[kind]] = (uint8_t)(sum >> 8);
        f[l4 + field[kind] + 1] = (uint8_t)sum;
    }
    *o = (struct nic_offload){.ip_sum = v4,
                              .l4_sum = true,
                              .ipv4 = v4,
                              .l4_kind = kind,
                              .l3_offset = 14,
                              .l4_offset = l4,
                              .segment = tso,
                              .header_len = l4 + header[kind],
                              .mss = 1000,
                              .tcp_flags_first = 0xff6,
                              .tcp_flags_mid = 0xf76,
                              .tcp_flags_last = 0xf7f};
    return len;
}

// Cuts a frame's bytes: `head` into the head, the rest into spans of growing, mostly odd, lengths.
static void cut(struct nic_frame *frame, const uint8_t *f, uint32_t len, uint32_t head)
{
    uint32_t at, piece = 1;

    memset(frame, 0, sizeof *frame);
    frame->head_len = head < len ? head : len;
    frame->len_bytes = len;
    memcpy(frame->head, f, frame->head_len);
    for (at = frame->head_len; at < len; piece = piece * 2 + 1) {
        uint32_t take = piece < len - at ? piece : len - at;

        frame->spans[frame->span_count++] = (struct nic_span){f + at, take};
        at += take;
    }
}

static void join(const struct nic_frame *frame, uint8_t *out)
{
    memcpy(out, frame->head, frame->head_len);
    out += frame->head_len;
    for (unsigned i = 0; i < frame->span_count; out += frame->spans[i++].len_bytes)
        memcpy(out, frame->spans[i].data, frame->spans[i].len_bytes);
}

// --- tests ---

static void test_sum(void **state)
{
    uint8_t data[600];

    (void)state;
    fill(data, sizeof data, 1);
    for (uint32_t start = 0; start < 9; start++) {
        for (uint32_t len = 0; len < 70; len++) {
            assert_int_equal(nic_offload_fold(nic_offload_sum(data + start, len, false)),
                             ref_sum(data + start, len, 0));
            // A piece that begins in the middle of a word.
            uint64_t two = nic_offload_sum(data + start, 7, false) +
                           nic_offload_sum(data + start + 7, len, true);
            assert_int_equal(nic_offload_fold(two), ref_sum(data + start, len + 7, 0));
        }
    }
    memset(data, 0xff, sizeof data);
    assert_int_equal(nic_offload_fold(nic_offload_sum(data, 600, false)), 0xffff);
    memset(data, 0, sizeof data);
    assert_int_equal(nic_offload_fold(nic_offload_sum(data, 600, false)), 0);
}

// Every length, by each way that this processor knows; and the copy is exact.
static void test_sum_ways(void **state)
{
    static uint8_t data[NIC_SUM_LEN_MAX], copy[NIC_SUM_LEN_MAX];
    const struct nic_sum_way *way;

    (void)state;
    for (unsigned i = 0; (way = nic_sum_way(i)); i++) {
        print_message("%s\n", way->name);
        fill(data, sizeof data, 1);
        for (uint32_t len = 0; len < 700; len++) {
            memset(copy, 0xee, 800);
            assert_int_equal(nic_offload_fold(way->sum(data + 3, len)), ref_sum(data + 3, len, 0));
            assert_int_equal(nic_offload_fold(way->sum_copy(copy + 1, data + 3, len)),
                             ref_sum(data + 3, len, 0));
            assert_memory_equal(copy + 1, data + 3, len);
            assert_int_equal(copy[0], 0xee);
            assert_int_equal(copy[1 + len], 0xee);
        }
        assert_int_equal(nic_offload_fold(way->sum(data, sizeof data)),
                         ref_sum(data, sizeof data, 0));
        for (unsigned byte = 0; byte < 256; byte += 0x7f) { // 0, 0x7f, 0xfe
            memset(data, (int)byte, sizeof data);
            assert_int_equal(nic_offload_fold(way->sum_copy(copy, data, sizeof data)),
                             ref_sum(data, sizeof data, 0));
        }
        memset(data, 0xff, sizeof data);
        assert_int_equal(nic_sum_fold(way->sum(data, sizeof data)), 0xffff);
        assert_int_equal(nic_sum_20(data) % 0xffff, 0);
    }
}

static void test_crcs(void **state)
{
    uint8_t data[64];

    (void)state;
    // Check values of both polynomials' catalogue entries.
    assert_int_equal(~nic_offload_crc32(UINT32_MAX, (const uint8_t *)"123456789", 9), 0xcbf43926);
    assert_int_equal(~nic_offload_crc32c(UINT32_MAX, (const uint8_t *)"123456789", 9), 0xe3069283);
    fill(data, sizeof data, 2);
    for (size_t len = 0; len <= sizeof data; len++) {
        assert_int_equal(~nic_offload_crc32(UINT32_MAX, data, len), ref_crc(0xedb88320, data, len));
        assert_int_equal(~nic_offload_crc32c(UINT32_MAX, data, len),
                         ref_crc(0x82f63b78, data, len));
    }
}

static void test_checksum_insertion(void **state)
{
    static const uint32_t payloads[] = {0, 1, 2, 3, 17, 200, 201, 1460, 8999};
    uint8_t bytes[9300], out[9300];
    struct nic_offload o;
    struct nic_frame frame;

    (void)state;
    for (unsigned v4 = 0; v4 < 2; v4++) {
        for (unsigned kind = NIC_L4_UDP; kind <= NIC_L4_TCP; kind++) {
            for (unsigned i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
                uint32_t len = build(bytes, v4, kind, payloads[i], false, &o);

                cut(&frame, bytes, len, 128);
                assert_true(nic_offload_fits(&o, frame.head_len));
                nic_offload_sums(&frame, &o);
                join(&frame, out);
                if (v4)
                    assert_int_equal(ref_sum(out + 14, 20, 0), 0xffff);
                assert_int_equal(ref_l4(out, o.l4_offset, len, kind == NIC_L4_TCP ? 6 : 17),
                                 0xffff);
                // And our own verification agrees; and sees one flipped bit, anywhere.
                nic_frame_parse(&frame);
                nic_frame_verify_l4(&frame);
                assert_int_equal(frame.rx_status, (v4 ? HW_RXS_IPCS : 0) | HW_RXS_L4CS);
                bytes[len - 1] ^= 0x10;
                if (frame.head_len == len)
                    frame.head[len - 1] ^= 0x10;
                nic_frame_parse(&frame);
                nic_frame_verify_l4(&frame);
                assert_true(frame.rx_status & HW_RXE_L4E);
            }
        }
    }
}

// IP in IP, as Linux hands it over for partial segmentation: both headers named as one, the outer
// checksum field holding what cancels out the inner header.
static void test_tunnel_header(void **state)
{
    uint8_t bytes[200];
    struct nic_offload o;
    struct nic_frame frame;
    uint32_t len = build(bytes, true, NIC_L4_TCP, 40, false, &o);
    uint16_t seed;

    (void)state;
    memmove(bytes + 34, bytes + 14, len - 14); // a second IP header before the first
    bytes[23] = 4;
    bytes[17] = (uint8_t)(len + 20 - 14);
    seed = (uint16_t)~ref_sum(bytes + 34, 20, 0);
    bytes[24] = (uint8_t)(seed >> 8);
    bytes[25] = (uint8_t)seed;
    o.l4_offset += 20;
    cut(&frame, bytes, len + 20, 128);
    nic_offload_sums(&frame, &o);
    assert_int_equal(ref_sum(frame.head + 14, 20, 0), 0xffff);
    nic_frame_parse(&frame);
    assert_int_equal(frame.rx_status, HW_RXS_IPCS);
}

static void test_sctp(void **state)
{
    uint8_t bytes[1600], out[1600];
    struct nic_offload o;
    struct nic_frame frame;
    uint32_t len = build(bytes, true, NIC_L4_SCTP, 1301, false, &o), crc;

    (void)state;
    cut(&frame, bytes, len, 128);
    nic_offload_sums(&frame, &o);
    join(&frame, out);
    crc = le32_get(out + 42);
    memset(out + 42, 0, 4);
    assert_int_equal(crc, ref_crc(0x82f63b78, out + 34, len - 34));
    nic_frame_parse(&frame);
    nic_frame_verify_l4(&frame);
    assert_int_equal(frame.rx_status, HW_RXS_IPCS | HW_RXS_L4CS);
    frame.head[40] ^= 1;
    nic_frame_parse(&frame);
    nic_frame_verify_l4(&frame);
    assert_true(frame.rx_status & HW_RXE_L4E);
}

// A sum of zero is sent as ffff in UDP (RFC 768), as zero in TCP.
static void test_zero_checksum(void **state)
{
    uint8_t bytes[200];
    struct nic_offload o;
    struct nic_frame frame;

    (void)state;
    for (unsigned kind = NIC_L4_UDP; kind <= NIC_L4_TCP; kind++) {
        uint32_t len = build(bytes, true, kind, 2, false, &o);
        uint32_t field = o.l4_offset + (kind == NIC_L4_TCP ? 16 : 6);
        uint16_t sum;

        // Choose the payload so that all sums to ffff, whose complement is zero.
        memset(bytes + len - 2, 0, 2);
        sum = (uint16_t)~ref_sum(bytes + o.l4_offset, len - o.l4_offset, 0);
        bytes[len - 2] = (uint8_t)(sum >> 8);
        bytes[len - 1] = (uint8_t)sum;
        cut(&frame, bytes, len, 128);
        nic_offload_sums(&frame, &o);
        assert_int_equal(frame.head[field] << 8 | frame.head[field + 1],
                         kind == NIC_L4_UDP ? 0xffff : 0);
    }
}

static void check_segment(const uint8_t *whole, const struct nic_offload *o, uint32_t i,
                          uint32_t payload, bool last)
{
    struct nic_frame frame = {
        .head_len = o->header_len, .len_bytes = o->header_len + payload, .span_count = 1};
    uint32_t header_len = o->header_len, len = frame.len_bytes, l4 = o->l4_offset;
    uint8_t out[2000];

    memcpy(frame.head, whole, header_len);
    frame.spans[0] = (struct nic_span){whole + header_len + i * o->mss, payload};
    nic_offload_segment(frame.head, o, i, payload, last);
    nic_offload_sums(&frame, o);
    join(&frame, out);
    if (o->ipv4) {
        assert_int_equal(out[16] << 8 | out[17], len - 14);
        assert_int_equal(out[18] << 8 | out[19], (0x12ff + i) & 0xffff);
        assert_int_equal(ref_sum(out + 14, 20, 0), 0xffff);
    } else {
        assert_int_equal(out[18] << 8 | out[19], len - 54);
    }
    if (o->l4_kind == NIC_L4_TCP) {
        uint32_t seq = (uint32_t)whole[l4 + 4] << 24 | whole[l4 + 5] << 16 | whole[l4 + 6] << 8 |
                       whole[l4 + 7];
        uint32_t got =
            (uint32_t)out[l4 + 4] << 24 | out[l4 + 5] << 16 | out[l4 + 6] << 8 | out[l4 + 7];

        assert_int_equal(got, seq + i * o->mss);
        // FIN and PSH only in the last, CWR only in the first; ACK in all.
        assert_int_equal(out[l4 + 13], (i ? 0 : 0x80) | 0x10 | (last ? 0x09 : 0));
        assert_int_equal(out[l4 + 12], 0x50);
    } else {
        assert_int_equal(out[l4 + 4] << 8 | out[l4 + 5], len - l4);
    }
    assert_int_equal(ref_l4(out, l4, len, o->l4_kind == NIC_L4_TCP ? 6 : 17), 0xffff);
    assert_memory_equal(out + header_len, whole + header_len + i * o->mss, payload);
}

static void test_segments(void **state)
{
    static uint8_t bytes[70000];
    struct nic_offload o;

    (void)state;
    for (unsigned v4 = 0; v4 < 2; v4++) {
        for (unsigned kind = NIC_L4_UDP; kind <= NIC_L4_TCP; kind++) {
            // One less, as many, and one more than three full segments.
            for (uint32_t payload = 2999; payload <= 3001; payload++) {
                uint32_t count = (payload + 999) / 1000;

                build(bytes, v4, kind, payload, true, &o);
                if (kind == NIC_L4_TCP)
                    bytes[o.l4_offset + 13] = 0x99; // CWR, ACK, PSH, FIN
                if (v4)
                    memset(bytes + 16, 0, 2); // as Linux leaves the lengths
                for (uint32_t i = 0; i < count; i++) {
                    bool last = i == count - 1;

                    check_segment(bytes, &o, i, last ? payload - i * 1000 : 1000, last);
                }
            }
        }
    }
    // A single segment keeps everything.
    build(bytes, true, NIC_L4_TCP, 500, true, &o);
    bytes[o.l4_offset + 13] = 0x99;
    check_segment(bytes, &o, 0, 500, true);
}

static void test_fits(void **state)
{
    uint8_t bytes[200];
    struct nic_offload o;

    (void)state;
    build(bytes, true, NIC_L4_TCP, 10, false, &o);
    assert_true(nic_offload_fits(&o, 54));
    assert_false(nic_offload_fits(&o, 53)); // the TCP header is cut off
    o.l4_kind = NIC_L4_UDP;
    assert_true(nic_offload_fits(&o, 42));
    assert_false(nic_offload_fits(&o, 41));
    o.l4_kind = NIC_L4_SCTP;
    assert_true(nic_offload_fits(&o, 46));
    assert_false(nic_offload_fits(&o, 45));
    o.l4_sum = false; // the IP header remains
    assert_true(nic_offload_fits(&o, 34));
    assert_false(nic_offload_fits(&o, 33));
    o.l4_offset = 33; // shorter than an IP header
    assert_false(nic_offload_fits(&o, 54));

    build(bytes, false, NIC_L4_TCP, 10, true, &o);
    assert_true(nic_offload_fits(&o, 74));
    assert_false(nic_offload_fits(&o, 73));
    o.mss = 0;
    assert_false(nic_offload_fits(&o, 74));
    o.mss = 1;
    o.header_len = 73; // L4LEN too short
    assert_false(nic_offload_fits(&o, 74));
    o.header_len = 74;
    o.l4_kind = NIC_L4_SCTP;
    assert_false(nic_offload_fits(&o, 74));
    o.l4_kind = NIC_L4_TCP;
    o.l4_offset = 53; // shorter than an IPv6 header
    assert_false(nic_offload_fits(&o, 74));
    // Nothing asked: anything goes.
    o = (struct nic_offload){.l4_offset = 500};
    assert_true(nic_offload_fits(&o, 17));
}

static void test_parse(void **state)
{
    uint8_t bytes[200];
    struct nic_offload o;
    struct nic_frame frame;
    uint32_t len = build(bytes, true, NIC_L4_TCP, 10, false, &o);

    (void)state;
    cut(&frame, bytes, len, 128);
    nic_frame_parse(&frame);
    assert_int_equal(frame.packet_type, HW_RXI_TYPE_IPV4 | HW_RXI_TYPE_TCP);
    assert_int_equal(frame.l4_offset, 34);
    assert_int_equal(frame.l3_end, len);
    assert_int_equal(frame.rx_status, HW_RXS_IPCS | HW_RXE_IPE); // header sum is not made yet

    frame.head[17]++; // IP length past the frame's end
    nic_frame_parse(&frame);
    assert_int_equal(frame.packet_type, 0);
    frame.head[17]--;
    frame.head[14] = 0x44; // header length below the least
    nic_frame_parse(&frame);
    assert_int_equal(frame.packet_type, 0);
    frame.head[14] = 0x4f; // 60 bytes of IP header: more than there is of the packet
    nic_frame_parse(&frame);
    assert_int_equal(frame.packet_type, 0);
    frame.head[14] = 0x46;
    nic_frame_parse(&frame);
    assert_int_equal(frame.packet_type, HW_RXI_TYPE_IPV4 | HW_RXI_TYPE_IPV4_EX | HW_RXI_TYPE_TCP);
    assert_int_equal(frame.l4_offset, 38);

    // IPv6 with hop-by-hop options, then TCP.
    len = build(bytes, false, NIC_L4_TCP, 30, false, &o);
    cut(&frame, bytes, len, 128);
    frame.head[20] = 0;
    frame.head[54] = 6;
    frame.head[55] = 0;
    nic_frame_parse(&frame);
    assert_int_equal(frame.packet_type, HW_RXI_TYPE_IPV6 | HW_RXI_TYPE_IPV6_EX | HW_RXI_TYPE_TCP);
    assert_int_equal(frame.l4_offset, 62);
    frame.head[20] = 44; // a fragment: no L4
    nic_frame_parse(&frame);
    assert_int_equal(frame.packet_type, HW_RXI_TYPE_IPV6 | HW_RXI_TYPE_IPV6_EX);
    assert_int_equal(frame.l4_offset, 0);
    frame.head[20] = 0;
    frame.head[55] = 255; // an extension that ends far outside
    nic_frame_parse(&frame);
    assert_int_equal(frame.l4_offset, 0);
    // A chain that never ends.
    for (unsigned i = 54; i < 120; i += 8)
        memset(frame.head + i, 0, 2);
    nic_frame_parse(&frame);
    assert_int_equal(frame.l4_offset, 0);
    for (uint32_t short_len = 14; short_len < 74; short_len++) {
        frame.head_len = frame.len_bytes = short_len;
        nic_frame_parse(&frame);
        assert_int_equal(frame.l4_offset, 0);
    }
}

static void test_take_vlan(void **state)
{
    struct nic_frame frame = {.head_len = 18, .len_bytes = 18};

    (void)state;
    memcpy(frame.head, "ABCDEFabcdef\x81\x00\x20\x64\x08\x00", 18);
    assert_int_equal(nic_frame_take_vlan(&frame, 0x88a8), 0);
    assert_false(frame.has_vlan);
    assert_int_equal(nic_frame_take_vlan(&frame, 0x8100), 4);
    assert_true(frame.has_vlan);
    assert_int_equal(frame.vlan_tci, 0x2064);
    assert_int_equal(frame.len_bytes, 14);
    assert_memory_equal(frame.head, "ABCDEFabcdef\x08\x00", 14);
    frame = (struct nic_frame){.head_len = 17, .len_bytes = 17};
    memcpy(frame.head, "ABCDEFabcdef\x81\x00\x20\x64\x08", 17);
    assert_int_equal(nic_frame_take_vlan(&frame, 0x8100), 0); // cut short: not a tag
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum),           cmocka_unit_test(test_sum_ways),
        cmocka_unit_test(test_crcs),          cmocka_unit_test(test_checksum_insertion),
        cmocka_unit_test(test_tunnel_header), cmocka_unit_test(test_sctp),
        cmocka_unit_test(test_zero_checksum), cmocka_unit_test(test_segments),
        cmocka_unit_test(test_fits),          cmocka_unit_test(test_parse),
        cmocka_unit_test(test_take_vlan),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
// The verification suite of Microsoft's RSS documentation: key, addresses, ports, expected hashes.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>

#include "base/bits.h"
#include "hw82599/desc.h"
#include "hw82599/regs.h"
#include "nic/rss.h"

static const uint8_t key[NIC_RSS_KEY_LEN] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

struct vector {
    int family;
    const char *dst;
    uint16_t dst_port;
    const char *src;
    uint16_t src_port;
    uint32_t hash_ip, hash_tcp;
};

static const struct vector vectors[] = {
    {AF_INET, "161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178},
    {AF_INET, "65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea},
    {AF_INET, "12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a},
    {AF_INET, "209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f},
    {AF_INET, "202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2},
    {AF_INET6, "3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d},
    {AF_INET6, "ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf},
    {AF_INET6, "fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251,
     0x4b61e985, 0x02d1feef},
};

// An IP frame with the vector's addresses and ports.
static void build(const struct vector *v, uint8_t protocol, struct nic_frame *frame)
{
    uint8_t *ip = frame->head + 14, *l4;
    uint16_t port;

    memset(frame, 0, sizeof *frame);
    frame->len_bytes = frame->head_len = 14 + (v->family == AF_INET ? 20 : 40) + 20;
    if (v->family == AF_INET) {
        frame->head[12] = 0x08;
        ip[0] = 0x45;
        ip[3] = 40;
        ip[9] = protocol;
        assert_int_equal(inet_pton(AF_INET, v->src, ip + 12), 1);
        assert_int_equal(inet_pton(AF_INET, v->dst, ip + 16), 1);
        l4 = ip + 20;
    } else {
        frame->head[12] = 0x86;
        frame->head[13] = 0xdd;
        ip[0] = 0x60;
        ip[5] = 20;
        ip[6] = protocol;
        assert_int_equal(inet_pton(AF_INET6, v->src, ip + 8), 1);
        assert_int_equal(inet_pton(AF_INET6, v->dst, ip + 24), 1);
        l4 = ip + 40;
    }
    port = htons(v->src_port);
    memcpy(l4, &port, 2);
    port = htons(v->dst_port);
    memcpy(l4 + 2, &port, 2);
    nic_frame_parse(frame);
}

static void test_known_vectors(void **state)
{
    static const uint8_t other_key[NIC_RSS_KEY_LEN] = {0x6d, 0x5b};
    struct nic_rss_tables rss = {.enabled = true};
    struct nic_frame frame;

    (void)state;
    nic_rss_set_key(&rss, other_key); // and then it changes
    nic_rss_set_key(&rss, key);
    for (unsigned i = 0; i < ARRAY_LEN(vectors); i++) {
        bool v4 = vectors[i].family == AF_INET;

        build(&vectors[i], 6, &frame);
        rss.types = HW_MRQC_RSS_IPV4 | HW_MRQC_RSS_IPV6;
        nic_rss_classify(&rss, &frame);
        assert_int_equal(frame.rss_hash, vectors[i].hash_ip);
        assert_int_equal(frame.rss_type, v4 ? HW_RSS_TYPE_IPV4 : HW_RSS_TYPE_IPV6);
        rss.types |= HW_MRQC_RSS_IPV4_TCP | HW_MRQC_RSS_IPV6_TCP;
        nic_rss_classify(&rss, &frame);
        assert_int_equal(frame.rss_hash, vectors[i].hash_tcp);
        assert_int_equal(frame.rss_type, v4 ? HW_RSS_TYPE_IPV4_TCP : HW_RSS_TYPE_IPV6_TCP);
    }
}

static void test_types(void **state)
{
    struct nic_rss_tables rss = {.enabled = true, .types = HW_MRQC_RSS_IPV4_TCP};
    struct nic_frame frame;

    (void)state;
    nic_rss_set_key(&rss, key);
    // UDP is hashed only where MRQC says so; else by address; else not at all.
    build(&vectors[0], 17, &frame);
    nic_rss_classify(&rss, &frame);
    assert_int_equal(frame.rss_type, HW_RSS_TYPE_NONE);
    rss.types |= HW_MRQC_RSS_IPV4;
    nic_rss_classify(&rss, &frame);
    assert_int_equal(frame.rss_type, HW_RSS_TYPE_IPV4);
    rss.types |= HW_MRQC_RSS_IPV4_UDP;
    nic_rss_classify(&rss, &frame);
    assert_int_equal(frame.rss_type, HW_RSS_TYPE_IPV4_UDP);
    assert_int_equal(frame.rss_hash, vectors[0].hash_tcp);

    // A fragment has no ports that could be hashed.
    build(&vectors[0], 6, &frame);
    frame.head[14 + 6] = 0x20;
    nic_frame_parse(&frame);
    nic_rss_classify(&rss, &frame);
    assert_int_equal(frame.rss_type, HW_RSS_TYPE_IPV4);
    assert_int_equal(frame.rss_hash, vectors[0].hash_ip);

    rss.enabled = false;
    nic_rss_classify(&rss, &frame);
    assert_int_equal(frame.rss_type, HW_RSS_TYPE_NONE);
    assert_int_equal(frame.rss_hash, 0);
}

static void test_queue(void **state)
{
    struct nic_rss_tables rss = {.enabled = true};
    struct nic_frame frame = {.rss_type = HW_RSS_TYPE_IPV4};

    (void)state;
    for (unsigned i = 0; i < NIC_RETA_ENTRIES; i++)
        rss.reta[i] = i % 16;
    frame.rss_hash = 0xabcdef00 | 0x7f; // the low 7 bits count
    assert_int_equal(nic_rss_queue(&rss, &frame, 0xf), 15);
    assert_int_equal(nic_rss_queue(&rss, &frame, 0x1), 1);
    assert_int_equal(nic_rss_queue(&rss, &frame, 0x0), 0);
    frame.rss_hash = 0x80;
    assert_int_equal(nic_rss_queue(&rss, &frame, 0xf), 0);
    frame.rss_hash = 0x0d;
    assert_int_equal(nic_rss_queue(&rss, &frame, 0x3), 1);
    frame.rss_type = HW_RSS_TYPE_NONE;
    assert_int_equal(nic_rss_queue(&rss, &frame, 0xf), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_vectors),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_queue),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

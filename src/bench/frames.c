// SPDX-License-Identifier: BSD-3-Clause
#include "bench/frames.h"

#include <string.h>

#include "base/le.h"

// As dpdk-testpmd's `start tx_first` sends them: Ethernet, IPv4 without options, UDP, payload.
#define ETHERTYPE_AT 12u
#define IP_AT        14u
#define IP_LEN       20u
#define UDP_AT       (IP_AT + IP_LEN)
#define SEQ_AT       (UDP_AT + 8u)
#define WORDS_AT     (SEQ_AT + 8u)
#define IP_TTL       64u
#define IP_UDP       17u
#define PORT_DISCARD 9u
#define IP_NET       0xc612u // 198.18/15: for benchmarks (RFC 2544)

// Of each 256 frames. scripts/bench-peer has the same, in bursts of 8.
static const struct {
    uint32_t len_bytes, count;
} imix[] = {{64, 152}, {570, 80}, {1514, 24}};

uint32_t bench_frame_len(uint32_t size, uint64_t n)
{
    uint64_t at = n % BENCH_FRAMES_EACH_WAY;

    if (size != BENCH_IMIX)
        return size;
    for (unsigned i = 0; i < sizeof imix / sizeof imix[0]; i++) {
        if (at < imix[i].count)
            return imix[i].len_bytes;
        at -= imix[i].count;
    }
    return BENCH_FRAME_MIN; // the counts add up to BENCH_FRAMES_EACH_WAY
}

double bench_frame_len_mean(uint32_t size)
{
    uint64_t sum = 0;

    for (unsigned n = 0; n < BENCH_FRAMES_EACH_WAY; n++)
        sum += bench_frame_len(size, n);
    return (double)sum / BENCH_FRAMES_EACH_WAY;
}

static uint64_t payload_word(uint64_t seq, uint32_t at)
{
    uint64_t word = (seq + 1) * 0x9e3779b97f4a7c15ull ^ (at + 1) * 0xc2b2ae3d27d4eb4full;

    return word ^ word >> 29;
}

static void be16_put(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

// One flow a pair of MAC addresses: a machine's IP address follows from the end of its MAC.
static void put_address(uint8_t *at, const uint8_t mac[6])
{
    be16_put(at, IP_NET);
    at[2] = mac[4];
    at[3] = mac[5];
}

// RFC 791 §3.1.
static uint32_t header_checksum(const uint8_t ip[IP_LEN])
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < IP_LEN; i += 2)
        sum += (uint32_t)ip[i] << 8 | ip[i + 1];
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

// All before the payload.
static void put_headers(uint8_t headers[SEQ_AT], uint32_t len, const uint8_t to[6],
                        const uint8_t from[6])
{
    uint8_t *ip = headers + IP_AT, *udp = headers + UDP_AT;

    memset(headers, 0, SEQ_AT);
    memcpy(headers, to, 6);
    memcpy(headers + 6, from, 6);
    headers[ETHERTYPE_AT] = 0x08;
    ip[0] = 0x45;
    be16_put(ip + 2, len - IP_AT);
    ip[8] = IP_TTL;
    ip[9] = IP_UDP;
    put_address(ip + 12, from);
    put_address(ip + 16, to);
    be16_put(ip + 10, header_checksum(ip));
    be16_put(udp, PORT_DISCARD);
    be16_put(udp + 2, PORT_DISCARD);
    be16_put(udp + 4, len - UDP_AT); // its checksum is 0: none, as testpmd has it
}

void bench_frame_fill(uint8_t *frame, uint32_t len, const uint8_t to[6], const uint8_t from[6],
                      uint64_t seq)
{
    put_headers(frame, len, to, from);
    le64_put(frame + SEQ_AT, seq);
    for (uint32_t at = WORDS_AT; at < len; at += 8) {
        uint64_t word = payload_word(seq, at);

        memcpy(frame + at, &word, len - at < 8 ? len - at : 8);
    }
}

bool bench_frame_check(const uint8_t *frame, uint32_t len, const uint8_t to[6],
                       const uint8_t from[6], uint64_t seq)
{
    uint8_t headers[SEQ_AT];
    bool ok = len >= BENCH_FRAME_MIN;

    if (ok) {
        put_headers(headers, len, to, from);
        ok = !memcmp(frame, headers, sizeof headers) && le64_get(frame + SEQ_AT) == seq;
    }
    for (uint32_t at = WORDS_AT; ok && at < len; at += 8) {
        uint64_t word = payload_word(seq, at);

        ok = !memcmp(frame + at, &word, len - at < 8 ? len - at : 8);
    }
    return ok;
}

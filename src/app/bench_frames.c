// SPDX-License-Identifier: BSD-3-Clause
#include "app/bench_frames.h"

#include <string.h>

#include "base/le.h"

#define ETHERTYPE_AT 12u
#define SEQ_AT       16u // 14 bytes Ethernet, 2 spare
#define WORDS_AT     24u

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

void bench_frame_fill(uint8_t *frame, uint32_t len, const uint8_t to[6], const uint8_t from[6],
                      uint64_t seq)
{
    memcpy(frame, to, 6);
    memcpy(frame + 6, from, 6);
    frame[ETHERTYPE_AT] = 0x88; // local experiments
    frame[ETHERTYPE_AT + 1] = 0xb5;
    le16_put(frame + 14, (uint16_t)len);
    le64_put(frame + SEQ_AT, seq);
    for (uint32_t at = WORDS_AT; at < len; at += 8) {
        uint64_t word = payload_word(seq, at);

        memcpy(frame + at, &word, len - at < 8 ? len - at : 8);
    }
}

bool bench_frame_check(const uint8_t *frame, uint32_t len, uint64_t seq)
{
    bool ok = len >= BENCH_FRAME_MIN && frame[ETHERTYPE_AT] == 0x88 &&
              frame[ETHERTYPE_AT + 1] == 0xb5 && le16_get(frame + 14) == (uint16_t)len &&
              le64_get(frame + SEQ_AT) == seq;

    for (uint32_t at = WORDS_AT; ok && at < len; at += 8) {
        uint64_t word = payload_word(seq, at);

        ok = !memcmp(frame + at, &word, len - at < 8 ? len - at : 8);
    }
    return ok;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "nic/sum.h"

#include <stdbool.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "base/bits.h"

#define WIDE32_MIN 64u // shorter ones are not worth the start

// One 64-bit word of the sum: room for 2^32 of them.
static inline uint64_t halves(uint64_t w)
{
    return (w & UINT32_MAX) + (w >> 32);
}

// Reads and sums; where `copy`, writes to `dst` too. Inlined with `copy` constant.
static inline __attribute__((always_inline)) uint64_t narrow(uint8_t *dst, const uint8_t *src,
                                                             uint32_t len, bool copy)
{
    uint64_t sum = 0, w;
    uint32_t w4;
    uint16_t w2;

    for (; len >= 8; src += 8, len -= 8) {
        memcpy(&w, src, 8);
        if (copy) {
            memcpy(dst, &w, 8);
            dst += 8;
        }
        sum += halves(w);
    }
    if (len & 4) {
        memcpy(&w4, src, 4);
        if (copy) {
            memcpy(dst, &w4, 4);
            dst += 4;
        }
        sum += w4;
        src += 4;
    }
    if (len & 2) {
        memcpy(&w2, src, 2);
        if (copy) {
            memcpy(dst, &w2, 2);
            dst += 2;
        }
        sum += w2;
        src += 2;
    }
    if (len & 1) {
        uint8_t tail[2] = {*src, 0};

        if (copy)
            *dst = tail[0];
        memcpy(&w2, tail, 2);
        sum += w2;
    }
    return sum;
}

static uint64_t narrow_sum(const uint8_t *data, uint32_t len_bytes)
{
    return narrow(NULL, data, len_bytes, false);
}

static uint64_t narrow_sum_copy(uint8_t *dst, const uint8_t *src, uint32_t len_bytes)
{
    return narrow(dst, src, len_bytes, true);
}

#ifdef __x86_64__

// 32 or 64 bytes at a time. Pairs of words are added by the instruction that multiplies signed
// ones: each word less BIAS times one, and what that takes away is added back at the end. Within
// NIC_SUM_LEN_MAX no 32-bit lane can overflow, nor their sum: 32768 words of at most 2^15.
#define BIAS 0x8000

static inline __attribute__((always_inline, target("avx2"))) __m256i pairs32(__m256i v)
{
    return _mm256_madd_epi16(_mm256_xor_si256(v, _mm256_set1_epi16((short)BIAS)),
                             _mm256_set1_epi16(1));
}

static inline __attribute__((always_inline, target("avx2"))) uint64_t
wide32(uint8_t *dst, const uint8_t *src, uint32_t len, bool copy)
{
    __m256i sum = _mm256_setzero_si256(), sum2 = sum;
    uint32_t at = 0;
    __m128i half;

    for (; len - at >= 64; at += 64) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(src + at));
        __m256i w = _mm256_loadu_si256((const __m256i *)(src + at + 32));

        if (copy) {
            _mm256_storeu_si256((__m256i *)(dst + at), v);
            _mm256_storeu_si256((__m256i *)(dst + at + 32), w);
        }
        sum = _mm256_add_epi32(sum, pairs32(v));
        sum2 = _mm256_add_epi32(sum2, pairs32(w));
    }
    sum = _mm256_add_epi32(sum, sum2);
    if (len & 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(src + at));

        if (copy)
            _mm256_storeu_si256((__m256i *)(dst + at), v);
        sum = _mm256_add_epi32(sum, pairs32(v));
        at += 32;
    }
    half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return (uint64_t)((int64_t)_mm_cvtsi128_si32(half) + (int64_t)(at / 2) * BIAS) +
           narrow(copy ? dst + at : dst, src + at, len - at, copy);
}

static __attribute__((target("avx2"))) uint64_t wide32_sum(const uint8_t *data, uint32_t len_bytes)
{
    return wide32(NULL, data, len_bytes, false);
}

static __attribute__((target("avx2"))) uint64_t wide32_sum_copy(uint8_t *dst, const uint8_t *src,
                                                                uint32_t len_bytes)
{
    return wide32(dst, src, len_bytes, true);
}

#define WIDE64 "avx512f,avx512bw"

static inline __attribute__((always_inline, target(WIDE64))) __m512i pairs64(__m512i v)
{
    return _mm512_madd_epi16(_mm512_xor_si512(v, _mm512_set1_epi16((short)BIAS)),
                             _mm512_set1_epi16(1));
}

// What is left at the end is one more, in which the bytes past it are zeros.
static inline __attribute__((always_inline, target(WIDE64))) uint64_t
wide64(uint8_t *dst, const uint8_t *src, uint32_t len, bool copy)
{
    __m512i sum = _mm512_setzero_si512(), sum2 = sum, v;
    uint32_t at = 0;
    __mmask64 rest;

    if (!len)
        return 0;
    for (; len - at > 128; at += 128) {
        __m512i w = _mm512_loadu_si512(src + at + 64);

        v = _mm512_loadu_si512(src + at);
        if (copy) {
            _mm512_storeu_si512(dst + at, v);
            _mm512_storeu_si512(dst + at + 64, w);
        }
        sum = _mm512_add_epi32(sum, pairs64(v));
        sum2 = _mm512_add_epi32(sum2, pairs64(w));
    }
    sum = _mm512_add_epi32(sum, sum2);
    if (len - at > 64) {
        v = _mm512_loadu_si512(src + at);
        if (copy)
            _mm512_storeu_si512(dst + at, v);
        sum = _mm512_add_epi32(sum, pairs64(v));
        at += 64;
    }
    rest = UINT64_MAX >> (64 - (len - at));
    v = _mm512_maskz_loadu_epi8(rest, src + at);
    if (copy)
        _mm512_mask_storeu_epi8(dst + at, rest, v);
    sum = _mm512_add_epi32(sum, pairs64(v));
    return (uint64_t)((int64_t)_mm512_reduce_add_epi32(sum) + (int64_t)(at / 2 + 32) * BIAS);
}

static __attribute__((target(WIDE64))) uint64_t wide64_sum(const uint8_t *data, uint32_t len_bytes)
{
    return wide64(NULL, data, len_bytes, false);
}

static __attribute__((target(WIDE64))) uint64_t wide64_sum_copy(uint8_t *dst, const uint8_t *src,
                                                                uint32_t len_bytes)
{
    return wide64(dst, src, len_bytes, true);
}

#define HAS_WIDE32() __builtin_cpu_supports("avx2")
#define HAS_WIDE64() __builtin_cpu_supports("avx512bw")

#else

#define wide32_sum      narrow_sum
#define wide32_sum_copy narrow_sum_copy
#define wide64_sum      narrow_sum
#define wide64_sum_copy narrow_sum_copy
#define HAS_WIDE32()    false
#define HAS_WIDE64()    false

#endif

uint64_t nic_sum(const uint8_t *data, uint32_t len_bytes)
{
    if (HAS_WIDE64())
        return wide64_sum(data, len_bytes);
    if (HAS_WIDE32() && len_bytes >= WIDE32_MIN)
        return wide32_sum(data, len_bytes);
    return narrow_sum(data, len_bytes);
}

uint64_t nic_sum_copy(uint8_t *dst, const uint8_t *src, uint32_t len_bytes)
{
    if (HAS_WIDE64())
        return wide64_sum_copy(dst, src, len_bytes);
    if (HAS_WIDE32() && len_bytes >= WIDE32_MIN)
        return wide32_sum_copy(dst, src, len_bytes);
    return narrow_sum_copy(dst, src, len_bytes);
}

const struct nic_sum_way *nic_sum_way(unsigned index)
{
    static const struct nic_sum_way ways[] = {
        {"64 bytes", wide64_sum, wide64_sum_copy},
        {"32 bytes", wide32_sum, wide32_sum_copy},
        {"8 bytes", narrow_sum, narrow_sum_copy},
    };

    if (!HAS_WIDE64())
        index++;
    if (!HAS_WIDE32())
        index++;
    return index < ARRAY_LEN(ways) ? &ways[index] : NULL;
}

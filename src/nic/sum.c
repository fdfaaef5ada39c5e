// SPDX-License-Identifier: BSD-3-Clause
#include "nic/sum.h"

#include <stdbool.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define WIDE_MIN 64u // shorter ones are not worth the start

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

    for (; len >= 8; src += 8, dst += copy ? 8 : 0, len -= 8) {
        memcpy(&w, src, 8);
        if (copy)
            memcpy(dst, &w, 8);
        sum += halves(w);
    }
    if (len & 4) {
        memcpy(&w4, src, 4);
        if (copy)
            memcpy(dst, &w4, 4);
        sum += w4;
        src += 4;
        dst += copy ? 4 : 0;
    }
    if (len & 2) {
        memcpy(&w2, src, 2);
        if (copy)
            memcpy(dst, &w2, 2);
        sum += w2;
        src += 2;
        dst += copy ? 2 : 0;
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

#ifdef __x86_64__

// 32 bytes at a time. Pairs of words are added by the instruction that multiplies signed ones: each
// word less 0x8000 times one, and what that takes away is added back at the end. Within
// NIC_SUM_LEN_MAX no 32-bit lane can overflow: 1024 additions of at most 2^16.
static inline __attribute__((always_inline, target("avx2"))) uint64_t
wide(uint8_t *dst, const uint8_t *src, uint32_t len, bool copy)
{
    const __m256i bias = _mm256_set1_epi16((short)0x8000), one = _mm256_set1_epi16(1);
    __m256i a = _mm256_setzero_si256(), b = a;
    uint32_t pairs = len / 64, at = 0;
    __m128i half;

    for (uint32_t i = 0; i < pairs; i++, at += 64) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(src + at));
        __m256i w = _mm256_loadu_si256((const __m256i *)(src + at + 32));

        if (copy) {
            _mm256_storeu_si256((__m256i *)(dst + at), v);
            _mm256_storeu_si256((__m256i *)(dst + at + 32), w);
        }
        a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_xor_si256(v, bias), one));
        b = _mm256_add_epi32(b, _mm256_madd_epi16(_mm256_xor_si256(w, bias), one));
    }
    if (len & 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(src + at));

        if (copy)
            _mm256_storeu_si256((__m256i *)(dst + at), v);
        a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_xor_si256(v, bias), one));
        at += 32;
    }
    a = _mm256_add_epi32(a, b);
    half = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return (uint64_t)((int64_t)_mm_cvtsi128_si32(half) + (int64_t)(at / 2) * 0x8000) +
           narrow(copy ? dst + at : dst, src + at, len - at, copy);
}

static __attribute__((target("avx2"))) uint64_t wide_sum(const uint8_t *data, uint32_t len_bytes)
{
    return wide(NULL, data, len_bytes, false);
}

static __attribute__((target("avx2"))) uint64_t wide_sum_copy(uint8_t *dst, const uint8_t *src,
                                                              uint32_t len_bytes)
{
    return wide(dst, src, len_bytes, true);
}

#define HAS_WIDE() __builtin_cpu_supports("avx2")

#else

#define wide_sum(data, len_bytes)          narrow(NULL, data, len_bytes, false)
#define wide_sum_copy(dst, src, len_bytes) narrow(dst, src, len_bytes, true)
#define HAS_WIDE()                         false

#endif

uint64_t nic_sum(const uint8_t *data, uint32_t len_bytes)
{
    if (len_bytes >= WIDE_MIN && HAS_WIDE())
        return wide_sum(data, len_bytes);
    return narrow(NULL, data, len_bytes, false);
}

uint64_t nic_sum_copy(uint8_t *dst, const uint8_t *src, uint32_t len_bytes)
{
    if (len_bytes >= WIDE_MIN && HAS_WIDE())
        return wide_sum_copy(dst, src, len_bytes);
    return narrow(dst, src, len_bytes, true);
}

// SPDX-License-Identifier: BSD-3-Clause
// Sums for Internet checksums (RFC 1071): of 16-bit words as they lie in memory, or of wider ones,
// which is the same modulo 0xffff; 0 only where all bytes are. That they are big-endian matters
// only when a sum is folded. Private to src/nic.
#ifndef VIREO_NIC_SUM_H
#define VIREO_NIC_SUM_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define NIC_SUM_LEN_MAX 65536u // at once

// The sum of `len_bytes` (0 … NIC_SUM_LEN_MAX); the last byte of an odd length counts as a word's
// first.
uint64_t nic_sum(const uint8_t *data, uint32_t len_bytes);
// The same, and copies them: each byte is read once, so that what was summed is what was copied.
uint64_t nic_sum_copy(uint8_t *dst, const uint8_t *src, uint32_t len_bytes);

// Of an IPv4 header without options.
static inline uint64_t nic_sum_20(const uint8_t *data)
{
    uint32_t w[5];

    memcpy(w, data, sizeof w);
    return (uint64_t)w[0] + w[1] + w[2] + w[3] + w[4];
}

// To 16 bits, in memory's order.
static inline uint16_t nic_sum_fold(uint64_t sum)
{
    sum = (sum & UINT32_MAX) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

// Of a piece that begins in the middle of a word.
static inline uint64_t nic_sum_swap(uint64_t sum)
{
    return __builtin_bswap16(nic_sum_fold(sum));
}

// Of one word, given as a number.
static inline uint64_t nic_sum_word(uint32_t v)
{
    return htobe16((uint16_t)v);
}

// How that is done on different processors: the `index`th way that this one knows, the best first;
// NULL where it has no more. For tests.
struct nic_sum_way {
    const char *name;
    uint64_t (*sum)(const uint8_t *data, uint32_t len_bytes);
    uint64_t (*sum_copy)(uint8_t *dst, const uint8_t *src, uint32_t len_bytes);
};
const struct nic_sum_way *nic_sum_way(unsigned index);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// Bit and alignment arithmetic on unsigned values. Pure; any thread.
#ifndef VIREO_BASE_BITS_H
#define VIREO_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BIT(n)        (1u << (n))
#define BIT64(n)      (1ull << (n))
#define ARRAY_LEN(a)  (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define likely(x)     __builtin_expect(!!(x), 1)
#define unlikely(x)   __builtin_expect(!!(x), 0)

// True for 1, 2, 4, …; false for 0.
static inline bool bits_is_pow2(uint64_t v)
{
    return v && !(v & (v - 1));
}

// `align` is a power of two. bits_align_up wraps past 2^64: check the range first.
static inline uint64_t bits_align_down(uint64_t v, uint64_t align)
{
    return v & ~(align - 1);
}

static inline uint64_t bits_align_up(uint64_t v, uint64_t align)
{
    return (v + align - 1) & ~(align - 1);
}

// True where [start, start+len) lies within [base, base+size), without overflow.
static inline bool bits_range_within(uint64_t start, uint64_t len, uint64_t base, uint64_t size)
{
    return start >= base && len <= size && start - base <= size - len;
}

#endif

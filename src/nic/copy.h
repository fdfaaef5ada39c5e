// SPDX-License-Identifier: BSD-3-Clause
// Copying and prefetching of frames. A frame's lines come from another core's cache, and go where
// another core has just read: at some 100 ns a line it pays to ask for them a few frames ahead.
// Private to src/nic.
#ifndef VIREO_NIC_COPY_H
#define VIREO_NIC_COPY_H

#include <stdint.h>
#include <string.h>

#define NIC_LINE_BYTES 64u
#define NIC_PAGE_BYTES 4096u

// The compiler makes moves of these, and no call. Both ends of a length in [n, 2n] are n bytes that
// overlap in the middle.
static inline void nic_copy_ends(uint8_t *dst, const uint8_t *src, uint32_t len_bytes, size_t n)
{
    uint8_t end[64];

    memcpy(end, src + len_bytes - n, n);
    memcpy(dst, src, n);
    memcpy(dst + len_bytes - n, end, n);
}

// At most 128 bytes, which is what most frames' heads are.
static inline void nic_copy_head(uint8_t *dst, const uint8_t *src, uint32_t len_bytes)
{
    if (len_bytes >= 64)
        nic_copy_ends(dst, src, len_bytes, 64);
    else if (len_bytes >= 32)
        nic_copy_ends(dst, src, len_bytes, 32);
    else if (len_bytes >= 16)
        nic_copy_ends(dst, src, len_bytes, 16);
    else
        memcpy(dst, src, len_bytes);
}

static inline void nic_prefetch_read(const void *p)
{
    __builtin_prefetch(p, 0, 3);
}

// To write: takes the line away from whoever has it.
static inline void nic_prefetch_write(const void *p)
{
#ifdef __x86_64__
    // Without -mprfchw compilers make a prefetch to read of the builtin. Processors that do not
    // know this one take it as no operation.
    __asm__ volatile("prefetchw %0" : : "m"(*(const uint8_t *)p));
#else
    __builtin_prefetch(p, 1, 3);
#endif
}

// Asks for a line of each page that a long copy comes to. What the hardware fetches ahead by itself
// ends with the page, and the next one's address would be looked up when the copy is there.
static inline void nic_prefetch_pages(const uint8_t *dst, const uint8_t *src, uint32_t len_bytes)
{
    for (uint32_t at = NIC_PAGE_BYTES; at < len_bytes; at += NIC_PAGE_BYTES) {
        nic_prefetch_read(src + at);
        nic_prefetch_write(dst + at);
    }
}

// What follows a frame's head: any length, 0 too. The one place where most bytes are copied.
static inline void nic_copy_body(uint8_t *dst, const uint8_t *src, uint32_t len_bytes)
{
    nic_prefetch_pages(dst, src, len_bytes);
    if (len_bytes)
        memcpy(dst, src, len_bytes);
}

#endif

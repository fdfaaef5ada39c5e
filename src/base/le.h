// SPDX-License-Identifier: BSD-3-Clause
// Little-endian access to unaligned bytes: wire and memory formats. Pure; any thread.
#ifndef VIREO_BASE_LE_H
#define VIREO_BASE_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define LE_ACCESSORS(bits)                                                                         \
    static inline uint##bits##_t le##bits##_get(const void *p)                                     \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof v);                                                                   \
        return le##bits##toh(v);                                                                   \
    }                                                                                              \
    static inline void le##bits##_put(void *p, uint##bits##_t v)                                   \
    {                                                                                              \
        v = htole##bits(v);                                                                        \
        memcpy(p, &v, sizeof v);                                                                   \
    }

LE_ACCESSORS(16)
LE_ACCESSORS(32)
LE_ACCESSORS(64)
#undef LE_ACCESSORS

#endif

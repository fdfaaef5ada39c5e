// SPDX-License-Identifier: BSD-3-Clause
// The pool: one piece of memory that the card may reach, cut into equal buffers; those that nobody
// has are a stack, so that the next one is the one that the cache still holds. Private to
// src/driver. Threads: one, the driver's.
#ifndef VIREO_DRIVER_VF_POOL_H
#define VIREO_DRIVER_VF_POOL_H

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "driver/bus.h"
#include "driver/vf.h"

struct vf_pool {
    struct driver_bus *bus; // whose memory it is
    struct driver_dma memory;
    struct vf_buffer *buffers; // count
    struct vf_buffer **free;   // free_count of them
    unsigned count, free_count;
    unsigned users; // VFs
};

// For one user; *out too where it fails, for vf_pool_leave(). 0, -ENOMEM, what the bus gave.
int vf_pool_create(struct driver_bus *bus, unsigned count, unsigned buffer_bytes,
                   struct vf_pool **out);
// The last user's destroys it. NULL is fine.
void vf_pool_leave(struct vf_pool *pool);

// Puts back buffers, each without its `next`.
static inline void vf_pool_put(struct vf_pool *pool, struct vf_buffer **buffers, unsigned count)
{
    assert(count <= pool->count - pool->free_count); // else one came back twice
    memcpy(pool->free + pool->free_count, buffers, count * sizeof buffers[0]);
    pool->free_count += count;
}

void vf_pool_free(struct vf_pool *pool, struct vf_buffer *b); // with all its `next`

// To the buffer's start, wherever the last owner moved `data`.
static inline void vf_pool_rewind(struct vf_buffer *b)
{
    b->data = b->start;
    b->iova = b->start_iova;
}

#endif

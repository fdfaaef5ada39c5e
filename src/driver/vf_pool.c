// SPDX-License-Identifier: BSD-3-Clause
#include "driver/vf_pool.h"

#include <errno.h>
#include <stdlib.h>

int vf_pool_create(struct driver_bus *bus, unsigned count, unsigned buffer_bytes,
                   struct vf_pool **out)
{
    struct vf_pool *pool = calloc(1, sizeof *pool);
    int ret;

    *out = pool;
    if (!pool)
        return -ENOMEM;
    pool->bus = bus;
    pool->users = 1;
    ret = bus->ops->dma_alloc(bus, (uint64_t)count * buffer_bytes, &pool->memory);
    if (ret)
        return ret;
    pool->buffers = aligned_alloc(VF_BUFFER_ALIGN_BYTES, count * sizeof pool->buffers[0]);
    pool->free = calloc(count, sizeof pool->free[0]);
    if (!pool->buffers || !pool->free)
        return -ENOMEM;
    pool->count = pool->free_count = count;
    for (unsigned i = 0; i < count; i++) {
        struct vf_buffer *b = &pool->buffers[i];
        uint64_t offset = (uint64_t)i * buffer_bytes;

        *b = (struct vf_buffer){
            .index = i,
            .start = (uint8_t *)pool->memory.host + offset,
            .start_iova = pool->memory.iova + offset,
        };
        pool->free[count - 1 - i] = b; // the first on top
    }
    return 0;
}

void vf_pool_leave(struct vf_pool *pool)
{
    if (!pool || --pool->users)
        return;
    if (pool->memory.host)
        pool->bus->ops->dma_free(pool->bus, &pool->memory);
    free(pool->buffers);
    free(pool->free);
    free(pool);
}

void vf_pool_free(struct vf_pool *pool, struct vf_buffer *b)
{
    while (b) {
        struct vf_buffer *next = b->next;

        assert((size_t)(b - pool->buffers) < pool->count);
        vf_pool_put(pool, &b, 1);
        b = next;
    }
}

// SPDX-License-Identifier: BSD-3-Clause
// The pool of buffers.
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "driver/vf_state.h"

static int pool_create(struct vf_driver *vf)
{
    const struct vf_config *config = &vf->config;
    struct vf_pool *pool = calloc(1, sizeof *pool);
    int ret;

    if (!pool)
        return -ENOMEM;
    pool->bus = vf->bus;
    pool->buffer_bytes = config->buffer_bytes;
    pool->users = 1;
    vf->pool = pool;
    pool->buffers = calloc(config->buffer_count, sizeof pool->buffers[0]);
    if (!pool->buffers)
        return -ENOMEM;
    ret = pool->bus->ops->dma_alloc(
        pool->bus, (uint64_t)config->buffer_count * config->buffer_bytes, &pool->memory);
    if (ret)
        return ret;
    for (unsigned i = config->buffer_count; i-- > 0;) {
        pool->buffers[i].index = i;
        vf_pool_put(vf, &pool->buffers[i]);
    }
    return 0;
}

int vf_pool_join(struct vf_driver *vf)
{
    if (!vf->config.pool_of)
        return pool_create(vf);
    vf->pool = vf->config.pool_of->pool;
    vf->pool->users++;
    return 0;
}

void vf_pool_leave(struct vf_driver *vf)
{
    struct vf_pool *pool = vf->pool;

    vf->pool = NULL;
    if (!pool || --pool->users)
        return;
    if (pool->memory.host)
        pool->bus->ops->dma_free(pool->bus, &pool->memory);
    free(pool->buffers);
    free(pool);
}

struct vf_buffer *vf_buffer_alloc(struct vf_driver *vf)
{
    // Sent frames are only collected when somebody needs their buffers.
    for (unsigned i = 0; !vf->pool->free && i < vf->config.queue_count; i++)
        vf_tx_clean(vf, i);
    return vf_pool_take(vf);
}

void vf_buffer_free(struct vf_driver *vf, struct vf_buffer *b)
{
    while (b) {
        struct vf_buffer *next = b->next;

        assert(b == &vf->pool->buffers[b->index]);
        vf_pool_put(vf, b);
        b = next;
    }
}

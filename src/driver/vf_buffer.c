// SPDX-License-Identifier: BSD-3-Clause
// The pool: one piece of memory that the card may reach, cut into equal buffers.
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "driver/vf_state.h"

static void rewind_buffer(struct vf_driver *vf, struct vf_buffer *b)
{
    uint64_t offset = (uint64_t)b->index * vf->config.buffer_bytes;

    // The owner may have moved the start (to strip a header, say).
    *b = (struct vf_buffer){
        .data = (uint8_t *)vf->pool_memory.host + offset,
        .iova = vf->pool_memory.iova + offset,
        .index = b->index,
    };
}

int vf_pool_create(struct vf_driver *vf)
{
    uint64_t len = (uint64_t)vf->config.buffer_count * vf->config.buffer_bytes;
    int ret = vf->bus->ops->dma_alloc(vf->bus, len, &vf->pool_memory);

    if (ret)
        return ret;
    vf->buffers = calloc(vf->config.buffer_count, sizeof vf->buffers[0]);
    if (!vf->buffers)
        return -ENOMEM;
    for (unsigned i = vf->config.buffer_count; i-- > 0;) {
        vf->buffers[i].index = i;
        vf_buffer_free(vf, &vf->buffers[i]);
    }
    return 0;
}

void vf_pool_destroy(struct vf_driver *vf)
{
    free(vf->buffers);
    vf->buffers = NULL;
    vf->free_buffers = NULL;
    if (vf->pool_memory.host)
        vf->bus->ops->dma_free(vf->bus, &vf->pool_memory);
}

struct vf_buffer *vf_buffer_alloc(struct vf_driver *vf)
{
    struct vf_buffer *b;

    // Sent frames are only collected when somebody needs their buffers.
    for (unsigned i = 0; !vf->free_buffers && i < vf->config.queue_count; i++)
        vf_tx_clean(vf, i);
    b = vf->free_buffers;
    if (!b)
        return NULL;
    vf->free_buffers = b->next;
    rewind_buffer(vf, b);
    return b;
}

void vf_buffer_free(struct vf_driver *vf, struct vf_buffer *b)
{
    while (b) {
        struct vf_buffer *next = b->next;

        assert(b == &vf->buffers[b->index]);
        b->next = vf->free_buffers;
        vf->free_buffers = b;
        b = next;
    }
}

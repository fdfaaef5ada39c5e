// SPDX-License-Identifier: BSD-3-Clause
// The pool: one piece of memory that the card may reach, cut into equal buffers.
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "driver/vf_state.h"

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
    // Sent frames are only collected when somebody needs their buffers.
    for (unsigned i = 0; !vf->free_buffers && i < vf->config.queue_count; i++)
        vf_tx_clean(vf, i);
    return vf_pool_take(vf);
}

void vf_buffer_free(struct vf_driver *vf, struct vf_buffer *b)
{
    while (b) {
        struct vf_buffer *next = b->next;

        assert(b == &vf->buffers[b->index]);
        vf_pool_put(vf, b);
        b = next;
    }
}

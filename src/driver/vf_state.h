// SPDX-License-Identifier: BSD-3-Clause
// The VF driver, as its files share it. Private to src/driver.
#ifndef VIREO_DRIVER_VF_STATE_H
#define VIREO_DRIVER_VF_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/bus.h"
#include "driver/vf.h"
#include "driver/vf_mailbox.h"
#include "hw82599/desc.h"

// One descriptor, in whichever of its forms.
union vf_rx_desc {
    struct hw_rx_read_desc read;
    struct hw_rx_writeback_desc done;
};

union vf_tx_desc {
    struct hw_tx_data_desc data;
    struct hw_tx_context_desc context;
};

// The card owns descriptors [head, tail); `next` is the one that it finishes next. Slot i holds the
// buffer that descriptor i points at.
struct vf_rx_queue {
    volatile union vf_rx_desc *ring;
    struct driver_dma memory;
    struct vf_buffer **slots;
    unsigned next;
    // A frame of which not all buffers have come yet.
    struct vf_buffer *first, *last;
    bool discarding; // drop what comes until the frame ends
};

// [clean, use) is what the card has and has not reported yet.
struct vf_tx_queue {
    volatile union vf_tx_desc *ring;
    struct driver_dma memory;
    struct vf_buffer **slots; // at a frame's last descriptor: the frame
    unsigned *ends; // at the first descriptor of those reported together: index of the last
    unsigned clean, use;
    unsigned unreported; // written, without a report asked for: 0 between calls of vf_send()
    // Contexts 0 (checksums) and 1 (TSO) as the card has them.
    struct {
        bool loaded;
        struct hw_tx_context_desc words;
    } contexts[2];
    bool plain_loaded; // context 0 is that of a frame which asks for nothing
};

// One piece of memory that the card may reach, cut into equal buffers.
struct vf_pool {
    struct driver_bus *bus; // whose memory it is
    struct driver_dma memory;
    struct vf_buffer *buffers;
    struct vf_buffer *free; // a stack, by `next`: what was used last is used next
    uint32_t buffer_bytes;
    unsigned users; // VFs
};

struct vf_driver {
    struct driver_bus *bus;
    struct vf_config config; // queue_count: what the PF allows of it
    struct vf_mailbox mailbox;
    uint8_t mac[6];
    unsigned multicast_type;
    int api;
    bool admin_link; // the PF lets our link be up
    struct vf_pool *pool;
    struct vf_rx_queue rx[VF_QUEUES_MAX];
    struct vf_tx_queue tx[VF_QUEUES_MAX];
    int irq_fds[VF_QUEUES_MAX];
    struct vf_stats stats;
};

// vf_buffer.c. Makes the VF's pool, or joins that of config.pool_of. 0, -ENOMEM, what the bus gave.
int vf_pool_join(struct vf_driver *vf);
void vf_pool_leave(struct vf_driver *vf); // the last one destroys it

// The buffer on top of the pool, as new; NULL when there is none.
static inline struct vf_buffer *vf_pool_take(struct vf_driver *vf)
{
    struct vf_pool *pool = vf->pool;
    struct vf_buffer *b = pool->free;
    uint64_t offset;

    if (!b)
        return NULL;
    pool->free = b->next;
    // The owner may have moved the start (to strip a header, say).
    offset = (uint64_t)b->index * pool->buffer_bytes;
    *b = (struct vf_buffer){
        .data = (uint8_t *)pool->memory.host + offset,
        .iova = pool->memory.iova + offset,
        .index = b->index,
    };
    return b;
}

// Puts back one buffer, without its `next`.
static inline void vf_pool_put(struct vf_driver *vf, struct vf_buffer *b)
{
    b->next = vf->pool->free;
    vf->pool->free = b;
}

// vf_receive.c, vf_transmit.c: rings of one queue. start: the queue's registers, once the memory is
// there. 0, -ENOMEM, -ETIMEDOUT, what the bus gave. destroy: safe on what was never created; the
// card must not use the ring any more, and its buffers go back to the pool.
int vf_rx_create(struct vf_driver *vf, unsigned queue);
int vf_rx_start(struct vf_driver *vf, unsigned queue);
void vf_rx_destroy(struct vf_driver *vf, unsigned queue);
int vf_tx_create(struct vf_driver *vf, unsigned queue);
int vf_tx_start(struct vf_driver *vf, unsigned queue);
void vf_tx_destroy(struct vf_driver *vf, unsigned queue);
// Frees the frames that the card has sent.
void vf_tx_clean(struct vf_driver *vf, unsigned queue);

// vf.c. Waits until the queue's control register has ENABLE set. 0, -ETIMEDOUT, -ENODEV.
int vf_wait_enabled(struct vf_driver *vf, uint32_t offset, uint32_t enable);

#endif

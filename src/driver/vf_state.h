// SPDX-License-Identifier: BSD-3-Clause
// The VF driver, as its files share it. Private to src/driver.
#ifndef VIREO_DRIVER_VF_STATE_H
#define VIREO_DRIVER_VF_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/bus.h"
#include "driver/vf.h"
#include "driver/vf_mailbox.h"
#include "driver/vf_pool.h"
#include "hw82599/desc.h"

// One descriptor, in whichever of its forms.
union vf_rx_desc {
    struct hw_rx_read_desc read;
    struct hw_rx_writeback_desc done;
    uint64_t words[2];
};

union vf_tx_desc {
    struct hw_tx_data_desc data;
    struct hw_tx_context_desc context;
};

// The card owns descriptors [head, tail); `next` is the one that it finishes next. All are filled:
// slot i holds the buffer that descriptor i points at.
struct vf_rx_queue {
    union vf_rx_desc *ring;
    struct driver_dma memory;
    struct vf_buffer **slots;
    unsigned next;
    unsigned untold; // filled since the tail was written: each write costs a line that the card has
    // A frame of which not all buffers have come yet.
    struct vf_buffer *first, *last;
    bool discarding; // drop what comes until the frame ends
};

// [clean, use) is what the card has and has not reported yet. Slot i holds the buffer that
// descriptor i points at; NULL for a context's.
struct vf_tx_queue {
    union vf_tx_desc *ring;
    struct driver_dma memory;
    struct vf_buffer **slots;
    unsigned *ends; // at the first descriptor of those reported together: index of the last
    unsigned clean, use;
    unsigned unreported;    // written, without a report asked for: 0 between calls of vf_send()
    unsigned context_count; // in [clean, use)
    // Contexts 0 (checksums) and 1 (TSO) as the card has them.
    struct {
        bool loaded;
        struct hw_tx_context_desc words;
    } contexts[2];
    bool plain_loaded; // context 0 is that of a frame which asks for nothing
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
    struct vf_driver *next_in_pool; // of those who share it; alone: itself
    struct vf_rx_queue rx[VF_QUEUES_MAX];
    struct vf_tx_queue tx[VF_QUEUES_MAX];
    int irq_fds[VF_QUEUES_MAX];
    struct vf_stats stats;
};

static inline uint32_t vf_min(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

// vf_receive.c, vf_transmit.c: rings of one queue. create: the memory, and a buffer for each
// descriptor to receive; 0, -ENOMEM, what the bus gave. enable: the queue's registers; it runs once
// its control register has ENABLE set, and then vf_rx_post() gives the card the ring. destroy: safe
// on what was never created; the card must not use the ring any more, and its buffers go back to
// the pool.
int vf_rx_create(struct vf_driver *vf, unsigned queue);
void vf_rx_enable(struct vf_driver *vf, unsigned queue);
void vf_rx_post(struct vf_driver *vf, unsigned queue);
void vf_rx_destroy(struct vf_driver *vf, unsigned queue);
int vf_tx_create(struct vf_driver *vf, unsigned queue);
void vf_tx_enable(struct vf_driver *vf, unsigned queue);
void vf_tx_destroy(struct vf_driver *vf, unsigned queue);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// Receive: 82599 §7.1.6 (descriptors), §7.1.9 (ring), §4.6.7 (setup).
#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "driver/vf_state.h"
#include "hw82599/regs.h"

#define TAIL_EVERY 16u // descriptors: the card is told of fresh ones so many at a time

#define STATUS_ERRORS (HW_RXE_RXE | HW_RXE_L4E | HW_RXE_IPE)
#define STATUS_FLAGS  (HW_RXS_VP | HW_RXS_L4CS | HW_RXS_IPCS)

_Static_assert(VF_RX_VLAN == HW_RXS_VP && VF_RX_L4_CSUM_OK == HW_RXS_L4CS &&
                   VF_RX_IP_CSUM_OK == HW_RXS_IPCS,
               "a good frame's flags are its status's");

// Points a descriptor at the whole of a buffer.
static inline void post(union vf_rx_desc *desc, struct vf_buffer *b)
{
    vf_pool_rewind(b);
    desc->read.packet_addr = htole64(b->iova);
    desc->read.header_addr = 0; // here the card wrote its status: clears DD
}

int vf_rx_create(struct vf_driver *vf, unsigned queue)
{
    struct vf_rx_queue *q = &vf->rx[queue];
    unsigned len = vf->config.ring_len;
    int ret = vf->bus->ops->dma_alloc(vf->bus, (uint64_t)len * HW_DESC_LEN_BYTES, &q->memory);

    if (ret)
        return ret;
    q->ring = q->memory.host;
    q->slots = calloc(len, sizeof q->slots[0]);
    if (!q->slots)
        return -ENOMEM;
    for (unsigned i = 0; i < len; i++) {
        q->slots[i] = vf_buffer_alloc(vf);
        if (!q->slots[i])
            return -ENOMEM;
        post(&q->ring[i], q->slots[i]);
    }
    return 0;
}

void vf_rx_enable(struct vf_driver *vf, unsigned queue)
{
    struct vf_rx_queue *q = &vf->rx[queue];
    struct driver_bus *bus = vf->bus;

    driver_reg_write(bus, HW_VFRDBAL(queue), (uint32_t)q->memory.iova);
    driver_reg_write(bus, HW_VFRDBAH(queue), (uint32_t)(q->memory.iova >> 32));
    driver_reg_write(bus, HW_VFRDLEN(queue), vf->config.ring_len * HW_DESC_LEN_BYTES);
    driver_reg_write(bus, HW_VFRDH(queue), 0);
    driver_reg_write(bus, HW_VFRDT(queue), 0);
    driver_reg_write(bus, HW_VFSRRCTL(queue),
                     vf->config.buffer_bytes / 1024 |
                         HW_SRRCTL_DESCTYPE_ADV << HW_SRRCTL_DESCTYPE_SHIFT | HW_SRRCTL_DROP_EN);
    driver_reg_write(bus, HW_VFRXDCTL(queue), HW_RXDCTL_ENABLE | HW_RXDCTL_VME);
}

void vf_rx_post(struct vf_driver *vf, unsigned queue)
{
    // All but one: a tail that equals the head would mean an empty ring.
    driver_reg_write(vf->bus, HW_VFRDT(queue), vf->config.ring_len - 1);
}

void vf_rx_destroy(struct vf_driver *vf, unsigned queue)
{
    struct vf_rx_queue *q = &vf->rx[queue];

    for (unsigned i = 0; q->slots && i < vf->config.ring_len; i++) {
        if (q->slots[i])
            vf_pool_put(vf->pool, &q->slots[i], 1);
    }
    vf_buffer_free(vf, q->first);
    q->first = NULL;
    free(q->slots);
    q->slots = NULL;
    if (q->memory.host)
        vf->bus->ops->dma_free(vf->bus, &q->memory);
}

static inline void advance(const struct vf_driver *vf, struct vf_rx_queue *q, unsigned count)
{
    q->next += count;
    if (q->next >= vf->config.ring_len)
        q->next -= vf->config.ring_len;
}

// A descriptor as it is now; all else in it counts only where the card has set DD.
static inline struct hw_rx_writeback_desc snapshot(const union vf_rx_desc *desc)
{
    const volatile uint64_t *words = desc->words;
    union vf_rx_desc copy;

    copy.words[1] = words[1]; // with DD in it
    // acquire: pairs with the card's release of DD; all else was written before
    atomic_thread_fence(memory_order_acquire);
    copy.words[0] = words[0];
    return copy.done;
}

// What the card says of a frame, in its last descriptor. Wrong checksums are the caller's matter.
static inline void describe(struct vf_buffer *frame, const struct hw_rx_writeback_desc *desc)
{
    frame->flags = le32toh(desc->status_error) & STATUS_FLAGS;
    frame->vlan = le16toh(desc->vlan);
    frame->rss_hash = le32toh(desc->rss_hash);
}

static void forget_frame(struct vf_rx_queue *q)
{
    q->first = NULL;
    q->last = NULL;
}

// Ends the frame that is being put together. True and *out where it is whole and good.
static bool finish_frame(struct vf_driver *vf, struct vf_rx_queue *q,
                         const struct hw_rx_writeback_desc *desc, struct vf_buffer **out)
{
    uint32_t status = le32toh(desc->status_error);
    struct vf_buffer *frame = q->first;
    bool discard = q->discarding;

    forget_frame(q);
    q->discarding = false;
    if (discard) // what there was of it is free already
        return false;
    if (status & HW_RXE_RXE) {
        vf->stats.rx_errors++;
        vf_buffer_free(vf, frame);
        return false;
    }
    describe(frame, desc);
    if ((status & HW_RXS_IPCS) && (status & HW_RXE_IPE))
        frame->flags = (frame->flags & ~VF_RX_IP_CSUM_OK) | VF_RX_CSUM_BAD;
    if ((status & HW_RXS_L4CS) && (status & HW_RXE_L4E))
        frame->flags = (frame->flags & ~VF_RX_L4_CSUM_OK) | VF_RX_CSUM_BAD;
    vf->stats.rx_frames++;
    for (struct vf_buffer *b = frame; b; b = b->next)
        vf->stats.rx_bytes += b->len_bytes;
    *out = frame;
    return true;
}

// Takes the buffer of a finished descriptor into the frame, and puts a fresh one in its place.
static void take_buffer(struct vf_driver *vf, struct vf_rx_queue *q, unsigned len)
{
    struct vf_buffer **slot = &q->slots[q->next], *b = *slot, *fresh;

    if (q->discarding)
        return; // the slot keeps its buffer
    fresh = vf_buffer_alloc(vf);
    if (!fresh) {
        // The ring must stay full, so the frame goes.
        vf->stats.rx_no_buffer++;
        vf_buffer_free(vf, q->first);
        forget_frame(q);
        q->discarding = true;
        return;
    }
    *slot = fresh;
    b->next = NULL;
    // Whatever the card says, it was given no more room than this.
    b->len_bytes = (uint16_t)vf_min(len, vf->config.buffer_bytes);
    if (q->last)
        q->last->next = b;
    else
        q->first = b;
    q->last = b;
}

// Receives one descriptor, whatever it is. What the card has not finished: -1; else how many
// frames it completed: 0 or 1.
static int take_any(struct vf_driver *vf, struct vf_rx_queue *q, struct vf_buffer **out)
{
    struct hw_rx_writeback_desc desc = snapshot(&q->ring[q->next]);
    uint32_t status = le32toh(desc.status_error);
    bool got = false;

    if (!(status & HW_RXS_DD))
        return -1;
    take_buffer(vf, q, le16toh(desc.len_bytes));
    if (status & HW_RXS_EOP)
        got = finish_frame(vf, q, &desc, out);
    post(&q->ring[q->next], q->slots[q->next]);
    advance(vf, q, 1);
    return got;
}

// take_any() for frames as most are: good, and whole in one buffer, none begun before them. Takes
// a run of them, which ends before the first that is not or has not come, where the ring goes
// round, and where the pool is empty. Returns how many.
static unsigned take_plain(struct vf_driver *vf, struct vf_rx_queue *q, struct vf_buffer **out,
                           unsigned count)
{
    union vf_rx_desc *desc = &q->ring[q->next];
    struct vf_buffer **slots = &q->slots[q->next];
    struct vf_buffer **fresh = vf->pool->free + vf->pool->free_count;
    uint32_t len_max = vf->config.buffer_bytes;
    uint64_t bytes = 0;
    unsigned n;

    if (q->first || q->discarding)
        return 0;
    count = vf_min(count, vf->config.ring_len - q->next);
    count = vf_min(count, vf->pool->free_count);
    for (n = 0; n < count; n++) {
        struct hw_rx_writeback_desc done = snapshot(&desc[n]);
        struct vf_buffer *b = slots[n];

        if ((le32toh(done.status_error) & (HW_RXS_DD | HW_RXS_EOP | STATUS_ERRORS)) !=
                (HW_RXS_DD | HW_RXS_EOP) ||
            le16toh(done.len_bytes) > len_max)
            break;
        b->len_bytes = le16toh(done.len_bytes);
        b->next = NULL;
        describe(b, &done);
        bytes += b->len_bytes;
        out[n] = b;
        slots[n] = *--fresh;
        post(&desc[n], slots[n]);
    }
    vf->pool->free_count -= n;
    advance(vf, q, n);
    vf->stats.rx_frames += n;
    vf->stats.rx_bytes += bytes;
    return n;
}

unsigned vf_receive(struct vf_driver *vf, unsigned queue, struct vf_buffer **out, unsigned count)
{
    struct vf_rx_queue *q = &vf->rx[queue];
    const unsigned ring_len = vf->config.ring_len;
    unsigned got = 0, done = 0;

    // One round over the ring at most, however fast the card fills it.
    while (got < count && done < ring_len) {
        unsigned plain = take_plain(vf, q, out + got, vf_min(count - got, ring_len - done));
        int any;

        got += plain;
        done += plain;
        if (plain)
            continue;
        any = take_any(vf, q, out + got);
        if (any < 0)
            break;
        got += (unsigned)any;
        done++;
    }
    q->untold += done;
    if (q->untold >= TAIL_EVERY) {
        q->untold = 0;
        // The tail stays one behind: the last descriptor that was done is the gap.
        driver_reg_write(vf->bus, HW_VFRDT(queue), (q->next ? q->next : ring_len) - 1);
    }
    return got;
}

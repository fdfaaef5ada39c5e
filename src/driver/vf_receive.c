// SPDX-License-Identifier: BSD-3-Clause
// Receive: 82599 §7.1.6 (descriptors), §7.1.9 (ring), §4.6.7 (setup).
#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "driver/vf_state.h"
#include "hw82599/regs.h"

// Gives descriptor `i` to the card, with the buffer that is in its slot.
static void post(struct vf_rx_queue *q, unsigned i)
{
    // header_addr holds the status that the card wrote: 0 clears DD.
    q->ring[i].read.packet_addr = htole64(q->slots[i]->iova);
    q->ring[i].read.header_addr = 0;
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
        post(q, i);
    }
    return 0;
}

int vf_rx_start(struct vf_driver *vf, unsigned queue)
{
    struct vf_rx_queue *q = &vf->rx[queue];
    struct driver_bus *bus = vf->bus;
    int ret;

    driver_reg_write(bus, HW_VFRDBAL(queue), (uint32_t)q->memory.iova);
    driver_reg_write(bus, HW_VFRDBAH(queue), (uint32_t)(q->memory.iova >> 32));
    driver_reg_write(bus, HW_VFRDLEN(queue), vf->config.ring_len * HW_DESC_LEN_BYTES);
    driver_reg_write(bus, HW_VFRDH(queue), 0);
    driver_reg_write(bus, HW_VFRDT(queue), 0);
    driver_reg_write(bus, HW_VFSRRCTL(queue),
                     vf->config.buffer_bytes / 1024 |
                         HW_SRRCTL_DESCTYPE_ADV << HW_SRRCTL_DESCTYPE_SHIFT | HW_SRRCTL_DROP_EN);
    driver_reg_write(bus, HW_VFRXDCTL(queue), HW_RXDCTL_ENABLE | HW_RXDCTL_VME);
    ret = vf_wait_enabled(vf, HW_VFRXDCTL(queue), HW_RXDCTL_ENABLE);
    if (ret)
        return ret;
    // All but one: a tail that equals the head would mean an empty ring.
    driver_reg_write(bus, HW_VFRDT(queue), vf->config.ring_len - 1);
    return 0;
}

void vf_rx_destroy(struct vf_driver *vf, unsigned queue)
{
    struct vf_rx_queue *q = &vf->rx[queue];

    for (unsigned i = 0; q->slots && i < vf->config.ring_len; i++)
        vf_buffer_free(vf, q->slots[i]);
    vf_buffer_free(vf, q->first);
    q->first = NULL;
    free(q->slots);
    q->slots = NULL;
    if (q->memory.host)
        vf->bus->ops->dma_free(vf->bus, &q->memory);
}

static inline void set_flags(struct vf_buffer *b, const struct hw_rx_writeback_desc *desc)
{
    uint32_t status = le32toh(desc->status_error);

    b->rss_hash = le32toh(desc->rss_hash);
    if (!(status & (HW_RXS_VP | HW_RXS_IPCS | HW_RXS_L4CS)))
        return;
    if (status & HW_RXS_VP) {
        b->flags |= VF_RX_VLAN;
        b->vlan = le16toh(desc->vlan);
    }
    if (status & HW_RXS_IPCS)
        b->flags |= status & HW_RXE_IPE ? VF_RX_CSUM_BAD : VF_RX_IP_CSUM_OK;
    if (status & HW_RXS_L4CS)
        b->flags |= status & HW_RXE_L4E ? VF_RX_CSUM_BAD : VF_RX_L4_CSUM_OK;
}

// Ends the frame that is being put together. True and *out where it is whole and good.
static bool finish_frame(struct vf_driver *vf, struct vf_rx_queue *q,
                         const struct hw_rx_writeback_desc *desc, struct vf_buffer **out)
{
    struct vf_buffer *frame = q->first;
    bool discard = q->discarding;

    q->first = NULL;
    q->last = NULL;
    q->discarding = false;
    if (discard) // what there was of it is free already
        return false;
    if (le32toh(desc->status_error) & HW_RXE_RXE) {
        vf->stats.rx_errors++;
        vf_buffer_free(vf, frame);
        return false;
    }
    set_flags(frame, desc); // flags of a frame are in its last descriptor
    vf->stats.rx_frames++;
    for (struct vf_buffer *b = frame; b; b = b->next)
        vf->stats.rx_bytes += b->len_bytes;
    *out = frame;
    return true;
}

// Takes the buffer of a finished descriptor into the frame, and puts a fresh one in its place.
static void take_buffer(struct vf_driver *vf, struct vf_rx_queue *q, unsigned i, unsigned len)
{
    struct vf_buffer *b = q->slots[i];
    struct vf_buffer *fresh;

    if (q->discarding)
        return; // the slot keeps its buffer
    fresh = vf_buffer_alloc(vf);
    if (!fresh) {
        // The ring must stay full, so the frame goes.
        vf->stats.rx_no_buffer++;
        vf_buffer_free(vf, q->first);
        q->first = NULL;
        q->last = NULL;
        q->discarding = true;
        return;
    }
    q->slots[i] = fresh;
    // Whatever the card says, it was given no more room than this.
    b->len_bytes = (uint16_t)(len < vf->config.buffer_bytes ? len : vf->config.buffer_bytes);
    if (q->last)
        q->last->next = b;
    else
        q->first = b;
    q->last = b;
}

// What most frames are: good, and whole in one buffer; none has been begun. Puts a fresh buffer in
// its place. NULL, with nothing done, for any other, and where the pool is empty.
static inline struct vf_buffer *take_whole(struct vf_driver *vf, struct vf_rx_queue *q, unsigned i,
                                           const struct hw_rx_writeback_desc *desc)
{
    struct vf_buffer *b = q->slots[i], *fresh;

    if ((le32toh(desc->status_error) & (HW_RXS_EOP | HW_RXE_RXE)) != HW_RXS_EOP ||
        le16toh(desc->len_bytes) > vf->config.buffer_bytes)
        return NULL;
    fresh = vf_pool_take(vf);
    if (!fresh)
        return NULL;
    q->slots[i] = fresh;
    b->len_bytes = le16toh(desc->len_bytes);
    set_flags(b, desc);
    return b;
}

unsigned vf_receive(struct vf_driver *vf, unsigned queue, struct vf_buffer **out, unsigned count)
{
    struct vf_rx_queue *q = &vf->rx[queue];
    const unsigned ring_len = vf->config.ring_len;
    unsigned got = 0, done = 0, whole = 0, i = q->next, last_done = i;
    uint64_t whole_bytes = 0;

    // One round over the ring at most, however fast the card fills it.
    for (; got < count && done < ring_len; done++) {
        volatile struct hw_rx_writeback_desc *ring_desc = &q->ring[i].done;
        struct hw_rx_writeback_desc desc;
        struct vf_buffer *b = NULL;

        desc.status_error = ring_desc->status_error;
        if (!(le32toh(desc.status_error) & HW_RXS_DD))
            break;
        // acquire: pairs with the card's release of DD; all else was written before
        atomic_thread_fence(memory_order_acquire);
        desc.rss_hash = ring_desc->rss_hash;
        desc.len_bytes = ring_desc->len_bytes;
        desc.vlan = ring_desc->vlan;
        if (!q->first && !q->discarding)
            b = take_whole(vf, q, i, &desc);
        if (b) {
            whole++;
            whole_bytes += b->len_bytes;
            out[got++] = b;
        } else {
            take_buffer(vf, q, i, le16toh(desc.len_bytes));
            if ((le32toh(desc.status_error) & HW_RXS_EOP) && finish_frame(vf, q, &desc, &out[got]))
                got++;
        }
        post(q, i);
        last_done = i;
        i = i + 1 == ring_len ? 0 : i + 1;
    }
    if (!done)
        return 0;
    q->next = i;
    vf->stats.rx_frames += whole;
    vf->stats.rx_bytes += whole_bytes;
    // The tail stays one behind: descriptor last_done itself is the gap.
    driver_reg_write(vf->bus, HW_VFRDT(queue), last_done);
    return got;
}

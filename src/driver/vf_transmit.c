// SPDX-License-Identifier: BSD-3-Clause
// Transmit: 82599 §7.2.3 (descriptors), §7.2.4-5 (TSO, checksums), §4.6.8 (setup).
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "driver/vf_state.h"
#include "hw82599/regs.h"

#define ETHERNET_HEADER_BYTES 14u
#define TX_OFFLOADS           (VF_TX_IP_CSUM | VF_TX_TCP_CSUM | VF_TX_UDP_CSUM | VF_TX_TSO)

#define REPORT_EVERY 32u // descriptors: half of the shortest ring
#define CLEAN_FROM   64u // descriptors that the card has: fewer are not asked after

enum { CONTEXT_PLAIN, CONTEXT_TSO };

int vf_tx_create(struct vf_driver *vf, unsigned queue)
{
    struct vf_tx_queue *q = &vf->tx[queue];
    unsigned len = vf->config.ring_len;
    int ret = vf->bus->ops->dma_alloc(vf->bus, (uint64_t)len * HW_DESC_LEN_BYTES, &q->memory);

    if (ret)
        return ret;
    q->ring = q->memory.host;
    q->slots = calloc(len, sizeof q->slots[0]);
    q->ends = calloc(len, sizeof q->ends[0]);
    return q->slots && q->ends ? 0 : -ENOMEM;
}

void vf_tx_enable(struct vf_driver *vf, unsigned queue)
{
    struct vf_tx_queue *q = &vf->tx[queue];
    struct driver_bus *bus = vf->bus;

    driver_reg_write(bus, HW_VFTDBAL(queue), (uint32_t)q->memory.iova);
    driver_reg_write(bus, HW_VFTDBAH(queue), (uint32_t)(q->memory.iova >> 32));
    driver_reg_write(bus, HW_VFTDLEN(queue), vf->config.ring_len * HW_DESC_LEN_BYTES);
    driver_reg_write(bus, HW_VFTDWBAL(queue), 0); // DD in the descriptor, no head write-back
    driver_reg_write(bus, HW_VFTDWBAH(queue), 0);
    driver_reg_write(bus, HW_VFTDH(queue), 0);
    driver_reg_write(bus, HW_VFTDT(queue), 0);
    driver_reg_write(bus, HW_VFTXDCTL(queue),
                     32u << HW_TXDCTL_PTHRESH_SHIFT | 1u << HW_TXDCTL_HTHRESH_SHIFT |
                         HW_TXDCTL_ENABLE);
}

static unsigned following(const struct vf_driver *vf, unsigned i)
{
    return i + 1 == vf->config.ring_len ? 0 : i + 1;
}

void vf_tx_destroy(struct vf_driver *vf, unsigned queue)
{
    struct vf_tx_queue *q = &vf->tx[queue];

    for (unsigned i = q->clean; i != q->use; i = following(vf, i)) {
        if (q->slots[i])
            vf_pool_put(vf->pool, &q->slots[i], 1);
    }
    q->clean = q->use;
    free(q->slots);
    free(q->ends);
    q->slots = NULL;
    q->ends = NULL;
    if (q->memory.host)
        vf->bus->ops->dma_free(vf->bus, &q->memory);
}

// Puts back what slots [first, stop) hold, which does not go round the ring's end.
static void free_slots(struct vf_driver *vf, struct vf_tx_queue *q, unsigned first, unsigned stop)
{
    if (!q->context_count) {
        vf_pool_put(vf->pool, q->slots + first, stop - first);
        return;
    }
    for (unsigned i = first; i < stop; i++) {
        if (q->slots[i])
            vf_pool_put(vf->pool, &q->slots[i], 1);
        else
            q->context_count--;
    }
}

// Frees what the card has sent.
static void clean(struct vf_driver *vf, struct vf_tx_queue *q)
{
    while (q->clean != q->use) {
        unsigned last = q->ends[q->clean], stop = following(vf, last);
        const volatile struct hw_tx_data_desc *desc = &q->ring[last].data;

        if (!(le32toh(desc->olinfo_status) & HW_TXO_DD))
            break;
        if (last < q->clean) {
            free_slots(vf, q, q->clean, vf->config.ring_len);
            q->clean = 0;
        }
        free_slots(vf, q, q->clean, last + 1);
        q->clean = stop;
    }
}

// Sent frames are only collected when somebody needs their buffers: any of those who share the
// pool.
static void collect(struct vf_driver *vf)
{
    struct vf_driver *each = vf;

    do {
        for (unsigned i = 0; !vf->pool->free_count && i < each->config.queue_count; i++)
            clean(each, &each->tx[i]);
        each = each->next_in_pool;
    } while (each != vf);
}

struct vf_buffer *vf_buffer_alloc(struct vf_driver *vf)
{
    struct vf_pool *pool = vf->pool;
    struct vf_buffer *b;

    if (!pool->free_count)
        collect(vf);
    if (!pool->free_count)
        return NULL;
    b = pool->free[--pool->free_count];
    *b = (struct vf_buffer){
        .data = b->start,
        .iova = b->start_iova,
        .index = b->index,
        .start = b->start,
        .start_iova = b->start_iova,
    };
    return b;
}

void vf_buffer_free(struct vf_driver *vf, struct vf_buffer *b)
{
    vf_pool_free(vf->pool, b);
}

static unsigned used_descs(const struct vf_driver *vf, const struct vf_tx_queue *q)
{
    return q->use >= q->clean ? q->use - q->clean : q->use + vf->config.ring_len - q->clean;
}

static unsigned free_descs(const struct vf_driver *vf, const struct vf_tx_queue *q)
{
    // One stays empty: tail == head means nothing to do.
    return vf->config.ring_len - 1 - used_descs(vf, q);
}

struct frame_size {
    unsigned buffers;
    uint32_t bytes;
    uint32_t headers; // TSO: what is repeated in each segment
};

// Adds up a frame. False where it makes no sense.
static bool measure(const struct vf_driver *vf, const struct vf_buffer *frame,
                    struct frame_size *size)
{
    *size = (struct frame_size){.headers = frame->l2_len + frame->l3_len + frame->l4_len};
    for (const struct vf_buffer *b = frame; b; b = b->next) {
        if (!b->len_bytes || b->len_bytes > vf->config.buffer_bytes ||
            ++size->buffers > VF_FRAME_BUFFERS_MAX)
            return false;
        size->bytes += b->len_bytes;
    }
    if (size->bytes < ETHERNET_HEADER_BYTES)
        return false;
    if ((frame->flags & TX_OFFLOADS) &&
        (frame->l2_len < ETHERNET_HEADER_BYTES || frame->l2_len > 127 || !frame->l3_len ||
         size->headers > size->bytes))
        return false;
    if (!(frame->flags & VF_TX_TSO))
        return size->bytes <= vf->config.frame_bytes_max;
    return frame->mss && frame->l4_len && size->bytes > size->headers &&
           size->headers + frame->mss <= vf->config.frame_bytes_max &&
           size->bytes - size->headers <= HW_TXO_PAYLEN_MAX;
}

// Every frame needs a context: with switching on, the card takes MACLEN and the tag from it
// (82599 §7.2.3.2.3). The card keeps two, so mostly there is nothing to load.
static struct hw_tx_context_desc make_context(const struct vf_buffer *frame, unsigned index)
{
    uint32_t maclen = frame->flags & TX_OFFLOADS ? frame->l2_len : ETHERNET_HEADER_BYTES;
    uint32_t lens = maclen << HW_TXC_MACLEN_SHIFT;
    uint32_t type = HW_TXD_TYPE_CONTEXT | HW_TXD_DEXT;
    uint32_t mss = index << HW_TXC_IDX_SHIFT;

    if (frame->flags & VF_TX_VLAN)
        lens |= (uint32_t)frame->vlan << HW_TXC_VLAN_SHIFT;
    if (frame->flags & TX_OFFLOADS) {
        lens |= frame->l3_len;
        if (!(frame->flags & VF_TX_IPV6))
            type |= HW_TXC_TUCMD_IPV4;
        if (frame->flags & (VF_TX_TCP_CSUM | VF_TX_TSO))
            type |= HW_TXC_TUCMD_L4T_TCP;
    }
    if (frame->flags & VF_TX_TSO)
        mss |= (uint32_t)frame->mss << HW_TXC_MSS_SHIFT | (uint32_t)frame->l4_len
                                                              << HW_TXC_L4LEN_SHIFT;
    return (struct hw_tx_context_desc){
        .vlan_macip_lens = htole32(lens),
        .type_tucmd = htole32(type),
        .mss_l4len_idx = htole32(mss),
    };
}

static uint32_t make_olinfo(const struct vf_buffer *frame, const struct frame_size *size,
                            unsigned index)
{
    uint32_t payload = frame->flags & VF_TX_TSO ? size->bytes - size->headers : size->bytes;
    uint32_t olinfo = HW_TXO_CC | index << HW_TXO_IDX_SHIFT | payload << HW_TXO_PAYLEN_SHIFT;
    bool ipv4 = !(frame->flags & VF_TX_IPV6);

    if (frame->flags & (VF_TX_TCP_CSUM | VF_TX_UDP_CSUM | VF_TX_TSO))
        olinfo |= HW_TXO_TXSM;
    if (ipv4 && (frame->flags & (VF_TX_IP_CSUM | VF_TX_TSO)))
        olinfo |= HW_TXO_IXSM;
    return olinfo;
}

// Has the card report when it is done with the last descriptor written, and so with all since the
// last report: each report costs a cache line that goes to the card and back.
static void ask_report(struct vf_driver *vf, struct vf_tx_queue *q)
{
    unsigned len = vf->config.ring_len, last = (q->use ? q->use : len) - 1;
    unsigned first = q->use - q->unreported;

    if (!q->unreported)
        return;
    q->ring[last].data.cmd_type_len |= htole32(HW_TXD_RS);
    q->ends[first < len ? first : first + len] = last; // below 0: round the end
    q->unreported = 0;
}

// Goes past `count` descriptors that have been written.
static void advance(struct vf_driver *vf, struct vf_tx_queue *q, unsigned count)
{
    q->use += count;
    if (q->use >= vf->config.ring_len)
        q->use -= vf->config.ring_len;
    q->unreported += count;
    if (q->unreported >= REPORT_EVERY)
        ask_report(vf, q);
}

// Writes the descriptors of one frame. False where the ring has no room for it now.
static bool put_frame(struct vf_driver *vf, struct vf_tx_queue *q, struct vf_buffer *frame,
                      const struct frame_size *size)
{
    unsigned index = frame->flags & VF_TX_TSO ? CONTEXT_TSO : CONTEXT_PLAIN;
    struct hw_tx_context_desc context = make_context(frame, index);
    bool load = !q->contexts[index].loaded ||
                memcmp(&q->contexts[index].words, &context, sizeof context) != 0;
    uint32_t cmd = HW_TXD_TYPE_DATA | HW_TXD_DEXT | HW_TXD_IFCS;
    uint32_t olinfo = make_olinfo(frame, size, index);
    unsigned i = q->use;

    if (free_descs(vf, q) < size->buffers + load)
        return false;
    if (frame->flags & VF_TX_VLAN)
        cmd |= HW_TXD_VLE;
    if (frame->flags & VF_TX_TSO)
        cmd |= HW_TXD_TSE;
    if (load) {
        q->ring[i].context = context;
        q->contexts[index].words = context;
        q->contexts[index].loaded = true;
        if (index == CONTEXT_PLAIN)
            q->plain_loaded = !(frame->flags & (TX_OFFLOADS | VF_TX_VLAN));
        q->slots[i] = NULL;
        q->context_count++;
        i = following(vf, i);
    }
    for (struct vf_buffer *b = frame; b; b = b->next) {
        q->ring[i].data = (struct hw_tx_data_desc){
            .buffer_addr = htole64(b->iova),
            .cmd_type_len = htole32(cmd | (b->next ? 0 : HW_TXD_EOP) | b->len_bytes),
            .olinfo_status = htole32(olinfo),
        };
        olinfo = 0; // of a frame, the first descriptor's counts
        q->slots[i] = b;
        i = following(vf, i);
    }
    advance(vf, q, size->buffers + load);
    vf->stats.tx_frames++;
    vf->stats.tx_bytes += size->bytes;
    return true;
}

// put_frame() for frames as most are: one buffer, nothing asked of the card. Writes a run of them
// that ends before the first that is not, or where the ring is full or goes round, or where a
// report is due. Returns how many.
static unsigned put_plain(struct vf_driver *vf, struct vf_tx_queue *q, struct vf_buffer **frames,
                          unsigned count)
{
    const struct vf_config *config = &vf->config;
    struct hw_tx_data_desc *desc = &q->ring[q->use].data;
    struct vf_buffer **slots = q->slots + q->use;
    uint32_t len_max = vf_min(config->buffer_bytes, config->frame_bytes_max);
    uint64_t bytes = 0;
    unsigned n;

    if (!q->plain_loaded)
        return 0;
    count = vf_min(count, free_descs(vf, q));
    count = vf_min(count, config->ring_len - q->use);
    count = vf_min(count, REPORT_EVERY - q->unreported);
    for (n = 0; n < count; n++) {
        struct vf_buffer *frame = frames[n];
        uint32_t len = frame->len_bytes;

        if (frame->next || (frame->flags & (TX_OFFLOADS | VF_TX_VLAN)) ||
            len < ETHERNET_HEADER_BYTES || len > len_max)
            break;
        desc[n] = (struct hw_tx_data_desc){
            .buffer_addr = htole64(frame->iova),
            .cmd_type_len =
                htole32(HW_TXD_TYPE_DATA | HW_TXD_DEXT | HW_TXD_IFCS | HW_TXD_EOP | len),
            .olinfo_status =
                htole32(HW_TXO_CC | CONTEXT_PLAIN << HW_TXO_IDX_SHIFT | len << HW_TXO_PAYLEN_SHIFT),
        };
        slots[n] = frame;
        bytes += len;
    }
    advance(vf, q, n);
    vf->stats.tx_frames += n;
    vf->stats.tx_bytes += bytes;
    return n;
}

unsigned vf_send(struct vf_driver *vf, unsigned queue, struct vf_buffer **frames, unsigned count)
{
    struct vf_tx_queue *q = &vf->tx[queue];
    unsigned before, taken = 0;

    // To ask costs a line that the card has just written. But there must be room for one frame of
    // the largest, with its context, if the card has sent all.
    if (used_descs(vf, q) >= CLEAN_FROM || free_descs(vf, q) <= count + VF_FRAME_BUFFERS_MAX)
        clean(vf, q);
    before = q->use;
    while (taken < count) {
        struct frame_size size;
        unsigned plain = put_plain(vf, q, frames + taken, count - taken);

        taken += plain;
        if (plain)
            continue;
        if (!measure(vf, frames[taken], &size)) {
            vf->stats.tx_malformed++;
            vf_buffer_free(vf, frames[taken++]);
            continue;
        }
        if (!put_frame(vf, q, frames[taken], &size))
            break;
        taken++;
    }
    ask_report(vf, q);
    // One doorbell a batch; driver_reg_write() orders it after the descriptors.
    if (q->use != before)
        driver_reg_write(vf->bus, HW_VFTDT(queue), q->use);
    return taken;
}

unsigned vf_send_pending(struct vf_driver *vf, unsigned queue)
{
    struct vf_tx_queue *q = &vf->tx[queue];

    clean(vf, q);
    return used_descs(vf, q);
}

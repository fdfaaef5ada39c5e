// SPDX-License-Identifier: BSD-3-Clause
#include "nic/rxq.h"

#include <endian.h>
#include <string.h>

#include "base/bits.h"
#include "base/le.h"
#include "hw82599/desc.h"
#include "hw82599/regs.h"
#include "nic/copy.h"
#include "nic/doorbell.h"
#include "nic/offload.h"
#include "nic/port.h"

#define VLAN_TAG_LEN 4u
#define FCS_LEN      4u
#define MACS_LEN     12u // the tag's place is behind both addresses

#define PREFETCH_AHEAD 8u // descriptors: two lines

// The frame as this receiver gets it, piece by piece.
struct pieces {
    struct nic_span span[NIC_FRAME_SPANS_MAX + 4]; // head in two, tag, FCS
    unsigned count, at;
    uint32_t offset; // in span[at]
    uint32_t len_bytes;
    uint8_t tag[VLAN_TAG_LEN], fcs[FCS_LEN];
};

static void update(struct nic_port *port, unsigned queue)
{
    struct nic_rxq *q = &port->rxq[queue];
    uint32_t srrctl = nic_reg(port, HW_SRRCTL(queue));
    uint32_t rxdctl = nic_reg(port, HW_RXDCTL(queue));

    q->strip_vlan = rxdctl & HW_RXDCTL_VME;
    q->drop = (srrctl & HW_SRRCTL_DROP_EN) || q->drop_pf;
}

static void disable(struct nic_port *port, unsigned queue)
{
    struct nic_rxq *q = &port->rxq[queue];

    if (!q->enabled)
        return;
    q->enabled = false;
    // Whoever waits for room here has to see that there will be none.
    nic_worker_refilled(port);
}

static bool control(struct nic_port *port, unsigned queue)
{
    struct nic_rxq *q = &port->rxq[queue];
    uint32_t srrctl = nic_reg(port, HW_SRRCTL(queue)), head = nic_reg(port, HW_RDH(queue));

    if (!(nic_reg(port, HW_RXDCTL(queue)) & HW_RXDCTL_ENABLE)) {
        disable(port, queue);
        return false;
    }
    update(port, queue);
    if (q->enabled)
        return true;
    q->desc_count = nic_reg(port, HW_RDLEN(queue)) / HW_RING_ALIGN_BYTES *
                    (HW_RING_ALIGN_BYTES / HW_DESC_LEN_BYTES);
    if (!q->desc_count || head >= q->desc_count)
        return false;
    q->base.v = (nic_reg(port, HW_RDBAL(queue)) | (uint64_t)nic_reg(port, HW_RDBAH(queue)) << 32) &
                ~(uint64_t)(HW_RING_ALIGN_BYTES - 1);
    q->buffer_bytes = (srrctl & HW_SRRCTL_BSIZEPACKET_MASK) * 1024;
    q->legacy =
        (srrctl & HW_SRRCTL_DESCTYPE_MASK) >> HW_SRRCTL_DESCTYPE_SHIFT == HW_SRRCTL_DESCTYPE_LEGACY;
    atomic_store_explicit(&q->head, head, memory_order_relaxed);
    q->faulted = false;
    q->enabled = true;
    return true;
}

void nic_rxq_reset(struct nic_port *port, unsigned queue)
{
    struct nic_rxq *q = &port->rxq[queue];

    disable(port, queue);
    atomic_store_explicit(&q->head, 0, memory_order_relaxed);
    atomic_store_explicit(&q->tail, 0, memory_order_relaxed);
    q->drop_pf = false;
}

void nic_rxq_set_tail(struct nic_port *port, unsigned queue, uint32_t tail)
{
    // Release: pairs with the acquire in room(). (A guest's own ordering of descriptors before tail
    // is carried by the socket or page that the write came through.) Sequentially consistent, since
    // whether somebody waits is looked at behind it.
    atomic_store(&port->rxq[queue].tail, tail);
    nic_worker_refilled(port);
}

void nic_rxq_set_drop(struct nic_port *port, unsigned queue, bool drop)
{
    port->rxq[queue].drop_pf = drop;
    update(port, queue);
    if (drop)
        nic_worker_refilled(port);
}

// Descriptors that the card may fill.
static uint32_t room(const struct nic_rxq *q)
{
    // Acquire: pairs with the release in nic_rxq_set_tail(), or the guest's store to a mapped page.
    uint32_t tail = atomic_load_explicit(&q->tail, memory_order_acquire);
    uint32_t head = atomic_load_explicit(&q->head, memory_order_relaxed);

    if (tail >= q->desc_count)
        return 0; // the driver's mistake: nothing to fill until it writes a tail within the ring
    return tail >= head ? tail - head : tail + q->desc_count - head;
}

static void add_piece(struct pieces *p, const uint8_t *data, uint32_t len_bytes)
{
    if (!len_bytes)
        return;
    p->span[p->count++] = (struct nic_span){data, len_bytes};
    p->len_bytes += len_bytes;
}

static void collect_pieces(struct pieces *p, const struct nic_derived *t,
                           const struct nic_frame *frame, bool with_tag)
{
    p->count = p->at = 0;
    p->offset = p->len_bytes = 0;
    if (unlikely(with_tag || !t->crc_strip)) {
        p->tag[0] = (uint8_t)(t->vlan_ethertype >> 8);
        p->tag[1] = (uint8_t)t->vlan_ethertype;
        p->tag[2] = (uint8_t)(frame->vlan_tci >> 8);
        p->tag[3] = (uint8_t)frame->vlan_tci;
        add_piece(p, frame->head, MACS_LEN);
        if (with_tag)
            add_piece(p, p->tag, VLAN_TAG_LEN);
        add_piece(p, frame->head + MACS_LEN, frame->head_len - MACS_LEN);
    } else {
        add_piece(p, frame->head, frame->head_len);
    }
    for (unsigned i = 0; i < frame->span_count; i++)
        add_piece(p, frame->spans[i].data, frame->spans[i].len_bytes);
    if (unlikely(!t->crc_strip)) {
        uint32_t crc = UINT32_MAX;

        // Over what the receiver gets. A tag that is stripped is no longer in it: the hardware's
        // documentation forbids that mix.
        for (unsigned i = 0; i < p->count; i++)
            crc = nic_offload_crc32(crc, p->span[i].data, p->span[i].len_bytes);
        le32_put(p->fcs, ~crc);
        add_piece(p, p->fcs, FCS_LEN);
    }
}

// Copies the next `len` bytes of the frame to `addr`. False where the IOMMU refuses.
static bool fill_buffer(struct dma_port *dma, iova_t addr, uint32_t len_bytes, struct pieces *p)
{
    uint32_t run;

    while (len_bytes) {
        uint8_t *dst = dma_at(dma, addr, len_bytes, DMA_WRITE, &run);

        if (unlikely(!dst))
            return false;
        addr.v += run;
        len_bytes -= run;
        while (run) {
            const struct nic_span *span = &p->span[p->at];
            uint32_t take = span->len_bytes - p->offset;

            if (take > run) {
                memcpy(dst, span->data + p->offset, run);
                p->offset += run;
                break;
            }
            memcpy(dst, span->data + p->offset, take);
            dst += take;
            run -= take;
            p->at++;
            p->offset = 0;
        }
    }
    return true;
}

// What goes into the descriptors of this frame, apart from lengths, DD and EOP.
struct verdict {
    uint32_t info, hash, status;
    uint16_t vlan;
};

static struct verdict judge(const struct nic_derived *t, const struct nic_frame *frame, bool strip)
{
    struct verdict v = {.info = frame->packet_type, .status = frame->rx_status};

    if (t->hash_reported) {
        v.info |= frame->rss_type;
        v.hash = frame->rss_hash;
    }
    if (strip) {
        v.status |= HW_RXS_VP;
        v.vlan = frame->vlan_tci;
    }
    if (frame->source_pool != NIC_SOURCE_UPLINK)
        v.status |= HW_RXS_LB;
    return v;
}

static struct nic_rx_words make_words(const struct nic_rxq *q, const struct verdict *v,
                                      uint32_t status, uint32_t len_bytes)
{
    if (unlikely(q->legacy))
        return (struct nic_rx_words){.high = len_bytes | (uint64_t)(status & 0xff) << 32 |
                                             (uint64_t)(status >> 24) << 40 |
                                             (uint64_t)v->vlan << 48};
    return (struct nic_rx_words){v->info | (uint64_t)v->hash << 32,
                                 status | (uint64_t)len_bytes << 32 | (uint64_t)v->vlan << 48};
}

static void write_back(const struct nic_rxq *q, union nic_rx_desc *desc, struct nic_rx_words words)
{
    if (likely(!q->legacy))
        nic_rx_write_back(desc, words);
    else // as there
        __atomic_store_n(&desc->words[1], htole64(words.high), __ATOMIC_RELEASE);
}

static void write_back_pending(struct nic_rxq *q)
{
    struct nic_rx_batch *b = &q->batch;

    for (uint32_t i = 0; i < b->pending_count; i++)
        write_back(q, b->run + (b->pending_first + i - b->run_first), b->pending[i]);
    b->pending_count = 0;
}

static inline __attribute__((always_inline)) void flush_queue(struct nic_port *port,
                                                              struct nic_lane *lane, unsigned queue)
{
    struct nic_rx_batch *b = &port->rxq[queue].batch;
    struct nic_pool_counters *pool = &port->counters.pool[nic_pool_of_queue(port, queue)];
    struct nic_queue_counters *c = &port->counters.queue[queue];

    write_back_pending(&port->rxq[queue]);
    nic_count(&pool->rx_frames, b->frames);
    nic_count(&pool->rx_bytes, b->bytes);
    nic_count(&pool->rx_multicast_frames, b->multicast_frames);
    nic_count(&c->rx_frames, b->frames);
    nic_count(&c->rx_bytes, b->bytes);
    *b = (struct nic_rx_batch){0};
    nic_lane_note_rx(lane, queue);
}

void nic_rxq_flush(struct nic_port *port, struct nic_lane *lane)
{
    for (unsigned w = 0; w < NIC_QUEUE_WORDS; w++) {
        uint64_t left = lane->rx_pending[w];

        lane->rx_pending[w] = 0;
        for (; left; left &= left - 1) {
            unsigned queue = w * 64 + (unsigned)__builtin_ctzll(left);

            nic_rx_enter(port, lane, queue);
            flush_queue(port, lane, queue);
        }
    }
    nic_rx_leave(port, lane);
}

// The ring may be another one from now on: what it is owed so far goes to this one.
static void settle(struct nic_port *port, struct nic_lane *lane, unsigned queue)
{
    struct nic_rx_batch *b = &port->rxq[queue].batch;

    if (b->frames || b->pending_count)
        flush_queue(port, lane, queue);
    *b = (struct nic_rx_batch){0};
}

// A worker changes a ring of its own function, which it found changed in mapped doorbells: another
// may have delivered to it, and not flushed yet. With the gate closed there is neither.
static void ring_enter(struct nic_port *port, unsigned queue)
{
    struct nic_lane *lane = nic_lane_of_queue(port, queue);

    if (likely(!port->shared))
        return;
    nic_rx_take(port, lane, queue);
    settle(port, lane, queue);
}

bool nic_rxq_control(struct nic_port *port, unsigned queue)
{
    bool runs;

    ring_enter(port, queue);
    runs = control(port, queue);
    nic_rx_leave(port, nic_lane_of_queue(port, queue));
    return runs;
}

void nic_rxq_disable(struct nic_port *port, unsigned queue)
{
    ring_enter(port, queue);
    disable(port, queue);
    nic_rx_leave(port, nic_lane_of_queue(port, queue));
}

// The descriptor at `index`, to read and to write, or NULL where the IOMMU refuses either.
static union nic_rx_desc *descriptor(struct nic_rxq *q, struct dma_port *dma, uint32_t index)
{
    struct nic_rx_batch *b = &q->batch;
    iova_t addr = {q->base.v + (uint64_t)index * HW_DESC_LEN_BYTES};
    uint32_t len = (q->desc_count - index) * HW_DESC_LEN_BYTES, run;

    if (likely(index - b->run_first < b->run_end - b->run_first))
        return b->run + (index - b->run_first);
    write_back_pending(q);
    b->run_first = b->run_end = 0;
    if (!dma_at(dma, addr, len, DMA_READ, &run))
        return NULL;
    b->run = dma_at(dma, addr, run, DMA_WRITE, &run);
    if (!b->run)
        return NULL;
    b->run_first = index;
    b->run_end = index + run / HW_DESC_LEN_BYTES;
    return b->run;
}

static enum nic_rx_result drop(struct nic_port *port, unsigned queue, _Atomic uint64_t *counter)
{
    nic_count(counter, 1);
    nic_count(&port->counters.queue[queue].rx_drops, 1);
    return NIC_RX_DROPPED;
}

// The queue has what nic_rxq_flush() is to look at.
static void note_pending(struct nic_lane *lane, unsigned queue)
{
    lane->rx_pending[queue / 64] |= BIT64(queue % 64);
}

static void count_delivered(struct nic_port *port, unsigned queue, const struct nic_frame *frame)
{
    struct nic_rx_batch *b = &port->rxq[queue].batch;

    b->frames++;
    b->bytes += frame->len_bytes + (frame->has_vlan ? VLAN_TAG_LEN : 0);
    if (unlikely(frame->head[0] & 1) && nic_frame_mac(frame->head) != NIC_MAC_BROADCAST)
        b->multicast_frames++;
    note_pending(frame->lane, queue);
}

static uint32_t following(const struct nic_rxq *q, uint32_t index)
{
    return index + 1 == q->desc_count ? 0 : index + 1;
}

// Fills `n` buffers and writes their descriptors back. All buffers first: a driver never sees the
// first half of a packet whose second half then meets a fault.
static enum nic_rx_result place(struct nic_port *port, unsigned queue,
                                const struct nic_frame *frame, uint32_t n, struct pieces *p,
                                struct verdict *v)
{
    struct nic_rxq *q = &port->rxq[queue];
    struct dma_port *dma = nic_rx_dma_of_queue(port, queue);
    _Atomic uint64_t *fault_drops =
        &port->counters.pool[nic_pool_of_queue(port, queue)].rx_fault_drops;
    uint32_t at = atomic_load_explicit(&q->head, memory_order_relaxed);
    uint32_t left = p->len_bytes;
    union nic_rx_desc *desc[NIC_RX_DESC_MAX];
    bool refused = false;

    write_back_pending(q);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t take = left < q->buffer_bytes ? left : q->buffer_bytes;

        desc[i] = descriptor(q, dma, at);
        if (unlikely(!desc[i])) {
            q->faulted = true;
            return drop(port, queue, fault_drops);
        }
        if (unlikely(!refused &&
                     !fill_buffer(dma, (iova_t){le64toh(desc[i]->read.packet_addr)}, take, p)))
            refused = true;
        left -= take;
        at = following(q, at);
    }
    // A buffer that may not be written: the packet is lost, its descriptors go back with an error,
    // so that the ring does not stop at them.
    if (unlikely(refused))
        v->status |= HW_RXE_RXE;
    left = p->len_bytes;
    for (uint32_t i = 0; i < n; i++) {
        bool last = i == n - 1;
        uint32_t take = last ? left : q->buffer_bytes;

        write_back(q, desc[i],
                   make_words(q, v, last ? v->status | HW_RXS_DD | HW_RXS_EOP : HW_RXS_DD, take));
        left -= take;
    }
    atomic_store_explicit(&q->head, at, memory_order_relaxed);
    note_pending(frame->lane, queue);
    return refused ? drop(port, queue, fault_drops) : NIC_RX_DONE;
}

// Asks for what the frames after this one will be written to. Descriptors that the guest has not
// filled yet are only a bad guess.
static void prefetch_buffers(struct nic_rxq *q, struct dma_port *dma, uint32_t head)
{
    const struct nic_rx_batch *b = &q->batch;
    uint32_t ahead = head + PREFETCH_AHEAD;
    const union nic_rx_desc *desc = b->run + (ahead - b->run_first);
    uint8_t *dst;

    if (ahead >= b->run_end)
        return;
    if (ahead % NIC_RX_PENDING_MAX == 0)
        nic_prefetch_write(desc + PREFETCH_AHEAD);
    dst = dma_peek(dma, le64toh(__atomic_load_n(&desc->words[0], __ATOMIC_RELAXED)), 1, DMA_WRITE);
    if (dst) {
        nic_prefetch_write(dst);
        nic_prefetch_write(dst + NIC_LINE_BYTES);
    }
}

// The short way for most frames: as it is, into one buffer that one cached translation covers.
// False, with nothing done, for any other.
static bool place_whole(struct nic_port *port, unsigned queue, const struct nic_frame *frame,
                        const struct verdict *v)
{
    struct nic_rxq *q = &port->rxq[queue];
    struct nic_rx_batch *b = &q->batch;
    struct dma_port *dma = nic_rx_dma_of_queue(port, queue);
    uint32_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    uint8_t *dst;

    if (unlikely(frame->span_count > 1 || frame->head_len > NIC_FRAME_HEAD_LEN ||
                 head - b->run_first >= b->run_end - b->run_first))
        return false;
    prefetch_buffers(q, dma, head);
    // Read once: the guest may write it meanwhile.
    dst = dma_peek(
        dma, le64toh(__atomic_load_n(&b->run[head - b->run_first].words[0], __ATOMIC_RELAXED)),
        frame->len_bytes, DMA_WRITE);
    if (unlikely(!dst))
        return false;
    nic_copy_head(dst, frame->head, frame->head_len);
    if (frame->span_count)
        memcpy(dst + frame->head_len, frame->spans[0].data, frame->spans[0].len_bytes);
    if (!b->pending_count)
        b->pending_first = head;
    b->pending[b->pending_count++] =
        make_words(q, v, v->status | HW_RXS_DD | HW_RXS_EOP, frame->len_bytes);
    // The line's last: rings are aligned to two lines.
    if (head % NIC_RX_PENDING_MAX == NIC_RX_PENDING_MAX - 1)
        write_back_pending(q);
    atomic_store_explicit(&q->head, following(q, head), memory_order_relaxed);
    return true;
}

// The long way: tag and FCS go into the bytes, several buffers, pages that are not next to each
// other.
static enum nic_rx_result place_pieces(struct nic_port *port, unsigned queue,
                                       const struct nic_frame *frame, bool with_tag,
                                       struct verdict *v)
{
    struct nic_rxq *q = &port->rxq[queue];
    struct nic_pool_counters *c = &port->counters.pool[nic_pool_of_queue(port, queue)];
    struct pieces pieces;
    uint32_t n;

    collect_pieces(&pieces, &port->derived, frame, with_tag);
    n = (pieces.len_bytes + q->buffer_bytes - 1) / q->buffer_bytes;
    if (unlikely(room(q) < n)) {
        if (!q->drop && frame->source_pool != NIC_SOURCE_UPLINK && n < q->desc_count)
            return NIC_RX_WAIT;
        if (!q->drop && frame->source_pool == NIC_SOURCE_UPLINK)
            nic_count(&port->counters.total[frame->lane->index].rx_missed, 1);
        return drop(port, queue, &c->rx_no_descriptor_drops);
    }
    return place(port, queue, frame, n, &pieces, v);
}

// Whether the ring is off. If so, or where it has not the room, what the guest has written
// meanwhile counts.
static bool is_off(struct nic_port *port, struct nic_lane *lane, unsigned queue, uint32_t needed)
{
    const struct nic_rxq *q = &port->rxq[queue];

    if (likely(q->enabled && !q->faulted && room(q) >= needed))
        return false;
    settle(port, lane, queue);
    nic_doorbell_look_again(port, lane, queue);
    nic_rx_enter(port, lane, queue);
    return !q->enabled || q->faulted;
}

// Descriptors that a frame may need, tag and FCS included.
static uint32_t needed_for(const struct nic_rxq *q, const struct nic_frame *frame)
{
    uint32_t most = frame->len_bytes + VLAN_TAG_LEN + FCS_LEN;

    return likely(most <= q->buffer_bytes) || !q->buffer_bytes
               ? 1
               : (most + q->buffer_bytes - 1) / q->buffer_bytes;
}

enum nic_rx_result nic_rxq_deliver(struct nic_port *port, unsigned pool,
                                   const struct nic_frame *frame)
{
    const struct nic_derived *t = &port->derived;
    unsigned queue =
        pool * t->queues_per_pool + nic_rss_queue(&t->rss, frame, t->rss_queue_mask[pool]);
    struct nic_rxq *q = &port->rxq[queue];
    bool strip, with_tag;
    enum nic_rx_result result = NIC_RX_DONE;
    struct verdict v;

    nic_rx_enter(port, frame->lane, queue);
    if (unlikely(!t->rx_enabled || is_off(port, frame->lane, queue, needed_for(q, frame)) ||
                 !q->buffer_bytes))
        return drop(port, queue, &port->counters.pool[pool].rx_no_descriptor_drops);
    if (unlikely(frame->len_bytes > t->frame_len_max))
        return drop(port, queue, &port->counters.total[frame->lane->index].rx_oversize);
    strip = frame->has_vlan && q->strip_vlan;
    with_tag = frame->has_vlan && !strip;
    v = judge(t, frame, strip);
    if (unlikely(with_tag || !t->crc_strip || frame->len_bytes > q->buffer_bytes || !room(q) ||
                 !place_whole(port, queue, frame, &v)))
        result = place_pieces(port, queue, frame, with_tag, &v);
    if (likely(result == NIC_RX_DONE))
        count_delivered(port, queue, frame);
    return result;
}

bool nic_rxq_run_begin(struct nic_port *port, struct nic_lane *lane, unsigned queue,
                       struct nic_rx_run *run)
{
    const struct nic_derived *t = &port->derived;
    struct nic_rxq *q = &port->rxq[queue];
    struct dma_run ring;
    uint32_t head, left;
    uint64_t addr, here;

    nic_rx_enter(port, lane, queue);
    head = atomic_load_explicit(&q->head, memory_order_relaxed);
    addr = q->base.v + (uint64_t)head * HW_DESC_LEN_BYTES;
    run->room = 0;
    run->lane = lane;
    run->dma = nic_rx_dma_of_queue(port, queue);
    if (!q->enabled || q->faulted || q->legacy || !t->rx_enabled || !t->crc_strip ||
        !dma_run_find(run->dma, addr, DMA_READ, &ring) || !(ring.access & DMA_WRITE))
        return false;
    here = (ring.len_bytes - (addr - ring.iova)) / HW_DESC_LEN_BYTES;
    left = q->desc_count - head;
    if (here < left)
        left = (uint32_t)here;
    run->room = room(q);
    if (run->room > left)
        run->room = left;
    run->desc = (union nic_rx_desc *)(ring.host + (addr - ring.iova));
    run->head = head;
    run->len_max = q->buffer_bytes < t->frame_len_max ? q->buffer_bytes : t->frame_len_max;
    write_back_pending(q);
    return run->room;
}

bool nic_rxq_run_drop(struct nic_port *port, struct nic_lane *lane, unsigned queue, uint32_t count)
{
    struct nic_pool_counters *c = &port->counters.pool[nic_pool_of_queue(port, queue)];
    const struct nic_rxq *q = &port->rxq[queue];

    if (!q->drop || is_off(port, lane, queue, 1) || room(q))
        return false;
    nic_count(&c->rx_no_descriptor_drops, count);
    nic_count(&port->counters.queue[queue].rx_drops, count);
    return true;
}

void nic_rxq_run_end(struct nic_port *port, unsigned queue, struct nic_rx_run *run, uint32_t frames,
                     uint64_t bytes)
{
    struct nic_rxq *q = &port->rxq[queue];
    uint32_t end = run->head + frames;

    atomic_store_explicit(&q->head, end == q->desc_count ? 0 : end, memory_order_relaxed);
    q->batch.frames += frames;
    q->batch.bytes += bytes;
    if (frames)
        note_pending(run->lane, queue);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "nic/txq.h"

#include <endian.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/le.h"
#include "hw82599/desc.h"
#include "hw82599/regs.h"
#include "nic/copy.h"
#include "nic/express.h"
#include "nic/forward.h"
#include "nic/packet.h"
#include "nic/port.h"
#include "nic/single.h"
#include "nic/stack.h"

#define PREFETCH_AHEAD 8u // descriptors
#define MISSES_MAX     4u

bool nic_txq_control(struct nic_port *port, unsigned queue)
{
    struct nic_txq *q = &port->txq[queue];
    uint32_t head = nic_reg(port, HW_TDH(queue)), wb = nic_reg(port, HW_TDWBAL(queue));

    if (!(nic_reg(port, HW_TXDCTL(queue)) & HW_TXDCTL_ENABLE)) {
        nic_txq_disable(port, queue);
        return false;
    }
    if (q->enabled)
        return true;
    q->desc_count = nic_reg(port, HW_TDLEN(queue)) / HW_RING_ALIGN_BYTES *
                    (HW_RING_ALIGN_BYTES / HW_DESC_LEN_BYTES);
    if (!q->desc_count || head >= q->desc_count)
        return false;
    q->base.v = (nic_reg(port, HW_TDBAL(queue)) | (uint64_t)nic_reg(port, HW_TDBAH(queue)) << 32) &
                ~(uint64_t)(HW_RING_ALIGN_BYTES - 1);
    q->head_writeback.v = 0;
    if (wb & HW_TDWBAL_HEAD_WB_ENABLE)
        q->head_writeback.v = (wb & ~3u) | (uint64_t)nic_reg(port, HW_TDWBAH(queue)) << 32;
    atomic_store_explicit(&q->head, head, memory_order_relaxed);
    memset(q->context, 0, sizeof q->context);
    memset(&q->resume, 0, sizeof q->resume);
    q->faulted = q->discarding = false;
    q->enabled = true;
    nic_worker_activate(port, queue);
    return true;
}

void nic_txq_disable(struct nic_port *port, unsigned queue)
{
    port->txq[queue].enabled = false;
}

void nic_txq_reset(struct nic_port *port, unsigned queue)
{
    struct nic_txq *q = &port->txq[queue];

    nic_txq_disable(port, queue);
    atomic_store_explicit(&q->head, 0, memory_order_relaxed);
    atomic_store_explicit(&q->tail, 0, memory_order_relaxed);
}

void nic_txq_set_tail(struct nic_port *port, unsigned queue, uint32_t tail)
{
    // Release: pairs with the acquire in pending().
    atomic_store_explicit(&port->txq[queue].tail, tail, memory_order_release);
    nic_worker_activate(port, queue);
}

// Descriptors that the card may take.
static uint32_t pending(const struct nic_txq *q, uint32_t head)
{
    // Acquire: pairs with the release in nic_txq_set_tail(), or the guest's store to a mapped page.
    uint32_t tail = atomic_load_explicit(&q->tail, memory_order_acquire);

    if (tail >= q->desc_count)
        return 0; // the driver's mistake: nothing is sent until it writes a tail within the ring
    return tail >= head ? tail - head : tail + q->desc_count - head;
}

// Copies `count` descriptors from index `head` on, round the end of the ring.
static int fetch(struct dma_port *dma, const struct nic_txq *q, uint32_t head, uint32_t count,
                 struct hw_tx_data_desc *out)
{
    uint32_t first = q->desc_count - head < count ? q->desc_count - head : count;
    iova_t addr = {q->base.v + (uint64_t)head * HW_DESC_LEN_BYTES};
    int ret = dma_read(dma, addr, out, first * HW_DESC_LEN_BYTES);

    if (!ret && count > first)
        ret = dma_read(dma, q->base, out + first, (count - first) * HW_DESC_LEN_BYTES);
    return ret;
}

// Reports `count` descriptors from index `head` on as done, those that ask for it: at the end of a
// batch, so that a cache line of the ring changes hands once. False where the ring may not be
// written.
static bool report(struct nic_port *port, unsigned queue, struct dma_port *dma, uint32_t head,
                   const struct hw_tx_data_desc *desc, uint32_t count)
{
    struct nic_txq *q = &port->txq[queue];
    struct hw_tx_data_desc *at = NULL; // of descriptors [first, end)
    uint32_t first = 0, end = 0, run;
    bool any = false;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t index;

        if (!(le32toh(desc[i].cmd_type_len) & HW_TXD_RS))
            continue;
        index = head + i < q->desc_count ? head + i : head + i - q->desc_count;
        any = true;
        if (q->head_writeback.v)
            continue;
        if (i >= end) {
            iova_t addr = {q->base.v + (uint64_t)index * HW_DESC_LEN_BYTES};

            at = dma_at(dma, addr, (q->desc_count - index) * HW_DESC_LEN_BYTES, DMA_WRITE, &run);
            if (!at)
                return false;
            first = i;
            end = i + run / HW_DESC_LEN_BYTES;
        }
        // Release: pairs with the driver's read barrier after it has seen DD; the buffers that it
        // may now reuse have been read.
        __atomic_store_n(&at[i - first].olinfo_status, htole32(HW_TXO_DD), __ATOMIC_RELEASE);
    }
    if (any)
        nic_lane_note_tx(nic_lane_of_queue(port, queue), queue);
    return true;
}

static void write_head_back(struct nic_port *port, unsigned queue, struct dma_port *dma)
{
    struct nic_txq *q = &port->txq[queue];
    uint32_t head = atomic_load_explicit(&q->head, memory_order_relaxed), run;
    uint32_t *at = dma_at(dma, q->head_writeback, 4, DMA_WRITE, &run);

    if (!at)
        q->faulted = true;
    else
        __atomic_store_n(at, htole32(head), __ATOMIC_RELEASE); // as in report()
}

bool nic_txq_is_context(const struct hw_tx_data_desc *desc)
{
    uint32_t cmd = le32toh(desc->cmd_type_len);

    return (cmd & HW_TXD_DEXT) && (cmd & HW_TXD_TYPE_MASK) == HW_TXD_TYPE_CONTEXT;
}

void nic_txq_load_context(struct nic_txq *q, const struct hw_tx_data_desc *desc)
{
    struct hw_tx_context_desc ctx;
    unsigned index;

    memcpy(&ctx, desc, sizeof ctx);
    index = (le32toh(ctx.mss_l4len_idx) & HW_TXC_IDX_MASK) >> HW_TXC_IDX_SHIFT;
    if (index >= NIC_TX_CONTEXTS)
        return; // there is none such; who refers to it is dropped
    q->context[index].vlan_macip_lens = le32toh(ctx.vlan_macip_lens);
    q->context[index].type_tucmd = le32toh(ctx.type_tucmd);
    q->context[index].mss_l4len_idx = le32toh(ctx.mss_l4len_idx);
}

// How many of `count` descriptors the packet at desc[0] has; 0 where its end is not among them.
static uint32_t packet_desc_count(const struct hw_tx_data_desc *desc, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (le32toh(desc[i].cmd_type_len) & HW_TXD_EOP)
            return i + 1;
    }
    return 0;
}

// A round of one queue.
struct round {
    struct dma_port *dma;
    struct nic_lane *lane;
    unsigned pool;
    enum nic_tx_result result;
    struct nic_tx_sums sums;
};

// Forwards one frame of the packet at head. False where it is not through yet.
static bool send_frame(struct nic_port *port, struct nic_txq *q, struct round *r,
                       struct nic_frame *frame)
{
    struct nic_forwarded done = {q->resume.pools_done, q->resume.uplink_done};

    if (unlikely(q->rate.factor) && !nic_rate_allows(&q->rate, clock_now_ns())) {
        r->result = NIC_TX_PACED;
        return false;
    }
    frame->source_pool = (int)r->pool;
    frame->lane = r->lane;
    if (frame->l3_offset)
        nic_rss_classify(&port->derived.rss, frame);
    if (unlikely(!nic_forward_from_pool(port, q, frame, &done, &r->sums))) {
        q->resume.pools_done = done.pools;
        q->resume.uplink_done = done.uplink;
        r->result = NIC_TX_WAIT;
        return false;
    }
    if (unlikely(q->rate.factor))
        nic_rate_sent(&q->rate, frame->len_bytes, clock_now_ns());
    r->sums.frames++;
    r->sums.bytes += frame->len_bytes;
    return true;
}

// Sends the packet of desc[0 … count), from q->resume on. False where it is not through yet:
// r->result says why.
static bool send_packet(struct nic_port *port, struct nic_txq *q, struct round *r,
                        const struct hw_tx_data_desc *desc, uint32_t count)
{
    struct nic_pool_counters *c = &port->counters.pool[r->pool];
    struct nic_packet packet;
    struct nic_frame frame;

    if (!nic_packet_parse(&packet, desc, count, q, &port->derived, r->pool)) {
        nic_count(&c->tx_malformed_drops, 1);
        return true;
    }
    if (packet.offload.segment && !nic_packet_headers(&packet, r->dma)) {
        nic_count(packet.malformed ? &c->tx_malformed_drops : &c->tx_fault_drops, 1);
        return true;
    }
    while (q->resume.segment < packet.segment_count) {
        if (r->sums.frames >= NIC_TXQ_FRAMES) {
            r->result = NIC_TX_MORE;
            return false;
        }
        if (!nic_packet_frame(&packet, r->dma, q->resume.segment, &frame)) {
            nic_count(packet.malformed ? &c->tx_malformed_drops : &c->tx_fault_drops, 1);
            return true;
        }
        if (!send_frame(port, q, r, &frame))
            return false;
        q->resume.pools_done = 0;
        q->resume.uplink_done = false;
        q->resume.segment++;
    }
    return true;
}

// What the descriptors at desc[0] are, and what becomes of them: returns how many are through; 0
// where none can be now.
static uint32_t take(struct nic_port *port, struct nic_txq *q, struct round *r,
                     const struct hw_tx_data_desc *desc, uint32_t count)
{
    uint32_t n = packet_desc_count(desc, count);

    if (q->discarding) {
        q->discarding = !n;
        return n ? n : count;
    }
    if (nic_txq_is_context(desc)) {
        nic_txq_load_context(q, desc);
        return 1;
    }
    if (!n && count < NIC_TX_DESC_MAX)
        return 0; // the rest of the packet is still to come
    if (!n || n > NIC_TX_DESC_MAX) {
        nic_count(&port->counters.pool[r->pool].tx_malformed_drops, 1);
        q->discarding = !n;
        return n ? n : count;
    }
    return send_packet(port, q, r, desc, n) ? n : 0;
}

// take() for the packet that most are: one descriptor, and nothing to do but to forward it.
static uint32_t take_one(struct nic_port *port, struct nic_txq *q, struct round *r,
                         const struct hw_tx_data_desc *desc, uint32_t count)
{
    struct nic_frame frame;

    if (unlikely(q->discarding || !nic_packet_plain(desc, r->dma, &port->derived, r->pool, &frame)))
        return take(port, q, r, desc, count);
    return send_frame(port, q, r, &frame);
}

// Asks for the first lines of a packet that will soon be looked at. The hardware sees a long one
// coming by itself.
static void prefetch_packet(const struct dma_port *dma, const struct hw_tx_data_desc *desc)
{
    const uint8_t *data = dma_peek(dma, le64toh(desc->buffer_addr), 1, DMA_READ);

    if (data) {
        nic_prefetch_read(data);
        nic_prefetch_read(data + NIC_LINE_BYTES);
    }
}

// Sends descriptors of a batch that was fetched from index `head` on. Returns how many are through.
static uint32_t send_batch(struct nic_port *port, unsigned queue, struct round *r, uint32_t head,
                           const struct hw_tx_data_desc *desc, uint32_t count)
{
    struct nic_txq *q = &port->txq[queue];
    uint32_t at = 0, n, misses = 0;

    for (uint32_t i = 0; i < count && i < PREFETCH_AHEAD; i++)
        prefetch_packet(r->dma, desc + i);
    while (at < count && r->sums.frames < NIC_TXQ_FRAMES) {
        uint32_t most = NIC_TXQ_FRAMES - r->sums.frames;

        if (most > count - at)
            most = count - at;
        // Where several in a row could not go a short way, those behind them are not tried.
        if (misses < MISSES_MAX) {
            n = nic_express_send(port, queue, desc + at, most, &r->sums);
            if (n < most)
                n += nic_stack_send(port, queue, desc + at + n, count - at - n, &r->sums);
            at += n;
            misses = n ? 0 : misses + 1;
            if (at == count || r->sums.frames >= NIC_TXQ_FRAMES) {
                if (q->resume.segment)
                    r->result = NIC_TX_MORE;
                continue;
            }
        }
        // One that cannot go that way.
        if (at + PREFETCH_AHEAD < count)
            prefetch_packet(r->dma, desc + at + PREFETCH_AHEAD);
        n = take_one(port, q, r, desc + at, count - at);
        if (!n)
            break;
        at += n;
        if (unlikely(q->resume.segment || q->resume.pools_done || q->resume.uplink_done))
            memset(&q->resume, 0, sizeof q->resume);
    }
    head += at;
    atomic_store_explicit(&q->head, head < q->desc_count ? head : head - q->desc_count,
                          memory_order_relaxed);
    return at;
}

// To the counters, once a round.
static void add_sums(struct nic_port *port, unsigned queue, const struct round *r)
{
    struct nic_pool_counters *c = &port->counters.pool[r->pool];
    struct nic_totals *total = &port->counters.total[r->lane->index];
    const struct nic_tx_sums *sums = &r->sums;

    nic_count(&port->counters.queue[queue].tx_frames, sums->frames);
    nic_count(&port->counters.queue[queue].tx_bytes, sums->bytes);
    nic_count(&c->tx_frames, sums->pool_frames);
    nic_count(&c->tx_bytes, sums->pool_bytes);
    nic_count(&total->loopback_frames, sums->loopback_frames);
    nic_count(&total->loopback_bytes, sums->loopback_bytes);
}

// Whether the port lets this queue send (82599 §8.2.3.27 PFVFTE).
static bool may_send(const struct nic_port *port, unsigned queue)
{
    const struct nic_txq *q = &port->txq[queue];
    unsigned pool = nic_pool_of_queue(port, queue);

    return q->enabled && !q->faulted && port->derived.tx_enabled && pool < NIC_POOLS_MAX &&
           (port->derived.tx_pools >> pool & 1);
}

enum nic_tx_result nic_txq_poll(struct nic_port *port, unsigned queue, unsigned *frames)
{
    struct nic_txq *q = &port->txq[queue];
    struct hw_tx_data_desc desc[NIC_TXQ_BATCH];
    struct round r = {.result = NIC_TX_IDLE};
    uint32_t head, left, start;

    *frames = 0;
    if (!may_send(port, queue))
        return NIC_TX_IDLE;
    r.dma = nic_dma_of_queue(port, queue);
    r.pool = nic_pool_of_queue(port, queue);
    r.lane = nic_lane_of_queue(port, queue);
    start = head = atomic_load_explicit(&q->head, memory_order_relaxed);
    left = pending(q, head);
    if (left == 1 && nic_single_send(port, queue, head, &r.sums))
        left = 0;
    for (unsigned batch = 0; left && r.result == NIC_TX_IDLE; batch++) {
        uint32_t count = left < NIC_TXQ_BATCH ? left : NIC_TXQ_BATCH, sent;

        if (batch == NIC_TXQ_BATCHES || r.sums.frames >= NIC_TXQ_FRAMES) {
            r.result = NIC_TX_MORE;
            break;
        }
        if (fetch(r.dma, q, head, count, desc)) {
            q->faulted = true;
            break;
        }
        sent = send_batch(port, queue, &r, head, desc, count);
        if (!sent)
            break; // the packet's end is not there yet, or it waits
        if (!report(port, queue, r.dma, head, desc, sent)) {
            q->faulted = true;
            break;
        }
        head = atomic_load_explicit(&q->head, memory_order_relaxed);
        left -= sent;
    }
    nic_rxq_flush(port, r.lane);
    add_sums(port, queue, &r);
    *frames = r.sums.frames;
    if (head != start && q->head_writeback.v && !q->faulted)
        write_head_back(port, queue, r.dma);
    return r.result;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "nic/txq.h"

#include <endian.h>
#include <string.h>

#include "base/bits.h"
#include "base/le.h"
#include "hw82599/desc.h"
#include "hw82599/regs.h"
#include "nic/forward.h"
#include "nic/packet.h"
#include "nic/port.h"

#define FETCH_MAX 64u // descriptors fetched at once: more than the largest packet has

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

// Reports `count` descriptors from index `head` on as done, those that ask for it. False where the
// ring may not be written.
static bool report(struct nic_port *port, unsigned queue, struct dma_port *dma, uint32_t head,
                   const struct hw_tx_data_desc *desc, uint32_t count)
{
    struct nic_txq *q = &port->txq[queue];
    bool any = false;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = head + i < q->desc_count ? head + i : head + i - q->desc_count, run;
        iova_t addr = {q->base.v + (uint64_t)index * HW_DESC_LEN_BYTES +
                       offsetof(struct hw_tx_data_desc, olinfo_status)};
        uint32_t *status;

        if (!(le32toh(desc[i].cmd_type_len) & HW_TXD_RS))
            continue;
        any = true;
        if (q->head_writeback.v)
            continue;
        status = dma_at(dma, addr, 4, DMA_WRITE, &run);
        if (!status)
            return false;
        // Release: pairs with the driver's read barrier after it has seen DD; the buffers that it
        // may now reuse have been read.
        __atomic_store_n(status, htole32(HW_TXO_DD), __ATOMIC_RELEASE);
    }
    if (any)
        nic_work_note_tx(&port->work, queue);
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

static bool is_context(const struct hw_tx_data_desc *desc)
{
    uint32_t cmd = le32toh(desc->cmd_type_len);

    return (cmd & HW_TXD_DEXT) && (cmd & HW_TXD_TYPE_MASK) == HW_TXD_TYPE_CONTEXT;
}

static void load_context(struct nic_txq *q, const struct hw_tx_data_desc *desc)
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

// Sends the packet of desc[0 … count), from q->resume on. False where it is not through yet:
// *result says why.
static bool send_packet(struct nic_port *port, unsigned queue, struct dma_port *dma,
                        const struct hw_tx_data_desc *desc, uint32_t count, unsigned *frames,
                        enum nic_tx_result *result)
{
    struct nic_txq *q = &port->txq[queue];
    unsigned pool = nic_pool_of_queue(port, queue);
    struct nic_pool_counters *c = &port->counters.pool[pool];
    struct nic_packet packet;
    struct nic_frame frame;

    if (!nic_packet_parse(&packet, desc, count, q, &port->derived, pool)) {
        nic_count(&c->tx_malformed_drops, 1);
        return true;
    }
    frame.source_pool = (int)pool;
    if (packet.offload.segment && !nic_packet_headers(&packet, dma)) {
        nic_count(packet.malformed ? &c->tx_malformed_drops : &c->tx_fault_drops, 1);
        return true;
    }
    while (q->resume.segment < packet.segment_count) {
        struct nic_forwarded done = {q->resume.pools_done, q->resume.uplink_done};
        bool through;

        if (*frames >= NIC_TXQ_FRAMES) {
            *result = NIC_TX_MORE;
            return false;
        }
        if (!nic_packet_frame(&packet, dma, q->resume.segment, &frame)) {
            nic_count(packet.malformed ? &c->tx_malformed_drops : &c->tx_fault_drops, 1);
            return true;
        }
        nic_rss_classify(&port->derived.rss, &frame);
        through = nic_forward_from_pool(port, &frame, &done);
        if (!through) {
            q->resume.pools_done = done.pools;
            q->resume.uplink_done = done.uplink;
            *result = NIC_TX_WAIT;
            return false;
        }
        ++*frames;
        nic_count(&port->counters.queue[queue].tx_frames, 1);
        nic_count(&port->counters.queue[queue].tx_bytes, frame.len_bytes);
        q->resume.pools_done = 0;
        q->resume.uplink_done = false;
        q->resume.segment++;
    }
    return true;
}

// What the descriptors at desc[0] are, and what becomes of them: returns how many are through; 0
// where none can be now.
static uint32_t take(struct nic_port *port, unsigned queue, struct dma_port *dma,
                     const struct hw_tx_data_desc *desc, uint32_t count, unsigned *frames,
                     enum nic_tx_result *result)
{
    struct nic_txq *q = &port->txq[queue];
    uint32_t n = packet_desc_count(desc, count);

    if (q->discarding) {
        q->discarding = !n;
        return n ? n : count;
    }
    if (is_context(desc)) {
        load_context(q, desc);
        return 1;
    }
    if (!n && count < NIC_TX_DESC_MAX)
        return 0; // the rest of the packet is still to come
    if (!n || n > NIC_TX_DESC_MAX) {
        unsigned pool = nic_pool_of_queue(port, queue);

        nic_count(&port->counters.pool[pool].tx_malformed_drops, 1);
        q->discarding = !n;
        return n ? n : count;
    }
    return send_packet(port, queue, dma, desc, n, frames, result) ? n : 0;
}

// Whether the port lets this queue send (82599 §8.2.3.27.6 PFVFTE).
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
    struct hw_tx_data_desc desc[FETCH_MAX];
    enum nic_tx_result result = NIC_TX_IDLE;
    struct dma_port *dma;
    uint32_t head, left, start;

    *frames = 0;
    if (!may_send(port, queue))
        return NIC_TX_IDLE;
    dma = nic_dma_of_queue(port, queue);
    start = head = atomic_load_explicit(&q->head, memory_order_relaxed);
    left = pending(q, head);
    for (unsigned steps = 0; left && result == NIC_TX_IDLE;) {
        uint32_t count = left < FETCH_MAX ? left : FETCH_MAX, at = 0, n;

        if (fetch(dma, q, head, count, desc)) {
            q->faulted = true;
            break;
        }
        while (at < count) {
            if (steps++ == 2 * NIC_TXQ_BATCH || *frames >= NIC_TXQ_FRAMES) {
                result = NIC_TX_MORE;
                break;
            }
            n = take(port, queue, dma, desc + at, count - at, frames, &result);
            if (!n)
                break;
            if (!report(port, queue, dma, head, desc + at, n)) {
                q->faulted = true;
                break;
            }
            head = head + n < q->desc_count ? head + n : head + n - q->desc_count;
            atomic_store_explicit(&q->head, head, memory_order_relaxed);
            memset(&q->resume, 0, sizeof q->resume);
            left -= n;
            at += n;
        }
        if (!at || q->faulted)
            break; // nothing moved: the packet's end is not there yet
    }
    if (head != start && q->head_writeback.v && !q->faulted)
        write_head_back(port, queue, dma);
    return result;
}

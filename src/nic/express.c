// SPDX-License-Identifier: BSD-3-Clause
#include "nic/express.h"

#include <endian.h>
#include <string.h>

#include "base/bits.h"
#include "nic/copy.h"
#include "nic/express_batch.h"
#include "nic/port.h"

#define RECEIVERS 8u // that a run has taken at once

#define FIRST_BATCH 8u // frames, where the last run ended early: fewer are looked at in vain

#define KERNELS_FROM 4u // frames: for fewer no kernel is asked

#define UNTAGGED 0u // see path.h

// What this processor has; NULL: nothing of the kind. Set before main(), changed by the test alone.
static const struct nic_express_kernels *kernels;

bool nic_express_use_kernels(bool use)
{
    (void)use; // where there are none
    kernels = NULL;
#ifdef NIC_EXPRESS_AVX512
    if (use && nic_express_avx512_usable())
        kernels = &nic_express_avx512;
#endif
    return kernels;
}

static __attribute__((constructor)) void choose_kernels(void)
{
    nic_express_use_kernels(true);
}

// A run of frames from one queue. What it was last busy with is what it probably needs next.
struct run {
    struct nic_port *port;
    struct nic_txq *q;
    unsigned queue, pool; // the sender's
    const struct dma_port *dma;
    struct dma_run from;         // where the sender's buffers are
    const struct nic_path *path; // the last frame's
    struct nic_tx_sums *sums;
    unsigned receiver_count, receivers_max;
    struct nic_express_receiver *last; // NULL while there is none
    struct nic_express_receiver receiver[RECEIVERS];
    struct nic_express_batch batch;
};

// --- receivers ----------------------------------------------------------------------------------

static void write_back(struct nic_express_receiver *to, uint32_t count)
{
    union nic_rx_desc *desc = to->rx.desc + to->written;
    uint32_t i = 0, line = (to->rx.head + to->written) % NIC_RX_PENDING_MAX;

    if (kernels && !line) {
        i = count & ~(NIC_RX_PENDING_MAX - 1);
        kernels->hand_over(desc, to->words, i);
    }
    for (; i < count; i++)
        nic_rx_write_back(desc + i, to->words[i]);
    to->written += count;
}

// Gives the descriptors that were filled back to the guest: whole cache lines of them, so that each
// changes hands once, or `all`.
static inline void hand_over(struct nic_express_receiver *to, bool all)
{
    uint32_t count = to->filled - to->written;
    uint32_t open = all ? 0 : (to->rx.head + to->filled) % NIC_RX_PENDING_MAX;

    if (count <= open)
        return;
    count -= open;
    write_back(to, count);
    for (uint32_t i = 0; i < open; i++)
        to->words[i] = to->words[count + i];
}

// The one place that gives rings back.
static void leave_receivers(struct run *r)
{
    struct nic_tx_sums *sums = r->sums;

    for (unsigned i = 0; i < r->receiver_count; i++) {
        struct nic_express_receiver *to = &r->receiver[i];

        hand_over(to, true);
        nic_rxq_run_end(r->port, to->queue, &to->rx, to->filled, to->bytes);
        sums->frames += to->filled;
        sums->bytes += to->bytes;
        sums->pool_frames += to->filled;
        sums->pool_bytes += to->bytes;
        sums->loopback_frames += to->filled;
        sums->loopback_bytes += to->bytes;
    }
    r->receiver_count = 0;
    r->last = NULL;
}

// Makes the ring of a queue r->last; the one place that takes rings. False where it cannot be had.
static bool select_receiver(struct run *r, unsigned queue)
{
    struct nic_express_receiver *to;

    for (unsigned i = 0; i < r->receiver_count; i++) {
        to = &r->receiver[i];
        if (to->queue == queue) {
            r->last = to;
            return true;
        }
    }
    if (r->receiver_count == r->receivers_max)
        return false;
    to = &r->receiver[r->receiver_count];
    if (!nic_rxq_run_begin(r->port, nic_lane_of_queue(r->port, r->queue), queue, &to->rx))
        return false;
    to->queue = queue;
    to->filled = to->written = 0;
    to->bytes = 0;
    to->to = (struct dma_run){0};
    r->receiver_count++;
    r->last = to;
    return true;
}

// --- stages -------------------------------------------------------------------------------------

// All of a buffer, where one run has it.
static inline uint8_t *at(const struct dma_port *dma, struct dma_run *run, uint64_t iova,
                          uint32_t len, enum dma_access access)
{
    uint8_t *p = dma_run_at(run, iova, len);

    if (unlikely(!p && dma_run_find(dma, iova, access, run)))
        p = dma_run_at(run, iova, len);
    return p;
}

// Where frame `i` is. False where it is not one plain descriptor, or not here.
static inline bool decode_one(struct run *r, const struct hw_tx_data_desc *desc, uint32_t i)
{
    uint32_t cmd = le32toh(desc->cmd_type_len), len = cmd & HW_TXD_LEN_MASK;
    uint64_t word = cmd | (uint64_t)le32toh(desc->olinfo_status) << 32;
    struct nic_express_batch *b = &r->batch;

    if (unlikely((word & NIC_EXPRESS_PLAIN_MASK) != NIC_EXPRESS_PLAIN_WORD ||
                 len - NIC_EXPRESS_LEN_MIN > NIC_FRAME_LEN_MAX - NIC_EXPRESS_LEN_MIN))
        return false;
    b->data[i] = at(r->dma, &r->from, le64toh(desc->buffer_addr), len, DMA_READ);
    if (unlikely(!b->data[i]))
        return false;
    b->len[i] = len;
    nic_prefetch_read(b->data[i]);
    return true;
}

// Returns how many of `count` frames are found.
static uint32_t decode(struct run *r, const struct hw_tx_data_desc *desc, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (kernels && count - i >= KERNELS_FROM) {
            i = kernels->decode(&r->batch, &r->from, desc, i, count);
            if (i == count)
                break;
        }
        if (!decode_one(r, desc + i, i))
            return i;
    }
    return count;
}

// Takes the head of frame `i`, and tells by it what becomes of the frame. From here on the head is
// ours: checked, and delivered, from the copy. False where that cannot be told here.
static inline bool find_one(struct run *r, uint32_t i)
{
    struct nic_express_batch *b = &r->batch;

    memcpy(b->head[i], b->data[i], NIC_EXPRESS_HEAD_LEN);
    if (unlikely(!r->path || !nic_path_matches(r->path, b->head[i], UNTAGGED))) {
        const struct nic_path *path =
            nic_path_find(&r->port->derived, r->q->paths, (int)r->pool, b->head[i],
                          NIC_EXPRESS_HEAD_LEN, b->len[i], UNTAGGED);

        if (!path || path->queue == NIC_PATH_CABLE)
            return false;
        r->path = path;
    }
    return nic_express_decide(b, i, r->path, b->head[i] + NIC_PATH_L3_OFFSET);
}

static uint32_t find(struct run *r, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct nic_path *path = r->path;

        if (!find_one(r, i))
            return i;
        // A frame of the last one's path is seldom the last on it.
        if (kernels && (r->path == path || !path))
            i = kernels->find(&r->batch, r->path, i + 1, count) - 1;
    }
    return count;
}

// A buffer of the receiver's for frame `i`. False where there is none that it fits into whole.
static inline bool assign_one(struct nic_express_batch *b, struct nic_express_receiver *to,
                              uint32_t i)
{
    const union nic_rx_desc *desc = to->rx.desc + to->filled;
    uint32_t len = b->len[i];

    if (unlikely(to->filled == to->rx.room))
        return false;
    // Read once: the guest may write it meanwhile.
    b->dst[i] = at(to->rx.dma, &to->to, le64toh(__atomic_load_n(&desc->words[0], __ATOMIC_RELAXED)),
                   len, DMA_WRITE);
    if (unlikely(!b->dst[i] || len > to->rx.len_max))
        return false;
    nic_prefetch_write(b->dst[i]);
    to->words[to->filled++ - to->written] = b->words[i];
    to->bytes += len;
    return true;
}

static inline bool four_alike(const uint16_t queue[4])
{
    uint64_t v;

    memcpy(&v, queue, sizeof v);
    return v == queue[0] * 0x0001000100010001u;
}

// Buffers for frames `first` … `end` - 1, each of its receiver's next. Returns up to which there
// are.
static uint32_t assign(struct run *r, uint32_t first, uint32_t end)
{
    struct nic_express_batch *b = &r->batch;

    for (uint32_t i = first; i < end; i++) {
        uint32_t done = i;

        if (unlikely(!r->last || r->last->queue != b->queue[i]) && !select_receiver(r, b->queue[i]))
            return i;
        if (kernels && end - i >= KERNELS_FROM && four_alike(b->queue + i))
            done = kernels->assign(b, r->last, i, end);
        if (done > i)
            i = done - 1;
        else if (!assign_one(b, r->last, i))
            return i;
    }
    return end;
}

// Nothing but copying, so that the processor waits for several frames' lines at once.
static void copy(const struct nic_express_batch *b, uint32_t first, uint32_t end)
{
    if (kernels) {
        kernels->copy(b, first, end);
        return;
    }
    for (uint32_t i = first; i < end; i++) {
        nic_copy_body(b->dst[i] + NIC_EXPRESS_HEAD_LEN, b->data[i] + NIC_EXPRESS_HEAD_LEN,
                      b->len[i] - NIC_EXPRESS_HEAD_LEN);
        memcpy(b->dst[i], b->head[i], NIC_EXPRESS_HEAD_LEN);
    }
}

// Frame `first`, and those behind it that go to the same ring, which has no room for them. Returns
// how many could be dropped for that, as the ring's owner wishes; 0 where it wishes otherwise.
static uint32_t drop(struct run *r, uint32_t first, uint32_t count)
{
    const struct nic_express_batch *b = &r->batch;
    uint32_t len_max = r->port->derived.frame_len_max, i = first;
    uint64_t bytes = 0;

    for (; i < count && b->queue[i] == b->queue[first] && b->len[i] <= len_max; i++)
        bytes += b->len[i];
    if (i == first || !nic_rxq_run_drop(r->port, nic_lane_of_queue(r->port, r->queue),
                                        b->queue[first], i - first))
        return 0;
    r->sums->frames += i - first;
    r->sums->bytes += bytes;
    r->sums->pool_frames += i - first;
    r->sums->pool_bytes += bytes;
    return i - first;
}

// Delivers the first `count` frames of the batch. Returns how many could be.
static uint32_t deliver(struct run *r, uint32_t count)
{
    uint32_t first = 0, end, dropped;

    for (;;) {
        bool anew = !r->receiver_count;

        end = assign(r, first, count);
        copy(&r->batch, first, end);
        for (unsigned i = 0; i < r->receiver_count; i++)
            hand_over(&r->receiver[i], false);
        if (end == count)
            return end;
        // A ring is used up as far as it was known, or there are too many: what is there now?
        leave_receivers(r);
        dropped = 0;
        if (anew && end == first) {
            dropped = drop(r, end, count);
            if (!dropped)
                return end;
        }
        first = end + dropped;
    }
}

uint32_t nic_express_send(struct nic_port *port, unsigned queue, const struct hw_tx_data_desc *desc,
                          uint32_t count, struct nic_tx_sums *sums)
{
    struct nic_txq *q = &port->txq[queue];
    const struct nic_derived *t = &port->derived;
    uint32_t sent = 0, batch, most, done;
    struct run r; // not cleared: most of it is scratch

    r.dma = nic_dma_of_queue(port, queue);
    r.pool = nic_pool_of_queue(port, queue);
    if (q->general_only || q->discarding || q->rate.factor || q->resume.segment ||
        q->resume.pools_done || q->resume.uplink_done || (t->insert_vlan_pools >> r.pool & 1) ||
        !dma_run_find(r.dma, le64toh(desc->buffer_addr), DMA_READ, &r.from))
        return 0;
    r.port = port;
    r.q = q;
    r.queue = queue;
    r.path = NULL;
    r.sums = sums;
    r.receiver_count = 0;
    // With other workers about, one function's rings at a time (lane.h).
    r.receivers_max = port->shared ? 1 : RECEIVERS;
    r.last = NULL;
    batch = q->express_ended ? FIRST_BATCH : NIC_EXPRESS_BATCH;
    do {
        most = count - sent < batch ? count - sent : batch;
        done = deliver(&r, find(&r, decode(&r, desc + sent, most)));
        sent += done;
        batch = NIC_EXPRESS_BATCH;
    } while (done == most && sent < count);
    leave_receivers(&r);
    q->express_ended = sent < count;
    q->express_frames += sent;
    return sent;
}

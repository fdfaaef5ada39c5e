// SPDX-License-Identifier: BSD-3-Clause
#include "nic/single.h"

#include <endian.h>
#include <string.h>

#include "base/bits.h"
#include "hw82599/desc.h"
#include "nic/copy.h"
#include "nic/express_batch.h"
#include "nic/port.h"

#define UNTAGGED 0u // see path.h

// The receiver's next buffer.
struct place {
    struct nic_rx_run rx; // its ring, taken for the frame
    struct dma_run to;    // where the buffer is …
    uint64_t addr;        // … as its descriptor says
};

struct frame {
    const uint8_t *data;
    uint32_t len;
    uint64_t cmd;
    _Alignas(NIC_LINE_BYTES) uint8_t head[NIC_EXPRESS_HEAD_LEN]; // read once, delivered from here
};

// Whether nothing is asked of the queue but to send a frame as it is.
static inline bool is_plain(const struct nic_port *port, const struct nic_txq *q, unsigned pool)
{
    return !(port->shared | q->general_only | q->discarding | q->resume.uplink_done) &&
           !(q->rate.factor | q->resume.segment) && !(q->resume.pools_done | q->head_writeback.v) &&
           !(port->derived.insert_vlan_pools >> pool & 1);
}

// The last frame's path, where that is still there, and ends in a ring.
static inline const struct nic_path *last_path(const struct nic_txq *q, const struct nic_derived *t)
{
    const struct nic_path *path = q->last_path;

    return path && path->version == t->version && path->queue < NIC_PATH_CABLE ? path : NULL;
}

// Takes the ring of `queue`, and asks for the buffer that is next in it. False, with nothing done,
// where there is none.
static inline bool find_place(struct nic_port *port, struct nic_lane *lane, unsigned queue,
                              struct place *p)
{
    if (unlikely(!nic_rxq_run_begin(port, lane, queue, &p->rx)))
        return false;
    // Read once: the guest may write it meanwhile.
    p->addr = le64toh(__atomic_load_n(&p->rx.desc->words[0], __ATOMIC_RELAXED));
    if (unlikely(!dma_run_find(p->rx.dma, p->addr, DMA_WRITE, &p->to)))
        return false;
    nic_prefetch_write(p->to.host + (p->addr - p->to.iova));
    return true;
}

// What the descriptor says, which is read once. False where that is not what most frames are.
static inline bool decode(const struct dma_port *dma, struct dma_run *from,
                          const struct hw_tx_data_desc *at, struct frame *f)
{
    const uint64_t *words = (const void *)at;
    uint64_t addr = le64toh(__atomic_load_n(words, __ATOMIC_RELAXED));

    f->cmd = le64toh(__atomic_load_n(words + 1, __ATOMIC_RELAXED));
    f->len = f->cmd & HW_TXD_LEN_MASK;
    if (unlikely((f->cmd & NIC_EXPRESS_PLAIN_MASK) != NIC_EXPRESS_PLAIN_WORD ||
                 f->len - NIC_EXPRESS_LEN_MIN > NIC_FRAME_LEN_MAX - NIC_EXPRESS_LEN_MIN))
        return false;
    f->data = dma_run_at(from, addr, f->len);
    if (unlikely(!f->data && dma_run_find(dma, addr, DMA_READ, from)))
        f->data = dma_run_at(from, addr, f->len);
    return f->data;
}

static void add_to_sums(struct nic_tx_sums *sums, uint32_t len)
{
    sums->frames++;
    sums->bytes += len;
    sums->pool_frames++;
    sums->pool_bytes += len;
    sums->loopback_frames++;
    sums->loopback_bytes += len;
}

bool nic_single_send(struct nic_port *port, unsigned queue, uint32_t head, struct nic_tx_sums *sums)
{
    const struct nic_derived *t = &port->derived;
    struct nic_txq *q = &port->txq[queue];
    struct nic_lane *lane = nic_lane_of_queue(port, queue);
    const struct dma_port *dma = nic_dma_of_queue(port, queue);
    unsigned pool = nic_pool_of_queue(port, queue);
    uint64_t addr = q->base.v + (uint64_t)head * HW_DESC_LEN_BYTES;
    const struct nic_path *path = last_path(q, t);
    struct hw_tx_data_desc *desc;
    struct dma_run from;
    struct place place;
    struct frame f;
    uint32_t status, l3_end;
    uint8_t *dst;
    bool placed;

    if (unlikely(!is_plain(port, q, pool) || !dma_run_find(dma, addr, DMA_READ, &from) ||
                 !(from.access & DMA_WRITE)))
        return false;
    desc = (void *)dma_run_at(&from, addr, HW_DESC_LEN_BYTES);
    if (unlikely(!desc))
        return false;
    nic_prefetch_read(desc);
    // A guess: where it goes if it is of the same flow.
    placed = path && find_place(port, lane, path->queue, &place);
    if (unlikely(!decode(dma, &from, desc, &f)))
        return false;
    memcpy(f.head, f.data, sizeof f.head);
    if (unlikely(!path || !nic_path_matches(path, f.head, UNTAGGED))) {
        path = nic_path_find(t, q->paths, (int)pool, f.head, sizeof f.head, f.len, UNTAGGED);
        if (!path || path->queue == NIC_PATH_CABLE)
            return false;
        q->last_path = path;
        placed = find_place(port, lane, path->queue, &place);
    }
    status = path->rx_status;
    dst = placed ? dma_run_at(&place.to, place.addr, f.len) : NULL;
    if (unlikely(!dst || f.len > place.rx.len_max ||
                 (path->ip_version &&
                  !nic_path_check_ip(path, f.head + NIC_PATH_L3_OFFSET, f.len, &status, &l3_end))))
        return false;
    nic_copy_body(dst + sizeof f.head, f.data + sizeof f.head, f.len - sizeof f.head);
    memcpy(dst, f.head, sizeof f.head);
    nic_rx_write_back(place.rx.desc,
                      (struct nic_rx_words){path->rx_low, status | (uint64_t)f.len << 32});
    if (f.cmd & HW_TXD_RS) {
        // Release: pairs with the driver's read barrier after it has seen DD: the buffer that it
        // may now reuse has been read.
        __atomic_store_n(&desc->olinfo_status, htole32(HW_TXO_DD), __ATOMIC_RELEASE);
        nic_lane_note_tx(lane, queue);
    }
    nic_rxq_run_end(port, path->queue, &place.rx, 1, f.len);
    atomic_store_explicit(&q->head, head + 1 == q->desc_count ? 0 : head + 1, memory_order_relaxed);
    q->single_frames++;
    add_to_sums(sums, f.len);
    return true;
}

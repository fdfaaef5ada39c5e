// SPDX-License-Identifier: BSD-3-Clause
#include "nic/express.h"

#include <endian.h>
#include <string.h>

#include "base/bits.h"
#include "nic/copy.h"
#include "nic/express_batch.h"
#include "nic/port.h"

#define ETHER_HEADER_LEN 14u
#define IPV6_HEADER_LEN  40u
#define ETHERTYPE_IPV4   0x0800u
#define ETHERTYPE_IPV6   0x86ddu

#define RECEIVERS 8u // that a run has taken at once

// What of a frame decides about it, by the kind of frame: addresses and type; for IP also version,
// header length, fragment and protocol, addresses, and the ports where RSS looks at them.
static const uint8_t mask_other[NIC_EXPRESS_KEY_LEN] = {[0 ... 13] = 0xff};
static const uint8_t mask_ipv4[NIC_EXPRESS_KEY_LEN] = {
    [0 ... 14] = 0xff, [20] = 0x3f, [21] = 0xff, [23] = 0xff, [26 ... 33] = 0xff};
static const uint8_t mask_ipv4_ports[NIC_EXPRESS_KEY_LEN] = {
    [0 ... 14] = 0xff, [20] = 0x3f, [21] = 0xff, [23] = 0xff, [26 ... 37] = 0xff};
static const uint8_t mask_ipv6[NIC_EXPRESS_KEY_LEN] = {
    [0 ... 13] = 0xff, [14] = 0xf0, [20] = 0xff, [22 ... 53] = 0xff};
static const uint8_t mask_ipv6_ports[NIC_EXPRESS_KEY_LEN] = {
    [0 ... 13] = 0xff, [14] = 0xf0, [20] = 0xff, [22 ... 57] = 0xff};

// A run of frames from one queue. What it was last busy with is what it probably needs next.
struct run {
    struct nic_port *port;
    struct nic_txq *q;
    unsigned queue, pool; // the sender's
    const struct dma_port *dma;
    struct dma_run from;                 // where the sender's buffers are
    const struct nic_express_flow *flow; // the last frame's
    struct nic_tx_sums *sums;
    unsigned receiver_count, receivers_max;
    struct nic_express_receiver *last; // NULL while there is none
    struct nic_express_receiver receiver[RECEIVERS];
    struct nic_express_batch batch;
};

static uint32_t be16_at(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return be16toh(v);
}

// --- flows --------------------------------------------------------------------------------------

// 16 bytes of what differs from the flow, where it counts. Vectors of 16 bytes are what every
// processor of the kind has.
typedef uint64_t vector __attribute__((vector_size(16)));

static inline vector differing(const struct nic_express_flow *flow, const uint8_t *head, size_t at)
{
    vector a, b, mask;

    memcpy(&a, head + at, sizeof a);
    memcpy(&b, flow->key + at, sizeof b);
    memcpy(&mask, flow->mask + at, sizeof mask);
    return (a ^ b) & mask;
}

static inline bool matches(const struct nic_express_flow *flow, const uint8_t *head)
{
    vector d = differing(flow, head, 0) | differing(flow, head, 16) | differing(flow, head, 32) |
               differing(flow, head, 48);

    return !(d[0] | d[1]);
}

// Sets the flow's mask by what the frame is. False where what becomes of it cannot be told from its
// first bytes alone.
static bool choose_mask(struct nic_express_flow *flow, const struct nic_frame *frame)
{
    uint32_t ethertype = be16_at(frame->head + 12), rest;
    bool ports = frame->rss_type != HW_RSS_TYPE_NONE && frame->rss_type != HW_RSS_TYPE_IPV4 &&
                 frame->rss_type != HW_RSS_TYPE_IPV6;

    flow->mask = mask_other;
    flow->ip_version = 0;
    if (ethertype != ETHERTYPE_IPV4 && ethertype != ETHERTYPE_IPV6)
        return true;
    flow->ip_version = ethertype == ETHERTYPE_IPV4 ? 4 : 6;
    if (flow->ip_version == 4)
        flow->mask = ports ? mask_ipv4_ports : mask_ipv4;
    else
        flow->mask = ports ? mask_ipv6_ports : mask_ipv6;
    flow->ip_len_min = (uint16_t)(frame->l4_offset - ETHER_HEADER_LEN);
    rest = frame->packet_type & ~(HW_RXI_TYPE_IPV4 | HW_RXI_TYPE_IPV6);
    if (rest == HW_RXI_TYPE_TCP)
        flow->ip_len_min += 20;
    else if (rest == HW_RXI_TYPE_SCTP)
        flow->ip_len_min += 12;
    else if (rest == HW_RXI_TYPE_UDP)
        flow->ip_len_min += 8;
    else
        return false;
    return true;
}

// Asks the tables what becomes of a frame, and remembers it.
static bool learn(const struct run *r, struct nic_express_flow *flow, const uint8_t *head,
                  uint32_t len)
{
    const struct nic_derived *t = &r->port->derived;
    struct nic_destinations to = {0};
    struct nic_frame frame;
    unsigned pool;

    frame.head_len = len < NIC_FRAME_HEAD_LEN ? len : NIC_FRAME_HEAD_LEN;
    memcpy(frame.head, head, frame.head_len);
    frame.len_bytes = len;
    frame.source_pool = (int)r->pool;
    frame.has_vlan = false;
    frame.span_count = 0;
    memcpy(flow->key, head, sizeof flow->key);
    flow->version = t->version;
    flow->queue = NIC_EXPRESS_NOT;
    flow->mask = mask_other; // what is said of these addresses and type
    if (nic_frame_take_vlan(&frame, t->vlan_ethertype))
        return true;
    nic_frame_parse(&frame);
    nic_rss_classify(&t->rss, &frame);
    nic_switch_decide(t, &frame, &to);
    if (to.spoofed || to.uplink || !to.pools || (to.pools & (to.pools - 1)))
        return true;
    if (!choose_mask(flow, &frame)) {
        flow->version = 0;
        return false;
    }
    pool = (unsigned)__builtin_ctzll(to.pools);
    flow->queue = (uint16_t)(pool * t->queues_per_pool +
                             nic_rss_queue(&t->rss, &frame, t->rss_queue_mask[pool]));
    flow->rx_low = frame.packet_type;
    if (t->hash_reported)
        flow->rx_low |= frame.rss_type | (uint64_t)frame.rss_hash << 32;
    // The verdict on an IPv4 header's checksum is each frame's own.
    flow->rx_status = HW_RXS_DD | HW_RXS_EOP | HW_RXS_LB | (frame.rx_status & HW_RXS_IPCS);
    return true;
}

// The flow of a frame that is not of the last one's. NULL where it cannot go this way.
static const struct nic_express_flow *find_flow(const struct run *r, const uint8_t *head,
                                                uint32_t len)
{
    uint32_t ethertype = be16_at(head + 12), hash = head[5];
    struct nic_express_flow *flow;

    if (ethertype == ETHERTYPE_IPV4)
        hash ^= head[29] ^ head[33] ^ head[35] ^ (uint32_t)head[37] << 1;
    else if (ethertype == ETHERTYPE_IPV6)
        hash ^= head[37] ^ head[53] ^ head[55] ^ (uint32_t)head[57] << 1;
    flow = &r->q->express[(hash ^ hash >> 5) % NIC_EXPRESS_FLOWS];
    if ((flow->version != r->port->derived.version || !matches(flow, head)) &&
        !learn(r, flow, head, len))
        return NULL;
    return flow->queue != NIC_EXPRESS_NOT ? flow : NULL;
}

// Whether the lengths of an IP packet of a known flow fit the frame, as nic_frame_parse() has it;
// if so, adds its verdict on the header's checksum to *status.
static bool check_ip(const struct nic_express_flow *flow, const uint8_t *head, uint32_t len,
                     uint32_t *status)
{
    uint32_t ip_len, word[5];
    uint64_t sum;

    if (flow->ip_version == 4) {
        ip_len = be16_at(head + 16);
        memcpy(word, head + ETHER_HEADER_LEN, sizeof word);
        sum = (uint64_t)word[0] + word[1] + word[2] + word[3] + word[4];
        // In ones' complement all ones is zero: the sum of a good header is a multiple of that.
        if (sum % 0xffff)
            *status |= HW_RXE_IPE;
    } else {
        ip_len = be16_at(head + 18) + IPV6_HEADER_LEN;
    }
    return ip_len >= flow->ip_len_min && ip_len <= len - ETHER_HEADER_LEN;
}

// --- receivers ----------------------------------------------------------------------------------

// Gives the descriptors that were filled back to the guest: whole cache lines of them, so that each
// changes hands once, or `all`.
static inline void hand_over(struct nic_express_receiver *to, bool all)
{
    uint32_t count = to->filled - to->written;
    uint32_t open = all ? 0 : (to->rx.head + to->filled) % NIC_RX_PENDING_MAX;
    union nic_rx_desc *desc = to->rx.desc + to->written;

    if (count <= open)
        return;
    count -= open;
    for (uint32_t i = 0; i < count; i++)
        nic_rx_write_back(desc + i, to->words[i]);
    to->written += count;
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

// Where the frames are. Returns how many of `count` are of one plain descriptor, and here.
static uint32_t decode(struct run *r, const struct hw_tx_data_desc *desc, uint32_t count)
{
    struct nic_express_batch *b = &r->batch;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t cmd = le32toh(desc[i].cmd_type_len), len = cmd & HW_TXD_LEN_MASK;
        uint64_t word = cmd | (uint64_t)le32toh(desc[i].olinfo_status) << 32;

        if (unlikely((word & NIC_EXPRESS_PLAIN_MASK) != NIC_EXPRESS_PLAIN_WORD ||
                     len - NIC_EXPRESS_LEN_MIN > NIC_FRAME_LEN_MAX - NIC_EXPRESS_LEN_MIN))
            return i;
        b->data[i] = at(r->dma, &r->from, le64toh(desc[i].buffer_addr), len, DMA_READ);
        if (unlikely(!b->data[i]))
            return i;
        b->len[i] = len;
        nic_prefetch_read(b->data[i]);
    }
    return count;
}

// Takes the frames' heads, and tells by them what becomes of each. Returns for how many of `count`
// that can be told here. From here on a head is ours: checked, and delivered, from the copy.
static uint32_t find(struct run *r, uint32_t count)
{
    struct nic_express_batch *b = &r->batch;

    for (uint32_t i = 0; i < count; i++) {
        uint8_t *head = b->head[i];
        uint32_t status;

        memcpy(head, b->data[i], NIC_EXPRESS_HEAD_LEN);
        if (unlikely(!r->flow || !matches(r->flow, head))) {
            const struct nic_express_flow *flow = find_flow(r, head, b->len[i]);

            if (!flow)
                return i;
            r->flow = flow;
        }
        status = r->flow->rx_status;
        if (r->flow->ip_version && unlikely(!check_ip(r->flow, head, b->len[i], &status)))
            return i;
        // By value: the next frame of the batch may need the flow's place.
        b->queue[i] = r->flow->queue;
        b->words[i] = (struct nic_rx_words){r->flow->rx_low, status | (uint64_t)b->len[i] << 32};
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

// Buffers for frames `first` … `end` - 1, each of its receiver's next. Returns up to which there
// are.
static uint32_t assign(struct run *r, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        if ((unlikely(!r->last || r->last->queue != r->batch.queue[i]) &&
             !select_receiver(r, r->batch.queue[i])) ||
            !assign_one(&r->batch, r->last, i))
            return i;
    }
    return end;
}

// Nothing but copying, so that the processor waits for several frames' lines at once.
static void copy(const struct nic_express_batch *b, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        nic_copy_body(b->dst[i] + NIC_EXPRESS_HEAD_LEN, b->data[i] + NIC_EXPRESS_HEAD_LEN,
                      b->len[i] - NIC_EXPRESS_HEAD_LEN);
        memcpy(b->dst[i], b->head[i], NIC_EXPRESS_HEAD_LEN);
    }
}

// Delivers the first `count` frames of the batch. Returns how many could be.
static uint32_t deliver(struct run *r, uint32_t count)
{
    uint32_t first = 0, end;

    for (;;) {
        bool anew = !r->receiver_count;

        end = assign(r, first, count);
        copy(&r->batch, first, end);
        for (unsigned i = 0; i < r->receiver_count; i++)
            hand_over(&r->receiver[i], false);
        if (end == count || (end == first && anew))
            return end;
        // A ring is used up as far as it was known, or there are too many: what is there now?
        leave_receivers(r);
        first = end;
    }
}

uint32_t nic_express_send(struct nic_port *port, unsigned queue, const struct hw_tx_data_desc *desc,
                          uint32_t count, struct nic_tx_sums *sums)
{
    struct nic_txq *q = &port->txq[queue];
    const struct nic_derived *t = &port->derived;
    uint32_t sent = 0, most, done;
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
    r.flow = NULL;
    r.sums = sums;
    r.receiver_count = 0;
    // With other workers about, one function's rings at a time (lane.h).
    r.receivers_max = port->shared ? 1 : RECEIVERS;
    r.last = NULL;
    do {
        most = count - sent < NIC_EXPRESS_BATCH ? count - sent : NIC_EXPRESS_BATCH;
        done = deliver(&r, find(&r, decode(&r, desc + sent, most)));
        sent += done;
    } while (done == most && sent < count);
    leave_receivers(&r);
    return sent;
}

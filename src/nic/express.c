// SPDX-License-Identifier: BSD-3-Clause
#include "nic/express.h"

#include <endian.h>
#include <string.h>

#include "base/bits.h"
#include "nic/copy.h"
#include "nic/port.h"

#define ETHER_HEADER_LEN 14u
#define IPV6_HEADER_LEN  40u
#define ETHERTYPE_IPV4   0x0800u
#define ETHERTYPE_IPV6   0x86ddu

// Shorter frames are few, and their heads are not all there.
#define LEN_MIN NIC_EXPRESS_KEY_LEN

#define PREFETCH_AHEAD 8u // descriptors

// Commands and options of a descriptor in one word, and what they are where the card has to do
// nothing but to send one buffer.
#define PLAIN_MASK                                                                                 \
    (HW_TXD_DEXT | HW_TXD_TYPE_MASK | HW_TXD_EOP | HW_TXD_TSE | HW_TXD_VLE |                       \
     (uint64_t)(HW_TXO_IXSM | HW_TXO_TXSM) << 32)
#define PLAIN_WORD (HW_TXD_DEXT | HW_TXD_TYPE_DATA | HW_TXD_EOP)

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

// A run of frames from one queue, and of those the last ones that went to the same receiver.
struct run {
    struct nic_port *port;
    struct nic_txq *q;
    unsigned queue, pool; // the sender's
    const struct dma_port *dma;
    struct dma_run from;                 // where the sender's buffers are
    const struct nic_express_flow *flow; // the last frame's

    struct nic_rx_run rx; // the receiver; rx.room 0 while there is none
    struct dma_run to;
    unsigned rx_queue;
    uint32_t filled;
    uint64_t bytes;
    struct nic_tx_sums *sums;
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

// Ends what was delivered to the last receiver: the one place that gives its ring back.
static void leave_receiver(struct run *r)
{
    if (r->rx.room) {
        nic_rxq_run_end(r->port, r->rx_queue, &r->rx, r->filled, r->bytes);
        r->sums->frames += r->filled;
        r->sums->bytes += r->bytes;
        r->sums->pool_frames += r->filled;
        r->sums->pool_bytes += r->bytes;
        r->sums->loopback_frames += r->filled;
        r->sums->loopback_bytes += r->bytes;
    }
    r->rx.room = r->filled = 0;
    r->bytes = 0;
    r->to = (struct dma_run){0}; // another receiver's memory is another matter
}

// The one place that takes a ring.
static bool enter_receiver(struct run *r, unsigned queue)
{
    leave_receiver(r);
    r->rx_queue = queue;
    return nic_rxq_run_begin(r->port, nic_lane_of_queue(r->port, r->queue), queue, &r->rx);
}

// Asks for what the frames after this one will be written to. Descriptors that the guest has not
// filled yet are only a bad guess.
static void prefetch_receiver(const struct run *r)
{
    const union nic_rx_desc *desc = r->rx.desc + r->filled + PREFETCH_AHEAD;
    const uint8_t *dst;

    if (r->filled + PREFETCH_AHEAD >= r->rx.room)
        return;
    if ((r->rx.head + r->filled) % NIC_RX_PENDING_MAX == 0)
        nic_prefetch_write(desc + PREFETCH_AHEAD);
    dst = dma_run_at(&r->to, le64toh(__atomic_load_n(&desc->words[0], __ATOMIC_RELAXED)), 1);
    if (dst) {
        nic_prefetch_write(dst);
        nic_prefetch_write(dst + NIC_LINE_BYTES);
    }
}

// --- frames -------------------------------------------------------------------------------------

// All of a buffer, where one run has it.
static inline uint8_t *at(const struct dma_port *dma, struct dma_run *run, uint64_t iova,
                          uint32_t len, enum dma_access access)
{
    uint8_t *p = dma_run_at(run, iova, len);

    if (unlikely(!p && dma_run_find(dma, iova, access, run)))
        p = dma_run_at(run, iova, len);
    return p;
}

// Sends one frame. False, with nothing done, where it cannot go this way.
static inline bool send_one(struct run *r, const struct hw_tx_data_desc *desc)
{
    uint32_t cmd = le32toh(desc->cmd_type_len), len = cmd & HW_TXD_LEN_MASK, head_len, status;
    uint64_t word = cmd | (uint64_t)le32toh(desc->olinfo_status) << 32;
    _Alignas(64) uint8_t head[NIC_FRAME_HEAD_LEN];
    union nic_rx_desc *rx;
    const uint8_t *data;
    uint8_t *dst;

    if (unlikely((word & PLAIN_MASK) != PLAIN_WORD || len - LEN_MIN > NIC_FRAME_LEN_MAX - LEN_MIN))
        return false;
    data = at(r->dma, &r->from, le64toh(desc->buffer_addr), len, DMA_READ);
    if (unlikely(!data))
        return false;
    // From here on the head is ours: checked, and delivered, from the copy.
    head_len = len < NIC_FRAME_HEAD_LEN ? len : NIC_FRAME_HEAD_LEN;
    memcpy(head, data, LEN_MIN);
    if (len > LEN_MIN)
        memcpy(head + head_len - 64, data + head_len - 64, 64);
    if (unlikely(!r->flow || !matches(r->flow, head))) {
        const struct nic_express_flow *flow = find_flow(r, head, len);

        if (!flow)
            return false;
        r->flow = flow;
    }
    status = r->flow->rx_status;
    if (r->flow->ip_version && unlikely(!check_ip(r->flow, head, len, &status)))
        return false;
    if (unlikely(r->filled == r->rx.room || r->rx_queue != r->flow->queue) &&
        !enter_receiver(r, r->flow->queue))
        return false;
    prefetch_receiver(r);
    rx = r->rx.desc + r->filled;
    // Read once: the guest may write it meanwhile.
    dst = at(r->rx.dma, &r->to, le64toh(__atomic_load_n(&rx->words[0], __ATOMIC_RELAXED)), len,
             DMA_WRITE);
    if (unlikely(!dst || len > r->rx.len_max))
        return false;
    memcpy(dst, head, LEN_MIN);
    if (len > LEN_MIN) {
        memcpy(dst + head_len - 64, head + head_len - 64, 64);
        if (len > head_len)
            memcpy(dst + head_len, data + head_len, len - head_len);
    }
    nic_rxq_run_fill(&r->rx, r->filled++, r->flow->rx_low, status | (uint64_t)len << 32);
    r->bytes += len;
    return true;
}

// Asks for the first lines of a frame that will soon be looked at. The hardware sees a long one
// coming by itself.
static inline void prefetch_frame(const struct run *r, const struct hw_tx_data_desc *desc)
{
    const uint8_t *data = dma_run_at(&r->from, le64toh(desc->buffer_addr), 1);

    if (data) {
        nic_prefetch_read(data);
        nic_prefetch_read(data + NIC_LINE_BYTES);
    }
}

uint32_t nic_express_send(struct nic_port *port, unsigned queue, const struct hw_tx_data_desc *desc,
                          uint32_t count, struct nic_tx_sums *sums)
{
    struct nic_txq *q = &port->txq[queue];
    const struct nic_derived *t = &port->derived;
    struct run r = {.port = port, .q = q, .queue = queue, .sums = sums};
    uint32_t i;

    r.pool = nic_pool_of_queue(port, queue);
    r.dma = nic_dma_of_queue(port, queue);
    if (q->general_only || q->discarding || q->rate.factor || q->resume.segment ||
        q->resume.pools_done || q->resume.uplink_done || (t->insert_vlan_pools >> r.pool & 1) ||
        !dma_run_find(r.dma, le64toh(desc->buffer_addr), DMA_READ, &r.from))
        return 0;
    for (i = 0; i < count; i++) {
        if (i + PREFETCH_AHEAD < count)
            prefetch_frame(&r, desc + i + PREFETCH_AHEAD);
        if (unlikely(!send_one(&r, desc + i)))
            break;
    }
    leave_receiver(&r);
    return i;
}

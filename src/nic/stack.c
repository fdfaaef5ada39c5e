// SPDX-License-Identifier: BSD-3-Clause
#include "nic/stack.h"

#include <endian.h>
#include <string.h>
#include <sys/uio.h>

#include "base/bits.h"
#include "nic/cable.h"
#include "nic/copy.h"
#include "nic/delivery.h"
#include "nic/packet.h"
#include "nic/path.h"
#include "nic/port.h"
#include "nic/sum.h"
#include "uplink/uplink.h"

#define ETHER_HEADER_LEN 14u
#define IP_PROTO_TCP     6u
#define IP_PROTO_UDP     17u
#define MACS_LEN         12u
#define VLAN_TAG_LEN     4u
#define CABLE_LEN_MIN    60u // shorter frames are padded on the cable

#define HEAD_MAX   NIC_FRAME_HEAD_LEN
#define PIECES_MAX 8u // of a frame, behind its head; more than a stack makes

#define PREFETCH_AHEAD 8u // descriptors

// A run of packets from one queue.
struct run {
    struct nic_port *port;
    struct nic_txq *q;
    struct nic_lane *lane;
    unsigned pool;
    const struct dma_port *dma;
    struct dma_run from;         // where the sender's buffers are
    uint32_t tag;                // that the card inserts in this packet, as in struct nic_path
    uint32_t pool_tag;           // in every one
    bool tags_allowed;           // as the packet says
    const struct nic_path *path; // the last packet's
    struct nic_delivery to;
    struct nic_tx_sums *sums;
    struct nic_cable_sums cable;
    // What the last packet asked for, and what said so: a stack says the same before each packet of
    // a flow.
    struct nic_offload offload;
    struct {
        uint32_t wants, vlan_macip_lens, type_tucmd, mss_l4len_idx;
    } said;
};

// A packet's buffers.
struct buffers {
    struct {
        uint64_t addr;
        uint32_t len_bytes;
    } buffer[NIC_TX_DESC_MAX];
    unsigned count;
    uint32_t total_len;
};

// A frame: headers that are ours, the rest where the sender has it.
struct stack_frame {
    _Alignas(64) uint8_t head[HEAD_MAX];
    uint32_t head_len, len_bytes;
    struct nic_span piece[PIECES_MAX];
    unsigned piece_count;
};

// A place in a packet's buffers.
struct cursor {
    unsigned buffer;
    uint32_t offset;
};

// --- headers and payload ------------------------------------------------------------------------

// The next piece of at most `len` bytes. NULL where it is not at hand: the general way walks.
static const uint8_t *next_piece(struct run *r, const struct buffers *p, struct cursor *at,
                                 uint32_t len, uint32_t *taken)
{
    uint32_t left = p->buffer[at->buffer].len_bytes - at->offset;
    const uint8_t *data;

    *taken = left < len ? left : len;
    data = nic_delivery_at(r->dma, &r->from, p->buffer[at->buffer].addr + at->offset, *taken,
                           DMA_READ);
    at->offset += *taken;
    if (*taken == left) {
        at->buffer++;
        at->offset = 0;
    }
    return data;
}

static void skip(const struct buffers *p, struct cursor *at, uint32_t len)
{
    while (len) {
        uint32_t left = p->buffer[at->buffer].len_bytes - at->offset;

        if (len < left) {
            at->offset += len;
            return;
        }
        len -= left;
        at->buffer++;
        at->offset = 0;
    }
}

// Copies the first `len` bytes of a packet: read once, checked and delivered from the copy.
static bool copy_head(struct run *r, const struct buffers *p, struct cursor *at, uint8_t *head,
                      uint32_t len)
{
    uint32_t taken;

    for (uint32_t done = 0; done < len; done += taken) {
        const uint8_t *data = next_piece(r, p, at, len - done, &taken);

        if (unlikely(!data))
            return false;
        nic_copy_head(head + done, data, taken);
    }
    return true;
}

static bool gather(struct run *r, const struct buffers *p, struct cursor *at, struct stack_frame *f,
                   uint32_t len)
{
    uint32_t taken;

    f->piece_count = 0;
    for (; len; len -= taken) {
        const uint8_t *data = next_piece(r, p, at, len, &taken);

        if (unlikely(!data || f->piece_count == PIECES_MAX))
            return false;
        f->piece[f->piece_count++] = (struct nic_span){data, taken};
    }
    return true;
}

// Whether all that the packet asks for concerns the headers that the path knows, so that nothing
// that decides about the frame is changed on the way.
static bool fits_path(const struct nic_path *path, const struct nic_offload *o)
{
    if (!o->ip_sum && !o->l4_sum && !o->segment)
        return true;
    if (!path->ip_version || o->l3_offset != ETHER_HEADER_LEN || o->l4_offset != path->l4_offset ||
        o->ipv4 != (path->ip_version == 4))
        return false;
    return o->l4_kind == NIC_L4_TCP   ? path->l4_protocol == IP_PROTO_TCP
           : o->l4_kind == NIC_L4_UDP ? path->l4_protocol == IP_PROTO_UDP
                                      : false;
}

// --- frames -------------------------------------------------------------------------------------

// Puts the L4 checksum into the head, where `sum` is that of the bytes behind it. The field holds
// the pseudo-header's sum: it is summed with the rest, then replaced.
static void put_l4_sum(struct stack_frame *f, const struct nic_offload *o, uint64_t sum)
{
    uint8_t *field = f->head + o->l4_offset + (o->l4_kind == NIC_L4_TCP ? 16 : 6);
    uint16_t v;

    sum += nic_sum(f->head + o->l4_offset, f->head_len - o->l4_offset);
    v = (uint16_t)~nic_sum_fold(sum);
    // RFC 768: a UDP checksum of zero means that there is none.
    if (!v && o->l4_kind == NIC_L4_UDP)
        v = 0xffff;
    memcpy(field, &v, sizeof v);
}

// The sum of what is behind the head; copied too, where there is a `dst` for it.
static uint64_t payload_sum(const struct stack_frame *f, const struct nic_offload *o, uint8_t *dst)
{
    uint32_t at = f->head_len - o->l4_offset;
    uint64_t sum = 0;

    for (unsigned i = 0; i < f->piece_count; i++) {
        const struct nic_span *piece = &f->piece[i];
        uint64_t s = dst ? nic_sum_copy(dst, piece->data, piece->len_bytes)
                         : nic_sum(piece->data, piece->len_bytes);

        sum += at & 1 ? nic_sum_swap(s) : s;
        at += piece->len_bytes;
        if (dst)
            dst += piece->len_bytes;
    }
    return sum;
}

static bool to_pool(struct run *r, struct stack_frame *f, const struct nic_offload *o,
                    uint64_t status)
{
    uint8_t *dst = nic_delivery_buffer(&r->to, r->path->queue, f->len_bytes), *at;

    if (unlikely(!dst))
        return false;
    if (r->tag) {
        if (!r->port->rxq[r->path->queue].strip_vlan)
            return false; // it goes into the bytes
        status |= HW_RXS_VP | (uint64_t)(uint16_t)r->tag << 48;
        r->to.bytes += VLAN_TAG_LEN;
    }
    at = dst + f->head_len;
    if (o->l4_sum) {
        put_l4_sum(f, o, payload_sum(f, o, at));
    } else {
        for (unsigned i = 0; i < f->piece_count; at += f->piece[i++].len_bytes)
            memcpy(at, f->piece[i].data, f->piece[i].len_bytes);
    }
    nic_copy_head(dst, f->head, f->head_len);
    nic_delivery_fill(&r->to, r->path->rx_low, status, f->len_bytes);
    r->sums->loopback_frames++;
    r->sums->loopback_bytes += f->len_bytes;
    return true;
}

static void put_tag(const struct run *r, uint8_t tag[VLAN_TAG_LEN])
{
    uint32_t v = htobe32((uint32_t)r->port->derived.vlan_ethertype << 16 | (uint16_t)r->tag);

    memcpy(tag, &v, sizeof v);
}

static bool to_cable(struct run *r, struct stack_frame *f, const struct nic_offload *o)
{
    uint32_t len = f->len_bytes;
    struct iovec iov[3 + PIECES_MAX];
    uint8_t tag[VLAN_TAG_LEN];
    unsigned n = 1;

    iov[0] = (struct iovec){f->head, f->head_len};
    if (unlikely(r->tag)) {
        len += VLAN_TAG_LEN;
        put_tag(r, tag);
        iov[0].iov_len = MACS_LEN;
        iov[n++] = (struct iovec){tag, VLAN_TAG_LEN};
        iov[n++] = (struct iovec){f->head + MACS_LEN, f->head_len - MACS_LEN};
    }
    if (unlikely(len < CABLE_LEN_MIN))
        return false;
    if (r->to.rx.room)
        nic_delivery_leave(&r->to);
    nic_rx_leave(r->port, r->lane); // the far end may take its time
    if (o->l4_sum)
        put_l4_sum(f, o, payload_sum(f, o, NULL));
    for (unsigned i = 0; i < f->piece_count; i++)
        iov[n++] = (struct iovec){(void *)f->piece[i].data, f->piece[i].len_bytes};
    nic_cable_note(&r->cable, len);
    // What it cannot take, it counts.
    (void)uplink_send(r->port->uplink, r->lane->index, iov, n);
    return true;
}

// Sends a frame that is complete but for its checksums. False, with nothing done, where it cannot
// go this way.
static bool send_frame(struct run *r, struct stack_frame *f, const struct nic_offload *o)
{
    uint32_t status = r->path->rx_status, l3_end = 0;

    if (o->ip_sum) {
        // The field counts as it is, as nic_offload_sums() has it.
        uint16_t sum = (uint16_t)~nic_sum_fold(nic_sum_20(f->head + ETHER_HEADER_LEN));

        memcpy(f->head + ETHER_HEADER_LEN + 10, &sum, sizeof sum);
    }
    if (r->path->ip_version && unlikely(!nic_path_check_ip(r->path, f->head + ETHER_HEADER_LEN,
                                                           f->len_bytes, &status, &l3_end)))
        return false;
    // Valid by construction: the card made it, of the header that the frame has.
    if (o->l4_sum && l3_end == f->len_bytes)
        status |= HW_RXS_L4CS;
    if (unlikely(r->path->queue == NIC_PATH_CABLE ? !to_cable(r, f, o) : !to_pool(r, f, o, status)))
        return false;
    r->sums->frames++;
    r->sums->bytes += f->len_bytes;
    r->sums->pool_frames++;
    r->sums->pool_bytes += f->len_bytes + (r->tag ? VLAN_TAG_LEN : 0);
    return true;
}

// Finds the path of a packet by the head of its first frame.
static bool find_path(struct run *r, const struct stack_frame *f, const struct nic_offload *o)
{
    if (unlikely(!r->path || !nic_path_matches(r->path, f->head, r->tag))) {
        const struct nic_path *path = nic_path_find(&r->port->derived, r->q->paths, (int)r->pool,
                                                    f->head, f->head_len, f->len_bytes, r->tag);

        if (!path)
            return false;
        r->path = path;
    }
    return fits_path(r->path, o);
}

// A packet of one buffer, and of one frame.
static bool send_one(struct run *r, const struct hw_tx_data_desc *desc)
{
    uint32_t len = le32toh(desc->cmd_type_len) & HW_TXD_LEN_MASK;
    struct stack_frame f;
    const uint8_t *data;

    if (unlikely(len - NIC_PATH_KEY_LEN > NIC_FRAME_LEN_MAX - NIC_PATH_KEY_LEN))
        return false;
    data = nic_delivery_at(r->dma, &r->from, le64toh(desc->buffer_addr), len, DMA_READ);
    if (unlikely(!data))
        return false;
    f.len_bytes = len;
    f.head_len = len < HEAD_MAX ? len : HEAD_MAX;
    nic_copy_head(f.head, data, f.head_len); // read once: checked and delivered from the copy
    f.piece[0] = (struct nic_span){data + f.head_len, len - f.head_len};
    f.piece_count = len > f.head_len;
    return find_path(r, &f, &r->offload) && send_frame(r, &f, &r->offload);
}

// A packet of several buffers, and of one frame.
static bool send_whole(struct run *r, const struct buffers *p)
{
    struct cursor at = {0};
    struct stack_frame f;

    if (p->total_len - NIC_PATH_KEY_LEN > NIC_FRAME_LEN_MAX - NIC_PATH_KEY_LEN)
        return false;
    f.len_bytes = p->total_len;
    f.head_len = p->total_len < HEAD_MAX ? p->total_len : HEAD_MAX;
    return copy_head(r, p, &at, f.head, f.head_len) &&
           gather(r, p, &at, &f, f.len_bytes - f.head_len) && find_path(r, &f, &r->offload) &&
           send_frame(r, &f, &r->offload);
}

// The segments of a packet, from q->resume.segment on, which says how many are through.
static bool send_segments(struct run *r, const struct buffers *p, uint32_t payload_len)
{
    const struct nic_offload *o = &r->offload;
    uint32_t *segment = &r->q->resume.segment, offset = *segment * o->mss;
    _Alignas(64) uint8_t head[HEAD_MAX] = {0};
    struct cursor at = {0};
    struct stack_frame f;
    bool found = false;

    if (p->total_len != o->header_len + payload_len || offset >= payload_len ||
        !copy_head(r, p, &at, head, o->header_len))
        return false;
    skip(p, &at, offset);
    f.head_len = o->header_len;
    for (; offset < payload_len; (*segment)++, offset += o->mss) {
        uint32_t left = payload_len - offset, len = left < o->mss ? left : o->mss;

        if (r->sums->frames >= NIC_TXQ_FRAMES || !gather(r, p, &at, &f, len))
            return false;
        f.len_bytes = f.head_len + len;
        memcpy(f.head, head, HEAD_MAX);
        nic_offload_segment(f.head, o, *segment, len, left <= o->mss);
        found = found || find_path(r, &f, o);
        if (!found || !send_frame(r, &f, o))
            return false;
    }
    *segment = 0;
    return true;
}

// --- descriptors --------------------------------------------------------------------------------

// Sets r->offload by a packet's first descriptor. False where that is for the general way to judge.
static bool choose_offload(struct run *r, uint32_t cmd, uint32_t olinfo)
{
    uint32_t wants = (cmd & HW_TXD_TSE) | (olinfo & (HW_TXO_IXSM | HW_TXO_TXSM));
    unsigned index = (olinfo & HW_TXO_IDX_MASK) >> HW_TXO_IDX_SHIFT;
    const struct nic_txq *q = r->q;
    struct nic_offload *o = &r->offload;

    if (!wants) {
        if (r->said.wants)
            *o = (struct nic_offload){0};
        r->said.wants = 0;
        return true;
    }
    if (index >= NIC_TX_CONTEXTS)
        return false;
    if (likely(r->said.wants == wants &&
               r->said.vlan_macip_lens == q->context[index].vlan_macip_lens &&
               r->said.type_tucmd == q->context[index].type_tucmd &&
               r->said.mss_l4len_idx == q->context[index].mss_l4len_idx))
        return true;
    r->said.wants = UINT32_MAX; // nothing, until it is known to make sense
    *o = (struct nic_offload){0};
    if (!nic_packet_offload(o, cmd, olinfo, q, &r->port->derived) ||
        !nic_offload_fits(o, o->segment ? o->header_len : HEAD_MAX) ||
        (o->segment && (o->header_len > HEAD_MAX || o->mss > NIC_FRAME_LEN_MAX - o->header_len)))
        return false;
    r->said.wants = wants;
    r->said.vlan_macip_lens = q->context[index].vlan_macip_lens;
    r->said.type_tucmd = q->context[index].type_tucmd;
    r->said.mss_l4len_idx = q->context[index].mss_l4len_idx;
    return true;
}

#define DATA_MASK (HW_TXD_DEXT | HW_TXD_TYPE_MASK)
#define DATA_CMD  (HW_TXD_DEXT | HW_TXD_TYPE_DATA)

// The buffers of the packet at desc[0], which has more than one, or is to be cut. Returns how many
// descriptors it has; 0 where its end is not among them, or they are of several kinds.
static uint32_t collect(struct buffers *p, const struct hw_tx_data_desc *desc, uint32_t count)
{
    p->count = 0;
    p->total_len = 0;
    for (uint32_t i = 0; i < count && i < NIC_TX_DESC_MAX; i++) {
        uint32_t cmd = le32toh(desc[i].cmd_type_len), len = cmd & HW_TXD_LEN_MASK;

        if ((cmd & DATA_MASK) != DATA_CMD)
            return 0;
        if (len) {
            p->buffer[p->count].addr = le64toh(desc[i].buffer_addr);
            p->buffer[p->count++].len_bytes = len;
            p->total_len += len;
        }
        if (cmd & HW_TXD_EOP)
            return i + 1;
    }
    return 0;
}

// Sets r->tag by a packet's first descriptor and the pool's rules, as nic_packet_parse() does.
// False where the context is none.
static inline bool choose_tag(struct run *r, uint32_t cmd, uint32_t olinfo)
{
    unsigned index = (olinfo & HW_TXO_IDX_MASK) >> HW_TXO_IDX_SHIFT;

    r->tag = r->pool_tag;
    if (likely(!(cmd & HW_TXD_VLE)))
        return true;
    if (index >= NIC_TX_CONTEXTS)
        return false;
    if (r->tags_allowed)
        r->tag = NIC_FLOW_TAGGED | r->q->context[index].vlan_macip_lens >> HW_TXC_VLAN_SHIFT;
    return true;
}

// What becomes of tags in this pool (82599 §8.2.3.27 PFVMVIR).
static void choose_pool_tag(struct run *r)
{
    const struct nic_derived *t = &r->port->derived;
    uint32_t vmvir = t->vt_mode ? t->vmvir[r->pool] : HW_PFVMVIR_VLANA_DESC;

    r->tags_allowed = (vmvir & HW_PFVMVIR_VLANA_MASK) != HW_PFVMVIR_VLANA_DEFAULT &&
                      (vmvir & HW_PFVMVIR_VLANA_MASK) != HW_PFVMVIR_VLANA_NEVER;
    if ((vmvir & HW_PFVMVIR_VLANA_MASK) == HW_PFVMVIR_VLANA_DEFAULT)
        r->pool_tag = NIC_FLOW_TAGGED | (uint16_t)vmvir;
}

// The packet at desc[0]. Returns how many descriptors it has; 0 where it cannot go this way, or not
// all of it.
static uint32_t send_packet(struct run *r, const struct hw_tx_data_desc *desc, uint32_t count)
{
    uint32_t cmd = le32toh(desc->cmd_type_len), olinfo = le32toh(desc->olinfo_status), n;
    struct buffers p;

    if (unlikely((cmd & DATA_MASK) != DATA_CMD || !choose_tag(r, cmd, olinfo) ||
                 !choose_offload(r, cmd, olinfo)))
        return 0;
    if (likely((cmd & (HW_TXD_EOP | HW_TXD_TSE)) == HW_TXD_EOP))
        return send_one(r, desc);
    n = collect(&p, desc, count);
    if (!n)
        return 0;
    if (cmd & HW_TXD_TSE)
        return send_segments(r, &p, olinfo >> HW_TXO_PAYLEN_SHIFT) ? n : 0;
    return send_whole(r, &p) ? n : 0;
}

// Asks for the first lines of a buffer that will soon be looked at.
static void prefetch(const struct run *r, const struct hw_tx_data_desc *desc)
{
    const uint8_t *data = dma_run_at(&r->from, le64toh(desc->buffer_addr), 1);

    if (data) {
        nic_prefetch_read(data);
        nic_prefetch_read(data + NIC_LINE_BYTES);
    }
}

uint32_t nic_stack_send(struct nic_port *port, unsigned queue, const struct hw_tx_data_desc *desc,
                        uint32_t count, struct nic_tx_sums *sums)
{
    struct nic_txq *q = &port->txq[queue];
    struct run r = {.port = port, .q = q, .sums = sums};
    uint32_t at, n;

    r.pool = nic_pool_of_queue(port, queue);
    if (q->general_only || q->discarding || q->rate.factor || q->resume.pools_done ||
        q->resume.uplink_done || port->derived.mac_loopback)
        return 0;
    r.dma = nic_dma_of_queue(port, queue);
    r.lane = r.to.lane = nic_lane_of_queue(port, queue);
    r.to.port = port;
    choose_pool_tag(&r);
    for (at = 0; at < count && sums->frames < NIC_TXQ_FRAMES; at += n) {
        if (at + PREFETCH_AHEAD < count)
            prefetch(&r, desc + at + PREFETCH_AHEAD);
        if (nic_txq_is_context(desc + at)) {
            nic_txq_load_context(q, desc + at);
            n = 1;
            continue;
        }
        n = send_packet(&r, desc + at, count - at);
        if (!n)
            break;
    }
    nic_delivery_leave(&r.to);
    if (r.cable.frames)
        nic_cable_add_tx(&port->counters.total[r.lane->index], &r.cable);
    return at;
}

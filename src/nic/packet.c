// SPDX-License-Identifier: BSD-3-Clause
#include "nic/packet.h"

#include <endian.h>
#include <string.h>

#include "base/bits.h"
#include "hw82599/regs.h"
#include "nic/copy.h"

#define ETHER_HEADER_LEN 14u
#define VLAN_TAG_LEN     4u
#define IP_PROTO_TCP     6u
#define IP_PROTO_UDP     17u
#define IP_PROTO_SCTP    132u

#define PLAIN_CMD  (HW_TXD_DEXT | HW_TXD_TYPE_DATA | HW_TXD_EOP)
#define PLAIN_MASK (HW_TXD_DEXT | HW_TXD_TYPE_MASK | HW_TXD_EOP | HW_TXD_TSE | HW_TXD_VLE)

bool nic_packet_plain(const struct hw_tx_data_desc *desc, struct dma_port *dma,
                      const struct nic_derived *t, unsigned pool, struct nic_frame *frame)
{
    uint32_t cmd = le32toh(desc->cmd_type_len), len = cmd & HW_TXD_LEN_MASK, head_len;
    const uint8_t *data;

    if (unlikely((cmd & PLAIN_MASK) != PLAIN_CMD || (t->insert_vlan_pools >> pool & 1) ||
                 (le32toh(desc->olinfo_status) & (HW_TXO_IXSM | HW_TXO_TXSM)) ||
                 len - NIC_FRAME_LEN_MIN > NIC_FRAME_LEN_MAX - NIC_FRAME_LEN_MIN))
        return false;
    data = dma_peek(dma, le64toh(desc->buffer_addr), len, DMA_READ);
    if (unlikely(!data))
        return false;
    head_len = len < NIC_FRAME_HEAD_LEN ? len : NIC_FRAME_HEAD_LEN;
    nic_copy_head(frame->head, data, head_len);
    frame->head_len = head_len;
    frame->len_bytes = len;
    frame->has_vlan = false;
    frame->vlan_tci = 0;
    frame->span_count = len > head_len;
    frame->spans[0] = (struct nic_span){data + head_len, len - head_len};
    nic_frame_take_vlan(frame, t->vlan_ethertype);
    nic_frame_parse(frame);
    return true;
}

// A legacy packet: plain, or with a tag. Deviation: no checksum by offset (IC); no driver for the
// 82599 uses it.
static bool parse_legacy(struct nic_packet *p, uint32_t cmd, uint32_t status)
{
    if (cmd & HW_TXD_IC)
        return false;
    p->insert_vlan = cmd & HW_TXD_VLE;
    p->vlan_tci = (uint16_t)(status >> HW_TXL_VLAN_SHIFT);
    return true;
}

bool nic_packet_offload(struct nic_offload *o, uint32_t cmd, uint32_t olinfo,
                        const struct nic_txq *q, const struct nic_derived *t)
{
    unsigned index = (olinfo & HW_TXO_IDX_MASK) >> HW_TXO_IDX_SHIFT;
    uint32_t macip, tucmd, mss_l4len;

    if (index >= NIC_TX_CONTEXTS)
        return false;
    macip = q->context[index].vlan_macip_lens;
    tucmd = q->context[index].type_tucmd;
    mss_l4len = q->context[index].mss_l4len_idx;
    o->ipv4 = tucmd & HW_TXC_TUCMD_IPV4;
    o->ip_sum = (olinfo & HW_TXO_IXSM) && o->ipv4;
    o->l4_sum = olinfo & HW_TXO_TXSM;
    o->segment = cmd & HW_TXD_TSE;
    o->l3_offset = (macip & HW_TXC_MACLEN_MASK) >> HW_TXC_MACLEN_SHIFT;
    o->l4_offset = o->l3_offset + (macip & HW_TXC_IPLEN_MASK);
    if (!o->ip_sum && !o->l4_sum && !o->segment)
        return true;
    if (o->l3_offset < ETHER_HEADER_LEN)
        return false;
    switch (tucmd & HW_TXC_TUCMD_L4T_MASK) {
    case HW_TXC_TUCMD_L4T_TCP:
        o->l4_kind = NIC_L4_TCP;
        break;
    case HW_TXC_TUCMD_L4T_UDP:
        o->l4_kind = NIC_L4_UDP;
        break;
    case HW_TXC_TUCMD_L4T_SCTP:
        o->l4_kind = NIC_L4_SCTP;
        break;
    default:
        return false;
    }
    if (o->segment) {
        o->header_len = o->l4_offset + ((mss_l4len & HW_TXC_L4LEN_MASK) >> HW_TXC_L4LEN_SHIFT);
        o->mss = mss_l4len >> HW_TXC_MSS_SHIFT;
        o->tcp_flags_first = t->tcp_flags_first;
        o->tcp_flags_mid = t->tcp_flags_mid;
        o->tcp_flags_last = t->tcp_flags_last;
    }
    return true;
}

// What the first data descriptor asks for, and the context that it names.
static bool parse_advanced(struct nic_packet *p, uint32_t cmd, uint32_t olinfo,
                           const struct nic_txq *q, const struct nic_derived *t)
{
    unsigned index = (olinfo & HW_TXO_IDX_MASK) >> HW_TXO_IDX_SHIFT;

    if (!(cmd & (HW_TXD_TSE | HW_TXD_VLE)) && !(olinfo & (HW_TXO_IXSM | HW_TXO_TXSM)))
        return true;
    if (index >= NIC_TX_CONTEXTS)
        return false;
    p->insert_vlan = cmd & HW_TXD_VLE;
    p->vlan_tci = (uint16_t)(q->context[index].vlan_macip_lens >> HW_TXC_VLAN_SHIFT);
    return nic_packet_offload(&p->offload, cmd, olinfo, q, t);
}

// The pool's rules for tags (82599 §8.2.3.27 PFVMVIR).
static void apply_pool_vlan(struct nic_packet *p, const struct nic_derived *t, unsigned pool)
{
    uint32_t vmvir = t->vt_mode ? t->vmvir[pool] : HW_PFVMVIR_VLANA_DESC;

    if ((vmvir & HW_PFVMVIR_VLANA_MASK) == HW_PFVMVIR_VLANA_DEFAULT) {
        p->insert_vlan = true;
        p->vlan_tci = (uint16_t)vmvir;
    } else if ((vmvir & HW_PFVMVIR_VLANA_MASK) == HW_PFVMVIR_VLANA_NEVER) {
        p->insert_vlan = false;
    }
}

// How long the snapshot is, and how many frames come of the packet. False where the lengths do not
// fit together.
static bool plan(struct nic_packet *p, uint32_t paylen)
{
    struct nic_offload *o = &p->offload;

    if (!o->segment) {
        uint32_t want = NIC_FRAME_HEAD_LEN;

        if (p->total_len < NIC_FRAME_LEN_MIN || p->total_len > NIC_FRAME_LEN_MAX)
            return false;
        if (o->l4_offset + 20 > want && (o->ip_sum || o->l4_sum))
            want = NIC_FRAME_HEAD_MAX;
        p->head_len = p->total_len < want ? p->total_len : want;
        p->segment_count = 1;
        return nic_offload_fits(o, p->head_len);
    }
    // Deviation: headers longer than the snapshot are refused; real stacks stay below 160 bytes.
    if (o->header_len > NIC_FRAME_HEAD_MAX || !nic_offload_fits(o, o->header_len) || !paylen ||
        p->total_len != o->header_len + paylen || o->mss > NIC_FRAME_LEN_MAX - o->header_len)
        return false;
    p->head_len = o->header_len;
    p->payload_len = paylen;
    p->segment_count = (paylen + o->mss - 1) / o->mss;
    return true;
}

bool nic_packet_parse(struct nic_packet *p, const struct hw_tx_data_desc *desc, uint32_t count,
                      const struct nic_txq *q, const struct nic_derived *t, unsigned pool)
{
    uint32_t first = le32toh(desc[0].cmd_type_len), olinfo = le32toh(desc[0].olinfo_status);
    bool advanced = first & HW_TXD_DEXT;

    p->offload = (struct nic_offload){0};
    p->insert_vlan = p->malformed = false;
    p->vlan_tci = 0;
    p->vlan_ethertype = t->vlan_ethertype;
    p->total_len = 0;
    p->buffer_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t cmd = le32toh(desc[i].cmd_type_len), len = cmd & HW_TXD_LEN_MASK;

        if (!(cmd & HW_TXD_DEXT) == advanced ||
            (advanced && (cmd & HW_TXD_TYPE_MASK) != HW_TXD_TYPE_DATA))
            return false;
        if (!len)
            continue;
        p->buffer[p->buffer_count].addr = le64toh(desc[i].buffer_addr);
        p->buffer[p->buffer_count++].len_bytes = len;
        p->total_len += len;
    }
    if (advanced ? !parse_advanced(p, first, olinfo, q, t) : !parse_legacy(p, first, olinfo))
        return false;
    apply_pool_vlan(p, t, pool);
    return plan(p, olinfo >> HW_TXO_PAYLEN_SHIFT);
}

// A place in the packet's buffers.
struct cursor {
    unsigned buffer;
    uint32_t offset;
};

static void seek(const struct nic_packet *p, struct cursor *at, uint32_t offset)
{
    at->buffer = 0;
    while (at->buffer < p->buffer_count && offset >= p->buffer[at->buffer].len_bytes)
        offset -= p->buffer[at->buffer++].len_bytes;
    at->offset = offset;
}

// The next piece of at most `len` bytes that is contiguous here, or NULL where it is refused. The
// caller asks for no more than the buffers have.
static const uint8_t *next_run(const struct nic_packet *p, struct dma_port *dma, struct cursor *at,
                               uint32_t len, uint32_t *run)
{
    uint32_t left = p->buffer[at->buffer].len_bytes - at->offset;
    iova_t addr = {p->buffer[at->buffer].addr + at->offset};
    const uint8_t *data = dma_at(dma, addr, left < len ? left : len, DMA_READ, run);

    if (likely(data != NULL)) {
        at->offset += *run;
        if (at->offset == p->buffer[at->buffer].len_bytes) {
            at->buffer++;
            at->offset = 0;
        }
    }
    return data;
}

static bool copy_out(const struct nic_packet *p, struct dma_port *dma, struct cursor *at,
                     uint8_t *dst, uint32_t len)
{
    uint32_t run;

    for (; len; len -= run, dst += run) {
        const uint8_t *data = next_run(p, dma, at, len, &run);

        if (!data)
            return false;
        memcpy(dst, data, run);
    }
    return true;
}

static bool gather(const struct nic_packet *p, struct dma_port *dma, struct cursor *at,
                   struct nic_frame *frame, uint32_t len)
{
    uint32_t run;

    for (; len; len -= run) {
        const uint8_t *data = next_run(p, dma, at, len, &run);

        if (!data)
            return false;
        frame->spans[frame->span_count++] = (struct nic_span){data, run};
    }
    return true;
}

// A tag in the packet's bytes counts as the frame's own, unless another goes before it. Moves the
// offsets of what follows it.
static bool take_tag(struct nic_packet *p, struct nic_frame *frame)
{
    struct nic_offload *o = &p->offload;
    unsigned taken;

    frame->has_vlan = p->insert_vlan;
    frame->vlan_tci = p->vlan_tci;
    if (p->insert_vlan)
        return true;
    taken = nic_frame_take_vlan(frame, p->vlan_ethertype);
    if (taken && (o->ip_sum || o->l4_sum || o->segment)) {
        if (o->l3_offset < ETHER_HEADER_LEN + VLAN_TAG_LEN)
            return false; // the headers overlap the tag
        o->l3_offset -= taken;
        o->l4_offset -= taken;
        if (o->segment)
            o->header_len -= taken;
    }
    return true;
}

// With an L4 checksum made by the card, of the header that the frame really has: valid by
// construction.
static void mark_good(struct nic_frame *frame, const struct nic_offload *o)
{
    static const uint8_t protocol[] = {
        [NIC_L4_UDP] = IP_PROTO_UDP,
        [NIC_L4_TCP] = IP_PROTO_TCP,
        [NIC_L4_SCTP] = IP_PROTO_SCTP,
    };

    if (o->l4_sum && frame->l4_offset && frame->l4_offset == o->l4_offset &&
        frame->l4_protocol == protocol[o->l4_kind] && frame->l3_end == frame->len_bytes)
        frame->rx_status |= HW_RXS_L4CS;
}

bool nic_packet_headers(struct nic_packet *p, struct dma_port *dma)
{
    struct cursor at;
    struct nic_frame frame;

    seek(p, &at, 0);
    if (!copy_out(p, dma, &at, frame.head, p->head_len))
        return false;
    frame.head_len = frame.len_bytes = p->head_len;
    frame.span_count = 0;
    if (!take_tag(p, &frame)) {
        p->malformed = true;
        return false;
    }
    memcpy(p->head, frame.head, frame.head_len);
    p->has_vlan = frame.has_vlan;
    p->vlan_tci = frame.vlan_tci;
    return true;
}

static bool segment_frame(struct nic_packet *p, struct dma_port *dma, uint32_t segment,
                          struct nic_frame *frame)
{
    const struct nic_offload *o = &p->offload;
    uint32_t offset = segment * o->mss, left = p->payload_len - offset;
    uint32_t len = left < o->mss ? left : o->mss;
    struct cursor at;

    memcpy(frame->head, p->head, o->header_len);
    frame->head_len = o->header_len;
    frame->len_bytes = o->header_len + len;
    frame->has_vlan = p->has_vlan;
    frame->vlan_tci = p->vlan_tci;
    frame->span_count = 0;
    seek(p, &at, p->head_len + offset);
    if (!gather(p, dma, &at, frame, len))
        return false;
    nic_offload_segment(frame->head, o, segment, len, segment == p->segment_count - 1);
    return true;
}

bool nic_packet_frame(struct nic_packet *p, struct dma_port *dma, uint32_t segment,
                      struct nic_frame *frame)
{
    if (p->offload.segment) {
        if (!segment_frame(p, dma, segment, frame))
            return false;
    } else {
        struct cursor at;

        seek(p, &at, 0);
        if (!copy_out(p, dma, &at, frame->head, p->head_len))
            return false;
        frame->head_len = p->head_len;
        frame->len_bytes = p->total_len;
        frame->span_count = 0;
        if (!gather(p, dma, &at, frame, p->total_len - p->head_len))
            return false;
        if (!take_tag(p, frame)) {
            p->malformed = true;
            return false;
        }
    }
    nic_offload_sums(frame, &p->offload);
    nic_frame_parse(frame);
    mark_good(frame, &p->offload);
    return true;
}

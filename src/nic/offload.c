// SPDX-License-Identifier: BSD-3-Clause
#include "nic/offload.h"

#include <endian.h>
#include <string.h>

#include "base/le.h"
#include "nic/sum.h"

#define IPV4_HEADER_MIN 20u
#define IPV6_HEADER_LEN 40u
#define TCP_HEADER_MIN  20u
#define UDP_HEADER_LEN  8u
#define SCTP_HEADER_LEN 12u

static uint16_t be16_get(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void be16_put(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void be32_add(uint8_t *p, uint32_t n)
{
    uint32_t v;

    memcpy(&v, p, 4);
    v = htobe32(be32toh(v) + n);
    memcpy(p, &v, 4);
}

static const struct {
    uint8_t header_min, checksum_offset;
} l4_layout[] = {
    [NIC_L4_UDP] = {UDP_HEADER_LEN, 6},
    [NIC_L4_TCP] = {TCP_HEADER_MIN, 16},
    [NIC_L4_SCTP] = {SCTP_HEADER_LEN, 8},
};

bool nic_offload_fits(const struct nic_offload *o, uint32_t head_len)
{
    uint32_t ip_min = o->ipv4 ? IPV4_HEADER_MIN : IPV6_HEADER_LEN;

    if (o->ip_sum && o->ipv4 &&
        (o->l4_offset < o->l3_offset + IPV4_HEADER_MIN || o->l4_offset > head_len))
        return false;
    if ((o->l4_sum || o->segment) && (o->l4_offset < o->l3_offset || o->l4_offset > head_len ||
                                      head_len - o->l4_offset < l4_layout[o->l4_kind].header_min))
        return false;
    if (!o->segment)
        return true;
    return o->mss && o->l4_kind != NIC_L4_SCTP && o->l4_offset >= o->l3_offset + ip_min &&
           o->header_len <= head_len &&
           o->header_len >= o->l4_offset + l4_layout[o->l4_kind].header_min;
}

void nic_offload_segment(uint8_t *head, const struct nic_offload *o, uint32_t index,
                         uint32_t payload_len, bool last)
{
    uint8_t *ip = head + o->l3_offset, *l4 = head + o->l4_offset;
    uint32_t l4_len = o->header_len - o->l4_offset + payload_len;

    if (o->ipv4) {
        be16_put(ip + 2, o->l4_offset - o->l3_offset + l4_len);
        be16_put(ip + 4, be16_get(ip + 4) + index);
    } else {
        be16_put(ip + 4, o->l4_offset - o->l3_offset - IPV6_HEADER_LEN + l4_len);
    }
    if (o->l4_kind == NIC_L4_TCP) {
        uint32_t keep = last ? o->tcp_flags_last : index ? o->tcp_flags_mid : o->tcp_flags_first;

        if (last && !index) // the only segment is first and last
            keep |= o->tcp_flags_first;
        be32_add(l4 + 4, index * o->mss);
        be16_put(l4 + 12, be16_get(l4 + 12) & (0xf000u | keep));
    } else {
        be16_put(l4 + 4, l4_len);
    }
    // The driver leaves the length out of the pseudo-header's sum: it differs between segments.
    uint8_t *sum = l4 + l4_layout[o->l4_kind].checksum_offset;
    uint32_t seed = be16_get(sum) + l4_len;
    be16_put(sum, (seed & 0xffff) + (seed >> 16));
}

static void sctp_sum(struct nic_frame *frame, uint32_t l4_offset)
{
    uint8_t *field = frame->head + l4_offset + l4_layout[NIC_L4_SCTP].checksum_offset;
    uint32_t crc;

    memset(field, 0, 4);
    crc = nic_offload_crc32c(UINT32_MAX, frame->head + l4_offset, frame->head_len - l4_offset);
    for (uint32_t i = 0; i < frame->span_count; i++)
        crc = nic_offload_crc32c(crc, frame->spans[i].data, frame->spans[i].len_bytes);
    le32_put(field, ~crc);
}

void nic_offload_sums(struct nic_frame *frame, const struct nic_offload *o)
{
    if (o->ip_sum && o->ipv4) {
        uint8_t *ip = frame->head + o->l3_offset;

        // The field counts as it is: 0 for a plain header; for a tunnel, whose outer IP header,
        // tunnel and inner IP header the driver names as one, what cancels the rest out.
        be16_put(ip + 10, (uint16_t)~nic_offload_fold(
                              nic_offload_sum(ip, o->l4_offset - o->l3_offset, false)));
    }
    if (!o->l4_sum)
        return;
    if (o->l4_kind == NIC_L4_SCTP) {
        sctp_sum(frame, o->l4_offset);
        return;
    }
    // The field holds the pseudo-header's sum: it is summed with the rest, then replaced.
    uint16_t sum =
        (uint16_t)~nic_offload_fold(nic_offload_sum_frame(frame, o->l4_offset, frame->len_bytes));
    // RFC 768: a UDP checksum of zero means that there is none.
    if (!sum && o->l4_kind == NIC_L4_UDP)
        sum = 0xffff;
    be16_put(frame->head + o->l4_offset + l4_layout[o->l4_kind].checksum_offset, sum);
}

uint16_t nic_offload_fold(uint64_t sum)
{
    return be16toh(nic_sum_fold(sum));
}

uint64_t nic_offload_sum(const uint8_t *data, size_t len_bytes, bool odd)
{
    uint64_t sum = nic_sum(data, (uint32_t)len_bytes);

    return odd ? nic_sum_swap(sum) : sum;
}

uint64_t nic_offload_sum_frame(const struct nic_frame *frame, uint32_t start, uint32_t end)
{
    uint32_t at = frame->head_len; // where in the frame the next piece begins
    uint64_t sum = 0;

    if (start < at) {
        uint32_t head_end = end < at ? end : at;

        sum = nic_offload_sum(frame->head + start, head_end - start, false);
    }
    for (uint32_t i = 0; i < frame->span_count && at < end; i++) {
        const struct nic_span *span = &frame->spans[i];
        uint32_t skip = start > at ? start - at : 0;
        uint32_t take = end - at < span->len_bytes ? end - at : span->len_bytes;

        if (skip < take)
            sum += nic_offload_sum(span->data + skip, take - skip, (at + skip - start) & 1);
        at += span->len_bytes;
    }
    return sum;
}

// A nibble at a time: both CRCs are off the usual path (SCTP, receive without CRC strip).
static uint32_t crc_reflected(uint32_t crc, const uint32_t table[16], const uint8_t *data,
                              size_t len_bytes)
{
    for (size_t i = 0; i < len_bytes; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc;
}

uint32_t nic_offload_crc32c(uint32_t crc, const uint8_t *data, size_t len_bytes)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };

    return crc_reflected(crc, table, data, len_bytes);
}

uint32_t nic_offload_crc32(uint32_t crc, const uint8_t *data, size_t len_bytes)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };

    return crc_reflected(crc, table, data, len_bytes);
}

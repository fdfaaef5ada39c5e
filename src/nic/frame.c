// SPDX-License-Identifier: BSD-3-Clause
#include "nic/frame.h"

#include <string.h>

#include "base/le.h"
#include "hw82599/desc.h"
#include "nic/offload.h"

#define ETHER_HEADER_LEN 14u
#define ETHERTYPE_IPV4   0x0800u
#define ETHERTYPE_IPV6   0x86ddu

#define IP_PROTO_TCP  6u
#define IP_PROTO_UDP  17u
#define IP_PROTO_SCTP 132u

#define IPV6_HEADER_LEN     40u
#define IPV6_EXTENSIONS_MAX 8u // as many as are walked; a longer chain counts as no L4 header

static uint16_t be16_get(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

unsigned nic_frame_take_vlan(struct nic_frame *frame, uint16_t ethertype)
{
    if (frame->head_len < ETHER_HEADER_LEN + 4 || be16_get(frame->head + 12) != ethertype)
        return 0;
    frame->has_vlan = true;
    frame->vlan_tci = be16_get(frame->head + 14);
    memmove(frame->head + 12, frame->head + 16, frame->head_len - 16);
    frame->head_len -= 4;
    frame->len_bytes -= 4;
    return 4;
}

// Where the L4 header is, if it is one that the card knows and it lies within the head.
static void parse_l4(struct nic_frame *frame, uint32_t offset, uint8_t protocol)
{
    uint32_t type, header_min;

    switch (protocol) {
    case IP_PROTO_TCP:
        type = HW_RXI_TYPE_TCP;
        header_min = 20;
        break;
    case IP_PROTO_UDP:
        type = HW_RXI_TYPE_UDP;
        header_min = 8;
        break;
    case IP_PROTO_SCTP:
        type = HW_RXI_TYPE_SCTP;
        header_min = 12;
        break;
    default:
        return;
    }
    if (frame->head_len < offset + header_min || frame->l3_end < offset + header_min)
        return;
    frame->packet_type |= type;
    frame->l4_offset = (uint16_t)offset;
    frame->l4_protocol = protocol;
}

static void parse_ipv4(struct nic_frame *frame)
{
    const uint8_t *ip = frame->head + ETHER_HEADER_LEN;
    uint32_t left = frame->head_len - ETHER_HEADER_LEN, header_len, total_len;

    if (left < 20 || ip[0] >> 4 != 4)
        return;
    header_len = (ip[0] & 15u) * 4;
    total_len = be16_get(ip + 2);
    if (header_len < 20 || header_len > left || total_len < header_len ||
        total_len > frame->len_bytes - ETHER_HEADER_LEN)
        return;
    frame->l3_offset = ETHER_HEADER_LEN;
    frame->l3_end = ETHER_HEADER_LEN + total_len;
    frame->packet_type = HW_RXI_TYPE_IPV4 | (header_len > 20 ? HW_RXI_TYPE_IPV4_EX : 0);
    frame->rx_status |= HW_RXS_IPCS;
    if (nic_offload_fold(nic_offload_sum(ip, header_len, false)) != 0xffff)
        frame->rx_status |= HW_RXE_IPE;
    if (!(be16_get(ip + 6) & 0x3fff)) // neither more fragments nor an offset
        parse_l4(frame, ETHER_HEADER_LEN + header_len, ip[9]);
}

static void parse_ipv6(struct nic_frame *frame)
{
    const uint8_t *ip = frame->head + ETHER_HEADER_LEN;
    uint32_t offset = ETHER_HEADER_LEN + IPV6_HEADER_LEN;
    uint8_t next;

    if (frame->head_len < offset || ip[0] >> 4 != 6 || be16_get(ip + 4) > frame->len_bytes - offset)
        return;
    frame->l3_offset = ETHER_HEADER_LEN;
    frame->l3_end = offset + be16_get(ip + 4);
    frame->packet_type = HW_RXI_TYPE_IPV6;
    next = ip[6];
    for (unsigned i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
        // Hop-by-hop and destination options (RFC 8200 §4). A fragment header ends the walk, and so
        // does a routing header: the checksum behind it is over another destination.
        if (next != 0 && next != 60 && next != 43 && next != 44)
            break;
        frame->packet_type |= HW_RXI_TYPE_IPV6_EX;
        if (next == 44 || next == 43 || frame->head_len < offset + 8)
            return;
        next = frame->head[offset];
        offset += 8 + frame->head[offset + 1] * 8u;
    }
    parse_l4(frame, offset, next);
}

void nic_frame_parse(struct nic_frame *frame)
{
    frame->packet_type = 0;
    frame->l3_offset = 0;
    frame->l4_offset = 0;
    frame->l4_protocol = 0;
    frame->rx_status = 0;
    frame->rss_hash = 0;
    frame->rss_type = HW_RSS_TYPE_NONE;
    if (frame->head_len < ETHER_HEADER_LEN)
        return;
    switch (be16_get(frame->head + 12)) {
    case ETHERTYPE_IPV4:
        parse_ipv4(frame);
        break;
    case ETHERTYPE_IPV6:
        parse_ipv6(frame);
        break;
    default:
        break;
    }
}

static uint32_t sctp_crc(const struct nic_frame *frame)
{
    static const uint8_t zero[4];
    uint32_t at = frame->l4_offset, crc, take;

    crc = nic_offload_crc32c(UINT32_MAX, frame->head + at, 8);
    crc = nic_offload_crc32c(crc, zero, 4);
    at += 12;
    take = (frame->l3_end < frame->head_len ? frame->l3_end : frame->head_len) - at;
    crc = nic_offload_crc32c(crc, frame->head + at, take);
    at = frame->head_len;
    for (uint32_t i = 0; i < frame->span_count && at < frame->l3_end; i++) {
        take = frame->l3_end - at;
        if (take > frame->spans[i].len_bytes)
            take = frame->spans[i].len_bytes;
        crc = nic_offload_crc32c(crc, frame->spans[i].data, take);
        at += take;
    }
    return ~crc;
}

void nic_frame_verify_l4(struct nic_frame *frame)
{
    bool ipv4 = frame->packet_type & HW_RXI_TYPE_IPV4;
    const uint8_t *l4 = frame->head + frame->l4_offset;
    uint64_t sum;

    if (!frame->l4_offset)
        return;
    if (frame->l4_protocol == IP_PROTO_SCTP) {
        frame->rx_status |= HW_RXS_L4CS;
        if (sctp_crc(frame) != le32_get(l4 + 8))
            frame->rx_status |= HW_RXE_L4E;
        return;
    }
    if (frame->l4_protocol == IP_PROTO_UDP && !l4[6] && !l4[7]) {
        // None was made over IPv4; over IPv6 there must be one (RFC 8200 §8.1).
        if (!ipv4)
            frame->rx_status |= HW_RXS_L4CS | HW_RXE_L4E;
        return;
    }
    sum = nic_offload_sum_frame(frame, frame->l4_offset, frame->l3_end);
    if (ipv4)
        sum += nic_offload_sum(frame->head + frame->l3_offset + 12, 8, false);
    else
        sum += nic_offload_sum(frame->head + frame->l3_offset + 8, 32, false);
    // Protocol and length of the pseudo-header, as the big-endian words that they are there.
    uint32_t l4_len = frame->l3_end - frame->l4_offset;
    uint8_t pseudo[4] = {0, frame->l4_protocol, (uint8_t)(l4_len >> 8), (uint8_t)l4_len};
    sum += nic_offload_sum(pseudo, sizeof pseudo, false);
    frame->rx_status |= HW_RXS_L4CS;
    if (nic_offload_fold(sum) != 0xffff)
        frame->rx_status |= HW_RXE_L4E;
}

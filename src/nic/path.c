// SPDX-License-Identifier: BSD-3-Clause
#include "nic/path.h"

#include <endian.h>

#include "nic/frame.h"

#define ETHER_HEADER_LEN 14u
#define ETHERTYPE_IPV4   0x0800u
#define ETHERTYPE_IPV6   0x86ddu

#define ETHERTYPE_MAC_CONTROL 0x8808u // pause frames: the MAC's own, see forward.c

static const uint8_t mask_other[NIC_PATH_KEY_LEN] = {[0 ... 13] = 0xff};
static const uint8_t mask_ipv4[NIC_PATH_KEY_LEN] = {
    [0 ... 14] = 0xff, [20] = 0x3f, [21] = 0xff, [23] = 0xff, [26 ... 33] = 0xff};
static const uint8_t mask_ipv4_ports[NIC_PATH_KEY_LEN] = {
    [0 ... 14] = 0xff, [20] = 0x3f, [21] = 0xff, [23] = 0xff, [26 ... 37] = 0xff};
static const uint8_t mask_ipv6[NIC_PATH_KEY_LEN] = {
    [0 ... 13] = 0xff, [14] = 0xf0, [20] = 0xff, [22 ... 53] = 0xff};
static const uint8_t mask_ipv6_ports[NIC_PATH_KEY_LEN] = {
    [0 ... 13] = 0xff, [14] = 0xf0, [20] = 0xff, [22 ... 57] = 0xff};

static uint32_t be16_at(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return be16toh(v);
}

// Sets the path's mask by what the frame is. False where what becomes of it cannot be told from its
// first bytes alone.
static bool choose_mask(struct nic_path *path, const struct nic_frame *frame)
{
    uint32_t ethertype = be16_at(frame->head + 12), rest;
    bool ports = frame->rss_type != HW_RSS_TYPE_NONE && frame->rss_type != HW_RSS_TYPE_IPV4 &&
                 frame->rss_type != HW_RSS_TYPE_IPV6;

    path->mask = mask_other;
    path->ip_version = 0;
    if (ethertype != ETHERTYPE_IPV4 && ethertype != ETHERTYPE_IPV6)
        return true;
    path->ip_version = ethertype == ETHERTYPE_IPV4 ? 4 : 6;
    if (path->ip_version == 4)
        path->mask = ports ? mask_ipv4_ports : mask_ipv4;
    else
        path->mask = ports ? mask_ipv6_ports : mask_ipv6;
    path->l4_protocol = frame->l4_protocol;
    path->l4_offset = frame->l4_offset;
    path->ip_len_min = (uint16_t)(frame->l4_offset - ETHER_HEADER_LEN);
    rest = frame->packet_type & ~(HW_RXI_TYPE_IPV4 | HW_RXI_TYPE_IPV6);
    if (rest == HW_RXI_TYPE_TCP)
        path->ip_len_min += 20;
    else if (rest == HW_RXI_TYPE_SCTP)
        path->ip_len_min += 12;
    else if (rest == HW_RXI_TYPE_UDP)
        path->ip_len_min += 8;
    else
        return false;
    return true;
}

// The receiver of a frame whose destinations are known.
static uint16_t choose_queue(const struct nic_derived *t, const struct nic_frame *frame,
                             const struct nic_destinations *to)
{
    unsigned pool;

    bool broadcast =
        frame->source_pool == NIC_SOURCE_UPLINK && nic_frame_mac(frame->head) == NIC_MAC_BROADCAST;

    // To several, or counted apart.
    if (to->spoofed || (to->multicast && !broadcast) || (to->pools & (to->pools - 1)))
        return NIC_PATH_NOT;
    if (to->uplink)
        return to->pools ? NIC_PATH_NOT : NIC_PATH_CABLE;
    if (!to->pools)
        return NIC_PATH_NOT;
    pool = (unsigned)__builtin_ctzll(to->pools);
    return (uint16_t)(pool * t->queues_per_pool +
                      nic_rss_queue(&t->rss, frame, t->rss_queue_mask[pool]));
}

// Asks the tables what becomes of a frame, and remembers it. False where that is not true of others
// that are alike.
static bool learn(const struct nic_derived *t, struct nic_path *path, int source,
                  const uint8_t *head, uint32_t head_len, uint32_t len, uint32_t tag)
{
    struct nic_destinations to = {0};
    struct nic_frame frame;

    frame.head_len = head_len < NIC_FRAME_HEAD_LEN ? head_len : NIC_FRAME_HEAD_LEN;
    memcpy(frame.head, head, frame.head_len);
    frame.len_bytes = len;
    frame.source_pool = source;
    frame.has_vlan = tag;
    frame.vlan_tci = (uint16_t)tag;
    frame.span_count = 0;
    memcpy(path->key, head, sizeof path->key);
    path->tag = tag;
    path->version = t->version;
    path->queue = NIC_PATH_NOT;
    path->mask = mask_other; // what is said of these addresses and type
    if ((!tag && nic_frame_take_vlan(&frame, t->vlan_ethertype)) ||
        (source == NIC_SOURCE_UPLINK && be16_at(head + 12) == ETHERTYPE_MAC_CONTROL))
        return true;
    nic_frame_parse(&frame);
    nic_rss_classify(&t->rss, &frame);
    nic_switch_decide(t, &frame, &to);
    if (!choose_mask(path, &frame)) {
        path->version = 0;
        return false;
    }
    path->queue = choose_queue(t, &frame, &to);
    path->broadcast = to.multicast;
    path->rx_low = frame.packet_type;
    if (t->hash_reported)
        path->rx_low |= frame.rss_type | (uint64_t)frame.rss_hash << 32;
    path->rx_status = HW_RXS_DD | HW_RXS_EOP | (frame.rx_status & HW_RXS_IPCS);
    if (source != NIC_SOURCE_UPLINK)
        path->rx_status |= HW_RXS_LB;
    return true;
}

const struct nic_path *nic_path_find(const struct nic_derived *t, struct nic_path *paths,
                                     int source, const uint8_t *head, uint32_t head_len,
                                     uint32_t len, uint32_t tag)
{
    uint32_t ethertype = be16_at(head + 12), hash = head[5] ^ head[11] ^ tag;
    struct nic_path *path;

    if (ethertype == ETHERTYPE_IPV4)
        hash ^= head[29] ^ head[33] ^ head[35] ^ (uint32_t)head[37] << 1;
    else if (ethertype == ETHERTYPE_IPV6)
        hash ^= head[37] ^ head[53] ^ head[55] ^ (uint32_t)head[57] << 1;
    path = &paths[(hash ^ hash >> 5) % NIC_PATHS];
    if ((path->version != t->version || !nic_path_matches(path, head, tag)) &&
        !learn(t, path, source, head, head_len, len, tag))
        return NULL;
    return path->queue != NIC_PATH_NOT ? path : NULL;
}

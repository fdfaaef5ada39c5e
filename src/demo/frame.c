// SPDX-License-Identifier: BSD-3-Clause
#include "demo/frame.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>

#include "base/le.h"

#define ETHERNET_LEN   14u
#define ETHERTYPE_IPV4 0x0800u
#define UDP_PORT       4789u
#define TCP_PORT       5001u

// One 64-bit word of the pattern: splitmix64, so that any word can be had without those before.
static uint64_t pattern_word(uint64_t seq, uint64_t index)
{
    uint64_t z = seq * 0xd1342543de82ef95ull + (index + 1) * 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

void demo_pattern(uint64_t seq, uint64_t offset, uint8_t *out, size_t len)
{
    while (len) {
        uint8_t word[8];
        size_t skip = offset % 8, run = 8 - skip;

        le64_put(word, pattern_word(seq, offset / 8));
        if (run > len)
            run = len;
        memcpy(out, word + skip, run);
        out += run;
        offset += run;
        len -= run;
    }
}

// --- frames of our own type ---

static void ethernet_put(uint8_t *p, const struct demo_addresses *addresses, uint16_t type)
{
    memcpy(p, addresses->destination, 6);
    memcpy(p + 6, addresses->source, 6);
    p[12] = (uint8_t)(type >> 8);
    p[13] = (uint8_t)type;
}

// A chain of buffers that holds len_bytes; or NULL.
static struct vf_buffer *chain_alloc(struct vf_driver *vf, uint32_t len_bytes)
{
    struct vf_buffer *first = NULL, **tail = &first;

    while (len_bytes) {
        struct vf_buffer *b = vf_buffer_alloc(vf);

        if (!b) {
            if (first)
                vf_buffer_free(vf, first);
            return NULL;
        }
        b->len_bytes = (uint16_t)(len_bytes < DEMO_BUFFER_SIZE ? len_bytes : DEMO_BUFFER_SIZE);
        b->flags = 0;
        b->next = NULL;
        len_bytes -= b->len_bytes;
        *tail = b;
        tail = &b->next;
    }
    return first;
}

// Fills a chain with the pattern from byte `start` of the frame on.
static void chain_fill(struct vf_buffer *b, uint32_t start, uint64_t seq)
{
    uint64_t offset = 0;

    for (; b; b = b->next) {
        demo_pattern(seq, offset, b->data + start, b->len_bytes - start);
        offset += b->len_bytes - start;
        start = 0;
    }
}

struct vf_buffer *demo_frame_make(struct vf_driver *vf, const struct demo_addresses *addresses,
                                  enum demo_kind kind, uint64_t seq, uint32_t len_bytes)
{
    struct vf_buffer *frame = chain_alloc(vf, len_bytes);

    if (!frame)
        return NULL;
    ethernet_put(frame->data, addresses, DEMO_ETHERTYPE);
    le16_put(frame->data + 14, (uint16_t)kind);
    le64_put(frame->data + 16, seq);
    chain_fill(frame, DEMO_HEADER_LEN, seq);
    return frame;
}

bool demo_frame_read(const struct vf_buffer *frame, enum demo_kind *kind, uint64_t *seq)
{
    const uint8_t *p = frame->data;

    if (frame->len_bytes < DEMO_HEADER_LEN || p[12] != DEMO_ETHERTYPE >> 8 ||
        p[13] != (DEMO_ETHERTYPE & 0xff))
        return false;
    *kind = (enum demo_kind)le16_get(p + 14);
    *seq = le64_get(p + 16);
    return true;
}

uint32_t demo_frame_len_bytes(const struct vf_buffer *frame)
{
    uint32_t len = 0;

    for (; frame; frame = frame->next)
        len += frame->len_bytes;
    return len;
}

bool demo_frame_verify(const struct vf_buffer *frame, uint64_t seq, uint32_t len_bytes)
{
    uint32_t start = DEMO_HEADER_LEN;
    uint64_t offset = 0;

    if (demo_frame_len_bytes(frame) != len_bytes)
        return false;
    for (; frame; frame = frame->next) {
        uint8_t expected[16384];
        uint32_t len = frame->len_bytes - start;

        if (len > sizeof expected)
            return false;
        demo_pattern(seq, offset, expected, len);
        if (memcmp(frame->data + start, expected, len))
            return false;
        offset += len;
        start = 0;
    }
    return true;
}

// --- Internet packets ---

uint32_t demo_sum(uint32_t sum, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (; len > 1; p += 2, len -= 2)
        sum += (uint32_t)(p[0] << 8 | p[1]);
    if (len)
        sum += (uint32_t)(p[0] << 8);
    return (sum & 0xffff) + (sum >> 16);
}

uint16_t demo_sum_fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

// Sum of the pseudo-header (RFC 9293 §3.1); len 0 for a packet that the card will cut.
static uint32_t pseudo_sum(const struct iphdr *ip, uint16_t len)
{
    uint8_t tail[4] = {0, ip->protocol, (uint8_t)(len >> 8), (uint8_t)len};
    uint32_t sum = demo_sum(0, &ip->saddr, 8);

    return demo_sum(sum, tail, sizeof tail);
}

static void ip_put(struct iphdr *ip, uint8_t protocol, uint32_t total)
{
    *ip = (struct iphdr){
        .version = 4,
        .ihl = 5,
        .tot_len = htons((uint16_t)total),
        .id = htons(1),
        .frag_off = htons(IP_DF),
        .ttl = 64,
        .protocol = protocol,
        .saddr = htonl(0x0a000001), // 10.0.0.1
        .daddr = htonl(0x0a000002),
    };
}

struct vf_buffer *demo_udp_make(struct vf_driver *vf, const struct demo_addresses *addresses,
                                uint64_t seq, uint32_t payload_bytes)
{
    struct vf_buffer *frame = chain_alloc(vf, DEMO_IPV4_UDP_HEADERS + payload_bytes);
    struct iphdr ip;
    struct udphdr udp = {.source = htons(UDP_PORT), .dest = htons(UDP_PORT)};
    uint16_t udp_len = (uint16_t)(sizeof udp + payload_bytes);

    if (!frame)
        return NULL;
    ip_put(&ip, IPPROTO_UDP, sizeof ip + udp_len);
    udp.len = htons(udp_len);
    udp.check = htons(demo_sum_fold(pseudo_sum(&ip, udp_len)));
    ethernet_put(frame->data, addresses, ETHERTYPE_IPV4);
    memcpy(frame->data + ETHERNET_LEN, &ip, sizeof ip);
    memcpy(frame->data + ETHERNET_LEN + sizeof ip, &udp, sizeof udp);
    chain_fill(frame, DEMO_IPV4_UDP_HEADERS, seq);
    frame->flags = VF_TX_IP_CSUM | VF_TX_UDP_CSUM;
    frame->l2_len = ETHERNET_LEN;
    frame->l3_len = sizeof ip;
    frame->l4_len = sizeof udp;
    return frame;
}

struct vf_buffer *demo_tso_make(struct vf_driver *vf, const struct demo_addresses *addresses,
                                uint64_t seq, uint32_t payload_bytes, uint16_t mss)
{
    struct vf_buffer *frame = chain_alloc(vf, DEMO_IPV4_TCP_HEADERS + payload_bytes);
    struct iphdr ip;
    struct tcphdr tcp = {.source = htons(TCP_PORT),
                         .dest = htons(TCP_PORT),
                         .seq = htonl(DEMO_TCP_SEQ_FIRST),
                         .doff = 5,
                         .ack = 1,
                         .psh = 1,
                         .window = htons(65535)};

    if (!frame)
        return NULL;
    ip_put(&ip, IPPROTO_TCP, 0); // the card fills in each segment's length
    tcp.check = htons(demo_sum_fold(pseudo_sum(&ip, 0)));
    ethernet_put(frame->data, addresses, ETHERTYPE_IPV4);
    memcpy(frame->data + ETHERNET_LEN, &ip, sizeof ip);
    memcpy(frame->data + ETHERNET_LEN + sizeof ip, &tcp, sizeof tcp);
    chain_fill(frame, DEMO_IPV4_TCP_HEADERS, seq);
    frame->flags = VF_TX_TSO | VF_TX_TCP_CSUM | VF_TX_IP_CSUM;
    frame->mss = mss;
    frame->l2_len = ETHERNET_LEN;
    frame->l3_len = sizeof ip;
    frame->l4_len = sizeof tcp;
    return frame;
}

bool demo_packet_is_ipv4(const struct vf_buffer *frame)
{
    return frame->len_bytes >= ETHERNET_LEN && frame->data[12] == ETHERTYPE_IPV4 >> 8 &&
           frame->data[13] == (ETHERTYPE_IPV4 & 0xff);
}

const char *demo_packet_check(const struct vf_buffer *frame, struct demo_packet *out)
{
    const uint8_t *l3 = frame->data + ETHERNET_LEN;
    const uint8_t *l4 = l3 + sizeof(struct iphdr);
    uint32_t total, l4_len, header;
    struct iphdr ip;

    if (frame->next || frame->len_bytes < DEMO_IPV4_UDP_HEADERS)
        return "not one buffer with an IPv4 packet";
    memcpy(&ip, l3, sizeof ip);
    total = ntohs(ip.tot_len);
    if (ip.version != 4 || ip.ihl != 5 || total + ETHERNET_LEN > frame->len_bytes ||
        total < sizeof ip + sizeof(struct udphdr))
        return "its IPv4 length is wrong";
    if (demo_sum_fold(demo_sum(0, l3, sizeof ip)) != 0xffff)
        return "its IPv4 header checksum is wrong";
    l4_len = total - (uint32_t)sizeof ip;
    if (demo_sum_fold(demo_sum(pseudo_sum(&ip, (uint16_t)l4_len), l4, l4_len)) != 0xffff)
        return "its TCP or UDP checksum is wrong";
    if (frame->flags & VF_RX_CSUM_BAD || !(frame->flags & VF_RX_IP_CSUM_OK) ||
        !(frame->flags & VF_RX_L4_CSUM_OK))
        return "the card did not say that its checksums are right";
    *out = (struct demo_packet){.protocol = ip.protocol, .ip_id = ntohs(ip.id)};
    header = sizeof(struct udphdr);
    if (ip.protocol == IPPROTO_TCP) {
        struct tcphdr tcp;

        if (l4_len < sizeof tcp)
            return "its TCP header is cut";
        memcpy(&tcp, l4, sizeof tcp);
        out->tcp_seq = ntohl(tcp.seq);
        out->tcp_flags = l4[13];
        header = sizeof tcp;
    }
    out->payload = l4 + header;
    out->payload_bytes = l4_len - header;
    return NULL;
}

// SPDX-License-Identifier: BSD-3-Clause
// Answers are made in the buffer that the question came in: nothing is copied but headers.
#include "ping_host.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

bool ping_host_parse(struct ping_host *h, const char *text)
{
    h->family = strchr(text, ':') ? AF_INET6 : AF_INET;
    return inet_pton(h->family, text, &h->address) == 1;
}

unsigned ping_host_groups(const struct ping_host *h, uint8_t groups[1][6])
{
    if (h->family != AF_INET6)
        return 0;
    memcpy(groups[0], "\x33\x33\xff", 3);
    memcpy(groups[0] + 3, h->address.v6.s6_addr + 13, 3);
    return 1;
}

// Headers are copied out, checked, changed and copied back: the sender chose their alignment.

// ARP: who has our address? (RFC 826)
static bool answer_arp(struct ping_host *h, struct vf_buffer *b)
{
    struct ether_arp arp;

    if (b->len_bytes < ETH_HLEN + sizeof arp)
        return false;
    memcpy(&arp, b->data + ETH_HLEN, sizeof arp);
    if (arp.arp_op != htons(ARPOP_REQUEST) || arp.arp_pro != htons(ETHERTYPE_IP) ||
        arp.arp_hln != 6 || arp.arp_pln != 4 || memcmp(arp.arp_tpa, &h->address.v4, 4) != 0)
        return false;
    arp.arp_op = htons(ARPOP_REPLY);
    memcpy(arp.arp_tha, arp.arp_sha, 6);
    memcpy(arp.arp_tpa, arp.arp_spa, 4);
    memcpy(arp.arp_sha, h->mac, 6);
    memcpy(arp.arp_spa, &h->address.v4, 4);
    memcpy(b->data + ETH_HLEN, &arp, sizeof arp);
    b->flags = 0; // what they said of what came is no wish for what goes
    h->asked++;
    return true;
}

// ICMP echo (RFC 792), not in fragments. The card has checked the IPv4 header's checksum; ICMP's
// is for the one who asked: it covers what we send back unread.
static bool answer_echo(struct ping_host *h, struct vf_buffer *b)
{
    struct iphdr ip;
    struct icmphdr icmp;
    unsigned header_len, total_len, sum;

    if ((b->flags & VF_RX_CSUM_BAD) || b->len_bytes < ETH_HLEN + sizeof ip)
        return false;
    memcpy(&ip, b->data + ETH_HLEN, sizeof ip);
    header_len = ip.ihl * 4u;
    total_len = ntohs(ip.tot_len);
    if (ip.version != 4 || header_len < sizeof ip || total_len < header_len + sizeof icmp ||
        total_len + ETH_HLEN > b->len_bytes || ip.protocol != IPPROTO_ICMP ||
        ip.daddr != h->address.v4.s_addr || (ntohs(ip.frag_off) & (IP_MF | IP_OFFMASK)))
        return false;
    memcpy(&icmp, b->data + ETH_HLEN + header_len, sizeof icmp);
    if (icmp.type != ICMP_ECHO || icmp.code != 0)
        return false;
    // Only the type changes, by -8 in a high byte: so its checksum does, by +8 there (RFC 1624).
    icmp.type = ICMP_ECHOREPLY;
    sum = ntohs(icmp.checksum) + (ICMP_ECHO << 8);
    icmp.checksum = htons((uint16_t)(sum + (sum >> 16)));
    ip.daddr = ip.saddr;
    ip.saddr = h->address.v4.s_addr;
    ip.ttl = 64;
    ip.check = 0; // the card's
    memcpy(b->data + ETH_HLEN, &ip, sizeof ip);
    memcpy(b->data + ETH_HLEN + header_len, &icmp, sizeof icmp);
    b->flags = VF_TX_IP_CSUM;
    b->l2_len = ETH_HLEN;
    b->l3_len = (uint8_t)header_len;
    h->echoes++;
    return true;
}

// The checksum of an ICMPv6 message, with the pseudo-header (RFC 4443 section 2.3).
static uint16_t icmp6_checksum(const struct ip6_hdr *ip, const uint8_t *message, unsigned len)
{
    uint32_t sum = len + IPPROTO_ICMPV6;

    for (unsigned i = 0; i < 16; i += 2)
        sum += (ip->ip6_src.s6_addr[i] << 8 | ip->ip6_src.s6_addr[i + 1]) +
               (ip->ip6_dst.s6_addr[i] << 8 | ip->ip6_dst.s6_addr[i + 1]);
    for (unsigned i = 0; i < len; i++)
        sum += i & 1 ? message[i] : message[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

// Neighbour discovery: who has our address? (RFC 4861) `ip` becomes the answer's.
static bool answer_solicitation(struct ping_host *h, struct vf_buffer *b, struct ip6_hdr *ip)
{
    static const uint8_t all_nodes_mac[6] = {0x33, 0x33, 0, 0, 0, 1};
    struct {
        struct nd_neighbor_advert advert;
        struct nd_opt_hdr option;
        uint8_t mac[6];
    } answer = {.option = {.nd_opt_type = ND_OPT_TARGET_LINKADDR, .nd_opt_len = 1}};
    struct nd_neighbor_solicit asked;
    uint8_t *message = b->data + ETH_HLEN + sizeof *ip;
    _Static_assert(sizeof answer == 32, "no padding");
    bool nameless = IN6_IS_ADDR_UNSPECIFIED(&ip->ip6_src); // it is about to take an address

    if (ntohs(ip->ip6_plen) < sizeof asked)
        return false;
    memcpy(&asked, message, sizeof asked);
    if (ip->ip6_hlim != 255 || asked.nd_ns_code != 0 ||
        memcmp(&asked.nd_ns_target, &h->address.v6, 16) != 0 ||
        icmp6_checksum(ip, message, ntohs(ip->ip6_plen)) != 0)
        return false;
    if (nameless) {
        inet_pton(AF_INET6, "ff02::1", &ip->ip6_dst);
        memcpy(b->data + ETH_ALEN, all_nodes_mac, ETH_ALEN); // whom ping_host_answer() sends it to
    } else {
        ip->ip6_dst = ip->ip6_src;
    }
    ip->ip6_src = h->address.v6;
    ip->ip6_plen = htons(sizeof answer);
    answer.advert.nd_na_type = ND_NEIGHBOR_ADVERT;
    answer.advert.nd_na_flags_reserved =
        ND_NA_FLAG_OVERRIDE | (nameless ? 0 : ND_NA_FLAG_SOLICITED);
    answer.advert.nd_na_target = h->address.v6;
    memcpy(answer.mac, h->mac, 6);
    answer.advert.nd_na_cksum = htons(icmp6_checksum(ip, (const uint8_t *)&answer, sizeof answer));
    memcpy(message, &answer, sizeof answer);
    b->len_bytes = ETH_HLEN + sizeof *ip + sizeof answer;
    h->asked++;
    return true;
}

// Neighbour solicitations and ICMPv6 echo (RFC 4443), without extension headers.
static bool answer_ip6(struct ping_host *h, struct vf_buffer *b)
{
    struct ip6_hdr ip;
    struct icmp6_hdr icmp;
    unsigned sum;

    if (b->len_bytes < ETH_HLEN + sizeof ip + sizeof icmp)
        return false;
    memcpy(&ip, b->data + ETH_HLEN, sizeof ip);
    memcpy(&icmp, b->data + ETH_HLEN + sizeof ip, sizeof icmp);
    if (ip.ip6_vfc >> 4 != 6 || ip.ip6_nxt != IPPROTO_ICMPV6 || ntohs(ip.ip6_plen) < sizeof icmp ||
        ETH_HLEN + sizeof ip + ntohs(ip.ip6_plen) > b->len_bytes)
        return false;
    if (icmp.icmp6_type == ND_NEIGHBOR_SOLICIT) {
        if (!answer_solicitation(h, b, &ip))
            return false;
    } else {
        if (icmp.icmp6_type != ICMP6_ECHO_REQUEST || icmp.icmp6_code != 0 ||
            memcmp(&ip.ip6_dst, &h->address.v6, 16) != 0 || IN6_IS_ADDR_MULTICAST(&ip.ip6_src))
            return false;
        // Addresses change places, which no sum notices; the type grows by 1 in a high byte.
        icmp.icmp6_type = ICMP6_ECHO_REPLY;
        sum = ntohs(icmp.icmp6_cksum) + 0xffff - (1 << 8);
        icmp.icmp6_cksum = htons((uint16_t)(sum + (sum >> 16)));
        ip.ip6_dst = ip.ip6_src;
        ip.ip6_src = h->address.v6;
        ip.ip6_hlim = 64;
        memcpy(b->data + ETH_HLEN + sizeof ip, &icmp, sizeof icmp);
        h->echoes++;
    }
    memcpy(b->data + ETH_HLEN, &ip, sizeof ip);
    b->flags = 0;
    return true;
}

bool ping_host_answer(struct ping_host *h, struct vf_buffer *b)
{
    struct ether_header ether;
    bool answered = false;

    if (b->next || b->len_bytes < ETH_HLEN)
        return false;
    memcpy(&ether, b->data, sizeof ether);
    if (h->family == AF_INET6)
        answered = ether.ether_type == htons(ETHERTYPE_IPV6) && answer_ip6(h, b);
    else if (ether.ether_type == htons(ETHERTYPE_ARP))
        answered = answer_arp(h, b);
    else if (ether.ether_type == htons(ETHERTYPE_IP))
        answered = answer_echo(h, b);
    if (answered) {
        memmove(b->data, b->data + ETH_ALEN, ETH_ALEN); // to where it came from
        memcpy(b->data + ETH_ALEN, h->mac, ETH_ALEN);
    }
    return answered;
}

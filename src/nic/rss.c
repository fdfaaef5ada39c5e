// SPDX-License-Identifier: BSD-3-Clause
#include "nic/rss.h"

#include <string.h>

#include "hw82599/desc.h"
#include "hw82599/regs.h"

// 32 bits of the key from bit `bit` on, the first bit of the key being bit 0. Past its end: zeros.
static uint32_t key_window(const uint8_t key[NIC_RSS_KEY_LEN], unsigned bit)
{
    uint64_t window = 0;

    for (unsigned i = 0; i < 5; i++) {
        unsigned byte = bit / 8 + i;

        window = window << 8 | (byte < NIC_RSS_KEY_LEN ? key[byte] : 0);
    }
    return (uint32_t)(window >> (8 - bit % 8));
}

void nic_rss_set_key(struct nic_rss_tables *rss, const uint8_t key[NIC_RSS_KEY_LEN])
{
    if (!memcmp(rss->key, key, NIC_RSS_KEY_LEN))
        return;
    memcpy(rss->key, key, NIC_RSS_KEY_LEN);
    for (unsigned n = 0; n < NIC_RSS_INPUT_MAX; n++) {
        rss->byte[n][0] = 0;
        for (unsigned v = 1; v < 256; v++) {
            unsigned lowest = (unsigned)__builtin_ctz(v);

            rss->byte[n][v] = rss->byte[n][v & (v - 1)] ^ key_window(key, n * 8 + 7 - lowest);
        }
    }
}

uint32_t nic_rss_hash(const struct nic_rss_tables *rss, const uint8_t *input, unsigned len_bytes)
{
    uint32_t hash = 0;

    for (unsigned i = 0; i < len_bytes; i++)
        hash ^= rss->byte[i][input[i]];
    return hash;
}

void nic_rss_classify(const struct nic_rss_tables *rss, struct nic_frame *frame)
{
    const uint8_t *ip = frame->head + frame->l3_offset;
    bool ipv4 = frame->packet_type & HW_RXI_TYPE_IPV4;
    bool tcp = frame->packet_type & HW_RXI_TYPE_TCP, udp = frame->packet_type & HW_RXI_TYPE_UDP;
    unsigned addr_len = ipv4 ? 8 : 32, len;
    uint8_t input[NIC_RSS_INPUT_MAX];

    frame->rss_type = HW_RSS_TYPE_NONE;
    frame->rss_hash = 0;
    if (!rss->enabled || !frame->l3_offset)
        return;
    if (tcp && (rss->types & (ipv4 ? HW_MRQC_RSS_IPV4_TCP : HW_MRQC_RSS_IPV6_TCP)))
        frame->rss_type = ipv4 ? HW_RSS_TYPE_IPV4_TCP : HW_RSS_TYPE_IPV6_TCP;
    else if (udp && (rss->types & (ipv4 ? HW_MRQC_RSS_IPV4_UDP : HW_MRQC_RSS_IPV6_UDP)))
        frame->rss_type = ipv4 ? HW_RSS_TYPE_IPV4_UDP : HW_RSS_TYPE_IPV6_UDP;
    else if (rss->types & (ipv4 ? HW_MRQC_RSS_IPV4 : HW_MRQC_RSS_IPV6))
        frame->rss_type = ipv4 ? HW_RSS_TYPE_IPV4 : HW_RSS_TYPE_IPV6;
    else
        return;
    memcpy(input, ip + (ipv4 ? 12 : 8), addr_len);
    len = addr_len;
    if (frame->rss_type != HW_RSS_TYPE_IPV4 && frame->rss_type != HW_RSS_TYPE_IPV6) {
        memcpy(input + len, frame->head + frame->l4_offset, 4);
        len += 4;
    }
    frame->rss_hash = nic_rss_hash(rss, input, len);
}

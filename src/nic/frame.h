// SPDX-License-Identifier: BSD-3-Clause
// A frame on its way from a sender's buffers to its receivers': a private copy of the headers, and
// where the rest lies. The payload stays in the sender's memory until it is copied, once, into each
// receiver's. Private to src/nic.
#ifndef VIREO_NIC_FRAME_H
#define VIREO_NIC_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define NIC_FRAME_HEAD_MAX  256u // headers that are snapshotted, checked and delivered from here
#define NIC_FRAME_SPANS_MAX 64u  // payload pieces: 40 descriptors, each may cross pages
#define NIC_FRAME_LEN_MAX   9728u // without FCS, with VLAN tags (82599 §8.2.3.22.9)

struct nic_span {
    const uint8_t *data;
    uint32_t len_bytes;
};

struct nic_frame {
    uint8_t head[NIC_FRAME_HEAD_MAX]; // starts at the destination MAC; a tag is *not* in here
    uint32_t head_len;
    struct nic_span spans[NIC_FRAME_SPANS_MAX]; // what follows the head
    uint32_t span_count;
    uint32_t len_bytes;  // head and spans
    bool has_vlan;       // a VLAN tag, kept apart from the bytes
    uint16_t vlan_tci;
    int source_pool;     // who sent it: a pool, or -1 for the uplink
    bool checksums_good; // sums were made or verified by the card on the way: valid by construction
};

#endif

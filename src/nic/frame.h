// SPDX-License-Identifier: BSD-3-Clause
// A frame on its way from a sender's buffers to its receivers': a private copy of the headers, and
// where the rest lies. The payload stays in the sender's memory until it is copied, once, into each
// receiver's. Private to src/nic; used by the worker only.
#ifndef VIREO_NIC_FRAME_H
#define VIREO_NIC_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define NIC_FRAME_HEAD_MAX 256u // headers that are snapshotted, checked and delivered from here
#define NIC_FRAME_HEAD_LEN                                                                         \
    128u // how much of a frame is snapshotted where its offloads need no more
#define NIC_FRAME_SPANS_MAX                                                                        \
    96u                         // payload pieces: 40 descriptors, each may cross a page: at most
                                // 40 + 40 + 9728 / 4096
#define NIC_FRAME_LEN_MIN 17u   // least that a driver may send (82599 §7.2.3.2.4 PAYLEN)
#define NIC_FRAME_LEN_MAX 9728u // without FCS, with VLAN tags (82599 §8.2.3.22.13 MAXFRS)
#define NIC_SOURCE_UPLINK (-1)

struct nic_lane;

struct nic_span {
    const uint8_t *data;
    uint32_t len_bytes;
};

struct nic_frame {
    uint8_t head[NIC_FRAME_HEAD_MAX]; // starts at the destination MAC; a tag is *not* in here
    uint32_t head_len;
    uint32_t len_bytes;    // head and spans
    int source_pool;       // who sent it: a pool, or NIC_SOURCE_UPLINK
    struct nic_lane *lane; // who carries it
    bool has_vlan;         // a VLAN tag, kept apart from the bytes
    uint16_t vlan_tci;
    uint32_t span_count; // what follows the head

    // What nic_frame_parse() found.
    uint32_t packet_type; // HW_RXI_TYPE_* for the receive descriptor
    uint16_t l3_offset;   // 0 where it is no IP
    uint16_t l4_offset;  // 0 where there is no TCP, UDP or SCTP header, or the packet is a fragment
    uint32_t l3_end;     // where the IP packet ends: padding follows
    uint8_t l4_protocol; // IP protocol number, valid with l4_offset
    uint32_t rx_status;  // HW_RXS_* and HW_RXE_* for the receive descriptor
    uint32_t rss_hash;
    uint32_t rss_type; // HW_RSS_TYPE_*

    struct nic_span spans[NIC_FRAME_SPANS_MAX];
};

// Destination and source as numbers: the first byte on the wire is bits 7:0.
static inline uint64_t nic_frame_mac(const uint8_t mac[6])
{
    return (uint64_t)mac[0] | (uint64_t)mac[1] << 8 | (uint64_t)mac[2] << 16 |
           (uint64_t)mac[3] << 24 | (uint64_t)mac[4] << 32 | (uint64_t)mac[5] << 40;
}

// Takes a VLAN tag of type `ethertype` out of the head, into has_vlan and vlan_tci. Returns 4 where
// there was one, else 0: by so much later offsets move.
unsigned nic_frame_take_vlan(struct nic_frame *frame, uint16_t ethertype);

// Finds the IP and L4 headers in the head; sets the fields above except the RSS ones. rx_status
// gets the verdict on an IPv4 header's checksum. Needs head, head_len, len_bytes.
void nic_frame_parse(struct nic_frame *frame);

// Adds the verdict on the L4 checksum to rx_status, after nic_frame_parse(): sums the whole packet.
// Says nothing where there is no checksum (UDP over IPv4 with 0, fragments).
void nic_frame_verify_l4(struct nic_frame *frame);

#endif

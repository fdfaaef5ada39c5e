// SPDX-License-Identifier: BSD-3-Clause
// What becomes of a flow's frames: remembered for as long as the tables are what they were. Private
// to src/nic; a worker's own.
//
// A path is found by a frame's first bytes, of which those count that decide about it: addresses
// and type; of IP also version, header length, fragment and protocol, addresses, and the ports
// where RSS looks at them. It has what the general way (frame.c, rss.c, switch.c) would find out,
// for frames that are untagged; no IP, or TCP, UDP or SCTP in IP without options; and go to exactly
// one pool or to the cable alone.
#ifndef VIREO_NIC_PATH_H
#define VIREO_NIC_PATH_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bits.h"
#include "hw82599/desc.h"
#include "nic/sum.h"
#include "nic/switch.h"

#define NIC_PATHS        32u // remembered by a queue or the cable, direct-mapped; a power of two
#define NIC_PATH_KEY_LEN 64u // of a frame: Ethernet, IPv6 and ports

#define NIC_PATH_L3_OFFSET 14u // untagged frames: the IP header is behind the Ethernet header

#define NIC_PATH_NOT   UINT16_MAX        // the general way has to see each frame
#define NIC_PATH_CABLE (UINT16_MAX - 1u) // the cable, and no pool

struct nic_path {
    uint8_t key[NIC_PATH_KEY_LEN]; // the frame's first bytes
    const uint8_t *mask;           // which bits of them count
    uint64_t version;              // of the tables; 0 in an empty entry
    uint64_t rx_low;               // receive descriptor: packet type, RSS type and hash
    uint32_t tag;                  // NIC_FLOW_TAGGED and the TCI, 0 without a tag
    uint32_t rx_status;            // without what is each frame's own: verdicts on checksums
    uint16_t queue;                // the receiver's, or NIC_PATH_*
    bool broadcast;                // from the cable only
    uint8_t ip_version;            // 4, 6, or 0 where it is no IP
    uint8_t l4_protocol;           // with IP: TCP, UDP or SCTP, …
    uint16_t l4_offset;            // … and where it is: 34 or 54
    uint16_t ip_len_min;           // IP and L4 header
};

// 16 bytes of what differs from the path, where it counts. Vectors of 16 bytes are what every
// processor of the kind has.
typedef uint64_t nic_path_vector __attribute__((vector_size(16)));

static inline nic_path_vector nic_path_differing(const struct nic_path *path, const uint8_t *head,
                                                 size_t at)
{
    nic_path_vector a, b, mask;

    memcpy(&a, head + at, sizeof a);
    memcpy(&b, path->key + at, sizeof b);
    memcpy(&mask, path->mask + at, sizeof mask);
    return (a ^ b) & mask;
}

// `head`: NIC_PATH_KEY_LEN bytes, zeros behind a shorter head. `tag`: as in struct nic_path.
static inline bool nic_path_matches(const struct nic_path *path, const uint8_t *head, uint32_t tag)
{
    nic_path_vector d = nic_path_differing(path, head, 0) | nic_path_differing(path, head, 16) |
                        nic_path_differing(path, head, 32) | nic_path_differing(path, head, 48);

    return !(d[0] | d[1] | (path->tag ^ tag));
}

// The path of a frame from `source` (a pool, or NIC_SOURCE_UPLINK), in `paths`, which serve that
// source alone: the frame is `len_bytes` long, the first `head_len` of them (at least 14) in
// `head`, as nic_path_matches() has it. NULL where it has to go the general way.
const struct nic_path *nic_path_find(const struct nic_derived *tables, struct nic_path *paths,
                                     int source, const uint8_t *head, uint32_t head_len,
                                     uint32_t len_bytes, uint32_t tag);

// Whether the lengths of an IP packet of a known path fit the frame, as nic_frame_parse() has it;
// if so, adds its verdict on an IPv4 header's checksum to *status, and says in *l3_end where the
// packet ends. `l3`: the first 20 bytes of its header.
static inline bool nic_path_check_ip(const struct nic_path *path, const uint8_t *l3,
                                     uint32_t len_bytes, uint32_t *status, uint32_t *l3_end)
{
    uint32_t ip_len;

    if (path->ip_version == 4) {
        ip_len = (uint32_t)(l3[2] << 8 | l3[3]);
        // In ones' complement all ones is zero: the sum of a good header is a multiple of that.
        if (nic_sum_20(l3) % 0xffff)
            *status |= HW_RXE_IPE;
    } else {
        ip_len = (uint32_t)(l3[4] << 8 | l3[5]) + 40;
    }
    *l3_end = NIC_PATH_L3_OFFSET + ip_len;
    return ip_len >= path->ip_len_min && *l3_end <= len_bytes;
}

#endif

// SPDX-License-Identifier: BSD-3-Clause
// Checksums and segmentation (82599 §7.2.4, §7.2.5). Pure functions over a frame. Private to
// src/nic.
#ifndef VIREO_NIC_OFFLOAD_H
#define VIREO_NIC_OFFLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nic/frame.h"

enum nic_l4_kind { NIC_L4_UDP, NIC_L4_TCP, NIC_L4_SCTP };

// What a packet's context and first data descriptor ask for. Offsets count from the destination
// MAC of the frame's head.
struct nic_offload {
    bool ip_sum; // IPv4 header checksum
    bool l4_sum;
    bool segment; // TSO, or UDP segmentation
    bool ipv4;
    enum nic_l4_kind l4_kind;
    uint32_t l3_offset, l4_offset;
    uint32_t header_len; // with segment: all headers
    uint32_t mss;        // with segment: payload bytes a segment, > 0
    // TCP flags that the first, the middle and the last segment keep (DTXTCPFLGL, DTXTCPFLGH), at
    // offset 12 of the header as a big-endian word.
    uint16_t tcp_flags_first, tcp_flags_mid, tcp_flags_last;
};

// True where all header fields that these offloads touch lie within the first `head_len` bytes.
bool nic_offload_fits(const struct nic_offload *offload, uint32_t head_len);

// With segment: rewrites the headers in `head` (a fresh copy of the packet's own) for segment
// `index` (0…) of `payload_len` bytes: IP length and identification, TCP sequence number and flags,
// UDP length (82599 §7.2.4). Then, always: the checksums.
void nic_offload_segment(uint8_t *head, const struct nic_offload *offload, uint32_t index,
                         uint32_t payload_len, bool last);
void nic_offload_sums(struct nic_frame *frame, const struct nic_offload *offload);

// Ones' complement sum of bytes as big-endian 16-bit words (RFC 1071), to be folded; `odd` is true
// where the first byte is the low half of a word.
uint64_t nic_offload_sum(const uint8_t *data, size_t len_bytes, bool odd);
// Folds to 16 bits, as the value of a big-endian field; not complemented.
uint16_t nic_offload_fold(uint64_t sum);
// Sum over the frame's bytes [start, end).
uint64_t nic_offload_sum_frame(const struct nic_frame *frame, uint32_t start, uint32_t end);

// CRC-32C (SCTP, RFC 9260 appendix A) and CRC-32 (Ethernet FCS), both bit-reflected: start with
// 0xffffffff, complement at the end; the result is stored little-endian.
uint32_t nic_offload_crc32c(uint32_t crc, const uint8_t *data, size_t len_bytes);
uint32_t nic_offload_crc32(uint32_t crc, const uint8_t *data, size_t len_bytes);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// Receive side scaling (82599 §7.1.2.8): Toeplitz hash of a frame's addresses and ports, and the
// redirection table. Pure. Private to src/nic.
#ifndef VIREO_NIC_RSS_H
#define VIREO_NIC_RSS_H

#include <stdbool.h>
#include <stdint.h>

#include "nic/frame.h"

#define NIC_RSS_KEY_LEN   40u
#define NIC_RSS_INPUT_MAX 36u // two IPv6 addresses and two ports
#define NIC_RETA_ENTRIES  128u

struct nic_rss_tables {
    bool enabled;   // MRQC says RSS
    uint32_t types; // MRQC bits 31:16: which packets are hashed
    uint8_t reta[NIC_RETA_ENTRIES];
    uint8_t key[NIC_RSS_KEY_LEN];          // that `byte` is for: zeros in both to start with
    uint32_t byte[NIC_RSS_INPUT_MAX][256]; // what each byte of the input contributes
};

// Fills `byte` for a key in wire order.
void nic_rss_set_key(struct nic_rss_tables *rss, const uint8_t key[NIC_RSS_KEY_LEN]);
// Hash of `len` bytes, at most NIC_RSS_INPUT_MAX.
uint32_t nic_rss_hash(const struct nic_rss_tables *rss, const uint8_t *input, unsigned len_bytes);
// Sets frame->rss_hash and rss_type, after nic_frame_parse(); type NONE and hash 0 where this frame
// is not hashed.
void nic_rss_classify(const struct nic_rss_tables *rss, struct nic_frame *frame);

// The redirection table's entry for a frame; `mask` is what the pool uses of it.
static inline unsigned nic_rss_queue(const struct nic_rss_tables *rss,
                                     const struct nic_frame *frame, unsigned mask)
{
    return frame->rss_type ? rss->reta[frame->rss_hash & (NIC_RETA_ENTRIES - 1)] & mask : 0;
}

#endif

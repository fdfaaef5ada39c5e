// SPDX-License-Identifier: BSD-3-Clause
// The rate limit of one transmit queue (82599 §8.2.3.10.16 RTTBCNRC): after each frame the queue waits
// for as many times the frame's time on a 10 Gbit/s wire as the rate factor says. Private to
// src/nic. Threads: the worker; `factor` changes with the gate closed.
#ifndef VIREO_NIC_RATE_H
#define VIREO_NIC_RATE_H

#include <stdbool.h>
#include <stdint.h>

#define NIC_RATE_FACTOR_SHIFT 14      // RF_DEC has 14 bits, RF_INT above it 10
#define NIC_RATE_BURST_NS     1000000 // a queue that was looked at late makes up for as much
#define NIC_RATE_WIRE_BYTES   24u     // preamble, frame check, gap: a frame's time on the wire

struct nic_rate {
    uint32_t factor;  // 10.14 bits: link rate by limit; 0: no limit
    uint64_t free_ns; // the next frame may go then
};

static inline bool nic_rate_allows(const struct nic_rate *rate, uint64_t now_ns)
{
    return now_ns >= rate->free_ns;
}

static inline void nic_rate_sent(struct nic_rate *rate, uint32_t len_bytes, uint64_t now_ns)
{
    uint64_t earliest_ns = now_ns > NIC_RATE_BURST_NS ? now_ns - NIC_RATE_BURST_NS : 0;
    // At 10 Gbit/s a byte takes 0.8 ns.
    uint64_t wire = ((uint64_t)len_bytes + NIC_RATE_WIRE_BYTES) * 8 * rate->factor / 10;

    if (rate->free_ns < earliest_ns)
        rate->free_ns = earliest_ns;
    rate->free_ns += wire >> NIC_RATE_FACTOR_SHIFT;
}

#endif

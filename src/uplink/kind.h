// SPDX-License-Identifier: BSD-3-Clause
// What each kind of uplink implements. Private to src/uplink.
// The front (uplink.c) checks lengths and counts; a kind only moves bytes.
#ifndef VIREO_UPLINK_KIND_H
#define VIREO_UPLINK_KIND_H

#include <stdatomic.h>

#include "uplink/uplink.h"

#define UPLINK_FRAME_MIN 14u // destination, source, type

struct uplink_ops {
    // 0 and *out (its `ops` and counters are set by the front), or -errno with a sentence.
    int (*open)(const struct uplink_config *config, struct uplink **out, char *error,
                size_t error_len);
    void (*close)(struct uplink *up);
    // len_bytes = all of iov, UPLINK_FRAME_MIN … UPLINK_FRAME_MAX. 0 or -errno. Several threads at
    // a time, and one in receive().
    int (*send)(struct uplink *up, const struct iovec *iov, unsigned iov_count, size_t len_bytes);
    // As uplink_receive(); what it gives up on it counts in rx_drops.
    int (*receive)(struct uplink *up, struct uplink_frame *out, unsigned max);
    int (*wait_fd)(const struct uplink *up);
    bool (*link_is_up)(const struct uplink *up); // NULL: always
};

// What one sender sent, on cache lines of its own.
struct uplink_sent {
    _Atomic uint64_t frames, bytes, drops;
    uint8_t apart[64];
};

// First member of each kind's own struct.
struct uplink {
    const struct uplink_ops *ops;
    _Atomic uint64_t rx_frames, rx_bytes, rx_drops;
    struct uplink_sent sent[UPLINK_SENDERS_MAX];
};

extern const struct uplink_ops uplink_null_ops, uplink_tap_ops, uplink_pcap_ops;

// One writer a counter, a worker: a relaxed load and store, no locked instruction.
static inline void uplink_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

#endif

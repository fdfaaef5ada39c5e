// SPDX-License-Identifier: BSD-3-Clause
// A guest of the embedded demo: a process of its own that drives up to two VFs with the user-space
// driver and does one task after the other, as the demo tells it over a socket pair.
#ifndef VIREO_DEMO_GUEST_H
#define VIREO_DEMO_GUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "demo/frame.h"

#define DEMO_SLOTS 2u // VFs a guest

enum demo_op {
    DEMO_OP_OPEN, // socket, interrupts, frame_bytes_max → mac, api, link
    DEMO_OP_CLOSE,
    DEMO_OP_PING,   // count, peer → min_ns, median_ns
    DEMO_OP_ANSWER, // count, sleep: echoes that many pings → frames
    DEMO_OP_SEND,   // peer, len_min, len_max, for `ms` → frames, bytes, ns
    DEMO_OP_RECEIVE, // peer, len_min, len_max: verifies what SEND sends, to its end → frames, bytes
    DEMO_OP_UDP,     // peer, count: UDP with checksum offload
    DEMO_OP_TSO,     // peer, count, mss: TCP to be cut by the card
    DEMO_OP_CHECK_UDP, // count: receives and verifies → frames
    DEMO_OP_CHECK_TSO, // count, mss → frames, bytes
    DEMO_OP_SHOUT,     // peer, source, count, off_mapping: small frames that nobody answers
    DEMO_OP_LISTEN,    // ms: counts shouted frames → frames
    DEMO_OP_QUIT,
};

struct demo_task {
    enum demo_op op;
    unsigned slot;
    char socket[108];
    bool interrupts, sleep, off_mapping;
    uint32_t frame_bytes_max, len_min, len_max, count, ms;
    uint16_t mss;
    uint8_t peer[6], source[6];
};

struct demo_answer {
    int ret; // 0, or -errno with a sentence in text
    char text[240];
    uint8_t mac[6];
    int api;
    bool link;
    uint64_t frames, bytes, ns, min_ns, median_ns, interrupts;
};

// The guest's life: reads tasks from `fd` until QUIT or its end. Returns the exit status.
int demo_guest_run(int fd);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// The guest of a benchmark: VFs of a machine, each with our poll-mode driver, in this process.
// Threads: one.
#ifndef VIREO_BENCH_GUEST_H
#define VIREO_BENCH_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/frames.h"
#include "bench/side.h"

#define BENCH_VFS_MAX 63u

struct bench_guest {
    unsigned vf_count;
    struct bench_side side[BENCH_VFS_MAX];
};

struct bench_guest_config {
    const char *dir; // of the machine's sockets
    unsigned vf_count;
    unsigned shared; // so many of them, from the first, share memory and its pool
    unsigned ring;
    uint32_t size_bytes; // largest frame
    bool interrupts;
};

// Opens the VFs, in order, and waits for their links. 0; on error -errno and a sentence in `error`,
// and nothing is left open.
int bench_guest_open(struct bench_guest *g, const struct bench_guest_config *config, char *error,
                     size_t error_len);
void bench_guest_close(struct bench_guest *g);

// Frames that circulate: `from` sends them, the card carries them to `to`, and the guest hands them
// back to `from` untouched, as they lie there.
struct bench_lane;

// With BENCH_FRAMES_EACH_WAY frames in the guest's hand. `from` and `to` share a pool. 0, -ENOMEM,
// -ENOBUFS.
int bench_lane_create(struct bench_side *from, struct bench_side *to, uint32_t size_bytes,
                      struct bench_lane **out);
void bench_lane_destroy(struct bench_lane *lane);
// Takes all frames into the guest's hand. Those that were lost, since a ring was full when somebody
// else had the core, are made anew. 0, -ENOBUFS.
int bench_lane_settle(struct bench_lane *lane);
// One turn: up to BENCH_BURST frames are received, and everything in hand is sent. How many were
// received.
unsigned bench_lane_step(struct bench_lane *lane);
// The same, but each frame is checked against the number that is due, in every byte, and goes out
// again with a new number and contents. Adds to *bad those that were not as they should be.
unsigned bench_lane_step_checked(struct bench_lane *lane, uint64_t *bad);

#endif

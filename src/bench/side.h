// SPDX-License-Identifier: BSD-3-Clause
// One VF of a benchmark's guest: its bus, our poll-mode driver on it, and bursts of frames.
// Threads: the guest's one.
#ifndef VIREO_BENCH_SIDE_H
#define VIREO_BENCH_SIDE_H

#include <stddef.h>
#include <stdint.h>

#include "driver/vf.h"

#define BENCH_BURST 32u // frames at most, in one call of the driver

struct bench_side {
    struct driver_bus *bus;
    struct vf_driver *vf;
    uint8_t mac[6];
};

// Opens the VF on side->bus and waits for its link. Whatever the result, the caller closes side->vf
// where there is one, and the bus. 0; on error -errno and a sentence in `error`.
int bench_side_open(struct bench_side *side, const struct vf_config *config, char *error,
                    size_t error_len);
// Every buffer of the pool that is free holds a frame to `to` from now on.
void bench_side_fill(struct bench_side *side, const struct bench_side *to, uint32_t size_bytes);
// Up to BENCH_BURST frames to `to`. What lies in a buffer may be one that was received: its
// addresses are written anew. How many were sent.
unsigned bench_side_send(struct bench_side *side, const struct bench_side *to, uint32_t size_bytes);
// Up to BENCH_BURST frames, which are freed. How many there were.
unsigned bench_side_receive(struct bench_side *side);

#endif

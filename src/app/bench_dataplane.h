// SPDX-License-Identifier: BSD-3-Clause
// The data-plane benchmark: VF to embedded switch to VF, everything on.
#ifndef VIREO_APP_BENCH_DATAPLANE_H
#define VIREO_APP_BENCH_DATAPLANE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_FRAME_MIN       60u
#define BENCH_FRAME_MAX       9014u
#define BENCH_FRAMES_EACH_WAY 256u

struct bench_spread {
    double median, min, max;
};

struct bench_result {
    uint32_t size_bytes;               // of a frame, without FCS
    struct bench_spread mpps, gbps;    // frames from VF to VF: a round is a sample
    struct bench_spread memcpy_gbps;   // one core that does nothing but copy, between the rounds
    struct bench_spread of_memcpy;     // per round: gbps ÷ memcpy_gbps
    unsigned rounds, rounds_contended; // those used; those thrown away
    unsigned rounds_doubtful; // of those used: contended, and no better ones were to be had
    unsigned frames_lost;     // of the circulating ones: missing or changed at the end
    unsigned frames_verified;
};

// Measures for `seconds`. 0; on error -errno and a sentence in `error`.
int bench_dataplane_run(uint32_t size_bytes, unsigned seconds, struct bench_result *out,
                        char *error, size_t error_len);

#endif

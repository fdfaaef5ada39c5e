// SPDX-License-Identifier: BSD-3-Clause
// The frames that circulate: lengths and contents.
#ifndef VIREO_BENCH_FRAMES_H
#define VIREO_BENCH_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

#define BENCH_FRAMES_EACH_WAY 256u
#define BENCH_FRAME_MIN       60u // without FCS
#define BENCH_FRAME_MAX       9014u
#define BENCH_IMIX            0u // as a size: 152 frames of 64 bytes, 80 of 570, 24 of 1514

// Length of the nth of the frames that circulate one way, all of `size` bytes or a mix.
uint32_t bench_frame_len(uint32_t size, uint64_t n);
// Of all lengths, the mean.
double bench_frame_len_mean(uint32_t size);
// Frame number `seq` of a flow, as testpmd makes them: UDP over IPv4, one flow for a pair of
// addresses. Every byte follows from the addresses and the number. `len` ≥ BENCH_FRAME_MIN.
void bench_frame_fill(uint8_t *frame, uint32_t len, const uint8_t to[6], const uint8_t from[6],
                      uint64_t seq);
// Is it, in every byte, frame number `seq`?
bool bench_frame_check(const uint8_t *frame, uint32_t len, const uint8_t to[6],
                       const uint8_t from[6], uint64_t seq);

#endif

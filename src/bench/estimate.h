// SPDX-License-Identifier: BSD-3-Clause
// How long a run of the benchmark takes: guessed from what it consists of, and corrected by how
// long what is done has taken. No state.
#ifndef VIREO_BENCH_ESTIMATE_H
#define VIREO_BENCH_ESTIMATE_H

#include <stdint.h>

#include "bench/run.h"

#define BENCH_ESTIMATE_TEXT_LEN 24u

// A group from its start, on a machine that is quiet, with `rounds` rounds. `before`: the one that
// is measured before it, NULL where it is the first.
uint64_t bench_estimate_group_ms(const struct bench_group *group, const struct bench_group *before,
                                 unsigned rounds, unsigned sample_ms);
// What is guessed to be `left_ms` when what was guessed to be `done_ms` has taken `took_ms`.
uint64_t bench_estimate_left_ms(uint64_t left_ms, uint64_t done_ms, uint64_t took_ms);
// "40 s", "3 min": never more exact than an estimate is.
void bench_estimate_text(uint64_t ms, char out[BENCH_ESTIMATE_TEXT_LEN]);

#endif

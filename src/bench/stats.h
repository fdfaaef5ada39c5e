// SPDX-License-Identifier: BSD-3-Clause
// What benchmarks compute from their samples: spreads, ratios by round, fairness. No state.
#ifndef VIREO_BENCH_STATS_H
#define VIREO_BENCH_STATS_H

#include <stdbool.h>
#include <stdint.h>

#define BENCH_ROUNDS_MAX 64u

// More of its time than this may no busy thread have waited for its core: else the sample is
// contended.
#define BENCH_WAIT_SHARE_MAX 0.04

struct bench_spread {
    double median, min, max;
    unsigned count; // 0: no samples, and the rest is 0 as well
};

// A round without a sample: NaN.
double bench_no_sample(void);
bool bench_is_sample(double value);
// Of those of `count` <= BENCH_ROUNDS_MAX values that are samples. The median of an even number is
// the mean of the middle two.
struct bench_spread bench_spread_of(const double *values, unsigned count);
// out[i] = ours[i] ÷ theirs[i] where both rounds have a sample and theirs is above 0; else none.
void bench_ratios(const double *ours, const double *theirs, unsigned count, double *out);
bool bench_is_contended(double wait_share);
// The slope of the straight line that fits best (least squares) through those of `count` points
// whose y is a sample. No sample where they have fewer than two different x.
double bench_slope(const double *x, const double *y, unsigned count);
// Jain's fairness index: 1 where all got the same, 1 ÷ count where one got it all; 0 where nobody
// got anything.
double bench_jain(const uint64_t *shares, unsigned count);

#endif

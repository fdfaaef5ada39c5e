// SPDX-License-Identifier: BSD-3-Clause
// What the data plane is to reach, and whether a run of the benchmark did. No state.
#ifndef VIREO_BENCH_GOALS_H
#define VIREO_BENCH_GOALS_H

#include "bench/run.h"

#define BENCH_GOALS_MAX 32u

enum bench_verdict { BENCH_NOT_MEASURED, BENCH_NOT_REACHED, BENCH_REACHED };

struct bench_goal {
    char what[96];
    double wanted, got; // got: median of the rounds' figures, mostly ratios
    bool at_most;       // else at least
    enum bench_verdict verdict;
};

// All goals that this run is about. How many; at most BENCH_GOALS_MAX.
unsigned bench_goals(const struct bench_run *run, struct bench_goal out[BENCH_GOALS_MAX]);

// A run in which the idealised forwarder is not that much faster than testpmd's io at 64 bytes says
// nothing about a limit.
#define BENCH_IDEAL_TIMES_IO 3.0
// That factor; 0 where one of them was not measured.
double bench_ideal_factor(const struct bench_run *run);
// Samples that were contended and taken all the same (options.contended_ok). A run that has any is
// not valid either.
unsigned bench_doubtful_count(const struct bench_run *run);

#endif

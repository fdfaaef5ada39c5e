// SPDX-License-Identifier: BSD-3-Clause
// What a run of the benchmark found, for people and for programs.
#ifndef VIREO_BENCH_REPORT_H
#define VIREO_BENCH_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "bench/about.h"
#include "bench/run.h"

void bench_report_print(const struct bench_run *run, const struct bench_about *about, FILE *out);
// NULL where memory is short. docs/performance.md describes it.
json_t *bench_report_json(const struct bench_run *run, const struct bench_about *about);
// Were all frames as they should be, was everything of ours measured, and, with peers, is the run
// valid? Complains on stderr. A run is valid when the idealised forwarder, which is to be the
// limit, is BENCH_IDEAL_TIMES_IO times as fast as testpmd's io at 64 bytes.
bool bench_report_sound(const struct bench_run *run);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// What a run of the benchmark measures, under which titles.
#ifndef VIREO_BENCH_PLAN_H
#define VIREO_BENCH_PLAN_H

#include "bench/run.h"

#define BENCH_RING_SMALL 256u // the working set is the rings and what circulates
#define BENCH_RING_LARGE 1024u
#define BENCH_RING_SPARE 512u // where no frame may be lost for room

#define BENCH_TITLE_HEADLINE     "VF to VF"
#define BENCH_TITLE_VERIFY       "every byte checked"
#define BENCH_TITLE_ONE_WAY      "one way"
#define BENCH_TITLE_FAN_IN       "4 VFs to 1"
#define BENCH_TITLE_FAN_OUT      "1 VF to 4"
#define BENCH_TITLE_TO_UPLINK    "VF to uplink (null)"
#define BENCH_TITLE_FROM_UPLINK  "uplink (capture) to VF"
#define BENCH_TITLE_ROUND_TRIP   "round trip, polling"
#define BENCH_TITLE_LINE         "one line there and back"
#define BENCH_TITLE_IRQ_MAPPED   "round trip, interrupts, idle worker, mapped"
#define BENCH_TITLE_IRQ_TRAPPED  "round trip, interrupts, idle worker, trapped"
#define BENCH_TITLE_ASSIGNED     "63 VFs assigned, traffic on 2"
#define BENCH_TITLE_ALL_SEND     "63 VFs all send"
#define BENCH_TITLE_IDLE_MAPPED  "63 idle VFs, mapped"
#define BENCH_TITLE_IDLE_TRAPPED "63 idle VFs, trapped"
#define BENCH_TITLE_ASLEEP       "63 VFs, trapped, asleep"
// Guests that share a load (bench/scale.h); the mapped ones at 0.5 Mpps keep the worker busy.
#define BENCH_TITLE_GUESTS_TRAPPED "guests share 0.5 Mpps, trapped"
#define BENCH_TITLE_GUESTS_MAPPED  "guests share 0.05 Mpps, mapped"
#define BENCH_TITLE_GUESTS_BUSY    "guests share 0.5 Mpps, mapped"

#define BENCH_STEPS_MAX  8u // of the worker's back-off that are measured
#define BENCH_GUEST_RUNS 4u // counts of guests that share a load

extern const unsigned bench_guest_counts[BENCH_GUEST_RUNS];

// "63 VFs, mapped, step 200us"; NULL: there is no such step.
const char *bench_plan_step_title(unsigned step);
// What two workers do beside one (bench/workers.h), by mode.
#define BENCH_TITLE_WORKERS_SINK   "8 full rings to a null uplink"
#define BENCH_TITLE_WORKERS_GUESTS "8 VFs in a ring with their guest"

// All groups, to be measured with bench_run_measure().
void bench_plan_make(struct bench_run *run);

#endif

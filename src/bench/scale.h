// SPDX-License-Identifier: BSD-3-Clause
// What one more guest costs the worker, as a subject (bench/subject.h): guests with in-process
// drivers share a load that does not depend on how many they are: bursts of BENCH_BURST frames, by
// the clock; burst after burst another guest sends, to the next one.
//
// Modes: guests-trapped-N-KFPS, guests-mapped-N-KFPS: N guests, KFPS thousand frames a second in
// all. `frames` arrived; value: what the worker's thread used of a core.
#ifndef VIREO_BENCH_SCALE_H
#define VIREO_BENCH_SCALE_H

int bench_scale_main(void); // an exit code

#endif

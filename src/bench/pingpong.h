// SPDX-License-Identifier: BSD-3-Clause
#ifndef VIREO_BENCH_PINGPONG_H
#define VIREO_BENCH_PINGPONG_H

// How fast cache lines go to the other core and back, as a subject (bench/subject.h). Modes:
//   round-trip     what a round trip VF to VF moves: twice, the lines that a guest writes for one
//                  frame and then those that the card writes; `frames` counts such round trips
//   line           one line there and back
// An exit code.
int bench_pingpong_main(void);

#endif

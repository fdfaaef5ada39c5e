// SPDX-License-Identifier: BSD-3-Clause
// One worker and two, as a subject (bench/subject.h): 8 VFs of a card in this process.
//
// Modes, N workers (1 or 2):
//   workers-sink-N    transmit rings that were filled once, and that nobody fills again: their
//   tails
//                     follow the heads, a thousand times a second. The frames go to a null uplink.
//                     No guest.
//   workers-guests-N  each VF sends to the next one, driven by this process's one thread. With two
//                     workers that is one thread more than there are cores, so nothing is thrown
//                     away for that.
#ifndef VIREO_BENCH_WORKERS_H
#define VIREO_BENCH_WORKERS_H

int bench_workers_main(void); // an exit code

#endif

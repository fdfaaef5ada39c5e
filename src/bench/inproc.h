// SPDX-License-Identifier: BSD-3-Clause
// A card whose VFs are driven from the same process, for benchmarks: no sockets, no messages. The
// host's work (enumeration, PF driver, IOMMU tables, buses) is done as src/host does it for a
// daemon.
// Threads: one, which is the control thread; the card's workers are others.
#ifndef VIREO_BENCH_INPROC_H
#define VIREO_BENCH_INPROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench/side.h"

struct bench_inproc;

// One port with nothing at its uplink, and `vf_count` VFs. 0; on error -errno and a sentence in
// `error`.
int bench_inproc_open(unsigned vf_count, bool mapped_doorbells, struct bench_inproc **out,
                      char *error, size_t error_len);
// After all its buses were closed; NULL is fine.
void bench_inproc_close(struct bench_inproc *m);
// VF `vf` with a domain of its own, and its driver: one queue with rings of `ring` descriptors. 0;
// on error -errno and a sentence in `error`. Whatever the result, the caller closes side->vf where
// there is one, then side->bus.
int bench_inproc_side(struct bench_inproc *m, unsigned vf, unsigned ring, struct bench_side *side,
                      char *error, size_t error_len);
// The worker's thread, on the device's core (bench/subject.h): 0 or -errno. Without it the card
// stands still, and uses no core. It need not be stopped before bench_inproc_close().
int bench_inproc_worker_start(struct bench_inproc *m);
void bench_inproc_worker_stop(struct bench_inproc *m);
// The same with `count` workers (1 … BENCH_INPROC_WORKERS_MAX), the second on the guest's core.
// They have been stopped before.
#define BENCH_INPROC_WORKERS_MAX 2u
int bench_inproc_workers_start(struct bench_inproc *m, unsigned count);
// Frames that went to the uplink so far.
uint64_t bench_inproc_uplink_frames(const struct bench_inproc *m);
pid_t bench_inproc_worker_tid(const struct bench_inproc *m); // 0: it does not run

#endif

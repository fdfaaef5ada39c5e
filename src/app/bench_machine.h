// SPDX-License-Identifier: BSD-3-Clause
// A machine on a control thread of its own, for benchmarks: sockets in a temporary directory.
#ifndef VIREO_APP_BENCH_MACHINE_H
#define VIREO_APP_BENCH_MACHINE_H

#include <stddef.h>

#define BENCH_DIR_LEN 64u

struct bench_machine;

// Builds it on a thread that is bound to `cpu` (-1: to none); the card's worker inherits that. 0;
// on error -errno and a sentence in `error`.
int bench_machine_start(const char *config_text, int cpu, struct bench_machine **out, char *error,
                        size_t error_len);
void bench_machine_stop(struct bench_machine *m); // NULL is fine
const char *bench_machine_dir(const struct bench_machine *m);

#endif

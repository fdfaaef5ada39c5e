// SPDX-License-Identifier: BSD-3-Clause
// A whole machine in a process of its own, for benchmarks: sockets in a temporary directory.
// Threads: one a machine.
#ifndef VIREO_BENCH_MACHINE_H
#define VIREO_BENCH_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define BENCH_DIR_LEN 64u

struct bench_machine_config {
    unsigned vf_count;
    bool mapped_doorbells;
    const char *replay; // a capture that the uplink receives again and again; NULL: nothing there
};

struct bench_machine;

// Starts it, bound to the device's core (bench/subject.h). 0; on error -errno and a sentence in
// `error`.
int bench_machine_start(const struct bench_machine_config *config, struct bench_machine **out,
                        char *error, size_t error_len);
void bench_machine_stop(struct bench_machine *m); // and its directory goes; NULL is fine
const char *bench_machine_dir(const struct bench_machine *m);
pid_t bench_machine_pid(const struct bench_machine *m);
// Stopped, it uses no core, and answers nothing. It is not when it starts.
void bench_machine_freeze(struct bench_machine *m, bool frozen);

#endif

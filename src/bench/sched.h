// SPDX-License-Identifier: BSD-3-Clause
// Who had a core and who waited for one, from the kernel's schedstat: how a benchmark knows that
// somebody else used its cores.
#ifndef VIREO_BENCH_SCHED_H
#define VIREO_BENCH_SCHED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_THREADS_MAX 32u // of all processes together; more are not looked at

struct bench_thread {
    pid_t tid;
    uint64_t ran_ns, waited_ns; // since it began
};

struct bench_sched {
    unsigned count;
    struct bench_thread thread[BENCH_THREADS_MAX];
};

// "RAN_NS WAITED_NS SLICES", as /proc/PID/task/TID/schedstat has it. False where it is not that.
bool bench_schedstat_parse(const char *text, struct bench_thread *out);
// All threads of these processes.
void bench_sched_take(const pid_t *pids, unsigned pid_count, struct bench_sched *out);
// Of the time in between, how much the worst of the busy threads waited for its core. Busy is who
// ran, or wanted to, for half of it.
double bench_sched_wait_share(const struct bench_sched *before, const struct bench_sched *after,
                              uint64_t wall_ns);
// What all threads together ran in between, of one core.
double bench_sched_ran_share(const struct bench_sched *before, const struct bench_sched *after,
                             uint64_t wall_ns);

// Both ends of a sample.
struct bench_watch {
    pid_t pids[2];
    unsigned pid_count;
    uint64_t start_ns;
    struct bench_sched before;
};

void bench_watch_start(struct bench_watch *watch, pid_t first, pid_t second); // second 0: none
// *ns: how long it was. Returns the wait share.
double bench_watch_end(const struct bench_watch *watch, uint64_t *ns);

#endif

// SPDX-License-Identifier: BSD-3-Clause
#include "bench/sched.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define BUSY_SHARE 0.5

bool bench_schedstat_parse(const char *text, struct bench_thread *out)
{
    uint64_t slices;

    return sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64, &out->ran_ns, &out->waited_ns,
                  &slices) == 3;
}

static void take_thread(pid_t pid, pid_t tid, struct bench_sched *out)
{
    char path[64], line[128];
    struct bench_thread *t = &out->thread[out->count];
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", pid, tid);
    file = fopen(path, "re");
    if (!file) // it has ended meanwhile
        return;
    t->tid = tid;
    if (fgets(line, sizeof line, file) && bench_schedstat_parse(line, t))
        out->count++;
    fclose(file);
}

void bench_sched_take(const pid_t *pids, unsigned pid_count, struct bench_sched *out)
{
    out->count = 0;
    for (unsigned i = 0; i < pid_count; i++) {
        struct dirent *entry;
        char path[64];
        DIR *dir;

        snprintf(path, sizeof path, "/proc/%d/task", pids[i]);
        dir = opendir(path);
        while (dir && out->count < BENCH_THREADS_MAX && (entry = readdir(dir))) {
            if (entry->d_name[0] != '.')
                take_thread(pids[i], (pid_t)atoi(entry->d_name), out);
        }
        if (dir)
            closedir(dir);
    }
}

static const struct bench_thread *find(const struct bench_sched *s, pid_t tid)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (s->thread[i].tid == tid)
            return &s->thread[i];
    }
    return NULL;
}

double bench_sched_wait_share(const struct bench_sched *before, const struct bench_sched *after,
                              uint64_t wall_ns)
{
    double worst = 0, wall = (double)wall_ns;

    for (unsigned i = 0; i < after->count; i++) {
        const struct bench_thread *now = &after->thread[i], *then = find(before, now->tid);
        double ran = (double)(now->ran_ns - (then ? then->ran_ns : 0));
        double waited = (double)(now->waited_ns - (then ? then->waited_ns : 0));

        if (ran + waited > BUSY_SHARE * wall && waited / wall > worst)
            worst = waited / wall;
    }
    return worst;
}

double bench_sched_ran_share(const struct bench_sched *before, const struct bench_sched *after,
                             uint64_t wall_ns)
{
    double ran = 0;

    for (unsigned i = 0; i < after->count; i++) {
        const struct bench_thread *now = &after->thread[i], *then = find(before, now->tid);

        ran += (double)(now->ran_ns - (then ? then->ran_ns : 0));
    }
    return wall_ns ? ran / (double)wall_ns : 0;
}

void bench_watch_start(struct bench_watch *w, pid_t first, pid_t second)
{
    w->pids[0] = first;
    w->pids[1] = second;
    w->pid_count = second ? 2 : 1;
    bench_sched_take(w->pids, w->pid_count, &w->before);
    w->start_ns = clock_now_ns();
}

double bench_watch_end(const struct bench_watch *w, uint64_t *ns)
{
    struct bench_sched after;

    *ns = clock_now_ns() - w->start_ns;
    bench_sched_take(w->pids, w->pid_count, &after);
    return bench_sched_wait_share(&w->before, &after, *ns);
}

// SPDX-License-Identifier: BSD-3-Clause
// What a run was made on: processor, kernel, time, load. No state.
#ifndef VIREO_BENCH_ABOUT_H
#define VIREO_BENCH_ABOUT_H

#include <stdbool.h>
#include <stddef.h>

#define BENCH_ABOUT_LINES_MAX 12u

struct bench_about {
    unsigned count;
    struct {
        char name[24], value[96];
    } line[BENCH_ABOUT_LINES_MAX];
};

// "name: value", one a line, as scripts/bench-about says it; lines that are not that, or one too
// many, are left out.
void bench_about_add(struct bench_about *about, const char *text);
// This machine, now: cpu, cores, kernel, date, load. What is not known is left out.
void bench_about_machine(struct bench_about *about);
// The value of that name; NULL.
const char *bench_about_get(const struct bench_about *about, const char *name);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// A run of the benchmark: groups of things that are measured against each other, interleaved round
// by round, each by a subject process of its own.
// Threads: one.
#ifndef VIREO_BENCH_RUN_H
#define VIREO_BENCH_RUN_H

#include <stdbool.h>

#include "bench/stats.h"
#include "bench/subject.h"

#define BENCH_ENTRIES_MAX 8u
#define BENCH_GROUPS_MAX  64u
#define BENCH_NAME_LEN    128u

enum bench_who {
    BENCH_CARD, // ours
    BENCH_CARD_AGAIN,
    BENCH_IDEAL,
    BENCH_PINGPONG,
    BENCH_SCALE,      // ours, guests in its own process
    BENCH_WORKERS,    // ours, one worker and two
    BENCH_TESTPMD_IO, // the peers, from here on
    BENCH_TESTPMD_MACSWAP,
    BENCH_OVS,
    BENCH_MEMIF,
    BENCH_WHO_COUNT
};

// One line of a group: what a subject did in one shape.
struct bench_entry {
    enum bench_who who;
    struct bench_shape shape;
    double mpps[BENCH_ROUNDS_MAX];  // no sample where each try was contended
    double value[BENCH_ROUNDS_MAX]; // the mode's own figure
    uint64_t frames;                // of all samples that count
    unsigned contended;             // samples that were thrown away
    unsigned doubtful;              // contended ones that had to do (options.contended_ok)
    char why[BENCH_WHY_LEN];        // not empty: not measured, or ended early
};

struct bench_group {
    const char *title;              // of what is measured; lives as long as the run
    bool headline;                  // frames circulate, against all peers
    unsigned rounds, rounds_wanted; // fewer than wanted on a machine that is not quiet
    unsigned entry_count;
    uint64_t took_ns; // all of it; 0: not measured yet
    struct bench_entry entry[BENCH_ENTRIES_MAX];
};

struct bench_options {
    const char *peers; // the script that runs them, NULL: without peers
    const char *only;  // groups with this in their names, NULL: all
    unsigned rounds, sample_ms;
    bool full;         // what `make bench-full` measures on top
    bool smoke;        // everything once, in a few seconds, to see that it runs
    bool contended_ok; // take a contended sample when no better one comes, and say so
};

struct bench_run {
    struct bench_options options;
    struct bench_subject *subject[BENCH_WHO_COUNT];
    char why[BENCH_WHO_COUNT][BENCH_WHY_LEN]; // not started: why
    unsigned group_count;
    struct bench_group *group; // [BENCH_GROUPS_MAX]
    uint64_t start_ns;         // of the first group
};

const char *bench_who_name(enum bench_who who);
// A run without groups yet. 0, -ENOMEM.
int bench_run_init(struct bench_run *run, const struct bench_options *options);
// Starts the subjects that the groups need. 0; -errno and a sentence in `error` where one of our
// own cannot be. A peer that is missing is no error: its `why` says so, and a line on stderr.
int bench_run_start(struct bench_run *run, char *error, size_t error_len);
void bench_run_end(struct bench_run *run); // whatever the others returned

// A new group, to be filled with bench_group_add(); NULL when there are too many.
struct bench_group *bench_group_new(struct bench_run *run, const char *title, unsigned rounds);
void bench_group_add(struct bench_group *group, enum bench_who who, const char *mode,
                     uint32_t size_bytes, unsigned ring);
// How the group is called: title, size of frames, ring. In `out`, which it also returns.
const char *bench_group_name(const struct bench_group *group, char out[BENCH_NAME_LEN]);
// All groups, one after the other; in each, round by round, one sample of each entry; contended
// ones are repeated. Shows progress on stderr.
void bench_run_measure(struct bench_run *run);

// The first group with this title, NULL where there is none, and in a group the first entry of
// `who`.
const struct bench_group *bench_run_find(const struct bench_run *run, const char *title,
                                         uint32_t size_bytes, unsigned ring);
const struct bench_entry *bench_group_find(const struct bench_group *group, enum bench_who who);
// Round by round, `ours` ÷ `theirs`.
struct bench_spread bench_entry_ratio(const struct bench_group *group,
                                      const struct bench_entry *ours,
                                      const struct bench_entry *theirs);

#endif

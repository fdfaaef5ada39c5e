// SPDX-License-Identifier: BSD-3-Clause
#include "bench/run.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/estimate.h"

#define TRIES_A_SAMPLE 6u // until a round goes without it
// Our worker sleeps between looks for half a second after it had to wait for its core
// (nic/crowd.h): what comes right after a contended sample would suffer from it.
#define AFTER_CONTENDED_MS 600u

// On a machine that is not quiet, repeating must not make `make bench` last for ever: after so long
// there are fewer tries and fewer rounds. The report says how many rounds each figure is of.
#define HURRY_AFTER_NS (6 * 60 * NS_PER_S)
#define HURRY_TRIES    2u
#define HURRY_ROUNDS   3u

// How each is started: as a subcommand of ours, or by the script for peers.
static const struct {
    const char *name, *argument;
} subjects[BENCH_WHO_COUNT] = {
    [BENCH_CARD] = {"vireo", "card"},
    [BENCH_CARD_AGAIN] = {"vireo (2)", "card"},
    [BENCH_IDEAL] = {"idealised one-copy forwarder", "ideal"},
    [BENCH_PINGPONG] = {"cache-line ping-pong", "pingpong"},
    [BENCH_SCALE] = {"vireo, in one process", "scale"},
    [BENCH_WORKERS] = {"vireo, in one process", "workers"},
    [BENCH_TESTPMD_IO] = {"testpmd vhost io", "testpmd-io"},
    [BENCH_TESTPMD_MACSWAP] = {"testpmd vhost macswap", "testpmd-macswap"},
    [BENCH_OVS] = {"Open vSwitch DPDK NORMAL", "ovs"},
    [BENCH_MEMIF] = {"memif through testpmd", "memif"},
};

const char *bench_who_name(enum bench_who who)
{
    return subjects[who].name;
}

// --- subjects ---

// The first core of ours for the device, the second for the guest. With one core alone, both use
// it: every sample is contended.
static void cpus_choose(void)
{
    cpu_set_t set;
    int found[2] = {0, 0};
    unsigned count = 0;
    char text[16];

    if (sched_getaffinity(0, sizeof set, &set))
        return;
    for (int i = 0; i < CPU_SETSIZE && count < 2; i++) {
        if (CPU_ISSET((unsigned)i, &set))
            found[count++] = i;
    }
    snprintf(text, sizeof text, "%d", found[0]);
    setenv(BENCH_DEVICE_CPU, text, 0);
    snprintf(text, sizeof text, "%d", count == 2 ? found[1] : found[0]);
    setenv(BENCH_GUEST_CPU, text, 0);
}

static int subject_start(struct bench_run *run, enum bench_who who)
{
    bool peer = who >= BENCH_TESTPMD_IO;
    char program[4096], argument[32];
    char *peer_argv[] = {program, argument, NULL};
    char *own_argv[] = {program, "subject", argument, NULL};
    ssize_t len;

    snprintf(argument, sizeof argument, "%s", subjects[who].argument);
    if (peer) {
        snprintf(program, sizeof program, "%s", run->options.peers);
    } else {
        len = readlink("/proc/self/exe", program, sizeof program - 1);
        program[len > 0 ? len : 0] = 0;
    }
    return bench_subject_start(peer ? peer_argv : own_argv, &run->subject[who], run->why[who],
                               BENCH_WHY_LEN);
}

int bench_run_init(struct bench_run *run, const struct bench_options *options)
{
    *run = (struct bench_run){.options = *options};
    run->group = calloc(BENCH_GROUPS_MAX, sizeof run->group[0]);
    return run->group ? 0 : -ENOMEM;
}

static bool is_needed(const struct bench_run *run, enum bench_who who)
{
    for (unsigned i = 0; i < run->group_count; i++) {
        if (bench_group_find(&run->group[i], who))
            return true;
    }
    return false;
}

int bench_run_start(struct bench_run *run, char *error, size_t error_len)
{
    cpus_choose();
    for (enum bench_who who = 0; who < BENCH_WHO_COUNT; who++) {
        int ret = is_needed(run, who) ? subject_start(run, who) : 0;

        if (!ret)
            continue;
        if (who < BENCH_TESTPMD_IO) {
            snprintf(error, error_len, "%s: %s", bench_who_name(who), run->why[who]);
            return ret;
        }
        fprintf(stderr, "vireo-bench: %s is NOT measured: %s\n", bench_who_name(who),
                run->why[who]);
    }
    return 0;
}

void bench_run_end(struct bench_run *run)
{
    for (enum bench_who who = 0; who < BENCH_WHO_COUNT; who++) {
        bench_subject_end(run->subject[who]);
        run->subject[who] = NULL;
    }
    free(run->group);
    run->group = NULL;
}

// --- groups ---

struct bench_group *bench_group_new(struct bench_run *run, const char *title, unsigned rounds)
{
    struct bench_group *group;

    if (run->group_count == BENCH_GROUPS_MAX)
        return NULL;
    group = &run->group[run->group_count++];
    group->title = title;
    group->rounds = rounds < BENCH_ROUNDS_MAX ? rounds : BENCH_ROUNDS_MAX;
    group->rounds_wanted = group->rounds;
    return group;
}

void bench_group_add(struct bench_group *group, enum bench_who who, const char *mode,
                     uint32_t size_bytes, unsigned ring)
{
    struct bench_entry *entry;

    if (!group || group->entry_count == BENCH_ENTRIES_MAX)
        return;
    entry = &group->entry[group->entry_count++];
    entry->who = who;
    snprintf(entry->shape.mode, sizeof entry->shape.mode, "%s", mode);
    entry->shape.size_bytes = size_bytes;
    entry->shape.ring = ring;
    for (unsigned i = 0; i < BENCH_ROUNDS_MAX; i++)
        entry->mpps[i] = entry->value[i] = bench_no_sample();
}

static bool in_hurry(const struct bench_run *run)
{
    return !run->options.full && clock_now_ns() - run->start_ns > HURRY_AFTER_NS;
}

// How long it will still take, in `round` of `now`.
static uint64_t left_ms(const struct bench_run *run, const struct bench_group *now, unsigned round)
{
    uint64_t done_ms = 0, left_ms = 0;

    for (const struct bench_group *g = run->group; g < run->group + run->group_count; g++) {
        unsigned rounds = in_hurry(run) && g->rounds > HURRY_ROUNDS ? HURRY_ROUNDS : g->rounds;
        uint64_t ms = bench_estimate_group_ms(g, g > run->group ? g - 1 : NULL, rounds,
                                              run->options.sample_ms);
        uint64_t part_ms = g < now ? ms : g > now ? 0 : ms * round / g->rounds;

        done_ms += part_ms;
        left_ms += ms > part_ms ? ms - part_ms : 0;
    }
    return bench_estimate_left_ms(left_ms, done_ms, (clock_now_ns() - run->start_ns) / NS_PER_MS);
}

const char *bench_group_name(const struct bench_group *group, char out[BENCH_NAME_LEN])
{
    const struct bench_shape *shape = &group->entry[0].shape;
    char size[24] = "IMIX";

    if (shape->size_bytes)
        snprintf(size, sizeof size, "%u bytes", shape->size_bytes);
    snprintf(out, BENCH_NAME_LEN, "%s, %s, ring %u", group->title, size, shape->ring);
    return out;
}

// `what`: who is at it; NULL: the group begins.
static void progress(const struct bench_run *run, const struct bench_group *group, unsigned round,
                     const char *what)
{
    char name[BENCH_NAME_LEN], left[BENCH_ESTIMATE_TEXT_LEN];
    bool terminal = isatty(STDERR_FILENO);

    if (!terminal && what)
        return;
    bench_estimate_text(left_ms(run, group, round), left);
    fprintf(stderr, "%s[%u/%u, about %s left] %s", terminal ? "\r\033[K" : "",
            (unsigned)(group - run->group) + 1, run->group_count, left,
            bench_group_name(group, name));
    if (what)
        fprintf(stderr, ": round %u of %u, %s", round + 1, group->rounds, what);
    if (!terminal)
        fputc('\n', stderr);
}

static void entry_prepare(struct bench_run *run, struct bench_entry *entry)
{
    struct bench_subject *subject = run->subject[entry->who];

    if (!subject)
        snprintf(entry->why, sizeof entry->why, "%s", run->why[entry->who]);
    else if (bench_subject_shape(subject, &entry->shape, entry->why, sizeof entry->why) &&
             !entry->why[0])
        snprintf(entry->why, sizeof entry->why, "it failed");
}

// Does another entry of the group use the same subject? Then each sample begins with the shape.
static bool is_shared(const struct bench_group *group, unsigned index)
{
    for (unsigned i = 0; i < group->entry_count; i++) {
        if (i != index && group->entry[i].who == group->entry[index].who)
            return true;
    }
    return false;
}

static void entry_take(struct bench_entry *entry, unsigned round, const struct bench_sample *sample)
{
    entry->mpps[round] = (double)sample->frames * 1e3 / (double)sample->ns;
    entry->value[round] = sample->value;
    entry->frames += sample->frames;
}

// The first sample that is not contended, or spoilt by something else. Where there is none, and
// only if that was asked for, the least contended one. One that is spoilt in each try is no
// accident: it ends the entry.
static void entry_sample(struct bench_run *run, struct bench_entry *entry, unsigned round)
{
    unsigned tries = in_hurry(run) ? HURRY_TRIES : TRIES_A_SAMPLE;
    struct bench_sample sample, best = {.wait_share = HUGE_VAL};
    unsigned spoilt = 0;

    for (unsigned attempt = 0; attempt < tries; attempt++) {
        int ret = bench_subject_run(run->subject[entry->who], run->options.sample_ms, &sample,
                                    entry->why, sizeof entry->why);

        if (ret && ret != -EAGAIN)
            return;
        spoilt += ret == -EAGAIN;
        // What is checked is right or wrong, however long it took.
        if (!ret &&
            (!bench_is_contended(sample.wait_share) || !strcmp(entry->shape.mode, "verify"))) {
            entry->why[0] = 0;
            entry_take(entry, round, &sample);
            return;
        }
        entry->contended++;
        if (!run->options.smoke)
            usleep(AFTER_CONTENDED_MS * 1000);
        if (!ret && sample.wait_share < best.wait_share)
            best = sample;
    }
    if (spoilt == tries)
        return;
    entry->why[0] = 0;
    if (run->options.contended_ok) {
        entry->contended--;
        entry->doubtful++;
        entry_take(entry, round, &best);
    }
}

static void group_measure(struct bench_run *run, struct bench_group *group)
{
    uint64_t start_ns = clock_now_ns();

    progress(run, group, 0, NULL);
    for (unsigned i = 0; i < group->entry_count; i++) {
        progress(run, group, 0, bench_who_name(group->entry[i].who));
        entry_prepare(run, &group->entry[i]);
    }
    for (unsigned round = 0; round < group->rounds; round++) {
        if (round >= HURRY_ROUNDS && in_hurry(run)) {
            group->rounds = round;
            break;
        }
        for (unsigned i = 0; i < group->entry_count; i++) {
            progress(run, group, round, bench_who_name(group->entry[i].who));
            if (!group->entry[i].why[0] && is_shared(group, i))
                entry_prepare(run, &group->entry[i]);
            if (!group->entry[i].why[0])
                entry_sample(run, &group->entry[i], round);
        }
    }
    group->took_ns = clock_now_ns() - start_ns;
}

void bench_run_measure(struct bench_run *run)
{
    char text[BENCH_ESTIMATE_TEXT_LEN];

    run->start_ns = clock_now_ns();
    bench_estimate_text(left_ms(run, run->group, 0), text);
    fprintf(stderr,
            "vireo-bench: %u measurement%s, %u round%s of %u ms: about %s on a quiet machine\n",
            run->group_count, run->group_count > 1 ? "s" : "", run->options.rounds,
            run->options.rounds > 1 ? "s" : "", run->options.sample_ms, text);
    for (unsigned i = 0; i < run->group_count; i++)
        group_measure(run, &run->group[i]);
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
}

// --- looking things up ---

const struct bench_group *bench_run_find(const struct bench_run *run, const char *title,
                                         uint32_t size_bytes, unsigned ring)
{
    for (unsigned i = 0; i < run->group_count; i++) {
        const struct bench_group *group = &run->group[i];

        if (!strcmp(group->title, title) && group->entry_count &&
            group->entry[0].shape.size_bytes == size_bytes && group->entry[0].shape.ring == ring)
            return group;
    }
    return NULL;
}

const struct bench_entry *bench_group_find(const struct bench_group *group, enum bench_who who)
{
    for (unsigned i = 0; group && i < group->entry_count; i++) {
        if (group->entry[i].who == who)
            return &group->entry[i];
    }
    return NULL;
}

struct bench_spread bench_entry_ratio(const struct bench_group *group,
                                      const struct bench_entry *ours,
                                      const struct bench_entry *theirs)
{
    double ratio[BENCH_ROUNDS_MAX];

    if (!ours || !theirs)
        return (struct bench_spread){0};
    bench_ratios(ours->mpps, theirs->mpps, group->rounds, ratio);
    return bench_spread_of(ratio, group->rounds);
}

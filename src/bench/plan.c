// SPDX-License-Identifier: BSD-3-Clause
#include "bench/plan.h"

#include <stdio.h>
#include <string.h>

#include "bench/frames.h"
#include "nic/nic.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

// Groups of one entry, all of our own card.
static const struct single {
    const char *title, *mode;
    uint32_t size_bytes;
    unsigned ring;
    bool full; // only then
} singles[] = {
    {BENCH_TITLE_VERIFY, "verify", 64, BENCH_RING_SPARE, false},
    {BENCH_TITLE_VERIFY, "verify", 1500, BENCH_RING_SPARE, false},
    {BENCH_TITLE_VERIFY, "verify", 9000, BENCH_RING_SPARE, false},
    {BENCH_TITLE_VERIFY, "verify", BENCH_IMIX, BENCH_RING_SPARE, false},
    {BENCH_TITLE_ONE_WAY, "one-way", 64, BENCH_RING_SMALL, false},
    {BENCH_TITLE_ONE_WAY, "one-way", 1500, BENCH_RING_SMALL, false},
    {BENCH_TITLE_FAN_IN, "fan-in", 64, BENCH_RING_SMALL, false},
    {BENCH_TITLE_FAN_IN, "fan-in", 1500, BENCH_RING_SMALL, false},
    {BENCH_TITLE_FAN_OUT, "fan-out", 64, BENCH_RING_SMALL, false},
    {BENCH_TITLE_FAN_OUT, "fan-out", 1500, BENCH_RING_SMALL, false},
    {BENCH_TITLE_TO_UPLINK, "to-uplink", 64, BENCH_RING_SMALL, false},
    {BENCH_TITLE_TO_UPLINK, "to-uplink", 1500, BENCH_RING_SMALL, false},
    {BENCH_TITLE_FROM_UPLINK, "from-uplink", 64, BENCH_RING_SMALL, false},
    {BENCH_TITLE_FROM_UPLINK, "from-uplink", 1500, BENCH_RING_SMALL, false},
    {BENCH_TITLE_IRQ_MAPPED, "irq-mapped", 64, BENCH_RING_SMALL, false},
    {BENCH_TITLE_IRQ_TRAPPED, "irq-trapped", 64, BENCH_RING_SMALL, false},
    {BENCH_TITLE_ALL_SEND, "ring63", 64, BENCH_RING_SMALL, true},
    {BENCH_TITLE_IDLE_MAPPED, "idle-mapped", 64, BENCH_RING_SMALL, true},
    {BENCH_TITLE_IDLE_TRAPPED, "idle-trapped", 64, BENCH_RING_SMALL, true},
    {BENCH_TITLE_ASLEEP, "asleep", 64, BENCH_RING_SMALL, true},
};

static const struct {
    uint32_t size_bytes;
    unsigned ring;
} headline[] = {
    // Peers start again for another ring or for jumbo frames.
    {64, BENCH_RING_SMALL},         {256, BENCH_RING_SMALL},  {1500, BENCH_RING_SMALL},
    {BENCH_IMIX, BENCH_RING_SMALL}, {9000, BENCH_RING_SMALL}, {64, BENCH_RING_LARGE},
    {1500, BENCH_RING_LARGE},       {9000, BENCH_RING_LARGE},
};

const unsigned bench_guest_counts[BENCH_GUEST_RUNS] = {10, 20, 40, 60};

static const struct {
    const char *title, *mode; // with the number of guests and thousands of frames a second
    unsigned kfps;
} loads[] = {
    {BENCH_TITLE_GUESTS_TRAPPED, "guests-trapped", 500},
    {BENCH_TITLE_GUESTS_MAPPED, "guests-mapped", 50},
    {BENCH_TITLE_GUESTS_BUSY, "guests-mapped", 500},
};

const char *bench_plan_step_title(unsigned step)
{
    static char titles[BENCH_STEPS_MAX][64];
    struct nic_backoff_step found;

    if (step >= BENCH_STEPS_MAX || !nic_worker_backoff_step(step, &found))
        return NULL;
    snprintf(titles[step], sizeof titles[step], "63 VFs, mapped, step %s", found.name);
    return titles[step];
}

static bool is_wanted(const struct bench_options *options, const struct single *single)
{
    if (options->smoke && strcmp(single->mode, "verify") && single->size_bytes != 64)
        return false;
    return options->full || !single->full;
}

static void plan_headline(struct bench_run *run, uint32_t size_bytes, unsigned ring)
{
    struct bench_group *group = bench_group_new(run, BENCH_TITLE_HEADLINE, run->options.rounds);

    if (!group)
        return;
    group->headline = true;
    bench_group_add(group, BENCH_CARD, "circulate", size_bytes, ring);
    bench_group_add(group, BENCH_IDEAL, "circulate", size_bytes, ring);
    for (enum bench_who who = BENCH_TESTPMD_IO; run->options.peers && who < BENCH_WHO_COUNT; who++)
        bench_group_add(group, who, "circulate", size_bytes, ring);
}

static void plan_pair(struct bench_run *run, const char *title, enum bench_who who,
                      const char *mode, enum bench_who other, const char *other_mode)
{
    struct bench_group *group = bench_group_new(run, title, run->options.rounds);

    bench_group_add(group, who, mode, 64, BENCH_RING_SMALL);
    if (other < BENCH_WHO_COUNT)
        bench_group_add(group, other, other_mode, 64, BENCH_RING_SMALL);
}

static unsigned few(const struct bench_run *run)
{
    return run->options.rounds < 3 ? run->options.rounds : 3;
}

static void plan_single(struct bench_run *run, const struct single *single)
{
    struct bench_group *group = bench_group_new(run, single->title, few(run));

    bench_group_add(group, BENCH_CARD, single->mode, single->size_bytes, single->ring);
}

static void plan_steps(struct bench_run *run)
{
    for (unsigned step = 0; bench_plan_step_title(step); step++) {
        struct single single = {bench_plan_step_title(step), NULL, 64, BENCH_RING_SMALL, true};
        char mode[BENCH_MODE_LEN];

        snprintf(mode, sizeof mode, "step-%u", step);
        single.mode = mode;
        plan_single(run, &single);
    }
}

static unsigned load_count(const struct bench_options *options)
{
    return options->full ? COUNT(loads) : options->smoke;
}

static void plan_guests(struct bench_run *run)
{
    for (unsigned i = 0; i < load_count(&run->options); i++) {
        struct bench_group *group = bench_group_new(run, loads[i].title, few(run));

        for (unsigned k = 0; k < BENCH_GUEST_RUNS; k++) {
            char mode[BENCH_MODE_LEN];

            snprintf(mode, sizeof mode, "%s-%u-%u", loads[i].mode, bench_guest_counts[k],
                     loads[i].kfps);
            bench_group_add(group, BENCH_SCALE, mode, 64, BENCH_RING_SMALL);
        }
    }
}

// Two workers and one, round by round.
static void plan_workers(struct bench_run *run, const char *title, const char *kind)
{
    struct bench_group *group = bench_group_new(run, title, run->options.rounds);

    for (unsigned count = 2; count; count--) {
        char mode[BENCH_MODE_LEN];

        snprintf(mode, sizeof mode, "%s-%u", kind, count);
        bench_group_add(group, BENCH_WORKERS, mode, 64, BENCH_RING_SMALL);
    }
}

// Keeps the groups that were asked for.
static void pick_groups(struct bench_run *run)
{
    unsigned kept = 0;

    for (unsigned i = 0; run->options.only && i < run->group_count; i++) {
        char name[BENCH_NAME_LEN];

        if (strstr(bench_group_name(&run->group[i], name), run->options.only))
            run->group[kept++] = run->group[i];
    }
    if (run->options.only)
        run->group_count = kept;
}

void bench_plan_make(struct bench_run *run)
{
    const struct bench_options *options = &run->options;
    unsigned headlines = options->smoke ? 1 : COUNT(headline);

    for (unsigned i = 0; i < headlines; i++)
        plan_headline(run, headline[i].size_bytes, headline[i].ring);
    plan_pair(run, BENCH_TITLE_ROUND_TRIP, BENCH_CARD, "round-trip", BENCH_PINGPONG, "round-trip");
    plan_pair(run, BENCH_TITLE_LINE, BENCH_PINGPONG, "line", BENCH_WHO_COUNT, NULL);
    if (options->full)
        plan_pair(run, BENCH_TITLE_ASSIGNED, BENCH_CARD, "circulate63", BENCH_CARD_AGAIN,
                  "circulate");
    for (unsigned i = 0; i < COUNT(singles); i++) {
        if (is_wanted(options, &singles[i]))
            plan_single(run, &singles[i]);
    }
    if (options->full)
        plan_steps(run);
    plan_guests(run);
    if (options->full || options->smoke) {
        plan_workers(run, BENCH_TITLE_WORKERS_SINK, "workers-sink");
        plan_workers(run, BENCH_TITLE_WORKERS_GUESTS, "workers-guests");
    }
    pick_groups(run);
}

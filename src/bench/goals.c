// SPDX-License-Identifier: BSD-3-Clause
#include "bench/goals.h"

#include <stdio.h>

#include "bench/plan.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const uint32_t sizes[] = {64, 1500, 9000};

static const struct {
    enum bench_who who;
    double wanted[COUNT(sizes)];
} against[] = {
    {BENCH_OVS, {4, 3, 1.5}},
    {BENCH_TESTPMD_MACSWAP, {2.2, 2, 1.5}},
    {BENCH_TESTPMD_IO, {2.2, 2, 1.5}},
    {BENCH_IDEAL, {0.5, 0.7, 0.85}},
};

static void judge(struct bench_goal *goal, struct bench_spread ratio)
{
    goal->got = ratio.median;
    if (!ratio.count)
        goal->verdict = BENCH_NOT_MEASURED;
    else if (goal->at_most ? goal->got <= goal->wanted : goal->got >= goal->wanted)
        goal->verdict = BENCH_REACHED;
    else
        goal->verdict = BENCH_NOT_REACHED;
}

static struct bench_spread ratio_of(const struct bench_run *run, const char *title, uint32_t size,
                                    unsigned ring, enum bench_who ours, enum bench_who theirs)
{
    const struct bench_group *group = bench_run_find(run, title, size, ring);

    return bench_entry_ratio(group, bench_group_find(group, ours), bench_group_find(group, theirs));
}

static unsigned headline_goals(const struct bench_run *run, struct bench_goal *out)
{
    unsigned n = 0;

    for (unsigned i = 0; i < COUNT(against); i++) {
        for (unsigned k = 0; k < COUNT(sizes); k++) {
            struct bench_goal *goal = &out[n++];

            *goal = (struct bench_goal){.wanted = against[i].wanted[k]};
            snprintf(goal->what, sizeof goal->what, "%u B against %s", sizes[k],
                     bench_who_name(against[i].who));
            judge(goal, ratio_of(run, BENCH_TITLE_HEADLINE, sizes[k], BENCH_RING_SMALL, BENCH_CARD,
                                 against[i].who));
        }
    }
    return n;
}

// The next goal of the list, to be named and judged.
static struct bench_goal *add(struct bench_goal *out, unsigned *n, double wanted, bool at_most,
                              const char *what)
{
    struct bench_goal *goal = &out[(*n)++];

    *goal = (struct bench_goal){.wanted = wanted, .at_most = at_most};
    snprintf(goal->what, sizeof goal->what, "%s", what);
    return goal;
}

// Of a group's only entry: the mode's own figure, or its rate, times `factor`.
static struct bench_spread figure_of(const struct bench_run *run, const char *title, bool rate,
                                     double factor)
{
    const struct bench_group *group = bench_run_find(run, title, 64, BENCH_RING_SMALL);
    double figure[BENCH_ROUNDS_MAX];

    for (unsigned i = 0; group && i < group->rounds; i++)
        figure[i] = factor * (rate ? group->entry[0].mpps[i] : group->entry[0].value[i]);
    return group ? bench_spread_of(figure, group->rounds) : (struct bench_spread){0};
}

// In ms, how long a frame is under way when the worker is at the slowest step of its back-off.
static struct bench_spread slowest_wake_ms(const struct bench_run *run)
{
    const struct bench_group *group = NULL;
    double ms[BENCH_ROUNDS_MAX];

    for (unsigned step = 0; bench_plan_step_title(step); step++)
        group = bench_run_find(run, bench_plan_step_title(step), 64, BENCH_RING_SMALL);
    for (unsigned i = 0; group && i < group->rounds; i++)
        ms[i] = 1 / group->entry[0].mpps[i] / 1e3;
    return group ? bench_spread_of(ms, group->rounds) : (struct bench_spread){0};
}

// In percent of a core for each guest more: round by round, the slope over the numbers of guests.
static struct bench_spread guest_cost(const struct bench_run *run, const char *title)
{
    const struct bench_group *group = bench_run_find(run, title, 64, BENCH_RING_SMALL);
    double slope[BENCH_ROUNDS_MAX];

    for (unsigned i = 0; group && i < group->rounds; i++) {
        double guests[BENCH_GUEST_RUNS], percent[BENCH_GUEST_RUNS];

        for (unsigned k = 0; k < BENCH_GUEST_RUNS; k++) {
            guests[k] = bench_guest_counts[k];
            percent[k] = 100 * group->entry[k].value[i];
        }
        slope[i] = bench_slope(guests, percent, BENCH_GUEST_RUNS);
    }
    return group ? bench_spread_of(slope, group->rounds) : (struct bench_spread){0};
}

static struct bench_spread first_by_second(const struct bench_run *run, const char *title)
{
    const struct bench_group *group = bench_run_find(run, title, 64, BENCH_RING_SMALL);

    if (!group || group->entry_count < 2)
        return (struct bench_spread){0};
    return bench_entry_ratio(group, &group->entry[0], &group->entry[1]);
}

static void scale_goals(const struct bench_run *run, struct bench_goal *out, unsigned *n)
{
    judge(add(out, n, 0.95, false, "rate with 63 VFs assigned by rate with 2"),
          ratio_of(run, BENCH_TITLE_ASSIGNED, 64, BENCH_RING_SMALL, BENCH_CARD, BENCH_CARD_AGAIN));
    judge(add(out, n, 0.99, false, "63 VFs all send: Jain's index"),
          figure_of(run, BENCH_TITLE_ALL_SEND, false, 1));
    judge(add(out, n, 0, true, "63 idle VFs, trapped: wake-ups a second"),
          figure_of(run, BENCH_TITLE_IDLE_TRAPPED, true, 1e6));
    judge(add(out, n, 1, true, "63 idle VFs, mapped: % of a core"),
          figure_of(run, BENCH_TITLE_IDLE_MAPPED, false, 100));
    judge(add(out, n, 10, true, "63 idle VFs, mapped: ms until a frame is seen"),
          slowest_wake_ms(run));
    judge(add(out, n, 1.76, true, "a guest more at 0.5 Mpps, trapped: % of the worker's core"),
          guest_cost(run, BENCH_TITLE_GUESTS_TRAPPED));
    judge(add(out, n, 1.76, true, "a guest more at 0.05 Mpps, mapped: % of the worker's core"),
          guest_cost(run, BENCH_TITLE_GUESTS_MAPPED));
    judge(add(out, n, 1, false, "2 workers by 1: full rings, null uplink"),
          first_by_second(run, BENCH_TITLE_WORKERS_SINK));
}

unsigned bench_goals(const struct bench_run *run, struct bench_goal out[BENCH_GOALS_MAX])
{
    unsigned n = headline_goals(run, out);

    // Times, so the other way round: round trips a second of the ping-pong by ours.
    judge(add(out, &n, 2, true, "round trip, polling, by ping-pong of as many lines"),
          ratio_of(run, BENCH_TITLE_ROUND_TRIP, 64, BENCH_RING_SMALL, BENCH_PINGPONG, BENCH_CARD));
    if (run->options.full)
        scale_goals(run, out, &n);
    return n;
}

double bench_ideal_factor(const struct bench_run *run)
{
    return ratio_of(run, BENCH_TITLE_HEADLINE, 64, BENCH_RING_SMALL, BENCH_IDEAL, BENCH_TESTPMD_IO)
        .median;
}

unsigned bench_doubtful_count(const struct bench_run *run)
{
    unsigned count = 0;

    for (unsigned i = 0; i < run->group_count; i++) {
        for (unsigned k = 0; k < run->group[i].entry_count; k++)
            count += run->group[i].entry[k].doubtful;
    }
    return count;
}

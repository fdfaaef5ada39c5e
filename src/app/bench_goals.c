// SPDX-License-Identifier: BSD-3-Clause
#include "app/bench_goals.h"

#include <stdio.h>

#include "app/bench_plan.h"

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

unsigned bench_goals(const struct bench_run *run, struct bench_goal out[BENCH_GOALS_MAX])
{
    unsigned n = headline_goals(run, out);
    struct bench_goal *goal = &out[n++];

    // Times, so the other way round: round trips a second of the ping-pong by ours.
    *goal = (struct bench_goal){.wanted = 2, .at_most = true};
    snprintf(goal->what, sizeof goal->what, "round trip, polling, by ping-pong of as many lines");
    judge(goal,
          ratio_of(run, BENCH_TITLE_ROUND_TRIP, 64, BENCH_RING_SMALL, BENCH_PINGPONG, BENCH_CARD));
    if (!run->options.full)
        return n;
    goal = &out[n++];
    *goal = (struct bench_goal){.wanted = 0.95};
    snprintf(goal->what, sizeof goal->what, "rate with 63 VFs assigned by rate with 2");
    judge(goal,
          ratio_of(run, BENCH_TITLE_ASSIGNED, 64, BENCH_RING_SMALL, BENCH_CARD, BENCH_CARD_AGAIN));
    goal = &out[n++];
    *goal = (struct bench_goal){.wanted = 0.99};
    snprintf(goal->what, sizeof goal->what, "63 VFs all send: Jain's index");
    {
        const struct bench_group *group =
            bench_run_find(run, BENCH_TITLE_ALL_SEND, 64, BENCH_RING_SMALL);
        struct bench_spread none = {0};

        judge(goal, group ? bench_spread_of(group->entry[0].value, group->rounds) : none);
    }
    goal = &out[n++];
    *goal = (struct bench_goal){.wanted = 0.01, .at_most = true};
    snprintf(goal->what, sizeof goal->what, "63 idle VFs, mapped doorbells: share of a core");
    {
        const struct bench_group *group =
            bench_run_find(run, BENCH_TITLE_IDLE_MAPPED, 64, BENCH_RING_SMALL);
        struct bench_spread none = {0};

        judge(goal, group ? bench_spread_of(group->entry[0].value, group->rounds) : none);
    }
    return n;
}

double bench_ideal_factor(const struct bench_run *run)
{
    return ratio_of(run, BENCH_TITLE_HEADLINE, 64, BENCH_RING_SMALL, BENCH_IDEAL, BENCH_TESTPMD_IO)
        .median;
}

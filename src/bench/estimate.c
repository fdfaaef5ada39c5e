// SPDX-License-Identifier: BSD-3-Clause
#include "bench/estimate.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

// What the first groups took says little about the others yet: as if so much had gone by the guess.
#define PRIOR_MS 30000u

// Found by looking at runs ("seconds" in the JSON). Of the back-off steps: the mean, the slowest
// takes five times as long as the first.
static const struct cost {
    const char *mode; // or how it begins
    unsigned open_ms; // until the first sample
    unsigned warm_up_ms;
    unsigned sample_least_ms; // whatever sample_ms
} costs[] = {
    {"circulate63", 600, 60, 0}, {"ring63", 600, 60, 0},  {"idle-", 600, 560, 1000},
    {"step-", 600, 120, 900},    {"asleep", 500, 120, 0}, {"guests-", 200, 100, 0},
    {"workers-", 200, 100, 0},   {"", 120, 60, 0},
};
static const struct cost peer = {.open_ms = 400, .warm_up_ms = 100};
static const struct cost peer_starts = {.open_ms = 6500, .warm_up_ms = 100};

// A peer starts again for another ring or for jumbo frames.
static bool is_as_before(const struct bench_shape *shape, const struct bench_group *before)
{
    const struct bench_shape *last = before ? &before->entry[0].shape : NULL;

    return last && last->ring == shape->ring &&
           (last->size_bytes > 1514) == (shape->size_bytes > 1514);
}

static const struct cost *cost_of(const struct bench_entry *entry, const struct bench_group *before)
{
    const struct cost *cost = costs;

    if (entry->who >= BENCH_TESTPMD_IO)
        return is_as_before(&entry->shape, before) ? &peer : &peer_starts;
    while (strncmp(entry->shape.mode, cost->mode, strlen(cost->mode)))
        cost++;
    return cost;
}

uint64_t bench_estimate_group_ms(const struct bench_group *group, const struct bench_group *before,
                                 unsigned rounds, unsigned sample_ms)
{
    uint64_t sum_ms = 0;

    for (unsigned i = 0; i < group->entry_count; i++) {
        const struct cost *cost = cost_of(&group->entry[i], before);
        unsigned least_ms = cost->sample_least_ms;

        sum_ms += cost->open_ms;
        sum_ms +=
            (uint64_t)rounds * (cost->warm_up_ms + (sample_ms > least_ms ? sample_ms : least_ms));
    }
    return sum_ms;
}

uint64_t bench_estimate_left_ms(uint64_t left_ms, uint64_t done_ms, uint64_t took_ms)
{
    return (uint64_t)((double)left_ms * (double)(took_ms + PRIOR_MS) /
                      (double)(done_ms + PRIOR_MS));
}

void bench_estimate_text(uint64_t ms, char out[BENCH_ESTIMATE_TEXT_LEN])
{
    unsigned s = (unsigned)((ms + 999) / 1000);

    if (s < 10)
        snprintf(out, BENCH_ESTIMATE_TEXT_LEN, "%u s", s);
    else if (s < 90)
        snprintf(out, BENCH_ESTIMATE_TEXT_LEN, "%u s", (s + 9) / 10 * 10);
    else
        snprintf(out, BENCH_ESTIMATE_TEXT_LEN, "%u min", (s + 30) / 60);
}

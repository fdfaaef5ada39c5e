// SPDX-License-Identifier: BSD-3-Clause
#include "bench/report.h"

#include <string.h>

#include "bench/frames.h"
#include "bench/goals.h"
#include "bench/plan.h"
#include "text/table.h"

#define LABEL_LEN 160u

static const char *const verdicts[] = {
    [BENCH_NOT_MEASURED] = "not measured",
    [BENCH_NOT_REACHED] = "not reached",
    [BENCH_REACHED] = "reached",
};

static struct bench_spread rate_of(const struct bench_group *group, const struct bench_entry *entry)
{
    return bench_spread_of(entry->mpps, group->rounds);
}

static double gbps_of(const struct bench_entry *entry, double mpps)
{
    return mpps * bench_frame_len_mean(entry->shape.size_bytes) * 8 / 1e3;
}

static void size_print(char text[16], uint32_t size)
{
    if (size == BENCH_IMIX)
        strcpy(text, "IMIX");
    else
        snprintf(text, 16, "%u", size);
}

static bool begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

// What an entry is, where its group's title alone does not say it.
static void label_print(char text[LABEL_LEN], const struct bench_group *group,
                        const struct bench_entry *entry)
{
    const char *mode = entry->shape.mode;
    unsigned count;

    if (sscanf(mode, "guests-%*[a-z]-%u", &count) == 1)
        snprintf(text, LABEL_LEN, "%u %s", count, group->title);
    else if (sscanf(mode, "workers-%*[a-z]-%u", &count) == 1)
        snprintf(text, LABEL_LEN, "%s: %u worker%s", group->title, count, count > 1 ? "s" : "");
    else if (begins(mode, "step-") || begins(mode, "asleep"))
        snprintf(text, LABEL_LEN, "%s: how long a frame waits", group->title);
    else if (entry->who == BENCH_CARD_AGAIN)
        snprintf(text, LABEL_LEN, "2 VFs assigned, traffic on both");
    else if (entry->who != BENCH_CARD)
        snprintf(text, LABEL_LEN, "%s: %s", group->title, bench_who_name(entry->who));
    else
        snprintf(text, LABEL_LEN, "%s", group->title);
}

// --- for people ---

static void note_cell(struct table *table, const struct bench_entry *entry, bool measured,
                      const char *figure)
{
    char doubtful[64] = "";
    const char *why = !measured && !entry->why[0] ? "every sample was contended" : entry->why;

    if (entry->doubtful)
        snprintf(doubtful, sizeof doubtful, "%u contended, taken all the same", entry->doubtful);
    table_cell(table, "%s%s%s%s%s", figure, figure[0] && doubtful[0] ? "; " : "", doubtful,
               (figure[0] || doubtful[0]) && why[0] ? "; " : "", why);
}

static void headline_row(struct table *table, const struct bench_group *group,
                         const struct bench_entry *entry)
{
    const struct bench_entry *ours = &group->entry[0];
    struct bench_spread rate = rate_of(group, entry);
    struct bench_spread ratio = bench_entry_ratio(group, ours, entry);
    char size[16] = "", ring[16] = "";

    if (entry == ours) { // the group's first row
        size_print(size, entry->shape.size_bytes);
        snprintf(ring, sizeof ring, "%u", entry->shape.ring);
    }
    table_cell(table, "%s", size);
    table_cell(table, "%s", ring);
    table_cell(table, "%s", bench_who_name(entry->who));
    if (rate.count) {
        table_cell(table, "%.2f", rate.median);
        table_cell(table, "%.2f", rate.min);
        table_cell(table, "%.2f", rate.max);
        table_cell(table, "%.1f", gbps_of(entry, rate.median));
    }
    for (unsigned i = 0; !rate.count && i < 4; i++)
        table_cell(table, "-");
    if (entry == ours)
        table_cell(table, "%s", "");
    else if (ratio.count)
        table_cell(table, "%.2f", ratio.median);
    else
        table_cell(table, "-");
    table_cell(table, "%u", rate.count);
    table_cell(table, "%u", entry->contended);
    note_cell(table, entry, rate.count, "");
}

static void absent_print(FILE *out)
{
    fprintf(out, "NOT MEASURED, without --peers ('make bench' installs them and gives it):");
    for (enum bench_who who = BENCH_TESTPMD_IO; who < BENCH_WHO_COUNT; who++)
        fprintf(out, "%s %s", who > BENCH_TESTPMD_IO ? "," : "", bench_who_name(who));
    fputs(".\n\n", out);
}

static void headline_print(const struct bench_run *run, FILE *out)
{
    static const char *const headings[] = {">BYTES",  ">RING",     "WHO",     ">Mpps",
                                           ">LEAST",  ">MOST",     ">Gbit/s", ">VIREO/IT",
                                           ">ROUNDS", ">REPEATED", "NOTE"};
    struct table *table;
    unsigned found = 0;

    for (unsigned i = 0; i < run->group_count; i++)
        found += run->group[i].headline;
    if (!found)
        return;
    table = table_create(11, headings);
    for (unsigned i = 0; i < run->group_count; i++) {
        const struct bench_group *group = &run->group[i];

        for (unsigned k = 0; group->headline && k < group->entry_count; k++)
            headline_row(table, group, &group->entry[k]);
    }
    fprintf(out,
            "VF TO VF: frames go round between two ports through the switch\n"
            "Mpps: million frames a second, both directions together: median of the rounds, least, "
            "and most.\n"
            "VIREO/IT: Vireo's rate divided by that row's, round by round; the median. Above 1, "
            "Vireo is faster.\n"
            "REPEATED: samples thrown away, since somebody else had used a core meanwhile.\n\n");
    table_print(table, out);
    fputc('\n', out);
    table_destroy(table);
    if (!run->options.peers)
        absent_print(out);
}

// What a mode's `frames` and time are about.
enum measure { MEASURE_RATE, MEASURE_TIME, MEASURE_WAKEUPS };

static enum measure measure_of(const char *mode)
{
    static const char *const times[] = {"round-trip", "line", "irq-", "step-", "asleep"};

    for (unsigned i = 0; i < sizeof times / sizeof times[0]; i++) {
        if (begins(mode, times[i]))
            return MEASURE_TIME;
    }
    return begins(mode, "idle-") ? MEASURE_WAKEUPS : MEASURE_RATE;
}

static bool value_is_core_share(const char *mode)
{
    return begins(mode, "idle-") || begins(mode, "step-") || begins(mode, "asleep") ||
           begins(mode, "guests-");
}

static void value_print(char text[64], const struct bench_group *group,
                        const struct bench_entry *entry)
{
    struct bench_spread value = bench_spread_of(entry->value, group->rounds);
    const char *mode = entry->shape.mode;

    text[0] = 0;
    if (!value.count)
        return;
    if (!strcmp(mode, "verify"))
        snprintf(text, 64, "%llu frames checked, %.0f bad", (unsigned long long)entry->frames,
                 value.max);
    else if (!strcmp(mode, "ring63"))
        snprintf(text, 64, "Jain's index %.4f", value.median);
    else if (value_is_core_share(mode))
        snprintf(text, 64, "%.2f %% of a core", value.median * 100);
}

static void other_row(struct table *table, const struct bench_group *group,
                      const struct bench_entry *entry)
{
    struct bench_spread rate = rate_of(group, entry);
    enum measure measure = measure_of(entry->shape.mode);
    char label[LABEL_LEN], size[16], value[64];

    label_print(label, group, entry);
    size_print(size, entry->shape.size_bytes);
    value_print(value, group, entry);
    table_cell(table, "%s", label);
    table_cell(table, "%s", size);
    if (!rate.count)
        table_cell(table, "-");
    else if (measure == MEASURE_WAKEUPS)
        table_cell(table, "%.0f wake-ups/s", rate.median * 1e6);
    else if (measure == MEASURE_TIME)
        table_cell(table, "%.2f us  ", rate.median ? 1 / rate.median : 0);
    else
        table_cell(table, "%.2f Mpps", rate.median);
    if (!rate.count || measure != MEASURE_RATE)
        table_cell(table, "%s", "");
    else
        table_cell(table, "%.3g", gbps_of(entry, rate.median));
    table_cell(table, "%u", entry->contended);
    note_cell(table, entry, rate.count, value);
}

static void others_print(const struct bench_run *run, FILE *out)
{
    static const char *const headings[] = {"WHAT",    ">BYTES",    ">MEDIAN",
                                           ">Gbit/s", ">REPEATED", "NOTE"};
    struct table *table;
    unsigned found = 0;

    for (unsigned i = 0; i < run->group_count; i++)
        found += !run->group[i].headline;
    if (!found)
        return;
    table = table_create(6, headings);
    for (unsigned i = 0; i < run->group_count; i++) {
        const struct bench_group *group = &run->group[i];

        for (unsigned k = 0; !group->headline && k < group->entry_count; k++)
            other_row(table, group, &group->entry[k]);
    }
    fprintf(out, "OTHER TRAFFIC OF VIREO, AND TIMES: medians of the rounds\n\n");
    table_print(table, out);
    fputc('\n', out);
    table_destroy(table);
}

static void goals_print(const struct bench_run *run, FILE *out)
{
    static const char *const headings[] = {"GOAL", ">WANTED", ">GOT", "VERDICT"};
    struct bench_goal goals[BENCH_GOALS_MAX];
    unsigned count = bench_goals(run, goals), with[BENCH_REACHED + 1] = {0};
    struct table *table = table_create(4, headings);

    for (unsigned i = 0; i < count; i++) {
        with[goals[i].verdict]++;
        if (run->options.only && goals[i].verdict == BENCH_NOT_MEASURED)
            continue;
        table_cell(table, "%s", goals[i].what);
        table_cell(table, "at %s %.2f", goals[i].at_most ? "most" : "least", goals[i].wanted);
        if (goals[i].verdict == BENCH_NOT_MEASURED)
            table_cell(table, "-");
        else
            table_cell(table, "%.3f", goals[i].got);
        table_cell(table, "%s", verdicts[goals[i].verdict]);
    }
    if (with[BENCH_REACHED] + with[BENCH_NOT_REACHED] || !run->options.only) {
        fprintf(out,
                "GOALS: medians of the rounds' figures, rings of %u\n"
                "'against': Vireo's rate divided by the other's.\n\n",
                BENCH_RING_SMALL);
        table_print(table, out);
        fprintf(out, "\n%u goals reached, %u not reached, %u not measured\n", with[BENCH_REACHED],
                with[BENCH_NOT_REACHED], with[BENCH_NOT_MEASURED]);
    }
    table_destroy(table);
}

static void about_print(const struct bench_run *run, const struct bench_about *about, FILE *out)
{
    for (unsigned i = 0; i < about->count; i++)
        fprintf(out, "%s: %s; ", about->line[i].name, about->line[i].value);
    fprintf(out, "%u round%s of %u ms\n\n", run->options.rounds, run->options.rounds > 1 ? "s" : "",
            run->options.sample_ms);
}

// The last line: may these figures be quoted?
static void valid_print(const struct bench_run *run, FILE *out)
{
    unsigned doubtful = bench_doubtful_count(run);
    double factor = bench_ideal_factor(run);

    if (doubtful)
        fprintf(out, "This run is INVALID: %u contended samples were taken all the same.\n",
                doubtful);
    if (factor > 0)
        fprintf(out,
                "%sThe idealised forwarder is %.2f times as fast as testpmd's io at 64 bytes; to "
                "be a limit it has to be %.0f times.\n",
                factor < BENCH_IDEAL_TIMES_IO ? "This run is INVALID. "
                : doubtful                    ? ""
                                              : "This run is valid. ",
                factor, BENCH_IDEAL_TIMES_IO);
    else if (!doubtful)
        fprintf(out, "Nothing says whether this run is valid: testpmd's io at 64 bytes was not "
                     "measured.\n");
}

void bench_report_print(const struct bench_run *run, const struct bench_about *about, FILE *out)
{
    about_print(run, about, out);
    headline_print(run, out);
    others_print(run, out);
    goals_print(run, out);
    valid_print(run, out);
}

// --- for programs ---

static json_t *spread_json(struct bench_spread s)
{
    if (!s.count)
        return json_null();
    return json_pack("{s:f, s:f, s:f, s:i}", "median", s.median, "min", s.min, "max", s.max,
                     "rounds", (int)s.count);
}

static struct bench_spread spread_times(struct bench_spread s, double factor)
{
    return (struct bench_spread){s.median * factor, s.min * factor, s.max * factor, s.count};
}

static json_t *rounds_json(const double *values, unsigned count)
{
    json_t *out = json_array();

    for (unsigned i = 0; i < count; i++)
        json_array_append_new(out, bench_is_sample(values[i]) ? json_real(values[i]) : json_null());
    return out;
}

static json_t *entry_json(const struct bench_group *group, const struct bench_entry *entry)
{
    struct bench_spread rate = rate_of(group, entry);
    char label[LABEL_LEN];
    json_t *out;

    label_print(label, group, entry);
    out = json_pack("{s:s, s:s, s:s, s:o, s:o}", "who", bench_who_name(entry->who), "label", label,
                    "mode", entry->shape.mode, "mpps", spread_json(rate), "gbit_per_s",
                    spread_json(spread_times(rate, gbps_of(entry, 1))));
    json_object_set_new(out, "mpps_by_round", rounds_json(entry->mpps, group->rounds));
    json_object_set_new(out, "value_by_round", rounds_json(entry->value, group->rounds));
    json_object_set_new(out, "ours_by_theirs",
                        spread_json(bench_entry_ratio(group, &group->entry[0], entry)));
    json_object_set_new(out, "value", spread_json(bench_spread_of(entry->value, group->rounds)));
    json_object_set_new(out, "frames", json_integer((json_int_t)entry->frames));
    json_object_set_new(out, "samples_thrown_away", json_integer(entry->contended));
    json_object_set_new(out, "samples_doubtful", json_integer(entry->doubtful));
    json_object_set_new(out, "note", entry->why[0] ? json_string(entry->why) : json_null());
    return out;
}

static json_t *group_json(const struct bench_group *group)
{
    const struct bench_shape *shape = &group->entry[0].shape;
    json_t *entries = json_array();

    for (unsigned i = 0; i < group->entry_count; i++)
        json_array_append_new(entries, entry_json(group, &group->entry[i]));
    return json_pack("{s:s, s:o, s:i, s:i, s:f, s:o}", "what", group->title, "size_bytes",
                     shape->size_bytes == BENCH_IMIX ? json_string("IMIX")
                                                     : json_integer(shape->size_bytes),
                     "ring", (int)shape->ring, "rounds_wanted", (int)group->rounds_wanted,
                     "seconds", (double)group->took_ns / 1e9, "entries", entries);
}

static json_t *goal_json(const struct bench_goal *goal)
{
    return json_pack("{s:s, s:f, s:s, s:o, s:s}", "what", goal->what, "wanted", goal->wanted, "is",
                     goal->at_most ? "at most" : "at least", "got",
                     goal->verdict == BENCH_NOT_MEASURED ? json_null() : json_real(goal->got),
                     "verdict", verdicts[goal->verdict]);
}

json_t *bench_report_json(const struct bench_run *run, const struct bench_about *about)
{
    struct bench_goal goals[BENCH_GOALS_MAX];
    unsigned count = bench_goals(run, goals);
    json_t *groups = json_array(), *goals_out = json_array(), *on = json_object();
    double factor = bench_ideal_factor(run);

    for (unsigned i = 0; i < about->count; i++)
        json_object_set_new(on, about->line[i].name, json_string(about->line[i].value));
    for (unsigned i = 0; i < run->group_count; i++)
        json_array_append_new(groups, group_json(&run->group[i]));
    for (unsigned i = 0; i < count; i++)
        json_array_append_new(goals_out, goal_json(&goals[i]));
    return json_pack("{s:s, s:s, s:o, s:b, s:i, s:i, s:i, s:o, s:o, s:o, s:o}", "vireo",
                     VIREO_VERSION, "benchmark", "dataplane", "about", on, "full",
                     run->options.full, "frames_each_way", (int)BENCH_FRAMES_EACH_WAY, "rounds",
                     (int)run->options.rounds, "sample_ms", (int)run->options.sample_ms,
                     "ideal_by_testpmd_io", factor > 0 ? json_real(factor) : json_null(), "valid",
                     bench_doubtful_count(run) ? json_false()
                     : factor > 0              ? json_boolean(factor >= BENCH_IDEAL_TIMES_IO)
                                               : json_null(),
                     "goals", goals_out, "groups", groups);
}

// --- sound? ---

static bool entry_sound(const struct bench_group *group, const struct bench_entry *entry)
{
    struct bench_spread value = bench_spread_of(entry->value, group->rounds);

    if (entry->why[0]) {
        fprintf(stderr, "vireo-bench: %s, %s: %s\n", group->title, bench_who_name(entry->who),
                entry->why);
        return false;
    }
    if (strcmp(entry->shape.mode, "verify") || (value.count && entry->frames && !value.max))
        return true;
    fprintf(stderr,
            "vireo-bench: %u bytes: of %llu frames, %.0f were lost, out of order or other "
            "than they were sent\n",
            entry->shape.size_bytes, (unsigned long long)entry->frames, value.max);
    return false;
}

bool bench_report_sound(const struct bench_run *run)
{
    double factor = bench_ideal_factor(run);
    bool sound = true;

    for (unsigned i = 0; i < run->group_count; i++) {
        const struct bench_group *group = &run->group[i];

        for (unsigned k = 0; k < group->entry_count; k++) {
            if (group->entry[k].who < BENCH_TESTPMD_IO)
                sound = entry_sound(group, &group->entry[k]) && sound;
        }
    }
    if (factor > 0 && factor < BENCH_IDEAL_TIMES_IO) {
        fprintf(stderr,
                "vireo-bench: INVALID RUN: the idealised forwarder is %.2f times testpmd's io at "
                "64 bytes; below %.0f it is no limit\n",
                factor, BENCH_IDEAL_TIMES_IO);
        sound = false;
    }
    return sound;
}

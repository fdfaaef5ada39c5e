// SPDX-License-Identifier: BSD-3-Clause
// What the benchmark computes: statistics, contention, frames, goals. And how it talks to a
// subject.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/about.h"
#include "bench/estimate.h"
#include "bench/frames.h"
#include "bench/goals.h"
#include "bench/plan.h"
#include "bench/report.h"
#include "bench/run.h"
#include "bench/sched.h"
#include "bench/stats.h"
#include "bench/subject.h"
#include "base/clock.h"

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-9;
}

static void test_spread(void **state)
{
    const double odd[] = {5, 1, 3}, even[] = {4, 1, 3, 2};
    double all[BENCH_ROUNDS_MAX];
    struct bench_spread s = bench_spread_of(odd, 3);

    (void)state;
    assert_true(s.median == 3 && s.min == 1 && s.max == 5 && s.count == 3);
    s = bench_spread_of(even, 4);
    assert_true(s.median == 2.5 && s.min == 1 && s.max == 4 && s.count == 4);
    s = bench_spread_of(even, 1);
    assert_true(s.median == 4 && s.min == 4 && s.max == 4 && s.count == 1);
    for (unsigned i = 0; i < BENCH_ROUNDS_MAX; i++)
        all[i] = i;
    s = bench_spread_of(all, BENCH_ROUNDS_MAX);
    assert_true(s.max == BENCH_ROUNDS_MAX - 1 && s.count == BENCH_ROUNDS_MAX);
}

static void test_spread_without_samples(void **state)
{
    const double none = bench_no_sample(), some[] = {none, 7, none, 9, none};
    struct bench_spread s = bench_spread_of(some, 5);

    (void)state;
    assert_true(s.median == 8 && s.min == 7 && s.max == 9 && s.count == 2);
    s = bench_spread_of(&none, 1);
    assert_true(s.count == 0 && s.median == 0);
    assert_int_equal(bench_spread_of(some, 0).count, 0);
    assert_false(bench_is_sample(none));
    assert_true(bench_is_sample(0));
}

// A round counts only where both have a sample, and the median is that of the ratios: not the ratio
// of the medians, which would be 4 ÷ 2 here.
static void test_ratios(void **state)
{
    const double ours[] = {2, 4, 8, bench_no_sample(), 5, 5};
    const double theirs[] = {4, 2, 1, 3, bench_no_sample(), 0};
    double ratio[6];
    struct bench_spread s;

    (void)state;
    bench_ratios(ours, theirs, 6, ratio);
    assert_true(ratio[0] == 0.5 && ratio[1] == 2 && ratio[2] == 8);
    assert_false(bench_is_sample(ratio[3]));
    assert_false(bench_is_sample(ratio[4]));
    assert_false(bench_is_sample(ratio[5]));
    s = bench_spread_of(ratio, 6);
    assert_true(s.median == 2 && s.count == 3);
}

static void test_jain(void **state)
{
    const uint64_t same[] = {3, 3, 3, 3}, one[] = {0, 9, 0, 0}, none[] = {0, 0}, two[] = {1, 3};

    (void)state;
    assert_true(near(bench_jain(same, 4), 1));
    assert_true(near(bench_jain(one, 4), 0.25));
    assert_true(bench_jain(none, 2) == 0);
    assert_true(near(bench_jain(two, 2), 0.8));
}

static void test_slope(void **state)
{
    const double none = bench_no_sample(), x[] = {10, 20, 40, 60};
    const double line[] = {7, 12, 22, 32}, bent[] = {0, 0, 10, 0}, gap[] = {7, none, 22, none};
    const double one[] = {none, 5, none, none}, same_x[] = {3, 3};

    (void)state;
    assert_true(near(bench_slope(x, line, 4), 0.5));
    assert_true(near(bench_slope(x, gap, 4), 0.5));
    // By hand: x about its mean -22.5, -12.5, 7.5, 27.5; 75 by 1475.
    assert_true(near(bench_slope(x, bent, 4), 75.0 / 1475));
    assert_false(bench_is_sample(bench_slope(x, one, 4)));
    assert_false(bench_is_sample(bench_slope(same_x, line, 2)));
    assert_false(bench_is_sample(bench_slope(x, line, 0)));
}

static void test_about(void **state)
{
    struct bench_about about = {0};

    (void)state;
    bench_about_add(&about, "commit: abc, changed\nnonsense\n: no name\nempty:  \nDPDK:22.11");
    assert_int_equal(about.count, 2);
    assert_string_equal(bench_about_get(&about, "commit"), "abc, changed");
    assert_string_equal(bench_about_get(&about, "DPDK"), "22.11");
    assert_null(bench_about_get(&about, "nonsense"));
    bench_about_add(&about, "");
    assert_int_equal(about.count, 2);
    for (unsigned i = 0; i < 2 * BENCH_ABOUT_LINES_MAX; i++)
        bench_about_add(&about, "a: b");
    assert_int_equal(about.count, BENCH_ABOUT_LINES_MAX);
    about.count = 0;
    bench_about_machine(&about);
    assert_non_null(bench_about_get(&about, "kernel"));
    assert_non_null(bench_about_get(&about, "date"));
}

static void test_contended(void **state)
{
    (void)state;
    assert_false(bench_is_contended(0));
    assert_false(bench_is_contended(BENCH_WAIT_SHARE_MAX));
    assert_true(bench_is_contended(BENCH_WAIT_SHARE_MAX + 0.0001));
}

static void test_schedstat(void **state)
{
    struct bench_thread t;

    (void)state;
    assert_true(bench_schedstat_parse("12345678901234 42 7\n", &t));
    assert_true(t.ran_ns == 12345678901234 && t.waited_ns == 42);
    assert_false(bench_schedstat_parse("1 2", &t));
    assert_false(bench_schedstat_parse("", &t));
    assert_false(bench_schedstat_parse("ran waited slices", &t));
}

static void test_wait_share(void **state)
{
    const uint64_t second = NS_PER_S;
    struct bench_sched before = {3, {{10, 5, 5}, {11, 0, 0}, {12, 100, 100}}}, after = before;

    (void)state;
    // Thread 10 is busy, and waited for 10 %.
    after.thread[0] = (struct bench_thread){10, 5 + second * 9 / 10, 5 + second / 10};
    // Thread 11 waited for longer, but is not busy: a control thread.
    after.thread[1] = (struct bench_thread){11, second / 10, second * 3 / 10};
    assert_true(near(bench_sched_wait_share(&before, &after, second), 0.1));
    assert_true(near(bench_sched_ran_share(&before, &after, second), 1.0));
    // One that hardly ran, because it waited nearly all the time, is busy too.
    after.thread[2] = (struct bench_thread){12, 100 + second / 100, 100 + second * 6 / 10};
    assert_true(near(bench_sched_wait_share(&before, &after, second), 0.6));
    // New in between: from its beginning.
    before.count = 0;
    after.count = 1;
    after.thread[0] = (struct bench_thread){10, second * 6 / 10, second * 2 / 10};
    assert_true(near(bench_sched_wait_share(&before, &after, second), 0.2));
    after.count = 0;
    assert_true(bench_sched_wait_share(&before, &after, second) == 0);
}

static void test_sched_of_this_process(void **state)
{
    struct bench_watch watch;
    uint64_t ns;

    (void)state;
    bench_watch_start(&watch, getpid(), 0);
    assert_true(watch.before.count >= 1);
    while (clock_now_ns() < watch.start_ns + 20 * NS_PER_MS)
        ;
    bench_watch_end(&watch, &ns);
    assert_true(ns >= 20 * NS_PER_MS);
}

static void test_frame_lengths(void **state)
{
    unsigned counts[3] = {0};

    (void)state;
    assert_int_equal(bench_frame_len(1500, 77), 1500);
    for (unsigned n = 0; n < BENCH_FRAMES_EACH_WAY; n++) {
        uint32_t len = bench_frame_len(BENCH_IMIX, n);

        assert_true(len == 64 || len == 570 || len == 1514);
        counts[len == 64 ? 0 : len == 570 ? 1 : 2]++;
        assert_int_equal(len, bench_frame_len(BENCH_IMIX, n + 5 * BENCH_FRAMES_EACH_WAY));
    }
    assert_true(counts[0] == 152 && counts[1] == 80 && counts[2] == 24);
    assert_true(near(bench_frame_len_mean(BENCH_IMIX),
                     (152.0 * 64 + 80 * 570 + 24 * 1514) / BENCH_FRAMES_EACH_WAY));
}

// Any changed byte is seen, at every length around a word's end.
static void test_frame_check(void **state)
{
    static const uint8_t to[6] = {2, 0, 0, 0, 0, 1}, from[6] = {2, 0, 0, 0, 0, 2};
    uint8_t frame[BENCH_FRAME_MAX];

    (void)state;
    for (uint32_t len = BENCH_FRAME_MIN; len < BENCH_FRAME_MIN + 10; len++) {
        bench_frame_fill(frame, len, to, from, 1234567890123);
        assert_true(bench_frame_check(frame, len, to, from, 1234567890123));
        assert_false(bench_frame_check(frame, len, to, from, 1234567890124));
        assert_false(bench_frame_check(frame, len + 1, to, from, 1234567890123));
        for (uint32_t at = 0; at < len; at++) {
            frame[at] ^= 0x10;
            assert_false(bench_frame_check(frame, len, to, from, 1234567890123));
            frame[at] ^= 0x10;
        }
    }
    assert_false(bench_frame_check(frame, BENCH_FRAME_MIN - 1, to, from, 1234567890123));
}

// --- a run that is made up ---

static struct bench_run made_up(double ours, double ideal, double io)
{
    struct bench_run run = {.options.peers = "x"};
    struct bench_group *group;

    run.group = calloc(BENCH_GROUPS_MAX, sizeof run.group[0]);
    assert_non_null(run.group);
    group = bench_group_new(&run, BENCH_TITLE_HEADLINE, 3);
    bench_group_add(group, BENCH_CARD, "circulate", 64, BENCH_RING_SMALL);
    bench_group_add(group, BENCH_IDEAL, "circulate", 64, BENCH_RING_SMALL);
    bench_group_add(group, BENCH_TESTPMD_IO, "circulate", 64, BENCH_RING_SMALL);
    for (unsigned i = 0; i < 3; i++) {
        group->entry[0].mpps[i] = ours;
        group->entry[1].mpps[i] = ideal;
        group->entry[2].mpps[i] = io;
    }
    return run;
}

static enum bench_verdict verdict_of(const struct bench_run *run, const char *what)
{
    struct bench_goal goals[BENCH_GOALS_MAX];
    unsigned count = bench_goals(run, goals);

    for (unsigned i = 0; i < count; i++) {
        if (!strcmp(goals[i].what, what))
            return goals[i].verdict;
    }
    fail_msg("no goal '%s'", what);
    return BENCH_NOT_MEASURED;
}

static void test_goals(void **state)
{
    struct bench_run run = made_up(22, 44, 10);

    (void)state;
    assert_int_equal(verdict_of(&run, "64 B against testpmd vhost io"), BENCH_REACHED);
    assert_int_equal(verdict_of(&run, "64 B against idealised one-copy forwarder"), BENCH_REACHED);
    assert_int_equal(verdict_of(&run, "64 B against Open vSwitch DPDK NORMAL"), BENCH_NOT_MEASURED);
    assert_int_equal(verdict_of(&run, "1500 B against testpmd vhost io"), BENCH_NOT_MEASURED);
    assert_true(near(bench_ideal_factor(&run), 4.4));
    assert_int_equal(bench_doubtful_count(&run), 0);
    run.group[0].entry[1].doubtful = 2;
    assert_int_equal(bench_doubtful_count(&run), 2);
    free(run.group);
    run = made_up(21.9, 44, 10);
    assert_int_equal(verdict_of(&run, "64 B against testpmd vhost io"), BENCH_NOT_REACHED);
    assert_int_equal(verdict_of(&run, "64 B against idealised one-copy forwarder"),
                     BENCH_NOT_REACHED);
    free(run.group);
    run = made_up(bench_no_sample(), 44, bench_no_sample());
    assert_int_equal(verdict_of(&run, "64 B against testpmd vhost io"), BENCH_NOT_MEASURED);
    assert_true(bench_ideal_factor(&run) == 0);
    free(run.group);
}

static void report_text(const struct bench_run *run, char *text, size_t len)
{
    static const struct bench_about nothing;
    FILE *out = fmemopen(text, len, "w");

    assert_non_null(out);
    bench_report_print(run, &nothing, out);
    fclose(out);
}

// Who was left out is named: all peers where no script runs them.
static void test_report_without_peers(void **state)
{
    struct bench_run run = made_up(22, 44, bench_no_sample());
    char text[8192];

    (void)state;
    run.group[0].headline = true;
    report_text(&run, text, sizeof text);
    assert_null(strstr(text, bench_who_name(BENCH_MEMIF)));
    run.options.peers = NULL;
    report_text(&run, text, sizeof text);
    for (enum bench_who who = BENCH_TESTPMD_IO; who < BENCH_WHO_COUNT; who++)
        assert_non_null(strstr(text, bench_who_name(who)));
    assert_non_null(strstr(text, "--peers"));
    free(run.group);
}

// A machine that is not quiet gets fewer rounds than were wanted, and the file says so.
static void test_report_fewer_rounds(void **state)
{
    static const struct bench_about nothing;
    struct bench_run run = made_up(22, 44, 10);
    json_t *json, *group;

    (void)state;
    run.group[0].rounds = 2;
    json = bench_report_json(&run, &nothing);
    group = json_array_get(json_object_get(json, "groups"), 0);
    assert_int_equal(json_integer_value(json_object_get(group, "rounds_wanted")), 3);
    group = json_array_get(json_object_get(group, "entries"), 0);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(group, "mpps"), "rounds")),
                     2);
    json_decref(json);
    free(run.group);
}

static struct bench_group *made_up_group(struct bench_run *run, const char *title, unsigned rounds)
{
    struct bench_group *group = bench_group_new(run, title, rounds);

    bench_group_add(group, BENCH_CARD, "x", 64, BENCH_RING_SMALL);
    return group;
}

// Round by round: a slope of 1.5, 1.75 and 1.8 % of a core a guest; the first lacks a sample, and
// still has three points.
static void test_scale_goals(void **state)
{
    struct bench_run run = made_up(22, 44, 10);
    const double slope[] = {1.5, 1.75, 1.8};
    struct bench_group *group;

    (void)state;
    run.options.full = true;
    group = bench_group_new(&run, BENCH_TITLE_GUESTS_TRAPPED, 3);
    for (unsigned k = 0; k < BENCH_GUEST_RUNS; k++) {
        bench_group_add(group, BENCH_SCALE, "x", 64, BENCH_RING_SMALL);
        for (unsigned i = 0; i < 3; i++)
            group->entry[k].value[i] = 0.1 + slope[i] / 100 * bench_guest_counts[k];
    }
    group->entry[1].value[0] = bench_no_sample();
    group = made_up_group(&run, BENCH_TITLE_ALL_SEND, 1);
    group->entry[0].value[0] = 0.9899;
    group = made_up_group(&run, BENCH_TITLE_IDLE_TRAPPED, 1);
    group->entry[0].mpps[0] = 0;
    group = made_up_group(&run, BENCH_TITLE_IDLE_MAPPED, 3);
    for (unsigned i = 0; i < 3; i++)
        group->entry[0].value[i] = 0.0099 + i * 0.00005; // median 0.995 %
    group = made_up_group(&run, bench_plan_step_title(0), 1);
    group->entry[0].mpps[0] = 1; // 1 us, but not the slowest step
    for (unsigned step = 0; bench_plan_step_title(step); step++)
        group = made_up_group(&run, bench_plan_step_title(step), 1);
    group->entry[0].mpps[0] = 1 / 10001.0; // 10.001 ms
    assert_int_equal(verdict_of(&run, "a guest more at 0.5 Mpps, trapped: % of the worker's core"),
                     BENCH_REACHED);
    assert_int_equal(verdict_of(&run, "a guest more at 0.05 Mpps, mapped: % of the worker's core"),
                     BENCH_NOT_MEASURED);
    assert_int_equal(verdict_of(&run, "63 VFs all send: Jain's index"), BENCH_NOT_REACHED);
    assert_int_equal(verdict_of(&run, "63 idle VFs, trapped: wake-ups a second"), BENCH_REACHED);
    assert_int_equal(verdict_of(&run, "63 idle VFs, mapped: % of a core"), BENCH_REACHED);
    assert_int_equal(verdict_of(&run, "63 idle VFs, mapped: ms until a frame is seen"),
                     BENCH_NOT_REACHED);
    assert_int_equal(verdict_of(&run, "rate with 63 VFs assigned by rate with 2"),
                     BENCH_NOT_MEASURED);
    free(run.group);
}

static uint64_t estimate(enum bench_who who, const char *mode, uint32_t size, unsigned rounds,
                         const struct bench_group *before)
{
    static struct bench_group group;

    group = (struct bench_group){0};
    bench_group_add(&group, who, mode, size, BENCH_RING_SMALL);
    return bench_estimate_group_ms(&group, before, rounds, 250);
}

static void test_estimate(void **state)
{
    char text[BENCH_ESTIMATE_TEXT_LEN];
    struct bench_group before = {0};
    uint64_t one;

    (void)state;
    bench_group_add(&before, BENCH_CARD, "circulate", 64, BENCH_RING_SMALL);
    // Each round lasts at least the sample; idle ones a second.
    one = estimate(BENCH_CARD, "circulate", 64, 1, NULL);
    assert_in_range(one, 250, 1000);
    assert_in_range(estimate(BENCH_CARD, "circulate", 64, 5, NULL) - one, 4 * 250, 4 * 400);
    assert_in_range(estimate(BENCH_CARD, "idle-mapped", 64, 1, NULL), 1000, 4000);
    // A peer that starts takes seconds, one that runs already does not.
    assert_true(estimate(BENCH_OVS, "circulate", 64, 1, NULL) >
                4 * estimate(BENCH_OVS, "circulate", 64, 1, &before));
    assert_int_equal(estimate(BENCH_OVS, "circulate", 9000, 1, &before),
                     estimate(BENCH_OVS, "circulate", 64, 1, NULL));

    assert_int_equal(bench_estimate_left_ms(60000, 0, 0), 60000);
    assert_int_equal(bench_estimate_left_ms(60000, 90000, 90000), 60000);
    assert_in_range(bench_estimate_left_ms(60000, 600000, 1200000), 110000, 120000);
    assert_int_equal(bench_estimate_left_ms(0, 1000, 5000), 0);

    bench_estimate_text(0, text);
    assert_string_equal(text, "0 s");
    bench_estimate_text(8001, text);
    assert_string_equal(text, "9 s");
    bench_estimate_text(31000, text);
    assert_string_equal(text, "40 s");
    bench_estimate_text(90000, text);
    assert_string_equal(text, "2 min");
    bench_estimate_text(89001, text);
    assert_string_equal(text, "2 min");
    bench_estimate_text(605000, text);
    assert_string_equal(text, "10 min");
}

// --- subjects that the shell plays ---

static int start_shell(const char *script, struct bench_subject **out, char why[BENCH_WHY_LEN])
{
    char shell[] = "/bin/sh", option[] = "-c", text[512];
    char *argv[] = {shell, option, text, NULL};

    strncpy(text, script, sizeof text - 1);
    text[sizeof text - 1] = 0;
    return bench_subject_start(argv, out, why, BENCH_WHY_LEN);
}

static void test_subject(void **state)
{
    const struct bench_shape shape = {"circulate", 64, 256};
    struct bench_subject *s = NULL;
    struct bench_sample sample;
    char why[BENCH_WHY_LEN] = "";

    (void)state;
    assert_int_equal(start_shell("echo ready; read l; test \"$l\" = 'shape circulate 64 256' && "
                                 "echo ok; read l; test \"$l\" = 'run 5' && "
                                 "echo frames 10 ns 20 wait 0.5; read l; "
                                 "echo frames 1 ns 2 wait 0 value 3.5; read l; "
                                 "echo no not that one; read l; echo frames; read l",
                                 &s, why),
                     0);
    assert_int_equal(bench_subject_shape(s, &shape, why, sizeof why), 0);
    assert_int_equal(bench_subject_run(s, 5, &sample, why, sizeof why), 0);
    assert_true(sample.frames == 10 && sample.ns == 20 && sample.wait_share == 0.5);
    assert_int_equal(bench_subject_run(s, 5, &sample, why, sizeof why), 0);
    assert_true(sample.value == 3.5);
    assert_int_equal(bench_subject_shape(s, &shape, why, sizeof why), -ENOTSUP);
    assert_string_equal(why, "not that one");
    assert_int_equal(bench_subject_run(s, 5, &sample, why, sizeof why), -EIO); // half an answer
    bench_subject_end(s);
}

static void test_subject_missing(void **state)
{
    struct bench_subject *s = NULL;
    char why[BENCH_WHY_LEN] = "";

    (void)state;
    assert_int_equal(start_shell("echo missing dpdk-testpmd", &s, why), -ENOENT);
    assert_string_equal(why, "dpdk-testpmd");
    assert_int_equal(start_shell("exit 1", &s, why), -EIO);
    assert_int_equal(start_shell("echo failed no memory", &s, why), -EIO);
    assert_string_equal(why, "no memory");
}

static void test_subject_dies(void **state)
{
    struct bench_subject *s = NULL;
    struct bench_sample sample;
    char why[BENCH_WHY_LEN] = "";

    (void)state;
    assert_int_equal(start_shell("echo ready; read l", &s, why), 0);
    assert_int_equal(bench_subject_run(s, 5, &sample, why, sizeof why), -EIO);
    assert_int_equal(bench_subject_run(s, 5, &sample, why, sizeof why), -EIO);
    bench_subject_end(s);
}

// One round of one entry, whose subject answers the six runs it may be asked for with `answers`.
static struct bench_entry round_of(const char *answers, bool contended_ok)
{
    const struct bench_options options = {
        .rounds = 1, .sample_ms = 5, .smoke = true, .contended_ok = contended_ok};
    struct bench_entry entry;
    struct bench_run run;
    char script[512];

    assert_int_equal(bench_run_init(&run, &options), 0);
    bench_group_add(bench_group_new(&run, "made up", 1), BENCH_SCALE, "m", 64, 256);
    snprintf(script, sizeof script,
             "echo ready; read l; echo ok; for a in %s; do read l; "
             "echo $a | tr _ ' '; done; read l",
             answers);
    assert_int_equal(start_shell(script, &run.subject[BENCH_SCALE], run.why[BENCH_SCALE]), 0);
    bench_run_measure(&run);
    entry = run.group[0].entry[0];
    bench_run_end(&run);
    return entry;
}

#define GOOD      "frames_10_ns_1000_wait_0.01 "
#define CONTENDED "frames_20_ns_1000_wait_0.5 "
#define SPOILT    "again_frames_were_lost "

static void test_spoilt_samples_are_repeated(void **state)
{
    struct bench_entry entry = round_of(SPOILT CONTENDED SPOILT GOOD, false);

    (void)state;
    assert_true(entry.mpps[0] == 10 && entry.contended == 3 && !entry.why[0]);
    // None was good: no sample, but the next round may have one.
    entry = round_of(SPOILT SPOILT CONTENDED SPOILT SPOILT SPOILT, false);
    assert_true(!bench_is_sample(entry.mpps[0]) && entry.contended == 6 && !entry.why[0]);
    entry = round_of(SPOILT SPOILT CONTENDED SPOILT SPOILT SPOILT, true);
    assert_true(entry.mpps[0] == 20 && entry.contended == 5 && entry.doubtful == 1);
    // Each time: no accident.
    for (unsigned contended_ok = 0; contended_ok < 2; contended_ok++) {
        entry = round_of(SPOILT SPOILT SPOILT SPOILT SPOILT SPOILT, contended_ok);
        assert_false(bench_is_sample(entry.mpps[0]));
        assert_int_equal(entry.doubtful, 0);
        assert_string_equal(entry.why, "frames were lost");
    }
    entry = round_of("failed_for_good", false);
    assert_string_equal(entry.why, "for good");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_spread_without_samples),
        cmocka_unit_test(test_ratios),
        cmocka_unit_test(test_slope),
        cmocka_unit_test(test_about),
        cmocka_unit_test(test_report_without_peers),
        cmocka_unit_test(test_report_fewer_rounds),
        cmocka_unit_test(test_scale_goals),
        cmocka_unit_test(test_jain),
        cmocka_unit_test(test_contended),
        cmocka_unit_test(test_schedstat),
        cmocka_unit_test(test_wait_share),
        cmocka_unit_test(test_sched_of_this_process),
        cmocka_unit_test(test_frame_lengths),
        cmocka_unit_test(test_frame_check),
        cmocka_unit_test(test_goals),
        cmocka_unit_test(test_estimate),
        cmocka_unit_test(test_subject),
        cmocka_unit_test(test_subject_missing),
        cmocka_unit_test(test_subject_dies),
        cmocka_unit_test(test_spoilt_samples_are_repeated),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

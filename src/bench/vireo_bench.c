// SPDX-License-Identifier: BSD-3-Clause
// vireo-bench: how fast the data plane is, beside what people run today and beside what two cores
// could do.
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/about.h"
#include "bench/card.h"
#include "bench/ideal.h"
#include "bench/pingpong.h"
#include "bench/plan.h"
#include "bench/report.h"
#include "bench/scale.h"
#include "bench/workers.h"
#include "base/log.h"

const char *argp_program_version = "vireo-bench " VIREO_VERSION;

#define SAMPLE_MS_MAX 10000u

// clang-format off
static const char doc[] =
    "Measures how fast frames go from VF to VF, beside what people run today and beside what two "
    "cores could do.\v"
    "A guest process on one core drives two VFs and hands each frame back to the VF that it came "
    "from; 256 frames circulate each way. Vireo's worker, on another core, does everything for "
    "each: IOMMU translation by real tables, MAC and VLAN lookup, anti-spoofing, statistics. In "
    "each round the same is measured of an idealised forwarder that only copies, and with --peers "
    "of DPDK's testpmd (vhost, memif) and of Open vSwitch, the others being stopped meanwhile.\n"
    "\n"
    "All figures are medians of the rounds. They are worth something on a quiet machine with two "
    "cores: a sample in which a busy thread waited for its core for more than 4 % of the time is "
    "thrown away and repeated. With --peers it takes about 4 minutes, with --full 6; without "
    "peers 1 and 2; more where samples are repeated. docs/performance.md explains it all.\n"
    "\n"
    "The cores are the first two that it may use; VIREO_BENCH_DEVICE_CPU and VIREO_BENCH_GUEST_CPU "
    "in the environment name others (numbers; two threads of one core would share it).\n"
    "\n"
    "Exit code: 0 where every frame was as it should be and the run is valid (or only "
    "--contended-ok makes it invalid), whatever goals were reached.\n"
    "\n"
    "Examples:\n"
    "  make bench JSON=result.json\n"
    "  vireo-bench dataplane --peers scripts/bench-peer --json result.json\n"
    "  vireo-bench dataplane --only 'one way' --rounds 3";
// clang-format on

enum {
    OPTION_ABOUT = 0x100,
    OPTION_CONTENDED_OK,
    OPTION_FULL,
    OPTION_JSON,
    OPTION_MS,
    OPTION_ONLY,
    OPTION_PEERS,
    OPTION_ROUNDS,
    OPTION_SMOKE,
};

static const struct argp_option options[] = {
    {"full", OPTION_FULL, NULL, 0,
     "Also many VFs, idle cost, wake-up times, guests at constant load, two workers", 0},
    {"peers", OPTION_PEERS, "SCRIPT", 0,
     "Measure the peers too; SCRIPT runs them (scripts/bench-peer)", 0},
    {"only", OPTION_ONLY, "TEXT", 0,
     "Measure only what has TEXT in its name, as shown while it is measured", 0},
    {"rounds", OPTION_ROUNDS, "N", 0, "Rounds (default 7); some measurements take 3 at most", 0},
    {"ms", OPTION_MS, "N", 0, "Length of a sample in ms (default 250)", 0},
    {"contended-ok", OPTION_CONTENDED_OK, NULL, 0,
     "For machines that are not quiet: where six tries gave no better one, take the least "
     "contended sample, and call the run invalid",
     0},
    {"smoke", OPTION_SMOKE, NULL, 0, "Nearly everything, once and short: to see that it runs", 0},
    {"json", OPTION_JSON, "FILE", 0, "Write the results there too ('-': only that, on stdout)", 0},
    {"about", OPTION_ABOUT, "TEXT", 0,
     "Lines of 'name: value' that the results are to say too, as scripts/bench-about prints them",
     0},
    {0},
};

struct arguments {
    const char *command, *subject, *json;
    struct bench_options run;
    struct bench_about about;
};

static unsigned number(struct argp_state *state, const char *name, const char *text, unsigned max)
{
    unsigned long value;
    char *end;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || !value || value > max)
        argp_error(state, "--%s: found '%s'; allowed is 1 to %u", name, text, max);
    return (unsigned)value;
}

static error_t option_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *args = state->input;

    switch (key) {
    case OPTION_ABOUT:
        bench_about_add(&args->about, arg);
        return 0;
    case OPTION_CONTENDED_OK:
        args->run.contended_ok = true;
        return 0;
    case OPTION_FULL:
        args->run.full = true;
        return 0;
    case OPTION_JSON:
        args->json = arg;
        return 0;
    case OPTION_MS:
        args->run.sample_ms = number(state, "ms", arg, SAMPLE_MS_MAX);
        return 0;
    case OPTION_ONLY:
        args->run.only = arg;
        return 0;
    case OPTION_PEERS:
        args->run.peers = arg;
        return 0;
    case OPTION_ROUNDS:
        args->run.rounds = number(state, "rounds", arg, BENCH_ROUNDS_MAX);
        return 0;
    case OPTION_SMOKE:
        args->run.smoke = true;
        args->run.contended_ok = true;
        args->run.rounds = 1;
        args->run.sample_ms = 20;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            args->command = arg;
        else if (state->arg_num == 1 && !strcmp(args->command, "subject"))
            args->subject = arg;
        else
            argp_error(state, "'%s' is too much", arg);
        return 0;
    case ARGP_KEY_END:
        if (!args->command || (strcmp(args->command, "dataplane") && !args->subject))
            argp_error(state, "which benchmark? There is 'dataplane'");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// One subject, told what to do on stdin: bench/subject.h.
static int subject_main(const char *name)
{
    static const struct {
        const char *name;
        int (*main)(void);
    } subjects[] = {{"card", bench_card_main},
                    {"ideal", bench_ideal_main},
                    {"pingpong", bench_pingpong_main},
                    {"scale", bench_scale_main},
                    {"workers", bench_workers_main}};

    for (unsigned i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
        if (!strcmp(subjects[i].name, name))
            return subjects[i].main();
    }
    fprintf(stderr, "vireo-bench: no such subject: %s\n", name);
    return EXIT_FAILURE;
}

// --- what the options name ---

// Whether results could be written there, before minutes are spent on them; leaves nothing behind.
static int json_check(const char *path)
{
    struct stat st;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

    if (fd >= 0) {
        close(fd);
        unlink(path);
        return 0;
    }
    // What is there, a pipe too, is not opened twice: that would be its reader's end of file.
    if (errno != EEXIST || access(path, W_OK) || stat(path, &st))
        return -errno;
    return S_ISDIR(st.st_mode) ? -EISDIR : 0;
}

static int script_check(const char *path)
{
    struct stat st;

    if (stat(path, &st) || access(path, X_OK))
        return -errno;
    return S_ISREG(st.st_mode) ? 0 : -EISDIR;
}

// A sentence in `error` where one cannot be used.
static void paths_check(const struct arguments *args, char *error, size_t error_len)
{
    int ret = args->json && strcmp(args->json, "-") ? json_check(args->json) : 0;

    if (ret) {
        snprintf(error, error_len, "--json %s: %s", args->json, strerror(-ret));
        return;
    }
    ret = args->run.peers ? script_check(args->run.peers) : 0;
    if (ret)
        snprintf(error, error_len,
                 "--peers %s: %s: the script that runs the peers is scripts/bench-peer; "
                 "scripts/bench-setup installs them ('make bench' does both)",
                 args->run.peers, strerror(-ret));
}

static bool json_write(const struct bench_run *run, const struct bench_about *about,
                       const char *path)
{
    json_t *json = bench_report_json(run, about);
    FILE *file = strcmp(path, "-") ? fopen(path, "we") : stdout;
    bool ok = json && file && !json_dumpf(json, file, JSON_INDENT(2) | JSON_REAL_PRECISION(6));

    if (ok)
        fputc('\n', file);
    if (file && fflush(file))
        ok = false;
    if (!ok)
        fprintf(stderr, "vireo-bench: writing %s: %s\n", path, strerror(errno));
    if (file && file != stdout)
        fclose(file);
    json_decref(json);
    return ok;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, option_parse, "dataplane", doc, NULL, NULL, NULL};
    struct arguments args = {.run = {.rounds = 7, .sample_ms = 250}};
    char error[BENCH_WHY_LEN] = "";
    struct bench_run run;
    bool good;

    bench_about_machine(&args.about);
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    if (args.subject)
        return subject_main(args.subject);
    paths_check(&args, error, sizeof error);
    if (error[0]) {
        fprintf(stderr, "vireo-bench: %s\n", error);
        return EXIT_FAILURE;
    }
    log_set_level(LOG_LEVEL_WARN);
    signal(SIGPIPE, SIG_IGN); // a subject that dies is a failed answer
    if (bench_run_init(&run, &args.run)) {
        fprintf(stderr, "vireo-bench: %s\n", strerror(ENOMEM));
        return EXIT_FAILURE;
    }
    bench_plan_make(&run);
    if (!run.group_count)
        snprintf(error, sizeof error, "nothing has '%s' in its name%s", args.run.only,
                 args.run.full ? "" : " (is it one that --full measures?)");
    else
        bench_run_start(&run, error, sizeof error);
    if (error[0]) {
        fprintf(stderr, "vireo-bench: %s\n", error);
        bench_run_end(&run);
        return EXIT_FAILURE;
    }
    bench_run_measure(&run);
    if (!args.json || strcmp(args.json, "-"))
        bench_report_print(&run, &args.about, stdout);
    good = !args.json || json_write(&run, &args.about, args.json);
    good = bench_report_sound(&run) && good;
    bench_run_end(&run);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

// SPDX-License-Identifier: BSD-3-Clause
// vireo-bench: how fast the data plane is, in this process: a whole machine with its worker on one
// core, a guest thread with two VF drivers on another.
#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/bench_dataplane.h"
#include "app/table.h"
#include "base/log.h"

const char *argp_program_version = "vireo-bench " VIREO_VERSION;

#define SIZES_MAX   8u
#define SECONDS_MAX 3600u

static const char doc[] =
    "Measures the data plane: VF to embedded switch to VF."
    "\v"
    "vireo-bench dataplane: a guest thread on one core drives two VFs and sends each frame back "
    "where it came from; 256 frames circulate each way. The card's worker, on another core, does "
    "everything for each: IOMMU translation by real tables, MAC and VLAN lookup, anti-spoofing, "
    "statistics. Doorbells are mapped. Between its rounds, one core copies frames of the same size "
    "over the same number of buffers with memcpy(): what a card that did nothing but copy could "
    "reach. Frames count once for each trip from VF to VF; at the end each frame's bytes are "
    "verified.\n"
    "\n"
    "A round in which the two threads did not have their cores to themselves is repeated.\n"
    "\n"
    "Example: vireo-bench dataplane --size 64,1500 --seconds 5";

enum { OPTION_JSON = 0x100, OPTION_SECONDS, OPTION_SIZE };

static const struct argp_option options[] = {
    {"json", OPTION_JSON, NULL, 0, "JSON instead of a table", 0},
    {"seconds", OPTION_SECONDS, "N", 0, "Measured time for each size (default 2)", 0},
    {"size", OPTION_SIZE, "N,N…", 0,
     "Frame sizes in bytes without FCS, 60 to 9014 (default 64,1500,9000)", 0},
    {0},
};

struct arguments {
    bool json, dataplane;
    unsigned seconds;
    unsigned size_count;
    uint32_t sizes[SIZES_MAX];
};

// A whole number at *text, which moves past it. False where there is none within min … max.
static bool number_take(const char **text, unsigned min, unsigned max, unsigned *out)
{
    unsigned long value;
    char *end;

    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    value = strtoul(*text, &end, 10);
    *text = end;
    *out = (unsigned)value;
    return !errno && value >= min && value <= max;
}

static bool sizes_parse(const char *text, struct arguments *args)
{
    args->size_count = 0;
    do {
        if (args->size_count == SIZES_MAX ||
            !number_take(&text, BENCH_FRAME_MIN, BENCH_FRAME_MAX, &args->sizes[args->size_count]))
            return false;
        args->size_count++;
    } while (*text == ',' && *++text);
    return !*text;
}

static error_t option_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *args = state->input;
    const char *text = arg;

    switch (key) {
    case OPTION_JSON:
        args->json = true;
        return 0;
    case OPTION_SECONDS:
        if (!number_take(&text, 1, SECONDS_MAX, &args->seconds) || *text)
            argp_error(state, "--seconds: found '%s'; allowed is 1 to %u", arg, SECONDS_MAX);
        return 0;
    case OPTION_SIZE:
        if (!sizes_parse(arg, args))
            argp_error(state,
                       "--size: found '%s'; allowed are up to %u sizes, %u to %u, such as "
                       "64,1500",
                       arg, SIZES_MAX, BENCH_FRAME_MIN, BENCH_FRAME_MAX);
        return 0;
    case ARGP_KEY_ARG:
        if (strcmp(arg, "dataplane") || args->dataplane)
            argp_error(state, "'%s': there is 'dataplane'", arg);
        args->dataplane = true;
        return 0;
    case ARGP_KEY_END:
        if (!args->dataplane)
            argp_error(state, "which benchmark? There is 'dataplane'");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static json_t *spread_json(const struct bench_spread *s)
{
    return json_pack("{s:f, s:f, s:f}", "median", s->median, "min", s->min, "max", s->max);
}

static json_t *result_json(const struct bench_result *r)
{
    json_t *out =
        json_pack("{s:i, s:o, s:o, s:o, s:o}", "size_bytes", (int)r->size_bytes, "mpps",
                  spread_json(&r->mpps), "gbit_per_s", spread_json(&r->gbps), "memcpy_gbit_per_s",
                  spread_json(&r->memcpy_gbps), "of_memcpy", spread_json(&r->of_memcpy));

    json_object_set_new(out, "rounds", json_integer(r->rounds));
    json_object_set_new(out, "rounds_contended", json_integer(r->rounds_contended));
    json_object_set_new(out, "rounds_doubtful", json_integer(r->rounds_doubtful));
    json_object_set_new(out, "frames_lost", json_integer(r->frames_lost));
    json_object_set_new(out, "frames_verified", json_integer(r->frames_verified));
    return out;
}

static void results_print(const struct bench_result *results, unsigned count)
{
    static const char *const headings[] = {">SIZE",      ">Mpps",   ">MIN",       ">MAX",
                                           ">Gbit/s",    ">memcpy", ">OF memcpy", ">ROUNDS",
                                           ">CONTENDED", ">LOST"};
    struct table *table = table_create(10, headings);

    for (unsigned i = 0; i < count; i++) {
        const struct bench_result *r = &results[i];

        table_cell(table, "%u", r->size_bytes);
        table_cell(table, "%.3f", r->mpps.median);
        table_cell(table, "%.3f", r->mpps.min);
        table_cell(table, "%.3f", r->mpps.max);
        table_cell(table, "%.2f", r->gbps.median);
        table_cell(table, "%.2f", r->memcpy_gbps.median);
        table_cell(table, "%.0f %%", r->of_memcpy.median * 100);
        table_cell(table, "%u", r->rounds);
        table_cell(table, "%u", r->rounds_contended);
        table_cell(table, "%u", r->frames_lost);
    }
    table_print(table, stdout);
    table_destroy(table);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, option_parse, "dataplane", doc, NULL, NULL, NULL};
    struct arguments args = {.seconds = 2, .size_count = 3, .sizes = {64, 1500, 9000}};
    struct bench_result results[SIZES_MAX];
    json_t *sizes = json_array(), *all;
    unsigned doubtful = 0;
    bool sound = true;

    argp_parse(&argp, argc, argv, 0, NULL, &args);
    log_set_level(LOG_LEVEL_WARN);
    for (unsigned i = 0; i < args.size_count; i++) {
        char error[512] = "";
        int ret =
            bench_dataplane_run(args.sizes[i], args.seconds, &results[i], error, sizeof error);

        if (ret) {
            fprintf(stderr, "vireo-bench: %s\n", error[0] ? error : strerror(-ret));
            json_decref(sizes);
            return EXIT_FAILURE;
        }
        sound = sound && !results[i].frames_lost;
        doubtful += results[i].rounds_doubtful;
        json_array_append_new(sizes, result_json(&results[i]));
    }
    all = json_pack("{s:s, s:s, s:s, s:i, s:o}", "vireo", VIREO_VERSION, "benchmark", "dataplane",
                    "doorbells", "mapped", "frames_each_way", (int)BENCH_FRAMES_EACH_WAY, "sizes",
                    sizes);
    if (args.json) {
        json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
    } else {
        results_print(results, args.size_count);
    }
    json_decref(all);
    if (doubtful)
        fprintf(stderr,
                "vireo-bench: %u rounds are doubtful: the threads never had two cores to "
                "themselves\n",
                doubtful);
    if (!sound)
        fprintf(stderr, "vireo-bench: frames were lost or came back different: not sound\n");
    return sound ? EXIT_SUCCESS : EXIT_FAILURE;
}

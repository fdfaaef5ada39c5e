// SPDX-License-Identifier: BSD-3-Clause
#include "demo/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void demo_report_init(struct demo_report *report, bool json)
{
    *report = (struct demo_report){.json = json, .group = "all", .checks = json_array()};
}

void demo_report_add(struct demo_report *report, bool pass, const char *name, json_t *figures,
                     const char *fmt, ...)
{
    char detail[400];
    va_list args;

    va_start(args, fmt);
    vsnprintf(detail, sizeof detail, fmt, args);
    va_end(args);
    if (pass)
        report->passed++;
    else
        report->failed++;
    if (!report->json) {
        printf("%s  %-7s  %-34s  %s\n", pass ? "PASS" : "FAIL", report->group, name, detail);
        fflush(stdout);
    }
    json_array_append_new(report->checks,
                          json_pack("{s:s, s:s, s:b, s:s, s:o}", "group", report->group, "name",
                                    name, "ok", (int)pass, "detail", detail, "figures",
                                    figures ? figures : json_object()));
}

int demo_report_finish(struct demo_report *report, double seconds)
{
    bool ok = report->passed && !report->failed;

    if (report->json) {
        json_t *all = json_pack("{s:s, s:b, s:i, s:i, s:f, s:o}", "vireo", VIREO_VERSION, "ok",
                                (int)ok, "passed", (int)report->passed, "failed",
                                (int)report->failed, "seconds", seconds, "checks", report->checks);
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(all);
    } else {
        printf("%u passed, %u failed, in %.1f s\n", report->passed, report->failed, seconds);
        json_decref(report->checks);
    }
    report->checks = NULL;
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

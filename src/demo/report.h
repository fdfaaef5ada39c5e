// SPDX-License-Identifier: BSD-3-Clause
// What the embedded demo checked: a line each as it happens, or one JSON object at the end.
#ifndef VIREO_DEMO_REPORT_H
#define VIREO_DEMO_REPORT_H

#include <jansson.h>
#include <stdbool.h>

struct demo_report {
    bool json;
    const char *group; // "trapped", "mapped" or "all": goes with each check
    unsigned passed, failed;
    json_t *checks;
};

void demo_report_init(struct demo_report *report, bool json);
// `figures` (may be NULL) is taken over and goes to JSON; the text is for people.
void demo_report_add(struct demo_report *report, bool pass, const char *name, json_t *figures,
                     const char *fmt, ...) __attribute__((format(printf, 5, 6)));
// Prints the end. The exit status.
int demo_report_finish(struct demo_report *report, double seconds);

#endif

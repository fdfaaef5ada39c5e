// SPDX-License-Identifier: BSD-3-Clause
#include "bench/about.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static void line_add(struct bench_about *about, const char *name, size_t name_len,
                     const char *value, size_t value_len)
{
    unsigned n = about->count;

    if (n == BENCH_ABOUT_LINES_MAX || !name_len || !value_len)
        return;
    snprintf(about->line[n].name, sizeof about->line[n].name, "%.*s", (int)name_len, name);
    snprintf(about->line[n].value, sizeof about->line[n].value, "%.*s", (int)value_len, value);
    about->count++;
}

void bench_about_add(struct bench_about *about, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n"), name_len = strcspn(text, ":\n");

        if (name_len < len) {
            const char *value = text + name_len + 1;

            value += strspn(value, " \t");
            if (value < text + len)
                line_add(about, text, name_len, value, (size_t)(text + len - value));
        }
        text += len + (text[len] == '\n');
    }
}

// The first line of the file that begins with `key`, from after its colon on.
static void file_line(struct bench_about *about, const char *name, const char *path,
                      const char *key)
{
    char text[512];
    FILE *file = fopen(path, "re");
    bool found = false;

    while (file && !found && fgets(text, sizeof text, file)) {
        const char *value = text;

        found = !strncmp(text, key, strlen(key));
        if (*key)
            value = strchr(text, ':') ? strchr(text, ':') + 1 : "";
        value += strspn(value, " \t");
        if (found)
            line_add(about, name, strlen(name), value, strcspn(value, "\n"));
    }
    if (file)
        fclose(file);
}

void bench_about_machine(struct bench_about *about)
{
    time_t now = time(NULL);
    struct utsname kernel;
    char text[64];
    struct tm tm;

    file_line(about, "cpu", "/proc/cpuinfo", "model name");
    snprintf(text, sizeof text, "%ld", sysconf(_SC_NPROCESSORS_ONLN));
    line_add(about, "cores", 5, text, strlen(text));
    if (!uname(&kernel)) {
        snprintf(text, sizeof text, "%.16s %.40s", kernel.sysname, kernel.release);
        line_add(about, "kernel", 6, text, strlen(text));
    }
    if (gmtime_r(&now, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &tm))
        line_add(about, "date", 4, text, strlen(text));
    file_line(about, "load", "/proc/loadavg", "");
}

const char *bench_about_get(const struct bench_about *about, const char *name)
{
    for (unsigned i = 0; i < about->count; i++) {
        if (!strcmp(about->line[i].name, name))
            return about->line[i].value;
    }
    return NULL;
}

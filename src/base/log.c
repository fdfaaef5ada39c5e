// SPDX-License-Identifier: BSD-3-Clause
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static _Atomic enum log_level current_level = LOG_LEVEL_INFO;
static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&current_level, level, memory_order_relaxed);
}

int log_level_parse(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (!strcmp(name, level_names[i])) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

// True where the line may be written; *held_back counts those of the window that just ended.
static bool limit_take(struct log_limit *limit, unsigned *held_back)
{
    bool ok;
    uint64_t now_ns = clock_now_ns();

    *held_back = 0;
    pthread_mutex_lock(&limit_lock);
    if (!limit->count || now_ns - limit->window_start_ns > LOG_WINDOW_MS * NS_PER_MS) {
        if (limit->count > LOG_BURST)
            *held_back = limit->count - LOG_BURST;
        limit->window_start_ns = now_ns;
        limit->count = 0;
    }
    ok = ++limit->count <= LOG_BURST;
    pthread_mutex_unlock(&limit_lock);
    return ok;
}

void log_write(enum log_level level, struct log_limit *limit, const char *fmt, ...)
{
    char line[1024];
    unsigned held_back = 0;
    va_list args;
    int len;

    if (level > atomic_load_explicit(&current_level, memory_order_relaxed))
        return;
    if (limit && !limit_take(limit, &held_back))
        return;
    len = snprintf(line, sizeof line, "%-5s ", level_names[level]);
    va_start(args, fmt);
    vsnprintf(line + len, sizeof line - (size_t)len, fmt, args);
    va_end(args);
    // What a peer sent may be in the text: keep a line a line.
    for (char *c = line; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    }
    if (held_back)
        fprintf(stderr, "%s (%u more like this were held back)\n", line, held_back);
    else
        fprintf(stderr, "%s\n", line);
}

// SPDX-License-Identifier: BSD-3-Clause
// Logging to stderr, one line a message: "LEVEL room: text". Any thread.
// What a guest or peer can trigger uses the *_limited forms: at most LOG_BURST lines per call site
// in LOG_WINDOW_MS, then one line that says how many were held back.
// The data path does not log; it counts.
#ifndef VIREO_BASE_LOG_H
#define VIREO_BASE_LOG_H

#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

#define LOG_BURST     10
#define LOG_WINDOW_MS 5000

struct log_limit {
    uint64_t window_start_ns;
    unsigned count;
};

// Messages above `level` are dropped. Starts at LOG_LEVEL_INFO.
void log_set_level(enum log_level level);
// Level by name ("error", "warn", "info", "debug"). 0, or -EINVAL.
int log_level_parse(const char *name, enum log_level *out);

void log_write(enum log_level level, struct log_limit *limit, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, NULL, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, NULL, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, NULL, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, NULL, __VA_ARGS__)

#define log_limited(level, ...)                                                                    \
    do {                                                                                           \
        static struct log_limit log_limit_;                                                        \
        log_write((level), &log_limit_, __VA_ARGS__);                                              \
    } while (0)
#define log_warn_limited(...) log_limited(LOG_LEVEL_WARN, __VA_ARGS__)

#endif

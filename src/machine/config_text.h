// SPDX-License-Identifier: BSD-3-Clause
// What libconfig does not catch: version 1.5 takes 4294967297 for 1, leaks what it has of a string
// without an end, and reads other files at @include. So these are found before it sees the text.
// Pure; any thread.
#ifndef VIREO_MACHINE_CONFIG_TEXT_H
#define VIREO_MACHINE_CONFIG_TEXT_H

#include <stddef.h>

// 0, or -EINVAL with "NAME:LINE: …" in `error`.
int config_text_check(const char *text, const char *name, char *error, size_t error_len);

#endif

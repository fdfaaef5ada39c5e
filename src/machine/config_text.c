// SPDX-License-Identifier: BSD-3-Clause
#include "machine/config_text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '*';
}

// Past the comment or string at `c`, or `c` itself where none begins. NULL: a string without end.
static const char *comment_or_string_skip(const char *c)
{
    const char *end;

    if (*c == '#' || (c[0] == '/' && c[1] == '/')) {
        end = strchr(c, '\n');
        return end ? end : c + strlen(c);
    }
    if (c[0] == '/' && c[1] == '*') {
        end = strstr(c + 2, "*/");
        return end ? end + 2 : c + strlen(c);
    }
    if (*c != '"')
        return c;
    for (c++; *c && *c != '"'; c++) {
        if (*c == '\\' && c[1])
            c++;
    }
    return *c ? c + 1 : NULL;
}

int config_text_check(const char *text, const char *name, char *error, size_t error_len)
{
    unsigned line = 1;
    const char *c = text;

    while (*c) {
        const char *next = comment_or_string_skip(c);
        const char *problem = NULL;

        if (!next) {
            problem = "a string starts here and has no end";
        } else if (*c == '@') {
            problem = "'@include' is not supported: a card's config is one file";
        } else if (next == c && *c >= '0' && *c <= '9') {
            unsigned long long value = strtoull(c, (char **)&next, 0);
            // A leading zero makes octal here and nothing of the kind there: digits decide.
            if (c[0] == '0' && c[1] != 'x' && c[1] != 'X')
                value = strtoull(c, (char **)&next, 10);
            if (value > INT32_MAX)
                problem = "a number here is larger than any setting allows";
        } else if (next == c && is_name_char(*c)) {
            while (is_name_char(*next) && !(next == c && *c == '-'))
                next++;
        }
        if (problem) {
            snprintf(error, error_len, "%s:%u: %s", name, line, problem);
            return -EINVAL;
        }
        if (next == c)
            next++;
        for (; c < next; c++)
            line += *c == '\n';
    }
    return 0;
}

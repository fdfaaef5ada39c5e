// SPDX-License-Identifier: BSD-3-Clause
#include "text/printable.h"

#include <stdbool.h>
#include <stddef.h>

// Bytes of the UTF-8 character that `first` begins, or 0 where none begins with it.
static size_t utf8_len(unsigned char first)
{
    return first < 0x80                     ? 1
           : first >= 0xc2 && first <= 0xdf ? 2
           : first >= 0xe0 && first <= 0xef ? 3
           : first >= 0xf0 && first <= 0xf4 ? 4
                                            : 0;
}

static bool is_control(const unsigned char *c)
{
    return *c < 0x20 || *c == 0x7f || (c[0] == 0xc2 && c[1] < 0xa0); // C0, DEL, C1
}

void printable_make(char *text)
{
    unsigned char *c = (unsigned char *)text;

    while (*c) {
        size_t want = utf8_len(*c), have = want ? 1 : 0;

        while (have && have < want && (c[have] & 0xc0) == 0x80)
            have++;
        if (have < want && !c[have]) {
            *c = 0; // the text ends within the character
            return;
        }
        if (!want || have < want || is_control(c)) {
            // A C1 control is two bytes, and becomes two marks.
            for (size_t i = 0; i < (have == want && want ? want : 1); i++)
                c[i] = '?';
            c++;
            continue;
        }
        c += want;
    }
}

// SPDX-License-Identifier: BSD-3-Clause
#include "text/spelling.h"

#include <stddef.h>
#include <string.h>

#define WORD_LEN_MAX 32u // longer words have no neighbours

// Edits (insert, delete, replace one letter) from a to b: the classic table, two rows of it.
static unsigned distance(const char *a, const char *b)
{
    unsigned rows[2][WORD_LEN_MAX + 1];
    size_t a_len = strlen(a), b_len = strlen(b);
    unsigned *last = rows[0], *row = rows[1];

    for (size_t j = 0; j <= b_len; j++)
        last[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned *swap;

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
        swap = last;
        last = row;
        row = swap;
    }
    return last[b_len];
}

const char *spelling_nearest(const char *word, const char *const *names, unsigned count)
{
    const char *nearest = NULL;
    unsigned least = 4; // more than three edits is another word

    if (strlen(word) > WORD_LEN_MAX)
        return NULL;
    for (unsigned i = 0; i < count; i++) {
        unsigned edits;

        if (strlen(names[i]) > WORD_LEN_MAX)
            continue;
        edits = distance(word, names[i]);
        // Short words are all close to each other: at most half of the letters may differ.
        if (edits < least && edits * 2 <= strlen(names[i])) {
            least = edits;
            nearest = names[i];
        }
    }
    return nearest;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "text/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct table {
    unsigned column_count;
    unsigned right; // bit a column
    size_t cell_count, room;
    char (*cells)[TABLE_CELL_MAX]; // the headings first
};

struct table *table_create(unsigned column_count, const char *const *headings)
{
    struct table *t = calloc(1, sizeof *t);

    assert(column_count && column_count <= TABLE_COLUMNS_MAX);
    if (!t)
        return NULL;
    t->column_count = column_count;
    for (unsigned i = 0; i < column_count; i++) {
        bool right = headings[i][0] == '>';

        if (right)
            t->right |= 1u << i;
        table_cell(t, "%s", headings[i] + right);
    }
    return t;
}

void table_destroy(struct table *t)
{
    if (!t)
        return;
    free(t->cells);
    free(t);
}

void table_cell(struct table *t, const char *fmt, ...)
{
    va_list args;

    if (!t)
        return;
    if (t->cell_count == t->room) {
        size_t room = t->room ? t->room * 2 : 64;
        void *more = realloc(t->cells, room * sizeof t->cells[0]);

        if (!more)
            return;
        t->cells = more;
        t->room = room;
    }
    va_start(args, fmt);
    vsnprintf(t->cells[t->cell_count++], TABLE_CELL_MAX, fmt, args);
    va_end(args);
}

void table_print(const struct table *t, FILE *out)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};

    if (!t)
        return;
    for (size_t i = 0; i < t->cell_count; i++) {
        size_t len = strlen(t->cells[i]);
        size_t *width = &widths[i % t->column_count];

        if (len > *width)
            *width = len;
    }
    for (size_t i = 0; i < t->cell_count; i++) {
        unsigned column = (unsigned)(i % t->column_count);
        bool last = column == t->column_count - 1 || i == t->cell_count - 1;

        if (t->right & 1u << column)
            fprintf(out, "%*s", (int)widths[column], t->cells[i]);
        else
            fprintf(out, "%-*s", last ? 0 : (int)widths[column], t->cells[i]);
        fputs(last ? "\n" : "  ", out);
    }
}

// SPDX-License-Identifier: BSD-3-Clause
// Text tables whose columns line up. One thread a table.
#ifndef VIREO_TEXT_TABLE_H
#define VIREO_TEXT_TABLE_H

#include <stdio.h>

#define TABLE_COLUMNS_MAX 16u
#define TABLE_CELL_MAX    128u // bytes; longer text is cut

struct table;

// Columns whose heading starts with '>' are right-aligned. NULL where memory is short.
struct table *table_create(unsigned column_count, const char *const *headings);
void table_destroy(struct table *table);
// The next cell, left to right, row after row; a missing end of the last row stays empty.
void table_cell(struct table *table, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_print(const struct table *table, FILE *out);

#endif

// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "text/spelling.h"
#include "text/table.h"

static void test_spelling(void **state)
{
    static const char *const names[] = {"vf", "stats", "demo"};

    (void)state;
    assert_string_equal(spelling_nearest("stat", names, 3), "stats");
    assert_string_equal(spelling_nearest("vfs", names, 3), "vf");
    assert_null(spelling_nearest("pci", names, 3));
    assert_null(spelling_nearest("", names, 3));
    assert_null(spelling_nearest("statsstatsstatsstatsstatsstatsstatsstats", names, 3));
}

static void test_table(void **state)
{
    static const char *const headings[] = {"NAME", ">N", "LAST"};
    struct table *table = table_create(3, headings);
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    (void)state;
    table_cell(table, "a");
    table_cell(table, "%d", 1);
    table_cell(table, "x");
    table_cell(table, "longer");
    table_cell(table, "%d", 1000);
    table_print(table, out);
    fclose(out);
    assert_string_equal(text, "NAME       N  LAST\n"
                              "a          1  x\n"
                              "longer  1000\n");
    free(text);
    table_destroy(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spelling),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

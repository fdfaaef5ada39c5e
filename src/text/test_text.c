// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "text/printable.h"
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

static void test_printable(void **state)
{
    static const struct {
        const char *from, *to;
    } rows[] = {
        {"", ""},
        {"vf0 é … 𝄞", "vf0 é … 𝄞"},
        {"two\nlines\r\t\x7f", "two?lines???"},
        {"\x1b[31mred", "?[31mred"},
        {"\xc2\x9b[m", "??[m"}, // CSI as one character
        {"\xff\xfe", "??"},
        {"\xc0\xaf", "??"}, // '/' in two bytes
        {"a\xc3(", "a?("},
        {"cut \xe2\x80", "cut "}, // … without its last byte
        {"cut \xf0", "cut "},
        {"\x80z", "?z"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[64];

        snprintf(text, sizeof text, "%s", rows[i].from);
        printable_make(text);
        assert_string_equal(text, rows[i].to);
    }
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
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

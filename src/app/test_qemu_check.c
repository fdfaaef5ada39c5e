// SPDX-License-Identifier: BSD-3-Clause
// Programs that say what QEMUs say.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/qemu_check.h"

static int check(const char *script, char *why, size_t why_len)
{
    char dir[] = "/tmp/vireo-test-XXXXXX", path[64];
    FILE *file;
    int ret;

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/qemu", dir);
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", script);
    fclose(file);
    assert_int_equal(chmod(path, 0755), 0);
    why[0] = 0;
    ret = qemu_check(path, why, why_len);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    return ret;
}

static void test_good(void **state)
{
    char why[256];

    (void)state;
    assert_int_equal(check("[ \"$1 $2\" = '-device help' ] || exit 1\n"
                           "echo 'name \"vfio-pci\", bus PCI, desc \"VFIO\"'\n"
                           "echo 'name \"vfio-user-pci\", bus PCI, desc \"VFIO over socket\"'",
                           why, sizeof why),
                     0);
    assert_string_equal(why, "");
}

static void test_too_old(void **state)
{
    char why[256];

    (void)state;
    assert_int_equal(check("if [ $1 = --version ]; then echo 'QEMU emulator version 7.2.15'; "
                           "echo Copyright; else echo 'name \"vfio-pci\", bus PCI'; fi",
                           why, sizeof why),
                     -ENOTSUP);
    assert_non_null(strstr(why, "has no vfio-user-pci (it says: 'QEMU emulator version 7.2.15')"));
    assert_non_null(strstr(why, "10.1"));
    // What fails, or is something else.
    assert_int_equal(check("exit 1", why, sizeof why), -ENOTSUP);
    assert_int_equal(qemu_check("/bin/true", why, sizeof why), -ENOTSUP);
}

static void test_not_there(void **state)
{
    char why[256];

    (void)state;
    assert_int_equal(qemu_check("/nonexistent/qemu", why, sizeof why), -ENOENT);
    assert_non_null(strstr(why, "/nonexistent/qemu"));
    assert_int_equal(qemu_check("/tmp", why, sizeof why), -EACCES);
}

// More than anybody reads: it is not waited for.
static void test_endless(void **state)
{
    char why[256];

    (void)state;
    assert_int_equal(check("exec yes", why, sizeof why), -ENOTSUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_too_old),
        cmocka_unit_test(test_not_there),
        cmocka_unit_test(test_endless),
    };

    return cmocka_run_group_tests_name("app/qemu_check", tests, NULL, NULL);
}

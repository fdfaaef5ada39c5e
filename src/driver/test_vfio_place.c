// SPDX-License-Identifier: BSD-3-Clause
// PCI addresses, and what sysfs says of a function: with a sysfs of our own.
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

#include "base/bits.h"
#include "driver/bus.h"
#include "driver/vfio_place.h"

static void test_addresses(void **state)
{
    static const char *const good[][2] = {
        {"0001:01:10.0", "0001:01:10.0"},         {"01:10.7", "0000:01:10.7"},
        {"ABCD:ff:1F.7", "abcd:ff:1f.7"},         {"10000:00:00.0", "10000:00:00.0"},
        {"ffffffff:ff:1f.7", "ffffffff:ff:1f.7"},
    };
    static const char *const bad[] = {
        "",
        ":",
        "01:10",
        "01:10.",
        "01:10.8",
        "01:20.0",
        "1:10.0",
        "001:01:10.0",
        "0001:01:10.0 ",
        "0001:01:10.00",
        "0001:1:10.0",
        "0001:001:10.0",
        "+001:01:10.0",
        "fffffffff:ff:1f.7",
        "0x01:01:10.0",
        "./01:10.0",
        "port0-vf0.sock",
        "0001-01-10.0",
        "0001:01:10:0",
    };
    char address[VFIO_ADDRESS_BYTES];

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(vfio_parse_address(good[i][0], address));
        assert_string_equal(address, good[i][1]);
    }
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        if (vfio_parse_address(bad[i], address))
            fail_msg("'%s' was taken as %s", bad[i], address);
    }
}

struct fake_sysfs {
    char root[32];
};

static void make(const struct fake_sysfs *f, const char *name, const char *target)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", f->root, name);
    if (target)
        assert_int_equal(symlink(target, path), 0);
    else
        assert_int_equal(mkdir(path, 0700), 0);
}

// Three functions: one is vfio-pci's, one ixgbevf's, one nobody's; the first two share a group.
static int setup(void **state)
{
    static const char *const dirs[] = {
        "bus",
        "bus/pci",
        "bus/pci/devices",
        "bus/pci/devices/0001:01:10.0",
        "bus/pci/devices/0001:01:10.2",
        "bus/pci/devices/0001:01:10.4",
        "bus/pci/devices/0001:00:00.0",
        "bus/pci/devices/0001:01:10.6",
        "kernel",
        "kernel/iommu_groups",
        "kernel/iommu_groups/17",
        "kernel/iommu_groups/17/devices",
        "kernel/iommu_groups/17/devices/0001:01:10.0",
        "kernel/iommu_groups/17/devices/0001:01:10.2",
        "kernel/iommu_groups/17/devices/0001:01:10.4",
        "kernel/iommu_groups/17/devices/0001:00:00.0",
    };
    static const char *const links[][2] = {
        {"bus/pci/devices/0001:01:10.0/driver", "../../../../bus/pci/drivers/vfio-pci"},
        {"bus/pci/devices/0001:01:10.2/driver", "../../../../bus/pci/drivers/ixgbevf"},
        {"bus/pci/devices/0001:00:00.0/driver", "../../../../bus/pci/drivers/pcieport"},
        {"bus/pci/devices/0001:01:10.6/driver", "../../../../bus/pci/drivers/vfio-pci"},
        {"bus/pci/devices/0001:01:10.0/iommu_group", "../../../kernel/iommu_groups/17"},
    };
    struct fake_sysfs *f = *state = calloc(1, sizeof *f);

    strcpy(f->root, "/tmp/vireo-test-XXXXXX");
    if (!mkdtemp(f->root))
        return -1;
    for (unsigned i = 0; i < ARRAY_LEN(dirs); i++)
        make(f, dirs[i], NULL);
    for (unsigned i = 0; i < ARRAY_LEN(links); i++)
        make(f, links[i][0], links[i][1]);
    return 0;
}

static int teardown(void **state)
{
    struct fake_sysfs *f = *state;
    char command[64];
    int ret;

    snprintf(command, sizeof command, "rm -r %s", f->root);
    ret = system(command);
    free(f);
    return ret;
}

static void test_group(void **state)
{
    struct fake_sysfs *f = *state;
    char error[512] = "";
    unsigned group = 0;

    assert_int_equal(vfio_find_group(f->root, "0001:01:10.0", &group, error, sizeof error), 0);
    assert_int_equal(group, 17);
    // Another driver, none, no such function, no IOMMU: each says what to do.
    assert_int_equal(vfio_find_group(f->root, "0001:01:10.2", &group, error, sizeof error), -EPERM);
    assert_non_null(strstr(error, "ixgbevf"));
    assert_non_null(strstr(error, "unbind"));
    assert_non_null(strstr(error, "driver_override"));
    assert_int_equal(vfio_find_group(f->root, "0001:01:10.4", &group, error, sizeof error), -EPERM);
    assert_non_null(strstr(error, "no driver"));
    assert_null(strstr(error, "unbind"));
    assert_int_equal(vfio_find_group(f->root, "0001:01:11.0", &group, error, sizeof error),
                     -ENODEV);
    assert_non_null(strstr(error, "sriov_numvfs"));
    assert_int_equal(vfio_find_group(f->root, "0001:01:10.6", &group, error, sizeof error),
                     -ENOTSUP);
    assert_non_null(strstr(error, "intel_iommu=on"));
}

static void test_group_name(void **state)
{
    struct fake_sysfs *f = *state;
    char error[512];
    unsigned group;

    make(f, "bus/pci/devices/0001:01:10.6/iommu_group", "../17x");
    assert_int_equal(vfio_find_group(f->root, "0001:01:10.6", &group, error, sizeof error),
                     -ENOTSUP);
}

static void test_strangers(void **state)
{
    struct fake_sysfs *f = *state;
    char list[64], small[8];

    // vfio-pci's, nobody's and a bridge do no harm.
    assert_int_equal(vfio_list_strangers(f->root, 17, list, sizeof list), 1);
    assert_string_equal(list, "0001:01:10.2 (ixgbevf)");
    assert_int_equal(vfio_list_strangers(f->root, 17, small, sizeof small), 1);
    assert_string_equal(small, "0001:01");
    assert_int_equal(vfio_list_strangers(f->root, 18, list, sizeof list), 0);
    assert_string_equal(list, "");
}

// Which bus a word means: no such function, no such socket, nonsense.
static void test_open_chooses(void **state)
{
    struct driver_bus *bus = NULL;
    char error[512];

    (void)state;
    assert_int_equal(driver_bus_open("vfio:nonsense", &bus, error, sizeof error), -EINVAL);
    assert_non_null(strstr(error, "'nonsense'"));
    assert_int_equal(driver_bus_open("vfio:fffffff0:ff:1f.7", &bus, error, sizeof error), -ENODEV);
    assert_int_equal(driver_bus_open("fffffff0:ff:1f.7", &bus, error, sizeof error), -ENODEV);
    assert_int_equal(driver_bus_open("/nowhere/fffffff0:ff:1f.7", &bus, error, sizeof error),
                     -ENOENT);
    assert_null(bus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test_setup_teardown(test_group, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strangers, setup, teardown),
        cmocka_unit_test(test_open_chooses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

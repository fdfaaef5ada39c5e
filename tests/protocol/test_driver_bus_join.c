// SPDX-License-Identifier: BSD-3-Clause
// Buses over vfio-user that see the same memory, against toy devices.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "driver/bus.h"
#include "support/toy_vfiouser_device.h"

#define BUSES 3u

struct fixture {
    char dir[32];
    struct toy_device *toy[BUSES];
    struct toy_server *server[BUSES];
    struct driver_bus *bus[BUSES];
};

static int setup(void **state)
{
    struct fixture *f = *state = calloc(1, sizeof *f);
    char path[64], error[256];

    log_set_level(LOG_LEVEL_ERROR);
    strcpy(f->dir, "/tmp/vireo-test-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    for (unsigned i = 0; i < BUSES; i++) {
        snprintf(path, sizeof path, "%s/%u.sock", f->dir, i);
        if (toy_device_create(&f->toy[i]) ||
            toy_server_start(f->toy[i], "toy", path, false, &f->server[i], error, sizeof error) ||
            driver_bus_vfiouser_open(path, &f->bus[i], error, sizeof error))
            return -1;
    }
    return 0;
}

static void bus_close(struct fixture *f, unsigned i)
{
    if (f->bus[i])
        f->bus[i]->ops->close(f->bus[i]);
    f->bus[i] = NULL;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < BUSES; i++) {
        bus_close(f, i);
        if (f->server[i])
            toy_server_stop(f->server[i]);
        toy_device_destroy(f->toy[i]);
    }
    rmdir(f->dir);
    free(f);
    return 0;
}

static struct driver_dma alloc(struct fixture *f, unsigned i)
{
    struct driver_dma dma;

    assert_int_equal(f->bus[i]->ops->dma_alloc(f->bus[i], 4096, &dma), 0);
    return dma;
}

static void expect_maps(const struct fixture *f, unsigned a, unsigned b, unsigned c)
{
    assert_int_equal(f->toy[0]->map_count, a);
    assert_int_equal(f->toy[1]->map_count, b);
    assert_int_equal(f->toy[2]->map_count, c);
}

static void test_join(void **state)
{
    struct fixture *f = *state;
    struct driver_dma before, dma[3];

    // What was there before stays its own, and nothing comes to lie on it.
    before = alloc(f, 1);
    assert_int_equal(driver_bus_vfiouser_join(f->bus[0], f->bus[1]), 0);
    dma[0] = alloc(f, 0);
    assert_true(dma[0].iova >= before.iova + before.len_bytes);
    expect_maps(f, 1, 2, 0);
    assert_int_equal(f->toy[0]->maps[0].iova, dma[0].iova);
    assert_int_equal(f->toy[1]->maps[1].iova, dma[0].iova);
    strcpy(dma[0].host, "seen by both");
    assert_string_equal(f->toy[0]->maps[0].host, "seen by both");
    assert_string_equal(f->toy[1]->maps[1].host, "seen by both");
    // Joined again, with one another or with themselves: nothing changes.
    assert_int_equal(driver_bus_vfiouser_join(f->bus[1], f->bus[0]), 0);
    assert_int_equal(driver_bus_vfiouser_join(f->bus[1], f->bus[1]), 0);
    dma[1] = alloc(f, 1);
    assert_true(dma[1].iova > dma[0].iova);
    expect_maps(f, 2, 3, 0);
    // A third one sees only what comes from now on; freed through any of them.
    assert_int_equal(driver_bus_vfiouser_join(f->bus[2], f->bus[0]), 0);
    dma[2] = alloc(f, 2);
    assert_true(dma[2].iova > dma[1].iova);
    expect_maps(f, 3, 4, 1);
    f->bus[0]->ops->dma_free(f->bus[0], &dma[2]);
    expect_maps(f, 2, 3, 0);
    // Who is closed is left out.
    bus_close(f, 1);
    dma[2] = alloc(f, 0);
    assert_int_equal(f->toy[2]->map_count, 1);
    f->bus[0]->ops->dma_free(f->bus[0], &dma[2]);
    assert_int_equal(f->toy[2]->map_count, 0);
}

// Where one of them refuses, nobody has it.
static void test_all_or_none(void **state)
{
    struct fixture *f = *state;
    struct driver_dma dma;

    assert_int_equal(driver_bus_vfiouser_join(f->bus[0], f->bus[1]), 0);
    for (unsigned i = 0; i < TOY_DMA_MAPS_MAX; i++)
        alloc(f, 2);
    assert_int_equal(driver_bus_vfiouser_join(f->bus[0], f->bus[2]), 0);
    assert_int_not_equal(f->bus[0]->ops->dma_alloc(f->bus[0], 4096, &dma), 0);
    expect_maps(f, 0, 0, TOY_DMA_MAPS_MAX);
    assert_int_not_equal(f->bus[1]->ops->dma_alloc(f->bus[1], 4096, &dma), 0);
    expect_maps(f, 0, 0, TOY_DMA_MAPS_MAX);
}

// Who is gone holds nobody up.
static void test_one_gone(void **state)
{
    struct fixture *f = *state;
    struct driver_dma dma;

    assert_int_equal(driver_bus_vfiouser_join(f->bus[0], f->bus[1]), 0);
    toy_server_stop(f->server[1]);
    f->server[1] = NULL;
    assert_int_equal(driver_reg_read(f->bus[1], 0x2000), UINT32_MAX);
    assert_true(f->bus[1]->lost);
    dma = alloc(f, 0);
    assert_int_equal(f->toy[0]->map_count, 1);
    f->bus[0]->ops->dma_free(f->bus[0], &dma);
    assert_int_equal(f->toy[0]->map_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_join, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_or_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_gone, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

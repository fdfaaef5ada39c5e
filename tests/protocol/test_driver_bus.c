// SPDX-License-Identifier: BSD-3-Clause
// The drivers' bus over vfio-user, against our own server with the toy device behind it.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/le.h"
#include "base/log.h"
#include "driver/bus.h"
#include "support/raw_vfiouser.h"
#include "support/toy_vfiouser_device.h"

struct bus_fixture {
    char dir[32], path[64];
    struct toy_device *toy;
    struct toy_server *server;
    struct driver_bus *bus;
    bool mapped;
    int free_fd;
    char error[256];
};

static int start(struct bus_fixture *f)
{
    log_set_level(LOG_LEVEL_ERROR);
    f->free_fd = raw_lowest_free_fd();
    strcpy(f->dir, "/tmp/vireo-test-XXXXXX");
    if (!mkdtemp(f->dir) || toy_device_create(&f->toy))
        return -1;
    snprintf(f->path, sizeof f->path, "%s/toy.sock", f->dir);
    if (toy_server_start(f->toy, "toy0", f->path, f->mapped, &f->server, f->error,
                         sizeof f->error) ||
        driver_bus_vfiouser_open(f->path, &f->bus, f->error, sizeof f->error))
        return -1;
    return 0;
}

static int setup(void **state)
{
    *state = calloc(1, sizeof(struct bus_fixture));
    return start(*state);
}

static int setup_mapped(void **state)
{
    struct bus_fixture *f = *state = calloc(1, sizeof *f);

    f->mapped = true;
    return start(f);
}

static int teardown(void **state)
{
    struct bus_fixture *f = *state;
    int leaked;

    if (f->bus)
        f->bus->ops->close(f->bus);
    if (f->server)
        toy_server_stop(f->server);
    toy_device_destroy(f->toy);
    rmdir(f->dir);
    leaked = !raw_fds_are_back(f->free_fd);
    free(f);
    return leaked;
}

static void test_registers(void **state)
{
    struct bus_fixture *f = *state;

    assert_null(f->bus->mapped);
    driver_reg_write(f->bus, 0x2000, 0x12345678);
    assert_int_equal(driver_reg_read(f->bus, 0x2000), 0x12345678); // also: the write has arrived
    assert_int_equal(le32_get(f->toy->bar0 + 0x2000), 0x12345678);
    driver_reg_update(f->bus, 0x2000, 0x78, 0x01);
    assert_int_equal(driver_reg_read(f->bus, 0x2000), 0x12345601);
    // The last register, and one past the end, which costs only itself.
    driver_reg_write(f->bus, TOY_BAR0_LEN - 4, 7);
    assert_int_equal(driver_reg_read(f->bus, TOY_BAR0_LEN - 4), 7);
    assert_int_equal(driver_reg_read(f->bus, TOY_BAR0_LEN), UINT32_MAX);
    assert_false(f->bus->lost);
    driver_bus_enable(f->bus);
    assert_int_equal(f->bus->ops->config_read(f->bus, 4, 2) & 6, 6);
    f->bus->ops->config_write(f->bus, 0x41, 1, 0xa5);
    assert_int_equal(f->bus->ops->config_read(f->bus, 0x41, 1), 0xa5);
    assert_int_equal(f->bus->ops->reset(f->bus), 0);
    assert_int_equal(f->toy->resets, 1);
    // The name is the path's end, for any length.
    assert_true(strlen(f->bus->name) < sizeof f->bus->name);
    assert_string_equal(f->bus->name + strlen(f->bus->name) - 8, "toy.sock");
}

static void test_mapped_pages(void **state)
{
    struct bus_fixture *f = *state;

    assert_non_null(f->bus->mapped);
    assert_int_equal(f->bus->mapped_start, TOY_MAPPED_OFFSET);
    assert_int_equal(f->bus->mapped_len, TOY_MAPPED_LEN);
    assert_false(driver_reg_is_mapped(f->bus, TOY_MAPPED_OFFSET - 4));
    assert_true(driver_reg_is_mapped(f->bus, TOY_MAPPED_OFFSET));
    assert_true(driver_reg_is_mapped(f->bus, TOY_MAPPED_OFFSET + TOY_MAPPED_LEN - 4));
    assert_false(driver_reg_is_mapped(f->bus, TOY_MAPPED_OFFSET + TOY_MAPPED_LEN));
    // No message: the device's memory has it at once, and the bus would read it back by message
    // too.
    driver_reg_write(f->bus, TOY_MAPPED_OFFSET, 0xcafe);
    assert_int_equal(le32_get(f->toy->bar0 + TOY_MAPPED_OFFSET), 0xcafe);
    assert_int_equal(f->bus->ops->reg_read(f->bus, TOY_MAPPED_OFFSET), 0xcafe);
    le32_put(f->toy->bar0 + TOY_MAPPED_OFFSET + 4, 0xbeef);
    assert_int_equal(driver_reg_read(f->bus, TOY_MAPPED_OFFSET + 4), 0xbeef);
}

static void test_dma_and_interrupt(void **state)
{
    static const uint64_t lens[] = {1, 4096, 4097, 2 << 20, (2 << 20) + 1};
    struct bus_fixture *f = *state;
    struct driver_dma dma[5];
    int fds[TOY_VECTORS + 1];
    uint64_t count;

    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(f->bus->ops->dma_alloc(f->bus, lens[i], &dma[i]), 0);
        assert_true(dma[i].len_bytes >= lens[i]);
        assert_int_equal(dma[i].iova % (lens[i] < 2 << 20 ? 4096 : 2 << 20), 0);
        assert_int_equal((uintptr_t)dma[i].host % 4096, 0);
        for (uint64_t j = 0; j < dma[i].len_bytes; j++)
            assert_int_equal(((uint8_t *)dma[i].host)[j], 0);
        for (unsigned j = 0; j < i; j++) // none overlaps another
            assert_true(dma[j].iova + dma[j].len_bytes <= dma[i].iova);
    }
    assert_int_equal(f->toy->map_count, 5);
    assert_int_equal(f->bus->ops->irq_enable(f->bus, TOY_VECTORS + 1, fds), -ENOTSUP);
    assert_int_equal(f->bus->ops->irq_enable(f->bus, 0, fds), -ENOTSUP);
    assert_int_equal(f->bus->ops->irq_enable(f->bus, 1, fds), 0);
    assert_int_equal(f->bus->ops->irq_enable(f->bus, TOY_VECTORS, fds), 0);
    assert_true(fcntl(fds[3], F_GETFL) & O_NONBLOCK);
    // The device copies from one of our pieces to another, and raises vector 3.
    memcpy(dma[0].host, "over there", 11);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t iova = i ? dma[4].iova + (2 << 20) : dma[0].iova;

        driver_reg_write(f->bus, TOY_REG_SRC + 8 * i, (uint32_t)iova);
        driver_reg_write(f->bus, TOY_REG_SRC + 8 * i + 4, (uint32_t)(iova >> 32));
    }
    driver_reg_write(f->bus, TOY_REG_LEN, 11);
    driver_reg_write(f->bus, TOY_REG_GO, 3);
    assert_int_equal(poll(&(struct pollfd){.fd = fds[3], .events = POLLIN}, 1, 2000), 1);
    assert_int_equal(read(fds[3], &count, sizeof count), sizeof count);
    assert_int_equal(driver_reg_read(f->bus, TOY_REG_GO), 1);
    assert_string_equal((char *)dma[4].host + (2 << 20), "over there");
    for (unsigned i = 0; i < 5; i++) {
        f->bus->ops->dma_free(f->bus, &dma[i]);
        assert_null(dma[i].host);
        f->bus->ops->dma_free(f->bus, &dma[i]); // nothing there: nothing happens
    }
    assert_int_equal(f->toy->map_count, 0);
    assert_int_equal(f->bus->ops->dma_alloc(f->bus, 0, &dma[0]), -EINVAL);
    assert_int_equal(f->bus->ops->dma_alloc(f->bus, UINT64_MAX, &dma[0]), -EINVAL);
}

static void test_second_client(void **state)
{
    struct bus_fixture *f = *state;
    struct driver_bus *bus;

    assert_int_equal(driver_bus_vfiouser_open(f->path, &bus, f->error, sizeof f->error), -EBUSY);
    assert_true(strlen(f->error) > 0);
    assert_int_equal(driver_bus_vfiouser_open("/nowhere/x.sock", &bus, f->error, sizeof f->error),
                     -ENOENT);
}

static void test_server_gone(void **state)
{
    struct bus_fixture *f = *state;
    struct driver_dma dma, more;
    int fd;

    assert_int_equal(f->bus->ops->dma_alloc(f->bus, 4096, &dma), 0);
    toy_server_stop(f->server);
    f->server = NULL;
    assert_int_equal(driver_reg_read(f->bus, 0x2000), UINT32_MAX);
    assert_true(f->bus->lost);
    assert_int_equal(f->bus->ops->config_read(f->bus, 0, 4), UINT32_MAX);
    driver_reg_write(f->bus, 0x2000, 1);
    assert_int_equal(f->bus->ops->dma_alloc(f->bus, 4096, &more), -ENOTCONN);
    assert_int_not_equal(f->bus->ops->irq_enable(f->bus, 1, &fd), 0);
    assert_int_not_equal(f->bus->ops->reset(f->bus), 0);
    *(volatile uint8_t *)dma.host = 1; // still ours
    f->bus->ops->dma_free(f->bus, &dma);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mapped_pages, setup_mapped, teardown),
        cmocka_unit_test_setup_teardown(test_dma_and_interrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_client, setup, teardown),
        cmocka_unit_test_setup_teardown(test_server_gone, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

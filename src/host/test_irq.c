// SPDX-License-Identifier: BSD-3-Clause
// Interrupt messages end as signals on eventfds that their holder may have turned against us.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "host/irq.h"

#define FULL      (UINT64_MAX - 1) // the most that write() can put into an eventfd
#define TIMEOUT_S 60u              // a raise that blocks ends the test by SIGALRM
#define VECTORS   3u
#define RAISES    20000u
#define VF_RID    rid_make(1, 0x10, 0)
#define FOREIGN   rid_make(1, 0x10, 2)

struct fixture {
    struct gate gate;
    struct host_irq_table table;
    int first, fd;
};

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof f);
    gate_init(&f.gate);
    host_irq_init(&f.table, &f.gate);
    f.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    f.first = host_irq_alloc(&f.table, VF_RID, VECTORS);
    if (f.fd < 0 || f.first < 0)
        return -1;
    host_irq_set_fd(&f.table, (unsigned)f.first, f.fd);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    host_irq_fini(&f->table);
    gate_destroy(&f->gate);
    return close(f->fd);
}

static void raise_from(struct fixture *f, rid_t rid, unsigned index)
{
    host_irq_raise(&f->table, rid, 0, HOST_IRQ_ADDRESS, index);
}

// 0 where there was nothing.
static uint64_t count_take(const struct fixture *f)
{
    uint64_t count = 0;

    return read(f->fd, &count, sizeof count) == sizeof count ? count : 0;
}

static void test_only_the_owner_raises(void **state)
{
    struct fixture *f = *state;
    unsigned index = (unsigned)f->first;

    raise_from(f, VF_RID, index);
    raise_from(f, VF_RID, index);
    assert_int_equal(count_take(f), 2);
    raise_from(f, FOREIGN, index);
    raise_from(f, VF_RID, index + 1);       // nobody has armed it
    raise_from(f, VF_RID, index + VECTORS); // not given out
    raise_from(f, VF_RID, HOST_IRQS_MAX);
    host_irq_raise(&f->table, VF_RID, 0, HOST_IRQ_ADDRESS + 4, index);
    assert_int_equal(f->table.stray, 5);
    assert_int_equal(count_take(f), 0);
    host_irq_set_fd(&f->table, index, -1);
    raise_from(f, VF_RID, index);
    assert_int_equal(count_take(f), 0);
    assert_int_equal(host_irq_raised(&f->table, index, VECTORS), 2);
}

static void blocking_and_full(const struct fixture *f)
{
    const uint64_t full = FULL;

    assert_int_equal(write(f->fd, &full, sizeof full), sizeof full);
    assert_int_equal(fcntl(f->fd, F_SETFL, 0), 0);
}

static void test_a_full_counter_does_not_block(void **state)
{
    struct fixture *f = *state;

    blocking_and_full(f);
    for (unsigned i = 0; i < 1000; i++)
        raise_from(f, VF_RID, (unsigned)f->first);
    assert_true(count_take(f) >= FULL); // the holder's read works as ever
    raise_from(f, VF_RID, (unsigned)f->first);
    assert_int_equal(count_take(f), 1);
}

static void test_without_aio(void **state)
{
    struct fixture *f = *state;
    aio_context_t aio = f->table.sender.aio;

    f->table.sender.aio = 0;
    raise_from(f, VF_RID, (unsigned)f->first);
    assert_int_equal(count_take(f), 1);
    blocking_and_full(f);
    raise_from(f, VF_RID, (unsigned)f->first);
    assert_int_equal(count_take(f), FULL);
    assert_int_equal(host_irq_raised(&f->table, (unsigned)f->first, 1), 1);
    f->table.sender.aio = aio;
}

static void *raise_many(void *ctx)
{
    struct fixture *f = ctx;

    for (unsigned i = 0; i < RAISES; i++)
        raise_from(f, VF_RID, (unsigned)f->first);
    return NULL;
}

// Workers and the control thread share the ring of finished requests: no signal is lost in it.
static void test_threads(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[3];

    for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, raise_many, f), 0);
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(count_take(f), ARRAY_LEN(threads) * RAISES);
    assert_int_equal(host_irq_raised(&f->table, (unsigned)f->first, 1),
                     ARRAY_LEN(threads) * RAISES);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_only_the_owner_raises),
        TEST(test_a_full_counter_does_not_block),
        TEST(test_without_aio),
        TEST(test_threads),
    };

    alarm(TIMEOUT_S);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

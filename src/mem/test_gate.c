// SPDX-License-Identifier: BSD-3-Clause
#include "mem/gate.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define ROUNDS  300
#define WORKERS 3

static void nap_us(long us)
{
    nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

// What only changes under a closed gate, and is deliberately not atomic: ThreadSanitizer reports a
// gate that lets anybody through. Both words are equal whenever a worker may look.
struct shared {
    struct gate gate;
    unsigned long a, b;
    atomic_bool stop;
};

struct job {
    struct shared *shared;
    struct gate_worker worker;
    pthread_t thread;
    _Atomic unsigned long batches;
    bool torn;
    bool sleeps; // leaves the gate between batches, as an idle worker does
};

static void *worker_run(void *arg)
{
    struct job *job = arg;
    struct shared *s = job->shared;

    gate_enter(&job->worker);
    while (!atomic_load(&s->stop)) {
        for (int i = 0; i < 20; i++)
            job->torn |= *(volatile unsigned long *)&s->a != *(volatile unsigned long *)&s->b;
        atomic_fetch_add(&job->batches, 1);
        if (job->sleeps) {
            gate_leave(&job->worker);
            nap_us(20);
            gate_enter(&job->worker);
        } else {
            gate_poll(&job->worker);
        }
    }
    gate_leave(&job->worker);
    return NULL;
}

static void jobs_start(struct shared *s, struct job *jobs, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        jobs[i] = (struct job){.shared = s, .sleeps = i == 1};
        assert_int_equal(gate_worker_add(&s->gate, &jobs[i].worker), 0);
        assert_int_equal(pthread_create(&jobs[i].thread, NULL, worker_run, &jobs[i]), 0);
    }
}

static void jobs_stop(struct shared *s, struct job *jobs, unsigned count)
{
    atomic_store(&s->stop, true);
    for (unsigned i = 0; i < count; i++) {
        pthread_join(jobs[i].thread, NULL);
        gate_worker_remove(&s->gate, &jobs[i].worker);
    }
}

static void test_workers_see_only_whole_changes(void **state)
{
    struct shared s = {0};
    struct job jobs[WORKERS];

    (void)state;
    gate_init(&s.gate);
    jobs_start(&s, jobs, WORKERS);
    for (int round = 0; round < ROUNDS; round++) {
        gate_close(&s.gate);
        s.a++;
        if (round % 16 == 0)
            nap_us(50);
        s.b++;
        gate_open(&s.gate);
        if (round % 3 == 0)
            nap_us(30);
    }
    jobs_stop(&s, jobs, WORKERS);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_false(jobs[i].torn);
    assert_int_equal(s.a, ROUNDS);
    gate_destroy(&s.gate);
}

static unsigned long batches_of(struct job *jobs, unsigned count)
{
    unsigned long sum = 0;

    for (unsigned i = 0; i < count; i++)
        sum += atomic_load(&jobs[i].batches);
    return sum;
}

// Nobody moves while the gate is closed, however often; all move again after the last open.
static void test_closed_stands_still_and_nests(void **state)
{
    struct shared s = {0};
    struct job jobs[WORKERS];
    unsigned long before, each[WORKERS];

    (void)state;
    gate_init(&s.gate);
    jobs_start(&s, jobs, WORKERS);
    assert_false(gate_is_closed(&s.gate));
    gate_close(&s.gate);
    gate_close(&s.gate);
    assert_true(gate_is_closed(&s.gate));
    before = batches_of(jobs, WORKERS);
    nap_us(2000);
    assert_int_equal(batches_of(jobs, WORKERS), before);
    gate_open(&s.gate);
    assert_true(gate_is_closed(&s.gate));
    nap_us(2000);
    assert_int_equal(batches_of(jobs, WORKERS), before);
    for (unsigned i = 0; i < WORKERS; i++)
        each[i] = atomic_load(&jobs[i].batches);
    gate_open(&s.gate);
    assert_false(gate_is_closed(&s.gate));
    for (unsigned i = 0; i < WORKERS; i++)
        for (int wait = 0; atomic_load(&jobs[i].batches) == each[i]; wait++) {
            assert_true(wait < 50000); // 5 s
            nap_us(100);
        }
    jobs_stop(&s, jobs, WORKERS);
    gate_destroy(&s.gate);
}

// A worker that starts while the gate is closed waits; one that has ended can go while it is.
static void test_add_and_remove_while_closed(void **state)
{
    struct shared s = {0};
    struct job jobs[2];

    (void)state;
    gate_init(&s.gate);
    gate_close(&s.gate);
    jobs_start(&s, jobs, 2);
    nap_us(2000);
    assert_int_equal(batches_of(jobs, 2), 0);
    gate_open(&s.gate);
    while (!atomic_load(&jobs[0].batches) || !atomic_load(&jobs[1].batches))
        nap_us(100);
    atomic_store(&s.stop, true);
    pthread_join(jobs[0].thread, NULL);
    pthread_join(jobs[1].thread, NULL);
    gate_close(&s.gate);
    gate_worker_remove(&s.gate, &jobs[0].worker);
    gate_open(&s.gate);
    gate_close(&s.gate);
    gate_open(&s.gate);
    gate_worker_remove(&s.gate, &jobs[1].worker);
    gate_destroy(&s.gate);
}

static void test_worker_limit(void **state)
{
    static struct gate_worker workers[GATE_WORKERS_MAX + 1];
    struct gate gate;

    (void)state;
    gate_init(&gate);
    for (unsigned i = 0; i < GATE_WORKERS_MAX; i++)
        assert_int_equal(gate_worker_add(&gate, &workers[i]), 0);
    assert_int_equal(gate_worker_add(&gate, &workers[GATE_WORKERS_MAX]), -ENOSPC);
    gate_close(&gate);
    gate_open(&gate);
    gate_worker_remove(&gate, &workers[3]);
    assert_int_equal(gate_worker_add(&gate, &workers[GATE_WORKERS_MAX]), 0);
    gate_worker_remove(&gate, &workers[GATE_WORKERS_MAX]);
    for (unsigned i = 0; i < GATE_WORKERS_MAX; i++)
        if (i != 3)
            gate_worker_remove(&gate, &workers[i]);
    gate_destroy(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workers_see_only_whole_changes),
        cmocka_unit_test(test_closed_stands_still_and_nests),
        cmocka_unit_test(test_add_and_remove_while_closed),
        cmocka_unit_test(test_worker_limit),
    };

    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}

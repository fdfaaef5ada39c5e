// SPDX-License-Identifier: BSD-3-Clause
#include "mem/gate.h"

#include <assert.h>
#include <errno.h>

void gate_init(struct gate *gate)
{
    *gate = (struct gate){0};
    pthread_mutex_init(&gate->lock, NULL);
    pthread_mutex_init(&gate->opened_lock, NULL);
    pthread_cond_init(&gate->opened, NULL);
}

void gate_destroy(struct gate *gate)
{
    assert(!gate->worker_count);
    pthread_mutex_destroy(&gate->lock);
    pthread_mutex_destroy(&gate->opened_lock);
    pthread_cond_destroy(&gate->opened);
}

void gate_close(struct gate *gate)
{
    // Only the control thread changes `closed`, so the nested case needs no lock.
    if (atomic_load_explicit(&gate->closed, memory_order_relaxed)) {
        atomic_fetch_add_explicit(&gate->closed, 1, memory_order_relaxed);
        return;
    }
    pthread_mutex_lock(&gate->lock);
    atomic_store_explicit(&gate->closed, 1, memory_order_relaxed);
    // Each worker gives up `inside` at its next poll; taking it orders its batch before us, and
    // our changes before its next batch.
    for (unsigned i = 0; i < gate->worker_count; i++)
        pthread_mutex_lock(&gate->workers[i]->inside);
    // Not before: a worker in its last batch would take what it finds there for what has changed.
    atomic_fetch_add_explicit(&gate->closings, 1, memory_order_relaxed);
}

void gate_open(struct gate *gate)
{
    assert(gate_is_closed(gate));
    if (atomic_load_explicit(&gate->closed, memory_order_relaxed) > 1) {
        atomic_fetch_sub_explicit(&gate->closed, 1, memory_order_relaxed);
        return;
    }
    pthread_mutex_lock(&gate->opened_lock);
    atomic_store_explicit(&gate->closed, 0, memory_order_relaxed);
    for (unsigned i = 0; i < gate->worker_count; i++)
        pthread_mutex_unlock(&gate->workers[i]->inside);
    pthread_cond_broadcast(&gate->opened);
    pthread_mutex_unlock(&gate->opened_lock);
    pthread_mutex_unlock(&gate->lock);
}

bool gate_is_closed(const struct gate *gate)
{
    return atomic_load_explicit(&gate->closed, memory_order_relaxed) != 0;
}

// Where the gate is closed, the control thread, which is who calls this, holds `lock` already.
static void workers_lock(struct gate *gate)
{
    if (!gate_is_closed(gate))
        pthread_mutex_lock(&gate->lock);
}

static void workers_unlock(struct gate *gate)
{
    if (!gate_is_closed(gate))
        pthread_mutex_unlock(&gate->lock);
}

int gate_worker_add(struct gate *gate, struct gate_worker *worker)
{
    int ret = 0;

    workers_lock(gate);
    if (gate->worker_count == GATE_WORKERS_MAX) {
        ret = -ENOSPC;
    } else {
        worker->gate = gate;
        pthread_mutex_init(&worker->inside, NULL);
        if (gate_is_closed(gate))
            pthread_mutex_lock(&worker->inside); // gate_open() lets it in
        gate->workers[gate->worker_count++] = worker;
    }
    workers_unlock(gate);
    return ret;
}

void gate_worker_remove(struct gate *gate, struct gate_worker *worker)
{
    unsigned i = 0;

    workers_lock(gate);
    while (i < gate->worker_count && gate->workers[i] != worker)
        i++;
    assert(i < gate->worker_count);
    gate->workers[i] = gate->workers[--gate->worker_count];
    if (gate_is_closed(gate))
        pthread_mutex_unlock(&worker->inside);
    pthread_mutex_destroy(&worker->inside);
    workers_unlock(gate);
}

void gate_enter(struct gate_worker *worker)
{
    pthread_mutex_lock(&worker->inside);
    gate_poll(worker);
}

void gate_leave(struct gate_worker *worker)
{
    pthread_mutex_unlock(&worker->inside);
}

void gate_wait(struct gate_worker *worker)
{
    struct gate *gate = worker->gate;

    // Out until it is open: without the wait a busy worker could take `inside` back before the
    // control thread, which sleeps on it, gets to run.
    pthread_mutex_unlock(&worker->inside);
    pthread_mutex_lock(&gate->opened_lock);
    while (gate_is_closed(gate))
        pthread_cond_wait(&gate->opened, &gate->opened_lock);
    pthread_mutex_unlock(&gate->opened_lock);
    pthread_mutex_lock(&worker->inside);
}

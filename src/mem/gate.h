// SPDX-License-Identifier: BSD-3-Clause
// The gate between workers, which hold pointers into guest memory and read the card's tables, and
// the control thread, which takes memory away and changes tables.
//
// A worker is *inside* while it runs a batch, and polls the gate between batches. The control
// thread closes the gate: when gate_close() returns, every worker is outside, and stays there until
// gate_open(). So nothing that changes only under a closed gate needs a lock on the data path. This
// is what "drain the workers" means everywhere in Vireo: DMA_UNMAP, FLR, VF reset, table changes.
//
// Cost to a worker that is not disturbed: one relaxed load a batch.
#ifndef VIREO_MEM_GATE_H
#define VIREO_MEM_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define GATE_WORKERS_MAX 16

struct gate_worker {
    struct gate *gate;
    pthread_mutex_t inside; // held by the worker while it is inside
};

struct gate {
    _Atomic unsigned closed; // how many times it is closed: nests on the control thread
    // How often it has been closed, nested ones not counted: a worker that finds it unchanged knows
    // that nothing has changed that changes only then.
    _Atomic unsigned closings;
    pthread_mutex_t lock;    // guards workers[]; held by the closer from close to open
    pthread_cond_t opened;
    pthread_mutex_t opened_lock;
    struct gate_worker *workers[GATE_WORKERS_MAX];
    unsigned worker_count;
};

void gate_init(struct gate *gate);
void gate_destroy(struct gate *gate);

// Control thread. Bound on the wait: one batch of each worker. Nests; only one thread may close a
// gate (the control thread).
void gate_close(struct gate *gate);
void gate_open(struct gate *gate);
// True on the control thread between gate_close() and gate_open(): for assertions.
bool gate_is_closed(const struct gate *gate);

// Control thread, before the worker starts / after it ended; the gate may be open or closed. 0, or
// -ENOSPC.
int gate_worker_add(struct gate *gate, struct gate_worker *worker);
void gate_worker_remove(struct gate *gate, struct gate_worker *worker);

// Worker thread. gate_enter() waits while the gate is closed.
void gate_enter(struct gate_worker *worker);
void gate_leave(struct gate_worker *worker); // before it sleeps or ends
void gate_wait(struct gate_worker *worker);  // slow path of gate_poll()

static inline void gate_poll(struct gate_worker *worker)
{
    if (__builtin_expect(atomic_load_explicit(&worker->gate->closed, memory_order_relaxed), 0))
        gate_wait(worker);
}

#endif

// SPDX-License-Identifier: BSD-3-Clause
// The idealised one-copy forwarder: the limit that two cores have. A device process copies each
// frame once, from the sender's buffer into the receiver's; a guest process hands what was received
// back to be sent. Fixed geometry: two directions, 16-byte descriptors in rings, a working set like
// our card's. It looks nothing up, checks nothing, translates nothing and counts nothing.
//
// A direction's send and receive rings are consumed together, one descriptor of each a frame, so a
// single count, `done`, tells the guest about both.
#include "bench/ideal.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/frames.h"
#include "bench/sched.h"
#include "bench/subject.h"
#include "base/clock.h"

#define RING_MAX   1024u
#define FRAMES     BENCH_FRAMES_EACH_WAY
#define BURST      32u
#define DIRECTIONS 2u
#define WARM_UP_NS (60 * NS_PER_MS)

struct desc {
    uint64_t offset; // of the buffer
    uint32_t len_bytes, unused;
};

struct direction {
    _Alignas(64) _Atomic uint32_t tx_tail; // the guest's: free-running, as all counts here
    _Atomic uint32_t rx_tail;
    _Alignas(64) _Atomic uint32_t done; // the device's
    _Alignas(64) struct desc tx[RING_MAX];
    struct desc rx[RING_MAX];
};

struct shared {
    struct direction direction[DIRECTIONS];
    _Alignas(4096) uint8_t buffers[];
};

static struct ideal {
    struct shared *shared;
    size_t len_bytes;
    uint32_t mask, seen[DIRECTIONS]; // seen: of `done`, the guest's
    pid_t device;
} ideal;

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static void device_turn(struct direction *d, uint8_t *buffers, uint32_t mask)
{
    uint32_t done = atomic_load_explicit(&d->done, memory_order_relaxed);
    // acquire: pairs with the guest's releases; descriptors were written before the tails
    unsigned n = least(atomic_load_explicit(&d->tx_tail, memory_order_acquire) - done,
                       atomic_load_explicit(&d->rx_tail, memory_order_acquire) - done);

    n = least(n, BURST);
    for (uint32_t i = done; i != done + n; i++) {
        const struct desc *tx = &d->tx[i & mask];
        struct desc *rx = &d->rx[i & mask];

        if (tx->len_bytes == 64)
            memcpy(buffers + rx->offset, buffers + tx->offset, 64); // moves, no call
        else
            memcpy(buffers + rx->offset, buffers + tx->offset, tx->len_bytes);
        rx->len_bytes = tx->len_bytes;
    }
    // release: pairs with the guest's acquire; frames and lengths first
    if (n)
        atomic_store_explicit(&d->done, done + n, memory_order_release);
}

static _Noreturn void device_run(struct shared *s, uint32_t mask)
{
    bench_cpu_bind(BENCH_DEVICE_CPU);
    for (;;) {
        for (unsigned i = 0; i < DIRECTIONS; i++)
            device_turn(&s->direction[i], s->buffers, mask);
    }
}

// What was received goes out again; the buffers that were sent from receive.
static unsigned guest_turn(struct direction *d, uint32_t *seen, uint32_t mask)
{
    // acquire: pairs with the device's release
    unsigned n = least(atomic_load_explicit(&d->done, memory_order_acquire) - *seen, BURST);
    uint32_t tx_tail = atomic_load_explicit(&d->tx_tail, memory_order_relaxed);

    for (uint32_t i = *seen; i != *seen + n; i++, tx_tail++) {
        struct desc *rx = &d->rx[i & mask];
        uint64_t sent = d->tx[i & mask].offset;

        d->tx[tx_tail & mask] = (struct desc){rx->offset, rx->len_bytes, 0};
        rx->offset = sent;
    }
    if (!n)
        return 0;
    *seen += n;
    // release: pairs with the device's acquires
    atomic_store_explicit(&d->tx_tail, tx_tail, memory_order_release);
    atomic_store_explicit(&d->rx_tail, *seen + mask + 1, memory_order_release);
    return n;
}

static uint64_t guest_run(uint64_t end_ns)
{
    uint64_t frames = 0;

    do {
        for (unsigned k = 0; k < 16 * DIRECTIONS; k++)
            frames += guest_turn(&ideal.shared->direction[k % DIRECTIONS],
                                 &ideal.seen[k % DIRECTIONS], ideal.mask);
    } while (clock_now_ns() < end_ns);
    return frames;
}

static void ideal_end(void *ctx)
{
    if (ideal.device > 0) {
        kill(ideal.device, SIGKILL);
        waitpid(ideal.device, NULL, 0);
    }
    if (ideal.shared)
        munmap(ideal.shared, ideal.len_bytes);
    (void)ctx;
    ideal = (struct ideal){0};
}

static int ideal_shape(void *ctx, const struct bench_shape *shape, char *why, size_t why_len)
{
    size_t stride = shape->size_bytes <= 2048 ? 2048 : 10240;
    uint64_t next = 0;

    ideal_end(ctx);
    if (strcmp(shape->mode, "circulate") || shape->ring < FRAMES || shape->ring > RING_MAX ||
        (shape->ring & (shape->ring - 1))) {
        snprintf(why, why_len, "only 'circulate', with a ring of 256, 512 or 1024");
        return -ENOTSUP;
    }
    ideal.mask = shape->ring - 1;
    ideal.len_bytes = sizeof *ideal.shared + DIRECTIONS * (shape->ring + FRAMES) * stride;
    ideal.shared = mmap(NULL, ideal.len_bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (ideal.shared == MAP_FAILED) {
        ideal.shared = NULL;
        return -ENOMEM;
    }
    for (unsigned i = 0; i < DIRECTIONS; i++) {
        struct direction *d = &ideal.shared->direction[i];

        for (unsigned n = 0; n < FRAMES; n++, next += stride)
            d->tx[n] = (struct desc){next, bench_frame_len(shape->size_bytes, n), 0};
        for (unsigned n = 0; n < shape->ring; n++, next += stride)
            d->rx[n] = (struct desc){next, 0, 0};
        d->tx_tail = FRAMES;
        d->rx_tail = shape->ring;
    }
    ideal.device = fork();
    if (!ideal.device) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        device_run(ideal.shared, ideal.mask);
    }
    return ideal.device < 0 || kill(ideal.device, SIGSTOP) ? -EAGAIN : 0;
}

static int ideal_run(void *ctx, unsigned ms, struct bench_sample *out, char *why, size_t why_len)
{
    struct bench_watch watch;

    (void)ctx, (void)why, (void)why_len;
    if (!ideal.shared)
        return -EINVAL;
    kill(ideal.device, SIGCONT);
    guest_run(clock_now_ns() + WARM_UP_NS);
    bench_watch_start(&watch, ideal.device, getpid());
    out->frames = guest_run(watch.start_ns + ms * NS_PER_MS);
    out->wait_share = bench_watch_end(&watch, &out->ns);
    kill(ideal.device, SIGSTOP);
    return 0;
}

int bench_ideal_main(void)
{
    static const struct bench_subject_ops ops = {ideal_shape, ideal_run, ideal_end};

    bench_cpu_bind(BENCH_GUEST_CPU);
    return bench_subject_serve(&ops, NULL);
}

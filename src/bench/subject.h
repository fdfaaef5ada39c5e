// SPDX-License-Identifier: BSD-3-Clause
// A subject of the benchmark: a process that carries frames when it is told to, and otherwise uses
// no core. Our own card, the idealised forwarder and each peer are one. They are spoken to in
// lines:
//
//     it says at first            ready | missing WHY | failed WHY
//     shape MODE SIZE RING        ok | no WHY (it cannot do that) | failed WHY
//     run MS                      frames N ns N wait SHARE [value X] | again WHY (it was spoilt,
//                                 perhaps by something on the machine) | failed WHY
//     end                         it cleans up and goes; so it does at the end of its input
//
// SIZE: bytes of a frame without FCS, 0 for the mix. RING: descriptors. SHARE: how long the worst
// of its busy threads waited for its core.
// Threads: one a subject.
#ifndef VIREO_BENCH_SUBJECT_H
#define VIREO_BENCH_SUBJECT_H

#include <stddef.h>
#include <stdint.h>

#define BENCH_WHY_LEN  512u
#define BENCH_MODE_LEN 32u

// Where subjects bind their threads: environment, numbers of cores.
#define BENCH_DEVICE_CPU "VIREO_BENCH_DEVICE_CPU"
#define BENCH_GUEST_CPU  "VIREO_BENCH_GUEST_CPU"

struct bench_shape {
    char mode[BENCH_MODE_LEN];
    uint32_t size_bytes;
    unsigned ring;
};

struct bench_sample {
    uint64_t frames, ns;
    double wait_share;
    double value; // a mode's own figure
};

// --- the benchmark's side ---

struct bench_subject;

// Starts argv[0] with the path in it. 0; -ENOENT (it says that something is missing) or another
// -errno, and a sentence in `why`.
int bench_subject_start(char *const argv[], struct bench_subject **out, char *why, size_t why_len);
void bench_subject_end(struct bench_subject *subject); // waits until it is gone; NULL is fine
// 0; -ENOTSUP: not this shape; -EAGAIN: this sample is none, the next may be; -EIO: it failed, and
// so does all else until the next shape. With a sentence in `why`.
int bench_subject_shape(struct bench_subject *subject, const struct bench_shape *shape, char *why,
                        size_t why_len);
int bench_subject_run(struct bench_subject *subject, unsigned ms, struct bench_sample *out,
                      char *why, size_t why_len);

// --- the subject's side ---

struct bench_subject_ops {
    int (*shape)(void *ctx, const struct bench_shape *shape, char *why, size_t why_len);
    int (*run)(void *ctx, unsigned ms, struct bench_sample *out, char *why, size_t why_len);
    void (*end)(void *ctx);
};

// Says ready, and does what its input says until that ends. An exit code.
int bench_subject_serve(const struct bench_subject_ops *ops, void *ctx);
int bench_cpu(const char *variable);       // a core's number from the environment, -1: none
void bench_cpu_bind(const char *variable); // this thread, where there is one

#endif

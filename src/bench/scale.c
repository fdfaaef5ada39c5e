// SPDX-License-Identifier: BSD-3-Clause
#include "bench/scale.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/frames.h"
#include "bench/guest.h"
#include "bench/inproc.h"
#include "bench/sched.h"
#include "bench/stats.h"
#include "bench/subject.h"
#include "base/clock.h"
#include "base/log.h"
#include "mem/space.h"

#define CREWS_MAX  8u
#define WARM_UP_NS (100 * NS_PER_MS)
#define DRAIN_NS   (1 * NS_PER_S) // at most
#define KFPS_MAX   20000u
#define LOST_MAX   0.01 // of what was sent: else the load was not what it should be

// A card and its guests. Between samples its worker does not run, so that several may exist.
struct crew {
    struct bench_inproc *machine;
    unsigned count; // guests
    struct bench_side guest[BENCH_VFS_MAX];
};

struct scale {
    bool mapped;
    uint32_t size_bytes;
    unsigned ring;
    uint64_t gap_ns; // between two bursts
    unsigned crew_count;
    struct crew *crew[CREWS_MAX], *now;
};

// --- crews ---

static void crew_close(struct crew *crew)
{
    for (unsigned i = 0; i < crew->count; i++) {
        if (crew->guest[i].vf)
            vf_driver_close(crew->guest[i].vf);
        if (crew->guest[i].bus)
            crew->guest[i].bus->ops->close(crew->guest[i].bus);
    }
    bench_inproc_close(crew->machine);
    free(crew);
}

static void scale_end(void *ctx)
{
    struct scale *s = ctx;

    for (unsigned i = 0; i < s->crew_count; i++)
        crew_close(s->crew[i]);
    s->crew_count = 0;
    s->now = NULL;
}

static int crew_open(struct scale *s, unsigned count, char *why, size_t why_len)
{
    struct crew *crew = calloc(1, sizeof *crew);
    int ret;

    if (!crew)
        return -ENOMEM;
    ret = bench_inproc_open(count, s->mapped, &crew->machine, why, why_len);
    for (; !ret && crew->count < count; crew->count++)
        ret = bench_inproc_side(crew->machine, crew->count, s->ring, &crew->guest[crew->count], why,
                                why_len);
    if (ret) {
        crew_close(crew);
        return ret;
    }
    for (unsigned i = 0; i < count; i++)
        bench_side_fill(&crew->guest[i], &crew->guest[(i + 1) % count], s->size_bytes);
    bench_inproc_worker_stop(crew->machine);
    s->crew[s->crew_count++] = s->now = crew;
    return 0;
}

static int scale_shape(void *ctx, const struct bench_shape *shape, char *why, size_t why_len)
{
    struct scale *s = ctx;
    unsigned count, kfps;
    char kind[8];

    if (sscanf(shape->mode, "guests-%7[a-z]-%u-%u", kind, &count, &kfps) != 3 ||
        (strcmp(kind, "mapped") && strcmp(kind, "trapped")) || count < 2 || count > BENCH_VFS_MAX ||
        !kfps || kfps > KFPS_MAX || shape->size_bytes < BENCH_FRAME_MIN ||
        shape->size_bytes > 1514) {
        snprintf(why, why_len, "no such mode or size");
        return -ENOTSUP;
    }
    if (s->crew_count == CREWS_MAX || s->mapped != !strcmp(kind, "mapped") ||
        s->size_bytes != shape->size_bytes || s->ring != shape->ring)
        scale_end(s);
    s->mapped = !strcmp(kind, "mapped");
    s->size_bytes = shape->size_bytes;
    s->ring = shape->ring;
    s->gap_ns = BENCH_BURST * NS_PER_S / (kfps * 1000ull);
    for (unsigned i = 0; i < s->crew_count; i++) {
        s->now = s->crew[i];
        if (s->now->count == count)
            return 0;
    }
    s->now = NULL;
    return crew_open(s, count, why, why_len);
}

// --- the load ---

struct load {
    uint64_t sent, received;
    unsigned turn; // whose burst is next
};

// Until `end_ns`. Who is due to receive is polled between the bursts, and again when its turn comes
// round.
static void load_run(const struct scale *s, struct load *load, uint64_t end_ns)
{
    uint64_t next_ns = clock_now_ns(), now_ns = next_ns;

    while (now_ns < end_ns) {
        unsigned count = s->now->count, to = (load->turn + 1) % count;

        load->sent +=
            bench_side_send(&s->now->guest[load->turn], &s->now->guest[to], s->size_bytes);
        // A burst that is late, since somebody else had the core, is not made up for.
        next_ns = (now_ns > next_ns + s->gap_ns ? now_ns : next_ns) + s->gap_ns;
        do {
            load->received += bench_side_receive(&s->now->guest[to]);
            now_ns = clock_now_ns();
        } while (now_ns < next_ns);
        load->turn = to;
    }
}

static void load_drain(const struct scale *s, struct load *load)
{
    uint64_t end_ns = clock_now_ns() + DRAIN_NS;

    while (load->received < load->sent && clock_now_ns() < end_ns) {
        for (unsigned i = 0; i < s->now->count; i++)
            load->received += bench_side_receive(&s->now->guest[i]);
    }
}

static struct bench_thread thread_of(const struct bench_sched *threads, pid_t tid)
{
    for (unsigned i = 0; i < threads->count; i++) {
        if (threads->thread[i].tid == tid)
            return threads->thread[i];
    }
    return (struct bench_thread){0};
}

// The worker's share of a core, and how long it, or the guests' thread, waited for one: a worker
// that sleeps most of the time counts too.
static void shares_take(const struct bench_sched *before, const struct bench_sched *after,
                        pid_t worker, struct bench_sample *out)
{
    struct bench_thread then = thread_of(before, worker), now = thread_of(after, worker);
    double waited = (double)(now.waited_ns - then.waited_ns) / (double)out->ns;

    out->value = (double)(now.ran_ns - then.ran_ns) / (double)out->ns;
    out->wait_share = bench_sched_wait_share(before, after, out->ns);
    if (waited > out->wait_share)
        out->wait_share = waited;
}

// Frames were lost. While somebody else had a core, rings overflow, and the sample counts as
// contended: of a thread that still waits when the sample ends, the kernel adds the wait later.
// What it never adds is a core that the hypervisor took away: so it is to be tried again, too.
static int lost_judge(const struct bench_sched *before, pid_t worker, const struct load *load,
                      struct bench_sample *out, char *why, size_t why_len)
{
    pid_t self = getpid();
    struct bench_sched late;
    struct bench_sample now = *out;

    bench_sched_take(&self, 1, &late);
    shares_take(before, &late, worker, &now);
    if (now.wait_share > out->wait_share)
        out->wait_share = now.wait_share;
    if (bench_is_contended(out->wait_share))
        return 0;
    snprintf(why, why_len,
             "of %" PRIu64 " frames %" PRIu64 " did not arrive, though no thread waited for a core "
             "for long (%.1f %% of the time; the worker ran %.0f %%)",
             load->sent, load->sent - load->received, out->wait_share * 100, now.value * 100);
    return -EAGAIN;
}

static int scale_run(void *ctx, unsigned ms, struct bench_sample *out, char *why, size_t why_len)
{
    struct scale *s = ctx;
    struct bench_sched before, after;
    struct load load = {0};
    uint64_t start_ns;
    pid_t self = getpid(), worker;
    int ret = s->now ? bench_inproc_worker_start(s->now->machine) : -EINVAL;

    if (ret)
        return ret;
    worker = bench_inproc_worker_tid(s->now->machine);
    load_run(s, &load, clock_now_ns() + WARM_UP_NS);
    load_drain(s, &load);
    load.sent = load.received = 0;
    bench_sched_take(&self, 1, &before);
    start_ns = clock_now_ns();
    load_run(s, &load, start_ns + ms * NS_PER_MS);
    out->ns = clock_now_ns() - start_ns;
    out->frames = load.received;
    bench_sched_take(&self, 1, &after);
    shares_take(&before, &after, worker, out);
    load_drain(s, &load);
    if ((double)load.received < (1 - LOST_MAX) * (double)load.sent)
        ret = lost_judge(&before, worker, &load, out, why, why_len);
    bench_inproc_worker_stop(s->now->machine);
    return ret;
}

int bench_scale_main(void)
{
    static const struct bench_subject_ops ops = {scale_shape, scale_run, scale_end};
    static struct scale scale;

    log_set_level(LOG_LEVEL_ERROR);
    bench_cpu_bind(BENCH_GUEST_CPU);
    if (mem_sigbus_install())
        return EXIT_FAILURE;
    return bench_subject_serve(&ops, &scale);
}

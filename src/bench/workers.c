// SPDX-License-Identifier: BSD-3-Clause
#include "bench/workers.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/frames.h"
#include "bench/inproc.h"
#include "bench/sched.h"
#include "bench/subject.h"
#include "base/clock.h"
#include "base/le.h"
#include "base/log.h"
#include "hw82599/desc.h"
#include "hw82599/regs.h"
#include "mem/space.h"

#define VFS   8u
#define QUEUE 1u // of a VF, for the replayed ring: queue 0 is the driver's
// Descriptors: long enough that a worker does not come to the end while this process's thread,
// which has to share a core with one, is not let run for some milliseconds.
#define SINK_RING     32768u
#define SINK_BUFFERS  1024u
#define TAIL_EVERY_NS (1 * NS_PER_MS)
#define WARM_UP_NS    (100 * NS_PER_MS)
#define STEPS_A_LOOK  16u

struct vf {
    struct bench_side side;
    struct driver_dma ring, buffers; // of the replayed ring
};

struct subject {
    struct bench_inproc *machine;
    unsigned vf_count;
    struct vf vf[VFS];
    bool sink;
    unsigned workers;
    uint32_t size_bytes;
    unsigned ring;
};

static void subject_end(void *ctx)
{
    struct subject *s = ctx;

    for (unsigned i = 0; i < s->vf_count; i++) {
        struct bench_side *side = &s->vf[i].side;

        if (!side->bus)
            continue;
        driver_reg_write(side->bus, HW_VFTXDCTL(QUEUE), 0);
        if (side->vf)
            vf_driver_close(side->vf);
        if (s->vf[i].buffers.host)
            side->bus->ops->dma_free(side->bus, &s->vf[i].buffers);
        if (s->vf[i].ring.host)
            side->bus->ops->dma_free(side->bus, &s->vf[i].ring);
        side->bus->ops->close(side->bus);
    }
    bench_inproc_close(s->machine);
    *s = (struct subject){0};
}

// A ring of frames to nobody. None asks for its write-back, so the ring stays as it is.
static int ring_fill(const struct subject *s, struct vf *vf)
{
    static const uint8_t nobody[6] = {0x02, 0, 0, 0, 0xbe, 0xef};
    struct driver_bus *bus = vf->side.bus;
    uint32_t slot = (s->size_bytes + 255) & ~255u;
    int ret = bus->ops->dma_alloc(bus, SINK_RING * HW_DESC_LEN_BYTES, &vf->ring);

    if (!ret)
        ret = bus->ops->dma_alloc(bus, (uint64_t)SINK_BUFFERS * slot, &vf->buffers);
    for (unsigned i = 0; !ret && i < SINK_RING; i++) {
        uint8_t *desc = (uint8_t *)vf->ring.host + i * HW_DESC_LEN_BYTES;
        uint32_t at = i % SINK_BUFFERS * slot;

        bench_frame_fill((uint8_t *)vf->buffers.host + at, s->size_bytes, nobody, vf->side.mac, i);
        le64_put(desc, vf->buffers.iova + at);
        le32_put(desc + 8,
                 HW_TXD_DEXT | HW_TXD_TYPE_DATA | HW_TXD_IFCS | HW_TXD_EOP | s->size_bytes);
        le32_put(desc + 12, s->size_bytes << HW_TXO_PAYLEN_SHIFT);
    }
    if (ret)
        return ret;
    driver_reg_write(bus, HW_VFTDBAL(QUEUE), (uint32_t)vf->ring.iova);
    driver_reg_write(bus, HW_VFTDBAH(QUEUE), (uint32_t)(vf->ring.iova >> 32));
    driver_reg_write(bus, HW_VFTDLEN(QUEUE), SINK_RING * HW_DESC_LEN_BYTES);
    driver_reg_write(bus, HW_VFTXDCTL(QUEUE), HW_TXDCTL_ENABLE);
    return driver_reg_read(bus, HW_VFTXDCTL(QUEUE)) & HW_TXDCTL_ENABLE ? 0 : -EIO;
}

static int subject_open(struct subject *s, char *why, size_t why_len)
{
    int ret = bench_inproc_open(VFS, false, &s->machine, why, why_len);

    for (; !ret && s->vf_count < VFS; s->vf_count++)
        ret = bench_inproc_side(s->machine, s->vf_count, s->ring, &s->vf[s->vf_count].side, why,
                                why_len);
    for (unsigned i = 0; !ret && i < VFS; i++)
        ret = ring_fill(s, &s->vf[i]);
    if (ret)
        subject_end(s);
    else
        bench_inproc_worker_stop(s->machine);
    return ret;
}

static int subject_shape(void *ctx, const struct bench_shape *shape, char *why, size_t why_len)
{
    struct subject *s = ctx;
    unsigned workers;
    char kind[8];

    if (sscanf(shape->mode, "workers-%7[a-z]-%u", kind, &workers) != 2 ||
        (strcmp(kind, "sink") && strcmp(kind, "guests")) || !workers ||
        workers > BENCH_INPROC_WORKERS_MAX || shape->size_bytes < BENCH_FRAME_MIN ||
        shape->size_bytes > 1514) {
        snprintf(why, why_len, "no such mode or size");
        return -ENOTSUP;
    }
    if (s->machine && (s->size_bytes != shape->size_bytes || s->ring != shape->ring))
        subject_end(s);
    s->sink = !strcmp(kind, "sink");
    s->workers = workers;
    s->size_bytes = shape->size_bytes;
    s->ring = shape->ring;
    return s->machine ? 0 : subject_open(s, why, why_len);
}

// --- full rings ---

// All that was sent may be sent again.
static void tails_move(const struct subject *s)
{
    for (unsigned i = 0; i < VFS; i++) {
        struct driver_bus *bus = s->vf[i].side.bus;
        uint32_t head = driver_reg_read(bus, HW_VFTDH(QUEUE));

        driver_reg_write(bus, HW_VFTDT(QUEUE), (head + SINK_RING - 1) % SINK_RING);
    }
}

static uint64_t sink_run(struct subject *s, uint64_t end_ns)
{
    uint64_t before = bench_inproc_uplink_frames(s->machine);
    struct timespec pause = {0, TAIL_EVERY_NS};

    while (clock_now_ns() < end_ns) {
        tails_move(s);
        nanosleep(&pause, NULL);
    }
    return bench_inproc_uplink_frames(s->machine) - before;
}

static void sink_stop(const struct subject *s)
{
    for (unsigned i = 0; i < VFS; i++) {
        struct driver_bus *bus = s->vf[i].side.bus;
        uint32_t tail = driver_reg_read(bus, HW_VFTDT(QUEUE));

        while (driver_reg_read(bus, HW_VFTDH(QUEUE)) != tail)
            usleep(100);
    }
}

// --- with guests ---

static uint64_t guests_run(struct subject *s, uint64_t end_ns)
{
    uint64_t received = 0;

    do {
        for (unsigned k = 0; k < STEPS_A_LOOK; k++) {
            for (unsigned i = 0; i < VFS; i++) {
                bench_side_send(&s->vf[i].side, &s->vf[(i + 1) % VFS].side, s->size_bytes);
                received += bench_side_receive(&s->vf[i].side);
            }
        }
    } while (clock_now_ns() < end_ns);
    return received;
}

static int subject_run(void *ctx, unsigned ms, struct bench_sample *out, char *why, size_t why_len)
{
    struct subject *s = ctx;
    uint64_t (*run)(struct subject *, uint64_t) = s->sink ? sink_run : guests_run;
    struct bench_sched before, after;
    pid_t self = getpid();
    uint64_t start_ns;
    int ret = s->machine ? bench_inproc_workers_start(s->machine, s->workers) : -EINVAL;

    if (ret) {
        snprintf(why, why_len, "starting %u workers: %s", s->workers, strerror(-ret));
        return ret;
    }
    run(s, clock_now_ns() + WARM_UP_NS);
    bench_sched_take(&self, 1, &before);
    start_ns = clock_now_ns();
    out->frames = run(s, start_ns + ms * NS_PER_MS);
    out->ns = clock_now_ns() - start_ns;
    bench_sched_take(&self, 1, &after);
    out->wait_share =
        s->sink || s->workers == 1 ? bench_sched_wait_share(&before, &after, out->ns) : 0;
    if (s->sink)
        sink_stop(s);
    bench_inproc_worker_stop(s->machine);
    return 0;
}

int bench_workers_main(void)
{
    static const struct bench_subject_ops ops = {subject_shape, subject_run, subject_end};
    static struct subject subject;

    log_set_level(LOG_LEVEL_ERROR);
    bench_cpu_bind(BENCH_GUEST_CPU);
    if (mem_sigbus_install())
        return EXIT_FAILURE;
    return bench_subject_serve(&ops, &subject);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "bench/card.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define WARM_UP_NS (60 * NS_PER_MS)

static void card_close(struct bench_card *c)
{
    if (c->machine)
        bench_machine_freeze(c->machine, false);
    for (unsigned i = 0; i < 2; i++)
        bench_lane_destroy(c->lane[i]);
    bench_guest_close(&c->guest);
    bench_machine_stop(c->machine);
    if (c->capture[0])
        unlink(c->capture);
    *c = (struct bench_card){0};
}

static int card_open(struct bench_card *c, char *why, size_t why_len)
{
    const struct bench_mode *mode = c->mode;
    struct bench_machine_config machine = {
        .vf_count = mode->vfs,
        .mapped_doorbells = !mode->trapped,
        .replay = mode->replay ? c->capture : NULL,
    };
    struct bench_guest_config guest = {
        .vf_count = mode->vfs,
        .shared = mode->shared,
        .ring = c->shape.ring,
        .size_bytes = c->shape.size_bytes ? c->shape.size_bytes : 1514,
        .interrupts = mode->interrupts,
    };
    int ret = mode->replay ? bench_capture_make(c->shape.size_bytes, c->capture) : 0;

    if (!ret)
        ret = bench_machine_start(&machine, &c->machine, why, why_len);
    if (ret)
        return ret;
    guest.dir = bench_machine_dir(c->machine);
    ret = bench_guest_open(&c->guest, &guest, why, why_len);
    return ret || !mode->open ? ret : mode->open(c);
}

static int card_shape(void *ctx, const struct bench_shape *shape, char *why, size_t why_len)
{
    struct bench_card *c = ctx;
    int ret;

    card_close(c);
    c->mode = bench_mode_find(shape->mode);
    if (!c->mode || (shape->size_bytes && (shape->size_bytes < BENCH_FRAME_MIN ||
                                           shape->size_bytes > BENCH_FRAME_MAX))) {
        snprintf(why, why_len, "no such mode or size");
        c->mode = NULL;
        return -ENOTSUP;
    }
    c->shape = *shape;
    ret = card_open(c, why, why_len);
    if (ret)
        card_close(c);
    else
        bench_machine_freeze(c->machine, true);
    return ret == -ENOTSUP ? -EIO : ret;
}

static int card_run(void *ctx, unsigned ms, struct bench_sample *out, char *why, size_t why_len)
{
    struct bench_card *c = ctx;
    struct bench_sample warm_up = {0};
    struct bench_watch watch;
    uint64_t wall_ns;
    int ret;

    if (!c->mode) {
        snprintf(why, why_len, "no shape");
        return -EINVAL;
    }
    bench_machine_freeze(c->machine, false);
    ret = c->mode->settle ? c->mode->settle(c) : 0;
    if (!ret)
        ret = c->mode->run(c, clock_now_ns() + WARM_UP_NS, &warm_up);
    bench_watch_start(&watch, bench_machine_pid(c->machine), getpid());
    if (!ret)
        ret = c->mode->run(c, watch.start_ns + ms * NS_PER_MS, out);
    out->wait_share = bench_watch_end(&watch, &wall_ns);
    bench_machine_freeze(c->machine, true);
    if (!out->ns)
        out->ns = wall_ns;
    for (unsigned i = 0; !ret && i < c->guest.vf_count; i++) {
        if (c->guest.side[i].bus->lost)
            ret = -ENOTCONN;
    }
    return ret;
}

static void card_end(void *ctx)
{
    card_close(ctx);
}

static struct bench_card card;

// The machine cleans up after itself when this process ends.
static void on_signal(int number)
{
    if (card.machine)
        bench_machine_freeze(card.machine, false);
    if (card.capture[0])
        unlink(card.capture);
    _exit(128 + number);
}

int bench_card_main(void)
{
    static const struct bench_subject_ops ops = {card_shape, card_run, card_end};

    log_set_level(LOG_LEVEL_ERROR);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    bench_cpu_bind(BENCH_GUEST_CPU);
    return bench_subject_serve(&ops, &card);
}

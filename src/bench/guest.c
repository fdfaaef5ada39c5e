// SPDX-License-Identifier: BSD-3-Clause
#include "bench/guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define SETTLE_LIMIT_NS (4 * NS_PER_S)
#define FRAMES          BENCH_FRAMES_EACH_WAY

// --- the VFs ---

void bench_guest_close(struct bench_guest *g)
{
    for (unsigned i = 0; i < g->vf_count; i++) {
        if (g->side[i].vf)
            vf_driver_close(g->side[i].vf);
    }
    for (unsigned i = 0; i < g->vf_count; i++) {
        if (g->side[i].bus)
            g->side[i].bus->ops->close(g->side[i].bus);
    }
    *g = (struct bench_guest){0};
}

// The VFs that share memory share the first one's pool.
static int side_open(struct bench_guest *g, unsigned i, const struct bench_guest_config *config,
                     char *error, size_t error_len)
{
    bool shares = i < config->shared;
    struct vf_config vf = {
        .queue_count = 1,
        .ring_len = config->ring,
        // Of each: what is posted to receive, what is sent or in hand, what is not collected yet.
        .buffer_count = (shares ? config->shared : 1) * (config->ring + 2 * FRAMES),
        .buffer_bytes = config->size_bytes <= 2048 ? 2048 : 10240, // one buffer a frame
        .frame_bytes_max = config->size_bytes <= 1514 ? 1514 : BENCH_FRAME_MAX,
        .interrupts = config->interrupts,
        .reset_timeout_ms = 4000,
        .pool_of = shares ? g->side[0].vf : NULL, // of the first itself: nobody's
    };

    return bench_side_open(&g->side[i], &vf, error, error_len);
}

int bench_guest_open(struct bench_guest *g, const struct bench_guest_config *config, char *error,
                     size_t error_len)
{
    int ret = 0;

    *g = (struct bench_guest){.vf_count = config->vf_count};
    for (unsigned i = 0; !ret && i < config->vf_count; i++) {
        char path[128];

        snprintf(path, sizeof path, "%s/port0-vf%u.sock", config->dir, i);
        ret = driver_bus_vfiouser_open(path, &g->side[i].bus, error, error_len);
        if (!ret && i < config->shared)
            ret = driver_bus_vfiouser_join(g->side[i].bus, g->side[0].bus);
    }
    for (unsigned i = 0; !ret && i < config->vf_count; i++)
        ret = side_open(g, i, config, error, error_len);
    if (ret)
        bench_guest_close(g);
    return ret;
}

// --- frames that circulate ---

struct bench_lane {
    struct bench_side *from, *to;   // of one pool
    struct vf_buffer *hand[FRAMES]; // to be sent
    unsigned hand_count;
    uint32_t size_bytes;
    uint64_t next_sent, next_due; // numbers of frames
};

static int lane_make(struct bench_lane *l)
{
    struct vf_buffer *b = vf_buffer_alloc(l->from->vf);

    if (!b)
        return -ENOBUFS;
    b->len_bytes = (uint16_t)bench_frame_len(l->size_bytes, l->next_sent);
    bench_frame_fill(b->data, b->len_bytes, l->to->mac, l->from->mac, l->next_sent++);
    l->hand[l->hand_count++] = b;
    return 0;
}

int bench_lane_create(struct bench_side *from, struct bench_side *to, uint32_t size_bytes,
                      struct bench_lane **out)
{
    struct bench_lane *l = calloc(1, sizeof *l);

    if (!l)
        return -ENOMEM;
    *l = (struct bench_lane){.from = from, .to = to, .size_bytes = size_bytes};
    while (l->hand_count < FRAMES) {
        int ret = lane_make(l);

        if (ret) {
            free(l);
            return ret;
        }
    }
    *out = l;
    return 0;
}

void bench_lane_destroy(struct bench_lane *lane)
{
    free(lane); // the buffers go with the pool
}

static void lane_send(struct bench_lane *l)
{
    unsigned sent = l->hand_count ? vf_send(l->from->vf, 0, l->hand, l->hand_count) : 0;

    l->hand_count -= sent;
    if (l->hand_count && sent)
        memmove(l->hand, l->hand + sent, l->hand_count * sizeof l->hand[0]);
}

// Takes up to a burst of what has arrived into the guest's hand. How many.
static unsigned lane_receive(struct bench_lane *l)
{
    unsigned room = FRAMES - l->hand_count;
    unsigned n =
        vf_receive(l->to->vf, 0, l->hand + l->hand_count, room < BENCH_BURST ? room : BENCH_BURST);

    l->hand_count += n;
    return n;
}

int bench_lane_settle(struct bench_lane *l)
{
    uint64_t end_ns = clock_now_ns() + SETTLE_LIMIT_NS;
    unsigned with_card, n;
    int ret = 0;

    do {
        // In this order: what the card is done with has arrived, or never will.
        with_card = vf_send_pending(l->from->vf, 0);
        n = lane_receive(l);
        if (clock_now_ns() > end_ns)
            return -ETIMEDOUT;
    } while (n || with_card);
    while (!ret && l->hand_count < FRAMES)
        ret = lane_make(l);
    return ret;
}

unsigned bench_lane_step(struct bench_lane *l)
{
    unsigned n = lane_receive(l);

    lane_send(l);
    return n;
}

unsigned bench_lane_step_checked(struct bench_lane *l, uint64_t *bad)
{
    unsigned n = lane_receive(l);

    for (unsigned i = l->hand_count - n; i < l->hand_count; i++) {
        struct vf_buffer *b = l->hand[i];
        uint32_t due_len = bench_frame_len(l->size_bytes, l->next_due);
        bool ok = !b->next && b->len_bytes == due_len &&
                  bench_frame_check(b->data, b->len_bytes, l->to->mac, l->from->mac, l->next_due);

        *bad += !ok;
        l->next_due++;
        b->len_bytes = (uint16_t)bench_frame_len(l->size_bytes, l->next_sent);
        bench_frame_fill(b->data, b->len_bytes, l->to->mac, l->from->mac, l->next_sent++);
    }
    lane_send(l);
    return n;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "bench/guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define LINK_LIMIT_NS   (4 * NS_PER_S)
#define SETTLE_LIMIT_NS (4 * NS_PER_S)
#define FRAMES          BENCH_FRAMES_EACH_WAY
#define LENT_MAX        (2 * FRAMES) // a power of two

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
    bench_bus_group_destroy(g->group);
    *g = (struct bench_guest){0};
}

int bench_side_open(struct bench_side *side, const struct vf_config *config, char *error,
                    size_t error_len)
{
    uint64_t end_ns = clock_now_ns() + LINK_LIMIT_NS;
    int ret = vf_driver_open(side->bus, config, &side->vf, error, error_len);

    if (ret)
        return ret;
    vf_driver_mac(side->vf, side->mac);
    while (!vf_driver_link_is_up(side->vf)) {
        vf_driver_service(side->vf);
        if (clock_now_ns() > end_ns) {
            snprintf(error, error_len, "%s: the link did not come up", side->bus->name);
            return -ETIMEDOUT;
        }
        usleep(1000);
    }
    return 0;
}

static int side_open(struct bench_side *side, const struct bench_guest_config *config, char *error,
                     size_t error_len)
{
    struct vf_config vf = {
        .queue_count = 1,
        .ring_len = config->ring,
        // What is posted to receive, what is in hand, what stands for another VF's frames.
        .buffer_count = config->ring + 3 * FRAMES,
        .buffer_bytes = config->size_bytes <= 2048 ? 2048 : 10240, // one buffer a frame
        .frame_bytes_max = config->size_bytes <= 1514 ? 1514 : BENCH_FRAME_MAX,
        .interrupts = config->interrupts,
        .reset_timeout_ms = 4000,
    };

    return bench_side_open(side, &vf, error, error_len);
}

int bench_guest_open(struct bench_guest *g, const struct bench_guest_config *config, char *error,
                     size_t error_len)
{
    int ret;

    *g = (struct bench_guest){.vf_count = config->vf_count};
    ret = bench_bus_group_create(&g->group);
    for (unsigned i = 0; !ret && i < config->vf_count; i++) {
        char path[128];

        snprintf(path, sizeof path, "%s/port0-vf%u.sock", config->dir, i);
        ret = bench_bus_open(i < config->shared ? g->group : NULL, path, &g->side[i].bus, error,
                             error_len);
    }
    for (unsigned i = 0; !ret && i < config->vf_count; i++)
        ret = side_open(&g->side[i], config, error, error_len);
    if (ret)
        bench_guest_close(g);
    return ret;
}

// --- frames that circulate ---

// A frame that `to` received lies in one of `to`'s buffers. `from` sends it from there: a buffer of
// `from`'s own stands for it, with its address, until the card is done with it. The card is done in
// order, so how many it still has says which those are.
struct bench_lane {
    struct bench_side *from, *to;
    struct vf_buffer *hand[FRAMES]; // `from`'s, to be sent
    unsigned hand_count;
    // What lies behind each that is in hand or with the card, oldest first: `to`'s buffer, or NULL
    // where it lies in `from`'s own.
    struct vf_buffer *lent[LENT_MAX];
    unsigned lent_first, lent_end; // free-running
    uint32_t size_bytes;
    uint64_t next_sent, next_due; // numbers of frames
};

static void hand_put(struct bench_lane *l, struct vf_buffer *b, struct vf_buffer *behind)
{
    l->hand[l->hand_count++] = b;
    l->lent[l->lent_end++ % LENT_MAX] = behind;
}

// A frame of `from`'s own.
static int lane_make(struct bench_lane *l)
{
    struct vf_buffer *b = vf_buffer_alloc(l->from->vf);

    if (!b)
        return -ENOBUFS;
    b->len_bytes = (uint16_t)bench_frame_len(l->size_bytes, l->next_sent);
    bench_frame_fill(b->data, b->len_bytes, l->to->mac, l->from->mac, l->next_sent++);
    hand_put(l, b, NULL);
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
    free(lane); // the buffers go with their pools
}

// Gives back what the card is done with. How many frames it still has.
static unsigned lane_collect(struct bench_lane *l)
{
    unsigned with_card = vf_send_pending(l->from->vf, 0);

    while (l->lent_end - l->lent_first > l->hand_count + with_card)
        vf_buffer_free(l->to->vf, l->lent[l->lent_first++ % LENT_MAX]); // NULL is nothing to free
    return with_card;
}

static void lane_send(struct bench_lane *l)
{
    unsigned sent = l->hand_count ? vf_send(l->from->vf, 0, l->hand, l->hand_count) : 0;

    l->hand_count -= sent;
    if (l->hand_count && sent)
        memmove(l->hand, l->hand + sent, l->hand_count * sizeof l->hand[0]);
    lane_collect(l);
}

// A buffer of `from`'s that stands for one of `to`'s. There is one: as many as frames are set
// aside.
static void lane_take(struct bench_lane *l, struct vf_buffer *b)
{
    struct vf_buffer *alias = l->lent_end - l->lent_first < LENT_MAX && l->hand_count < FRAMES
                                  ? vf_buffer_alloc(l->from->vf)
                                  : NULL;

    if (!alias) {
        vf_buffer_free(l->to->vf, b);
        return;
    }
    alias->data = b->data;
    alias->iova = b->iova;
    alias->len_bytes = b->len_bytes;
    hand_put(l, alias, b);
}

int bench_lane_settle(struct bench_lane *l)
{
    uint64_t end_ns = clock_now_ns() + SETTLE_LIMIT_NS;
    struct vf_buffer *in[BENCH_BURST];
    unsigned with_card, n;
    int ret = 0;

    do {
        // In this order: what the card is done with has arrived, or never will.
        with_card = lane_collect(l);
        n = vf_receive(l->to->vf, 0, in, BENCH_BURST);
        for (unsigned i = 0; i < n; i++)
            lane_take(l, in[i]);
        if (clock_now_ns() > end_ns)
            return -ETIMEDOUT;
    } while (n || with_card);
    while (!ret && l->hand_count < FRAMES)
        ret = lane_make(l);
    return ret;
}

unsigned bench_lane_step(struct bench_lane *l)
{
    struct vf_buffer *in[BENCH_BURST];
    unsigned n = vf_receive(l->to->vf, 0, in, BENCH_BURST);

    for (unsigned i = 0; i < n; i++)
        lane_take(l, in[i]);
    lane_send(l);
    return n;
}

unsigned bench_lane_step_checked(struct bench_lane *l, uint64_t *bad)
{
    struct vf_buffer *in[BENCH_BURST];
    unsigned n = vf_receive(l->to->vf, 0, in, BENCH_BURST);

    for (unsigned i = 0; i < n; i++) {
        struct vf_buffer *b = in[i];
        uint32_t due_len = bench_frame_len(l->size_bytes, l->next_due);
        bool ok = !b->next && b->len_bytes == due_len &&
                  bench_frame_check(b->data, b->len_bytes, l->to->mac, l->from->mac, l->next_due);

        *bad += !ok;
        l->next_due++;
        b->len_bytes = (uint16_t)bench_frame_len(l->size_bytes, l->next_sent);
        bench_frame_fill(b->data, b->len_bytes, l->to->mac, l->from->mac, l->next_sent++);
        lane_take(l, b);
    }
    lane_send(l);
    return n;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "bench/side.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/frames.h"

#define LINK_LIMIT_NS (4 * NS_PER_S)

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

void bench_side_fill(struct bench_side *side, const struct bench_side *to, uint32_t size_bytes)
{
    struct vf_buffer *all = NULL, *b;

    while ((b = vf_buffer_alloc(side->vf))) {
        bench_frame_fill(b->data, size_bytes, to->mac, side->mac, b->index);
        b->next = all;
        all = b;
    }
    vf_buffer_free(side->vf, all);
}

unsigned bench_side_send(struct bench_side *side, const struct bench_side *to, uint32_t size_bytes)
{
    struct vf_buffer *out[BENCH_BURST];
    unsigned n = 0, sent;

    while (n < BENCH_BURST && (out[n] = vf_buffer_alloc(side->vf))) {
        memcpy(out[n]->data, to->mac, 6);
        memcpy(out[n]->data + 6, side->mac, 6);
        out[n]->len_bytes = (uint16_t)size_bytes;
        n++;
    }
    sent = n ? vf_send(side->vf, 0, out, n) : 0;
    while (n > sent)
        vf_buffer_free(side->vf, out[--n]);
    return sent;
}

unsigned bench_side_receive(struct bench_side *side)
{
    struct vf_buffer *in[BENCH_BURST];
    unsigned n = vf_receive(side->vf, 0, in, BENCH_BURST);

    for (unsigned i = 0; i < n; i++)
        vf_buffer_free(side->vf, in[i]);
    return n;
}

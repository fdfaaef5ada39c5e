// SPDX-License-Identifier: BSD-3-Clause
#include "uplink/uplink.h"

#include <errno.h>
#include <stdio.h>

#include "base/bits.h"
#include "uplink/kind.h"

static const struct uplink_ops *const kinds[] = {
    [UPLINK_NULL] = &uplink_null_ops,
    [UPLINK_TAP] = &uplink_tap_ops,
    [UPLINK_PCAP] = &uplink_pcap_ops,
};

int uplink_open(const struct uplink_config *config, struct uplink **out, char *error,
                size_t error_len)
{
    struct uplink *up = NULL;
    int ret;

    if ((unsigned)config->kind >= ARRAY_LEN(kinds)) {
        snprintf(error, error_len, "uplink: no such kind (%u)", (unsigned)config->kind);
        return -EINVAL;
    }
    ret = kinds[config->kind]->open(config, &up, error, error_len);
    if (ret)
        return ret;
    up->ops = kinds[config->kind];
    *out = up;
    return 0;
}

void uplink_close(struct uplink *up)
{
    if (up)
        up->ops->close(up);
}

int uplink_send(struct uplink *up, unsigned sender, const struct iovec *iov, unsigned iov_count)
{
    struct uplink_sent *sent = &up->sent[sender];
    size_t len_bytes = 0;
    int ret;

    for (unsigned i = 0; i < iov_count; i++) {
        // Piece by piece, so that the sum cannot wrap.
        if (iov[i].iov_len > UPLINK_FRAME_MAX - len_bytes) {
            uplink_count(&sent->drops, 1);
            return -EMSGSIZE;
        }
        len_bytes += iov[i].iov_len;
    }
    ret = len_bytes < UPLINK_FRAME_MIN ? -EMSGSIZE : up->ops->send(up, iov, iov_count, len_bytes);
    if (ret) {
        uplink_count(&sent->drops, 1);
        return ret;
    }
    uplink_count(&sent->frames, 1);
    uplink_count(&sent->bytes, len_bytes);
    return 0;
}

int uplink_receive(struct uplink *up, struct uplink_frame *out, unsigned max)
{
    int ret = up->ops->receive(up, out, max);
    uint64_t len_bytes = 0;

    if (ret <= 0)
        return ret;
    for (int i = 0; i < ret; i++)
        len_bytes += out[i].len_bytes;
    uplink_count(&up->rx_frames, (uint64_t)ret);
    uplink_count(&up->rx_bytes, len_bytes);
    return ret;
}

int uplink_wait_fd(const struct uplink *up)
{
    return up->ops->wait_fd(up);
}

bool uplink_link_is_up(const struct uplink *up)
{
    return !up->ops->link_is_up || up->ops->link_is_up(up);
}

bool uplink_link_can_change(const struct uplink *up)
{
    return up->ops->link_is_up;
}

void uplink_counts_get(const struct uplink *up, struct uplink_counts *out)
{
    *out = (struct uplink_counts){
        .rx_frames = atomic_load_explicit(&up->rx_frames, memory_order_relaxed),
        .rx_bytes = atomic_load_explicit(&up->rx_bytes, memory_order_relaxed),
        .rx_drops = atomic_load_explicit(&up->rx_drops, memory_order_relaxed),
    };
    for (unsigned i = 0; i < UPLINK_SENDERS_MAX; i++) {
        const struct uplink_sent *sent = &up->sent[i];

        out->tx_frames += atomic_load_explicit(&sent->frames, memory_order_relaxed);
        out->tx_bytes += atomic_load_explicit(&sent->bytes, memory_order_relaxed);
        out->tx_drops += atomic_load_explicit(&sent->drops, memory_order_relaxed);
    }
}

// SPDX-License-Identifier: BSD-3-Clause
// The null uplink: a cable into nothing. What is sent is counted and gone; nothing ever comes.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "uplink/kind.h"

static int null_open(const struct uplink_config *config, struct uplink **out, char *error,
                     size_t error_len)
{
    struct uplink *up = calloc(1, sizeof *up);

    (void)config;
    if (!up) {
        snprintf(error, error_len, "uplink null: out of memory");
        return -ENOMEM;
    }
    *out = up;
    return 0;
}

static void null_close(struct uplink *up)
{
    free(up);
}

static int null_send(struct uplink *up, const struct iovec *iov, unsigned iov_count,
                     size_t len_bytes)
{
    (void)up;
    (void)iov;
    (void)iov_count;
    (void)len_bytes;
    return 0;
}

static int null_receive(struct uplink *up, struct uplink_frame *out, unsigned max)
{
    (void)up;
    (void)out;
    (void)max;
    return 0;
}

static int null_wait_fd(const struct uplink *up)
{
    (void)up;
    return -1;
}

const struct uplink_ops uplink_null_ops = {
    .open = null_open,
    .close = null_close,
    .send = null_send,
    .receive = null_receive,
    .wait_fd = null_wait_fd,
};

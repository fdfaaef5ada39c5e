// SPDX-License-Identifier: BSD-3-Clause
// The null uplink, and what the front checks for every kind.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "uplink/uplink.h"

static struct uplink *null_uplink(void)
{
    struct uplink_config config = {.kind = UPLINK_NULL};
    struct uplink *up = NULL;
    char error[256];

    assert_int_equal(uplink_open(&config, &up, error, sizeof error), 0);
    return up;
}

static void test_sends_are_counted(void **state)
{
    struct uplink *up = null_uplink();
    struct uplink_counts counts;
    uint8_t head[14] = {0}, body[86] = {0};
    struct uplink_frame in;
    struct iovec iov[] = {{head, sizeof head}, {body, sizeof body}};

    (void)state;
    assert_int_equal(uplink_send(up, 0, iov, 2), 0);
    assert_int_equal(uplink_receive(up, &in, 1), 0);
    assert_int_equal(uplink_wait_fd(up), -1);
    assert_true(uplink_link_is_up(up));
    assert_false(uplink_link_can_change(up));
    uplink_counts_get(up, &counts);
    assert_int_equal(counts.tx_frames, 1);
    assert_int_equal(counts.tx_bytes, 100);
    assert_int_equal(counts.tx_drops, 0);
    assert_int_equal(counts.rx_frames, 0);
    uplink_close(up);
}

static void test_length_bounds(void **state)
{
    static uint8_t bytes[UPLINK_FRAME_MAX + 1];
    struct uplink *up = null_uplink();
    struct uplink_counts counts;
    struct iovec iov = {bytes, 0};
    struct iovec wrap[] = {{bytes, 100}, {bytes, SIZE_MAX - 50}};

    (void)state;
    assert_int_equal(uplink_send(up, 0, &iov, 0), -EMSGSIZE);
    iov.iov_len = 13;
    assert_int_equal(uplink_send(up, 0, &iov, 1), -EMSGSIZE);
    iov.iov_len = 14;
    assert_int_equal(uplink_send(up, 0, &iov, 1), 0);
    iov.iov_len = UPLINK_FRAME_MAX;
    assert_int_equal(uplink_send(up, 0, &iov, 1), 0);
    iov.iov_len = UPLINK_FRAME_MAX + 1;
    assert_int_equal(uplink_send(up, 0, &iov, 1), -EMSGSIZE);
    assert_int_equal(uplink_send(up, 0, wrap, 2), -EMSGSIZE);
    uplink_counts_get(up, &counts);
    assert_int_equal(counts.tx_frames, 2);
    assert_int_equal(counts.tx_drops, 4);
    uplink_close(up);
}

static void test_unknown_kind(void **state)
{
    struct uplink_config config = {.kind = (enum uplink_kind)3};
    struct uplink *up = NULL;
    char error[256] = "";

    (void)state;
    assert_int_equal(uplink_open(&config, &up, error, sizeof error), -EINVAL);
    assert_null(up);
    assert_non_null(strstr(error, "kind"));
    uplink_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sends_are_counted),
        cmocka_unit_test(test_length_bounds),
        cmocka_unit_test(test_unknown_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

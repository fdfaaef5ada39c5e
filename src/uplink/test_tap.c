// SPDX-License-Identifier: BSD-3-Clause
// The tap uplink in a network namespace of the test's own, with a packet socket as the host's side.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "uplink/test_namespace.h"
#include "uplink/uplink.h"

#define IFNAME     "vireo-t0"
#define TEST_PROTO 0x88b5 // IEEE 802 local experimental

static const char *skip_reason;

static void skip_where_not_possible(void)
{
    if (skip_reason) {
        print_message("SKIPPED: %s\n", skip_reason);
        skip();
    }
}

static int packet_socket(void)
{
    struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_protocol = htons(TEST_PROTO)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(TEST_PROTO));

    assert_true(fd >= 0);
    addr.sll_ifindex = (int)if_nametoindex(IFNAME);
    assert_true(addr.sll_ifindex > 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    return fd;
}

static void frame_fill(uint8_t *frame, size_t len)
{
    for (size_t i = 0; i < len; i++)
        frame[i] = (uint8_t)(i * 7 + len);
    memset(frame, 0xff, 6);
    frame[12] = TEST_PROTO >> 8;
    frame[13] = TEST_PROTO & 0xff;
}

static struct uplink *tap_uplink(void)
{
    struct uplink_config config = {.kind = UPLINK_TAP, .ifname = IFNAME};
    struct uplink *up = NULL;
    char error[512] = "";

    if (uplink_open(&config, &up, error, sizeof error))
        fail_msg("%s", error);
    return up;
}

// So that frames longer than the cable takes can be sent.
static void mtu_set(int mtu)
{
    struct ifreq ifr = {.ifr_mtu = mtu};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    strcpy(ifr.ifr_name, IFNAME);
    assert_int_equal(ioctl(fd, SIOCSIFMTU, &ifr), 0);
    close(fd);
}

static void test_both_ways(void **state)
{
    struct uplink *up;
    struct uplink_counts before, after;
    uint8_t frame[1514], got[UPLINK_FRAME_MAX];
    struct iovec iov[] = {{frame, 20}, {frame + 20, sizeof frame - 20}};
    struct pollfd wait = {.events = POLLIN};
    struct uplink_frame in[UPLINK_BATCH];
    int fd, n, found = 0;

    (void)state;
    skip_where_not_possible();
    up = tap_uplink();
    assert_true(uplink_link_is_up(up));
    assert_true(uplink_link_can_change(up));
    fd = packet_socket();
    frame_fill(frame, sizeof frame);
    uplink_counts_get(up, &before);
    assert_int_equal(uplink_send(up, 0, iov, 2), 0);
    wait.fd = fd;
    assert_int_equal(poll(&wait, 1, 5000), 1);
    assert_int_equal(recv(fd, got, sizeof got, 0), sizeof frame);
    assert_memory_equal(got, frame, sizeof frame);

    for (int i = 0; i < 3; i++)
        assert_int_equal(send(fd, frame, 60, 0), 60);
    wait.fd = uplink_wait_fd(up);
    // The host's own chatter (IPv6) comes too.
    do {
        assert_int_equal(poll(&wait, 1, 5000), 1);
        n = uplink_receive(up, in, UPLINK_BATCH);
        assert_in_range(n, 0, UPLINK_BATCH);
        for (int i = 0; i < n; i++)
            found += in[i].len_bytes == 60 && !memcmp(in[i].data, frame, 60);
    } while (found < 3);
    uplink_counts_get(up, &after);
    assert_int_equal(after.tx_frames - before.tx_frames, 1);
    assert_true(after.rx_frames > before.rx_frames);
    close(fd);
    uplink_close(up);
    assert_int_equal(if_nametoindex(IFNAME), 0); // made by us, gone with us
}

static void test_too_long_for_the_cable_is_dropped(void **state)
{
    static uint8_t frame[UPLINK_FRAME_MAX + 2];
    struct uplink_frame in[UPLINK_BATCH];
    struct uplink_counts counts;
    struct pollfd wait = {.events = POLLIN};
    struct uplink *up;
    bool longest = false;
    int fd, n;

    (void)state;
    skip_where_not_possible();
    up = tap_uplink();
    mtu_set(UPLINK_FRAME_MAX);
    fd = packet_socket();
    frame_fill(frame, sizeof frame);
    for (uint32_t len = UPLINK_FRAME_MAX + 2; len >= UPLINK_FRAME_MAX; len--)
        assert_int_equal(send(fd, frame, len, 0), len);
    wait.fd = uplink_wait_fd(up);
    while (!longest) {
        assert_int_equal(poll(&wait, 1, 5000), 1);
        n = uplink_receive(up, in, UPLINK_BATCH);
        assert_in_range(n, 0, UPLINK_BATCH);
        for (int i = 0; i < n; i++) {
            assert_true(in[i].len_bytes <= UPLINK_FRAME_MAX);
            longest |=
                in[i].len_bytes == UPLINK_FRAME_MAX && !memcmp(in[i].data, frame, UPLINK_FRAME_MAX);
        }
    }
    uplink_counts_get(up, &counts);
    assert_int_equal(counts.rx_drops, 2);
    close(fd);
    uplink_close(up);
}

static void test_interface_down(void **state)
{
    struct uplink_counts counts;
    struct uplink *up;
    uint8_t frame[60];
    struct iovec iov = {frame, sizeof frame};

    (void)state;
    skip_where_not_possible();
    up = tap_uplink();
    assert_int_equal(test_interface_set(IFNAME, false), 0);
    assert_false(uplink_link_is_up(up));
    frame_fill(frame, sizeof frame);
    assert_int_equal(uplink_send(up, 0, &iov, 1), -EIO);
    uplink_counts_get(up, &counts);
    assert_int_equal(counts.tx_drops, 1);
    assert_int_equal(test_interface_set(IFNAME, true), 0);
    assert_true(uplink_link_is_up(up));
    uplink_close(up);
}

static void test_busy_and_not_a_tap(void **state)
{
    struct uplink_config config = {.kind = UPLINK_TAP, .ifname = IFNAME};
    struct uplink *up, *second = NULL;
    char error[512] = "";

    (void)state;
    skip_where_not_possible();
    up = tap_uplink();
    assert_int_equal(uplink_open(&config, &second, error, sizeof error), -EBUSY);
    assert_non_null(strstr(error, "another process"));
    uplink_close(up);
    strcpy(config.ifname, "lo");
    assert_int_equal(uplink_open(&config, &second, error, sizeof error), -EINVAL);
    assert_non_null(strstr(error, "no single-queue tap"));
    assert_null(second);
}

static void test_bad_names(void **state)
{
    static const char *const names[] = {"", ".", "..", "a/b", "a b", "tap%d", "a:1", "\xc3\xa4"};
    struct uplink *up = NULL;
    char error[512];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct uplink_config config = {.kind = UPLINK_TAP};
        strcpy(config.ifname, names[i]);
        assert_int_equal(uplink_open(&config, &up, error, sizeof error), -EINVAL);
    }
    struct uplink_config config = {.kind = UPLINK_TAP};
    memset(config.ifname, 'a', sizeof config.ifname); // no terminator
    assert_int_equal(uplink_open(&config, &up, error, sizeof error), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_too_long_for_the_cable_is_dropped),
        cmocka_unit_test(test_interface_down),
        cmocka_unit_test(test_busy_and_not_a_tap),
        cmocka_unit_test(test_bad_names),
    };
    int failed;

    skip_reason = test_namespace_enter();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : skip_reason ? 77 : 0; // 77: Meson counts it as skipped
}

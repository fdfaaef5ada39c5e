// SPDX-License-Identifier: BSD-3-Clause
// When a worker's core counts as crowded.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <unistd.h>

#include "base/clock.h"
#include "nic/crowd.h"

#define LOOK_NS  (NIC_CROWD_LOOK_MS * NS_PER_MS)
#define HOLD_NS  (NIC_CROWD_HOLD_MS * NS_PER_MS)
#define LIMIT_NS (LOOK_NS * NIC_CROWD_WAIT_PERCENT / 100)

static void test_share_at_the_limit(void **state)
{
    struct nic_crowd crowd = {.fd = -1};
    uint64_t now_ns = 77 * NS_PER_S;

    (void)state;
    nic_crowd_note(&crowd, 5 * NS_PER_S, now_ns); // only a beginning
    assert_false(nic_crowd_is(&crowd, now_ns));
    now_ns += LOOK_NS;
    nic_crowd_note(&crowd, 5 * NS_PER_S + LIMIT_NS, now_ns);
    assert_false(nic_crowd_is(&crowd, now_ns));
    now_ns += LOOK_NS;
    nic_crowd_note(&crowd, 5 * NS_PER_S + 2 * LIMIT_NS + 1, now_ns);
    assert_true(nic_crowd_is(&crowd, now_ns));
    assert_true(nic_crowd_is(&crowd, now_ns + HOLD_NS - 1));
    assert_false(nic_crowd_is(&crowd, now_ns + HOLD_NS));
}

static void test_pause_says_nothing(void **state)
{
    struct nic_crowd crowd = {.fd = -1};
    uint64_t now_ns = 77 * NS_PER_S;

    (void)state;
    nic_crowd_note(&crowd, 0, now_ns);
    now_ns += 2 * LOOK_NS + 1;
    nic_crowd_note(&crowd, 2 * LOOK_NS, now_ns);
    assert_false(nic_crowd_is(&crowd, now_ns));
    now_ns += 2 * LOOK_NS;
    nic_crowd_note(&crowd, 3 * LOOK_NS, now_ns);
    assert_true(nic_crowd_is(&crowd, now_ns));
}

static void test_kernel_that_does_not_tell(void **state)
{
    struct nic_crowd crowd;
    int ends[2];

    (void)state;
    // A file without figures: asked once.
    assert_int_equal(pipe(ends), 0);
    crowd = (struct nic_crowd){.fd = ends[0]};
    assert_false(nic_crowd_is(&crowd, NS_PER_S));
    assert_int_equal(crowd.fd, -1);
    assert_false(nic_crowd_is(&crowd, 2 * NS_PER_S));
    close(ends[1]);
}

static void test_of_this_thread(void **state)
{
    struct nic_crowd crowd;

    (void)state;
    nic_crowd_open(&crowd);
    if (crowd.fd < 0)
        skip();
    nic_crowd_is(&crowd, clock_now_ns());
    assert_true(crowd.looked_ns > 0); // the kernel's line was understood
    nic_crowd_close(&crowd);
    assert_int_equal(crowd.fd, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share_at_the_limit),
        cmocka_unit_test(test_pause_says_nothing),
        cmocka_unit_test(test_kernel_that_does_not_tell),
        cmocka_unit_test(test_of_this_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

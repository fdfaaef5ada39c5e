// SPDX-License-Identifier: BSD-3-Clause
// A whole machine at a tap, in a network namespace of the test's own: who sets the tap down pulls
// the cable, and the PF driver hears of it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine/machine.h"
#include "base/clock.h"
#include "base/log.h"
#include "mem/space.h"
#include "uplink/test_namespace.h"

#define IFNAME  "vireo-t1"
#define WAIT_NS (10 * NS_PER_S)

static const char *skip_reason;
static char dir[] = "/tmp/vireo-uplinks-XXXXXX";
static sd_event *loop;
static struct machine *machine;

static void machine_up(const char *text)
{
    static struct card_config config;
    char error[512];

    if (card_config_parse(text, strlen(text), "t", &config, error, sizeof error) ||
        machine_create(&config, dir, loop, &machine, error, sizeof error))
        fail_msg("%s", error);
}

// Only by what the loop does: pf_driver_link_is_up() says what the PF's interrupt has told.
static bool link_becomes(unsigned port, bool up)
{
    uint64_t deadline_ns = clock_now_ns() + WAIT_NS;

    while (pf_driver_link_is_up(host_port_pf(machine_host(machine), port)) != up) {
        if (clock_now_ns() > deadline_ns)
            return false;
        assert_true(sd_event_run(loop, 100000) >= 0);
    }
    return true;
}

static void test_tap_down_and_up(void **state)
{
    (void)state;
    if (skip_reason) {
        print_message("SKIPPED: %s\n", skip_reason);
        skip();
    }
    machine_up("ports = ({ uplink = { kind = \"null\"; }; vfs = 1; },"
               "  { uplink = { kind = \"tap\"; ifname = \"" IFNAME "\"; }; vfs = 1; });");
    assert_true(link_becomes(1, true));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(test_interface_set(IFNAME, false), 0);
        assert_true(link_becomes(1, false));
        assert_true(link_becomes(0, true));
        assert_int_equal(test_interface_set(IFNAME, true), 0);
        assert_true(link_becomes(1, true));
    }
    machine_destroy(machine);
}

// The promise of an idle daemon: nothing wakes its loop.
static void test_no_timer_without_a_tap(void **state)
{
    int woken = 1;

    (void)state;
    machine_up("ports = ({ uplink = { kind = \"null\"; }; vfs = 1; });");
    // What the start has left to do may come a while after it.
    for (unsigned i = 0; i < 20 && woken; i++) {
        while (sd_event_run(loop, 0) > 0)
            ;
        woken = sd_event_run(loop, 2500000);
    }
    assert_int_equal(woken, 0);
    machine_destroy(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tap_down_and_up),
        cmocka_unit_test(test_no_timer_without_a_tap),
    };
    int failed;

    log_set_level(LOG_LEVEL_ERROR);
    skip_reason = test_namespace_enter();
    if (!mkdtemp(dir) || mem_sigbus_install() || sd_event_new(&loop) < 0)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    sd_event_unref(loop);
    return failed + !!rmdir(dir); // rmdir fails where a socket is left
}

// SPDX-License-Identifier: BSD-3-Clause
// The config file: what is accepted, and that what is refused says where and why.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/config.h"

static struct card_config config;
static char error[512];

static int parse(const char *text)
{
    error[0] = 0;
    return card_config_parse(text, strlen(text), "t.conf", &config, error, sizeof error);
}

static void accept(const char *text)
{
    if (parse(text))
        fail_msg("refused: %s", error);
}

// `words`: what the error must say; the line is in there, "t.conf:3:".
static void refuse(const char *text, const char *words)
{
    if (!parse(text))
        fail_msg("accepted: %s", text);
    if (!strstr(error, words))
        fail_msg("'%s' does not say '%s'", error, words);
}

#define PORT(inside) "ports = ( { uplink = { kind = \"null\"; }; " inside " } );"
// Inside of one VF entry, on line 2.
#define VF(inside) PORT("vfs = 4; vf = (\n{ index = 0; " inside " });")

static void test_example(void **state)
{
    static const uint8_t mac0[] = {2, 0, 0, 0, 0x10, 0};
    const struct card_config_port *port = &config.port[0];

    (void)state;
    if (!getenv("EXAMPLE_CONF")) {
        print_message("SKIPPED: EXAMPLE_CONF names no file (Meson sets it)\n");
        skip();
    }
    if (card_config_read(getenv("EXAMPLE_CONF"), &config, error, sizeof error))
        fail_msg("%s", error);
    assert_int_equal(config.port_count, 1);
    assert_int_equal(config.log_level, LOG_LEVEL_INFO);
    assert_int_equal(config.worker_count, 1);
    assert_int_equal(port->uplink.kind, UPLINK_NULL);
    assert_int_equal(port->pf.vf_count, 6);
    assert_int_equal(port->pf.mailbox_api_max, PF_API_14);
    assert_memory_equal(port->pf.vf[0].mac, mac0, 6);
    assert_true(port->pf.vf[0].spoof_check);
    assert_false(port->pf.vf[0].trusted);
    assert_true(port->pf.vf[0].link_up);
    assert_int_equal(port->pf.vf[2].vlan, 20);
    assert_int_equal(port->pf.vf[2].qos, 3);
    assert_false(port->pf.vf[3].spoof_check);
    assert_true(port->pf.vf[3].trusted);
    assert_int_equal(port->pf.vf[3].mac[0], 0);
    assert_int_equal(port->doorbells[3], NIC_DOORBELLS_TRAPPED);
    assert_int_equal(port->doorbells[4], NIC_DOORBELLS_MAPPED);
}

static void test_derived_identity(void **state)
{
    struct card_config first;

    (void)state;
    accept("seed = \"a\"; " PORT("vfs = 1;"));
    first = config;
    accept("seed = \"a\"; " PORT("vfs = 63; mailbox_api = \"1.5\";"));
    assert_memory_equal(first.port[0].mac, config.port[0].mac, 6);
    assert_true(first.serial == config.serial);
    assert_int_equal(config.port[0].mac[0], 0x02);
    assert_int_equal(config.port[0].pf.mailbox_api_max, PF_API_15);
    accept("seed = \"b\"; " PORT("vfs = 1;"));
    assert_memory_not_equal(first.port[0].mac, config.port[0].mac, 6);
    assert_true(first.serial != config.serial);
}

static void test_two_ports(void **state)
{
    (void)state;
    accept("log_level = \"debug\"; ports = ("
           "{ uplink = { kind = \"tap\"; ifname = \"vireo0\"; }; vfs = 1; },"
           "{ uplink = { kind = \"pcap\"; record = \"/x\"; replay = \"/y\"; replay_loop = true;"
           "  replay_pps = 1000; }; vfs = 2; mac = \"02:00:00:00:00:0F\"; });");
    assert_int_equal(config.port_count, 2);
    assert_int_equal(config.log_level, LOG_LEVEL_DEBUG);
    assert_string_equal(config.port[0].uplink.ifname, "vireo0");
    assert_int_equal(config.port[1].uplink.replay_pps, 1000);
    assert_true(config.port[1].uplink.replay_loop);
    assert_int_equal(config.port[1].mac[5], 0x0f);
    assert_memory_not_equal(config.port[0].mac, config.port[1].mac, 6);
}

static void test_bounds(void **state)
{
    (void)state;
    refuse(PORT("vfs = 0;"), "t.conf:1: ports[0].vfs: found 0; allowed is 1 to 63");
    accept(PORT("vfs = 1;"));
    accept(PORT("vfs = 63;"));
    refuse(PORT("vfs = 64;"), "found 64");
    refuse(PORT("vfs = -1;"), "found -1");
    accept(VF("vlan = 4094;"));
    refuse(VF("vlan = 4095;"), "t.conf:2: ports[0].vf[0].vlan: found 4095; allowed is 0 to 4094");
    refuse(VF("vlan = 4294967297;"), "t.conf:2: a number here is larger");
    refuse(VF("vlan = 4294967297L;"), "a number here");
    refuse(VF("vlan = 0x100000001;"), "a number here");
    refuse(VF("vlan = 99999999999999999999999;"), "a number here");
    refuse(VF("vlan = -4294967297;"), "a number here");
    refuse(VF("vlan = 2147483648;"), "a number here");
    refuse(VF("vlan = 2147483647;"), "found 2147483647");
    refuse(VF("vlan = -2147483647;"), "found -2147483647");
    refuse(VF("vlan = /* 9 */ 0x7fffffff; # 99999999999\n"), "found 2147483647");
    accept(VF("vlan = 0x10;"));
    assert_int_equal(config.port[0].pf.vf[0].vlan, 16);
    accept("seed = \"99999999999 @include \\\" x\"; // 99999999999\n" PORT("vfs = 1;"));
    accept(VF("vlan = 5; qos = 7;"));
    refuse(VF("vlan = 5; qos = 8;"), "found 8");
    refuse(VF("qos = 1;"), "qos 1 without a vlan");
    accept(PORT("vfs = 4; vf = ({ index = 3; });"));
    refuse(PORT("vfs = 4; vf = ({ index = 4; });"), "found 4; allowed is 0 to 3");
    refuse(PORT("vfs = 4; vf = ({ index = 1; }, { index = 1; });"), "has an entry already");
    accept(PORT("vfs = 4; mtu = 1500;"));
    assert_int_equal(config.port[0].pf.mtu, 1500);
    accept(PORT("vfs = 4; mtu = 9710;"));
    accept(PORT("vfs = 4; mtu = 0;"));
    refuse(PORT("vfs = 4; mtu = 1499;"), "found 1499; allowed is 0 (follows the VFs), or 1500");
    refuse(PORT("vfs = 4; mtu = 9711;"), "found 9711");
    refuse("ports = ();", "found 0 ports");
    refuse("seed = \"\"; " PORT("vfs = 1;"), "0 bytes; allowed is 1 to 64");
    refuse("ports = ({ uplink = { kind = \"pcap\"; replay = \"x\"; replay_pps = 10000001; };"
           " vfs = 1; });",
           "found 10000001");
    refuse("ports = ({ uplink = { kind = \"tap\"; ifname = \"sixteen-letters-\"; }; vfs = 1; });",
           "16 bytes; allowed is 1 to 15");
}

// What the kernel would refuse when the daemon starts is refused here, by --check too.
static void test_interface_names(void **state)
{
    static const char *const bad[] = {"a b",     "a/b",    ".",     "..",
                                      "vireo%d", "eth0:1", "a\x7f", "\xc3\xa4"};

    (void)state;
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[128];

        snprintf(text, sizeof text,
                 "ports = ({ vfs = 1;\nuplink = { kind = \"tap\"; ifname = \"%s\"; }; });", bad[i]);
        refuse(text, "t.conf:2: ports[0].uplink.ifname: found \"");
        refuse(text, "allowed is 1 to 15 printable characters without space, '/', ':' or '%'");
    }
    accept("ports = ({ uplink = { kind = \"tap\"; ifname = \"fifteen-letters\"; }; vfs = 1; });");
}

static void test_types(void **state)
{
    (void)state;
    refuse(PORT("vfs = \"4\";"), "found a string; allowed is a whole number");
    refuse(PORT("vfs = 4.0;"), "a number with a point");
    refuse(VF("trust = 1;"), "found a whole number; allowed is true or false");
    refuse(VF("vlan = true;"), "true or false");
    refuse(VF("mac = 5;"), "allowed is a string in quotes");
    refuse("ports = 5;", "allowed is a list");
    refuse("ports = ( 5 );", "ports[0]: found a whole number; allowed is a group");
    refuse("ports = { };", "found a group");
    refuse(PORT("vfs = 4; vf = { index = 1; };"), "allowed is a list");
    refuse(PORT("vfs = 4; vf = [ 1, 2 ];"), "found an array");
    refuse("ports = ({ uplink = \"null\"; vfs = 1; });", "allowed is a group");
    refuse(VF("doorbells = \"fast\";"), "found \"fast\"; allowed is \"trapped\", \"mapped\"");
    refuse("ports = ({ uplink = { kind = \"xdp\"; }; vfs = 1; });",
           "allowed is \"null\", \"tap\", \"pcap\"");
    refuse(PORT("vfs = 1; mailbox_api = \"2.0\";"), "allowed is \"1.0\" to \"1.5\"");
    refuse("workers = 0; " PORT("vfs = 1;"), "allowed is 1 to 8");
    refuse("workers = 9; " PORT("vfs = 1;"), "allowed is 1 to 8");
    refuse("log_level = \"loud\"; " PORT("vfs = 1;"), "found \"loud\"");
}

static void test_macs(void **state)
{
    static const char *const bad[] = {
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:00:00",
        "02-00-00-00-00-01",
        "2:0:0:0:0:1",
        "02:00:00:00:00:0g",
        "02:00:00:00:00:0 ",
        "+2:00:00:00:00:01",
        "02:00:00:00:00:1",
    };
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, VF("mac = \"%s\";"), bad[i]);
        refuse(text, "t.conf:2: ports[0].vf[0].mac: found");
    }
    accept(VF("mac = \"AA:bb:Cc:dD:EE:ff\";"));
    assert_int_equal(config.port[0].pf.vf[0].mac[0], 0xaa);
    assert_int_equal(config.port[0].pf.vf[0].mac[5], 0xff);
    refuse(VF("mac = \"03:00:00:00:00:01\";"), "unicast");
    refuse(VF("mac = \"00:00:00:00:00:00\";"), "unicast");
    refuse(PORT("vfs = 2; vf = ({ index = 0; mac = \"02:00:00:00:00:01\"; },\n"
                "{ index = 1; mac = \"02:00:00:00:00:01\"; });"),
           "t.conf:2: ports[0].vf[1].mac: found \"02:00:00:00:00:01\", which another");
    refuse(PORT("vfs = 2; mac = \"02:00:00:00:00:01\";"
                "vf = ({ index = 0; mac = \"02:00:00:00:00:01\"; });"),
           "which another");
}

static void test_unknown_and_missing(void **state)
{
    (void)state;
    refuse(VF("spoofcheck = true;"), "no such setting: did you mean 'spoofchk'?");
    refuse(VF("zebra = true;"), "t.conf:2: ports[0].vf[0].zebra: no such setting; see");
    refuse("port = ( );", "did you mean 'ports'?");
    refuse(PORT("vfs = 1; vf_defaults = { index = 1; };"), "no such setting");
    refuse("", "'ports' is missing");
    refuse(PORT(""), "'vfs' is missing");
    refuse("ports = ({ vfs = 1; });", "'uplink' is missing");
    refuse(PORT("vfs = 1; vf = ({ vlan = 1; });"), "'index' is missing");
    refuse("ports = ({ uplink = { kind = \"tap\"; }; vfs = 1; });", "a tap needs 'ifname'");
    refuse("ports = ({ uplink = { kind = \"pcap\"; }; vfs = 1; });", "needs 'replay'");
    refuse("ports = ({ uplink = { kind = \"null\"; ifname = \"x\"; }; vfs = 1; });",
           "belongs to an uplink of kind \"tap\"");
}

static void test_defaults_do_not_depend_on_order(void **state)
{
    (void)state;
    accept(PORT("vf = ({ index = 1; vlan = 7; }); vf_defaults = { trust = true; vlan = 6; };"
                "vfs = 2;"));
    assert_int_equal(config.port[0].pf.vf[0].vlan, 6);
    assert_int_equal(config.port[0].pf.vf[1].vlan, 7);
    assert_true(config.port[0].pf.vf[1].trusted);
}

static void test_not_a_config(void **state)
{
    static const char with_nul[] = "seed = \"a\";\0ports";
    char *large = malloc(CARD_CONFIG_FILE_MAX_BYTES + 1);

    (void)state;
    refuse("ports = (", "t.conf:1: syntax error");
    refuse("seed = \"a\";\nseed = \"b\";", "t.conf:2: duplicate setting name");
    refuse("\nseed = \"abc;\n", "t.conf:2: a string starts here");
    refuse("@include \"/etc/passwd\"\n", "'@include' is not supported");
    assert_int_equal(
        card_config_parse(with_nul, sizeof with_nul - 1, "t.conf", &config, error, sizeof error),
        -EINVAL);
    assert_non_null(strstr(error, "NUL"));
    memset(large, '#', CARD_CONFIG_FILE_MAX_BYTES + 1);
    assert_int_equal(card_config_parse(large, CARD_CONFIG_FILE_MAX_BYTES + 1, "t.conf", &config,
                                       error, sizeof error),
                     -EINVAL);
    assert_non_null(strstr(error, "1 MiB"));
    free(large);
    assert_int_equal(card_config_read("/nonexistent", &config, error, sizeof error), -ENOENT);
    assert_int_equal(card_config_read("/", &config, error, sizeof error), -EISDIR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_derived_identity),
        cmocka_unit_test(test_two_ports),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_interface_names),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_macs),
        cmocka_unit_test(test_unknown_and_missing),
        cmocka_unit_test(test_defaults_do_not_depend_on_order),
        cmocka_unit_test(test_not_a_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

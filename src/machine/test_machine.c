// SPDX-License-Identifier: BSD-3-Clause
// A whole machine with its control methods, called as the server would; and the run directory.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine/machine.h"
#include "machine/methods.h"
#include "machine/run_dir.h"
#include "mem/space.h"
#include "vfiouser/client.h"

static const char two_ports[] =
    "seed = \"test\"; ports = ("
    "{ uplink = { kind = \"null\"; }; vfs = 3; vf = ({ index = 2; doorbells = \"mapped\"; }); },"
    "{ uplink = { kind = \"null\"; }; vfs = 1; });";

static char dir[] = "/tmp/vireo-machine-XXXXXX";
static sd_event *loop;
static struct card_config config;
static struct machine *machine;
static char error[512];

static void config_make(const char *text)
{
    if (card_config_parse(text, strlen(text), "t", &config, error, sizeof error))
        fail_msg("%s", error);
}

static int setup(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    return !mkdtemp(dir) || mem_sigbus_install() || sd_event_new(&loop) < 0;
}

static int teardown(void **state)
{
    (void)state;
    sd_event_unref(loop);
    return rmdir(dir); // fails where a socket is left
}

static int machine_up(void **state)
{
    (void)state;
    config_make(two_ports);
    if (machine_create(&config, dir, loop, &machine, error, sizeof error)) {
        print_error("%s\n", error);
        return -1;
    }
    return 0;
}

static int machine_down(void **state)
{
    (void)state;
    machine_destroy(machine);
    machine = NULL;
    return 0;
}

// Calls a method; takes over params. *result may be NULL where the call is to fail.
static int method(const char *name, json_t *params, json_t **result)
{
    const struct ctl_method *m = machine_methods;
    json_t *dropped = NULL;
    int ret;

    while (m->name && strcmp(m->name, name))
        m++;
    assert_non_null(m->name);
    error[0] = 0;
    ret = m->fn(machine, params, result ? result : &dropped, error, sizeof error);
    json_decref(params);
    json_decref(dropped);
    return ret;
}

// ---- Memory that is not shared

// A client's memory, all of it in one file.
struct client_memory {
    uint64_t iova, len_bytes;
    bool has_file, writable, is_blank;
    const char *fault; // what is said of it; NULL: nothing
};

// The client's process: attaches to VF 0, maps, reads a register, tells, and stays until it is
// killed.
static void client_run(const struct client_memory *memory, int told_fd)
{
    char path[sizeof dir + 32];
    struct vfiouser_client *client = NULL;
    int fd = memory->has_file ? memfd_create("memory", MFD_CLOEXEC) : -1;
    uint32_t value;
    bool ok;

    snprintf(path, sizeof path, "%s/port0-vf0.sock", dir);
    ok = !vfiouser_client_open(path, &client, error, sizeof error);
    if (ok && fd >= 0)
        ok = !ftruncate(fd, (off_t)memory->len_bytes) &&
             (memory->is_blank || pwrite(fd, "x", 1, (off_t)memory->len_bytes - 1) == 1);
    ok = ok &&
         !vfiouser_client_dma_map(client, memory->iova, memory->len_bytes, fd, 0, true,
                                  memory->writable) &&
         !vfiouser_client_read(client, 0, 8, &value, sizeof value) &&
         !vfiouser_client_read(client, 0, 8, &value, sizeof value);
    if (write(told_fd, ok ? "y" : "n", 1) != 1)
        _exit(1);
    pause();
    _exit(0);
}

static json_t *vf0_of(json_t *ports)
{
    json_t *port = json_array_get(json_object_get(ports, "ports"), 0);

    return json_array_get(json_object_get(port, "vfs"), 0);
}

static void expect_fault(const struct client_memory *memory)
{
    struct pollfd told = {.events = POLLIN};
    json_t *stats = NULL;
    const char *fault;
    char answer = 0;
    int fds[2];
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (!pid)
        client_run(memory, fds[1]);
    close(fds[1]);
    told.fd = fds[0];
    while (poll(&told, 1, 0) == 0)
        sd_event_run(loop, 20000);
    assert_int_equal(read(fds[0], &answer, 1), 1);
    close(fds[0]);
    assert_int_equal(answer, 'y');
    assert_int_equal(method("stats", NULL, &stats), 0);
    assert_int_equal(json_integer_value(json_object_get(vf0_of(stats), "client_pid")), pid);
    fault = json_string_value(json_object_get(vf0_of(stats), "memory_fault"));
    if (memory->fault)
        assert_string_equal(fault ? fault : "nothing", memory->fault);
    else
        assert_null(fault);
    json_decref(stats);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    do {
        sd_event_run(loop, 20000);
        assert_int_equal(method("stats", NULL, &stats), 0);
        pid = (pid_t)json_integer_value(json_object_get(vf0_of(stats), "client_pid"));
        assert_true(pid || json_is_null(json_object_get(vf0_of(stats), "memory_fault")));
        json_decref(stats);
    } while (pid);
}

static void test_memory_not_shared(void **state)
{
    static const char fileless[] = "has no file that the card could map";
    static const char apart[] = "is private to it (share=off)";
    static const struct client_memory rows[] = {
        {0, 32 << 20, false, true, true, fileless},
        {0, 640 << 10, false, true, true, fileless},
        {0, 640 << 10, false, false, true, NULL},        // a ROM
        {0xfd000000, 16 << 20, false, true, true, NULL}, // another device's BAR
        {0, 32 << 20, true, true, true, apart},
        {0, 640 << 10, true, true, true, apart},
        {0, 32 << 20, true, true, false, apart}, // what is not low does not count
        {0, 16 << 20, true, true, false, NULL},  // its last byte is
        {0, 640 << 10, true, true, false, NULL},
        {0, (640 << 10) - 4096, true, true, true, NULL}, // no VM
        {1ull << 32, 32 << 20, true, true, true, NULL},  // a driver's program
    };

    (void)state;
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        print_message("row %u\n", i);
        expect_fault(&rows[i]);
    }
}

static void test_stats(void **state)
{
    static const char *const counts[] = {
        "rx_frames",
        "rx_bytes",
        "tx_frames",
        "tx_bytes",
        "rx_no_descriptor_drops",
        "rx_fault_drops",
        "tx_fault_drops",
        "tx_spoof_drops",
        "tx_malformed_drops",
        "interrupts",
    };
    json_t *stats, *port, *vf;

    (void)state;
    assert_int_equal(method("stats", NULL, &stats), 0);
    assert_int_equal(json_array_size(json_object_get(stats, "ports")), 2);
    port = json_array_get(json_object_get(stats, "ports"), 0);
    assert_true(json_is_true(json_object_get(port, "link")));
    assert_int_equal(json_array_size(json_object_get(port, "vfs")), 3);
    vf = json_array_get(json_object_get(port, "vfs"), 2);
    assert_string_equal(json_string_value(json_object_get(vf, "doorbells")), "mapped");
    assert_string_equal(json_string_value(json_object_get(vf, "rid")), "01:10.4");
    assert_int_equal(json_integer_value(json_object_get(vf, "client_pid")), 0);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        assert_true(json_is_integer(json_object_get(json_object_get(vf, "counts"), counts[i])));
    assert_true(json_is_object(json_object_get(vf, "messages")));
    assert_true(json_is_integer(json_object_get(stats, "iommu_faults")));
    assert_true(json_is_integer(json_object_get(json_object_get(stats, "worker"), "batches")));
    json_decref(stats);
}

static void test_sockets_are_there(void **state)
{
    char path[128];

    (void)state;
    for (unsigned vf = 0; vf < 3; vf++) {
        snprintf(path, sizeof path, "%s/port0-vf%u.sock", dir, vf);
        assert_int_equal(access(path, F_OK), 0);
    }
    snprintf(path, sizeof path, "%s/port1-vf0.sock", dir);
    assert_int_equal(access(path, F_OK), 0);
}

static void test_vf_set(void **state)
{
    json_t *vf;

    (void)state;
    assert_int_equal(method("vf.set",
                            json_pack("{s:i,s:i,s:i,s:i,s:b,s:b,s:b,s:s}", "port", 0, "vf", 1,
                                      "vlan", 4094, "qos", 7, "spoofchk", 0, "trust", 1, "link", 0,
                                      "mac", "02:00:00:00:00:77"),
                            &vf),
                     0);
    assert_int_equal(json_integer_value(json_object_get(vf, "vlan")), 4094);
    assert_string_equal(json_string_value(json_object_get(vf, "mac")), "02:00:00:00:00:77");
    assert_true(json_is_true(json_object_get(vf, "trust")));
    json_decref(vf);
    // What is not named stays.
    assert_int_equal(
        method("vf.set", json_pack("{s:i,s:i,s:i}", "port", 0, "vf", 1, "qos", 1), &vf), 0);
    assert_int_equal(json_integer_value(json_object_get(vf, "vlan")), 4094);
    assert_false(json_is_true(json_object_get(vf, "spoofchk")));
    json_decref(vf);
    assert_int_equal(machine_config(machine)->port[0].pf.vf[1].qos, 1);
    assert_int_equal(machine_config(machine)->port[0].pf.vf[0].qos, 0);
}

static void test_vf_set_refused(void **state)
{
    static const char *const bad[] = {
        "[]",
        "{}",
        "{\"port\":2,\"vf\":0}",
        "{\"port\":-1,\"vf\":0}",
        "{\"port\":\"0\",\"vf\":0}",
        "{\"port\":0}",
        "{\"port\":0,\"vf\":3}",
        "{\"port\":1,\"vf\":1}",
        "{\"port\":0,\"vf\":0.0}",
        "{\"port\":0,\"vf\":4294967296}",
        "{\"port\":0,\"vf\":0,\"vlan\":4095}",
        "{\"port\":0,\"vf\":0,\"vlan\":-1}",
        "{\"port\":0,\"vf\":0,\"vlan\":true}",
        "{\"port\":0,\"vf\":0,\"vlan\":1,\"qos\":8}",
        "{\"port\":0,\"vf\":0,\"qos\":1}",
        "{\"port\":0,\"vf\":0,\"trust\":1}",
        "{\"port\":0,\"vf\":0,\"mac\":\"03:00:00:00:00:01\"}",
        "{\"port\":0,\"vf\":0,\"mac\":\"02:00:00:00:00\"}",
        "{\"port\":0,\"vf\":0,\"mac\":5}",
        "{\"port\":0,\"vf\":0,\"rate\":5}",
    };
    struct pf_vf_policy before = machine_config(machine)->port[0].pf.vf[0];

    (void)state;
    assert_int_equal(method("vf.set", NULL, NULL), -EINVAL);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *params = json_loads(bad[i], 0, NULL);

        assert_non_null(params);
        if (method("vf.set", params, NULL) != -EINVAL || !error[0])
            fail_msg("%s: not refused, or without a sentence", bad[i]);
    }
    assert_memory_equal(&before, &machine_config(machine)->port[0].pf.vf[0], sizeof before);
}

// As in the config: what a port or another VF has, also one whose MAC is derived, is taken.
static void test_vf_set_mac_taken(void **state)
{
    const struct card_config_port *port = machine_config(machine)->port;
    struct pf_driver *pf = host_port_pf(machine_host(machine), 0);
    struct pf_vf_state other, before, after;
    char text[METHODS_MAC_TEXT_LEN];

    (void)state;
    assert_int_equal(pf_driver_vf_state(pf, 1, &other), 0);
    assert_int_equal(pf_driver_vf_state(pf, 0, &before), 0);
    for (unsigned i = 0; i < 3; i++) {
        methods_mac_text(i < 2 ? port[i].mac : other.mac, text);
        assert_int_equal(
            method("vf.set", json_pack("{s:i,s:i,s:s}", "port", 0, "vf", 0, "mac", text), NULL),
            -EINVAL);
        assert_non_null(strstr(error, text));
    }
    assert_int_equal(pf_driver_vf_state(pf, 0, &after), 0);
    assert_memory_equal(after.mac, before.mac, sizeof after.mac);
    // What it has itself it may be given.
    methods_mac_text(before.mac, text);
    assert_int_equal(
        method("vf.set", json_pack("{s:i,s:i,s:s}", "port", 0, "vf", 0, "mac", text), NULL), 0);
}

static void test_pci(void **state)
{
    json_t *list, *dump;
    const char *text;
    unsigned lines = 0;

    (void)state;
    assert_int_equal(method("pci.list", NULL, &list), 0);
    assert_int_equal(json_array_size(list), 2 + 3 + 1);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "device")),
                     0x10fb);
    json_decref(list);

    assert_int_equal(method("pci.dump", json_pack("{s:s}", "rid", "01:10.0"), &dump), 0);
    text = json_string_value(json_object_get(dump, "text"));
    assert_int_equal(strncmp(text, "01:10.0 ", 8), 0);
    assert_non_null(strstr(text, "\n00: ff ff ff ff "));
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 1 + 4096 / 16 + 1);
    json_decref(dump);

    assert_int_equal(method("pci.dump", json_pack("{s:s}", "rid", "01:1f.7"), NULL), -ENOENT);
    assert_int_equal(method("pci.dump", json_pack("{s:i}", "rid", 5), NULL), -EINVAL);
}

static void test_vf_list_and_the_rest(void **state)
{
    json_t *result;

    (void)state;
    assert_int_equal(method("vf.list", NULL, &result), 0);
    assert_int_equal(json_array_size(result), 4);
    json_decref(result);
    assert_int_equal(method("iommu.faults", NULL, &result), 0);
    assert_int_equal(json_integer_value(json_object_get(result, "count")), 0);
    json_decref(result);
    assert_int_equal(method("version", NULL, &result), 0);
    assert_int_equal(json_integer_value(json_object_get(result, "pid")), getpid());
    json_decref(result);
}

static void test_macs_are_the_same_again(void **state)
{
    char first[METHODS_MAC_TEXT_LEN];
    json_t *list;

    (void)state;
    for (int run = 0; run < 2; run++) {
        assert_int_equal(machine_up(NULL), 0);
        assert_int_equal(method("vf.list", NULL, &list), 0);
        const char *mac = json_string_value(json_object_get(json_array_get(list, 2), "mac"));
        if (run)
            assert_string_equal(mac, first);
        else
            strcpy(first, mac);
        json_decref(list);
        machine_down(NULL);
    }
}

static void expect_not_created(const char *run_dir, int ret, const char *words)
{
    struct machine *m = NULL;

    assert_int_equal(machine_create(&config, run_dir, loop, &m, error, sizeof error), ret);
    assert_null(m);
    if (!strstr(error, words))
        fail_msg("'%s' does not say '%s'", error, words);
}

static void test_not_created(void **state)
{
    char path[160];
    FILE *file;

    (void)state;
    config_make(two_ports);
    expect_not_created("/nonexistent", -ENOENT, "port 0");
    expect_not_created("/tmp/100%u", -EINVAL, "'%'");
    memset(path, 'a', 100);
    path[100] = 0;
    expect_not_created(path, -ENAMETOOLONG, "100 bytes");
    // A file where the third socket of four should be: the first two go again.
    snprintf(path, sizeof path, "%s/port0-vf2.sock", dir);
    file = fopen(path, "w");
    fclose(file);
    expect_not_created(dir, -EEXIST, "port0-vf2.sock");
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/port0-vf0.sock", dir);
    assert_int_not_equal(access(path, F_OK), 0);

    config_make(
        "ports = ({ uplink = { kind = \"pcap\"; replay = \"/nonexistent\"; }; vfs = 1; });");
    expect_not_created(dir, -ENOENT, "port 0: pcap /nonexistent");
    machine_destroy(NULL);
}

static void test_run_dir(void **state)
{
    char path[160], ctl[108];
    int fd, second;

    (void)state;
    snprintf(path, sizeof path, "%s/run", dir);
    assert_int_equal(run_dir_take(path, &fd, error, sizeof error), 0);
    assert_int_equal(run_dir_take(path, &second, error, sizeof error), -EBUSY);
    assert_non_null(strstr(error, "--run-dir"));
    close(fd);
    assert_int_equal(run_dir_take(path, &fd, error, sizeof error), 0);
    close(fd);
    assert_int_equal(rmdir(path), 0);
    snprintf(path, sizeof path, "%s/a/b", dir);
    assert_int_equal(run_dir_take(path, &fd, error, sizeof error), -ENOENT);

    memset(path, 'a', 98);
    path[98] = 0;
    assert_int_equal(run_dir_ctl_path(path, ctl, sizeof ctl, error, sizeof error), 0);
    assert_int_equal(strlen(ctl), 107);
    path[98] = 'a';
    path[99] = 0;
    assert_int_equal(run_dir_ctl_path(path, ctl, sizeof ctl, error, sizeof error), -ENAMETOOLONG);
}

int main(void)
{
#define WITH_MACHINE(test) cmocka_unit_test_setup_teardown(test, machine_up, machine_down)
    const struct CMUnitTest tests[] = {
        WITH_MACHINE(test_memory_not_shared),
        WITH_MACHINE(test_stats),
        WITH_MACHINE(test_sockets_are_there),
        WITH_MACHINE(test_vf_set),
        WITH_MACHINE(test_vf_set_refused),
        WITH_MACHINE(test_vf_set_mac_taken),
        WITH_MACHINE(test_pci),
        WITH_MACHINE(test_vf_list_and_the_rest),
        cmocka_unit_test(test_macs_are_the_same_again),
        cmocka_unit_test(test_not_created),
        cmocka_unit_test(test_run_dir),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

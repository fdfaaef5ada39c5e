// SPDX-License-Identifier: BSD-3-Clause
// The commands that ask the daemon.
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "machine/run_dir.h"
#include "text/printable.h"
#include "text/table.h"
#include "app/vireo.h"
#include "ctl/ctl.h"
#include "driver/pf.h"
#include "nic/nic.h"

#define CALL_TIMEOUT_MS 5000u
#define VLAN_MAX        4094u
#define QOS_MAX         7u

// One line on stderr, whatever it quotes.
__attribute__((format(printf, 1, 2))) static void complain(const char *fmt, ...)
{
    char text[800];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    printable_make(text);
    fprintf(stderr, "vireo: %s\n", text);
}

bool vireo_method_is_missing(int ret, const char *error)
{
    static const char says[] = "no method";

    return ret == -EPROTO && !strncmp(error, says, strlen(says));
}

// Calls the daemon; takes over `params`. NULL where it failed, and it has been told.
static json_t *call(const struct invocation *inv, const char *method, json_t *params)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)], error[600] = "";
    json_t *result = NULL;
    int ret = run_dir_ctl_path(inv->run_dir, path, sizeof path, error, sizeof error);

    if (!ret)
        ret = ctl_call(path, method, params, CALL_TIMEOUT_MS, &result, error, sizeof error);
    json_decref(params);
    if (!ret)
        return result;
    if (vireo_method_is_missing(ret, error))
        complain(
            "the daemon in %s has no '%s': it runs with --chassis, and the VM's kernel has the "
            "VFs",
            inv->run_dir, method);
    else
        complain("%s%s", error,
                 ret == -ENOENT && !strncmp(error, path, strlen(path))
                     ? ": is vireod running, with "
                       "this --run-dir?"
                 : ret == -ECONNREFUSED ? ": vireod is gone"
                                        : "");
    return NULL;
}

static int json_print(json_t *value)
{
    int ret = json_dumpf(value, stdout, JSON_INDENT(2));

    putchar('\n');
    return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}

static json_int_t int_at(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *text_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "?";
}

static bool true_at(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static void cell_client(struct table *table, const json_t *vf)
{
    if (int_at(vf, "client_pid"))
        table_cell(table, "%" JSON_INTEGER_FORMAT, int_at(vf, "client_pid"));
    else
        table_cell(table, "-");
}

static void cell_int(struct table *table, json_int_t value)
{
    table_cell(table, "%" JSON_INTEGER_FORMAT, value);
}

// --- stats ---

static json_int_t sum(const json_t *object)
{
    json_int_t total = 0;
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value) total += json_integer_value(value);
    return total;
}

static void worker_print(size_t index, const json_t *worker)
{
    printf("  worker %zu: %" JSON_INTEGER_FORMAT " frames in %" JSON_INTEGER_FORMAT
           " batches (%" JSON_INTEGER_FORMAT " idle), %" JSON_INTEGER_FORMAT
           " sleeps, %" JSON_INTEGER_FORMAT " waits for rings, %" JSON_INTEGER_FORMAT
           " for another worker\n",
           index, int_at(worker, "frames"), int_at(worker, "batches"),
           int_at(worker, "idle_batches"), int_at(worker, "sleeps"), int_at(worker, "waits"),
           int_at(worker, "lock_waits"));
}

// Under a table of VFs: whose VM's memory the card cannot reach.
static void memory_faults_print(const json_t *vfs)
{
    size_t i;
    json_t *vf;

    json_array_foreach(vfs, i, vf)
    {
        const char *fault = json_string_value(json_object_get(vf, "memory_fault"));

        if (fault)
            printf("VF %" JSON_INTEGER_FORMAT " of port %" JSON_INTEGER_FORMAT
                   ": no frame will pass: the memory of PID %" JSON_INTEGER_FORMAT
                   " %s: QEMU needs share=on, libvirt <access mode='shared'/>\n",
                   int_at(vf, "vf"), int_at(vf, "port"), int_at(vf, "client_pid"), fault);
    }
}

static void port_print(const json_t *port)
{
    static const char *const headings[] = {
        ">VF",       "RID",       "CLIENT",  "DOORBELLS", "API",         ">RX",      ">TX",
        ">RX DROPS", ">TX DROPS", ">SPOOFS", ">FAULTS",   ">INTERRUPTS", ">MESSAGES"};
    struct table *table = table_create(13, headings);
    const json_t *uplink = json_object_get(port, "uplink");
    size_t i;
    json_t *vf;

    printf("port %" JSON_INTEGER_FORMAT
           ": %s, MAC %s, link %s; uplink %s, link %s, %" JSON_INTEGER_FORMAT
           " frames in, %" JSON_INTEGER_FORMAT " out, %" JSON_INTEGER_FORMAT " dropped\n",
           int_at(port, "port"), text_at(port, "rid"), text_at(port, "mac"),
           true_at(port, "link") ? "up" : "down", text_at(uplink, "kind"),
           true_at(uplink, "link") ? "up" : "down", int_at(uplink, "rx_frames"),
           int_at(uplink, "tx_frames"), int_at(uplink, "rx_drops") + int_at(uplink, "tx_drops"));
    json_array_foreach(json_object_get(port, "vfs"), i, vf)
    {
        const json_t *counts = json_object_get(vf, "counts");

        cell_int(table, int_at(vf, "vf"));
        table_cell(table, "%s", text_at(vf, "rid"));
        cell_client(table, vf);
        table_cell(table, "%s", text_at(vf, "doorbells"));
        table_cell(table, "%s", text_at(vf, "mailbox_api"));
        cell_int(table, int_at(counts, "rx_frames"));
        cell_int(table, int_at(counts, "tx_frames"));
        cell_int(table,
                 int_at(counts, "rx_no_descriptor_drops") + int_at(counts, "rx_fault_drops"));
        cell_int(table, int_at(counts, "tx_fault_drops") + int_at(counts, "tx_malformed_drops"));
        cell_int(table, int_at(counts, "tx_spoof_drops"));
        cell_int(table, int_at(vf, "dma_faults"));
        cell_int(table, int_at(vf, "interrupts"));
        cell_int(table, sum(json_object_get(vf, "messages")));
    }
    table_print(table, stdout);
    memory_faults_print(json_object_get(port, "vfs"));
    table_destroy(table);
}

static json_int_t drops(const json_t *counts)
{
    const char *key;
    json_t *value;
    json_int_t total = 0;

    json_object_foreach((json_t *)counts, key, value)
    {
        if (strstr(key, "_drops"))
            total += json_integer_value(value);
    }
    return total;
}

static void function_row(struct table *table, json_int_t port, const char *name,
                         const json_t *counts)
{
    cell_int(table, port);
    table_cell(table, "%s", name);
    cell_int(table, int_at(counts, "rx_frames"));
    cell_int(table, int_at(counts, "tx_frames"));
    cell_int(table, drops(counts));
}

// Of a daemon in chassis mode: whose VFs are which is the VM's to know. VFs that moved nothing are
// left out: all 63 of a port are always there.
static void chassis_print(const json_t *stats)
{
    static const char *const headings[] = {">PORT", "FUNCTION", ">RX", ">TX", ">DROPS"};
    struct table *table = table_create(5, headings);
    const char *key;
    size_t i, n;
    json_t *port, *counts, *value;

    json_array_foreach(json_object_get(stats, "ports"), i, port)
    {
        function_row(table, int_at(port, "port"), "PF", json_object_get(port, "counts"));
        json_array_foreach(json_object_get(port, "vfs"), n, counts)
        {
            char name[32];

            snprintf(name, sizeof name, "VF %zu", n);
            if (int_at(counts, "rx_frames") || int_at(counts, "tx_frames") || drops(counts))
                function_row(table, int_at(port, "port"), name, counts);
        }
    }
    if (int_at(stats, "client_pid"))
        printf("client: PID %" JSON_INTEGER_FORMAT ", %s\n", int_at(stats, "client_pid"),
               true_at(stats, "booted") ? "its kernel is at the card" : "not booted yet");
    else
        printf("client: none\n");
    printf("cycles:");
    json_object_foreach(json_object_get(stats, "cycles"), key, value)
        printf(" %s %" JSON_INTEGER_FORMAT, key, json_integer_value(value));
    printf("\n");
    table_print(table, stdout);
    table_destroy(table);
}

int vireo_stats(const struct invocation *inv)
{
    json_t *stats = call(inv, "stats", NULL);
    const json_t *worker = json_object_get(stats, "worker");
    int status = EXIT_SUCCESS;
    size_t i;
    json_t *port, *each;

    if (!stats)
        return EXIT_FAILURE;
    if (inv->json) {
        status = json_print(stats);
    } else if (json_object_get(stats, "cycles")) {
        chassis_print(stats);
    } else {
        json_array_foreach(json_object_get(stats, "ports"), i, port) port_print(port);
        printf("worker: %" JSON_INTEGER_FORMAT " frames in %" JSON_INTEGER_FORMAT
               " batches (%" JSON_INTEGER_FORMAT " idle), %" JSON_INTEGER_FORMAT
               " sleeps; IOMMU: %" JSON_INTEGER_FORMAT " faults\n",
               int_at(worker, "frames"), int_at(worker, "batches"), int_at(worker, "idle_batches"),
               int_at(worker, "sleeps"), int_at(stats, "iommu_faults"));
        each = json_object_get(worker, "each");
        for (i = 0; json_array_size(each) > 1 && i < json_array_size(each); i++)
            worker_print(i, json_array_get(each, i));
    }
    json_decref(stats);
    return status;
}

// --- VFs ---

int vireo_vf_list(const struct invocation *inv)
{
    static const char *const headings[] = {">PORT", ">VF",    "RID",   "MAC",  ">VLAN",
                                           ">QOS",  "SPOOF",  "TRUST", "LINK", "DOORBELLS",
                                           "API",   "CLIENT", "SOCKET"};
    json_t *list = call(inv, "vf.list", NULL);
    struct table *table;
    int status = EXIT_SUCCESS;
    size_t i;
    json_t *vf;

    if (!list)
        return EXIT_FAILURE;
    if (inv->json) {
        status = json_print(list);
        json_decref(list);
        return status;
    }
    table = table_create(13, headings);
    json_array_foreach(list, i, vf)
    {
        cell_int(table, int_at(vf, "port"));
        cell_int(table, int_at(vf, "vf"));
        table_cell(table, "%s", text_at(vf, "rid"));
        table_cell(table, "%s", text_at(vf, "mac"));
        cell_int(table, int_at(vf, "vlan"));
        cell_int(table, int_at(vf, "qos"));
        table_cell(table, "%s", true_at(vf, "spoofchk") ? "on" : "off");
        table_cell(table, "%s", true_at(vf, "trust") ? "on" : "off");
        table_cell(table, "%s", true_at(vf, "link") ? "up" : "down");
        table_cell(table, "%s", text_at(vf, "doorbells"));
        table_cell(table, "%s", text_at(vf, "mailbox_api"));
        cell_client(table, vf);
        table_cell(table, "%s", text_at(vf, "socket"));
    }
    table_print(table, stdout);
    table_destroy(table);
    memory_faults_print(list);
    json_decref(list);
    return status;
}

// A whole number 0 … max. 0, or -EINVAL with a sentence on stderr.
static int number_parse(const char *what, const char *text, unsigned max, unsigned *out)
{
    char *end;
    unsigned long value;

    errno = 0;
    value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || value > max) {
        complain("%s: found '%s'; allowed is 0 to %u", what, text, max);
        return -EINVAL;
    }
    *out = (unsigned)value;
    return 0;
}

static int port_vf_parse(const struct invocation *inv, unsigned *port, unsigned *vf)
{
    int ret = number_parse("PORT", inv->args[0], NIC_PORTS_MAX - 1, port);

    return ret ? ret : number_parse("VF", inv->args[1], PF_VFS_MAX - 1, vf);
}

// The value of one setting as JSON, or NULL with a sentence on stderr.
static json_t *setting_parse(const char *key, const char *value)
{
    bool is_flag = !strcmp(key, "spoofchk") || !strcmp(key, "trust");
    bool is_link = !strcmp(key, "link");
    const char *yes = is_link ? "up" : "on", *no = is_link ? "down" : "off";
    unsigned n;

    if (is_flag || is_link) {
        if (!strcmp(value, yes))
            return json_true();
        if (!strcmp(value, no))
            return json_false();
        complain("%s: found '%s'; allowed is %s or %s", key, value, yes, no);
        return NULL;
    }
    if (!strcmp(key, "vlan") || !strcmp(key, "qos"))
        return number_parse(key, value, key[0] == 'v' ? VLAN_MAX : QOS_MAX, &n) ? NULL
                                                                                : json_integer(n);
    if (!strcmp(key, "mac")) {
        json_t *text = json_string(value);
        if (!text)
            complain("mac: found bytes that are no text");
        return text;
    }
    complain("no setting '%s': there are mac, vlan, qos, spoofchk, trust, link", key);
    return NULL;
}

int vireo_vf_set(const struct invocation *inv)
{
    unsigned port, vf;
    json_t *params, *result;

    if (port_vf_parse(inv, &port, &vf))
        return EXIT_FAILURE;
    params = json_pack("{s:i, s:i}", "port", (int)port, "vf", (int)vf);
    for (unsigned i = 2; i < inv->arg_count; i++) {
        const char *equals = strchr(inv->args[i], '=');
        char key[32];
        json_t *value = NULL;

        if (equals && (size_t)(equals - inv->args[i]) < sizeof key) {
            snprintf(key, sizeof key, "%.*s", (int)(equals - inv->args[i]), inv->args[i]);
            value = setting_parse(key, equals + 1);
        } else {
            complain("'%s': a setting is KEY=VALUE", inv->args[i]);
        }
        if (!value) {
            json_decref(params);
            return EXIT_FAILURE;
        }
        if (json_object_get(params, key)) {
            complain("%s: given twice", key);
            json_decref(value);
            json_decref(params);
            return EXIT_FAILURE;
        }
        json_object_set_new(params, key, value);
    }
    result = call(inv, "vf.set", params);
    json_decref(result);
    return result ? EXIT_SUCCESS : EXIT_FAILURE;
}

int vireo_qemu_args(const struct invocation *inv)
{
    const char *quote = isatty(STDOUT_FILENO) ? "'" : "";
    const char *end = isatty(STDOUT_FILENO) ? " \\\n" : "\n";
    char path[4096] = "", *quoted;
    unsigned port, vf;
    json_t *list, *entry, *path_json;
    size_t i;

    if (port_vf_parse(inv, &port, &vf) || !vireo_qemu_is_good(inv))
        return EXIT_FAILURE;
    list = call(inv, "vf.list", NULL);
    if (!list)
        return EXIT_FAILURE;
    json_array_foreach(list, i, entry)
    {
        if (int_at(entry, "port") == port && int_at(entry, "vf") == vf)
            snprintf(path, sizeof path, "%s", text_at(entry, "socket"));
        else
            continue;
        if (int_at(entry, "client_pid"))
            fprintf(stderr, "vireo: note: PID %" JSON_INTEGER_FORMAT " has this VF now\n",
                    int_at(entry, "client_pid"));
    }
    json_decref(list);
    if (!path[0]) {
        complain("no VF %u on port %u: 'vireo vf list' shows all", vf, port);
        return EXIT_FAILURE;
    }
    // The daemon's path may be relative to its own directory: ours is the same only by chance.
    if (path[0] != '/') {
        char *dir = realpath(inv->run_dir, NULL);

        snprintf(path, sizeof path, "%s/port%u-vf%u.sock", dir ? dir : inv->run_dir, port, vf);
        free(dir);
    }
    path_json = json_string(path);
    quoted = json_dumps(path_json, JSON_ENCODE_ANY);
    json_decref(path_json);
    if (!quoted) {
        complain("%s: QEMU takes a socket's path as JSON, which is UTF-8, and this is not", path);
        return EXIT_FAILURE;
    }
    printf("-machine q35,memory-backend=vireo-mem%s", end);
    printf("-object memory-backend-memfd,id=vireo-mem,size=%s,share=on%s", inv->memory, end);
    printf("-device pcie-root-port,id=vireo-%u-%u,chassis=%u%s", port, vf,
           1 + port * PF_VFS_MAX + vf, end);
    printf("-device %s{\"driver\":\"vfio-user-pci\",\"bus\":\"vireo-%u-%u\",\"rombar\":0,"
           "\"socket\":{\"type\":\"unix\",\"path\":%s}}%s\n",
           quote, port, vf, quoted, quote);
    free(quoted);
    return EXIT_SUCCESS;
}

// --- PCI ---

int vireo_pci_list(const struct invocation *inv)
{
    static const char *const headings[] = {"RID", "ID", "CLASS", "REVISION"};
    json_t *list = call(inv, "pci.list", NULL);
    struct table *table;
    int status = EXIT_SUCCESS;
    size_t i;
    json_t *fn;

    if (!list)
        return EXIT_FAILURE;
    if (inv->json) {
        status = json_print(list);
    } else {
        table = table_create(4, headings);
        json_array_foreach(list, i, fn)
        {
            table_cell(table, "%s", text_at(fn, "rid"));
            table_cell(table, "%04x:%04x", (unsigned)int_at(fn, "vendor"),
                       (unsigned)int_at(fn, "device"));
            table_cell(table, "%06x", (unsigned)int_at(fn, "class"));
            table_cell(table, "%02x", (unsigned)int_at(fn, "revision"));
        }
        table_print(table, stdout);
        table_destroy(table);
    }
    json_decref(list);
    return status;
}

int vireo_pci_dump(const struct invocation *inv)
{
    json_t *params = json_object(), *result;
    int status;

    if (inv->arg_count && json_object_set_new(params, "rid", json_string(inv->args[0]))) {
        complain("'%s': a requester ID is written like 01:00.0", inv->args[0]);
        json_decref(params);
        return EXIT_FAILURE;
    }
    result = call(inv, "pci.dump", params);
    if (!result)
        return EXIT_FAILURE;
    status = fputs(text_at(result, "text"), stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    json_decref(result);
    return status;
}

// --- version ---

int vireo_version(const struct invocation *inv)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)], error[600];
    json_t *daemon = NULL, *all;
    int status = EXIT_SUCCESS;

    if (!run_dir_ctl_path(inv->run_dir, path, sizeof path, error, sizeof error))
        ctl_call(path, "version", NULL, CALL_TIMEOUT_MS, &daemon, error, sizeof error);
    if (inv->json) {
        all = json_pack("{s:s, s:o}", "vireo", VIREO_VERSION, "vireod",
                        daemon ? daemon : json_null());
        status = json_print(all);
        json_decref(all);
        return status;
    }
    printf("vireo %s\n", VIREO_VERSION);
    if (daemon)
        printf("vireod %s, PID %" JSON_INTEGER_FORMAT ", in %s\n", text_at(daemon, "vireo"),
               int_at(daemon, "pid"), inv->run_dir);
    else
        printf("vireod: not running in %s\n", inv->run_dir);
    json_decref(daemon);
    return status;
}

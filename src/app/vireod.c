// SPDX-License-Identifier: BSD-3-Clause
// vireod: the daemon. Reads a config, builds the machine, serves until SIGTERM or SIGINT.
#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "machine/chassis_mode.h"
#include "machine/config.h"
#include "machine/loop.h"
#include "machine/machine.h"
#include "machine/methods.h"
#include "machine/run_dir.h"
#include "text/table.h"
#include "base/log.h"
#include "chassis/layout.h"
#include "ctl/ctl.h"

const char *argp_program_version = "vireod " VIREO_VERSION;

static const char doc[] =
    "SR-IOV in software: an Intel 82599 network card, the PCI Express slot it sits in and the "
    "IOMMU in front of it. Each VF of the card is a vfio-user socket in the run directory, to "
    "which an unmodified QEMU (10.1 or newer) connects."
    "\v"
    "Examples:\n"
    "  vireod --config card.conf --check\n"
    "      says whether the config is good, and starts nothing\n"
    "  vireod --config card.conf --run-dir /tmp/vireo\n"
    "      runs in the foreground; ends with SIGTERM or Ctrl-C\n"
    "  vireo --run-dir /tmp/vireo qemu-args 0 0\n"
    "      prints how to attach VF 0 of port 0 to a VM\n"
    "\n"
    "Prints the VFs and then \"vireod: ready\" once VMs can connect. Log lines go to stderr. "
    "Root is needed only for what the config asks for: a tap that is not there yet.";

enum {
    OPTION_RUN_DIR = 0x100,
    OPTION_LOG_LEVEL,
    OPTION_CHECK,
    OPTION_CHASSIS,
    OPTION_BASE,
    OPTION_WORKERS
};

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "The card: see examples/card.conf (required)", 0},
    {"run-dir", OPTION_RUN_DIR, "DIR", 0, "Where the sockets go (default " RUN_DIR_DEFAULT ")", 0},
    {"log-level", OPTION_LOG_LEVEL, "LEVEL", 0,
     "error, warn, info or debug; goes before the config's", 0},
    {"workers", OPTION_WORKERS, "N", 0,
     "Threads that move packets (default 1); goes before the config's 'workers'", 0},
    {"chassis", OPTION_CHASSIS, NULL, 0,
     "Give the whole card, with its IOMMU, to one VM: see 'vireo chassis qemu-args'", 0},
    {"chassis-base", OPTION_BASE, "ADDRESS", 0,
     "Where the VM's firmware puts it (default c0000000, SeaBIOS's choice)", 0},
    {"check", OPTION_CHECK, NULL, 0, "Check the config and exit", 0},
    {0},
};

struct arguments {
    const char *config_path;
    const char *run_dir;
    bool check;
    bool chassis;
    uint32_t chassis_base; // 0: the default
    unsigned workers;      // 0: as the config says
    bool log_level_given;
    enum log_level log_level;
};

static unsigned workers_parse(const char *text, struct argp_state *state)
{
    char *end;
    unsigned long count = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || !count || count > NIC_WORKERS_MAX)
        argp_error(state, "--workers: found '%s'; allowed is 1 to %u", text, NIC_WORKERS_MAX);
    return (unsigned)count;
}

static error_t option_parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *args = state->input;

    switch (key) {
    case 'c':
        args->config_path = arg;
        return 0;
    case OPTION_RUN_DIR:
        if (!arg[0])
            argp_error(state, "--run-dir: found ''; allowed is a directory's path");
        args->run_dir = arg;
        return 0;
    case OPTION_LOG_LEVEL:
        if (log_level_parse(arg, &args->log_level))
            argp_error(state, "--log-level: found '%s'; allowed is error, warn, info, debug", arg);
        args->log_level_given = true;
        return 0;
    case OPTION_WORKERS:
        args->workers = workers_parse(arg, state);
        return 0;
    case OPTION_CHECK:
        args->check = true;
        return 0;
    case OPTION_BASE:
        if (chassis_mode_base_parse(arg, &args->chassis_base))
            argp_error(state,
                       "--chassis-base: found '%s'; allowed is a multiple of 20000000 (512 MiB), "
                       "up to c0000000",
                       arg);
        return 0;
    case OPTION_CHASSIS:
        args->chassis = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': vireod takes options only", arg);
        return 0;
    case ARGP_KEY_END:
        if (!args->config_path)
            argp_error(state, "--config FILE is missing");
        if (args->chassis_base && !args->chassis)
            argp_error(state, "--chassis-base means nothing without --chassis");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void vfs_print(const struct machine *m)
{
    static const char *const headings[] = {">PORT", ">VF",   "RID",   "MAC",       ">VLAN",
                                           ">QOS",  "SPOOF", "TRUST", "DOORBELLS", "SOCKET"};
    const struct card_config *config = machine_config(m);
    struct table *table = table_create(10, headings);

    for (unsigned port = 0; port < config->port_count; port++) {
        for (unsigned vf = 0; vf < config->port[port].pf.vf_count; vf++) {
            const struct pf_vf_policy *policy = &config->port[port].pf.vf[vf];
            bool mapped = config->port[port].doorbells[vf] == NIC_DOORBELLS_MAPPED;
            struct host_vf_info info = {0};
            struct pf_vf_state state = {0};
            char mac[METHODS_MAC_TEXT_LEN];

            host_vf_info_get(machine_host(m), port, vf, &info);
            pf_driver_vf_state(host_port_pf(machine_host(m), port), vf, &state);
            methods_mac_text(state.mac, mac);
            table_cell(table, "%u", port);
            table_cell(table, "%u", vf);
            table_cell(table, RID_FMT, RID_ARGS(info.rid));
            table_cell(table, "%s", mac);
            table_cell(table, "%u", policy->vlan);
            table_cell(table, "%u", policy->qos);
            table_cell(table, "%s", policy->spoof_check ? "on" : "off");
            table_cell(table, "%s", policy->trusted ? "on" : "off");
            table_cell(table, "%s", mapped ? "mapped" : "trapped");
            table_cell(table, "%s", info.socket_path);
        }
    }
    table_print(table, stdout);
    table_destroy(table);
}

// Sockets, eventfds and doorbell pages of 126 VFs are more than the usual 1024.
static void fd_limit_raise(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit))
        log_warn("vireod: cannot raise the limit of open files: %s", strerror(errno));
}

// What is served: the machine, or the chassis.
struct service {
    struct machine *machine;
    struct chassis_mode *chassis;
};

static int service_create(struct service *service, const struct card_config *config,
                          const struct arguments *args, sd_event *loop, char *error,
                          size_t error_len)
{
    if (args->chassis)
        return chassis_mode_create(config, args->run_dir,
                                   args->chassis_base ? args->chassis_base : CHASSIS_BASE_DEFAULT,
                                   loop, &service->chassis, error, error_len);
    return machine_create(config, args->run_dir, loop, &service->machine, error, error_len);
}

static int serve(const struct service *service, unsigned ports, sd_event *loop, const char *run_dir)
{
    struct ctl_server *ctl = NULL;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)], error[512];
    int ret = run_dir_ctl_path(run_dir, path, sizeof path, error, sizeof error);

    if (!ret && service->chassis)
        ret = ctl_server_create(loop, path, chassis_mode_methods, service->chassis, &ctl, error,
                                sizeof error);
    else if (!ret)
        ret = ctl_server_create(loop, path, machine_methods, service->machine, &ctl, error,
                                sizeof error);
    if (ret) {
        log_error("vireod: %s", error);
        return ret;
    }
    if (service->chassis)
        chassis_mode_print(service->chassis);
    else
        vfs_print(service->machine);
    printf("vireod: ready\n");
    if (fflush(stdout))
        log_warn("vireod: nobody can read that it is ready: stdout: %s", strerror(errno));
    sd_notifyf(0, "READY=1\nSTATUS=%u port(s) up", ports);
    ret = sd_event_loop(loop);
    sd_notify(0, "STOPPING=1");
    log_info("vireod: stopping");
    ctl_server_destroy(ctl);
    return ret;
}

static int run(const struct card_config *config, const struct arguments *args)
{
    struct service service = {NULL, NULL};
    sd_event *loop = NULL;
    char error[512] = "";
    int lock_fd, ret;

    ret = run_dir_take(args->run_dir, &lock_fd, error, sizeof error);
    if (ret) {
        log_error("vireod: %s", error);
        return ret;
    }
    fd_limit_raise();
    ret = machine_loop_create(&loop);
    if (ret < 0)
        snprintf(error, sizeof error, "starting: %s", strerror(-ret));
    else
        ret = service_create(&service, config, args, loop, error, sizeof error);
    if (ret < 0)
        log_error("vireod: %s", error);
    else
        ret = serve(&service, config->port_count, loop, args->run_dir);
    chassis_mode_destroy(service.chassis);
    machine_destroy(service.machine);
    sd_event_unref(loop);
    close(lock_fd);
    return ret;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, option_parse, NULL, doc, NULL, NULL, NULL};
    struct arguments args = {.run_dir = RUN_DIR_DEFAULT};
    static struct card_config config;
    char error[512];

    argp_parse(&argp, argc, argv, 0, NULL, &args);
    if (card_config_read(args.config_path, &config, error, sizeof error)) {
        fprintf(stderr, "vireod: %s\n", error);
        return EXIT_FAILURE;
    }
    if (args.check) {
        unsigned vfs = 0;

        for (unsigned i = 0; i < config.port_count; i++)
            vfs += config.port[i].pf.vf_count;
        printf("%s: good: %u port(s), %u VF(s)\n", args.config_path, config.port_count, vfs);
        return EXIT_SUCCESS;
    }
    if (args.workers)
        config.worker_count = args.workers;
    log_set_level(args.log_level_given ? args.log_level : config.log_level);
    return run(&config, &args) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

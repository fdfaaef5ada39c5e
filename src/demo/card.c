// SPDX-License-Identifier: BSD-3-Clause
#include "demo/card.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "machine/loop.h"
#include "machine/machine.h"
#include "machine/methods.h"
#include "machine/run_dir.h"
#include "base/log.h"
#include "ctl/ctl.h"

// VFs 0 to 2 with trapped doorbells, 3 to 5 with mapped ones; the last of each three is alone on
// VLAN 20.
static const char config_text[] = "log_level = \"error\";\n"
                                  "seed = \"vireo demo\";\n"
                                  "ports = ({\n"
                                  "  uplink = { kind = \"null\"; };\n"
                                  "  vfs = 6;\n"
                                  "  vf = (\n"
                                  "    { index = 2; vlan = 20; },\n"
                                  "    { index = 3; doorbells = \"mapped\"; },\n"
                                  "    { index = 4; doorbells = \"mapped\"; },\n"
                                  "    { index = 5; doorbells = \"mapped\"; vlan = 20; }\n"
                                  "  );\n"
                                  "});\n";

static int serve(const char *run_dir, sd_event *loop, const struct card_config *config,
                 int ready_fd, char *error, size_t error_len)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    struct machine *machine = NULL;
    struct ctl_server *ctl = NULL;
    int ret = machine_create(config, run_dir, loop, &machine, error, error_len);

    if (!ret)
        ret = run_dir_ctl_path(run_dir, path, sizeof path, error, error_len);
    if (!ret)
        ret = ctl_server_create(loop, path, machine_methods, machine, &ctl, error, error_len);
    if (!ret && write(ready_fd, "r", 1) != 1)
        ret = -1;
    close(ready_fd);
    if (!ret)
        ret = sd_event_loop(loop);
    ctl_server_destroy(ctl);
    machine_destroy(machine);
    return ret;
}

int demo_card_run(const char *run_dir, int ready_fd)
{
    static struct card_config config;
    sd_event *loop = NULL;
    char error[512] = "";
    int ret;

    ret = card_config_parse(config_text, strlen(config_text), "demo", &config, error, sizeof error);
    if (!ret)
        log_set_level(config.log_level);
    if (!ret)
        ret = machine_loop_create(&loop);
    if (ret >= 0)
        ret = serve(run_dir, loop, &config, ready_fd, error, sizeof error);
    sd_event_unref(loop);
    if (ret < 0)
        fprintf(stderr, "vireo demo: the card: %s\n", error[0] ? error : strerror(-ret));
    return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

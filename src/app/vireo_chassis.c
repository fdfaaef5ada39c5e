// SPDX-License-Identifier: BSD-3-Clause
// vireo chassis qemu-args: what gives a VM the whole card.
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "app/qemu_check.h"
#include "machine/run_dir.h"
#include "app/vireo.h"
#include "chassis/layout.h"
#include "ctl/ctl.h"

#define CALL_TIMEOUT_MS 5000u

static json_t *info_get(const struct invocation *inv)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)], error[512];
    json_t *result = NULL;
    int ret = run_dir_ctl_path(inv->run_dir, path, sizeof path, error, sizeof error);

    if (!ret)
        ret = ctl_call(path, "chassis.info", NULL, CALL_TIMEOUT_MS, &result, error, sizeof error);
    if (!ret)
        return result;
    if (vireo_method_is_missing(ret, error))
        fprintf(stderr,
                "vireo: the daemon in %s runs without --chassis: 'vireo qemu-args PORT VF' gives a "
                "VM one of its VFs\n",
                inv->run_dir);
    else
        fprintf(stderr, "vireo: %s: is 'vireod --chassis --run-dir %s' running?\n", error,
                inv->run_dir);
    return NULL;
}

// In QEMU's option lists a comma is written twice.
static void print_file(const char *path)
{
    for (; *path; path++)
        printf(*path == ',' ? ",," : "%c", *path);
}

bool vireo_qemu_is_good(const struct invocation *inv)
{
    char why[400];
    int ret = qemu_check(inv->qemu ? inv->qemu : QEMU_DEFAULT, why, sizeof why);

    if (!ret || (!inv->qemu && ret != -ENOTSUP))
        return true;
    fprintf(stderr, "vireo: %s%s\n", inv->qemu ? "" : "note: ", why);
    return !inv->qemu;
}

int vireo_chassis_qemu_args(const struct invocation *inv)
{
    const char *quote = isatty(STDOUT_FILENO) ? "'" : "";
    const char *end = isatty(STDOUT_FILENO) ? " \\\n" : "\n";
    json_t *info = vireo_qemu_is_good(inv) ? info_get(inv) : NULL;

    char *socket;

    if (!info)
        return EXIT_FAILURE;
    socket = json_dumps(json_object_get(info, "socket"), JSON_ENCODE_ANY); // quoted as JSON has it
    if (json_integer_value(json_object_get(info, "client_pid")))
        fprintf(stderr, "vireo: note: PID %" JSON_INTEGER_FORMAT " has this card now\n",
                json_integer_value(json_object_get(info, "client_pid")));
    printf("-machine q35,memory-backend=vireo-mem%s", end);
    printf("-object memory-backend-memfd,id=vireo-mem,size=%s,share=on%s", inv->memory, end);
    for (unsigned i = 0; i < 2; i++) {
        printf("-acpitable file=");
        print_file(json_string_value(json_object_get(info, i ? "dmar" : "ssdt")));
        printf("%s", end);
    }
    printf("-device %s{\"driver\":\"vfio-user-pci\",\"bus\":\"pcie.0\",\"addr\":\"0x%x\","
           "\"rombar\":0,\"socket\":{\"type\":\"unix\",\"path\":%s}}%s\n",
           quote, CHASSIS_CARRIER_SLOT, socket ? socket : "null", quote);
    free(socket);
    json_decref(info);
    return EXIT_SUCCESS;
}

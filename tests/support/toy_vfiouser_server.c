// SPDX-License-Identifier: BSD-3-Clause
// The toy device as a program, to try a real client against: toy_vfiouser_server SOCKET [mapped].
// Runs until SIGTERM or SIGINT, then prints what it saw, one "name value" a line.
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "support/toy_vfiouser_device.h"

static void counts_print(struct vfiouser_server *server, void *ctx)
{
    const struct toy_device *toy = ctx;
    struct vfiouser_counts counts;

    vfiouser_server_counts_get(server, &counts);
    for (unsigned i = 1; i < VFIOUSER_COMMANDS; i++) {
        if (counts.received[i])
            printf("%s %llu\n", vfiouser_command_name(i), (unsigned long long)counts.received[i]);
    }
    printf("malformed %llu\n", (unsigned long long)counts.received[0]);
    printf("posted %llu\n", (unsigned long long)counts.region_writes_posted);
    printf("refused %llu\n", (unsigned long long)counts.refused_clients);
    printf("attaches %u\n", toy->attaches);
    printf("client_pid %d\n", (int)toy->client_pid);
    printf("resets %u\n", toy->resets);
    printf("maps %u\n", toy->map_count);
}

int main(int argc, char **argv)
{
    struct toy_server *toy_server;
    struct toy_device *toy;
    char error[256] = "";
    sigset_t signals;
    int signal;

    if (argc < 2 || argc > 3 || (argc == 3 && strcmp(argv[2], "mapped"))) {
        fprintf(stderr, "usage: %s SOCKET [mapped]\n", argv[0]);
        return 2;
    }
    // Blocked before the thread starts, so that it inherits that and sigwait() gets them.
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    if (toy_device_create(&toy))
        return 1;
    if (toy_server_start(toy, "toy", argv[1], argc == 3, &toy_server, error, sizeof error)) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    sigwait(&signals, &signal);
    toy_server_call(toy_server, counts_print, toy);
    toy_server_stop(toy_server);
    toy_device_destroy(toy);
    return 0;
}

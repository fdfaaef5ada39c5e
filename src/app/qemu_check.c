// SPDX-License-Identifier: BSD-3-Clause
#include "app/qemu_check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define OUTPUT_MAX (1u << 20) // of `-device help`, which has some 30 KiB
#define TIMEOUT_MS 10000

extern char **environ;

// With our stdin and stderr closed to it. 0 and the pipe's end, or -errno.
static int start(const char *qemu, char *const argv[], pid_t *pid, int *out)
{
    posix_spawn_file_actions_t actions;
    int fds[2], err;

    if (pipe2(fds, O_CLOEXEC))
        return -errno;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    err = posix_spawnp(pid, qemu, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (err) {
        close(fds[0]);
        return -err;
    }
    *out = fds[0];
    return 0;
}

// All that it says, up to `size` - 1 bytes; -ETIMEDOUT where that takes too long.
static int read_all(int fd, char *text, size_t size)
{
    uint64_t end_ns = clock_now_ns() + TIMEOUT_MS * 1000000ull;
    size_t len = 0;
    ssize_t n = 1;

    while (n > 0 && len + 1 < size) {
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        uint64_t now_ns = clock_now_ns();
        int ready = now_ns < end_ns ? poll(&pfd, 1, (int)((end_ns - now_ns) / 1000000) + 1) : 0;

        if (!ready)
            return -ETIMEDOUT;
        n = ready > 0 ? read(fd, text + len, size - 1 - len) : -1;
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            len += (size_t)n;
    }
    text[len] = 0;
    return n < 0 ? -errno : 0;
}

static int ask(const char *qemu, char *const argv[], char *text, size_t size)
{
    pid_t pid = 0;
    int fd = -1, ret = start(qemu, argv, &pid, &fd);

    if (ret)
        return ret;
    ret = read_all(fd, text, size);
    close(fd);
    if (ret)
        kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return ret;
}

int qemu_check(const char *qemu, char *why, size_t why_len)
{
    char *const help[] = {(char *)qemu, "-device", "help", NULL};
    char *const version[] = {(char *)qemu, "--version", NULL};
    char *text = malloc(OUTPUT_MAX), first[128];
    int ret = text ? ask(qemu, help, text, OUTPUT_MAX) : -ENOMEM;

    if (ret) {
        snprintf(why, why_len, "%s: %s", qemu,
                 ret == -ETIMEDOUT ? "'-device help' does not end" : strerror(-ret));
    } else if (!strstr(text, "\"vfio-user-pci\"")) {
        first[0] = 0;
        if (!ask(qemu, version, text, OUTPUT_MAX))
            snprintf(first, sizeof first, "%.*s", (int)strcspn(text, "\n"), text);
        snprintf(why, why_len,
                 "%s has no vfio-user-pci (it says: '%s'): QEMU 10.1 or newer is needed, built "
                 "with vfio-user",
                 qemu, first);
        ret = -ENOTSUP;
    }
    free(text);
    return ret;
}

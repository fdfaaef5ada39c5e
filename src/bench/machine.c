// SPDX-License-Identifier: BSD-3-Clause
#include "bench/machine.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "bench/subject.h"
#include "machine/loop.h"
#include "machine/machine.h"
#include "base/log.h"

#define START_LIMIT_MS 20000
#define REPLAY_PPS     10000000 // the most there is; the card may take more

struct bench_machine {
    pid_t pid;
    char dir[BENCH_DIR_LEN];
};

static int config_make(const struct bench_machine_config *want, struct card_config *out,
                       char *error, size_t error_len)
{
    char text[1024], uplink[512] = "kind = \"null\";";
    int len;

    if (want->replay)
        snprintf(uplink, sizeof uplink,
                 "kind = \"pcap\"; replay = \"%s\"; replay_loop = true; replay_pps = %d;",
                 want->replay, REPLAY_PPS);
    len = snprintf(text, sizeof text,
                   "log_level = \"error\";\n"
                   "seed = \"vireo bench\";\n"
                   "ports = ({\n"
                   "  uplink = { %s };\n"
                   "  vfs = %u;\n"
                   "  vf_defaults = { doorbells = \"%s\"; spoofchk = true; };\n"
                   "});\n",
                   uplink, want->vf_count, want->mapped_doorbells ? "mapped" : "trapped");
    return card_config_parse(text, (size_t)len, "bench", out, error, error_len);
}

// The process: until SIGTERM.
static int machine_run(const struct card_config *config, const char *dir, int ready_fd, char *error,
                       size_t error_len)
{
    struct machine *machine = NULL;
    sd_event *loop = NULL;
    int ret;

    signal(SIGHUP, SIG_IGN); // what a stopped process gets when its parent is gone
    log_set_level(LOG_LEVEL_ERROR);
    bench_cpu_bind(BENCH_DEVICE_CPU);
    ret = machine_loop_create(&loop);
    if (ret >= 0)
        ret = machine_create(config, dir, loop, &machine, error, error_len);
    if (ret >= 0 && write(ready_fd, "r", 1) != 1)
        ret = -EPIPE;
    if (ret >= 0)
        ret = sd_event_loop(loop);
    else if (write(ready_fd, error, strlen(error)) < 0)
        ret = -EPIPE;
    machine_destroy(machine);
    sd_event_unref(loop);
    rmdir(dir);
    return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

// What the child says: "r", or what went wrong.
static int wait_ready(int fd, char *error, size_t error_len)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    ssize_t got = 0;

    if (poll(&wait, 1, START_LIMIT_MS) == 1)
        got = read(fd, error, error_len - 1);
    if (got == 1 && error[0] == 'r') {
        error[0] = 0;
        return 0;
    }
    error[got > 0 ? got : 0] = 0;
    if (!error[0])
        snprintf(error, error_len, "the machine did not start");
    return -EIO;
}

int bench_machine_start(const struct bench_machine_config *want, struct bench_machine **out,
                        char *error, size_t error_len)
{
    static struct card_config config;
    struct bench_machine *m;
    pid_t parent = getpid();
    int fds[2], ret;

    ret = config_make(want, &config, error, error_len);
    if (ret)
        return ret;
    m = calloc(1, sizeof *m);
    if (!m)
        return -ENOMEM;
    strcpy(m->dir, "/tmp/vireo-bench-XXXXXX");
    if (!mkdtemp(m->dir) || pipe(fds)) {
        ret = -errno;
        snprintf(error, error_len, "%s: %s", m->dir, strerror(errno));
        free(m);
        return ret;
    }
    fflush(NULL); // nothing is to be written twice
    m->pid = fork();
    if (!m->pid) {
        char why[BENCH_WHY_LEN] = "";

        prctl(PR_SET_PDEATHSIG, SIGTERM); // it removes what it made
        close(fds[0]);
        _exit(getppid() == parent ? machine_run(&config, m->dir, fds[1], why, sizeof why)
                                  : EXIT_FAILURE);
    }
    close(fds[1]);
    ret = wait_ready(fds[0], error, error_len);
    close(fds[0]);
    if (ret) {
        bench_machine_stop(m);
        return ret;
    }
    *out = m;
    return 0;
}

void bench_machine_stop(struct bench_machine *m)
{
    if (!m)
        return;
    if (m->pid > 0) {
        kill(m->pid, SIGTERM);
        kill(m->pid, SIGCONT);
        waitpid(m->pid, NULL, 0);
    }
    rmdir(m->dir);
    free(m);
}

const char *bench_machine_dir(const struct bench_machine *m)
{
    return m->dir;
}

pid_t bench_machine_pid(const struct bench_machine *m)
{
    return m->pid;
}

void bench_machine_freeze(struct bench_machine *m, bool frozen)
{
    kill(m->pid, frozen ? SIGSTOP : SIGCONT);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "app/bench_machine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "app/machine.h"
#include "mem/space.h"

struct bench_machine {
    struct card_config config;
    char dir[BENCH_DIR_LEN];
    int cpu;
    int stop_fd;
    pthread_t thread;
    sem_t started;
    int ret; // of starting; read after `started`
    char error[512];
};

static int on_stop(sd_event_source *source, int fd, uint32_t events, void *ctx)
{
    (void)fd, (void)events, (void)ctx;
    return sd_event_exit(sd_event_source_get_event(source), 0);
}

static void *control_thread(void *ctx)
{
    struct bench_machine *m = ctx;
    struct machine *machine = NULL;
    sd_event *loop = NULL;
    cpu_set_t set;

    if (m->cpu >= 0) {
        CPU_ZERO(&set);
        CPU_SET((unsigned)m->cpu, &set);
        pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
    m->ret = sd_event_new(&loop);
    if (m->ret >= 0)
        m->ret = sd_event_add_io(loop, NULL, m->stop_fd, EPOLLIN, on_stop, NULL);
    if (m->ret >= 0)
        m->ret = machine_create(&m->config, m->dir, loop, &machine, m->error, sizeof m->error);
    sem_post(&m->started);
    if (machine)
        sd_event_loop(loop);
    machine_destroy(machine);
    sd_event_unref(loop);
    return NULL;
}

static char signal_dir[BENCH_DIR_LEN]; // what a signal has to clean up

static void on_signal(int signal_number)
{
    int fd = open(signal_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (char vf = '0'; fd >= 0 && vf <= '9'; vf++) {
        char name[] = "port0-vf?.sock";

        name[8] = vf;
        unlinkat(fd, name, 0);
    }
    rmdir(signal_dir);
    _exit(128 + signal_number);
}

// Once a process, however many machines there are one after the other.
static int sigbus_install_once(void)
{
    static bool installed;
    int ret = installed ? 0 : mem_sigbus_install();

    installed = !ret;
    return ret;
}

int bench_machine_start(const char *config_text, int cpu, struct bench_machine **out, char *error,
                        size_t error_len)
{
    struct bench_machine *m = calloc(1, sizeof *m);
    int ret;

    if (!m)
        return -ENOMEM;
    ret =
        card_config_parse(config_text, strlen(config_text), "bench", &m->config, error, error_len);
    if (!ret)
        ret = sigbus_install_once();
    strcpy(m->dir, "/tmp/vireo-bench-XXXXXX");
    if (!ret && !mkdtemp(m->dir))
        ret = -errno;
    if (ret) {
        free(m);
        return ret;
    }
    strcpy(signal_dir, m->dir);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    m->cpu = cpu;
    m->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sem_init(&m->started, 0, 0);
    ret = -pthread_create(&m->thread, NULL, control_thread, m);
    if (!ret) {
        sem_wait(&m->started);
        ret = m->ret < 0 ? m->ret : 0;
        if (!ret) {
            *out = m;
            return 0;
        }
        pthread_join(m->thread, NULL);
    }
    snprintf(error, error_len, "%s", m->error[0] ? m->error : strerror(-ret));
    rmdir(m->dir);
    close(m->stop_fd);
    free(m);
    return ret;
}

void bench_machine_stop(struct bench_machine *m)
{
    if (!m)
        return;
    eventfd_write(m->stop_fd, 1);
    pthread_join(m->thread, NULL);
    rmdir(m->dir);
    close(m->stop_fd);
    sem_destroy(&m->started);
    free(m);
}

const char *bench_machine_dir(const struct bench_machine *m)
{
    return m->dir;
}

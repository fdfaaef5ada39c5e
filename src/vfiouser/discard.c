// SPDX-License-Identifier: BSD-3-Clause
#include "vfiouser/discard.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

// A thread can be kept for ever by one fd, so one peer must not have them all soon.
#define THREADS_MAX 8u
#define QUEUE_STEP  256u

#define MAJOR_MEM 1u // /dev/null and its like

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // guards what follows
static pthread_cond_t came = PTHREAD_COND_INITIALIZER;
static int *queue; // as long as the process has open files, at the most
static unsigned queue_len, queue_room, thread_count, idle_count;

// Whether close() is sure to return at once. Asks nothing of a file's server: FUSE's files, and
// those of network file systems, have no block device (and no seals).
static bool is_quick(int fd)
{
    struct statx st;

    if (fcntl(fd, F_GET_SEALS) >= 0) // memory: memfd, tmpfs, hugetlbfs
        return true;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st))
        return false;
    switch (st.stx_mode & S_IFMT) {
    case 0: // no file at all: an eventfd and the like
    case S_IFIFO:
        return true;
    case S_IFREG:
    case S_IFDIR:
        return st.stx_dev_major;
    case S_IFCHR:
        return st.stx_rdev_major == MAJOR_MEM;
    default:
        return false;
    }
}

static void *closer_run(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        int fd;

        idle_count++;
        while (!queue_len)
            pthread_cond_wait(&came, &lock);
        idle_count--;
        fd = queue[--queue_len];
        pthread_mutex_unlock(&lock);
        close(fd);
        pthread_mutex_lock(&lock);
    }
    return NULL;
}

static void closer_start(void)
{
    pthread_attr_t attr;
    pthread_t thread;

    if (pthread_attr_init(&attr))
        return;
    if (!pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) &&
        !pthread_create(&thread, &attr, closer_run, NULL))
        thread_count++;
    pthread_attr_destroy(&attr);
}

static void discard_later(int fd)
{
    bool full;

    pthread_mutex_lock(&lock);
    if (queue_len == queue_room) {
        int *more = realloc(queue, (queue_room + QUEUE_STEP) * sizeof *queue);

        if (more) {
            queue = more;
            queue_room += QUEUE_STEP;
        }
    }
    full = queue_len == queue_room;
    if (!full)
        queue[queue_len++] = fd;
    if (idle_count < queue_len && thread_count < THREADS_MAX)
        closer_start();
    pthread_cond_signal(&came);
    pthread_mutex_unlock(&lock);
    if (full)
        log_warn_limited("vfiouser: no memory to close a client's fd later: it stays open");
}

void vfiouser_discard(int fd)
{
    if (is_quick(fd))
        close(fd);
    else
        discard_later(fd);
}

void vfiouser_discard_socket(int fd)
{
    int unread = 0;

    // After it nothing more comes; and what has come holds an fd only where it holds a byte.
    shutdown(fd, SHUT_RDWR);
    if (!ioctl(fd, FIONREAD, &unread) && !unread)
        close(fd);
    else
        discard_later(fd);
}

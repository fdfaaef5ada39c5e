// SPDX-License-Identifier: BSD-3-Clause
#include "host/signal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

// Finished requests wait in a ring until somebody takes them out: one more system call each time
// that many signals were sent.
#define EVENTS_MAX 128u
// Other threads may fill the ring again before this one has its turn.
#define TRIES_MAX 8u

void host_signal_init(struct host_signal *sig)
{
    *sig = (struct host_signal){.null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC)};
    if (sig->null_fd >= 0 && !syscall(SYS_io_setup, EVENTS_MAX, &sig->aio))
        return;
    log_warn("host: no AIO (%s): a QEMU that blocks its own interrupt eventfd can hold the card up",
             strerror(errno));
    sig->aio = 0;
}

void host_signal_fini(struct host_signal *sig)
{
    if (sig->aio)
        syscall(SYS_io_destroy, sig->aio);
    if (sig->null_fd >= 0)
        close(sig->null_fd);
}

static bool send_by_write(int fd)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    const uint64_t one = 1;

    return poll(&room, 1, 0) == 1 && room.revents == POLLOUT &&
           write(fd, &one, sizeof one) == sizeof one;
}

bool host_signal_send(struct host_signal *sig, int fd)
{
    // Reads nothing from /dev/null: finished when io_submit() returns, and the signal is sent.
    struct iocb request = {.aio_lio_opcode = IOCB_CMD_PREAD,
                           .aio_fildes = (uint32_t)sig->null_fd,
                           .aio_flags = IOCB_FLAG_RESFD,
                           .aio_resfd = (uint32_t)fd};
    struct iocb *requests[] = {&request};
    struct io_event events[EVENTS_MAX];
    struct timespec at_once = {0, 0};

    if (!sig->aio)
        return send_by_write(fd);
    for (unsigned i = 0; i < TRIES_MAX; i++) {
        if (syscall(SYS_io_submit, sig->aio, 1, requests) == 1)
            return true;
        if (errno != EAGAIN)
            return false;
        syscall(SYS_io_getevents, sig->aio, 0, EVENTS_MAX, events, &at_once);
    }
    return send_by_write(fd);
}

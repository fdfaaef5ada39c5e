// SPDX-License-Identifier: BSD-3-Clause
// Signals eventfds that other processes hold too, and never blocks in it. write() can: O_NONBLOCK
// belongs to the open file description, which the peer shares, so the peer may clear it and fill
// the counter. The kernel's own way to signal an eventfd, which a finished AIO request takes
// (IOCB_FLAG_RESFD), has no such wait: a full counter stays full.
// Threads: any.
#ifndef VIREO_HOST_SIGNAL_H
#define VIREO_HOST_SIGNAL_H

#include <linux/aio_abi.h>
#include <stdbool.h>

struct host_signal {
    aio_context_t aio; // 0: the kernel has none for us
    int null_fd;       // what the requests read
};

// Cannot fail: without AIO (a kernel without it, a container that forbids it, fs.aio-max-nr used
// up) it warns, and signals by a write that is made only where poll() says that it would not block.
void host_signal_init(struct host_signal *sig);
void host_signal_fini(struct host_signal *sig);
// Adds 1 to an eventfd. False where that was not possible: its holder has signals waiting anyway.
bool host_signal_send(struct host_signal *sig, int fd);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// A vfio-user client without manners: sends any bytes with any fds. Nothing blocks.
#ifndef VIREO_TESTS_RAW_VFIOUSER_H
#define VIREO_TESTS_RAW_VFIOUSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vfiouser/message.h"

// A connected, non-blocking socket, or -errno.
int raw_connect(const char *socket_path);
// sendmsg() with `fds` (up to 253) on the first byte. What went, or -errno.
ssize_t raw_send(int sock, const void *bytes, size_t len, const int *fds, unsigned fd_count);
// Puts a whole message together; its length. `out` has room. payload NULL: zeros.
size_t raw_message(uint8_t *out, uint16_t id, unsigned command, uint32_t flags, const void *payload,
                   size_t payload_len);
// A VERSION with what QEMU says.
size_t raw_version(uint8_t *out, uint16_t id);
// recvmsg() of up to `len` bytes. What came, 0 at the end, or -errno (-EAGAIN: nothing there).
// fds: room for VFIOUSER_FDS_MAX, or NULL: they are closed.
ssize_t raw_receive(int sock, void *bytes, size_t len, int *fds, unsigned *fd_count);
// The lowest fd that is free: the same before and after, or somebody leaked.
int raw_lowest_free_fd(void);
// Whether it is `free_fd` again, or becomes it soon: fds that could wait when they are closed are
// closed by another thread (vfiouser/discard.h).
bool raw_fds_are_back(int free_fd);

#endif

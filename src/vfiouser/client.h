// SPDX-License-Identifier: BSD-3-Clause
// vfio-user client, blocking: for our own user-space drivers, tests and the embedded demo.
// Threads: one a client.
#ifndef VIREO_VFIOUSER_CLIENT_H
#define VIREO_VFIOUSER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vfiouser_client;

struct vfiouser_client_region {
    uint64_t size_bytes;
    bool read, write;
    // First mappable area, mapped already; NULL where none. The client's, good until it is closed
    // (also when the connection is lost).
    void *mapped;
    uint64_t mapped_offset, mapped_len;
};

// Connects and negotiates. Each request waits at most 5 s for its reply (-ETIMEDOUT, connection
// lost from then on: every call gives -ENOTCONN). Error replies come back as their -errno; a reply
// that makes no sense is -EPROTO. -EBUSY: somebody else holds the device.
int vfiouser_client_open(const char *socket_path, struct vfiouser_client **out, char *error,
                         size_t error_len);
void vfiouser_client_close(struct vfiouser_client *client);
bool vfiouser_client_is_lost(const struct vfiouser_client *client);

int vfiouser_client_region(struct vfiouser_client *client, unsigned index,
                           struct vfiouser_client_region *out);
int vfiouser_client_irq_count(struct vfiouser_client *client, unsigned index, unsigned *out);
// At most 1 MiB, or what the server agreed to (-EINVAL).
int vfiouser_client_read(struct vfiouser_client *client, unsigned region, uint64_t offset,
                         void *buf, uint32_t len_bytes);
// posted: no reply is asked for; 0 means only that it was sent.
int vfiouser_client_write(struct vfiouser_client *client, unsigned region, uint64_t offset,
                          const void *buf, uint32_t len_bytes, bool posted);
// fd stays the caller's; -1: none (the server cannot reach such memory).
int vfiouser_client_dma_map(struct vfiouser_client *client, uint64_t iova, uint64_t len_bytes,
                            int fd, uint64_t fd_offset, bool read, bool write);
int vfiouser_client_dma_unmap(struct vfiouser_client *client, uint64_t iova, uint64_t len_bytes);
// fds (eventfds; -1 disarms) stay the caller's. count 0 disables the index. Takes several messages
// where fds and -1 alternate or where there are more than the server takes in one.
int vfiouser_client_set_irqs(struct vfiouser_client *client, unsigned index, unsigned start,
                             unsigned count, const int *fds);
int vfiouser_client_reset(struct vfiouser_client *client);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// One end of a vfio-user connection: framing over a unix stream socket, with fds. Never blocks; who
// wants to wait polls `fd`. Both sides use it.
// Threads: one a socket.
#ifndef VIREO_VFIOUSER_SOCKET_H
#define VIREO_VFIOUSER_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vfiouser/message.h"

// What waits for a peer that does not read; more than that and it is dropped. The largest reply
// fits, and so do the replies to max_dma_maps pipelined commands.
#define VFIOUSER_OUT_MAX_BYTES (4u * 1024 * 1024)
#define VFIOUSER_OUT_MAX_FDS   16u // each is an fd of ours

struct vfiouser_socket;

// A whole message. Valid until the next call on its socket.
struct vfiouser_message {
    struct vfiouser_header header;
    uint8_t *payload;
    size_t payload_len;
    int fds[VFIOUSER_FDS_MAX];
    unsigned fd_count;
    bool fds_lost; // more came than fit, or we have no fds left: what came was closed
};

// Takes `fd` on success (which is made non-blocking).
int vfiouser_socket_create(int fd, struct vfiouser_socket **out);
void vfiouser_socket_destroy(struct vfiouser_socket *sock); // closes; NULL is fine
int vfiouser_socket_fd(const struct vfiouser_socket *sock);

// Receives as much of one message as is there. 1: *out is whole. 0: not yet. -ECONNRESET: the peer
// is gone. -EPROTO: framing is lost, or the message is longer than payload_max (*out then has the
// header for the log). -ENOMEM, other -errno.
// The message's fds are the socket's until vfiouser_message_take_fd(); what was not taken is closed
// by the next receive or by destroy.
int vfiouser_socket_receive(struct vfiouser_socket *sock, size_t payload_max,
                            struct vfiouser_message **out);
// The caller owns the fd then.
int vfiouser_message_take_fd(struct vfiouser_message *message, unsigned index);

// Queues header and payload, with `fds` (which stay the caller's) on their first byte, and sends
// what can be sent. -ENOBUFS: the peer does not read, the queue is full; -EPIPE and other -errno:
// the connection is dead. Either way it is to be closed.
int vfiouser_socket_send(struct vfiouser_socket *sock, const struct vfiouser_header *header,
                         const void *payload, size_t payload_len, const int *fds,
                         unsigned fd_count);
// Goes on with what is queued; 0 also where the socket is full.
int vfiouser_socket_flush(struct vfiouser_socket *sock);
bool vfiouser_socket_has_output(const struct vfiouser_socket *sock);

#endif

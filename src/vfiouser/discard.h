// SPDX-License-Identifier: BSD-3-Clause
// Closing what a peer had a hand in. close() can wait for as long as the peer likes: a file of a
// FUSE file system is flushed by its server, and a TCP socket lingers for data that nobody reads.
// So what may wait is closed on threads that have nothing else to do. Private to src/vfiouser.
//
// Any thread. Never waits.
#ifndef VIREO_VFIOUSER_DISCARD_H
#define VIREO_VFIOUSER_DISCARD_H

// Takes the fd. It stays open for as long as every such thread is kept waiting.
void vfiouser_discard(int fd);

// The same for a connected unix socket: it may still hold fds that were never received.
void vfiouser_discard_socket(int fd);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// JSON-RPC 2.0 over a unix socket, one JSON text a line each way, with a method registry.
// Server: on the caller's sd-event loop, never blocks on a peer. Client: blocking.
// Threads: the server the loop's; ctl_call() any.
//
// Errors follow JSON-RPC §5.1; what a method reports has code -32000 (-32602 for EINVAL), its
// sentence as message, and {"errno": N} as data.
#ifndef VIREO_CTL_CTL_H
#define VIREO_CTL_CTL_H

#include <jansson.h>
#include <stddef.h>
#include <systemd/sd-event.h>

#define CTL_REQUEST_MAX_BYTES  65536u // a longer line is answered with an error and closed
#define CTL_RESPONSE_MAX_BYTES (16u << 20)
#define CTL_BATCH_MAX          16u // requests in one JSON-RPC batch
#define CTL_CLIENTS_MAX        16u // one more, and the one that was quiet longest is closed

struct ctl_server;

// A method: *result is a new reference on success. On error: -errno and a sentence in `error`.
// `params` is what the client sent, unchecked: NULL, an object or an array.
typedef int (*ctl_method_fn)(void *ctx, const json_t *params, json_t **result, char *error,
                             size_t error_len);
struct ctl_method {
    const char *name;    // "vf.list"
    const char *summary; // for "help"
    ctl_method_fn fn;
};

// `methods` (NULL-name-terminated) and `ctx` must outlive the server. "help" is built in. The
// socket's mode is 0600; a stale socket file is removed, a live one is -EADDRINUSE. 0; on error
// -errno and a sentence in `error`.
int ctl_server_create(sd_event *loop, const char *socket_path, const struct ctl_method *methods,
                      void *ctx, struct ctl_server **out, char *error, size_t error_len);
void ctl_server_destroy(struct ctl_server *server); // closes all clients, unlinks the socket

// One call, at most timeout_ms. `params` (may be NULL) stays the caller's; *result is a new
// reference. 0; the method's -errno; -ENOENT or -ECONNREFUSED where nobody listens; -ETIMEDOUT;
// -EPROTO where the answer makes no sense. On error a sentence in `error`.
int ctl_call(const char *socket_path, const char *method, json_t *params, unsigned timeout_ms,
             json_t **result, char *error, size_t error_len);

#endif

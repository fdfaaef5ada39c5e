// SPDX-License-Identifier: BSD-3-Clause
// JSON-RPC 2.0 over a unix socket, one JSON object a line each way, with a method registry.
// Server: on the caller's sd-event loop, never blocks on a peer. Client: blocking.
#ifndef VIREO_CTL_CTL_H
#define VIREO_CTL_CTL_H

#include <jansson.h>
#include <stddef.h>
#include <systemd/sd-event.h>

#define CTL_REQUEST_MAX_BYTES 65536u // a longer line is answered with an error and closed
#define CTL_CLIENTS_MAX       16u

struct ctl_server;

// A method: *result is a new reference on success. On error: -errno and a sentence in `error`.
typedef int (*ctl_method_fn)(void *ctx, const json_t *params, json_t **result, char *error,
                             size_t error_len);
struct ctl_method {
    const char *name;    // "vf.list"
    const char *summary; // for "help"
    ctl_method_fn fn;
};

// `methods` (NULL-name-terminated) must outlive the server. "help" is built in.
int ctl_server_create(sd_event *loop, const char *socket_path, const struct ctl_method *methods,
                      void *ctx, struct ctl_server **out, char *error, size_t error_len);
void ctl_server_destroy(struct ctl_server *server);

// One call, at most timeout_ms. *result is a new reference.
int ctl_call(const char *socket_path, const char *method, json_t *params, unsigned timeout_ms,
             json_t **result, char *error, size_t error_len);

#endif

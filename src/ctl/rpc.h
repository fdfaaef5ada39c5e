// SPDX-License-Identifier: BSD-3-Clause
// JSON-RPC 2.0 proper: one line in, one line out; no sockets. Private to src/ctl.
#ifndef VIREO_CTL_RPC_H
#define VIREO_CTL_RPC_H

#include "ctl/ctl.h"

enum rpc_code { // JSON-RPC §5.1
    RPC_PARSE_ERROR = -32700,
    RPC_INVALID_REQUEST = -32600,
    RPC_METHOD_NOT_FOUND = -32601,
    RPC_INVALID_PARAMS = -32602,
    RPC_INTERNAL_ERROR = -32603,
    RPC_METHOD_FAILED = -32000,
};

// Answers one line (without its newline). Returns the answer with a newline at its end, to be
// freed, and its length; NULL where there is none to give (notifications).
char *rpc_answer(const struct ctl_method *methods, void *ctx, const char *line, size_t len,
                 size_t *answer_len);
// The answer to a request that could not be read: no id is known.
char *rpc_refusal(enum rpc_code code, const char *message, size_t *answer_len);

#endif

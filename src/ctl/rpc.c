// SPDX-License-Identifier: BSD-3-Clause
#include "ctl/rpc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Takes over `id` (NULL: null) and `data` (may be NULL).
static json_t *error_object(json_t *id, enum rpc_code code, const char *message, json_t *data)
{
    json_t *error = json_object();

    json_object_set_new(error, "code", json_integer(code));
    // A sentence may quote bytes that are no UTF-8, which json_string() refuses.
    if (json_object_set_new(error, "message", json_string(message)))
        json_object_set_new(error, "message", json_string("error (its text is not UTF-8)"));
    if (data)
        json_object_set_new(error, "data", data);
    return json_pack("{s:s, s:o, s:o}", "jsonrpc", "2.0", "error", error, "id",
                     id ? id : json_null());
}

static json_t *help_result(const struct ctl_method *methods)
{
    json_t *list = json_array();

    json_array_append_new(list,
                          json_pack("{s:s, s:s}", "name", "help", "summary", "lists all methods"));
    for (const struct ctl_method *m = methods; m->name; m++)
        json_array_append_new(list,
                              json_pack("{s:s, s:s}", "name", m->name, "summary", m->summary));
    return list;
}

static const struct ctl_method *method_find(const struct ctl_method *methods, const char *name)
{
    for (; methods->name; methods++) {
        if (!strcmp(methods->name, name))
            return methods;
    }
    return NULL;
}

// Runs a method: *result, or an error object for `id` (a borrowed reference) in *failure.
static void method_run(const struct ctl_method *methods, void *ctx, const char *name,
                       const json_t *params, json_t *id, json_t **result, json_t **failure)
{
    const struct ctl_method *method;
    char error[512] = "";
    int ret;

    if (!strcmp(name, "help")) {
        *result = help_result(methods);
        return;
    }
    method = method_find(methods, name);
    if (!method) {
        snprintf(error, sizeof error, "no method '%.64s': \"help\" lists them", name);
        *failure = error_object(json_incref(id), RPC_METHOD_NOT_FOUND, error, NULL);
        return;
    }
    ret = method->fn(ctx, params, result, error, sizeof error);
    if (!ret)
        return;
    *result = NULL;
    *failure =
        error_object(json_incref(id), ret == -EINVAL ? RPC_INVALID_PARAMS : RPC_METHOD_FAILED,
                     error[0] ? error : strerror(-ret), json_pack("{s:i}", "errno", -ret));
}

// One request object → one answer, or NULL for a notification.
static json_t *request_answer(const struct ctl_method *methods, void *ctx, const json_t *request)
{
    const char *version = json_string_value(json_object_get(request, "jsonrpc"));
    const char *name = json_string_value(json_object_get(request, "method"));
    const json_t *params = json_object_get(request, "params");
    json_t *id = json_object_get(request, "id");
    json_t *result = NULL, *failure = NULL;

    if (id && !json_is_string(id) && !json_is_number(id) && !json_is_null(id))
        return error_object(NULL, RPC_INVALID_REQUEST, "'id' is a string, a number or null", NULL);
    if (!version || strcmp(version, "2.0") || !name ||
        (params && !json_is_object(params) && !json_is_array(params)))
        return error_object(json_incref(id), RPC_INVALID_REQUEST,
                            "a request is {\"jsonrpc\": \"2.0\", \"method\": NAME, \"params\": "
                            "{…}, \"id\": ID}",
                            NULL);
    method_run(methods, ctx, name, params, id, &result, &failure);
    if (!id) { // a notification: §4.1
        json_decref(result);
        json_decref(failure);
        return NULL;
    }
    if (failure)
        return failure;
    return json_pack("{s:s, s:o, s:O}", "jsonrpc", "2.0", "result", result ? result : json_null(),
                     "id", id);
}

static json_t *batch_answer(const struct ctl_method *methods, void *ctx, const json_t *batch)
{
    size_t count = json_array_size(batch);
    json_t *answers;

    if (!count || count > CTL_BATCH_MAX) {
        char text[64];
        snprintf(text, sizeof text, "a batch holds 1 to %u requests", CTL_BATCH_MAX);
        return error_object(NULL, RPC_INVALID_REQUEST, text, NULL);
    }
    answers = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *answer = request_answer(methods, ctx, json_array_get(batch, i));
        if (answer)
            json_array_append_new(answers, answer);
    }
    if (!json_array_size(answers)) {
        json_decref(answers);
        return NULL;
    }
    return answers;
}

// Takes over `answer`. Its line, or NULL where it is too long or memory is short.
static char *line_of(json_t *answer, size_t *len)
{
    size_t need = answer ? json_dumpb(answer, NULL, 0, JSON_COMPACT) : 0;
    char *line = NULL;

    if (need && need < CTL_RESPONSE_MAX_BYTES)
        line = malloc(need + 1);
    if (line) {
        json_dumpb(answer, line, need, JSON_COMPACT);
        line[need] = '\n';
        *len = need + 1;
    }
    json_decref(answer);
    return line;
}

char *rpc_refusal(enum rpc_code code, const char *message, size_t *answer_len)
{
    return line_of(error_object(NULL, code, message, NULL), answer_len);
}

char *rpc_answer(const struct ctl_method *methods, void *ctx, const char *text, size_t len,
                 size_t *answer_len)
{
    json_error_t why;
    // jansson itself limits the nesting (JSON_PARSER_MAX_DEPTH).
    json_t *request = json_loadb(text, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
    json_t *answer;
    char *line;

    if (!request) {
        char message[JSON_ERROR_TEXT_LENGTH + 32];
        snprintf(message, sizeof message, "no JSON: %s (byte %d)", why.text, why.position);
        return rpc_refusal(RPC_PARSE_ERROR, message, answer_len);
    }
    if (json_is_array(request))
        answer = batch_answer(methods, ctx, request);
    else
        answer = request_answer(methods, ctx, request);
    json_decref(request);
    if (!answer)
        return NULL;
    line = line_of(answer, answer_len);
    return line ? line : rpc_refusal(RPC_INTERNAL_ERROR, "the answer is too long", answer_len);
}

// SPDX-License-Identifier: BSD-3-Clause
// Server and client over a real socket: the server on a thread with its own loop, clients both good
// and hostile here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/ctl.h"

static char dir[] = "/tmp/vireo-ctl-XXXXXX";
static char path[64];
static sd_event *loop;
static struct ctl_server *server;
static pthread_t thread;
static int stop_fd;
static _Atomic unsigned note_count;

static int method_echo(void *ctx, const json_t *params, json_t **result, char *error, size_t len)
{
    (void)ctx;
    (void)error;
    (void)len;
    *result = params ? json_deep_copy(params) : json_null();
    return 0;
}

static int method_busy(void *ctx, const json_t *params, json_t **result, char *error, size_t len)
{
    (void)ctx;
    (void)params;
    (void)result;
    snprintf(error, len, "VF 3 is held");
    return -EBUSY;
}

static int method_bad_text(void *ctx, const json_t *params, json_t **result, char *error,
                           size_t len)
{
    (void)ctx;
    (void)params;
    (void)result;
    snprintf(error, len, "\xff\xfe");
    return -EINVAL;
}

static int method_note(void *ctx, const json_t *params, json_t **result, char *error, size_t len)
{
    (void)ctx;
    (void)params;
    (void)error;
    (void)len;
    note_count++;
    *result = json_integer(note_count);
    return 0;
}

static int method_large(void *ctx, const json_t *params, json_t **result, char *error, size_t len)
{
    size_t size = (size_t)json_integer_value(json_object_get(params, "bytes"));
    char *text = malloc(size + 1);

    (void)ctx;
    (void)error;
    (void)len;
    memset(text, 'x', size);
    *result = json_stringn(text, size);
    free(text);
    return 0;
}

static const struct ctl_method methods[] = {
    {"echo", "gives its params back", method_echo},
    {"busy", "fails with EBUSY", method_busy},
    {"bad_text", "fails with a text that is no UTF-8", method_bad_text},
    {"note", "counts its calls", method_note},
    {"large", "a string of so many bytes", method_large},
    {NULL, NULL, NULL},
};

static int stop_event(sd_event_source *source, int fd, uint32_t events, void *ctx)
{
    (void)source;
    (void)fd;
    (void)events;
    (void)ctx;
    return sd_event_exit(loop, 0);
}

static void *loop_run(void *ctx)
{
    (void)ctx;
    sd_event_loop(loop);
    return NULL;
}

static int setup(void **state)
{
    char error[256];

    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/ctl.sock", dir);
    stop_fd = eventfd(0, EFD_CLOEXEC);
    sd_event_new(&loop);
    sd_event_add_io(loop, NULL, stop_fd, POLLIN, stop_event, NULL);
    if (ctl_server_create(loop, path, methods, NULL, &server, error, sizeof error))
        return -1;
    return pthread_create(&thread, NULL, loop_run, NULL);
}

static int teardown(void **state)
{
    (void)state;
    eventfd_write(stop_fd, 1);
    pthread_join(thread, NULL);
    ctl_server_destroy(server);
    sd_event_unref(loop);
    close(stop_fd);
    return rmdir(dir); // fails if the socket is left
}

static int raw_connect(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(addr.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return fd;
}

static void raw_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

// One line, parsed; NULL at the end.
static json_t *raw_receive(int fd)
{
    static char line[CTL_RESPONSE_MAX_BYTES];
    size_t len = 0;

    while (len < sizeof line && recv(fd, line + len, 1, 0) == 1) {
        if (line[len] == '\n')
            return json_loadb(line, len, JSON_DECODE_ANY, NULL);
        len++;
    }
    return NULL;
}

static int error_code(const json_t *answer)
{
    return (int)json_integer_value(json_object_get(json_object_get(answer, "error"), "code"));
}

static void expect_error(int fd, const char *text, int code)
{
    json_t *answer;

    raw_send(fd, text);
    answer = raw_receive(fd);
    assert_non_null(answer);
    assert_int_equal(error_code(answer), code);
    json_decref(answer);
}

static void expect_alive(void)
{
    json_t *result = NULL;
    char error[256];

    assert_int_equal(ctl_call(path, "echo", NULL, 5000, &result, error, sizeof error), 0);
    json_decref(result);
}

static void test_call(void **state)
{
    json_t *params = json_pack("{s:i, s:s}", "vf", 3, "mac", "02:00:00:00:00:01");
    json_t *result = NULL;
    char error[256] = "";
    struct stat st;

    (void)state;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(ctl_call(path, "echo", params, 5000, &result, error, sizeof error), 0);
    assert_true(json_equal(params, result));
    json_decref(result);
    json_decref(params);
    assert_int_equal(ctl_call(path, "help", NULL, 5000, &result, error, sizeof error), 0);
    assert_int_equal(json_array_size(result), 6);
    json_decref(result);
}

static void test_call_errors(void **state)
{
    json_t *result = NULL;
    char error[256] = "";

    (void)state;
    assert_int_equal(ctl_call(path, "busy", NULL, 5000, &result, error, sizeof error), -EBUSY);
    assert_string_equal(error, "VF 3 is held");
    assert_int_equal(ctl_call(path, "nosuch", NULL, 5000, &result, error, sizeof error), -EPROTO);
    assert_non_null(strstr(error, "nosuch"));
    assert_int_equal(ctl_call(path, "bad_text", NULL, 5000, &result, error, sizeof error), -EINVAL);
    assert_int_equal(ctl_call("/nowhere/x", "echo", NULL, 5000, &result, error, sizeof error),
                     -ENOENT);
    assert_null(result);
}

static void test_large_answers(void **state)
{
    json_t *params = json_pack("{s:i}", "bytes", 3000000);
    json_t *result = NULL;
    char error[256] = "";

    (void)state;
    assert_int_equal(ctl_call(path, "large", params, 20000, &result, error, sizeof error), 0);
    assert_int_equal(json_string_length(result), 3000000);
    json_decref(result);
    json_object_set_new(params, "bytes", json_integer(CTL_RESPONSE_MAX_BYTES));
    assert_int_equal(ctl_call(path, "large", params, 20000, &result, error, sizeof error), -EPROTO);
    assert_non_null(strstr(error, "too long"));
    json_decref(params);
}

static void test_malformed(void **state)
{
    int fd = raw_connect();

    (void)state;
    expect_error(fd, "{\n", -32700);
    expect_error(fd, "{\"a\":1,\"a\":2}\n", -32700);
    expect_error(fd, "\"\xff\"\n", -32700);
    expect_error(fd, "5\n", -32600);
    expect_error(fd, "{}\n", -32600);
    expect_error(fd, "[]\n", -32600);
    expect_error(fd, "{\"jsonrpc\":\"1.0\",\"method\":\"echo\",\"id\":1}\n", -32600);
    expect_error(fd, "{\"jsonrpc\":\"2.0\",\"method\":5,\"id\":1}\n", -32600);
    expect_error(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"params\":5,\"id\":1}\n", -32600);
    expect_error(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"id\":{}}\n", -32600);
    expect_error(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"no\",\"id\":1}\n", -32601);
    expect_error(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"bad_text\",\"id\":1}\n", -32602);
    expect_error(fd, "\n\n{\"jsonrpc\":\"2.0\",\"method\":\"busy\",\"id\":1}\n", -32000);
    close(fd);
    expect_alive();
}

static void test_partial_lines(void **state)
{
    static const char request[] = "{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"id\":\"a\"}\n";
    int fd = raw_connect();
    json_t *answer;

    (void)state;
    for (size_t i = 0; i < sizeof request - 1; i++)
        assert_int_equal(send(fd, request + i, 1, MSG_NOSIGNAL), 1);
    answer = raw_receive(fd);
    assert_string_equal(json_string_value(json_object_get(answer, "id")), "a");
    json_decref(answer);
    raw_send(fd, "{\"jsonrpc\":"); // and leaves
    close(fd);
    expect_alive();
}

static void test_many_lines_then_shutdown(void **state)
{
    enum { COUNT = 60 }; // few enough that both directions fit into the sockets' buffers
    int fd = raw_connect();

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        char line[96];
        snprintf(line, sizeof line, "{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"id\":%d}\n", i);
        raw_send(fd, line);
    }
    shutdown(fd, SHUT_WR);
    for (int i = 0; i < COUNT; i++) {
        json_t *answer = raw_receive(fd);
        assert_int_equal(json_integer_value(json_object_get(answer, "id")), i);
        json_decref(answer);
    }
    assert_null(raw_receive(fd)); // and it has closed
    close(fd);
}

static void test_notification_and_batch(void **state)
{
    int fd = raw_connect();
    unsigned before = note_count;
    json_t *answer;

    (void)state;
    raw_send(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"note\"}\n"
                 "[{\"jsonrpc\":\"2.0\",\"method\":\"note\"}]\n"
                 "[{\"jsonrpc\":\"2.0\",\"method\":\"note\",\"id\":7},5,"
                 "{\"jsonrpc\":\"2.0\",\"method\":\"note\"}]\n");
    answer = raw_receive(fd); // the first two have none
    assert_int_equal(json_array_size(answer), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(answer, 0), "id")), 7);
    assert_int_equal(error_code(json_array_get(answer, 1)), -32600);
    assert_int_equal(note_count, before + 4);
    json_decref(answer);
    expect_error(fd, "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]\n", -32600);
    close(fd);
}

static void test_line_length_bounds(void **state)
{
    static char line[CTL_REQUEST_MAX_BYTES + 2];
    int fd = raw_connect();
    json_t *answer;

    (void)state;
    // Exactly as long as allowed, without the newline: spaces are JSON, an end is missing.
    memset(line, ' ', sizeof line);
    line[CTL_REQUEST_MAX_BYTES] = '\n';
    line[CTL_REQUEST_MAX_BYTES + 1] = 0;
    expect_error(fd, line, -32700);
    expect_alive();
    line[CTL_REQUEST_MAX_BYTES] = ' ';
    raw_send(fd, line);
    answer = raw_receive(fd);
    assert_int_equal(error_code(answer), -32600);
    json_decref(answer);
    assert_null(raw_receive(fd)); // closed
    close(fd);
    expect_alive();
}

static void test_deep_nesting(void **state)
{
    static char line[60002];
    int fd = raw_connect();

    (void)state;
    memset(line, '[', 60000);
    line[60000] = '\n';
    expect_error(fd, line, -32700);
    close(fd);
    expect_alive();
}

static void test_client_that_never_reads(void **state)
{
    static const char request[] =
        "{\"jsonrpc\":\"2.0\",\"method\":\"large\",\"params\":{\"bytes\":1000000},\"id\":1}\n";
    struct timeval limit = {.tv_usec = 200000};
    int fd = raw_connect();
    size_t sent = 0;

    (void)state;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    // The server stops reading: what it takes is bounded by the socket's buffer and its own.
    while (sent < 64u << 20) {
        ssize_t n = send(fd, request, sizeof request - 1, MSG_NOSIGNAL);
        if (n < 0)
            break;
        sent += (size_t)n;
        if ((size_t)n < sizeof request - 1)
            break;
    }
    assert_true(sent < 4u << 20);
    expect_alive();
    close(fd);
    expect_alive();
}

static void test_more_clients_than_slots(void **state)
{
    int fds[CTL_CLIENTS_MAX + 4];

    (void)state;
    for (unsigned i = 0; i < CTL_CLIENTS_MAX + 4; i++)
        fds[i] = raw_connect();
    expect_alive();                   // gets a slot all the same
    assert_null(raw_receive(fds[0])); // the quietest was closed
    for (unsigned i = 0; i < CTL_CLIENTS_MAX + 4; i++)
        close(fds[i]);
    expect_alive();
}

static void test_second_server_and_stale_socket(void **state)
{
    struct ctl_server *second = NULL;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char error[256] = "", long_path[200];
    char stale[80];
    FILE *file;
    sd_event *other;
    int fd;

    (void)state;
    sd_event_new(&other);
    assert_int_equal(ctl_server_create(other, path, methods, NULL, &second, error, sizeof error),
                     -EADDRINUSE);
    expect_alive();

    snprintf(stale, sizeof stale, "%s/stale.sock", dir);
    strcpy(addr.sun_path, stale);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    close(fd);
    assert_int_equal(ctl_server_create(other, stale, methods, NULL, &second, error, sizeof error),
                     0);
    ctl_server_destroy(second);
    assert_int_not_equal(access(stale, F_OK), 0);

    file = fopen(stale, "w"); // a user's file stays
    fclose(file);
    assert_int_equal(ctl_server_create(other, stale, methods, NULL, &second, error, sizeof error),
                     -EEXIST);
    assert_int_equal(unlink(stale), 0);

    memset(long_path, 'a', sizeof long_path);
    long_path[108] = 0;
    assert_int_equal(
        ctl_server_create(other, long_path, methods, NULL, &second, error, sizeof error),
        -ENAMETOOLONG);
    sd_event_unref(other);
}

// Runs a loop for so long; how often it had something to do.
static unsigned loop_turns(sd_event *of, unsigned ms)
{
    uint64_t end_ns = clock_now_ns() + ms * NS_PER_MS, now_ns;
    unsigned turns = 0;

    while ((now_ns = clock_now_ns()) < end_ns)
        turns += sd_event_run(of, (end_ns - now_ns) / NS_PER_US + 1) > 0;
    return turns;
}

// A client that waits keeps the listening socket readable: no reason to go round all the time.
static void test_no_fd_left(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct rlimit few, before;
    struct ctl_server *second;
    char error[256], byte = 0;
    sd_event *other;
    int fd;

    (void)state;
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/few.sock", dir);
    sd_event_new(&other);
    assert_int_equal(
        ctl_server_create(other, addr.sun_path, methods, NULL, &second, error, sizeof error), 0);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    assert_in_range(loop_turns(other, 200), 1, 5);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(write(fd, "?\n", 2), 2);
    for (unsigned i = 0; i < 100 && recv(fd, &byte, 1, MSG_DONTWAIT) != 1; i++)
        loop_turns(other, 100);
    assert_int_equal(byte, '{');
    close(fd);
    ctl_server_destroy(second);
    sd_event_unref(other);
}

static void test_call_times_out(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    json_t *result = NULL;
    char error[256] = "", mute[80];
    int fd;

    (void)state;
    snprintf(mute, sizeof mute, "%s/mute.sock", dir);
    strcpy(addr.sun_path, mute);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(ctl_call(mute, "echo", NULL, 50, &result, error, sizeof error), -ETIMEDOUT);
    close(fd);
    unlink(mute);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call),
        cmocka_unit_test(test_call_errors),
        cmocka_unit_test(test_large_answers),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_partial_lines),
        cmocka_unit_test(test_many_lines_then_shutdown),
        cmocka_unit_test(test_notification_and_batch),
        cmocka_unit_test(test_line_length_bounds),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_client_that_never_reads),
        cmocka_unit_test(test_more_clients_than_slots),
        cmocka_unit_test(test_second_server_and_stale_socket),
        cmocka_unit_test(test_no_fd_left),
        cmocka_unit_test(test_call_times_out),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

// SPDX-License-Identifier: BSD-3-Clause
// The server's socket: where it listens, and what it leaves alone.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/raw_vfiouser.h"
#include "support/toy_vfiouser_device.h"
#include "vfiouser/server.h"

struct fixture {
    char dir[32], path[64];
    sd_event *loop;
    struct toy_device *toy;
    struct vfiouser_device device;
    char error[256];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    strcpy(f->dir, "/tmp/vireo-test-XXXXXX");
    if (!mkdtemp(f->dir) || toy_device_create(&f->toy) || sd_event_new(&f->loop) < 0)
        return -1;
    snprintf(f->path, sizeof f->path, "%s/toy.sock", f->dir);
    toy_device_describe(f->toy, "toy0", false, &f->device);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    unlink(f->path);
    rmdir(f->dir);
    sd_event_unref(f->loop);
    toy_device_destroy(f->toy);
    free(f);
    return 0;
}

static int create(struct fixture *f, const char *path, struct vfiouser_server **out)
{
    f->error[0] = '\0';
    return vfiouser_server_create(f->loop, path, &f->device, out, f->error, sizeof f->error);
}

static void test_mode_and_removal(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_server *server;
    struct stat st;
    mode_t mask = umask(0);

    assert_int_equal(create(f, f->path, &server), 0);
    umask(mask);
    assert_int_equal(lstat(f->path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
    vfiouser_server_destroy(server);
    assert_int_equal(lstat(f->path, &st), -1);
}

static void test_live_socket_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_server *first, *second = NULL;
    int sock;

    assert_int_equal(create(f, f->path, &first), 0);
    assert_int_equal(create(f, f->path, &second), -EADDRINUSE);
    assert_null(second);
    assert_non_null(strstr(f->error, f->path));
    sock = raw_connect(f->path);
    assert_true(sock >= 0);
    close(sock);
    vfiouser_server_destroy(first);
}

static void test_stale_socket_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct vfiouser_server *server;
    int dead = socket(AF_UNIX, SOCK_STREAM, 0), sock;

    strcpy(address.sun_path, f->path);
    assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof address), 0);
    close(dead);
    assert_int_equal(create(f, f->path, &server), 0);
    sock = raw_connect(f->path);
    assert_true(sock >= 0);
    close(sock);
    vfiouser_server_destroy(server);
}

static void test_other_files_are_left_alone(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_server *server;
    struct stat st;

    close(open(f->path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(create(f, f->path, &server), -EEXIST);
    assert_int_equal(lstat(f->path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    unlink(f->path);
    assert_int_equal(symlink("/nowhere", f->path), 0);
    assert_int_equal(create(f, f->path, &server), -EEXIST);
    assert_int_equal(lstat(f->path, &st), 0);
}

// Somebody took our path away and put a socket of his own there.
static void test_foreign_socket_survives_us(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_server *ours, *theirs;
    struct stat st;
    char aside[80];

    snprintf(aside, sizeof aside, "%s.aside", f->path);
    assert_int_equal(create(f, f->path, &ours), 0);
    assert_int_equal(rename(f->path, aside), 0);
    assert_int_equal(create(f, f->path, &theirs), 0);
    vfiouser_server_destroy(ours);
    assert_int_equal(lstat(f->path, &st), 0);
    vfiouser_server_destroy(theirs);
    assert_int_equal(lstat(f->path, &st), -1);
    unlink(aside);
}

static void test_path_length(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_server *server;
    char path[120];
    size_t len = (size_t)snprintf(path, sizeof path, "%s/", f->dir);

    memset(path + len, 'x', sizeof path - len);
    path[108] = '\0';
    assert_int_equal(create(f, path, &server), -ENAMETOOLONG);
    path[107] = '\0';
    assert_int_equal(create(f, path, &server), 0);
    vfiouser_server_destroy(server);
    assert_int_equal(create(f, "", &server), -EINVAL);
    snprintf(path, sizeof path, "%s/no/such", f->dir);
    assert_int_equal(create(f, path, &server), -ENOENT);
    assert_non_null(strstr(f->error, path));
}

static void test_destroy_detaches(void **state)
{
    struct fixture *f = *state;
    struct vfiouser_server *server;
    uint8_t bytes[512];
    int sock;

    assert_int_equal(create(f, f->path, &server), 0);
    sock = raw_connect(f->path);
    raw_send(sock, bytes, raw_version(bytes, 1), NULL, 0);
    while (sd_event_run(f->loop, 0) > 0)
        ;
    assert_int_equal(vfiouser_server_client_pid(server), getpid());
    vfiouser_server_destroy(server);
    assert_int_equal(f->toy->attaches, 1);
    assert_int_equal(f->toy->detaches, 1);
    close(sock);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_mode_and_removal),           TEST(test_live_socket_is_left_alone),
        TEST(test_stale_socket_is_replaced),   TEST(test_other_files_are_left_alone),
        TEST(test_foreign_socket_survives_us), TEST(test_path_length),
        TEST(test_destroy_detaches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "machine/run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

// The PID that listens on the directory's control socket, or 0.
static int owner_pid(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct ucred cred = {0};
    socklen_t len = sizeof cred;
    int fd;

    if (run_dir_ctl_path(path, addr.sun_path, sizeof addr.sun_path, NULL, 0))
        return 0;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return 0;
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
        cred.pid = 0;
    close(fd);
    return cred.pid;
}

int run_dir_take(const char *path, int *out, char *error, size_t error_len)
{
    int fd, ret, pid;

    if (mkdir(path, 0755) && errno != EEXIST) {
        ret = -errno;
        snprintf(error, error_len, "run directory %s: %s%s", path, strerror(-ret),
                 ret == -EACCES   ? ": run as root, or name another with --run-dir"
                 : ret == -ENOENT ? ": its parent directory is not there"
                                  : "");
        return ret;
    }
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        ret = -errno;
        snprintf(error, error_len, "run directory %s: %s", path, strerror(-ret));
        return ret;
    }
    if (!flock(fd, LOCK_EX | LOCK_NB)) {
        *out = fd;
        return 0;
    }
    ret = errno == EWOULDBLOCK ? -EBUSY : -errno;
    close(fd);
    pid = ret == -EBUSY ? owner_pid(path) : 0;
    if (pid)
        snprintf(error, error_len,
                 "run directory %s: vireod with PID %d uses it: stop that, or name another with "
                 "--run-dir",
                 path, pid);
    else
        snprintf(error, error_len, "run directory %s: %s", path,
                 ret == -EBUSY ? "another vireod uses it: name another with --run-dir"
                               : strerror(-ret));
    return ret;
}

int run_dir_ctl_path(const char *path, char *out, size_t out_len, char *error, size_t error_len)
{
    int len = snprintf(out, out_len, "%s/" RUN_DIR_CTL, path);

    if (len >= 0 && (size_t)len < out_len)
        return 0;
    snprintf(error, error_len, "run directory %s: its path is too long for a socket", path);
    return -ENAMETOOLONG;
}

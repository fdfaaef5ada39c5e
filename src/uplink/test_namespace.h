// SPDX-License-Identifier: BSD-3-Clause
// For tests: a network namespace of the process's own, in which it may make and set interfaces.
#ifndef VIREO_UPLINK_TEST_NAMESPACE_H
#define VIREO_UPLINK_TEST_NAMESPACE_H

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

// NULL; or why it cannot be, and the test is to be skipped. For good, so before the first thread.
static inline const char *test_namespace_enter(void)
{
    char map[64];
    int fd, len = snprintf(map, sizeof map, "0 %u 1", (unsigned)getuid());
    bool mapped;

    if (access("/dev/net/tun", R_OK | W_OK))
        return "/dev/net/tun is not there or not accessible";
    if (!unshare(CLONE_NEWNET))
        return NULL;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
        return "no private network namespace for this user (unshare is refused)";
    fd = open("/proc/self/uid_map", O_WRONLY);
    mapped = fd >= 0 && write(fd, map, (size_t)len) == len;
    if (fd >= 0)
        close(fd);
    return mapped ? NULL : "no private network namespace for this user (uid_map is refused)";
}

// Sets an interface up or down. 0 or -errno.
static inline int test_interface_set(const char *ifname, bool up)
{
    struct ifreq ifr = {.ifr_flags = (short)(up ? IFF_UP : 0)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), ret;

    snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", ifname);
    ret = ioctl(fd, SIOCSIFFLAGS, &ifr) ? -errno : 0;
    close(fd);
    return ret;
}

#endif

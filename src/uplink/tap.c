// SPDX-License-Identifier: BSD-3-Clause
// The tap uplink: a network interface of this host is the far end of the cable, so the VMs reach
// the host, and through a bridge or routing whatever the host reaches.
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "uplink/kind.h"

#define TAP_DEVICE "/dev/net/tun"
// Frames read in one uplink_receive() before it gives the caller a turn, those thrown away among
// them. A tap has no way to read several at once.
#define TAP_READS_MAX (UPLINK_BATCH + 16u)

struct tap {
    struct uplink up;
    int fd;
    int control_fd; // any socket of the interface's network namespace: its flags are asked there
    char ifname[IFNAMSIZ];
    // A tap cuts a frame that is longer than the read without a word; one byte more shows it.
    uint8_t received[UPLINK_BATCH][UPLINK_FRAME_MAX + 1];
};

static struct tap *tap_of(const struct uplink *up)
{
    return (struct tap *)up;
}

// The rules of the kernel's dev_valid_name(), and no '%': TUNSETIFF would take it as a pattern.
bool uplink_ifname_is_valid(const char *name)
{
    size_t len = strnlen(name, IFNAMSIZ);

    if (!len || len == IFNAMSIZ || !strcmp(name, ".") || !strcmp(name, ".."))
        return false;
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;
        if (c <= ' ' || c >= 0x7f || c == '/' || c == ':' || c == '%')
            return false;
    }
    return true;
}

static int tap_device_open(const char *ifname, int *out, char *error, size_t error_len)
{
    int fd = open(TAP_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    int err = errno;

    if (fd >= 0) {
        *out = fd;
        return 0;
    }
    if (err == ENOENT || err == ENODEV)
        snprintf(error, error_len,
                 "tap %s: the kernel has no " TAP_DEVICE ": load it with 'modprobe tun'", ifname);
    else if (err == EACCES || err == EPERM)
        snprintf(error, error_len,
                 "tap %s: no access to " TAP_DEVICE ": run as root, or allow this user (chmod, or "
                 "--device " TAP_DEVICE " for a container)",
                 ifname);
    else
        snprintf(error, error_len, "tap %s: " TAP_DEVICE ": %s", ifname, strerror(err));
    return -err;
}

// Creates the interface, or attaches to one that is there.
static int tap_attach(int fd, const char *ifname, char *error, size_t error_len)
{
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    int err;

    memcpy(ifr.ifr_name, ifname, strlen(ifname));
    if (!ioctl(fd, TUNSETIFF, &ifr))
        return 0;
    err = errno;
    if (err == EPERM || err == EACCES)
        snprintf(error, error_len,
                 "tap %s: need CAP_NET_ADMIN: run as root, or have it made for this user once: "
                 "ip tuntap add dev %s mode tap user %u && ip link set %s up",
                 ifname, ifname, (unsigned)geteuid(), ifname);
    else if (err == EBUSY)
        snprintf(error, error_len,
                 "tap %s: another process holds it: stop that, or choose another name", ifname);
    else if (err == EINVAL)
        snprintf(error, error_len,
                 "tap %s: an interface of this name is there and is no single-queue tap: choose "
                 "another name",
                 ifname);
    else
        snprintf(error, error_len, "tap %s: cannot create or attach: %s", ifname, strerror(err));
    return -err;
}

// A tap that is down refuses every frame: bring it up, as far as we may.
static int tap_bring_up(const struct tap *tap, char *error, size_t error_len)
{
    struct ifreq ifr = {0};
    int err;

    memcpy(ifr.ifr_name, tap->ifname, sizeof ifr.ifr_name);
    if (ioctl(tap->control_fd, SIOCGIFFLAGS, &ifr)) {
        err = errno;
        snprintf(error, error_len, "tap %s: cannot read its state: %s", tap->ifname, strerror(err));
        return -err;
    }
    if (ifr.ifr_flags & IFF_UP)
        return 0;
    ifr.ifr_flags |= IFF_UP;
    if (!ioctl(tap->control_fd, SIOCSIFFLAGS, &ifr))
        return 0;
    err = errno;
    if (err == EPERM)
        snprintf(error, error_len,
                 "tap %s: it is down, and bringing it up needs CAP_NET_ADMIN: run as root, or "
                 "once: ip link set %s up",
                 tap->ifname, tap->ifname);
    else
        snprintf(error, error_len, "tap %s: cannot bring it up: %s", tap->ifname, strerror(err));
    return -err;
}

static void tap_close(struct uplink *up)
{
    struct tap *tap = tap_of(up);

    if (tap->control_fd >= 0)
        close(tap->control_fd);
    if (tap->fd >= 0)
        close(tap->fd);
    free(tap);
}

static int tap_open(const struct uplink_config *config, struct uplink **out, char *error,
                    size_t error_len)
{
    struct tap *tap;
    int ret;

    if (!uplink_ifname_is_valid(config->ifname)) {
        snprintf(error, error_len, "tap: '%.*s' is no interface name: %s", IFNAMSIZ, config->ifname,
                 UPLINK_IFNAME_RULE);
        return -EINVAL;
    }
    tap = calloc(1, sizeof *tap);
    if (!tap) {
        snprintf(error, error_len, "tap %s: out of memory", config->ifname);
        return -ENOMEM;
    }
    memcpy(tap->ifname, config->ifname, sizeof tap->ifname);
    tap->control_fd = tap->fd = -1;
    ret = tap_device_open(tap->ifname, &tap->fd, error, error_len);
    if (!ret)
        ret = tap_attach(tap->fd, tap->ifname, error, error_len);
    if (!ret) {
        tap->control_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (tap->control_fd < 0) {
            ret = -errno;
            snprintf(error, error_len, "tap %s: socket: %s", tap->ifname, strerror(-ret));
        } else {
            ret = tap_bring_up(tap, error, error_len);
        }
    }
    if (ret) {
        tap_close(&tap->up);
        return ret;
    }
    *out = &tap->up;
    return 0;
}

static int tap_send(struct uplink *up, const struct iovec *iov, unsigned iov_count,
                    size_t len_bytes)
{
    ssize_t n;

    do
        n = writev(tap_of(up)->fd, iov, (int)iov_count);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        // EIO is how a tap says that its interface is down.
        return errno == EAGAIN || errno == ENOBUFS ? -EAGAIN : -EIO;
    }
    return (size_t)n == len_bytes ? 0 : -EIO;
}

static int tap_receive(struct uplink *up, struct uplink_frame *out, unsigned max)
{
    struct tap *tap = tap_of(up);
    unsigned n = 0;

    for (unsigned reads = 0; n < max && reads < TAP_READS_MAX; reads++) {
        ssize_t len = read(tap->fd, tap->received[n], sizeof tap->received[n]);

        if (len < 0) {
            if (n || errno == EAGAIN || errno == EINTR)
                break;
            return -EIO;
        }
        if (len < (ssize_t)UPLINK_FRAME_MIN || len > (ssize_t)UPLINK_FRAME_MAX) {
            uplink_count(&up->rx_drops, 1);
            continue;
        }
        out[n] = (struct uplink_frame){tap->received[n], (uint32_t)len};
        n++;
    }
    return (int)n;
}

static int tap_wait_fd(const struct uplink *up)
{
    return tap_of(up)->fd;
}

static bool tap_link_is_up(const struct uplink *up)
{
    struct ifreq ifr = {0};

    memcpy(ifr.ifr_name, tap_of(up)->ifname, sizeof ifr.ifr_name);
    return !ioctl(tap_of(up)->control_fd, SIOCGIFFLAGS, &ifr) && (ifr.ifr_flags & IFF_UP);
}

const struct uplink_ops uplink_tap_ops = {
    .open = tap_open,
    .close = tap_close,
    .send = tap_send,
    .receive = tap_receive,
    .wait_fd = tap_wait_fd,
    .link_is_up = tap_link_is_up,
};

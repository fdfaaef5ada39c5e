// SPDX-License-Identifier: BSD-3-Clause
// vf-tap: a network interface of this host (or of a container: run it in its network namespace)
// that is a VF. What the kernel sends through the tap leaves by the VF, and the other way round.
//
// The tap gets the VF's MAC, so that neither spoof checking nor a filter stands in its way; and the
// VF gets the tap's multicast groups. Frames with a VLAN tag are not carried.
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "driver/bus.h"
#include "driver/vf.h"

#define RING_LEN     512u
#define BURST        32u
#define ETHER_BYTES  14u
#define MTU_MIN      68u
#define MTU_MAX      9696u
#define SERVICE_MS   1000
#define RING_FULL_MS 1

const char *argp_program_version = "vf-tap " VIREO_VERSION;

static const char doc[] =
    "Makes the network interface IFNAME, a tap, and bridges it to a VF, so that this host or a "
    "container uses the VF without a VM. VF is its vfio-user socket (port0-vf0.sock in vireod's "
    "run directory), or the PCI address of a VF that is bound to vfio-pci (0001:01:10.0)."
    "\v"
    "Needs CAP_NET_ADMIN. The interface is up and has the VF's MAC; its addresses are yours to "
    "set. It goes when the program ends, with Ctrl-C. Sleeps while nothing comes.\n\n"
    "Leave the MAC as it is: the card drops frames from another one as spoofed (and nothing would "
    "come to it), unless the VF is trusted and its spoofchk is false; then a bridge behind the tap "
    "works, with --promiscuous.\n\n"
    "Example, in a network namespace of its own:\n"
    "  ip netns add box\n"
    "  ip netns exec box vf-tap eth0 /run/vireo/port0-vf2.sock &\n"
    "  ip -n box address add 10.0.0.2/24 dev eth0\n"
    "  ip netns exec box ping 10.0.0.9";

static const struct argp_option argp_options[] = {
    {"mtu", 'm', "BYTES", 0, "The interface's MTU, 68 to 9696 (default 1500)", 0},
    {"promiscuous", 'p', NULL, 0,
     "Receive for MACs that no VF has, too: for a bridge behind the tap. The VF needs trust", 0},
    {0},
};

struct tap {
    const char *name, *where;
    unsigned mtu;
    bool promiscuous;
    int fd, control; // the tap; any socket, for ioctls on its interface
    struct driver_bus *bus;
    struct vf_driver *vf;
    struct vf_buffer *held; // read from the tap, and the VF's ring was full
    uint8_t groups[VF_MULTICAST_MAX][6];
    unsigned group_count;
    unsigned long long to_vf, to_tap, dropped;
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static error_t option_parse(int key, char *arg, struct argp_state *state)
{
    struct tap *t = state->input;
    unsigned long mtu;
    char *end;

    switch (key) {
    case 'm':
        mtu = strtoul(arg, &end, 10);
        if (*end || mtu < MTU_MIN || mtu > MTU_MAX)
            argp_error(state, "--mtu: %u to %u is wanted", MTU_MIN, MTU_MAX);
        t->mtu = (unsigned)mtu;
        return 0;
    case 'p':
        t->promiscuous = true;
        return 0;
    case ARGP_KEY_ARG:
        // The kernel would take a % for a pattern, and refuse the others.
        if (state->arg_num == 0 && (!*arg || strlen(arg) >= IFNAMSIZ || strpbrk(arg, "/:% \t\n")))
            argp_error(state, "'%s': an interface's name has 1 to %d letters, none of them / : %%",
                       arg, IFNAMSIZ - 1);
        if (state->arg_num > 1)
            argp_error(state, "one interface and one VF, no more");
        *(state->arg_num ? &t->where : &t->name) = arg;
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 2)
            argp_error(state, "the interface's name and the VF's socket or PCI address are wanted");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// --- The two ends ---

static int tap_open(struct tap *t)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};

    memcpy(request.ifr_name, t->name, strlen(t->name));
    t->control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    t->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (t->control < 0 || t->fd < 0 || ioctl(t->fd, TUNSETIFF, &request)) {
        fprintf(stderr, "vf-tap: cannot make '%s': %s%s\n", t->name, strerror(errno),
                errno == EINVAL ? ": is there an interface of that name that is no tap?" : "");
        return -1;
    }
    return 0;
}

// MAC, MTU and up. Again each time that the VF starts over: its MAC may be another one then.
static int tap_configure(struct tap *t)
{
    struct ifreq request = {0};
    const char *what = "MAC";
    int ret;

    memcpy(request.ifr_name, t->name, strlen(t->name));
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    vf_driver_mac(t->vf, (uint8_t *)request.ifr_hwaddr.sa_data);
    ret = ioctl(t->control, SIOCSIFHWADDR, &request);
    if (!ret) {
        what = "MTU";
        request.ifr_mtu = (int)t->mtu;
        ret = ioctl(t->control, SIOCSIFMTU, &request);
    }
    if (!ret) {
        what = "flags";
        ret = ioctl(t->control, SIOCGIFFLAGS, &request);
        request.ifr_flags |= IFF_UP;
        if (!ret)
            ret = ioctl(t->control, SIOCSIFFLAGS, &request);
    }
    if (ret)
        fprintf(stderr, "vf-tap: cannot set the %s of '%s': %s\n", what, t->name, strerror(errno));
    return ret;
}

static int vf_open(struct tap *t)
{
    struct vf_config config = {
        .queue_count = 1,
        .ring_len = RING_LEN,
        .buffer_count = 2 * RING_LEN + 2 * BURST,
        .buffer_bytes = (t->mtu + ETHER_BYTES + 1024) / 1024 * 1024, // a frame, and a byte more
        .frame_bytes_max = t->mtu > 1500 ? t->mtu + ETHER_BYTES : 1514,
        .interrupts = true,
    };
    char error[512];
    int ret = driver_bus_open(t->where, &t->bus, error, sizeof error);

    if (config.buffer_bytes < 2048)
        config.buffer_bytes = 2048;
    if (!ret)
        ret = vf_driver_open(t->bus, &config, &t->vf, error, sizeof error);
    if (ret) {
        fprintf(stderr, "vf-tap: %s%s\n", error,
                ret == -EBUSY ? "; a VF serves one at a time" : "");
        return ret;
    }
    if (t->promiscuous)
        ret = vf_driver_set_receive_mode(t->vf, VF_RECEIVE_PROMISCUOUS);
    if (ret)
        fprintf(stderr, "vf-tap: %s: --promiscuous is refused (%s): the VF needs trust\n", t->where,
                strerror(-ret));
    return ret;
}

static void vf_close(struct tap *t)
{
    vf_driver_close(t->vf); // NULL is fine
    if (t->bus)
        t->bus->ops->close(t->bus);
    t->vf = NULL;
    t->bus = NULL;
    t->held = NULL; // went with its pool
    t->group_count = 0;
}

// --- Both ways ---

// Up to a batch. How many frames came.
static unsigned vf_to_tap(struct tap *t)
{
    struct vf_buffer *frames[BURST];
    unsigned came = vf_receive(t->vf, 0, frames, BURST);

    for (unsigned i = 0; i < came; i++) {
        struct vf_buffer *b = frames[i];

        // A tap that is down or full drops, as an interface does.
        if (!b->next && write(t->fd, b->data, b->len_bytes) == b->len_bytes)
            t->to_tap++;
        else
            t->dropped++;
        vf_buffer_free(t->vf, b);
    }
    return came;
}

// The same the other way. A full ring holds frames back in the kernel, which then tells the sender.
static unsigned tap_to_vf(struct tap *t)
{
    unsigned room = t->mtu + ETHER_BYTES, count = 0;

    while (count < BURST) {
        struct vf_buffer *b = t->held ? t->held : vf_buffer_alloc(t->vf);
        ssize_t n = b ? b->len_bytes : -1;

        if (b && !t->held)
            n = read(t->fd, b->data, room + 1);
        if (n <= 0 || n > (ssize_t)room) { // n > room: somebody has raised the MTU by hand
            t->dropped += n > 0;
            vf_buffer_free(t->vf, b); // NULL is fine
            break;
        }
        b->len_bytes = (uint16_t)n;
        t->held = b;
        if (!vf_send(t->vf, 0, &b, 1))
            break;
        t->held = NULL;
        t->to_vf++;
        count++;
    }
    return count;
}

// What the kernel listens to on the tap, the VF is to receive: IPv6 does not work without. The list
// has a line for each: interface's number, name, users, global users, address.
static int groups_update(struct tap *t)
{
    uint8_t groups[VF_MULTICAST_MAX][6] = {{0}};
    FILE *list = fopen("/proc/self/net/dev_mcast", "re");
    char line[256], name[IFNAMSIZ];
    unsigned count = 0;
    int ret;

    while (list && count < VF_MULTICAST_MAX && fgets(line, sizeof line, list)) {
        uint8_t *g = groups[count];

        if (sscanf(line, "%*d %15s %*d %*d %2hhx%2hhx%2hhx%2hhx%2hhx%2hhx", name, g, g + 1, g + 2,
                   g + 3, g + 4, g + 5) == 7 &&
            !strcmp(name, t->name))
            count++;
    }
    if (list)
        fclose(list);
    if (count == t->group_count && !memcmp(groups, t->groups, count * 6))
        return 0;
    ret = vf_driver_set_multicast(t->vf, (const uint8_t(*)[6])groups, count);
    t->group_count = count;
    memcpy(t->groups, groups, sizeof groups);
    return ret == -EPERM ? 0 : ret; // refused: so it is
}

static int service(struct tap *t)
{
    int ret = vf_driver_service(t->vf);

    if (!ret)
        ret = groups_update(t);
    if (ret)
        fprintf(stderr, "vf-tap: %s: %s\n", t->where,
                ret == -EIO ? "the PF was reset or changed this VF: starting over"
                            : "the VF went away");
    return ret;
}

static int run(struct tap *t)
{
    struct pollfd fds[2] = {{.fd = vf_irq_fd(t->vf, 0), .events = POLLIN}, {.events = POLLIN}};
    time_t serviced = 0;
    bool armed = false;
    int ret = 0;

    while (!stop && !ret) {
        unsigned came = vf_to_tap(t) + tap_to_vf(t);

        // Nothing came: arm the interrupt, look once more, and only then sleep. While the ring is
        // full the tap is left alone, and the ring looked at.
        fds[1].fd = t->held ? -1 : t->fd;
        if (!came && armed)
            poll(fds, 2, t->held ? RING_FULL_MS : SERVICE_MS); // a signal ends it, too
        armed = !came && !armed;
        if (armed)
            vf_irq_arm(t->vf, 0);
        if (time(NULL) != serviced)
            ret = service(t);
        serviced = time(NULL);
        if (fds[1].revents & (POLLERR | POLLHUP)) {
            fprintf(stderr, "vf-tap: '%s' was deleted\n", t->name);
            ret = -ENXIO;
        }
    }
    return ret;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {argp_options, option_parse, "IFNAME VF", doc,
                                     NULL,         NULL,         NULL};
    struct tap t = {.mtu = 1500, .fd = -1, .control = -1};
    struct sigaction action = {.sa_handler = on_signal}; // no SA_RESTART: a signal ends a sleep
    bool ran = false;
    int ret;

    argp_parse(&argp, argc, argv, 0, NULL, &t);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    do {
        ret = vf_open(&t);
        if (!ret && t.fd < 0)
            ret = tap_open(&t);
        if (!ret)
            ret = tap_configure(&t);
        if (!ret) {
            printf("vf-tap: %s is up, MTU %u\n", t.name, t.mtu);
            fflush(stdout);
            ran = true;
            ret = run(&t);
        }
        vf_close(&t);
        // The PF wants us to start over, and takes its time to be there again.
    } while ((ret == -EIO || (ran && ret == -ETIMEDOUT)) && !stop && !sleep(1));
    if (ran)
        printf("vf-tap: %llu frames to the VF, %llu to the tap, %llu dropped\n", t.to_vf, t.to_tap,
               t.dropped);
    if (t.fd >= 0)
        close(t.fd);
    if (t.control >= 0)
        close(t.control);
    return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}

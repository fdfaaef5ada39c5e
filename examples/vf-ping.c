// SPDX-License-Identifier: BSD-3-Clause
// vf-ping: a host of one address, IPv4 or IPv6, on a VF. Answers who asks for its MAC (ARP,
// neighbour solicitations) and echo requests, nothing else.
// What it answers is in ping_host.c.
#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "driver/bus.h"
#include "driver/vf.h"
#include "ping_host.h"

#define RING_LEN   256u
#define BURST      32u
#define FRAME_MAX  9710u
#define SERVICE_MS 1000

const char *argp_program_version = "vf-ping " VIREO_VERSION;

static const char doc[] =
    "Answers for ADDRESS, IPv4 or IPv6, on a VF: something to ping, without a VM. VF is its "
    "vfio-user socket (port0-vf0.sock in vireod's run directory), or the PCI address "
    "of a VF that is bound to vfio-pci (0001:01:10.0)."
    "\v"
    "Ends with Ctrl-C, and says how many it answered. Sleeps while nothing comes.\n\n"
    "Example:\n"
    "  vf-ping 10.0.0.9 /run/vireo/port0-vf1.sock\n"
    "      then ping 10.0.0.9 in a VM or through vf-tap, on another VF of the port";

static const struct argp_option argp_options[] = {
    {"frame", 'f', "BYTES", 0,
     "Largest frame without FCS, 1514 to 9710 (default 1514): more than 1514 for large pings", 0},
    {0},
};

struct ping {
    const char *where;
    struct ping_host host;
    unsigned frame_bytes_max;
    struct driver_bus *bus;
    struct vf_driver *vf;
    unsigned long long ignored;
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static error_t option_parse(int key, char *arg, struct argp_state *state)
{
    struct ping *p = state->input;
    char *end;

    switch (key) {
    case 'f':
        p->frame_bytes_max = (unsigned)strtoul(arg, &end, 10);
        if (*end || p->frame_bytes_max < 1514 || p->frame_bytes_max > FRAME_MAX)
            argp_error(state, "--frame: 1514 to %u is wanted", FRAME_MAX);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            argp_error(state, "one address and one VF, no more");
        if (state->arg_num == 1)
            p->where = arg;
        else if (!ping_host_parse(&p->host, arg))
            argp_error(state, "'%s': an address is wanted, 10.0.0.9 or fd00::9", arg);
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 2)
            argp_error(state, "an address and the VF's socket or PCI address are wanted");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static unsigned answer_some(struct ping *p)
{
    struct vf_buffer *came[BURST], *answers[BURST];
    unsigned n = vf_receive(p->vf, 0, came, BURST), count = 0, sent;

    for (unsigned i = 0; i < n; i++) {
        if (ping_host_answer(&p->host, came[i])) {
            answers[count++] = came[i];
        } else {
            p->ignored++;
            vf_buffer_free(p->vf, came[i]);
        }
    }
    // Who asks faster than the card sends asks again.
    sent = count ? vf_send(p->vf, 0, answers, count) : 0;
    while (sent < count)
        vf_buffer_free(p->vf, answers[sent++]);
    return n;
}

static int run(struct ping *p)
{
    struct pollfd irq = {.fd = vf_irq_fd(p->vf, 0), .events = POLLIN};
    time_t serviced = time(NULL);
    bool armed = false;
    int ret = 0;

    while (!stop && !ret) {
        unsigned came = answer_some(p);

        // Nothing came: arm the interrupt, look once more, and only then sleep.
        if (!came && armed)
            poll(&irq, 1, SERVICE_MS); // a signal ends it, too
        armed = !came && !armed;
        if (armed)
            vf_irq_arm(p->vf, 0);
        if (time(NULL) == serviced)
            continue;
        serviced = time(NULL);
        ret = vf_driver_service(p->vf);
    }
    if (ret)
        fprintf(stderr, "vf-ping: %s: %s\n", p->where,
                ret == -EIO ? "the PF was reset or changed this VF: starting over"
                            : "the VF went away");
    return ret;
}

static int vf_open(struct ping *p)
{
    struct vf_config config = {
        .queue_count = 1,
        .ring_len = RING_LEN,
        .buffer_count = 2 * RING_LEN + BURST,
        .buffer_bytes = p->frame_bytes_max > 2048 ? 10240 : 2048, // a frame is in one piece
        .frame_bytes_max = p->frame_bytes_max,
        .interrupts = true,
    };
    char error[512], text[INET6_ADDRSTRLEN];
    const uint8_t *m = p->host.mac;
    uint8_t groups[1][6];
    unsigned count;
    int ret = driver_bus_open(p->where, &p->bus, error, sizeof error);

    if (!ret)
        ret = vf_driver_open(p->bus, &config, &p->vf, error, sizeof error);
    if (ret) {
        fprintf(stderr, "vf-ping: %s%s\n", error,
                ret == -EBUSY ? "; a VF serves one at a time" : "");
        return ret;
    }
    vf_driver_mac(p->vf, p->host.mac);
    count = ping_host_groups(&p->host, groups);
    ret = count ? vf_driver_set_multicast(p->vf, groups, count) : 0;
    if (ret) {
        fprintf(stderr, "vf-ping: %s: no multicast: %s\n", p->where, strerror(-ret));
        return ret;
    }
    printf("vf-ping: %s is at %02x:%02x:%02x:%02x:%02x:%02x\n",
           inet_ntop(p->host.family, &p->host.address, text, sizeof text), m[0], m[1], m[2], m[3],
           m[4], m[5]);
    fflush(stdout);
    return 0;
}

static void vf_close(struct ping *p)
{
    vf_driver_close(p->vf); // NULL is fine
    if (p->bus)
        p->bus->ops->close(p->bus);
    p->vf = NULL;
    p->bus = NULL;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {argp_options, option_parse, "ADDRESS VF", doc,
                                     NULL,         NULL,         NULL};
    struct ping p = {.frame_bytes_max = 1514};
    struct sigaction action = {.sa_handler = on_signal}; // no SA_RESTART: a signal ends a sleep
    bool ran = false;
    int ret;

    argp_parse(&argp, argc, argv, 0, NULL, &p);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    do {
        ret = vf_open(&p);
        if (!ret) {
            ran = true;
            ret = run(&p);
        }
        vf_close(&p);
        // The PF wants us to start over, and takes its time to be there again.
    } while ((ret == -EIO || (ran && ret == -ETIMEDOUT)) && !stop && !sleep(1));
    if (ran)
        printf("vf-ping: answered %llu %s and %llu echo requests, ignored %llu frames\n",
               p.host.asked, p.host.family == AF_INET6 ? "solicitations" : "ARP", p.host.echoes,
               p.ignored);
    return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}

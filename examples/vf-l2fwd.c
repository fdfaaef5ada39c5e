// SPDX-License-Identifier: BSD-3-Clause
// vf-l2fwd: forwards frames between two VFs, both ways.
//
// Each VF has a pool of its own, in memory that its card function alone may reach (that is what the
// IOMMU is for): so a frame is copied once, from one pool into the other.
#include <argp.h>
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

#define RING_LEN     1024u
#define BURST        32u
#define BUFFER_BYTES 10240u // holds the largest frame in one piece
#define FRAME_MAX    9710u
#define SERVICE_MS   1000

const char *argp_program_version = "vf-l2fwd " VIREO_VERSION;

static const char doc[] =
    "Forwards frames between the VFs VF-A and VF-B. One of --peer-a with --peer-b, --mac-swap and "
    "--as-is says what becomes of their addresses. A VF is its vfio-user socket (port0-vf0.sock in "
    "vireod's run directory), or the PCI address of a VF that is bound to vfio-pci (0001:01:10.0)."
    "\v"
    "Ends with Ctrl-C, and says what it forwarded.\n\n"
    "With --mac-swap and --as-is frames leave with a source MAC that is not the VF's: the card "
    "drops them as spoofed unless the VF's spoofchk is false. And --as-is is only for VFs that "
    "cannot reach each other in another way (on different ports or VLANs): else a broadcast goes "
    "round for ever.\n\n"
    "Example: what VF 0 sends to VF 1 arrives at VF 3, by way of VF 2, and back:\n"
    "  vf-l2fwd --peer-a 02:00:00:00:10:00 --peer-b 02:00:00:00:10:03 \\\n"
    "      port0-vf1.sock port0-vf2.sock";

static const struct argp_option argp_options[] = {
    {"peer-a", 'a', "MAC", 0, "Frames that leave by A go to this MAC, from A's", 0},
    {"peer-b", 'b', "MAC", 0, "Frames that leave by B go to this MAC, from B's", 0},
    {"mac-swap", 's', NULL, 0, "Exchange a frame's destination and source", 0},
    {"as-is", 'i', NULL, 0, "Change nothing", 0},
    {"frame", 'f', "BYTES", 0, "Largest frame without FCS, 1514 to 9710 (default 1514)", 0},
    {0},
};

enum mode { MODE_PEERS = 1, MODE_SWAP, MODE_AS_IS };

struct port {
    const char *where;
    uint8_t mac[6], peer[6];
    bool has_peer;
    struct driver_bus *bus;
    struct vf_driver *vf;
    uint64_t dropped; // frames for this port that it had no room for
};

struct l2fwd {
    struct port ports[2];
    enum mode mode;
    unsigned frame_bytes_max;
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static void peer_parse(struct argp_state *state, struct port *port, const char *arg)
{
    uint8_t *m = port->peer;

    if (strlen(arg) != 17 || strspn(arg, "0123456789abcdefABCDEF:") != 17 ||
        sscanf(arg, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", m, m + 1, m + 2, m + 3, m + 4, m + 5) !=
            6)
        argp_error(state, "'%s': a MAC address is wanted, 02:00:00:00:10:01", arg);
    port->has_peer = true;
}

static error_t option_parse(int key, char *arg, struct argp_state *state)
{
    struct l2fwd *f = state->input;
    bool peers = f->ports[0].has_peer || f->ports[1].has_peer;
    char *end;

    switch (key) {
    case 'a':
    case 'b':
        peer_parse(state, &f->ports[key == 'b'], arg);
        return 0;
    case 's':
    case 'i':
        if (f->mode)
            argp_error(state, "one of --mac-swap and --as-is");
        f->mode = key == 's' ? MODE_SWAP : MODE_AS_IS;
        return 0;
    case 'f':
        f->frame_bytes_max = (unsigned)strtoul(arg, &end, 10);
        if (*end || f->frame_bytes_max < 1514 || f->frame_bytes_max > FRAME_MAX)
            argp_error(state, "--frame: 1514 to %u is wanted", FRAME_MAX);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1)
            argp_error(state, "two VFs, no more");
        f->ports[state->arg_num].where = arg;
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 2)
            argp_error(state, "between which VFs? Two sockets or PCI addresses are wanted");
        if (peers ? f->mode || !f->ports[0].has_peer || !f->ports[1].has_peer : !f->mode)
            argp_error(state, "both --peer-a and --peer-b, or --mac-swap, or --as-is");
        if (peers)
            f->mode = MODE_PEERS;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int port_open(struct l2fwd *f, struct port *port)
{
    struct vf_config config = {
        .queue_count = 1,
        .ring_len = RING_LEN,
        .buffer_count = 2 * RING_LEN + BURST,
        .buffer_bytes = f->frame_bytes_max > 2048 ? BUFFER_BYTES : 2048,
        .frame_bytes_max = f->frame_bytes_max,
        .interrupts = true,
    };
    char error[512];
    int ret = driver_bus_open(port->where, &port->bus, error, sizeof error);

    if (!ret)
        ret = vf_driver_open(port->bus, &config, &port->vf, error, sizeof error);
    if (ret) {
        fprintf(stderr, "vf-l2fwd: %s%s\n", error,
                ret == -EBUSY ? "; a VF serves one at a time" : "");
        return ret;
    }
    vf_driver_mac(port->vf, port->mac);
    return 0;
}

static void port_close(struct port *port)
{
    vf_driver_close(port->vf); // NULL is fine
    if (port->bus)
        port->bus->ops->close(port->bus);
    port->vf = NULL;
    port->bus = NULL;
}

static void addresses_change(const struct l2fwd *f, const struct port *out, uint8_t *frame)
{
    uint8_t destination[6];

    if (f->mode == MODE_PEERS) {
        memcpy(frame, out->peer, 6);
        memcpy(frame + 6, out->mac, 6);
    } else if (f->mode == MODE_SWAP) {
        memcpy(destination, frame, 6);
        memcpy(frame, frame + 6, 6);
        memcpy(frame + 6, destination, 6);
    }
}

// One batch. How many frames came.
static unsigned forward(struct l2fwd *f, struct port *in, struct port *out)
{
    struct vf_buffer *received[BURST], *frames[BURST];
    unsigned came = vf_receive(in->vf, 0, received, BURST), made = 0, taken;

    for (unsigned i = 0; i < came; i++) {
        struct vf_buffer *r = received[i], *b = r->next ? NULL : vf_buffer_alloc(out->vf);

        if (b) {
            memcpy(b->data, r->data, r->len_bytes);
            b->len_bytes = r->len_bytes;
            addresses_change(f, out, b->data);
            frames[made++] = b;
        }
        vf_buffer_free(in->vf, r);
    }
    taken = came ? vf_send(out->vf, 0, frames, made) : 0;
    out->dropped += came - taken;
    while (taken < made)
        vf_buffer_free(out->vf, frames[taken++]);
    return came;
}

// 0, or the port's error, which is printed.
static int port_service(struct port *port)
{
    int ret = vf_driver_service(port->vf);

    if (ret)
        fprintf(stderr, "vf-l2fwd: %s: %s\n", port->where,
                ret == -EIO ? "the PF was reset or changed this VF: starting over"
                            : "the VF went away");
    return ret;
}

static int run(struct l2fwd *f)
{
    struct port *a = &f->ports[0], *b = &f->ports[1];
    struct pollfd irqs[2] = {{.fd = vf_irq_fd(a->vf, 0), .events = POLLIN},
                             {.fd = vf_irq_fd(b->vf, 0), .events = POLLIN}};
    time_t serviced = time(NULL);
    bool armed = false;
    int ret = 0;

    while (!stop && !ret) {
        unsigned came = forward(f, a, b) + forward(f, b, a);

        // Nothing came: arm the interrupts, look once more, and only then sleep.
        if (!came && armed)
            poll(irqs, 2, SERVICE_MS); // a signal ends it, too
        armed = !came && !armed;
        if (armed) {
            vf_irq_arm(a->vf, 0);
            vf_irq_arm(b->vf, 0);
        }
        if (time(NULL) == serviced)
            continue;
        serviced = time(NULL);
        ret = port_service(a);
        if (!ret)
            ret = port_service(b);
    }
    return ret;
}

static void summary_print(const struct port *port, char name)
{
    struct vf_stats stats;

    vf_driver_stats(port->vf, &stats);
    printf("%c: received %llu frames, sent %llu, dropped %llu\n", name,
           (unsigned long long)stats.rx_frames, (unsigned long long)stats.tx_frames,
           (unsigned long long)port->dropped);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {argp_options, option_parse, "VF-A VF-B", doc,
                                     NULL,         NULL,         NULL};
    struct l2fwd f = {.frame_bytes_max = 1514};
    struct sigaction action = {.sa_handler = on_signal}; // no SA_RESTART: a signal ends a sleep
    bool ran = false;
    int ret;

    argp_parse(&argp, argc, argv, 0, NULL, &f);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    do {
        ret = port_open(&f, &f.ports[0]);
        if (!ret)
            ret = port_open(&f, &f.ports[1]);
        if (!ret) {
            printf("vf-l2fwd: forwarding\n");
            fflush(stdout);
            ran = true;
            ret = run(&f);
            summary_print(&f.ports[0], 'A');
            summary_print(&f.ports[1], 'B');
        }
        port_close(&f.ports[0]);
        port_close(&f.ports[1]);
        // The PF wants us to start over, and takes its time to be there again.
    } while ((ret == -EIO || (ran && ret == -ETIMEDOUT)) && !stop && !sleep(1));
    return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}

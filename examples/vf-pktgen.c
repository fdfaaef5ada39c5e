// SPDX-License-Identifier: BSD-3-Clause
// vf-pktgen: sends frames through a VF as fast as it can, or at a given rate; counts what arrives.
//
// The shape of a poll-mode program: receive a batch, send a batch, and only when there was nothing
// to do arm the interrupt, look once more (a frame may have come in between), and sleep.
#include <argp.h>
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "driver/bus.h"
#include "driver/vf.h"

#define SEND_RING_LEN 1024u
#define SINK_RING_LEN 4096u // what a sink has no room for, while others have its core, is lost
#define BURST_MAX     256u
#define FRAME_MIN     60u // without FCS: Ethernet's 64
#define FRAME_MAX     9710u
#define ETHER_BYTES   14u
#define NS_PER_S      1000000000ull
#define DRAIN_NS      (10 * NS_PER_S) // a card on a busy machine may have no processor for a while

const char *argp_program_version = "vf-pktgen " VIREO_VERSION;

static const char doc[] =
    "Sends frames through a VF, and counts those that arrive. Without --destination or --frame it "
    "only counts: a sink. VF is its vfio-user socket (port0-vf0.sock in vireod's run directory), "
    "or the PCI address of a VF that is bound to vfio-pci (0001:01:10.0)."
    "\v"
    "Prints rates once a second: Mpps, and Gbit/s of frame bytes (no FCS, preamble or gap). Ends "
    "with Ctrl-C, or after --count frames. Its frames have EtherType 0x88b5 (local experiments) "
    "and a 64-bit sequence number.\n\n"
    "Examples:\n"
    "  vf-pktgen /run/vireo/port0-vf1.sock\n"
    "      counts what VF 1 receives\n"
    "  vf-pktgen -d 02:00:00:00:10:01 -s 1514 -r 100000 -n 1000000 \\\n"
    "          /run/vireo/port0-vf0.sock\n"
    "      sends it a million full-size frames, 100000 a second";

static const struct argp_option argp_options[] = {
    {"destination", 'd', "MAC", 0, "Send frames to this address", 0},
    {"frame", 'f', "HEX", 0, "Send this frame, as it is", 0},
    {"size", 's', "BYTES", 0,
     "Frame length without FCS, 60 to 9710 (default 60). Frames up to this length, at least up to "
     "1514, are received",
     0},
    {"count", 'n', "FRAMES", 0, "End after sending (a sink: receiving) so many", 0},
    {"rate", 'r', "FRAMES", 0, "Send so many a second (default: as many as go)", 0},
    {"burst", 'b', "FRAMES", 0, "Hand so many to the card at once, 1 to 256 (default 32)", 0},
    {"print", 'p', "FRAMES", 0, "Print the first so many frames that arrive, in hex", 0},
    {0},
};

struct pktgen {
    const char *where;
    uint64_t count, rate, print;
    unsigned burst;
    bool sending, given; // given: --frame
    uint8_t frame[FRAME_MAX];
    unsigned frame_len;

    struct vf_driver *vf;
    struct vf_stats stats, reported;
    uint64_t start_ns, report_ns;
};

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static uint64_t number(struct argp_state *state, const char *arg, uint64_t min, uint64_t max)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(arg, &end, 10);
    if (errno || end == arg || *end || *arg == '-' || value < min || value > max)
        argp_error(state, "'%s': a number from %llu to %llu is wanted", arg,
                   (unsigned long long)min, (unsigned long long)max);
    return value;
}

static void frame_from_hex(struct pktgen *g, struct argp_state *state, const char *hex)
{
    size_t len = strlen(hex) / 2;

    if (strlen(hex) % 2 || len < ETHER_BYTES || len > FRAME_MAX ||
        strspn(hex, "0123456789abcdefABCDEF") != 2 * len)
        argp_error(state, "--frame: %u to %u bytes in hex are wanted", ETHER_BYTES, FRAME_MAX);
    for (size_t i = 0; i < len; i++)
        sscanf(hex + 2 * i, "%2hhx", &g->frame[i]);
    g->frame_len = len < FRAME_MIN ? FRAME_MIN : (unsigned)len; // padded with zeros
    g->sending = g->given = true;
}

static error_t option_parse(int key, char *arg, struct argp_state *state)
{
    struct pktgen *g = state->input;
    uint8_t *m = g->frame;

    switch (key) {
    case 'd':
        if (strlen(arg) != 17 || strspn(arg, "0123456789abcdefABCDEF:") != 17 ||
            sscanf(arg, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", m, m + 1, m + 2, m + 3, m + 4,
                   m + 5) != 6)
            argp_error(state, "'%s': a MAC address is wanted, 02:00:00:00:10:01", arg);
        g->sending = true;
        return 0;
    case 'f':
        frame_from_hex(g, state, arg);
        return 0;
    case 's':
        g->frame_len = (unsigned)number(state, arg, FRAME_MIN, FRAME_MAX);
        return 0;
    case 'n':
        g->count = number(state, arg, 1, UINT64_MAX);
        return 0;
    case 'r':
        g->rate = number(state, arg, 1, 1000000000);
        return 0;
    case 'b':
        g->burst = (unsigned)number(state, arg, 1, BURST_MAX);
        return 0;
    case 'p':
        g->print = number(state, arg, 1, UINT64_MAX);
        return 0;
    case ARGP_KEY_ARG:
        if (g->where)
            argp_error(state, "one VF only");
        g->where = arg;
        return 0;
    case ARGP_KEY_END:
        if (!g->where)
            argp_error(state, "which VF? Its socket or PCI address is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void rates_print(const struct vf_stats *a, const struct vf_stats *b, uint64_t ns)
{
    printf("tx %8.4f Mpps %8.4f Gbit/s   rx %8.4f Mpps %8.4f Gbit/s\n",
           (double)(b->tx_frames - a->tx_frames) * 1e3 / (double)ns,
           (double)(b->tx_bytes - a->tx_bytes) * 8 / (double)ns,
           (double)(b->rx_frames - a->rx_frames) * 1e3 / (double)ns,
           (double)(b->rx_bytes - a->rx_bytes) * 8 / (double)ns);
    fflush(stdout);
}

static void frame_print(const struct vf_buffer *frame)
{
    for (const struct vf_buffer *b = frame; b; b = b->next) {
        for (unsigned i = 0; i < b->len_bytes; i++)
            printf("%02x", b->data[i]);
    }
    printf("\n");
    fflush(stdout);
}

// Takes what has come. How many frames.
static unsigned receive(struct pktgen *g)
{
    struct vf_buffer *frames[BURST_MAX];
    unsigned n = vf_receive(g->vf, 0, frames, BURST_MAX);

    for (unsigned i = 0; i < n; i++) {
        if (g->print) {
            frame_print(frames[i]);
            g->print--;
        }
        vf_buffer_free(g->vf, frames[i]);
    }
    return n;
}

static uint64_t next_send_ns(const struct pktgen *g)
{
    if (!g->sending)
        return UINT64_MAX;
    return g->rate ? g->start_ns + (uint64_t)((double)g->stats.tx_frames * 1e9 / (double)g->rate)
                   : 0;
}

// One burst. What the ring has no room for is made again the next time.
static void send_burst(struct pktgen *g)
{
    struct vf_buffer *frames[BURST_MAX];
    uint64_t left = g->count ? g->count - g->stats.tx_frames : g->burst;
    unsigned want = left < g->burst ? (unsigned)left : g->burst, made = 0, taken;

    while (made < want && (frames[made] = vf_buffer_alloc(g->vf))) {
        struct vf_buffer *b = frames[made];
        uint64_t sequence = htobe64(g->stats.tx_frames + made);

        memcpy(b->data, g->frame, g->frame_len);
        if (!g->given)
            memcpy(b->data + ETHER_BYTES, &sequence, sizeof sequence);
        b->len_bytes = (uint16_t)g->frame_len;
        made++;
    }
    taken = vf_send(g->vf, 0, frames, made);
    if (!taken)
        sched_yield(); // the ring is full: somebody has to empty it
    while (taken < made)
        vf_buffer_free(g->vf, frames[taken++]);
}

static bool is_done(const struct pktgen *g)
{
    return g->count && (g->sending ? g->stats.tx_frames : g->stats.rx_frames) >= g->count;
}

static void sleep_until(struct pktgen *g, uint64_t now, uint64_t until)
{
    struct pollfd irq = {.fd = vf_irq_fd(g->vf, 0), .events = POLLIN};
    uint64_t ns = until > now ? until - now : 0;
    struct timespec t = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};

    ppoll(&irq, 1, &t, NULL); // a signal ends it, too
}

static int run(struct pktgen *g)
{
    uint64_t now = now_ns();
    bool armed = false;
    int ret = 0;

    g->start_ns = g->report_ns = now;
    while (!ret && !stop && !is_done(g)) {
        uint64_t send_ns = next_send_ns(g), report_ns = g->report_ns + NS_PER_S;
        unsigned came = receive(g);

        if (now >= send_ns)
            send_burst(g);
        else if (!came && armed)
            sleep_until(g, now, send_ns < report_ns ? send_ns : report_ns);
        // Armed counts only until something happens: then the interrupt may have gone off.
        armed = now < send_ns && !came && !armed;
        if (armed)
            vf_irq_arm(g->vf, 0);
        now = now_ns();
        vf_driver_stats(g->vf, &g->stats);
        if (now < report_ns)
            continue;
        rates_print(&g->reported, &g->stats, now - g->report_ns);
        g->reported = g->stats;
        g->report_ns = now;
        ret = vf_driver_service(g->vf);
    }
    return ret;
}

// Closing the VF drops what the card has not sent yet. How many descriptors that will be.
static unsigned drain(struct pktgen *g)
{
    uint64_t end = now_ns() + DRAIN_NS;
    unsigned left;

    while ((left = vf_send_pending(g->vf, 0)) && now_ns() < end)
        sched_yield();
    return left;
}

static int report(struct pktgen *g, int ret)
{
    static const struct vf_stats none;
    uint64_t ns = now_ns() - g->start_ns;
    unsigned left = ret ? 0 : drain(g);

    printf("sent %llu frames, received %llu, in %.2f s; on average\n",
           (unsigned long long)g->stats.tx_frames, (unsigned long long)g->stats.rx_frames,
           (double)ns / 1e9);
    rates_print(&none, &g->stats, ns);
    if (ret == -EIO)
        fprintf(stderr, "vf-pktgen: the PF was reset or changed this VF: start again\n");
    else if (ret)
        fprintf(stderr, "vf-pktgen: %s: the VF went away\n", g->where);
    if (left)
        fprintf(stderr, "vf-pktgen: the card did not send the last %u descriptors\n", left);
    return ret ? ret : left ? -ETIMEDOUT : 0;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {argp_options, option_parse, "VF", doc, NULL, NULL, NULL};
    static struct pktgen g = {.frame_len = FRAME_MIN, .frame[12] = 0x88, .frame[13] = 0xb5};
    struct sigaction action = {.sa_handler = on_signal}; // no SA_RESTART: a signal ends a sleep
    struct driver_bus *bus = NULL;
    struct vf_config config;
    unsigned ring_len;
    char error[512];
    uint8_t mac[6];
    int ret;

    argp_parse(&argp, argc, argv, 0, NULL, &g);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (!g.burst)
        g.burst = g.rate && g.rate < 32000 ? 1 + (unsigned)(g.rate / 1000) : 32;
    ring_len = g.sending ? SEND_RING_LEN : SINK_RING_LEN;
    config = (struct vf_config){
        .queue_count = 1,
        .ring_len = ring_len,
        .buffer_count = 2 * ring_len + BURST_MAX, // both rings full, and a burst in hand
        .buffer_bytes = g.frame_len > 2048 ? (g.frame_len + 1023) / 1024 * 1024 : 2048,
        .frame_bytes_max = g.frame_len > 1514 ? g.frame_len : 1514,
        .interrupts = true,
    };
    ret = driver_bus_open(g.where, &bus, error, sizeof error);
    if (!ret)
        ret = vf_driver_open(bus, &config, &g.vf, error, sizeof error);
    if (ret) {
        fprintf(stderr, "vf-pktgen: %s%s\n", error,
                ret == -EBUSY ? "; a VF serves one at a time" : "");
    } else {
        vf_driver_mac(g.vf, mac);
        if (!g.given)
            memcpy(g.frame + 6, mac, 6);
        printf("vf-pktgen: %s: MAC %02x:%02x:%02x:%02x:%02x:%02x, link %s\n", g.where, mac[0],
               mac[1], mac[2], mac[3], mac[4], mac[5], vf_driver_link_is_up(g.vf) ? "up" : "down");
        fflush(stdout);
        ret = report(&g, run(&g));
        vf_driver_close(g.vf);
    }
    if (bus)
        bus->ops->close(bus);
    return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}

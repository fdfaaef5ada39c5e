// SPDX-License-Identifier: BSD-3-Clause
// vf-ping: a host of one address on a VF. Answers ARP and ICMP echo, nothing else.
//
// An answer goes out in the buffer that the question came in: nothing is copied. The card fills in
// the IPv4 header's checksum.
#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
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

#define RING_LEN   256u
#define BURST      32u
#define FRAME_MAX  9710u
#define SERVICE_MS 1000

const char *argp_program_version = "vf-ping " VIREO_VERSION;

static const char doc[] =
    "Answers ARP and ICMP echo requests for ADDRESS (IPv4) on a VF: something to ping, without a "
    "VM. VF is its vfio-user socket (port0-vf0.sock in vireod's run directory), or the PCI address "
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
    struct in_addr address;
    unsigned frame_bytes_max;
    uint8_t mac[6];
    struct driver_bus *bus;
    struct vf_driver *vf;
    unsigned long long arps, echoes, ignored;
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
        else if (inet_pton(AF_INET, arg, &p->address) != 1)
            argp_error(state, "'%s': an IPv4 address is wanted, 10.0.0.9", arg);
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 2)
            argp_error(state, "an address and the VF's socket or PCI address are wanted");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// Headers are copied out, checked, changed and copied back: the sender chose their alignment.

// ARP: who has our address? (RFC 826)
static bool answer_arp(struct ping *p, struct vf_buffer *b)
{
    struct ether_arp arp;

    if (b->len_bytes < ETH_HLEN + sizeof arp)
        return false;
    memcpy(&arp, b->data + ETH_HLEN, sizeof arp);
    if (arp.arp_op != htons(ARPOP_REQUEST) || arp.arp_pro != htons(ETHERTYPE_IP) ||
        arp.arp_hln != 6 || arp.arp_pln != 4 || memcmp(arp.arp_tpa, &p->address, 4) != 0)
        return false;
    arp.arp_op = htons(ARPOP_REPLY);
    memcpy(arp.arp_tha, arp.arp_sha, 6);
    memcpy(arp.arp_tpa, arp.arp_spa, 4);
    memcpy(arp.arp_sha, p->mac, 6);
    memcpy(arp.arp_spa, &p->address, 4);
    memcpy(b->data + ETH_HLEN, &arp, sizeof arp);
    b->flags = 0; // what they said of what came is no wish for what goes
    p->arps++;
    return true;
}

// ICMP echo (RFC 792), not in fragments. The card has checked the IPv4 header's checksum; ICMP's
// is for the one who asked: it covers what we send back unread.
static bool answer_echo(struct ping *p, struct vf_buffer *b)
{
    struct iphdr ip;
    struct icmphdr icmp;
    unsigned header_len, total_len, sum;

    if ((b->flags & VF_RX_CSUM_BAD) || b->len_bytes < ETH_HLEN + sizeof ip)
        return false;
    memcpy(&ip, b->data + ETH_HLEN, sizeof ip);
    header_len = ip.ihl * 4u;
    total_len = ntohs(ip.tot_len);
    if (ip.version != 4 || header_len < sizeof ip || total_len < header_len + sizeof icmp ||
        total_len + ETH_HLEN > b->len_bytes || ip.protocol != IPPROTO_ICMP ||
        ip.daddr != p->address.s_addr || (ntohs(ip.frag_off) & (IP_MF | IP_OFFMASK)))
        return false;
    memcpy(&icmp, b->data + ETH_HLEN + header_len, sizeof icmp);
    if (icmp.type != ICMP_ECHO || icmp.code != 0)
        return false;
    // Only the type changes, by -8 in a high byte: so its checksum does, by +8 there (RFC 1624).
    icmp.type = ICMP_ECHOREPLY;
    sum = ntohs(icmp.checksum) + (ICMP_ECHO << 8);
    icmp.checksum = htons((uint16_t)(sum + (sum >> 16)));
    ip.daddr = ip.saddr;
    ip.saddr = p->address.s_addr;
    ip.ttl = 64;
    ip.check = 0; // the card's
    memcpy(b->data + ETH_HLEN, &ip, sizeof ip);
    memcpy(b->data + ETH_HLEN + header_len, &icmp, sizeof icmp);
    b->flags = VF_TX_IP_CSUM;
    b->l2_len = ETH_HLEN;
    b->l3_len = (uint8_t)header_len;
    p->echoes++;
    return true;
}

// True: `b` is now the answer.
static bool answer(struct ping *p, struct vf_buffer *b)
{
    struct ether_header ether;
    bool answered = false;

    if (b->next || b->len_bytes < ETH_HLEN)
        return false;
    memcpy(&ether, b->data, sizeof ether);
    if (ether.ether_type == htons(ETHERTYPE_ARP))
        answered = answer_arp(p, b);
    else if (ether.ether_type == htons(ETHERTYPE_IP))
        answered = answer_echo(p, b);
    memcpy(ether.ether_dhost, ether.ether_shost, 6);
    memcpy(ether.ether_shost, p->mac, 6);
    if (answered)
        memcpy(b->data, &ether, sizeof ether);
    return answered;
}

static unsigned answer_some(struct ping *p)
{
    struct vf_buffer *came[BURST], *answers[BURST];
    unsigned n = vf_receive(p->vf, 0, came, BURST), count = 0, sent;

    for (unsigned i = 0; i < n; i++) {
        if (answer(p, came[i])) {
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
    char error[512], text[INET_ADDRSTRLEN];
    const uint8_t *m = p->mac;
    int ret = driver_bus_open(p->where, &p->bus, error, sizeof error);

    if (!ret)
        ret = vf_driver_open(p->bus, &config, &p->vf, error, sizeof error);
    if (ret) {
        fprintf(stderr, "vf-ping: %s%s\n", error,
                ret == -EBUSY ? "; a VF serves one at a time" : "");
        return ret;
    }
    vf_driver_mac(p->vf, p->mac);
    printf("vf-ping: %s is at %02x:%02x:%02x:%02x:%02x:%02x\n",
           inet_ntop(AF_INET, &p->address, text, sizeof text), m[0], m[1], m[2], m[3], m[4], m[5]);
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
    printf("vf-ping: answered %llu ARP and %llu echo requests, ignored %llu frames\n", p.arps,
           p.echoes, p.ignored);
    return ret ? EXIT_FAILURE : EXIT_SUCCESS;
}

// SPDX-License-Identifier: BSD-3-Clause
// Raw Ethernet frames for the tests: sends them with whatever source MAC and VLAN tag is asked
// for, or counts them.
//
//   frames send IF COUNT DST SRC ETHERTYPE [VLAN [BYTES [PER_SECOND]]]
//                       VLAN "-": no tag; BYTES without FCS; as many a second as will go
//   frames count IF SECONDS [STOPFILE]
//
// `count` prints, for every source MAC and EtherType seen (tag removed), a line
// "SRC ETHERTYPE VLAN[/PRIORITY]|- COUNT", with the priority where it is not 0; it prints "ready"
// to stderr when it listens, and ends early when STOPFILE exists. ETHERTYPE is hexadecimal.
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KINDS_MAX      256
#define FRAME_MAX      9216
#define VLAN_TAG_BYTES 4
// What a busy machine's guest has not yet received when it is asked to stop still counts.
#define POLL_MS             50
#define QUIET_AFTER_STOP_MS 200
#define AFTER_STOP_MAX_MS   2000

struct kind {
    uint8_t src[6];
    uint16_t ethertype;
    int tci; // VLAN and priority, -1: untagged
    unsigned long count;
};

static void fail(const char *what)
{
    fprintf(stderr, "frames: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void mac_parse(const char *text, uint8_t mac[6])
{
    unsigned b[6];

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6) {
        fprintf(stderr, "frames: not a MAC address: %s\n", text);
        exit(2);
    }
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)b[i];
}

static int packet_socket(const char *interface, unsigned short protocol)
{
    int fd = socket(AF_PACKET, SOCK_RAW, htons(protocol));
    struct sockaddr_ll addr = {.sll_family = AF_PACKET,
                               .sll_protocol = htons(protocol),
                               .sll_ifindex = (int)if_nametoindex(interface)};

    if (addr.sll_ifindex == 0)
        fail(interface);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        fail("packet socket");
    return fd;
}

static int frames_send(int argc, char **argv)
{
    uint8_t frame[FRAME_MAX] = {0};
    size_t len = 0, total = 60;
    unsigned long count = strtoul(argv[3], NULL, 10);
    uint16_t ethertype = (uint16_t)strtoul(argv[6], NULL, 16);
    int fd = packet_socket(argv[2], 0); // 0: receives nothing
    useconds_t gap_us = 0;

    mac_parse(argv[4], frame);
    mac_parse(argv[5], frame + 6);
    len = 12;
    if (argc > 7 && strcmp(argv[7], "-") != 0) {
        uint16_t tag[2] = {htons(ETHERTYPE_VLAN), htons((uint16_t)strtoul(argv[7], NULL, 10))};

        memcpy(frame + len, tag, sizeof(tag));
        len += sizeof(tag);
    }
    frame[len++] = (uint8_t)(ethertype >> 8);
    frame[len++] = (uint8_t)ethertype;
    if (argc > 8)
        total = strtoul(argv[8], NULL, 10);
    if (total < len || total > sizeof(frame)) {
        fprintf(stderr, "frames: a frame has %zu to %zu bytes\n", len, sizeof(frame));
        return 2;
    }
    for (size_t i = len; i < total; i++)
        frame[i] = (uint8_t)i;
    if (argc > 9)
        gap_us = 1000000 / (useconds_t)strtoul(argv[9], NULL, 10);
    for (unsigned long i = 0; i < count; i++) {
        if (gap_us > 0)
            usleep(gap_us);
        while (send(fd, frame, total, 0) < 0) {
            // An interface that is down for a moment is part of some tests.
            if (errno != ENOBUFS && errno != EINTR && !(gap_us > 0 && errno == ENETDOWN))
                fail("send");
            usleep(1000); // the queue is full
        }
    }
    printf("sent %lu\n", count);
    return 0;
}

static void kind_count(struct kind *kinds, const uint8_t *src, uint16_t ethertype, int tci)
{
    for (int i = 0; i < KINDS_MAX; i++) {
        struct kind *k = &kinds[i];

        if (k->count == 0) {
            memcpy(k->src, src, sizeof(k->src));
            k->ethertype = ethertype;
            k->tci = tci;
        }
        if (memcmp(k->src, src, sizeof(k->src)) == 0 && k->ethertype == ethertype &&
            k->tci == tci) {
            k->count++;
            return;
        }
    }
}

// Receives one frame; the kernel hands the tag over beside it when the card has removed it.
static void frame_receive(int fd, struct kind *kinds)
{
    uint8_t frame[FRAME_MAX];
    char control[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    struct iovec iov = {.iov_base = frame, .iov_len = sizeof(frame)};
    struct sockaddr_ll from;
    struct msghdr msg = {.msg_name = &from,
                         .msg_namelen = sizeof(from),
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(fd, &msg, 0);
    int tci = -1;
    const uint8_t *type = frame + 12;

    if (n < ETH_HLEN || from.sll_pkttype == PACKET_OUTGOING)
        return;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        struct tpacket_auxdata aux;

        if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
            continue;
        memcpy(&aux, CMSG_DATA(c), sizeof(aux));
        if (aux.tp_status & TP_STATUS_VLAN_VALID)
            tci = aux.tp_vlan_tci;
    }
    if (tci < 0 && type[0] == 0x81 && type[1] == 0x00 && n >= ETH_HLEN + VLAN_TAG_BYTES) {
        tci = type[2] << 8 | type[3];
        type += VLAN_TAG_BYTES;
    }
    kind_count(kinds, frame + 6, (uint16_t)(type[0] << 8 | type[1]), tci);
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

static int frames_count(int argc, char **argv)
{
    static struct kind kinds[KINDS_MAX];
    int fd = packet_socket(argv[2], ETH_P_ALL), one = 1;
    int64_t stop_ms = INT64_MAX;
    time_t end = time(NULL) + (time_t)strtoul(argv[3], NULL, 10);

    if (setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) < 0)
        fail("PACKET_AUXDATA");
    fprintf(stderr, "ready\n");
    while (time(NULL) < end) {
        struct pollfd p = {.fd = fd, .events = POLLIN};

        bool stopping = stop_ms != INT64_MAX;
        bool more = poll(&p, 1, stopping ? QUIET_AFTER_STOP_MS : POLL_MS) > 0;

        if (more)
            frame_receive(fd, kinds);
        if (!stopping && argc > 4 && access(argv[4], F_OK) == 0)
            stop_ms = now_ms() + AFTER_STOP_MAX_MS;
        if (stopping && (!more || now_ms() >= stop_ms))
            break;
    }
    for (int i = 0; i < KINDS_MAX && kinds[i].count > 0; i++) {
        const struct kind *k = &kinds[i];
        char vlan[16] = "-";

        if (k->tci >= 0 && k->tci >> 13 != 0)
            snprintf(vlan, sizeof(vlan), "%d/%d", k->tci & 0xfff, k->tci >> 13);
        else if (k->tci >= 0)
            snprintf(vlan, sizeof(vlan), "%d", k->tci & 0xfff);
        printf("%02x:%02x:%02x:%02x:%02x:%02x %04x %s %lu\n", k->src[0], k->src[1], k->src[2],
               k->src[3], k->src[4], k->src[5], k->ethertype, vlan, k->count);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 7 && strcmp(argv[1], "send") == 0)
        return frames_send(argc, argv);
    if (argc >= 4 && strcmp(argv[1], "count") == 0)
        return frames_count(argc, argv);
    fprintf(stderr, "usage: frames send IF COUNT DST SRC ETHERTYPE [VLAN [BYTES [RATE]]]\n"
                    "       frames count IF SECONDS [STOPFILE]\n");
    return 2;
}

// SPDX-License-Identifier: BSD-3-Clause
// What a kernel's stack makes of the data path, in one thread, for a profiler: frames whose
// checksums the card makes, 64 KiB that it cuts into segments, and the cable in both directions. As
// ixgbevf has it: a context descriptor before each packet that asks for something.
//
//   valgrind --tool=callgrind --toggle-collect=nic_worker_poll profile_offload tcp 1500 20000
//
// Instructions a frame are the difference of two runs of different length. Without valgrind it
// prints the best time a frame over short rounds: warm caches, one core.
// Usage: profile_offload KIND BYTES FRAMES
//   udp, tcp      VF 0 to VF 1, IP and L4 checksum made by the card, one buffer
//   tcp2          the same, headers in a buffer of their own
//   tso           64 KiB in three buffers, cut into segments of BYTES
//   vlan          as udp, and a tag inserted from the context
//   out, out-tcp  VF 0 to the cable: plain UDP, or TCP with checksums
//   in, in-udp    the cable to VF 1: TCP, or UDP without a checksum
#define TEST_MEM_BYTES (64u << 20)
#include "nic/profile_card.h"

#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/le.h"
#include "hw82599/desc.h"
#include "nic/offload.h"

#define RING_LEN     512u
#define BATCH        32u // packets
#define TX_RING      0u
#define RX_RING      (RING_LEN * 16u)
#define TX_BUFFERS   0x200000u
#define RX_BUFFERS   0x2000000u
#define BUFFER_BYTES 10240u
#define TSO_BYTES    65536u
#define ETHER_LEN    14u
#define IP_LEN       20u
#define TCP_LEN      32u // with a time stamp
#define UDP_LEN      8u

struct profile {
    struct test_card *card;
    const char *kind;
    bool tcp, tso, sums, two, vlan, out, in;
    uint32_t len, l4_len, tx, rx;
    uint64_t received;
};

// What the cable brings.
static struct {
    uint8_t bytes[UPLINK_FRAME_MAX];
    uint32_t len;
    unsigned left;
} cable;

static int cable_next(struct uplink *up, uint8_t *buf, size_t buf_len)
{
    (void)up;
    (void)buf_len;
    if (!cable.left)
        return 0;
    cable.left--;
    memcpy(buf, cable.bytes, cable.len);
    return (int)cable.len;
}

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

// As a driver leaves it to the card: sums of zero, the pseudo-header's in the L4 field.
static void frame_make(const struct profile *p, uint8_t *f, uint32_t len)
{
    uint8_t *ip = f + ETHER_LEN, *l4 = ip + IP_LEN;
    uint32_t sum;

    memset(f, 0x5a, len);
    vf_mac(p->out ? 9 : 1, f);
    vf_mac(p->in ? 9 : 0, f + 6);
    memcpy(f + 12, "\x08\x00\x45\x00\x00\x00\x12\x34\x40\x00\x40", 11);
    put16(ip + 2, len - ETHER_LEN);
    ip[9] = p->tcp ? 6 : 17;
    put16(ip + 10, 0);
    memcpy(ip + 12, "\x0a\x00\x00\x01\x0a\x00\x00\x02", 8);
    memset(l4, 0, p->l4_len);
    memcpy(l4, "\x80\x01\x14\x51", 4);
    if (p->tcp)
        put16(l4 + 12, 0x8010);
    else
        put16(l4 + 4, len - ETHER_LEN - IP_LEN);
    if (!p->sums) {
        put16(ip + 10, (uint16_t)~nic_offload_fold(nic_offload_sum(ip, IP_LEN, false)));
        return;
    }
    sum = nic_offload_fold(nic_offload_sum(ip + 12, 8, false)) + ip[9] +
          (p->tso ? 0 : len - ETHER_LEN - IP_LEN);
    put16(l4 + (p->tcp ? 16 : 6), (sum & 0xffff) + (sum >> 16));
}

// A frame as it comes in: all sums right, or no UDP checksum.
static void cable_make(const struct profile *p)
{
    uint8_t *f = cable.bytes, *ip = f + ETHER_LEN, *l4 = ip + IP_LEN;
    uint32_t l4_bytes = p->len - ETHER_LEN - IP_LEN, sum;

    frame_make(p, f, p->len);
    cable.len = p->len;
    if (!p->tcp)
        return;
    sum = nic_offload_fold(nic_offload_sum(ip + 12, 8, false)) + ip[9] + l4_bytes +
          nic_offload_fold(nic_offload_sum(l4, l4_bytes, false));
    sum = (sum & 0xffff) + (sum >> 16);
    put16(l4 + 16, ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
}

static void tx_put(struct profile *p, uint64_t low, uint32_t cmd, uint32_t olinfo)
{
    uint8_t *desc = p->card->mem + TX_RING + 16 * p->tx;

    le64_put(desc, low);
    le32_put(desc + 8, HW_TXD_DEXT | cmd);
    le32_put(desc + 12, olinfo);
    p->tx = (p->tx + 1) % RING_LEN;
}

static void packet_put(struct profile *p, unsigned n, bool last)
{
    uint64_t at = TEST_IOVA + TX_BUFFERS + n * (p->tso ? TSO_BYTES + 4096u : BUFFER_BYTES);
    uint32_t header = ETHER_LEN + IP_LEN + p->l4_len, olinfo = 0, cmd, rest = p->len;

    cmd = HW_TXD_TYPE_DATA | HW_TXD_IFCS | (p->vlan ? HW_TXD_VLE : 0) | (p->tso ? HW_TXD_TSE : 0);
    if (p->sums)
        olinfo = HW_TXO_IXSM | HW_TXO_TXSM;
    if (p->sums || p->vlan)
        tx_put(
            p, (p->vlan ? 5u << HW_TXC_VLAN_SHIFT : 0) | ETHER_LEN << HW_TXC_MACLEN_SHIFT | IP_LEN,
            HW_TXD_TYPE_CONTEXT | HW_TXC_TUCMD_IPV4 |
                (p->tcp ? HW_TXC_TUCMD_L4T_TCP : HW_TXC_TUCMD_L4T_UDP),
            p->tso ? p->l4_len << HW_TXC_L4LEN_SHIFT | (p->len - header) << HW_TXC_MSS_SHIFT : 0);
    if (p->tso)
        rest = header + TSO_BYTES;
    olinfo |= (p->tso ? TSO_BYTES : rest) << HW_TXO_PAYLEN_SHIFT;
    if (p->two || p->tso) {
        tx_put(p, at, cmd | header, olinfo);
        at += header;
        rest -= header;
    }
    if (p->tso) {
        at += 4096 - header;
        tx_put(p, at, cmd | TSO_BYTES / 2, olinfo);
        at += TSO_BYTES / 2;
        rest -= TSO_BYTES / 2;
    }
    tx_put(p, at, cmd | HW_TXD_EOP | (last ? HW_TXD_RS : 0) | rest, olinfo);
}

static void rx_take(struct profile *p)
{
    for (;;) {
        uint8_t *desc = p->card->mem + RX_RING + 16 * p->rx;
        uint32_t status = le32_get(desc + 8);

        if (!(status & HW_RXS_DD))
            break;
        if (status & (HW_RXE_IPE | HW_RXE_L4E))
            abort();
        le64_put(desc, TEST_IOVA + RX_BUFFERS + p->rx * BUFFER_BYTES);
        le64_put(desc + 8, 0);
        p->rx = (p->rx + 1) % RING_LEN;
        p->received++;
    }
    vf_write(p->card, 1, HW_VFRDT(0), (p->rx + RING_LEN - 1) % RING_LEN);
}

static void rings_start(struct profile *p)
{
    struct test_card *t = p->card;

    for (unsigned i = 0; i < RING_LEN; i++)
        le64_put(t->mem + RX_RING + 16 * i, TEST_IOVA + RX_BUFFERS + i * BUFFER_BYTES);
    vf_write(t, 1, HW_VFRDBAL(0), (uint32_t)TEST_IOVA + RX_RING);
    vf_write(t, 1, HW_VFRDLEN(0), RING_LEN * 16);
    vf_write(t, 1, HW_VFSRRCTL(0),
             BUFFER_BYTES / 1024 | HW_SRRCTL_DESCTYPE_ADV << HW_SRRCTL_DESCTYPE_SHIFT);
    vf_write(t, 1, HW_VFRXDCTL(0), HW_RXDCTL_ENABLE | HW_RXDCTL_VME);
    vf_write(t, 1, HW_VFRDT(0), RING_LEN - 1);
    vf_write(t, 0, HW_VFTDBAL(0), (uint32_t)TEST_IOVA + TX_RING);
    vf_write(t, 0, HW_VFTDLEN(0), RING_LEN * 16);
    vf_write(t, 0, HW_VFTXDCTL(0), HW_TXDCTL_ENABLE);
    if (p->tso) {
        for (unsigned n = 0; n < BATCH; n++)
            frame_make(p, t->mem + TX_BUFFERS + n * (TSO_BYTES + 4096),
                       ETHER_LEN + IP_LEN + TCP_LEN);
        return;
    }
    for (unsigned n = 0; n < BATCH; n++)
        frame_make(p, t->mem + TX_BUFFERS + n * BUFFER_BYTES, p->len);
}

static void kind_choose(struct profile *p, const char *kind)
{
    p->kind = kind;
    p->tso = !strcmp(kind, "tso");
    p->vlan = !strcmp(kind, "vlan");
    p->two = !strcmp(kind, "tcp2");
    p->out = !strncmp(kind, "out", 3);
    p->in = !strncmp(kind, "in", 2);
    p->tcp =
        p->tso || p->two || !strcmp(kind, "tcp") || !strcmp(kind, "out-tcp") || !strcmp(kind, "in");
    p->sums = !p->in && (p->tcp || p->vlan || !strcmp(kind, "udp"));
    p->l4_len = p->tcp ? TCP_LEN : UDP_LEN;
}

int main(int argc, char **argv)
{
    static struct profile p;
    uint64_t frames = argc > 3 ? (uint64_t)atoll(argv[3]) : 100000, done = 0, best_ns = UINT64_MAX;
    uint64_t batch = BATCH, seen;

    if (argc < 3)
        return 2;
    kind_choose(&p, argv[1]);
    p.len = (uint32_t)atoi(argv[2]);
    assert(p.len >= 60 && p.len <= 9014 && p.len > ETHER_LEN + IP_LEN + p.l4_len - 1);
    p.card = test_card_open(1, 2, NIC_DOORBELLS_TRAPPED);
    test_card_start_pf(p.card, 2);
    filters_start(p.card);
    rings_start(&p);
    if (p.tso)
        batch = (TSO_BYTES - 1) / (p.len - ETHER_LEN - IP_LEN - TCP_LEN) + 1;
    if (p.in) {
        cable_make(&p);
        p.card->uplink[0].next = cable_next;
    }
    while (done < frames) {
        uint64_t start_ns;

        cable.left = p.in ? BATCH : 0;
        for (unsigned n = 0; n < BATCH && !p.in && !(p.tso && n); n++)
            packet_put(&p, n, n == BATCH - 1 || p.tso);
        if (!p.in)
            vf_write(p.card, 0, HW_VFTDT(0), p.tx);
        start_ns = clock_now_ns();
        nic_worker_poll(p.card->worker);
        start_ns = clock_now_ns() - start_ns;
        if (start_ns < best_ns)
            best_ns = start_ns;
        rx_take(&p);
        done += batch;
    }
    seen = p.out ? p.card->uplink[0].sent_count : p.received;
    printf("%s: %llu frames of %u bytes, %llu arrived; at best %.1f ns a frame\n", p.kind,
           (unsigned long long)done, p.len, (unsigned long long)seen,
           (double)best_ns / (double)batch);
    test_card_close(p.card);
    return seen != done;
}

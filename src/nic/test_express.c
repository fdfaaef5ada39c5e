// SPDX-License-Identifier: BSD-3-Clause
// The short ways (express.h, stack.h, cable.h) do what the general way does: random traffic through
// both, from the same seed,
// and then every byte of every guest's memory, every counter, every ring's state and every frame on
// the cable compared.
#include "nic/express.h"
#include "nic/test_port.h"

#define SEEDS   150u
#define STEPS   120u
#define QUEUES  (VM_COUNT * QUEUES_A_POOL)
#define TX_AREA 0x10000u
#define RX_AREA 0x40000u

#define HEAD_WRITEBACK(q) (0x3000u + (q)*64u)

#define RX_AREA_BYTES 0x18000u // few enough pages that most are in the port's caches

static const uint32_t ring_lens[] = {8, 16, 64, 256};

// What one way left behind.
struct outcome {
    uint8_t mem[VM_COUNT][VM_MEM_BYTES];
    struct nic_counters counters;
    uint32_t tx_head[QUEUES], rx_head[QUEUES];
    uint64_t faults[VM_COUNT], noted[4];
    uint64_t cable;          // a sum over what was sent on it
    uint64_t express_frames; // that went by the express lane
    unsigned by_ip[7];       // paths learned from VMs, by IP version
    unsigned paths[3];       // learned: from VMs to pools, from VMs to the cable, from the cable
};

struct script {
    struct test_port *t;
    uint64_t random;
    uint32_t tx_tail[QUEUES], tx_len[QUEUES], rx_tail[QUEUES], rx_len[QUEUES];
    uint32_t buffer_kib;
    uint32_t calm; // how much rarer odd things are: by seed
    bool alike;    // frames are short and go one way, into rings with little room: by seed
    struct outcome *out;
};

static uint32_t pick(struct script *s, uint32_t below)
{
    s->random = s->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(s->random >> 33) % below;
}

static bool one_in(struct script *s, uint32_t n)
{
    return !pick(s, n);
}

// For what ends a run of the express lane.
static bool odd(struct script *s, uint32_t n)
{
    return one_in(s, n * s->calm);
}

static uint8_t *vm_of(struct script *s, unsigned queue, uint32_t offset)
{
    return s->t->vm[queue / QUEUES_A_POOL].mem + offset;
}

// --- rings --------------------------------------------------------------------------------------

static void rx_desc_put(struct script *s, unsigned queue, uint32_t at)
{
    uint8_t *desc = vm_of(s, queue, RX_RING(queue % QUEUES_A_POOL) + at * 16);
    uint32_t offset = RX_AREA + pick(s, RX_AREA_BYTES);

    if (!odd(s, 3)) // most buffers do not cross a page
        offset &= ~0xfffu;
    le64_put(desc, VM_IOVA + offset);
    le64_put(desc + 8, 0);
}

static void rx_post(struct script *s, unsigned queue, uint32_t count)
{
    uint32_t head = rx_head(s->t, queue), n = s->rx_len[queue], at = s->rx_tail[queue];

    for (; count && (at + 1) % n != head; count--, at = (at + 1) % n)
        rx_desc_put(s, queue, at);
    s->rx_tail[queue] = at;
    // Behind the tail nothing is the card's, however good it looks.
    for (uint32_t i = pick(s, 6); i && at != head; i--, at = (at + 1) % n)
        rx_desc_put(s, queue, at);
    nic_rxq_set_tail(s->t->port, queue, s->rx_tail[queue]);
}

static void queue_start(struct script *s, unsigned queue)
{
    unsigned local = queue % QUEUES_A_POOL;
    struct test_port *t = s->t;

    s->rx_len[queue] = ring_lens[pick(s, 4)];
    s->tx_len[queue] = ring_lens[pick(s, 3)];
    reg(t, HW_RDBAL(queue), (uint32_t)(VM_IOVA + RX_RING(local)));
    reg(t, HW_RDBAH(queue), (uint32_t)((VM_IOVA + RX_RING(local)) >> 32));
    reg(t, HW_RDLEN(queue), s->rx_len[queue] * 16);
    reg(t, HW_SRRCTL(queue),
        s->buffer_kib |
            (odd(s, 8) ? HW_SRRCTL_DESCTYPE_LEGACY : HW_SRRCTL_DESCTYPE_ADV)
                << HW_SRRCTL_DESCTYPE_SHIFT |
            (one_in(s, 3) ? 0 : HW_SRRCTL_DROP_EN));
    reg(t, HW_RXDCTL(queue), HW_RXDCTL_ENABLE | (one_in(s, 3) ? 0 : HW_RXDCTL_VME));
    assert_true(nic_rxq_control(t->port, queue));
    reg(t, HW_TDBAL(queue), (uint32_t)(VM_IOVA + TX_RING(local)));
    reg(t, HW_TDBAH(queue), (uint32_t)((VM_IOVA + TX_RING(local)) >> 32));
    reg(t, HW_TDLEN(queue), s->tx_len[queue] * 16);
    reg(t, HW_TDWBAL(queue),
        (uint32_t)(VM_IOVA + HEAD_WRITEBACK(local)) | (odd(s, 4) ? HW_TDWBAL_HEAD_WB_ENABLE : 0));
    reg(t, HW_TDWBAH(queue), (uint32_t)((VM_IOVA + HEAD_WRITEBACK(local)) >> 32));
    reg(t, HW_TXDCTL(queue), HW_TXDCTL_ENABLE);
    assert_true(nic_txq_control(t->port, queue));
    rx_post(s, queue, s->rx_len[queue]);
}

// As a driver resets its rings, with frames on their way; it may leave them off for a while.
static void queue_restart(struct script *s, unsigned queue)
{
    struct test_port *t = s->t;

    reg(t, HW_RXDCTL(queue), 0);
    assert_false(nic_rxq_control(t->port, queue));
    reg(t, HW_TXDCTL(queue), 0);
    assert_false(nic_txq_control(t->port, queue));
    nic_rxq_reset(t->port, queue);
    nic_txq_reset(t->port, queue);
    s->tx_tail[queue] = s->rx_tail[queue] = 0;
    if (!one_in(s, 3))
        queue_start(s, queue);
}

// Who may send and receive at all, and whose addresses are whose.
static void switch_choose(struct script *s)
{
    uint32_t default_pool = odd(s, 4) ? pick(s, VM_COUNT) : PF_POOL;
    struct test_port *t = s->t;
    uint8_t mac[6];

    reg(t, HW_RXCTRL, odd(s, 30) ? 0 : HW_RXCTRL_RXEN);
    reg(t, HW_DMATXCTL, odd(s, 30) ? 0 : HW_DMATXCTL_TE);
    reg(t, HW_PFVFRE(0), odd(s, 8) ? pick(s, 512) : UINT32_MAX);
    reg(t, HW_PFVFTE(0), odd(s, 8) ? pick(s, 512) : UINT32_MAX);
    reg(t, HW_PFDTXGSWC, odd(s, 10) ? 0 : HW_PFDTXGSWC_LBE);
    reg(t, HW_PFVTCTL,
        (odd(s, 30) ? 0 : HW_PFVTCTL_VT_ENA) | (odd(s, 6) ? 0 : HW_PFVTCTL_RPL_EN) |
            (odd(s, 6) ? HW_PFVTCTL_DIS_DEF_POOL : 0) | default_pool << HW_PFVTCTL_DEF_PL_SHIFT);
    reg(t, HW_FCTRL, HW_FCTRL_BAM | (odd(s, 3) ? HW_FCTRL_UPE | HW_FCTRL_MPE : 0));
    for (unsigned i = 0; i < VM_COUNT; i++) {
        vm_mac(i, mac);
        test_rar(t, i, mac, odd(s, 10) ? pick(s, 16) : BIT64(i));
    }
}

static void tables_choose(struct script *s)
{
    struct test_port *t = s->t;

    reg(t, HW_MRQC, HW_MRQC_VMDQ64_RSS | pick(s, 0x200) << 16);
    for (unsigned i = 0; i < 10; i++)
        reg(t, HW_RSSRK(i), pick(s, 0x7fffffff));
    for (unsigned i = 0; i < 32; i++)
        reg(t, HW_RETA(i), pick(s, 0x7fffffff) & 0x01010101);
    reg(t, HW_RXCSUM, one_in(s, 3) ? 0 : HW_RXCSUM_PCSD);
    reg(t, HW_PFVFSPOOF(0), one_in(s, 3) ? 0 : 0xfu << HW_PFVFSPOOF_MACAS_SHIFT | 0xf << 8);
    switch_choose(s);
    reg(t, HW_PFVMVIR(2), odd(s, 2) ? HW_PFVMVIR_VLANA_NEVER : 0);
    reg(t, HW_PFVMVIR(3), odd(s, 2) ? HW_PFVMVIR_VLANA_DEFAULT | 5 : 0);
    reg(t, HW_HLREG0,
        (odd(s, 20) ? HW_HLREG0_LPBK : 0) | HW_HLREG0_TXPADEN | HW_HLREG0_JUMBOEN |
            (odd(s, 6) ? 0 : HW_HLREG0_RXCRCSTRP));
    reg(t, HW_MAXFRS, (one_in(s, 4) ? 1200u : 9728u) << HW_MAXFRS_MFS_SHIFT);
    reg(t, HW_VLNCTRL, odd(s, 8) ? 0x0800 : (one_in(s, 3) ? HW_VLNCTRL_VFE : 0) | 0x8100);
    for (unsigned i = 0; i < VM_COUNT; i++) {
        reg(t, HW_PSRTYPE(i), pick(s, 2) << 29);
        reg(t, HW_PFVML2FLT(i), HW_PFVML2FLT_AUPE | (one_in(s, 3) ? HW_PFVML2FLT_BAM : 0));
    }
    for (unsigned pool = VM_COUNT; pool < NIC_POOLS_MAX; pool++)
        reg(t, HW_PFVML2FLT(pool), HW_PFVML2FLT_AUPE);
    for (unsigned i = 0; i < 2; i++) {
        reg(t, HW_PFVLVF(i), HW_PFVLVF_VI_EN | (4 + i));
        reg(t, HW_PFVLVFB(i * 2), pick(s, 16));
    }
    reg(t, HW_VFTA(0), 0x30);
    nic_derive(t->port);
}

// --- frames -------------------------------------------------------------------------------------

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static uint32_t choose_length(struct script *s)
{
    static const uint32_t edges[] = {16, 17, 60, 63, 64, 65, 127, 128, 129, 191, 192, 193, 1514};

    switch (pick(s, 4)) {
    case 0:
        return 64;
    case 1:
        return edges[pick(s, 13)];
    case 2:
        return 60 + pick(s, 200);
    default:
        return 60 + pick(s, one_in(s, 8) ? 9800 : 1500);
    }
}

static void choose_addresses(struct script *s, uint8_t *out, unsigned from)
{
    unsigned to = (from + 1 + (!s->alike && one_in(s, 8))) % VM_COUNT;

    vm_mac(odd(s, 6) ? pick(s, VM_COUNT + 1) : to, out);
    vm_mac(odd(s, 30) ? pick(s, VM_COUNT) : from, out + 6);
    if (one_in(s, 5))
        vm_mac(VM_COUNT, out); // nobody here
    if (odd(s, 30))
        memset(out, 0xff, 6);
    if (odd(s, 30))
        out[0] = 0x33;
    if (odd(s, 40))
        memset(out, 0, 14); // the key of an empty flow
}

// IPv4 or IPv6 behind the addresses; mostly right, of few flows.
static void make_ip(struct script *s, uint8_t *at, uint32_t left)
{
    static const uint8_t protocols[] = {6, 17, 17, 6, 132, 1, 0, 44};
    bool ipv4 = !one_in(s, 3);
    uint8_t protocol = protocols[pick(s, odd(s, 4) ? 8 : 4)];
    uint32_t wrong = odd(s, 10) ? pick(s, 80) : 0, sum = 0, header = ipv4 ? 20 : 40;
    uint8_t *l4 = at + 2 + header;

    put16(at, ipv4 ? 0x0800 : 0x86dd);
    at += 2;
    memset(at, 0, header + 20);
    if (ipv4) {
        at[0] = odd(s, 12) ? 0x46 : 0x45;
        put16(at + 2, left - wrong);
        put16(at + 4, pick(s, 65536));
        put16(at + 6, odd(s, 12) ? pick(s, 65536) : 0x4000);
        at[8] = 64;
        at[9] = protocol;
        at[15] = (uint8_t)pick(s, 2);
        at[19] = (uint8_t)pick(s, 2);
        for (unsigned i = 0; i < 20; i += 2)
            sum += (uint32_t)at[i] << 8 | at[i + 1];
        sum = (sum & 0xffff) + (sum >> 16);
        put16(at + 10, ~(sum + (sum >> 16)) + odd(s, 10));
    } else {
        at[0] = odd(s, 12) ? 0x50 : 0x60 | (uint8_t)pick(s, 16);
        put16(at + 4, left - 40 - wrong);
        at[6] = protocol;
        at[23] = (uint8_t)pick(s, 2);
        at[39] = (uint8_t)pick(s, 2);
    }
    put16(l4, 1000 + pick(s, 2));
    put16(l4 + 2, 53 + pick(s, 2));
}

static uint32_t make_random_frame(struct script *s, uint8_t *out, unsigned from)
{
    uint32_t len = s->alike ? 64 : choose_length(s), at = 12;

    for (uint32_t i = 0; i < len; i += 4)
        le32_put(out + i, pick(s, 0x7fffffff));
    choose_addresses(s, out, from);
    if (odd(s, 10)) {
        put16(out + at, 0x8100);
        put16(out + at + 2, pick(s, 8));
        at += 4;
    }
    if (s->alike || one_in(s, 3))
        put16(out + at, 0x88b5);
    else
        make_ip(s, out + at, len - at - 2);
    return len;
}

// --- descriptors --------------------------------------------------------------------------------

static bool put_desc(struct script *s, unsigned queue, uint64_t low, uint32_t cmd, uint32_t olinfo)
{
    uint32_t tail = s->tx_tail[queue], next = (tail + 1) % s->tx_len[queue];
    uint8_t *desc = vm_of(s, queue, TX_RING(queue % QUEUES_A_POOL) + tail * 16);

    if (next == atomic_load(&s->t->port->txq[queue].head))
        return false;
    le64_put(desc, low);
    le32_put(desc + 8, cmd);
    le32_put(desc + 12, olinfo);
    s->tx_tail[queue] = next;
    return true;
}

// Sets the seed of a UDP checksum so that its sum is zero.
static void l4_sum_zero(uint8_t *udp, uint32_t len)
{
    uint32_t sum = 0;

    put16(udp + 6, 0);
    for (uint32_t i = 0; i < len; i++)
        sum += i & 1 ? udp[i] : (uint32_t)udp[i] << 8;
    sum = (sum & 0xffff) + (sum >> 16);
    put16(udp + 6, ~(sum + (sum >> 16)));
}

// What the driver of a kernel's stack says of a frame of TCP or UDP: mostly right. Returns the
// commands and options of the data descriptors.
static uint32_t put_context(struct script *s, unsigned queue, uint8_t *f, uint32_t len,
                            uint32_t *olinfo)
{
    bool ipv4 = f[12] == 0x08, tcp = f[ipv4 ? 23 : 20] == 6;
    uint32_t l3 = 14, l4 = l3 + (ipv4 ? 20 : 40), l4_len = tcp ? 20 + 4 * pick(s, 4) : 8;
    uint32_t index = odd(s, 4), mss = odd(s, 30) ? 0 : 60 + pick(s, 1440);
    bool segment = l4 + l4_len < len && one_in(s, 2);

    if (tcp)
        f[l4 + 12] = (uint8_t)(l4_len / 4 << 4);
    if (ipv4 && !odd(s, 20))
        memset(f + 24, 0, 2);
    if (odd(s, 30)) // other headers than the frame has
        l3++;
    else if (!tcp && one_in(s, 4))
        l4_sum_zero(f + l4, len - l4);
    put_desc(s, queue,
             l3 << HW_TXC_MACLEN_SHIFT | (l4 - l3 + (odd(s, 30) ? 1 : 0)) |
                 pick(s, 8) << HW_TXC_VLAN_SHIFT,
             HW_TXD_DEXT | HW_TXD_TYPE_CONTEXT | (ipv4 != odd(s, 30) ? HW_TXC_TUCMD_IPV4 : 0) |
                 (tcp != odd(s, 30) ? HW_TXC_TUCMD_L4T_TCP : HW_TXC_TUCMD_L4T_UDP),
             l4_len << HW_TXC_L4LEN_SHIFT | mss << HW_TXC_MSS_SHIFT | index << HW_TXC_IDX_SHIFT);
    *olinfo |= (odd(s, 20) ? pick(s, 4) : 2u + ipv4) << 8 | (index ^ odd(s, 30))
                                                                << HW_TXO_IDX_SHIFT;
    if (segment)
        *olinfo -= (l4 + l4_len + odd(s, 30)) << HW_TXO_PAYLEN_SHIFT;
    return (segment ? HW_TXD_TSE : 0) | (one_in(s, 6) ? HW_TXD_VLE : 0);
}

static bool is_l4(const uint8_t *f, uint32_t len)
{
    bool ipv4 = f[12] == 0x08 && !f[13], ipv6 = f[12] == 0x86 && f[13] == 0xdd;
    uint8_t protocol = f[ipv4 ? 23 : 20];

    return len >= 80 && (ipv4 || ipv6) && (protocol == 6 || protocol == 17);
}

static void put_packet(struct script *s, unsigned queue)
{
    uint8_t bytes[10240];
    uint32_t len = make_random_frame(s, bytes, queue / QUEUES_A_POOL), done = 0;
    uint32_t offset = TX_AREA + pick(s, RX_AREA - TX_AREA - sizeof bytes);
    uint32_t cmd = TX_DATA_CMD | (one_in(s, 2) ? HW_TXD_RS : 0),
             olinfo = len << HW_TXO_PAYLEN_SHIFT;
    uint32_t pieces = odd(s, 8) || (!s->alike && one_in(s, 4)) ? 1 + pick(s, 4) : 1;

    if (!odd(s, 4))
        offset &= ~0xfffu;
    if (is_l4(bytes, len) && one_in(s, 2))
        cmd |= put_context(s, queue, bytes, len, &olinfo);
    memcpy(vm_of(s, queue, offset), bytes, len);
    if (odd(s, 8)) {
        put_desc(s, queue, 14u << HW_TXC_MACLEN_SHIFT | 20u | pick(s, 8) << HW_TXC_VLAN_SHIFT,
                 HW_TXD_DEXT | HW_TXD_TYPE_CONTEXT | HW_TXC_TUCMD_IPV4 | pick(s, 2) << 11,
                 8u << HW_TXC_L4LEN_SHIFT | 400u << HW_TXC_MSS_SHIFT);
        cmd |= one_in(s, 2) ? HW_TXD_VLE : 0;
        olinfo |= pick(s, 4) << 8; // IXSM, TXSM
        if (one_in(s, 4) && len > 100 && len < 3000) {
            cmd |= HW_TXD_TSE;
            olinfo -= 42u << HW_TXO_PAYLEN_SHIFT;
        }
    }
    if (odd(s, 60))
        cmd ^= HW_TXD_DEXT; // legacy, with whatever that says
    for (uint32_t i = 0; i < pieces; i++) {
        uint32_t take = i == pieces - 1 ? len - done : len / pieces;

        if (!put_desc(s, queue, odd(s, 100) ? pick(s, 4096) : VM_IOVA + offset + done,
                      cmd | take | (i == pieces - 1 ? HW_TXD_EOP : 0), olinfo))
            break;
        done += take;
    }
}

// --- the script ---------------------------------------------------------------------------------

static void cable_take(struct script *s)
{
    for (unsigned i = 0; i < test_uplink.sent_count; i++) {
        for (size_t k = 0; k < test_uplink.sent[i].len; k++)
            s->out->cable = s->out->cable * 31 + test_uplink.sent[i].bytes[k];
        s->out->cable = s->out->cable * 31 + test_uplink.sent[i].len;
    }
    test_uplink.sent_count = 0;
}

// Makes the L4 checksum right of a frame that has one.
static void l4_right(uint8_t *f, uint32_t len)
{
    bool ipv4 = f[12] == 0x08;
    uint8_t protocol = f[ipv4 ? 23 : 20];
    uint32_t l4 = ipv4 ? 34 : 54, end, sum = protocol;
    uint8_t *field = f + l4 + (protocol == 6 ? 16 : 6);

    end = ipv4 ? 14 + (uint32_t)(f[16] << 8 | f[17]) : 54 + (uint32_t)(f[18] << 8 | f[19]);
    if (end > len || end < l4 + 20)
        return;
    put16(field, 0);
    sum += end - l4;
    for (uint32_t i = ipv4 ? 26 : 22; i < end; i++)
        sum += (i & 1) ? f[i] : (uint32_t)f[i] << 8;
    sum = (sum & 0xffff) + (sum >> 16);
    put16(field, ~(sum + (sum >> 16)));
}

// Frames come in from the cable, from somebody who is no VM.
static void cable_bring(struct script *s)
{
    uint8_t bytes[10240];

    test_uplink.waiting_at = test_uplink.waiting_count = 0;
    for (uint32_t n = pick(s, UPLINK_BATCH + 1); n; n--) {
        uint32_t len = make_random_frame(s, bytes, one_in(s, 3) ? VM_COUNT : pick(s, VM_COUNT));

        if (len > UPLINK_FRAME_MAX)
            len = UPLINK_FRAME_MAX;
        if (is_l4(bytes, len) && one_in(s, 2))
            l4_right(bytes, len);
        if (odd(s, 30))
            put16(bytes + 12, 0x8808);
        if (one_in(s, 8))
            memset(bytes, 0xff, 6);
        uplink_put(bytes, len);
    }
    assert_int_equal(nic_forward_from_cable(s->t->port), test_uplink.waiting_count);
}

static void step(struct script *s)
{
    unsigned queue = pick(s, QUEUES), frames;
    struct test_vm *vm = &s->t->vm[queue / QUEUES_A_POOL];

    if (odd(s, 20))
        tables_choose(s);
    if (odd(s, 40))
        queue_restart(s, pick(s, QUEUES));
    if (odd(s, 25)) // what was mapped goes, or comes back, or may only be read
        vm_refuse(s->t, &s->t->vm[pick(s, VM_COUNT)],
                  TX_AREA + pick(s, RX_AREA + RX_AREA_BYTES - TX_AREA), pick(s, 4));
    vm->dma[0].bus_master = vm->dma[1].bus_master = !odd(s, 40);
    for (uint32_t n = one_in(s, 3) ? 1 : 1 + pick(s, 24); n; n--)
        put_packet(s, queue);
    nic_txq_set_tail(s->t->port, queue, s->tx_tail[queue]);
    nic_txq_poll(s->t->port, queue, &frames);
    s->out->cable = s->out->cable * 31 + frames;
    cable_take(s);
    if (one_in(s, 3))
        cable_bring(s);
    for (unsigned q = 0; q < QUEUES; q++) {
        if (one_in(s, 3))
            rx_post(s, q, pick(s, s->alike ? 10 : 40));
    }
}

static void save(struct script *s)
{
    struct nic_port *port = s->t->port;
    struct outcome *out = s->out;

    for (unsigned i = 0; i < VM_COUNT; i++) {
        memcpy(out->mem[i], s->t->vm[i].mem, VM_MEM_BYTES);
        out->faults[i] = s->t->vm[i].fault_count + (s->t->vm[i].dma[0].fault_count << 32) +
                         (s->t->vm[i].dma[1].fault_count << 48);
    }
    memcpy(&out->counters, &port->counters, sizeof out->counters);
    for (unsigned q = 0; q < QUEUES; q++) {
        out->tx_head[q] = atomic_load(&port->txq[q].head) | (uint32_t)port->txq[q].faulted << 31;
        out->rx_head[q] = rx_head(s->t, q) | (uint32_t)port->rxq[q].faulted << 31;
        out->express_frames += port->txq[q].express_frames;
        for (unsigned i = 0; i < NIC_PATHS; i++) {
            const struct nic_path *path = &port->txq[q].paths[i];

            if (!path->version || path->queue == NIC_PATH_NOT)
                continue;
            out->by_ip[path->ip_version]++;
            out->paths[path->queue == NIC_PATH_CABLE]++;
        }
    }
    for (unsigned i = 0; i < NIC_PATHS; i++) {
        if (port->cable_paths[i].version && port->cable_paths[i].queue != NIC_PATH_NOT)
            out->paths[2]++;
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_null(port->lane[i].held);
        out->noted[i] = port->lane[i].rx_note[0];
        out->noted[2 + i] = port->lane[i].tx_note[0];
    }
}

// As with two workers, in turns; the VMs are one's or the other's.
static void port_share(struct nic_port *port)
{
    port->shared = true;
    port->lane_count = 2;
    port->lane[1].index = 1;
    for (unsigned q = 0; q < QUEUES; q++)
        port->lane_of_queue[q] = q / QUEUES_A_POOL % 2;
}

static struct outcome *run(uint64_t seed, bool general_only)
{
    struct script s = {.random = seed, .out = calloc(1, sizeof *s.out)};

    assert_non_null(s.out);
    s.t = test_port_new();
    s.buffer_kib = 1 + pick(&s, 3);
    s.calm = 1u << 2 * pick(&s, 4);
    s.alike = one_in(&s, 4);
    tables_choose(&s);
    if (one_in(&s, 4))
        port_share(s.t->port);
    s.t->port->cable_general_only = general_only;
    for (unsigned q = 0; q < QUEUES; q++) {
        s.t->port->txq[q].general_only = general_only;
        queue_start(&s, q);
    }
    for (unsigned i = 0; i < STEPS; i++)
        step(&s);
    save(&s);
    test_port_free(s.t);
    return s.out;
}

static void compare(void)
{
    unsigned by_ip[7] = {0}, paths[3] = {0};
    uint64_t express_frames = 0;

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct outcome *general = run(seed, true), *express = run(seed, false);

        for (unsigned i = 0; i < ARRAY_LEN(by_ip); i++) {
            assert_int_equal(general->by_ip[i], 0);
            by_ip[i] += express->by_ip[i];
            express->by_ip[i] = 0;
        }
        for (unsigned i = 0; i < ARRAY_LEN(paths); i++) {
            assert_int_equal(general->paths[i], 0);
            paths[i] += express->paths[i];
            express->paths[i] = 0;
        }
        assert_int_equal(general->express_frames, 0);
        express_frames += express->express_frames;
        express->express_frames = 0;
        if (memcmp(general, express, sizeof *general))
            print_error("seed %u\n", (unsigned)seed);
        for (unsigned q = 0; q < QUEUES; q++) {
            assert_int_equal(general->tx_head[q], express->tx_head[q]);
            assert_int_equal(general->rx_head[q], express->rx_head[q]);
        }
        assert_memory_equal(&general->counters, &express->counters, sizeof general->counters);
        assert_memory_equal(general->faults, express->faults, sizeof general->faults);
        for (unsigned i = 0; i < VM_COUNT; i++)
            assert_memory_equal(general->mem[i], express->mem[i], VM_MEM_BYTES);
        assert_memory_equal(general, express, sizeof *general);
        free(general);
        free(express);
    }
    // It did go both ways.
    assert_true(express_frames > 20 * SEEDS);
    assert_true(by_ip[0] > SEEDS && by_ip[4] > SEEDS && by_ip[6] > SEEDS);
    assert_true(paths[0] > SEEDS && paths[1] > SEEDS && paths[2] > SEEDS);
}

static void test_plain(void **state)
{
    (void)state;
    assert_false(nic_express_use_kernels(false));
    compare();
}

// The same with the kernels of this processor, where it has any.
static void test_kernels(void **state)
{
    (void)state;
    if (!nic_express_use_kernels(true))
        skip();
    compare();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_kernels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

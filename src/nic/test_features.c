// SPDX-License-Identifier: BSD-3-Clause
// The data path with what comes on top of plain frames: segmentation, checksums, RSS, the cable,
// pool and port enables, head write-back, legacy receive.
#include "nic/test_port.h"

static int setup(void **state)
{
    *state = test_port_new();
    return 0;
}

static int teardown(void **state)
{
    test_port_free(*state);
    return 0;
}

#define POOL(t, n) (&(t)->port->counters.pool[n])

static uint16_t ref_sum(const uint8_t *p, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i++) {
        sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

// A TCP/IPv4 frame with right checksums; `tso`: as Linux leaves it for segmentation.
static uint32_t make_tcp(uint8_t *f, unsigned to, unsigned from, uint32_t payload, bool tso)
{
    uint32_t len = make_frame(f, to, from, 0x0800, 54 + payload), sum;

    memcpy(f + 14, "\x45\x00\x00\x00\x00\x07\x40\x00\x40\x06\x00\x00", 12);
    if (!tso) {
        f[16] = (uint8_t)((len - 14) >> 8);
        f[17] = (uint8_t)(len - 14);
        sum = (uint16_t)~ref_sum(f + 14, 20, 0);
        f[24] = (uint8_t)(sum >> 8);
        f[25] = (uint8_t)sum;
    }
    f[46] = 0x50;
    f[47] = 0x19; // ACK, PSH, FIN
    f[50] = f[51] = 0;
    sum = ref_sum(f + 26, 8, 6);
    if (!tso) {
        sum = (uint16_t)~ref_sum(f + 34, len - 34, sum + len - 34);
        assert_true(sum != 0);
    }
    f[50] = (uint8_t)(sum >> 8);
    f[51] = (uint8_t)sum;
    return len;
}

static bool tcp_good(const uint8_t *f, uint32_t len)
{
    return ref_sum(f + 14, 20, 0) == 0xffff &&
           ref_sum(f + 34, len - 34, ref_sum(f + 26, 8, 6 + len - 34)) == 0xffff;
}

static void post_tso(struct test_port *t, uint32_t payload, uint32_t mss)
{
    static uint8_t bytes[70000];
    uint32_t len = make_tcp(bytes, 1, 0, payload, true), at = 0;

    memcpy(t->vm[0].mem + TX_DATA, bytes, len);
    test_tx_context(t, 0, 1, 20 | 14 << HW_TXC_MACLEN_SHIFT,
                    HW_TXC_TUCMD_L4T_TCP | HW_TXC_TUCMD_IPV4,
                    20 << HW_TXC_L4LEN_SHIFT | mss << HW_TXC_MSS_SHIFT);
    // Header and first bytes in one descriptor, the rest in pieces of 16 KiB, as Linux maps it.
    while (at < len) {
        uint32_t piece = at ? 16384 : 100;

        if (piece > len - at)
            piece = len - at;
        test_tx_raw(t, 0, VM_IOVA + TX_DATA + at,
                    TX_DATA_CMD | HW_TXD_TSE | piece | (at + piece == len ? TX_LAST : 0),
                    at ? 0
                       : HW_TXO_IXSM | HW_TXO_TXSM | HW_TXO_CC | 1 << HW_TXO_IDX_SHIFT |
                             payload << HW_TXO_PAYLEN_SHIFT);
        at += piece;
    }
}

static void test_tso(void **state)
{
    struct test_port *t = *state;
    const uint32_t mss = 1448;

    // One byte short of, exactly, and one byte over ten segments.
    for (uint32_t payload = 10 * mss - 1; payload <= 10 * mss + 1; payload++) {
        uint32_t count = (payload + mss - 1) / mss;

        test_rx_on(t, 2, 2, true);
        test_tx_on(t, 0);
        post_tso(t, payload, mss);
        assert_int_equal(test_poll(t, 0), count);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t part = i == count - 1 ? payload - i * mss : mss;
            const uint8_t *f = rx_bytes(t, 2, i);
            struct hw_rx_writeback_desc d = rx_desc(t, 2, i);

            assert_int_equal(d.len_bytes, 54 + part);
            assert_int_equal(d.status_error,
                             HW_RXS_DD | HW_RXS_EOP | HW_RXS_LB | HW_RXS_IPCS | HW_RXS_L4CS);
            assert_int_equal(d.info & HW_RXI_TYPE_MASK, HW_RXI_TYPE_IPV4 | HW_RXI_TYPE_TCP);
            assert_true(tcp_good(f, d.len_bytes));
            assert_int_equal(f[18] << 8 | f[19], 7 + i);
            assert_int_equal(f[47], i == count - 1 ? 0x19 : 0x10);
            assert_memory_equal(f + 54, t->vm[0].mem + TX_DATA + 54 + i * mss, part);
        }
        assert_int_equal(atomic_load(&t->port->txq[0].head), tx_tail(t, 0));
        reg(t, HW_RXDCTL(2), 0);
        nic_rxq_control(t->port, 2);
    }
}

// Segments beyond the round's share go on where they stopped; so do those that were held back.
static void test_tso_in_rounds(void **state)
{
    struct test_port *t = *state;
    unsigned frames, total = 0, polls = 0;
    enum nic_tx_result result;

    reg(t, HW_RAL(1), 0); // nobody's address any more: out on the cable, which keeps 64
    nic_derive(t->port);
    test_tx_on(t, 0);
    post_tso(t, 60, 1);
    assert_int_equal(test_poll(t, 0), 60);
    assert_int_equal(test_uplink.sent_count, 60);
    for (unsigned i = 0; i < 60; i++) {
        assert_true(tcp_good(test_uplink.sent[i].bytes, 55));
        assert_int_equal(test_uplink.sent[i].bytes[54], t->vm[0].mem[TX_DATA + 54 + i]);
    }
    // To nobody at all, with the smallest MSS: bounded rounds.
    reg(t, HW_RAL(1), le32_get((const uint8_t[]){0x02, 0x11, 0x22, 0x33}));
    nic_derive(t->port);
    post_tso(t, 10000, 1);
    do {
        result = nic_txq_poll(t->port, 0, &frames);
        assert_in_range(frames, 1, NIC_TXQ_FRAMES);
        total += frames;
        polls++;
    } while (result == NIC_TX_MORE);
    assert_int_equal(total, 10000);
    assert_true(polls >= 10000 / NIC_TXQ_FRAMES);

    test_rx_on(t, 2, 2, false);
    nic_rxq_set_tail(t->port, 2, 2);
    post_tso(t, 5 * 1000, 1000);
    assert_int_equal(nic_txq_poll(t->port, 0, &frames), NIC_TX_WAIT);
    assert_int_equal(frames, 2);
    nic_rxq_set_tail(t->port, 2, 5);
    assert_int_equal(nic_txq_poll(t->port, 0, &frames), NIC_TX_IDLE);
    assert_int_equal(frames, 3);
    for (unsigned i = 0; i < 5; i++)
        assert_memory_equal(rx_bytes(t, 2, i) + 54, t->vm[0].mem + TX_DATA + 54 + i * 1000, 1000);
}

// The port VLAN, a tag in the bytes, and segmentation: all at once.
static void test_tso_tagged(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[54 + 3000];
    uint32_t len = make_tcp(bytes, 1, 0, 3000, true);

    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    reg(t, HW_PFVLVF(0), HW_PFVLVF_VI_EN | 9);
    reg(t, HW_PFVLVFB(0), 3);
    nic_derive(t->port);
    memcpy(t->vm[0].mem + TX_DATA, bytes, 12);
    memcpy(t->vm[0].mem + TX_DATA + 12, "\x81\x00\x00\x09", 4);
    memcpy(t->vm[0].mem + TX_DATA + 16, bytes + 12, len - 12);
    test_tx_context(t, 0, 0, 20 | 18 << HW_TXC_MACLEN_SHIFT,
                    HW_TXC_TUCMD_L4T_TCP | HW_TXC_TUCMD_IPV4,
                    20 << HW_TXC_L4LEN_SHIFT | 1500u << HW_TXC_MSS_SHIFT);
    test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_DATA_CMD | HW_TXD_TSE | TX_LAST | (len + 4),
                HW_TXO_IXSM | HW_TXO_TXSM | 3000u << HW_TXO_PAYLEN_SHIFT);
    assert_int_equal(test_poll(t, 0), 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(rx_desc(t, 2, i).vlan, 9);
        assert_int_equal(rx_desc(t, 2, i).len_bytes, 1554);
        assert_true(tcp_good(rx_bytes(t, 2, i), 1554));
        assert_memory_equal(rx_bytes(t, 2, i) + 54, bytes + 54 + i * 1500, 1500);
    }
}

static void test_checksum_verdicts(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[600];
    uint32_t len = make_tcp(bytes, 1, 0, 500, false);

    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    // From another pool, made by the guest: the IP header is looked at, the rest is left to the
    // receiver.
    test_tx_frame(t, 0, bytes, len, TX_DATA);
    test_poll(t, 0);
    assert_int_equal(rx_desc(t, 2, 0).status_error,
                     HW_RXS_DD | HW_RXS_EOP | HW_RXS_LB | HW_RXS_IPCS);
    // The same from the cable: verified.
    uplink_put(bytes, len);
    bytes[len - 1] ^= 1;
    uplink_put(bytes, len);
    bytes[len - 1] ^= 1;
    bytes[24] ^= 1;
    uplink_put(bytes, len);
    assert_int_equal(nic_forward_from_cable(t->port), 3);
    assert_int_equal(rx_desc(t, 2, 1).status_error,
                     HW_RXS_DD | HW_RXS_EOP | HW_RXS_IPCS | HW_RXS_L4CS);
    assert_int_equal(rx_desc(t, 2, 2).status_error,
                     HW_RXS_DD | HW_RXS_EOP | HW_RXS_IPCS | HW_RXS_L4CS | HW_RXE_L4E);
    assert_int_equal(rx_desc(t, 2, 3).status_error,
                     HW_RXS_DD | HW_RXS_EOP | HW_RXS_IPCS | HW_RXS_L4CS | HW_RXE_IPE);
    assert_int_equal(counted(&t->port->counters.total[0].rx_l3_l4_xsum_errors), 2);
    // Made by the card, but of a header that lies elsewhere than the frame's: no verdict.
    make_tcp(bytes, 1, 0, 500, false);
    memcpy(t->vm[0].mem + TX_DATA, bytes, len);
    test_tx_context(t, 0, 0, 24 | 14 << HW_TXC_MACLEN_SHIFT, HW_TXC_TUCMD_L4T_TCP, 0);
    test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_DATA_CMD | TX_LAST | len, HW_TXO_TXSM);
    test_poll(t, 0);
    assert_int_equal(rx_desc(t, 2, 4).status_error,
                     HW_RXS_DD | HW_RXS_EOP | HW_RXS_LB | HW_RXS_IPCS);
}

static void test_rss(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[200];
    unsigned per_queue[2] = {0, 0};

    for (unsigned i = 0; i < 32; i++)
        reg(t, HW_RETA(i), 0x01000100);
    for (unsigned i = 0; i < 10; i++)
        reg(t, HW_RSSRK(i), 0x6d5a56da * (i + 1));
    reg(t, HW_MRQC, HW_MRQC_VMDQ64_RSS | HW_MRQC_RSS_IPV4_TCP);
    reg(t, HW_PSRTYPE(1), 1u << HW_PSRTYPE_RQPL_SHIFT);
    nic_derive(t->port);
    test_rx_on(t, 2, 2, true);
    test_rx_on(t, 3, 2, true);
    test_tx_on(t, 0);
    for (unsigned i = 0; i < 14; i++) {
        uint32_t len = make_tcp(bytes, 1, 0, 60, false);

        bytes[34] = (uint8_t)i; // source port
        test_tx_frame(t, 0, bytes, len, TX_DATA);
        test_poll(t, 0);
    }
    for (unsigned q = 0; q < 2; q++) {
        per_queue[q] = rx_head(t, 2 + q);
        for (unsigned i = 0; i < per_queue[q]; i++) {
            struct hw_rx_writeback_desc d = rx_desc(t, 2 + q, i);

            assert_int_equal(d.info & HW_RXI_RSS_TYPE_MASK, HW_RSS_TYPE_IPV4_TCP);
            assert_int_equal(d.rss_hash & 1, q); // the table's entries alternate
        }
    }
    assert_int_equal(per_queue[0] + per_queue[1], 14);
    assert_true(per_queue[0] && per_queue[1]);
    // The pool uses no bit of the table; the hash is not reported.
    reg(t, HW_PSRTYPE(1), 0);
    reg(t, HW_RXCSUM, 0);
    nic_derive(t->port);
    for (unsigned i = 0; i < 2; i++) {
        bytes[34] = (uint8_t)i;
        test_tx_frame(t, 0, bytes, 114, TX_DATA);
        test_poll(t, 0);
        assert_int_equal(rx_desc(t, 2, per_queue[0] + i).rss_hash, 0);
        assert_int_equal(rx_desc(t, 2, per_queue[0] + i).info & HW_RXI_RSS_TYPE_MASK, 0);
    }
}

static void test_cable(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[64];

    test_rx_on(t, 2, 2, false);
    test_tx_on(t, 0);
    // Out: padded to the least that a cable carries.
    make_frame(bytes, 9, 0, 0x88b5, 40);
    test_tx_frame(t, 0, bytes, 40, TX_DATA);
    test_poll(t, 0);
    assert_int_equal(test_uplink.sent[0].len, 60);
    assert_memory_equal(test_uplink.sent[0].bytes, bytes, 40);
    for (unsigned i = 40; i < 60; i++)
        assert_int_equal(test_uplink.sent[0].bytes[i], 0);
    assert_int_equal(counted(&t->port->counters.total[0].tx_uplink_frames), 1);
    assert_int_equal(counted(&t->port->counters.total[0].tx_uplink_bytes), 60);
    assert_int_equal(counted(&t->port->counters.total[0].tx_uplink_size_bins[0]), 1);
    // In: runts, pause frames, other VLANs and strangers go nowhere.
    make_frame(bytes, 1, 9, 0x88b5, 64);
    uplink_put(bytes, 13);
    uplink_put(bytes, 64);
    make_frame(bytes, 1, 9, 0x8808, 64);
    uplink_put(bytes, 64);
    make_frame(bytes, 9, 1, 0x88b5, 64);
    uplink_put(bytes, 64);
    make_frame(bytes, 1, 9, 0x8100, 64);
    uplink_put(bytes, 64);
    assert_int_equal(nic_forward_from_cable(t->port), 5);
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 1);
    assert_int_equal(counted(&t->port->counters.total[0].rx_undersize), 1);
    assert_int_equal(counted(&t->port->counters.total[0].rx_no_match), 2);
    assert_int_equal(rx_desc(t, 2, 0).status_error, HW_RXS_DD | HW_RXS_EOP);
    // A full ring without drop enable does not hold back the cable.
    nic_rxq_set_tail(t->port, 2, 1);
    make_frame(bytes, 1, 9, 0x88b5, 64);
    uplink_put(bytes, 64);
    assert_int_equal(nic_forward_from_cable(t->port), 1);
    assert_int_equal(counted(&t->port->counters.total[0].rx_missed), 1);
    // Receive off: taken from the cable, and lost.
    reg(t, HW_RXCTRL, 0);
    nic_derive(t->port);
    nic_rxq_set_tail(t->port, 2, 8);
    uplink_put(bytes, 64);
    assert_int_equal(nic_forward_from_cable(t->port), 1);
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 1);
}

static void test_fcs(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[64];
    uint32_t crc = UINT32_MAX;

    reg(t, HW_HLREG0, HW_HLREG0_JUMBOEN);
    nic_derive(t->port);
    test_rx_on(t, 2, 2, true);
    make_frame(bytes, 1, 9, 0x88b5, 60);
    uplink_put(bytes, 60);
    nic_forward_from_cable(t->port);
    for (unsigned i = 0; i < 60; i++) {
        crc ^= bytes[i];
        for (unsigned b = 0; b < 8; b++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    assert_int_equal(rx_desc(t, 2, 0).len_bytes, 64);
    assert_memory_equal(rx_bytes(t, 2, 0), bytes, 60);
    assert_int_equal(le32_get(rx_bytes(t, 2, 0) + 60), ~crc);
}

static void test_mac_loopback(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[64];

    reg(t, HW_HLREG0, HW_HLREG0_RXCRCSTRP | HW_HLREG0_LPBK);
    reg(t, HW_PFVTCTL, 0);
    reg(t, HW_MRQC, 0);
    nic_derive(t->port);
    t->port->vf_count = 0;
    // Without VT queues are the PF's: VM 0's rings, seen through the PF's port.
    t->port->pf_dma = t->vm[0].dma;
    test_rx_on(t, 0, 2, true);
    test_tx_on(t, 0);
    make_frame(bytes, 0, 0, 0x88b5, 64);
    test_tx_frame(t, 0, bytes, 64, TX_DATA);
    assert_int_equal(test_poll(t, 0), 1);
    assert_int_equal(test_uplink.sent_count, 0);
    assert_int_equal(rx_desc(t, 0, 0).status_error, HW_RXS_DD | HW_RXS_EOP);
    assert_memory_equal(rx_bytes(t, 0, 0), bytes, 64);
}

static void test_enables(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[64];

    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    make_frame(bytes, 1, 0, 0x88b5, 64);
    test_tx_frame(t, 0, bytes, 64, TX_DATA);
    reg(t, HW_PFVFTE(0), ~1u);
    nic_derive(t->port);
    assert_int_equal(test_poll(t, 0), 0);
    assert_int_equal(atomic_load(&t->port->txq[0].head), 0);
    reg(t, HW_PFVFTE(0), 1);
    reg(t, HW_DMATXCTL, 0);
    nic_derive(t->port);
    assert_int_equal(test_poll(t, 0), 0);
    reg(t, HW_DMATXCTL, HW_DMATXCTL_TE);
    reg(t, HW_PFVFRE(0), ~2u);
    nic_derive(t->port);
    assert_int_equal(test_poll(t, 0), 1); // sent, received by nobody
    assert_int_equal(rx_head(t, 2), 0);
    assert_int_equal(test_uplink.sent_count, 0);
    reg(t, HW_PFVFRE(0), 2);
    nic_derive(t->port);
    test_tx_frame(t, 0, bytes, 64, TX_DATA);
    assert_int_equal(test_poll(t, 0), 1);
    assert_int_equal(rx_head(t, 2), 1);
    reg(t, HW_TXDCTL(0), 0);
    nic_txq_control(t->port, 0);
    test_tx_frame(t, 0, bytes, 64, TX_DATA);
    assert_int_equal(test_poll(t, 0), 0);
}

static void test_head_writeback(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[64];

    reg(t, HW_TDWBAL(0), (uint32_t)(VM_IOVA + 0x3f00) | HW_TDWBAL_HEAD_WB_ENABLE);
    reg(t, HW_TDWBAH(0), VM_IOVA >> 32);
    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    make_frame(bytes, 1, 0, 0x88b5, 64);
    for (unsigned i = 0; i < 3; i++)
        test_tx_frame(t, 0, bytes, 64, TX_DATA);
    test_poll(t, 0);
    assert_int_equal(le32_get(t->vm[0].mem + 0x3f00), 3);
    assert_int_not_equal(le32_get(t->vm[0].mem + TX_RING(0) + 12), HW_TXO_DD); // in its place
    assert_int_equal(t->port->lane[0].tx_note[0], 1);
}

static void test_legacy_receive(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[64], *desc = t->vm[1].mem + RX_RING(0);

    test_rx_on(t, 2, 2, true);
    reg(t, HW_RXDCTL(2), 0);
    nic_rxq_control(t->port, 2);
    reg(t, HW_SRRCTL(2), 2);
    reg(t, HW_RXDCTL(2), HW_RXDCTL_ENABLE);
    assert_true(nic_rxq_control(t->port, 2));
    test_tx_on(t, 0);
    make_frame(bytes, 1, 0, 0x88b5, 64);
    test_tx_frame(t, 0, bytes, 64, TX_DATA);
    test_poll(t, 0);
    assert_int_equal(le64_get(desc), VM_IOVA + RX_BUFFER(0)); // stays
    assert_int_equal(le16_get(desc + 8), 64);
    assert_int_equal(desc[12], HW_RXS_DD | HW_RXS_EOP);
    assert_int_equal(desc[13], 0);
    assert_memory_equal(rx_bytes(t, 2, 0), bytes, 64);
}

// The guest rewrites its headers as soon as the card may have looked at them: what arrives is what
// was checked. A frame per round, changed between the poll that is held back and the next.
static void test_header_snapshot(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[64];
    unsigned frames;

    reg(t, HW_PFVFSPOOF(0), 0x1);
    nic_derive(t->port);
    test_rx_on(t, 2, 2, false);
    nic_rxq_set_tail(t->port, 2, 0);
    test_tx_on(t, 0);
    make_frame(bytes, 1, 0, 0x88b5, 64);
    test_tx_frame(t, 0, bytes, 64, TX_DATA);
    assert_int_equal(nic_txq_poll(t->port, 0, &frames), NIC_TX_WAIT);
    t->vm[0].mem[TX_DATA + 11] = 3; // another VM's address
    nic_rxq_set_tail(t->port, 2, 8);
    assert_int_equal(nic_txq_poll(t->port, 0, &frames), NIC_TX_IDLE);
    assert_int_equal(counted(&POOL(t, 0)->tx_spoof_drops), 1);
    assert_int_equal(rx_head(t, 2), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tso, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tso_in_rounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tso_tagged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checksum_verdicts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rss, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fcs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mac_loopback, setup, teardown),
        cmocka_unit_test_setup_teardown(test_enables, setup, teardown),
        cmocka_unit_test_setup_teardown(test_head_writeback, setup, teardown),
        cmocka_unit_test_setup_teardown(test_legacy_receive, setup, teardown),
        cmocka_unit_test_setup_teardown(test_header_snapshot, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

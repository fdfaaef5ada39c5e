// SPDX-License-Identifier: BSD-3-Clause
// Transmit and receive rings, end to end through the switch: wrap, boundaries, faults, tags,
// segmentation, malformed descriptors.
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

static bool dd(const struct test_port *t, unsigned queue, unsigned index)
{
    const uint8_t *ring = t->vm[queue / QUEUES_A_POOL].mem + TX_RING(queue % QUEUES_A_POOL);

    return le32_get(ring + index * 16 + 12) == HW_TXO_DD;
}

#define POOL(t, n) (&(t)->port->counters.pool[n])

static void test_one_frame(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[1514];
    struct hw_rx_writeback_desc d;

    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    make_frame(bytes, 1, 0, 0x88b5, sizeof bytes);
    test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA + 1000); // crosses a page
    assert_int_equal(test_poll(t, 0), 1);
    d = rx_desc(t, 2, 0);
    assert_int_equal(d.status_error, HW_RXS_DD | HW_RXS_EOP | HW_RXS_LB);
    assert_int_equal(d.len_bytes, sizeof bytes);
    assert_int_equal(d.info, 0);
    assert_memory_equal(rx_bytes(t, 2, 0), bytes, sizeof bytes);
    assert_int_equal(rx_bytes(t, 2, 0)[sizeof bytes], 0); // and not one more
    assert_true(dd(t, 0, 0));
    assert_int_equal(rx_head(t, 2), 1);
    assert_int_equal(test_uplink.sent_count, 0);
    assert_int_equal(counted(&POOL(t, 0)->tx_frames), 1);
    assert_int_equal(counted(&POOL(t, 0)->tx_bytes), sizeof bytes);
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 1);
    assert_int_equal(counted(&POOL(t, 1)->rx_bytes), sizeof bytes);
    assert_int_equal(t->port->lane[0].rx_note[0], BIT64(2));
    assert_int_equal(t->port->lane[0].tx_note[0], BIT64(0));
}

// What the switch decided for a flow is not remembered beyond the tables that it came from; tags
// and sources are flows of their own. Frames of every length that the short copies cut in two.
static void test_tables_change(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[200], mac[6];
    unsigned n = 0;

    test_rx_on(t, 2, 2, true);
    test_rx_on(t, 4, 2, true);
    test_tx_on(t, 0);
    for (uint32_t len = 17; len < sizeof bytes; len++, n++) {
        make_frame(bytes, 1, 0, 0x88b5, len);
        test_tx_frame(t, 0, bytes, len, TX_DATA);
        assert_int_equal(test_poll(t, 0), 1);
        assert_memory_equal(rx_bytes(t, 2, n % RING_LEN), bytes, len);
        assert_int_equal(rx_desc(t, 2, n % RING_LEN).len_bytes, len);
        le64_put(t->vm[1].mem + RX_RING(0) + n % RING_LEN * 16, VM_IOVA + RX_BUFFER(n % RING_LEN));
        nic_rxq_set_tail(t->port, 2, n % RING_LEN);
    }
    vm_mac(1, mac);
    test_rar(t, 1, mac, BIT64(2)); // the address moves to another pool
    nic_derive(t->port);
    test_tx_frame(t, 0, bytes, 64, TX_DATA);
    assert_int_equal(test_poll(t, 0), 1);
    assert_int_equal(rx_head(t, 2), n % RING_LEN);
    assert_int_equal(rx_head(t, 4), 1);
    reg(t, HW_PFVFSPOOF(0), BIT(HW_PFVFSPOOF_MACAS_SHIFT));
    nic_derive(t->port);
    test_tx_frame(t, 0, bytes, 64, TX_DATA);
    make_frame(bytes, 1, 3, 0x88b5, 64); // the same receiver, somebody else's address
    test_tx_frame(t, 0, bytes, 64, TX_DATA + 256);
    test_poll(t, 0);
    assert_int_equal(rx_head(t, 4), 2);
    assert_int_equal(counted(&POOL(t, 0)->tx_spoof_drops), 1);
}

// Many times round both rings, in batches that do not divide them.
static void test_wrap(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[80];
    unsigned received = 0;

    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < 7; i++) {
            make_frame(bytes, 1, 0, 0x88b5, sizeof bytes);
            bytes[20] = (uint8_t)(round * 7 + i);
            test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA + i * 128);
        }
        assert_int_equal(test_poll(t, 0), 7);
        for (unsigned i = 0; i < 7; i++, received++) {
            unsigned at = received % RING_LEN;
            uint8_t *desc = t->vm[1].mem + RX_RING(0) + at * 16;

            assert_true(rx_desc(t, 2, at).status_error & HW_RXS_DD);
            assert_int_equal(rx_bytes(t, 2, at)[20], (uint8_t)received);
            le64_put(desc, VM_IOVA + RX_BUFFER(at));
            le64_put(desc + 8, 0);
        }
        nic_rxq_set_tail(t->port, 2, (received + RING_LEN - 1) % RING_LEN);
    }
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 280);
    assert_int_equal(counted(&POOL(t, 1)->rx_no_descriptor_drops), 0);
}

static void test_full_ring_drops(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[60];

    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    make_frame(bytes, 1, 0, 0x88b5, sizeof bytes);
    for (unsigned i = 0; i < RING_LEN - 1; i++) // one descriptor always stays the driver's
        test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA);
    assert_int_equal(test_poll(t, 0), RING_LEN - 1);
    assert_int_equal(counted(&POOL(t, 1)->rx_no_descriptor_drops), 0);
    test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA);
    assert_int_equal(test_poll(t, 0), 1);
    assert_int_equal(counted(&POOL(t, 1)->rx_no_descriptor_drops), 1);
    assert_int_equal(counted(&t->port->counters.queue[2].rx_drops), 1);
    assert_int_equal(rx_desc(t, 2, RING_LEN - 1).status_error, 0);
    assert_true(dd(t, 0, RING_LEN - 1)); // the sender is not told
}

static void test_full_ring_holds_back(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[60];
    unsigned frames;

    test_rx_on(t, 2, 2, false);
    test_rx_on(t, 4, 2, true);
    test_tx_on(t, 0);
    test_tx_on(t, 1);
    nic_rxq_set_tail(t->port, 2, 1); // room for one
    make_frame(bytes, 1, 0, 0x88b5, sizeof bytes);
    test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA);
    test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA);
    assert_int_equal(nic_txq_poll(t->port, 0, &frames), NIC_TX_WAIT);
    assert_int_equal(frames, 1);
    assert_true(dd(t, 0, 0));
    assert_false(dd(t, 0, 1));
    // The sender's other queue, to somebody else, is not held back.
    make_frame(bytes, 2, 0, 0x88b5, sizeof bytes);
    test_tx_frame(t, 1, bytes, sizeof bytes, TX_DATA + 256);
    assert_int_equal(test_poll(t, 1), 1);
    assert_int_equal(counted(&POOL(t, 2)->rx_frames), 1);
    assert_int_equal(nic_txq_poll(t->port, 0, &frames), NIC_TX_WAIT);
    assert_int_equal(frames, 0);
    nic_rxq_set_tail(t->port, 2, 2);
    assert_int_equal(nic_txq_poll(t->port, 0, &frames), NIC_TX_IDLE);
    assert_int_equal(frames, 1);
    assert_true(dd(t, 0, 1));
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 2);
    assert_int_equal(counted(&POOL(t, 0)->tx_frames), 3);
    // The PF's drop enable ends a wait.
    test_tx_frame(t, 0, bytes, 60, TX_DATA);
    make_frame(t->vm[0].mem + TX_DATA, 1, 0, 0x88b5, 60);
    assert_int_equal(nic_txq_poll(t->port, 0, &frames), NIC_TX_WAIT);
    nic_rxq_set_drop(t->port, 2, true);
    assert_int_equal(nic_txq_poll(t->port, 0, &frames), NIC_TX_IDLE);
    assert_int_equal(counted(&POOL(t, 1)->rx_no_descriptor_drops), 1);
}

// A broadcast whose one receiver has no room reaches the others once, not once a try.
static void test_held_back_broadcast(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[60];
    unsigned frames;

    test_rx_on(t, 2, 2, false);
    test_rx_on(t, 4, 2, true);
    test_tx_on(t, 0);
    nic_rxq_set_tail(t->port, 2, 0);
    make_frame(bytes, 1, 0, 0x88b5, sizeof bytes);
    memset(bytes, 0xff, 6);
    test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(nic_txq_poll(t->port, 0, &frames), NIC_TX_WAIT);
    assert_int_equal(counted(&POOL(t, 2)->rx_frames), 1);
    assert_int_equal(test_uplink.sent_count, 1);
    nic_rxq_set_tail(t->port, 2, 1);
    assert_int_equal(nic_txq_poll(t->port, 0, &frames), NIC_TX_IDLE);
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 1);
    assert_int_equal(counted(&POOL(t, 2)->rx_frames), 1);
    assert_int_equal(test_uplink.sent_count, 1);
    assert_int_equal(counted(&POOL(t, 0)->tx_frames), 1);
}

// Lengths round one, two and three buffers.
static void test_several_buffers(void **state)
{
    static const uint32_t lengths[] = {1023, 1024, 1025, 2047, 2048, 2049, 3072, 9000, 9728};
    struct test_port *t = *state;
    static uint8_t bytes[9728], got[16384];
    unsigned at = 0;

    reg(t, HW_MAXFRS, 9732u << HW_MAXFRS_MFS_SHIFT);
    nic_derive(t->port);
    test_rx_on(t, 2, 1, true);
    test_tx_on(t, 0);
    for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint32_t len = lengths[i], n = (len + 1023) / 1024, sum = 0;

        make_frame(bytes, 1, 0, 0x88b5, len);
        test_tx_frame(t, 0, bytes, len, TX_DATA + 5);
        assert_int_equal(test_poll(t, 0), 1);
        for (unsigned b = 0; b < n; b++, at = (at + 1) % RING_LEN) {
            struct hw_rx_writeback_desc d = rx_desc(t, 2, at);

            assert_int_equal(d.status_error,
                             b == n - 1 ? HW_RXS_DD | HW_RXS_EOP | HW_RXS_LB : HW_RXS_DD);
            assert_int_equal(d.len_bytes, b == n - 1 ? len - sum : 1024);
            memcpy(got + sum, rx_bytes(t, 2, at), d.len_bytes);
            sum += d.len_bytes;
            le64_put(t->vm[1].mem + RX_RING(0) + at * 16, VM_IOVA + RX_BUFFER(at));
            le64_put(t->vm[1].mem + RX_RING(0) + at * 16 + 8, 0);
        }
        assert_int_equal(sum, len);
        assert_memory_equal(got, bytes, len);
        assert_int_equal(rx_head(t, 2), at);
        nic_rxq_set_tail(t->port, 2, (at + RING_LEN - 1) % RING_LEN);
    }
    // Room for all but the last buffer: nothing of it arrives.
    nic_rxq_set_tail(t->port, 2, (at + 2) % RING_LEN);
    make_frame(bytes, 1, 0, 0x88b5, 2049);
    test_tx_frame(t, 0, bytes, 2049, TX_DATA);
    test_poll(t, 0);
    assert_int_equal(rx_head(t, 2), at);
    assert_int_equal(counted(&POOL(t, 1)->rx_no_descriptor_drops), 1);
}

// A packet in as many descriptors as there may be; one more is refused, and the ring goes on.
static void test_many_descriptors(void **state)
{
    struct test_port *t = *state;
    struct test_vm *vm = &t->vm[0];
    uint8_t bytes[60 + 41];

    test_rx_on(t, 2, 2, true);
    reg(t, HW_TDLEN(0), 128 * 16);
    reg(t, HW_TDBAL(0), (uint32_t)(VM_IOVA + 0x20000));
    reg(t, HW_TDBAH(0), VM_IOVA >> 32);
    reg(t, HW_TXDCTL(0), HW_TXDCTL_ENABLE);
    assert_true(nic_txq_control(t->port, 0));
    for (unsigned n = 39; n <= 41; n++) {
        uint32_t len = 60 + n, tail = tx_tail(t, 0);

        make_frame(bytes, 1, 0, 0x88b5, len);
        // Each piece lies across a page boundary.
        for (unsigned i = 0; i < n; i++) {
            uint32_t piece = i ? 2 : len - 2 * (n - 1), at = 0x41000 + i * 0x1000 - 1;
            uint8_t *desc = vm->mem + 0x20000 + (tail + i) % 128 * 16;

            memcpy(vm->mem + at, bytes + (i ? len - 2 * (n - i) : 0), piece);
            le64_put(desc, VM_IOVA + at);
            le32_put(desc + 8, TX_DATA_CMD | piece | (i == n - 1 ? TX_LAST : 0));
            le32_put(desc + 12, i ? 0 : len << HW_TXO_PAYLEN_SHIFT);
        }
        nic_txq_set_tail(t->port, 0, (tail + n) % 128);
        test_poll(t, 0);
        assert_int_equal(atomic_load(&t->port->txq[0].head), (tail + n) % 128);
        if (n <= NIC_TX_DESC_MAX) {
            assert_int_equal(rx_desc(t, 2, n - 39).len_bytes, len);
            assert_memory_equal(rx_bytes(t, 2, n - 39), bytes, len);
        }
    }
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 2);
    assert_int_equal(counted(&POOL(t, 0)->tx_malformed_drops), 1);
}

// Without an end in sight: dropped up to the next EOP, however many rounds that takes.
static void test_endless_packet(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[64];

    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    reg(t, HW_TXDCTL(0), 0);
    nic_txq_control(t->port, 0);
    reg(t, HW_TDLEN(0), 64 * 16);
    reg(t, HW_TXDCTL(0), HW_TXDCTL_ENABLE);
    assert_true(nic_txq_control(t->port, 0));
    for (unsigned i = 0; i < 39; i++)
        test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_DATA_CMD | 64, 0);
    assert_int_equal(test_poll(t, 0), 0);
    assert_int_equal(atomic_load(&t->port->txq[0].head), 0); // may still become whole
    for (unsigned i = 0; i < 20; i++)
        test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_DATA_CMD | 64, 0);
    assert_int_equal(test_poll(t, 0), 0);
    assert_int_equal(atomic_load(&t->port->txq[0].head), 59);
    test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_DATA_CMD | TX_LAST | 64, 0);
    make_frame(bytes, 1, 0, 0x88b5, sizeof bytes);
    test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA);
    assert_int_equal(test_poll(t, 0), 1);
    assert_int_equal(counted(&POOL(t, 0)->tx_malformed_drops), 1);
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 1);
}

static void expect_malformed(struct test_port *t, uint64_t addr, uint32_t cmd, uint32_t olinfo)
{
    uint64_t before = counted(&POOL(t, 0)->tx_malformed_drops);
    uint32_t index = tx_tail(t, 0);

    test_tx_raw(t, 0, addr, cmd, olinfo);
    assert_int_equal(test_poll(t, 0), 0);
    assert_int_equal(counted(&POOL(t, 0)->tx_malformed_drops), before + 1);
    assert_true(dd(t, 0, index)); // reported all the same
    assert_int_equal(atomic_load(&t->port->txq[0].head), tx_tail(t, 0));
}

static void test_malformed(void **state)
{
    struct test_port *t = *state;
    const uint64_t addr = VM_IOVA + TX_DATA;
    uint8_t bytes[64];

    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    make_frame(bytes, 1, 0, 0x88b5, sizeof bytes);
    memcpy(t->vm[0].mem + TX_DATA, bytes, sizeof bytes);
    for (unsigned type = 0; type < 16; type++) {
        uint32_t dtyp = type << 20;

        if (dtyp != HW_TXD_TYPE_DATA && dtyp != HW_TXD_TYPE_CONTEXT)
            expect_malformed(t, addr, HW_TXD_DEXT | dtyp | TX_LAST | 64, 0);
    }
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | 16, 0); // shorter than may be sent
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | 0, 0);
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | 9729, 0);
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | 65535, 0);
    expect_malformed(t, addr, HW_TXD_IC | TX_LAST | 64, 0); // legacy checksum
    // A context that there is none of; contexts that were never loaded; segments of nothing.
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | 64, HW_TXO_TXSM | 2 << HW_TXO_IDX_SHIFT);
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | 64, HW_TXO_TXSM);
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | HW_TXD_TSE | 64, HW_TXO_TXSM);
    test_tx_context(t, 0, 1, 20 | 14 << HW_TXC_MACLEN_SHIFT, HW_TXC_TUCMD_IPV4 | 0x1800, 0);
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | 64, HW_TXO_TXSM | 1 << HW_TXO_IDX_SHIFT);
    // The L4 header lies outside the packet; headers longer than any snapshot.
    test_tx_context(t, 0, 0, 40 | 14 << HW_TXC_MACLEN_SHIFT, HW_TXC_TUCMD_L4T_TCP, 0);
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | 64, HW_TXO_TXSM);
    test_tx_context(t, 0, 0, 511 | 127 << HW_TXC_MACLEN_SHIFT, HW_TXC_TUCMD_L4T_TCP, 0);
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | 2000, HW_TXO_TXSM);
    // TSO: length that does not fit the buffers, MSS 0, MSS too large.
    test_tx_context(t, 0, 0, 20 | 14 << HW_TXC_MACLEN_SHIFT,
                    HW_TXC_TUCMD_L4T_TCP | HW_TXC_TUCMD_IPV4,
                    20 << HW_TXC_L4LEN_SHIFT | 100 << HW_TXC_MSS_SHIFT);
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | HW_TXD_TSE | 154, 101 << HW_TXO_PAYLEN_SHIFT);
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | HW_TXD_TSE | 54, 0);
    test_tx_context(t, 0, 0, 20 | 14 << HW_TXC_MACLEN_SHIFT,
                    HW_TXC_TUCMD_L4T_TCP | HW_TXC_TUCMD_IPV4, 20 << HW_TXC_L4LEN_SHIFT);
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | HW_TXD_TSE | 154, 100 << HW_TXO_PAYLEN_SHIFT);
    test_tx_context(t, 0, 0, 20 | 14 << HW_TXC_MACLEN_SHIFT,
                    HW_TXC_TUCMD_L4T_TCP | HW_TXC_TUCMD_IPV4,
                    20 << HW_TXC_L4LEN_SHIFT | 9675u << HW_TXC_MSS_SHIFT);
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | HW_TXD_TSE | 154, 100 << HW_TXO_PAYLEN_SHIFT);
    // A context in the middle of a packet.
    test_tx_raw(t, 0, addr, TX_DATA_CMD | 64, 0);
    test_tx_context(t, 0, 0, 0, 0, 0);
    expect_malformed(t, addr, TX_DATA_CMD | TX_LAST | 64, 0);
    // And after all that a good one goes through.
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 0);
    test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA);
    assert_int_equal(test_poll(t, 0), 1);
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 1);
}

static void test_faults(void **state)
{
    struct test_port *t = *state;
    struct nic_pool_counters *a = POOL(t, 0), *b = POOL(t, 1);
    uint8_t bytes[2000];

    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    make_frame(bytes, 1, 0, 0x88b5, sizeof bytes);
    // The sender's buffer: first byte, and half-way.
    test_tx_raw(t, 0, VM_IOVA + VM_MEM_BYTES, TX_DATA_CMD | TX_LAST | 1000, 0);
    test_poll(t, 0);
    assert_int_equal(counted(&a->tx_fault_drops), 1);
    test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA + 0x1000 - 500);
    vm_refuse(t, &t->vm[0], TX_DATA + 0x1000, DMA_READ);
    test_poll(t, 0);
    assert_int_equal(counted(&a->tx_fault_drops), 2);
    assert_int_equal(t->vm[0].fault_count, 2);
    assert_true(dd(t, 0, 1));
    assert_int_equal(rx_head(t, 2), 0);
    // An address that wraps.
    test_tx_raw(t, 0, UINT64_MAX - 20, TX_DATA_CMD | TX_LAST | 64, 0);
    test_poll(t, 0);
    assert_int_equal(counted(&a->tx_fault_drops), 3);

    // The receiver's buffer, half-way: its descriptor comes back with an error, its memory is
    // untouched past the page, and the next frame arrives.
    le64_put(t->vm[1].mem + RX_RING(0), VM_IOVA + 0x7f000 - 100);
    vm_refuse(t, &t->vm[1], 0x7f000, DMA_WRITE);
    test_tx_frame(t, 0, bytes, 1000, TX_DATA + 0x4000);
    test_tx_frame(t, 0, bytes, 1000, TX_DATA + 0x4000);
    test_poll(t, 0);
    assert_int_equal(counted(&b->rx_fault_drops), 1);
    assert_int_equal(counted(&b->rx_frames), 1);
    assert_int_equal(rx_desc(t, 2, 0).status_error,
                     HW_RXS_DD | HW_RXS_EOP | HW_RXS_LB | HW_RXE_RXE);
    assert_int_equal(t->vm[1].mem[0x7f000], 0);
    assert_memory_equal(rx_bytes(t, 2, 1), bytes, 1000);
    // The receiver's ring: that queue stops, the sender does not.
    vm_refuse(t, &t->vm[1], RX_RING(0), DMA_WRITE);
    test_tx_frame(t, 0, bytes, 1000, TX_DATA + 0x4000);
    test_tx_frame(t, 0, bytes, 1000, TX_DATA + 0x4000);
    assert_int_equal(test_poll(t, 0), 2);
    assert_true(t->port->rxq[2].faulted);
    assert_int_equal(counted(&b->rx_fault_drops), 2);
    assert_int_equal(counted(&b->rx_no_descriptor_drops), 1);
    // The sender's ring: stops until enabled anew.
    vm_refuse(t, &t->vm[0], TX_RING(0), DMA_READ);
    test_tx_raw(t, 0, VM_IOVA + TX_DATA + 0x4000, TX_DATA_CMD | TX_LAST | 64, 0);
    assert_int_equal(test_poll(t, 0), 0);
    assert_true(t->port->txq[0].faulted);
    vm_refuse(t, &t->vm[0], TX_RING(0), 0);
    assert_int_equal(test_poll(t, 0), 0);
    reg(t, HW_TDH(0), atomic_load(&t->port->txq[0].head));
    reg(t, HW_TXDCTL(0), 0);
    assert_false(nic_txq_control(t->port, 0));
    reg(t, HW_TXDCTL(0), HW_TXDCTL_ENABLE);
    assert_true(nic_txq_control(t->port, 0));
    assert_int_equal(test_poll(t, 0), 1);
    // Bus mastering off: nothing is issued.
    t->vm[0].dma[0].bus_master = false;
    test_tx_raw(t, 0, VM_IOVA + TX_DATA + 0x4000, TX_DATA_CMD | TX_LAST | 64, 0);
    assert_int_equal(test_poll(t, 0), 0);
    assert_true(t->vm[0].dma[0].blocked_count > 0);
}

static void test_bad_rings(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[64];

    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    make_frame(bytes, 1, 0, 0x88b5, sizeof bytes);
    // Tails outside the ring: nothing happens, until one inside.
    test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA);
    nic_txq_set_tail(t->port, 0, RING_LEN);
    assert_int_equal(test_poll(t, 0), 0);
    nic_txq_set_tail(t->port, 0, 0xffff);
    assert_int_equal(test_poll(t, 0), 0);
    nic_rxq_set_tail(t->port, 2, RING_LEN);
    nic_txq_set_tail(t->port, 0, 1);
    assert_int_equal(test_poll(t, 0), 1);
    assert_int_equal(counted(&POOL(t, 1)->rx_no_descriptor_drops), 1);
    // A head past the end, no length, and the last head that is inside.
    for (uint32_t head = RING_LEN - 1; head <= RING_LEN + 1; head++) {
        reg(t, HW_TXDCTL(0), 0);
        nic_txq_control(t->port, 0);
        reg(t, HW_TDH(0), head);
        reg(t, HW_TXDCTL(0), HW_TXDCTL_ENABLE);
        assert_int_equal(nic_txq_control(t->port, 0), head < RING_LEN);
        reg(t, HW_RXDCTL(2), 0);
        nic_rxq_control(t->port, 2);
        reg(t, HW_RDH(2), head);
        reg(t, HW_RXDCTL(2), HW_RXDCTL_ENABLE);
        assert_int_equal(nic_rxq_control(t->port, 2), head < RING_LEN);
    }
    reg(t, HW_TDH(0), 0);
    reg(t, HW_TDLEN(0), 0);
    assert_false(nic_txq_control(t->port, 0));
    reg(t, HW_TDLEN(0), 127); // less than the smallest ring
    assert_false(nic_txq_control(t->port, 0));
    reg(t, HW_TDLEN(0), 128);
    assert_true(nic_txq_control(t->port, 0));
    assert_int_equal(t->port->txq[0].desc_count, 8);
    // No buffer size: all frames are dropped.
    reg(t, HW_RDH(2), 0);
    reg(t, HW_SRRCTL(2), HW_SRRCTL_DESCTYPE_ADV << HW_SRRCTL_DESCTYPE_SHIFT);
    assert_true(nic_rxq_control(t->port, 2));
    nic_rxq_set_tail(t->port, 2, 8);
    nic_txq_set_tail(t->port, 0, 1);
    assert_int_equal(test_poll(t, 0), 1);
    assert_int_equal(rx_head(t, 2), 0);
}

static void test_vlan(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[68];
    struct hw_rx_writeback_desc d;

    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    reg(t, HW_PFVLVF(3), HW_PFVLVF_VI_EN | 100);
    reg(t, HW_PFVLVFB(6), 0x3);
    nic_derive(t->port);
    // Inserted by descriptor, stripped at the receiver.
    make_frame(bytes, 1, 0, 0x88b5, 64);
    test_tx_context(t, 0, 0, (uint32_t)0x6064 << HW_TXC_VLAN_SHIFT | 14 << HW_TXC_MACLEN_SHIFT, 0,
                    0);
    memcpy(t->vm[0].mem + TX_DATA, bytes, 64);
    test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_DATA_CMD | TX_LAST | HW_TXD_VLE | 64, HW_TXO_CC);
    assert_int_equal(test_poll(t, 0), 1);
    d = rx_desc(t, 2, 0);
    assert_int_equal(d.status_error, HW_RXS_DD | HW_RXS_EOP | HW_RXS_LB | HW_RXS_VP);
    assert_int_equal(d.vlan, 0x6064);
    assert_int_equal(d.len_bytes, 64);
    assert_memory_equal(rx_bytes(t, 2, 0), bytes, 64);
    assert_int_equal(counted(&POOL(t, 1)->rx_bytes), 68);
    // The same in the packet's own bytes.
    memcpy(t->vm[0].mem + TX_DATA, bytes, 12);
    memcpy(t->vm[0].mem + TX_DATA + 12, "\x81\x00\x60\x64", 4);
    memcpy(t->vm[0].mem + TX_DATA + 16, bytes + 12, 52);
    test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_DATA_CMD | TX_LAST | 68, 0);
    assert_int_equal(test_poll(t, 0), 1);
    d = rx_desc(t, 2, 1);
    assert_int_equal(d.vlan, 0x6064);
    assert_int_equal(d.len_bytes, 64);
    assert_memory_equal(rx_bytes(t, 2, 1), bytes, 64);
    // Not stripped.
    reg(t, HW_RXDCTL(2), HW_RXDCTL_ENABLE);
    assert_true(nic_rxq_control(t->port, 2));
    test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_DATA_CMD | TX_LAST | 68, 0);
    test_poll(t, 0);
    d = rx_desc(t, 2, 2);
    assert_int_equal(d.status_error, HW_RXS_DD | HW_RXS_EOP | HW_RXS_LB);
    assert_int_equal(d.len_bytes, 68);
    assert_memory_equal(rx_bytes(t, 2, 2), t->vm[0].mem + TX_DATA, 68);
    // Legacy descriptor with a tag.
    memcpy(t->vm[0].mem + TX_DATA, bytes, 64);
    test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_LAST | HW_TXD_VLE | 64, (uint32_t)100 << 16);
    test_poll(t, 0);
    assert_int_equal(rx_desc(t, 2, 3).len_bytes, 68);
    assert_memory_equal(rx_bytes(t, 2, 3) + 12, "\x81\x00\x00\x64", 4);
    // On the cable, with the tag.
    make_frame(bytes, 9, 0, 0x88b5, 64);
    memcpy(t->vm[0].mem + TX_DATA, bytes, 64);
    test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_LAST | HW_TXD_VLE | 64, (uint32_t)100 << 16);
    test_poll(t, 0);
    assert_int_equal(test_uplink.sent_count, 1);
    assert_int_equal(test_uplink.sent[0].len, 68);
    assert_memory_equal(test_uplink.sent[0].bytes + 12, "\x81\x00\x00\x64\x88\xb5", 6);
}

static void test_port_vlan(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[68];
    struct hw_rx_writeback_desc d;

    for (unsigned vm = 1; vm < 3; vm++)
        test_rx_on(t, 2 * vm, 2, true);
    test_tx_on(t, 0);
    reg(t, HW_PFVMVIR(0), HW_PFVMVIR_VLANA_DEFAULT | 0xa00a);
    reg(t, HW_PFVLVF(0), HW_PFVLVF_VI_EN | 10);
    reg(t, HW_PFVLVFB(0), 0x3); // VMs 0 and 1
    reg(t, HW_PFVML2FLT(0), HW_PFVML2FLT_BAM);
    nic_derive(t->port);
    make_frame(bytes, 1, 0, 0x88b5, 64);
    test_tx_frame(t, 0, bytes, 64, TX_DATA);
    test_poll(t, 0);
    assert_int_equal(rx_desc(t, 2, 0).vlan, 0xa00a);
    // Whatever the guest says goes behind the port's tag.
    memmove(bytes + 16, bytes + 12, 52);
    memcpy(bytes + 12, "\x81\x00\x00\x05", 4);
    test_tx_frame(t, 0, bytes, 68, TX_DATA);
    test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_LAST | HW_TXD_VLE | 68, 5u << 16);
    test_poll(t, 0);
    for (unsigned i = 1; i < 3; i++) {
        d = rx_desc(t, 2, i);
        assert_int_equal(d.vlan, 0xa00a);
        assert_int_equal(d.len_bytes, 68);
        assert_memory_equal(rx_bytes(t, 2, i), bytes, 68);
    }
    // VM 2 is not in that VLAN.
    make_frame(bytes, 2, 0, 0x88b5, 64);
    test_tx_frame(t, 0, bytes, 64, TX_DATA);
    make_frame(bytes, 1, 0, 0x88b5, 64);
    memset(bytes, 0xff, 6);
    test_tx_frame(t, 0, bytes, 64, TX_DATA + 128);
    test_poll(t, 0);
    assert_int_equal(counted(&POOL(t, 2)->rx_frames), 0);
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 4);
    // Never insert.
    reg(t, HW_PFVMVIR(0), HW_PFVMVIR_VLANA_NEVER | 10);
    reg(t, HW_PFVML2FLT(0), HW_PFVML2FLT_AUPE);
    nic_derive(t->port);
    make_frame(bytes, 1, 0, 0x88b5, 64);
    memcpy(t->vm[0].mem + TX_DATA, bytes, 64);
    test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_LAST | HW_TXD_VLE | 64, 10u << 16);
    test_poll(t, 0);
    assert_int_equal(rx_desc(t, 2, 4).status_error, HW_RXS_DD | HW_RXS_EOP | HW_RXS_LB);
}

static void test_spoof(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[64];

    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    reg(t, HW_PFVFSPOOF(0), 0x1);
    nic_derive(t->port);
    make_frame(bytes, 1, 3, 0x88b5, sizeof bytes);
    test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA);
    test_poll(t, 0);
    make_frame(bytes, 1, 0, 0x88b5, sizeof bytes);
    test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA);
    test_poll(t, 0);
    assert_int_equal(counted(&POOL(t, 0)->tx_spoof_drops), 1);
    assert_int_equal(counted(&POOL(t, 0)->tx_frames), 1);
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 1);
    assert_true(dd(t, 0, 0));
}

static void test_oversize(void **state)
{
    struct test_port *t = *state;
    static uint8_t bytes[1600];

    test_rx_on(t, 2, 2, true);
    test_tx_on(t, 0);
    reg(t, HW_HLREG0, HW_HLREG0_RXCRCSTRP);
    nic_derive(t->port);
    for (uint32_t len = 1513; len <= 1515; len++) { // 1518 with FCS
        make_frame(bytes, 1, 0, 0x88b5, len);
        test_tx_frame(t, 0, bytes, len, TX_DATA);
        uplink_put(bytes, len);
    }
    test_poll(t, 0);
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 2);
    assert_int_equal(counted(&t->port->counters.total[0].rx_oversize), 1);
    assert_int_equal(nic_forward_from_cable(t->port), 3);
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 4);
    assert_int_equal(counted(&t->port->counters.total[0].rx_oversize), 2);
    reg(t, HW_HLREG0, HW_HLREG0_RXCRCSTRP | HW_HLREG0_JUMBOEN);
    reg(t, HW_MAXFRS, 1519u << HW_MAXFRS_MFS_SHIFT);
    nic_derive(t->port);
    test_tx_frame(t, 0, bytes, 1515, TX_DATA);
    test_poll(t, 0);
    assert_int_equal(counted(&POOL(t, 1)->rx_frames), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_frame, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tables_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_ring_drops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_ring_holds_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_held_back_broadcast, setup, teardown),
        cmocka_unit_test_setup_teardown(test_several_buffers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_endless_packet, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_rings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vlan, setup, teardown),
        cmocka_unit_test_setup_teardown(test_port_vlan, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spoof, setup, teardown),
        cmocka_unit_test_setup_teardown(test_oversize, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

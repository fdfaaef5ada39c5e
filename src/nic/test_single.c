// SPDX-License-Identifier: BSD-3-Clause
// Frames that are alone in their ring (single.h). That they fare as others do, test_express.c says,
// which compares with the general way; here is what random traffic seldom has.
#include "nic/single.h"
#include "nic/test_port.h"

#define LEN 80u

#define POOL(t, n) (&(t)->port->counters.pool[n])

// The receivers' buffers lie in one page, so that the first frame has all of them translated.
static uint32_t buffer(unsigned index)
{
    return RX_BUFFER(0) + index * 256;
}

static void post(struct test_port *t, unsigned queue, unsigned index)
{
    uint8_t *desc = t->vm[queue / QUEUES_A_POOL].mem + RX_RING(0) + index * 16;

    le64_put(desc, VM_IOVA + buffer(index));
    le64_put(desc + 8, 0);
}

static int setup(void **state)
{
    struct test_port *t = test_port_new();

    test_rx_on(t, 2, 2, true);
    test_rx_on(t, 4, 2, true);
    for (unsigned i = 0; i < RING_LEN; i++) {
        post(t, 2, i);
        post(t, 4, i);
    }
    test_tx_on(t, 0);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    test_port_free(*state);
    return 0;
}

static bool dd(const struct test_port *t, unsigned index)
{
    return le32_get(t->vm[0].mem + TX_RING(0) + index * 16 + 12) == HW_TXO_DD;
}

static void send_to(struct test_port *t, unsigned to, uint32_t cmd)
{
    uint8_t *bytes = t->vm[0].mem + TX_DATA;

    make_frame(bytes, to, 0, 0x88b5, LEN);
    bytes[20] = (uint8_t)tx_tail(t, 0);
    test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_DATA_CMD | HW_TXD_EOP | cmd | LEN,
                LEN << HW_TXO_PAYLEN_SHIFT);
}

static uint64_t alone(const struct test_port *t)
{
    return t->port->txq[0].single_frames;
}

// The first ones fill the caches of translations, and have the path learned.
static void warm_up(struct test_port *t)
{
    for (unsigned i = 0; i < 2; i++) {
        send_to(t, 1, 0);
        assert_int_equal(test_poll(t, 0), 1);
    }
    assert_int_equal(alone(t), 1);
    memset(t->port->lane[0].rx_note, 0, sizeof t->port->lane[0].rx_note);
    memset(t->port->lane[0].tx_note, 0, sizeof t->port->lane[0].tx_note);
}

// Round both rings, with a report asked for by every second frame.
static void test_rounds(void **state)
{
    struct test_port *t = *state;
    struct nic_lane *lane = &t->port->lane[0];

    warm_up(t);
    for (unsigned i = 2; i < 3 * RING_LEN; i++) {
        uint64_t before = alone(t);
        unsigned at = i % RING_LEN;

        post(t, 2, at);
        nic_rxq_set_tail(t->port, 2, (at + 1) % RING_LEN);
        send_to(t, 1, i & 1 ? HW_TXD_RS : 0);
        assert_int_equal(test_poll(t, 0), 1);
        assert_int_equal(alone(t), before + 1);
        assert_memory_equal(t->vm[1].mem + buffer(at), t->vm[0].mem + TX_DATA, LEN);
        assert_int_equal(rx_desc(t, 2, at).len_bytes, LEN);
        assert_int_equal(rx_desc(t, 2, at).status_error, HW_RXS_DD | HW_RXS_EOP | HW_RXS_LB);
        assert_int_equal(dd(t, at), i & 1);
        assert_int_equal(lane->rx_note[0], BIT64(2));
        assert_int_equal(lane->tx_note[0], i & 1);
        lane->rx_note[0] = lane->tx_note[0] = 0;
        assert_int_equal(rx_head(t, 2), (at + 1) % RING_LEN);
        assert_int_equal(atomic_load(&t->port->txq[0].head), (at + 1) % RING_LEN);
        assert_int_equal(counted(&POOL(t, 0)->tx_frames), i + 1);
        assert_int_equal(counted(&POOL(t, 1)->rx_bytes), (i + 1) * LEN);
    }
}

// What the last frame's path says is a guess.
static void test_other_flow(void **state)
{
    struct test_port *t = *state;
    uint8_t mac[6];

    warm_up(t);
    for (unsigned i = 0; i < 8; i++) { // to one and the other in turn
        send_to(t, 2 - i % 2, 0);
        assert_int_equal(test_poll(t, 0), 1);
    }
    assert_int_equal(rx_head(t, 2), 6);
    assert_int_equal(rx_head(t, 4), 4);
    vm_mac(1, mac);
    test_rar(t, 1, mac, BIT64(2)); // the address moves to another pool
    nic_derive(t->port);
    send_to(t, 1, 0);
    assert_int_equal(test_poll(t, 0), 1);
    assert_int_equal(rx_head(t, 2), 6);
    assert_int_equal(rx_head(t, 4), 5);
}

static void test_header_checksum(void **state)
{
    static const uint8_t udp[] = {0x08, 0,    0x45, 0,  0, LEN - 14, 0, 0,  0, 0, 64,
                                  17,   0xfa, 0xab, 10, 0, 0,        1, 10, 0, 0, 2};
    struct test_port *t = *state;
    uint8_t *bytes = t->vm[0].mem + TX_DATA;

    warm_up(t);
    for (unsigned i = 2; i < 8; i++) {
        uint32_t sum = 0;

        make_frame(bytes, 1, 0, 0x0800, LEN);
        memcpy(bytes + 12, udp, sizeof udp);
        bytes[24] = bytes[25] = 0;
        for (unsigned at = 14; at < 34; at += 2)
            sum += (uint32_t)bytes[at] << 8 | bytes[at + 1];
        sum = ~((sum & 0xffff) + (sum >> 16)) + (i & 1); // every second one is wrong
        bytes[24] = (uint8_t)(sum >> 8);
        bytes[25] = (uint8_t)sum;
        test_tx_raw(t, 0, VM_IOVA + TX_DATA, TX_DATA_CMD | HW_TXD_EOP | LEN,
                    LEN << HW_TXO_PAYLEN_SHIFT);
        assert_int_equal(test_poll(t, 0), 1);
        assert_int_equal(alone(t), i);
        assert_int_equal(rx_desc(t, 2, i).status_error & (HW_RXS_IPCS | HW_RXE_IPE),
                         HW_RXS_IPCS | (i & 1 ? HW_RXE_IPE : 0));
    }
}

// A ring that may only be read: nothing is reported there.
static void test_ring_read_only(void **state)
{
    struct test_port *t = *state;

    vm_refuse(t, &t->vm[0], TX_RING(0), DMA_WRITE);
    for (unsigned i = 0; i < 2; i++) {
        send_to(t, 1, 0);
        assert_int_equal(test_poll(t, 0), 1);
    }
    send_to(t, 1, HW_TXD_RS);
    assert_int_equal(test_poll(t, 0), 1);
    assert_false(dd(t, 2));
    assert_true(t->port->txq[0].faulted);
    assert_int_equal(t->vm[0].fault_count, 1);
}

// The end of a packet that had too many descriptors is no frame.
static void test_end_of_a_long_packet(void **state)
{
    struct test_port *t = *state;

    warm_up(t);
    t->port->txq[0].discarding = true;
    send_to(t, 1, 0);
    assert_int_equal(test_poll(t, 0), 0);
    assert_int_equal(rx_head(t, 2), 2);
    assert_false(t->port->txq[0].discarding);
    send_to(t, 1, 0);
    assert_int_equal(test_poll(t, 0), 1);
    assert_int_equal(rx_head(t, 2), 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_rounds),         TEST(test_other_flow),           TEST(test_header_checksum),
        TEST(test_ring_read_only), TEST(test_end_of_a_long_packet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

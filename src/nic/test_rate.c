// SPDX-License-Identifier: BSD-3-Clause
// Rate limits: the arithmetic, what the registers do to a queue, and the queue's pace.
#include "nic/test_port.h"

#include "base/clock.h"
#include "nic/queue.h"
#include "nic/rate.h"

#define MBPS(n) ((uint32_t)((10000ull << NIC_RATE_FACTOR_SHIFT) / (n))) // as ixgbe computes it
// With what surrounds it on the wire, 10000 bits: 1 ms at 10 Mbit/s.
#define FRAME_LEN (1250u - NIC_RATE_WIRE_BYTES)

static int setup(void **state)
{
    struct test_port *t = test_port_new();

    test_rx_on(t, 2, 8, true);
    test_tx_on(t, 0);
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    test_port_free(*state);
    return 0;
}

static void test_arithmetic(void **state)
{
    struct nic_rate rate = {.factor = MBPS(10)};
    uint64_t now = 10 * NS_PER_S;

    (void)state;
    assert_true(nic_rate_allows(&rate, now));
    // A quiet queue has at most the burst to make up for.
    nic_rate_sent(&rate, FRAME_LEN, now);
    assert_int_equal(rate.free_ns, now - NIC_RATE_BURST_NS + NS_PER_MS);
    nic_rate_sent(&rate, FRAME_LEN, now);
    assert_int_equal(rate.free_ns, now + NS_PER_MS);
    assert_false(nic_rate_allows(&rate, now + NS_PER_MS - 1));
    assert_true(nic_rate_allows(&rate, now + NS_PER_MS));
    // Looked at a little late: on average it is on time.
    nic_rate_sent(&rate, FRAME_LEN, now + NS_PER_MS + 100);
    assert_int_equal(rate.free_ns, now + 2 * NS_PER_MS);
    // The smallest and the largest factor, and the longest frame.
    rate = (struct nic_rate){.factor = 1};
    nic_rate_sent(&rate, 60, now);
    assert_int_equal(rate.free_ns, now - NIC_RATE_BURST_NS);
    rate = (struct nic_rate){.factor = 0x00ffffff};
    nic_rate_sent(&rate, 9728, now);
    assert_in_range(rate.free_ns, now + 6 * NS_PER_MS, now + 8 * NS_PER_MS);
}

static void limit_set(struct test_port *t, unsigned queue, uint32_t value)
{
    nic_reg_store(t->port, HW_RTTDQSEL, queue);
    nic_queue_rttbcnrc_write(t->port, 0, value);
}

static void test_registers(void **state)
{
    struct test_port *t = *state;

    limit_set(t, 5, HW_RTTBCNRC_ENABLE | MBPS(40));
    assert_int_equal(t->port->txq[5].rate.factor, 250 << NIC_RATE_FACTOR_SHIFT);
    assert_int_equal(t->port->txq[4].rate.factor, 0);
    assert_int_equal(nic_queue_rttbcnrc_read(t->port, 0), HW_RTTBCNRC_ENABLE | MBPS(40));
    limit_set(t, 5, MBPS(40)); // not enabled
    assert_int_equal(t->port->txq[5].rate.factor, 0);
    assert_false(gate_is_closed(&t->gate));
}

static void test_pace(void **state)
{
    struct test_port *t = *state;
    struct nic_rate *rate = &t->port->txq[0].rate;
    uint64_t start = clock_now_ns(), spent;
    uint8_t bytes[FRAME_LEN];
    unsigned frames, total = 0;

    limit_set(t, 0, HW_RTTBCNRC_ENABLE | MBPS(10));
    make_frame(bytes, 1, 0, 0x88b5, sizeof bytes);
    for (unsigned i = 0; i < 6; i++)
        test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA);
    for (enum nic_tx_result result = NIC_TX_PACED; result == NIC_TX_PACED; total += frames) {
        while (!nic_rate_allows(rate, clock_now_ns()))
            ;
        result = nic_txq_poll(t->port, 0, &frames);
        assert_true(result == NIC_TX_PACED || result == NIC_TX_IDLE);
    }
    spent = clock_now_ns() - start;
    assert_int_equal(total, 6);
    assert_int_equal(counted(&t->port->counters.pool[1].rx_frames), 6);
    // The sixth went 5 ms after the first, less the burst.
    assert_true(spent >= 4 * NS_PER_MS);
    limit_set(t, 0, 0);
    for (unsigned i = 0; i < 6; i++)
        test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA);
    assert_int_equal(test_poll(t, 0), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pace, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
// The worker's thread: it sleeps when idle, wakes for every doorbell, lets the gate close, retries
// queues that wait, and backs off from mapped doorbells.
#include "nic/test_port.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "nic/doorbell.h"
#include "nic/nic.h"

#define TIMEOUT_NS (20 * NS_PER_S)
#define WAITS      4000u // even

static struct test_port *fixture;
static struct nic_worker *in_use; // stopped by teardown() where a test has failed

// The worker asks the card for its ports: here there is one, and no card.
struct nic_port *nic_card_port(struct nic_card *card, unsigned index)
{
    (void)card;
    return index ? NULL : fixture->port;
}

static struct nic_worker *worker_make(void)
{
    assert_int_equal(nic_worker_create(NULL, 0, 1, &in_use), 0);
    return in_use;
}

static void worker_end(void)
{
    nic_worker_destroy(in_use);
    in_use = NULL;
}

static int setup(void **state)
{
    fixture = test_port_new();
    test_rx_on(fixture, 2, 2, true);
    test_tx_on(fixture, 0);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    worker_end();
    test_port_free(*state);
    return 0;
}

static struct nic_worker_counts counts(const struct nic_worker *worker)
{
    struct nic_worker_counts c = {0};

    nic_worker_counts_add(worker, &c);
    return c;
}

// True as soon as the counter has reached `want`.
static bool wait_for(const _Atomic uint64_t *counter, uint64_t want)
{
    uint64_t end_ns = clock_now_ns() + TIMEOUT_NS;

    while (counted(counter) < want) {
        if (clock_now_ns() > end_ns)
            return false;
        usleep(10);
    }
    return true;
}

// As a driver learns that its buffer is free: DD, then everything that the card did before it.
static bool wait_for_done(const struct test_port *t, unsigned index)
{
    const uint32_t *status = (const uint32_t *)(t->vm[0].mem + TX_RING(0) + index * 16 + 12);
    uint64_t end_ns = clock_now_ns() + TIMEOUT_NS;

    while (__atomic_load_n(status, __ATOMIC_ACQUIRE) != htole32(HW_TXO_DD)) {
        if (clock_now_ns() > end_ns)
            return false;
        usleep(10);
    }
    return true;
}

// True where the worker does nothing at all for so long. Not at once: on a busy machine it may take
// it a while to come to what it has to do before.
static bool comes_to_rest(const struct nic_worker *worker, unsigned for_ms)
{
    for (unsigned i = 0; i < 100; i++) {
        struct nic_worker_counts before = counts(worker), after;

        usleep(for_ms * 1000);
        after = counts(worker);
        if (before.sleeps && after.batches == before.batches && after.sleeps == before.sleeps)
            return true;
    }
    return false;
}

static void test_poll_without_thread(void **state)
{
    struct test_port *t = *state;
    struct nic_worker *worker;
    uint8_t bytes[64];

    worker = worker_make();
    nic_worker_poll(worker);
    assert_int_equal(nic_worker_poll(worker), 0);
    make_frame(bytes, 1, 0, 0x88b5, 64);
    test_tx_frame(t, 0, bytes, 64, TX_DATA);
    assert_int_equal(nic_worker_poll(worker), 1);
    assert_int_equal(nic_worker_poll(worker), 0);
    assert_int_equal(counted(&t->port->counters.pool[1].rx_frames), 1);
    // The cable is looked at again within its pause.
    make_frame(bytes, 1, 9, 0x88b5, 64);
    uplink_put(bytes, 64);
    for (unsigned i = 0; i < 10; i++)
        nic_worker_poll(worker);
    assert_int_equal(counted(&t->port->counters.pool[1].rx_frames), 2);
    assert_true(counts(worker).batches >= 14);
    worker_end();
}

static void test_wakes_for_every_doorbell(void **state)
{
    struct test_port *t = *state;
    struct nic_worker *worker;
    uint8_t bytes[64];

    make_frame(bytes, 1, 0, 0x88b5, 64);
    worker = worker_make();
    assert_int_equal(nic_worker_start(worker), 0);
    for (unsigned i = 1; i <= 3000; i++) {
        test_tx_frame(t, 0, bytes, 64, TX_DATA);
        if (!wait_for_done(t, (i - 1) % RING_LEN))
            fail_msg("doorbell %u was lost", i);
        nic_rxq_set_tail(t->port, 2, (i + RING_LEN - 2) % RING_LEN);
        // Sometimes while it falls asleep, sometimes when it sleeps.
        if (i % 4 == 0)
            usleep(i % 200);
    }
    assert_true(counts(worker).sleeps > 0);
    worker_end();
}

static void test_sleeps_when_idle(void **state)
{
    struct nic_worker *worker;
    struct nic_worker_counts before, after;

    (void)state;
    worker = worker_make();
    assert_int_equal(nic_worker_start(worker), 0);
    assert_true(comes_to_rest(worker, 50));
    before = counts(worker);
    // A kick is one wake-up.
    nic_worker_kick(NULL);
    for (unsigned i = 0; i < 20000 && counts(worker).batches == before.batches; i++)
        usleep(1000);
    usleep(20000);
    after = counts(worker);
    assert_in_range(after.batches, before.batches + 1, before.batches + 3);
    worker_end();
}

static void test_gate(void **state)
{
    struct test_port *t = *state;
    struct nic_worker *worker;
    uint8_t bytes[64];

    make_frame(bytes, 1, 0, 0x88b5, 64);
    worker = worker_make();
    assert_int_equal(nic_worker_start(worker), 0);
    for (unsigned i = 1; i <= 100; i++) {
        gate_close(&t->gate);
        test_tx_frame(t, 0, bytes, 64, TX_DATA);
        // Tables change under the closed gate, and hold for what is sent after it.
        reg(t, HW_PFVFRE(0), i & 1 ? 0 : UINT32_MAX);
        t->port->derived_stale = true;
        if (i % 10 == 0)
            usleep(1000);
        assert_int_equal(counted(&t->port->counters.pool[0].tx_frames), i - 1);
        gate_open(&t->gate);
        assert_true(wait_for(&t->port->counters.pool[0].tx_frames, i));
        assert_int_equal(counted(&t->port->counters.pool[1].rx_frames), i / 2);
        le64_put(t->vm[1].mem + RX_RING(0) + i / 2 % RING_LEN * 16,
                 VM_IOVA + RX_BUFFER(i / 2 % RING_LEN));
        nic_rxq_set_tail(t->port, 2, (i / 2 + RING_LEN - 1) % RING_LEN);
    }
    worker_end();
}

// A worker, not started, and a frame for VM 1, whose ring has no room and does not want it dropped.
static struct nic_worker *worker_without_room(struct test_port *t, uint8_t bytes[64])
{
    struct nic_worker *worker;

    reg(t, HW_SRRCTL(2), 2 | 1u << HW_SRRCTL_DESCTYPE_SHIFT);
    assert_true(nic_rxq_control(t->port, 2));
    nic_rxq_set_tail(t->port, 2, 0);
    make_frame(bytes, 1, 0, 0x88b5, 64);
    worker = worker_make();
    return worker;
}

static void test_waiting_sender(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[64];
    struct nic_worker *worker = worker_without_room(t, bytes);

    assert_int_equal(nic_worker_start(worker), 0);
    for (unsigned i = 0; i < 10; i++)
        test_tx_frame(t, 0, bytes, 64, TX_DATA + i * 64);
    usleep(20000);
    assert_int_equal(counted(&t->port->counters.pool[0].tx_frames), 0);
    assert_true(counts(worker).batches < 200); // waits, does not spin
    for (unsigned i = 1; i <= 10; i++) {
        nic_rxq_set_tail(t->port, 2, i);
        assert_true(wait_for(&t->port->counters.pool[1].rx_frames, i));
    }
    assert_int_equal(counted(&t->port->counters.pool[1].rx_no_descriptor_drops), 0);
    // The receiver goes away: the sender is free.
    test_tx_frame(t, 0, bytes, 64, TX_DATA + 10 * 64);
    usleep(5000);
    gate_close(&t->gate);
    nic_rxq_disable(t->port, 2);
    gate_open(&t->gate);
    assert_true(wait_for(&t->port->counters.pool[0].tx_frames, 11));
    worker_end();
}

static void spin_for(unsigned turns)
{
    for (volatile unsigned left = turns; left; left--)
        ;
}

// Half of what the worker waits before it tries without having been told.
static bool was_late(uint64_t *last_ns)
{
    uint64_t now_ns = clock_now_ns(), passed_ns = now_ns - *last_ns;

    *last_ns = now_ns;
    return passed_ns > 50 * NS_PER_MS;
}

// Room that comes just when a sender finds that there is none must be found or told. It comes in
// two: the second some hundred ns after the first, at any moment of what the worker does about that
// one. Another VF has mapped doorbells, so that the worker spins for a while and is not just waking
// when the second comes. The worker counts what it found without having been told. It tries by
// itself after 100 ms, so where this thread was kept from running for as long, that may be one.
static void test_no_wake_up_is_lost(void **state)
{
    struct test_port *t = *state;
    struct nic_worker *worker;
    struct nic_worker_counts after;
    uint64_t told_ns;
    unsigned late = 0;
    uint8_t bytes[64];

    reg(t, HW_SRRCTL(2), 2 | 1u << HW_SRRCTL_DESCTYPE_SHIFT);
    assert_true(nic_rxq_control(t->port, 2));
    nic_rxq_set_tail(t->port, 2, 0);
    assert_int_equal(nic_doorbell_create(&t->port->doorbells[3]), 0);
    nic_doorbell_publish(t->port, 3);
    make_frame(bytes, 1, 0, 0x88b5, 64);
    worker = worker_make();
    assert_int_equal(nic_worker_start(worker), 0);
    for (unsigned i = 0; i < RING_LEN / 2; i++)
        test_tx_frame(t, 0, bytes, 64, TX_DATA + i * 64);
    told_ns = clock_now_ns();
    for (unsigned got = 0; got < WAITS; got += 2) {
        nic_rxq_set_tail(t->port, 2, (got + 1) % RING_LEN);
        spin_for(got / 2 % 499);
        nic_rxq_set_tail(t->port, 2, (got + 2) % RING_LEN);
        late += was_late(&told_ns);
        for (unsigned turn = 0; turn < 2000; turn++) {
            if (counted(&t->port->counters.pool[1].rx_frames) >= got + 2)
                break;
        }
        if (!wait_for(&t->port->counters.pool[1].rx_frames, got + 2))
            fail_msg("room for frame %u was never found", got + 1);
        for (unsigned i = got; i < got + 2; i++) {
            uint64_t *desc = (uint64_t *)(t->vm[1].mem + RX_RING(0) + i % RING_LEN * 16);

            // Acquire: pairs with the card's release of DD.
            assert_true(le64toh(__atomic_load_n(&desc[1], __ATOMIC_ACQUIRE)) & HW_RXS_DD);
            assert_true(wait_for_done(t, i % RING_LEN));
            desc[0] = htole64(VM_IOVA + RX_BUFFER(i % RING_LEN));
            desc[1] = 0;
            test_tx_frame(t, 0, bytes, 64, TX_DATA + (i + RING_LEN / 2) % RING_LEN * 64);
        }
    }
    // A round is counted when it is over: when the frame that it moved is long there.
    for (unsigned i = 0; i < 10000 && counts(worker).frames < WAITS; i++)
        usleep(1000);
    after = counts(worker);
    assert_in_range(after.untold, 0, 2 * late);
    assert_true(after.waits > WAITS / 1000);
    assert_int_equal(after.frames, WAITS);
    worker_end();
    nic_doorbell_destroy(t->port->doorbells[3]);
}

// A round in which the time to try without having been told has not come, however slow this machine
// is. `due_ns`: when it is.
static unsigned poll_early(struct test_port *t, struct nic_worker *worker, uint64_t *due_ns)
{
    unsigned frames = nic_worker_poll(worker);
    uint64_t *retry_ns = &t->port->lane[0].tx_wait_retry_ns;

    if (*retry_ns != UINT64_MAX)
        *due_ns = *retry_ns;
    *retry_ns = UINT64_MAX;
    return frames;
}

// The steps of the same, one by one, without a thread: what room is found by, and what it is not.
static void test_steps_of_waiting(void **state)
{
    struct test_port *t = *state;
    uint8_t bytes[64];
    struct nic_worker *worker = worker_without_room(t, bytes);
    uint64_t due_ns = 0;

    for (unsigned i = 0; i < 8; i++)
        test_tx_frame(t, 0, bytes, 64, TX_DATA);
    // It finds no room, and says that it will wait. Room that came before it said so was told to
    // nobody: it is found by one more try.
    assert_int_equal(poll_early(t, worker, &due_ns), 0);
    atomic_store(&t->port->rxq[2].tail, 1);
    assert_int_equal(poll_early(t, worker, &due_ns), 1);
    // Room that comes once it waits is told.
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(poll_early(t, worker, &due_ns), 0);
    assert_int_equal(counts(worker).waits, 1);
    nic_rxq_set_tail(t->port, 2, 2);
    assert_int_equal(poll_early(t, worker, &due_ns) + poll_early(t, worker, &due_ns), 1);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(poll_early(t, worker, &due_ns), 0);
    assert_int_equal(counts(worker).waits, 2);
    assert_int_equal(counts(worker).untold, 0);
    // What is not told is found late, and counted.
    atomic_store(&t->port->rxq[2].tail, 3);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(poll_early(t, worker, &due_ns), 0);
    t->port->lane[0].tx_wait_retry_ns = due_ns;
    usleep(110000);
    assert_int_equal(nic_worker_poll(worker) + nic_worker_poll(worker), 1);
    assert_int_equal(counts(worker).untold, 1);
    worker_end();
}

// Through all steps down to the slowest: 100 looks a second. How long that takes depends on how
// busy this machine is, and so does how long we sleep and how many looks the worker gets to.
static bool backs_off(const struct nic_worker *worker)
{
    for (unsigned i = 0; i < 200; i++) {
        uint64_t start_ns = clock_now_ns(), looks = counts(worker).batches, due;

        usleep(100000);
        looks = counts(worker).batches - looks;
        due = (clock_now_ns() - start_ns) / (10 * NS_PER_MS);
        if (looks >= 1 && looks <= due + 5)
            return true;
    }
    return false;
}

static void test_mapped_back_off(void **state)
{
    struct test_port *t = *state;
    struct nic_worker *worker;
    uint8_t *page;

    assert_int_equal(nic_doorbell_create(&t->port->doorbells[3]), 0);
    page = mmap(NULL, NIC_DOORBELL_LEN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                nic_doorbell_fd(t->port->doorbells[3]), NIC_DOORBELL_BAR_OFFSET);
    assert_true(page != MAP_FAILED);
    nic_doorbell_publish(t->port, 3);
    worker = worker_make();
    assert_int_equal(nic_worker_start(worker), 0);
    assert_true(backs_off(worker));
    // A store without a message is seen.
    le32_put(page + HW_VFTDT(0) - NIC_DOORBELL_BAR_OFFSET, 5);
    for (unsigned i = 0; i < 20000 && atomic_load(&t->port->txq[6].tail) != 5; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&t->port->txq[6].tail), 5);
    // Without bus mastering nobody drives the VF: its pages are not looked at, and nothing wakes.
    gate_close(&t->gate);
    t->port->vf_dma[3]->bus_master = false;
    gate_open(&t->gate);
    assert_true(comes_to_rest(worker, 200));
    worker_end();
    munmap(page, NIC_DOORBELL_LEN_BYTES);
    nic_doorbell_destroy(t->port->doorbells[3]);
}

// An uplink whose fd is readable for ever, with nothing to receive, does not keep the worker busy.
static void test_lying_uplink(void **state)
{
    struct nic_worker *worker;
    struct nic_worker_counts before, after;
    uint64_t start_ns, took_ms;

    (void)state;
    test_uplink.wait_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    worker = worker_make();
    assert_int_equal(nic_worker_start(worker), 0);
    usleep(50000);
    start_ns = clock_now_ns();
    before = counts(worker);
    usleep(300000);
    after = counts(worker);
    took_ms = (clock_now_ns() - start_ns) / NS_PER_MS;
    assert_true(after.batches - before.batches < 200 * took_ms / 300);
    worker_end();
    close(test_uplink.wait_fd);
}

// A queue with a rate limit is looked at again when it may send, with no doorbell.
static void test_paced_sender(void **state)
{
    struct test_port *t = *state;
    struct nic_worker *worker;
    uint64_t start = clock_now_ns();
    uint8_t bytes[1226];

    // 10 Mbit/s: a frame a millisecond.
    t->port->txq[0].rate.factor = 1000 << NIC_RATE_FACTOR_SHIFT;
    test_rx_on(t, 2, 8, true);
    make_frame(bytes, 1, 0, 0x88b5, sizeof bytes);
    worker = worker_make();
    assert_int_equal(nic_worker_start(worker), 0);
    for (unsigned i = 0; i < 6; i++)
        test_tx_frame(t, 0, bytes, sizeof bytes, TX_DATA + i * 2048);
    assert_true(wait_for(&t->port->counters.pool[1].rx_frames, 6));
    assert_true(clock_now_ns() - start >= 4 * NS_PER_MS);
    assert_in_range(counts(worker).batches, 1, 200); // it does not spin meanwhile
    worker_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_poll_without_thread, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wakes_for_every_doorbell, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sleeps_when_idle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waiting_sender, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_wake_up_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_steps_of_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_paced_sender, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mapped_back_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lying_uplink, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
// Several workers on one card: every VF sends to every other, in order and with nothing lost where
// rings are full; the uplink both ways; and queues, VFs, memory and tables that change meanwhile.
// Built with -fsanitize=thread this is what shows that the workers do not race.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#define TEST_MEM_BYTES (8u << 20)
#include "nic/test_card.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/le.h"
#include "hw82599/desc.h"
#include "nic/doorbell.h"

#define VFS          5u
#define RING_LEN     32u // small, so that rings are full most of the time
#define BUFFER_BYTES 2048u
#define LEN_MIN      64u
#define LEN_MAX      1500u
#define FLOW_FRAMES  300u // from each VF to each other
#define TIMEOUT_NS   (60 * NS_PER_S)
#define CABLE_FRAMES 2000u

#define ETHERTYPE 0x88b5u // no IP: no checksums to be right
#define SEQ_AT    14u

struct guest {
    uint8_t *page; // NULL: doorbells are trapped
    unsigned tx_next, tx_clean, rx_next;
    uint32_t sent[VFS], got[VFS]; // by the other VF
    uint32_t from_cable;
    bool lossy; // frames may be missing
};

static struct test_card *t;
static struct nic_worker *workers[NIC_WORKERS_MAX];
static struct guest guests[VFS];
static uint32_t random_state;

static uint32_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

// --- a VF's memory ---

static uint32_t ring_at(unsigned vf, bool tx)
{
    return 0x200000 + vf * 0x80000 + (tx ? 0x1000 : 0);
}

static uint32_t buffer_at(unsigned vf, bool tx, unsigned i)
{
    return ring_at(vf, false) + (tx ? 0x40000 : 0x10000) + i * BUFFER_BYTES;
}

static uint64_t *desc_at(unsigned vf, bool tx, unsigned i)
{
    return (uint64_t *)(t->mem + ring_at(vf, tx) + 16 * i);
}

static void desc_put(uint64_t *desc, uint64_t low, uint64_t high)
{
    // The card may look at descriptors that are not its own yet, as a guess.
    __atomic_store_n(&desc[0], htole64(low), __ATOMIC_RELAXED);
    __atomic_store_n(&desc[1], htole64(high), __ATOMIC_RELAXED);
}

static uint64_t desc_high(uint64_t *desc)
{
    return le64toh(__atomic_load_n(&desc[1], __ATOMIC_ACQUIRE));
}

// --- registers ---

static void guest_write(unsigned vf, uint32_t offset, uint32_t value)
{
    struct guest *g = &guests[vf];

    if (!g->page) {
        vf_write(t, vf, offset, value);
        return;
    }
    // Our mapping of the page is not the card's, so a checker of races does not see that one reads
    // what the other wrote. This it does see: whoever translates an address reads it.
    atomic_store_explicit(&t->generation, atomic_load(&t->generation), memory_order_release);
    __atomic_store_n((uint32_t *)(g->page + offset - NIC_DOORBELL_BAR_OFFSET), htole32(value),
                     __ATOMIC_RELEASE);
}

static void filters_start(void)
{
    pf_write(t, HW_HLREG0, HW_HLREG0_RXCRCSTRP | HW_HLREG0_TXPADEN);
    pf_write(t, HW_VLNCTRL, 0x8100);
    pf_write(t, HW_PFVFSPOOF(0), (BIT(VFS) - 1) << HW_PFVFSPOOF_MACAS_SHIFT);
    vf_macs_start(t, VFS);
}

static void rx_start(unsigned vf)
{
    guests[vf].rx_next = 0;
    for (unsigned i = 0; i < RING_LEN; i++)
        desc_put(desc_at(vf, false, i), TEST_IOVA + buffer_at(vf, false, i), 0);
    guest_write(vf, HW_VFRDH(0), 0);
    guest_write(vf, HW_VFRDBAL(0), (uint32_t)TEST_IOVA + ring_at(vf, false));
    guest_write(vf, HW_VFRDLEN(0), RING_LEN * 16);
    guest_write(vf, HW_VFSRRCTL(0),
                BUFFER_BYTES / 1024 | HW_SRRCTL_DESCTYPE_ADV << HW_SRRCTL_DESCTYPE_SHIFT);
    guest_write(vf, HW_VFRXDCTL(0), HW_RXDCTL_ENABLE);
    guest_write(vf, HW_VFRDT(0), RING_LEN - 1);
}

static void tx_start(unsigned vf)
{
    guests[vf].tx_next = guests[vf].tx_clean = 0;
    guest_write(vf, HW_VFTDH(0), 0);
    guest_write(vf, HW_VFTDT(0), 0);
    guest_write(vf, HW_VFTDBAL(0), (uint32_t)TEST_IOVA + ring_at(vf, true));
    guest_write(vf, HW_VFTDLEN(0), RING_LEN * 16);
    guest_write(vf, HW_VFTXDCTL(0), HW_TXDCTL_ENABLE);
}

static void guest_start(unsigned vf)
{
    // Receive interrupts to vector 0, transmit to vector 1.
    vf_write(t, vf, HW_VTIVAR(0), HW_IVAR_VALID | (HW_IVAR_VALID | 1u) << 8);
    vf_write(t, vf, HW_VTEIMS, 3);
    rx_start(vf);
    tx_start(vf);
}

// --- the card with its workers ---

// The workers are made, and polled by the test, or started.
static void card_make(unsigned count, enum nic_doorbells doorbells, bool start)
{
    random_state = 0x1234567;
    memset(guests, 0, sizeof guests);
    memset(workers, 0, sizeof workers);
    t = test_card_open(1, VFS, doorbells);
    nic_worker_destroy(t->worker);
    t->worker = NULL;
    test_card_start_pf(t, 2);
    filters_start();
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(nic_worker_create(t->card, i, count, &workers[i]), 0);
    for (unsigned i = 0; start && i < count; i++)
        assert_int_equal(nic_worker_start(workers[i]), 0);
    for (unsigned vf = 0; vf < VFS; vf++) {
        if (doorbells == NIC_DOORBELLS_MAPPED) {
            guests[vf].page =
                mmap(NULL, NIC_DOORBELL_LEN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                     nic_doorbell_fd(t->port->doorbells[vf]), NIC_DOORBELL_BAR_OFFSET);
            assert_true(guests[vf].page != MAP_FAILED);
        }
        guest_start(vf);
    }
    // Page 0 sees to it that what was written to mapped pages has been seen.
    for (unsigned vf = 0; vf < VFS; vf++)
        vf_read(t, vf, HW_VFLINKS);
}

static void card_start(unsigned count, enum nic_doorbells doorbells)
{
    card_make(count, doorbells, true);
}

static void card_end(void)
{
    for (unsigned i = 0; i < NIC_WORKERS_MAX; i++)
        nic_worker_destroy(workers[i]);
    for (unsigned vf = 0; vf < VFS; vf++) {
        if (guests[vf].page)
            munmap(guests[vf].page, NIC_DOORBELL_LEN_BYTES);
    }
    test_card_close(t);
}

// --- traffic ---

static void frame_fill(uint8_t *out, unsigned to, unsigned from, uint32_t seq, uint32_t len)
{
    vf_mac(to, out);
    vf_mac(from, out + 6);
    out[12] = ETHERTYPE >> 8;
    out[13] = ETHERTYPE & 0xff;
    le32_put(out + SEQ_AT, seq);
    memset(out + SEQ_AT + 4, (int)(seq ^ from), len - SEQ_AT - 4);
}

// The word that the card writes.
static bool tx_is_done(unsigned vf, unsigned i)
{
    uint32_t *status = (uint32_t *)desc_at(vf, true, i) + 3;

    return le32toh(__atomic_load_n(status, __ATOMIC_ACQUIRE)) & HW_TXO_DD;
}

// Frames that the card is through with make room.
static bool tx_has_room(unsigned vf)
{
    struct guest *g = &guests[vf];

    while (g->tx_clean != g->tx_next && tx_is_done(vf, g->tx_clean))
        g->tx_clean = (g->tx_clean + 1) % RING_LEN;
    return (g->tx_next + 1) % RING_LEN != g->tx_clean;
}

// `to` may be no VF at all: then it goes over the cable.
static bool send_one(unsigned vf, unsigned to, uint32_t seq)
{
    struct guest *g = &guests[vf];
    uint32_t at = buffer_at(vf, true, g->tx_next), len;

    if (!tx_has_room(vf))
        return false;
    len = LEN_MIN + random_next() % (LEN_MAX - LEN_MIN + 1);
    frame_fill(t->mem + at, to, vf, seq, len);
    desc_put(desc_at(vf, true, g->tx_next), TEST_IOVA + at,
             (HW_TXD_DEXT | HW_TXD_TYPE_DATA | HW_TXD_IFCS | HW_TXD_EOP | HW_TXD_RS | len) |
                 (uint64_t)(len << HW_TXO_PAYLEN_SHIFT) << 32);
    g->tx_next = (g->tx_next + 1) % RING_LEN;
    return true;
}

// One frame to each that is still owed some. The tail moves once.
static bool send_round(unsigned vf, uint32_t limit)
{
    struct guest *g = &guests[vf];
    bool any = false;

    for (unsigned i = 1; i < VFS; i++) {
        unsigned to = (vf + i) % VFS;

        if (g->sent[to] >= limit)
            continue;
        if (!send_one(vf, to, g->sent[to]))
            break;
        g->sent[to]++;
        any = true;
    }
    if (any)
        guest_write(vf, HW_VFTDT(0), g->tx_next);
    return any;
}

static void check_frame(unsigned vf, const uint8_t *data, uint32_t len)
{
    struct guest *g = &guests[vf];
    unsigned from = data[11];
    uint32_t seq = le32_get(data + SEQ_AT), *expected;

    assert_int_equal(data[5], vf);
    assert_in_range(len, LEN_MIN, LEN_MAX);
    assert_true(from < VFS || from == VFS); // VFS: the cable
    expected = from == VFS ? &g->from_cable : &g->got[from];
    if (g->lossy || from == VFS)
        assert_true(seq >= *expected);
    else
        assert_int_equal(seq, *expected);
    for (uint32_t i = SEQ_AT + 4; i < len; i++) {
        if (data[i] != (uint8_t)(seq ^ from))
            fail_msg("VF %u, frame %u from %u: byte %u is %02x", vf, seq, from, i, data[i]);
    }
    *expected = seq + 1;
}

static unsigned receive(unsigned vf)
{
    struct guest *g = &guests[vf];
    unsigned n = 0;

    for (;;) {
        uint64_t *desc = desc_at(vf, false, g->rx_next);
        uint64_t high = desc_high(desc);

        if (!(high & HW_RXS_DD))
            break;
        if (!(high & HW_RXE_RXE))
            check_frame(vf, t->mem + buffer_at(vf, false, g->rx_next), high >> 32 & 0xffff);
        desc_put(desc, TEST_IOVA + buffer_at(vf, false, g->rx_next), 0);
        g->rx_next = (g->rx_next + 1) % RING_LEN;
        n++;
    }
    if (n)
        guest_write(vf, HW_VFRDT(0), (g->rx_next + RING_LEN - 1) % RING_LEN);
    return n;
}

static bool all_arrived(uint32_t limit)
{
    for (unsigned vf = 0; vf < VFS; vf++) {
        for (unsigned from = 0; from < VFS; from++) {
            if (from != vf && guests[vf].got[from] < limit)
                return false;
        }
    }
    return true;
}

// Each VF to each other, until everybody has all frames up to number `limit`.
static void exchange(uint32_t limit)
{
    uint64_t end_ns = clock_now_ns() + TIMEOUT_NS;

    while (!all_arrived(limit)) {
        bool any = false;

        for (unsigned vf = 0; vf < VFS; vf++) {
            any |= send_round(vf, limit);
            // Rarely emptied, so that senders have to wait.
            if (random_next() % 3 == 0)
                any |= receive(vf) > 0;
        }
        if (!any)
            usleep(20);
        if (clock_now_ns() > end_ns)
            fail_msg("frames are missing");
    }
}

static void check_all_to_all(unsigned count, enum nic_doorbells doorbells)
{
    struct nic_function_counts c;

    card_start(count, doorbells);
    exchange(FLOW_FRAMES);
    for (unsigned vf = 0; vf < VFS; vf++) {
        assert_int_equal(nic_function_counts_get(t->card, 0, (int)vf, &c), 0);
        assert_true(c.interrupts > 0);
    }
    card_end();
}

static void test_two_workers(void **state)
{
    (void)state;
    check_all_to_all(2, NIC_DOORBELLS_TRAPPED);
}

static void test_three_workers(void **state)
{
    (void)state;
    check_all_to_all(3, NIC_DOORBELLS_TRAPPED);
}

static void test_mapped_doorbells(void **state)
{
    (void)state;
    check_all_to_all(2, NIC_DOORBELLS_MAPPED);
    check_all_to_all(3, NIC_DOORBELLS_MAPPED);
}

// --- one step at a time -------------------------------------------------------------------------

static struct nic_worker_counts counts(unsigned worker)
{
    struct nic_worker_counts c = {0};

    nic_worker_counts_add(workers[worker], &c);
    return c;
}

// VF 0 sends `count` frames to VF 1, and its worker runs until nothing moves.
static void send_to_next(unsigned count)
{
    struct guest *g = &guests[0];

    for (unsigned i = 0; i < count; i++)
        assert_true(send_one(0, 1, g->sent[1]++));
    guest_write(0, HW_VFTDT(0), g->tx_next);
    while (nic_worker_poll(workers[0])) {
    }
}

// A receiver has given back what it had, in its page; its own worker has not looked there since.
static void test_room_that_only_the_page_tells(void **state)
{
    (void)state;
    card_make(2, NIC_DOORBELLS_MAPPED, false);
    for (unsigned round = 0; round < 10; round++) {
        send_to_next(RING_LEN - 1);
        assert_int_equal(receive(1), RING_LEN - 1);
    }
    assert_int_equal(counts(0).waits, 0);
    card_end();
}

// A sender that waits for a ring of another worker's does so once, however often its own looks
// there meanwhile, and goes on when it is told.
static void test_waiting_for_another_workers_ring(void **state)
{
    (void)state;
    card_make(2, NIC_DOORBELLS_MAPPED, false);
    send_to_next(RING_LEN - 1);
    send_to_next(5);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(nic_worker_poll(workers[0]), 0);
        // However slow this machine is: it is not time yet to try without having been told.
        t->port->lane[0].tx_wait_retry_ns = UINT64_MAX;
    }
    assert_int_equal(counts(0).waits, 1);
    assert_false(atomic_load(&t->port->lane[0].refilled));
    assert_int_equal(receive(1), RING_LEN - 1);
    nic_worker_poll(workers[1]); // sees it
    nic_worker_poll(workers[0]);
    assert_int_equal(nic_worker_poll(workers[0]), 5);
    assert_int_equal(receive(1), 5);
    assert_int_equal(counts(0).waits, 1);
    assert_int_equal(counts(0).untold, 0);
    card_end();
}

// The fewest milliseconds that a worker took for ten sleeps in a row, of many tries.
static uint64_t ten_sleeps_ms(unsigned worker)
{
    uint64_t least_ms = UINT64_MAX;

    for (unsigned i = 0; i < 100 && least_ms >= 50; i++) {
        uint64_t start_ns = clock_now_ns(), sleeps = counts(worker).sleeps, took_ms;

        while (counts(worker).sleeps - sleeps < 10)
            usleep(500);
        took_ms = (clock_now_ns() - start_ns) / NS_PER_MS;
        least_ms = took_ms < least_ms ? took_ms : least_ms;
    }
    return least_ms;
}

// A worker whose VFs do nothing comes to look at their pages each 10 ms only, but not while another
// worker's sender waits for one of them.
static void test_looks_while_another_waits(void **state)
{
    uint64_t idle;

    (void)state;
    card_start(2, NIC_DOORBELLS_MAPPED);
    for (unsigned i = 0; i < RING_LEN + 4; i++) {
        while (!send_one(0, 1, i))
            usleep(50);
        guest_write(0, HW_VFTDT(0), guests[0].tx_next);
    }
    while (!counts(0).waits)
        usleep(1000);
    idle = counts(1).idle_batches;
    while (counts(1).idle_batches - idle < 900)
        usleep(1000); // all steps
    assert_in_range(ten_sleeps_ms(1), 0, 50);
    card_end();
}

// What was counted by several workers is there once they are gone.
static void test_counters(void **state)
{
    uint64_t frames = 0;

    (void)state;
    card_start(2, NIC_DOORBELLS_TRAPPED);
    exchange(FLOW_FRAMES);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(counts(i).frames > 0); // both had some
        nic_worker_destroy(workers[i]);
        workers[i] = NULL;
    }
    for (unsigned vf = 0; vf < VFS; vf++) {
        struct nic_function_counts c;

        assert_int_equal(nic_function_counts_get(t->card, 0, (int)vf, &c), 0);
        assert_int_equal(c.rx_frames, (VFS - 1) * FLOW_FRAMES);
        assert_int_equal(c.tx_frames, (VFS - 1) * FLOW_FRAMES);
        assert_int_equal(c.rx_no_descriptor_drops, 0);
        frames += c.rx_frames;
    }
    assert_int_equal(pf_read(t, HW_RXLPBKGPC), frames);
    card_end();
}

// --- the uplink ---

static _Atomic uint32_t cable_next;

static int cable_receive(struct uplink *up, uint8_t *buf, size_t buf_len)
{
    uint32_t seq = atomic_load(&cable_next);

    (void)up;
    (void)buf_len;
    if (seq >= CABLE_FRAMES)
        return 0;
    atomic_store(&cable_next, seq + 1);
    frame_fill(buf, seq % VFS, VFS, seq, LEN_MIN);
    return (int)LEN_MIN;
}

static void test_uplink(void **state)
{
    uint64_t end_ns = clock_now_ns() + TIMEOUT_NS;
    uint32_t sent = 0, got = 0;
    struct nic_function_counts c;
    uint64_t drops = 0;

    (void)state;
    card_start(2, NIC_DOORBELLS_TRAPPED);
    atomic_store(&cable_next, 0);
    gate_close(&t->gate);
    t->uplink[0].next = cable_receive;
    gate_open(&t->gate);
    nic_worker_kick(t->card);
    while (sent < CABLE_FRAMES || got + drops < CABLE_FRAMES ||
           __atomic_load_n(&t->uplink[0].sent_count, __ATOMIC_RELAXED) < sent) {
        drops = 0;
        for (unsigned vf = 0; vf < VFS; vf++) {
            bool any = false;

            while (sent < CABLE_FRAMES && send_one(vf, 99, sent)) {
                sent++;
                any = true;
            }
            if (any)
                guest_write(vf, HW_VFTDT(0), guests[vf].tx_next);
            got += receive(vf);
            assert_int_equal(nic_function_counts_get(t->card, 0, (int)vf, &c), 0);
            drops += c.rx_no_descriptor_drops; // what comes from the cable never waits
        }
        if (atomic_load(&cable_next) < CABLE_FRAMES)
            nic_worker_kick(t->card); // this uplink has no fd
        if (clock_now_ns() > end_ns)
            fail_msg("sent %u, got %u", sent, got);
    }
    assert_true(got > 0);
    for (unsigned i = 0; i < 2; i++) {
        nic_worker_destroy(workers[i]);
        workers[i] = NULL;
    }
    assert_int_equal(pf_read(t, HW_GPTC), CABLE_FRAMES);
    assert_int_equal(pf_read(t, HW_GPRC), CABLE_FRAMES);
    card_end();
}

// --- what changes while frames are on their way ---

static void vf_stop(unsigned vf)
{
    pci_config_write(t->seg, test_card_vf_rid(0, vf), HW_CAP_PCIE + 8, 2, 0x8000);
}

static void vf_flr(unsigned vf)
{
    rid_t rid = test_card_vf_rid(0, vf);

    vf_stop(vf);
    pci_config_write(t->seg, rid, 0x04, 2, 0x0004);
    test_card_enable_msix(t, rid, TEST_VF_MSIX + vf * HW_VF_BAR_BYTES, HW_VF_VECTORS);
    guest_start(vf);
}

static void rings_off_and_on(unsigned vf)
{
    vf_write(t, vf, HW_VFTXDCTL(0), 0);
    vf_write(t, vf, HW_VFRXDCTL(0), 0);
    rx_start(vf);
    tx_start(vf);
}

static void bus_master_off_and_on(unsigned vf)
{
    pci_config_write(t->seg, test_card_vf_rid(0, vf), 0x04, 2, 0);
    pci_config_write(t->seg, test_card_vf_rid(0, vf), 0x04, 2, 4);
    // Descriptors that could not be reached stopped its queues.
    rings_off_and_on(vf);
}

// As DMA_UNMAP: when the gate is open again nobody touches that memory.
static void unmap_and_map(unsigned vf)
{
    uint32_t at = buffer_at(vf, false, 0);

    gate_close(&t->gate);
    t->hole = at;
    t->hole_len = RING_LEN * BUFFER_BYTES;
    atomic_fetch_add(&t->generation, 1);
    gate_open(&t->gate);
    memset(t->mem + at, 0xee, RING_LEN * BUFFER_BYTES);
    for (unsigned i = 0; i < 20; i++)
        send_round((vf + 1) % VFS, UINT32_MAX);
    usleep(200);
    for (uint32_t i = 0; i < RING_LEN * BUFFER_BYTES; i++)
        assert_int_equal(t->mem[at + i], 0xee);
    gate_close(&t->gate);
    t->hole_len = 0;
    atomic_fetch_add(&t->generation, 1);
    gate_open(&t->gate);
}

static void change_something(unsigned vf)
{
    switch (random_next() % 5) {
    case 0:
        vf_flr(vf);
        break;
    case 1:
        rings_off_and_on(vf);
        break;
    case 2:
        bus_master_off_and_on(vf);
        break;
    case 3:
        // What is in flight when it is unmapped is lost, and so is its place in the ring.
        unmap_and_map(vf);
        rings_off_and_on(vf);
        break;
    default:
        for (unsigned i = 0; i < 4; i++)
            pf_write(t, HW_MTA(random_next() % 128), random_next());
        break;
    }
}

static void check_changes(enum nic_doorbells doorbells)
{
    card_start(2, doorbells);
    for (unsigned vf = 0; vf < VFS; vf++)
        guests[vf].lossy = true;
    for (unsigned round = 0; round < 1500; round++) {
        for (unsigned vf = 0; vf < VFS; vf++) {
            send_round(vf, UINT32_MAX);
            receive(vf);
        }
        if (round % 5 == 4)
            change_something(random_next() % VFS);
    }
    // Everything stands still, and starts anew: then nothing may be lost. (All stop first: or one
    // that has started gets what another still had to send.)
    for (unsigned vf = 0; vf < VFS; vf++)
        vf_stop(vf);
    for (unsigned vf = 0; vf < VFS; vf++) {
        vf_flr(vf);
        memset(guests[vf].sent, 0, sizeof guests[vf].sent);
        memset(guests[vf].got, 0, sizeof guests[vf].got);
        guests[vf].lossy = false;
    }
    exchange(100);
    card_end();
}

static void test_changes_trapped(void **state)
{
    (void)state;
    check_changes(NIC_DOORBELLS_TRAPPED);
}

// Queues that the workers themselves switch off and on, as they find it in the pages.
static void test_ring_changes_mapped(void **state)
{
    (void)state;
    card_start(2, NIC_DOORBELLS_MAPPED);
    for (unsigned vf = 0; vf < VFS; vf++)
        guests[vf].lossy = true;
    for (unsigned round = 0; round < 1500; round++) {
        for (unsigned vf = 0; vf < VFS; vf++) {
            send_round(vf, UINT32_MAX);
            receive(vf);
        }
        if (round % 10 == 9) {
            unsigned vf = random_next() % VFS;

            guest_write(vf, HW_VFRXDCTL(0), 0);
            guest_write(vf, HW_VFTXDCTL(0), 0);
            // Page 0 sees to it that the workers have seen that.
            vf_read(t, vf, HW_VFLINKS);
            rx_start(vf);
            tx_start(vf);
        }
    }
    card_end();
}

static _Atomic bool is_sending;

// Until the gate is closed: then the worker leaves it as soon as this frame is through.
static void wait_for_gate(struct uplink *up)
{
    up->sending = NULL;
    atomic_store(&is_sending, true);
    while (!gate_is_closed(&t->gate))
        usleep(20);
}

static void pf_tx_on(unsigned queue)
{
    pf_write(t, HW_TDBAL(queue), (uint32_t)TEST_IOVA + ring_at(queue, true));
    pf_write(t, HW_TDLEN(queue), RING_LEN * 16);
    pf_write(t, HW_TXDCTL(queue), HW_TXDCTL_ENABLE);
}

// A worker has come half through the queues that were rung, when the gate is closed and one of the
// rest becomes a VF's, which is another worker's.
static void test_queue_changes_hands(void **state)
{
    uint64_t before;

    (void)state;
    memset(guests, 0, sizeof guests);
    t = test_card_open(1, 0, NIC_DOORBELLS_TRAPPED);
    nic_worker_destroy(t->worker);
    t->worker = NULL;
    test_card_start_pf(t, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(nic_worker_create(t->card, i, 2, &workers[i]), 0);
    assert_int_equal(nic_worker_start(workers[0]), 0);
    for (unsigned queue = 0; queue <= 2; queue += 2) {
        pf_tx_on(queue);
        assert_true(send_one(queue, 99, 0)); // where its ring is, not by whom
    }
    atomic_store(&is_sending, false);
    gate_close(&t->gate);
    t->uplink[0].sending = wait_for_gate;
    pf_write(t, HW_TDT(0), 1);
    pf_write(t, HW_TDT(2), 1);
    gate_open(&t->gate);
    while (!atomic_load(&is_sending))
        usleep(20);
    gate_close(&t->gate);
    test_card_enable_vfs(t, 0, 2);
    vf_write(t, 1, HW_VFTDBAL(0), (uint32_t)TEST_IOVA + ring_at(2, true));
    vf_write(t, 1, HW_VFTDLEN(0), RING_LEN * 16);
    vf_write(t, 1, HW_VFTXDCTL(0), HW_TXDCTL_ENABLE);
    vf_write(t, 1, HW_VFTDT(0), 1);
    before = counts(0).batches;
    gate_open(&t->gate);
    while (counts(0).batches == before)
        usleep(20); // until the worker has come round
    assert_int_equal(__atomic_load_n(&t->uplink[0].sent_count, __ATOMIC_RELAXED), 1);
    assert_int_equal(nic_worker_poll(workers[1]), 1);
    card_end();
}

static void test_bad_counts(void **state)
{
    struct nic_worker *worker = NULL;

    (void)state;
    t = test_card_open(1, 1, NIC_DOORBELLS_TRAPPED);
    assert_int_equal(nic_worker_create(t->card, 0, 0, &worker), -EINVAL);
    assert_int_equal(nic_worker_create(t->card, 0, NIC_WORKERS_MAX + 1, &worker), -EINVAL);
    assert_int_equal(nic_worker_create(t->card, 2, 2, &worker), -EINVAL);
    assert_null(worker);
    test_card_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_workers),
        cmocka_unit_test(test_three_workers),
        cmocka_unit_test(test_mapped_doorbells),
        cmocka_unit_test(test_room_that_only_the_page_tells),
        cmocka_unit_test(test_waiting_for_another_workers_ring),
        cmocka_unit_test(test_looks_while_another_waits),
        cmocka_unit_test(test_counters),
        cmocka_unit_test(test_uplink),
        cmocka_unit_test(test_changes_trapped),
        cmocka_unit_test(test_ring_changes_mapped),
        cmocka_unit_test(test_queue_changes_hands),
        cmocka_unit_test(test_bad_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

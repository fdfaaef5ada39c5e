// SPDX-License-Identifier: BSD-3-Clause
// Mapped doorbells: a guest that writes the pages as stock drivers do, and one that plays with
// them.
#include "nic/test_port.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nic/doorbell.h"

struct fixture {
    struct test_port *t;
    uint8_t *page; // as the guest has it mapped
};

static int setup(void **state)
{
    static struct fixture f;

    f.t = test_port_new();
    assert_int_equal(nic_doorbell_create(&f.t->port->doorbells[0]), 0);
    f.page = mmap(NULL, NIC_DOORBELL_LEN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                  nic_doorbell_fd(f.t->port->doorbells[0]), NIC_DOORBELL_BAR_OFFSET);
    assert_true(f.page != MAP_FAILED);
    nic_doorbell_publish(f.t->port, 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    munmap(f->page, NIC_DOORBELL_LEN_BYTES);
    nic_doorbell_destroy(f->t->port->doorbells[0]);
    test_port_free(f->t);
    return 0;
}

static void guest_write(struct fixture *f, uint32_t offset, uint32_t value)
{
    le32_put(f->page + offset - NIC_DOORBELL_BAR_OFFSET, value);
}

static uint32_t guest_read(struct fixture *f, uint32_t offset)
{
    return le32_get(f->page + offset - NIC_DOORBELL_BAR_OFFSET);
}

static bool poll(struct fixture *f)
{
    return nic_doorbell_look_all(f->t->port, 0);
}

// As ixgbevf sets up a transmit ring.
static void guest_tx_on(struct fixture *f, unsigned n)
{
    guest_write(f, HW_VFTXDCTL(n), HW_TXDCTL_SWFLSH);
    guest_write(f, HW_VFTDBAL(n), (uint32_t)(VM_IOVA + TX_RING(n)));
    guest_write(f, HW_VFTDBAH(n), VM_IOVA >> 32);
    guest_write(f, HW_VFTDLEN(n), RING_LEN * 16);
    guest_write(f, HW_VFTDH(n), 0);
    guest_write(f, HW_VFTDT(n), 0);
    guest_write(f, HW_VFTXDCTL(n), HW_TXDCTL_ENABLE | 8 << 16 | 1 << 8 | 32);
}

static void guest_post(struct fixture *f, unsigned n, unsigned to)
{
    uint32_t tail = guest_read(f, HW_VFTDT(n));
    uint8_t *desc = f->t->vm[0].mem + TX_RING(n) + tail * 16;

    make_frame(f->t->vm[0].mem + TX_DATA, to, 0, 0x88b5, 64);
    le64_put(desc, VM_IOVA + TX_DATA);
    le32_put(desc + 8, TX_DATA_CMD | TX_LAST | 64);
    le32_put(desc + 12, 64u << HW_TXO_PAYLEN_SHIFT);
    guest_write(f, HW_VFTDT(n), (tail + 1) % RING_LEN);
}

static void test_fd_is_sealed(void **state)
{
    struct fixture *f = *state;
    int fd = nic_doorbell_fd(f->t->port->doorbells[0]);
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, NIC_DOORBELL_BAR_OFFSET + NIC_DOORBELL_LEN_BYTES);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(ftruncate(fd, 2 * NIC_DOORBELL_LEN_BYTES), -1);
}

static void test_transmit(void **state)
{
    struct fixture *f = *state;
    struct nic_port *port = f->t->port;

    test_rx_on(f->t, 2, 2, true);
    assert_false(poll(f)); // nothing yet
    guest_tx_on(f, 1);
    assert_true(poll(f));
    assert_true(port->txq[1].enabled);
    assert_false(port->txq[0].enabled);
    assert_int_equal(nic_reg(port, HW_TDLEN(1)), RING_LEN * 16);
    assert_false(poll(f));
    assert_int_equal(port->lane[0].tx_ready[0], 0);
    guest_post(f, 1, 1);
    assert_true(nic_doorbell_look_tx(port, 0));
    assert_int_equal(port->lane[0].tx_ready[0], BIT64(1));
    assert_false(poll(f));
    assert_int_equal(test_poll(f->t, 1), 1);
    assert_int_equal(guest_read(f, HW_VFTDH(1)), 0);
    nic_doorbell_report(port, 0);
    assert_int_equal(guest_read(f, HW_VFTDH(1)), 1);
    assert_false(poll(f)); // and does not take its own word for the guest's
    assert_true(port->txq[1].enabled);
    assert_int_equal(counted(&port->counters.pool[1].rx_frames), 1);
}

static void guest_rx_on(struct fixture *f)
{
    for (unsigned i = 0; i < RING_LEN; i++)
        le64_put(f->t->vm[0].mem + RX_RING(0) + i * 16, VM_IOVA + RX_BUFFER(i));
    guest_write(f, HW_VFRDBAL(0), (uint32_t)(VM_IOVA + RX_RING(0)));
    guest_write(f, HW_VFRDBAH(0), VM_IOVA >> 32);
    guest_write(f, HW_VFRDLEN(0), RING_LEN * 16);
    guest_write(f, HW_VFRDH(0), 0);
    guest_write(f, HW_VFRDT(0), 0);
    guest_write(f, HW_VFSRRCTL(0), HW_SRRCTL_DROP_EN | 2 | 1u << HW_SRRCTL_DESCTYPE_SHIFT);
    guest_write(f, HW_VFRXDCTL(0), HW_RXDCTL_ENABLE | HW_RXDCTL_VME);
}

static void test_receive(void **state)
{
    struct fixture *f = *state;
    struct nic_port *port = f->t->port;
    uint8_t bytes[64];

    guest_rx_on(f);
    guest_write(f, HW_VFRDT(0), 8);
    assert_true(poll(f));
    assert_true(port->rxq[0].enabled);
    assert_true(port->rxq[0].strip_vlan);
    assert_true(port->rxq[0].drop);
    test_tx_on(f->t, 2);
    make_frame(bytes, 0, 1, 0x88b5, 64);
    test_tx_frame(f->t, 2, bytes, 64, TX_DATA);
    assert_int_equal(test_poll(f->t, 2), 1);
    assert_memory_equal(rx_bytes(f->t, 0, 0), bytes, 64);
    nic_doorbell_report(port, 0);
    assert_int_equal(guest_read(f, HW_VFRDH(0)), 1);
    assert_false(poll(f));
    // VLAN stripping is turned off while it runs.
    guest_write(f, HW_VFRXDCTL(0), HW_RXDCTL_ENABLE);
    assert_true(poll(f));
    assert_true(port->rxq[0].enabled);
    assert_false(port->rxq[0].strip_vlan);
    guest_write(f, HW_VFRXDCTL(0), 0);
    assert_true(poll(f));
    assert_false(port->rxq[0].enabled);
}

// Sends `count` frames that fit into one buffer, by the short way and, with a length that is not
// the shortest, by the general one. None of them may be missing.
static void peer_sends(struct fixture *f, unsigned count, unsigned first, uint32_t len)
{
    uint8_t bytes[2600];

    for (unsigned i = 0; i < count; i++) {
        make_frame(bytes, 0, 1, 0x88b5, len);
        bytes[30] = (uint8_t)(first + i);
        f->t->vm[0].mem[RX_BUFFER(first + i) + 30] = 0xff;
        test_tx_frame(f->t, 2, bytes, len, TX_DATA + i * 4096);
    }
    test_poll(f->t, 2);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(rx_bytes(f->t, 0, first + i)[30], first + i);
}

// What the guest wrote before a frame was sent has reached a card by then. Nobody looked at the
// pages meanwhile: neither for a ring that was on without room, nor for one that was off.
static void test_unseen_writes(void **state)
{
    struct fixture *f = *state;
    struct nic_port *port = f->t->port;
    struct nic_pool_counters *c = &port->counters.pool[0];

    test_tx_on(f->t, 2);
    guest_rx_on(f);
    assert_true(poll(f));
    assert_int_equal(port->rxq[0].tail, 0);
    guest_write(f, HW_VFRDT(0), 2);
    peer_sends(f, 2, 0, 64);
    guest_write(f, HW_VFRDT(0), 3);
    peer_sends(f, 1, 2, 40); // too short for the short way
    // Two buffers are needed, one is known.
    guest_write(f, HW_VFRDT(0), 4);
    assert_true(poll(f));
    guest_write(f, HW_VFRDT(0), 5);
    peer_sends(f, 1, 3, 2500);
    assert_int_equal(port->rxq[0].head, 5);
    guest_write(f, HW_VFRXDCTL(0), 0);
    assert_true(poll(f));
    guest_rx_on(f);
    guest_write(f, HW_VFRDT(0), 1);
    peer_sends(f, 1, 0, 64);
    assert_int_equal(counted(&c->rx_frames), 5);
    assert_int_equal(counted(&c->rx_no_descriptor_drops), 0);
    // And what there is no room for is lost, and counted.
    test_tx_frame(f->t, 2, f->t->vm[1].mem + TX_DATA, 64, TX_DATA);
    assert_int_equal(test_poll(f->t, 2), 1);
    assert_int_equal(counted(&c->rx_no_descriptor_drops), 1);
}

// 1→0→1 with a new ring between two samples: the head that the guest wrote, or its base, tells.
static void test_missed_disable(void **state)
{
    struct fixture *f = *state;
    struct nic_port *port = f->t->port;

    test_rx_on(f->t, 2, 2, true);
    guest_tx_on(f, 0);
    poll(f);
    guest_post(f, 0, 1);
    guest_post(f, 0, 1);
    poll(f);
    assert_int_equal(test_poll(f->t, 0), 2);
    nic_doorbell_report(port, 0);
    guest_tx_on(f, 0); // the same ring from the start
    assert_true(poll(f));
    assert_int_equal(atomic_load(&port->txq[0].head), 0);
    guest_post(f, 0, 1);
    poll(f);
    assert_int_equal(test_poll(f->t, 0), 1);
    nic_doorbell_report(port, 0);
    // The same, and heads are published before anybody looks.
    guest_post(f, 0, 1);
    poll(f);
    assert_int_equal(test_poll(f->t, 0), 1);
    guest_tx_on(f, 0);
    nic_doorbell_report(port, 0);
    assert_true(poll(f));
    assert_int_equal(atomic_load(&port->txq[0].head), 0);
    assert_int_equal(guest_read(f, HW_VFTDH(0)), 0);
    guest_write(f, HW_VFTDBAL(0), (uint32_t)(VM_IOVA + TX_RING(1)));
    assert_true(poll(f));
    assert_int_equal(port->txq[0].base.v, VM_IOVA + TX_RING(1));
    assert_true(port->txq[0].enabled);
}

// What a guest writes is masked as a register cycle would mask it, and statistics are not its own.
static void test_hostile_words(void **state)
{
    struct fixture *f = *state;
    struct nic_port *port = f->t->port;

    for (uint32_t at = 0; at < NIC_DOORBELL_LEN_BYTES; at += 4)
        guest_write(f, NIC_DOORBELL_BAR_OFFSET + at, UINT32_MAX);
    poll(f);
    for (unsigned queue = 0; queue < 2; queue++) {
        assert_false(port->txq[queue].enabled); // its head lies past its end
        assert_false(port->rxq[queue].enabled);
        assert_int_equal(nic_reg(port, HW_TDLEN(queue)), 0x000fff80);
        assert_int_equal(nic_reg(port, HW_TDBAL(queue)), 0xffffff80);
        assert_int_equal(atomic_load(&port->txq[queue].tail), 0xffff);
        assert_int_equal(test_poll(f->t, queue), 0);
    }
    // The neighbour's queues have not been touched.
    assert_int_equal(nic_reg(port, HW_TDLEN(2)), 0);
    assert_int_equal(atomic_load(&port->txq[2].tail), 0);
    assert_int_equal(counted(&port->counters.pool[0].rx_frames), 0);
    nic_doorbell_sample(port, 0);
    assert_int_equal(guest_read(f, HW_VFGPRC), 0);
    assert_int_equal(guest_read(f, HW_VFGOTC_MSB), 0);
}

static void test_reset(void **state)
{
    struct fixture *f = *state;
    struct nic_port *port = f->t->port;

    guest_tx_on(f, 0);
    guest_write(f, HW_VFTDT(0), 5);
    nic_doorbell_sample(port, 0); // without waiting for the worker's round
    assert_true(port->txq[0].enabled);
    assert_int_equal(atomic_load(&port->txq[0].tail), 5);
    nic_txq_reset(port, 0);
    nic_reg_store(port, HW_TXDCTL(0), 0);
    nic_reg_store(port, HW_TDBAL(0), 0);
    nic_doorbell_publish(port, 0);
    assert_int_equal(guest_read(f, HW_VFTXDCTL(0)), 0);
    assert_int_equal(guest_read(f, HW_VFTDT(0)), 0);
    assert_int_equal(guest_read(f, HW_VFTDBAL(0)), 0);
    assert_false(poll(f));
    assert_false(port->txq[0].enabled);
    // And it can be used again.
    guest_tx_on(f, 0);
    assert_true(poll(f));
    assert_true(port->txq[0].enabled);
}

static void test_statistics(void **state)
{
    struct fixture *f = *state;
    struct nic_port *port = f->t->port;

    nic_count(&port->counters.pool[0].tx_frames, 3);
    nic_doorbell_report(port, 0);
    assert_int_equal(guest_read(f, HW_VFGPTC), 3);
    guest_write(f, HW_VFGPTC, 77);
    nic_doorbell_report(port, 0);
    assert_int_equal(guest_read(f, HW_VFGPTC), 77); // nothing was counted: the guest's own lie
    nic_doorbell_sample(port, 0);
    assert_int_equal(guest_read(f, HW_VFGPTC), 3);
    assert_int_equal(counted(&port->counters.pool[0].tx_frames), 3);
}

// A look compares only some words of a ring's line: those of all registers that count.
static void test_every_word_is_seen(void **state)
{
    const uint32_t rx[] = {HW_VFRDBAL(1),  HW_VFRDBAH(1), HW_VFRDLEN(1), HW_VFRDH(1),
                           HW_VFSRRCTL(1), HW_VFRDT(1),   HW_VFRXDCTL(1)};
    const uint32_t tx[] = {HW_VFTDBAL(1), HW_VFTDBAH(1), HW_VFTDLEN(1),
                           HW_VFTDH(1),   HW_VFTDT(1),   HW_VFTXDCTL(1)};
    struct fixture *f = *state;

    guest_tx_on(f, 1);
    guest_write(f, HW_VFRDLEN(1), RING_LEN * 16);
    guest_write(f, HW_VFRXDCTL(1), HW_RXDCTL_ENABLE);
    assert_true(poll(f));
    assert_false(poll(f));
    for (unsigned i = 0; i < ARRAY_LEN(rx) + ARRAY_LEN(tx); i++) {
        uint32_t offset = i < ARRAY_LEN(rx) ? rx[i] : tx[i - ARRAY_LEN(rx)];

        guest_write(f, offset, guest_read(f, offset) ^ 0x100);
        assert_true(poll(f));
        assert_false(poll(f));
        guest_write(f, offset, guest_read(f, offset) ^ 0x100);
        assert_true(poll(f));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fd_is_sealed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transmit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_receive, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unseen_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missed_disable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_word_is_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_statistics, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

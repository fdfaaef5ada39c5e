// SPDX-License-Identifier: BSD-3-Clause
// A VM's memory that is taken away under the data path: its file is cut between two batches, or,
// which is the same to an instruction that meets the end, while one is under way. Whoever's it was
// loses frames; nobody else does, and the card runs on. By each way that a frame can go.
#include "nic/test_port.h"

#include <sys/mman.h>
#include <unistd.h>

#include "mem/mapping.h"
#include "mem/space.h"
#include "nic/express.h"

#define FRAMES    8u
#define FRAME_LEN 1042u
#define WARM_UP   3u // batches: each of the ring's buffers once, and one to see how frames go
#define SENDER    0u
#define RECEIVER  1u

enum way { GENERAL, EXPRESS_PLAIN, EXPRESS_KERNELS, STACK, WAYS };

// Gives a VM memory that can be cut.
static int memory_from_file(struct test_vm *vm, struct mapping *m)
{
    int fd = memfd_create("vm", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, VM_MEM_BYTES), 0);
    assert_int_equal(mapping_create_file(m, fd, 0, VM_MEM_BYTES, true, 0, -1), 0);
    free(vm->mem);
    vm->mem = m->host;
    return fd;
}

// UDP over IPv4, without checksums: those are the card's to make.
static void make_udp(uint8_t *f, unsigned to, unsigned from)
{
    static const uint8_t ip[] = {
        0x45, 0, (FRAME_LEN - 14) >> 8, (FRAME_LEN - 14) & 0xff, 0, 0, 0x40, 0, 64, 17};

    make_frame(f, to, from, 0x0800, FRAME_LEN);
    memset(f + 14, 0, 28);
    memcpy(f + 14, ip, sizeof ip);
    f[38] = (FRAME_LEN - 34) >> 8;
    f[39] = (FRAME_LEN - 34) & 0xff;
}

static void put_frames(struct test_port *t, unsigned from, unsigned to, enum way way)
{
    unsigned queue = from * QUEUES_A_POOL;

    if (way == STACK)
        test_tx_context(t, queue, 0, 14u << HW_TXC_MACLEN_SHIFT | 20,
                        HW_TXC_TUCMD_IPV4 | HW_TXC_TUCMD_L4T_UDP, 0);
    for (unsigned i = 0; i < FRAMES; i++) {
        uint8_t *f = t->vm[from].mem + TX_DATA + i * 4096;

        make_udp(f, to, from);
        test_tx_raw(t, queue, VM_IOVA + TX_DATA + i * 4096, TX_DATA_CMD | TX_LAST | FRAME_LEN,
                    FRAME_LEN << HW_TXO_PAYLEN_SHIFT |
                        (way == STACK ? HW_TXO_IXSM | HW_TXO_TXSM : 0));
    }
}

static void give_buffers(struct test_port *t, unsigned vm)
{
    unsigned queue = vm * QUEUES_A_POOL;

    test_rx_on(t, queue, 2, true);
    nic_rxq_set_tail(t->port, queue, (rx_head(t, queue) + RING_LEN - 1) % RING_LEN);
}

static struct test_port *port_new(enum way way)
{
    struct test_port *t = test_port_new();

    for (unsigned vm = 0; vm < VM_COUNT; vm++) {
        t->port->txq[vm * QUEUES_A_POOL].general_only = way == GENERAL;
        test_tx_on(t, vm * QUEUES_A_POOL);
        test_rx_on(t, vm * QUEUES_A_POOL, 2, true);
    }
    nic_express_use_kernels(way == EXPRESS_KERNELS);
    return t;
}

// One VM's file is cut at `offset`, with frames of its queue, or for it, not sent yet.
static void check_cut(enum way way, unsigned whose, uint32_t offset)
{
    struct test_port *t = port_new(way);
    struct mapping m;
    int fd;

    fd = memory_from_file(&t->vm[whose], &m);
    test_rx_on(t, whose * QUEUES_A_POOL, 2, true); // its memory is another
    // What is to be met is in the caches of translations: the short ways need them.
    for (unsigned i = 0; i < WARM_UP; i++) {
        t->port->txq[0].express_frames = 0;
        put_frames(t, SENDER, RECEIVER, way);
        assert_int_equal(test_poll(t, 0), FRAMES);
        give_buffers(t, RECEIVER);
    }
    assert_int_equal(counted(&t->port->counters.pool[RECEIVER].rx_frames), WARM_UP * FRAMES);
    assert_int_equal(t->port->txq[0].express_frames,
                     way == EXPRESS_PLAIN || way == EXPRESS_KERNELS ? FRAMES : 0);
    put_frames(t, SENDER, RECEIVER, way);
    assert_int_equal(ftruncate(fd, offset), 0);
    test_poll(t, 0);
    assert_true(atomic_load(&m.dead));
    if (whose == RECEIVER)
        assert_int_equal(atomic_load(&t->port->txq[0].head), tx_tail(t, 0));
    // The others' frames go on.
    put_frames(t, 2, 3, way);
    assert_int_equal(test_poll(t, 2 * QUEUES_A_POOL), FRAMES);
    assert_int_equal(counted(&t->port->counters.pool[3].rx_frames), FRAMES);
    for (unsigned i = 0; i < FRAMES; i++)
        assert_memory_equal(rx_bytes(t, 3 * QUEUES_A_POOL, i) + 42,
                            t->vm[2].mem + TX_DATA + i * 4096 + 42, FRAME_LEN - 42);
    close(fd);
    mapping_destroy(&m);
    t->vm[whose].mem = NULL;
    test_port_free(t);
}

static void test_cuts(void **state)
{
    (void)state;
    assert_int_equal(mem_sigbus_install(), 0);
    for (enum way way = 0; way < WAYS; way++) {
        for (unsigned i = 0; i < FRAMES / 2; i++)
            check_cut(way, SENDER, TX_DATA + i * 2 * 4096);
        check_cut(way, SENDER, TX_RING(0));
        check_cut(way, RECEIVER, RX_RING(0));
        check_cut(way, RECEIVER, RX_BUFFER(0));
        check_cut(way, RECEIVER, RX_BUFFER(FRAMES + 2));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

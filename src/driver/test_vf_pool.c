// SPDX-License-Identifier: BSD-3-Clause
// Two VFs share a pool; the test plays the card on their rings.
#include "driver/test_vf_fixture.h"

#include <endian.h>
#include <errno.h>

#include "hw82599/desc.h"

#define BUFFERS 200u
#define RING    64u

struct shared_fixture {
    struct vf_fixture first;
    struct test_vf_bus *bus; // of the second
    struct vf_config config;
    struct vf_driver *vf;
};

static int second_try(struct shared_fixture *s)
{
    char error[200];

    s->bus = &s->first.pf.card->vf[1];
    s->config = s->first.config;
    s->config.buffer_count = 1; // what these say does not count
    s->config.buffer_bytes = 0;
    s->config.pool_of = s->first.vf;
    return vf_driver_open(&s->bus->bus, &s->config, &s->vf, error, sizeof error);
}

static void setup(struct shared_fixture *s)
{
    *s = (struct shared_fixture){0};
    vf_fixture_init(&s->first);
    s->first.config.buffer_count = BUFFERS;
    vf_fixture_open(&s->first);
    assert_int_equal(second_try(s), 0);
}

// Of either VF, where it put a ring.
static void *ring_at(const struct test_vf_bus *bus, uint32_t low, uint32_t high)
{
    uint64_t iova = bus->regs[low / 4] | (uint64_t)bus->regs[high / 4] << 32;

    for (unsigned i = 0; i < bus->dma_count; i++) {
        if (bus->dma[i].iova == iova)
            return bus->dma[i].host;
    }
    fail_msg("no ring at %llx", (unsigned long long)iova);
    return NULL;
}

static void test_frame_goes_on(void **state)
{
    struct shared_fixture s;
    struct hw_rx_writeback_desc *received;
    struct hw_tx_data_desc *sent;
    struct vf_buffer *b;
    uint64_t iova;

    (void)state;
    setup(&s);
    assert_int_equal(s.first.bus->dma_count, 3);
    assert_int_equal(s.bus->dma_count, 2); // rings alone
    assert_int_equal(pool_size(s.vf), BUFFERS - 2 * RING);
    received = ring_at(s.bus, HW_VFRDBAL(0), HW_VFRDBAH(0));
    iova = le64toh(((struct hw_rx_read_desc *)received)->packet_addr);
    memset(card_memory(&s.first, iova, 60), 0xaa, 60); // in the first one's memory
    received->len_bytes = htole16(60);
    received->status_error = htole32(HW_RXS_EOP | HW_RXS_DD);
    assert_int_equal(vf_receive(s.vf, 0, &b, 1), 1);
    assert_int_equal(b->data[59], 0xaa);
    assert_int_equal(pool_size(s.first.vf), BUFFERS - 2 * RING - 1);
    assert_int_equal(vf_send(s.first.vf, 0, &b, 1), 1);
    sent = ring_at(s.first.bus, HW_VFTDBAL(0), HW_VFTDBAH(0));
    assert_int_equal(le64toh(sent[1].buffer_addr), iova); // behind a context
    sent[1].olinfo_status = htole32(HW_TXO_DD);
    assert_int_equal(vf_send_pending(s.first.vf, 0), 0);
    assert_int_equal(pool_size(s.vf), BUFFERS - 2 * RING);
    vf_driver_close(s.vf);
    vf_fixture_end(&s.first);
}

// What the second's rings hold, and what it has of a frame that is not whole, goes back.
static void test_second_leaves(void **state)
{
    struct shared_fixture s;
    struct hw_rx_writeback_desc *received;
    struct vf_buffer *b[2];

    (void)state;
    setup(&s);
    b[0] = make_frame(s.vf, 60);
    b[1] = make_frame(s.first.vf, 60);
    b[1]->next = make_frame(s.vf, 60);
    assert_int_equal(vf_send(s.vf, 0, b, 2), 2);
    received = ring_at(s.bus, HW_VFRDBAL(0), HW_VFRDBAH(0));
    received->len_bytes = htole16(2048);
    received->status_error = htole32(HW_RXS_DD); // no end yet
    assert_int_equal(vf_receive(s.vf, 0, b, 1), 0);
    assert_int_equal(pool_size(s.first.vf), BUFFERS - 2 * RING - 4);
    vf_driver_close(s.vf);
    assert_int_equal(s.bus->dma_count, 0);
    assert_int_equal(pool_size(s.first.vf), BUFFERS - RING);
    assert_int_equal(second_try(&s), 0);
    assert_int_equal(pool_size(s.first.vf), BUFFERS - 2 * RING);
    vf_driver_close(s.vf);
    vf_fixture_end(&s.first);
}

static void test_first_leaves(void **state)
{
    struct shared_fixture s;

    (void)state;
    setup(&s);
    vf_driver_close(s.first.vf);
    s.first.vf = NULL;
    assert_int_equal(s.first.bus->dma_count, 1); // the pool
    assert_int_equal(pool_size(s.vf), BUFFERS - RING);
    vf_driver_close(s.vf);
    vf_fixture_end(&s.first); // which looks that all memory was given back
}

static void test_too_small(void **state)
{
    struct shared_fixture s = {0};

    (void)state;
    vf_fixture_init(&s.first); // 100 buffers
    vf_fixture_open(&s.first);
    assert_int_equal(second_try(&s), -ENOMEM);
    assert_int_equal(s.bus->dma_count, 0);
    assert_int_equal(pool_size(s.first.vf), 100 - RING);
    vf_fixture_end(&s.first);
}

// What either sent and the card is done with is there for both, though nobody sends any more.
static void test_sent_by_the_other(void **state)
{
    struct shared_fixture s;
    struct hw_tx_data_desc *sent;
    struct vf_buffer *b[BUFFERS];
    unsigned rest = BUFFERS - 2 * RING, taken = 8;

    (void)state;
    setup(&s);
    for (unsigned i = 0; i < rest; i++)
        b[i] = make_frame(s.vf, 60);
    assert_null(vf_buffer_alloc(s.vf));
    assert_int_equal(vf_send(s.first.vf, 0, b, taken), taken);
    assert_null(vf_buffer_alloc(s.vf)); // the card still has them
    sent = ring_at(s.first.bus, HW_VFTDBAL(0), HW_VFTDBAH(0));
    sent[taken].olinfo_status = htole32(HW_TXO_DD); // behind a context
    assert_int_equal(pool_size(s.vf), taken);
    while (taken < rest)
        vf_buffer_free(s.vf, b[taken++]);
    assert_int_equal(pool_size(s.first.vf), rest);
    vf_driver_close(s.vf);
    vf_fixture_end(&s.first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame_goes_on), cmocka_unit_test(test_sent_by_the_other),
        cmocka_unit_test(test_second_leaves), cmocka_unit_test(test_first_leaves),
        cmocka_unit_test(test_too_small),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
// The VF driver receives; the test plays the card on the ring.
#include "driver/test_vf_fixture.h"

#include <endian.h>

#include "hw82599/desc.h"

static void *rx_ring(const struct vf_fixture *f)
{
    uint64_t iova = vf_reg(f, HW_VFRDBAL(0)) | (uint64_t)vf_reg(f, HW_VFRDBAH(0)) << 32;

    return card_memory(f, iova, vf_reg(f, HW_VFRDLEN(0)));
}

// The card receives `len` bytes of `fill` into descriptor i.
static void card_receive(struct vf_fixture *f, unsigned i, unsigned len, uint8_t fill,
                         uint32_t status)
{
    struct hw_rx_read_desc *read = (struct hw_rx_read_desc *)rx_ring(f) + i;
    struct hw_rx_writeback_desc *done = (struct hw_rx_writeback_desc *)rx_ring(f) + i;

    assert_int_equal(le64toh(read->header_addr), 0);
    memset(card_memory(f, le64toh(read->packet_addr), len), fill, len);
    *done = (struct hw_rx_writeback_desc){
        .rss_hash = htole32(0x1234),
        .status_error = htole32(status | HW_RXS_DD),
        .len_bytes = htole16((uint16_t)len),
        .vlan = htole16(0x6007),
    };
}

static void test_receive_one(void **state)
{
    struct vf_fixture f;
    struct vf_buffer *b[5];

    (void)state;
    vf_fixture_init(&f);
    vf_fixture_open(&f);
    assert_int_equal(vf_receive(f.vf, 0, b, 4), 0);
    assert_int_equal(vf_reg(&f, HW_VFRDT(0)), 63); // nothing happened: no doorbell
    card_receive(&f, 0, 60, 0xaa, HW_RXS_EOP);
    card_receive(&f, 1, 1514, 0xbb, HW_RXS_EOP | HW_RXS_VP | HW_RXS_IPCS | HW_RXS_L4CS);
    card_receive(&f, 2, 64, 0xcc, HW_RXS_EOP | HW_RXS_IPCS | HW_RXS_L4CS | HW_RXE_L4E);
    card_receive(&f, 3, 64, 0xdd, HW_RXS_EOP | HW_RXE_RXE);
    // A verdict on what was not looked at is none.
    card_receive(&f, 4, 64, 0xee, HW_RXS_EOP | HW_RXS_IPCS | HW_RXE_IPE | HW_RXE_L4E);
    assert_int_equal(vf_receive(f.vf, 0, b, 5), 4);
    assert_int_equal(b[3]->flags, VF_RX_CSUM_BAD);
    assert_int_equal(b[3]->data[63], 0xee);
    assert_int_equal(b[0]->len_bytes, 60);
    assert_int_equal(b[0]->data[59], 0xaa);
    assert_int_equal(b[0]->flags, 0);
    assert_null(b[0]->next);
    assert_int_equal(b[0]->rss_hash, 0x1234);
    assert_int_equal(b[1]->flags, VF_RX_VLAN | VF_RX_IP_CSUM_OK | VF_RX_L4_CSUM_OK);
    assert_int_equal(b[1]->vlan, 0x6007);
    assert_int_equal(b[2]->flags, VF_RX_IP_CSUM_OK | VF_RX_CSUM_BAD);
    for (unsigned i = 0; i < 4; i++)
        vf_buffer_free(f.vf, b[i]);
    assert_int_equal(pool_size(f.vf), 36);
    vf_fixture_end(&f);
}

// Several rounds over the ring, with every alignment of batches to it.
static void test_receive_wraps(void **state)
{
    struct vf_fixture f;
    struct vf_stats stats;
    unsigned card_next = 0;
    uint8_t fill = 0, want = 0;

    (void)state;
    vf_fixture_init(&f);
    vf_fixture_open(&f);
    for (unsigned round = 0; round < 50; round++) {
        unsigned count = 1 + round % 36; // no more than the pool has for replacement
        struct vf_buffer *b[64];

        for (unsigned i = 0; i < count; i++) {
            assert_int_not_equal(card_next, vf_reg(&f, HW_VFRDT(0))); // the ring is not empty
            card_receive(&f, card_next, 100, fill++, HW_RXS_EOP);
            card_next = (card_next + 1) % 64;
        }
        assert_int_equal(vf_receive(f.vf, 0, b, 64), count);
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(b[i]->data[0], want++);
            vf_buffer_free(f.vf, b[i]);
        }
        // Told of all but the last few, and never of one too many.
        assert_in_range((card_next + 63 - vf_reg(&f, HW_VFRDT(0))) % 64, 0, 15);
    }
    vf_driver_stats(f.vf, &stats);
    assert_int_equal(stats.rx_bytes, stats.rx_frames * 100);
    assert_int_equal(stats.rx_no_buffer, 0);
    vf_fixture_end(&f);
}

// The tail is written once in 16 descriptors, whatever becomes of the frames.
static void test_receive_tail(void **state)
{
    struct vf_fixture f;
    struct vf_buffer *b[64];

    (void)state;
    vf_fixture_init(&f);
    vf_fixture_open(&f);
    f.bus->writes = 0;
    for (unsigned i = 0; i < 15; i++) {
        card_receive(&f, i, 60, 1, i % 2 ? HW_RXS_EOP : HW_RXS_EOP | HW_RXE_RXE);
        assert_int_equal(vf_receive(f.vf, 0, b, 64), i % 2);
        if (i % 2)
            vf_buffer_free(f.vf, b[0]);
    }
    assert_int_equal(f.bus->writes, 0);
    card_receive(&f, 15, 60, 1, HW_RXS_EOP);
    assert_int_equal(vf_receive(f.vf, 0, b, 64), 1);
    assert_int_equal(f.bus->writes, 1);
    assert_int_equal(vf_reg(&f, HW_VFRDT(0)), 15);
    vf_buffer_free(f.vf, b[0]);
    assert_int_equal(pool_size(f.vf), 36);
    vf_fixture_end(&f);
}

// Whoever sends may move a buffer's start; who gets it next finds it whole, and nothing of what was
// asked for the frame before.
static void test_receive_into_used_buffers(void **state)
{
    struct vf_fixture f;
    struct vf_buffer *b[64];
    unsigned count = 0;

    (void)state;
    vf_fixture_init(&f);
    vf_fixture_open(&f);
    while ((b[count] = vf_buffer_alloc(f.vf))) {
        b[count]->data += 100;
        b[count]->iova += 100;
        b[count]->flags = VF_TX_TSO | VF_TX_VLAN;
        count++;
    }
    for (unsigned i = 0; i + 1 < count; i++)
        b[i]->next = b[i + 1];
    vf_buffer_free(f.vf, b[0]);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 32; i++)
            card_receive(&f, (32 * round + i) % 64, 2048, (uint8_t)(32 * round + i), HW_RXS_EOP);
        assert_int_equal(vf_receive(f.vf, 0, b, 64), 32);
        for (unsigned i = 0; i < 32; i++) {
            assert_int_equal(b[i]->data[0], 32 * round + i);
            assert_int_equal(b[i]->data[2047], 32 * round + i);
            assert_int_equal((uintptr_t)b[i]->data % 2048, b[i]->iova % 2048);
            assert_ptr_equal(card_memory(&f, b[i]->iova, 2048), b[i]->data);
            assert_int_equal(b[i]->flags, 0);
            assert_null(b[i]->next);
            vf_buffer_free(f.vf, b[i]);
        }
    }
    b[0] = vf_buffer_alloc(f.vf);
    assert_int_equal(b[0]->flags, 0);
    assert_ptr_equal(card_memory(&f, b[0]->iova, 2048), b[0]->data);
    vf_buffer_free(f.vf, b[0]);
    assert_int_equal(pool_size(f.vf), count);
    vf_fixture_end(&f);
}

static void test_receive_chain(void **state)
{
    struct vf_fixture f;
    struct vf_buffer *b[2];
    struct vf_stats stats;

    (void)state;
    vf_fixture_init(&f);
    f.config.frame_bytes_max = 9014;
    vf_fixture_open(&f);
    // 2048 × 4 + 822 = 9014, coming in two goes.
    for (unsigned i = 0; i < 3; i++)
        card_receive(&f, i, 2048, (uint8_t)i, 0);
    assert_int_equal(vf_receive(f.vf, 0, b, 2), 0);
    card_receive(&f, 3, 2048, 3, 0);
    card_receive(&f, 4, 822, 4, HW_RXS_EOP | HW_RXS_L4CS);
    assert_int_equal(vf_receive(f.vf, 0, b, 2), 1);
    assert_int_equal(b[0]->flags, VF_RX_L4_CSUM_OK);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(b[0]->data[0], i);
        assert_int_equal(b[0]->len_bytes, i < 4 ? 2048 : 822);
        b[1] = b[0]->next;
        b[0]->next = NULL;
        vf_buffer_free(f.vf, b[0]);
        b[0] = b[1];
    }
    assert_null(b[0]);
    vf_driver_stats(f.vf, &stats);
    assert_int_equal(stats.rx_frames, 1);
    assert_int_equal(stats.rx_bytes, 9014);
    // A length that is a lie: never more than the buffer.
    card_receive(&f, 5, 2048, 5, HW_RXS_EOP);
    ((struct hw_rx_writeback_desc *)rx_ring(&f))[5].len_bytes = htole16(2049);
    assert_int_equal(vf_receive(f.vf, 0, b, 2), 1);
    assert_int_equal(b[0]->len_bytes, 2048);
    vf_buffer_free(f.vf, b[0]);
    assert_int_equal(pool_size(f.vf), 36);
    vf_fixture_end(&f);
}

// An empty pool: frames are dropped whole and counted, and the ring never shrinks.
static void test_receive_without_buffers(void **state)
{
    struct vf_fixture f;
    struct vf_buffer *b[64];
    struct vf_stats stats;

    (void)state;
    vf_fixture_init(&f);
    f.config.buffer_count = 66;
    vf_fixture_open(&f);
    // A frame of four buffers, where two can be replaced.
    for (unsigned i = 0; i < 4; i++)
        card_receive(&f, i, 2048, 1, i == 3 ? HW_RXS_EOP : 0);
    card_receive(&f, 4, 64, 2, HW_RXS_EOP);
    card_receive(&f, 5, 64, 3, HW_RXS_EOP);
    card_receive(&f, 6, 64, 4, HW_RXS_EOP);
    assert_int_equal(vf_receive(f.vf, 0, b, 64), 2);
    assert_int_equal(b[0]->data[0], 2);
    assert_int_equal(b[1]->data[0], 3);
    assert_null(b[0]->next);
    vf_driver_stats(f.vf, &stats);
    assert_int_equal(stats.rx_no_buffer, 2);
    assert_int_equal(stats.rx_frames, 2);
    assert_int_equal(vf_reg(&f, HW_VFRDT(0)), 63);
    vf_buffer_free(f.vf, b[0]);
    vf_buffer_free(f.vf, b[1]);
    for (unsigned i = 0; i < 64; i++) // every slot has a buffer, and each another one
        card_receive(&f, (7 + i) % 64, 64, (uint8_t)i, i < 63 ? HW_RXS_EOP : 0);
    assert_int_equal(vf_receive(f.vf, 0, b, 1), 1); // no more than asked for
    assert_int_equal(vf_receive(f.vf, 0, b + 1, 63), 1);
    assert_int_equal(b[0]->data[0], 0);
    assert_int_equal(b[1]->data[0], 1);
    vf_buffer_free(f.vf, b[0]);
    vf_buffer_free(f.vf, b[1]);
    assert_int_equal(pool_size(f.vf), 2);
    vf_fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_receive_one),   cmocka_unit_test(test_receive_wraps),
        cmocka_unit_test(test_receive_tail),  cmocka_unit_test(test_receive_into_used_buffers),
        cmocka_unit_test(test_receive_chain), cmocka_unit_test(test_receive_without_buffers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
// The VF driver sends; the test plays the card on the ring.
#include "driver/test_vf_fixture.h"

#include <endian.h>

#include "hw82599/desc.h"

static struct hw_tx_data_desc *tx_ring(const struct vf_fixture *f)
{
    uint64_t iova = vf_reg(f, HW_VFTDBAL(0)) | (uint64_t)vf_reg(f, HW_VFTDBAH(0)) << 32;

    return card_memory(f, iova, vf_reg(f, HW_VFTDLEN(0)));
}

static void test_send_plain(void **state)
{
    struct vf_fixture f;
    struct vf_buffer *b[3];
    struct hw_tx_data_desc *ring;
    struct hw_tx_context_desc *context;

    (void)state;
    vf_fixture_init(&f);
    vf_fixture_open(&f);
    ring = tx_ring(&f);
    b[0] = make_frame(f.vf, 60);
    b[1] = make_frame(f.vf, 500);
    b[1]->next = make_frame(f.vf, 100);
    b[2] = make_frame(f.vf, 60);
    b[2]->flags = VF_TX_VLAN;
    b[2]->vlan = 0x2003;
    assert_int_equal(vf_send(f.vf, 0, b, 3), 3);
    // Context, frame, frame in two, context (other tag), frame.
    assert_int_equal(vf_reg(&f, HW_VFTDT(0)), 6);
    context = (struct hw_tx_context_desc *)ring;
    assert_int_equal(le32toh(context->vlan_macip_lens), 14 << HW_TXC_MACLEN_SHIFT);
    assert_int_equal(le32toh(context->type_tucmd), HW_TXD_TYPE_CONTEXT | HW_TXD_DEXT);
    assert_int_equal(le64toh(ring[1].buffer_addr), b[0]->iova);
    assert_int_equal(le32toh(ring[1].cmd_type_len),
                     HW_TXD_TYPE_DATA | HW_TXD_DEXT | HW_TXD_IFCS | HW_TXD_EOP | 60);
    assert_int_equal(le32toh(ring[1].olinfo_status), 60 << 14 | HW_TXO_CC);
    assert_int_equal(le32toh(ring[2].cmd_type_len),
                     HW_TXD_TYPE_DATA | HW_TXD_DEXT | HW_TXD_IFCS | 500);
    assert_int_equal(le32toh(ring[2].olinfo_status), 600 << 14 | HW_TXO_CC);
    assert_int_equal(le32toh(ring[3].cmd_type_len),
                     HW_TXD_TYPE_DATA | HW_TXD_DEXT | HW_TXD_IFCS | HW_TXD_EOP | 100);
    assert_int_equal(le32toh(ring[3].olinfo_status), 0);
    context = (struct hw_tx_context_desc *)&ring[4];
    assert_int_equal(le32toh(context->vlan_macip_lens), 0x2003u << 16 | 14 << 9);
    assert_true(le32toh(ring[5].cmd_type_len) & HW_TXD_VLE);
    assert_true(le32toh(ring[5].cmd_type_len) & HW_TXD_RS); // one report a batch
    vf_fixture_end(&f);
}

static void test_send_offloads(void **state)
{
    struct vf_fixture f;
    struct vf_buffer *b[4];
    struct hw_tx_data_desc *ring;
    struct hw_tx_context_desc *context;

    (void)state;
    vf_fixture_init(&f);
    vf_fixture_open(&f);
    ring = tx_ring(&f);
    for (unsigned i = 0; i < 4; i++) {
        b[i] = make_frame(f.vf, 1000);
        b[i]->l2_len = 14;
        b[i]->l3_len = 20;
    }
    b[0]->flags = VF_TX_IP_CSUM | VF_TX_UDP_CSUM;
    b[1]->flags = VF_TX_TCP_CSUM | VF_TX_IPV6;
    b[1]->l3_len = 40;
    b[2]->flags = b[3]->flags = VF_TX_TSO;
    b[2]->l4_len = b[3]->l4_len = 32;
    b[2]->mss = b[3]->mss = 1448;
    b[2]->len_bytes = 2048;
    b[2]->next = make_frame(f.vf, 2048);
    assert_int_equal(vf_send(f.vf, 0, b, 4), 4);
    assert_int_equal(vf_reg(&f, HW_VFTDT(0)), 8); // the second TSO frame finds its context
    context = (struct hw_tx_context_desc *)&ring[0];
    assert_int_equal(le32toh(context->vlan_macip_lens), 14 << 9 | 20);
    assert_int_equal(le32toh(context->type_tucmd) & 0x1c00, HW_TXC_TUCMD_IPV4);
    assert_int_equal(le32toh(ring[1].olinfo_status),
                     1000 << 14 | HW_TXO_CC | HW_TXO_IXSM | HW_TXO_TXSM);
    context = (struct hw_tx_context_desc *)&ring[2];
    assert_int_equal(le32toh(context->vlan_macip_lens), 14 << 9 | 40);
    assert_int_equal(le32toh(context->type_tucmd) & 0x1c00, HW_TXC_TUCMD_L4T_TCP);
    assert_int_equal(le32toh(ring[3].olinfo_status), 1000 << 14 | HW_TXO_CC | HW_TXO_TXSM);
    context = (struct hw_tx_context_desc *)&ring[4];
    assert_int_equal(le32toh(context->mss_l4len_idx), 1448 << 16 | 32 << 8 | 1 << 4);
    assert_int_equal(le32toh(ring[5].olinfo_status),
                     (4096 - 66) << 14 | HW_TXO_CC | HW_TXO_IXSM | HW_TXO_TXSM | 1 << 4);
    assert_true(le32toh(ring[5].cmd_type_len) & HW_TXD_TSE);
    assert_false(le32toh(ring[5].cmd_type_len) & HW_TXD_EOP);
    assert_int_equal(le32toh(ring[7].olinfo_status) >> 14, 1000 - 66);
    vf_fixture_end(&f);
}

// The card sends everything up to the tail, from *next on.
static void card_send(struct vf_fixture *f, unsigned *next, unsigned stop)
{
    struct hw_tx_data_desc *ring = tx_ring(f);

    for (; *next != stop; *next = (*next + 1) % 64) {
        if ((le32toh(ring[*next].cmd_type_len) & HW_TXD_TYPE_MASK) == HW_TXD_TYPE_DATA)
            card_memory(f, le64toh(ring[*next].buffer_addr),
                        le32toh(ring[*next].cmd_type_len) & HW_TXD_LEN_MASK);
        if (le32toh(ring[*next].cmd_type_len) & HW_TXD_RS)
            ring[*next].olinfo_status |= htole32(HW_TXO_DD);
    }
}

static void test_send_full_ring(void **state)
{
    struct vf_fixture f;
    struct vf_buffer *b[100];
    unsigned next = 0;

    (void)state;
    vf_fixture_init(&f);
    f.config.buffer_count = 64 + 100;
    vf_fixture_open(&f);
    for (unsigned i = 0; i < 100; i++)
        b[i] = make_frame(f.vf, 60);
    // 63 descriptors: one context, 62 frames.
    assert_int_equal(vf_send(f.vf, 0, b, 100), 62);
    assert_int_equal(vf_reg(&f, HW_VFTDT(0)), 63);
    f.bus->writes = 0;
    assert_int_equal(vf_send(f.vf, 0, b + 62, 38), 0);
    assert_int_equal(f.bus->writes, 0); // no doorbell for nothing
    card_send(&f, &next, 31);
    assert_int_equal(vf_send(f.vf, 0, b + 62, 38), 0); // the card reports 32 at a time
    card_send(&f, &next, 32);
    // 31 frames done free as many descriptors, and the context's.
    assert_int_equal(vf_send(f.vf, 0, b + 62, 38), 32);
    assert_int_equal(vf_reg(&f, HW_VFTDT(0)), 31);
    card_send(&f, &next, 31);
    // One reported by itself; a frame in three buffers does not fit into two descriptors.
    assert_int_equal(vf_send(f.vf, 0, b + 94, 1), 1);
    assert_int_equal(vf_send(f.vf, 0, b + 95, 5), 5);
    for (unsigned i = 0; i < 19; i++) { // 6 + 57 = 63
        struct vf_buffer *chain = make_frame(f.vf, 60);

        chain->next = make_frame(f.vf, 60);
        chain->next->next = make_frame(f.vf, 60);
        assert_int_equal(vf_send(f.vf, 0, &chain, 1), 1);
    }
    b[0] = make_frame(f.vf, 60);
    assert_int_equal(vf_send(f.vf, 0, b, 1), 0);
    card_send(&f, &next, 32);
    // One descriptor is free: not enough for a frame and a new context.
    b[0]->flags = VF_TX_VLAN;
    b[0]->vlan = 5;
    assert_int_equal(vf_send(f.vf, 0, b, 1), 0);
    card_send(&f, &next, vf_reg(&f, HW_VFTDT(0)));
    assert_int_equal(vf_send(f.vf, 0, b, 1), 1);
    card_send(&f, &next, vf_reg(&f, HW_VFTDT(0)));
    assert_int_equal(pool_size(f.vf), 100); // an empty pool collects what was sent
    vf_fixture_end(&f);
}

// A ring in which two of the largest frames have no room: the second goes when the first is sent,
// though nobody asks for what is pending.
static void test_send_large_in_small_ring(void **state)
{
    struct vf_fixture f;
    unsigned next = 0;

    (void)state;
    vf_fixture_init(&f);
    f.config.buffer_count = 64 + 3 * VF_FRAME_BUFFERS_MAX;
    vf_fixture_open(&f);
    for (unsigned i = 0; i < 3; i++) {
        struct vf_buffer *chain = NULL;

        for (unsigned n = 0; n < VF_FRAME_BUFFERS_MAX; n++) {
            struct vf_buffer *b = make_frame(f.vf, 30);

            b->next = chain;
            chain = b;
        }
        if (i)
            assert_int_equal(vf_send(f.vf, 0, &chain, 1), 0);
        card_send(&f, &next, vf_reg(&f, HW_VFTDT(0)));
        assert_int_equal(vf_send(f.vf, 0, &chain, 1), 1);
    }
    vf_fixture_end(&f);
}

static void test_send_pending(void **state)
{
    struct vf_fixture f;
    struct vf_buffer *b[60];
    unsigned next = 0, free_buffers;

    (void)state;
    vf_fixture_init(&f);
    f.config.buffer_count = 64 + 60;
    vf_fixture_open(&f);
    assert_int_equal(vf_send_pending(f.vf, 0), 0);
    free_buffers = pool_size(f.vf);
    for (unsigned round = 0; round < 3; round++) { // the second goes over the ring's end
        unsigned context = round == 0, end;

        for (unsigned i = 0; i < 60; i++)
            b[i] = make_frame(f.vf, 60);
        assert_int_equal(vf_send(f.vf, 0, b, 60), 60);
        end = vf_reg(&f, HW_VFTDT(0));
        assert_int_equal(vf_send_pending(f.vf, 0), 60 + context);
        card_send(&f, &next, (end + 63) % 64);
        assert_int_equal(vf_send_pending(f.vf, 0), 60 + context - 32); // reported together
        card_send(&f, &next, end);
        assert_int_equal(vf_send_pending(f.vf, 0), 0);
        assert_int_equal(pool_size(f.vf), free_buffers);
    }
    vf_fixture_end(&f);
}

static void test_send_malformed(void **state)
{
    static const struct {
        uint16_t flags, len, mss;
        uint8_t l2, l3, l4;
        int next_len; // of a second buffer, or -1
    } cases[] = {
        {0, 13, 1460, 14, 20, 20, -1},
        {0, 1515, 1460, 14, 20, 20, -1},
        {0, 100, 1460, 14, 20, 20, 0},
        {0, 100, 1460, 14, 20, 20, 2049},
        {VF_TX_TSO, 100, 0, 14, 20, 20, -1},
        {VF_TX_TSO, 54, 1460, 14, 20, 20, -1},  // headers only
        {VF_TX_TSO, 100, 1461, 14, 20, 20, -1}, // 54 + 1461 > 1514
        {VF_TX_TSO, 100, 1460, 14, 20, 0, -1},
        {VF_TX_IP_CSUM, 100, 1460, 14, 0, 20, -1},
        {VF_TX_TCP_CSUM, 100, 1460, 13, 20, 20, -1},
        {VF_TX_UDP_CSUM, 100, 1460, 128, 20, 20, -1},
    };
    struct vf_fixture f;
    struct vf_buffer *b;
    struct vf_stats stats;

    (void)state;
    vf_fixture_init(&f);
    f.config.buffer_count = 64 + 50;
    vf_fixture_open(&f);
    f.bus->writes = 0;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        b = make_frame(f.vf, cases[i].len);
        b->flags = cases[i].flags;
        b->l2_len = cases[i].l2;
        b->l3_len = cases[i].l3;
        b->l4_len = cases[i].l4;
        b->mss = cases[i].mss;
        if (cases[i].next_len >= 0)
            b->next = make_frame(f.vf, (unsigned)cases[i].next_len);
        assert_int_equal(vf_send(f.vf, 0, &b, 1), 1);
    }
    for (unsigned count = 41; count >= 40; count--) { // 40 buffers are the limit
        struct vf_buffer *chain = NULL;

        for (unsigned i = 0; i < count; i++) {
            b = make_frame(f.vf, 30);
            b->next = chain;
            chain = b;
        }
        if (count == 40)
            assert_int_equal(f.bus->writes, 0);
        assert_int_equal(vf_send(f.vf, 0, &chain, 1), 1);
    }
    vf_driver_stats(f.vf, &stats);
    assert_int_equal(stats.tx_malformed, ARRAY_LEN(cases) + 1);
    assert_int_equal(stats.tx_frames, 1);
    assert_int_equal(f.bus->writes, 1);
    assert_int_equal(pool_size(f.vf), 10);
    vf_fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send_plain),     cmocka_unit_test(test_send_offloads),
        cmocka_unit_test(test_send_full_ring), cmocka_unit_test(test_send_pending),
        cmocka_unit_test(test_send_malformed), cmocka_unit_test(test_send_large_in_small_ring),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

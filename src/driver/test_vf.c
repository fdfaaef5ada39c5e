// SPDX-License-Identifier: BSD-3-Clause
// The VF driver against the PF driver, over the test card's mailbox; the test plays the card on the
// rings.
#include "driver/test_pf_fixture.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "driver/vf.h"
#include "hw82599/desc.h"

struct vf_fixture {
    struct pf_fixture pf;
    struct test_vf_bus *bus;
    struct vf_config config;
    struct vf_driver *vf;
};

static void run_pf(void *ctx)
{
    struct pf_fixture *f = ctx;
    static bool inside;

    // The PF's own accesses raise nothing, but be sure.
    if (!inside && f->pf) {
        inside = true;
        pf_driver_service(f->pf);
        inside = false;
    }
}

static void vf_fixture_init(struct vf_fixture *f)
{
    *f = (struct vf_fixture){0};
    fixture_init(&f->pf);
    f->bus = &f->pf.card->vf[0];
    f->config = (struct vf_config){
        .queue_count = 1,
        .ring_len = 64,
        .buffer_count = 100,
        .buffer_bytes = 2048,
        .frame_bytes_max = 1514,
        .reset_timeout_ms = 50,
    };
}

static int vf_fixture_try(struct vf_fixture *f, char *error, size_t error_len)
{
    f->pf.card->on_event = run_pf;
    f->pf.card->on_event_ctx = &f->pf;
    return vf_driver_open(&f->bus->bus, &f->config, &f->vf, error, error_len);
}

static void vf_fixture_open(struct vf_fixture *f)
{
    char error[200] = "";
    int ret;

    fixture_open(&f->pf);
    ret = vf_fixture_try(f, error, sizeof error);
    if (ret)
        print_error("%s\n", error);
    assert_int_equal(ret, 0);
}

static void vf_fixture_end(struct vf_fixture *f)
{
    vf_driver_close(f->vf);
    assert_int_equal(f->bus->dma_count, 0); // gave all memory back
    f->pf.card->on_event = NULL;
    fixture_end(&f->pf);
}

static uint32_t vf_reg(const struct vf_fixture *f, uint32_t offset)
{
    return f->bus->regs[offset / 4];
}

// Where the card finds what the driver put at `iova`: [iova, iova + len) must lie in its memory.
static void *card_memory(const struct vf_fixture *f, uint64_t iova, uint64_t len)
{
    for (unsigned i = 0; i < f->bus->dma_count; i++) {
        const struct driver_dma *dma = &f->bus->dma[i];

        if (bits_range_within(iova, len, dma->iova, dma->len_bytes))
            return (uint8_t *)dma->host + (iova - dma->iova);
    }
    fail_msg("the card would have faulted at %llx", (unsigned long long)iova);
    return NULL;
}

static void *rx_ring(const struct vf_fixture *f)
{
    uint64_t iova = vf_reg(f, HW_VFRDBAL(0)) | (uint64_t)vf_reg(f, HW_VFRDBAH(0)) << 32;

    return card_memory(f, iova, vf_reg(f, HW_VFRDLEN(0)));
}

static struct hw_tx_data_desc *tx_ring(const struct vf_fixture *f)
{
    uint64_t iova = vf_reg(f, HW_VFTDBAL(0)) | (uint64_t)vf_reg(f, HW_VFTDBAH(0)) << 32;

    return card_memory(f, iova, vf_reg(f, HW_VFTDLEN(0)));
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

static unsigned pool_size(struct vf_driver *vf)
{
    struct vf_buffer *all = NULL, *b;
    unsigned n = 0;

    while ((b = vf_buffer_alloc(vf))) {
        b->next = all;
        all = b;
        n++;
    }
    vf_buffer_free(vf, all);
    return n;
}

// --- Start ---

static void test_open(void **state)
{
    static const enum pf_mailbox_api apis[] = {PF_API_10, PF_API_11, PF_API_12,
                                               PF_API_13, PF_API_14, PF_API_15};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(apis); i++) {
        struct vf_fixture f;
        struct pf_vf_state s;
        uint8_t mac[6];
        unsigned queues = apis[i] == PF_API_10 ? 1 : 2; // 1.0 has no way to ask

        vf_fixture_init(&f);
        f.pf.config.mailbox_api_max = apis[i];
        f.config.queue_count = 2;
        f.config.buffer_count = 128;
        f.config.interrupts = true;
        vf_fixture_open(&f);
        pf_driver_vf_state(f.pf.pf, 0, &s);
        vf_driver_mac(f.vf, mac);
        assert_memory_equal(mac, s.mac, 6);
        assert_int_equal(vf_driver_api(f.vf), apis[i] == PF_API_15 ? PF_API_14 : apis[i]);
        assert_int_equal(s.api, vf_driver_api(f.vf));
        assert_int_equal(s.mtu_frame_bytes, 1518);
        assert_int_equal(vf_driver_queue_count(f.vf), queues);
        assert_int_equal(vf_reg(&f, HW_VFPSRTYPE) >> HW_PSRTYPE_RQPL_SHIFT, queues - 1);
        for (unsigned q = 0; q < queues; q++) {
            assert_int_equal(vf_reg(&f, HW_VFRXDCTL(q)), HW_RXDCTL_ENABLE | HW_RXDCTL_VME);
            assert_int_equal(vf_reg(&f, HW_VFSRRCTL(q)), 2 | 1 << 25 | HW_SRRCTL_DROP_EN);
            assert_int_equal(vf_reg(&f, HW_VFRDT(q)), 63);
            assert_int_equal(vf_reg(&f, HW_VFRDLEN(q)), 64 * 16);
            assert_true(vf_reg(&f, HW_VFTXDCTL(q)) & HW_TXDCTL_ENABLE);
            assert_true(vf_irq_fd(f.vf, q) >= 0);
        }
        assert_int_equal(vf_reg(&f, HW_VTIVAR(0)), queues == 2 ? 0x00810080 : 0x80);
        assert_int_equal(vf_irq_fd(f.vf, queues), -1);
        vf_irq_arm(f.vf, queues - 1);
        assert_int_equal(vf_reg(&f, HW_VTEIMS), BIT(queues - 1));
        assert_true(vf_driver_link_is_up(f.vf));
        assert_int_equal(pool_size(f.vf), 128 - queues * 64);
        vf_fixture_end(&f);
    }
}

// A PF that allows fewer queues than we would like, or says nonsense.
static uint32_t stingy_allowed;

static void run_stingy_pf(void *ctx)
{
    struct pf_fixture *f = ctx;
    uint32_t *words = f->card->mailbox[0].words;

    run_pf(ctx);
    if (words[0] == (HW_MSG_GET_QUEUES | DONE))
        words[HW_MSG_QUEUES_TX] = stingy_allowed;
}

static void test_queues_by_pf(void **state)
{
    static const struct {
        uint32_t allowed;
        unsigned want;
    } cases[] = {{1, 1}, {2, 2}, {0, 2}, {UINT32_MAX, 2}};
    char error[200];

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct vf_fixture f;

        vf_fixture_init(&f);
        f.config.queue_count = 2;
        f.config.buffer_count = 128;
        fixture_open(&f.pf);
        f.pf.card->on_event = run_stingy_pf;
        f.pf.card->on_event_ctx = &f.pf;
        stingy_allowed = cases[i].allowed;
        assert_int_equal(vf_driver_open(&f.bus->bus, &f.config, &f.vf, error, sizeof error), 0);
        assert_int_equal(vf_driver_queue_count(f.vf), cases[i].want);
        vf_fixture_end(&f);
    }
}

static void test_open_fails(void **state)
{
    static const struct vf_config configs[] = {
        {0, 64, 64, 2048, 1514, false, 1},     {3, 64, 192, 2048, 1514, false, 1},
        {1, 56, 64, 2048, 1514, false, 1},     {1, 65, 70, 2048, 1514, false, 1},
        {1, 4104, 5000, 2048, 1514, false, 1}, {1, 64, 63, 2048, 1514, false, 1},
        {2, 64, 127, 2048, 1514, false, 1},    {1, 64, 64, 1024, 1514, false, 1},
        {1, 64, 64, 17408, 1514, false, 1},    {1, 64, 64, 2049, 1514, false, 1},
        {1, 64, 64, 2048, 1513, false, 1},     {1, 64, 64, 2048, 9711, false, 1},
    };
    char error[200];
    struct vf_fixture f;

    (void)state;
    vf_fixture_init(&f);
    for (unsigned i = 0; i < ARRAY_LEN(configs); i++) {
        f.config = configs[i];
        assert_int_equal(vf_fixture_try(&f, error, sizeof error), -EINVAL);
    }
    vf_fixture_end(&f);
    vf_fixture_init(&f); // no PF
    assert_int_equal(vf_fixture_try(&f, error, sizeof error), -ETIMEDOUT);
    assert_non_null(strstr(error, "PF"));
    fixture_open(&f.pf); // a PF that does not answer
    f.pf.card->on_event = NULL;
    assert_int_equal(vf_driver_open(&f.bus->bus, &f.config, &f.vf, error, sizeof error),
                     -ETIMEDOUT);
    assert_non_null(strstr(error, "VF_RESET"));
    f.bus->config_id = 0x12345678;
    assert_int_equal(vf_fixture_try(&f, error, sizeof error), -ENODEV);
    f.bus->config_id = UINT32_MAX; // what a VF's own config space says
    f.config.frame_bytes_max = 9014;
    assert_int_equal(vf_fixture_try(&f, error, sizeof error), 0);
    vf_fixture_end(&f);
    vf_fixture_init(&f);
    f.pf.config.mtu = 1500;
    f.config.frame_bytes_max = 1515;
    fixture_open(&f.pf);
    assert_int_equal(vf_fixture_try(&f, error, sizeof error), -EPERM);
    assert_non_null(strstr(error, "frame size"));
    vf_fixture_end(&f);
    for (unsigned i = 1; i <= 3; i++) { // no memory: for buffers, receive ring, transmit ring
        vf_fixture_init(&f);
        fixture_open(&f.pf);
        f.bus->dma_fail_at = i;
        assert_int_equal(vf_fixture_try(&f, error, sizeof error), -ENOMEM);
        vf_fixture_end(&f);
    }
}

// --- Receive ---

static void test_receive_one(void **state)
{
    struct vf_fixture f;
    struct vf_buffer *b[4];

    (void)state;
    vf_fixture_init(&f);
    vf_fixture_open(&f);
    assert_int_equal(vf_receive(f.vf, 0, b, 4), 0);
    assert_int_equal(vf_reg(&f, HW_VFRDT(0)), 63); // nothing happened: no doorbell
    card_receive(&f, 0, 60, 0xaa, HW_RXS_EOP);
    card_receive(&f, 1, 1514, 0xbb, HW_RXS_EOP | HW_RXS_VP | HW_RXS_IPCS | HW_RXS_L4CS);
    card_receive(&f, 2, 64, 0xcc, HW_RXS_EOP | HW_RXS_IPCS | HW_RXS_L4CS | HW_RXE_L4E);
    card_receive(&f, 3, 64, 0xdd, HW_RXS_EOP | HW_RXE_RXE);
    assert_int_equal(vf_receive(f.vf, 0, b, 4), 3);
    assert_int_equal(b[0]->len_bytes, 60);
    assert_int_equal(b[0]->data[59], 0xaa);
    assert_int_equal(b[0]->flags, 0);
    assert_null(b[0]->next);
    assert_int_equal(b[0]->rss_hash, 0x1234);
    assert_int_equal(b[1]->flags, VF_RX_VLAN | VF_RX_IP_CSUM_OK | VF_RX_L4_CSUM_OK);
    assert_int_equal(b[1]->vlan, 0x6007);
    assert_int_equal(b[2]->flags, VF_RX_IP_CSUM_OK | VF_RX_CSUM_BAD);
    assert_int_equal(vf_reg(&f, HW_VFRDT(0)), 3);
    for (unsigned i = 0; i < 3; i++)
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
        assert_int_equal(vf_reg(&f, HW_VFRDT(0)), (card_next + 63) % 64);
    }
    vf_driver_stats(f.vf, &stats);
    assert_int_equal(stats.rx_bytes, stats.rx_frames * 100);
    assert_int_equal(stats.rx_no_buffer, 0);
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
    assert_int_equal(vf_reg(&f, HW_VFRDT(0)), 6);
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

// --- Transmit ---

static struct vf_buffer *make_frame(struct vf_driver *vf, unsigned len)
{
    struct vf_buffer *b = vf_buffer_alloc(vf);

    assert_non_null(b);
    b->len_bytes = (uint16_t)len;
    return b;
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
    struct vf_fixture f;
    struct vf_buffer *b;
    struct vf_stats stats;

    (void)state;
    vf_fixture_init(&f);
    f.config.buffer_count = 64 + 50;
    vf_fixture_open(&f);
    f.bus->writes = 0;
    for (unsigned i = 0; i < 11; i++) {
        b = make_frame(f.vf, 100);
        b->l2_len = 14;
        b->l3_len = 20;
        b->l4_len = 20;
        b->mss = 1460;
        switch (i) {
        case 0:
            b->len_bytes = 13;
            break;
        case 1:
            b->len_bytes = 1515;
            break;
        case 2:
            b->next = make_frame(f.vf, 0);
            break;
        case 3:
            b->next = make_frame(f.vf, 2049);
            break;
        case 4:
            b->flags = VF_TX_TSO, b->mss = 0;
            break;
        case 5:
            b->flags = VF_TX_TSO, b->len_bytes = 54;
            break;
        case 6:
            b->flags = VF_TX_TSO, b->mss = 1461;
            break; // 54 + 1461 > 1514
        case 7:
            b->flags = VF_TX_TSO, b->l4_len = 0;
            break;
        case 8:
            b->flags = VF_TX_IP_CSUM, b->l3_len = 0;
            break;
        case 9:
            b->flags = VF_TX_TCP_CSUM, b->l2_len = 13;
            break;
        case 10:
            b->flags = VF_TX_UDP_CSUM, b->l2_len = 128;
            break;
        }
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
    assert_int_equal(stats.tx_malformed, 12);
    assert_int_equal(stats.tx_frames, 1);
    assert_int_equal(f.bus->writes, 1);
    assert_int_equal(pool_size(f.vf), 10);
    vf_fixture_end(&f);
}

// --- While it runs ---

static void test_requests(void **state)
{
    static const uint8_t groups[31][6] = {{0x01, 0x00, 0x5e, 0x00, 0x01, 0x23}};
    struct vf_fixture f;
    uint8_t other[6] = {2, 0, 0, 0, 0, 7}, mac[6];

    (void)state;
    vf_fixture_init(&f);
    f.pf.config.vf[1].trusted = true;
    f.pf.config.vf[0].vlan = 9;
    vf_fixture_open(&f);
    assert_int_equal(vf_driver_set_mac(f.vf, other), -EPERM);
    vf_driver_mac(f.vf, mac);
    assert_int_equal(mac[0], 6);
    assert_int_equal(vf_driver_set_mac(f.vf, mac), 0);
    assert_int_equal(vf_driver_add_vlan(f.vf, 5, true), -EPERM);
    assert_int_equal(vf_driver_add_vlan(f.vf, 4096, true), -EINVAL);
    assert_int_equal(vf_driver_set_multicast(f.vf, groups, 1), 0);
    assert_true(test_card_reg(f.pf.card, HW_MTA(0x230 >> 5)) & BIT(0x230 & 31)); // 0x2301 >> 4
    assert_int_equal(vf_driver_set_multicast(f.vf, groups, 30), 0);
    assert_int_equal(vf_driver_set_multicast(f.vf, groups, 31), -ENOSPC);
    vf_fixture_end(&f);
    vf_fixture_init(&f);
    f.bus = &f.pf.card->vf[1];
    f.pf.config.vf[1].trusted = true;
    vf_fixture_open(&f);
    assert_int_equal(vf_driver_set_mac(f.vf, other), 0);
    vf_driver_mac(f.vf, mac);
    assert_memory_equal(mac, other, 6);
    assert_int_equal(vf_driver_add_vlan(f.vf, 4095, true), 0);
    assert_int_equal(vlan_pools(&f.pf, 4095), 2);
    vf_fixture_end(&f);
}

static void test_service(void **state)
{
    struct pf_vf_policy policy = {.link_up = false};
    struct vf_fixture f;
    char error[200];

    (void)state;
    vf_fixture_init(&f);
    vf_fixture_open(&f);
    assert_int_equal(vf_driver_service(f.vf), 0);
    test_card_set_link(f.pf.card, false);
    assert_int_equal(vf_driver_service(f.vf), 0);
    assert_false(vf_driver_link_is_up(f.vf));
    test_card_set_link(f.pf.card, true);
    assert_int_equal(vf_driver_service(f.vf), 0);
    assert_true(vf_driver_link_is_up(f.vf));
    // The host takes the link: start over, and then it is down.
    assert_int_equal(pf_driver_vf_set_policy(f.pf.pf, 0, &policy), 0);
    assert_int_equal(vf_driver_service(f.vf), -EIO);
    vf_driver_close(f.vf);
    assert_int_equal(vf_fixture_try(&f, error, sizeof error), 0);
    assert_false(vf_driver_link_is_up(f.vf));
    // The PF goes away.
    pf_driver_close(f.pf.pf);
    f.pf.pf = NULL;
    assert_int_equal(vf_driver_service(f.vf), -EIO);
    assert_int_equal(vf_driver_set_mac(f.vf, policy.mac), -ETIMEDOUT);
    f.bus->bus.lost = true;
    assert_int_equal(vf_driver_service(f.vf), -ENODEV);
    assert_false(vf_driver_link_is_up(f.vf));
    f.bus->bus.lost = false;
    vf_fixture_end(&f);
}

// Queue registers in mapped pages: no write of theirs reaches the bus, and page 0 is read so that
// the card looks.
static void test_mapped_pages(void **state)
{
    struct vf_fixture f;
    struct vf_buffer *b;
    uint32_t *pages = aligned_alloc(4096, 0x2000);

    (void)state;
    assert_non_null(pages);
    memset(pages, 0, 0x2000);
    vf_fixture_init(&f);
    f.bus->bus.mapped = (volatile uint8_t *)pages;
    f.bus->bus.mapped_start = 0x1000;
    f.bus->bus.mapped_len = 0x2000;
    vf_fixture_open(&f);
    assert_true(f.bus->status_reads >= 2); // after setting up each queue
    assert_int_equal(vf_reg(&f, HW_VFTDLEN(0)), 0);
    assert_int_equal(pages[(HW_VFTDLEN(0) - 0x1000) / 4], 64 * 16);
    assert_int_equal(pages[(HW_VFRDT(0) - 0x1000) / 4], 63);
    f.bus->writes = 0;
    b = make_frame(f.vf, 60);
    assert_int_equal(vf_send(f.vf, 0, &b, 1), 1);
    assert_int_equal(pages[(HW_VFTDT(0) - 0x1000) / 4], 2);
    assert_int_equal(f.bus->writes, 0);
    vf_fixture_end(&f);
    free(pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_queues_by_pf),
        cmocka_unit_test(test_open_fails),
        cmocka_unit_test(test_receive_one),
        cmocka_unit_test(test_receive_wraps),
        cmocka_unit_test(test_receive_chain),
        cmocka_unit_test(test_receive_without_buffers),
        cmocka_unit_test(test_send_plain),
        cmocka_unit_test(test_send_offloads),
        cmocka_unit_test(test_send_full_ring),
        cmocka_unit_test(test_send_pending),
        cmocka_unit_test(test_send_malformed),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_service),
        cmocka_unit_test(test_mapped_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

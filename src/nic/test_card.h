// SPDX-License-Identifier: BSD-3-Clause
// Fixture: a whole card on a PCI segment of its own, brought up the way a host does it, through
// configuration and memory cycles. In place of the IOMMU there is one block of memory, the same for
// every function, at TEST_IOVA. The uplink is a stub whose link can be pulled. For inclusion by a
// test or fuzz target, once: it defines the uplink room's functions.
#ifndef VIREO_NIC_TEST_CARD_H
#define VIREO_NIC_TEST_CARD_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/le.h"
#include "hw82599/regs.h"
#include "nic/nic.h"
#include "nic/port.h"
#include "pci/access.h"
#include "uplink/uplink.h"

#define TEST_IOVA 0x40000000ull
#ifndef TEST_MEM_BYTES
#define TEST_MEM_BYTES (1u << 20)
#endif
#define TEST_PF_BAR0      0xf0000000ull // + index * 1 MiB
#define TEST_PF_MSIX      0xf0400000ull
#define TEST_VF_BAR0      0xf1000000ull // + port * 8 MiB + vf * 16 KiB
#define TEST_VF_MSIX      0xf1200000ull
#define TEST_PF_IO        0xe000ull
#define TEST_BUS          1u
#define TEST_PORT_VECTORS 64u

struct uplink {
    bool link_up;
    unsigned sent_count;
    size_t sent_len;
    // What comes in, one by one: its length, or 0 where none waits. NULL: nothing ever.
    int (*next)(struct uplink *up, uint8_t *buf, size_t buf_len);
    void (*sending)(struct uplink *up); // before each frame that goes out; NULL: nothing
    uint8_t in[UPLINK_BATCH][UPLINK_FRAME_MAX];
};

struct test_card {
    struct gate gate;
    dma_generation_t generation;
    struct pci_segment *seg;
    struct nic_card *card;
    struct nic_port *port; // the first
    struct nic_worker *worker;
    struct uplink uplink[NIC_PORTS_MAX];
    unsigned vf_count;
    uint8_t *mem;
    unsigned refused;        // accesses outside the memory
    uint64_t hole, hole_len; // a part of the memory that is not mapped; gate closed
    // MSI-X messages by function (0: the first PF; n + 1: its VF n) and vector.
    unsigned raised[1 + NIC_VFS_MAX][TEST_PORT_VECTORS];
};

// --- uplink -------------------------------------------------------------------------------------

int uplink_send(struct uplink *up, unsigned sender, const struct iovec *iov, unsigned iov_count)
{
    size_t len = 0;

    (void)sender;
    if (up->sending)
        up->sending(up);
    for (unsigned i = 0; i < iov_count; i++)
        len += iov[i].iov_len;
    __atomic_store_n(&up->sent_len, len, __ATOMIC_RELAXED);
    __atomic_fetch_add(&up->sent_count, 1, __ATOMIC_RELAXED);
    return 0;
}

int uplink_receive(struct uplink *up, struct uplink_frame *out, unsigned max)
{
    unsigned n = 0;
    int len;

    for (; n < max && up->next; n++) {
        len = up->next(up, up->in[n], sizeof up->in[n]);
        if (len <= 0)
            break;
        out[n] = (struct uplink_frame){up->in[n], (uint32_t)len};
    }
    return (int)n;
}

int uplink_wait_fd(const struct uplink *up)
{
    (void)up;
    return -1;
}

bool uplink_link_is_up(const struct uplink *up)
{
    return up->link_up;
}

// --- memory and interrupts ----------------------------------------------------------------------

static inline int test_card_translate(void *ctx, rid_t rid, iova_t iova, enum dma_access access,
                                      struct dma_translation *out)
{
    struct test_card *t = ctx;
    uint64_t page = iova.v & ~4095ull;

    (void)rid;
    (void)access;
    if (page < TEST_IOVA || page >= TEST_IOVA + TEST_MEM_BYTES ||
        page - TEST_IOVA - t->hole < t->hole_len) {
        __atomic_fetch_add(&t->refused, 1, __ATOMIC_RELAXED);
        return -EFAULT;
    }
    *out = (struct dma_translation){
        .iova = page,
        .host = t->mem + (page - TEST_IOVA),
        .shift = DMA_SMALL_SHIFT,
        .access = DMA_READ | DMA_WRITE,
    };
    // All whole 2 MiB but the first, so that there are both kinds of pages.
    page = bits_align_down(page, 1u << DMA_LARGE_SHIFT);
    if (!t->hole_len && page > TEST_IOVA &&
        page + (1u << DMA_LARGE_SHIFT) <= TEST_IOVA + TEST_MEM_BYTES) {
        out->iova = page;
        out->host = t->mem + (page - TEST_IOVA);
        out->shift = DMA_LARGE_SHIFT;
    }
    return 0;
}

static inline void test_card_refuse(void *ctx, rid_t rid, iova_t iova, enum dma_access access)
{
    struct test_card *t = ctx;

    (void)rid;
    (void)iova;
    (void)access;
    __atomic_fetch_add(&t->refused, 1, __ATOMIC_RELAXED);
}

static const struct dma_port_ops test_card_dma = {test_card_translate, test_card_refuse};

static inline rid_t test_card_pf_rid(unsigned port)
{
    return rid_make(TEST_BUS, 0, port);
}

static inline rid_t test_card_vf_rid(unsigned port, unsigned vf)
{
    return (rid_t){
        (uint16_t)(test_card_pf_rid(port).v + HW_FIRST_VF_OFFSET_ARI + vf * HW_VF_STRIDE)};
}

static inline void test_card_raise(void *ctx, rid_t rid, unsigned vector, uint64_t addr,
                                   uint32_t data)
{
    struct test_card *t = ctx;

    (void)addr;
    (void)data;
    if (rid.v == test_card_pf_rid(0).v) {
        __atomic_fetch_add(&t->raised[0][vector], 1, __ATOMIC_RELAXED);
        return;
    }
    for (unsigned vf = 0; vf < NIC_VFS_MAX; vf++) {
        if (rid.v == test_card_vf_rid(0, vf).v)
            __atomic_fetch_add(&t->raised[1 + vf][vector], 1, __ATOMIC_RELAXED);
    }
}

// --- cycles -------------------------------------------------------------------------------------

static inline uint32_t pf_read(struct test_card *t, uint32_t offset)
{
    return (uint32_t)pci_mem_read(t->seg, TEST_PF_BAR0 + offset, 4);
}

static inline void pf_write(struct test_card *t, uint32_t offset, uint32_t value)
{
    pci_mem_write(t->seg, TEST_PF_BAR0 + offset, 4, value);
}

static inline uint32_t vf_read(struct test_card *t, unsigned vf, uint32_t offset)
{
    return (uint32_t)pci_mem_read(t->seg, TEST_VF_BAR0 + vf * HW_VF_BAR_BYTES + offset, 4);
}

static inline void vf_write(struct test_card *t, unsigned vf, uint32_t offset, uint32_t value)
{
    pci_mem_write(t->seg, TEST_VF_BAR0 + vf * HW_VF_BAR_BYTES + offset, 4, value);
}

static inline uint32_t pf_config_read(struct test_card *t, uint32_t offset, unsigned len)
{
    return pci_config_read(t->seg, test_card_pf_rid(0), offset, len);
}

static inline void pf_config_write(struct test_card *t, uint32_t offset, unsigned len,
                                   uint32_t value)
{
    pci_config_write(t->seg, test_card_pf_rid(0), offset, len, value);
}

// --- bringing it up -----------------------------------------------------------------------------

// MSI-X on, every vector unmasked, with an address that says nothing.
static inline void test_card_enable_msix(struct test_card *t, rid_t rid, uint64_t table,
                                         unsigned vectors)
{
    for (unsigned i = 0; i < vectors; i++) {
        pci_mem_write(t->seg, table + 16 * i, 4, 0xfee00000);
        pci_mem_write(t->seg, table + 16 * i + 8, 4, i);
        pci_mem_write(t->seg, table + 16 * i + 12, 4, 0);
    }
    pci_config_write(t->seg, rid, HW_CAP_MSIX + 2, 2, 0x8000);
}

static inline void test_card_enable_pf(struct test_card *t, unsigned port)
{
    rid_t rid = test_card_pf_rid(port);

    pci_config_write(t->seg, rid, 0x10, 4, (uint32_t)(TEST_PF_BAR0 + port * 0x100000));
    pci_config_write(t->seg, rid, 0x18, 4, (uint32_t)(TEST_PF_IO + port * 32));
    pci_config_write(t->seg, rid, 0x20, 4, (uint32_t)(TEST_PF_MSIX + port * 0x100000));
    pci_config_write(t->seg, rid, 0x04, 2, 0x0007);
    test_card_enable_msix(t, rid, TEST_PF_MSIX + port * 0x100000, HW_PF_VECTORS);
}

static inline void test_card_enable_vfs(struct test_card *t, unsigned port, unsigned vf_count)
{
    rid_t rid = test_card_pf_rid(port);
    uint32_t bar0 = (uint32_t)(TEST_VF_BAR0 + port * 0x800000);
    uint32_t bar3 = (uint32_t)(TEST_VF_MSIX + port * 0x800000);

    pci_config_write(t->seg, rid, HW_EXTCAP_SRIOV + 0x24, 4, bar0);
    pci_config_write(t->seg, rid, HW_EXTCAP_SRIOV + 0x30, 4, bar3);
    pci_config_write(t->seg, rid, HW_EXTCAP_SRIOV + 0x10, 2, vf_count);
    pci_config_write(t->seg, rid, HW_EXTCAP_SRIOV + 0x08, 2, 0x0018); // MSE, ARI
    pci_config_write(t->seg, rid, HW_EXTCAP_SRIOV + 0x08, 2, 0x0019); // and VF Enable
    for (unsigned vf = 0; vf < vf_count; vf++) {
        pci_config_write(t->seg, test_card_vf_rid(port, vf), 0x04, 2, 0x0004);
        test_card_enable_msix(t, test_card_vf_rid(port, vf), bar3 + vf * HW_VF_BAR_BYTES,
                              HW_VF_VECTORS);
    }
}

// What a PF driver does at least: pools of 2, 4 or 8 queues, receive and transmit on, MSI-X with
// auto mask, the mailbox cause on vector 63, reset done.
static inline void test_card_start_pf(struct test_card *t, unsigned queues_per_vf)
{
    uint32_t mode = queues_per_vf == 2   ? HW_GCR_EXT_VT_MODE_64
                    : queues_per_vf == 4 ? HW_GCR_EXT_VT_MODE_32
                    : queues_per_vf == 8 ? HW_GCR_EXT_VT_MODE_16
                                         : 0;

    pf_write(t, HW_GCR_EXT, HW_GCR_EXT_MSIX_EN | mode);
    pf_write(t, HW_GPIE,
             HW_GPIE_MULTIPLE_MSIX | HW_GPIE_OCD | HW_GPIE_EIAME | HW_GPIE_PBA_SUPPORT |
                 mode << HW_GPIE_VT_MODE_SHIFT);
    pf_write(t, HW_MRQC, queues_per_vf == 4 ? HW_MRQC_VMDQ32_RSS : HW_MRQC_VMDQ64_RSS);
    pf_write(t, HW_MTQC, HW_MTQC_VT_ENA | (queues_per_vf == 4 ? HW_MTQC_32VF : HW_MTQC_64VF));
    pf_write(t, HW_PFVTCTL,
             HW_PFVTCTL_VT_ENA | HW_PFVTCTL_RPL_EN | t->vf_count << HW_PFVTCTL_DEF_PL_SHIFT);
    for (unsigned i = 0; i < 2; i++) {
        pf_write(t, HW_PFVFRE(i), UINT32_MAX);
        pf_write(t, HW_PFVFTE(i), UINT32_MAX);
    }
    pf_write(t, HW_PFDTXGSWC, HW_PFDTXGSWC_LBE);
    pf_write(t, HW_RXCTRL, HW_RXCTRL_RXEN);
    pf_write(t, HW_DMATXCTL, pf_read(t, HW_DMATXCTL) | HW_DMATXCTL_TE);
    pf_write(t, HW_IVAR_MISC, (HW_IVAR_VALID | 63u) << HW_IVAR_MISC_OTHER_SHIFT);
    pf_write(t, HW_EIMS, HW_EICR_MAILBOX | HW_EICR_LSC);
    pf_write(t, HW_CTRL_EXT, HW_CTRL_EXT_PFRSTD);
}

static inline struct test_card *test_card_open(unsigned port_count, unsigned vf_count,
                                               enum nic_doorbells doorbells)
{
    struct test_card *t = calloc(1, sizeof *t);
    struct pci_interrupt_sink sink = {test_card_raise, t};
    struct nic_card_config config = {.port_count = port_count, .bus = TEST_BUS, .serial = 0x1234};
    int ret;

    assert(t);
    t->mem = aligned_alloc(4096, TEST_MEM_BYTES);
    assert(t->mem);
    memset(t->mem, 0, TEST_MEM_BYTES);
    t->generation = 1;
    t->vf_count = vf_count;
    gate_init(&t->gate);
    for (unsigned i = 0; i < port_count; i++) {
        const uint8_t mac[NIC_MAC_LEN] = {0x02, 0x11, 0x22, 0x33, 0x44, (uint8_t)(0x50 + i)};

        t->uplink[i].link_up = true;
        config.port[i].uplink = &t->uplink[i];
        memcpy(config.port[i].mac, mac, NIC_MAC_LEN);
        for (unsigned vf = 0; vf < NIC_VFS_MAX; vf++)
            config.port[i].vf_doorbells[vf] = doorbells;
    }
    ret = pci_segment_create(&t->gate, &test_card_dma, t, &t->generation, &t->seg);
    assert(!ret);
    pci_segment_set_interrupt_sink(t->seg, &sink);
    ret = nic_card_create(&config, t->seg, &t->gate, &t->card);
    assert(!ret);
    ret = nic_worker_create(t->card, 0, 1, &t->worker);
    assert(!ret);
    (void)ret;
    t->port = nic_card_port(t->card, 0);
    for (unsigned i = 0; i < port_count; i++)
        test_card_enable_pf(t, i);
    if (vf_count)
        test_card_enable_vfs(t, 0, vf_count);
    return t;
}

static inline void test_card_close(struct test_card *t)
{
    nic_worker_destroy(t->worker);
    nic_card_destroy(t->card);
    pci_segment_destroy(t->seg);
    gate_destroy(&t->gate);
    free(t->mem);
    free(t);
}

static inline void vf_mac(unsigned vf, uint8_t mac[6])
{
    const uint8_t base[6] = {0x02, 0x11, 0x22, 0x33, 0x44, (uint8_t)vf};

    memcpy(mac, base, 6);
}

// The first `count` VFs' MACs, one a pool, and broadcasts to each, as a PF driver sets them.
static inline void vf_macs_start(struct test_card *t, unsigned count)
{
    uint8_t mac[6];

    for (unsigned vf = 0; vf < count; vf++) {
        vf_mac(vf, mac);
        pf_write(t, HW_RAL(vf), le32_get(mac));
        pf_write(t, HW_RAH(vf), le16_get(mac + 4) | HW_RAH_AV);
        pf_write(t, HW_MPSAR_LO(vf), BIT(vf));
        pf_write(t, HW_MPSAR_HI(vf), 0);
        pf_write(t, HW_PFVML2FLT(vf), HW_PFVML2FLT_AUPE | HW_PFVML2FLT_BAM);
    }
}

#endif

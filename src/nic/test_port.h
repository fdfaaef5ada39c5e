// SPDX-License-Identifier: BSD-3-Clause
// Fixture of the data path's tests: one port, built by hand, with VMs that have a few MiB of memory
// each behind a translation of their own, rings, and an uplink that is two arrays. For inclusion by
// a test, once: it defines the uplink room's functions.
#ifndef VIREO_NIC_TEST_PORT_H
#define VIREO_NIC_TEST_PORT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "hw82599/desc.h"
#include "nic/forward.h"
#include "nic/port.h"
#include "nic/stats.h"
#include "uplink/uplink.h"

#define VM_COUNT      4u
#define VM_MEM_BYTES  (1u << 20)
#define VM_PAGES      (VM_MEM_BYTES / 4096)
#define VM_IOVA       0x100000000ull // the same in every VM: what keeps them apart is the port
#define PF_POOL       8u
#define QUEUES_A_POOL 2u

struct test_vm {
    struct dma_port dma[2]; // the second to receive by, where there are several workers
    uint8_t *mem;
    uint8_t refuse[VM_PAGES]; // mask of enum dma_access
    unsigned fault_count;
};

struct test_port {
    struct nic_port *port;
    struct gate gate;
    struct test_vm vm[VM_COUNT];
    struct test_vm pf;
    dma_generation_t generation;
};

// --- uplink ---

struct uplink {
    unsigned sent_count;
    struct {
        uint8_t bytes[UPLINK_FRAME_MAX + 4];
        size_t len;
    } sent[160], waiting[64];
    unsigned waiting_count, waiting_at;
    int wait_fd;
};

static struct uplink test_uplink;

int uplink_send(struct uplink *up, unsigned sender, const struct iovec *iov, unsigned iov_count)
{
    size_t len = 0;

    (void)sender;
    assert_true(up->sent_count < 160);
    for (unsigned i = 0; i < iov_count; i++) {
        assert_true(len + iov[i].iov_len <= sizeof up->sent[0].bytes);
        memcpy(up->sent[up->sent_count].bytes + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    up->sent[up->sent_count++].len = len;
    return 0;
}

int uplink_receive(struct uplink *up, struct uplink_frame *out, unsigned max)
{
    unsigned n = 0;

    for (; n < max && up->waiting_at < up->waiting_count; n++, up->waiting_at++)
        out[n] = (struct uplink_frame){up->waiting[up->waiting_at].bytes,
                                       (uint32_t)up->waiting[up->waiting_at].len};
    return (int)n;
}

int uplink_wait_fd(const struct uplink *up)
{
    return up->wait_fd;
}

bool uplink_link_is_up(const struct uplink *up)
{
    (void)up;
    return true;
}

static inline void uplink_put(const uint8_t *frame, size_t len)
{
    memcpy(test_uplink.waiting[test_uplink.waiting_count].bytes, frame, len);
    test_uplink.waiting[test_uplink.waiting_count++].len = len;
}

// --- memory ---

static int test_translate(void *ctx, rid_t rid, iova_t iova, enum dma_access access,
                          struct dma_translation *out)
{
    struct test_vm *vm = ctx;
    uint64_t page = (iova.v - VM_IOVA) / 4096;

    (void)rid;
    if (iova.v < VM_IOVA || page >= VM_PAGES || (vm->refuse[page] & access)) {
        vm->fault_count++;
        return -EFAULT;
    }
    out->iova = VM_IOVA + page * 4096;
    out->host = vm->mem + page * 4096;
    out->shift = DMA_SMALL_SHIFT;
    out->access = (DMA_READ | DMA_WRITE) & ~vm->refuse[page];
    return 0;
}

static void test_refuse(void *ctx, rid_t rid, iova_t iova, enum dma_access access)
{
    struct test_vm *vm = ctx;

    (void)rid;
    (void)iova;
    (void)access;
    vm->fault_count++;
}

static void test_vm_init(struct test_port *t, struct test_vm *vm, unsigned n)
{
    static const struct dma_port_ops ops = {test_translate, test_refuse};

    vm->mem = calloc(1, VM_MEM_BYTES);
    assert_non_null(vm->mem);
    for (unsigned i = 0; i < 2; i++) {
        dma_port_init(&vm->dma[i], rid_make(1, n, 0), &ops, vm, &t->generation);
        vm->dma[i].bus_master = true;
    }
}

static inline void vm_refuse(struct test_port *t, struct test_vm *vm, uint32_t offset,
                             unsigned access)
{
    vm->refuse[offset / 4096] = (uint8_t)access;
    atomic_fetch_add(&t->generation, 1);
}

// --- port ---

static inline void reg(struct test_port *t, uint32_t offset, uint32_t value)
{
    nic_reg_store(t->port, offset, value);
}

static inline void vm_mac(unsigned vm, uint8_t mac[6])
{
    const uint8_t base[6] = {0x02, 0x11, 0x22, 0x33, 0x44, (uint8_t)vm};

    memcpy(mac, base, 6);
}

static inline void test_rar(struct test_port *t, unsigned index, const uint8_t mac[6],
                            uint64_t pools)
{
    reg(t, HW_RAL(index), le32_get(mac));
    reg(t, HW_RAH(index), le16_get(mac + 4) | HW_RAH_AV);
    reg(t, HW_MPSAR_LO(index), (uint32_t)pools);
    reg(t, HW_MPSAR_HI(index), (uint32_t)(pools >> 32));
}

// 64 pools of 2 queues, VM n has pool n, the PF pool 8; all pools take untagged frames, broadcasts
// and their own MAC; RSS off unless a test turns it on.
static inline struct test_port *test_port_new(void)
{
    struct test_port *t = calloc(1, sizeof *t);
    struct nic_port *port = calloc(1, sizeof *port);
    uint8_t mac[6];

    assert_non_null(t);
    assert_non_null(port);
    t->port = port;
    atomic_init(&t->generation, 1);
    gate_init(&t->gate);
    port->gate = &t->gate;
    memset(&test_uplink, 0, sizeof test_uplink);
    test_uplink.wait_fd = -1;
    port->uplink = &test_uplink;
    test_vm_init(t, &t->pf, 31);
    port->pf_dma = t->pf.dma;
    for (unsigned i = 0; i < VM_COUNT; i++) {
        test_vm_init(t, &t->vm[i], i);
        port->vf_dma[i] = t->vm[i].dma;
    }
    port->vf_count = VM_COUNT;
    port->queues_per_vf = QUEUES_A_POOL;
    reg(t, HW_RXCTRL, HW_RXCTRL_RXEN);
    reg(t, HW_DMATXCTL, HW_DMATXCTL_TE);
    reg(t, HW_PFVTCTL, HW_PFVTCTL_VT_ENA | HW_PFVTCTL_RPL_EN | PF_POOL << HW_PFVTCTL_DEF_PL_SHIFT);
    reg(t, HW_MRQC, HW_MRQC_VMDQ64_RSS);
    reg(t, HW_PFDTXGSWC, HW_PFDTXGSWC_LBE);
    reg(t, HW_HLREG0, HW_HLREG0_RXCRCSTRP | HW_HLREG0_TXPADEN | HW_HLREG0_JUMBOEN);
    reg(t, HW_MAXFRS, 9728u << HW_MAXFRS_MFS_SHIFT);
    reg(t, HW_RXCSUM, HW_RXCSUM_PCSD);
    reg(t, HW_VLNCTRL, HW_VLNCTRL_VFE | 0x8100);
    reg(t, HW_FCTRL, HW_FCTRL_BAM);
    reg(t, HW_DTXTCPFLGL, 0x0f760ff6);
    reg(t, HW_DTXTCPFLGH, 0xf7f);
    for (unsigned i = 0; i < 2; i++) {
        reg(t, HW_PFVFRE(i), UINT32_MAX);
        reg(t, HW_PFVFTE(i), UINT32_MAX);
    }
    for (unsigned pool = 0; pool < NIC_POOLS_MAX; pool++)
        reg(t, HW_PFVML2FLT(pool), HW_PFVML2FLT_AUPE | HW_PFVML2FLT_BAM);
    for (unsigned i = 0; i < VM_COUNT; i++) {
        vm_mac(i, mac);
        test_rar(t, i, mac, BIT64(i));
    }
    nic_derive(port);
    return t;
}

static inline void test_port_free(struct test_port *t)
{
    for (unsigned i = 0; i < VM_COUNT; i++)
        free(t->vm[i].mem);
    free(t->pf.mem);
    gate_destroy(&t->gate);
    free(t->port);
    free(t);
}

// --- rings: where they lie in a VM's memory ---

#define TX_RING(q)   (0x01000u + (q)*0x1000u)
#define RX_RING(q)   (0x04000u + (q)*0x1000u)
#define RX_BUFFER(i) (0x40000u + (i)*0x4000u) // up to 16 KiB each
#define TX_DATA      0x10000u
#define RING_LEN     16u

static inline void test_rx_on(struct test_port *t, unsigned queue, unsigned buffer_kib, bool drop)
{
    struct test_vm *vm = &t->vm[queue / QUEUES_A_POOL];
    uint32_t ring = RX_RING(queue % QUEUES_A_POOL);

    for (unsigned i = 0; i < RING_LEN; i++) {
        le64_put(vm->mem + ring + i * 16, VM_IOVA + RX_BUFFER(i));
        le64_put(vm->mem + ring + i * 16 + 8, 0);
    }
    reg(t, HW_RDBAL(queue), (uint32_t)(VM_IOVA + ring));
    reg(t, HW_RDBAH(queue), (uint32_t)((VM_IOVA + ring) >> 32));
    reg(t, HW_RDLEN(queue), RING_LEN * 16);
    reg(t, HW_SRRCTL(queue),
        buffer_kib | HW_SRRCTL_DESCTYPE_ADV << HW_SRRCTL_DESCTYPE_SHIFT |
            (drop ? HW_SRRCTL_DROP_EN : 0));
    reg(t, HW_RXDCTL(queue), HW_RXDCTL_ENABLE | HW_RXDCTL_VME);
    assert_true(nic_rxq_control(t->port, queue));
    nic_rxq_set_tail(t->port, queue, RING_LEN - 1);
}

static inline void test_tx_on(struct test_port *t, unsigned queue)
{
    uint32_t ring = TX_RING(queue % QUEUES_A_POOL);

    reg(t, HW_TDBAL(queue), (uint32_t)(VM_IOVA + ring));
    reg(t, HW_TDBAH(queue), (uint32_t)((VM_IOVA + ring) >> 32));
    reg(t, HW_TDLEN(queue), RING_LEN * 16);
    reg(t, HW_TXDCTL(queue), HW_TXDCTL_ENABLE);
    assert_true(nic_txq_control(t->port, queue));
}

static inline uint32_t tx_tail(const struct test_port *t, unsigned queue)
{
    return atomic_load(&t->port->txq[queue].tail);
}

// Puts one descriptor at the tail, and moves it.
static inline void test_tx_raw(struct test_port *t, unsigned queue, uint64_t low, uint32_t cmd,
                               uint32_t olinfo)
{
    struct test_vm *vm = &t->vm[queue / QUEUES_A_POOL];
    uint32_t tail = tx_tail(t, queue), n = t->port->txq[queue].desc_count;
    uint8_t *desc = vm->mem + TX_RING(queue % QUEUES_A_POOL) + tail * 16;

    le64_put(desc, low);
    le32_put(desc + 8, cmd);
    le32_put(desc + 12, olinfo);
    nic_txq_set_tail(t->port, queue, (tail + 1) % n);
}

#define TX_DATA_CMD (HW_TXD_DEXT | HW_TXD_TYPE_DATA | HW_TXD_IFCS)
#define TX_LAST     (HW_TXD_EOP | HW_TXD_RS)

// One packet in one buffer at `offset` of the VM's memory.
static inline void test_tx_frame(struct test_port *t, unsigned queue, const uint8_t *bytes,
                                 uint32_t len, uint32_t offset)
{
    memcpy(t->vm[queue / QUEUES_A_POOL].mem + offset, bytes, len);
    test_tx_raw(t, queue, VM_IOVA + offset, TX_DATA_CMD | TX_LAST | len,
                len << HW_TXO_PAYLEN_SHIFT);
}

static inline void test_tx_context(struct test_port *t, unsigned queue, unsigned index,
                                   uint32_t vlan_macip, uint32_t tucmd, uint32_t mss_l4len)
{
    test_tx_raw(t, queue, vlan_macip, HW_TXD_DEXT | HW_TXD_TYPE_CONTEXT | tucmd,
                mss_l4len | index << HW_TXC_IDX_SHIFT);
}

// Polls until nothing moves.
static inline unsigned test_poll(struct test_port *t, unsigned queue)
{
    unsigned frames, total = 0;

    while (nic_txq_poll(t->port, queue, &frames) == NIC_TX_MORE)
        total += frames;
    return total + frames;
}

// A frame that arrived: descriptor `index` of a ring.
static inline struct hw_rx_writeback_desc rx_desc(const struct test_port *t, unsigned queue,
                                                  unsigned index)
{
    struct hw_rx_writeback_desc d;

    memcpy(&d, t->vm[queue / QUEUES_A_POOL].mem + RX_RING(queue % QUEUES_A_POOL) + index * 16,
           sizeof d);
    return d;
}

static inline const uint8_t *rx_bytes(const struct test_port *t, unsigned queue, unsigned index)
{
    return t->vm[queue / QUEUES_A_POOL].mem + RX_BUFFER(index);
}

static inline uint32_t rx_head(const struct test_port *t, unsigned queue)
{
    return atomic_load(&t->port->rxq[queue].head);
}

static inline uint64_t counted(const _Atomic uint64_t *counter)
{
    return atomic_load(counter);
}

// --- frames ---

static inline uint32_t make_frame(uint8_t *out, unsigned to, unsigned from, uint16_t ethertype,
                                  uint32_t len)
{
    vm_mac(to, out);
    vm_mac(from, out + 6);
    out[12] = (uint8_t)(ethertype >> 8);
    out[13] = (uint8_t)ethertype;
    for (uint32_t i = 14; i < len; i++)
        out[i] = (uint8_t)(i * 7 + len);
    return len;
}

#endif

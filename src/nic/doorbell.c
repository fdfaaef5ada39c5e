// SPDX-License-Identifier: BSD-3-Clause
#include "nic/doorbell.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "nic/port.h"
#include "nic/regs.h"

// The rows of a ring, in the order of struct ring_words.
enum { WORD_BAL, WORD_BAH, WORD_LEN, WORD_HEAD, WORD_COUNT };

// The registers of a ring share a cache line. Those that are looked at each round, as 64-bit words:
struct ring_line {
    uint64_t base, len, head, tail; // head: and SRRCTL
    uint64_t other, control;        // other: not looked at
};

// What was last taken from, or put into, the pages for one ring.
struct ring_state {
    struct ring_line seen;      // as in the page when the ring was last sampled
    bool on;                    // ENABLE as applied
    uint32_t words[WORD_COUNT]; // as applied; the head as published since
    uint32_t control, buffers;  // RXDCTL or TXDCTL; SRRCTL
    uint32_t tail;
};

struct nic_doorbell_pages {
    int fd;
    uint8_t *mem;
    struct ring_state rx[NIC_DOORBELL_QUEUES_MAX], tx[NIC_DOORBELL_QUEUES_MAX];
    uint64_t published_ns;
};

int nic_doorbell_create(struct nic_doorbell_pages **out)
{
    struct nic_doorbell_pages *pages = calloc(1, sizeof *pages);
    int ret;

    if (!pages)
        return -ENOMEM;
    pages->fd = memfd_create("vireo-doorbells", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (pages->fd < 0)
        goto fail;
    // The VM's process gets this fd: it must not be able to take the pages from under us.
    if (ftruncate(pages->fd, NIC_DOORBELL_BAR_OFFSET + NIC_DOORBELL_LEN_BYTES) ||
        fcntl(pages->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        goto fail_fd;
    pages->mem = mmap(NULL, NIC_DOORBELL_LEN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, pages->fd,
                      NIC_DOORBELL_BAR_OFFSET);
    if (pages->mem == MAP_FAILED)
        goto fail_fd;
    *out = pages;
    return 0;

fail_fd:
    ret = -errno;
    close(pages->fd);
    free(pages);
    return ret;
fail:
    ret = -errno;
    free(pages);
    return ret;
}

void nic_doorbell_destroy(struct nic_doorbell_pages *pages)
{
    if (!pages)
        return;
    munmap(pages->mem, NIC_DOORBELL_LEN_BYTES);
    close(pages->fd);
    free(pages);
}

int nic_doorbell_fd(const struct nic_doorbell_pages *pages)
{
    return pages->fd;
}

// `offset` is a VF BAR0 offset within the pages.
static uint32_t page_get(const struct nic_doorbell_pages *pages, uint32_t offset)
{
    const uint32_t *at = (const uint32_t *)(pages->mem + offset - NIC_DOORBELL_BAR_OFFSET);

    // Acquire: pairs with the guest's own order of stores: what it wrote before a control word or
    // tail is seen after it.
    return le32toh(__atomic_load_n(at, __ATOMIC_ACQUIRE));
}

static void page_put(struct nic_doorbell_pages *pages, uint32_t offset, uint32_t value)
{
    uint32_t *at = (uint32_t *)(pages->mem + offset - NIC_DOORBELL_BAR_OFFSET);

    __atomic_store_n(at, htole32(value), __ATOMIC_RELEASE);
}

// Whether the guest has written to the ring's line since it was last sampled, which the caller does
// now. What is taken here is older than what will be sampled: a store in between is seen next time.
static inline bool line_changed(const struct nic_doorbell_pages *pages, uint32_t offset,
                                struct ring_line *seen)
{
    const struct ring_line *line = (const void *)(pages->mem + offset - NIC_DOORBELL_BAR_OFFSET);
    struct ring_line now = {
        .base = __atomic_load_n(&line->base, __ATOMIC_RELAXED),
        .len = __atomic_load_n(&line->len, __ATOMIC_RELAXED),
        .head = __atomic_load_n(&line->head, __ATOMIC_RELAXED),
        .tail = __atomic_load_n(&line->tail, __ATOMIC_RELAXED),
        .control = __atomic_load_n(&line->control, __ATOMIC_RELAXED),
    };

    if (likely(!((now.base ^ seen->base) | (now.len ^ seen->len) | (now.head ^ seen->head) |
                 (now.tail ^ seen->tail) | (now.control ^ seen->control))))
        return false;
    *seen = now;
    return true;
}

// Copies a word of the page to the register file, masked as a register cycle would.
static void take_word(struct nic_port *port, enum hw_row row, unsigned queue, uint32_t value)
{
    uint32_t mask = nic_reg_rows[row].write_mask, offset = nic_regs_offset(row, queue);

    nic_reg_store(port, offset, (nic_reg(port, offset) & ~mask) | (value & mask));
}

// Whether the guest asks for the ring to be set up anew: it changed what only a ring that is off
// may change, so it must have been off in between.
static bool ring_rewritten(const struct ring_state *st, const uint32_t words[WORD_COUNT])
{
    return memcmp(st->words, words, sizeof st->words) != 0;
}

static bool sample_rx(struct nic_port *port, unsigned vf, unsigned n, unsigned queue)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    struct ring_state *st = &pages->rx[n];
    uint32_t control = page_get(pages, HW_VFRXDCTL(n)), tail;
    uint32_t words[WORD_COUNT] = {page_get(pages, HW_VFRDBAL(n)), page_get(pages, HW_VFRDBAH(n)),
                                  page_get(pages, HW_VFRDLEN(n)), page_get(pages, HW_VFRDH(n))};
    uint32_t buffers = page_get(pages, HW_VFSRRCTL(n));
    bool on = control & HW_RXDCTL_ENABLE, changed = false;

    if (st->on && (!on || ring_rewritten(st, words))) {
        nic_rxq_disable(port, queue);
        st->on = false;
        changed = true;
    }
    if (on != st->on || control != st->control || buffers != st->buffers) {
        if (!st->on) {
            take_word(port, HW_ROW_RDBAL, queue, words[WORD_BAL]);
            take_word(port, HW_ROW_RDBAH, queue, words[WORD_BAH]);
            take_word(port, HW_ROW_RDLEN, queue, words[WORD_LEN]);
            take_word(port, HW_ROW_RDH, queue, words[WORD_HEAD]);
            memcpy(st->words, words, sizeof st->words);
        }
        take_word(port, HW_ROW_SRRCTL, queue, buffers);
        take_word(port, HW_ROW_RXDCTL, queue, control);
        nic_rxq_control(port, queue);
        st->on = on;
        st->control = control;
        st->buffers = buffers;
        changed = true;
    }
    tail = page_get(pages, HW_VFRDT(n)) & nic_reg_rows[HW_ROW_RDT].write_mask;
    if (tail != st->tail) {
        st->tail = tail;
        nic_reg_store(port, HW_RDT(queue), tail);
        nic_rxq_set_tail(port, queue, tail);
        changed = true;
    }
    return changed;
}

static bool sample_tx(struct nic_port *port, unsigned vf, unsigned n, unsigned queue)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    struct ring_state *st = &pages->tx[n];
    uint32_t control = page_get(pages, HW_VFTXDCTL(n)), tail;
    uint32_t words[WORD_COUNT] = {page_get(pages, HW_VFTDBAL(n)), page_get(pages, HW_VFTDBAH(n)),
                                  page_get(pages, HW_VFTDLEN(n)), page_get(pages, HW_VFTDH(n))};
    bool on = control & HW_TXDCTL_ENABLE, changed = false;

    if (st->on && (!on || ring_rewritten(st, words))) {
        nic_txq_disable(port, queue);
        st->on = false;
        changed = true;
    }
    if (on != st->on || control != st->control) {
        if (!st->on) {
            take_word(port, HW_ROW_TDBAL, queue, words[WORD_BAL]);
            take_word(port, HW_ROW_TDBAH, queue, words[WORD_BAH]);
            take_word(port, HW_ROW_TDLEN, queue, words[WORD_LEN]);
            take_word(port, HW_ROW_TDH, queue, words[WORD_HEAD]);
            take_word(port, HW_ROW_TDWBAL, queue, page_get(pages, HW_VFTDWBAL(n)));
            take_word(port, HW_ROW_TDWBAH, queue, page_get(pages, HW_VFTDWBAH(n)));
            memcpy(st->words, words, sizeof st->words);
        }
        take_word(port, HW_ROW_TXDCTL, queue, control);
        nic_txq_control(port, queue);
        st->on = on;
        st->control = control;
        changed = true;
    }
    tail = page_get(pages, HW_VFTDT(n)) & nic_reg_rows[HW_ROW_TDT].write_mask;
    if (tail != st->tail) {
        st->tail = tail;
        nic_reg_store(port, HW_TDT(queue), tail);
        nic_txq_set_tail(port, queue, tail);
        changed = true;
    }
    return changed;
}

static unsigned queue_count(const struct nic_port *port, unsigned vf)
{
    return vf < port->vf_count ? port->queues_per_vf : 0;
}

// Heads of running rings. What is published is remembered, so that a word that differs is known to
// be the guest's.
static void publish_heads(struct nic_port *port, unsigned vf)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    unsigned count = queue_count(port, vf);

    for (unsigned n = 0; n < count; n++) {
        struct ring_state *rx = &pages->rx[n], *tx = &pages->tx[n];
        unsigned queue = vf * count + n;
        uint32_t head = atomic_load_explicit(&port->rxq[queue].head, memory_order_relaxed);

        if (rx->on && port->rxq[queue].enabled && head != rx->words[WORD_HEAD]) {
            rx->words[WORD_HEAD] = head;
            page_put(pages, HW_VFRDH(n), head);
        }
        head = atomic_load_explicit(&port->txq[queue].head, memory_order_relaxed);
        if (tx->on && port->txq[queue].enabled && head != tx->words[WORD_HEAD]) {
            tx->words[WORD_HEAD] = head;
            page_put(pages, HW_VFTDH(n), head);
        }
    }
}

static void publish_stats(struct nic_port *port, unsigned vf)
{
    static const struct {
        uint32_t offset;
        enum hw_row row;
    } stats[] = {
        {HW_VFGPRC, HW_ROW_PVFGPRC},         {HW_VFGORC_LSB, HW_ROW_PVFGORC_LSB},
        {HW_VFGORC_MSB, HW_ROW_PVFGORC_MSB}, {HW_VFMPRC, HW_ROW_PVFMPRC},
        {HW_VFGPTC, HW_ROW_PVFGPTC},         {HW_VFGOTC_LSB, HW_ROW_PVFGOTC_LSB},
        {HW_VFGOTC_MSB, HW_ROW_PVFGOTC_MSB},
    };

    for (unsigned i = 0; i < ARRAY_LEN(stats); i++)
        page_put(port->doorbells[vf], stats[i].offset, nic_stats_read(port, stats[i].row, vf));
}

bool nic_doorbell_poll(struct nic_port *port, unsigned vf, uint64_t now_ns)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    unsigned count = queue_count(port, vf);
    bool changed = false;

    for (unsigned n = 0; n < count; n++) {
        unsigned queue = vf * count + n;

        if (line_changed(pages, HW_VFRDBAL(n), &pages->rx[n].seen))
            changed |= sample_rx(port, vf, n, queue);
        if (line_changed(pages, HW_VFTDBAL(n), &pages->tx[n].seen))
            changed |= sample_tx(port, vf, n, queue);
    }
    if (unlikely(now_ns - pages->published_ns >= NIC_DOORBELL_PUBLISH_MS * NS_PER_MS)) {
        pages->published_ns = now_ns;
        publish_stats(port, vf);
        publish_heads(port, vf);
    } else if (!changed) {
        // Not while doorbells ring: each store takes the line away from the guest.
        publish_heads(port, vf);
    }
    return changed;
}

void nic_doorbell_sample(struct nic_port *port, unsigned vf)
{
    nic_doorbell_poll(port, vf, clock_now_ns());
    publish_heads(port, vf);
    publish_stats(port, vf);
}

static uint32_t put_reg(struct nic_port *port, unsigned vf, uint32_t offset, enum hw_row row,
                        unsigned queue)
{
    uint32_t value = nic_reg(port, nic_regs_offset(row, queue));

    page_put(port->doorbells[vf], offset, value);
    return value;
}

void nic_doorbell_publish(struct nic_port *port, unsigned vf)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    unsigned count = queue_count(port, vf);

    for (uint32_t at = 0; at < NIC_DOORBELL_LEN_BYTES; at += 4)
        page_put(pages, NIC_DOORBELL_BAR_OFFSET + at, 0);
    memset(pages->rx, 0, sizeof pages->rx);
    memset(pages->tx, 0, sizeof pages->tx);
    for (unsigned n = 0; n < count && n < NIC_DOORBELL_QUEUES_MAX; n++) {
        struct ring_state *rx = &pages->rx[n], *tx = &pages->tx[n];
        unsigned queue = vf * count + n;

        rx->words[WORD_BAL] = put_reg(port, vf, HW_VFRDBAL(n), HW_ROW_RDBAL, queue);
        rx->words[WORD_BAH] = put_reg(port, vf, HW_VFRDBAH(n), HW_ROW_RDBAH, queue);
        rx->words[WORD_LEN] = put_reg(port, vf, HW_VFRDLEN(n), HW_ROW_RDLEN, queue);
        rx->buffers = put_reg(port, vf, HW_VFSRRCTL(n), HW_ROW_SRRCTL, queue);
        rx->control = put_reg(port, vf, HW_VFRXDCTL(n), HW_ROW_RXDCTL, queue);
        rx->tail = atomic_load_explicit(&port->rxq[queue].tail, memory_order_relaxed);
        rx->words[WORD_HEAD] = atomic_load_explicit(&port->rxq[queue].head, memory_order_relaxed);
        rx->on = port->rxq[queue].enabled;
        page_put(pages, HW_VFRDH(n), rx->words[WORD_HEAD]);
        page_put(pages, HW_VFRDT(n), rx->tail);
        put_reg(port, vf, HW_VFDCA_RXCTRL(n), HW_ROW_DCA_RXCTRL, queue);

        tx->words[WORD_BAL] = put_reg(port, vf, HW_VFTDBAL(n), HW_ROW_TDBAL, queue);
        tx->words[WORD_BAH] = put_reg(port, vf, HW_VFTDBAH(n), HW_ROW_TDBAH, queue);
        tx->words[WORD_LEN] = put_reg(port, vf, HW_VFTDLEN(n), HW_ROW_TDLEN, queue);
        tx->control = put_reg(port, vf, HW_VFTXDCTL(n), HW_ROW_TXDCTL, queue);
        tx->tail = atomic_load_explicit(&port->txq[queue].tail, memory_order_relaxed);
        tx->words[WORD_HEAD] = atomic_load_explicit(&port->txq[queue].head, memory_order_relaxed);
        tx->on = port->txq[queue].enabled;
        page_put(pages, HW_VFTDH(n), tx->words[WORD_HEAD]);
        page_put(pages, HW_VFTDT(n), tx->tail);
        put_reg(port, vf, HW_VFTDWBAL(n), HW_ROW_TDWBAL, queue);
        put_reg(port, vf, HW_VFTDWBAH(n), HW_ROW_TDWBAH, queue);
        put_reg(port, vf, HW_VFDCA_TXCTRL(n), HW_ROW_DCA_TXCTRL, queue);
    }
    publish_stats(port, vf);
}

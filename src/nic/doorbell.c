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
#include "nic/copy.h"
#include "nic/port.h"
#include "nic/regs.h"

#define ASKED_RINGS 2u // of a VF: the hardware sees more of them coming by itself

// A ring's registers as they lie in a page. They share a cache line.
struct ring_line {
    uint64_t base;           // BAL, BAH
    uint64_t len;            // LEN; DCA_CTRL is not looked at by itself
    uint64_t head;           // head; of a receive ring also SRRCTL
    uint32_t tail, counters; // beside ring 0's tail is a counter that we publish
    uint64_t other;          // not looked at
    uint64_t control;        // RXDCTL, TXDCTL
};

// One ring, in a line of its own. What was taken from the page is what was applied: so a word that
// differs later is known to be the guest's.
struct ring_state {
    _Alignas(NIC_LINE_APART) struct ring_line seen; // the head as published since
    bool on;                                        // ENABLE as applied
};

struct nic_doorbell_pages {
    struct ring_state rx[NIC_DOORBELL_QUEUES_MAX], tx[NIC_DOORBELL_QUEUES_MAX];
    int fd;
    uint8_t *mem;
    uint8_t rx_on, tx_on;      // bitmaps of rings that are on
    uint64_t published_events; // counted_events() when heads and statistics were last published
};

static_assert(NIC_DOORBELL_QUEUES_MAX <= 8, "bitmaps of rings");

int nic_doorbell_create(struct nic_doorbell_pages **out)
{
    struct nic_doorbell_pages *pages = aligned_alloc(NIC_LINE_APART, sizeof *pages);
    int ret;

    if (!pages)
        return -ENOMEM;
    memset(pages, 0, sizeof *pages);
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

static uint32_t low(uint64_t words)
{
    return (uint32_t)le64toh(words);
}

static uint32_t high(uint64_t words)
{
    return (uint32_t)(le64toh(words) >> 32);
}

// What the guest has written to a ring's line since it was last taken.
enum line_change { LINE_SAME, LINE_TAIL, LINE_MORE };

// Takes the line as it is now to *now. Control first, then the tail, both with acquire as in
// page_get(): the rest is at least as new.
static inline enum line_change line_look(const struct nic_doorbell_pages *pages, uint32_t offset,
                                         const struct ring_line *seen, struct ring_line *now)
{
    const struct ring_line *line = (const void *)(pages->mem + offset - NIC_DOORBELL_BAR_OFFSET);

    now->control = __atomic_load_n(&line->control, __ATOMIC_ACQUIRE);
    now->tail = __atomic_load_n(&line->tail, __ATOMIC_ACQUIRE);
    now->base = __atomic_load_n(&line->base, __ATOMIC_RELAXED);
    now->len = __atomic_load_n(&line->len, __ATOMIC_RELAXED);
    now->head = __atomic_load_n(&line->head, __ATOMIC_RELAXED);
    now->counters = 0;
    now->other = 0;
    if (likely(!((now->base ^ seen->base) | (now->len ^ seen->len) | (now->head ^ seen->head) |
                 (now->control ^ seen->control))))
        return likely(now->tail == seen->tail) ? LINE_SAME : LINE_TAIL;
    return LINE_MORE;
}

// Copies a word of the page to the register file, masked as a register cycle would.
static void take_word(struct nic_port *port, enum hw_row row, unsigned queue, uint32_t value)
{
    uint32_t mask = nic_reg_rows[row].write_mask, offset = nic_regs_offset(row, queue);

    nic_reg_store(port, offset, (nic_reg(port, offset) & ~mask) | (value & mask));
}

// Whether the guest asks for a ring that is on to be set up anew: it changed what only a ring that
// is off may change, so it must have been off in between.
static bool is_rewritten(const struct ring_line *seen, const struct ring_line *now)
{
    return now->base != seen->base || low(now->len) != low(seen->len) ||
           low(now->head) != low(seen->head);
}

static void set_on(struct ring_state *st, uint8_t *bitmap, unsigned n, bool on)
{
    st->on = on;
    *bitmap = (uint8_t)(on ? *bitmap | BIT(n) : *bitmap & ~BIT(n));
}

// The tail as the page has it now, with the receiver locked: what another worker found here since
// we looked is not taken back. One that is known already is no news for those who wait: they would
// try again, look here again, and so on.
static void take_shared_rx_tail(struct nic_port *port, struct nic_lane *lane, unsigned vf,
                                unsigned n, unsigned queue)
{
    uint32_t tail;

    nic_rx_take(port, lane, queue);
    tail = page_get(port->doorbells[vf], HW_VFRDT(n)) & nic_reg_rows[HW_ROW_RDT].write_mask;
    if (tail == atomic_load_explicit(&port->rxq[queue].tail, memory_order_relaxed))
        return;
    nic_reg_store(port, HW_RDT(queue), tail);
    nic_rxq_set_tail(port, queue, tail);
}

// The tail of a running ring, or of one that may be started later. The worker's own, or with the
// gate closed: nobody is to be woken for it (nic_doorbell_sample() sees to that).
static bool take_rx_tail(struct nic_port *port, unsigned vf, unsigned n, unsigned queue,
                         const struct ring_line *now)
{
    uint32_t mask = nic_reg_rows[HW_ROW_RDT].write_mask, tail = le32toh(now->tail) & mask;

    if (tail == (le32toh(port->doorbells[vf]->rx[n].seen.tail) & mask))
        return false;
    if (unlikely(port->shared)) {
        struct nic_lane *lane = nic_lane_of_queue(port, queue);

        take_shared_rx_tail(port, lane, vf, n, queue);
        nic_rx_leave(port, lane);
        return true;
    }
    nic_reg_store(port, HW_RDT(queue), tail);
    // Release: as nic_rxq_set_tail().
    atomic_store_explicit(&port->rxq[queue].tail, tail, memory_order_release);
    nic_lane_refilled(&port->lane[0]);
    return true;
}

static bool take_tx_tail(struct nic_port *port, unsigned queue, const struct ring_line *seen,
                         const struct ring_line *now)
{
    uint32_t tail = le32toh(now->tail) & nic_reg_rows[HW_ROW_TDT].write_mask;

    if (tail == (le32toh(seen->tail) & nic_reg_rows[HW_ROW_TDT].write_mask))
        return false;
    nic_reg_store(port, HW_TDT(queue), tail);
    // Release: as nic_txq_set_tail().
    atomic_store_explicit(&port->txq[queue].tail, tail, memory_order_release);
    nic_lane_ready(nic_lane_of_queue(port, queue), queue);
    return true;
}

static bool take_rx(struct nic_port *port, unsigned vf, unsigned n, unsigned queue,
                    const struct ring_line *now)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    struct ring_state *st = &pages->rx[n];
    bool on = low(now->control) & HW_RXDCTL_ENABLE, changed = false;

    if (st->on && (!on || is_rewritten(&st->seen, now))) {
        nic_rxq_disable(port, queue);
        set_on(st, &pages->rx_on, n, false);
        changed = true;
    }
    if (on != st->on || low(now->control) != low(st->seen.control) ||
        high(now->head) != high(st->seen.head)) {
        if (!st->on) {
            take_word(port, HW_ROW_RDBAL, queue, low(now->base));
            take_word(port, HW_ROW_RDBAH, queue, high(now->base));
            take_word(port, HW_ROW_RDLEN, queue, low(now->len));
            take_word(port, HW_ROW_RDH, queue, low(now->head));
        }
        take_word(port, HW_ROW_SRRCTL, queue, high(now->head));
        take_word(port, HW_ROW_RXDCTL, queue, low(now->control));
        nic_rxq_control(port, queue);
        set_on(st, &pages->rx_on, n, on);
        changed = true;
    }
    changed |= take_rx_tail(port, vf, n, queue, now);
    st->seen = *now;
    return changed;
}

static bool take_tx(struct nic_port *port, struct nic_doorbell_pages *pages, unsigned n,
                    unsigned queue, const struct ring_line *now)
{
    struct ring_state *st = &pages->tx[n];
    bool on = low(now->control) & HW_TXDCTL_ENABLE, changed = false;

    if (st->on && (!on || is_rewritten(&st->seen, now))) {
        nic_txq_disable(port, queue);
        set_on(st, &pages->tx_on, n, false);
        changed = true;
    }
    if (on != st->on || low(now->control) != low(st->seen.control)) {
        if (!st->on) {
            take_word(port, HW_ROW_TDBAL, queue, low(now->base));
            take_word(port, HW_ROW_TDBAH, queue, high(now->base));
            take_word(port, HW_ROW_TDLEN, queue, low(now->len));
            take_word(port, HW_ROW_TDH, queue, low(now->head));
            take_word(port, HW_ROW_TDWBAL, queue, page_get(pages, HW_VFTDWBAL(n)));
            take_word(port, HW_ROW_TDWBAH, queue, page_get(pages, HW_VFTDWBAH(n)));
        }
        take_word(port, HW_ROW_TXDCTL, queue, low(now->control));
        nic_txq_control(port, queue);
        set_on(st, &pages->tx_on, n, on);
        changed = true;
    }
    changed |= take_tx_tail(port, queue, &st->seen, now);
    st->seen = *now;
    return changed;
}

static bool look_rx(struct nic_port *port, unsigned vf, unsigned n, unsigned queue)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    struct ring_line *seen = &pages->rx[n].seen, now;

    switch (line_look(pages, HW_VFRDBAL(n), seen, &now)) {
    case LINE_SAME:
        return false;
    case LINE_TAIL:
        take_rx_tail(port, vf, n, queue, &now);
        seen->tail = now.tail;
        return true;
    case LINE_MORE:
        break;
    }
    return take_rx(port, vf, n, queue, &now);
}

static bool look_tx(struct nic_port *port, struct nic_doorbell_pages *pages, unsigned n,
                    unsigned queue)
{
    struct ring_line *seen = &pages->tx[n].seen, now;

    switch (line_look(pages, HW_VFTDBAL(n), seen, &now)) {
    case LINE_SAME:
        return false;
    case LINE_TAIL:
        take_tx_tail(port, queue, seen, &now);
        seen->tail = now.tail;
        return true;
    case LINE_MORE:
        break;
    }
    return take_tx(port, pages, n, queue, &now);
}

static unsigned queue_count(const struct nic_port *port, unsigned vf)
{
    return vf < port->vf_count ? port->queues_per_vf : 0;
}

// Not over what the guest has written there since we looked: that it wrote is all that tells of a
// ring that it set up anew meanwhile.
static void publish_head(struct nic_doorbell_pages *pages, struct ring_state *st, uint32_t offset,
                         uint32_t head)
{
    uint32_t *at = (uint32_t *)(pages->mem + offset - NIC_DOORBELL_BAR_OFFSET);
    uint32_t published = htole32(low(st->seen.head));

    // Release: as page_put().
    if (low(st->seen.head) != head &&
        __atomic_compare_exchange_n(at, &published, htole32(head), false, __ATOMIC_RELEASE,
                                    __ATOMIC_RELAXED))
        st->seen.head = htole64((uint64_t)high(st->seen.head) << 32 | head);
}

// Heads of running rings.
static void publish_heads(struct nic_port *port, unsigned vf)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    unsigned count = queue_count(port, vf);

    for (unsigned n = 0; n < count; n++) {
        unsigned queue = vf * count + n;

        if (pages->rx[n].on && port->rxq[queue].enabled)
            publish_head(pages, &pages->rx[n], HW_VFRDH(n),
                         atomic_load_explicit(&port->rxq[queue].head, memory_order_relaxed));
        if (pages->tx[n].on && port->txq[queue].enabled)
            publish_head(pages, &pages->tx[n], HW_VFTDH(n),
                         atomic_load_explicit(&port->txq[queue].head, memory_order_relaxed));
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

bool nic_doorbell_look_tx(struct nic_port *port, unsigned vf)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    unsigned first = vf * queue_count(port, vf);
    bool changed = false;

    for (unsigned left = pages->tx_on; left; left &= left - 1) {
        unsigned n = (unsigned)__builtin_ctz(left);

        changed |= look_tx(port, pages, n, first + n);
    }
    return changed;
}

bool nic_doorbell_look_rx(struct nic_port *port, unsigned vf)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    unsigned first = vf * queue_count(port, vf);
    bool changed = false;

    for (unsigned left = pages->rx_on; left; left &= left - 1) {
        unsigned n = (unsigned)__builtin_ctz(left);

        changed |= look_rx(port, vf, n, first + n);
    }
    return changed;
}

void nic_doorbell_look_again(struct nic_port *port, struct nic_lane *lane, unsigned queue)
{
    int vf = nic_vf_of_queue(port, queue);
    unsigned n;

    if (vf < 0 || !port->doorbells[vf])
        return;
    n = queue - (unsigned)vf * queue_count(port, (unsigned)vf);
    if (nic_lane_of_queue(port, queue) == lane)
        look_rx(port, (unsigned)vf, n, queue);
    else // what else there may be is its own worker's to find
        take_shared_rx_tail(port, lane, (unsigned)vf, n, queue);
}

void nic_doorbell_ask_state(const struct nic_port *port, unsigned vf)
{
    const struct nic_doorbell_pages *pages = port->doorbells[vf];

    nic_prefetch_read(&pages->mem);
    for (unsigned n = 0; n < port->queues_per_vf && n < ASKED_RINGS; n++) {
        nic_prefetch_read(&pages->rx[n]);
        nic_prefetch_read(&pages->tx[n]);
    }
    nic_prefetch_read(&port->counters.pool[vf]);
}

void nic_doorbell_ask_pages(const struct nic_port *port, unsigned vf)
{
    const uint8_t *mem = port->doorbells[vf]->mem;

    for (unsigned n = 0; n < port->queues_per_vf && n < ASKED_RINGS; n++) {
        nic_prefetch_read(mem + HW_VFRDBAL(n) - NIC_DOORBELL_BAR_OFFSET);
        nic_prefetch_read(mem + HW_VFTDBAL(n) - NIC_DOORBELL_BAR_OFFSET);
    }
}

bool nic_doorbell_look_all(struct nic_port *port, unsigned vf)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    unsigned count = queue_count(port, vf);
    bool changed = false;

    for (unsigned n = 0; n < count; n++) {
        changed |= look_rx(port, vf, n, vf * count + n);
        changed |= look_tx(port, pages, n, vf * count + n);
    }
    return changed;
}

// Moves on with whatever moves a head or a statistics register.
static uint64_t counted_events(const struct nic_port *port, unsigned vf)
{
    const struct nic_pool_counters *c = &port->counters.pool[vf];
#define COUNT(field) atomic_load_explicit(&c->field, memory_order_relaxed)
    return COUNT(rx_frames) + COUNT(tx_frames) + COUNT(rx_no_descriptor_drops) +
           COUNT(rx_fault_drops) + COUNT(tx_fault_drops) + COUNT(tx_spoof_drops) +
           COUNT(tx_malformed_drops);
#undef COUNT
}

void nic_doorbell_report(struct nic_port *port, unsigned vf)
{
    uint64_t events = counted_events(port, vf);

    if (port->doorbells[vf]->published_events == events)
        return;
    port->doorbells[vf]->published_events = events;
    publish_stats(port, vf);
    publish_heads(port, vf);
}

void nic_doorbell_sample(struct nic_port *port, unsigned vf)
{
    if (nic_doorbell_look_all(port, vf))
        nic_worker_kick_port(port);
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

static uint64_t words(uint32_t low_word, uint32_t high_word)
{
    return htole64((uint64_t)high_word << 32 | low_word);
}

static void publish_rx(struct nic_port *port, unsigned vf, unsigned n, unsigned queue)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    uint32_t head = atomic_load_explicit(&port->rxq[queue].head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&port->rxq[queue].tail, memory_order_relaxed);
    struct ring_line *seen = &pages->rx[n].seen;
    uint32_t bal = put_reg(port, vf, HW_VFRDBAL(n), HW_ROW_RDBAL, queue);
    uint32_t bah = put_reg(port, vf, HW_VFRDBAH(n), HW_ROW_RDBAH, queue);
    uint32_t len = put_reg(port, vf, HW_VFRDLEN(n), HW_ROW_RDLEN, queue);
    uint32_t dca = put_reg(port, vf, HW_VFDCA_RXCTRL(n), HW_ROW_DCA_RXCTRL, queue);
    uint32_t buffers = put_reg(port, vf, HW_VFSRRCTL(n), HW_ROW_SRRCTL, queue);
    uint32_t control = put_reg(port, vf, HW_VFRXDCTL(n), HW_ROW_RXDCTL, queue);

    page_put(pages, HW_VFRDH(n), head);
    page_put(pages, HW_VFRDT(n), tail);
    *seen = (struct ring_line){
        .base = words(bal, bah),
        .len = words(len, dca),
        .head = words(head, buffers),
        .tail = htole32(tail),
        .control = words(control, 0),
    };
    set_on(&pages->rx[n], &pages->rx_on, n, port->rxq[queue].enabled);
}

static void publish_tx(struct nic_port *port, unsigned vf, unsigned n, unsigned queue)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    uint32_t head = atomic_load_explicit(&port->txq[queue].head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&port->txq[queue].tail, memory_order_relaxed);
    struct ring_line *seen = &pages->tx[n].seen;
    uint32_t bal = put_reg(port, vf, HW_VFTDBAL(n), HW_ROW_TDBAL, queue);
    uint32_t bah = put_reg(port, vf, HW_VFTDBAH(n), HW_ROW_TDBAH, queue);
    uint32_t len = put_reg(port, vf, HW_VFTDLEN(n), HW_ROW_TDLEN, queue);
    uint32_t dca = put_reg(port, vf, HW_VFDCA_TXCTRL(n), HW_ROW_DCA_TXCTRL, queue);
    uint32_t control = put_reg(port, vf, HW_VFTXDCTL(n), HW_ROW_TXDCTL, queue);

    put_reg(port, vf, HW_VFTDWBAL(n), HW_ROW_TDWBAL, queue);
    put_reg(port, vf, HW_VFTDWBAH(n), HW_ROW_TDWBAH, queue);
    page_put(pages, HW_VFTDH(n), head);
    page_put(pages, HW_VFTDT(n), tail);
    *seen = (struct ring_line){
        .base = words(bal, bah),
        .len = words(len, dca),
        .head = words(head, 0),
        .tail = htole32(tail),
        .control = words(control, 0),
    };
    set_on(&pages->tx[n], &pages->tx_on, n, port->txq[queue].enabled);
}

void nic_doorbell_publish(struct nic_port *port, unsigned vf)
{
    struct nic_doorbell_pages *pages = port->doorbells[vf];
    unsigned count = queue_count(port, vf);

    for (uint32_t at = 0; at < NIC_DOORBELL_LEN_BYTES; at += 4)
        page_put(pages, NIC_DOORBELL_BAR_OFFSET + at, 0);
    memset(pages->rx, 0, sizeof pages->rx);
    memset(pages->tx, 0, sizeof pages->tx);
    pages->rx_on = pages->tx_on = 0;
    for (unsigned n = 0; n < count && n < NIC_DOORBELL_QUEUES_MAX; n++) {
        publish_rx(port, vf, n, vf * count + n);
        publish_tx(port, vf, n, vf * count + n);
    }
    publish_stats(port, vf);
}

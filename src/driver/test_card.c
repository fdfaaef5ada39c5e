// SPDX-License-Identifier: BSD-3-Clause
#include "driver/test_card.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"

static void raise_pf(struct test_card *card, uint32_t cause)
{
    uint64_t one = 1;

    card->regs[HW_EICR / 4] |= cause;
    if (card->irq_given && (card->regs[HW_EIMS / 4] & cause))
        (void)!write(card->irq_fd, &one, sizeof one);
    if (card->on_event)
        card->on_event(card->on_event_ctx);
}

uint32_t test_card_reg(const struct test_card *card, uint32_t offset)
{
    return card->regs[offset / 4];
}

void test_card_set_link(struct test_card *card, bool up)
{
    card->link_up = up;
    raise_pf(card, HW_EICR_LSC);
}

// --- Mailboxes ---

uint32_t test_card_vf_read(struct test_card *card, unsigned vf)
{
    uint32_t bits = card->mailbox[vf].vf_events;

    if (card->mailbox[vf].vfu)
        bits |= HW_VFMAILBOX_VFU;
    if (card->mailbox[vf].pfu)
        bits |= HW_VFMAILBOX_PFU;
    if (!(card->regs[HW_CTRL_EXT / 4] & HW_CTRL_EXT_PFRSTD))
        bits |= HW_VFMAILBOX_RSTI;
    card->mailbox[vf].vf_events = 0;
    return bits;
}

void test_card_vf_write(struct test_card *card, unsigned vf, uint32_t value)
{
    card->mailbox[vf].vfu = (value & HW_VFMAILBOX_VFU) && !card->mailbox[vf].pfu;
    if (value & HW_VFMAILBOX_REQ)
        card->regs[HW_PFMBICR(vf / 16) / 4] |= HW_PFMBICR_REQ(vf);
    if (value & HW_VFMAILBOX_ACK)
        card->regs[HW_PFMBICR(vf / 16) / 4] |= HW_PFMBICR_ACK(vf);
    if (value & (HW_VFMAILBOX_REQ | HW_VFMAILBOX_ACK))
        raise_pf(card, HW_EICR_MAILBOX);
}

static void pf_mailbox_write(struct test_card *card, unsigned vf, uint32_t value)
{
    if (value & HW_PFMAILBOX_RVFU)
        card->mailbox[vf].vfu = false;
    card->mailbox[vf].pfu = (value & HW_PFMAILBOX_PFU) && !card->mailbox[vf].vfu;
    if (value & HW_PFMAILBOX_STS)
        card->mailbox[vf].vf_events |= HW_VFMAILBOX_PFSTS;
    if (value & HW_PFMAILBOX_ACK)
        card->mailbox[vf].vf_events |= HW_VFMAILBOX_PFACK;
}

static uint32_t pf_mailbox_read(struct test_card *card, unsigned vf)
{
    return (card->mailbox[vf].vfu ? HW_PFMAILBOX_VFU : 0) |
           (card->mailbox[vf].pfu ? HW_PFMAILBOX_PFU : 0);
}

void test_card_vf_reset(struct test_card *card, unsigned vf)
{
    // Whether a real card gives the buffer back here is not said: do not rely on it.
    card->mailbox[vf].vf_events = 0;
    card->regs[HW_PFVFLRE(vf / 32) / 4] |= HW_PFVFLRE_BIT(vf);
    raise_pf(card, HW_EICR_MAILBOX);
}

// --- The PF's registers ---

static void pf_reset(struct test_card *card)
{
    memset(card->regs, 0, sizeof card->regs);
    card->regs[HW_EEC / 4] = HW_EEC_AUTO_RD;
    card->regs[HW_RDRXCTL / 4] = HW_RDRXCTL_DMAIDONE;
    card->regs[HW_SECRXSTAT / 4] = HW_SECRXSTAT_RDY;
    card->regs[HW_RAL(0) / 4] = card->eeprom[0x100] | (uint32_t)card->eeprom[0x101] << 16;
    card->regs[HW_RAH(0) / 4] = card->eeprom[0x102] | HW_RAH_AV;
    if (card->reset_hangs)
        card->regs[HW_CTRL / 4] = HW_CTRL_RST;
}

static bool offset_is(uint32_t offset, uint32_t first, unsigned count, unsigned *n)
{
    *n = (offset - first) / 4;
    return offset >= first && *n < count;
}

static uint32_t pf_read(struct driver_bus *bus, uint32_t offset)
{
    struct test_card *card = container_of(bus, struct test_card, pf_bus);
    unsigned n;

    card->pf_accesses++;
    if (bus->lost)
        return UINT32_MAX;
    if (offset == HW_LINKS)
        return card->link_up ? HW_LINKS_UP | HW_LINKS_SPEED_10G : 0;
    if (offset_is(offset, HW_PFMAILBOX(0), TEST_CARD_VFS, &n))
        return pf_mailbox_read(card, n);
    if (offset_is(offset, HW_PFMBMEM(0), TEST_CARD_VFS * HW_MAILBOX_WORDS, &n))
        return card->mailbox[n / HW_MAILBOX_WORDS].words[n % HW_MAILBOX_WORDS];
    return card->regs[offset / 4];
}

static void pf_write(struct driver_bus *bus, uint32_t offset, uint32_t value)
{
    struct test_card *card = container_of(bus, struct test_card, pf_bus);
    uint32_t *reg = &card->regs[offset / 4];
    unsigned n;

    card->pf_accesses++;
    if (bus->lost)
        return;
    if (offset_is(offset, HW_PFMAILBOX(0), TEST_CARD_VFS, &n)) {
        pf_mailbox_write(card, n, value);
    } else if (offset_is(offset, HW_PFMBMEM(0), TEST_CARD_VFS * HW_MAILBOX_WORDS, &n)) {
        card->mailbox[n / HW_MAILBOX_WORDS].words[n % HW_MAILBOX_WORDS] = value;
    } else if (offset == HW_EICR || offset_is(offset, HW_PFMBICR(0), HW_PFMBICR_COUNT, &n)) {
        *reg &= ~value;
    } else if (offset_is(offset, HW_PFVFLREC(0), 2, &n)) {
        card->regs[HW_PFVFLRE(n) / 4] &= ~value;
    } else if (offset == HW_EIMS) {
        *reg |= value;
    } else if (offset == HW_EIMC) {
        card->regs[HW_EIMS / 4] &= ~value;
    } else if (offset == HW_CTRL && (value & HW_CTRL_RST)) {
        pf_reset(card);
    } else if (offset == HW_EERD) {
        uint32_t word = value >> HW_EERD_ADDR_SHIFT & (HW_EEPROM_WORDS - 1);

        *reg = (uint32_t)card->eeprom[word] << HW_EERD_DATA_SHIFT | HW_EERD_DONE;
    } else if (offset == HW_PFQDE) {
        n = value >> HW_PFQDE_INDEX_SHIFT & (HW_QUEUES - 1);
        card->drop_enabled[n] = value & HW_PFQDE_WE && value & HW_PFQDE_QDE;
    } else {
        *reg = value;
    }
}

static uint32_t pf_config_read(struct driver_bus *bus, uint32_t offset, unsigned len)
{
    struct test_card *card = container_of(bus, struct test_card, pf_bus);

    return offset == 4 && len == 2 ? card->command : card->config_id;
}

static void pf_config_write(struct driver_bus *bus, uint32_t offset, unsigned len, uint32_t value)
{
    struct test_card *card = container_of(bus, struct test_card, pf_bus);

    if (offset == 4 && len == 2)
        card->command = (uint16_t)value;
}

static int pf_irq_enable(struct driver_bus *bus, unsigned vectors, int *fds)
{
    struct test_card *card = container_of(bus, struct test_card, pf_bus);

    if (vectors != 1)
        return -ENOTSUP;
    card->irq_given = true;
    fds[0] = card->irq_fd;
    return 0;
}

static int pf_flr(struct driver_bus *bus)
{
    struct test_card *card = container_of(bus, struct test_card, pf_bus);

    card->flrs++;
    pf_reset(card);
    return 0;
}

static void no_close(struct driver_bus *bus)
{
    (void)bus;
}

static const struct driver_bus_ops pf_ops = {
    .config_read = pf_config_read,
    .config_write = pf_config_write,
    .reg_read = pf_read,
    .reg_write = pf_write,
    .irq_enable = pf_irq_enable,
    .reset = pf_flr,
    .close = no_close,
};

// --- A VF's registers ---

static struct test_vf_bus *vf_from_bus(struct driver_bus *bus)
{
    return container_of(bus, struct test_vf_bus, bus);
}

static uint32_t vf_read(struct driver_bus *bus, uint32_t offset)
{
    struct test_vf_bus *b = vf_from_bus(bus);
    unsigned n;

    if (bus->lost)
        return UINT32_MAX;
    if (offset == HW_VFMAILBOX)
        return test_card_vf_read(b->card, b->vf);
    if (offset == HW_VFSTATUS)
        b->status_reads++;
    if (offset == HW_VFLINKS)
        return b->card->link_up ? HW_LINKS_UP | HW_LINKS_SPEED_10G : 0;
    if (offset_is(offset, HW_VFMBMEM(0), HW_MAILBOX_WORDS, &n))
        return b->card->mailbox[b->vf].words[n];
    return b->regs[offset / 4];
}

static void vf_write(struct driver_bus *bus, uint32_t offset, uint32_t value)
{
    struct test_vf_bus *b = vf_from_bus(bus);
    unsigned n;

    b->writes++;
    if (bus->lost)
        return;
    if (offset == HW_VFCTRL && (value & HW_VFCTRL_RST)) {
        memset(b->regs, 0, sizeof b->regs);
        test_card_vf_reset(b->card, b->vf);
    } else if (offset == HW_VFMAILBOX) {
        test_card_vf_write(b->card, b->vf, value);
    } else if (offset_is(offset, HW_VFMBMEM(0), HW_MAILBOX_WORDS, &n)) {
        b->card->mailbox[b->vf].words[n] = value;
    } else {
        b->regs[offset / 4] = value;
    }
}

static uint32_t vf_config_read(struct driver_bus *bus, uint32_t offset, unsigned len)
{
    return offset == 0 && len == 4 ? vf_from_bus(bus)->config_id : 0;
}

static void vf_config_write(struct driver_bus *bus, uint32_t offset, unsigned len, uint32_t value)
{
    (void)bus;
    (void)offset;
    (void)len;
    (void)value;
}

static int vf_dma_alloc(struct driver_bus *bus, uint64_t len_bytes, struct driver_dma *out)
{
    struct test_vf_bus *b = vf_from_bus(bus);
    uint64_t len = bits_align_up(len_bytes, 4096);
    void *host;

    if (b->dma_count == TEST_DMA_MAX || b->dma_count + 1 == b->dma_fail_at)
        return -ENOMEM;
    host = aligned_alloc(4096, len);
    if (!host)
        return -ENOMEM;
    memset(host, 0, len);
    *out = (struct driver_dma){
        .host = host, .iova = (uintptr_t)host + TEST_IOVA_OFFSET, .len_bytes = len};
    b->dma[b->dma_count++] = *out;
    return 0;
}

static void vf_dma_free(struct driver_bus *bus, struct driver_dma *dma)
{
    struct test_vf_bus *b = vf_from_bus(bus);

    for (unsigned i = 0; i < b->dma_count; i++) {
        if (b->dma[i].host == dma->host) {
            free(dma->host);
            b->dma[i] = b->dma[--b->dma_count];
            *dma = (struct driver_dma){0};
            return;
        }
    }
    abort(); // not ours, or freed twice
}

static int vf_irq_enable(struct driver_bus *bus, unsigned vectors, int *fds)
{
    struct test_vf_bus *b = vf_from_bus(bus);

    if (vectors > HW_VF_VECTORS)
        return -ENOTSUP;
    while (b->irq_count < vectors) {
        b->irq_fds[b->irq_count] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        fds[b->irq_count] = b->irq_fds[b->irq_count];
        b->irq_count++;
    }
    return 0;
}

static const struct driver_bus_ops vf_ops = {
    .config_read = vf_config_read,
    .config_write = vf_config_write,
    .reg_read = vf_read,
    .reg_write = vf_write,
    .dma_alloc = vf_dma_alloc,
    .dma_free = vf_dma_free,
    .irq_enable = vf_irq_enable,
    .close = no_close,
};

// --- Life ---

void test_card_seal_eeprom(struct test_card *card)
{
    uint16_t sum = 0;

    for (unsigned i = 0; i < HW_EEPROM_CHECKSUM_WORD; i++)
        sum = (uint16_t)(sum + card->eeprom[i]);
    for (unsigned i = 1; i <= card->eeprom[0x100 - 1]; i++)
        sum = (uint16_t)(sum + card->eeprom[0x100 - 1 + i]);
    card->eeprom[HW_EEPROM_CHECKSUM_WORD] = (uint16_t)(HW_EEPROM_SUM - sum);
}

struct test_card *test_card_new(void)
{
    struct test_card *card = calloc(1, sizeof *card);

    if (!card)
        abort();
    card->pf_bus.ops = &pf_ops;
    snprintf(card->pf_bus.name, sizeof card->pf_bus.name, "test");
    card->config_id = HW_VENDOR_ID | HW_PF_DEVICE_ID << 16;
    card->link_up = true;
    card->irq_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    // One section, which word 3 points to: its length, then three words that are the MAC.
    memset(card->eeprom, 0xff, sizeof card->eeprom);
    card->eeprom[3] = 0x100 - 1;
    card->eeprom[0x100 - 1] = 3;
    card->eeprom[0x100] = 0x1b00;
    card->eeprom[0x101] = 0x0a21;
    card->eeprom[0x102] = 0x0c0b;
    test_card_seal_eeprom(card);
    pf_reset(card);
    for (unsigned i = 0; i < TEST_CARD_BUSES; i++) {
        struct test_vf_bus *b = &card->vf[i];

        b->bus.ops = &vf_ops;
        snprintf(b->bus.name, sizeof b->bus.name, "test/vf%u", i);
        b->card = card;
        b->vf = i;
        b->config_id = HW_VENDOR_ID | HW_VF_DEVICE_ID << 16;
    }
    return card;
}

void test_card_free(struct test_card *card)
{
    for (unsigned i = 0; i < TEST_CARD_BUSES; i++) {
        while (card->vf[i].dma_count)
            vf_dma_free(&card->vf[i].bus, &(struct driver_dma){.host = card->vf[i].dma[0].host});
        while (card->vf[i].irq_count)
            close(card->vf[i].irq_fds[--card->vf[i].irq_count]);
    }
    close(card->irq_fd);
    free(card);
}

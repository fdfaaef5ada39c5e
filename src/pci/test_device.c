// SPDX-License-Identifier: BSD-3-Clause
#include "pci/test_device.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"

static void event(struct test_function *f, enum test_event_kind kind, int arg, bool vfs_answer)
{
    struct test_card *card = f->card;

    if (card->event_count < TEST_EVENTS)
        card->events[card->event_count] =
            (struct test_event){kind, f->name, arg, gate_is_closed(&card->gate), vfs_answer};
    card->event_count++;
}

static uint64_t bar_read(void *dev, unsigned bar, uint64_t offset, unsigned len)
{
    struct test_function *f = dev;

    f->bar = bar;
    f->offset = offset;
    f->len = len;
    f->reads++;
    return 0x8877665544332211 ^ offset;
}

static void bar_write(void *dev, unsigned bar, uint64_t offset, unsigned len, uint64_t value)
{
    struct test_function *f = dev;

    f->bar = bar;
    f->offset = offset;
    f->len = len;
    f->value = value;
    f->writes++;
}

static void reset(void *dev, enum pci_reset kind)
{
    event(dev, TEST_RESET, kind, false);
}

static void bus_master_changed(void *dev, bool enabled)
{
    struct test_function *f = dev;

    assert(pci_function_dma(f->fn)->bus_master == enabled);
    event(f, TEST_MASTER, enabled, false);
}

static void vfs_changed(void *dev, bool enabled, unsigned num_vfs)
{
    struct test_function *f = dev;
    rid_t first = pci_function_rid(f->card->vf[f - f->card->pf][0].fn);

    assert(enabled == (num_vfs != 0));
    event(f, TEST_VFS_CHANGED, (int)num_vfs, pci_function_exists(f->card->seg, first));
}

static int backing(void *dev, unsigned bar, uint64_t offset, struct pci_backing *out)
{
    struct test_function *f = dev;

    (void)f;
    if (bar != 0 || offset > 0x1000)
        return -ENOENT;
    *out = (struct pci_backing){-1, 0, 0x1000, 0x2000};
    return 0;
}

static const struct pci_function_ops ops = {
    .bar_read = bar_read,
    .bar_write = bar_write,
    .reset = reset,
    .bus_master_changed = bus_master_changed,
    .vfs_changed = vfs_changed,
    .backing = backing,
};

static int translate(void *ctx, rid_t rid, iova_t iova, enum dma_access access,
                     struct dma_translation *out)
{
    (void)ctx, (void)rid, (void)iova, (void)access, (void)out;
    return -EFAULT;
}

static void refuse(void *ctx, rid_t rid, iova_t iova, enum dma_access access)
{
    (void)ctx, (void)rid, (void)iova, (void)access;
}

static const struct dma_port_ops dma_ops = {.translate = translate, .refuse = refuse};

static void raise_message(void *ctx, rid_t rid, unsigned vector, uint64_t addr, uint32_t data)
{
    struct test_card *card = ctx;

    pthread_mutex_lock(&card->lock);
    card->messages[card->message_count++ % ARRAY_LEN(card->messages)] =
        (struct test_message){rid, vector, addr, data};
    pthread_mutex_unlock(&card->lock);
}

static void must(int ret)
{
    assert(ret == 0);
    (void)ret;
}

static struct pci_function *function_create(struct test_card *card, struct test_function *f,
                                            uint16_t device_id, uint32_t class_code, bool multi)
{
    struct pci_function_info info = {
        .vendor_id = 0x8086,
        .device_id = device_id,
        .subsystem_vendor_id = 0x8086,
        .subsystem_id = 0x0003,
        .class_code = class_code,
        .revision_id = 1,
        .multifunction = multi,
        .name = f->name,
        .cache_line_dwords = 0x10,
    };

    f->card = card;
    must(pci_function_create(&info, &ops, f, &f->fn));
    return f->fn;
}

static void vf_create(struct test_card *card, unsigned port, unsigned n)
{
    struct test_function *f = &card->vf[port][n];
    struct pci_function *fn;

    snprintf(f->name, sizeof f->name, "port%u/vf%u", port & 1, n & 63);
    fn = function_create(card, f, 0x10ed, 0x020000, true);
    must(pci_cap_add_msix(fn, TEST_MSIX, 3, 3, 0, 0x2000));
    pci_cap_add_express(fn, TEST_EXPRESS);
    pci_extcap_add_aer(fn, TEST_AER);
    pci_extcap_add_ari(fn, TEST_ARI, 0);
}

static void pf_create(struct test_card *card, unsigned port)
{
    static const struct pci_sriov_info sriov = {
        .total_vfs = TEST_VFS,
        .first_vf_offset_ari = 128,
        .first_vf_offset_no_ari = 384,
        .vf_stride = 2,
        .vf_device_id = 0x10ed,
        .supported_page_sizes = 0x553,
        .vf_bar = {[0] = {16384, PCI_BAR_MEM64}, [3] = {16384, PCI_BAR_MEM64}},
    };
    struct test_function *f = &card->pf[port];
    struct pci_function *vfs[TEST_VFS], *fn;

    snprintf(f->name, sizeof f->name, "port%u", port & 1);
    fn = function_create(card, f, 0x10fb, 0x020000, true);
    must(pci_bar_init(fn, 0, PCI_BAR_MEM64_PREFETCH, 512 * 1024));
    must(pci_bar_init(fn, 2, PCI_BAR_IO, 32));
    must(pci_bar_init(fn, 4, PCI_BAR_MEM64_PREFETCH, 16384));
    pci_cap_add_pm(fn, TEST_PM);
    pci_cap_add_msi(fn, TEST_MSI);
    must(pci_cap_add_msix(fn, TEST_MSIX, 64, 4, 0, 0x2000));
    pci_cap_add_express(fn, TEST_EXPRESS);
    pci_cap_add_vpd(fn, TEST_VPD);
    pci_extcap_add_aer(fn, TEST_AER);
    pci_extcap_add_dsn(fn, TEST_DSN, TEST_SERIAL);
    pci_extcap_add_ari(fn, TEST_ARI, port == 0 ? 1 : 0);
    for (unsigned n = 0; n < TEST_VFS; n++) {
        vf_create(card, port, n);
        vfs[n] = card->vf[port][n].fn;
    }
    must(pci_extcap_add_sriov(fn, TEST_SRIOV, &sriov, vfs));
}

static void other_create(struct test_card *card)
{
    struct test_function *f = &card->other;
    struct pci_function *fn;

    snprintf(f->name, sizeof f->name, "gpu");
    fn = function_create(card, f, 0x0bdb, 0x030200, false);
    must(pci_bar_init(fn, 0, PCI_BAR_MEM32, 16));
    must(pci_bar_init(fn, 1, PCI_BAR_MEM32, 4096));
    must(pci_bar_init(fn, 5, PCI_BAR_IO, 4));
    pci_cap_add_msi(fn, TEST_MSI);
    pci_cap_add_express(fn, TEST_EXPRESS);
    pci_extcap_add_acs(fn, 0x180); // not at 100: a null capability goes there
}

void test_card_create(struct test_card *card)
{
    *card = (struct test_card){.generation = 1};
    pthread_mutex_init(&card->lock, NULL);
    gate_init(&card->gate);
    must(pci_segment_create(&card->gate, &dma_ops, NULL, &card->generation, &card->seg));
    for (unsigned port = 0; port < TEST_PFS; port++)
        pf_create(card, port);
    other_create(card);
    // Not in RID order, to see that the segment sorts them.
    must(pci_segment_add(card->seg, TEST_PF1, card->pf[1].fn));
    must(pci_segment_add(card->seg, TEST_OTHER, card->other.fn));
    must(pci_segment_add(card->seg, TEST_PF0, card->pf[0].fn));
    pci_segment_set_interrupt_sink(
        card->seg, &(struct pci_interrupt_sink){.raise = raise_message, .ctx = card});
}

void test_card_destroy(struct test_card *card)
{
    for (unsigned port = 0; port < TEST_PFS; port++) {
        pci_function_destroy(card->pf[port].fn);
        for (unsigned n = 0; n < TEST_VFS; n++)
            pci_function_destroy(card->vf[port][n].fn);
    }
    // The segment first, here: both orders are allowed.
    pci_segment_destroy(card->seg);
    pci_function_destroy(card->other.fn);
    assert(!gate_is_closed(&card->gate));
    gate_destroy(&card->gate);
    pthread_mutex_destroy(&card->lock);
}

void test_enable_vfs(struct test_card *card, rid_t pf, unsigned num_vfs, bool ari, uint64_t bar0,
                     uint64_t bar3)
{
    uint32_t control = test_read(card, TEST_PF0, TEST_SRIOV + 0x08, 2);

    test_write(card, TEST_PF0, TEST_SRIOV + 0x08, 2, (control & ~0x10u) | (ari ? 0x10 : 0));
    test_write(card, pf, TEST_SRIOV + 0x24, 4, (uint32_t)bar0);
    test_write(card, pf, TEST_SRIOV + 0x28, 4, (uint32_t)(bar0 >> 32));
    test_write(card, pf, TEST_SRIOV + 0x30, 4, (uint32_t)bar3);
    test_write(card, pf, TEST_SRIOV + 0x34, 4, (uint32_t)(bar3 >> 32));
    test_write(card, pf, TEST_SRIOV + 0x10, 2, num_vfs);
    test_write(card, pf, TEST_SRIOV + 0x08, 2, (ari ? 0x10 : 0) | 0x09);
}

unsigned test_events_of(const struct test_card *card, enum test_event_kind kind, const char *name)
{
    unsigned count = 0;

    for (unsigned i = 0; i < card->event_count && i < TEST_EVENTS; i++)
        count += card->events[i].kind == kind && !strcmp(card->events[i].name, name);
    return count;
}

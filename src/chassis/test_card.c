// SPDX-License-Identifier: BSD-3-Clause
#include "chassis/test_card.h"

#include <stdio.h>
#include <string.h>

#include "base/le.h"

static uint64_t bar_read(void *dev, unsigned bar, uint64_t offset, unsigned len)
{
    struct test_chassis *t = dev;

    (void)bar, (void)len;
    t->reads++;
    t->last_offset = offset;
    return 0x1122334455667788ull;
}

static void bar_write(void *dev, unsigned bar, uint64_t offset, unsigned len, uint64_t value)
{
    struct test_chassis *t = dev;

    (void)bar, (void)len;
    t->writes++;
    t->last_offset = offset;
    t->last_value = value;
}

static void pf_reset(void *dev, enum pci_reset kind)
{
    struct test_chassis *t = dev;

    (void)kind;
    t->resets++;
}

static const struct pci_function_ops pf_ops = {
    .bar_read = bar_read, .bar_write = bar_write, .reset = pf_reset};
static const struct pci_function_ops vf_ops = {.bar_read = bar_read, .bar_write = bar_write};

static int card_create(struct test_chassis *t)
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
    struct pci_function_info info = {
        .vendor_id = 0x8086, .device_id = 0x10fb, .class_code = 0x020000, .name = "pf"};
    int ret = pci_function_create(&info, &pf_ops, t, &t->pf);

    for (unsigned n = 0; n < TEST_VFS && !ret; n++) {
        ret = pci_function_create(&info, &vf_ops, t, &t->vf[n]);
        if (!ret)
            ret = pci_cap_add_msix(t->vf[n], TEST_MSIX, 3, 3, 0, 0x2000);
        if (!ret)
            pci_cap_add_express(t->vf[n], 0xa0);
    }
    if (!ret)
        ret = pci_bar_init(t->pf, 0, PCI_BAR_MEM64, 512 * 1024);
    if (!ret)
        ret = pci_bar_init(t->pf, 4, PCI_BAR_MEM64, 16384);
    if (!ret)
        ret = pci_cap_add_msix(t->pf, TEST_MSIX, 4, 4, 0, 0x2000);
    if (ret)
        return ret;
    pci_cap_add_express(t->pf, 0xa0);
    ret = pci_extcap_add_sriov(t->pf, TEST_SRIOV, &sriov, t->vf);
    return ret ? ret : pci_segment_add(chassis_segment(t->chassis), TEST_PF, t->pf);
}

int test_chassis_create(struct test_chassis *t)
{
    int ret;

    *t = (struct test_chassis){.resets = 0};
    gate_init(&t->gate);
    ret = chassis_create(&t->gate, TEST_BASE, &t->chassis);
    if (!ret)
        ret = card_create(t);
    if (!ret)
        chassis_device_describe(t->chassis, &t->device);
    return ret;
}

void test_chassis_destroy(struct test_chassis *t)
{
    pci_function_destroy(t->pf);
    for (unsigned n = 0; n < TEST_VFS; n++)
        pci_function_destroy(t->vf[n]);
    chassis_destroy(t->chassis);
    gate_destroy(&t->gate);
}

static uint64_t get(struct test_chassis *t, unsigned region, uint64_t offset, unsigned len)
{
    uint8_t bytes[8] = {0};

    t->device.ops->region_read(t->device.ctx, region, offset, bytes, len);
    return le64_get(bytes);
}

static void set(struct test_chassis *t, unsigned region, uint64_t offset, unsigned len,
                uint64_t value)
{
    uint8_t bytes[8];

    le64_put(bytes, value);
    t->device.ops->region_write(t->device.ctx, region, offset, bytes, len);
}

uint64_t test_config_get(struct test_chassis *t, unsigned offset, unsigned len)
{
    return get(t, 7, offset, len);
}

void test_config_set(struct test_chassis *t, unsigned offset, unsigned len, uint64_t value)
{
    set(t, 7, offset, len, value);
}

uint64_t test_bar_get(struct test_chassis *t, uint64_t offset, unsigned len)
{
    return get(t, 0, offset, len);
}

void test_bar_set(struct test_chassis *t, uint64_t offset, unsigned len, uint64_t value)
{
    set(t, 0, offset, len, value);
}

void test_place(struct test_chassis *t, uint32_t base)
{
    test_config_set(t, 0x10, 4, base);
    test_config_set(t, 0x04, 2, 6);
}

void test_boot(struct test_chassis *t)
{
    rid_t port = {0};

    test_place(t, TEST_BASE);
    test_bar_set(t, test_ecam(port, 0x18), 4, 0x00010100);
    test_bar_set(t, test_ecam(port, 0x20), 4, TEST_BAR0 >> 16 | (TEST_BAR0 + 0x200000));
    test_bar_set(t, test_ecam(port, 0x88), 2, 0x20);
    test_bar_set(t, test_ecam(port, 0x04), 2, 6);
    test_bar_set(t, test_ecam(TEST_PF, 0x10), 8, TEST_BAR0);
    test_bar_set(t, test_ecam(TEST_PF, 0x20), 8, TEST_BAR4);
    test_bar_set(t, test_ecam(TEST_PF, 0x04), 2, 6);
}

// SPDX-License-Identifier: BSD-3-Clause
// Enumeration, SR-IOV set-up, interrupts and the virtual config space, against real functions of
// the pci room that are no NIC.
#include "host/enumerate.h"
#include "host/irq.h"
#include "host/vconfig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/le.h"
#include "pci/function.h"

#define VFS 4u

struct fixture {
    struct gate gate;
    dma_generation_t generation;
    struct pci_segment *seg;
    struct pci_function *pf, *vf[VFS];
    struct host_irq_table irqs;
    struct host_window window;
    struct host_function host_pf;
    struct host_sriov sriov;
    unsigned resets[VFS];
    uint64_t last_write_offset, last_write_value;
};

static int no_translate(void *ctx, rid_t rid, iova_t iova, enum dma_access access,
                        struct dma_translation *out)
{
    (void)ctx, (void)rid, (void)iova, (void)access, (void)out;
    return -EFAULT;
}

static const struct dma_port_ops no_dma = {.translate = no_translate};

static struct fixture *current;

static uint64_t dev_read(void *dev, unsigned bar, uint64_t offset, unsigned len)
{
    (void)dev, (void)len;
    return bar << 16 | offset;
}

static void dev_write(void *dev, unsigned bar, uint64_t offset, unsigned len, uint64_t value)
{
    (void)dev, (void)bar, (void)len;
    current->last_write_offset = offset;
    current->last_write_value = value;
}

static void dev_reset(void *dev, enum pci_reset kind)
{
    (void)kind;
    for (unsigned i = 0; i < VFS; i++) {
        if (dev == &current->vf[i])
            current->resets[i]++;
    }
}

static const struct pci_function_ops dev_ops = {
    .bar_read = dev_read, .bar_write = dev_write, .reset = dev_reset};

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    struct pci_function_info info = {
        .vendor_id = 0x1234, .device_id = 0x5678, .class_code = 0x120000, .name = "pf"};
    struct pci_sriov_info sriov = {
        .total_vfs = VFS,
        .first_vf_offset_ari = 128,
        .first_vf_offset_no_ari = 384,
        .vf_stride = 2,
        .vf_device_id = 0x9abc,
        .supported_page_sizes = 0x553,
        .vf_bar = {[0] = {16384, PCI_BAR_MEM64}, [3] = {16384, PCI_BAR_MEM64}}};

    current = f;
    f->generation = 1;
    gate_init(&f->gate);
    assert_int_equal(pci_segment_create(&f->gate, &no_dma, NULL, &f->generation, &f->seg), 0);
    assert_int_equal(pci_function_create(&info, &dev_ops, f, &f->pf), 0);
    pci_bar_init(f->pf, 0, PCI_BAR_MEM64, 65536);
    pci_bar_init(f->pf, 4, PCI_BAR_MEM64, 16384);
    pci_cap_add_msix(f->pf, 0x70, 8, 4, 0, 0x2000);
    pci_cap_add_express(f->pf, 0xa0);
    pci_extcap_add_ari(f->pf, 0x150, 0);
    for (unsigned i = 0; i < VFS; i++) {
        info.name = "vf";
        assert_int_equal(pci_function_create(&info, &dev_ops, &f->vf[i], &f->vf[i]), 0);
        pci_cap_add_msix(f->vf[i], 0x70, 3, 3, 0, 0x2000);
        pci_cap_add_express(f->vf[i], 0xa0);
    }
    pci_extcap_add_sriov(f->pf, 0x160, &sriov, f->vf);
    assert_int_equal(pci_segment_add(f->seg, rid_make(1, 0, 0), f->pf), 0);
    host_irq_init(&f->irqs, &f->gate);
    pci_segment_set_interrupt_sink(
        f->seg, &(struct pci_interrupt_sink){.raise = host_irq_raise, .ctx = &f->irqs});
    host_window_init(&f->window);
    assert_int_equal(host_function_probe(f->seg, rid_make(1, 0, 0), &f->window, &f->host_pf), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    pci_segment_destroy(f->seg);
    host_irq_fini(&f->irqs);
    pci_function_destroy(f->pf);
    for (unsigned i = 0; i < VFS; i++)
        pci_function_destroy(f->vf[i]);
    gate_destroy(&f->gate);
    test_free(f);
    return 0;
}

static void test_probe(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(f->host_pf.vendor_id, 0x1234);
    assert_int_equal(f->host_pf.bar[0].size_bytes, 65536);
    assert_int_equal(f->host_pf.bar[0].addr % 65536, 0);
    assert_int_equal(f->host_pf.bar[4].size_bytes, 16384);
    assert_int_equal(f->host_pf.cap_msix, 0x70);
    assert_int_equal(f->host_pf.msix_vectors, 8);
    assert_int_equal(f->host_pf.extcap_sriov, 0x160);
    assert_int_equal(pci_mem_read(f->seg, f->host_pf.bar[0].addr + 0x24, 4), 0x24);
    assert_int_equal(host_function_probe(f->seg, rid_make(2, 0, 0), &f->window, &f->host_pf),
                     -ENODEV);
}

static void test_sriov(void **state)
{
    struct fixture *f = *state;
    struct host_function vf;

    assert_int_equal(host_sriov_enable(f->seg, &f->host_pf, 0, &f->window, &f->sriov), -ERANGE);
    assert_int_equal(host_sriov_enable(f->seg, &f->host_pf, VFS + 1, &f->window, &f->sriov),
                     -ERANGE);
    assert_false(pci_function_exists(f->seg, rid_make(1, 0x10, 0)));
    assert_int_equal(host_sriov_enable(f->seg, &f->host_pf, VFS - 1, &f->window, &f->sriov), 0);
    assert_int_equal(f->sriov.first_offset, 128);
    assert_int_equal(f->sriov.stride, 2);
    for (unsigned i = 0; i < VFS - 1; i++) {
        assert_int_equal(host_vf_probe(f->seg, &f->host_pf, &f->sriov, i, &vf), 0);
        assert_int_equal(vf.rid.v, 0x180 + 2 * i);
        assert_int_equal(vf.device_id, 0x9abc);
        assert_int_equal(vf.msix_bar, 3);
        assert_int_equal(pci_mem_read(f->seg, vf.bar[0].addr + 0x30, 4), 0x30);
    }
    assert_int_equal(host_vf_probe(f->seg, &f->host_pf, &f->sriov, VFS - 1, &vf), -ENODEV);
    host_sriov_disable(f->seg, &f->host_pf);
    assert_false(pci_function_exists(f->seg, rid_make(1, 0x10, 0)));
}

static void test_interrupts(void **state)
{
    struct fixture *f = *state;
    struct host_function vf;
    uint64_t count = 0;
    int fd = eventfd(0, EFD_NONBLOCK);
    int first;

    assert_int_equal(host_sriov_enable(f->seg, &f->host_pf, VFS, &f->window, &f->sriov), 0);
    assert_int_equal(host_vf_probe(f->seg, &f->host_pf, &f->sriov, 1, &vf), 0);
    first = host_irq_alloc(&f->irqs, vf.rid, 3);
    assert_true(first >= 0);
    host_irq_set_fd(&f->irqs, (unsigned)first + 2, fd);
    pci_msix_raise(f->vf[1], 2);
    assert_int_equal(read(fd, &count, sizeof count), -1); // MSI-X is off
    host_irq_program_msix(f->seg, vf.rid, vf.cap_msix, host_function_msix_table(&vf),
                          (unsigned)first, 3);
    pci_msix_raise(f->vf[1], 2);
    assert_int_equal(read(fd, &count, sizeof count), -1); // no bus mastering: held back
    pci_config_write(f->seg, vf.rid, 4, 2, 0x4);
    assert_int_equal(read(fd, &count, sizeof count), sizeof count);
    pci_msix_raise(f->vf[1], 2);
    assert_int_equal(read(fd, &count, sizeof count), sizeof count);
    pci_msix_raise(f->vf[1], 0); // no fd: lost, counted as stray
    assert_int_equal(f->irqs.stray, 1);
    assert_int_equal(host_irq_raised(&f->irqs, (unsigned)first, 3), 2);
    // Another function cannot send this one's message.
    host_irq_raise(&f->irqs, (rid_t){0x0100}, 0, HOST_IRQ_ADDRESS, (uint32_t)first + 2);
    host_irq_raise(&f->irqs, vf.rid, 0, HOST_IRQ_ADDRESS, HOST_IRQS_MAX);
    host_irq_raise(&f->irqs, vf.rid, 0, HOST_IRQ_ADDRESS + 4, (uint32_t)first + 2);
    assert_int_equal(f->irqs.stray, 4);
    assert_int_equal(read(fd, &count, sizeof count), -1);
    host_irq_free(&f->irqs, (unsigned)first, 3);
    assert_int_equal(host_irq_alloc(&f->irqs, vf.rid, HOST_IRQS_MAX + 1), -ENOSPC);
    assert_int_equal(host_irq_alloc(&f->irqs, vf.rid, HOST_IRQS_MAX), 0);
    close(fd);
}

static uint32_t vread(struct host_vconfig *config, uint32_t offset)
{
    uint8_t bytes[4];

    host_vconfig_read(config, offset, bytes, 4);
    return le32_get(bytes);
}

static bool vwrite(struct host_vconfig *config, uint32_t offset, uint32_t value, uint32_t len)
{
    uint8_t bytes[4];
    bool flr;

    le32_put(bytes, value);
    host_vconfig_write(config, offset, bytes, len, &flr);
    return flr;
}

static void test_virtual_config(void **state)
{
    struct fixture *f = *state;
    struct host_vconfig config;
    struct host_function vf;
    uint8_t byte[8];

    assert_int_equal(host_sriov_enable(f->seg, &f->host_pf, VFS, &f->window, &f->sriov), 0);
    assert_int_equal(host_vf_probe(f->seg, &f->host_pf, &f->sriov, 0, &vf), 0);
    host_vconfig_init(&config, f->seg, &vf);
    // The function says FFFF, the VM sees what it is.
    assert_int_equal(pci_config_read(f->seg, vf.rid, 0, 4), UINT32_MAX);
    assert_int_equal(vread(&config, 0), 0x9abc1234);
    vwrite(&config, 0, 0, 4);
    assert_int_equal(vread(&config, 0), 0x9abc1234);
    // A BAR sizes and keeps an address; the upper half follows.
    assert_true(vwrite(&config, 0x10, UINT32_MAX, 4) == false);
    vwrite(&config, 0x14, UINT32_MAX, 4);
    assert_int_equal(vread(&config, 0x10), 0xffffc004);
    assert_int_equal(vread(&config, 0x14), UINT32_MAX);
    vwrite(&config, 0x18, UINT32_MAX, 4);
    assert_int_equal(vread(&config, 0x18), 0); // no BAR2
    // Memory Space Enable is virtual, Bus Master Enable is the function's.
    vwrite(&config, 0x04, 0x0406, 2);
    assert_int_equal(vread(&config, 0x04) & 0xffff, 0x0406);
    assert_int_equal(pci_config_read(f->seg, vf.rid, 4, 2) & 0x6, 0x4);
    // MSI-X control is kept from the function.
    vwrite(&config, 0x72, 0xffff, 2);
    assert_int_equal(vread(&config, 0x70) >> 16, 0xc002);
    assert_int_equal(pci_config_read(f->seg, vf.rid, 0x72, 2) & 0x8000, 0);
    // FLR is reported, not passed on; the other bits of the register are.
    assert_false(vwrite(&config, 0xa8, 0x000f, 2));
    assert_int_equal(f->resets[0], 0);
    assert_true(vwrite(&config, 0xa8, 0x8000, 2));
    assert_int_equal(f->resets[0], 0);
    // A byte write to the upper half of the register must not look like one to the lower.
    assert_true(vwrite(&config, 0xa9, 0x80, 1));
    assert_false(vwrite(&config, 0xa8, 0x80, 1));
    // Unaligned, across a DWORD, and past the end.
    host_vconfig_read(&config, 2, byte, 4);
    assert_int_equal(byte[0] | byte[1] << 8, 0x9abc);
    assert_int_equal(byte[2] | byte[3] << 8, 0x0406);
    host_vconfig_read(&config, 4095, byte, 4);
    assert_int_equal(byte[1] & byte[2] & byte[3], 0xff);
    host_vconfig_write(&config, 4095, byte, 4, &(bool){false});
    host_vconfig_reset(&config);
    assert_int_equal(vread(&config, 0x10), 0x4);
}

static void test_flr(void **state)
{
    struct fixture *f = *state;
    struct host_function vf;

    assert_int_equal(host_sriov_enable(f->seg, &f->host_pf, VFS, &f->window, &f->sriov), 0);
    assert_int_equal(host_vf_probe(f->seg, &f->host_pf, &f->sriov, 2, &vf), 0);
    pci_config_write(f->seg, vf.rid, 4, 2, 0x4);
    assert_int_equal(host_function_flr(f->seg, &vf), 0);
    assert_int_equal(f->resets[2], 1);
    assert_int_equal(f->resets[0] + f->resets[1] + f->resets[3], 0);
    assert_int_equal(pci_config_read(f->seg, vf.rid, 4, 2) & 0x4, 0);
    assert_true(pci_function_exists(f->seg, vf.rid));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_probe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sriov, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interrupts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_virtual_config, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flr, setup, teardown),
    };
    return cmocka_run_group_tests_name("host/assign_config", tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
// Everything that a VM can do to the carrier: cycles to its configuration space, ECAM, VT-d
// registers and window, with any contents of its memory under the card's DMA and interrupts. After
// every cycle the gate is open, and what is read-only has not changed.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

#include "base/bits.h"
#include "base/le.h"
#include "base/log.h"
#include "chassis/test_card.h"
#include "iommu/vtd_format.h"

#define OP_LEN    12u // what, where, address, value
#define RAM_BYTES 0x10000u

static const unsigned lens[] = {1, 2, 4, 8};

// Addresses that are worth more than chance: registers that do something.
static uint64_t pick_ecam(uint8_t choice, uint32_t at)
{
    static const uint16_t port[] = {0x04, 0x18, 0x1a, 0x20, 0x24, 0x28, 0x3e, 0x44, 0x70, 0x88};
    static const uint16_t pf[] = {0x04,
                                  0x10,
                                  0x20,
                                  0x72,
                                  0xa8,
                                  TEST_SRIOV + 8,
                                  TEST_SRIOV + 16,
                                  TEST_SRIOV + 0x20,
                                  TEST_SRIOV + 0x24,
                                  TEST_SRIOV + 0x30};

    switch (choice & 3) {
    case 0:
        return test_ecam((rid_t){0}, port[at % ARRAY_LEN(port)]);
    case 1:
        return test_ecam(TEST_PF, pf[at % ARRAY_LEN(pf)]);
    case 2:
        return test_ecam(TEST_VF(at >> 16 & 7), at & 0xfff);
    default:
        return at % CHASSIS_ECAM_LEN_BYTES;
    }
}

static uint64_t pick_bar(uint8_t choice, uint32_t at)
{
    switch (choice >> 2 & 3) {
    case 0:
        return CHASSIS_WINDOW_OFFSET + at % 0x100000;
    case 1:
        return CHASSIS_DRHD_OFFSET + at % 0x300;
    case 2:
        return at % CHASSIS_BAR_LEN_BYTES;
    default:
        return pick_ecam(choice, at);
    }
}

static void dma(struct test_chassis *t, uint8_t choice, uint32_t at, uint32_t value)
{
    struct pci_function *fn = choice & 1 ? t->vf[choice >> 1 & 7] : t->pf;
    uint8_t bytes[64] = {0};

    le32_put(bytes, value);
    if (choice & 0x80)
        dma_write(pci_function_dma(fn), (iova_t){(uint64_t)at << (value & 31)}, bytes, 64);
    else
        dma_read(pci_function_dma(fn), (iova_t){at % (2 * RAM_BYTES)}, bytes, 64);
    pci_msix_raise(fn, value & 7);
}

static void cycle(struct test_chassis *t, uint8_t *ram, int ram_fd, const uint8_t *op)
{
    unsigned len = lens[op[0] >> 4 & 3];
    uint32_t at = le32_get(op + 4), value = le32_get(op + 8);
    uint64_t offset = bits_align_down(pick_bar(op[1], at), len);
    struct vfiouser_dma_map map = {.iova = 0, .len_bytes = RAM_BYTES, .read = true, .write = true};

    switch (op[0] & 15) {
    case 0:
        test_config_set(t, at % 4088, len, value);
        break;
    case 1:
        test_config_get(t, at % 4088, len);
        break;
    case 2:
        t->device.ops->reset(t->chassis);
        test_boot(t);
        break;
    case 3:
        map.fd = ram_fd;
        t->device.ops->dma_map(t->chassis, &map);
        break;
    case 4:
        t->device.ops->dma_unmap(t->chassis, 0, RAM_BYTES, op[2] & 1);
        break;
    case 5:
        le64_put(ram + at % (RAM_BYTES - 8), value | (uint64_t)op[2] << 32);
        break;
    case 6:
        // A table entry that leads to a table.
        le64_put(ram + bits_align_down(at % (RAM_BYTES - 8), 8), (value & 0xf000) | 3);
        break;
    case 7:
    case 8:
        dma(t, op[1], at, value);
        break;
    case 9:
    case 10:
        test_bar_get(t, offset, len);
        break;
    default:
        test_bar_set(t, offset, len, value | (uint64_t)op[2] << 56);
        break;
    }
}

static void check(struct test_chassis *t)
{
    MUST(!gate_is_closed(&t->gate));
    if (test_bar_get(t, test_ecam((rid_t){0}, 0), 4) == 0xffffffff)
        return; // not placed
    MUST(test_bar_get(t, test_ecam((rid_t){0}, 0), 4) == 0x00025649);
    MUST(test_bar_get(t, test_ecam((rid_t){0}, 8), 4) == 0x06040000);
    MUST(test_bar_get(t, test_ecam((rid_t){0}, 0x60), 4) == 0x00420010);
    MUST(test_bar_get(t, test_ecam((rid_t){0}, 0x104), 2) == 0x001f);
    MUST(test_bar_get(t, CHASSIS_DRHD_OFFSET + VTD_VER, 4) == 0x10);
    MUST(test_bar_get(t, CHASSIS_DRHD_OFFSET + VTD_CAP, 8) == VTD_CAP_VALUE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct vfiouser_dma_map map = {.len_bytes = RAM_BYTES, .read = true, .write = true};
    static struct test_chassis t;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    uint8_t *ram;

    log_set_level(LOG_LEVEL_ERROR);
    MUST(fd >= 0 && !ftruncate(fd, RAM_BYTES));
    ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(ram != MAP_FAILED && !test_chassis_create(&t));
    map.fd = fd;
    ram[0] = 1; // or it would count as private to the VM
    t.device.ops->dma_map(t.chassis, &map);
    test_boot(&t);
    for (size_t at = 0; at + OP_LEN <= len && at < 256 * OP_LEN; at += OP_LEN) {
        cycle(&t, ram, fd, data + at);
        check(&t);
    }
    test_chassis_destroy(&t);
    munmap(ram, RAM_BYTES);
    close(fd);
    return 0;
}

#ifdef VIREO_FUZZ_REPLAY
int main(int argc, char **argv)
{
    static uint8_t buf[128 * OP_LEN];

    return fuzz_replay(argc, argv, 200, buf, sizeof buf);
}
#endif

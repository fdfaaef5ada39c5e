// SPDX-License-Identifier: BSD-3-Clause
// For tests and fuzzing: a chassis with a small card in it. The card is a PF with 8 VFs, which
// writes down what it is told; the VM is whoever calls the carrier's operations.
#ifndef VIREO_CHASSIS_TEST_CARD_H
#define VIREO_CHASSIS_TEST_CARD_H

#include <stdint.h>

#include "chassis/chassis.h"
#include "pci/function.h"

#define TEST_VFS   8u
#define TEST_PF    rid_make(CHASSIS_CARD_BUS, 0, 0)
#define TEST_VF(n) ((rid_t){(uint16_t)(TEST_PF.v + 128 + 2 * (n))})
#define TEST_MSIX  0x70u
#define TEST_SRIOV 0x160u
#define TEST_BASE  CHASSIS_BASE_DEFAULT
// Where test_boot() puts the PF's BARs.
#define TEST_BAR0 (TEST_BASE + CHASSIS_WINDOW_OFFSET)
#define TEST_BAR4 (TEST_BAR0 + 0x80000u)

struct test_chassis {
    struct gate gate;
    struct chassis *chassis;
    struct vfiouser_device device;
    struct pci_function *pf, *vf[TEST_VFS];
    unsigned resets; // of the PF
    unsigned reads, writes;
    uint64_t last_offset, last_value;
};

// 0, or -errno.
int test_chassis_create(struct test_chassis *t);
void test_chassis_destroy(struct test_chassis *t);

// Cycles as QEMU sends them.
uint64_t test_config_get(struct test_chassis *t, unsigned offset,
                         unsigned len); // the carrier's own
void test_config_set(struct test_chassis *t, unsigned offset, unsigned len, uint64_t value);
uint64_t test_bar_get(struct test_chassis *t, uint64_t offset, unsigned len);
void test_bar_set(struct test_chassis *t, uint64_t offset, unsigned len, uint64_t value);

// Offset in the BAR of a register in ECAM.
static inline uint64_t test_ecam(rid_t rid, unsigned reg)
{
    return CHASSIS_ECAM_OFFSET + ((uint64_t)rid.v << 12) + reg;
}

// What firmware does: the carrier's BAR at `base`, memory and bus mastering on.
void test_place(struct test_chassis *t, uint32_t base);
// And an OS: bus numbers, windows, ARI Forwarding, the PF's BARs, memory and bus mastering.
void test_boot(struct test_chassis *t);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// A card for tests: two PFs with the 82599's config space and 64 VFs each, and a function of
// another kind, behind an IOMMU that refuses everything. It writes down what the pci room tells it.
#ifndef VIREO_PCI_TEST_DEVICE_H
#define VIREO_PCI_TEST_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "mem/gate.h"
#include "pci/access.h"
#include "pci/function.h"

#define TEST_VFS    64u
#define TEST_PFS    2u
#define TEST_EVENTS 512u
#define TEST_SERIAL 0xa0369fffff123456ull

enum test_event_kind { TEST_RESET, TEST_MASTER, TEST_VFS_CHANGED };

struct test_event {
    enum test_event_kind kind;
    const char *name; // of the function
    int arg;          // reset kind; bus master; num_vfs
    bool gate_closed;
    bool vfs_answer; // VFS_CHANGED: the first VF answers configuration cycles now
};

struct test_message {
    rid_t rid;
    unsigned vector;
    uint64_t addr;
    uint32_t data;
};

struct test_function {
    struct test_card *card;
    struct pci_function *fn;
    char name[16];
    // The last memory cycle that reached the device model.
    unsigned bar;
    uint64_t offset, value;
    unsigned len;
    unsigned reads, writes;
};

struct test_card {
    struct gate gate;
    dma_generation_t generation;
    struct pci_segment *seg;
    struct test_function pf[TEST_PFS], vf[TEST_PFS][TEST_VFS];
    struct test_function other; // a 3D controller at 02:00.0 with 32-bit BARs, MSI only
    struct test_event events[TEST_EVENTS];
    unsigned event_count; // may run past TEST_EVENTS: the rest is not kept
    pthread_mutex_t lock; // guards messages, which any thread sends
    struct test_message messages[16];
    unsigned message_count; // may run past the array: the last ones overwrite
};

// Asserts where it fails.
void test_card_create(struct test_card *card);
void test_card_destroy(struct test_card *card);

#define TEST_PF0   rid_make(1, 0, 0)
#define TEST_PF1   rid_make(1, 0, 1)
#define TEST_OTHER rid_make(2, 0, 0)

// Capability offsets (PF and VF).
enum {
    TEST_PM = 0x40,
    TEST_MSI = 0x50,
    TEST_MSIX = 0x70,
    TEST_EXPRESS = 0xa0,
    TEST_VPD = 0xe0,
    TEST_AER = 0x100,
    TEST_DSN = 0x140,
    TEST_ARI = 0x150,
    TEST_SRIOV = 0x160,
};

static inline uint32_t test_read(struct test_card *card, rid_t rid, uint32_t offset, unsigned len)
{
    return pci_config_read(card->seg, rid, offset, len);
}

static inline void test_write(struct test_card *card, rid_t rid, uint32_t offset, unsigned len,
                              uint32_t value)
{
    pci_config_write(card->seg, rid, offset, len, value);
}

// VF BARs at `bar0` and `bar3`, NumVFs, VF Enable and VF MSE, with ARI Capable Hierarchy or not.
void test_enable_vfs(struct test_card *card, rid_t pf, unsigned num_vfs, bool ari, uint64_t bar0,
                     uint64_t bar3);
unsigned test_events_of(const struct test_card *card, enum test_event_kind kind, const char *name);

#endif

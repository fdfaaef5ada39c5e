// SPDX-License-Identifier: BSD-3-Clause
// A new card for each test, and short names for cycles to its configuration space. For tests of
// this room.
#ifndef VIREO_PCI_TEST_FIXTURE_H
#define VIREO_PCI_TEST_FIXTURE_H

#include "pci/test_device.h"

static struct test_card card;

static inline int setup(void **state)
{
    (void)state;
    test_card_create(&card);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    test_card_destroy(&card);
    return 0;
}

static inline uint32_t rd(rid_t rid, uint32_t offset, unsigned len)
{
    return test_read(&card, rid, offset, len);
}

static inline void wr(rid_t rid, uint32_t offset, unsigned len, uint32_t value)
{
    test_write(&card, rid, offset, len, value);
}

#endif

// SPDX-License-Identifier: BSD-3-Clause
// Builds a two-port card with the 82599's config space, sets SR-IOV up the way Linux does, and
// writes the config space of everything that answers to stdout for `lspci -F`.
// Usage: test_lspci_device ari|no-ari
#include <stdio.h>
#include <string.h>

#include "pci/dump.h"
#include "pci/test_device.h"

static void port_start(struct test_card *card, rid_t pf, unsigned num_vfs, bool ari, uint32_t page,
                       uint64_t at)
{
    test_write(card, pf, 0x10, 4, (uint32_t)at);
    test_write(card, pf, 0x14, 4, (uint32_t)(at >> 32));
    test_write(card, pf, 0x18, 4, 0x3020);
    test_write(card, pf, 0x20, 4, (uint32_t)at + 0x80000);
    test_write(card, pf, 0x24, 4, (uint32_t)(at >> 32));
    test_write(card, pf, 0x04, 2, 0x0407); // I/O, memory, bus master, no INTx
    test_write(card, pf, TEST_MSIX + 2, 2, 0x8000);
    test_write(card, pf, TEST_SRIOV + 0x20, 4, page);
    if (num_vfs)
        test_enable_vfs(card, pf, num_vfs, ari, at + 0x1000000, at + 0x2000000);
}

int main(int argc, char **argv)
{
    static struct test_card card;
    bool ari = argc < 2 || strcmp(argv[1], "no-ari") != 0;
    uint8_t bytes[PCI_CONFIG_LEN_BYTES];
    int ret = 0;

    test_card_create(&card);
    port_start(&card, TEST_PF0, ari ? 4 : 64, ari, ari ? 0x1 : 0x10, 0x4000000000);
    port_start(&card, TEST_PF1, ari ? 0 : 2, ari, 0x1, 0x5000000000);
    // One VF as a driver has it.
    test_write(&card, rid_make(ari ? 1 : 2, 0x10, 0), 0x04, 2, 0x0004);
    test_write(&card, rid_make(ari ? 1 : 2, 0x10, 0), TEST_MSIX + 2, 2, 0x8000);
    for (unsigned rid = 0; rid < 0x10000; rid++) {
        if (!pci_function_exists(card.seg, (rid_t){(uint16_t)rid}))
            continue;
        for (unsigned at = 0; at < sizeof bytes; at++)
            bytes[at] = (uint8_t)test_read(&card, (rid_t){(uint16_t)rid}, at, 1);
        ret |= pci_dump(stdout, (rid_t){(uint16_t)rid}, bytes, sizeof bytes);
    }
    test_card_destroy(&card);
    return ret ? 1 : 0;
}

// SPDX-License-Identifier: BSD-3-Clause
// Configuration and memory cycles, as wild as they come, on a card with two PFs, their VFs and a
// function of another kind. After every cycle: the gate is open again, what is read-only has not
// changed, and RIDs, NumVFs, VF Enable and the DMA ports agree with each other.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#include "base/le.h"
#include "base/log.h"
#include "pci/test_device.h"

#define OP_LEN 12u // bytes of input a cycle: what, where, address or offset, value

// Dwords that nothing may change, with the bits that nothing may change.
static const struct {
    unsigned offset;
    uint32_t value, mask;
} read_only[] = {
    {0x00, 0x10fb8086, 0xffffffff},  {0x04, 0x00100000, 0xfffffab8},
    {0x08, 0x02000001, 0xffffffff},  {0x0c, 0x00800000, 0xffffff00},
    {0x10, 0x0000000c, 0x0007ffff},  {0x18, 0x00000001, 0x0000001f},
    {0x1c, 0x00000000, 0xffffffff},  {0x20, 0x0000000c, 0x00003fff},
    {0x2c, 0x00038086, 0xffffffff},  {0x30, 0x00000000, 0xffffffff},
    {0x34, 0x00000040, 0xffffffff},  {0x40, 0x48235001, 0xffffffff},
    {0x50, 0x01807005, 0xff8effff},  {0x70, 0x003fa011, 0x3fffffff},
    {0x74, 0x00000004, 0xffffffff},  {0x78, 0x00002004, 0xffffffff},
    {0xa0, 0x0002e010, 0xffffffff},  {0xa4, 0x10008cc2, 0xffffffff},
    {0xac, 0x00023482, 0xffffffff},  {0x100, 0x14010001, 0xffffffff},
    {0x104, 0x00000000, 0xffffffff}, {0x140, 0x15010003, 0xffffffff},
    {0x144, 0xff123456, 0xffffffff}, {0x150, 0x1601000e, 0xffffffff},
    {0x160, 0x00010010, 0xffffffff}, {0x164, 0x00000002, 0xffffffff},
    {0x168, 0x00000000, 0xffffffe6}, {0x16c, 0x00400040, 0xffffffff},
    {0x170, 0x00000000, 0x00ff0000}, {0x174, 0x00020000, 0xffff0000},
    {0x178, 0x10ed0000, 0xffffffff}, {0x17c, 0x00000553, 0xffffffff},
    {0x184, 0x00000004, 0x00003fff}, {0x18c, 0x00000000, 0xffffffff},
    {0x190, 0x00000004, 0x00003fff}, {0x198, 0x00000000, 0xffffffff},
    {0x19c, 0x00000000, 0xffffffff}, {0x1a0, 0x00000000, 0xffffffff},
};

// What a VF hard-wires.
static const struct {
    unsigned offset;
    uint32_t value, mask;
} vf_read_only[] = {
    {0x00, 0xffffffff, 0xffffffff}, {0x04, 0x00100000, 0xfffffffb}, {0x0c, 0, 0xffffffff},
    {0x10, 0, 0xffffffff},          {0x1c, 0, 0xffffffff},          {0x24, 0, 0xffffffff},
    {0x34, 0x70, 0xffffffff},       {0x3c, 0, 0xffffffff},          {0x70, 0x0002a011, 0x3fffffff},
    {0xa8, 0, 0xffffffff},          {0x108, 0, 0xffffffff},         {0x150, 0x0001000e, 0xffffffff},
    {0x154, 0, 0xffffffff},
};

static void check_vfs(struct test_card *card, unsigned port)
{
    rid_t pf = port ? TEST_PF1 : TEST_PF0;
    uint32_t control = test_read(card, pf, TEST_SRIOV + 8, 2);
    unsigned num_vfs = control & 1 ? test_read(card, pf, TEST_SRIOV + 0x10, 2) : 0;
    unsigned offset = test_read(card, pf, TEST_SRIOV + 0x14, 2);
    bool ari = test_read(card, TEST_PF0, TEST_SRIOV + 8, 2) & 0x10;
    bool in_d0 = !(test_read(card, pf, TEST_PM + 4, 1) & 3);

    MUST(num_vfs <= TEST_VFS && (!(control & 1) || num_vfs));
    MUST(offset == (ari ? 128 : 384));
    MUST(!port || !(control & 0x10));
    for (unsigned n = 0; n < TEST_VFS; n++) {
        rid_t rid = {(uint16_t)(pf.v + offset + 2 * n)};
        struct dma_port *dma = pci_function_dma(card->vf[port][n].fn);

        MUST(pci_function_exists(card->seg, rid) == (n < num_vfs));
        if (n >= num_vfs) {
            MUST(!dma->bus_master && test_read(card, rid, 0x34, 4) == 0xffffffff);
            continue;
        }
        MUST(dma->rid.v == rid.v);
        MUST(dma->bus_master == (in_d0 && (test_read(card, rid, 4, 2) & 4)));
        for (size_t i = 0; i < sizeof vf_read_only / sizeof vf_read_only[0]; i++)
            MUST((test_read(card, rid, vf_read_only[i].offset, 4) & vf_read_only[i].mask) ==
                 vf_read_only[i].value);
    }
}

static void check(struct test_card *card)
{
    MUST(!gate_is_closed(&card->gate));
    for (unsigned port = 0; port < TEST_PFS; port++) {
        rid_t pf = port ? TEST_PF1 : TEST_PF0;
        bool in_d0 = !(test_read(card, pf, TEST_PM + 4, 1) & 3);

        for (size_t i = 0; i < sizeof read_only / sizeof read_only[0]; i++) {
            // Function Dependency Link is each PF's own.
            uint32_t own = read_only[i].offset == 0x170 ? (uint32_t)port << 16 : 0;

            MUST((test_read(card, pf, read_only[i].offset, 4) & read_only[i].mask) ==
                 (read_only[i].value | own));
        }
        MUST(pci_function_dma(card->pf[port].fn)->bus_master ==
             (in_d0 && (test_read(card, pf, 4, 2) & 4)));
        check_vfs(card, port);
    }
    for (unsigned i = 0; i < card->event_count && i < TEST_EVENTS; i++)
        MUST(card->events[i].gate_closed);
    card->event_count = 0;
}

// Most bytes of input should name something that is there.
static rid_t pick_rid(struct test_card *card, uint8_t choice)
{
    switch (choice & 7) {
    case 0:
        return TEST_OTHER;
    case 1:
    case 2:
        return TEST_PF1;
    case 3:
        return pci_function_rid(card->vf[0][choice >> 3].fn);
    case 4:
        return pci_function_rid(card->vf[1][choice >> 3].fn);
    case 5:
        return (rid_t){(uint16_t)(choice << 5)};
    default:
        return TEST_PF0;
    }
}

static uint64_t pick_address(struct test_card *card, uint8_t choice, uint32_t offset)
{
    static const uint16_t bars[] = {0x10, 0x20, TEST_SRIOV + 0x24, TEST_SRIOV + 0x30};
    rid_t pf = choice & 1 ? TEST_PF1 : TEST_PF0;
    unsigned at = bars[choice >> 1 & 3];
    uint64_t base = test_read(card, pf, at, 4) & ~0xfu;

    base |= (uint64_t)test_read(card, pf, at + 4, 4) << 32;
    return base + offset % 0x200000 - (choice & 8 ? 0x100 : 0);
}

static void cycle(struct test_card *card, const uint8_t *op)
{
    static const uint16_t offsets[] = {0x04, 0x10, 0x20,  0x44,  0x50,  0x60,  0x70,  0xa8,
                                       0xe0, 0xe4, 0x108, 0x118, 0x168, 0x170, 0x180, 0x184};
    unsigned len = 1u << (op[0] >> 4 & 3);
    uint32_t at = le32_get(op + 4), value = le32_get(op + 8);
    rid_t rid = pick_rid(card, op[1]);
    uint32_t offset = op[2] & 1 ? offsets[op[2] >> 4] + (at & 3) : at & 0x1fff;

    switch (op[0] & 7) {
    case 0:
    case 1:
    case 2:
        pci_config_write(card->seg, rid, offset, len, value);
        break;
    case 3:
        pci_config_read(card->seg, rid, offset, len);
        break;
    case 4:
        pci_mem_write(card->seg, pick_address(card, op[1], at), len, value);
        break;
    case 5:
        pci_mem_read(card->seg, pick_address(card, op[1], at), len);
        break;
    case 6:
        pci_msix_raise(op[1] & 1 ? card->pf[op[1] >> 7].fn : card->vf[op[1] >> 7][op[1] & 63].fn,
                       op[2]);
        break;
    default:
        if (op[1] == 0x77)
            pci_bus_reset(card->seg, op[2] & 3);
        else // NumVFs and VF Enable, as a driver would
            test_enable_vfs(card, op[1] & 1 ? TEST_PF1 : TEST_PF0, value % 66, op[2] & 1,
                            (uint64_t)at << 14, (uint64_t)at << 21);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct test_card card;

    log_set_level(LOG_LEVEL_ERROR);
    test_card_create(&card);
    // Bounded: an input is a short story, not a long one.
    for (size_t at = 0; at + OP_LEN <= len && at < 256 * OP_LEN; at += OP_LEN) {
        cycle(&card, data + at);
        check(&card);
    }
    test_card_destroy(&card);
    return 0;
}

#ifdef VIREO_FUZZ_REPLAY
int main(int argc, char **argv)
{
    static uint8_t buf[64 * OP_LEN];

    return fuzz_replay(argc, argv, 200, buf, sizeof buf);
}
#endif

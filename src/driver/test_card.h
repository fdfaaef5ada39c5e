// SPDX-License-Identifier: BSD-3-Clause
// What the drivers' unit tests talk to: register memory with the few reactions that a driver waits
// for, the mailboxes' ownership bits, and no data path: the tests play the card on the rings.
// Shares nothing with the device model but the facts.
#ifndef VIREO_DRIVER_TEST_CARD_H
#define VIREO_DRIVER_TEST_CARD_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/bus.h"
#include "hw82599/mailbox.h"
#include "hw82599/regs.h"

#define TEST_CARD_VFS    64u
#define TEST_CARD_BUSES  2u // VFs that get a bus
#define TEST_DMA_MAX     8u
#define TEST_IOVA_OFFSET 0x100000000000ull // iova = host address + this

struct test_card;

struct test_vf_bus {
    struct driver_bus bus;
    struct test_card *card;
    unsigned vf;
    uint32_t regs[HW_VF_BAR_BYTES / 4];
    uint32_t config_id;
    unsigned writes;       // register writes that reached the card
    unsigned status_reads; // of VFSTATUS
    struct driver_dma dma[TEST_DMA_MAX];
    unsigned dma_count;
    unsigned dma_fail_at; // this allocation (1 …) fails; 0: none
    int irq_fds[HW_VF_VECTORS];
    unsigned irq_count;
};

struct test_card {
    struct driver_bus pf_bus;
    uint32_t config_id;
    uint16_t command;
    uint16_t eeprom[HW_EEPROM_WORDS];
    uint32_t regs[0x20000 / 4];
    uint8_t drop_enabled[HW_QUEUES];
    bool reset_hangs, link_up;
    unsigned flrs;
    unsigned pf_accesses;
    int irq_fd;
    bool irq_given;
    struct {
        uint32_t words[HW_MAILBOX_WORDS];
        uint32_t vf_events; // read-to-clear bits of VFMAILBOX
        bool vfu, pfu;
    } mailbox[TEST_CARD_VFS];
    struct test_vf_bus vf[TEST_CARD_BUSES];
    // Called after a VF raised something for the PF: runs the PF driver, if the test has one.
    void (*on_event)(void *ctx);
    void *on_event_ctx;
};

// A card with PF MAC 00:1b:21:0a:0b:0c and link up.
struct test_card *test_card_new(void);
void test_card_free(struct test_card *card);
// Makes the EEPROM's checksum right again.
void test_card_seal_eeprom(struct test_card *card);
uint32_t test_card_reg(const struct test_card *card, uint32_t offset);

// The VF's side of its mailbox.
uint32_t test_card_vf_read(struct test_card *card, unsigned vf);
void test_card_vf_write(struct test_card *card, unsigned vf, uint32_t value);
void test_card_vf_reset(struct test_card *card, unsigned vf); // FLR or VFCTRL.RST
void test_card_set_link(struct test_card *card, bool up);

#endif

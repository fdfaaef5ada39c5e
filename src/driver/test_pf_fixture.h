// SPDX-License-Identifier: BSD-3-Clause
// A PF driver on the test card, and a VF that speaks by hand. For test_pf*.c.
#ifndef VIREO_DRIVER_TEST_PF_FIXTURE_H
#define VIREO_DRIVER_TEST_PF_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/bits.h"
#include "base/log.h"
#include "driver/pf.h"
#include "driver/test_card.h"

struct pf_fixture {
    struct test_card *card;
    struct pf_driver *pf;
    struct pf_config config;
};

// Four VFs, nothing special. Change f->config, then fixture_open().
static inline void fixture_init(struct pf_fixture *f)
{
    log_set_level(LOG_LEVEL_ERROR);
    *f = (struct pf_fixture){.card = test_card_new()};
    f->config.vf_count = 4;
    f->config.mailbox_api_max = PF_API_14;
    for (unsigned i = 0; i < PF_VFS_MAX; i++)
        f->config.vf[i] = (struct pf_vf_policy){.spoof_check = true, .link_up = true};
}

static inline void fixture_open(struct pf_fixture *f)
{
    char error[200] = "";
    int ret = pf_driver_open(&f->card->pf_bus, &f->config, &f->pf, error, sizeof error);

    if (ret)
        print_error("%s\n", error);
    assert_int_equal(ret, 0);
}

static inline void fixture_end(struct pf_fixture *f)
{
    pf_driver_close(f->pf);
    test_card_free(f->card);
}

// The VF puts a message into its mailbox, as ixgbevf does up to API 1.4.
static inline void vf_put(struct pf_fixture *f, unsigned vf, const uint32_t *words, unsigned count)
{
    test_card_vf_write(f->card, vf, HW_VFMAILBOX_VFU);
    assert_true(test_card_vf_read(f->card, vf) & HW_VFMAILBOX_VFU);
    memcpy(f->card->mailbox[vf].words, words, count * sizeof words[0]);
    test_card_vf_write(f->card, vf, HW_VFMAILBOX_REQ);
}

// True where the PF has sent a message since; reads and acknowledges it.
static inline bool vf_get(struct pf_fixture *f, unsigned vf, uint32_t out[HW_MAILBOX_WORDS])
{
    if (!(test_card_vf_read(f->card, vf) & HW_VFMAILBOX_PFSTS))
        return false;
    test_card_vf_write(f->card, vf, HW_VFMAILBOX_VFU);
    memcpy(out, f->card->mailbox[vf].words, sizeof f->card->mailbox[vf].words);
    test_card_vf_write(f->card, vf, HW_VFMAILBOX_ACK);
    return true;
}

// A request and its answer. Returns the answer's word 0.
static inline uint32_t vf_ask(struct pf_fixture *f, unsigned vf, uint32_t msg[HW_MAILBOX_WORDS])
{
    uint32_t bits;

    vf_put(f, vf, msg, HW_MAILBOX_WORDS);
    pf_driver_service(f->pf);
    bits = test_card_vf_read(f->card, vf);
    assert_true(bits & HW_VFMAILBOX_PFACK);
    assert_true(bits & HW_VFMAILBOX_PFSTS);
    f->card->mailbox[vf].vf_events |= HW_VFMAILBOX_PFSTS;
    assert_true(vf_get(f, vf, msg));
    pf_driver_service(f->pf);
    return msg[0];
}

// Up to three words, for most messages. Returns the answer's flags: HW_MSG_ACK/NACK/CTS.
static inline uint32_t vf_ask3(struct pf_fixture *f, unsigned vf, uint32_t word0, uint32_t word1,
                               uint32_t word2)
{
    uint32_t msg[HW_MAILBOX_WORDS] = {word0, word1, word2};

    return vf_ask(f, vf, msg) & (HW_MSG_ACK | HW_MSG_NACK | HW_MSG_CTS);
}

#define DONE    (HW_MSG_ACK | HW_MSG_CTS)
#define REFUSED (HW_MSG_NACK | HW_MSG_CTS)

// A VF driver's start: reset, then API `api` (-1: does not negotiate).
static inline void vf_start(struct pf_fixture *f, unsigned vf, int api)
{
    uint32_t msg[HW_MAILBOX_WORDS] = {HW_MSG_VF_RESET};

    test_card_vf_reset(f->card, vf);
    assert_int_equal(vf_ask(f, vf, msg), HW_MSG_VF_RESET | HW_MSG_ACK);
    if (api >= 0)
        assert_int_equal(vf_ask3(f, vf, HW_MSG_API_NEGOTIATE, (uint32_t)api, 0), DONE);
}

static inline bool rx_is_on(const struct pf_fixture *f, unsigned vf)
{
    return test_card_reg(f->card, HW_PFVFRE(vf / 32)) & BIT(vf % 32);
}

static inline bool tx_is_on(const struct pf_fixture *f, unsigned vf)
{
    return test_card_reg(f->card, HW_PFVFTE(vf / 32)) & BIT(vf % 32);
}

// The pools that RAR `entry` sends frames to, with its MAC in *mac (as RAL, RAH); 0 where not
// valid.
static inline uint64_t rar_pools(const struct pf_fixture *f, unsigned entry, uint8_t mac[6])
{
    uint32_t low = test_card_reg(f->card, HW_RAL(entry));
    uint32_t high = test_card_reg(f->card, HW_RAH(entry));

    for (unsigned i = 0; i < 6; i++)
        mac[i] = (uint8_t)(i < 4 ? low >> 8 * i : high >> 8 * (i - 4));
    if (!(high & HW_RAH_AV))
        return 0;
    return test_card_reg(f->card, HW_MPSAR_LO(entry)) |
           (uint64_t)test_card_reg(f->card, HW_MPSAR_HI(entry)) << 32;
}

// The pools of `vlan` by PFVLVF/PFVLVFB; 0 where it has no entry.
static inline uint64_t vlan_pools(const struct pf_fixture *f, unsigned vlan)
{
    for (unsigned i = 0; i < HW_PFVLVF_COUNT; i++) {
        if (test_card_reg(f->card, HW_PFVLVF(i)) == (HW_PFVLVF_VI_EN | vlan))
            return test_card_reg(f->card, HW_PFVLVFB(2 * i)) |
                   (uint64_t)test_card_reg(f->card, HW_PFVLVFB(2 * i + 1)) << 32;
    }
    return 0;
}

static inline bool vfta_has(const struct pf_fixture *f, unsigned vlan)
{
    return test_card_reg(f->card, HW_VFTA(vlan / 32)) & BIT(vlan % 32);
}

#endif

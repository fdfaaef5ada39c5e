// SPDX-License-Identifier: BSD-3-Clause
// The PF's end of one VF's mailbox: takes messages out, puts answers and notices in, without ever
// waiting for the VF. What can not be sent now (the VF holds the buffer, or has not read the last
// answer yet) is kept and tried again until a named limit. 82599 §7.10. Private to src/driver.
//
// Two disciplines for the buffer's ownership (VFU, PFU):
//   up to API 1.4  each side takes it for a moment, and gives it back with the same write that
//                  raises REQ, ACK or STS
//   API 1.5        ("ESX") each side keeps it until the other side has acknowledged
#ifndef VIREO_DRIVER_PF_MAILBOX_H
#define VIREO_DRIVER_PF_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/bus.h"
#include "hw82599/mailbox.h"

#define PF_MAILBOX_GIVE_UP_MS   1000u // a VF driver waits about as long for its answer
#define PF_MAILBOX_HOLD_MS      20u // API 1.5: how long a VF's ACK is waited for with the lock held
#define PF_MAILBOX_RETRY_MS     1u  // first retry; doubles up to the next
#define PF_MAILBOX_RETRY_MAX_MS 16u

struct pf_mailbox {
    struct driver_bus *bus;
    unsigned vf;
    bool keep_lock; // API 1.5's discipline
    bool lock_held; // by us, until ACK or release_ns
    uint64_t release_ns;

    uint32_t reply[HW_MAILBOX_WORDS];
    unsigned reply_words; // 0: none waits to be sent
    bool reply_unread;    // one was sent and not yet acknowledged
    uint32_t notice;      // one word, unasked; 0: none
    uint64_t notice_not_before_ns;
    uint64_t expires_ns; // of the reply or notice that waits, or of the unread one
    uint64_t retry_ns;
    unsigned retry_ms;

    uint64_t dropped; // answers and notices that were given up
};

void pf_mailbox_init(struct pf_mailbox *m, struct driver_bus *bus, unsigned vf);
// The VF was reset: forgets everything, takes the buffer from it.
void pf_mailbox_reset(struct pf_mailbox *m);
// Copies the VF's request, once, and acknowledges it.
void pf_mailbox_receive(struct pf_mailbox *m, uint32_t words[HW_MAILBOX_WORDS]);
// Answers the last request; replaces an answer that could not be sent yet.
void pf_mailbox_reply(struct pf_mailbox *m, const uint32_t *words, unsigned count, uint64_t now_ns);
// One word for the VF, not before `not_before_ns`; replaces a notice that could not be sent yet.
void pf_mailbox_notify(struct pf_mailbox *m, uint32_t word, uint64_t not_before_ns);
// The VF has read our last message.
void pf_mailbox_acknowledged(struct pf_mailbox *m);
// Sends what waits, if it can. Bounded: one attempt. Returns when to call again (CLOCK_MONOTONIC
// ns), or UINT64_MAX.
uint64_t pf_mailbox_run(struct pf_mailbox *m, uint64_t now_ns);
// Mailbox memory to zeros (nothing of the last owner is left for the next).
void pf_mailbox_clear_memory(struct pf_mailbox *m);

#endif

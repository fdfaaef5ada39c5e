// SPDX-License-Identifier: BSD-3-Clause
// The VF's end of its mailbox: a request and its answer, and notices from the PF. Ownership of the
// buffer as up to API 1.4 (see pf_mailbox.h). 82599 §7.10. Private to src/driver.
#ifndef VIREO_DRIVER_VF_MAILBOX_H
#define VIREO_DRIVER_VF_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/bus.h"
#include "hw82599/mailbox.h"

struct vf_mailbox {
    struct driver_bus *bus;
    unsigned timeout_ms; // of one request, from start to end
    uint32_t seen;       // read-to-clear bits that were read and not yet used
    uint32_t notice;     // last notice that came in place of an answer; 0: none
};

void vf_mailbox_init(struct vf_mailbox *m, struct driver_bus *bus, unsigned timeout_ms);
// Waits until the PF is out of reset. 0, -ETIMEDOUT, -ENODEV.
int vf_mailbox_wait_pf(struct vf_mailbox *m);
// True where the PF was or is in reset since the last call or vf_mailbox_wait_pf().
bool vf_mailbox_pf_was_reset(struct vf_mailbox *m);
// Sends msg[0 … send_words), reads the answer into msg[0 … answer_words). 0, -ETIMEDOUT, -ENODEV.
int vf_mailbox_request(struct vf_mailbox *m, uint32_t *msg, unsigned send_words,
                       unsigned answer_words);
// A notice from the PF, if one came; does not wait. True and *word.
bool vf_mailbox_take_notice(struct vf_mailbox *m, uint32_t *word);

#endif

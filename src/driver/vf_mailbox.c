// SPDX-License-Identifier: BSD-3-Clause
#include "driver/vf_mailbox.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "hw82599/regs.h"

#define POLL_FIRST_US 20u
#define POLL_MAX_US   1000u

struct wait {
    uint64_t deadline_ns;
    unsigned us;
};

static struct wait wait_start(unsigned timeout_ms)
{
    return (struct wait){.deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS,
                         .us = POLL_FIRST_US};
}

// Sleeps a little, and longer each time. False when the time is over.
static bool wait_more(struct wait *w)
{
    struct timespec ts = {.tv_nsec = (long)w->us * 1000};

    if (clock_now_ns() >= w->deadline_ns)
        return false;
    nanosleep(&ts, NULL);
    if (w->us < POLL_MAX_US)
        w->us *= 2;
    return true;
}

// VFMAILBOX without losing what reading clears.
static uint32_t read_bits(struct vf_mailbox *m)
{
    uint32_t bits = driver_reg_read(m->bus, HW_VFMAILBOX);

    if (m->bus->lost)
        return 0;
    bits |= m->seen;
    m->seen = bits & HW_VFMAILBOX_RC_BITS;
    return bits;
}

// Waits for any of `bits`, and uses them up.
static int wait_bits(struct vf_mailbox *m, uint32_t bits, struct wait *w)
{
    for (;;) {
        if (read_bits(m) & bits) {
            m->seen &= ~bits;
            return 0;
        }
        if (m->bus->lost)
            return -ENODEV;
        if (!wait_more(w))
            return -ETIMEDOUT;
    }
}

static bool try_lock(struct vf_mailbox *m)
{
    driver_reg_write(m->bus, HW_VFMAILBOX, HW_VFMAILBOX_VFU);
    return read_bits(m) & HW_VFMAILBOX_VFU;
}

static int lock(struct vf_mailbox *m, struct wait *w)
{
    while (!try_lock(m)) {
        if (m->bus->lost)
            return -ENODEV;
        if (!wait_more(w))
            return -ETIMEDOUT;
    }
    return 0;
}

void vf_mailbox_init(struct vf_mailbox *m, struct driver_bus *bus, unsigned timeout_ms)
{
    *m = (struct vf_mailbox){.bus = bus, .timeout_ms = timeout_ms};
}

int vf_mailbox_wait_pf(struct vf_mailbox *m)
{
    struct wait w = wait_start(m->timeout_ms);

    while (read_bits(m) & HW_VFMAILBOX_RSTI || m->bus->lost) {
        if (m->bus->lost)
            return -ENODEV;
        if (!wait_more(&w))
            return -ETIMEDOUT;
    }
    m->seen = 0;
    return 0;
}

bool vf_mailbox_pf_was_reset(struct vf_mailbox *m)
{
    bool reset = read_bits(m) & (HW_VFMAILBOX_RSTI | HW_VFMAILBOX_RSTD);

    m->seen &= ~HW_VFMAILBOX_RSTD;
    return reset;
}

int vf_mailbox_request(struct vf_mailbox *m, uint32_t *msg, unsigned send_words,
                       unsigned answer_words)
{
    struct wait w = wait_start(m->timeout_ms);
    int ret = lock(m, &w);

    if (ret)
        return ret;
    // We overwrite the buffer: what was in it and what was acknowledged is history.
    read_bits(m);
    m->seen &= ~(HW_VFMAILBOX_PFSTS | HW_VFMAILBOX_PFACK);
    for (unsigned i = 0; i < send_words; i++)
        driver_reg_write(m->bus, HW_VFMBMEM(i), msg[i]);
    driver_reg_write(m->bus, HW_VFMAILBOX, HW_VFMAILBOX_REQ);
    ret = wait_bits(m, HW_VFMAILBOX_PFACK, &w);
    while (!ret) {
        ret = wait_bits(m, HW_VFMAILBOX_PFSTS, &w);
        if (!ret)
            ret = lock(m, &w);
        if (ret)
            break;
        for (unsigned i = 0; i < answer_words; i++)
            msg[i] = driver_reg_read(m->bus, HW_VFMBMEM(i));
        driver_reg_write(m->bus, HW_VFMAILBOX, HW_VFMAILBOX_ACK);
        if ((msg[0] & HW_MSG_TYPE_MASK) != HW_MSG_PF_CONTROL)
            break;
        // The PF had something else to say first.
        m->notice = msg[0];
    }
    return m->bus->lost ? -ENODEV : ret;
}

bool vf_mailbox_take_notice(struct vf_mailbox *m, uint32_t *word)
{
    if ((read_bits(m) & HW_VFMAILBOX_PFSTS) && try_lock(m)) {
        m->seen &= ~HW_VFMAILBOX_PFSTS;
        m->notice = driver_reg_read(m->bus, HW_VFMBMEM(0));
        driver_reg_write(m->bus, HW_VFMAILBOX, HW_VFMAILBOX_ACK);
    }
    if (!m->notice || m->bus->lost)
        return false;
    *word = m->notice;
    m->notice = 0;
    return true;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "driver/pf_mailbox.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "hw82599/regs.h"

static uint32_t memory_at(const struct pf_mailbox *m, unsigned word)
{
    return HW_PFMBMEM(m->vf * HW_MAILBOX_WORDS + word);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void pf_mailbox_init(struct pf_mailbox *m, struct driver_bus *bus, unsigned vf)
{
    *m = (struct pf_mailbox){.bus = bus, .vf = vf};
}

void pf_mailbox_reset(struct pf_mailbox *m)
{
    uint64_t dropped = m->dropped;

    pf_mailbox_init(m, m->bus, m->vf);
    m->dropped = dropped;
    // A VF that died with the buffer in hand would leave it locked for its successor.
    driver_reg_write(m->bus, HW_PFMAILBOX(m->vf), HW_PFMAILBOX_RVFU);
}

void pf_mailbox_clear_memory(struct pf_mailbox *m)
{
    for (unsigned i = 0; i < HW_MAILBOX_WORDS; i++)
        driver_reg_write(m->bus, memory_at(m, i), 0);
}

void pf_mailbox_receive(struct pf_mailbox *m, uint32_t words[HW_MAILBOX_WORDS])
{
    // The buffer is not taken for this: a VF that goes on writing spoils its own message only,
    // since every word is read once and judged afterwards.
    for (unsigned i = 0; i < HW_MAILBOX_WORDS; i++)
        words[i] = driver_reg_read(m->bus, memory_at(m, i));
    driver_reg_write(m->bus, HW_PFMAILBOX(m->vf), HW_PFMAILBOX_ACK);
    m->lock_held = false;
    // A VF that asks anew has given up waiting for the last answer.
    m->reply_words = 0;
    m->reply_unread = false;
    m->expires_ns = 0;
}

void pf_mailbox_reply(struct pf_mailbox *m, const uint32_t *words, unsigned count, uint64_t now_ns)
{
    assert(count && count <= HW_MAILBOX_WORDS);
    memcpy(m->reply, words, count * sizeof words[0]);
    m->reply_words = count;
    m->expires_ns = now_ns + PF_MAILBOX_GIVE_UP_MS * NS_PER_MS;
    m->retry_ns = 0;
    m->retry_ms = PF_MAILBOX_RETRY_MS;
}

void pf_mailbox_notify(struct pf_mailbox *m, uint32_t word, uint64_t not_before_ns)
{
    m->notice = word;
    m->notice_not_before_ns = not_before_ns;
    if (!m->reply_words && !m->reply_unread)
        m->expires_ns = 0; // set at the first attempt
    m->retry_ns = 0;
    m->retry_ms = PF_MAILBOX_RETRY_MS;
}

static void release_lock(struct pf_mailbox *m)
{
    driver_reg_write(m->bus, HW_PFMAILBOX(m->vf), 0);
    m->lock_held = false;
}

void pf_mailbox_acknowledged(struct pf_mailbox *m)
{
    m->reply_unread = false;
    m->retry_ns = 0;
    if (!m->reply_words)
        m->expires_ns = 0;
    if (m->lock_held)
        release_lock(m);
}

// Takes the buffer, writes the message, tells the VF. False where the VF has the buffer or has just
// put a request into it, which must not be overwritten.
static bool try_send(struct pf_mailbox *m, const uint32_t *words, unsigned count, uint64_t now_ns)
{
    uint32_t cause = HW_PFMBICR(HW_PFMBICR_INDEX(m->vf));

    driver_reg_write(m->bus, HW_PFMAILBOX(m->vf), HW_PFMAILBOX_PFU);
    if (!(driver_reg_read(m->bus, HW_PFMAILBOX(m->vf)) & HW_PFMAILBOX_PFU))
        return false;
    if (driver_reg_read(m->bus, cause) & HW_PFMBICR_REQ(m->vf)) {
        release_lock(m);
        return false;
    }
    // What the VF acknowledged before was an older message.
    driver_reg_write(m->bus, cause, HW_PFMBICR_ACK(m->vf));
    for (unsigned i = 0; i < count; i++)
        driver_reg_write(m->bus, memory_at(m, i), words[i]);
    driver_reg_write(m->bus, HW_PFMAILBOX(m->vf),
                     HW_PFMAILBOX_STS | (m->keep_lock ? HW_PFMAILBOX_PFU : 0));
    m->lock_held = m->keep_lock;
    m->release_ns = now_ns + PF_MAILBOX_HOLD_MS * NS_PER_MS;
    return true;
}

static uint64_t retry_later(struct pf_mailbox *m, uint64_t now_ns)
{
    m->retry_ns = now_ns + m->retry_ms * NS_PER_MS;
    if (m->retry_ms < PF_MAILBOX_RETRY_MAX_MS)
        m->retry_ms *= 2;
    return m->retry_ns;
}

static uint64_t run_reply(struct pf_mailbox *m, uint64_t now_ns)
{
    if (try_send(m, m->reply, m->reply_words, now_ns)) {
        m->reply_words = 0;
        m->reply_unread = true;
        m->expires_ns = now_ns + PF_MAILBOX_GIVE_UP_MS * NS_PER_MS;
        m->retry_ms = PF_MAILBOX_RETRY_MS;
        return m->notice ? m->expires_ns : UINT64_MAX;
    }
    if (now_ns >= m->expires_ns) {
        m->reply_words = 0;
        m->dropped++;
        return m->notice ? now_ns : UINT64_MAX;
    }
    return retry_later(m, now_ns);
}

static uint64_t run_notice(struct pf_mailbox *m, uint64_t now_ns)
{
    if (now_ns < m->notice_not_before_ns)
        return m->notice_not_before_ns;
    // An answer that the VF has not read yet is worth more than a notice.
    if (m->reply_unread) {
        if (now_ns < m->expires_ns)
            return m->expires_ns;
        m->reply_unread = false;
        m->expires_ns = 0;
    }
    if (!m->expires_ns)
        m->expires_ns = now_ns + PF_MAILBOX_GIVE_UP_MS * NS_PER_MS;
    if (try_send(m, &m->notice, 1, now_ns)) {
        m->notice = 0;
        m->expires_ns = 0;
        return UINT64_MAX;
    }
    if (now_ns >= m->expires_ns) {
        m->notice = 0;
        m->expires_ns = 0;
        m->dropped++;
        return UINT64_MAX;
    }
    return retry_later(m, now_ns);
}

uint64_t pf_mailbox_run(struct pf_mailbox *m, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX;

    if (m->lock_held && now_ns >= m->release_ns)
        release_lock(m);
    if (m->reply_words || m->notice) {
        if (now_ns < m->retry_ns)
            next = m->retry_ns;
        else
            next = m->reply_words ? run_reply(m, now_ns) : run_notice(m, now_ns);
    }
    if (m->lock_held)
        next = earlier(next, m->release_ns);
    return next;
}

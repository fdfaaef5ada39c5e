// SPDX-License-Identifier: BSD-3-Clause
#include "nic/intr.h"

#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "nic/port.h"

#define OTHER_CAUSES   0x7fff0000u // EICR bits that are no queue's
#define OCD_CLEARED    0x3fff0000u // what a read of EICR clears with GPIE.OCD: bits 29:16
#define LEGACY_VECTORS 0xffffull   // vectors that have a bit in EICR
#define VF_VECTORS     ((uint64_t)HW_VTEICR_MASK)

void nic_intr_init(struct nic_intr *intr, struct pci_function *fn, bool is_vf, unsigned index)
{
    memset(intr, 0, sizeof *intr);
    intr->fn = fn;
    intr->is_vf = is_vf;
    intr->index = index;
    intr->vector_count = is_vf ? NIC_INTR_VECTORS_VF : NIC_INTR_VECTORS_PF;
    nic_intr_reset(intr);
}

void nic_intr_reset(struct nic_intr *intr)
{
    intr->cause = intr->mask = intr->pending = 0;
    intr->other_cause = intr->other_mask = 0;
    intr->auto_mask = 0;
    // EIAC reaches the first 16 vectors of the PF; those past them always clear themselves, since
    // there is no register in which to clear them.
    intr->auto_clear = intr->is_vf ? 0 : ~LEGACY_VECTORS;
    intr->other_valid = false;
    intr->other_vector = 0;
    for (unsigned i = 0; i < NIC_INTR_VECTORS_PF; i++) {
        intr->eitr_ns[i] = 0;
        intr->last_fired_ns[i] = 0;
        intr->eitr[i] = 0;
    }
    memset(intr->vtivar, 0, sizeof intr->vtivar);
    intr->vtivar_misc = 0;
}

// --- vectors ------------------------------------------------------------------------------------

static bool has_own_vectors(const struct nic_port *port, const struct nic_intr *intr)
{
    return intr->is_vf || port->routes.msix;
}

// Does some enabled cause stand behind this vector?
static bool is_asserted(const struct nic_port *port, const struct nic_intr *intr, unsigned vector)
{
    uint64_t bits = has_own_vectors(port, intr) ? BIT64(vector) : LEGACY_VECTORS;

    if (intr->cause & intr->mask & bits)
        return true;
    if (intr->is_vf || !(intr->other_cause & intr->other_mask))
        return false;
    return !port->routes.msix || (intr->other_valid && intr->other_vector == vector);
}

static void fire(struct nic_port *port, struct nic_intr *intr, unsigned vector, uint64_t now_ns)
{
    uint64_t bit = BIT64(vector);

    if (has_own_vectors(port, intr)) {
        // A message masks its vector, and clears its cause (82599 §7.3.1).
        // Deviation: a VF's auto mask does not ask for GPIE.EIAME, which is the PF's: its driver
        // cannot know, and relies on it.
        if (intr->is_vf || port->routes.auto_mask)
            intr->mask &= ~(intr->auto_mask & bit);
        intr->cause &= ~(intr->auto_clear & bit);
    }
    atomic_store_explicit(&intr->last_fired_ns[vector], now_ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&intr->raised_count, 1, memory_order_relaxed);
    pci_msix_raise(intr->fn, vector);
}

static uint64_t due_ns(const struct nic_intr *intr, unsigned vector)
{
    uint64_t last = atomic_load_explicit(&intr->last_fired_ns[vector], memory_order_relaxed);

    return last + atomic_load_explicit(&intr->eitr_ns[vector], memory_order_relaxed);
}

// An enabled cause came up on `vector`: a message now, or when its interval is over.
static void trigger(struct nic_port *port, struct nic_intr *intr, unsigned vector, uint64_t now_ns)
{
    if (!has_own_vectors(port, intr))
        vector = 0;
    if (vector >= intr->vector_count)
        return;
    if (now_ns >= due_ns(intr, vector)) {
        fire(port, intr, vector, now_ns);
        return;
    }
    intr->pending |= BIT64(vector);
    if (intr->is_vf)
        port->routes.waiting_vfs |= BIT64(intr->index);
}

static void trigger_each(struct nic_port *port, struct nic_intr *intr, uint64_t vectors,
                         uint64_t now_ns)
{
    for (; vectors; vectors &= vectors - 1)
        trigger(port, intr, (unsigned)__builtin_ctzll(vectors), now_ns);
}

// The control thread left something to moderation: the worker must know of the new deadline.
static void kick_if_pending(struct nic_port *port, const struct nic_intr *intr)
{
    if (intr->pending)
        nic_worker_kick(port->card);
}

void nic_intr_queue(struct nic_port *port, bool is_tx, unsigned queue, uint64_t now_ns)
{
    struct nic_intr *intr = port->routes.queue[is_tx][queue].intr;
    unsigned vector = port->routes.queue[is_tx][queue].vector;

    if (!intr)
        return;
    intr->cause |= BIT64(vector);
    if (intr->mask & BIT64(vector))
        trigger(port, intr, vector, now_ns);
}

void nic_intr_cause(struct nic_port *port, struct nic_intr *intr, uint32_t cause_bits,
                    uint64_t now_ns)
{
    if (intr->is_vf) {
        if (intr->other_valid)
            nic_intr_set_causes(port, intr, BIT64(intr->other_vector), now_ns);
        return;
    }
    intr->other_cause |= cause_bits;
    if (!(intr->other_mask & cause_bits))
        return;
    if (!port->routes.msix || intr->other_valid)
        trigger(port, intr, intr->other_vector, now_ns);
    kick_if_pending(port, intr);
}

void nic_intr_set_causes(struct nic_port *port, struct nic_intr *intr, uint64_t vectors,
                         uint64_t now_ns)
{
    if (intr->is_vf)
        vectors &= VF_VECTORS;
    intr->cause |= vectors;
    trigger_each(port, intr, intr->mask & vectors, now_ns);
    kick_if_pending(port, intr);
}

void nic_intr_unmask(struct nic_port *port, struct nic_intr *intr, uint64_t vectors,
                     uint64_t now_ns)
{
    uint64_t before;

    if (intr->is_vf)
        vectors &= VF_VECTORS;
    before = atomic_fetch_or(&intr->mask, vectors);
    // Causes that came while their vector was masked.
    trigger_each(port, intr, intr->cause & vectors & ~before, now_ns);
    kick_if_pending(port, intr);
}

// --- moderation ---------------------------------------------------------------------------------

static uint64_t poll_one(struct nic_port *port, struct nic_intr *intr, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX;

    for (uint64_t left = intr->pending; left; left &= left - 1) {
        unsigned vector = (unsigned)__builtin_ctzll(left);
        uint64_t due = due_ns(intr, vector);

        if (now_ns < due) {
            next = due < next ? due : next;
            continue;
        }
        // Once, whichever workers look.
        if (!(atomic_fetch_and(&intr->pending, ~BIT64(vector)) & BIT64(vector)))
            continue;
        // Its driver may have masked it or cleared the cause meanwhile.
        if (is_asserted(port, intr, vector))
            fire(port, intr, vector, now_ns);
    }
    return next;
}

uint64_t nic_intr_poll(struct nic_port *port, uint64_t now_ns)
{
    uint64_t next = poll_one(port, &port->intr_pf, now_ns);

    for (uint64_t vfs = port->routes.waiting_vfs; vfs; vfs &= vfs - 1) {
        unsigned vf = (unsigned)__builtin_ctzll(vfs);
        uint64_t due;

        // Cleared first: whoever adds a pending vector meanwhile sets it again.
        port->routes.waiting_vfs &= ~BIT64(vf);
        due = poll_one(port, &port->intr_vf[vf], now_ns);
        if (due != UINT64_MAX)
            port->routes.waiting_vfs |= BIT64(vf);
        next = due < next ? due : next;
    }
    return next;
}

void nic_intr_set_eitr(struct nic_intr *intr, unsigned vector, uint32_t value)
{
    uint32_t units = (value & HW_EITR_INTERVAL_MASK) >> HW_EITR_INTERVAL_SHIFT;

    intr->eitr[vector] = value & ~HW_EITR_CNT_WDIS;
    atomic_store_explicit(&intr->eitr_ns[vector], units * HW_EITR_UNIT_NS, memory_order_relaxed);
    // Without CNT_WDIS the write also resets the counter: the next message goes at once.
    if (!(value & HW_EITR_CNT_WDIS))
        atomic_store_explicit(&intr->last_fired_ns[vector], 0, memory_order_relaxed);
}

// --- allocation ---------------------------------------------------------------------------------

static void route_queue(struct nic_port *port, bool is_tx, unsigned queue)
{
    int vf = nic_vf_of_queue(port, queue);
    unsigned n = vf < 0 ? queue : queue % port->queues_per_vf;
    struct nic_intr *intr = vf < 0 ? &port->intr_pf : &port->intr_vf[vf];
    uint32_t ivar = vf < 0 ? nic_reg(port, HW_IVAR(n / 2)) : intr->vtivar[n / 2];
    uint32_t entry = ivar >> (16 * (n & 1) + 8 * is_tx);
    unsigned vector = entry & (vf < 0 ? HW_IVAR_VECTOR_MASK : HW_VTIVAR_VECTOR_MASK);

    if (vf < 0 && !port->routes.msix)
        vector &= 0xf; // an EICR bit (82599 §7.3.4)
    if (!(entry & HW_IVAR_VALID) || vector >= intr->vector_count)
        intr = NULL;
    port->routes.queue[is_tx][queue].intr = intr;
    port->routes.queue[is_tx][queue].vector = (uint8_t)vector;
}

void nic_intr_allocation_changed(struct nic_port *port)
{
    uint32_t gpie = nic_reg(port, HW_GPIE);
    uint32_t other = nic_reg(port, HW_IVAR_MISC) >> HW_IVAR_MISC_OTHER_SHIFT;

    port->routes.msix = gpie & HW_GPIE_MULTIPLE_MSIX;
    port->routes.auto_mask = gpie & HW_GPIE_EIAME;
    port->intr_pf.other_valid = other & HW_IVAR_VALID;
    port->intr_pf.other_vector = other & HW_IVAR_VECTOR_MASK;
    for (unsigned vf = 0; vf < NIC_VFS_MAX; vf++) {
        struct nic_intr *intr = &port->intr_vf[vf];

        intr->other_vector = intr->vtivar_misc & HW_VTIVAR_VECTOR_MASK;
        intr->other_valid =
            (intr->vtivar_misc & HW_IVAR_VALID) && intr->other_vector < intr->vector_count;
    }
    for (unsigned queue = 0; queue < NIC_INTR_QUEUES; queue++) {
        route_queue(port, false, queue);
        route_queue(port, true, queue);
    }
}

static void store_and_decode(struct nic_port *port, uint32_t offset, uint32_t value)
{
    gate_close(port->gate);
    nic_reg_store(port, offset, value);
    nic_intr_allocation_changed(port);
    gate_open(port->gate);
}

void nic_intr_ivar_write(struct nic_port *port, unsigned index, uint32_t value)
{
    store_and_decode(port, HW_IVAR(index), value);
}

void nic_intr_ivar_misc_write(struct nic_port *port, unsigned index, uint32_t value)
{
    (void)index;
    store_and_decode(port, HW_IVAR_MISC, value);
}

void nic_intr_gpie_write(struct nic_port *port, unsigned index, uint32_t value)
{
    (void)index;
    store_and_decode(port, HW_GPIE, value);
}

void nic_intr_vtivar_changed(struct nic_port *port)
{
    gate_close(port->gate);
    nic_intr_allocation_changed(port);
    gate_open(port->gate);
}

// --- registers of the PF ------------------------------------------------------------------------

static uint32_t causes(const struct nic_intr *intr)
{
    uint32_t other = intr->other_cause;

    return (uint32_t)(intr->cause & LEGACY_VECTORS) | other | (other ? HW_EICR_OTHER : 0);
}

// Without MSI-X, reading or writing EICR masks what EIAM says (82599 §7.3.1).
static void auto_mask_on_access(struct nic_port *port, uint32_t bits)
{
    uint32_t eiam = nic_reg(port, HW_EIAM);

    if (port->routes.msix)
        return;
    port->intr_pf.mask &= ~(uint64_t)(bits & eiam & LEGACY_VECTORS);
    port->intr_pf.other_mask &= ~(bits & eiam & OTHER_CAUSES);
}

uint32_t nic_intr_eicr_read(struct nic_port *port, unsigned index)
{
    struct nic_intr *intr = &port->intr_pf;
    uint32_t value = causes(intr);

    (void)index;
    if (nic_reg(port, HW_GPIE) & HW_GPIE_OCD) {
        intr->other_cause &= ~(value & OCD_CLEARED);
    } else {
        intr->cause &= ~(uint64_t)(value & LEGACY_VECTORS);
        intr->other_cause &= ~value;
    }
    auto_mask_on_access(port, value);
    return value;
}

void nic_intr_eicr_write(struct nic_port *port, unsigned index, uint32_t value)
{
    (void)index;
    port->intr_pf.cause &= ~(uint64_t)(value & LEGACY_VECTORS);
    port->intr_pf.other_cause &= ~value;
    auto_mask_on_access(port, value);
}

// Reading EICS gives the causes and clears none: drivers rely on it.
uint32_t nic_intr_eics_read(struct nic_port *port, unsigned index)
{
    (void)index;
    return causes(&port->intr_pf);
}

void nic_intr_eics_write(struct nic_port *port, unsigned index, uint32_t value)
{
    uint64_t now_ns = clock_now_ns();

    (void)index;
    nic_intr_set_causes(port, &port->intr_pf, value & LEGACY_VECTORS, now_ns);
    if (value & OTHER_CAUSES)
        nic_intr_cause(port, &port->intr_pf, value & OTHER_CAUSES, now_ns);
}

uint32_t nic_intr_eims_read(struct nic_port *port, unsigned index)
{
    (void)index;
    return (uint32_t)(port->intr_pf.mask & LEGACY_VECTORS) | port->intr_pf.other_mask;
}

void nic_intr_eims_write(struct nic_port *port, unsigned index, uint32_t value)
{
    struct nic_intr *intr = &port->intr_pf;
    uint64_t now_ns = clock_now_ns();
    uint32_t before;

    (void)index;
    nic_intr_unmask(port, intr, value & LEGACY_VECTORS, now_ns);
    before = atomic_fetch_or(&intr->other_mask, value & OTHER_CAUSES);
    if (intr->other_cause & value & OTHER_CAUSES & ~before)
        nic_intr_cause(port, intr, intr->other_cause & value & ~before, now_ns);
}

uint32_t nic_intr_zero_read(struct nic_port *port, unsigned index)
{
    (void)port;
    (void)index;
    return 0;
}

void nic_intr_eimc_write(struct nic_port *port, unsigned index, uint32_t value)
{
    (void)index;
    port->intr_pf.mask &= ~(uint64_t)(value & LEGACY_VECTORS);
    port->intr_pf.other_mask &= ~(value & OTHER_CAUSES);
}

void nic_intr_eiac_write(struct nic_port *port, unsigned index, uint32_t value)
{
    (void)index;
    nic_reg_store(port, HW_EIAC, value);
    port->intr_pf.auto_clear = ~LEGACY_VECTORS | (value & LEGACY_VECTORS);
}

// The low half of a word of the extended registers is EIMS's, EIAM's and so on.
static uint64_t extended(unsigned index, uint32_t value)
{
    return (uint64_t)value << 32 * index;
}

void nic_intr_eiam_write(struct nic_port *port, unsigned index, uint32_t value)
{
    struct nic_intr *intr = &port->intr_pf;

    (void)index;
    nic_reg_store(port, HW_EIAM, value);
    intr->auto_mask = (intr->auto_mask & ~LEGACY_VECTORS) | (value & LEGACY_VECTORS);
}

uint32_t nic_intr_eiam_ex_read(struct nic_port *port, unsigned index)
{
    return (uint32_t)(port->intr_pf.auto_mask >> 32 * index);
}

void nic_intr_eiam_ex_write(struct nic_port *port, unsigned index, uint32_t value)
{
    struct nic_intr *intr = &port->intr_pf;

    intr->auto_mask = (intr->auto_mask & ~extended(index, UINT32_MAX)) | extended(index, value);
    if (!index)
        nic_reg_store(port, HW_EIAM,
                      (nic_reg(port, HW_EIAM) & OTHER_CAUSES) | (value & (uint32_t)LEGACY_VECTORS));
}

uint32_t nic_intr_ex_cause_read(struct nic_port *port, unsigned index)
{
    return (uint32_t)(port->intr_pf.cause >> 32 * index);
}

void nic_intr_eics_ex_write(struct nic_port *port, unsigned index, uint32_t value)
{
    nic_intr_set_causes(port, &port->intr_pf, extended(index, value), clock_now_ns());
}

uint32_t nic_intr_eims_ex_read(struct nic_port *port, unsigned index)
{
    return (uint32_t)(port->intr_pf.mask >> 32 * index);
}

void nic_intr_eims_ex_write(struct nic_port *port, unsigned index, uint32_t value)
{
    nic_intr_unmask(port, &port->intr_pf, extended(index, value), clock_now_ns());
}

void nic_intr_eimc_ex_write(struct nic_port *port, unsigned index, uint32_t value)
{
    port->intr_pf.mask &= ~extended(index, value);
}

// Deviation: EITR 64 and up, which the hardware uses for vectors of VFs, are kept without effect;
// VFs have theirs by VTEITR.
void nic_intr_eitr_write(struct nic_port *port, unsigned index, uint32_t value)
{
    nic_reg_store(port, HW_EITR(index), value & ~HW_EITR_CNT_WDIS);
    if (index < NIC_INTR_VECTORS_PF)
        nic_intr_set_eitr(&port->intr_pf, index, value);
}

// --- registers of a VF --------------------------------------------------------------------------

uint32_t nic_intr_vteicr_read(struct nic_intr *intr)
{
    return (uint32_t)atomic_exchange(&intr->cause, 0);
}

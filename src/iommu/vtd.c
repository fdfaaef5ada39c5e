// SPDX-License-Identifier: BSD-3-Clause
#include "iommu/vtd.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"
#include "iommu/vtd_context.h"
#include "iommu/vtd_fault.h"
#include "iommu/vtd_format.h"
#include "iommu/vtd_regs.h"
#include "iommu/vtd_walk.h"

_Static_assert(MEM_READ == (int)DMA_READ && MEM_WRITE == (int)DMA_WRITE,
               "an access mask is a protection mask");

struct vtd {
    struct mem_space *space;
    struct gate *gate;
    void (*fault_msi)(void *ctx, uint64_t addr, uint32_t data);
    void *msi_ctx;

    // What walkers read; changes only with the gate closed.
    bool is_translating; // GSTS.TES
    hpa_t root;          // RTADDR as of the last GCMD.SRTP

    dma_generation_t generation;
    struct vtd_context_cache contexts;

    struct vtd_regs regs;
    struct vtd_fault_log faults; // under regs.lock
    bool queue_stopped;          // FSTS.IQE, for the control thread
};

int vtd_create(struct mem_space *space, struct gate *gate,
               void (*fault_msi)(void *ctx, uint64_t addr, uint32_t data), void *ctx,
               struct vtd **out)
{
    struct vtd *vtd = calloc(1, sizeof *vtd);

    if (!vtd)
        return -ENOMEM;
    vtd->space = space;
    vtd->gate = gate;
    vtd->fault_msi = fault_msi;
    vtd->msi_ctx = ctx;
    atomic_init(&vtd->generation, 1);
    vtd_regs_init(&vtd->regs);
    *out = vtd;
    return 0;
}

void vtd_destroy(struct vtd *vtd)
{
    if (!vtd)
        return;
    vtd_regs_destroy(&vtd->regs);
    free(vtd);
}

const dma_generation_t *vtd_generation(const struct vtd *vtd)
{
    return &vtd->generation;
}

// Not under the register lock: the receiver may read registers.
static void message_send(const struct vtd *vtd, const struct vtd_message *msg)
{
    if (msg->is_due)
        vtd->fault_msi(vtd->msi_ctx, msg->addr, msg->data);
}

// --- Translation: workers -------------------------------------------------------------------

static void fault_record(struct vtd *vtd, rid_t rid, iova_t iova, enum dma_access access,
                         enum vtd_fault reason)
{
    struct vtd_message msg = {0};

    pthread_mutex_lock(&vtd->regs.lock);
    vtd_fault_record(&vtd->faults, &vtd->regs, rid, iova.v, access, reason, &msg);
    pthread_mutex_unlock(&vtd->regs.lock);
    message_send(vtd, &msg);
}

static enum vtd_fault context_find(struct vtd *vtd, rid_t rid, struct vtd_context *out)
{
    // acquire: pairs with the release in invalidate()
    uint64_t generation = atomic_load_explicit(&vtd->generation, memory_order_acquire);

    return vtd_context_find(&vtd->contexts, vtd->space, vtd->root, generation, rid, out);
}

static bool touches_interrupt_range(uint64_t start, uint64_t len_bytes)
{
    return start < DMA_INTERRUPT_BASE + DMA_INTERRUPT_LEN && start + len_bytes > DMA_INTERRUPT_BASE;
}

// The largest piece around `iova` that is one run in the page and in one region of memory, with all
// the rights that both give, at least `access`. `hpa` is what iova translates to.
static int piece_find(const struct vtd *vtd, iova_t iova, hpa_t hpa, unsigned page_shift,
                      unsigned page_access, enum dma_access access, struct dma_translation *out)
{
    static const uint8_t shifts[] = {DMA_LARGE_SHIFT, DMA_SMALL_SHIFT};

    for (unsigned i = 0; i < ARRAY_LEN(shifts); i++) {
        const unsigned rights[] = {page_access, access};
        uint64_t size = 1ull << shifts[i];
        uint64_t start = bits_align_down(iova.v, size);
        uint64_t base = hpa.v - (iova.v - start);

        if (page_shift < shifts[i] ||
            (shifts[i] == DMA_LARGE_SHIFT &&
             (touches_interrupt_range(start, size) || touches_interrupt_range(base, size))))
            continue;
        for (unsigned r = 0; r < ARRAY_LEN(rights); r++) {
            uint8_t *host = mem_space_at(vtd->space, (hpa_t){base}, size, rights[r], NULL);

            if (host) {
                *out = (struct dma_translation){
                    .iova = start, .host = host, .shift = shifts[i], .access = (uint8_t)rights[r]};
                return 0;
            }
        }
    }
    return -EFAULT;
}

// The translation proper (§3.4.3). *hidden: the context entry asks not to record what went wrong.
static enum vtd_fault translate(struct vtd *vtd, rid_t rid, iova_t iova, enum dma_access access,
                                bool *hidden, struct dma_translation *out)
{
    struct vtd_page page = {{0}, 63, DMA_READ | DMA_WRITE};
    struct vtd_context context;
    enum vtd_fault fault = context_find(vtd, rid, &context);
    hpa_t hpa = {iova.v};

    *hidden = context.faults_hidden;
    if (fault)
        return fault;
    if (context.pass_through) {
        if (iova.v >> VTD_HOST_ADDR_BITS)
            return VTD_FAULT_ADDRESS_WIDTH;
    } else {
        fault = vtd_walk(vtd->space, context.table, context.levels, iova, access, &page);
        if (fault)
            return fault;
        hpa.v = page.hpa.v + (iova.v & ((1ull << page.shift) - 1));
        if (touches_interrupt_range(hpa.v, 1))
            return VTD_FAULT_INTERRUPT_RANGE;
    }
    // Deviation: hardware would send the request on, to an address where nothing answers, and not
    // know. Here it is recorded as denied, so that it does not go unnoticed.
    if (piece_find(vtd, iova, hpa, page.shift, page.access, access, out))
        return access == DMA_WRITE ? VTD_FAULT_WRITE_DENIED : VTD_FAULT_READ_DENIED;
    return VTD_FAULT_NONE;
}

// Deviation: §3.13 lets a double-word write to the interrupt range through as an interrupt request.
// Functions raise interrupts through their own sink; what comes here is data, and goes nowhere.
static void vtd_refuse(void *ctx, rid_t rid, iova_t iova, enum dma_access access)
{
    struct vtd *vtd = ctx;
    struct vtd_context context = {0};

    if (vtd->is_translating)
        (void)context_find(vtd, rid, &context);
    if (!context.faults_hidden)
        fault_record(vtd, rid, iova, access,
                     touches_interrupt_range(iova.v, 1) ? VTD_FAULT_INTERRUPT_RANGE
                                                        : VTD_FAULT_ADDRESS_WIDTH);
}

static int vtd_translate(void *ctx, rid_t rid, iova_t iova, enum dma_access access,
                         struct dma_translation *out)
{
    struct vtd *vtd = ctx;
    enum vtd_fault fault;
    bool hidden = false;

    if (touches_interrupt_range(iova.v, 1)) {
        vtd_refuse(vtd, rid, iova, access);
        return -EFAULT;
    }
    // Without translation the unit has no part in it, and records nothing: addresses are physical.
    if (!vtd->is_translating)
        return piece_find(vtd, iova, (hpa_t){iova.v}, 63, DMA_READ | DMA_WRITE, access, out);
    fault = translate(vtd, rid, iova, access, &hidden, out);
    if (!fault)
        return 0;
    // Faults found before there is a context entry never have `hidden` set: they are the ones that
    // §7.1.3 does not qualify.
    if (!hidden)
        fault_record(vtd, rid, iova, access, fault);
    return -EFAULT;
}

const struct dma_port_ops *vtd_dma_ops(void)
{
    static const struct dma_port_ops ops = {.translate = vtd_translate, .refuse = vtd_refuse};

    return &ops;
}

// --- Invalidation: the control thread -------------------------------------------------------

// Drops everything that is cached, here and in the ports. All kinds of invalidation do: coarser
// than asked is allowed (§6.2), and what is cached is quickly found again. Caller has the gate
// closed: no worker keeps a pointer that it translated before, which is more than the draining that
// DR and DW ask for.
static void invalidate(struct vtd *vtd)
{
    assert(gate_is_closed(vtd->gate));
    // release: pairs with the acquire in dma_port_lookup() and context_find()
    atomic_fetch_add_explicit(&vtd->generation, 1, memory_order_release);
}

static void invalidate_drained(struct vtd *vtd)
{
    gate_close(vtd->gate);
    invalidate(vtd);
    gate_open(vtd->gate);
}

// An invalidation wait (§6.5.2.8). A status address where there is no memory loses the write.
static void wait_complete(struct vtd *vtd, uint64_t lo, uint64_t hi)
{
    struct vtd_message msg = {0};

    if (lo & VTD_INV_WAIT_SW) {
        uint32_t *status = mem_space_at(vtd->space, (hpa_t){hi}, 4, MEM_WRITE, NULL);

        // release: whoever polls it sees all that came before as done
        if (status)
            __atomic_store_n(status, htole32((uint32_t)(lo >> VTD_INV_WAIT_DATA_SHIFT)),
                             __ATOMIC_RELEASE);
    }
    if (!(lo & VTD_INV_WAIT_IF))
        return;
    pthread_mutex_lock(&vtd->regs.lock);
    if (!(vtd_regs_get32(&vtd->regs, VTD_ICS) & VTD_ICS_IWC)) {
        vtd_regs_set32(&vtd->regs, VTD_ICS, VTD_ICS_IWC);
        vtd_event_raise(&vtd->regs, VTD_IECTL, &msg);
    }
    pthread_mutex_unlock(&vtd->regs.lock);
    message_send(vtd, &msg);
}

// 0, or why the queue stops (IQERCD.IQEI). Closes the gate where it must: *closed.
static unsigned descriptor_execute(struct vtd *vtd, uint64_t lo, uint64_t hi, bool *closed)
{
    unsigned granularity = (lo >> VTD_INV_GRAN_SHIFT) & 3;

    switch (lo & VTD_INV_TYPE_MASK) {
    case VTD_INV_CONTEXT:
        if ((lo & VTD_INV_CONTEXT_LO_RESERVED) || hi || granularity == VTD_GRAN_NONE)
            return VTD_IQERCD_RESERVED;
        break;
    case VTD_INV_IOTLB:
        if ((lo & VTD_INV_IOTLB_LO_RESERVED) || (hi & VTD_INV_IOTLB_HI_RESERVED) ||
            granularity == VTD_GRAN_NONE ||
            (granularity == VTD_GRAN_SELECTIVE && (hi & VTD_IVA_AM_MASK) > VTD_MAMV))
            return VTD_IQERCD_RESERVED;
        break;
    case VTD_INV_WAIT:
        if ((lo & VTD_INV_WAIT_LO_RESERVED) || (hi & VTD_INV_WAIT_HI_RESERVED))
            return VTD_IQERCD_RESERVED;
        wait_complete(vtd, lo, hi);
        return 0;
    default:
        return VTD_IQERCD_TYPE;
    }
    // Once for the whole run of the queue: the workers must not be stopped for each descriptor.
    if (!*closed)
        gate_close(vtd->gate);
    *closed = true;
    invalidate(vtd);
    return 0;
}

// The next descriptor, 0 with *more false where there is none, or why the queue stops.
static unsigned descriptor_fetch(struct vtd *vtd, uint64_t *lo, uint64_t *hi, bool *more)
{
    const struct vtd_regs *regs = &vtd->regs;
    uint64_t iqa = vtd_regs_get64(regs, VTD_IQA);
    uint64_t size = (uint64_t)VTD_PAGE_BYTES << (iqa & VTD_IQA_QS_MASK);
    uint64_t head = vtd_regs_get64(regs, VTD_IQH), tail = vtd_regs_get64(regs, VTD_IQT);
    const uint64_t *p;

    *more = false;
    if (tail >= size || head >= size)
        return VTD_IQERCD_TAIL;
    if (head == tail)
        return 0;
    p = mem_space_at(vtd->space, (hpa_t){bits_align_down(iqa, VTD_PAGE_BYTES) + head},
                     VTD_IQ_DESC_BYTES, MEM_READ, NULL);
    if (!p)
        return VTD_IQERCD_FETCH;
    *lo = le64toh(__atomic_load_n(&p[0], __ATOMIC_RELAXED));
    *hi = le64toh(__atomic_load_n(&p[1], __ATOMIC_RELAXED));
    *more = true;
    return 0;
}

static void queue_stop(struct vtd *vtd, unsigned reason)
{
    struct vtd_message msg = {0};

    pthread_mutex_lock(&vtd->regs.lock);
    vtd_fault_queue_error(&vtd->regs, reason, &msg);
    vtd->queue_stopped = true;
    pthread_mutex_unlock(&vtd->regs.lock);
    message_send(vtd, &msg);
}

// Runs the queue from head to tail, or to the first bad descriptor: the head stays on that one, and
// nothing runs until software clears FSTS.IQE (§6.5.2.11). The queue's registers and GSTS are
// written by this thread only, so it needs no lock to read them.
static void queue_run(struct vtd *vtd)
{
    bool closed = false;

    for (unsigned n = 0; n < VTD_IQ_DESCS_MAX; n++) {
        uint64_t lo, hi, size;
        unsigned reason;
        bool more;

        if (!(vtd_regs_get32(&vtd->regs, VTD_GSTS) & VTD_GSTS_QIES) || vtd->queue_stopped)
            break;
        reason = descriptor_fetch(vtd, &lo, &hi, &more);
        if (more)
            reason = descriptor_execute(vtd, lo, hi, &closed);
        if (reason)
            queue_stop(vtd, reason);
        if (reason || !more)
            break;
        size = (uint64_t)VTD_PAGE_BYTES << (vtd_regs_get64(&vtd->regs, VTD_IQA) & VTD_IQA_QS_MASK);
        vtd_regs_set64(&vtd->regs, VTD_IQH,
                       (vtd_regs_get64(&vtd->regs, VTD_IQH) + VTD_IQ_DESC_BYTES) % size);
    }
    if (closed)
        gate_open(vtd->gate);
}

// --- Registers: the control thread ----------------------------------------------------------

// Each hook runs after the stored bits of its register have changed. `written` is what software
// wrote, at the register's width; a half that was not written is 0.

static void gcmd_written(struct vtd *vtd, uint32_t offset, uint64_t written)
{
    uint32_t command = (uint32_t)written;
    uint32_t status = vtd_regs_get32(&vtd->regs, VTD_GSTS);
    uint32_t changed = (command ^ status) & (VTD_GCMD_TE | VTD_GCMD_QIE);

    (void)offset;
    if ((command & VTD_GCMD_SRTP) || (changed & VTD_GCMD_TE)) {
        gate_close(vtd->gate);
        if (command & VTD_GCMD_SRTP)
            vtd->root.v = vtd_regs_get64(&vtd->regs, VTD_RTADDR);
        vtd->is_translating = command & VTD_GCMD_TE;
        invalidate(vtd);
        gate_open(vtd->gate);
    }
    pthread_mutex_lock(&vtd->regs.lock);
    vtd_regs_set32(&vtd->regs, VTD_GSTS,
                   (status ^ changed) | (command & VTD_GCMD_SRTP ? VTD_GSTS_RTPS : 0));
    // The head is 0 whenever the queue is off (§11.4.9.1).
    if (changed & VTD_GCMD_QIE)
        vtd_regs_set64(&vtd->regs, VTD_IQH, 0);
    pthread_mutex_unlock(&vtd->regs.lock);
    queue_run(vtd);
}

static void ccmd_written(struct vtd *vtd, uint32_t offset, uint64_t written)
{
    uint64_t value = vtd_regs_get64(&vtd->regs, offset);
    uint64_t actual = VTD_GRAN_NONE;

    if (!(written & VTD_CCMD_ICC))
        return;
    if ((value >> VTD_CCMD_CIRG_SHIFT) & 3) {
        invalidate_drained(vtd);
        actual = VTD_GRAN_GLOBAL;
    }
    value &= ~(VTD_CCMD_ICC | VTD_CCMD_CAIG_MASK);
    pthread_mutex_lock(&vtd->regs.lock);
    vtd_regs_set64(&vtd->regs, offset, value | actual << VTD_CCMD_CAIG_SHIFT);
    pthread_mutex_unlock(&vtd->regs.lock);
}

static void iotlb_written(struct vtd *vtd, uint32_t offset, uint64_t written)
{
    uint64_t value = vtd_regs_get64(&vtd->regs, offset);
    uint64_t actual = VTD_GRAN_NONE;

    if (!(written & VTD_IOTLB_IVT))
        return;
    if ((value >> VTD_IOTLB_IIRG_SHIFT) & 3) {
        invalidate_drained(vtd);
        actual = VTD_GRAN_GLOBAL;
    }
    value &= ~(VTD_IOTLB_IVT | VTD_IOTLB_IAIG_MASK);
    pthread_mutex_lock(&vtd->regs.lock);
    vtd_regs_set64(&vtd->regs, offset, value | actual << VTD_IOTLB_IAIG_SHIFT);
    pthread_mutex_unlock(&vtd->regs.lock);
}

static void fsts_written(struct vtd *vtd, uint32_t offset, uint64_t written)
{
    (void)offset;
    pthread_mutex_lock(&vtd->regs.lock);
    vtd_fault_status_written(&vtd->regs, (uint32_t)written);
    if (written & VTD_FSTS_IQE)
        vtd->queue_stopped = false;
    pthread_mutex_unlock(&vtd->regs.lock);
    queue_run(vtd);
}

static void frcd_written(struct vtd *vtd, uint32_t offset, uint64_t written)
{
    pthread_mutex_lock(&vtd->regs.lock);
    vtd_fault_record_written(&vtd->regs, offset, written);
    pthread_mutex_unlock(&vtd->regs.lock);
}

static void event_control_written(struct vtd *vtd, uint32_t offset, uint64_t written)
{
    struct vtd_message msg = {0};

    (void)written;
    pthread_mutex_lock(&vtd->regs.lock);
    vtd_event_control_written(&vtd->regs, offset, &msg);
    pthread_mutex_unlock(&vtd->regs.lock);
    message_send(vtd, &msg);
}

static void iqt_written(struct vtd *vtd, uint32_t offset, uint64_t written)
{
    (void)offset;
    (void)written;
    queue_run(vtd);
}

static void ics_written(struct vtd *vtd, uint32_t offset, uint64_t written)
{
    if (!(written & VTD_ICS_IWC))
        return;
    pthread_mutex_lock(&vtd->regs.lock);
    vtd_regs_set32(&vtd->regs, offset, 0);
    vtd_event_withdraw(&vtd->regs, VTD_IECTL);
    pthread_mutex_unlock(&vtd->regs.lock);
}

typedef void (*written_hook)(struct vtd *vtd, uint32_t offset, uint64_t written);

static const written_hook hooks[VTD_ROW_COUNT] = {
    [VTD_ROW_GCMD] = gcmd_written,
    [VTD_ROW_CCMD] = ccmd_written,
    [VTD_ROW_FSTS] = fsts_written,
    [VTD_ROW_FECTL] = event_control_written,
    [VTD_ROW_IQT] = iqt_written,
    [VTD_ROW_ICS] = ics_written,
    [VTD_ROW_IECTL] = event_control_written,
    [VTD_ROW_IOTLB] = iotlb_written,
    [VTD_ROW_FRCD_HI] = frcd_written,
};

static bool cycle_is_good(uint32_t offset, unsigned len)
{
    return (len == 4 || len == 8) && offset % len == 0 && offset < VTD_REGS_LEN_BYTES;
}

uint64_t vtd_reg_read(struct vtd *vtd, uint32_t offset, unsigned len)
{
    uint64_t value;

    if (!cycle_is_good(offset, len))
        return UINT64_MAX;
    pthread_mutex_lock(&vtd->regs.lock);
    value = len == 8 ? vtd_regs_get64(&vtd->regs, offset) : vtd_regs_get32(&vtd->regs, offset);
    pthread_mutex_unlock(&vtd->regs.lock);
    return value;
}

void vtd_reg_write(struct vtd *vtd, uint32_t offset, unsigned len, uint64_t value)
{
    const struct vtd_reg_row *row;
    uint32_t reg_offset = 0;
    int i;

    if (!cycle_is_good(offset, len))
        return;
    i = vtd_regs_find(offset, &reg_offset);
    row = i >= 0 ? &vtd_reg_rows[i] : NULL;
    if (len == 8 && (!row || row->width_bits == 32)) {
        // Two registers, or one and a gap.
        vtd_reg_write(vtd, offset, 4, (uint32_t)value);
        vtd_reg_write(vtd, offset + 4, 4, value >> 32);
        return;
    }
    if (!row)
        return;
    vtd_regs_write32(&vtd->regs, row, reg_offset, offset, (uint32_t)value);
    if (len == 8)
        vtd_regs_write32(&vtd->regs, row, reg_offset, offset + 4, (uint32_t)(value >> 32));
    else
        value = (uint64_t)(uint32_t)value << (offset - reg_offset) * 8;
    if (row->kind == VTD_KIND_HOOK) {
        assert(hooks[i]);
        hooks[i](vtd, reg_offset, value);
    }
}

void vtd_reset(struct vtd *vtd)
{
    gate_close(vtd->gate);
    vtd->is_translating = false;
    vtd->root.v = 0;
    pthread_mutex_lock(&vtd->regs.lock);
    vtd_regs_reset(&vtd->regs);
    vtd->faults = (struct vtd_fault_log){0};
    vtd->queue_stopped = false;
    pthread_mutex_unlock(&vtd->regs.lock);
    invalidate(vtd);
    gate_open(vtd->gate);
}

void vtd_memory_changed(struct vtd *vtd)
{
    invalidate(vtd);
}

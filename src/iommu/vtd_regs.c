// SPDX-License-Identifier: BSD-3-Clause
#include "iommu/vtd_regs.h"

#include <string.h>

#include "base/bits.h"

const struct vtd_reg_row vtd_reg_rows[VTD_ROW_COUNT] = {
#define VTD_REG(name_, offset_, stride_, count_, width_, reset_, mask_, kind_, section_, text_)    \
    [VTD_ROW_##name_] = {.name = #name_,                                                           \
                         .section = section_,                                                      \
                         .text = text_,                                                            \
                         .offset = offset_,                                                        \
                         .stride = stride_,                                                        \
                         .count = count_,                                                          \
                         .width_bits = width_,                                                     \
                         .reset = reset_,                                                          \
                         .mask = mask_,                                                            \
                         .kind = VTD_KIND_##kind_},
#include "iommu/vtd_regs.def"
#undef VTD_REG
};

_Static_assert(VTD_FEDATA == VTD_FECTL + 4 && VTD_FEADDR == VTD_FECTL + 8 &&
                   VTD_FEUADDR == VTD_FECTL + 12,
               "the events' registers follow each other");
_Static_assert(VTD_IEDATA == VTD_IECTL + 4 && VTD_IEADDR == VTD_IECTL + 8 &&
                   VTD_IEUADDR == VTD_IECTL + 12,
               "the events' registers follow each other");

void vtd_regs_reset(struct vtd_regs *regs)
{
    memset(regs->words, 0, sizeof regs->words);
    for (unsigned i = 0; i < VTD_ROW_COUNT; i++) {
        const struct vtd_reg_row *row = &vtd_reg_rows[i];

        for (uint32_t n = 0; n < row->count; n++) {
            uint32_t offset = row->offset + n * row->stride;

            if (row->width_bits == 64)
                vtd_regs_set64(regs, offset, row->reset);
            else
                vtd_regs_set32(regs, offset, (uint32_t)row->reset);
        }
    }
}

void vtd_regs_init(struct vtd_regs *regs)
{
    pthread_mutex_init(&regs->lock, NULL);
    vtd_regs_reset(regs);
}

void vtd_regs_destroy(struct vtd_regs *regs)
{
    pthread_mutex_destroy(&regs->lock);
}

int vtd_regs_find(uint32_t offset, uint32_t *reg_offset)
{
    for (int i = 0; i < VTD_ROW_COUNT; i++) {
        const struct vtd_reg_row *row = &vtd_reg_rows[i];
        uint32_t from = offset - row->offset;
        uint32_t n = row->stride ? from / row->stride : 0;

        if (offset >= row->offset && n < row->count &&
            from - n * row->stride < row->width_bits / 8) {
            *reg_offset = row->offset + n * row->stride;
            return i;
        }
    }
    return -1;
}

uint32_t vtd_regs_get32(const struct vtd_regs *regs, uint32_t offset)
{
    return regs->words[offset / 4];
}

uint64_t vtd_regs_get64(const struct vtd_regs *regs, uint32_t offset)
{
    return regs->words[offset / 4] | (uint64_t)regs->words[offset / 4 + 1] << 32;
}

void vtd_regs_set32(struct vtd_regs *regs, uint32_t offset, uint32_t value)
{
    regs->words[offset / 4] = value;
}

void vtd_regs_set64(struct vtd_regs *regs, uint32_t offset, uint64_t value)
{
    regs->words[offset / 4] = (uint32_t)value;
    regs->words[offset / 4 + 1] = (uint32_t)(value >> 32);
}

void vtd_regs_write32(struct vtd_regs *regs, const struct vtd_reg_row *row, uint32_t reg_offset,
                      uint32_t offset, uint32_t value)
{
    uint32_t mask = (uint32_t)(row->mask >> (offset - reg_offset) * 8);
    uint32_t old;

    pthread_mutex_lock(&regs->lock);
    old = vtd_regs_get32(regs, offset);
    switch (row->kind) {
    case VTD_KIND_RO:
        break;
    case VTD_KIND_RW:
    case VTD_KIND_HOOK:
        vtd_regs_set32(regs, offset, (old & ~mask) | (value & mask));
        break;
    case VTD_KIND_W1C:
        vtd_regs_set32(regs, offset, old & ~(value & mask));
        break;
    }
    pthread_mutex_unlock(&regs->lock);
}

// Takes the message out of the event's registers.
static void event_send(struct vtd_regs *regs, uint32_t ctl, struct vtd_message *msg)
{
    msg->is_due = true;
    msg->data = vtd_regs_get32(regs, ctl + 4);
    msg->addr = vtd_regs_get64(regs, ctl + 8);
    vtd_event_withdraw(regs, ctl);
}

void vtd_event_raise(struct vtd_regs *regs, uint32_t ctl, struct vtd_message *msg)
{
    uint32_t value = vtd_regs_get32(regs, ctl);

    if (value & VTD_EVENT_IM)
        vtd_regs_set32(regs, ctl, value | VTD_EVENT_IP);
    else
        event_send(regs, ctl, msg);
}

void vtd_event_control_written(struct vtd_regs *regs, uint32_t ctl, struct vtd_message *msg)
{
    if ((vtd_regs_get32(regs, ctl) & (VTD_EVENT_IM | VTD_EVENT_IP)) == VTD_EVENT_IP)
        event_send(regs, ctl, msg);
}

void vtd_event_withdraw(struct vtd_regs *regs, uint32_t ctl)
{
    vtd_regs_set32(regs, ctl, vtd_regs_get32(regs, ctl) & ~VTD_EVENT_IP);
}

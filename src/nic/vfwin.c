// SPDX-License-Identifier: BSD-3-Clause
#include "nic/vfwin.h"

#include <assert.h>
#include <pthread.h>

#include "base/clock.h"
#include "nic/doorbell.h"
#include "nic/port.h"
#include "nic/regs.h"

enum window { WINDOW_OWN, WINDOW_QUEUE, WINDOW_POOL, WINDOW_PORT };

struct window_row {
    uint32_t offset, stride, count;
    enum window window;
    enum hw_row target;
};

static const struct window_row rows[HW_VFROW_NONE] = {
#define VFREG(name, offset, window, target, section, text)                                         \
    {offset, 0, 1, WINDOW_##window, HW_ROW_##target},
#define VFREGS(name, offset, stride, count, window, target, section, text)                         \
    {offset, stride, count, WINDOW_##window, HW_ROW_##target},
#include "hw82599/vfregs.def"
#undef VFREG
#undef VFREGS
};

struct place {
    uint8_t row_plus_1; // 0: nothing there
    uint8_t index;
};
static struct place places[HW_VF_BAR_BYTES / 4];
static pthread_once_t places_once = PTHREAD_ONCE_INIT;

static void places_make(void)
{
    for (unsigned row = 0; row < HW_VFROW_NONE; row++) {
        for (unsigned i = 0; i < rows[row].count; i++) {
            struct place *place = &places[(rows[row].offset + rows[row].stride * i) / 4];

            assert(!place->row_plus_1);
            *place = (struct place){(uint8_t)(row + 1), (uint8_t)i};
        }
    }
}

enum hw_vfrow nic_vfwin_find(uint32_t offset, unsigned *index)
{
    const struct place *place;

    pthread_once(&places_once, places_make);
    if (offset >= HW_VF_BAR_BYTES || offset % 4)
        return HW_VFROW_NONE;
    place = &places[offset / 4];
    *index = place->index;
    return place->row_plus_1 ? (enum hw_vfrow)(place->row_plus_1 - 1) : HW_VFROW_NONE;
}

enum hw_row nic_vfwin_target(const struct nic_port *port, unsigned vf, enum hw_vfrow row,
                             unsigned index, unsigned *target_index)
{
    switch (rows[row].window) {
    case WINDOW_QUEUE:
        if (vf >= port->vf_count || index >= port->queues_per_vf)
            return HW_ROW_NONE;
        *target_index = vf * port->queues_per_vf + index;
        return rows[row].target;
    case WINDOW_POOL:
        *target_index = vf;
        return rows[row].target;
    case WINDOW_PORT:
        *target_index = 0;
        return rows[row].target;
    case WINDOW_OWN:
        break;
    }
    return HW_ROW_NONE;
}

// --- what is the VF's own -----------------------------------------------------------------------

static uint32_t own_read(struct nic_port *port, unsigned vf, enum hw_vfrow row, unsigned index)
{
    struct nic_intr *intr = &port->intr_vf[vf];

    switch (row) {
    case HW_VFROW_VFSTATUS:
        return port->index << HW_STATUS_LAN_ID_SHIFT;
    case HW_VFROW_VTEICR:
        return nic_intr_vteicr_read(intr);
    case HW_VFROW_VTEICS:
        return (uint32_t)intr->cause;
    case HW_VFROW_VTEIMS:
        return (uint32_t)intr->mask;
    case HW_VFROW_VTEIAC:
        return (uint32_t)intr->auto_clear;
    case HW_VFROW_VTEIAM:
        return (uint32_t)intr->auto_mask;
    case HW_VFROW_VTIVAR:
        return intr->vtivar[index];
    case HW_VFROW_VTIVAR_MISC:
        return intr->vtivar_misc;
    case HW_VFROW_VTRSCINT:
        return port->vf_regs[vf].vtrscint[index];
    case HW_VFROW_VTEITR:
        return intr->eitr[index];
    case HW_VFROW_VFMBMEM:
        return port->mailbox[vf].mem[index];
    case HW_VFROW_VFMAILBOX:
        return nic_mailbox_vf_read(port, vf);
    default:
        return 0; // VFCTRL, VTEIMC: write only
    }
}

static void own_write(struct nic_port *port, unsigned vf, enum hw_vfrow row, unsigned index,
                      uint32_t value)
{
    struct nic_intr *intr = &port->intr_vf[vf];

    switch (row) {
    case HW_VFROW_VFCTRL:
        if (value & HW_VFCTRL_RST) {
            gate_close(port->gate);
            nic_vfwin_reset(port, vf, true);
            gate_open(port->gate);
        }
        break;
    case HW_VFROW_VTEICR:
        intr->cause &= ~(uint64_t)value;
        break;
    case HW_VFROW_VTEICS:
        nic_intr_set_causes(port, intr, value, clock_now_ns());
        break;
    case HW_VFROW_VTEIMS:
        nic_intr_unmask(port, intr, value, clock_now_ns());
        break;
    case HW_VFROW_VTEIMC:
        intr->mask &= ~(uint64_t)value;
        break;
    case HW_VFROW_VTEIAC:
        intr->auto_clear = value & HW_VTEICR_MASK;
        break;
    case HW_VFROW_VTEIAM:
        intr->auto_mask = value & HW_VTEICR_MASK;
        break;
    case HW_VFROW_VTIVAR:
        intr->vtivar[index] = value & 0x83838383;
        nic_intr_vtivar_changed(port);
        break;
    case HW_VFROW_VTIVAR_MISC:
        intr->vtivar_misc = value & 0x83;
        nic_intr_vtivar_changed(port);
        break;
    case HW_VFROW_VTRSCINT:
        port->vf_regs[vf].vtrscint[index] = value;
        break;
    case HW_VFROW_VTEITR:
        nic_intr_set_eitr(intr, index, value & nic_reg_rows[HW_ROW_EITR].write_mask);
        break;
    case HW_VFROW_VFMBMEM:
        port->mailbox[vf].mem[index] = value;
        break;
    case HW_VFROW_VFMAILBOX:
        nic_mailbox_vf_write(port, vf, value);
        break;
    default:
        break; // read only
    }
}

void nic_vfwin_reset(struct nic_port *port, unsigned vf, bool announce)
{
    assert(gate_is_closed(port->gate));
    nic_pool_reset(port, vf);
    nic_intr_reset(&port->intr_vf[vf]);
    port->vf_regs[vf] = (struct nic_vf_regs){0};
    nic_intr_allocation_changed(port);
    if (port->doorbells[vf])
        nic_doorbell_publish(port, vf);
    nic_mailbox_vf_reset(port, vf, announce);
}

// --- cycles -------------------------------------------------------------------------------------

// Counts a cycle by what it is for. Returns whether it has to do with queues.
static bool count(struct nic_vf_cycles *cycles, enum hw_vfrow row)
{
    switch (row) {
    case HW_VFROW_VFRDT:
    case HW_VFROW_VFTDT:
        cycles->doorbell++;
        return true;
    case HW_VFROW_VTEICR:
    case HW_VFROW_VTEICS:
    case HW_VFROW_VTEIMS:
    case HW_VFROW_VTEIMC:
    case HW_VFROW_VTEIAC:
    case HW_VFROW_VTEIAM:
        cycles->interrupt++;
        return false;
    case HW_VFROW_VTEITR:
        cycles->moderation++;
        return false;
    case HW_VFROW_VFMAILBOX:
    case HW_VFROW_VFMBMEM:
        cycles->mailbox++;
        return true;
    default:
        cycles->other++;
        return true;
    }
}

// A VF whose doorbells are mapped: pages 1 and 2 are the guest's, and no cycle may be answered
// before what it wrote there has been taken over. Stock ixgbevf resets through page 0 before it
// frees its buffers. The cycles of an interrupt's handler, which are nearly all there are while
// traffic flows, change and show no queue: for them the worker is not drained.
static void before_cycle(struct nic_port *port, unsigned vf, enum hw_vfrow row)
{
    if (!count(&port->vf_cycles[vf], row) || !port->doorbells[vf])
        return;
    gate_close(port->gate);
    nic_doorbell_sample(port, vf);
    gate_open(port->gate);
}

// A cycle that still came to those pages has changed registers behind the guest's copy.
static void publish(struct nic_port *port, unsigned vf, uint32_t offset)
{
    if (!port->doorbells[vf] || offset < NIC_DOORBELL_BAR_OFFSET ||
        offset >= NIC_DOORBELL_BAR_OFFSET + NIC_DOORBELL_LEN_BYTES)
        return;
    gate_close(port->gate);
    nic_doorbell_publish(port, vf);
    gate_open(port->gate);
}

uint32_t nic_vfwin_read(struct nic_port *port, unsigned vf, uint32_t offset)
{
    unsigned index, target_index;
    enum hw_vfrow row = nic_vfwin_find(offset, &index);
    enum hw_row target;

    if (row == HW_VFROW_NONE) {
        port->odd_vf[vf].unknown_reads++;
        return 0;
    }
    before_cycle(port, vf, row);
    if (rows[row].window == WINDOW_OWN)
        return own_read(port, vf, row, index);
    target = nic_vfwin_target(port, vf, row, index, &target_index);
    return target == HW_ROW_NONE ? 0 : nic_regs_read_row(port, target, target_index);
}

void nic_vfwin_write(struct nic_port *port, unsigned vf, uint32_t offset, uint32_t value)
{
    unsigned index, target_index;
    enum hw_vfrow row = nic_vfwin_find(offset, &index);
    enum hw_row target;

    if (row == HW_VFROW_NONE) {
        port->odd_vf[vf].unknown_writes++;
        return;
    }
    before_cycle(port, vf, row);
    if (rows[row].window == WINDOW_OWN) {
        own_write(port, vf, row, index, value);
        return;
    }
    target = nic_vfwin_target(port, vf, row, index, &target_index);
    if (target != HW_ROW_NONE && rows[row].window != WINDOW_PORT)
        nic_regs_write_row(port, target, target_index, value);
    publish(port, vf, offset);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "nic/regs.h"

#include <assert.h>
#include <pthread.h>

#include "nic/control.h"
#include "nic/port.h"
#include "nic/queue.h"

// Short names for the table's columns.
#define DERIVED NIC_REG_DERIVED
#define STAT    NIC_REG_STAT
#define KEEP    NIC_REG_KEEP

const struct nic_reg_row nic_reg_rows[HW_ROW_NONE] = {
#define REG(name, offset, reset, mask, access, flags, section, text)                               \
    {#name, offset, 0, 1, 0, 0, 0, reset, mask, NIC_REG_##access, flags, section, text},
#define REGS(name, offset, stride, count, reset, mask, access, flags, section, text)               \
    {#name, offset, stride, count, 0, 0, 0, reset, mask, NIC_REG_##access, flags, section, text},
#define SPLIT(name, offset, stride, count, offset2, stride2, count2, reset, mask, access, flags,   \
              section, text)                                                                       \
    {#name, offset, stride,           count, offset2, stride2, count2,                             \
     reset, mask,   NIC_REG_##access, flags, section, text},
#define ALIAS(name, ...)
#include "hw82599/regs.def"
#undef REG
#undef REGS
#undef SPLIT
#undef ALIAS
};

struct alias {
    enum hw_row row;
    uint32_t offset, stride, count;
};

static const struct alias aliases[] = {
#define REG(...)
#define REGS(...)
#define SPLIT(...)
#define ALIAS(name, offset, stride, count) {HW_ROW_##name, offset, stride, count},
#include "hw82599/regs.def"
#undef REG
#undef REGS
#undef SPLIT
#undef ALIAS
};

#define HOOK(row, read, write) [HW_ROW_##row] = {read, write}

static const struct nic_reg_hook hooks[HW_ROW_NONE] = {
    HOOK(CTRL, NULL, nic_control_ctrl_write),
    HOOK(STATUS, nic_control_status_read, NULL),
    HOOK(CTRL_EXT, NULL, nic_control_ctrl_ext_write),
    HOOK(ESDP, nic_control_esdp_read, NULL),
    HOOK(I2CCTL, nic_sfp_i2cctl_read, nic_sfp_i2cctl_write),
    HOOK(FRTIMER, nic_control_frtimer_read, NULL),
    HOOK(EEC, nic_eeprom_eec_read, nic_eeprom_eec_write),
    HOOK(EERD, NULL, nic_eeprom_eerd_write),
    HOOK(EEWR, NULL, nic_eeprom_eewr_write),
    HOOK(SWSM, nic_control_swsm_read, NULL),
    HOOK(GCR_EXT, NULL, nic_control_gcr_ext_write),
    HOOK(DCA_ID, nic_control_dca_id_read, NULL),
    HOOK(EICR, nic_intr_eicr_read, nic_intr_eicr_write),
    HOOK(EICS, nic_intr_eics_read, nic_intr_eics_write),
    HOOK(EIAC, NULL, nic_intr_eiac_write),
    HOOK(EITR, NULL, nic_intr_eitr_write),
    HOOK(EIMS, nic_intr_eims_read, nic_intr_eims_write),
    HOOK(EIMC, nic_intr_zero_read, nic_intr_eimc_write),
    HOOK(EIAM, NULL, nic_intr_eiam_write),
    HOOK(GPIE, NULL, nic_intr_gpie_write),
    HOOK(IVAR, NULL, nic_intr_ivar_write),
    HOOK(IVAR_MISC, NULL, nic_intr_ivar_misc_write),
    HOOK(EICS_EX, nic_intr_ex_cause_read, nic_intr_eics_ex_write),
    HOOK(EIMS_EX, nic_intr_eims_ex_read, nic_intr_eims_ex_write),
    HOOK(EIMC_EX, nic_intr_zero_read, nic_intr_eimc_ex_write),
    HOOK(EIAM_EX, nic_intr_eiam_ex_read, nic_intr_eiam_ex_write),
    HOOK(RDH, nic_queue_rdh_read, nic_queue_rdh_write),
    HOOK(RDT, NULL, nic_queue_rdt_write),
    HOOK(SRRCTL, NULL, nic_queue_srrctl_write),
    HOOK(RXDCTL, NULL, nic_queue_rxdctl_write),
    HOOK(PFQDE, NULL, nic_queue_pfqde_write),
    HOOK(TDH, nic_queue_tdh_read, nic_queue_tdh_write),
    HOOK(TDT, NULL, nic_queue_tdt_write),
    HOOK(TXDCTL, NULL, nic_queue_txdctl_write),
    HOOK(RTTDT1C, nic_queue_rttdt1c_read, nic_queue_rttdt1c_write),
    HOOK(RTTBCNRC, nic_queue_rttbcnrc_read, nic_queue_rttbcnrc_write),
    HOOK(MSCA, NULL, nic_control_msca_write),
    HOOK(AUTOC, NULL, nic_control_autoc_write),
    HOOK(LINKS, nic_control_links_read, NULL),
    HOOK(RQSMR, NULL, nic_stats_rqsmr_write),
    HOOK(TQSM, NULL, nic_stats_tqsm_write),
    HOOK(PFVFLREC, nic_mailbox_vflrec_read, nic_mailbox_vflrec_write),
    HOOK(PFMAILBOX, nic_mailbox_pf_read, nic_mailbox_pf_write),
    HOOK(PFMBMEM, nic_mailbox_mem_read, nic_mailbox_mem_write),
};

const struct nic_reg_hook *nic_regs_hook(enum hw_row row)
{
    return &hooks[row];
}

// --- offset → row -------------------------------------------------------------------------------

struct place {
    uint16_t row_plus_1; // 0: nothing there
    uint16_t index;
};
static struct place places[NIC_REGS_LEN_BYTES / 4];
static pthread_once_t places_once = PTHREAD_ONCE_INIT;

static void place_range(enum hw_row row, uint32_t offset, uint32_t stride, uint32_t count,
                        unsigned first)
{
    for (unsigned i = 0; i < count; i++) {
        struct place *place = &places[(offset + stride * i) / 4];

        assert(offset % 4 == 0 && stride % 4 == 0);
        assert(offset + stride * i < NIC_REGS_LEN_BYTES && !place->row_plus_1);
        *place = (struct place){(uint16_t)(row + 1), (uint16_t)(first + i)};
    }
}

static void places_make(void)
{
    for (unsigned row = 0; row < HW_ROW_NONE; row++) {
        const struct nic_reg_row *r = &nic_reg_rows[row];

        place_range((enum hw_row)row, r->offset, r->stride, r->count, 0);
        place_range((enum hw_row)row, r->offset2, r->stride2, r->count2, r->count);
    }
    for (unsigned i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        place_range(aliases[i].row, aliases[i].offset, aliases[i].stride, aliases[i].count, 0);
}

enum hw_row nic_regs_find(uint32_t offset, unsigned *index)
{
    const struct place *place;

    pthread_once(&places_once, places_make);
    if (offset >= NIC_REGS_LEN_BYTES || offset % 4)
        return HW_ROW_NONE;
    place = &places[offset / 4];
    *index = place->index;
    return place->row_plus_1 ? (enum hw_row)(place->row_plus_1 - 1) : HW_ROW_NONE;
}

uint32_t nic_regs_offset(enum hw_row row, unsigned index)
{
    const struct nic_reg_row *r = &nic_reg_rows[row];

    assert(index < r->count + r->count2);
    return index < r->count ? r->offset + r->stride * index
                            : r->offset2 + r->stride2 * (index - r->count);
}

unsigned nic_regs_count(enum hw_row row)
{
    return nic_reg_rows[row].count + nic_reg_rows[row].count2;
}

// --- cycles -------------------------------------------------------------------------------------

uint32_t nic_regs_read_row(struct nic_port *port, enum hw_row row, unsigned index)
{
    const struct nic_reg_row *r = &nic_reg_rows[row];
    uint32_t offset = nic_regs_offset(row, index);
    uint32_t value = nic_reg(port, offset);

    if (r->flags & NIC_REG_STAT)
        return nic_stats_read(port, row, index);
    switch (r->access) {
    case NIC_REG_HOOK:
        return hooks[row].read ? hooks[row].read(port, index) : value;
    case NIC_REG_RC:
        nic_reg_store(port, offset, 0);
        return value;
    case NIC_REG_WO:
        return 0;
    default:
        return value;
    }
}

void nic_regs_write_row(struct nic_port *port, enum hw_row row, unsigned index, uint32_t value)
{
    const struct nic_reg_row *r = &nic_reg_rows[row];
    uint32_t offset = nic_regs_offset(row, index);

    if (r->flags & NIC_REG_DERIVED) {
        gate_close(port->gate);
        port->derived_stale = true;
    }
    switch (r->access) {
    case NIC_REG_HOOK:
        if (hooks[row].write) {
            hooks[row].write(port, index, value & r->write_mask);
            break;
        }
        // fall through
    case NIC_REG_RW:
        nic_reg_store(port, offset,
                      (nic_reg(port, offset) & ~r->write_mask) | (value & r->write_mask));
        break;
    case NIC_REG_W1C:
        nic_reg_store(port, offset, nic_reg(port, offset) & ~(value & r->write_mask));
        break;
    case NIC_REG_RO:
    case NIC_REG_RC:
    case NIC_REG_WO:
        break;
    }
    if (r->flags & NIC_REG_DERIVED) {
        gate_open(port->gate);
        nic_worker_kick(port->card);
    }
}

uint32_t nic_regs_read(struct nic_port *port, uint32_t offset)
{
    unsigned index;
    enum hw_row row = nic_regs_find(offset, &index);

    if (row == HW_ROW_NONE) {
        port->odd_pf.unknown_reads++;
        return 0;
    }
    return nic_regs_read_row(port, row, index);
}

void nic_regs_write(struct nic_port *port, uint32_t offset, uint32_t value)
{
    unsigned index;
    enum hw_row row = nic_regs_find(offset, &index);

    if (row == HW_ROW_NONE)
        port->odd_pf.unknown_writes++;
    else
        nic_regs_write_row(port, row, index, value);
}

// --- reset --------------------------------------------------------------------------------------

// Registers of an array whose first differs from the others after a reset.
static uint32_t reset_value(enum hw_row row, unsigned index)
{
    if (index == 0) {
        switch (row) {
        case HW_ROW_RXPBSIZE:
            return 512u << 10;
        case HW_ROW_TXPBSIZE:
            return 160u << 10;
        case HW_ROW_MPSAR_LO:
            return 1;
        default:
            break;
        }
    }
    return nic_reg_rows[row].reset;
}

void nic_regs_reset_row(struct nic_port *port, enum hw_row row, unsigned index)
{
    nic_reg_store(port, nic_regs_offset(row, index), reset_value(row, index));
}

void nic_regs_reset(struct nic_port *port, bool all)
{
    for (unsigned row = 0; row < HW_ROW_NONE; row++) {
        if ((nic_reg_rows[row].flags & NIC_REG_KEEP) && !all)
            continue;
        for (unsigned i = 0; i < nic_regs_count((enum hw_row)row); i++)
            nic_regs_reset_row(port, (enum hw_row)row, i);
    }
}

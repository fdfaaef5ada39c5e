// SPDX-License-Identifier: BSD-3-Clause
#include "nic/mailbox.h"

#include "base/clock.h"
#include "nic/port.h"

// A request, an acknowledgement or a reset of a VF: the PF's cause, unless it masked this VF.
static void tell_pf(struct nic_port *port, unsigned vf)
{
    if (nic_reg(port, HW_PFMBIMR(vf / 32)) & HW_PFVFLRE_BIT(vf))
        nic_intr_cause(port, &port->intr_pf, HW_EICR_MAILBOX, clock_now_ns());
}

static void tell_vf(struct nic_port *port, unsigned vf, uint32_t status)
{
    port->mailbox[vf].vf_status |= status;
    if (vf < port->num_vfs)
        nic_intr_cause(port, &port->intr_vf[vf], 0, clock_now_ns());
}

static void set_bits(struct nic_port *port, uint32_t offset, uint32_t bits)
{
    nic_reg_store(port, offset, nic_reg(port, offset) | bits);
}

uint32_t nic_mailbox_vf_read(struct nic_port *port, unsigned vf)
{
    struct nic_mailbox *box = &port->mailbox[vf];
    uint32_t value = box->vf_status;

    box->vf_status = 0;
    if (box->vfu)
        value |= HW_VFMAILBOX_VFU;
    if (box->pfu)
        value |= HW_VFMAILBOX_PFU;
    if (port->in_reset)
        value |= HW_VFMAILBOX_RSTI;
    return value;
}

void nic_mailbox_vf_write(struct nic_port *port, unsigned vf, uint32_t value)
{
    struct nic_mailbox *box = &port->mailbox[vf];

    // The buffer is taken by writing 1, if the other side does not have it, and given up by writing
    // 0: so a write of REQ or ACK alone gives it up too.
    box->vfu = (value & HW_VFMAILBOX_VFU) && !box->pfu;
    if (value & HW_VFMAILBOX_REQ) {
        box->to_pf++;
        set_bits(port, HW_PFMBICR(HW_PFMBICR_INDEX(vf)), HW_PFMBICR_REQ(vf));
    }
    if (value & HW_VFMAILBOX_ACK)
        set_bits(port, HW_PFMBICR(HW_PFMBICR_INDEX(vf)), HW_PFMBICR_ACK(vf));
    if (value & (HW_VFMAILBOX_REQ | HW_VFMAILBOX_ACK))
        tell_pf(port, vf);
}

uint32_t nic_mailbox_pf_read(struct nic_port *port, unsigned vf)
{
    const struct nic_mailbox *box = &port->mailbox[vf];

    return (box->vfu ? HW_PFMAILBOX_VFU : 0) | (box->pfu ? HW_PFMAILBOX_PFU : 0);
}

void nic_mailbox_pf_write(struct nic_port *port, unsigned vf, uint32_t value)
{
    struct nic_mailbox *box = &port->mailbox[vf];
    uint32_t status = 0;

    if (value & HW_PFMAILBOX_RVFU)
        box->vfu = false;
    box->pfu = (value & HW_PFMAILBOX_PFU) && !box->vfu;
    if (value & HW_PFMAILBOX_STS) {
        box->from_pf++;
        status |= HW_VFMAILBOX_PFSTS;
    }
    if (value & HW_PFMAILBOX_ACK)
        status |= HW_VFMAILBOX_PFACK;
    if (status)
        tell_vf(port, vf, status);
}

uint32_t nic_mailbox_mem_read(struct nic_port *port, unsigned index)
{
    return port->mailbox[index / NIC_MAILBOX_WORDS].mem[index % NIC_MAILBOX_WORDS];
}

void nic_mailbox_mem_write(struct nic_port *port, unsigned index, uint32_t value)
{
    port->mailbox[index / NIC_MAILBOX_WORDS].mem[index % NIC_MAILBOX_WORDS] = value;
}

uint32_t nic_mailbox_vflrec_read(struct nic_port *port, unsigned index)
{
    return nic_reg(port, HW_PFVFLRE(index));
}

void nic_mailbox_vflrec_write(struct nic_port *port, unsigned index, uint32_t value)
{
    nic_reg_store(port, HW_PFVFLRE(index), nic_reg(port, HW_PFVFLRE(index)) & ~value);
}

static void clear(struct nic_mailbox *box)
{
    box->vfu = box->pfu = false;
    box->vf_status = 0;
    // Deviation: the memory is cleared too: the next owner of the VF must not see what the last one
    // wrote.
    for (unsigned i = 0; i < NIC_MAILBOX_WORDS; i++)
        box->mem[i] = 0;
}

void nic_mailbox_vf_reset(struct nic_port *port, unsigned vf, bool announce)
{
    clear(&port->mailbox[vf]);
    if (!announce)
        return;
    set_bits(port, HW_PFVFLRE(HW_PFVFLRE_INDEX(vf)), HW_PFVFLRE_BIT(vf));
    tell_pf(port, vf);
}

void nic_mailbox_pf_reset(struct nic_port *port)
{
    for (unsigned vf = 0; vf < NIC_VFS_MAX; vf++)
        clear(&port->mailbox[vf]);
    port->in_reset = true;
}

void nic_mailbox_pf_reset_done(struct nic_port *port)
{
    if (!port->in_reset)
        return;
    port->in_reset = false;
    for (unsigned vf = 0; vf < NIC_VFS_MAX; vf++)
        tell_vf(port, vf, HW_VFMAILBOX_RSTD);
}

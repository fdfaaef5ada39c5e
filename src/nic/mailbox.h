// SPDX-License-Identifier: BSD-3-Clause
// PF-VF mailbox hardware of one VF: 16 words of memory, ownership and status bits (82599
// §7.10.2.9). It moves bits and raises causes, and never reads the words. Control thread. Private
// to src/nic.
#ifndef VIREO_NIC_MAILBOX_H
#define VIREO_NIC_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "hw82599/mailbox.h"

struct nic_port;

#define NIC_MAILBOX_WORDS HW_MAILBOX_WORDS

struct nic_mailbox {
    uint32_t mem[NIC_MAILBOX_WORDS];
    bool vfu, pfu;           // who holds the buffer; never both
    uint32_t vf_status;      // PFSTS, PFACK, RSTD: what the VF has not read yet
    uint64_t to_pf, from_pf; // REQ and STS events
};

// VFMAILBOX as the VF sees it. Reading clears the read-to-clear bits.
uint32_t nic_mailbox_vf_read(struct nic_port *port, unsigned vf);
void nic_mailbox_vf_write(struct nic_port *port, unsigned vf, uint32_t value);
// PFMAILBOX as the PF sees it, and its memory: register hooks.
uint32_t nic_mailbox_pf_read(struct nic_port *port, unsigned vf);
void nic_mailbox_pf_write(struct nic_port *port, unsigned vf, uint32_t value);
uint32_t nic_mailbox_mem_read(struct nic_port *port, unsigned index);
void nic_mailbox_mem_write(struct nic_port *port, unsigned index, uint32_t value);
// PFVFLREC: write 1 to clear PFVFLRE.
uint32_t nic_mailbox_vflrec_read(struct nic_port *port, unsigned index);
void nic_mailbox_vflrec_write(struct nic_port *port, unsigned index, uint32_t value);
// The VF was reset: its bits are gone; `announce` (VFCTRL.RST or FLR): PFVFLRE says so to the PF.
// Gate closed.
void nic_mailbox_vf_reset(struct nic_port *port, unsigned vf, bool announce);
// The PF was reset: all VFs' bits are gone, RSTI comes up. Gate closed.
void nic_mailbox_pf_reset(struct nic_port *port);
// CTRL_EXT.PFRSTD: RSTI goes, RSTD comes up in all VFMAILBOX.
void nic_mailbox_pf_reset_done(struct nic_port *port);

#endif

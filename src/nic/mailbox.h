// SPDX-License-Identifier: BSD-3-Clause
// PF-VF mailbox hardware of one VF: 16 words of memory, ownership and status bits (82599 §7.10.2.9).
// It moves bits and raises causes, and never reads the words. Control thread. Private to src/nic.
#ifndef VIREO_NIC_MAILBOX_H
#define VIREO_NIC_MAILBOX_H

#include <stdint.h>

struct nic_port;

#define NIC_MAILBOX_WORDS 16u

struct nic_mailbox {
    uint32_t mem[NIC_MAILBOX_WORDS];
    uint32_t vf_bits; // VFMAILBOX as the VF sees it
    uint32_t pf_bits; // PFMAILBOX as the PF sees it
    uint64_t to_pf, from_pf; // REQ and STS events
};

uint32_t nic_mailbox_vf_read(struct nic_port *port, unsigned vf);
void nic_mailbox_vf_write(struct nic_port *port, unsigned vf, uint32_t value);
uint32_t nic_mailbox_pf_read(struct nic_port *port, unsigned vf);
void nic_mailbox_pf_write(struct nic_port *port, unsigned vf, uint32_t value);
// The VF was reset (VFCTRL.RST or FLR): VFLRE bit, RSTI/RSTD. Gate closed.
void nic_mailbox_vf_reset(struct nic_port *port, unsigned vf);

#endif

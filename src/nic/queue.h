// SPDX-License-Identifier: BSD-3-Clause
// The queues' registers: heads, tails, control, and what lies behind an index register. Register
// hooks. Control thread. Private to src/nic.
#ifndef VIREO_NIC_QUEUE_H
#define VIREO_NIC_QUEUE_H

#include <stdint.h>

struct nic_port;

// All queues off and at reset. Gate closed. Registers stay as they are.
void nic_queue_reset_all(struct nic_port *port);

uint32_t nic_queue_rdh_read(struct nic_port *port, unsigned queue);
void nic_queue_rdh_write(struct nic_port *port, unsigned queue, uint32_t value);
void nic_queue_rdt_write(struct nic_port *port, unsigned queue, uint32_t value);
void nic_queue_rxdctl_write(struct nic_port *port, unsigned queue, uint32_t value);
void nic_queue_srrctl_write(struct nic_port *port, unsigned queue, uint32_t value);
void nic_queue_pfqde_write(struct nic_port *port, unsigned index, uint32_t value);
uint32_t nic_queue_tdh_read(struct nic_port *port, unsigned queue);
void nic_queue_tdh_write(struct nic_port *port, unsigned queue, uint32_t value);
void nic_queue_tdt_write(struct nic_port *port, unsigned queue, uint32_t value);
void nic_queue_txdctl_write(struct nic_port *port, unsigned queue, uint32_t value);
uint32_t nic_queue_rttdt1c_read(struct nic_port *port, unsigned index);
void nic_queue_rttdt1c_write(struct nic_port *port, unsigned index, uint32_t value);
uint32_t nic_queue_rttbcnrc_read(struct nic_port *port, unsigned index);
void nic_queue_rttbcnrc_write(struct nic_port *port, unsigned index, uint32_t value);

#endif

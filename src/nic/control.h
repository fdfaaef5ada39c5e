// SPDX-License-Identifier: BSD-3-Clause
// The port as a whole: resets, status, link, semaphores. Register hooks. Control thread. Private to
// src/nic.
#ifndef VIREO_NIC_CONTROL_H
#define VIREO_NIC_CONTROL_H

#include <stdint.h>

struct nic_port;

void nic_control_ctrl_write(struct nic_port *port, unsigned index, uint32_t value);
uint32_t nic_control_status_read(struct nic_port *port, unsigned index);
void nic_control_ctrl_ext_write(struct nic_port *port, unsigned index, uint32_t value);
uint32_t nic_control_esdp_read(struct nic_port *port, unsigned index);
uint32_t nic_control_frtimer_read(struct nic_port *port, unsigned index);
uint32_t nic_control_swsm_read(struct nic_port *port, unsigned index);
void nic_control_gcr_ext_write(struct nic_port *port, unsigned index, uint32_t value);
uint32_t nic_control_dca_id_read(struct nic_port *port, unsigned index);
void nic_control_msca_write(struct nic_port *port, unsigned index, uint32_t value);
void nic_control_autoc_write(struct nic_port *port, unsigned index, uint32_t value);
uint32_t nic_control_links_read(struct nic_port *port, unsigned index);

#endif

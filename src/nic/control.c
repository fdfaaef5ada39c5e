// SPDX-License-Identifier: BSD-3-Clause
#include "nic/control.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "nic/doorbell.h"
#include "nic/port.h"
#include "nic/queue.h"
#include "nic/regs.h"

// --- resets -------------------------------------------------------------------------------------

// RAR 0 comes from the EEPROM after every reset (82599 §4.2.1).
static void load_mac(struct nic_port *port)
{
    uint8_t mac[NIC_MAC_LEN];

    nic_eeprom_mac(&port->eeprom, port->index, mac);
    nic_reg_store(port, HW_RAL(0),
                  (uint32_t)mac[0] | (uint32_t)mac[1] << 8 | (uint32_t)mac[2] << 16 |
                      (uint32_t)mac[3] << 24);
    nic_reg_store(port, HW_RAH(0), HW_RAH_AV | (uint32_t)mac[5] << 8 | mac[4]);
}

// Deviation: VFs' interrupt registers stay as they are when the PF resets the port, so that its
// mailbox message after the reset reaches drivers that do not poll.
void nic_port_reset(struct nic_port *port, bool all)
{
    assert(gate_is_closed(port->gate));
    nic_queue_reset_all(port);
    nic_regs_reset(port, all);
    load_mac(port);
    nic_intr_reset(&port->intr_pf);
    nic_mailbox_pf_reset(port);
    nic_stats_clear(port);
    memset(port->rate_t1, 0, sizeof port->rate_t1);
    memset(port->rate_bcn, 0, sizeof port->rate_bcn);
    for (unsigned queue = 0; queue < NIC_QUEUES_MAX; queue++)
        port->txq[queue].rate.factor = 0;
    if (all)
        nic_sfp_init(&port->sfp);
    port->link_up = uplink_link_is_up(port->uplink);
    nic_port_vfs_changed(port);
    for (unsigned vf = 0; vf < NIC_VFS_MAX; vf++) {
        if (port->doorbells[vf])
            nic_doorbell_publish(port, vf);
    }
}

void nic_port_vfs_changed(struct nic_port *port)
{
    // GCR_EXT.VT_Mode: none, 16 pools of 8 queues, 32 of 4, 64 of 2 (82599 §8.2.3.4.12).
    static const uint8_t queues[4] = {0, 8, 4, 2};
    unsigned pools;

    assert(gate_is_closed(port->gate));
    port->queues_per_vf = queues[nic_reg(port, HW_GCR_EXT) & HW_GCR_EXT_VT_MODE_MASK];
    pools = port->queues_per_vf ? NIC_QUEUES_MAX / port->queues_per_vf : NIC_VFS_MAX;
    port->vf_count = port->num_vfs < pools ? port->num_vfs : pools;
    port->derived_stale = true;
    nic_lanes_deal(port);
    nic_intr_allocation_changed(port);
}

void nic_control_ctrl_write(struct nic_port *port, unsigned index, uint32_t value)
{
    (void)index;
    if (value & (HW_CTRL_RST | HW_CTRL_LRST)) {
        // Both bits clear themselves; a link reset resets the whole port as well.
        gate_close(port->gate);
        nic_port_reset(port, false);
        gate_open(port->gate);
        nic_worker_kick(port->card);
        return;
    }
    nic_reg_store(port, HW_CTRL, value);
}

void nic_control_ctrl_ext_write(struct nic_port *port, unsigned index, uint32_t value)
{
    (void)index;
    nic_reg_store(port, HW_CTRL_EXT, value & ~HW_CTRL_EXT_PFRSTD);
    if (value & HW_CTRL_EXT_PFRSTD)
        nic_mailbox_pf_reset_done(port);
}

void nic_control_gcr_ext_write(struct nic_port *port, unsigned index, uint32_t value)
{
    unsigned before = port->queues_per_vf;

    (void)index;
    nic_reg_store(port, HW_GCR_EXT, value);
    // The row is DERIVED: the gate is closed.
    nic_port_vfs_changed(port);
    // Queues change hands: none of them may go on under another function's requester ID.
    if (port->queues_per_vf != before)
        nic_queue_reset_all(port);
}

// --- status -------------------------------------------------------------------------------------

uint32_t nic_control_status_read(struct nic_port *port, unsigned index)
{
    uint32_t value = port->index << HW_STATUS_LAN_ID_SHIFT;

    (void)index;
    if (port->num_vfs)
        value |= HW_STATUS_IOV_ACTIVE | port->num_vfs << HW_STATUS_NUM_VFS_SHIFT;
    // The master disable handshake (82599 §5.2.5.3.2) ends at once: nothing is outstanding between
    // two register cycles.
    if (!(nic_reg(port, HW_CTRL) & HW_CTRL_MASTER_DISABLE))
        value |= HW_STATUS_MASTER_ENABLE;
    return value;
}

uint32_t nic_control_esdp_read(struct nic_port *port, unsigned index)
{
    uint32_t value = nic_reg(port, HW_ESDP);

    (void)index;
    if (!(value & HW_ESDP_SDP2 << HW_ESDP_DIR_SHIFT))
        value |= HW_ESDP_SDP2; // an input: the module is in its cage
    return value;
}

uint32_t nic_control_frtimer_read(struct nic_port *port, unsigned index)
{
    (void)port;
    (void)index;
    return (uint32_t)(clock_now_ns() / NS_PER_US);
}

uint32_t nic_control_dca_id_read(struct nic_port *port, unsigned index)
{
    (void)index;
    return pci_function_rid(port->pf).v;
}

// Reading SMBI takes the semaphore: whoever reads 0 has it (82599 §10.5.4).
// Deviation: each port has its own, and its own EEPROM; there is no firmware to share with.
uint32_t nic_control_swsm_read(struct nic_port *port, unsigned index)
{
    uint32_t value = nic_reg(port, HW_SWSM);

    (void)index;
    nic_reg_store(port, HW_SWSM, value | HW_SWSM_SMBI);
    return value;
}

// --- link ---------------------------------------------------------------------------------------

uint32_t nic_control_links_read(struct nic_port *port, unsigned index)
{
    (void)index;
    nic_port_link_poll(port);
    return port->link_up ? HW_LINKS_UP | HW_LINKS_SPEED_10G : 0;
}

void nic_port_link_poll(struct nic_port *port)
{
    bool up = uplink_link_is_up(port->uplink);

    if (up == port->link_up)
        return;
    port->link_up = up;
    nic_intr_cause(port, &port->intr_pf, HW_EICR_LSC, clock_now_ns());
}

void nic_control_autoc_write(struct nic_port *port, unsigned index, uint32_t value)
{
    (void)index;
    nic_reg_store(port, HW_AUTOC, value & ~HW_AUTOC_AN_RESTART);
    // A restart takes the link down and up again, and is over at once.
    if (value & HW_AUTOC_AN_RESTART)
        nic_intr_cause(port, &port->intr_pf, HW_EICR_LSC, clock_now_ns());
}

// No PHY answers on MDIO: a read gives all ones, and each command is over at once.
void nic_control_msca_write(struct nic_port *port, unsigned index, uint32_t value)
{
    (void)index;
    nic_reg_store(port, HW_MSCA, value);
    nic_reg_store(port, HW_MSRWD, 0xffff0000 | (nic_reg(port, HW_MSRWD) & 0xffff));
}

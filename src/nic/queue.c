// SPDX-License-Identifier: BSD-3-Clause
#include "nic/queue.h"

#include <assert.h>

#include "nic/port.h"
#include "nic/regs.h"

// What a VF's reset resets of the register file: its queues' registers, and its pool's.
static const enum hw_row queue_rows[] = {
    HW_ROW_RDBAL,  HW_ROW_RDBAH,  HW_ROW_RDLEN,      HW_ROW_DCA_RXCTRL, HW_ROW_RDH,
    HW_ROW_SRRCTL, HW_ROW_RDT,    HW_ROW_RXDCTL,     HW_ROW_RSCCTL,     HW_ROW_TDBAL,
    HW_ROW_TDBAH,  HW_ROW_TDLEN,  HW_ROW_DCA_TXCTRL, HW_ROW_TDH,        HW_ROW_TDT,
    HW_ROW_TXDCTL, HW_ROW_TDWBAL, HW_ROW_TDWBAH,
};

static void queue_reset(struct nic_port *port, unsigned queue)
{
    nic_rxq_reset(port, queue);
    nic_txq_reset(port, queue);
    nic_reg_store(port, HW_RXDCTL(queue), nic_reg(port, HW_RXDCTL(queue)) & ~HW_RXDCTL_ENABLE);
    nic_reg_store(port, HW_TXDCTL(queue), nic_reg(port, HW_TXDCTL(queue)) & ~HW_TXDCTL_ENABLE);
}

void nic_queue_reset_all(struct nic_port *port)
{
    assert(gate_is_closed(port->gate));
    for (unsigned queue = 0; queue < NIC_QUEUES_MAX; queue++)
        queue_reset(port, queue);
}

void nic_pool_reset(struct nic_port *port, unsigned vf)
{
    unsigned first = vf * port->queues_per_vf;

    assert(gate_is_closed(port->gate));
    for (unsigned queue = first; queue < first + port->queues_per_vf; queue++) {
        bool drop;

        if (queue >= NIC_QUEUES_MAX)
            break;
        // PFQDE is the PF's: a VF cannot shake it off by a reset, and then hold others back with a
        // full ring.
        drop = port->rxq[queue].drop_pf;
        queue_reset(port, queue);
        nic_rxq_set_drop(port, queue, drop);
        for (unsigned i = 0; i < sizeof queue_rows / sizeof queue_rows[0]; i++)
            nic_regs_reset_row(port, queue_rows[i], queue);
    }
    nic_regs_reset_row(port, HW_ROW_PSRTYPE, vf);
    port->derived_stale = true;
}

// --- receive ------------------------------------------------------------------------------------

uint32_t nic_queue_rdh_read(struct nic_port *port, unsigned queue)
{
    const struct nic_rxq *rxq = &port->rxq[queue];

    return rxq->enabled ? atomic_load_explicit(&rxq->head, memory_order_relaxed)
                        : nic_reg(port, HW_RDH(queue));
}

// A head is the card's while the queue runs.
void nic_queue_rdh_write(struct nic_port *port, unsigned queue, uint32_t value)
{
    if (!port->rxq[queue].enabled)
        nic_reg_store(port, HW_RDH(queue), value);
}

void nic_queue_rdt_write(struct nic_port *port, unsigned queue, uint32_t value)
{
    nic_reg_store(port, HW_RDT(queue), value);
    nic_rxq_set_tail(port, queue, value);
}

// Control or layout of a receive queue changed: the queue takes it over. ENABLE reads back whether
// it runs: a driver that asks for the impossible sees it stay off.
static void rx_control(struct nic_port *port, unsigned queue, uint32_t offset, uint32_t value)
{
    uint32_t head;
    bool was_enabled, runs;

    gate_close(port->gate);
    was_enabled = port->rxq[queue].enabled;
    head = atomic_load_explicit(&port->rxq[queue].head, memory_order_relaxed);
    nic_reg_store(port, offset, value);
    runs = nic_rxq_control(port, queue);
    if (!runs)
        nic_reg_store(port, HW_RXDCTL(queue), nic_reg(port, HW_RXDCTL(queue)) & ~HW_RXDCTL_ENABLE);
    if (was_enabled && !runs)
        nic_reg_store(port, HW_RDH(queue), head);
    gate_open(port->gate);
}

void nic_queue_rxdctl_write(struct nic_port *port, unsigned queue, uint32_t value)
{
    rx_control(port, queue, HW_RXDCTL(queue), value);
}

void nic_queue_srrctl_write(struct nic_port *port, unsigned queue, uint32_t value)
{
    rx_control(port, queue, HW_SRRCTL(queue), value);
}

void nic_queue_pfqde_write(struct nic_port *port, unsigned index, uint32_t value)
{
    unsigned queue = value >> HW_PFQDE_INDEX_SHIFT & 0x7f;

    (void)index;
    if (value & HW_PFQDE_WE) {
        gate_close(port->gate);
        nic_rxq_set_drop(port, queue, value & HW_PFQDE_QDE);
        gate_open(port->gate);
    } else if (value & HW_PFQDE_RE) {
        value &= ~HW_PFQDE_QDE;
        value |= port->rxq[queue].drop_pf ? HW_PFQDE_QDE : 0;
    }
    nic_reg_store(port, HW_PFQDE, value & ~(HW_PFQDE_WE | HW_PFQDE_RE));
}

// --- transmit -----------------------------------------------------------------------------------

uint32_t nic_queue_tdh_read(struct nic_port *port, unsigned queue)
{
    const struct nic_txq *txq = &port->txq[queue];

    return txq->enabled ? atomic_load_explicit(&txq->head, memory_order_relaxed)
                        : nic_reg(port, HW_TDH(queue));
}

void nic_queue_tdh_write(struct nic_port *port, unsigned queue, uint32_t value)
{
    if (!port->txq[queue].enabled)
        nic_reg_store(port, HW_TDH(queue), value);
}

void nic_queue_tdt_write(struct nic_port *port, unsigned queue, uint32_t value)
{
    nic_reg_store(port, HW_TDT(queue), value);
    nic_txq_set_tail(port, queue, value);
}

void nic_queue_txdctl_write(struct nic_port *port, unsigned queue, uint32_t value)
{
    uint32_t head;
    bool was_enabled, runs;

    gate_close(port->gate);
    was_enabled = port->txq[queue].enabled;
    head = atomic_load_explicit(&port->txq[queue].head, memory_order_relaxed);
    nic_reg_store(port, HW_TXDCTL(queue), value);
    runs = nic_txq_control(port, queue);
    if (!runs)
        nic_reg_store(port, HW_TXDCTL(queue), value & ~HW_TXDCTL_ENABLE);
    if (was_enabled && !runs)
        nic_reg_store(port, HW_TDH(queue), head);
    gate_open(port->gate);
}

// --- behind RTTDQSEL ----------------------------------------------------------------------------

uint32_t nic_queue_rttdt1c_read(struct nic_port *port, unsigned index)
{
    (void)index;
    return port->rate_t1[nic_reg(port, HW_RTTDQSEL) & 0x7f];
}

void nic_queue_rttdt1c_write(struct nic_port *port, unsigned index, uint32_t value)
{
    (void)index;
    port->rate_t1[nic_reg(port, HW_RTTDQSEL) & 0x7f] = value;
}

uint32_t nic_queue_rttbcnrc_read(struct nic_port *port, unsigned index)
{
    (void)index;
    return port->rate_bcn[nic_reg(port, HW_RTTDQSEL) & 0x7f];
}

void nic_queue_rttbcnrc_write(struct nic_port *port, unsigned index, uint32_t value)
{
    unsigned queue = nic_reg(port, HW_RTTDQSEL) & 0x7f;

    (void)index;
    gate_close(port->gate);
    port->rate_bcn[queue] = value;
    port->txq[queue].rate.factor = value & HW_RTTBCNRC_ENABLE ? value & HW_RTTBCNRC_FACTOR : 0;
    gate_open(port->gate);
    // What waited by the old limit looks again.
    nic_worker_activate(port, queue);
}

// SPDX-License-Identifier: BSD-3-Clause
// One port of the card, as the files of this room share it. Private to src/nic.
//
// Who writes what:
//   regs[]      the register file: control thread (register cycles). Workers do not read it; what
//               they need is derived from it or handed to a queue.
//   derived     what the data path needs of the filter and switch registers, recomputed by
//               nic_derive() at the next batch after `derived_stale` was set (gate closed).
//   txq, rxq    private to the worker; enable/disable/reset with the gate closed; only `tail` is
//               shared (atomic).
//   counters    written by the worker only (relaxed atomics), read by the control thread; registers
//               that clear on read subtract what was read before (stats.c).
#ifndef VIREO_NIC_PORT_H
#define VIREO_NIC_PORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hw82599/regs.h"
#include "mem/dma.h"
#include "nic/intr.h"
#include "nic/mailbox.h"
#include "nic/nic.h"
#include "nic/rxq.h"
#include "nic/stats.h"
#include "nic/switch.h"
#include "nic/txq.h"
#include "pci/function.h"

#define NIC_REGS_LEN_BYTES 0x20000u // BAR0 is 512 KiB; registers end here (82599 §8.1.1)

struct nic_port {
    struct nic_card *card;
    unsigned index;
    struct gate *gate;
    struct uplink *uplink;
    struct pci_function *pf;
    struct pci_function *vf[NIC_VFS_MAX];
    struct dma_port *pf_dma;              // pci_function_dma(pf), kept for the data path
    struct dma_port *vf_dma[NIC_VFS_MAX];
    unsigned vf_count;                    // NumVFs while VF Enable is set, else 0 (gate closed)

    uint32_t regs[NIC_REGS_LEN_BYTES / 4];

    bool derived_stale;
    struct nic_derived derived;
    struct nic_txq txq[NIC_QUEUES_MAX];
    struct nic_rxq rxq[NIC_QUEUES_MAX];
    struct nic_counters counters;

    struct nic_intr intr_pf;
    struct nic_intr intr_vf[NIC_VFS_MAX];
    struct nic_mailbox mailbox[NIC_VFS_MAX];
    struct nic_doorbell_pages *doorbells[NIC_VFS_MAX]; // NULL where trapped
};

// Register file word at a byte offset of BAR0.
static inline uint32_t nic_reg(const struct nic_port *port, uint32_t offset)
{
    return port->regs[offset / 4];
}

// Wakes the worker if it sleeps. Any thread. (worker.c)
void nic_worker_kick(struct nic_card *card);

// Pools (82599 §7.10.2, GPIE.VT_Mode / MTQC / MRQC / PFVTCTL): how queues belong to functions.
// Without virtualisation every queue is the PF's. Pool n < vf_count is VF n's.
static inline unsigned nic_pool_of_queue(const struct nic_port *port, unsigned queue)
{
    return port->derived.queues_per_pool ? queue / port->derived.queues_per_pool : 0;
}

// The DMA port that a queue's descriptors and buffers go through: the VF's that owns its pool, else
// the PF's.
static inline struct dma_port *nic_dma_of_queue(struct nic_port *port, unsigned queue)
{
    unsigned pool = nic_pool_of_queue(port, queue);

    if (port->derived.queues_per_pool && pool < port->vf_count)
        return port->vf_dma[pool];
    return port->pf_dma;
}

#endif

// SPDX-License-Identifier: BSD-3-Clause
// One port of the card, as the files of this room share it. Private to src/nic.
//
// Who writes what:
//   regs[]      the register file: control thread (register cycles). Workers do not read it; what
//               they need is derived from it or handed to a queue.
//   derived     what the data path needs of the filter and switch registers, recomputed by
//               nic_derive() at the next batch after `derived_stale` was set (gate closed).
//   txq, rxq    private to the worker, see lane.h where there are several; enable/disable/reset
//   with
//               the gate closed; only `tail` is shared (atomic).
//   counters    written by workers only (relaxed atomics), read by the control thread; registers
//               that clear on read subtract what was read before (stats.c).
//   the rest    control thread; what workers read of it (vf_count, queues_per_vf, routes) changes
//               with the gate closed only.
#ifndef VIREO_NIC_PORT_H
#define VIREO_NIC_PORT_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hw82599/regs.h"
#include "mem/dma.h"
#include "nic/eeprom.h"
#include "nic/intr.h"
#include "nic/lane.h"
#include "nic/mailbox.h"
#include "nic/nic.h"
#include "nic/path.h"
#include "nic/rxq.h"
#include "nic/sfp.h"
#include "nic/stats.h"
#include "nic/switch.h"
#include "nic/txq.h"
#include "nic/worker.h"
#include "pci/function.h"

#define NIC_REGS_LEN_BYTES 0x20000u // BAR0 is 512 KiB; registers end here (82599 §8.1)

// What one VF has of its own behind its window, not in the register file (vfwin.c).
struct nic_vf_regs {
    uint32_t vtrscint[2];
};

// Register cycles that reach nothing, by function. Not reset.
struct nic_odd_cycles {
    uint64_t unknown_reads, unknown_writes; // offsets that are in no row
    uint64_t narrow_writes;                 // less than 32 bits: dropped
};

// Register cycles of a VF's driver by what they are for. Not reset.
struct nic_vf_cycles {
    uint64_t doorbell, interrupt, moderation, mailbox, other;
};

struct nic_port {
    struct nic_card *card;
    unsigned index;
    struct gate *gate;
    struct uplink *uplink;
    struct pci_function *pf;
    struct pci_function *vf[NIC_VFS_MAX];
    struct dma_port *pf_dma; // pci_function_dma(pf), kept for the data path: an array of 2 where
                             // the port is shared, see nic_rx_dma_of_queue()
    struct dma_port *vf_dma[NIC_VFS_MAX];
    unsigned num_vfs;  // NumVFs while VF Enable is set, else 0 (gate closed)
    unsigned vf_count; // those of them that have a pool: 64 VFs may exist where the mode has 16
                       // or 32 pools (gate closed)
    unsigned queues_per_vf; // GCR_EXT.VT_Mode: which queues a VF's window shows and whose requester
                            // ID they have; 0, 2, 4 or 8 (gate closed)

    uint32_t regs[NIC_REGS_LEN_BYTES / 4];

    _Atomic bool derived_stale;
    struct nic_lock derive_lock; // taken by the worker that recomputes, where there are several
    struct nic_derived derived;
    struct nic_txq txq[NIC_QUEUES_MAX];
    struct nic_rxq rxq[NIC_QUEUES_MAX];
    struct nic_counters counters;
    struct nic_path cable_paths[NIC_PATHS]; // of frames from the cable: its worker's
    bool cable_general_only; // no short way for them: set by tests that compare, by nobody else
    // Workers' shares (lane.h): whose a transmit queue is, who delivers to a function now (0: the
    // PF, n + 1: VF n). What there is of them changes with the gate closed only.
    unsigned lane_count; // 0 until there is a worker
    bool shared;         // more than one
    struct nic_lane lane[NIC_WORKERS_MAX];
    uint8_t lane_of_queue[NIC_QUEUES_MAX], lane_of_cable;
    struct nic_lock rx_lock[1 + NIC_VFS_MAX];

    struct nic_intr intr_pf;
    struct nic_intr intr_vf[NIC_VFS_MAX];
    struct nic_intr_routes routes;
    struct nic_mailbox mailbox[NIC_VFS_MAX];
    struct nic_vf_regs vf_regs[NIC_VFS_MAX];
    struct nic_doorbell_pages *doorbells[NIC_VFS_MAX]; // NULL where trapped

    bool in_reset; // between CTRL.RST and CTRL_EXT.PFRSTD: what VFMAILBOX.RSTI says
    bool link_up;  // as LINKS last said: a change raises LSC
    uint32_t rate_t1[NIC_QUEUES_MAX];   // RTTDT1C, by queue
    uint32_t rate_bcn[NIC_QUEUES_MAX];  // RTTBCNRC, by queue
    struct nic_stats_marks stats_marks; // where clear-on-read counters were last read
    struct nic_eeprom eeprom;
    struct nic_sfp sfp;
    uint32_t io_addr; // IOADDR of the I/O BAR
    struct nic_odd_cycles odd_pf, odd_vf[NIC_VFS_MAX];
    struct nic_vf_cycles vf_cycles[NIC_VFS_MAX];
};

// Register file word at a byte offset of BAR0. Relaxed atomics: the queue registers of a VF with
// mapped doorbells are stored by the worker (doorbell.c).
static inline uint32_t nic_reg(const struct nic_port *port, uint32_t offset)
{
    return __atomic_load_n(&port->regs[offset / 4], __ATOMIC_RELAXED);
}

static inline void nic_reg_store(struct nic_port *port, uint32_t offset, uint32_t value)
{
    __atomic_store_n(&port->regs[offset / 4], value, __ATOMIC_RELAXED);
}

// The card's ports, for the worker: NULL where index is past the last. (card.c)
struct nic_port *nic_card_port(struct nic_card *card, unsigned index);

// Wakes the workers that sleep: work, a new deadline, or a change of tables. Any thread.
// (worker.c)
void nic_worker_kick(struct nic_card *card);

// Pools (82599 §7.10, GPIE.VT_Mode / MTQC / MRQC / PFVTCTL): how queues belong to pools, which is
// what receive and switching go by. Without virtualisation every queue is the PF's.
static inline unsigned nic_pool_of_queue(const struct nic_port *port, unsigned queue)
{
    return port->derived.queues_per_pool ? queue / port->derived.queues_per_pool : 0;
}

// The function that owns a queue: a VF, or -1 for the PF. What a VF's window shows it, and nothing
// else, runs under its requester ID.
static inline int nic_vf_of_queue(const struct nic_port *port, unsigned queue)
{
    unsigned vf;

    if (!port->queues_per_vf)
        return -1;
    vf = queue / port->queues_per_vf;
    return vf < port->vf_count ? (int)vf : -1;
}

// The lane of a transmit queue.
static inline struct nic_lane *nic_lane_of_queue(struct nic_port *port, unsigned queue)
{
    return &port->lane[port->lane_of_queue[queue]];
}

// The lane that the uplink's frames come in by.
static inline struct nic_lane *nic_lane_of_cable(struct nic_port *port)
{
    return &port->lane[port->lane_of_cable];
}

// The DMA port that a transmit queue's descriptors and buffers go through.
static inline struct dma_port *nic_dma_of_queue(struct nic_port *port, unsigned queue)
{
    int vf = nic_vf_of_queue(port, queue);

    return vf >= 0 ? port->vf_dma[vf] : port->pf_dma;
}

// That of a receive queue. The same, unless another worker may deliver while the function's own
// sends: then the function's second one.
static inline struct dma_port *nic_rx_dma_of_queue(struct nic_port *port, unsigned queue)
{
    return nic_dma_of_queue(port, queue) + port->shared;
}

// Before a worker touches the function of a receive queue; it then has that one and no other, until
// nic_rx_leave(), which comes before anything that may take long, and before it leaves the gate.
static inline void nic_rx_enter(struct nic_port *port, struct nic_lane *lane, unsigned queue)
{
    if (unlikely(port->shared))
        nic_rx_take(port, lane, queue);
}

static inline void nic_rx_leave(struct nic_port *port, struct nic_lane *lane)
{
    if (unlikely(port->shared))
        nic_rx_give(lane);
}

// One pool's registers to their reset values, its queues off. Gate closed. (queue.c)
void nic_pool_reset(struct nic_port *port, unsigned vf);

static_assert(NIC_WORKERS_MAX <= UPLINK_SENDERS_MAX, "each worker is a sender");

// --- control.c: the port as a whole --------------------------------------------------------------

// To reset values; `all`: also what survives a software reset. Gate closed.
void nic_port_reset(struct nic_port *port, bool all);
// The uplink's link may have changed: LINKS, and LSC to the PF where it did. Control thread.
void nic_port_link_poll(struct nic_port *port);
// VF Enable or GCR_EXT changed. Gate closed.
void nic_port_vfs_changed(struct nic_port *port);

#endif

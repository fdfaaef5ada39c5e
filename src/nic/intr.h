// SPDX-License-Identifier: BSD-3-Clause
// Interrupts of one function: causes, masks, allocation to MSI-X vectors, moderation (82599 §7.3).
// Causes come from workers (queues) and the control thread (mailbox, EICS writes, link); registers
// are read and written by the control thread: the words are atomics. Private to src/nic.
#ifndef VIREO_NIC_INTR_H
#define VIREO_NIC_INTR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "pci/function.h"

struct nic_port;

#define NIC_INTR_VECTORS_PF 64u
#define NIC_INTR_VECTORS_VF 3u

struct nic_intr {
    struct pci_function *fn;
    bool is_vf;
    unsigned vector_count;
    _Atomic uint64_t cause;   // EICR (PF: low 32 bits EICR; VF: VTEICR bits 0-2)
    _Atomic uint64_t mask;    // EIMS: set bits are enabled
    _Atomic uint64_t pending; // vectors that wait for moderation
    _Atomic uint32_t eitr_ns[NIC_INTR_VECTORS_PF];      // interval, 0: at once
    _Atomic uint64_t last_fired_ns[NIC_INTR_VECTORS_PF];
    _Atomic uint64_t raised_count; // messages
};

void nic_intr_init(struct nic_intr *intr, struct pci_function *fn, bool is_vf);
void nic_intr_reset(struct nic_intr *intr); // gate closed

// Worker: queue `queue` has something to tell (descriptors written back). Finds the function by
// pool, the vector by IVAR/VTIVAR (kept decoded, see nic_intr_allocation_changed), sets the cause,
// and raises the vector now or when its EITR interval is over.
void nic_intr_queue(struct nic_port *port, bool is_tx, unsigned queue, uint64_t now_ns);
// Fires what moderation held back and is due. Returns the next deadline (CLOCK_MONOTONIC ns), or
// UINT64_MAX. Worker, each batch and after each sleep.
uint64_t nic_intr_poll(struct nic_port *port, uint64_t now_ns);
// Control thread: a cause other than a queue (mailbox, link, software).
void nic_intr_cause(struct nic_port *port, struct nic_intr *intr, uint64_t cause_bits,
                    uint64_t now_ns);
// IVAR/VTIVAR/GPIE written: decode again. Gate closed.
void nic_intr_allocation_changed(struct nic_port *port);

#endif

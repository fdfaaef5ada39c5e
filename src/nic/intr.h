// SPDX-License-Identifier: BSD-3-Clause
// Interrupts of one function: causes, masks, allocation to MSI-X vectors, moderation (82599 §7.3).
// Causes come from workers (queues) and the control thread (mailbox, EICS writes, link); registers
// are read and written by the control thread: the words are atomics. Private to src/nic.
//
// Both threads may fire a vector. Whoever raises a cause sets it and then looks at the mask;
// whoever unmasks sets the mask and then looks at the causes; both with sequential consistency, so
// at least one of them sees the other. Where several do, auto-mask decides (one clears the bit), or
// the driver gets one message too many.
#ifndef VIREO_NIC_INTR_H
#define VIREO_NIC_INTR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "pci/function.h"

struct nic_port;

#define NIC_INTR_VECTORS_PF 64u
#define NIC_INTR_VECTORS_VF 3u
#define NIC_INTR_QUEUES     128u

struct nic_intr {
    struct pci_function *fn;
    bool is_vf;
    unsigned index; // VF number
    unsigned vector_count;
    // Causes and masks by vector. PF: RTxQ bits, EICR[15:0] and the extended registers; VF: VTEICR.
    _Atomic uint64_t cause, mask;
    // PF: the other causes, EICR[30:16], and their mask.
    _Atomic uint32_t other_cause, other_mask;
    _Atomic uint64_t auto_clear, auto_mask;        // EIAC, EIAM; VTEIAC, VTEIAM
    _Atomic uint64_t pending;                      // vectors that wait for moderation
    _Atomic uint32_t eitr_ns[NIC_INTR_VECTORS_PF]; // interval, 0: at once
    _Atomic uint64_t last_fired_ns[NIC_INTR_VECTORS_PF];
    _Atomic uint64_t raised_count; // messages
    // Which vector the causes that are no queue's go to: IVAR_MISC, VTIVAR_MISC.
    _Atomic uint8_t other_vector;
    _Atomic bool other_valid;
    uint32_t eitr[NIC_INTR_VECTORS_PF]; // EITR, VTEITR as written
    uint32_t vtivar[4], vtivar_misc;    // VF only
};

// Where queue interrupts go: decoded from IVAR and VTIVAR. Changes with the gate closed.
struct nic_intr_routes {
    struct {
        struct nic_intr *intr; // NULL: nowhere
        uint8_t vector;
    } queue[2][NIC_INTR_QUEUES];  // [is_tx]
    bool msix;                    // GPIE.Multiple_MSIX; else everything is vector 0
    bool auto_mask;               // GPIE.EIAME
    _Atomic uint64_t waiting_vfs; // VFs with pending vectors
};

void nic_intr_init(struct nic_intr *intr, struct pci_function *fn, bool is_vf, unsigned index);
void nic_intr_reset(struct nic_intr *intr); // gate closed

// Worker: queue `queue` has something to tell (descriptors written back). Finds the function by
// pool, the vector by IVAR/VTIVAR (kept decoded, see nic_intr_allocation_changed), sets the cause,
// and raises the vector now or when its EITR interval is over.
void nic_intr_queue(struct nic_port *port, bool is_tx, unsigned queue, uint64_t now_ns);
// Fires what moderation held back and is due. Returns the next deadline (CLOCK_MONOTONIC ns), or
// UINT64_MAX. Worker, each batch and after each sleep.
uint64_t nic_intr_poll(struct nic_port *port, uint64_t now_ns);
// Control thread: a cause other than a queue. PF: EICR bits (30:16); VF: the mailbox (bits
// ignored).
void nic_intr_cause(struct nic_port *port, struct nic_intr *intr, uint32_t cause_bits,
                    uint64_t now_ns);
// IVAR, VTIVAR, GPIE, GCR_EXT written or VFs changed: decode again. Gate closed.
void nic_intr_allocation_changed(struct nic_port *port);

// Register cycles of one function's causes and masks, by vector. Control thread.
void nic_intr_set_causes(struct nic_port *port, struct nic_intr *intr, uint64_t vectors,
                         uint64_t now_ns);
void nic_intr_unmask(struct nic_port *port, struct nic_intr *intr, uint64_t vectors,
                     uint64_t now_ns);
void nic_intr_set_eitr(struct nic_intr *intr, unsigned vector, uint32_t value);

// Register hooks (regs.c).
uint32_t nic_intr_eicr_read(struct nic_port *port, unsigned index);
void nic_intr_eicr_write(struct nic_port *port, unsigned index, uint32_t value);
uint32_t nic_intr_eics_read(struct nic_port *port, unsigned index);
void nic_intr_eics_write(struct nic_port *port, unsigned index, uint32_t value);
uint32_t nic_intr_eims_read(struct nic_port *port, unsigned index);
void nic_intr_eims_write(struct nic_port *port, unsigned index, uint32_t value);
void nic_intr_eimc_write(struct nic_port *port, unsigned index, uint32_t value);
void nic_intr_eiac_write(struct nic_port *port, unsigned index, uint32_t value);
void nic_intr_eiam_write(struct nic_port *port, unsigned index, uint32_t value);
uint32_t nic_intr_ex_cause_read(struct nic_port *port, unsigned index);
void nic_intr_eics_ex_write(struct nic_port *port, unsigned index, uint32_t value);
uint32_t nic_intr_eims_ex_read(struct nic_port *port, unsigned index);
void nic_intr_eims_ex_write(struct nic_port *port, unsigned index, uint32_t value);
void nic_intr_eimc_ex_write(struct nic_port *port, unsigned index, uint32_t value);
uint32_t nic_intr_eiam_ex_read(struct nic_port *port, unsigned index);
void nic_intr_eiam_ex_write(struct nic_port *port, unsigned index, uint32_t value);
uint32_t nic_intr_zero_read(struct nic_port *port, unsigned index);
void nic_intr_eitr_write(struct nic_port *port, unsigned index, uint32_t value);
void nic_intr_ivar_write(struct nic_port *port, unsigned index, uint32_t value);
void nic_intr_ivar_misc_write(struct nic_port *port, unsigned index, uint32_t value);
void nic_intr_gpie_write(struct nic_port *port, unsigned index, uint32_t value);

// Registers of a VF (vfwin.c): VTEICR and so on.
uint32_t nic_intr_vteicr_read(struct nic_intr *intr);
void nic_intr_vtivar_changed(struct nic_port *port);

#endif

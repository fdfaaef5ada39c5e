// SPDX-License-Identifier: BSD-3-Clause
// Functions and segments as the files of this room share them. Private to src/pci.
#ifndef VIREO_PCI_STATE_H
#define VIREO_PCI_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/dma.h"
#include "pci/access.h"
#include "pci/function.h"
#include "pci/irq.h"
#include "pci/space.h"

#define PCI_BARS 6u
#define PCI_RIDS 65536u

// Offsets and bits of the type 0 header (PCI 3.0 §6.1) and of the capabilities that more than one
// file here needs.
#define PCI_HDR_COMMAND 0x04u
#define PCI_HDR_BAR0    0x10u
#define PCI_CMD_IO      0x0001u
#define PCI_CMD_MEMORY  0x0002u
#define PCI_CMD_MASTER  0x0004u

struct pci_bar {
    bool present;
    enum pci_bar_kind kind;
    uint64_t size_bytes; // VF: of one VF, before rounding to the System Page Size
};

struct pci_sriov {
    struct pci_sriov_info info;
    struct pci_function **vfs; // info.total_vfs of them, not owned
    unsigned offset;           // of the capability
    unsigned num_vfs;          // that exist: NumVFs while VF Enable is set, else 0
};

struct pci_function {
    struct pci_segment *seg;   // NULL: not on a segment
    struct pci_function *next; // on the segment's list; PFs and plain functions only
    struct pci_function *pf;   // NULL: not a VF
    rid_t rid;                 // VF: of the last VF Enable
    char *name;
    struct pci_function_ops ops;
    void *dev;
    struct pci_space space;
    unsigned cap_offset[PCI_OWNER_COUNT]; // 0: not there
    unsigned last_cap, last_extcap;       // to link the next one to
    struct pci_bar bars[PCI_BARS];        // VF: from the PF's capability; none in its own header
    struct pci_irq irq;
    struct pci_sriov *sriov; // NULL: none
    uint8_t *vpd;
    uint32_t vpd_len_bytes;
    struct dma_port dma[PCI_DMA_PORTS];
};

struct pci_segment {
    struct gate *gate;
    const struct dma_port_ops *dma_ops;
    void *dma_ctx;
    const dma_generation_t *generation;
    struct pci_interrupt_sink sink;
    struct pci_function *functions;        // PFs and plain functions, by RID
    struct pci_function *by_rid[PCI_RIDS]; // whatever answers configuration cycles
};

// A configuration write to one dword, as the code that owns the dword sees it.
struct pci_config_cycle {
    unsigned rel;     // the dword's offset in the capability
    uint32_t old;     // before
    uint32_t new;     // what the masks made of it, and then what the dword has become
    uint32_t written; // the value on the bus, zero in bytes that are not enabled
    uint32_t enable;  // ff for each byte that is
};

// function.c
uint32_t pci_function_config_read(struct pci_function *fn, uint32_t offset, unsigned len);
void pci_function_config_write(struct pci_function *fn, uint32_t offset, unsigned len,
                               uint32_t value);
uint64_t pci_function_bar_read(struct pci_function *fn, unsigned bar, uint64_t offset,
                               unsigned len);
void pci_function_bar_write(struct pci_function *fn, unsigned bar, uint64_t offset, unsigned len,
                            uint64_t value);
uint64_t pci_function_bar_base(const struct pci_function *fn, unsigned bar);
// Config space, interrupts, DMA ports, then the device model's own state. Closes the gate itself. A
// PF's VFs cease to exist first.
void pci_function_reset(struct pci_function *fn, enum pci_reset kind);
// The DMA ports issue as `rid` from now on, with nothing cached.
void pci_function_dma_init(struct pci_function *fn, rid_t rid, const struct pci_segment *seg);
// Memory cycles may be claimed: Memory Space Enable (a VF has its PF's VF MSE) and D0.
bool pci_function_in_d0(const struct pci_function *fn);
// Command register or power state changed: tells DMA ports, interrupts and device model.
void pci_function_update_master(struct pci_function *fn);

// sriov.c: see the owner table in function.c.
uint32_t pci_sriov_filter(struct pci_function *fn, const struct pci_config_cycle *cycle);
void pci_sriov_written(struct pci_function *fn, const struct pci_config_cycle *cycle);
void pci_sriov_disable(struct pci_function *fn); // gate closed
// What in the capability follows other state: after a reset, and when a PF joined the device.
void pci_sriov_refresh(struct pci_function *fn);
bool pci_sriov_memory_enabled(const struct pci_function *fn);
uint64_t pci_sriov_bar_base(const struct pci_function *fn, unsigned bar);
// Distance of VF n's BAR from VF n+1's: the size rounded up to the System Page Size.
uint64_t pci_sriov_bar_stride(const struct pci_function *fn, unsigned bar);
// RID of VF n under the First VF Offset and VF Stride in force.
rid_t pci_sriov_rid(const struct pci_function *fn, unsigned n);

// capability.c: turns a function's header and capabilities into a VF's (PCIe §9.3.4).
void pci_function_make_vf(struct pci_function *vf);
void pci_vpd_written(struct pci_function *fn, const struct pci_config_cycle *cycle);
unsigned pci_extcap_claim(struct pci_function *fn, unsigned offset, unsigned id, unsigned version,
                          unsigned len, enum pci_owner owner);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// The host's interrupt controller: every MSI message that a function of the segment sends is an
// index into one table, and ends as a signal on an eventfd. As with VT-d's interrupt remapping a
// message counts only when it comes from the requester ID that the entry was given to.
// Threads: the control thread changes entries with the gate closed; any worker raises.
#ifndef VIREO_HOST_IRQ_H
#define VIREO_HOST_IRQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "host/signal.h"
#include "mem/address.h"
#include "mem/gate.h"
#include "pci/access.h"

#define HOST_IRQS_MAX       512u
#define HOST_IRQ_ADDRESS    0xfee00000u // where every entry's message is written; data = its index
#define HOST_MSIX_ENTRY_LEN 16u

struct host_irq_table {
    struct gate *gate;
    struct host_signal sender;
    struct {
        bool used;
        rid_t rid;
        int fd;                  // -1: armed by nobody, the message is lost
        _Atomic uint64_t raised; // signals sent
    } entry[HOST_IRQS_MAX];
    _Atomic uint64_t stray; // messages that no entry takes
};

void host_irq_init(struct host_irq_table *table, struct gate *gate);
void host_irq_fini(struct host_irq_table *table); // nothing raises any more
// The sink for pci_segment_set_interrupt_sink(); ctx is the table.
void host_irq_raise(void *ctx, rid_t rid, unsigned vector, uint64_t addr, uint32_t data);

// `count` entries in a row for `rid`: the first index, or -ENOSPC.
int host_irq_alloc(struct host_irq_table *table, rid_t rid, unsigned count);
void host_irq_free(struct host_irq_table *table, unsigned first, unsigned count);
// Points an entry at `fd`, an eventfd (-1: at nothing), which stays the caller's and must stay open
// while set. A peer may hold it too, with its flags and its count: a raise does not block.
void host_irq_set_fd(struct host_irq_table *table, unsigned index, int fd);
uint64_t host_irq_raised(const struct host_irq_table *table, unsigned first, unsigned count);

// Programs MSI-X of function `rid` as an OS does: entries [0, count) of the table at bus address
// `table_addr` get the messages of irq entries first…first+count-1, unmasked, the rest are masked;
// then MSI-X Enable at config offset `cap` is set. count 0 clears MSI-X Enable.
void host_irq_program_msix(struct pci_segment *seg, rid_t rid, uint32_t cap, uint64_t table_addr,
                           unsigned first, unsigned count);

#endif

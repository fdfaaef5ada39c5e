// SPDX-License-Identifier: BSD-3-Clause
// The card: an Intel 82599 with one or two ports, each a PF with up to 63 usable VFs (64 in its
// SR-IOV capability), an embedded switch between its pools, and an uplink. Public face of the room;
// everything else in src/nic is private to it.
// Threads: control thread, except the workers themselves.
#ifndef VIREO_NIC_NIC_H
#define VIREO_NIC_NIC_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/gate.h"
#include "pci/access.h"
#include "uplink/uplink.h"

#define NIC_PORTS_MAX   2u
#define NIC_VFS_MAX     64u  // TotalVFs in the capability
#define NIC_QUEUES_MAX  128u // queue pairs a port
#define NIC_MAC_LEN     6u
#define NIC_WORKERS_MAX 8u

enum nic_doorbells {
    NIC_DOORBELLS_TRAPPED, // each tail write is a register cycle: exact semantics, no CPU when idle
    NIC_DOORBELLS_MAPPED,  // VF BAR0 pages 1 and 2 are memory that the worker polls
};

struct nic_port_config {
    uint8_t mac[NIC_MAC_LEN]; // goes to the EEPROM
    struct uplink *uplink;    // owned by the caller, outlives the card
    enum nic_doorbells vf_doorbells[NIC_VFS_MAX];
};

struct nic_card_config {
    unsigned port_count; // 1…NIC_PORTS_MAX
    struct nic_port_config port[NIC_PORTS_MAX];
    uint8_t bus;     // the PFs become bus:00.0 and bus:00.1
    uint64_t serial; // Device Serial Number
};

struct nic_card;
struct nic_worker;

// Builds the functions and puts the PFs on `seg`. 0, -EINVAL (no uplink, a MAC that is zero or a
// group address, a count or kind out of range), -ENOMEM, -EEXIST (a PF's place is taken), or -errno
// of what mapped doorbells need.
int nic_card_create(const struct nic_card_config *config, struct pci_segment *seg,
                    struct gate *gate, struct nic_card **out);
void nic_card_destroy(struct nic_card *card); // no worker may be left
// Looks whether an uplink's link came up or went down, and tells the PF (LINKS, and the link change
// cause). Whoever runs the card calls it about once a second; a read of LINKS or VFLINKS looks too.
void nic_card_poll_links(struct nic_card *card);

// A worker runs queues and uplinks of the card to completion in bounded batches: all of them, or,
// as number `index` of `count` (1 … NIC_WORKERS_MAX), its share: functions are dealt out by number.
// All are created before the first runs. 0, -EINVAL, -ENOMEM, or -errno. nic_worker_start() gives
// it a thread of its own; without that, call nic_worker_poll() (embedded use and tests; the calling
// thread must be outside the gate).
int nic_worker_create(struct nic_card *card, unsigned index, unsigned count,
                      struct nic_worker **out);
int nic_worker_start(struct nic_worker *worker);
void nic_worker_destroy(struct nic_worker *worker); // stops the thread if there is one
// One bounded round over everything that has work. Returns frames moved, 0 when idle.
unsigned nic_worker_poll(struct nic_worker *worker);

struct nic_worker_counts {
    uint64_t batches, idle_batches, wakeups, sleeps;
    uint64_t slept_ns;
    uint64_t frames;
    uint64_t waits;      // a queue had to wait for a receiver's ring
    uint64_t untold;     // one went on only because it looked again by itself: 0, or a bug
    uint64_t lock_waits; // another worker had the receiver: 0 where there is one worker
};
// Adds this worker's to *sum.
void nic_worker_counts_add(const struct nic_worker *worker, struct nic_worker_counts *sum);

// How a worker with mapped doorbells backs off: so many rounds in a row that find nothing are
// `sleep_ns` apart, then comes the next step. The last one lasts until there is work (rounds 0).
struct nic_backoff_step {
    const char *name; // "10us"
    unsigned rounds;
    uint64_t sleep_ns;
    // Rounds look at the VFs that rang lately, and at so many of the others, in turn.
    unsigned others;
};
bool nic_worker_backoff_step(unsigned index, struct nic_backoff_step *out); // false: there is none

// Everything the card counts for one function, whatever a guest did to its statistics registers.
// 64-bit, since the card was created. `vf` -1: the PF's own pool.
struct nic_function_counts {
    uint64_t rx_frames, rx_bytes, rx_multicast_frames, tx_frames, tx_bytes;
    uint64_t rx_no_descriptor_drops; // ring was full
    uint64_t rx_fault_drops;         // the IOMMU refused the buffer or descriptor
    uint64_t tx_fault_drops;
    uint64_t tx_spoof_drops;     // source MAC or VLAN that the function may not use
    uint64_t tx_malformed_drops; // descriptors that make no sense
    uint64_t interrupts;         // MSI-X messages raised
    uint64_t mailbox_to_pf, mailbox_from_pf;
    uint64_t odd_register_cycles; // to offsets where nothing is, or narrower than a register
    // Register cycles of a VF's driver that reached the card, by what they are for: each is a
    // message where the driver is in a VM. 0 for the PF.
    uint64_t doorbell_cycles;   // VFRDT, VFTDT
    uint64_t interrupt_cycles;  // causes and masks
    uint64_t moderation_cycles; // VTEITR
    uint64_t mailbox_cycles;    // VFMAILBOX, VFMBMEM
    uint64_t other_cycles;
};
// 0, or -EINVAL: no such port or VF.
int nic_function_counts_get(const struct nic_card *card, unsigned port, int vf,
                            struct nic_function_counts *out);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// Mapped doorbells: pages 1 and 2 of a VF's BAR0 (receive and transmit queue registers) as memory
// that the guest writes without a message and the worker polls. These pages are guest memory: the
// authoritative state stays in regs[] and the queues; what is here is a request to be sampled, and
// a place where heads and statistics are published.
// Deviation: no register semantics. Write masks do not hold; ENABLE reads back as written before
// the card has seen it; 1→0→1 between two samples is seen only where the ring's base or length is
// another, or the head is not the one that was last published; heads and statistics may be
// NIC_DOORBELL_PUBLISH_MS old while there is traffic (but not when a cycle to page 0 is answered).
// Who is looked at when: watch.h. Private to src/nic.
#ifndef VIREO_NIC_DOORBELL_H
#define VIREO_NIC_DOORBELL_H

#include <stdbool.h>
#include <stdint.h>

struct nic_lane;
struct nic_port;
struct nic_doorbell_pages; // owns the memfd

#define NIC_DOORBELL_BAR_OFFSET 0x1000u
#define NIC_DOORBELL_LEN_BYTES  0x2000u
#define NIC_DOORBELL_PUBLISH_MS 10u // how old published heads and statistics may be
#define NIC_DOORBELL_QUEUES_MAX 8u  // queue pairs that the pages have room for

int nic_doorbell_create(struct nic_doorbell_pages **out); // 0, -errno
void nic_doorbell_destroy(struct nic_doorbell_pages *pages);
// The file, sealed against shrinking. It is laid out as the BAR is (a region and its mappable areas
// share one file offset in vfio-user), so the pages lie at NIC_DOORBELL_BAR_OFFSET.
int nic_doorbell_fd(const struct nic_doorbell_pages *pages);

// Worker: looks at the VF's rings of one kind that are on, or at all that it has. True where the
// guest has changed anything. That is applied at once, to regs[] too (the worker owns the queue
// state, no gate needed here); queues with a new tail are ready in their lane.
bool nic_doorbell_look_tx(struct nic_port *port, unsigned vf);
bool nic_doorbell_look_rx(struct nic_port *port, unsigned vf);
bool nic_doorbell_look_all(struct nic_port *port, unsigned vf);
// Worker: one receive ring, before a frame is lost for want of it. What a guest wrote before the
// frame was sent has reached a card by then; here it may not have been looked at yet. Another
// worker's ring: only its tail, so that where there are several, a ring that has just been started
// may lose what others' VFs send it until its own worker comes by. Gives the receiver's lock back
// or keeps it: nic_rx_enter() again.
void nic_doorbell_look_again(struct nic_port *port, struct nic_lane *lane, unsigned queue);
// Worker: asks for what nic_doorbell_look_all() will read of a VF: after a sleep little of it is in
// the cache. First for what the card keeps, then, with that, for the pages.
void nic_doorbell_ask_state(const struct nic_port *port, unsigned vf);
void nic_doorbell_ask_pages(const struct nic_port *port, unsigned vf);
// Worker: heads and statistics into the pages, if anything was counted since.
void nic_doorbell_report(struct nic_port *port, unsigned vf);
// Gate closed: applies everything that the guest has written so far, and publishes; wakes workers
// that have something to do for it. Control thread,
// before any access to page 0 is answered that has to do with queues (not interrupts' causes, masks
// and moderation), and before VFCTRL.RST, FLR, bus-master off.
void nic_doorbell_sample(struct nic_port *port, unsigned vf);
// Gate closed: the pages become what regs[], the queues and the counters say: after a VF reset, or
// when the pool layout changes.
void nic_doorbell_publish(struct nic_port *port, unsigned vf);

#endif

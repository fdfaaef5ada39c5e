// SPDX-License-Identifier: BSD-3-Clause
// Receive queues: one or several buffers a packet, advanced and legacy descriptors (82599 §7.1).
// Deviation: no header split; with SRRCTL.DESCTYPE 2 and 5 each packet goes whole into the packet
// buffers, as the hardware does with headers that it does not know. No receive side coalescing.
// Deviation: frames from another pool are spread by RSS and get checksum verdicts too, where the
// card made the checksums (nic_packet_frame()); the 82599 does neither for them. A driver sees the
// same bits as for frames from the cable.
// Private to src/nic.
#ifndef VIREO_NIC_RXQ_H
#define VIREO_NIC_RXQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <endian.h>

#include "hw82599/desc.h"
#include "mem/dma.h"
#include "nic/frame.h"

struct nic_lane;
struct nic_port;

#define NIC_RX_DESC_MAX 12u // descriptors a packet: NIC_FRAME_LEN_MAX, tag and FCS in 1 KiB buffers

// What was delivered to a queue since the last nic_rxq_flush(): the worker's, empty between polls.
// Descriptors are written back a cache line at a time, so that a line changes hands between the
// cores once for its four frames; frames are counted once.
#define NIC_RX_PENDING_MAX 4u

// A descriptor as it lies in memory, and as the card writes it.
union nic_rx_desc {
    uint64_t words[2];
    struct hw_rx_read_desc read;
};

struct nic_rx_words {
    uint64_t low, high;
};

struct nic_rx_batch {
    union nic_rx_desc *run; // descriptors [run_first, run_end), as far as one translation has them
    uint32_t run_first, run_end;
    uint32_t pending_first, pending_count; // filled, not yet written back; all in `run`
    struct nic_rx_words pending[NIC_RX_PENDING_MAX];
    uint32_t frames, multicast_frames;
    uint64_t bytes;
};

struct nic_rxq {
    _Atomic uint32_t tail; // last tail written; checked on use
    _Atomic uint32_t head; // next descriptor to fill: written by the worker while enabled
    bool enabled;
    bool faulted;        // descriptors could not be reached: stopped until enabled anew
    bool legacy;         // SRRCTL.DESCTYPE 0
    bool strip_vlan;     // RXDCTL.VME
    bool drop;           // SRRCTL.Drop_En or `drop_pf`: a full ring drops
    bool drop_pf;        // PFQDE: the PF's say, see nic_rxq_set_drop()
    uint32_t desc_count; // ring length, multiple of 8
    uint32_t
        buffer_bytes; // SRRCTL.BSIZEPACKET, 1 KiB units → bytes; 0 is not valid: all is dropped
    iova_t base;
    struct nic_rx_batch batch;
};

// Gate closed, or the worker itself. RXDCTL or SRRCTL was written: RXDCTL.ENABLE newly set: takes
// base, length and head from the registers, and starts; newly cleared: stops; still set: takes over
// what may change in between (VME, Drop_En). Returns whether the queue runs: it stays off where the
// length is zero or the head lies past the end.
bool nic_rxq_control(struct nic_port *port, unsigned queue);
void nic_rxq_disable(struct nic_port *port, unsigned queue);
// Disabled, head, tail and the PF's drop enable 0: reset of the port or of a VF. Gate closed.
void nic_rxq_reset(struct nic_port *port, unsigned queue);
// A trapped doorbell. Control thread; gate open or closed. Wakes senders that wait for this ring.
void nic_rxq_set_tail(struct nic_port *port, unsigned queue, uint32_t tail);
// PFQDE written for this queue. Gate closed. Reads it back: nic_rxq.drop_pf.
void nic_rxq_set_drop(struct nic_port *port, unsigned queue, bool drop);

enum nic_rx_result {
    NIC_RX_DONE,
    NIC_RX_DROPPED, // counted
    NIC_RX_WAIT,    // ring full, and the queue says not to drop
};
// Worker: copies a parsed `frame` into pool `pool`: picks the queue by RSS, and leaves the rest to
// nic_rxq_flush(). Frames from the
// cable never get NIC_RX_WAIT: they are dropped and counted, since a wait would hold back
// everybody.
enum nic_rx_result nic_rxq_deliver(struct nic_port *port, unsigned pool,
                                   const struct nic_frame *frame);
// A run of frames to one queue, each whole into one buffer, in advanced descriptors: what the
// express lane fills by itself.
struct nic_rx_run {
    union nic_rx_desc *desc; // the ring from index `head` on
    uint32_t head;
    uint32_t room; // descriptors that may be filled, all in one run here, none past the ring's end
    uint32_t len_max; // longest frame
    struct dma_port *dma;
    struct nic_lane *lane; // who fills it
};

// Takes the ring for a run. False, with nothing done, where there is no room, or the queue is not
// one for runs: nic_rxq_deliver() knows what to do then. Never walks, never faults.
bool nic_rxq_run_begin(struct nic_port *port, struct nic_lane *lane, unsigned queue,
                       struct nic_rx_run *run);
// Gives it back, with the first `frames` descriptors written back (nic_rx_write_back()), and
// counts.
void nic_rxq_run_end(struct nic_port *port, unsigned queue, struct nic_rx_run *run, uint32_t frames,
                     uint64_t bytes);

// After nic_rxq_run_begin() said no: drops and counts `count` frames of one descriptor each, as
// nic_rxq_deliver() would. False, with nothing done, where it would not: none may be longer than
// the port takes.
bool nic_rxq_run_drop(struct nic_port *port, struct nic_lane *lane, unsigned queue, uint32_t count);

static inline void nic_rx_write_back(union nic_rx_desc *desc, struct nic_rx_words words)
{
    __atomic_store_n(&desc->words[0], htole64(words.low), __ATOMIC_RELAXED);
    // Status and length in one store: some drivers look at DD first, some at the length. Release:
    // pairs with the driver's read barrier behind that look.
    __atomic_store_n(&desc->words[1], htole64(words.high), __ATOMIC_RELEASE);
}

// Writes back and counts what the lane delivered, in all queues of the port. Before the worker's
// next gate_poll(), and before it looks at a ring's registers.
void nic_rxq_flush(struct nic_port *port, struct nic_lane *lane);

#endif

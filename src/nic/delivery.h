// SPDX-License-Identifier: BSD-3-Clause
// Delivery of many frames in a row, each whole into one buffer of one receiver: the receiver's ring
// is taken for a run of them (nic_rxq_run_begin()), and given back after it. Private to src/nic.
#ifndef VIREO_NIC_DELIVERY_H
#define VIREO_NIC_DELIVERY_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"
#include "mem/dma.h"
#include "nic/copy.h"
#include "nic/rxq.h"

#define NIC_DELIVERY_AHEAD 8u // descriptors whose buffers are asked for

struct nic_delivery {
    struct nic_port *port;
    struct nic_lane *lane; // who delivers
    struct nic_rx_run rx;  // rx.room 0 while no ring is taken
    struct dma_run to;     // where its buffers are
    unsigned queue;
    uint32_t filled; // of rx.room
    uint64_t bytes;
    struct nic_rx_words pending[NIC_RX_PENDING_MAX]; // of the current line of descriptors
};

// All of a buffer, where one run of pages has it; else NULL. *run is what was found last.
static inline uint8_t *nic_delivery_at(const struct dma_port *dma, struct dma_run *run,
                                       uint64_t iova, uint32_t len_bytes, enum dma_access access)
{
    uint8_t *p = dma_run_at(run, iova, len_bytes);

    if (unlikely(!p && dma_run_find(dma, iova, access, run)))
        p = dma_run_at(run, iova, len_bytes);
    return p;
}

// Writes back the last `count` descriptors that were filled, all of one line.
static inline void nic_delivery_write_back(const struct nic_delivery *d, uint32_t count)
{
    for (uint32_t n = d->filled - count; n < d->filled; n++)
        nic_rx_write_back(d->rx.desc + n, d->pending[(d->rx.head + n) % NIC_RX_PENDING_MAX]);
}

// Gives the ring back. Before anybody else looks at it, and before the lane delivers elsewhere.
static inline void nic_delivery_leave(struct nic_delivery *d)
{
    uint32_t line = (d->rx.head + d->filled) % NIC_RX_PENDING_MAX;

    if (d->rx.room) {
        nic_delivery_write_back(d, d->filled < line ? d->filled : line);
        nic_rxq_run_end(d->port, d->queue, &d->rx, d->filled, d->bytes);
    }
    d->rx.room = d->filled = 0;
    d->bytes = 0;
    d->to = (struct dma_run){0}; // another receiver's memory is another matter
}

// Asks for what the frames after this one will be written to. Descriptors that the guest has not
// filled yet are only a bad guess.
static inline void nic_delivery_prefetch(const struct nic_delivery *d)
{
    const union nic_rx_desc *desc = d->rx.desc + d->filled + NIC_DELIVERY_AHEAD;
    const uint8_t *dst;

    if (d->filled + NIC_DELIVERY_AHEAD >= d->rx.room)
        return;
    if ((d->rx.head + d->filled) % NIC_RX_PENDING_MAX == 0)
        nic_prefetch_write(desc + NIC_DELIVERY_AHEAD);
    dst = dma_run_at(&d->to, le64toh(__atomic_load_n(&desc->words[0], __ATOMIC_RELAXED)), 1);
    if (dst) {
        nic_prefetch_write(dst);
        nic_prefetch_write(dst + NIC_LINE_BYTES);
    }
}

// The next buffer of a queue, for a frame of `len_bytes`. NULL, with nothing done that would show,
// where there is none that takes all of it: the general way knows what to do then.
static inline uint8_t *nic_delivery_buffer(struct nic_delivery *d, unsigned queue,
                                           uint32_t len_bytes)
{
    if (unlikely(d->filled == d->rx.room || d->queue != queue)) {
        nic_delivery_leave(d);
        d->queue = queue;
        if (!nic_rxq_run_begin(d->port, d->lane, queue, &d->rx))
            return NULL;
    }
    if (unlikely(len_bytes > d->rx.len_max))
        return NULL;
    nic_delivery_prefetch(d);
    // Read once: the guest may write it meanwhile.
    return nic_delivery_at(
        d->rx.dma, &d->to,
        le64toh(__atomic_load_n(&d->rx.desc[d->filled].words[0], __ATOMIC_RELAXED)), len_bytes,
        DMA_WRITE);
}

// That buffer has its frame: the descriptor's two words, without the length. Counts its bytes.
static inline void nic_delivery_fill(struct nic_delivery *d, uint64_t low, uint64_t high,
                                     uint32_t len_bytes)
{
    uint32_t at = (d->rx.head + d->filled) % NIC_RX_PENDING_MAX;

    d->pending[at] = (struct nic_rx_words){low, high | (uint64_t)len_bytes << 32};
    d->filled++;
    d->bytes += len_bytes;
    // A line at a time; the first of a run may be in part another's.
    if (at == NIC_RX_PENDING_MAX - 1)
        nic_delivery_write_back(d, d->filled < NIC_RX_PENDING_MAX ? d->filled : NIC_RX_PENDING_MAX);
}

#endif

// SPDX-License-Identifier: BSD-3-Clause
// What the stages of the express lane (express.c) hand on to each other, for up to
// NIC_EXPRESS_BATCH frames at once. Private to it.
//
//   stage      what it fills in, for each frame
//   decode     data, len: where the descriptor says that it lies
//   find       head, queue, words: a private copy of its first bytes, and what becomes of it
//   assign     dst, and in struct nic_express_receiver the words: a buffer of the receiver's
//   copy       the buffer
//   hand over  the receiver's descriptors
#ifndef VIREO_NIC_EXPRESS_BATCH_H
#define VIREO_NIC_EXPRESS_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/dma.h"
#include "nic/express.h"
#include "nic/rxq.h"

#define NIC_EXPRESS_BATCH    32u // frames
#define NIC_EXPRESS_HEAD_LEN NIC_EXPRESS_KEY_LEN

// Commands and options of a descriptor in one word, and what they are where the card has to do
// nothing but to send one buffer.
#define NIC_EXPRESS_PLAIN_MASK                                                                     \
    (HW_TXD_DEXT | HW_TXD_TYPE_MASK | HW_TXD_EOP | HW_TXD_TSE | HW_TXD_VLE |                       \
     (uint64_t)(HW_TXO_IXSM | HW_TXO_TXSM) << 32)
#define NIC_EXPRESS_PLAIN_WORD (HW_TXD_DEXT | HW_TXD_TYPE_DATA | HW_TXD_EOP)

// Shorter frames are few, and their heads are not all there.
#define NIC_EXPRESS_LEN_MIN NIC_EXPRESS_HEAD_LEN

struct nic_express_batch {
    // What is checked of a frame, and delivered: read once.
    _Alignas(64) uint8_t head[NIC_EXPRESS_BATCH][NIC_EXPRESS_HEAD_LEN];
    const uint8_t *data[NIC_EXPRESS_BATCH]; // the sender's
    uint8_t *dst[NIC_EXPRESS_BATCH];        // the receiver's
    uint32_t len[NIC_EXPRESS_BATCH];
    uint16_t queue[NIC_EXPRESS_BATCH]; // the receiver
    struct nic_rx_words words[NIC_EXPRESS_BATCH];
};

// A receive ring that was taken for the run (nic_rxq_run_begin()).
struct nic_express_receiver {
    struct nic_rx_run rx;
    struct dma_run to; // where its buffers are
    unsigned queue;
    uint32_t filled;  // descriptors that have a frame; of those:
    uint32_t written; // given back to the guest
    uint64_t bytes;
    // Of descriptors [written, filled).
    struct nic_rx_words words[NIC_EXPRESS_BATCH + NIC_RX_PENDING_MAX];
};

#endif

// SPDX-License-Identifier: BSD-3-Clause
// What the stages of the express lane hand on to each other (express.c), for up to
// NIC_EXPRESS_BATCH frames at once, and the kernels that do a stage for several of them in one
// instruction where the processor can (express_avx512.c). Private to those.
//
//   stage      what it fills in, for each frame
//   decode     data, len: where the descriptor says that it lies
//   find       head, queue, words: a private copy of its first bytes, and what becomes of it
//   assign     dst, and in struct nic_express_receiver the words: a buffer of the receiver's
//   copy       the buffer
//   hand over  the receiver's descriptors
#ifndef VIREO_NIC_EXPRESS_BATCH_H
#define VIREO_NIC_EXPRESS_BATCH_H

#include <endian.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bits.h"
#include "mem/dma.h"
#include "nic/express.h"
#include "nic/path.h"
#include "nic/rxq.h"

#define NIC_EXPRESS_BATCH    32u // frames
#define NIC_EXPRESS_HEAD_LEN NIC_PATH_KEY_LEN

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

// Frame `i`, its head taken, is on this path: what becomes of it, by value, since the next frame of
// the batch may need the path's place. `l3`: of the head taken, what nic_path_check_ip() looks at.
// False where that is not the path's to tell.
static inline bool nic_express_decide(struct nic_express_batch *b, uint32_t i,
                                      const struct nic_path *path, const uint8_t *l3)
{
    uint32_t status = path->rx_status, l3_end;

    if (path->ip_version && unlikely(!nic_path_check_ip(path, l3, b->len[i], &status, &l3_end)))
        return false;
    b->queue[i] = path->queue;
    b->words[i] = (struct nic_rx_words){path->rx_low, status | (uint64_t)b->len[i] << 32};
    return true;
}

// Each does its stage for frames `first` … `end` - 1 (all of them valid in what the stages before
// fill in), up to one that is not as most are, and returns that one's index: the plain way, which
// has the same outcome, takes over for that frame.
struct nic_express_kernels {
    uint32_t (*decode)(struct nic_express_batch *b, const struct dma_run *from,
                       const struct hw_tx_data_desc *desc, uint32_t first, uint32_t end);
    // As long as they are on this path.
    uint32_t (*find)(struct nic_express_batch *b, const struct nic_path *path, uint32_t first,
                     uint32_t end);
    // As long as they go to this receiver.
    uint32_t (*assign)(struct nic_express_batch *b, struct nic_express_receiver *to, uint32_t first,
                       uint32_t end);
    void (*copy)(const struct nic_express_batch *b, uint32_t first, uint32_t end);
    // `count` descriptors, from the first of a cache line on; whole lines.
    void (*hand_over)(union nic_rx_desc *desc, const struct nic_rx_words *words, uint32_t count);
};

// ThreadSanitizer cannot see that a vector store releases what was stored before.
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#if !defined(__has_feature)
#define NIC_EXPRESS_AVX512
#elif !__has_feature(thread_sanitizer)
#define NIC_EXPRESS_AVX512
#endif
#endif

#ifdef NIC_EXPRESS_AVX512
extern const struct nic_express_kernels nic_express_avx512;
bool nic_express_avx512_usable(void);
#endif

#endif

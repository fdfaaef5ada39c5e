// SPDX-License-Identifier: BSD-3-Clause
// User-space VF driver for the 82599: poll mode, batches, zero copy from a pool of registered
// buffers. Meant to be read and copied: it has one page of init, one of receive, one of transmit.
// Threads: one a driver.
#ifndef VIREO_DRIVER_VF_H
#define VIREO_DRIVER_VF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/bus.h"

#define VF_QUEUES_MAX        2u
#define VF_FRAME_BUFFERS_MAX 40u // buffers a frame to send (82599 §7.2)
#define VF_MULTICAST_MAX     30u // what one mailbox message holds

struct vf_config {
    unsigned queue_count;  // 1…VF_QUEUES_MAX pairs (the PF may allow fewer)
    unsigned ring_len;     // descriptors a ring: multiple of 8, 64…4096
    unsigned buffer_count; // in the pool: at least queue_count × ring_len + what the caller holds
    unsigned buffer_bytes; // 2048…16384, multiple of 1024
    unsigned frame_bytes_max;  // largest frame without FCS and VLAN tag: 1514 … 9710
    bool interrupts;           // else poll only
    unsigned reset_timeout_ms; // wait for the PF: 0 means 1000
    // A VF of the same thread whose pool this one uses too, so that what one received the other
    // sends from where it lies; NULL: a pool of its own. Both buses reach that pool at the same
    // IOVAs (driver_bus_vfiouser_join()), and the first one's stays open until both are closed.
    // buffer_count, for both, and buffer_bytes are then that VF's.
    struct vf_driver *pool_of;
};

#define VF_BUFFER_ALIGN_BYTES 64u // a cache line

// One buffer of the pool. data = start of the frame: whoever sends may move it, with iova, within
// the card's memory; the next owner finds it at the buffer's start again.
struct vf_buffer {
    _Alignas(VF_BUFFER_ALIGN_BYTES) uint8_t *data;
    uint64_t iova;                  // of data
    uint16_t len_bytes;             // of this buffer
    uint16_t vlan;                  // rx: stripped tag where flag is set; tx: tag to insert
    uint16_t flags;                 // VF_RX_*, VF_TX_*
    uint16_t mss;                   // tx with VF_TX_TSO: payload bytes a segment
    uint8_t l2_len, l3_len, l4_len; // tx with checksum or TSO: header lengths in bytes
    uint8_t reserved;
    uint32_t rss_hash;      // rx
    struct vf_buffer *next; // more of the same frame; flags and vlan count in the first
    uint32_t index;         // 0 … buffer_count - 1, this and below the pool's own
    uint8_t *start;
    uint64_t start_iova;
};

// The first three are numbered as the card numbers them in a descriptor's status.
enum {
    VF_RX_VLAN = 1 << 3, // `vlan` holds the stripped tag
    VF_RX_L4_CSUM_OK = 1 << 5,
    VF_RX_IP_CSUM_OK = 1 << 6,
    VF_RX_CSUM_BAD = 1 << 7,
    VF_TX_VLAN = 1 << 8,
    VF_TX_IP_CSUM = 1 << 9,   // IPv4 header checksum
    VF_TX_TCP_CSUM = 1 << 10, // the pseudo-header sum must be in the field (82599 §7.2.5)
    VF_TX_UDP_CSUM = 1 << 11,
    VF_TX_TSO = 1 << 12,  // implies TCP checksum
    VF_TX_IPV6 = 1 << 13, // else IPv4, where a checksum or TSO is asked
};

// Numbers as in the mailbox message (enum hw_xcast_mode).
enum vf_receive_mode {
    VF_RECEIVE_BROADCAST = 0,     // broadcast alone
    VF_RECEIVE_GROUPS = 1,        // and the groups of vf_driver_set_multicast(): the default
    VF_RECEIVE_ALL_MULTICAST = 2, // and every multicast frame
    VF_RECEIVE_PROMISCUOUS = 3,   // and frames to MACs that no VF has
};

// Frames and bytes since open; bytes without FCS and without tags that the card strips or inserts.
struct vf_stats {
    uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes;
    uint64_t rx_errors;    // frames that the card marked as bad
    uint64_t rx_no_buffer; // frames dropped because the pool was empty
    uint64_t tx_malformed; // frames whose lengths or offloads make no sense: freed, not sent
};

struct vf_driver;

// Reset, mailbox negotiation (1.4 down to 1.0), MAC from the PF, rings, filters. The bus stays the
// caller's, and open until vf_driver_close(). 0; on error -errno and a sentence in `error`:
// -ETIMEDOUT (the PF does not answer: is it up?), -EPERM (it refuses the frame size), -EINVAL
// (config), -ENODEV (not an 82599 VF), -ENOMEM (or a shared pool is empty), what the bus gave.
int vf_driver_open(struct driver_bus *bus, const struct vf_config *config, struct vf_driver **out,
                   char *error, size_t error_len);
// What its rings hold goes back to the pool; the pool goes with the last VF that uses it.
void vf_driver_close(struct vf_driver *vf);

struct vf_buffer *vf_buffer_alloc(struct vf_driver *vf);        // NULL when the pool is empty
void vf_buffer_free(struct vf_driver *vf, struct vf_buffer *b); // with all its `next`

// Up to `count` frames into out[]; returns how many. They are the caller's until freed or sent.
// `queue` < vf_driver_queue_count(), here and below.
unsigned vf_receive(struct vf_driver *vf, unsigned queue, struct vf_buffer **out, unsigned count);
// Sends frames in order; returns how many were taken (those are the driver's and are freed once
// sent; malformed ones are freed at once and counted). The rest are still the caller's.
unsigned vf_send(struct vf_driver *vf, unsigned queue, struct vf_buffer **frames, unsigned count);
// Frees what was sent. How many descriptors the card still has: 0 when all is sent. Whoever closes
// before that loses the rest.
unsigned vf_send_pending(struct vf_driver *vf, unsigned queue);

void vf_driver_mac(const struct vf_driver *vf, uint8_t mac[6]);
bool vf_driver_link_is_up(struct vf_driver *vf);
unsigned vf_driver_queue_count(const struct vf_driver *vf);
int vf_driver_api(const struct vf_driver *vf); // negotiated mailbox API, wire value
// Queue interrupts: fd polls readable after a frame came; re-arm with vf_irq_arm() before sleeping,
// then poll once more. -1 where config.interrupts was false.
int vf_irq_fd(const struct vf_driver *vf, unsigned queue);
void vf_irq_arm(struct vf_driver *vf, unsigned queue);
// Mailbox: link changes, PF resets. Call about once a second or when idle. 0; -EIO: the PF wants
// the VF to start over: close and open again. -ENODEV: the bus is gone.
int vf_driver_service(struct vf_driver *vf);
int vf_driver_set_mac(struct vf_driver *vf, const uint8_t mac[6]);    // -EPERM: PF refused
int vf_driver_add_vlan(struct vf_driver *vf, uint16_t vlan, bool on); // -EPERM: PF refused
// Replaces the list. 0; -ENOSPC: more than VF_MULTICAST_MAX; -EPERM: PF refused.
int vf_driver_set_multicast(struct vf_driver *vf, const uint8_t (*macs)[6], unsigned count);
// What else is received beside frames to our MAC. 0; -EPERM: the PF allows less (more than the
// groups is for trusted VFs), and the VF has what it allows; -ENOTSUP: the API that was agreed is
// too old for it (1.2; promiscuous 1.3).
int vf_driver_set_receive_mode(struct vf_driver *vf, enum vf_receive_mode mode);
void vf_driver_stats(const struct vf_driver *vf, struct vf_stats *out);

#endif

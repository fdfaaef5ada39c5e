// SPDX-License-Identifier: BSD-3-Clause
// What is at the far end of a port's cable. Ops table: a real seam (kind.h; tap, pcap, null).
// Threads: open/close on the control thread with no worker running or the gate closed; send by any
// worker, receive by one; neither blocks.
#ifndef VIREO_UPLINK_UPLINK_H
#define VIREO_UPLINK_UPLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

// Largest frame: 9728-byte jumbo frame (82599 §8.2.3.22.13 MAXFRS) + two VLAN tags; FCS not
// carried.
#define UPLINK_FRAME_MAX 9736u

enum uplink_kind { UPLINK_NULL, UPLINK_TAP, UPLINK_PCAP };

struct uplink_config {
    enum uplink_kind kind;
    char ifname[16];       // tap: interface to create or attach to
    char replay_path[256]; // pcap: capture to receive from, "" for none; one of at most 128 MiB is
                           // read when the uplink is opened, and not again
    char record_path[256]; // pcap: capture to record what is sent, "" for none
    bool replay_loop;      // pcap: start over at the end
    uint32_t replay_pps;   // pcap: packets per second; 0: by the capture's own timestamps
};

// Whether an interface can have this name: as the kernel has it, and without '%'.
bool uplink_ifname_is_valid(const char *name);
// The same for people.
#define UPLINK_IFNAME_RULE "allowed is 1 to 15 printable characters without space, '/', ':' or '%'"

struct uplink;

// A frame that came in.
struct uplink_frame {
    const uint8_t *data; // the uplink's own memory, which nobody else writes
    uint32_t len_bytes;  // 14 … UPLINK_FRAME_MAX
};

#define UPLINK_BATCH       32u // frames that are received at once
#define UPLINK_SENDERS_MAX 8u

struct uplink_counts {
    uint64_t tx_frames, tx_bytes, tx_drops; // card → cable
    uint64_t rx_frames, rx_bytes, rx_drops;
};

// 0 and *out; on error -errno with a sentence in `error` (what failed and what to do).
int uplink_open(const struct uplink_config *config, struct uplink **out, char *error,
                size_t error_len);
void uplink_close(struct uplink *up);

// Sends one Ethernet frame without FCS, gathered. `sender` (below UPLINK_SENDERS_MAX) is the
// calling worker's own number: several may send at a time. 0, or -errno: dropped and counted
// (-EAGAIN: the far end's queue is full, -EMSGSIZE, -EIO).
int uplink_send(struct uplink *up, unsigned sender, const struct iovec *iov, unsigned iov_count);
// Frames that wait, at most `max` (1 … UPLINK_BATCH), in their order: how many, 0 where none does,
// -errno. They stay where they are until the next call, or the uplink is closed.
int uplink_receive(struct uplink *up, struct uplink_frame *out, unsigned max);
// An fd that polls readable while frames wait, or -1 where the kind never receives.
int uplink_wait_fd(const struct uplink *up);
bool uplink_link_is_up(const struct uplink *up);
bool uplink_link_can_change(const struct uplink *up); // else it is up for good
void uplink_counts_get(const struct uplink *up, struct uplink_counts *out);

#endif

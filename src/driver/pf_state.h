// SPDX-License-Identifier: BSD-3-Clause
// The PF driver, as its files share it. Private to src/driver.
#ifndef VIREO_DRIVER_PF_STATE_H
#define VIREO_DRIVER_PF_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "driver/bus.h"
#include "driver/pf.h"
#include "driver/pf_filter.h"
#include "driver/pf_mailbox.h"

#define PF_FRAME_OVERHEAD 18u   // Ethernet header and FCS: frame = MTU + 18
#define PF_FRAME_STANDARD 1518u // with FCS
#define PF_FRAME_MIN      68u   // least that a VF may ask for
#define PF_FRAME_MAX      9728u // 82599 §8.2.3.22.13
#define PF_NACK_REPEAT_MS 1000u // a VF that must start over is told so no more often than this
#define PF_MULTICAST_TYPE 0u    // MCSTCTRL.MO: address bits 47:36
#define PF_RSS_KEY_BYTES  40u
#define PF_RETA_ENTRIES   128u

struct pf_vf {
    struct pf_vf_policy policy; // mac filled in
    // What the VF driver has set; all back to the start when it resets.
    uint8_t mac[6];
    bool clear_to_send; // it has sent VF_RESET since its last reset
    bool negotiated;
    bool settled; // it has asked for something after VF_RESET and API_NEGOTIATE
    enum pf_mailbox_api api;
    unsigned xcast_mode;
    bool macvlans;        // has set some: spoof check is off
    uint32_t frame_bytes; // largest frame it asked for, with FCS; 0: not asked
    struct pf_mailbox mailbox;
    uint64_t last_nack_ns;
    uint64_t requests, nacks;
};

struct pf_driver {
    struct driver_bus *bus;
    uint8_t mac[6];
    unsigned vf_count;
    unsigned queues_per_pool;
    unsigned pf_pool; // the first after the VFs'
    enum pf_mailbox_api api_max;
    uint32_t frame_limit;   // fixed by configuration, or 0: follows the VFs
    uint32_t frame_current; // MAXFRS
    bool link_up;
    uint8_t rss_key[PF_RSS_KEY_BYTES];
    uint8_t reta[PF_RETA_ENTRIES];
    uint32_t rx_pools[2], tx_pools[2]; // PFVFRE, PFVFTE
    int irq_fd;                        // the bus's
    int timer_fd, poll_fd;             // ours
    struct pf_filter filter;
    struct pf_vf vf[PF_VFS_MAX];
};

// --- pf_init.c: the datasheet's initialization sequence ---

// Reset to data path on. 0, -errno with a sentence in `error`.
int pf_init_port(struct pf_driver *pf, char *error, size_t error_len);
// Data path off, interrupts masked, VFs told.
void pf_init_stop(struct pf_driver *pf);

// --- pf_vf.c: what the card is told about one VF ---

// The VF's policy, with its MAC filled in where none was given. pf->mac must be known.
void pf_vf_take_policy(struct pf_driver *pf, unsigned vf, const struct pf_vf_policy *policy);
// Everything back to how a VF starts, by policy: addresses, VLANs, accept modes, anti-spoofing;
// receive and transmit off until it sends VF_RESET.
void pf_vf_to_defaults(struct pf_driver *pf, unsigned vf);
// Receive and transmit by link policy and frame size rules.
void pf_vf_update_data_path(struct pf_driver *pf, unsigned vf);
void pf_vf_update_accept_modes(struct pf_driver *pf, unsigned vf);
void pf_vf_update_spoof_check(struct pf_driver *pf, unsigned vf);
// 0, -ENOSPC: no free VLAN filter.
int pf_vf_update_port_vlan(struct pf_driver *pf, unsigned vf, uint16_t old_vlan);
// The VF driver asks for frames up to `frame_bytes`. 0, -EINVAL: refused (receive may be off then).
int pf_vf_set_frame(struct pf_driver *pf, unsigned vf, uint32_t frame_bytes);
// MAXFRS from what the VFs asked for, where no limit is configured.
void pf_vf_update_frame_limit(struct pf_driver *pf);
// Makes the VF driver reset: no longer clear to send, and told so.
void pf_vf_start_over(struct pf_driver *pf, unsigned vf);

// --- pf_message.c: mailbox policy ---

// Takes the VF's request and queues the answer.
void pf_message_handle(struct pf_driver *pf, unsigned vf, uint64_t now_ns);

// An address that a function may have as its own: not zero, not a group address.
static inline bool pf_mac_is_valid(const uint8_t mac[6])
{
    return !(mac[0] & 1) && (mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]);
}

#endif

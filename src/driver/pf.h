// SPDX-License-Identifier: BSD-3-Clause
// User-space PF driver for the 82599: brings the port up in virtualisation mode, configures the
// shared resources (pools, switch filters, anti-spoofing, VLANs) and answers the VFs' mailboxes by
// policy. It touches nothing but registers and config space, through its bus.
// Threads: one.
#ifndef VIREO_DRIVER_PF_H
#define VIREO_DRIVER_PF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/bus.h"

#define PF_VFS_MAX 63u

// Mailbox API wire values (Linux ixgbe's order): 1.0=0, 2.0=1, 1.1=2, 1.2=3, 1.3=4, 1.4=5, 1.5=6.
enum pf_mailbox_api { PF_API_10 = 0, PF_API_11 = 2, PF_API_12, PF_API_13, PF_API_14, PF_API_15 };

struct pf_vf_policy {
    uint8_t mac[6];   // all zero: made from the PF's MAC and the VF's number, the same every time
    uint16_t vlan;    // 0: none; 1…4094: port VLAN, inserted and stripped by the card
    uint8_t qos;      // 0…7, priority of the port VLAN
    bool spoof_check; // source MAC and VLAN must be the VF's own
    bool trusted;     // may change its MAC, add more MACs (which ends its spoof check until it is
                      // reset) and go promiscuous
    bool link_up;     // administrative link state of the VF
};

struct pf_config {
    unsigned vf_count;                   // 0…PF_VFS_MAX
    enum pf_mailbox_api mailbox_api_max; // newest API offered; PF_API_14 is what ixgbe offers
    // The port's MTU: an 82599 has one frame limit for all its functions. A VF may ask for less,
    // never for more. Above 1500, VFs of API 1.0 can not receive, since they can not know.
    // 0: follows the VFs. It is 1500 until the first VF of API ≥ 1.1 asks for more; that is refused
    // while a VF of API 1.0 is up.
    uint16_t mtu; // 0, 1500…9710
    struct pf_vf_policy vf[PF_VFS_MAX];
};

struct pf_vf_state {
    uint8_t mac[6];
    bool up;                  // the VF driver has reset and talks to us
    int api;                  // negotiated enum pf_mailbox_api, -1 before
    uint16_t mtu_frame_bytes; // largest frame it asked for, with FCS; 0 before
    uint64_t requests, nacks; // mailbox messages from it; those that were refused
    uint64_t answers_dropped; // it never took them
};

struct pf_driver;

// Resets the function, reads its MAC from the EEPROM, sets the port up for config->vf_count VFs
// (pools, queues, switch, mailbox and interrupts). VFs come into being when the host sets VF Enable
// afterwards. 0; on error -errno and a sentence in `error`: -EINVAL (config), -EIO (EEPROM
// checksum, MAC address), -ETIMEDOUT (reset), what the bus gave. The bus stays the caller's, and
// open until pf_driver_close().
int pf_driver_open(struct driver_bus *bus, const struct pf_config *config, struct pf_driver **out,
                   char *error, size_t error_len);
void pf_driver_close(struct pf_driver *pf); // resets the function
// One fd for the interrupt and the driver's own timer (an epoll fd, level-triggered): call
// pf_driver_service() when it polls readable.
int pf_driver_irq_fd(const struct pf_driver *pf);
// Handles everything that waits: VF resets, mailbox messages, link changes. Bounded: at most one
// message a VF and call; never waits for a VF.
void pf_driver_service(struct pf_driver *pf);
// The host is about to hand VF `vf` to a new owner: forget what the last one had set (MAC, filters,
// VLANs, negotiated API).
void pf_driver_vf_reset(struct pf_driver *pf, unsigned vf);
// Takes effect at once. A VF driver that is up is made to start over where it has to learn of the
// change: another MAC, link state or trust, or VLANs of its own that end with a new port VLAN.
// Linux's ixgbevf then has no link until 10 s after its last reset. 0, -EINVAL (no such VF, bad
// policy), -ENOSPC (no free VLAN filter: nothing has changed).
int pf_driver_vf_set_policy(struct pf_driver *pf, unsigned vf, const struct pf_vf_policy *policy);
// 0, or -EINVAL: no such VF.
int pf_driver_vf_state(const struct pf_driver *pf, unsigned vf, struct pf_vf_state *out);
void pf_driver_mac(const struct pf_driver *pf, uint8_t mac[6]);
bool pf_driver_link_is_up(const struct pf_driver *pf);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// The config file of vireod (libconfig syntax; examples/card.conf explains every setting): text in,
// a checked struct out. Every value is range-checked, unknown settings are errors, and an error
// says where, what was found and what is allowed. Threads: any; no state.
#ifndef VIREO_MACHINE_CONFIG_H
#define VIREO_MACHINE_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "driver/pf.h"
#include "nic/nic.h"
#include "uplink/uplink.h"

#define CARD_CONFIG_FILE_MAX_BYTES (1u << 20)

struct card_config_port {
    uint8_t mac[NIC_MAC_LEN];
    struct uplink_config uplink;
    struct pf_config pf; // VFs: how many, their policy; a MAC of zero is derived by the PF driver
    enum nic_doorbells doorbells[NIC_VFS_MAX];
};

struct card_config {
    enum log_level log_level;
    uint64_t serial;       // PCIe Device Serial Number
    unsigned worker_count; // threads that share the data path
    unsigned port_count;
    struct card_config_port port[NIC_PORTS_MAX];
};

// Reads a file. 0 and *out; on error -EINVAL (its content), -errno (reading it), and a sentence
// "FILE:LINE: …" in `error`.
int card_config_read(const char *path, struct card_config *out, char *error, size_t error_len);
// The same from `len` bytes of text; `name` stands for the file in errors.
int card_config_parse(const char *text, size_t len, const char *name, struct card_config *out,
                      char *error, size_t error_len);

// "1.4" and the like ↔ wire value. 0, or -EINVAL.
int card_config_api_parse(const char *text, enum pf_mailbox_api *out);
const char *card_config_api_name(int api); // "?" where unknown; "-" for -1, nothing negotiated
// "02:00:00:00:00:01", any case. 0, or -EINVAL where it is malformed.
int card_config_mac_parse(const char *text, uint8_t mac[NIC_MAC_LEN]);

#endif

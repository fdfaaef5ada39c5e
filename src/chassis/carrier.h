// SPDX-License-Identifier: BSD-3-Clause
// The carrier: the one vfio-user device that QEMU sees. A conventional PCI function with one BAR of
// 512 MiB, which its guest's kernel finds a whole PCI segment in. Its class and IDs are such that
// no driver takes it, and its ACPI tables hide it before the kernel looks. Threads: the loop's.
#ifndef VIREO_CHASSIS_CARRIER_H
#define VIREO_CHASSIS_CARRIER_H

#include <stdbool.h>
#include <stdint.h>

#define CARRIER_CONFIG_LEN_BYTES 4096u

struct carrier {
    uint32_t base; // where the BAR has to be
    uint8_t config[CARRIER_CONFIG_LEN_BYTES];
    bool is_hidden;
    uint32_t base_told; // the wrong place that was last logged
};

void carrier_init(struct carrier *carrier, uint32_t base);
void carrier_reset(struct carrier *carrier);
// Any range within the 4096 bytes.
void carrier_config_read(const struct carrier *carrier, uint32_t offset, uint8_t *buf,
                         uint32_t len);
// True where this write hid the carrier: the guest's kernel has come to its tables.
bool carrier_config_write(struct carrier *carrier, uint32_t offset, const uint8_t *buf,
                          uint32_t len);
// The BAR is where the tables say: only then is anything in it.
bool carrier_is_placed(const struct carrier *carrier);

#endif

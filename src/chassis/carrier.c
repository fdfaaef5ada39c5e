// SPDX-License-Identifier: BSD-3-Clause
#include "chassis/carrier.h"

#include <string.h>

#include "base/le.h"
#include "base/log.h"
#include "chassis/layout.h"

enum { HDR_COMMAND = 0x04, HDR_BAR0 = 0x10 };
#define COMMAND_MEMORY 0x0002u
#define BAR_MASK       (~(CHASSIS_BAR_LEN_BYTES - 1))
#define BASE_NONE      1u        // of base_told: the BAR has no place
#define CLASS_SYSTEM   0x088000u // system peripheral, other

void carrier_reset(struct carrier *carrier)
{
    uint8_t *config = carrier->config;

    memset(config, 0, sizeof carrier->config);
    le32_put(config, CHASSIS_VENDOR_ID | CHASSIS_CARRIER_DEVICE_ID << 16);
    le32_put(config + 0x08, CLASS_SYSTEM << 8);
    le32_put(config + 0x2c, CHASSIS_VENDOR_ID | CHASSIS_CARRIER_DEVICE_ID << 16);
    carrier->is_hidden = false;
    carrier->base_told = 0;
}

void carrier_init(struct carrier *carrier, uint32_t base)
{
    carrier->base = base;
    carrier_reset(carrier);
}

void carrier_config_read(const struct carrier *carrier, uint32_t offset, uint8_t *buf, uint32_t len)
{
    if (carrier->is_hidden)
        memset(buf, 0xff, len);
    else
        memcpy(buf, carrier->config + offset, len);
}

bool carrier_is_placed(const struct carrier *carrier)
{
    return le32_get(carrier->config + HDR_BAR0) == carrier->base;
}

// Writable bits of a byte.
static uint8_t mask_at(uint32_t offset)
{
    switch (offset) {
    case HDR_COMMAND:
        return 0x46; // memory, bus master, parity
    case HDR_COMMAND + 1:
        return 0x05; // SERR#, interrupt disable
    case 0x0c:
    case 0x3c:
        return 0xff; // cache line size, interrupt line
    case HDR_BAR0 + 3:
        return BAR_MASK >> 24;
    default:
        return offset >= CHASSIS_CARRIER_HIDE && offset < CHASSIS_CARRIER_HIDE + 4 ? 0xff : 0;
    }
}

// Firmware enables memory decode when it has placed all BARs; OVMF leaves it off where it had no
// room for one, and so does Linux.
static void placement_check(struct carrier *carrier)
{
    uint32_t bar = le32_get(carrier->config + HDR_BAR0);
    bool decodes = le16_get(carrier->config + HDR_COMMAND) & COMMAND_MEMORY;
    bool kernel_came =
        le32_get(carrier->config + CHASSIS_CARRIER_HIDE) == CHASSIS_CARRIER_COME_VALUE;

    if (carrier_is_placed(carrier))
        return;
    if (decodes && bar != carrier->base_told) {
        carrier->base_told = bar;
        log_limited(
            LOG_LEVEL_ERROR,
            "chassis: the VM's firmware has placed the carrier's BAR at %08x, and the ACPI tables "
            "say %08x: refused, the VM sees no card. With SeaBIOS use the default base and leave "
            "room below 4 GiB; with other firmware (OVMF) start vireod with --chassis-base "
            "0x%08x",
            bar, carrier->base, bar);
    } else if (!decodes && kernel_came && carrier->base_told != BASE_NONE) {
        carrier->base_told = BASE_NONE;
        log_limited(
            LOG_LEVEL_ERROR,
            "chassis: the VM's firmware has not placed the carrier's BAR, which needs %u MiB "
            "below 4 GiB: refused, the VM sees no card. Give the VM another size of memory, "
            "or fewer devices with large BARs",
            CHASSIS_BAR_LEN_BYTES / CHASSIS_MIB);
    }
}

bool carrier_config_write(struct carrier *carrier, uint32_t offset, const uint8_t *buf,
                          uint32_t len)
{
    if (carrier->is_hidden)
        return false;
    for (uint32_t i = 0; i < len; i++) {
        uint8_t mask = mask_at(offset + i);
        uint8_t *byte = carrier->config + offset + i;

        *byte = (uint8_t)((*byte & ~mask) | (buf[i] & mask));
    }
    placement_check(carrier);
    if (le32_get(carrier->config + CHASSIS_CARRIER_HIDE) != CHASSIS_CARRIER_HIDE_VALUE ||
        !carrier_is_placed(carrier))
        return false;
    carrier->is_hidden = true;
    return true;
}

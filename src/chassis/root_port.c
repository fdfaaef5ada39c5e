// SPDX-License-Identifier: BSD-3-Clause
#include "chassis/root_port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/le.h"
#include "base/log.h"
#include "chassis/layout.h"

enum { // the type 1 header
    HDR_COMMAND = 0x04,
    HDR_PRIMARY_BUS = 0x18, // then secondary, subordinate
    HDR_MEMORY = 0x20,
    HDR_PREFETCH = 0x24,
    HDR_PREFETCH_UPPER_BASE = 0x28,
    HDR_PREFETCH_UPPER_LIMIT = 0x2c,
    HDR_BRIDGE_CONTROL = 0x3e,
};
enum { // where the capabilities are
    CAP_PM = 0x40,
    CAP_MSI = 0x50,
    CAP_EXPRESS = 0x60,
    EXTCAP_ACS = 0x100,
};
enum {
    EXPRESS_LNKCTL = CAP_EXPRESS + 0x10,
    EXPRESS_LNKSTA = CAP_EXPRESS + 0x12,
    EXPRESS_DEVCTL2 = CAP_EXPRESS + 0x28,
    PM_STATUS = CAP_PM + 4,
};
#define COMMAND_MEMORY     0x0002u
#define BRIDGE_RESET       0x0040u // Secondary Bus Reset
#define LNKCTL_DISABLE     0x0010u
#define LNKSTA_ACTIVE      0x2000u // Data Link Layer Link Active
#define DEVCTL2_ARI        0x0020u // ARI Forwarding Enable
#define PM_STATE_MASK      0x0003u
#define WINDOW_GRAIN_BYTES (1ull << 20)

// Every dword that is not zero or not read-only: its value at power-up, the bits that software
// changes, the bits that software clears by writing 1.
static const struct {
    uint16_t offset;
    uint32_t value, write, clear;
} dwords[] = {
    {0x000, CHASSIS_VENDOR_ID | CHASSIS_ROOT_PORT_DEVICE_ID << 16, 0, 0},
    // Memory Space, Bus Master, Parity Error, SERR#, Interrupt Disable; Capabilities List.
    {0x004, 0x00100000, 0x00000546, 0xf9000000},
    {0x008, 0x06040000, 0, 0},          // a PCI-to-PCI bridge
    {0x00c, 0x00010000, 0x000000ff, 0}, // header type 1
    {0x018, 0, 0x00ffffff, 0},
    {0x01c, 0, 0, 0xf9000000},                       // no I/O window; Secondary Status
    {HDR_MEMORY, 0x0000fff0, 0xfff0fff0, 0},         // closed: base above limit
    {HDR_PREFETCH, 0x0001fff1, 0xfff0fff0, 0},       // 64 bits; closed
    {HDR_PREFETCH_UPPER_BASE, 0, 0xffffffff, 0},     //
    {HDR_PREFETCH_UPPER_LIMIT, 0, 0xffffffff, 0},    //
    {0x034, CAP_PM, 0, 0},                           //
    {0x03c, 0, 0x004300ff, 0},                       // no INTx; parity, SERR#, bus reset
    {CAP_PM + 0, 0x48030001 | CAP_MSI << 8, 0, 0},   // D0, D3hot, PME from both
    {PM_STATUS, 0x00000008, 0x00000103, 0x00008000}, // No_Soft_Reset
    {CAP_MSI + 0, 0x00800005 | CAP_EXPRESS << 8, 0x00710000, 0}, // one message, 64 bits
    {CAP_MSI + 4, 0, 0xfffffffc, 0},
    {CAP_MSI + 8, 0, 0xffffffff, 0},
    {CAP_MSI + 12, 0, 0x0000ffff, 0},
    // Version 2, root port, no slot; payload 512; errors by role.
    {CAP_EXPRESS + 0x00, 0x00420010, 0, 0},
    {CAP_EXPRESS + 0x04, 0x00008002, 0, 0},
    {CAP_EXPRESS + 0x08, 0x00002010, 0x000070ff, 0x000f0000},
    // The card's link, 5 GT/s x8, as seen from here: it reports when it is up (port number 1).
    {CAP_EXPRESS + 0x0c, 0x01123482, 0, 0},
    {CAP_EXPRESS + 0x10, 0x10820000, 0x000000d3, 0},
    {CAP_EXPRESS + 0x1c, 0, 0x0000000f, 0},
    {CAP_EXPRESS + 0x20, 0, 0, 0x00010000},
    // Completion timeout ranges and disable, ARI Forwarding.
    {CAP_EXPRESS + 0x24, 0x0000003f, 0, 0},
    {CAP_EXPRESS + 0x28, 0, 0x0000003f, 0},
    {CAP_EXPRESS + 0x2c, 0x00000006, 0, 0},
    {CAP_EXPRESS + 0x30, 0x00000002, 0x00001f9f, 0},
    // Source validation, translation blocking, request and completion redirect, upstream
    // forwarding.
    {EXTCAP_ACS + 0, 0x0001000d, 0, 0},
    {EXTCAP_ACS + 4, 0x0000001f, 0x001f0000, 0},
};

struct root_port {
    struct pci_segment *seg;
    uint8_t bytes[PCI_CONFIG_LEN_BYTES];
};

void root_port_reset(struct root_port *port)
{
    memset(port->bytes, 0, sizeof port->bytes);
    for (unsigned i = 0; i < ARRAY_LEN(dwords); i++)
        le32_put(port->bytes + dwords[i].offset, dwords[i].value);
}

int root_port_create(struct pci_segment *seg, struct root_port **out)
{
    struct root_port *port = calloc(1, sizeof *port);

    if (!port)
        return -ENOMEM;
    port->seg = seg;
    root_port_reset(port);
    *out = port;
    return 0;
}

void root_port_destroy(struct root_port *port)
{
    free(port);
}

static bool link_is_disabled(const struct root_port *port)
{
    return le16_get(port->bytes + EXPRESS_LNKCTL) & LNKCTL_DISABLE;
}

static bool bus_is_in_reset(const struct root_port *port)
{
    return link_is_disabled(port) || (le16_get(port->bytes + HDR_BRIDGE_CONTROL) & BRIDGE_RESET);
}

// Whether anything goes down: the link is up and the port has power.
static bool is_open(const struct root_port *port)
{
    return !bus_is_in_reset(port) && !(le16_get(port->bytes + PM_STATUS) & PM_STATE_MASK);
}

uint32_t root_port_config_read(const struct root_port *port, uint32_t offset, unsigned len)
{
    uint32_t at = offset & ~3u;
    uint32_t value = le32_get(port->bytes + at);

    if (at == EXPRESS_LNKCTL && !link_is_disabled(port))
        value |= LNKSTA_ACTIVE << 16;
    value >>= offset % 4 * 8;
    return len == 4 ? value : value & (BIT(len * 8) - 1);
}

void root_port_config_write(struct root_port *port, uint32_t offset, unsigned len, uint32_t value)
{
    uint32_t at = offset & ~3u, shift = offset % 4 * 8;
    uint32_t enable = (len == 4 ? ~0u : BIT(len * 8) - 1) << shift;
    uint32_t old = le32_get(port->bytes + at), written = (value << shift) & enable;
    bool was_in_reset = bus_is_in_reset(port);

    for (unsigned i = 0; i < ARRAY_LEN(dwords); i++) {
        uint32_t mask = dwords[i].write & enable;

        if (dwords[i].offset == at)
            le32_put(port->bytes + at,
                     ((old & ~mask) | (written & mask)) & ~(written & dwords[i].clear));
    }
    if (!was_in_reset && bus_is_in_reset(port))
        pci_bus_reset(port->seg, CHASSIS_CARD_BUS);
}

bool root_port_takes_config(const struct root_port *port, rid_t rid)
{
    uint8_t secondary = port->bytes[HDR_PRIMARY_BUS + 1];
    uint8_t subordinate = port->bytes[HDR_PRIMARY_BUS + 2];
    unsigned bus = rid.v >> 8;
    bool ari = le16_get(port->bytes + EXPRESS_DEVCTL2) & DEVCTL2_ARI;

    if (!bus || bus < secondary || bus > subordinate || !is_open(port))
        return false;
    if (secondary != CHASSIS_CARD_BUS) {
        if (secondary)
            log_warn_limited("chassis: the root port's secondary bus is %u: the card is on bus %u "
                             "and does not move",
                             secondary, CHASSIS_CARD_BUS);
        return false;
    }
    // Below a port there is one device, 0, unless ARI takes its number for functions (PCIe §6.13).
    return bus != secondary || ari || !(rid.v & 0xf8);
}

static bool window_holds(uint64_t base, uint64_t limit, uint64_t addr, unsigned len)
{
    limit |= WINDOW_GRAIN_BYTES - 1;
    return base <= limit && addr >= base && addr + len - 1 <= limit;
}

bool root_port_takes_memory(const struct root_port *port, uint64_t addr, unsigned len)
{
    const uint8_t *b = port->bytes;
    uint64_t upper_base = (uint64_t)le32_get(b + HDR_PREFETCH_UPPER_BASE) << 32;
    uint64_t upper_limit = (uint64_t)le32_get(b + HDR_PREFETCH_UPPER_LIMIT) << 32;

    if (!(le16_get(b + HDR_COMMAND) & COMMAND_MEMORY) || !is_open(port))
        return false;
    return window_holds((uint64_t)(le16_get(b + HDR_MEMORY) & 0xfff0) << 16,
                        (uint64_t)(le16_get(b + HDR_MEMORY + 2) & 0xfff0) << 16, addr, len) ||
           window_holds(upper_base | (uint64_t)(le16_get(b + HDR_PREFETCH) & 0xfff0) << 16,
                        upper_limit | (uint64_t)(le16_get(b + HDR_PREFETCH + 2) & 0xfff0) << 16,
                        addr, len);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "host/vconfig.h"

#include <string.h>

#include "base/le.h"

enum {
    CFG_IDS = 0x00,
    CFG_COMMAND = 0x04,
    CFG_BAR0 = 0x10,
    CFG_BAR5 = 0x24,
    CFG_INTERRUPT = 0x3c,
    EXPRESS_DEVCTL = 0x08,
    DEVCTL_FLR = 0x8000,
    COMMAND_MEM = 0x2,
    COMMAND_INTX_DISABLE = 0x400,
    COMMAND_VIRTUAL = COMMAND_MEM | COMMAND_INTX_DISABLE,
};
#define MSIX_CONTROL_WRITABLE 0xc000u // enable, function mask

void host_vconfig_init(struct host_vconfig *config, struct pci_segment *seg,
                       const struct host_function *fn)
{
    *config = (struct host_vconfig){.seg = seg, .fn = *fn};
}

void host_vconfig_reset(struct host_vconfig *config)
{
    host_vconfig_init(config, config->seg, &config->fn);
}

static uint32_t bar_dword(const struct host_vconfig *config, unsigned index)
{
    const struct host_bar *bar = &config->fn.bar[index];

    if (bar->size_bytes)
        return config->bar[index] | (bar->is_64bit ? 4u : 0) | (bar->prefetchable ? 8u : 0);
    return config->bar[index]; // upper half of a 64-bit BAR, or zero
}

static void bar_dword_write(struct host_vconfig *config, unsigned index, uint32_t value)
{
    const struct host_bar *bar = &config->fn.bar[index];

    if (bar->size_bytes)
        config->bar[index] = value & (uint32_t) ~(bar->size_bytes - 1) & ~0xfu;
    else if (index && config->fn.bar[index - 1].size_bytes && config->fn.bar[index - 1].is_64bit)
        config->bar[index] = value & (uint32_t)(~(config->fn.bar[index - 1].size_bytes - 1) >> 32);
}

// One aligned DWORD as the VM sees it.
static uint32_t dword_read(struct host_vconfig *config, uint32_t offset)
{
    uint32_t value = pci_config_read(config->seg, config->fn.rid, offset, 4);

    if (offset == CFG_IDS)
        return config->fn.vendor_id | (uint32_t)config->fn.device_id << 16;
    if (offset == CFG_COMMAND)
        return (value & ~(uint32_t)COMMAND_VIRTUAL) | config->command;
    if (offset >= CFG_BAR0 && offset <= CFG_BAR5)
        return bar_dword(config, (offset - CFG_BAR0) / 4);
    if (offset == CFG_INTERRUPT)
        return (value & ~0xffffu) | config->interrupt_line; // pin 0: a VF has no INTx
    if (config->fn.cap_msix && offset == config->fn.cap_msix)
        return (value & 0x3fffffff) | (uint32_t)config->msix_control << 16;
    return value;
}

// `mask`: 0xff in each byte lane that is written.
static void dword_write(struct host_vconfig *config, uint32_t offset, uint32_t value, uint32_t mask,
                        bool *flr)
{
    uint32_t now = (dword_read(config, offset) & ~mask) | (value & mask);

    if (offset >= CFG_BAR0 && offset <= CFG_BAR5) {
        bar_dword_write(config, (offset - CFG_BAR0) / 4, now);
        return;
    }
    if (offset == CFG_INTERRUPT) {
        config->interrupt_line = (uint8_t)now;
        return;
    }
    if (config->fn.cap_msix && offset == config->fn.cap_msix) {
        config->msix_control = (uint16_t)(now >> 16 & MSIX_CONTROL_WRITABLE);
        return;
    }
    if (offset == CFG_COMMAND)
        config->command = now & COMMAND_VIRTUAL;
    if (config->fn.cap_express && offset == config->fn.cap_express + EXPRESS_DEVCTL &&
        (value & mask & DEVCTL_FLR)) {
        *flr = true;
        value &= ~(uint32_t)DEVCTL_FLR;
    }
    // Byte lanes that were not written must not be: status bits clear on write.
    for (unsigned lane = 0; lane < 4; lane++) {
        if (mask >> (lane * 8) & 0xff)
            pci_config_write(config->seg, config->fn.rid, offset + lane, 1,
                             value >> (lane * 8) & 0xff);
    }
}

void host_vconfig_read(struct host_vconfig *config, uint32_t offset, uint8_t *buf, uint32_t len)
{
    for (uint32_t i = 0; i < len;) {
        uint32_t at = offset + i, in = at & 3;
        uint32_t chunk = 4 - in < len - i ? 4 - in : len - i;
        uint8_t bytes[4];

        le32_put(bytes, at < PCI_CONFIG_LEN_BYTES ? dword_read(config, at & ~3u) : UINT32_MAX);
        memcpy(buf + i, bytes + in, chunk);
        i += chunk;
    }
}

void host_vconfig_write(struct host_vconfig *config, uint32_t offset, const uint8_t *buf,
                        uint32_t len, bool *flr)
{
    *flr = false;
    for (uint32_t i = 0; i < len;) {
        uint32_t at = offset + i, in = at & 3;
        uint32_t chunk = 4 - in < len - i ? 4 - in : len - i;
        uint8_t bytes[4] = {0}, lanes[4] = {0};

        memcpy(bytes + in, buf + i, chunk);
        memset(lanes + in, 0xff, chunk);
        if (at < PCI_CONFIG_LEN_BYTES)
            dword_write(config, at & ~3u, le32_get(bytes), le32_get(lanes), flr);
        i += chunk;
    }
}

// SPDX-License-Identifier: BSD-3-Clause
#include "chassis/ecam.h"

#include <assert.h>

#include "base/bits.h"
#include "chassis/layout.h"

static void split(uint64_t offset, rid_t *rid, uint32_t *reg)
{
    assert(offset < CHASSIS_ECAM_LEN_BYTES);
    rid->v = (uint16_t)(offset >> 12);
    *reg = offset & 0xfff;
}

uint64_t ecam_read(struct root_port *port, struct pci_segment *seg, uint64_t offset, unsigned len)
{
    uint32_t reg;
    rid_t rid;

    if (len == 8)
        return ecam_read(port, seg, offset, 4) | ecam_read(port, seg, offset + 4, 4) << 32;
    split(offset, &rid, &reg);
    if (!rid.v)
        return root_port_config_read(port, reg, len);
    if (!root_port_takes_config(port, rid))
        return BIT64(len * 8) - 1;
    return pci_config_read(seg, rid, reg, len);
}

void ecam_write(struct root_port *port, struct pci_segment *seg, uint64_t offset, unsigned len,
                uint64_t value)
{
    uint32_t reg;
    rid_t rid;

    if (len == 8) {
        ecam_write(port, seg, offset, 4, (uint32_t)value);
        ecam_write(port, seg, offset + 4, 4, value >> 32);
        return;
    }
    split(offset, &rid, &reg);
    if (!rid.v)
        root_port_config_write(port, reg, len, (uint32_t)value);
    else if (root_port_takes_config(port, rid))
        pci_config_write(seg, rid, reg, len, (uint32_t)value);
}

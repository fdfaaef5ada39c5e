// SPDX-License-Identifier: BSD-3-Clause
#include "pci/space.h"

#include <assert.h>

#include "base/le.h"

void pci_space_claim(struct pci_space *space, unsigned offset, unsigned len, enum pci_owner owner)
{
    assert(offset % 4 == 0 && len % 4 == 0 && len && offset + len <= PCI_CONFIG_LEN_BYTES);
    for (unsigned i = offset / 4; i < (offset + len) / 4; i++) {
        assert(space->owner[i] == PCI_OWNER_NONE);
        space->owner[i] = (uint8_t)owner;
    }
}

void pci_space_define16(struct pci_space *space, unsigned offset, uint16_t value,
                        uint16_t write_mask, uint16_t w1c_mask)
{
    le16_put(space->bytes + offset, value);
    le16_put(space->reset + offset, value);
    le16_put(space->write_mask + offset, write_mask);
    le16_put(space->w1c_mask + offset, w1c_mask);
}

void pci_space_define32(struct pci_space *space, unsigned offset, uint32_t value,
                        uint32_t write_mask, uint32_t w1c_mask)
{
    le32_put(space->bytes + offset, value);
    le32_put(space->reset + offset, value);
    le32_put(space->write_mask + offset, write_mask);
    le32_put(space->w1c_mask + offset, w1c_mask);
}

void pci_space_keep16(struct pci_space *space, unsigned offset, uint16_t mask)
{
    le16_put(space->keep_mask + offset, mask);
}

void pci_space_keep32(struct pci_space *space, unsigned offset, uint32_t mask)
{
    le32_put(space->keep_mask + offset, mask);
}

uint32_t pci_space_merge(const struct pci_space *space, unsigned offset, uint32_t value,
                         uint32_t enable)
{
    uint32_t old = le32_get(space->bytes + offset);
    uint32_t writable = le32_get(space->write_mask + offset) & enable;
    uint32_t clears = le32_get(space->w1c_mask + offset) & enable & value;

    return ((old & ~writable) | (value & writable)) & ~clears;
}

void pci_space_reset(struct pci_space *space, bool keep)
{
    for (unsigned i = 0; i < PCI_CONFIG_LEN_BYTES; i++) {
        uint8_t kept = keep ? space->keep_mask[i] : 0;

        space->bytes[i] = (uint8_t)((space->bytes[i] & kept) | (space->reset[i] & ~kept));
    }
}

// SPDX-License-Identifier: BSD-3-Clause
#include "pci/dump.h"

#include <errno.h>

#include "base/bits.h"
#include "base/le.h"
#include "pci/access.h"

static const struct {
    uint16_t class;
    const char *name;
} class_names[] = {
    {0x0108, "Non-Volatile memory controller"},
    {0x0200, "Ethernet controller"},
    {0x0300, "VGA compatible controller"},
    {0x0302, "3D controller"},
    {0x0600, "Host bridge"},
    {0x0604, "PCI bridge"},
    {0x0880, "System peripheral"},
};

int pci_dump(FILE *out, rid_t rid, const uint8_t *bytes, size_t len_bytes)
{
    uint16_t class;
    const char *name = NULL;

    if (len_bytes < 64 || len_bytes > PCI_CONFIG_LEN_BYTES || len_bytes % 16)
        return -EINVAL;
    class = le16_get(bytes + 10);
    for (size_t i = 0; i < ARRAY_LEN(class_names); i++) {
        if (class_names[i].class == class)
            name = class_names[i].name;
    }
    fprintf(out, RID_FMT " ", RID_ARGS(rid));
    if (name)
        fprintf(out, "%s", name);
    else
        fprintf(out, "Class %04x", class);
    fprintf(out, ": %04x:%04x (rev %02x)\n", le16_get(bytes), le16_get(bytes + 2), bytes[8]);
    for (size_t at = 0; at < len_bytes; at += 16) {
        fprintf(out, "%02zx:", at);
        for (size_t i = 0; i < 16; i++)
            fprintf(out, " %02x", bytes[at + i]);
        fputc('\n', out);
    }
    fputc('\n', out);
    return ferror(out) ? -EIO : 0;
}

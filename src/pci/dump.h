// SPDX-License-Identifier: BSD-3-Clause
// Configuration space as text, in the form that `lspci -F` reads (and `lspci -xxxx` writes).
// Threads: any.
#ifndef VIREO_PCI_DUMP_H
#define VIREO_PCI_DUMP_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "mem/address.h"

// One function: "01:00.0 Ethernet controller: 8086:10fb (rev 01)", its bytes 16 a line, an empty
// line. `len_bytes`: a multiple of 16, 64…4096. 0, -EINVAL, or -EIO where `out` fails.
int pci_dump(FILE *out, rid_t rid, const uint8_t *bytes, size_t len_bytes);

#endif

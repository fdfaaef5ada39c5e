// SPDX-License-Identifier: BSD-3-Clause
// Where Linux keeps a PCI function that a program shall drive by VFIO: read from sysfs, nothing is
// opened or changed. `sysfs` is "/sys", but for tests.
#ifndef VIREO_DRIVER_VFIO_PLACE_H
#define VIREO_DRIVER_VFIO_PLACE_H

#include <stdbool.h>
#include <stddef.h>

#define VFIO_ADDRESS_BYTES 24u // "0001:01:10.0" and its NUL; a domain may have up to 8 digits

// "0001:01:10.0" or "01:10.0" (domain 0), in hex, to the form that sysfs has. False: is no address.
bool vfio_parse_address(const char *text, char address[VFIO_ADDRESS_BYTES]);

// The IOMMU group of a function that is bound to vfio-pci. 0; on error -errno and a sentence that
// says what to do: -ENODEV (no such function), -EPERM (has another driver, or none), -ENOTSUP (no
// IOMMU).
int vfio_find_group(const char *sysfs, const char *address, unsigned *group, char *error,
                    size_t error_len);

// The functions of a group that have another driver than vfio-pci, which keep it from being used:
// "0000:01:00.0 (ixgbe), …", cut to `len`. How many there are.
unsigned vfio_list_strangers(const char *sysfs, unsigned group, char *out, size_t len);

#endif

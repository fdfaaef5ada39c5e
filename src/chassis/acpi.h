// SPDX-License-Identifier: BSD-3-Clause
// The two ACPI tables that tell the VM's OS of the segment, as QEMU's -acpitable takes them (ACPI
// 6.4 §5.2.6, §20.2; VT-d §8).
//
// The SSDT has a device PNP0C02 that reserves the ECAM and the remapping unit's registers. Its _INI
// looks where the firmware has placed the carrier; where that is `base`, it enables memory and bus
// mastering there and hides the carrier. Then, and only then, the second device is there: a PCI
// Express host bridge of segment 1. The DMAR table says that one unit stands before all of it.
// Threads: any; no state.
#ifndef VIREO_CHASSIS_ACPI_H
#define VIREO_CHASSIS_ACPI_H

#include <stddef.h>
#include <stdint.h>

#define ACPI_TABLE_MAX_BYTES 1024u
#define ACPI_SSDT_NAME       "ssdt.aml"
#define ACPI_DMAR_NAME       "dmar.aml"

// `base`: of the carrier's BAR, a multiple of its length. Each returns the table's length.
size_t acpi_ssdt_build(uint8_t out[ACPI_TABLE_MAX_BYTES], uint32_t base);
size_t acpi_dmar_build(uint8_t out[ACPI_TABLE_MAX_BYTES], uint32_t base);

// Writes both into `dir`. 0, or -errno with a sentence in `error`, and none is left there.
int acpi_tables_write(const char *dir, uint32_t base, char *error, size_t error_len);
void acpi_tables_remove(const char *dir);

#endif

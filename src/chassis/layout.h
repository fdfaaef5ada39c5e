// SPDX-License-Identifier: BSD-3-Clause
// Where everything is in the carrier's one BAR, and what the VM's firmware and ACPI tables have to
// agree on. Offsets are bytes from the BAR's base.
#ifndef VIREO_CHASSIS_LAYOUT_H
#define VIREO_CHASSIS_LAYOUT_H

#define CHASSIS_MIB           (1u << 20)
#define CHASSIS_BAR_LEN_BYTES (512 * CHASSIS_MIB)

// 4 KiB of configuration space for each of 256 functions on each bus (PCIe §7.2.2).
#define CHASSIS_ECAM_OFFSET    0u
#define CHASSIS_BUSES          16u
#define CHASSIS_ECAM_LEN_BYTES (CHASSIS_BUSES * CHASSIS_MIB)

// The register page of the remapping unit.
#define CHASSIS_DRHD_OFFSET (16 * CHASSIS_MIB)

// Memory for the BARs of what is in the segment, up to the BAR's end.
#define CHASSIS_WINDOW_OFFSET    (32 * CHASSIS_MIB)
#define CHASSIS_WINDOW_LEN_BYTES (CHASSIS_BAR_LEN_BYTES - CHASSIS_WINDOW_OFFSET)

// SeaBIOS on q35 has its 32-bit window at C0000000 to FEC00000: 512 MiB, aligned to their size, fit
// there and nowhere else. OVMF chooses another place, by the VM's memory.
#define CHASSIS_BASE_DEFAULT 0xc0000000u

// The PCI segment that the tables announce; QEMU's own devices are segment 0.
#define CHASSIS_SEGMENT 1u
// The bus of the card, below the root port 00:00.0.
#define CHASSIS_CARD_BUS 1u

// The carrier itself, among QEMU's devices: 0000:00:10.0. Its tables reach it by that address.
#define CHASSIS_CARRIER_SLOT 0x10u
// Configuration register: this value makes the carrier invisible until the next reset, so that no
// OS moves its BAR. The other value says that the OS is at the tables; then it looks at the BAR.
#define CHASSIS_CARRIER_HIDE       0x40u
#define CHASSIS_CARRIER_HIDE_VALUE 0x45444948u // "HIDE"
#define CHASSIS_CARRIER_COME_VALUE 0x454d4f43u // "COME"

// Nobody's, as far as the list of IDs goes; an OS sees the root port only, and drives it by class.
#define CHASSIS_VENDOR_ID           0x5649u // "VI"
#define CHASSIS_CARRIER_DEVICE_ID   0x0001u
#define CHASSIS_ROOT_PORT_DEVICE_ID 0x0002u

#endif

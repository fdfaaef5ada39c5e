// SPDX-License-Identifier: BSD-3-Clause
// Chassis mode: a whole PCI Express segment, with its IOMMU, for one VM whose own kernel is the
// host compute. The VM's QEMU has one device, the carrier, whose BAR holds the segment (layout.h);
// ACPI tables tell the VM's kernel what is in it. Physical addresses are the VM's guest-physical
// ones.
//
//   chassis_create()    memory space, VT-d unit, segment with its root port
//   (the card is put on chassis_segment() at bus CHASSIS_CARD_BUS, and its worker started)
//   chassis_listen()    the carrier's socket
//   chassis_stop()      before the card goes
//   chassis_destroy()
//
// Threads: the loop's. Interrupts come from workers.
#ifndef VIREO_CHASSIS_CHASSIS_H
#define VIREO_CHASSIS_CHASSIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "chassis/layout.h"
#include "mem/gate.h"
#include "pci/access.h"
#include "vfiouser/server.h"

struct chassis;

// `base`: where the carrier's BAR has to be. 0; -EINVAL (base is not a multiple of 512 MiB below
// 4 GiB - 512 MiB, or is 0); -ENOMEM.
int chassis_create(struct gate *gate, uint32_t base, struct chassis **out);
void chassis_destroy(struct chassis *chassis); // stopped, and the card is gone; NULL is fine
struct pci_segment *chassis_segment(const struct chassis *chassis);

// The carrier as a vfio-user server serves it: what chassis_listen() does with it, for who has a
// server of another kind (tests, fuzzing). Its context is the chassis.
void chassis_device_describe(struct chassis *chassis, struct vfiouser_device *out);

// 0, or -errno and a sentence.
int chassis_listen(struct chassis *chassis, sd_event *loop, const char *socket_path, char *error,
                   size_t error_len);
void chassis_stop(struct chassis *chassis);

// Messages by what they were for. One vfio-user message each, reads two (request and reply).
struct chassis_counts {
    uint64_t config_reads, config_writes; // ECAM
    uint64_t iommu_reads, iommu_writes;   // VT-d registers
    uint64_t window_reads, window_writes; // the functions' BARs
    uint64_t interrupts;                  // messages that became a DMA_WRITE
    uint64_t interrupts_lost;             // no client, or an address that nobody answers
    uint64_t iommu_interrupts;            // of `interrupts`, the VT-d unit's own
};
void chassis_counts_get(const struct chassis *chassis, struct chassis_counts *out);
void chassis_messages_get(const struct chassis *chassis, struct vfiouser_counts *out);
pid_t chassis_client_pid(const struct chassis *chassis); // 0 where none
bool chassis_is_booted(const struct chassis *chassis);   // the VM's kernel has read the tables

#endif

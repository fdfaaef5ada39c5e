// SPDX-License-Identifier: BSD-3-Clause
// vireod --chassis: uplinks, card and worker on a chassis, whose one socket is
// RUN_DIR/chassis.sock. The VM's kernel is the host compute: of the config it takes the ports'
// MACs, uplinks and the serial number; what a VF may do is what the VM's administrator says.
// Threads: the control thread, which also runs the loop.
#ifndef VIREO_MACHINE_CHASSIS_MODE_H
#define VIREO_MACHINE_CHASSIS_MODE_H

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "machine/config.h"
#include "ctl/ctl.h"

#define CHASSIS_SOCKET_NAME "chassis.sock"

struct chassis_mode;

// When it returns 0, run_dir has the socket and both ACPI tables. `base`: where the carrier's BAR
// is to be (chassis/layout.h). The process has called mem_sigbus_install(). On error -errno and a
// sentence, and nothing is left.
int chassis_mode_create(const struct card_config *config, const char *run_dir, uint32_t base,
                        sd_event *loop, struct chassis_mode **out, char *error, size_t error_len);
void chassis_mode_destroy(struct chassis_mode *mode); // NULL is fine
void chassis_mode_print(const struct chassis_mode *mode);
// "c0000000", with or without 0x. 0, or -EINVAL where it is no multiple of 512 MiB that fits.
int chassis_mode_base_parse(const char *text, uint32_t *out);

// Context: the mode.
//   chassis.info  {}   {"socket", "ssdt", "dmar", "base", "client_pid", "booted"}
//   stats         {}   the same, cycles, messages, and every function's counters
//   version       {}
extern const struct ctl_method chassis_mode_methods[];

#endif

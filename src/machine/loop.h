// SPDX-License-Identifier: BSD-3-Clause
// The event loop of a process that is a card: vireod's, the demo's, the benchmark's.
#ifndef VIREO_MACHINE_LOOP_H
#define VIREO_MACHINE_LOOP_H

#include <systemd/sd-event.h>

// Ends with 0 on SIGTERM and SIGINT, which it blocks: so call it before there are threads. A peer
// that hangs up is an error code (SIGPIPE is ignored), memory that a guest takes away kills nobody
// (mem_sigbus_install()). 0 and the caller's reference, or -errno.
int machine_loop_create(sd_event **out);

#endif

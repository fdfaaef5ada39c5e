// SPDX-License-Identifier: BSD-3-Clause
// The card of the embedded demo: a process of its own that holds a machine, as vireod does.
#ifndef VIREO_DEMO_CARD_H
#define VIREO_DEMO_CARD_H

#define DEMO_CARD_VFS 6u

// Runs until SIGTERM, with sockets in run_dir; writes one byte to ready_fd when they are there.
// Returns the exit status. Errors go to stderr.
int demo_card_run(const char *run_dir, int ready_fd);

#endif

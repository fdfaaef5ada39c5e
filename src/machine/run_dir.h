// SPDX-License-Identifier: BSD-3-Clause
// The run directory: where a daemon's sockets are. One daemon a directory.
#ifndef VIREO_MACHINE_RUN_DIR_H
#define VIREO_MACHINE_RUN_DIR_H

#include <stddef.h>

#define RUN_DIR_DEFAULT "/run/vireo"
#define RUN_DIR_CTL     "ctl.sock"

// Makes the directory (its parent exists) if it is not there, and takes the lock on it. The lock is
// the fd's: it goes with the process. 0 and *fd; -EBUSY: another daemon has it; on error a
// sentence.
int run_dir_take(const char *path, int *fd, char *error, size_t error_len);
// "DIR/ctl.sock". 0, or -ENAMETOOLONG with a sentence.
int run_dir_ctl_path(const char *path, char *out, size_t out_len, char *error, size_t error_len);

#endif

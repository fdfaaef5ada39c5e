// SPDX-License-Identifier: BSD-3-Clause
// The command line's commands, as its files share them. Private to vireo.
#ifndef VIREO_APP_VIREO_H
#define VIREO_APP_VIREO_H

#include <stdbool.h>

#define VIREO_ARGS_MAX 16u

struct invocation {
    const char *run_dir;
    bool json;
    const char *memory; // qemu-args --memory
    unsigned arg_count;
    const char *args[VIREO_ARGS_MAX];
};

// Each returns the exit status; errors have been told on stderr.
int vireo_stats(const struct invocation *inv);
int vireo_vf_list(const struct invocation *inv);
int vireo_vf_set(const struct invocation *inv);
int vireo_pci_list(const struct invocation *inv);
int vireo_pci_dump(const struct invocation *inv);
int vireo_qemu_args(const struct invocation *inv);
int vireo_chassis_qemu_args(const struct invocation *inv);
int vireo_demo(const struct invocation *inv);
int vireo_version(const struct invocation *inv);

#endif

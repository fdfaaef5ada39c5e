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
    const char *qemu;   // qemu-args --qemu; NULL: not given
    unsigned arg_count;
    const char *args[VIREO_ARGS_MAX];
};

// Whether the QEMU of --qemu can be used; else that in PATH, which is worth a note only. False:
// told on stderr.
bool vireo_qemu_is_good(const struct invocation *inv);

// Whether ctl_call() failed with `ret` and `error` since this daemon has no such method: it runs in
// the other mode.
bool vireo_method_is_missing(int ret, const char *error);

// Each returns the exit status; errors have been told on stderr.
int vireo_stats(const struct invocation *inv);
int vireo_vf_list(const struct invocation *inv);
int vireo_vf_set(const struct invocation *inv);
int vireo_pci_list(const struct invocation *inv);
int vireo_pci_dump(const struct invocation *inv);
int vireo_qemu_args(const struct invocation *inv);
int vireo_chassis_qemu_args(const struct invocation *inv);
int vireo_version(const struct invocation *inv);

#endif

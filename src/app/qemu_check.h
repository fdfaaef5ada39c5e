// SPDX-License-Identifier: BSD-3-Clause
// Whether a QEMU can be the client: it lists the device vfio-user-pci, as QEMU has since 10.1 where
// it was built with it. Threads: any; starts processes, and waits for them up to 20 s.
#ifndef VIREO_APP_QEMU_CHECK_H
#define VIREO_APP_QEMU_CHECK_H

#include <stddef.h>

#define QEMU_DEFAULT "qemu-system-x86_64"

// `qemu`: a path, or a name that is looked up in PATH. 0; or a sentence in `why` with -ENOENT
// (there is no such program), -ENOTSUP (it has no vfio-user-pci; the sentence has its version),
// -ETIMEDOUT, or another -errno of starting it.
int qemu_check(const char *qemu, char *why, size_t why_len);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// A capture for an uplink to replay. No state.
#ifndef VIREO_BENCH_CAPTURE_H
#define VIREO_BENCH_CAPTURE_H

#include <stdint.h>

#define BENCH_CAPTURE_PATH_LEN 64u

// Writes a capture of broadcast frames to a temporary file, whose name it gives. 0 or -errno.
int bench_capture_make(uint32_t size, char path[BENCH_CAPTURE_PATH_LEN]);

#endif

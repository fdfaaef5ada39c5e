// SPDX-License-Identifier: BSD-3-Clause
// `vireo demo`: a card and two guests in processes of their own, shown and checked in a few
// seconds.
#ifndef VIREO_DEMO_EMBEDDED_H
#define VIREO_DEMO_EMBEDDED_H

#include <stdbool.h>

// Takes SIGINT and SIGTERM while it runs. `json`: print JSON on stdout instead of a table. Returns
// the exit status: not 0 where a check failed.
int demo_embedded_run(bool json);

#endif

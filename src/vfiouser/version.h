// SPDX-License-Identifier: BSD-3-Clause
// VERSION's payload: protocol version and capabilities, as JSON. Pure; any thread.
#ifndef VIREO_VFIOUSER_VERSION_H
#define VIREO_VFIOUSER_VERSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VFIOUSER_VERSION_MAJOR 0u
#define VFIOUSER_VERSION_MINOR 1u

// A side's capabilities; what it did not name has the protocol's default. Bits of `named` say
// which it named.
enum vfiouser_capability {
    VFIOUSER_CAP_MAX_MSG_FDS,        // default 1
    VFIOUSER_CAP_MAX_DATA_XFER_SIZE, // bytes; default 1 MiB
    VFIOUSER_CAP_MAX_DMA_MAPS,       // default 65535
    VFIOUSER_CAP_PGSIZES,            // mask of page sizes; default 4096
    VFIOUSER_CAP_WRITE_MULTIPLE,     // 0 or 1; default 0
    VFIOUSER_CAPS
};

struct vfiouser_version {
    uint16_t major, minor;
    uint64_t caps[VFIOUSER_CAPS];
    uint32_t named;
};

// What we offer.
void vfiouser_version_ours(struct vfiouser_version *out);
// 0, or -EINVAL with a static reason: no NUL at the end (or one before it), not JSON, not the types
// that the specification has, a limit that leaves nothing to work with. Unknown names are ignored.
int vfiouser_version_parse(const uint8_t *payload, size_t len, struct vfiouser_version *out,
                           const char **why);
// What both sides have: the smaller limits, and only what the client named. -EINVAL where the major
// version differs.
int vfiouser_version_agree(const struct vfiouser_version *client, struct vfiouser_version *out);
// Writes the payload (names what `in` names), NUL included. Its length, or -ENOSPC/-ENOMEM.
int vfiouser_version_build(uint8_t *payload, size_t size, const struct vfiouser_version *in);

#endif

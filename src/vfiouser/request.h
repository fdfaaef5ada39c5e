// SPDX-License-Identifier: BSD-3-Clause
// One request against a device: checks it, calls the device, and says what to answer. Knows no
// connection: whole messages in, whole replies out. The first VERSION is the server's.
// Threads: the device's.
#ifndef VIREO_VFIOUSER_REQUEST_H
#define VIREO_VFIOUSER_REQUEST_H

#include "vfiouser/message.h"
#include "vfiouser/server.h"
#include "vfiouser/socket.h"

// Grows as replies need it; one a server.
struct vfiouser_reply {
    uint8_t *payload;
    size_t len, capacity;
    int fd;            // -1, or one that goes with the reply; the device's
    bool device_asked; // the request came through all checks: an error is the device's own
};
void vfiouser_reply_free(struct vfiouser_reply *reply);

struct vfiouser_session {
    const struct vfiouser_device *device;
    struct vfiouser_counts *counts;
    uint32_t data_max; // agreed max_data_xfer_size
};

// 0: `reply` is the answer. -errno: an error reply is, and nothing (or, in a REGION_WRITE_MULTI,
// not everything) was done. The caller looks at NO_REPLY. Takes from the message the fds that the
// device took. Counts the message, and what is malformed.
int vfiouser_request_handle(const struct vfiouser_session *session,
                            struct vfiouser_message *message, struct vfiouser_reply *reply);

#endif

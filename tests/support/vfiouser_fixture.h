// SPDX-License-Identifier: BSD-3-Clause
// The real server with the toy device behind it, on a loop that the test itself turns: whatever a
// test sends has been dealt with when fixture_pump() returns. For tests with raw clients.
#ifndef VIREO_TESTS_VFIOUSER_FIXTURE_H
#define VIREO_TESTS_VFIOUSER_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "support/toy_vfiouser_device.h"
#include "vfiouser/server.h"

// What fixture_reply() and those that use it answer, besides 0 and -errno.
#define NO_REPLY_CAME (-1000)
#define CLOSED        (-1001)

struct fixture {
    char dir[32], path[64];
    sd_event *loop;
    struct toy_device *toy;
    struct vfiouser_server *server;
    int free_fd;
    uint8_t reply[16 + 4096]; // the last
    size_t reply_len;
    int reply_fd; // that came with it, or -1; the test's to close
};

// A server named toy0, with mappable pages. Teardown checks that it still serves and leaked no fd.
int fixture_setup(void **state);
int fixture_teardown(void **state);
void fixture_pump(struct fixture *f);
struct vfiouser_counts fixture_counts(struct fixture *f);
// A whole well-behaved session.
void fixture_assert_well(struct fixture *f);

// A connection that the server has accepted; the same after VERSION; its end.
int fixture_client(struct fixture *f);
int fixture_attached_client(struct fixture *f);
void fixture_client_end(struct fixture *f, int sock);

// The next message from the server: 0 or the errno it carries, negative; NO_REPLY_CAME; CLOSED.
int fixture_reply(struct fixture *f, int sock);
// Each sends a request, turns the loop and takes the reply.
int fixture_request_fds(struct fixture *f, int sock, unsigned command, const void *payload,
                        size_t len, const int *fds, unsigned fd_count);
int fixture_request(struct fixture *f, int sock, unsigned command, const void *payload, size_t len);
int fixture_version(struct fixture *f, int sock);
int fixture_region_access(struct fixture *f, int sock, bool write, unsigned region, uint64_t offset,
                          uint32_t count);
int fixture_dma_map(struct fixture *f, int sock, uint64_t iova, uint64_t len, const int *fds,
                    unsigned fd_count);
int fixture_set_vectors(struct fixture *f, int sock, unsigned start, unsigned count, const int *fds,
                        unsigned fd_count);

#endif

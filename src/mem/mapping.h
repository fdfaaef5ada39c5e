// SPDX-License-Identifier: BSD-3-Clause
// One mapping of memory into this process: a peer's file, which can vanish under us, or our own
// anonymous memory. Checks the file, places the mapping so that superpages are possible, and
// survives the loss of the file (mem_sigbus_install() in mem/space.h).
// Threads: any; nobody may touch the memory while it is unmapped.
#ifndef VIREO_MEM_MAPPING_H
#define VIREO_MEM_MAPPING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

// Below this a region's length decides nothing; at and above it, placement is modulo 1 GiB.
#define MAPPING_PAGE_BYTES  4096u
#define MAPPING_LARGE_BYTES (2ull << 20)
#define MAPPING_HUGE_BYTES  (1ull << 30)

struct mapping {
    uint8_t *host;
    uint64_t len_bytes;
    bool writable;
    bool may_shrink;  // a file without F_SEAL_SHRINK
    atomic_bool dead; // the file was lost: zero pages now
    int dead_fd;      // eventfd, or -1
    uint32_t slot;    // in the table that the SIGBUS handler reads; MAPPING_NO_SLOT: none
};

#define MAPPING_NO_SLOT UINT32_MAX

// Maps [offset, offset+len) of `fd`, at an address equal to `congruent` modulo 2 MiB (1 GiB where
// len >= 1 GiB). 0; -EINVAL (not a regular file of local memory or disk, too short, misaligned),
// -ENOSPC (no room for another mapping in this process), or mmap's error. `m` stays where it is
// until mapping_destroy().
int mapping_create_file(struct mapping *m, int fd, uint64_t offset_bytes, uint64_t len_bytes,
                        bool writable, uint64_t congruent, int dead_fd);
// Zeroed memory of our own. 0, -ENOSPC, or mmap's error.
int mapping_create_anonymous(struct mapping *m, uint64_t len_bytes);
void mapping_destroy(struct mapping *m);

#endif

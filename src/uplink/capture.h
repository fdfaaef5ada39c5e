// SPDX-License-Identifier: BSD-3-Clause
// A capture file, record by record: classic pcap and pcapng, micro- and nanoseconds, by libpcap;
// Ethernet only. One of at most CAPTURE_MEMORY_MAX bytes is read into memory when it is opened, so
// that whoever goes through it copies nothing and waits for no disk; of a larger one the next
// records are read as they are asked for. Private to src/uplink. One thread at a time.
#ifndef VIREO_UPLINK_CAPTURE_H
#define VIREO_UPLINK_CAPTURE_H

#include <stddef.h>
#include <stdint.h>

#include "uplink/uplink.h"

struct stat;

#define CAPTURE_MEMORY_MAX                                                                         \
    (128ull << 20) // of the file; in memory it may be two and a half times that
#define CAPTURE_AT_HAND (2u * UPLINK_BATCH) // records whose bytes stay, the last one among them

struct capture;

struct capture_record {
    const uint8_t *data; // NULL where it is no frame for the cable: cut, too short or too long
    uint32_t len_bytes;
    uint64_t stamp_ns; // as the file has it: any value
};

// 0 and *out, and the file's *st; or -errno with a sentence. Regular files only: a pipe could block
// the worker. `memory_max`: CAPTURE_MEMORY_MAX.
int capture_open(const char *path, uint64_t memory_max, struct capture **out, struct stat *st,
                 char *error, size_t error_len);
void capture_close(struct capture *capture); // NULL allowed
// 1 and *out; 0 at the end; -EIO where the file cannot be read on, with a sentence at *why, which
// lasts until the capture is closed.
int capture_next(struct capture *capture, struct capture_record *out, const char **why);
// Back to the first record. 0, or -errno with a sentence: a capture that is not in memory is opened
// anew.
int capture_rewind(struct capture *capture, char *error, size_t error_len);

// A regular file as a descriptor, or -errno with a sentence. Does not hang on a FIFO.
int capture_regular_file(const char *path, int flags, int *out, struct stat *st, char *error,
                         size_t error_len);

#endif

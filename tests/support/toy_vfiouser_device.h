// SPDX-License-Identifier: BSD-3-Clause
// A PCI device for tests of the protocol, behind vfiouser/server.h: BAR0 is RAM, of which two pages
// may be mapped, with a small copy engine in its first bytes; BAR2 has the MSI-X table's place.
// Also a server for it in a thread of its own, for tests with the blocking client.
// Threads: the device is its loop's; tests look into it between requests.
#ifndef VIREO_TESTS_TOY_VFIOUSER_DEVICE_H
#define VIREO_TESTS_TOY_VFIOUSER_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vfiouser/server.h"

#define TOY_BAR0_LEN      0x4000u
#define TOY_MAPPED_OFFSET 0x1000u
#define TOY_MAPPED_LEN    0x2000u
#define TOY_BAR2_LEN      0x1000u
#define TOY_ROM_LEN       0x3000u
#define TOY_CONFIG_LEN    0x1000u
#define TOY_VECTORS       4u
#define TOY_DMA_MAPS_MAX  1024u

// The copy engine, in BAR0. A write to GO copies LEN bytes from IOVA SRC to IOVA DST, then signals
// the vector that was written; GO reads back 1 where both ranges were mapped, else 0.
#define TOY_REG_SRC 0x00u // 64 bits
#define TOY_REG_DST 0x08u // 64 bits
#define TOY_REG_LEN 0x10u // 32 bits
#define TOY_REG_GO  0x14u // 32 bits

enum { TOY_BAR0 = 0, TOY_BAR2 = 2, TOY_ROM = 6, TOY_CONFIG = 7, TOY_MSIX = 2 };

struct toy_map {
    uint64_t iova, len_bytes;
    bool read, write;
    uint8_t *host; // NULL: came without an fd
};

struct toy_device {
    uint8_t *bar0; // shared mapping of bar0_fd
    int bar0_fd;
    uint8_t bar2[TOY_BAR2_LEN];
    uint8_t config[TOY_CONFIG_LEN];
    struct toy_map maps[TOY_DMA_MAPS_MAX];
    unsigned map_count;
    int vectors[TOY_VECTORS]; // -1: not armed
    int error_irq;

    unsigned attaches, detaches, resets, maps_seen, unmaps_seen, irq_calls, irq_disables;
    pid_t client_pid;
    int attach_error; // what attach answers, where not 0
    // Called in a BAR0 write to offset 0x3000, for tests that need something to happen in there.
    void (*poke)(void *ctx);
    void *poke_ctx;
};

// `mapped`: with or without pages that the client may map.
int toy_device_create(struct toy_device **out);
void toy_device_destroy(struct toy_device *toy);
void toy_device_describe(struct toy_device *toy, const char *name, bool mapped,
                         struct vfiouser_device *out);

struct toy_server;

int toy_server_start(struct toy_device *toy, const char *name, const char *socket_path, bool mapped,
                     struct toy_server **out, char *error, size_t error_len);
// Runs `fn` on the server's thread and waits for it.
void toy_server_call(struct toy_server *toy_server,
                     void (*fn)(struct vfiouser_server *server, void *ctx), void *ctx);
void toy_server_stop(struct toy_server *toy_server);

#endif

// SPDX-License-Identifier: BSD-3-Clause
// vfio-user server: one listening socket a device, at most one client at a time. Runs on the
// caller's sd-event loop; never blocks on a peer, and never sends the client a request that needs a
// reply while the client waits for ours (QEMU would deadlock).
//
// A client that connects while another holds the device gets its VERSION answered with EBUSY and is
// closed. What a client sends is checked before any callback sees it: sizes, alignment, counts,
// fds. A malformed message gets an error reply where the header could be read (EINVAL), and the
// connection is closed where framing is lost (a size below the header's or above 1 MiB of data),
// and where its first message is not VERSION. What the server has not gets ENOTSUP:
// GET_REGION_IO_FDS, migration, masking and triggering interrupts, dirty bitmaps. A client that
// does not read its replies is dropped once 4 MiB of them wait. Of clients that connect and send no
// VERSION the oldest makes room for new ones.
//
// Threads: the loop's, except vfiouser_server_post_dma_write().
#ifndef VIREO_VFIOUSER_SERVER_H
#define VIREO_VFIOUSER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#define VFIOUSER_REGIONS     9u // VFIO's PCI regions: BAR0-5, ROM, config, VGA
#define VFIOUSER_IRQS        5u // INTx, MSI, MSI-X, error, request
#define VFIOUSER_MMAPS_MAX   4u
#define VFIOUSER_VECTORS_MAX 64u

struct vfiouser_region {
    uint64_t size_bytes; // 0: not there
    bool read, write;
    // Pages that the client may map; while any region of the device has one, QEMU makes every write
    // of the device synchronous.
    unsigned mmap_count;
    struct {
        uint64_t offset, len_bytes; // in the region; multiples of 4096
    } mmap[VFIOUSER_MMAPS_MAX];
    int mmap_fd;             // stays the caller's
    uint64_t mmap_fd_offset; // where the region's offset 0 would be in the file
};

struct vfiouser_dma_map {
    uint64_t iova, len_bytes, fd_offset;
    bool read, write;
    int fd; // -1: not mappable. The server closes it after the callback.
};

// Callbacks return 0 or -errno, which becomes the reply. `dev` is vfiouser_device.ctx.
struct vfiouser_device_ops {
    // A client finished VERSION and holds the device now / is gone (all its DMA maps are the
    // device's to drop). -errno from attach is VERSION's answer. The server has no client any more
    // when it calls detach.
    int (*attach)(void *dev, pid_t client_pid);
    void (*detach)(void *dev);
    // Within the region, which allows it. `len` 1, 2, 4 or 8 and aligned to it, except for config
    // space and ROM: any range that is not empty. `buf` is zeroed before a read.
    int (*region_read)(void *dev, unsigned region, uint64_t offset, void *buf, uint32_t len_bytes);
    int (*region_write)(void *dev, unsigned region, uint64_t offset, const void *buf,
                        uint32_t len_bytes);
    // iova, len (not 0; iova+len at most 2^64) and, where there is an fd, fd_offset are multiples
    // of 4096. The device answers -EEXIST for an overlap, and has to bound the number of maps: we
    // announce 65535. Nothing is known of the fd: neither its kind nor its size.
    int (*dma_map)(void *dev, const struct vfiouser_dma_map *map);
    // Everything mapped in [iova, iova+len); ranges never mapped are fine. all: the whole space,
    // the other two are 0.
    int (*dma_unmap)(void *dev, uint64_t iova, uint64_t len_bytes, bool all);
    // Vectors [start, start+count) of `index`: fds[i] is signalled on interrupt, -1 disarms it.
    // The callback owns the fds on success: eventfds, made non-blocking; but the client shares the
    // flag and the count, so a plain write() may block all the same. start+count is within
    // irq_counts[index]. count 0: disable the index, fds is NULL.
    int (*set_irqs)(void *dev, unsigned index, unsigned start, unsigned count, const int *fds);
    int (*reset)(void *dev); // DEVICE_RESET. NULL: not announced, ENOTSUP
};

struct vfiouser_device {
    const char *name; // for logs; copied, up to 63 characters
    struct vfiouser_region regions[VFIOUSER_REGIONS];
    unsigned irq_counts[VFIOUSER_IRQS]; // up to VFIOUSER_VECTORS_MAX
    // It calls vfiouser_server_post_dma_write(): the server finds out, after the client's first
    // DEVICE_RESET, which of QEMU's two forms of DMA_WRITE the client has.
    bool posts_dma;
    const struct vfiouser_device_ops *ops;
    void *ctx;
};

struct vfiouser_server;

// Listens on `socket_path` (a stale socket file is removed, a live one is -EADDRINUSE). The
// socket's mode is 0600. `device` is copied, its ops and what they reach are not. 0; on error
// -errno and a sentence in `error`.
int vfiouser_server_create(sd_event *loop, const char *socket_path,
                           const struct vfiouser_device *device, struct vfiouser_server **out,
                           char *error, size_t error_len);
// Detaches, unlinks the socket. Not from a callback of the device. NULL is fine.
void vfiouser_server_destroy(struct vfiouser_server *server);
// Closes the present client, if any (its memory died). From one of its own callbacks it is closed,
// and detach called, when the callback has returned; its request is not answered.
void vfiouser_server_drop_client(struct vfiouser_server *server, const char *why);
pid_t vfiouser_server_client_pid(const struct vfiouser_server *server); // 0 where none

// Asks the client to write `len_bytes` of `data` at `address` of the device's DMA space, and wants
// no reply: so it cannot deadlock, and nobody hears whether it worked. QEMU turns a write of 4
// bytes to FEExxxxx into an interrupt, and drops what comes while the device may not master the
// bus. Before a client's form is known (vfiouser_device.posts_dma) it gets the specification's.
// Any thread, while the server exists; does not block. 0; -ENOTCONN where there is no client;
// -ENOBUFS and other -errno where the connection is lost (the loop then closes it).
#define VFIOUSER_POST_MAX_BYTES 64u
int vfiouser_server_post_dma_write(struct vfiouser_server *server, uint64_t address,
                                   const void *data, uint32_t len_bytes);

// Messages since creation, by command number (0…VFIOUSER_COMMANDS-1); [0] counts what was
// malformed, also under its own number where it has one and the right length.
#define VFIOUSER_COMMANDS 24u
struct vfiouser_counts {
    uint64_t received[VFIOUSER_COMMANDS];
    uint64_t region_writes_posted; // each of a REGION_WRITE_MULTI, too
    // Region accesses by region, to tell doorbells from the rest.
    uint64_t reads_by_region[VFIOUSER_REGIONS], writes_by_region[VFIOUSER_REGIONS];
    uint64_t refused_clients;
    uint64_t dma_writes_posted; // by us
    uint64_t dma_writes_failed; // of them, as the client told us
};
void vfiouser_server_counts_get(const struct vfiouser_server *server, struct vfiouser_counts *out);
const char *vfiouser_command_name(unsigned command); // "DMA_MAP"; "?" where unknown

#endif

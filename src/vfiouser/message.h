// SPDX-License-Identifier: BSD-3-Clause
// vfio-user messages: the wire structures, and pure parsing and building of them. Nothing here
// touches a socket or a device. What a peer sent is copied out of the payload once and checked
// for everything that does not need to know the device; the rest is request.c's.
//
// The wire is little-endian here. (The specification says "host endianness"; client and server
// share a machine, and Vireo's machines are little-endian.) Lengths and offsets are bytes. Parsers
// return 0, or the -errno that the reply shall carry. Any thread.
#ifndef VIREO_VFIOUSER_MESSAGE_H
#define VIREO_VFIOUSER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VFIOUSER_HEADER_LEN  16u
#define VFIOUSER_FDS_MAX     16u // received in one message; QEMU accepts no more than 16
#define VFIOUSER_DATA_MAX    (1024u * 1024u) // the protocol's default max_data_xfer_size
#define VFIOUSER_MULTI_MAX   256u            // writes in a REGION_WRITE_MULTI; QEMU sends up to 200
#define VFIOUSER_VERSION_MAX 4096u           // VERSION's payload
#define VFIOUSER_ARGSZ_MAX   4096u           // payload of what has an argsz
#define VFIOUSER_PAYLOAD_MAX (16u + VFIOUSER_DATA_MAX)
#define VFIOUSER_PAGE        4096u
#define VFIOUSER_DMA_MAPS    65535u // max_dma_maps, the protocol's default

enum vfiouser_command {
#define COMMAND(number, name, handler, fds_max, len_min, len_max) VFIOUSER_##name = (number),
#include "vfiouser/commands.def"
#undef COMMAND
};

// What the table says of a command.
struct vfiouser_command_info {
    const char *name; // NULL: no such command
    unsigned fds_max;
    uint32_t len_min, len_max;
};
const struct vfiouser_command_info *vfiouser_command_info(unsigned command); // NULL: no such

// Wire structures. Read and written through the functions below only.
struct vfiouser_wire_header {
    uint16_t id;
    uint16_t command;
    uint32_t size; // of the whole message, header included
    uint32_t flags;
    uint32_t error; // errno, in replies
};
_Static_assert(sizeof(struct vfiouser_wire_header) == VFIOUSER_HEADER_LEN, "wire");
_Static_assert(offsetof(struct vfiouser_wire_header, error) == 12, "wire");

#define VFIOUSER_FLAG_TYPE     0xfu
#define VFIOUSER_TYPE_COMMAND  0x0u
#define VFIOUSER_TYPE_REPLY    0x1u
#define VFIOUSER_FLAG_NO_REPLY 0x10u
#define VFIOUSER_FLAG_ERROR    0x20u

struct vfiouser_wire_version {
    uint16_t major, minor; // then JSON, NUL-terminated
};
_Static_assert(sizeof(struct vfiouser_wire_version) == 4, "wire");

struct vfiouser_wire_dma_map {
    uint32_t argsz, flags;
    uint64_t offset, address, size;
};
_Static_assert(sizeof(struct vfiouser_wire_dma_map) == 32, "wire");
_Static_assert(offsetof(struct vfiouser_wire_dma_map, address) == 16, "wire");

#define VFIOUSER_DMA_MAP_READ    0x1u
#define VFIOUSER_DMA_MAP_WRITE   0x2u
#define VFIOUSER_DMA_MAP_MMAP    0x4u
#define VFIOUSER_DMA_MAP_FILE_IO 0x8u

struct vfiouser_wire_dma_unmap {
    uint32_t argsz, flags;
    uint64_t address, size;
};
_Static_assert(sizeof(struct vfiouser_wire_dma_unmap) == 24, "wire");
_Static_assert(offsetof(struct vfiouser_wire_dma_unmap, size) == 16, "wire");

#define VFIOUSER_DMA_UNMAP_BITMAP 0x1u
#define VFIOUSER_DMA_UNMAP_ALL    0x2u

struct vfiouser_wire_device_info {
    uint32_t argsz, flags, num_regions, num_irqs;
};
_Static_assert(sizeof(struct vfiouser_wire_device_info) == 16, "wire");

#define VFIOUSER_DEVICE_RESETS 0x1u
#define VFIOUSER_DEVICE_PCI    0x2u

struct vfiouser_wire_region_info {
    uint32_t argsz, flags, index, cap_offset;
    uint64_t size, offset;
};
_Static_assert(sizeof(struct vfiouser_wire_region_info) == 32, "wire");
_Static_assert(offsetof(struct vfiouser_wire_region_info, size) == 16, "wire");

#define VFIOUSER_REGION_READABLE  0x1u
#define VFIOUSER_REGION_WRITEABLE 0x2u
#define VFIOUSER_REGION_MAPPABLE  0x4u
#define VFIOUSER_REGION_CAPS      0x8u

// The sparse mmap capability, then `count` areas.
struct vfiouser_wire_sparse {
    uint16_t id, version;
    uint32_t next;
    uint32_t count, reserved;
};
_Static_assert(sizeof(struct vfiouser_wire_sparse) == 16, "wire");
struct vfiouser_wire_sparse_area {
    uint64_t offset, size;
};
_Static_assert(sizeof(struct vfiouser_wire_sparse_area) == 16, "wire");

#define VFIOUSER_CAP_SPARSE_MMAP 1u

struct vfiouser_wire_irq_info {
    uint32_t argsz, flags, index, count;
};
_Static_assert(sizeof(struct vfiouser_wire_irq_info) == 16, "wire");

#define VFIOUSER_IRQ_EVENTFD 0x1u

struct vfiouser_wire_irq_set {
    uint32_t argsz, flags, index, start, count;
};
_Static_assert(sizeof(struct vfiouser_wire_irq_set) == 20, "wire");
_Static_assert(offsetof(struct vfiouser_wire_irq_set, count) == 16, "wire");

#define VFIOUSER_IRQ_DATA_NONE      0x01u
#define VFIOUSER_IRQ_DATA_BOOL      0x02u
#define VFIOUSER_IRQ_DATA_EVENTFD   0x04u
#define VFIOUSER_IRQ_DATA           0x07u
#define VFIOUSER_IRQ_ACTION_MASK    0x08u
#define VFIOUSER_IRQ_ACTION_UNMASK  0x10u
#define VFIOUSER_IRQ_ACTION_TRIGGER 0x20u
#define VFIOUSER_IRQ_ACTION         0x38u

struct vfiouser_wire_region_access {
    uint64_t offset;
    uint32_t region, count; // then data, in REGION_WRITE and in REGION_READ's reply
};
_Static_assert(sizeof(struct vfiouser_wire_region_access) == 16, "wire");
_Static_assert(offsetof(struct vfiouser_wire_region_access, count) == 12, "wire");

// DMA_WRITE. The specification's count has 64 bits, and so has that of QEMU 11.1; the client's
// first form, in the QEMU that it came with, has a count of 32 bits, the data right behind it, and
// wants 4 more bytes at the end (the padding of its structure counts as a part of the message).
struct vfiouser_wire_dma_write {
    uint64_t address;
    uint64_t count; // then data
};
#define VFIOUSER_DMA_WRITE_FIXED 16u
_Static_assert(sizeof(struct vfiouser_wire_dma_write) == VFIOUSER_DMA_WRITE_FIXED, "wire");
#define VFIOUSER_DMA_WRITE_SHORT 12u // up to the data, in the first form

struct vfiouser_wire_multi_write {
    uint64_t offset;
    uint32_t region, count;
    uint8_t data[8];
};
_Static_assert(sizeof(struct vfiouser_wire_multi_write) == 24, "wire");

// A header in host order.
struct vfiouser_header {
    uint16_t id, command;
    uint32_t size, flags, error;
};
// -EPROTO where size is below the header's or above the largest message there is: framing is lost.
int vfiouser_header_parse(const uint8_t bytes[VFIOUSER_HEADER_LEN], struct vfiouser_header *out);
void vfiouser_header_build(uint8_t bytes[VFIOUSER_HEADER_LEN], const struct vfiouser_header *h);

struct vfiouser_dma_map_request {
    uint64_t iova, len_bytes, fd_offset; // fd_offset is 0 where no fd came
    bool read, write;
};
int vfiouser_dma_map_parse(const uint8_t *payload, size_t len, unsigned fd_count,
                           struct vfiouser_dma_map_request *out);
// Each build returns the length of what it wrote.
size_t vfiouser_dma_map_build(uint8_t *payload, const struct vfiouser_dma_map_request *in);

struct vfiouser_dma_unmap_request {
    uint64_t iova, len_bytes;
    bool all;
};
int vfiouser_dma_unmap_parse(const uint8_t *payload, size_t len,
                             struct vfiouser_dma_unmap_request *out);
size_t vfiouser_dma_unmap_build(uint8_t *payload, const struct vfiouser_dma_unmap_request *in);

// What GET_INFO, GET_REGION_INFO and GET_IRQ_INFO ask. `reply_len` is the fixed part of the reply:
// an argsz below it is -EINVAL. `index` is read where the request has one.
struct vfiouser_query {
    uint32_t argsz, index;
};
int vfiouser_query_parse(unsigned command, const uint8_t *payload, size_t len,
                         struct vfiouser_query *out);
size_t vfiouser_query_build(unsigned command, uint8_t *payload, const struct vfiouser_query *in);

struct vfiouser_device_info {
    uint32_t flags, regions, irqs;
};
size_t vfiouser_device_info_build(uint8_t *payload, const struct vfiouser_device_info *in);

// GET_REGION_INFO's reply. `argsz` is what the client has room for: where the areas do not fit,
// only the fixed part is written, with the length that would be needed. An area that covers the
// whole region needs no capability. `payload` has room for VFIOUSER_REGION_INFO_MAX.
#define VFIOUSER_AREAS_MAX       4u
#define VFIOUSER_REGION_INFO_MAX (32u + 16u + 16u * VFIOUSER_AREAS_MAX)
struct vfiouser_region_info {
    uint32_t index, flags; // VFIOUSER_REGION_*; _CAPS is the functions' own
    uint64_t size, offset; // offset: of the region's byte 0 in the fd
    unsigned area_count;
    struct {
        uint64_t offset, len_bytes;
    } areas[VFIOUSER_AREAS_MAX];
    uint32_t argsz; // parse: what the full reply needs
};
size_t vfiouser_region_info_build(uint8_t *payload, uint32_t argsz,
                                  const struct vfiouser_region_info *in);
// -EPROTO where the reply contradicts itself. Areas beyond VFIOUSER_AREAS_MAX are left out.
int vfiouser_region_info_parse(const uint8_t *payload, size_t len,
                               struct vfiouser_region_info *out);

size_t vfiouser_irq_info_build(uint8_t *payload, uint32_t index, uint32_t count);
int vfiouser_irq_info_parse(const uint8_t *payload, size_t len, uint32_t *count);

struct vfiouser_irq_set_request {
    uint32_t index, start, count;
    // What is asked: fds (or their absence) for vectors; disable the whole index (count is 0).
    bool disable;
};
// -ENOTSUP: valid, but masking or triggering, which this server has not. `irq_counts`: vectors of
// each index, VFIOUSER_IRQS of them.
int vfiouser_irq_set_parse(const uint8_t *payload, size_t len, unsigned fd_count,
                           const unsigned *irq_counts, struct vfiouser_irq_set_request *out);
size_t vfiouser_irq_set_build(uint8_t *payload, const struct vfiouser_irq_set_request *in);

struct vfiouser_region_access {
    uint64_t offset;
    uint32_t region, count;
    const uint8_t *data; // into the payload; NULL in a read
};
int vfiouser_region_read_parse(const uint8_t *payload, size_t len,
                               struct vfiouser_region_access *out);
int vfiouser_region_write_parse(const uint8_t *payload, size_t len,
                                struct vfiouser_region_access *out);
// The 16 bytes in front of the data, in requests and replies alike.
size_t vfiouser_region_access_build(uint8_t *payload, const struct vfiouser_region_access *in);
// A DMA_WRITE of `len_bytes`: VFIOUSER_DMA_WRITE_FIXED bytes and as many as the data has, in both
// forms. `payload` has room for them.
size_t vfiouser_dma_write_build(uint8_t *payload, bool short_count, uint64_t address,
                                const void *data, uint32_t len_bytes);
// A DMA_WRITE that writes nothing whichever form its reader has, and tells which: to the first form
// it is one of no bytes, which works; to the specification's it has too few bytes for its count.
// VFIOUSER_DMA_WRITE_FIXED + 4 bytes.
size_t vfiouser_dma_write_probe_build(uint8_t *payload);
// The number of writes, or -EINVAL where it does not agree with `len`.
int vfiouser_write_multi_count(const uint8_t *payload, size_t len);
// Write `i` of a payload that vfiouser_write_multi_count() accepted.
int vfiouser_write_multi_at(const uint8_t *payload, unsigned i, struct vfiouser_region_access *out);

#endif

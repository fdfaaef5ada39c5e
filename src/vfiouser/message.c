// SPDX-License-Identifier: BSD-3-Clause
#include "vfiouser/message.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/le.h"
#include "vfiouser/server.h"

_Static_assert(VFIOUSER_AREAS_MAX == VFIOUSER_MMAPS_MAX, "as many areas as a device may have");

static const struct vfiouser_command_info commands[VFIOUSER_COMMANDS] = {
#define COMMAND(number, name, handler, fds_max, len_min, len_max)                                  \
    [number] = {#name, fds_max, len_min, len_max},
#include "vfiouser/commands.def"
#undef COMMAND
};

const struct vfiouser_command_info *vfiouser_command_info(unsigned command)
{
    return command < VFIOUSER_COMMANDS && commands[command].name ? &commands[command] : NULL;
}

const char *vfiouser_command_name(unsigned command)
{
    const struct vfiouser_command_info *info = vfiouser_command_info(command);

    return info ? info->name : "?";
}

int vfiouser_header_parse(const uint8_t bytes[VFIOUSER_HEADER_LEN], struct vfiouser_header *out)
{
    struct vfiouser_wire_header wire;

    memcpy(&wire, bytes, sizeof wire);
    out->id = le16toh(wire.id);
    out->command = le16toh(wire.command);
    out->size = le32toh(wire.size);
    out->flags = le32toh(wire.flags);
    out->error = le32toh(wire.error);
    if (out->size < VFIOUSER_HEADER_LEN || out->size > VFIOUSER_HEADER_LEN + VFIOUSER_PAYLOAD_MAX)
        return -EPROTO;
    return 0;
}

void vfiouser_header_build(uint8_t bytes[VFIOUSER_HEADER_LEN], const struct vfiouser_header *h)
{
    struct vfiouser_wire_header wire = {
        .id = htole16(h->id),
        .command = htole16(h->command),
        .size = htole32(h->size),
        .flags = htole32(h->flags),
        .error = htole32(h->error),
    };

    memcpy(bytes, &wire, sizeof wire);
}

// A range of DMA addresses: whole pages, not empty, and not past 2^64 (it may end there).
static bool dma_range_ok(uint64_t iova, uint64_t len)
{
    return len && !((iova | len) & (VFIOUSER_PAGE - 1)) && iova + (len - 1) >= iova;
}

int vfiouser_dma_map_parse(const uint8_t *payload, size_t len, unsigned fd_count,
                           struct vfiouser_dma_map_request *out)
{
    struct vfiouser_wire_dma_map wire;
    uint32_t flags;

    if (len != sizeof wire || fd_count > 1)
        return -EINVAL;
    memcpy(&wire, payload, sizeof wire);
    flags = le32toh(wire.flags);
    if (le32toh(wire.argsz) < sizeof wire || flags & ~0xfu)
        return -EINVAL;
    if (!(flags & (VFIOUSER_DMA_MAP_READ | VFIOUSER_DMA_MAP_WRITE)))
        return -EINVAL;
    if (flags & (VFIOUSER_DMA_MAP_MMAP | VFIOUSER_DMA_MAP_FILE_IO) && !fd_count)
        return -EINVAL;
    if (flags & VFIOUSER_DMA_MAP_FILE_IO && !(flags & VFIOUSER_DMA_MAP_MMAP))
        return -ENOTSUP;
    out->iova = le64toh(wire.address);
    out->len_bytes = le64toh(wire.size);
    out->fd_offset = fd_count ? le64toh(wire.offset) : 0;
    out->read = flags & VFIOUSER_DMA_MAP_READ;
    out->write = flags & VFIOUSER_DMA_MAP_WRITE;
    if (!dma_range_ok(out->iova, out->len_bytes))
        return -EINVAL;
    // A file ends below 2^63, and mmap wants whole pages.
    if (fd_count && (out->fd_offset & (VFIOUSER_PAGE - 1) ||
                     !bits_range_within(out->fd_offset, out->len_bytes, 0, INT64_MAX)))
        return -EINVAL;
    return 0;
}

size_t vfiouser_dma_map_build(uint8_t *payload, const struct vfiouser_dma_map_request *in)
{
    uint32_t flags =
        (in->read ? VFIOUSER_DMA_MAP_READ : 0) | (in->write ? VFIOUSER_DMA_MAP_WRITE : 0);
    struct vfiouser_wire_dma_map wire = {
        .argsz = htole32(sizeof wire),
        .flags = htole32(flags),
        .offset = htole64(in->fd_offset),
        .address = htole64(in->iova),
        .size = htole64(in->len_bytes),
    };

    memcpy(payload, &wire, sizeof wire);
    return sizeof wire;
}

int vfiouser_dma_unmap_parse(const uint8_t *payload, size_t len,
                             struct vfiouser_dma_unmap_request *out)
{
    struct vfiouser_wire_dma_unmap wire;
    uint32_t flags;

    if (len < sizeof wire)
        return -EINVAL;
    memcpy(&wire, payload, sizeof wire);
    flags = le32toh(wire.flags);
    if (le32toh(wire.argsz) < sizeof wire)
        return -EINVAL;
    if (flags & ~(VFIOUSER_DMA_UNMAP_BITMAP | VFIOUSER_DMA_UNMAP_ALL))
        return -EINVAL;
    if (flags & VFIOUSER_DMA_UNMAP_BITMAP)
        return -ENOTSUP;
    // The longer form carries the bitmap's description.
    if (len != sizeof wire)
        return -EINVAL;
    out->all = flags & VFIOUSER_DMA_UNMAP_ALL;
    out->iova = out->all ? 0 : le64toh(wire.address);
    out->len_bytes = out->all ? 0 : le64toh(wire.size);
    if (!out->all && !dma_range_ok(out->iova, out->len_bytes))
        return -EINVAL;
    return 0;
}

size_t vfiouser_dma_unmap_build(uint8_t *payload, const struct vfiouser_dma_unmap_request *in)
{
    struct vfiouser_wire_dma_unmap wire = {
        .argsz = htole32(sizeof wire),
        .flags = htole32(in->all ? VFIOUSER_DMA_UNMAP_ALL : 0),
        .address = htole64(in->iova),
        .size = htole64(in->len_bytes),
    };

    memcpy(payload, &wire, sizeof wire);
    return sizeof wire;
}

// The queries' requests are their replies' fixed part, with argsz and index filled in.
static size_t query_len(unsigned command)
{
    switch (command) {
    case VFIOUSER_DEVICE_GET_REGION_INFO:
        return sizeof(struct vfiouser_wire_region_info);
    case VFIOUSER_DEVICE_GET_IRQ_INFO:
        return sizeof(struct vfiouser_wire_irq_info);
    default:
        return sizeof(struct vfiouser_wire_device_info);
    }
}

int vfiouser_query_parse(unsigned command, const uint8_t *payload, size_t len,
                         struct vfiouser_query *out)
{
    // GET_INFO has num_regions here, which a request leaves zero.
    _Static_assert(offsetof(struct vfiouser_wire_region_info, index) == 8, "wire");
    _Static_assert(offsetof(struct vfiouser_wire_irq_info, index) == 8, "wire");

    if (len < query_len(command))
        return -EINVAL;
    out->argsz = le32_get(payload);
    out->index = le32_get(payload + 8);
    return out->argsz < query_len(command) ? -EINVAL : 0;
}

size_t vfiouser_query_build(unsigned command, uint8_t *payload, const struct vfiouser_query *in)
{
    memset(payload, 0, query_len(command));
    le32_put(payload, in->argsz);
    le32_put(payload + 8, in->index);
    return query_len(command);
}

size_t vfiouser_device_info_build(uint8_t *payload, const struct vfiouser_device_info *in)
{
    struct vfiouser_wire_device_info wire = {
        .argsz = htole32(sizeof wire),
        .flags = htole32(in->flags),
        .num_regions = htole32(in->regions),
        .num_irqs = htole32(in->irqs),
    };

    memcpy(payload, &wire, sizeof wire);
    return sizeof wire;
}

static bool region_needs_sparse(const struct vfiouser_region_info *in)
{
    return in->area_count > 1 ||
           (in->area_count == 1 && (in->areas[0].offset || in->areas[0].len_bytes != in->size));
}

size_t vfiouser_region_info_build(uint8_t *payload, uint32_t argsz,
                                  const struct vfiouser_region_info *in)
{
    struct vfiouser_wire_region_info wire = {
        .index = htole32(in->index),
        .size = htole64(in->size),
        .offset = htole64(in->offset),
    };
    struct vfiouser_wire_sparse sparse = {
        .id = htole16(VFIOUSER_CAP_SPARSE_MMAP),
        .version = htole16(1),
        .count = htole32(in->area_count),
    };
    uint32_t flags = in->flags & ~VFIOUSER_REGION_CAPS;
    size_t full = sizeof wire;
    uint8_t *p = payload + sizeof wire;

    if (region_needs_sparse(in))
        full += sizeof sparse + in->area_count * sizeof(struct vfiouser_wire_sparse_area);
    wire.argsz = htole32((uint32_t)full);
    if (full > sizeof wire && argsz >= full) {
        flags |= VFIOUSER_REGION_CAPS;
        wire.cap_offset = htole32(sizeof wire);
        memcpy(p, &sparse, sizeof sparse);
        p += sizeof sparse;
        for (unsigned i = 0; i < in->area_count; i++) {
            struct vfiouser_wire_sparse_area area = {
                .offset = htole64(in->areas[i].offset),
                .size = htole64(in->areas[i].len_bytes),
            };

            memcpy(p, &area, sizeof area);
            p += sizeof area;
        }
    }
    wire.flags = htole32(flags);
    memcpy(payload, &wire, sizeof wire);
    return (size_t)(p - payload);
}

// Walks the capability chain for the sparse areas; the chain goes forward only, so that it ends.
static int region_areas_parse(const uint8_t *payload, size_t len, size_t at,
                              struct vfiouser_region_info *out)
{
    struct vfiouser_wire_sparse sparse;
    struct vfiouser_wire_sparse_area area;
    size_t next;

    while (at) {
        if (!bits_range_within(at, 8, sizeof(struct vfiouser_wire_region_info),
                               len - sizeof(struct vfiouser_wire_region_info)))
            return -EPROTO;
        next = le32_get(payload + at + 4);
        if (le16_get(payload + at) == VFIOUSER_CAP_SPARSE_MMAP) {
            if (len - at < sizeof sparse)
                return -EPROTO;
            memcpy(&sparse, payload + at, sizeof sparse);
            at += sizeof sparse;
            if (le32toh(sparse.count) > (len - at) / sizeof area)
                return -EPROTO;
            out->area_count = le32toh(sparse.count);
            if (out->area_count > VFIOUSER_AREAS_MAX)
                out->area_count = VFIOUSER_AREAS_MAX;
            for (unsigned i = 0; i < out->area_count; i++) {
                memcpy(&area, payload + at + i * sizeof area, sizeof area);
                out->areas[i].offset = le64toh(area.offset);
                out->areas[i].len_bytes = le64toh(area.size);
            }
            return 0;
        }
        if (next && next <= at)
            return -EPROTO;
        at = next;
    }
    return 0;
}

int vfiouser_region_info_parse(const uint8_t *payload, size_t len, struct vfiouser_region_info *out)
{
    struct vfiouser_wire_region_info wire;
    int err;

    if (len < sizeof wire)
        return -EPROTO;
    memcpy(&wire, payload, sizeof wire);
    *out = (struct vfiouser_region_info){
        .index = le32toh(wire.index),
        .flags = le32toh(wire.flags),
        .size = le64toh(wire.size),
        .offset = le64toh(wire.offset),
        .argsz = le32toh(wire.argsz),
    };
    if (out->flags & VFIOUSER_REGION_CAPS) {
        err = region_areas_parse(payload, len, le32toh(wire.cap_offset), out);
        if (err)
            return err;
    } else if (out->flags & VFIOUSER_REGION_MAPPABLE && out->argsz <= len) {
        out->area_count = 1;
        out->areas[0].len_bytes = out->size;
    }
    for (unsigned i = 0; i < out->area_count; i++) {
        if (!bits_range_within(out->areas[i].offset, out->areas[i].len_bytes, 0, out->size))
            return -EPROTO;
    }
    return 0;
}

size_t vfiouser_irq_info_build(uint8_t *payload, uint32_t index, uint32_t count)
{
    struct vfiouser_wire_irq_info wire = {
        .argsz = htole32(sizeof wire),
        .flags = htole32(count ? VFIOUSER_IRQ_EVENTFD : 0),
        .index = htole32(index),
        .count = htole32(count),
    };

    memcpy(payload, &wire, sizeof wire);
    return sizeof wire;
}

int vfiouser_irq_info_parse(const uint8_t *payload, size_t len, uint32_t *count)
{
    struct vfiouser_wire_irq_info wire;

    if (len < sizeof wire)
        return -EPROTO;
    memcpy(&wire, payload, sizeof wire);
    *count = le32toh(wire.count);
    return 0;
}

int vfiouser_irq_set_parse(const uint8_t *payload, size_t len, unsigned fd_count,
                           const unsigned *irq_counts, struct vfiouser_irq_set_request *out)
{
    struct vfiouser_wire_irq_set wire;
    uint32_t flags, data, action;

    if (len < sizeof wire)
        return -EINVAL;
    memcpy(&wire, payload, sizeof wire);
    flags = le32toh(wire.flags);
    data = flags & VFIOUSER_IRQ_DATA;
    action = flags & VFIOUSER_IRQ_ACTION;
    out->index = le32toh(wire.index);
    out->start = le32toh(wire.start);
    out->count = le32toh(wire.count);
    out->disable = !out->count;
    if (le32toh(wire.argsz) < sizeof wire || flags & ~(VFIOUSER_IRQ_DATA | VFIOUSER_IRQ_ACTION))
        return -EINVAL;
    if (!bits_is_pow2(data) || !bits_is_pow2(action) || out->index >= VFIOUSER_IRQS)
        return -EINVAL;
    if (!bits_range_within(out->start, out->count, 0, irq_counts[out->index]) ||
        out->start >= irq_counts[out->index])
        return -EINVAL;
    if (len != sizeof wire + (data == VFIOUSER_IRQ_DATA_BOOL ? out->count : 0))
        return -EINVAL;
    // fds for all vectors, or for none: then they are disarmed.
    if (fd_count && (data != VFIOUSER_IRQ_DATA_EVENTFD || fd_count != out->count))
        return -EINVAL;
    if (out->disable &&
        (out->start || data != VFIOUSER_IRQ_DATA_NONE || action != VFIOUSER_IRQ_ACTION_TRIGGER))
        return -EINVAL;
    if (out->disable)
        return 0;
    if (action != VFIOUSER_IRQ_ACTION_TRIGGER || data != VFIOUSER_IRQ_DATA_EVENTFD)
        return -ENOTSUP;
    return 0;
}

size_t vfiouser_irq_set_build(uint8_t *payload, const struct vfiouser_irq_set_request *in)
{
    uint32_t data = in->disable ? VFIOUSER_IRQ_DATA_NONE : VFIOUSER_IRQ_DATA_EVENTFD;
    struct vfiouser_wire_irq_set wire = {
        .argsz = htole32(sizeof wire),
        .flags = htole32(VFIOUSER_IRQ_ACTION_TRIGGER | data),
        .index = htole32(in->index),
        .start = htole32(in->start),
        .count = htole32(in->count),
    };

    memcpy(payload, &wire, sizeof wire);
    return sizeof wire;
}

static void region_access_get(const uint8_t *p, struct vfiouser_region_access *out)
{
    struct vfiouser_wire_region_access wire;

    memcpy(&wire, p, sizeof wire);
    out->offset = le64toh(wire.offset);
    out->region = le32toh(wire.region);
    out->count = le32toh(wire.count);
    out->data = NULL;
}

int vfiouser_region_read_parse(const uint8_t *payload, size_t len,
                               struct vfiouser_region_access *out)
{
    if (len != sizeof(struct vfiouser_wire_region_access))
        return -EINVAL;
    region_access_get(payload, out);
    return out->count && out->count <= VFIOUSER_DATA_MAX ? 0 : -EINVAL;
}

int vfiouser_region_write_parse(const uint8_t *payload, size_t len,
                                struct vfiouser_region_access *out)
{
    const size_t fixed = sizeof(struct vfiouser_wire_region_access);

    if (len <= fixed)
        return -EINVAL;
    region_access_get(payload, out);
    out->data = payload + fixed;
    return out->count == len - fixed && out->count <= VFIOUSER_DATA_MAX ? 0 : -EINVAL;
}

size_t vfiouser_region_access_build(uint8_t *payload, const struct vfiouser_region_access *in)
{
    struct vfiouser_wire_region_access wire = {
        .offset = htole64(in->offset),
        .region = htole32(in->region),
        .count = htole32(in->count),
    };

    memcpy(payload, &wire, sizeof wire);
    return sizeof wire;
}

size_t vfiouser_dma_write_build(uint8_t *payload, bool short_count, uint64_t address,
                                const void *data, uint32_t len_bytes)
{
    // Little-endian: the first form's count is the lower half of the other's.
    struct vfiouser_wire_dma_write wire = {.address = htole64(address),
                                           .count = htole64(len_bytes)};
    size_t data_at = short_count ? VFIOUSER_DMA_WRITE_SHORT : sizeof wire;

    memset(payload, 0, sizeof wire + len_bytes);
    memcpy(payload, &wire, data_at);
    memcpy(payload + data_at, data, len_bytes);
    return sizeof wire + len_bytes;
}

size_t vfiouser_dma_write_probe_build(uint8_t *payload)
{
    struct vfiouser_wire_dma_write wire = {.count = htole64(1ull << 32)};

    memcpy(payload, &wire, sizeof wire);
    memset(payload + sizeof wire, 0, 4);
    return sizeof wire + 4;
}

int vfiouser_write_multi_count(const uint8_t *payload, size_t len)
{
    const size_t one = sizeof(struct vfiouser_wire_multi_write);
    uint64_t count;

    if (len < 8 + one)
        return -EINVAL;
    count = le64_get(payload);
    if (!count || count > VFIOUSER_MULTI_MAX || len != 8 + count * one)
        return -EINVAL;
    return (int)count;
}

int vfiouser_write_multi_at(const uint8_t *payload, unsigned i, struct vfiouser_region_access *out)
{
    const uint8_t *p = payload + 8 + i * sizeof(struct vfiouser_wire_multi_write);

    region_access_get(p, out);
    out->data = p + offsetof(struct vfiouser_wire_multi_write, data);
    return out->count && out->count <= 8 ? 0 : -EINVAL;
}

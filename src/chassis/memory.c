// SPDX-License-Identifier: BSD-3-Clause
#include "chassis/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// Where something must have been written before a kernel runs.
#define LOW_MEMORY_BYTES (16u << 20)
#define PAGE_BYTES       4096u

#define HOW_TO                                                                                     \
    "-object memory-backend-memfd,id=m,size=…,share=on with -machine q35,memory-backend=m"

struct map {
    uint64_t addr, len_bytes;
    struct mem_region *region;
};

struct chassis_memory {
    struct gate *gate;
    struct mem_space *space;
    struct vtd *vtd;
    int dead_fd;
    struct map maps[CHASSIS_MAPS_MAX]; // sorted by address
    unsigned map_count;
    bool is_fileless; // the VM's RAM came without one
};

int chassis_memory_create(struct gate *gate, struct mem_space *space, struct vtd *vtd, int dead_fd,
                          struct chassis_memory **out)
{
    struct chassis_memory *memory = calloc(1, sizeof *memory);

    if (!memory)
        return -ENOMEM;
    memory->gate = gate;
    memory->space = space;
    memory->vtd = vtd;
    memory->dead_fd = dead_fd;
    *out = memory;
    return 0;
}

void chassis_memory_destroy(struct chassis_memory *memory)
{
    if (!memory)
        return;
    chassis_memory_unmap(memory, 0, 0, true);
    free(memory);
}

// Index of the first map that ends after `addr`.
static unsigned map_find(const struct chassis_memory *memory, uint64_t addr)
{
    unsigned i = 0;

    while (i < memory->map_count && memory->maps[i].addr + (memory->maps[i].len_bytes - 1) < addr)
        i++;
    return i;
}

int chassis_memory_map(struct chassis_memory *memory, const struct vfiouser_dma_map *map)
{
    struct map added = {.addr = map->iova, .len_bytes = map->len_bytes};
    unsigned at = map_find(memory, map->iova);
    struct mem_map_request req = {
        .fd = map->fd,
        .offset_bytes = map->fd_offset,
        .len_bytes = map->len_bytes,
        .prot = (map->read ? MEM_READ : 0) | (map->write ? MEM_WRITE : 0),
        .hpa = {map->iova},
        .congruent = map->iova,
    };
    int ret;

    if (map->fd < 0) {
        if (map->iova || !map->write)
            return 0; // a ROM, another device's BAR: the card does not reach it
        memory->is_fileless = true;
        return -EINVAL;
    }
    if (memory->map_count == CHASSIS_MAPS_MAX)
        return -ENOSPC;
    gate_close(memory->gate);
    ret = mem_region_map(memory->space, &req, memory->dead_fd, &added.region);
    gate_open(memory->gate);
    if (ret)
        return ret;
    memmove(memory->maps + at + 1, memory->maps + at,
            (memory->map_count - at) * sizeof *memory->maps);
    memory->maps[at] = added;
    memory->map_count++;
    return 0;
}

static void maps_remove(struct chassis_memory *memory, unsigned first, unsigned last)
{
    if (first == last)
        return;
    gate_close(memory->gate);
    vtd_memory_changed(memory->vtd);
    for (unsigned i = first; i < last; i++)
        mem_region_remove(memory->space, memory->maps[i].region);
    gate_open(memory->gate);
    memmove(memory->maps + first, memory->maps + last,
            (memory->map_count - last) * sizeof *memory->maps);
    memory->map_count -= last - first;
}

int chassis_memory_unmap(struct chassis_memory *memory, uint64_t iova, uint64_t len_bytes, bool all)
{
    unsigned first, last;
    uint64_t end;

    if (all) {
        memory->is_fileless = false;
        maps_remove(memory, 0, memory->map_count);
        return 0;
    }
    end = iova + (len_bytes - 1);
    first = map_find(memory, iova);
    // As VFIO does: a map is taken away whole or not at all.
    if (first < memory->map_count && memory->maps[first].addr < iova)
        return -EINVAL;
    for (last = first; last < memory->map_count && memory->maps[last].addr <= end; last++) {
        if (memory->maps[last].addr + (memory->maps[last].len_bytes - 1) > end)
            return -EINVAL;
    }
    maps_remove(memory, first, last);
    return 0;
}

bool chassis_memory_is_there(const struct chassis_memory *memory)
{
    return mem_space_at(memory->space, (hpa_t){0}, 1, MEM_READ, NULL);
}

static bool page_is_blank(const struct chassis_memory *memory, uint64_t addr)
{
    const uint8_t *page = mem_space_at(memory->space, (hpa_t){addr}, PAGE_BYTES, MEM_READ, NULL);

    // Blank is what equals itself moved by one, and starts with a zero.
    return !page || (!page[0] && !memcmp(page, page + 1, PAGE_BYTES - 1));
}

// SeaBIOS leaves its vectors in the first pages. OVMF clears those, and is itself somewhere in the
// first 16 MiB: behind holes (VGA, ROMs), so in other regions than address 0.
static bool low_memory_is_blank(const struct chassis_memory *memory)
{
    for (uint64_t addr = 0; addr < LOW_MEMORY_BYTES; addr += PAGE_BYTES) {
        if (!page_is_blank(memory, addr))
            return false;
    }
    return chassis_memory_is_there(memory);
}

const char *chassis_memory_fault(const struct chassis_memory *memory)
{
    if (memory->is_fileless)
        return "the VM's memory has no file: QEMU needs " HOW_TO;
    if (low_memory_is_blank(memory))
        return "the VM's memory is private to QEMU (share=off): QEMU needs " HOW_TO;
    return NULL;
}

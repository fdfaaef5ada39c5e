// SPDX-License-Identifier: BSD-3-Clause
#include "mem/space.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "mem/mapping.h"

#define ENTRIES_FIRST 64u

struct mem_region {
    hpa_t hpa;
    unsigned prot;
    struct mapping mapping;
};

// Sorted by base; the bases lie here so that the search touches few cache lines.
struct entry {
    uint64_t base;
    struct mem_region *region;
};

struct mem_space {
    struct gate *gate;
    struct entry *entries;
    uint32_t entry_count;
    uint32_t entry_room;
};

int mem_space_create(struct gate *gate, struct mem_space **out)
{
    struct mem_space *space = calloc(1, sizeof *space);

    if (!space)
        return -ENOMEM;
    space->gate = gate;
    *out = space;
    return 0;
}

void mem_space_destroy(struct mem_space *space)
{
    while (space->entry_count)
        mem_region_remove(space, space->entries[space->entry_count - 1].region);
    free(space->entries);
    free(space);
}

// How many entries begin at or below `addr`: the last of them is the only one that can hold it.
static uint32_t entries_upto(const struct mem_space *space, uint64_t addr)
{
    const struct entry *entries = space->entries;
    uint32_t lo = 0, n = space->entry_count;

    while (n) {
        uint32_t half = n / 2;

        if (entries[lo + half].base <= addr) {
            lo += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return lo;
}

// 0 and *at, where [base, base+len) would go, or -EEXIST.
static int place_find(const struct mem_space *space, uint64_t base, uint64_t len_bytes,
                      uint32_t *at)
{
    uint32_t i = entries_upto(space, base);

    if (i > 0 &&
        base - space->entries[i - 1].base < space->entries[i - 1].region->mapping.len_bytes)
        return -EEXIST;
    if (i < space->entry_count && space->entries[i].base - base < len_bytes)
        return -EEXIST;
    *at = i;
    return 0;
}

static int entries_reserve_one(struct mem_space *space)
{
    uint32_t room = space->entry_room ? space->entry_room * 2 : ENTRIES_FIRST;
    struct entry *entries;

    if (space->entry_count < space->entry_room)
        return 0;
    if (space->entry_count == MEM_REGIONS_MAX)
        return -ENOSPC;
    entries = realloc(space->entries, room * sizeof *entries);
    if (!entries)
        return -ENOMEM;
    space->entries = entries;
    space->entry_room = room;
    return 0;
}

// Takes a region whose mapping is made. On error the caller still has it.
static int entry_insert(struct mem_space *space, struct mem_region *region)
{
    uint32_t at;
    int ret;

    assert(gate_is_closed(space->gate));
    ret = place_find(space, region->hpa.v, region->mapping.len_bytes, &at);
    if (!ret)
        ret = entries_reserve_one(space);
    if (ret)
        return ret;
    memmove(&space->entries[at + 1], &space->entries[at],
            (space->entry_count - at) * sizeof *space->entries);
    space->entries[at] = (struct entry){region->hpa.v, region};
    space->entry_count++;
    return 0;
}

static int request_check(const struct mem_map_request *req)
{
    if (!req->len_bytes || req->len_bytes % MAPPING_PAGE_BYTES ||
        req->offset_bytes % MAPPING_PAGE_BYTES || req->congruent % MAPPING_PAGE_BYTES)
        return -EINVAL;
    if (!req->prot || (req->prot & ~(unsigned)(MEM_READ | MEM_WRITE)))
        return -EINVAL;
    if (req->hpa.v != MEM_HPA_IDENTITY &&
        (req->hpa.v % MAPPING_PAGE_BYTES || req->len_bytes - 1 > UINT64_MAX - req->hpa.v))
        return -EINVAL;
    return 0;
}

int mem_region_map(struct mem_space *space, const struct mem_map_request *req, int owner_dead_fd,
                   struct mem_region **out)
{
    bool identity = req->hpa.v == MEM_HPA_IDENTITY;
    struct mem_region *region;
    uint32_t at;
    int ret = request_check(req);

    // Before the mapping, so that a refusal costs little.
    if (!ret && !identity)
        ret = place_find(space, req->hpa.v, req->len_bytes, &at);
    if (ret)
        return ret;
    region = calloc(1, sizeof *region);
    if (!region)
        return -ENOMEM;
    ret = mapping_create_file(&region->mapping, req->fd, req->offset_bytes, req->len_bytes,
                              req->prot & MEM_WRITE, req->congruent, owner_dead_fd);
    if (ret) {
        free(region);
        return ret;
    }
    region->prot = req->prot;
    region->hpa.v = identity ? (uintptr_t)region->mapping.host : req->hpa.v;
    ret = entry_insert(space, region);
    if (ret) {
        mapping_destroy(&region->mapping);
        free(region);
        return ret;
    }
    *out = region;
    return 0;
}

int mem_region_alloc(struct mem_space *space, uint64_t len_bytes, struct mem_region **out)
{
    struct mem_region *region;
    int ret;

    if (!len_bytes || len_bytes % MAPPING_PAGE_BYTES)
        return -EINVAL;
    region = calloc(1, sizeof *region);
    if (!region)
        return -ENOMEM;
    ret = mapping_create_anonymous(&region->mapping, len_bytes);
    if (ret) {
        free(region);
        return ret;
    }
    region->prot = MEM_READ | MEM_WRITE;
    region->hpa.v = (uintptr_t)region->mapping.host;
    ret = entry_insert(space, region);
    if (ret) {
        mapping_destroy(&region->mapping);
        free(region);
        return ret;
    }
    *out = region;
    return 0;
}

void mem_region_remove(struct mem_space *space, struct mem_region *region)
{
    uint32_t i = entries_upto(space, region->hpa.v);

    assert(gate_is_closed(space->gate));
    assert(i > 0 && space->entries[i - 1].region == region);
    memmove(&space->entries[i - 1], &space->entries[i],
            (space->entry_count - i) * sizeof *space->entries);
    space->entry_count--;
    mapping_destroy(&region->mapping);
    free(region);
}

hpa_t mem_region_hpa(const struct mem_region *region)
{
    return region->hpa;
}

uint64_t mem_region_len_bytes(const struct mem_region *region)
{
    return region->mapping.len_bytes;
}

void *mem_region_host(const struct mem_region *region)
{
    return region->mapping.host;
}

bool mem_region_is_dead(const struct mem_region *region)
{
    return atomic_load(&region->mapping.dead);
}

bool mem_region_may_shrink(const struct mem_region *region)
{
    return region->mapping.may_shrink;
}

void *mem_space_at(const struct mem_space *space, hpa_t hpa, uint64_t len_bytes, unsigned prot,
                   uint64_t *run)
{
    uint32_t i = entries_upto(space, hpa.v);
    const struct mem_region *region;
    uint64_t offset;

    if (!i)
        return NULL;
    region = space->entries[i - 1].region;
    offset = hpa.v - region->hpa.v;
    if (offset >= region->mapping.len_bytes || !len_bytes ||
        len_bytes > region->mapping.len_bytes - offset || (prot & ~region->prot))
        return NULL;
    if (run)
        *run = region->mapping.len_bytes - offset;
    return region->mapping.host + offset;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "host/iommu_driver.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/le.h"
#include "base/log.h"
#include "iommu/vtd_format.h"

#define PAGE         4096ull
#define ENTRIES      VTD_TABLE_ENTRIES
#define ARENA_PAGES  512u // tables come from the space 2 MiB at a time
#define LEVELS       4u   // AGAW 48
#define DOMAINS_MAX  4096u
#define POLLS_MAX    1000u
#define BUSES        256u
#define FAULTS_BATCH 32u // records taken before the loop gets its turn
#define IOVA_LIMIT   (1ull << 48)
// Of GCMD, the bits that stay on; SRTP only asks (VT-d §11.4.4.1).
#define GSTS_SUSTAINED (VTD_GSTS_TES | VTD_GSTS_QIES)

struct arena {
    struct mem_region *region;
    struct arena *next;
};

// A table page: where we see it. Its physical address is in the region's terms: identity.
struct host_iommu {
    sd_event_source *fault_source;
    int fault_fd;
    struct gate *gate;
    struct mem_space *space;
    struct vtd *vtd;
    struct arena *arenas;
    void *free_pages; // linked through their first word
    uint8_t *root;
    uint8_t *context[BUSES];
    uint64_t faults;
    bool domain_used[DOMAINS_MAX]; // by domain ID; 0 is never used (VT-d §9.3: reserved with CM)
};

struct host_domain {
    struct host_iommu *iommu;
    uint16_t id;
    uint8_t *top;
    unsigned table_pages;
    unsigned attached;
};

// `bits` bits of a capability register: where the unit has its IOTLB registers and fault records.
static uint32_t field(uint64_t reg, unsigned shift, unsigned bits)
{
    return (uint32_t)(reg >> shift & (BIT64(bits) - 1));
}

static uint64_t hpa_of(const void *page)
{
    return (uint64_t)(uintptr_t)page; // endpoint mode: identity (mem/space.h)
}

static void *page_at(uint64_t entry)
{
    return (void *)(uintptr_t)(entry & VTD_ADDR_MASK);
}

static int arena_grow(struct host_iommu *iommu)
{
    struct arena *arena = calloc(1, sizeof *arena);
    uint8_t *base;
    int ret;

    if (!arena)
        return -ENOMEM;
    gate_close(iommu->gate);
    ret = mem_region_alloc(iommu->space, ARENA_PAGES * PAGE, &arena->region);
    gate_open(iommu->gate);
    if (ret) {
        free(arena);
        return ret;
    }
    arena->next = iommu->arenas;
    iommu->arenas = arena;
    base = mem_region_host(arena->region);
    for (unsigned i = 0; i < ARENA_PAGES; i++) {
        memcpy(base + i * PAGE, &iommu->free_pages, sizeof(void *));
        iommu->free_pages = base + i * PAGE;
    }
    return 0;
}

static void *page_alloc(struct host_iommu *iommu)
{
    void *page;

    if (!iommu->free_pages && arena_grow(iommu))
        return NULL;
    page = iommu->free_pages;
    memcpy(&iommu->free_pages, page, sizeof(void *));
    memset(page, 0, PAGE);
    return page;
}

static void page_free(struct host_iommu *iommu, void *page)
{
    memcpy(page, &iommu->free_pages, sizeof(void *));
    iommu->free_pages = page;
}

// Writes GCMD with `bit` added to what is on, and waits for GSTS to show it (VT-d §11.4.4).
static int command_set(struct host_iommu *iommu, uint32_t bit)
{
    uint32_t on = (uint32_t)vtd_reg_read(iommu->vtd, VTD_GSTS, 4) & GSTS_SUSTAINED;

    vtd_reg_write(iommu->vtd, VTD_GCMD, 4, on | bit);
    for (unsigned i = 0; i < POLLS_MAX; i++) {
        if (vtd_reg_read(iommu->vtd, VTD_GSTS, 4) & bit)
            return 0;
    }
    return -EIO;
}

static void invalidate_contexts(struct host_iommu *iommu)
{
    vtd_reg_write(iommu->vtd, VTD_CCMD, 8,
                  VTD_CCMD_ICC | (uint64_t)VTD_GRAN_GLOBAL << VTD_CCMD_CIRG_SHIFT);
    for (unsigned i = 0; i < POLLS_MAX; i++) {
        if (!(vtd_reg_read(iommu->vtd, VTD_CCMD, 8) & VTD_CCMD_ICC))
            return;
    }
    log_error("iommu: context-cache invalidation did not finish");
}

static void invalidate_iotlb(struct host_iommu *iommu, uint16_t domain_id)
{
    uint64_t ecap = vtd_reg_read(iommu->vtd, VTD_ECAP, 8);
    uint32_t offset = field(ecap, 8, 10) * 16 + VTD_IOTLB - VTD_IVA;
    uint64_t command =
        VTD_IOTLB_IVT | VTD_IOTLB_DRAIN | (uint64_t)VTD_GRAN_GLOBAL << VTD_IOTLB_IIRG_SHIFT;

    if (domain_id)
        command = VTD_IOTLB_IVT | VTD_IOTLB_DRAIN |
                  (uint64_t)VTD_GRAN_DOMAIN << VTD_IOTLB_IIRG_SHIFT |
                  (uint64_t)domain_id << VTD_IOTLB_DID_SHIFT;
    vtd_reg_write(iommu->vtd, offset, 8, command);
    for (unsigned i = 0; i < POLLS_MAX; i++) {
        if (!(vtd_reg_read(iommu->vtd, offset, 8) & VTD_IOTLB_IVT))
            return;
    }
    log_error("iommu: IOTLB invalidation did not finish");
}

// Reads and clears fault record `index`. False where it holds none (VT-d §11.4.7.6).
static bool fault_take(struct host_iommu *iommu, uint32_t offset)
{
    uint64_t high =
        vtd_reg_read(iommu->vtd, offset + 8, 8); // F first: it says that the rest is there
    uint64_t address = vtd_reg_read(iommu->vtd, offset, 8);
    rid_t rid = {VTD_FRCD_SID(high)};

    if (!(high & VTD_FRCD_F))
        return false;
    iommu->faults++;
    log_warn_limited("iommu: DMA %s by " RID_FMT " to 0x%llx refused, fault reason 0x%02x",
                     high & VTD_FRCD_READ ? "read" : "write", RID_ARGS(rid),
                     (unsigned long long)(address & ~(PAGE - 1)), VTD_FRCD_REASON(high));
    vtd_reg_write(iommu->vtd, offset + 8, 8, VTD_FRCD_F);
    return true;
}

// The fault event: takes records in the order in which they were made, from FSTS.FRI on, until
// none is pending; else a fault recorded meanwhile would raise no event (VT-d §7.2).
static int faults_service(sd_event_source *source, int fd, uint32_t revents, void *ctx)
{
    struct host_iommu *iommu = ctx;
    uint64_t cap = vtd_reg_read(iommu->vtd, VTD_CAP, 8);
    uint32_t records = field(cap, 40, 8) + 1, at = field(cap, 24, 10) * 16;
    uint32_t status = (uint32_t)vtd_reg_read(iommu->vtd, VTD_FSTS, 4);
    uint32_t index = (status & VTD_FSTS_FRI_MASK) >> VTD_FSTS_FRI_SHIFT;
    unsigned taken = 0;
    uint64_t count;

    (void)source, (void)revents;
    if (read(fd, &count, sizeof count) != sizeof count)
        return 0;
    while (taken < FAULTS_BATCH && fault_take(iommu, at + index % records * VTD_FAULT_RECORD_LEN)) {
        index++;
        taken++;
    }
    vtd_reg_write(iommu->vtd, VTD_FSTS, 4, VTD_FSTS_PFO);
    // A guest can make faults as fast as we take them: others get their turn in between.
    if (vtd_reg_read(iommu->vtd, VTD_FSTS, 4) & VTD_FSTS_PPF)
        host_iommu_fault_signal(iommu);
    return 0;
}

static int unit_start(struct host_iommu *iommu)
{
    int ret;

    vtd_reg_write(iommu->vtd, VTD_RTADDR, 8, hpa_of(iommu->root));
    ret = command_set(iommu, VTD_GCMD_SRTP);
    if (ret)
        return ret;
    invalidate_contexts(iommu);
    invalidate_iotlb(iommu, 0);
    vtd_reg_write(iommu->vtd, VTD_FEADDR, 4, 0xfee00000);
    vtd_reg_write(iommu->vtd, VTD_FEDATA, 4, 0);
    vtd_reg_write(iommu->vtd, VTD_FECTL, 4, 0); // unmask
    return command_set(iommu, VTD_GCMD_TE);
}

int host_iommu_create(sd_event *loop, struct gate *gate, struct mem_space *space, struct vtd *vtd,
                      struct host_iommu **out)
{
    struct host_iommu *iommu = calloc(1, sizeof *iommu);
    int ret = -ENOMEM;

    if (!iommu)
        return -ENOMEM;
    iommu->gate = gate;
    iommu->space = space;
    iommu->vtd = vtd;
    iommu->domain_used[0] = true;
    iommu->fault_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (iommu->fault_fd < 0) {
        ret = -errno;
        goto fail;
    }
    iommu->root = page_alloc(iommu);
    if (!iommu->root)
        goto fail;
    ret = sd_event_add_io(loop, &iommu->fault_source, iommu->fault_fd, EPOLLIN, faults_service,
                          iommu);
    if (ret < 0)
        goto fail;
    ret = unit_start(iommu);
    if (ret)
        goto fail;
    *out = iommu;
    return 0;
fail:
    host_iommu_destroy(iommu);
    return ret;
}

void host_iommu_destroy(struct host_iommu *iommu)
{
    if (!iommu)
        return;
    // Off before the tables go: with translation off nobody has a domain to reach memory through,
    // and the root table page stays mapped until the regions below are removed.
    vtd_reg_write(iommu->vtd, VTD_FECTL, 4, VTD_EVENT_IM);
    gate_close(iommu->gate);
    if (iommu->root)
        memset(iommu->root, 0, PAGE);
    invalidate_contexts(iommu);
    invalidate_iotlb(iommu, 0);
    while (iommu->arenas) {
        struct arena *arena = iommu->arenas;

        iommu->arenas = arena->next;
        mem_region_remove(iommu->space, arena->region);
        free(arena);
    }
    gate_open(iommu->gate);
    sd_event_source_disable_unref(iommu->fault_source);
    if (iommu->fault_fd >= 0)
        close(iommu->fault_fd);
    free(iommu);
}

void host_iommu_fault_signal(struct host_iommu *iommu)
{
    const uint64_t one = 1;

    if (write(iommu->fault_fd, &one, sizeof one) < 0) {
        // EAGAIN: a signal is waiting already.
    }
}

uint64_t host_iommu_faults(struct host_iommu *iommu)
{
    return iommu->faults;
}

int host_domain_create(struct host_iommu *iommu, struct host_domain **out)
{
    struct host_domain *domain = calloc(1, sizeof *domain);

    if (!domain)
        return -ENOMEM;
    for (unsigned id = 1; id < DOMAINS_MAX && !domain->id; id++) {
        if (!iommu->domain_used[id])
            domain->id = (uint16_t)id;
    }
    if (!domain->id) {
        free(domain);
        return -ENOSPC;
    }
    domain->iommu = iommu;
    domain->top = page_alloc(iommu);
    if (!domain->top) {
        free(domain);
        return -ENOMEM;
    }
    domain->table_pages = 1;
    iommu->domain_used[domain->id] = true;
    *out = domain;
    return 0;
}

// Frees table `page` of level `level` (1: its entries are pages) and all tables under it.
static void table_free(struct host_domain *domain, uint8_t *page, unsigned level)
{
    for (unsigned i = 0; level > 1 && i < ENTRIES; i++) {
        uint64_t entry = le64_get(page + i * 8);

        if ((entry & (VTD_SS_R | VTD_SS_W)) && !(entry & VTD_SS_PS))
            table_free(domain, page_at(entry), level - 1);
    }
    page_free(domain->iommu, page);
    domain->table_pages--;
}

void host_domain_destroy(struct host_domain *domain)
{
    if (!domain)
        return;
    assert(!domain->attached);
    gate_close(domain->iommu->gate);
    invalidate_iotlb(domain->iommu, domain->id);
    table_free(domain, domain->top, LEVELS);
    gate_open(domain->iommu->gate);
    domain->iommu->domain_used[domain->id] = false;
    free(domain);
}

static void context_write(struct host_iommu *iommu, rid_t rid, uint64_t high, uint64_t low)
{
    uint8_t *entry = iommu->context[rid.v >> 8] + (rid.v & 0xff) * VTD_CONTEXT_ENTRY_BYTES;

    gate_close(iommu->gate);
    le64_put(entry, 0); // not present while the other half changes
    le64_put(entry + 8, high);
    le64_put(entry, low);
    invalidate_contexts(iommu);
    invalidate_iotlb(iommu, 0);
    gate_open(iommu->gate);
}

int host_domain_attach(struct host_domain *domain, rid_t rid)
{
    struct host_iommu *iommu = domain->iommu;
    unsigned bus = rid.v >> 8;

    if (!iommu->context[bus]) {
        iommu->context[bus] = page_alloc(iommu);
        if (!iommu->context[bus])
            return -ENOMEM;
        le64_put(iommu->root + bus * VTD_ROOT_ENTRY_BYTES,
                 hpa_of(iommu->context[bus]) | VTD_ROOT_P);
    }
    context_write(iommu, rid, VTD_CONTEXT_AW_48 | (uint64_t)domain->id << VTD_CONTEXT_HI_DID_SHIFT,
                  hpa_of(domain->top) | VTD_CONTEXT_LO_P);
    domain->attached++;
    return 0;
}

void host_domain_detach(struct host_domain *domain, rid_t rid)
{
    assert(domain->attached);
    context_write(domain->iommu, rid, 0, 0);
    domain->attached--;
}

// Bytes that one entry of level `level` maps.
static uint64_t level_bytes(unsigned level)
{
    return PAGE << (9 * (level - 1));
}

static uint8_t *entry_at(uint8_t *table, uint64_t iova, unsigned level)
{
    return table + (iova / level_bytes(level) & (ENTRIES - 1)) * 8;
}

// Places one page of level `level` (1, 2 or 3) at `iova`.
static int page_place(struct host_domain *domain, uint64_t iova, uint64_t value, unsigned level)
{
    uint8_t *table = domain->top;
    uint8_t *entry;
    uint64_t old;

    for (unsigned l = LEVELS; l > level; l--) {
        entry = entry_at(table, iova, l);
        old = le64_get(entry);
        if (!(old & (VTD_SS_R | VTD_SS_W))) {
            uint8_t *next;

            if (domain->table_pages == HOST_TABLE_PAGES_MAX)
                return -ENOSPC;
            next = page_alloc(domain->iommu);
            if (!next)
                return -ENOMEM;
            domain->table_pages++;
            old = hpa_of(next) | VTD_SS_R | VTD_SS_W;
            le64_put(entry, old);
        }
        table = page_at(old);
    }
    entry = entry_at(table, iova, level);
    old = le64_get(entry);
    le64_put(entry, value | (level > 1 ? VTD_SS_PS : 0));
    // A table left over from smaller pages that are gone: the range holds no mapping, so it is
    // empty.
    if (old & (VTD_SS_R | VTD_SS_W)) {
        invalidate_iotlb(domain->iommu, domain->id);
        table_free(domain, page_at(old), level - 1);
    }
    return 0;
}

int host_domain_map(struct host_domain *domain, uint64_t iova, hpa_t hpa, uint64_t len_bytes,
                    unsigned prot)
{
    uint64_t bits = (prot & MEM_READ ? VTD_SS_R : 0) | (prot & MEM_WRITE ? VTD_SS_W : 0);
    uint64_t done = 0;

    assert(gate_is_closed(domain->iommu->gate));
    if (!bits || !len_bytes || ((iova | hpa.v | len_bytes) & (PAGE - 1)))
        return -EINVAL;
    if (!bits_range_within(iova, len_bytes, 0, IOVA_LIMIT) ||
        !bits_range_within(hpa.v, len_bytes, 0, IOVA_LIMIT))
        return -ERANGE;
    while (done < len_bytes) {
        uint64_t both = (iova + done) | (hpa.v + done);
        unsigned level = 3;
        int ret;

        while (level > 1 &&
               (both & (level_bytes(level) - 1) || len_bytes - done < level_bytes(level)))
            level--;
        ret = page_place(domain, iova + done, (hpa.v + done) | bits, level);
        if (ret) {
            if (done)
                host_domain_unmap(domain, iova, done);
            return ret;
        }
        done += level_bytes(level);
    }
    // Caching mode is off: not-present entries are not cached, so a map needs no invalidation
    // (VT-d §6.1).
    return 0;
}

void host_domain_unmap(struct host_domain *domain, uint64_t iova, uint64_t len_bytes)
{
    uint64_t at = iova, end = iova + len_bytes;

    assert(gate_is_closed(domain->iommu->gate));
    while (at < end) {
        uint8_t *table = domain->top;
        unsigned level = LEVELS;
        uint8_t *entry = entry_at(table, at, level);
        uint64_t value = le64_get(entry);

        while (level > 1 && (value & (VTD_SS_R | VTD_SS_W)) && !(value & VTD_SS_PS)) {
            table = page_at(value);
            entry = entry_at(table, at, --level);
            value = le64_get(entry);
        }
        le64_put(entry, 0);
        at = bits_align_down(at, level_bytes(level)) + level_bytes(level);
    }
    invalidate_iotlb(domain->iommu, domain->id);
}

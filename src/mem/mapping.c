// SPDX-License-Identifier: BSD-3-Clause
#include "mem/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/bits.h"
#include "mem/space.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

// What the SIGBUS handler reads. A static table, so that it can be read at any moment, on any
// thread, without a lock and without following a pointer that may be stale: `seq` is odd while a
// slot changes, and a slot that changed while it was read is not taken.
struct slot {
    _Atomic uint32_t seq;
    _Atomic uintptr_t start; // 0: free
    _Atomic uint64_t len_bytes;
    struct mapping *_Atomic mapping;
};

// Left to the rest of the process of the kernel's limit on mappings (vm.max_map_count). Each of
// ours costs one, and may come to cost one again when it is replaced in the handler: memory must
// not run out there.
#define MAPS_LEFT_TO_OTHERS 4096u
#define MAPS_DEFAULT        65530u

static struct slot slots[MEM_REGIONS_MAX];
static _Atomic uint32_t slots_top; // slots at and above it were never used
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER; // guards what follows, and writing
static uint32_t slots_limit;                                   // 0: not yet known
static uint32_t slots_free[MEM_REGIONS_MAX];
static uint32_t slots_free_count;

static uint32_t slots_limit_find(void)
{
    unsigned long maps = MAPS_DEFAULT;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");

    if (f) {
        if (fscanf(f, "%lu", &maps) != 1)
            maps = MAPS_DEFAULT;
        fclose(f);
    }
    if (maps <= 2 * MAPS_LEFT_TO_OTHERS)
        maps /= 2;
    else
        maps -= MAPS_LEFT_TO_OTHERS;
    return maps < MEM_REGIONS_MAX ? (uint32_t)maps : MEM_REGIONS_MAX;
}

static void slot_set(struct slot *slot, uintptr_t start, uint64_t len_bytes, struct mapping *m)
{
    uint32_t seq = atomic_load_explicit(&slot->seq, memory_order_relaxed);

    // The seqlock of slot_find(): odd, change, even.
    atomic_store_explicit(&slot->seq, seq + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&slot->start, start, memory_order_relaxed);
    atomic_store_explicit(&slot->len_bytes, len_bytes, memory_order_relaxed);
    atomic_store_explicit(&slot->mapping, m, memory_order_relaxed);
    // release: pairs with the acquire in slot_find()
    atomic_store_explicit(&slot->seq, seq + 2, memory_order_release);
}

static int slot_take(struct mapping *m)
{
    int ret = 0;

    pthread_mutex_lock(&slots_lock);
    if (!slots_limit)
        slots_limit = slots_limit_find();
    if (!slots_free_count && slots_top >= slots_limit) {
        ret = -ENOSPC;
    } else {
        m->slot = slots_free_count ? slots_free[--slots_free_count] : slots_top;
        slot_set(&slots[m->slot], (uintptr_t)m->host, m->len_bytes, m);
        if (m->slot == slots_top)
            // release: pairs with the acquire in slot_find()
            atomic_store_explicit(&slots_top, m->slot + 1, memory_order_release);
    }
    pthread_mutex_unlock(&slots_lock);
    return ret;
}

static void slot_give_back(struct mapping *m)
{
    pthread_mutex_lock(&slots_lock);
    slot_set(&slots[m->slot], 0, 0, NULL);
    slots_free[slots_free_count++] = m->slot;
    m->slot = MAPPING_NO_SLOT;
    pthread_mutex_unlock(&slots_lock);
}

// Runs in the signal handler. A slot that changes meanwhile cannot be the one that was hit: nobody
// touches memory that is being mapped or unmapped.
static struct mapping *slot_find(uintptr_t addr)
{
    // acquire: pairs with the release in slot_take()
    uint32_t top = atomic_load_explicit(&slots_top, memory_order_acquire);

    for (uint32_t i = 0; i < top; i++) {
        struct slot *slot = &slots[i];
        // acquire: pairs with the release in slot_set()
        uint32_t seq = atomic_load_explicit(&slot->seq, memory_order_acquire);
        uintptr_t start = atomic_load_explicit(&slot->start, memory_order_relaxed);
        uint64_t len = atomic_load_explicit(&slot->len_bytes, memory_order_relaxed);
        struct mapping *m = atomic_load_explicit(&slot->mapping, memory_order_relaxed);

        // acquire: pairs with the release fence in slot_set()
        atomic_thread_fence(memory_order_acquire);
        if (!(seq & 1) && seq == atomic_load_explicit(&slot->seq, memory_order_relaxed) && start &&
            addr >= start && addr - start < len)
            return m;
    }
    return NULL;
}

static struct sigaction sigbus_previous;

static void sigbus_chain(int sig, siginfo_t *info, void *context)
{
    if (sigbus_previous.sa_flags & SA_SIGINFO) {
        sigbus_previous.sa_sigaction(sig, info, context);
    } else if (sigbus_previous.sa_handler == SIG_DFL || sigbus_previous.sa_handler == SIG_IGN) {
        // A fault happens again when we return, and then has the default action, with the faulting
        // instruction in the core. What was sent by a process does not, so it is sent again. (A
        // fault cannot be ignored: the kernel takes SIG_IGN for the default.)
        struct sigaction act = {.sa_handler = SIG_DFL};

        if (info->si_code <= 0 && sigbus_previous.sa_handler == SIG_IGN)
            return;
        sigaction(sig, &act, NULL);
        if (info->si_code <= 0)
            raise(sig);
    } else {
        sigbus_previous.sa_handler(sig);
    }
}

// Only async-signal-safe steps: atomics, and the mmap and write system calls.
static void sigbus_handle(int sig, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    struct mapping *m = NULL;
    long p = -1;

    // Codes above 0 come from the kernel; only then is si_addr what was touched.
    if (info->si_code > 0)
        m = slot_find((uintptr_t)info->si_addr);
    // Also when it is dead already: two workers may have hit it at the same time. Straight to the
    // kernel: whatever may stand between (a sanitizer, an interposer) was not made for handlers.
    if (m)
        p = syscall(SYS_mmap, m->host, m->len_bytes, PROT_READ | (m->writable ? PROT_WRITE : 0),
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (p == -1) {
        sigbus_chain(sig, info, context);
    } else if (!atomic_exchange(&m->dead, true) && m->dead_fd >= 0) {
        uint64_t one = 1;
        ssize_t n = write(m->dead_fd, &one, sizeof one);

        (void)n; // an eventfd that is full is as loud
    }
    errno = saved_errno;
}

int mem_sigbus_install(void)
{
    static bool installed;
    struct sigaction act = {.sa_sigaction = sigbus_handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    if (installed)
        return 0;
    sigemptyset(&act.sa_mask);
    if (sigaction(SIGBUS, &act, &sigbus_previous))
        return -errno;
    installed = true;
    return 0;
}

// What a page costs that is not there: a FUSE or network file system could keep a worker waiting in
// a page fault for as long as its owner likes. So only local memory and disks.
static bool fs_is_local(uint64_t type)
{
    switch (type) {
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
    case HUGETLBFS_MAGIC:
    case EXT4_SUPER_MAGIC: // ext2 and ext3 too
    case XFS_SUPER_MAGIC:
        return true;
    default:
        return false;
    }
}

// 0; -EINVAL where the file's server might keep us waiting already when it is asked about the file,
// as FUSE's and those of network file systems can: these have no block device, and no seals either.
static int server_check(int fd)
{
    struct statx st;

    if (fcntl(fd, F_GET_SEALS) >= 0)
        return 0;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st))
        return -errno;
    return st.stx_dev_major ? 0 : -EINVAL;
}

// The checks on a peer's file. *page_bytes is the size of its pages: hugetlbfs maps and unmaps
// whole ones only, and would round our lengths up, over our neighbours.
static int file_check(int fd, uint64_t offset_bytes, uint64_t len_bytes, uint64_t *page_bytes,
                      bool *may_shrink)
{
    struct stat st;
    struct statfs fs;
    int seals, ret = server_check(fd);

    if (ret)
        return ret;
    if (fstat(fd, &st) || fstatfs(fd, &fs))
        return -errno;
    if (!S_ISREG(st.st_mode) || !fs_is_local((uint64_t)fs.f_type) ||
        !bits_range_within(offset_bytes, len_bytes, 0, (uint64_t)st.st_size))
        return -EINVAL;
    *page_bytes = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : MAPPING_PAGE_BYTES;
    if (!len_bytes || offset_bytes % *page_bytes || len_bytes % *page_bytes)
        return -EINVAL;
    seals = fcntl(fd, F_GET_SEALS);
    *may_shrink = seals < 0 || !(seals & F_SEAL_SHRINK);
    return 0;
}

// Reserves addresses with room for the alignment, and gives back what is too much.
static int reserve_congruent(uint64_t len_bytes, uint64_t congruent, uint64_t align, uint8_t **out)
{
    uint64_t room = len_bytes + align, head;
    uint8_t *p;

    if (room < len_bytes)
        return -EINVAL;
    p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return -errno;
    head = (congruent - (uintptr_t)p) & (align - 1);
    if (head)
        munmap(p, head);
    if (head < align)
        munmap(p + head + len_bytes, align - head);
    *out = p + head;
    return 0;
}

int mapping_create_file(struct mapping *m, int fd, uint64_t offset_bytes, uint64_t len_bytes,
                        bool writable, uint64_t congruent, int dead_fd)
{
    uint64_t page_bytes, align;
    uint8_t *p = NULL;
    int ret;

    *m = (struct mapping){.len_bytes = len_bytes, .writable = writable, .dead_fd = dead_fd};
    ret = file_check(fd, offset_bytes, len_bytes, &page_bytes, &m->may_shrink);
    if (ret)
        return ret;
    align = len_bytes >= MAPPING_HUGE_BYTES ? MAPPING_HUGE_BYTES : MAPPING_LARGE_BYTES;
    if (align < page_bytes)
        align = page_bytes;
    // On huge pages of the file nothing smaller can be placed.
    ret = reserve_congruent(len_bytes, bits_align_down(congruent, page_bytes), align, &p);
    if (ret)
        return ret;
    m->host = mmap(p, len_bytes, PROT_READ | (writable ? PROT_WRITE : 0),
                   MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, (off_t)offset_bytes);
    if (m->host == MAP_FAILED) {
        ret = -errno;
        munmap(p, len_bytes);
        return ret;
    }
    ret = slot_take(m);
    if (ret)
        munmap(m->host, len_bytes);
    return ret;
}

int mapping_create_anonymous(struct mapping *m, uint64_t len_bytes)
{
    *m = (struct mapping){
        .len_bytes = len_bytes, .writable = true, .dead_fd = -1, .slot = MAPPING_NO_SLOT};
    m->host = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return m->host == MAP_FAILED ? -errno : 0;
}

void mapping_destroy(struct mapping *m)
{
    if (m->slot != MAPPING_NO_SLOT)
        slot_give_back(m);
    munmap(m->host, m->len_bytes);
    m->host = NULL;
}

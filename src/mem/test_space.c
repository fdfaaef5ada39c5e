// SPDX-License-Identifier: BSD-3-Clause
#include "mem/space.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define PAGE 4096ull
#define MIB  (1ull << 20)
#define GIB  (1ull << 30)

struct fixture {
    struct gate gate;
    struct mem_space *space;
};

static int setup(void **state)
{
    static struct fixture fx;

    gate_init(&fx.gate);
    gate_close(&fx.gate);
    if (mem_space_create(&fx.gate, &fx.space))
        return -1;
    *state = &fx;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fx = *state;

    mem_space_destroy(fx->space);
    gate_open(&fx->gate);
    gate_destroy(&fx->gate);
    return 0;
}

static int file_make(uint64_t len_bytes)
{
    int fd = memfd_create("vireo-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)len_bytes), 0);
    return fd;
}

static struct mem_map_request request(int fd, uint64_t offset, uint64_t len, uint64_t hpa)
{
    return (struct mem_map_request){.fd = fd,
                                    .offset_bytes = offset,
                                    .len_bytes = len,
                                    .prot = MEM_READ | MEM_WRITE,
                                    .hpa = {hpa}};
}

static int try_map(struct fixture *fx, int fd, uint64_t offset, uint64_t len, uint64_t hpa)
{
    struct mem_map_request req = request(fd, offset, len, hpa);
    struct mem_region *region;

    return mem_region_map(fx->space, &req, -1, &region);
}

static void *at(struct fixture *fx, uint64_t hpa, uint64_t len)
{
    return mem_space_at(fx->space, (hpa_t){hpa}, len, MEM_READ, NULL);
}

static void test_bad_requests(void **state)
{
    struct fixture *fx = *state;
    int fd = file_make(4 * PAGE), pipe_fds[2], zero_fd, dir_fd;
    struct mem_map_request req;
    struct mem_region *region;

    assert_int_equal(try_map(fx, fd, 0, 0, 0), -EINVAL);
    assert_int_equal(try_map(fx, fd, 0, PAGE - 1, 0), -EINVAL);
    assert_int_equal(try_map(fx, fd, 0, PAGE + 1, 0), -EINVAL);
    assert_int_equal(try_map(fx, fd, 1, PAGE, 0), -EINVAL);
    assert_int_equal(try_map(fx, fd, 0, PAGE, 0x800), -EINVAL);
    // Past the end of the file: by a page, by far, around 2^64.
    assert_int_equal(try_map(fx, fd, 0, 5 * PAGE, 0), -EINVAL);
    assert_int_equal(try_map(fx, fd, PAGE, 4 * PAGE, 0), -EINVAL);
    assert_int_equal(try_map(fx, fd, 4 * PAGE, PAGE, 0), -EINVAL);
    assert_int_equal(try_map(fx, fd, UINT64_MAX - PAGE + 1, PAGE, 0), -EINVAL);
    assert_int_equal(try_map(fx, fd, PAGE, UINT64_MAX - PAGE + 1, 0), -EINVAL);
    // Past the end of the address space; the last page itself is fine.
    assert_int_equal(try_map(fx, fd, 0, 2 * PAGE, UINT64_MAX - PAGE + 1), -EINVAL);
    assert_int_equal(try_map(fx, fd, 0, PAGE, UINT64_MAX - PAGE + 1), 0);
    assert_non_null(at(fx, UINT64_MAX, 1));
    assert_null(at(fx, UINT64_MAX, 2));

    req = request(fd, 0, PAGE, 0);
    req.prot = 0;
    assert_int_equal(mem_region_map(fx->space, &req, -1, &region), -EINVAL);
    req.prot = 4 | MEM_READ;
    assert_int_equal(mem_region_map(fx->space, &req, -1, &region), -EINVAL);
    req.prot = MEM_READ;
    req.congruent = 0x10;
    assert_int_equal(mem_region_map(fx->space, &req, -1, &region), -EINVAL);

    assert_int_equal(pipe(pipe_fds), 0);
    zero_fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
    dir_fd = open("/", O_RDONLY | O_CLOEXEC);
    assert_true(zero_fd >= 0 && dir_fd >= 0);
    assert_int_equal(try_map(fx, pipe_fds[0], 0, PAGE, 0), -EINVAL);
    assert_int_equal(try_map(fx, zero_fd, 0, PAGE, 0), -EINVAL);
    assert_int_equal(try_map(fx, dir_fd, 0, PAGE, 0), -EINVAL);
    assert_int_equal(try_map(fx, -1, 0, PAGE, 0), -EBADF);
    assert_int_equal(mem_region_alloc(fx->space, 0, &region), -EINVAL);
    assert_int_equal(mem_region_alloc(fx->space, PAGE + 8, &region), -EINVAL);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    close(zero_fd);
    close(dir_fd);
    close(fd);
}

// procfs serves its pages when it likes: not a file that a worker may touch.
static void test_foreign_file_systems_are_refused(void **state)
{
    struct fixture *fx = *state;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(try_map(fx, fd, 0, PAGE, 0), -EINVAL);
    close(fd);
}

static void test_overlap(void **state)
{
    struct fixture *fx = *state;
    int fd = file_make(8 * PAGE);
    uint64_t base = 16 * PAGE;

    assert_int_equal(try_map(fx, fd, 0, 4 * PAGE, base), 0);
    assert_int_equal(try_map(fx, fd, 0, 4 * PAGE, base), -EEXIST);
    assert_int_equal(try_map(fx, fd, 0, PAGE, base + 3 * PAGE), -EEXIST);
    assert_int_equal(try_map(fx, fd, 0, PAGE, base + PAGE), -EEXIST);
    assert_int_equal(try_map(fx, fd, 0, 2 * PAGE, base - PAGE), -EEXIST);
    assert_int_equal(try_map(fx, fd, 0, 8 * PAGE, base - PAGE), -EEXIST);
    // Touching on both sides is not overlapping.
    assert_int_equal(try_map(fx, fd, 0, PAGE, base + 4 * PAGE), 0);
    assert_int_equal(try_map(fx, fd, 0, PAGE, base - PAGE), 0);
    close(fd);
}

static void test_lookup_boundaries(void **state)
{
    struct fixture *fx = *state;
    int fd = file_make(8 * PAGE);
    struct mem_map_request req = request(fd, 4 * PAGE, 2 * PAGE, 10 * PAGE);
    struct mem_region *a, *b;
    uint64_t run = 0;
    char *host;

    assert_null(at(fx, 0, 1));
    assert_int_equal(mem_region_map(fx->space, &req, -1, &a), 0);
    req = request(fd, 0, 2 * PAGE, 12 * PAGE);
    req.prot = MEM_READ;
    assert_int_equal(mem_region_map(fx->space, &req, -1, &b), 0);
    host = mem_region_host(a);
    assert_int_equal(mem_region_hpa(a).v, 10 * PAGE);
    assert_int_equal(mem_region_len_bytes(a), 2 * PAGE);

    assert_null(at(fx, 10 * PAGE - 1, 1));
    assert_null(at(fx, 10 * PAGE - 1, 2));
    assert_null(at(fx, 10 * PAGE, 0));
    assert_ptr_equal(at(fx, 10 * PAGE, 1), host);
    assert_ptr_equal(at(fx, 10 * PAGE, 2 * PAGE), host);
    // Two regions that touch are two: nothing spans them.
    assert_null(at(fx, 10 * PAGE, 2 * PAGE + 1));
    assert_null(at(fx, 12 * PAGE - 1, 2));
    assert_ptr_equal(at(fx, 12 * PAGE - 1, 1), host + 2 * PAGE - 1);
    assert_ptr_equal(at(fx, 12 * PAGE, 1), mem_region_host(b));
    assert_null(at(fx, 14 * PAGE, 1));
    assert_null(at(fx, 10 * PAGE, UINT64_MAX));
    assert_ptr_equal(mem_space_at(fx->space, (hpa_t){11 * PAGE + 8}, 8, MEM_WRITE, &run),
                     host + PAGE + 8);
    assert_int_equal(run, PAGE - 8);

    // Read-only means so.
    assert_null(mem_space_at(fx->space, (hpa_t){12 * PAGE}, 8, MEM_WRITE, NULL));
    assert_null(mem_space_at(fx->space, (hpa_t){12 * PAGE}, 8, MEM_READ | MEM_WRITE, NULL));

    // It is the file, at the offset asked for.
    assert_int_equal(pwrite(fd, "seen", 4, 4 * PAGE + 5), 4);
    assert_memory_equal(host + 5, "seen", 4);
    mem_region_remove(fx->space, a);
    assert_null(at(fx, 10 * PAGE, 1));
    assert_non_null(at(fx, 12 * PAGE, 1));
    close(fd);
}

// Many regions, put in and taken out in a scrambled order.
static void test_many_regions(void **state)
{
    enum { COUNT = 211 };
    struct fixture *fx = *state;
    int fd = file_make(PAGE);
    struct mem_region *regions[COUNT];

    for (unsigned i = 0; i < COUNT; i++) {
        unsigned k = i * 97 % COUNT;
        struct mem_map_request req = request(fd, 0, PAGE, k * 2 * PAGE);

        assert_int_equal(mem_region_map(fx->space, &req, -1, &regions[k]), 0);
    }
    for (unsigned k = 0; k < COUNT; k++) {
        assert_ptr_equal(at(fx, k * 2 * PAGE, PAGE), mem_region_host(regions[k]));
        assert_null(at(fx, (k * 2 + 1) * PAGE, 1));
    }
    for (unsigned i = 0; i < COUNT; i++) {
        unsigned k = i * 59 % COUNT;

        mem_region_remove(fx->space, regions[k]);
        assert_null(at(fx, k * 2 * PAGE, 1));
        if (i + 1 < COUNT) {
            unsigned next = (i + 1) * 59 % COUNT;

            assert_non_null(at(fx, next * 2 * PAGE, 1));
        }
    }
    close(fd);
}

static void test_congruence(void **state)
{
    static const struct {
        uint64_t len, congruent, align;
    } cases[] = {
        {PAGE, 0, 2 * MIB},
        {PAGE, 0x7ff000, 2 * MIB},
        {4 * MIB, 0x100000, 2 * MIB},
        {GIB - PAGE, 0x80001000, 2 * MIB},
        {GIB, 0x100000000ull, GIB},
        {GIB, 0x1fffff000ull, GIB},
        {GIB + PAGE, 0xfffffffffffff000ull, GIB},
    };
    struct fixture *fx = *state;
    int fd = file_make(2 * GIB); // sparse: no page is touched but the edges

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mem_map_request req = request(fd, 0, cases[i].len, MEM_HPA_IDENTITY);
        struct mem_region *region;
        volatile char *host;

        req.congruent = cases[i].congruent;
        assert_int_equal(mem_region_map(fx->space, &req, -1, &region), 0);
        host = mem_region_host(region);
        assert_int_equal((uintptr_t)host % cases[i].align, cases[i].congruent % cases[i].align);
        assert_int_equal(mem_region_hpa(region).v, (uintptr_t)host);
        host[0] = 1;
        host[cases[i].len - 1] = 1;
        mem_region_remove(fx->space, region);
    }
    close(fd);
}

static void test_huge_page_file(void **state)
{
    struct fixture *fx = *state;
    int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
    struct mem_map_request req;
    struct mem_region *region;

    if (fd < 0)
        skip(); // a kernel without huge pages
    assert_int_equal(ftruncate(fd, 4 * MIB), 0);
    // What the kernel would round up, over whatever lies behind, is refused.
    assert_int_equal(try_map(fx, fd, 0, PAGE, 0), -EINVAL);
    assert_int_equal(try_map(fx, fd, PAGE, 2 * MIB, 0), -EINVAL);
    req = request(fd, 2 * MIB, 2 * MIB, MEM_HPA_IDENTITY);
    req.congruent = 0x5000; // cannot be: placed on a huge page
    assert_int_equal(mem_region_map(fx->space, &req, -1, &region), 0);
    assert_int_equal((uintptr_t)mem_region_host(region) % (2 * MIB), 0);
    close(fd);
}

static void test_alloc_is_zeroed_and_at_identity(void **state)
{
    static const char zeros[2 * PAGE];
    struct fixture *fx = *state;
    struct mem_region *region;

    assert_int_equal(mem_region_alloc(fx->space, 2 * PAGE, &region), 0);
    assert_int_equal(mem_region_hpa(region).v, (uintptr_t)mem_region_host(region));
    assert_memory_equal(mem_region_host(region), zeros, 2 * PAGE);
    assert_ptr_equal(
        mem_space_at(fx->space, mem_region_hpa(region), 2 * PAGE, MEM_READ | MEM_WRITE, NULL),
        mem_region_host(region));
    assert_false(mem_region_may_shrink(region));
    mem_region_remove(fx->space, region);
}

static void test_shrink_seal_is_noticed(void **state)
{
    struct fixture *fx = *state;
    int fd = file_make(PAGE);
    struct mem_map_request req = request(fd, 0, PAGE, 0);
    struct mem_region *region;

    assert_int_equal(mem_region_map(fx->space, &req, -1, &region), 0);
    assert_true(mem_region_may_shrink(region));
    mem_region_remove(fx->space, region);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_int_equal(mem_region_map(fx->space, &req, -1, &region), 0);
    assert_false(mem_region_may_shrink(region));
    close(fd);
}

// --- SIGBUS ---------------------------------------------------------------------------------

static bool is_signalled(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

// cmocka puts its own handlers in place around every test.
static void sigbus_install_over_cmocka(void)
{
    static struct sigaction ours;

    if (ours.sa_flags) {
        assert_int_equal(sigaction(SIGBUS, &ours, NULL), 0);
        return;
    }
    assert_int_equal(mem_sigbus_install(), 0);
    assert_int_equal(mem_sigbus_install(), 0);
    assert_int_equal(sigaction(SIGBUS, NULL, &ours), 0);
}

static void test_truncated_file_kills_only_its_region(void **state)
{
    struct fixture *fx = *state;
    int fd_a = file_make(4 * PAGE), fd_b = file_make(4 * PAGE);
    int dead_a = eventfd(0, EFD_NONBLOCK), dead_b = eventfd(0, EFD_NONBLOCK);
    struct mem_map_request req_a = request(fd_a, 0, 4 * PAGE, 0);
    struct mem_map_request req_b = request(fd_b, 0, 4 * PAGE, 64 * PAGE);
    struct mem_map_request req_c = request(fd_b, 0, 4 * PAGE, 128 * PAGE);
    struct mem_region *a, *b, *c;
    volatile char *pa, *pb;
    uint64_t told = 0;

    sigbus_install_over_cmocka();
    assert_int_equal(mem_region_map(fx->space, &req_a, dead_a, &a), 0);
    assert_int_equal(mem_region_map(fx->space, &req_b, dead_b, &b), 0);
    req_c.prot = MEM_READ;
    assert_int_equal(mem_region_map(fx->space, &req_c, -1, &c), 0);
    pa = mem_region_host(a);
    pb = mem_region_host(b);
    pa[0] = 17;
    pb[0] = 18;

    assert_int_equal(ftruncate(fd_a, PAGE), 0);
    assert_int_equal(pa[0], 17); // what is left of the file is still the file
    assert_false(mem_region_is_dead(a));
    errno = 1234;
    assert_int_equal(pa[3 * PAGE], 0);
    assert_int_equal(errno, 1234);
    assert_true(mem_region_is_dead(a));
    assert_int_equal(read(dead_a, &told, sizeof told), sizeof told);
    assert_int_equal(told, 1);
    // All of it is ours now, and can be written.
    assert_int_equal(pa[0], 0);
    for (unsigned i = 0; i < 4; i++)
        pa[i * PAGE + 9] = 1;
    assert_false(is_signalled(dead_a));

    assert_false(mem_region_is_dead(b));
    assert_false(is_signalled(dead_b));
    assert_int_equal(pb[0], 18);

    // A write is caught as well; so is a read-only region without an eventfd.
    assert_int_equal(ftruncate(fd_b, 0), 0);
    pb[2 * PAGE] = 5;
    assert_int_equal(pb[2 * PAGE], 5);
    assert_true(mem_region_is_dead(b));
    assert_true(is_signalled(dead_b));
    assert_false(mem_region_is_dead(c));
    assert_int_equal(*(volatile char *)mem_region_host(c), 0);
    assert_true(mem_region_is_dead(c));
    close(fd_a);
    close(fd_b);
    close(dead_a);
    close(dead_b);
}

struct toucher {
    volatile char *host;
    uint64_t len_bytes;
    pthread_barrier_t *start;
};

static void *touch_all(void *arg)
{
    struct toucher *t = arg;

    pthread_barrier_wait(t->start);
    for (uint64_t i = 0; i < t->len_bytes; i += PAGE)
        (void)t->host[i];
    return NULL;
}

// Two workers hit the same loss at the same time: one death is told, nobody is stuck.
static void test_two_threads_hit_one_loss(void **state)
{
    struct fixture *fx = *state;

    sigbus_install_over_cmocka();
    for (int round = 0; round < 50; round++) {
        int fd = file_make(8 * PAGE), dead = eventfd(0, EFD_NONBLOCK);
        struct mem_map_request req = request(fd, 0, 8 * PAGE, 0);
        struct mem_region *region;
        pthread_barrier_t start;
        struct toucher t = {.len_bytes = 8 * PAGE, .start = &start};
        pthread_t thread;
        uint64_t told = 0;

        assert_int_equal(mem_region_map(fx->space, &req, dead, &region), 0);
        assert_int_equal(ftruncate(fd, 0), 0);
        t.host = mem_region_host(region);
        pthread_barrier_init(&start, NULL, 2);
        assert_int_equal(pthread_create(&thread, NULL, touch_all, &t), 0);
        touch_all(&t);
        pthread_join(thread, NULL);
        pthread_barrier_destroy(&start);
        assert_true(mem_region_is_dead(region));
        assert_int_equal(read(dead, &told, sizeof told), sizeof told);
        assert_int_equal(told, 1);
        mem_region_remove(fx->space, region);
        close(fd);
        close(dead);
    }
}

static void previous_handler(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    (void)info;
    (void)context;
    _exit(42);
}

// In a child: installs over `previous`, then touches a lost page that is nobody's region, or sends
// itself the signal. Returns how the child ended.
static int foreign_fault(const struct sigaction *previous, bool sent)
{
    pid_t pid = fork();
    int status = 0;

    assert_true(pid >= 0);
    if (!pid) {
        int fd = memfd_create("foreign", MFD_CLOEXEC);
        volatile char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);

        if (sigaction(SIGBUS, previous, NULL) || mem_sigbus_install())
            _exit(1);
        if (sent)
            raise(SIGBUS);
        else
            (void)*p;
        _exit(2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

// Runs first: the handler must not have been installed in this process yet.
static void test_foreign_addresses_go_to_the_previous_action(void **state)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    struct sigaction ours = {.sa_sigaction = previous_handler, .sa_flags = SA_SIGINFO};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    int status;

    (void)state;
    status = foreign_fault(&dfl, false);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = foreign_fault(&dfl, true);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = foreign_fault(&ours, false);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    status = foreign_fault(&ignore, true);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    status = foreign_fault(&ignore, false);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

#define WITH_SPACE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foreign_addresses_go_to_the_previous_action),
        WITH_SPACE(test_bad_requests),
        WITH_SPACE(test_foreign_file_systems_are_refused),
        WITH_SPACE(test_overlap),
        WITH_SPACE(test_lookup_boundaries),
        WITH_SPACE(test_many_regions),
        WITH_SPACE(test_congruence),
        WITH_SPACE(test_huge_page_file),
        WITH_SPACE(test_alloc_is_zeroed_and_at_identity),
        WITH_SPACE(test_shrink_seal_is_noticed),
        WITH_SPACE(test_truncated_file_kills_only_its_region),
        WITH_SPACE(test_two_threads_hit_one_loss),
    };

    return cmocka_run_group_tests_name("space", tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "app/bench_dataplane.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "app/bench_machine.h"
#include "base/clock.h"
#include "base/le.h"
#include "driver/bus.h"
#include "driver/vf.h"

#define VFS               2u
#define FRAMES            (VFS * BENCH_FRAMES_EACH_WAY)
#define RING_LEN          1024u // all frames fit into one ring: nothing is ever dropped for room
#define BUFFER_COUNT      2048u
#define BATCH             32u
#define ROUND_NS          (250 * NS_PER_MS)
#define MEMCPY_NS         (60 * NS_PER_MS)
#define ROUNDS_MAX        512u
#define RETRIES_A_ROUND   3u   // contended rounds for each one that counts, at most
#define CPU_SHARE_MIN     0.90 // of the two cores, below which a round is contended
#define SETTLE_LIMIT_NS   (2 * NS_PER_S)
#define PAYLOAD_AT        16u // 14 bytes Ethernet, 2 spare
#define COPY_BUFFERS_EACH FRAMES

static const char config_text[] = "seed = \"vireo bench\";\n"
                                  "ports = ({\n"
                                  "  uplink = { kind = \"null\"; };\n"
                                  "  vfs = 2;\n"
                                  "  vf_defaults = { doorbells = \"mapped\"; spoofchk = true; };\n"
                                  "});\n";

struct guest {
    struct {
        struct driver_bus *bus;
        struct vf_driver *vf;
        uint8_t mac[6];
        // Received, and not yet taken by vf_send().
        struct vf_buffer *held[FRAMES];
        unsigned held_count;
    } side[VFS];
    uint32_t size_bytes;
    uint64_t frames; // trips from VF to VF
};

// --- open and close ---

static void guest_close(struct guest *g)
{
    for (unsigned i = 0; i < VFS; i++) {
        if (g->side[i].vf)
            vf_driver_close(g->side[i].vf);
        if (g->side[i].bus)
            g->side[i].bus->ops->close(g->side[i].bus);
    }
}

static int guest_open(struct guest *g, const char *dir, char *error, size_t error_len)
{
    struct vf_config config = {
        .queue_count = 1,
        .ring_len = RING_LEN,
        .buffer_count = BUFFER_COUNT,
        // One buffer a frame.
        .buffer_bytes = g->size_bytes <= 2048 ? 2048 : 10240,
        .frame_bytes_max = g->size_bytes <= 1514 ? 1514 : BENCH_FRAME_MAX,
        .reset_timeout_ms = 4000,
    };

    for (unsigned i = 0; i < VFS; i++) {
        uint64_t end_ns = clock_now_ns() + SETTLE_LIMIT_NS;
        char path[BENCH_DIR_LEN + 32];
        int ret;

        snprintf(path, sizeof path, "%s/port0-vf%u.sock", dir, i);
        ret = driver_bus_vfiouser_open(path, &g->side[i].bus, error, error_len);
        if (!ret)
            ret = vf_driver_open(g->side[i].bus, &config, &g->side[i].vf, error, error_len);
        if (ret)
            return ret;
        if (!g->side[i].bus->mapped) {
            snprintf(error, error_len, "the doorbells of VF %u are not mapped", i);
            return -EPROTO;
        }
        vf_driver_mac(g->side[i].vf, g->side[i].mac);
        while (!vf_driver_link_is_up(g->side[i].vf)) {
            vf_driver_service(g->side[i].vf);
            if (clock_now_ns() > end_ns) {
                snprintf(error, error_len, "the link of VF %u did not come up", i);
                return -ETIMEDOUT;
            }
            usleep(1000);
        }
    }
    return 0;
}

// --- the forwarding guest ---

static uint8_t payload_byte(uint32_t frame, uint32_t at)
{
    return (uint8_t)(frame * 131 + at * 7 + (at >> 8));
}

// Makes the frames that are to circulate, and has each side hold half of them.
static int frames_make(struct guest *g)
{
    for (uint32_t n = 0; n < FRAMES; n++) {
        unsigned i = n % VFS;
        struct vf_buffer *b = vf_buffer_alloc(g->side[i].vf);

        if (!b)
            return -ENOBUFS;
        memcpy(b->data, g->side[!i].mac, 6);
        memcpy(b->data + 6, g->side[i].mac, 6);
        b->data[12] = 0x88;
        b->data[13] = 0xb5;
        le16_put(b->data + 14, (uint16_t)n);
        for (uint32_t at = PAYLOAD_AT; at < g->size_bytes; at++)
            b->data[at] = payload_byte(n, at);
        b->len_bytes = (uint16_t)g->size_bytes;
        b->flags = 0;
        b->next = NULL;
        g->side[i].held[g->side[i].held_count++] = b;
    }
    return 0;
}

// Takes what came on side i, turned around. How many.
static unsigned side_receive(struct guest *g, unsigned i)
{
    struct vf_buffer **held = g->side[i].held + g->side[i].held_count;
    unsigned room = FRAMES - g->side[i].held_count;
    unsigned n = vf_receive(g->side[i].vf, 0, held, room < BATCH ? room : BATCH);

    for (unsigned k = 0; k < n; k++) {
        uint8_t mac[6];

        memcpy(mac, held[k]->data, 6);
        memcpy(held[k]->data, held[k]->data + 6, 6);
        memcpy(held[k]->data + 6, mac, 6);
        held[k]->flags = 0;
    }
    g->side[i].held_count += n;
    g->frames += n;
    return n;
}

static void side_send(struct guest *g, unsigned i)
{
    unsigned count = g->side[i].held_count;
    unsigned taken = vf_send(g->side[i].vf, 0, g->side[i].held, count);

    memmove(g->side[i].held, g->side[i].held + taken, (count - taken) * sizeof g->side[i].held[0]);
    g->side[i].held_count = count - taken;
}

static uint64_t process_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

// One round: everything circulates. *cpu_share: of two cores. Frames a second.
static double round_run(struct guest *g, double *cpu_share)
{
    uint64_t start_ns = clock_now_ns(), cpu_ns = process_cpu_ns(), before = g->frames, now_ns;

    do {
        for (unsigned k = 0; k < 16; k++) {
            for (unsigned i = 0; i < VFS; i++) {
                side_receive(g, i);
                if (g->side[i].held_count)
                    side_send(g, i);
            }
        }
        now_ns = clock_now_ns();
    } while (now_ns - start_ns < ROUND_NS);
    *cpu_share = (double)(process_cpu_ns() - cpu_ns) / (double)(now_ns - start_ns) / 2;
    return (double)(g->frames - before) * NS_PER_S / (double)(now_ns - start_ns);
}

// Lets all frames come to rest in the guest's hands. How many are there.
static unsigned frames_settle(struct guest *g)
{
    uint64_t end_ns = clock_now_ns() + SETTLE_LIMIT_NS;
    unsigned held = 0;

    while (held < FRAMES && clock_now_ns() < end_ns) {
        held = 0;
        for (unsigned i = 0; i < VFS; i++) {
            side_receive(g, i);
            held += g->side[i].held_count;
        }
    }
    return held;
}

static unsigned frames_verify(const struct guest *g)
{
    bool seen[FRAMES] = {false};
    unsigned good = 0;

    for (unsigned i = 0; i < VFS; i++) {
        for (unsigned k = 0; k < g->side[i].held_count; k++) {
            const struct vf_buffer *b = g->side[i].held[k];
            uint16_t n = le16_get(b->data + 14);
            bool ok = !b->next && b->len_bytes == g->size_bytes && n < FRAMES && !seen[n];

            for (uint32_t at = PAYLOAD_AT; ok && at < g->size_bytes; at++)
                ok = b->data[at] == payload_byte(n, at);
            if (ok)
                seen[n] = true;
            good += ok;
        }
    }
    return good;
}

// --- the limit ---

struct copy_pool {
    uint8_t *from, *to; // each COPY_BUFFERS_EACH buffers
    size_t stride;
};

static int copy_pool_create(struct copy_pool *p, uint32_t size_bytes)
{
    size_t len;

    p->stride = size_bytes <= 2048 ? 2048 : 10240;
    len = p->stride * COPY_BUFFERS_EACH;
    p->from = mmap(NULL, 2 * len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->from == MAP_FAILED)
        return -ENOMEM;
    p->to = p->from + len;
    memset(p->from, 0x5a, 2 * len);
    return 0;
}

// Bits a second of copying frame after frame.
static double memcpy_run(struct copy_pool *p, uint32_t size_bytes)
{
    uint64_t start_ns = clock_now_ns(), now_ns, count = 0;

    do {
        for (unsigned i = 0; i < COPY_BUFFERS_EACH; i++) {
            memcpy(p->to + i * p->stride, p->from + i * p->stride, size_bytes);
            // The compiler must not see that nobody reads it.
            __asm__ volatile("" ::: "memory");
        }
        count += COPY_BUFFERS_EACH;
        now_ns = clock_now_ns();
    } while (now_ns - start_ns < MEMCPY_NS);
    return (double)count * size_bytes * 8 * NS_PER_S / (double)(now_ns - start_ns);
}

// --- the run ---

static int compare_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static struct bench_spread spread_of(double *samples, unsigned count)
{
    qsort(samples, count, sizeof *samples, compare_double);
    return (struct bench_spread){samples[count / 2], samples[0], samples[count - 1]};
}

static int rounds_run(struct guest *g, unsigned seconds, struct bench_result *out)
{
    static double mpps[ROUNDS_MAX], gbps[ROUNDS_MAX], copy[ROUNDS_MAX], ratio[ROUNDS_MAX];
    unsigned wanted = (unsigned)(seconds * NS_PER_S / ROUND_NS);
    bool two_cores = sysconf(_SC_NPROCESSORS_ONLN) > 1;
    struct copy_pool pool;
    double share;
    int ret = copy_pool_create(&pool, g->size_bytes);

    if (ret)
        return ret;
    if (wanted > ROUNDS_MAX)
        wanted = ROUNDS_MAX;
    round_run(g, &share); // warms up
    while (out->rounds < wanted) {
        unsigned n = out->rounds;
        double rate = round_run(g, &share);

        if (share < CPU_SHARE_MIN) {
            if (two_cores && out->rounds_contended < wanted * RETRIES_A_ROUND) {
                out->rounds_contended++;
                continue;
            }
            out->rounds_doubtful++;
        }
        if (frames_settle(g) < FRAMES)
            break; // the end finds out how many are missing
        copy[n] = memcpy_run(&pool, g->size_bytes) / 1e9;
        mpps[n] = rate / 1e6;
        gbps[n] = rate * g->size_bytes * 8 / 1e9;
        ratio[n] = gbps[n] / copy[n];
        out->rounds++;
    }
    if (out->rounds) {
        out->mpps = spread_of(mpps, out->rounds);
        out->gbps = spread_of(gbps, out->rounds);
        out->memcpy_gbps = spread_of(copy, out->rounds);
        out->of_memcpy = spread_of(ratio, out->rounds);
    }
    munmap(pool.from, 2 * pool.stride * COPY_BUFFERS_EACH);
    return 0;
}

// Two cores that this process may use; -1 where there are no two.
static void cpus_choose(int *worker, int *guest)
{
    cpu_set_t set;
    int found[2], count = 0;

    *worker = *guest = -1;
    if (sched_getaffinity(0, sizeof set, &set))
        return;
    for (int i = 0; i < CPU_SETSIZE && count < 2; i++) {
        if (CPU_ISSET((unsigned)i, &set))
            found[count++] = i;
    }
    if (count == 2) {
        *worker = found[0];
        *guest = found[1];
    }
}

int bench_dataplane_run(uint32_t size_bytes, unsigned seconds, struct bench_result *out,
                        char *error, size_t error_len)
{
    struct bench_machine *machine = NULL;
    struct guest *g = calloc(1, sizeof *g);
    int worker_cpu, guest_cpu, ret;
    cpu_set_t before, set;

    *out = (struct bench_result){.size_bytes = size_bytes};
    if (!g)
        return -ENOMEM;
    g->size_bytes = size_bytes;
    cpus_choose(&worker_cpu, &guest_cpu);
    pthread_getaffinity_np(pthread_self(), sizeof before, &before);
    ret = bench_machine_start(config_text, worker_cpu, &machine, error, error_len);
    if (guest_cpu >= 0) {
        CPU_ZERO(&set);
        CPU_SET((unsigned)guest_cpu, &set);
        pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
    if (!ret)
        ret = guest_open(g, bench_machine_dir(machine), error, error_len);
    if (!ret)
        ret = frames_make(g);
    if (!ret)
        ret = rounds_run(g, seconds, out);
    if (!ret) {
        frames_settle(g);
        out->frames_verified = frames_verify(g);
        out->frames_lost = FRAMES - out->frames_verified;
    }
    guest_close(g);
    bench_machine_stop(machine);
    pthread_setaffinity_np(pthread_self(), sizeof before, &before);
    free(g);
    return ret;
}

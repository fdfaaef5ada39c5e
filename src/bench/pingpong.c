// SPDX-License-Identifier: BSD-3-Clause
#include "bench/pingpong.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/sched.h"
#include "bench/subject.h"
#include "base/clock.h"

// For a frame, the guest writes: frame, transmit descriptor, transmit tail, and for the buffer that
// it gives the receiver again: receive descriptor, receive tail. The card writes: frame, receive
// descriptor, transmit descriptor. (When doorbells have fallen silent it also writes both heads,
// into the tails' lines: nobody waits for those.) The game is kinder than the card's: all lines of
// a leg can be fetched at once, where the card learns from the tail that there is a descriptor, and
// from that where the frame lies: three misses one after the other.
#define LINES_THERE 5u
#define LINES_BACK  3u
#define LINES_MAX   8u
#define LINE_BYTES  64u
#define WARM_UP_NS  (20 * NS_PER_MS)
#define LEGS_A_LOOK 64u

struct line {
    _Alignas(LINE_BYTES) _Atomic uint64_t number;
};

struct table {
    struct line there[LINES_MAX], back[LINES_MAX];
};

static struct {
    struct table *table;
    unsigned there, back; // lines
    unsigned legs;        // there and back, for one that counts
    uint64_t number;
    pid_t far;
} game;

// The last one is what the other side waits for.
static void write_lines(struct line *lines, unsigned count, uint64_t number)
{
    for (unsigned i = 0; i + 1 < count; i++)
        atomic_store_explicit(&lines[i].number, number, memory_order_relaxed);
    // release: pairs with the acquire in lines_came()
    atomic_store_explicit(&lines[count - 1].number, number, memory_order_release);
}

static bool lines_came(struct line *lines, unsigned count, uint64_t number)
{
    uint64_t sum = 0;

    if (atomic_load_explicit(&lines[count - 1].number, memory_order_acquire) != number)
        return false;
    for (unsigned i = 0; i + 1 < count; i++)
        sum += atomic_load_explicit(&lines[i].number, memory_order_relaxed);
    return sum == number * (count - 1);
}

static _Noreturn void far_run(void)
{
    uint64_t number = 1;

    bench_cpu_bind(BENCH_DEVICE_CPU);
    for (;; number++) {
        while (!lines_came(game.table->there, game.there, number))
            ;
        write_lines(game.table->back, game.back, number);
    }
}

static uint64_t play(uint64_t end_ns)
{
    uint64_t legs = 0;

    do {
        for (unsigned i = 0; i < LEGS_A_LOOK; i++, legs++) {
            game.number++;
            write_lines(game.table->there, game.there, game.number);
            while (!lines_came(game.table->back, game.back, game.number))
                ;
        }
    } while (clock_now_ns() < end_ns);
    return legs / game.legs;
}

static void pingpong_end(void *ctx)
{
    (void)ctx;
    if (game.far > 0) {
        kill(game.far, SIGKILL);
        waitpid(game.far, NULL, 0);
    }
    if (game.table)
        munmap(game.table, sizeof *game.table);
    memset(&game, 0, sizeof game);
}

static int pingpong_shape(void *ctx, const struct bench_shape *shape, char *why, size_t why_len)
{
    bool line = !strcmp(shape->mode, "line");

    pingpong_end(ctx);
    if (!line && strcmp(shape->mode, "round-trip")) {
        snprintf(why, why_len, "only 'round-trip' and 'line'");
        return -ENOTSUP;
    }
    game.there = line ? 1 : LINES_THERE;
    game.back = line ? 1 : LINES_BACK;
    game.legs = line ? 1 : 2;
    game.table =
        mmap(NULL, sizeof *game.table, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (game.table == MAP_FAILED) {
        game.table = NULL;
        return -ENOMEM;
    }
    game.far = fork();
    if (!game.far) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        far_run();
    }
    if (game.far < 0)
        return -EAGAIN;
    kill(game.far, SIGSTOP);
    return 0;
}

static int pingpong_run(void *ctx, unsigned ms, struct bench_sample *out, char *why, size_t why_len)
{
    struct bench_watch watch;

    (void)ctx, (void)why, (void)why_len;
    if (!game.table)
        return -EINVAL;
    kill(game.far, SIGCONT);
    play(clock_now_ns() + WARM_UP_NS);
    bench_watch_start(&watch, game.far, getpid());
    out->frames = play(watch.start_ns + ms * NS_PER_MS);
    out->wait_share = bench_watch_end(&watch, &out->ns);
    kill(game.far, SIGSTOP);
    return 0;
}

int bench_pingpong_main(void)
{
    static const struct bench_subject_ops ops = {pingpong_shape, pingpong_run, pingpong_end};

    bench_cpu_bind(BENCH_GUEST_CPU);
    return bench_subject_serve(&ops, NULL);
}

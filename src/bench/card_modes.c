// SPDX-License-Identifier: BSD-3-Clause
// What the guest of our card does in each mode (bench/card.h).
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/card.h"
#include "bench/stats.h"
#include "base/clock.h"
#include "nic/nic.h"

#define STEPS_A_LOOK    16u // turns between two looks at the clock
#define ANSWER_LIMIT_NS (1 * NS_PER_S)
#define IRQ_GAP_MS      20u
// What a look at the doorbells of 63 VFs takes at most: a quiet round of the worker that does not
// sleep, and what one that does takes on top of its sleep. Back-off steps are measured where they
// are certain to be: after all that the ones before may take, before the step itself may end.
#define SPIN_MOST_NS    (2 * NS_PER_US)
#define LOOK_MOST_NS    (25 * NS_PER_US)
#define LOOK_LEAST_NS   (NS_PER_US / 8)
#define LAST_STEP_LOOKS 10u // of the step that does not end, as long as so many of its sleeps
#define STEP_TRIPS      8u  // at least, in a sample
#define ASLEEP_NS       (30 * NS_PER_MS)
#define IDLE_SETTLE_MS  500u // after which the worker's back-off is at its slowest
#define IDLE_LEAST_NS   (1 * NS_PER_S)
#define WARM_UP_MOST_NS (100 * NS_PER_MS) // what is shorter counts for nothing

// --- frames that circulate ---

static int circulate_open(struct bench_card *c)
{
    struct bench_side *side = c->guest.side;
    int ret = bench_lane_create(&side[0], &side[1], c->shape.size_bytes, &c->lane[0]);

    return ret ? ret : bench_lane_create(&side[1], &side[0], c->shape.size_bytes, &c->lane[1]);
}

static int circulate_settle(struct bench_card *c)
{
    int ret = bench_lane_settle(c->lane[0]);

    return ret ? ret : bench_lane_settle(c->lane[1]);
}

static int circulate_run(struct bench_card *c, uint64_t end_ns, struct bench_sample *out)
{
    do {
        for (unsigned i = 0; i < STEPS_A_LOOK; i++)
            out->frames += bench_lane_step(c->lane[0]) + bench_lane_step(c->lane[1]);
    } while (clock_now_ns() < end_ns);
    return 0;
}

// The bad ones of the warm-up count as well. On a machine that is not quiet the card may get no
// core for as long as a short sample is: then until something has come.
static int verify_run(struct bench_card *c, uint64_t end_ns, struct bench_sample *out)
{
    uint64_t now_ns;

    do {
        for (unsigned i = 0; i < 2; i++)
            out->frames += bench_lane_step_checked(c->lane[i], &c->bad);
        now_ns = clock_now_ns();
    } while (now_ns < end_ns || (!out->frames && now_ns < end_ns + ANSWER_LIMIT_NS));
    out->value = (double)c->bad;
    return 0;
}

// --- frames from a generator ---

// The receivers' frames are all freed; every buffer of a sender's pool that is not posted to
// receive holds a frame already, so that sending writes none.
static int generator_open(struct bench_card *c)
{
    for (unsigned i = 0; i < c->sender_count; i++) {
        struct bench_side *from = &c->guest.side[i];
        struct vf_buffer *all = NULL, *b;

        while ((b = vf_buffer_alloc(from->vf))) {
            static const uint8_t nobody[6] = {0x02, 0, 0, 0, 0xbe, 0xef};
            unsigned n = b->index;
            const uint8_t *to = nobody;

            if (c->receiver_count)
                to = c->guest.side[c->receiver_first + (i + n) % c->receiver_count].mac;
            bench_frame_fill(b->data, bench_frame_len(c->shape.size_bytes, n), to, from->mac, n);
            b->next = all;
            all = b;
        }
        vf_buffer_free(from->vf, all);
    }
    return 0;
}

static void generator_send(struct bench_card *c, unsigned sender)
{
    struct vf_driver *vf = c->guest.side[sender].vf;
    struct vf_buffer *out[BENCH_BURST];
    unsigned n = 0, sent;

    while (n < BENCH_BURST && (out[n] = vf_buffer_alloc(vf))) {
        out[n]->len_bytes = (uint16_t)bench_frame_len(c->shape.size_bytes, out[n]->index);
        n++;
    }
    sent = n ? vf_send(vf, 0, out, n) : 0;
    while (n > sent)
        vf_buffer_free(vf, out[--n]);
}

static uint64_t generator_sent(const struct bench_card *c)
{
    uint64_t sent = 0;

    for (unsigned i = 0; i < c->sender_count; i++) {
        struct vf_stats stats;

        vf_driver_stats(c->guest.side[i].vf, &stats);
        sent += stats.tx_frames - vf_send_pending(c->guest.side[i].vf, 0);
    }
    return sent;
}

static int generator_run(struct bench_card *c, uint64_t end_ns, struct bench_sample *out)
{
    uint64_t sent = generator_sent(c);

    do {
        for (unsigned k = 0; k < STEPS_A_LOOK; k++) {
            for (unsigned i = 0; i < c->sender_count; i++)
                generator_send(c, i);
            for (unsigned i = 0; i < c->receiver_count; i++)
                out->frames += bench_side_receive(&c->guest.side[c->receiver_first + i]);
        }
    } while (clock_now_ns() < end_ns);
    if (!c->receiver_count) // to the cable: what the card has taken
        out->frames = generator_sent(c) - sent;
    return 0;
}

static int traffic_open(struct bench_card *c, unsigned senders, unsigned receiver_first,
                        unsigned receivers)
{
    c->sender_count = senders;
    c->receiver_first = receiver_first;
    c->receiver_count = receivers;
    return generator_open(c);
}

static int one_way_open(struct bench_card *c)
{
    return traffic_open(c, 1, 1, 1);
}

static int fan_in_open(struct bench_card *c)
{
    return traffic_open(c, 4, 4, 1);
}

static int fan_out_open(struct bench_card *c)
{
    return traffic_open(c, 1, 1, 4);
}

static int to_uplink_open(struct bench_card *c)
{
    return traffic_open(c, 1, 0, 0);
}

static int from_uplink_open(struct bench_card *c)
{
    return traffic_open(c, 0, 0, 1);
}

// --- all VFs send ---

// Each VF's buffers hold frames to the next VF, and after a while some from the one before.
static int neighbours_open(struct bench_card *c)
{
    for (unsigned i = 0; i < c->guest.vf_count; i++)
        bench_side_fill(&c->guest.side[i], &c->guest.side[(i + 1) % c->guest.vf_count],
                        c->shape.size_bytes);
    return 0;
}

static int ring63_run(struct bench_card *c, uint64_t end_ns, struct bench_sample *out)
{
    uint64_t got[BENCH_VFS_MAX] = {0};

    do {
        for (unsigned i = 0; i < c->guest.vf_count; i++)
            bench_side_send(&c->guest.side[i], &c->guest.side[(i + 1) % c->guest.vf_count],
                            c->shape.size_bytes);
        for (unsigned i = 0; i < c->guest.vf_count; i++)
            got[i] += bench_side_receive(&c->guest.side[i]);
    } while (clock_now_ns() < end_ns);
    for (unsigned i = 0; i < c->guest.vf_count; i++)
        out->frames += got[i];
    out->value = bench_jain(got, c->guest.vf_count);
    return 0;
}

// --- one frame at a time ---

// The buffer holds a frame already, an old one or one that was received: only its addresses are
// written.
static int send_one(struct bench_card *c, unsigned from, unsigned to)
{
    struct bench_side *side = c->guest.side;
    struct vf_buffer *b = vf_buffer_alloc(side[from].vf);

    if (!b)
        return -ENOBUFS;
    memcpy(b->data, side[to].mac, 6);
    memcpy(b->data + 6, side[from].mac, 6);
    b->len_bytes = (uint16_t)c->shape.size_bytes;
    if (vf_send(side[from].vf, 0, &b, 1) == 1)
        return 0;
    vf_buffer_free(side[from].vf, b);
    return -ENOBUFS;
}

static int wait_one(struct bench_card *c, unsigned at)
{
    uint64_t end_ns = clock_now_ns() + ANSWER_LIMIT_NS;

    for (unsigned turn = 1; !bench_side_receive(&c->guest.side[at]); turn++) {
        if (turn % 1024 == 0 && clock_now_ns() > end_ns)
            return -ETIMEDOUT;
    }
    return 0;
}

static int trip(struct bench_card *c, unsigned from, unsigned to)
{
    int ret = send_one(c, from, to);

    return ret ? ret : wait_one(c, to);
}

static int round_trip_run(struct bench_card *c, uint64_t end_ns, struct bench_sample *out)
{
    int ret = 0;

    do {
        for (unsigned k = 0; !ret && k < STEPS_A_LOOK; k++) {
            ret = trip(c, 0, 1);
            if (!ret)
                ret = trip(c, 1, 0);
            out->frames++;
        }
    } while (!ret && clock_now_ns() < end_ns);
    return ret;
}

static void sleep_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

    nanosleep(&t, NULL);
}

// --- how long a worker that has backed off takes to see a frame, and what it uses of a core ---

static int step_window(unsigned index, uint64_t *from_ns, uint64_t *to_ns)
{
    struct nic_backoff_step step;

    *from_ns = *to_ns = 0;
    for (unsigned i = 0; i < index; i++) {
        if (!nic_worker_backoff_step(i, &step))
            return -ENOTSUP;
        *from_ns += step.rounds * (step.sleep_ns + (step.sleep_ns ? LOOK_MOST_NS : SPIN_MOST_NS));
        *to_ns += step.rounds * (step.sleep_ns + LOOK_LEAST_NS);
    }
    if (!nic_worker_backoff_step(index, &step))
        return -ENOTSUP;
    if (!step.rounds)
        *to_ns = *from_ns + LAST_STEP_LOOKS * step.sleep_ns;
    else
        *to_ns += step.rounds * (step.sleep_ns + LOOK_LEAST_NS);
    return *from_ns < *to_ns ? 0 : -ERANGE;
}

static int step_open(struct bench_card *c)
{
    const char *number = c->shape.mode + strlen(c->mode->name);
    int ret = neighbours_open(c);

    c->step_from_ns = 0;
    c->step_to_ns = ASLEEP_NS;
    if (!ret && !c->mode->trapped)
        ret = step_window((unsigned)atoi(number), &c->step_from_ns, &c->step_to_ns);
    return ret;
}

static uint64_t machine_cpu_ns(const struct bench_card *c)
{
    struct timespec t = {0};
    clockid_t clock;

    if (!clock_getcpuclockid(bench_machine_pid(c->machine), &clock))
        clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void wait_until(uint64_t at_ns)
{
    uint64_t now_ns = clock_now_ns();

    if (at_ns > now_ns + 2 * NS_PER_MS)
        usleep((useconds_t)((at_ns - now_ns) / NS_PER_US - 1000));
    while (clock_now_ns() < at_ns)
        ;
}

// After the last frame the worker goes through its steps. The next frame is sent somewhere in the
// step that is measured, each time elsewhere, so that all phases of a sleep come up.
static int step_run(struct bench_card *c, uint64_t end_ns, struct bench_sample *out)
{
    uint64_t cpu_ns = 0, wall_ns = 0;
    bool warm_up = end_ns < clock_now_ns() + WARM_UP_MOST_NS;
    int ret = 0;

    do {
        uint64_t last_ns = clock_now_ns(), len_ns = c->step_to_ns - c->step_from_ns;
        uint64_t from_cpu_ns, from_ns, sent_ns;
        uint32_t phase;

        wait_until(last_ns + c->step_from_ns);
        from_cpu_ns = machine_cpu_ns(c);
        from_ns = clock_now_ns();
        // In the step's second half, by multiples of the golden ratio: even, and never the same.
        phase = (uint32_t)(c->step_trips++ * 0x9e3779b9u);
        wait_until(last_ns + c->step_from_ns + len_ns / 2 + (len_ns / 2 * (phase >> 16) >> 16));
        cpu_ns += machine_cpu_ns(c) - from_cpu_ns;
        sent_ns = clock_now_ns();
        wall_ns += sent_ns - from_ns;
        ret = trip(c, 0, 1);
        out->ns += clock_now_ns() - sent_ns;
        out->frames++;
    } while (!ret && ((!warm_up && out->frames < STEP_TRIPS) || clock_now_ns() < end_ns));
    out->value = wall_ns ? (double)cpu_ns / (double)wall_ns : 0;
    return ret;
}

static int wait_irq(struct bench_card *c, unsigned at)
{
    struct bench_side *side = &c->guest.side[at];
    struct pollfd wait = {.fd = vf_irq_fd(side->vf, 0), .events = POLLIN};

    while (!bench_side_receive(side)) {
        vf_irq_arm(side->vf, 0);
        if (bench_side_receive(side)) // came in between
            return 0;
        if (poll(&wait, 1, ANSWER_LIMIT_NS / NS_PER_MS) != 1)
            return -ETIMEDOUT;
    }
    return 0;
}

static int irq_run(struct bench_card *c, uint64_t end_ns, struct bench_sample *out)
{
    int ret = 0;

    do {
        uint64_t sent_ns;

        sleep_ms(IRQ_GAP_MS);
        sent_ns = clock_now_ns();
        for (unsigned i = 0; !ret && i < 2; i++) {
            ret = send_one(c, i, !i);
            if (!ret)
                ret = wait_irq(c, !i);
        }
        out->ns += clock_now_ns() - sent_ns;
        out->frames++;
    } while (!ret && clock_now_ns() < end_ns);
    return ret;
}

// --- nothing is sent ---

// How often the process's threads have woken since they began.
static uint64_t wakeups(pid_t pid)
{
    struct bench_sched threads;
    uint64_t sum = 0;

    bench_sched_take(&pid, 1, &threads);
    for (unsigned i = 0; i < threads.count; i++) {
        char path[64], line[128];
        FILE *file;

        snprintf(path, sizeof path, "/proc/%d/task/%d/status", pid, threads.thread[i].tid);
        file = fopen(path, "re");
        while (file && fgets(line, sizeof line, file)) {
            unsigned long long count;

            if (sscanf(line, "voluntary_ctxt_switches: %llu", &count) == 1)
                sum += count;
        }
        if (file)
            fclose(file);
    }
    return sum;
}

static int idle_settle(struct bench_card *c)
{
    (void)c;
    sleep_ms(IDLE_SETTLE_MS);
    return 0;
}

static int idle_run(struct bench_card *c, uint64_t end_ns, struct bench_sample *out)
{
    pid_t pid = bench_machine_pid(c->machine);
    uint64_t start_ns = clock_now_ns(), woke = wakeups(pid);
    struct bench_sched before, after;

    if (end_ns > start_ns + WARM_UP_MOST_NS && end_ns < start_ns + IDLE_LEAST_NS)
        end_ns = start_ns + IDLE_LEAST_NS;
    bench_sched_take(&pid, 1, &before);
    sleep_ms((unsigned)((end_ns - start_ns) / NS_PER_MS));
    bench_sched_take(&pid, 1, &after);
    out->frames = wakeups(pid) - woke;
    out->ns = clock_now_ns() - start_ns;
    out->value = bench_sched_ran_share(&before, &after, out->ns);
    return 0;
}

// --- all of them ---

static const struct bench_mode modes[] = {
    {"circulate", 2, 2, .open = circulate_open, .settle = circulate_settle, .run = circulate_run},
    {"verify", 2, 2, .open = circulate_open, .run = verify_run},
    {"circulate63", 63, 2, .open = circulate_open, .settle = circulate_settle,
     .run = circulate_run},
    {"one-way", 2, 0, .open = one_way_open, .run = generator_run},
    {"fan-in", 5, 0, .open = fan_in_open, .run = generator_run},
    {"fan-out", 5, 0, .open = fan_out_open, .run = generator_run},
    {"to-uplink", 1, 0, .open = to_uplink_open, .run = generator_run},
    {"from-uplink", 1, 0, .replay = true, .open = from_uplink_open, .run = generator_run},
    {"ring63", 63, 0, .open = neighbours_open, .run = ring63_run},
    {"round-trip", 2, 0, .open = neighbours_open, .run = round_trip_run},
    {"step-", 63, 0, .open = step_open, .run = step_run},
    {"asleep", 63, 0, .trapped = true, .open = step_open, .run = step_run},
    {"idle-mapped", 63, 0, .settle = idle_settle, .run = idle_run},
    {"idle-trapped", 63, 0, .trapped = true, .settle = idle_settle, .run = idle_run},
    {"irq-mapped", 2, 0, .interrupts = true, .open = neighbours_open, .run = irq_run},
    {"irq-trapped", 2, 0, .trapped = true, .interrupts = true, .open = neighbours_open,
     .run = irq_run},
};

const struct bench_mode *bench_mode_find(const char *name)
{
    for (unsigned i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        size_t len = strlen(modes[i].name);

        if (!strcmp(modes[i].name, name) ||
            (modes[i].name[len - 1] == '-' && !strncmp(modes[i].name, name, len)))
            return &modes[i];
    }
    return NULL;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "demo/guest.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define RING_LEN     512u
#define BUFFER_COUNT 4096u
#define BATCH        32u
#define WINDOW                                                                                     \
    256u                  // buffers' worth of data on the way without an ACK: the receiver's ring
                          // drops what it has no room for, as a card's does
#define ACK_EVERY      8u // frames
#define ACK_ASK_NS     NS_PER_MS
#define STALL_LIMIT_NS (30 * NS_PER_S) // nothing came for so long, on a busy machine: it is lost
#define PING_LEN       64u
#define UDP_PAYLOAD    1000u
#define TSO_PAYLOAD    60000u

struct slot {
    struct driver_bus *bus;
    struct vf_driver *vf;
    uint8_t mac[6];
};

struct guest {
    struct slot slots[DEMO_SLOTS];
};

static int fail(struct demo_answer *answer, int ret, const char *text)
{
    snprintf(answer->text, sizeof answer->text, "%s", text);
    return ret;
}

static struct demo_addresses addresses_to(const struct slot *s, const uint8_t peer[6])
{
    struct demo_addresses a;

    memcpy(a.destination, peer, 6);
    memcpy(a.source, s->mac, 6);
    return a;
}

// Sends one frame, waiting for room. Takes the frame in any case.
static int send_one(struct slot *s, struct vf_buffer *frame)
{
    uint64_t end_ns = clock_now_ns() + STALL_LIMIT_NS;

    while (!vf_send(s->vf, 0, &frame, 1)) {
        if (clock_now_ns() > end_ns || s->bus->lost) {
            vf_buffer_free(s->vf, frame);
            return s->bus->lost ? -ENODEV : -ETIMEDOUT;
        }
        sched_yield();
    }
    return 0;
}

// A frame of the demo's own, waiting for buffers.
static int send_frame(struct slot *s, const uint8_t peer[6], enum demo_kind kind, uint64_t seq,
                      uint32_t len)
{
    struct demo_addresses to = addresses_to(s, peer);
    uint64_t end_ns = clock_now_ns() + STALL_LIMIT_NS;
    struct vf_buffer *none = NULL, *frame;

    while (!(frame = demo_frame_make(s->vf, &to, kind, seq, len))) {
        if (clock_now_ns() > end_ns)
            return -ENOBUFS;
        vf_send(s->vf, 0, &none, 0); // frees what was sent
        sched_yield();
    }
    return send_one(s, frame);
}

// --- open and close ---

static void slot_close(struct slot *s)
{
    if (s->vf)
        vf_driver_close(s->vf);
    if (s->bus)
        s->bus->ops->close(s->bus);
    *s = (struct slot){0};
}

static int link_wait(struct slot *s)
{
    uint64_t end_ns = clock_now_ns() + STALL_LIMIT_NS;

    while (!vf_driver_link_is_up(s->vf)) {
        vf_driver_service(s->vf);
        if (clock_now_ns() > end_ns)
            return -ETIMEDOUT;
        usleep(1000);
    }
    return 0;
}

static int task_open(struct slot *s, const struct demo_task *task, struct demo_answer *answer)
{
    struct vf_config config = {
        .queue_count = 1,
        .ring_len = RING_LEN,
        .buffer_count = BUFFER_COUNT,
        .buffer_bytes = DEMO_BUFFER_SIZE,
        .frame_bytes_max = task->frame_bytes_max,
        .interrupts = task->interrupts,
        .reset_timeout_ms = 30000,
    };
    int ret = driver_bus_vfiouser_open(task->socket, &s->bus, answer->text, sizeof answer->text);

    if (ret)
        return ret;
    ret = vf_driver_open(s->bus, &config, &s->vf, answer->text, sizeof answer->text);
    if (!ret && link_wait(s))
        ret = fail(answer, -ETIMEDOUT, "the link did not come up");
    if (ret) {
        slot_close(s);
        return ret;
    }
    vf_driver_mac(s->vf, s->mac);
    memcpy(answer->mac, s->mac, 6);
    answer->api = vf_driver_api(s->vf);
    answer->link = true;
    return 0;
}

// --- ping-pong ---

// The next demo frame of `kind`, or NULL when nothing came for STALL_LIMIT_NS. Others are dropped.
static struct vf_buffer *receive_kind(struct slot *s, enum demo_kind kind, uint64_t *seq)
{
    uint64_t end_ns = clock_now_ns() + STALL_LIMIT_NS;

    do {
        struct vf_buffer *frame;
        enum demo_kind found;

        if (!vf_receive(s->vf, 0, &frame, 1)) {
            sched_yield();
            continue;
        }
        if (demo_frame_read(frame, &found, seq) && found == kind)
            return frame;
        vf_buffer_free(s->vf, frame);
    } while (clock_now_ns() < end_ns && !s->bus->lost);
    return NULL;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int task_ping(struct slot *s, const struct demo_task *task, struct demo_answer *answer)
{
    uint64_t *times = calloc(task->count, sizeof *times);
    int ret = times ? 0 : -ENOMEM;

    for (uint32_t i = 0; !ret && i < task->count; i++) {
        uint64_t start_ns = clock_now_ns(), seq;
        struct vf_buffer *echo;

        ret = send_frame(s, task->peer, DEMO_PING, i, PING_LEN);
        if (ret)
            break;
        echo = receive_kind(s, DEMO_ECHO, &seq);
        times[i] = clock_now_ns() - start_ns;
        if (!echo)
            ret = fail(answer, -ETIMEDOUT, "no answer to a ping");
        else if (seq != i || !demo_frame_verify(echo, i, PING_LEN))
            ret = fail(answer, -EIO, "an answer differs from its ping");
        if (echo)
            vf_buffer_free(s->vf, echo);
        answer->frames = i + 1;
    }
    if (!ret) {
        qsort(times, task->count, sizeof *times, compare_u64);
        answer->min_ns = times[0];
        answer->median_ns = times[task->count / 2];
    }
    free(times);
    return ret;
}

// Sleeps until the queue's interrupt, unless a frame came meanwhile.
static void sleep_for_frame(struct slot *s, struct vf_buffer **frame, struct demo_answer *answer)
{
    struct pollfd wait = {.fd = vf_irq_fd(s->vf, 0), .events = POLLIN};

    vf_irq_arm(s->vf, 0);
    if (vf_receive(s->vf, 0, frame, 1))
        return;
    if (poll(&wait, 1, 1000) == 1)
        answer->interrupts++;
}

static int task_answer(struct slot *s, const struct demo_task *task, struct demo_answer *answer)
{
    uint64_t last_ns = clock_now_ns();

    while (answer->frames < task->count) {
        struct vf_buffer *frame = NULL;
        enum demo_kind kind;
        uint64_t seq;
        uint8_t mac[6];

        if (!vf_receive(s->vf, 0, &frame, 1)) {
            if (clock_now_ns() - last_ns > STALL_LIMIT_NS)
                return fail(answer, -ETIMEDOUT, "the pings stopped coming");
            if (task->sleep)
                sleep_for_frame(s, &frame, answer);
            else
                sched_yield();
        }
        if (!frame)
            continue;
        if (!demo_frame_read(frame, &kind, &seq) || kind != DEMO_PING) {
            vf_buffer_free(s->vf, frame);
            continue;
        }
        // The same buffer goes back: addresses swapped, the kind changed.
        last_ns = clock_now_ns();
        memcpy(mac, frame->data, 6);
        memcpy(frame->data, frame->data + 6, 6);
        memcpy(frame->data + 6, mac, 6);
        frame->data[14] = DEMO_ECHO;
        frame->flags = 0;
        if (send_one(s, frame))
            return fail(answer, -ETIMEDOUT, "the send queue is stuck");
        answer->frames++;
    }
    return 0;
}

// --- bulk ---

// Length of data frame `seq`: all from len_min to len_max, in no order.
static uint32_t data_len(const struct demo_task *task, uint64_t seq)
{
    uint32_t span = task->len_max - task->len_min + 1;

    return task->len_min + (uint32_t)(seq * 0x9e3779b1u % span);
}

// Takes ACKs; *acked moves on.
static void acks_take(struct slot *s, uint64_t *acked)
{
    struct vf_buffer *frames[BATCH];
    unsigned n = vf_receive(s->vf, 0, frames, BATCH);

    for (unsigned i = 0; i < n; i++) {
        enum demo_kind kind;
        uint64_t seq;

        if (demo_frame_read(frames[i], &kind, &seq) && kind == DEMO_ACK && seq > *acked)
            *acked = seq;
        vf_buffer_free(s->vf, frames[i]);
    }
}

// Sends all of frames[0…n).
static int send_batch(struct slot *s, struct vf_buffer **frames, unsigned n)
{
    uint64_t end_ns = clock_now_ns() + STALL_LIMIT_NS;
    unsigned done = 0;

    while (done < n) {
        unsigned taken = vf_send(s->vf, 0, frames + done, n - done);

        done += taken;
        if (taken)
            continue;
        if (clock_now_ns() > end_ns || s->bus->lost) {
            while (done < n)
                vf_buffer_free(s->vf, frames[done++]);
            return -ETIMEDOUT;
        }
        sched_yield();
    }
    return 0;
}

struct bulk {
    uint64_t seq, acked; // next to send; first that is not acknowledged
    uint64_t progress_ns, asked_ns;
    bool done;
};

// As many frames as the window allows, up to a batch. How many; -errno.
static int bulk_send_some(struct slot *s, const struct demo_task *task, struct bulk *b,
                          struct demo_answer *answer)
{
    struct demo_addresses to = addresses_to(s, task->peer);
    unsigned window = WINDOW * DEMO_BUFFER_SIZE / (task->len_max + DEMO_BUFFER_SIZE - 1);
    struct vf_buffer *frames[BATCH];
    unsigned n = 0;
    int ret;

    while (n < BATCH && b->seq - b->acked < window) {
        uint32_t len = data_len(task, b->seq);

        frames[n] = demo_frame_make(s->vf, &to, DEMO_DATA, b->seq, len);
        if (!frames[n])
            break;
        answer->bytes += len;
        b->seq++;
        n++;
    }
    ret = send_batch(s, frames, n);
    return ret ? ret : (int)n;
}

static int task_send(struct slot *s, const struct demo_task *task, struct demo_answer *answer)
{
    uint64_t start_ns = clock_now_ns(), now_ns = start_ns;
    struct bulk b = {.progress_ns = start_ns};

    while (!b.done || b.acked < b.seq) {
        uint64_t acked_before = b.acked;
        int n = 0;

        b.done = now_ns - start_ns >= task->ms * NS_PER_MS;
        if (!b.done)
            n = bulk_send_some(s, task, &b, answer);
        acks_take(s, &b.acked);
        now_ns = clock_now_ns();
        if (b.acked != acked_before)
            b.progress_ns = now_ns;
        // The last frames may be too few for an ACK of their own: ask for it.
        if (n >= 0 && b.done && now_ns - b.progress_ns > ACK_ASK_NS &&
            now_ns - b.asked_ns > ACK_ASK_NS) {
            n = send_frame(s, task->peer, DEMO_END, b.seq, DEMO_FRAME_MIN);
            b.asked_ns = now_ns;
        }
        if (n < 0)
            return fail(answer, n, "the send queue is stuck");
        if (now_ns - b.progress_ns > STALL_LIMIT_NS)
            return fail(answer, -ETIMEDOUT, "frames were lost: their ACK did not come");
        if (!n)
            sched_yield();
    }
    answer->frames = b.seq;
    answer->ns = now_ns - start_ns;
    return send_frame(s, task->peer, DEMO_END, UINT64_MAX, DEMO_FRAME_MIN);
}

// One received frame of the bulk. 1: that was the end; 0: go on; -errno.
static int data_take(struct slot *s, const struct demo_task *task, struct vf_buffer *frame,
                     struct demo_answer *answer)
{
    enum demo_kind kind;
    uint64_t seq;

    if (!demo_frame_read(frame, &kind, &seq))
        return 0;
    if (kind == DEMO_END && seq == UINT64_MAX)
        return 1;
    if (kind == DEMO_DATA) {
        if (seq != answer->frames)
            return fail(answer, -EIO, "a frame is missing, or came twice or late");
        if (!demo_frame_verify(frame, seq, data_len(task, seq)))
            return fail(answer, -EIO, "a frame's bytes are not what was sent");
        answer->frames++;
        answer->bytes += data_len(task, seq);
        if (answer->frames % ACK_EVERY)
            return 0;
    } else if (kind != DEMO_END) {
        return 0;
    }
    return send_frame(s, task->peer, DEMO_ACK, answer->frames, DEMO_FRAME_MIN);
}

static int task_receive(struct slot *s, const struct demo_task *task, struct demo_answer *answer)
{
    uint64_t last_ns = clock_now_ns();
    int ret = 0;

    while (!ret) {
        struct vf_buffer *frames[BATCH];
        unsigned n = vf_receive(s->vf, 0, frames, BATCH);

        for (unsigned i = 0; i < n; i++) {
            if (!ret)
                ret = data_take(s, task, frames[i], answer);
            vf_buffer_free(s->vf, frames[i]);
        }
        if (n)
            last_ns = clock_now_ns();
        else if (clock_now_ns() - last_ns > STALL_LIMIT_NS)
            return fail(answer, -ETIMEDOUT, "the frames stopped coming");
        else
            sched_yield();
    }
    return ret == 1 ? 0 : ret;
}

// --- offloads ---

static int task_offload_send(struct slot *s, const struct demo_task *task,
                             struct demo_answer *answer)
{
    struct demo_addresses to = addresses_to(s, task->peer);

    for (uint32_t i = 0; i < task->count; i++) {
        struct vf_buffer *frame = task->op == DEMO_OP_UDP
                                      ? demo_udp_make(s->vf, &to, i, UDP_PAYLOAD + i)
                                      : demo_tso_make(s->vf, &to, i, TSO_PAYLOAD, task->mss);
        uint64_t seq;

        if (!frame)
            return fail(answer, -ENOBUFS, "no buffers left to send");
        if (send_one(s, frame))
            return fail(answer, -ETIMEDOUT, "the send queue is stuck");
        // One at a time: many segments more would find the receiver's ring full.
        frame = receive_kind(s, DEMO_ECHO, &seq);
        if (!frame)
            return fail(answer, -ETIMEDOUT, "the receiver did not say that a packet came");
        vf_buffer_free(s->vf, frame);
    }
    answer->frames = task->count;
    return 0;
}

// A segment that follows `done` bytes of TCP packet number `index`. NULL, or what is wrong.
static const char *segment_check(const struct demo_packet *p, const struct demo_task *task,
                                 uint64_t index, uint32_t done)
{
    uint32_t expected_len = TSO_PAYLOAD - done < task->mss ? TSO_PAYLOAD - done : task->mss;
    bool last = done + expected_len == TSO_PAYLOAD;
    uint8_t expected[9728];

    if (p->tcp_seq != DEMO_TCP_SEQ_FIRST + done)
        return "a segment's TCP sequence number is wrong";
    if (p->payload_bytes != expected_len)
        return "a segment's length is wrong";
    if (p->ip_id != (uint16_t)(1 + done / task->mss))
        return "a segment's IP identification is wrong";
    if (!!(p->tcp_flags & 0x08) != last)
        return "PSH is not on the last segment alone";
    demo_pattern(index, done, expected, expected_len);
    return memcmp(p->payload, expected, expected_len) ? "a segment's bytes are wrong" : NULL;
}

static const char *udp_check(const struct demo_packet *p, uint64_t index)
{
    uint8_t expected[DEMO_BUFFER_SIZE];

    if (p->payload_bytes != UDP_PAYLOAD + index || p->payload_bytes > sizeof expected)
        return "a packet's length is wrong";
    demo_pattern(index, 0, expected, p->payload_bytes);
    return memcmp(p->payload, expected, p->payload_bytes) ? "a packet's bytes are wrong" : NULL;
}

// Checks a received packet, the next of `index` or of the segments that it is cut into, and tells
// the sender when it is whole. NULL, or what is wrong.
static const char *offload_take(struct slot *s, const struct demo_task *task,
                                const struct vf_buffer *frame, uint64_t *index, uint32_t *done)
{
    struct demo_packet packet;
    const char *wrong = demo_packet_check(frame, &packet);

    if (wrong)
        return wrong;
    if (task->op == DEMO_OP_CHECK_UDP) {
        wrong = udp_check(&packet, *index);
    } else {
        wrong = segment_check(&packet, task, *index, *done);
        *done += packet.payload_bytes;
        if (wrong || *done < TSO_PAYLOAD)
            return wrong;
        *done = 0;
    }
    if (!wrong && send_frame(s, task->peer, DEMO_ECHO, *index, DEMO_FRAME_MIN))
        wrong = "the send queue is stuck";
    ++*index;
    return wrong;
}

static int task_offload_check(struct slot *s, const struct demo_task *task,
                              struct demo_answer *answer)
{
    uint64_t last_ns = clock_now_ns(), index = 0;
    uint32_t done = 0; // of a TCP packet

    while (index < task->count) {
        struct vf_buffer *frame;
        const char *wrong = NULL;

        if (!vf_receive(s->vf, 0, &frame, 1)) {
            if (clock_now_ns() - last_ns > STALL_LIMIT_NS)
                return fail(answer, -ETIMEDOUT, "the packets stopped coming");
            sched_yield();
            continue;
        }
        last_ns = clock_now_ns();
        if (demo_packet_is_ipv4(frame)) {
            wrong = offload_take(s, task, frame, &index, &done);
            answer->frames++;
            answer->bytes += demo_frame_len_bytes(frame);
        }
        vf_buffer_free(s->vf, frame);
        if (wrong)
            return fail(answer, -EIO, wrong);
    }
    return 0;
}

// --- frames that nobody answers ---

static int task_shout(struct slot *s, const struct demo_task *task, struct demo_answer *answer)
{
    struct demo_addresses to;
    uint64_t start_ns = clock_now_ns();

    memcpy(to.destination, task->peer, 6);
    memcpy(to.source, task->source, 6);
    for (uint32_t i = 0; i < task->count; i++) {
        struct vf_buffer *frame = demo_frame_make(s->vf, &to, DEMO_SHOUT, i, DEMO_FRAME_MIN);
        uint64_t iova;

        if (!frame)
            return fail(answer, -ENOBUFS, "no buffers left to send");
        iova = frame->iova;
        if (task->off_mapping)
            frame->iova = 0x7000000000ull + i * 4096; // nothing of ours is there
        if (send_one(s, frame))
            return fail(answer, -ETIMEDOUT, "the send queue is stuck");
        // The descriptor has been written with the wrong address; the buffer gets its own back.
        frame->iova = iova;
    }
    // Until the card has taken them all: the driver then has all buffers back.
    while (vf_send_pending(s->vf, 0)) {
        if (clock_now_ns() - start_ns > STALL_LIMIT_NS)
            return fail(answer, -ETIMEDOUT, "the card did not take all frames");
        usleep(1000);
    }
    answer->frames = task->count;
    return 0;
}

static int task_listen(struct slot *s, const struct demo_task *task, struct demo_answer *answer)
{
    uint64_t end_ns = clock_now_ns() + task->ms * NS_PER_MS;

    for (;;) {
        bool over = clock_now_ns() >= end_ns; // before the look that finds nothing
        struct vf_buffer *frame;
        enum demo_kind kind;
        uint64_t seq;

        if (!vf_receive(s->vf, 0, &frame, 1)) {
            if (over)
                break;
            usleep(200);
            continue;
        }
        if (demo_frame_read(frame, &kind, &seq) && kind == DEMO_SHOUT)
            answer->frames++;
        vf_buffer_free(s->vf, frame);
    }
    return 0;
}

// --- the loop ---

static int task_run(struct guest *g, const struct demo_task *task, struct demo_answer *answer)
{
    struct slot *s = &g->slots[task->slot % DEMO_SLOTS];

    if (task->op == DEMO_OP_OPEN)
        return s->vf ? -EBUSY : task_open(s, task, answer);
    if (!s->vf)
        return fail(answer, -ENODEV, "this guest has no VF open");
    switch (task->op) {
    case DEMO_OP_CLOSE:
        slot_close(s);
        return 0;
    case DEMO_OP_PING:
        return task_ping(s, task, answer);
    case DEMO_OP_ANSWER:
        return task_answer(s, task, answer);
    case DEMO_OP_SEND:
        return task_send(s, task, answer);
    case DEMO_OP_RECEIVE:
        return task_receive(s, task, answer);
    case DEMO_OP_UDP:
    case DEMO_OP_TSO:
        return task_offload_send(s, task, answer);
    case DEMO_OP_CHECK_UDP:
    case DEMO_OP_CHECK_TSO:
        return task_offload_check(s, task, answer);
    case DEMO_OP_SHOUT:
        return task_shout(s, task, answer);
    case DEMO_OP_LISTEN:
        return task_listen(s, task, answer);
    default:
        return -EINVAL;
    }
}

int demo_guest_run(int fd)
{
    struct guest g = {0};
    struct demo_task task;

    while (recv(fd, &task, sizeof task, 0) == sizeof task && task.op != DEMO_OP_QUIT) {
        struct demo_answer answer = {0};

        answer.ret = task_run(&g, &task, &answer);
        if (answer.ret && !answer.text[0])
            snprintf(answer.text, sizeof answer.text, "%s", strerror(-answer.ret));
        if (send(fd, &answer, sizeof answer, MSG_NOSIGNAL) != sizeof answer)
            break;
    }
    for (unsigned i = 0; i < DEMO_SLOTS; i++)
        slot_close(&g.slots[i]);
    return EXIT_SUCCESS;
}

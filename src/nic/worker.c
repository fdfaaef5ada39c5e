// SPDX-License-Identifier: BSD-3-Clause
// Threads that run the queues and uplinks of a card: one runs them all, or each its lanes (lane.h).
//
// Sleeping without losing a wake-up. A worker says that it sleeps, then looks for work once more,
// then sleeps; whoever has work for it says so first (a bit in tx_active, or `kicked`), then looks
// whether the worker sleeps, and if so writes to the eventfd. All four are sequentially consistent,
// so at least one side sees the other's word: either the worker finds the work, or the other finds
// it sleeping. A queue that waits for a receive ring does the same with `waiting` and the ring's
// tail (lane.h).
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "nic/crowd.h"
#include "nic/doorbell.h"
#include "nic/forward.h"
#include "nic/port.h"
#include "nic/watch.h"

#define WAIT_RETRY_NS   (100 * NS_PER_MS) // a queue that waits for room tries again, told or not
#define WAIT_LOOK_NS    (1 * NS_PER_MS)   // mapped doorbells at least so often while one waits
#define CABLE_PAUSE     8u                // busy rounds between looks at an uplink that had nothing
#define CABLE_MUTE_NS   (100 * NS_PER_MS) // an uplink that wakes us for nothing is not waited for
#define CABLE_FALSE_MAX 16u               // false wake-ups in a row until then
#define TIMER_SLACK_NS  1000ul
#define CLOCK_ROUNDS    8u

// How long the worker sleeps between looks at mapped doorbells, by how many rounds in a row found
// nothing. A round that finds work starts over. While it does not sleep, only some rounds look at
// others (others_now()): a VF that has not rung lately is found some 0.2 ms later than one that
// has.
static const struct nic_backoff_step backoff[] = {
    {"spin", 300, 0, 1},
    {"10us", 100, 10 * NS_PER_US, 4},
    {"50us", 100, 50 * NS_PER_US, 16},
    {"200us", 100, 200 * NS_PER_US, NIC_WATCH_ALL},
    {"1ms", 200, 1 * NS_PER_MS, NIC_WATCH_ALL},
    {"10ms", 0, 10 * NS_PER_MS, NIC_WATCH_ALL},
};

// The shortest of these sleeps where others want the worker's core.
#define CROWDED_SLEEP_NS (100 * NS_PER_US)

struct worker_port {
    struct nic_port *port;
    struct nic_lane *lane;  // our share of it
    struct nic_watch watch; // whose doorbell pages we look at
    bool cable_awaited;     // the next sleep ends because of a frame from it
    bool cable_readable;    // the last sleep ended because of it
    unsigned cable_false;   // such sleeps in a row after which nothing was received
    uint64_t cable_mute_ns; // not waited for until then
};

struct nic_worker {
    struct nic_card *card;
    unsigned index;
    struct gate *gate;
    struct gate_worker inside;
    struct worker_port port[NIC_PORTS_MAX];
    unsigned port_count;
    int wake_fd;
    _Atomic bool sleeping, kicked, stop;
    pthread_t thread;
    bool started;
    unsigned quiet_rounds;
    uint64_t now_ns;       // what the clock last said
    unsigned clock_rounds; // in which it is not asked
    bool polls_pages;      // of some VF, in the last round
    uint64_t slept_at_ns;  // when it went to sleep; 0: that is counted
    struct nic_crowd crowd;
    uint64_t deadline_ns; // earliest of what moderation and waiting queues are due
    _Atomic uint64_t batches, idle_batches, wakeups, sleeps, slept_ns, frames;
};

static void wake(struct nic_worker *worker)
{
    uint64_t one = 1;

    if (atomic_load(&worker->sleeping) && atomic_exchange(&worker->sleeping, false) &&
        write(worker->wake_fd, &one, sizeof one) < 0)
        assert(errno == EAGAIN); // the counter is full: it will wake as well
}

static void kick(struct nic_lane *lane)
{
    struct nic_worker *worker = atomic_load(&lane->worker);

    if (!worker)
        return;
    atomic_store(&worker->kicked, true);
    wake(worker);
}

void nic_worker_kick_port(struct nic_port *port)
{
    for (unsigned i = 0; i < port->lane_count; i++)
        kick(&port->lane[i]);
}

void nic_worker_kick(struct nic_card *card)
{
    nic_worker_kick_port(nic_card_port(card, 0)); // each worker has a lane of each port
}

void nic_worker_activate(struct nic_port *port, unsigned queue)
{
    struct nic_lane *lane = nic_lane_of_queue(port, queue);
    struct nic_worker *worker;

    atomic_fetch_or(&lane->tx_active[queue / 64], BIT64(queue % 64));
    worker = atomic_load(&lane->worker);
    if (worker)
        wake(worker);
}

static inline void tell_waiting(struct nic_lane *lane)
{
    if (likely(!atomic_load(&lane->waiting)))
        return;
    atomic_store(&lane->refilled, true);
    kick(lane);
}

void nic_worker_refilled(struct nic_port *port)
{
    tell_waiting(&port->lane[0]);
    if (likely(!port->shared))
        return;
    for (unsigned i = 1; i < port->lane_count; i++)
        tell_waiting(&port->lane[i]);
}

static void raise_noted(struct nic_port *port, bool is_tx, uint64_t noted[NIC_QUEUE_WORDS],
                        uint64_t now_ns)
{
    for (unsigned w = 0; w < NIC_QUEUE_WORDS; w++) {
        for (uint64_t left = noted[w]; left; left &= left - 1)
            nic_intr_queue(port, is_tx, w * 64 + (unsigned)__builtin_ctzll(left), now_ns);
        noted[w] = 0;
    }
}

void nic_worker_notify(struct nic_port *port, struct nic_lane *lane, uint64_t now_ns)
{
    raise_noted(port, false, lane->rx_note, now_ns);
    raise_noted(port, true, lane->tx_note, now_ns);
}

// Tables changed: what may send, and where to, may have too. They were marked stale with the gate
// closed, and each worker comes by here before it reads them again: so nobody reads them now.
static void derive(struct nic_port *port)
{
    if (port->shared)
        nic_lock_take(&port->derive_lock);
    if (port->derived_stale) { // else another worker was here first
        nic_derive(port);
        for (unsigned queue = 0; queue < NIC_QUEUES_MAX; queue++) {
            if (port->txq[queue].enabled)
                nic_worker_activate(port, queue);
        }
        port->derived_stale = false;
    }
    if (port->shared)
        nic_lock_give(&port->derive_lock);
}

// Queues that waited for room get another try, when they were told or it is time.
static void release_waiting(struct nic_lane *work, uint64_t now_ns)
{
    bool told;

    if (!atomic_load_explicit(&work->waiting, memory_order_relaxed))
        return;
    told = atomic_exchange(&work->refilled, false);
    if (!told && now_ns < work->tx_wait_retry_ns)
        return;
    atomic_store(&work->waiting, false);
    for (unsigned w = 0; w < NIC_QUEUE_WORDS; w++) {
        work->tx_ready[w] |= work->tx_waiting[w];
        work->tx_retried[w] = told ? 0 : work->tx_waiting[w];
        work->tx_waiting[w] = work->tx_announced[w] = 0;
    }
}

// Queues whose rate limit let them wait look again: those that are still too early come back.
static void release_paced(struct nic_lane *work, uint64_t now_ns)
{
    if (!work->tx_paced_ns || now_ns < work->tx_paced_ns)
        return;
    work->tx_paced_ns = 0;
    for (unsigned w = 0; w < NIC_QUEUE_WORDS; w++) {
        work->tx_ready[w] |= work->tx_paced[w];
        work->tx_paced[w] = 0;
    }
}

// A queue found a receiver's ring full. First it says so, and tries once more: a tail that was
// written before it was said has not been told, and is found so.
static void begin_to_wait(struct nic_lane *work, unsigned queue, uint64_t now_ns)
{
    unsigned w = queue / 64;
    uint64_t bit = BIT64(queue % 64);

    if (work->tx_announced[w] & bit) {
        work->tx_announced[w] &= ~bit;
        work->tx_waiting[w] |= bit;
        work->tx_wait_retry_ns = now_ns + WAIT_RETRY_NS;
        nic_count(&work->wait_count, 1);
        return;
    }
    work->tx_announced[w] |= bit;
    // Sequentially consistent: pairs with tell_waiting(), behind the store of the tail.
    atomic_store(&work->waiting, true);
    work->tx_wait_retry_ns = now_ns + WAIT_RETRY_NS;
    work->tx_ready[w] |= bit;
}

static unsigned poll_queue(const struct worker_port *wp, unsigned queue, uint64_t now_ns)
{
    struct nic_port *port = wp->port;
    struct nic_lane *work = wp->lane;
    uint64_t bit = BIT64(queue % 64);
    enum nic_tx_result result;
    unsigned frames;

    result = nic_txq_poll(port, queue, &frames);
    if (unlikely(work->tx_retried[queue / 64] & bit)) {
        work->tx_retried[queue / 64] &= ~bit;
        nic_count(&work->untold_count, frames != 0);
    }
    if (result == NIC_TX_WAIT) {
        begin_to_wait(work, queue, now_ns);
    } else {
        work->tx_announced[queue / 64] &= ~bit;
        if (result == NIC_TX_MORE)
            work->tx_ready[queue / 64] |= bit;
    }
    if (result == NIC_TX_PACED) {
        work->tx_paced[queue / 64] |= bit;
        if (!work->tx_paced_ns || port->txq[queue].rate.free_ns < work->tx_paced_ns)
            work->tx_paced_ns = port->txq[queue].rate.free_ns;
    }
    nic_worker_notify(port, work, now_ns);
    return frames;
}

static unsigned poll_cable(struct nic_worker *worker, struct worker_port *wp, uint64_t now_ns)
{
    struct nic_port *port = wp->port;
    unsigned frames;

    if (wp->lane != nic_lane_of_cable(port))
        return 0;
    if (wp->lane->cable_pause && !wp->cable_readable) {
        wp->lane->cable_pause--;
        return 0;
    }
    frames = nic_forward_from_cable(port);
    nic_worker_notify(port, wp->lane, now_ns);
    if (frames) {
        wp->cable_false = 0;
    } else {
        wp->lane->cable_pause = CABLE_PAUSE;
        // An uplink whose far end is gone may poll readable for ever.
        if (wp->cable_readable && ++wp->cable_false >= CABLE_FALSE_MAX)
            wp->cable_mute_ns = now_ns + CABLE_MUTE_NS;
    }
    wp->cable_readable = false;
    (void)worker;
    return frames;
}

static unsigned poll_queues(struct nic_worker *worker, struct worker_port *wp, uint64_t now_ns)
{
    struct nic_port *port = wp->port;
    struct nic_lane *lane = wp->lane;
    unsigned frames = 0;

    for (unsigned w = 0; w < NIC_QUEUE_WORDS; w++) {
        uint64_t active = lane->tx_ready[w];

        lane->tx_ready[w] = 0;
        if (atomic_load_explicit(&lane->tx_active[w], memory_order_relaxed))
            active |= atomic_exchange(&lane->tx_active[w], 0);
        for (; active; active &= active - 1) {
            unsigned queue = w * 64 + (unsigned)__builtin_ctzll(active);

            // The gate was closed since, and the queue dealt to another worker.
            if (unlikely(nic_lane_of_queue(port, queue) != lane)) {
                nic_worker_activate(port, queue);
                continue;
            }
            frames += poll_queue(wp, queue, now_ns);
            // Between queues nothing of a guest's memory is held: the control thread need not wait
            // for all of them.
            gate_poll(&worker->inside);
            if (unlikely(port->derived_stale))
                derive(port);
        }
    }
    return frames;
}

static unsigned poll_port(struct nic_worker *worker, struct worker_port *wp, unsigned others,
                          uint64_t now_ns)
{
    struct nic_watch *watch = &wp->watch;
    struct nic_port *port = wp->port;
    unsigned frames;
    bool any = false;

    if (port->derived_stale)
        derive(port);
    if (nic_watch_any(watch, port, wp->lane)) {
        worker->polls_pages = true;
        any = nic_watch_senders(watch, port);
        if (others == NIC_WATCH_ALL)
            any |= nic_watch_others(watch, port, others);
    }
    frames = poll_queues(worker, wp, now_ns);
    if (nic_watch_any(watch, port, wp->lane)) {
        any |= nic_watch_receivers(watch, port);
        if (others != NIC_WATCH_ALL)
            any |= nic_watch_others(watch, port, others);
        if (unlikely(now_ns - watch->published_ns >= NIC_DOORBELL_PUBLISH_MS * NS_PER_MS))
            nic_watch_publish(watch, port, now_ns);
    }
    if (any)
        worker->quiet_rounds = 0;
    release_waiting(wp->lane, now_ns);
    release_paced(wp->lane, now_ns);
    frames += poll_cable(worker, wp, now_ns);
    if (frames)
        nic_watch_moved(watch);
    return frames;
}

// What only the worker knows of. Inside the gate: what is in it may change while that is closed.
static bool is_ready(const struct nic_worker *worker)
{
    for (unsigned i = 0; i < worker->port_count; i++) {
        for (unsigned w = 0; w < NIC_QUEUE_WORDS; w++) {
            if (worker->port[i].lane->tx_ready[w])
                return true;
        }
    }
    return false;
}

static bool has_work(struct nic_worker *worker)
{
    if (atomic_load(&worker->kicked) || atomic_load(&worker->stop))
        return true;
    for (unsigned i = 0; i < worker->port_count; i++) {
        for (unsigned w = 0; w < NIC_QUEUE_WORDS; w++) {
            if (atomic_load(&worker->port[i].lane->tx_active[w]))
                return true;
        }
    }
    return false;
}

// What time it is. Rounds that find nothing are much shorter than what is timed, and do not all ask
// the clock: it is at most CLOCK_ROUNDS of them late.
static uint64_t round_time(struct nic_worker *worker)
{
    if (!worker->clock_rounds--) {
        worker->clock_rounds = CLOCK_ROUNDS - 1;
        worker->now_ns = clock_now_ns();
        if (worker->slept_at_ns) {
            nic_count(&worker->slept_ns, worker->now_ns - worker->slept_at_ns);
            worker->slept_at_ns = 0;
        }
    }
    return worker->now_ns;
}

// One round over all ports, inside the gate. Sets worker->deadline_ns.
static unsigned run_round(struct nic_worker *worker, unsigned others)
{
    uint64_t now_ns = round_time(worker);
    unsigned frames = 0;

    if (atomic_load_explicit(&worker->kicked, memory_order_relaxed))
        atomic_store(&worker->kicked, false);
    worker->polls_pages = false;
    for (unsigned i = 0; i < worker->port_count; i++)
        frames += poll_port(worker, &worker->port[i], others, now_ns);
    worker->deadline_ns = UINT64_MAX;
    for (unsigned i = 0; i < worker->port_count; i++) {
        const struct nic_lane *lane = worker->port[i].lane;
        uint64_t due_ns = nic_intr_poll(worker->port[i].port, now_ns);

        if (due_ns < worker->deadline_ns)
            worker->deadline_ns = due_ns;
        if (atomic_load_explicit(&lane->waiting, memory_order_relaxed) &&
            lane->tx_wait_retry_ns < worker->deadline_ns)
            worker->deadline_ns = lane->tx_wait_retry_ns;
        if (lane->tx_paced_ns && lane->tx_paced_ns < worker->deadline_ns)
            worker->deadline_ns = lane->tx_paced_ns;
    }
    nic_count(&worker->batches, 1);
    nic_count(&worker->frames, frames);
    if (frames) {
        worker->quiet_rounds = 0;
        worker->clock_rounds = 0; // it took its time
    } else {
        nic_count(&worker->idle_batches, 1);
        if (worker->quiet_rounds < UINT32_MAX)
            worker->quiet_rounds++;
    }
    return frames;
}

bool nic_worker_backoff_step(unsigned index, struct nic_backoff_step *out)
{
    if (index >= ARRAY_LEN(backoff))
        return false;
    *out = backoff[index];
    return true;
}

// The step that the worker is at after so many quiet rounds.
static const struct nic_backoff_step *backoff_step(unsigned quiet_rounds)
{
    for (unsigned i = 0; i < ARRAY_LEN(backoff) - 1; i++) {
        if (quiet_rounds < backoff[i].rounds)
            return &backoff[i];
        quiet_rounds -= backoff[i].rounds;
    }
    return &backoff[ARRAY_LEN(backoff) - 1];
}

// How many VFs that have not rung lately have their turn in the next round.
static unsigned others_now(const struct nic_worker *worker)
{
    if (worker->quiet_rounds < backoff[0].rounds)
        return worker->quiet_rounds % NIC_WATCH_QUIET_TURNS ? 0 : backoff[0].others;
    return backoff_step(worker->quiet_rounds)->others;
}

// Whether somebody waits for room, maybe in a ring of ours. Which worker's sender it is says
// nothing of that: who waits is told by the worker that looks at the ring's page.
static bool is_waiting(const struct nic_worker *worker)
{
    for (unsigned i = 0; i < worker->port_count; i++) {
        const struct nic_port *port = worker->port[i].port;

        for (unsigned lane = 0; lane < port->lane_count; lane++) {
            if (atomic_load_explicit(&port->lane[lane].waiting, memory_order_relaxed))
                return true;
        }
    }
    return false;
}

// How long mapped doorbells may go unwatched.
static uint64_t doorbell_pause_ns(struct nic_worker *worker, uint64_t now_ns)
{
    uint64_t pause_ns = backoff_step(worker->quiet_rounds)->sleep_ns;

    if (pause_ns < CROWDED_SLEEP_NS && nic_crowd_is(&worker->crowd, now_ns))
        pause_ns = CROWDED_SLEEP_NS;
    if (pause_ns > WAIT_LOOK_NS && is_waiting(worker))
        pause_ns = WAIT_LOOK_NS;
    return pause_ns;
}

// Until when the worker may sleep: UINT64_MAX: until somebody wakes it. Inside the gate: whose the
// cable is may change while that is closed (who sleeps is kicked then).
static uint64_t sleep_deadline(struct nic_worker *worker, uint64_t now_ns)
{
    uint64_t deadline_ns = worker->deadline_ns;

    for (unsigned i = 0; i < worker->port_count; i++) {
        struct worker_port *wp = &worker->port[i];
        uint64_t look_ns = UINT64_MAX;

        if (nic_watch_any(&wp->watch, wp->port, wp->lane))
            look_ns = now_ns + doorbell_pause_ns(worker, now_ns);
        if (look_ns < deadline_ns)
            deadline_ns = look_ns;
        wp->cable_awaited = wp->lane == nic_lane_of_cable(wp->port) && wp->cable_mute_ns <= now_ns;
        if (wp->cable_mute_ns > now_ns && wp->cable_mute_ns < deadline_ns)
            deadline_ns = wp->cable_mute_ns;
    }
    return deadline_ns;
}

// Sleeps until `deadline_ns`, a kick, or a frame on an uplink. Outside the gate.
static void sleep_until(struct nic_worker *worker, uint64_t deadline_ns, uint64_t now_ns)
{
    struct pollfd fds[1 + NIC_PORTS_MAX] = {{.fd = worker->wake_fd, .events = POLLIN}};
    struct timespec timeout = {(time_t)((deadline_ns - now_ns) / NS_PER_S),
                               (long)((deadline_ns - now_ns) % NS_PER_S)};
    uint64_t drained;

    worker->clock_rounds = 0;
    for (unsigned i = 0; i < worker->port_count; i++) {
        const struct worker_port *wp = &worker->port[i];

        fds[1 + i].fd = wp->cable_awaited ? uplink_wait_fd(wp->port->uplink) : -1;
        fds[1 + i].events = POLLIN;
    }
    atomic_store(&worker->sleeping, true);
    if (!has_work(worker)) {
        nic_count(&worker->sleeps, 1);
        worker->slept_at_ns = now_ns;
        if (ppoll(fds, 1 + worker->port_count, deadline_ns == UINT64_MAX ? NULL : &timeout, NULL) >
            0) {
            nic_count(&worker->wakeups, 1);
            for (unsigned i = 0; i < worker->port_count; i++)
                worker->port[i].cable_readable = fds[1 + i].revents;
        }
    }
    atomic_store(&worker->sleeping, false);
    if (read(worker->wake_fd, &drained, sizeof drained) < 0)
        assert(errno == EAGAIN || errno == EINTR);
}

// A worker that has only just found nothing looks again, and thinks of sleeping when it next asks
// the clock.
static bool is_spinning(const struct nic_worker *worker)
{
    return worker->polls_pages && worker->clock_rounds && worker->quiet_rounds < backoff[0].rounds;
}

static void *run(void *arg)
{
    struct nic_worker *worker = arg;

    prctl(PR_SET_NAME, "vireo-worker");
    prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
    nic_crowd_open(&worker->crowd);
    gate_enter(&worker->inside);
    while (!atomic_load_explicit(&worker->stop, memory_order_relaxed)) {
        uint64_t now_ns, deadline_ns;

        run_round(worker, others_now(worker));
        gate_poll(&worker->inside);
        if (!worker->quiet_rounds || is_ready(worker) || has_work(worker) || is_spinning(worker))
            continue;
        now_ns = clock_now_ns();
        deadline_ns = sleep_deadline(worker, now_ns);
        if (deadline_ns <= now_ns)
            continue;
        gate_leave(&worker->inside);
        sleep_until(worker, deadline_ns, now_ns);
        gate_enter(&worker->inside);
    }
    gate_leave(&worker->inside);
    nic_crowd_close(&worker->crowd);
    return NULL;
}

// The worker takes its lane of each port.
static void take_lanes(struct nic_worker *worker, unsigned count)
{
    gate_close(worker->gate);
    for (unsigned i = 0; i < worker->port_count; i++) {
        struct nic_port *port = worker->port[i].port;

        atomic_store(&port->lane[worker->index].worker, worker);
        if (port->lane_count != count)
            nic_lanes_set(port, count);
    }
    gate_open(worker->gate);
}

int nic_worker_create(struct nic_card *card, unsigned index, unsigned count,
                      struct nic_worker **out)
{
    struct nic_worker *worker;
    int ret;

    if (count < 1 || count > NIC_WORKERS_MAX || index >= count)
        return -EINVAL;
    worker = calloc(1, sizeof *worker);
    if (!worker)
        return -ENOMEM;
    worker->card = card;
    worker->index = index;
    for (unsigned i = 0; i < NIC_PORTS_MAX && nic_card_port(card, i); i++) {
        struct worker_port *wp = &worker->port[worker->port_count++];

        wp->port = nic_card_port(card, i);
        wp->lane = &wp->port->lane[index];
    }
    worker->gate = worker->port[0].port->gate;
    worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->wake_fd < 0) {
        ret = -errno;
        free(worker);
        return ret;
    }
    ret = gate_worker_add(worker->gate, &worker->inside);
    if (ret) {
        close(worker->wake_fd);
        free(worker);
        return ret;
    }
    take_lanes(worker, count);
    *out = worker;
    return 0;
}

int nic_worker_start(struct nic_worker *worker)
{
    sigset_t all, old;
    int ret;

    // Signals are the control thread's.
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGSEGV);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    ret = pthread_create(&worker->thread, NULL, run, worker);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    worker->started = !ret;
    return -ret;
}

void nic_worker_destroy(struct nic_worker *worker)
{
    if (!worker)
        return;
    if (worker->started) {
        atomic_store(&worker->stop, true);
        wake(worker);
        pthread_join(worker->thread, NULL);
    }
    for (unsigned i = 0; i < worker->port_count; i++)
        atomic_store(&worker->port[i].lane->worker, NULL);
    gate_worker_remove(worker->gate, &worker->inside);
    close(worker->wake_fd);
    free(worker);
}

unsigned nic_worker_poll(struct nic_worker *worker)
{
    unsigned frames;

    gate_enter(&worker->inside);
    worker->clock_rounds = 0;
    frames = run_round(worker, NIC_WATCH_ALL);
    gate_leave(&worker->inside);
    return frames;
}

void nic_worker_counts_add(const struct nic_worker *worker, struct nic_worker_counts *sum)
{
    sum->batches += atomic_load_explicit(&worker->batches, memory_order_relaxed);
    sum->idle_batches += atomic_load_explicit(&worker->idle_batches, memory_order_relaxed);
    sum->wakeups += atomic_load_explicit(&worker->wakeups, memory_order_relaxed);
    sum->sleeps += atomic_load_explicit(&worker->sleeps, memory_order_relaxed);
    sum->slept_ns += atomic_load_explicit(&worker->slept_ns, memory_order_relaxed);
    sum->frames += atomic_load_explicit(&worker->frames, memory_order_relaxed);
    for (unsigned i = 0; i < worker->port_count; i++) {
        const struct nic_lane *lane = worker->port[i].lane;

        sum->waits += atomic_load_explicit(&lane->wait_count, memory_order_relaxed);
        sum->untold += atomic_load_explicit(&lane->untold_count, memory_order_relaxed);
        sum->lock_waits += atomic_load_explicit(&lane->lock_wait_count, memory_order_relaxed);
    }
}

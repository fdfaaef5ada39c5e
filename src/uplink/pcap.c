// SPDX-License-Identifier: BSD-3-Clause
// The pcap uplink: what comes down the cable is read from a capture (capture.h), what goes up is
// recorded to another.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "uplink/capture.h"
#include "uplink/kind.h"

// Records that are passed over in one search before the caller gets a turn.
#define PCAP_SKIPS_MAX 64u
// A longer pause between two frames of a capture is cut to this.
#define PCAP_GAP_MAX_NS (60 * NS_PER_S)
// From the end of one pass over a looped capture to the next: a capture that lasts no time at all
// must not become a flood.
#define PCAP_LOOP_GAP_NS    NS_PER_MS
#define PCAP_RECORD_SNAPLEN 65535
// What a capture has before its first record, and before each one's bytes.
#define PCAP_FILE_HEADER_BYTES   24u
#define PCAP_RECORD_HEADER_BYTES 16u

// How far the replay is.
enum replay_state {
    REPLAY_SEARCHING, // no frame at hand: read on
    REPLAY_HOLDING,   // `held` goes out at due_ns
    REPLAY_ENDED,
};

struct pcap_uplink {
    struct uplink up;
    struct uplink_config config;

    struct capture *replay;
    int timer_fd;      // expires when the next frame is due; stays readable until it is set anew
    uint64_t armed_ns; // what for, 0: for nothing
    enum replay_state state;
    uint64_t due_ns;
    uint64_t last_stamp_ns;    // capture time of the frame before
    bool have_stamp;           // last_stamp_ns means something
    uint64_t second_start_ns;  // replay_pps: frames count from here …
    uint32_t frames_in_second; // … and it moves on each full second, so that nothing drifts
    bool frames_in_pass;       // this pass over the file had a frame that could go out
    struct uplink_frame held;

    pcap_t *record_format;
    pthread_mutex_t record_lock;          // workers record in turn
    pcap_dumper_t *record;                // NULL: not asked for, or it stopped
    uint64_t record_frames, record_bytes; // whole in the file
    uint8_t record_frame[UPLINK_FRAME_MAX];
};

static struct pcap_uplink *pcap_of(const struct uplink *up)
{
    return (struct pcap_uplink *)up;
}

// The capture's header, so that it is a valid one from the start. A file that is `ours` goes again
// where that fails.
static int record_begin(struct pcap_uplink *p, FILE *file, bool ours, char *error, size_t error_len)
{
    const char *path = p->config.record_path;
    int ret;

    p->record_format = pcap_open_dead_with_tstamp_precision(DLT_EN10MB, PCAP_RECORD_SNAPLEN,
                                                            PCAP_TSTAMP_PRECISION_NANO);
    p->record = p->record_format ? pcap_dump_fopen(p->record_format, file) : NULL;
    if (!p->record) {
        snprintf(error, error_len, "pcap %s: cannot record: %s", path,
                 p->record_format ? pcap_geterr(p->record_format) : "out of memory");
        if (!p->record_format)
            fclose(file); // else libpcap has closed it
        return -EIO;
    }
    if (!pcap_dump_flush(p->record)) {
        p->record_bytes = PCAP_FILE_HEADER_BYTES;
        return 0;
    }
    ret = -errno;
    snprintf(error, error_len, "pcap %s: cannot write the capture's header: %s", path,
             strerror(-ret));
    if (ours)
        unlink(path);
    return ret;
}

static int record_open(struct pcap_uplink *p, const struct stat *replay_st, char *error,
                       size_t error_len)
{
    const char *path = p->config.record_path;
    struct stat st;
    FILE *file;
    bool ours = true;
    int fd, ret;

    ret = capture_regular_file(path, O_WRONLY | O_CREAT | O_EXCL, &fd, &st, error, error_len);
    if (ret == -EEXIST) {
        ours = false;
        ret = capture_regular_file(path, O_WRONLY | O_CREAT, &fd, &st, error, error_len);
    }
    if (ret)
        return ret;
    file = fdopen(fd, "w");
    if (!file) {
        snprintf(error, error_len, "pcap %s: out of memory", path);
        close(fd);
        return -ENOMEM;
    }
    if (replay_st && st.st_dev == replay_st->st_dev && st.st_ino == replay_st->st_ino) {
        snprintf(error, error_len,
                 "pcap %s: is also the capture to replay: recording would overwrite it", path);
        fclose(file);
        return -EINVAL;
    }
    if (ftruncate(fileno(file), 0)) {
        ret = -errno;
        snprintf(error, error_len, "pcap %s: %s", path, strerror(-ret));
        fclose(file);
        return ret;
    }
    return record_begin(p, file, ours, error, error_len);
}

// For good, so that the capture has no gap: it ends with the last frame that is whole. Once, so it
// is one line in the log; what is sent from now on is counted as dropped.
static void record_stop(struct pcap_uplink *p, int err)
{
    int fd = dup(fileno(pcap_dump_file(p->record)));
    bool whole;

    pcap_dump_close(p->record); // which may write what is still in its buffer
    p->record = NULL;
    whole = fd >= 0 && !ftruncate(fd, (off_t)p->record_bytes);
    if (fd >= 0)
        close(fd);
    log_error("uplink pcap %s: cannot write: %s: recording stops after %" PRIu64 " frames, until "
              "vireod starts anew; what is sent is dropped%s",
              p->config.record_path, strerror(err), p->record_frames,
              whole ? "" : "; a part of a frame is at its end");
}

static void pcap_uplink_close(struct uplink *up)
{
    struct pcap_uplink *p = pcap_of(up);

    capture_close(p->replay);
    if (p->timer_fd >= 0)
        close(p->timer_fd);
    if (p->record)
        pcap_dump_close(p->record);
    if (p->record_format)
        pcap_close(p->record_format);
    pthread_mutex_destroy(&p->record_lock);
    free(p);
}

// The timer's fd becomes readable at due_ns; at 0, never.
static void replay_arm(struct pcap_uplink *p, uint64_t due_ns)
{
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(due_ns / NS_PER_S), .tv_nsec = (long)(due_ns % NS_PER_S)},
    };

    if (p->armed_ns == due_ns)
        return;
    p->armed_ns = due_ns;
    timerfd_settime(p->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

// Sets due_ns of the frame that was just read.
static void replay_schedule(struct pcap_uplink *p, uint64_t stamp_ns)
{
    uint64_t gap_ns = 0;

    if (p->config.replay_pps) {
        if (p->frames_in_second == p->config.replay_pps) {
            p->frames_in_second = 0;
            p->second_start_ns += NS_PER_S;
        }
        p->due_ns = p->second_start_ns + p->frames_in_second * NS_PER_S / p->config.replay_pps;
        p->frames_in_second++;
        return;
    }
    // Stamps are the file's word: wrapping arithmetic, and gaps that go backwards or are absurd are
    // cut.
    if (p->have_stamp && (int64_t)(stamp_ns - p->last_stamp_ns) > 0)
        gap_ns = stamp_ns - p->last_stamp_ns;
    p->due_ns += gap_ns < PCAP_GAP_MAX_NS ? gap_ns : PCAP_GAP_MAX_NS;
    p->last_stamp_ns = stamp_ns;
    p->have_stamp = true;
}

static void replay_end(struct pcap_uplink *p, const char *why)
{
    if (why)
        log_warn("uplink pcap %s: replay stops: %s", p->config.replay_path, why);
    p->state = REPLAY_ENDED;
    replay_arm(p, 0);
}

static void replay_restart(struct pcap_uplink *p)
{
    char error[512];

    if (!p->frames_in_pass) {
        replay_end(p, "no frame in it can be sent");
        return;
    }
    if (capture_rewind(p->replay, error, sizeof error)) {
        replay_end(p, error);
        return;
    }
    p->frames_in_pass = false;
    p->have_stamp = false;
    p->due_ns += PCAP_LOOP_GAP_NS;
}

// Reads on to the next frame that can be sent; at most PCAP_SKIPS_MAX records.
static void replay_search(struct pcap_uplink *p)
{
    for (unsigned n = 0; n < PCAP_SKIPS_MAX && p->state == REPLAY_SEARCHING; n++) {
        struct capture_record record;
        const char *why = NULL;
        int ret = capture_next(p->replay, &record, &why);

        if (!ret && p->config.replay_loop) {
            replay_restart(p);
        } else if (ret != 1) {
            replay_end(p, ret ? why : NULL);
        } else if (!record.data) {
            uplink_count(&p->up.rx_drops, 1);
        } else {
            p->held = (struct uplink_frame){record.data, record.len_bytes};
            p->frames_in_pass = true;
            replay_schedule(p, record.stamp_ns);
            p->state = REPLAY_HOLDING;
        }
    }
}

static int pcap_uplink_receive(struct uplink *up, struct uplink_frame *out, unsigned max)
{
    struct pcap_uplink *p = pcap_of(up);
    uint64_t now_ns = clock_now_ns();
    unsigned n = 0;

    if (!p->replay)
        return 0;
    while (n < max) {
        if (p->state == REPLAY_SEARCHING)
            replay_search(p);
        // While it finds none, the timer has expired: the fd stays readable.
        if (p->state != REPLAY_HOLDING)
            break;
        if (p->due_ns > now_ns) {
            replay_arm(p, p->due_ns);
            break;
        }
        out[n++] = p->held;
        p->state = REPLAY_SEARCHING;
    }
    return (int)n;
}

static int record_frame(struct pcap_uplink *p, const struct iovec *iov, unsigned iov_count,
                        size_t len_bytes)
{
    struct pcap_pkthdr header = {.caplen = (uint32_t)len_bytes, .len = (uint32_t)len_bytes};
    struct timespec now;
    size_t done = 0;

    if (!p->record)
        return -EIO;
    for (unsigned i = 0; i < iov_count; i++) {
        memcpy(p->record_frame + done, iov[i].iov_base, iov[i].iov_len);
        done += iov[i].iov_len;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    header.ts.tv_sec = now.tv_sec;
    header.ts.tv_usec = now.tv_nsec;
    errno = 0; // the first to fail sets it, which pcap_dump() does not say
    pcap_dump((u_char *)p->record, &header, p->record_frame);
    // Each frame at once: the file is complete even if the daemon dies.
    if (pcap_dump_flush(p->record) || ferror(pcap_dump_file(p->record))) {
        record_stop(p, errno);
        return -EIO;
    }
    p->record_frames++;
    p->record_bytes += PCAP_RECORD_HEADER_BYTES + len_bytes;
    return 0;
}

static int pcap_uplink_send(struct uplink *up, const struct iovec *iov, unsigned iov_count,
                            size_t len_bytes)
{
    struct pcap_uplink *p = pcap_of(up);
    int ret;

    if (!p->config.record_path[0])
        return 0; // replay only: what is sent goes nowhere, as with null
    pthread_mutex_lock(&p->record_lock);
    ret = record_frame(p, iov, iov_count, len_bytes);
    pthread_mutex_unlock(&p->record_lock);
    return ret;
}

static int pcap_uplink_open(const struct uplink_config *config, struct uplink **out, char *error,
                            size_t error_len)
{
    struct pcap_uplink *p;
    struct stat replay_st;
    int ret = 0;

    if (!config->replay_path[0] && !config->record_path[0]) {
        snprintf(error, error_len, "pcap: need a capture to replay, one to record, or both");
        return -EINVAL;
    }
    p = calloc(1, sizeof *p);
    if (!p) {
        snprintf(error, error_len, "pcap: out of memory");
        return -ENOMEM;
    }
    p->config = *config;
    pthread_mutex_init(&p->record_lock, NULL);
    p->timer_fd = -1;
    if (config->replay_path[0])
        ret = capture_open(config->replay_path, CAPTURE_MEMORY_MAX, &p->replay, &replay_st, error,
                           error_len);
    if (!ret && config->record_path[0])
        ret = record_open(p, config->replay_path[0] ? &replay_st : NULL, error, error_len);
    if (!ret && p->replay) {
        p->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (p->timer_fd < 0) {
            ret = -errno;
            snprintf(error, error_len, "pcap: timerfd: %s", strerror(-ret));
        }
    }
    if (ret) {
        pcap_uplink_close(&p->up);
        return ret;
    }
    if (p->replay) {
        p->due_ns = p->second_start_ns = clock_now_ns();
        replay_arm(p, p->due_ns);
    }
    *out = &p->up;
    return 0;
}

static int pcap_uplink_wait_fd(const struct uplink *up)
{
    return pcap_of(up)->timer_fd;
}

const struct uplink_ops uplink_pcap_ops = {
    .open = pcap_uplink_open,
    .close = pcap_uplink_close,
    .send = pcap_uplink_send,
    .receive = pcap_uplink_receive,
    .wait_fd = pcap_uplink_wait_fd,
};

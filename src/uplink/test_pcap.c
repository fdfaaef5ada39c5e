// SPDX-License-Identifier: BSD-3-Clause
// The pcap uplink on captures that the test writes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "uplink/capture.h"
#include "uplink/uplink.h"

static char dir[] = "/tmp/vireo-pcap-XXXXXX";
static char in_path[64], out_path[64];

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(in_path, sizeof in_path, "%s/in.pcap", dir);
    snprintf(out_path, sizeof out_path, "%s/out.pcap", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(in_path);
    unlink(out_path);
    return rmdir(dir);
}

// A record: wire length, captured length, milliseconds since the capture's start.
struct record {
    uint32_t len, caplen, at_ms;
};

static uint8_t byte_of(uint32_t len, uint32_t i)
{
    return (uint8_t)(len * 3 + i);
}

static void capture_write(const char *path, int link_type, const struct record *records,
                          unsigned count)
{
    static uint8_t data[70000];
    pcap_t *format = pcap_open_dead(link_type, 262144);
    pcap_dumper_t *dump = pcap_dump_open(format, path);

    assert_non_null(dump);
    for (unsigned n = 0; n < count; n++) {
        struct pcap_pkthdr header = {.caplen = records[n].caplen, .len = records[n].len};
        header.ts.tv_sec = 1700000000 + records[n].at_ms / 1000;
        header.ts.tv_usec = records[n].at_ms % 1000 * 1000;
        for (uint32_t i = 0; i < records[n].caplen; i++)
            data[i] = byte_of(records[n].len, i);
        pcap_dump((u_char *)dump, &header, data);
    }
    pcap_dump_close(dump);
    pcap_close(format);
}

static struct uplink *replay_uplink(uint32_t pps, bool loop)
{
    struct uplink_config config = {.kind = UPLINK_PCAP, .replay_pps = pps, .replay_loop = loop};
    struct uplink *up = NULL;
    char error[1024] = "";

    strcpy(config.replay_path, in_path);
    if (uplink_open(&config, &up, error, sizeof error))
        fail_msg("%s", error);
    return up;
}

// One frame into buf: its length, or 0.
static int frame_receive(struct uplink *up, uint8_t *buf)
{
    struct uplink_frame in;
    int n = uplink_receive(up, &in, 1);

    assert_in_range(n, 0, 1);
    if (!n)
        return 0;
    memcpy(buf, in.data, in.len_bytes);
    return (int)in.len_bytes;
}

// The next frame, waiting on the fd as a worker does; its length, or 0 after timeout_ms.
static int frame_wait(struct uplink *up, uint8_t *buf, int timeout_ms)
{
    struct pollfd wait = {.fd = uplink_wait_fd(up), .events = POLLIN};
    uint64_t end_ns = clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;

    while (clock_now_ns() < end_ns) {
        int left_ms = (int)((end_ns - clock_now_ns()) / NS_PER_MS) + 1;
        if (poll(&wait, 1, left_ms) != 1)
            return 0;
        int n = frame_receive(up, buf);
        if (n)
            return n;
    }
    return 0;
}

static void test_lengths_and_truncated(void **state)
{
    static const struct record records[] = {
        {13, 13, 0},     {14, 14, 0},     {60, 60, 0},       {1514, 96, 0}, {1514, 1514, 0},
        {9736, 9736, 0}, {9737, 9737, 0}, {65535, 65535, 0}, {100, 99, 0},  {64, 64, 0},
    };
    static const int expected[] = {14, 60, 1514, 9736, 64};
    uint8_t buf[UPLINK_FRAME_MAX];
    struct uplink_counts counts;
    struct uplink *up;

    (void)state;
    capture_write(in_path, DLT_EN10MB, records, 10);
    up = replay_uplink(0, false);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(frame_wait(up, buf, 5000), expected[i]);
        for (int k = 0; k < expected[i]; k++)
            assert_int_equal(buf[k], byte_of((uint32_t)expected[i], (uint32_t)k));
    }
    assert_int_equal(frame_wait(up, buf, 20), 0); // ended: the fd is quiet
    uplink_counts_get(up, &counts);
    assert_int_equal(counts.rx_frames, 5);
    assert_int_equal(counts.rx_bytes, 14 + 60 + 1514 + 9736 + 64);
    assert_int_equal(counts.rx_drops, 5);
    uplink_close(up);
}

static void test_own_timestamps(void **state)
{
    // Backwards in the middle: sent at once, not before its turn and not never.
    static const struct record records[] = {
        {60, 60, 5000}, {61, 61, 5050}, {62, 62, 10}, {63, 63, 60}};
    uint8_t buf[UPLINK_FRAME_MAX];
    uint64_t start_ns;
    struct uplink *up;
    int n;

    (void)state;
    capture_write(in_path, DLT_EN10MB, records, 4);
    start_ns = clock_now_ns();
    up = replay_uplink(0, false);
    assert_int_equal(frame_wait(up, buf, 5000), 60);
    // Not yet: at once there is none, unless this machine is slow.
    n = frame_receive(up, buf);
    if (!n)
        n = frame_wait(up, buf, 5000);
    assert_int_equal(n, 61);
    assert_true(clock_now_ns() - start_ns >= 50 * NS_PER_MS);
    assert_int_equal(frame_wait(up, buf, 5000), 62);
    assert_int_equal(frame_wait(up, buf, 5000), 63);
    assert_true(clock_now_ns() - start_ns >= 100 * NS_PER_MS);
    uplink_close(up);
}

static void test_pps_and_loop(void **state)
{
    static const struct record records[] = {{60, 60, 0}, {61, 61, 100000000}};
    uint8_t buf[UPLINK_FRAME_MAX];
    uint64_t start_ns;
    struct uplink *up;

    (void)state;
    capture_write(in_path, DLT_EN10MB, records, 2);
    start_ns = clock_now_ns();
    up = replay_uplink(200, true);
    for (int i = 0; i < 21; i++)
        assert_int_equal(frame_wait(up, buf, 5000), 60 + i % 2);
    assert_true(clock_now_ns() - start_ns >= 100 * NS_PER_MS); // frame 20 is due at 20/200 s
    uplink_close(up);
}

// Batches, round the end of a looped capture, from memory and from a file that is too large for it;
// the frame that is not due yet is not among them.
static void batches(uint64_t file_bytes)
{
    static struct record records[101];
    struct uplink_frame in[UPLINK_BATCH];
    unsigned at = 0;
    struct uplink *up;
    int n;

    for (unsigned i = 0; i < 100; i++)
        records[i] = (struct record){60 + i, i % 10 == 9 ? 50 : 60 + i, i == 99 ? 3600000 : 0};
    records[100] = (struct record){60, 60, 3600000};
    capture_write(in_path, DLT_EN10MB, records, 101);
    if (file_bytes)
        assert_int_equal(truncate(in_path, (off_t)file_bytes), 0);
    up = replay_uplink(0, false);
    while ((n = uplink_receive(up, in, UPLINK_BATCH)) > 0) {
        assert_true(n == (int)UPLINK_BATCH || at + (unsigned)n == 90);
        for (int i = 0; i < n; i++, at++) {
            uint32_t len = 60 + at / 9 * 10 + at % 9;

            assert_int_equal(in[i].len_bytes, len);
            for (uint32_t k = 0; k < len; k++)
                assert_int_equal(in[i].data[k], byte_of(len, k));
        }
    }
    assert_int_equal(n, 0);
    assert_int_equal(at, 90);
    uplink_close(up);
}

static void test_batches(void **state)
{
    (void)state;
    batches(0);
    batches(CAPTURE_MEMORY_MAX + 4096); // a hole behind the records
}

static void test_stream_loops(void **state)
{
    static const struct record records[] = {{60, 60, 0}, {1514, 96, 0}, {61, 61, 0}};
    char error[512] = "";
    struct capture *c;
    struct capture_record r;
    struct stat st;
    const char *why;

    (void)state;
    capture_write(in_path, DLT_EN10MB, records, 3);
    for (unsigned in_memory = 0; in_memory < 2; in_memory++) {
        assert_int_equal(capture_open(in_path, in_memory ? 4096 : 0, &c, &st, error, sizeof error),
                         0);
        for (unsigned pass = 0; pass < 3; pass++) {
            for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(capture_next(c, &r, &why), 1);
                assert_int_equal(!r.data, i == 1);
                if (r.data)
                    assert_int_equal(r.len_bytes, records[i].len);
            }
            assert_int_equal(capture_next(c, &r, &why), 0);
            assert_int_equal(capture_next(c, &r, &why), 0);
            assert_int_equal(capture_rewind(c, error, sizeof error), 0);
        }
        capture_close(c);
    }
    assert_int_equal(capture_open(in_path, 0, &c, &st, error, sizeof error), 0);
    unlink(in_path);
    assert_int_equal(capture_rewind(c, error, sizeof error), -ENOENT);
    assert_int_equal(capture_next(c, &r, &why), 1); // goes on where it was
    capture_close(c);
}

static void test_loop_without_frames_ends(void **state)
{
    static const struct record records[] = {{1514, 96, 0}, {10, 10, 0}};
    uint8_t buf[UPLINK_FRAME_MAX];
    struct uplink_counts counts;
    struct uplink *up;

    (void)state;
    capture_write(in_path, DLT_EN10MB, records, 2);
    up = replay_uplink(0, true);
    assert_int_equal(frame_wait(up, buf, 50), 0);
    uplink_counts_get(up, &counts);
    assert_int_equal(counts.rx_drops, 2); // one pass, and no more
    uplink_close(up);
}

static void test_record_and_replay(void **state)
{
    struct uplink_config config = {.kind = UPLINK_PCAP};
    struct uplink *up = NULL;
    struct uplink_counts counts;
    uint8_t frame[UPLINK_FRAME_MAX], buf[UPLINK_FRAME_MAX];
    struct iovec iov[] = {{frame, 14}, {frame + 14, 0}, {frame + 14, sizeof frame - 14}};
    char error[1024] = "";

    (void)state;
    for (size_t i = 0; i < sizeof frame; i++)
        frame[i] = (uint8_t)(i * i >> 3);
    strcpy(config.record_path, out_path);
    assert_int_equal(uplink_open(&config, &up, error, sizeof error), 0);
    assert_int_equal(uplink_wait_fd(up), -1);
    assert_int_equal(frame_receive(up, buf), 0);
    assert_int_equal(uplink_send(up, 0, iov, 3), 0);
    assert_int_equal(uplink_send(up, 0, iov, 1), 0);
    uplink_counts_get(up, &counts);
    assert_int_equal(counts.tx_frames, 2);

    // Complete while still open.
    unlink(in_path);
    assert_int_equal(link(out_path, in_path), 0);
    struct uplink *second = replay_uplink(0, false);
    assert_int_equal(frame_wait(second, buf, 5000), UPLINK_FRAME_MAX);
    assert_memory_equal(buf, frame, sizeof frame);
    assert_int_equal(frame_wait(second, buf, 5000), 14);
    uplink_close(second);
    uplink_close(up);
    unlink(in_path);
}

static void expect_refused(const struct uplink_config *config, int ret, const char *words)
{
    struct uplink *up = NULL;
    char error[1024] = "";

    assert_int_equal(uplink_open(config, &up, error, sizeof error), ret);
    assert_null(up);
    if (!strstr(error, words))
        fail_msg("'%s' does not say '%s'", error, words);
}

static void test_refused(void **state)
{
    static const struct record record = {60, 60, 0};
    struct uplink_config config = {.kind = UPLINK_PCAP};
    struct stat before, after;
    FILE *file;

    (void)state;
    expect_refused(&config, -EINVAL, "need a capture");
    snprintf(config.replay_path, sizeof config.replay_path, "%s/none.pcap", dir);
    expect_refused(&config, -ENOENT, "No such file");
    strcpy(config.replay_path, dir);
    expect_refused(&config, -EINVAL, "not a regular file");
    strcpy(config.replay_path, in_path);
    unlink(in_path);
    assert_int_equal(mkfifo(in_path, 0600), 0);
    expect_refused(&config, -EINVAL, "not a regular file"); // and does not hang
    unlink(in_path);
    file = fopen(in_path, "w");
    fputs("no capture at all, but long enough for a header", file);
    fclose(file);
    expect_refused(&config, -EINVAL, "no capture that can be read");
    capture_write(in_path, DLT_LINUX_SLL, &record, 1);
    expect_refused(&config, -EINVAL, "LINUX_SLL");

    capture_write(in_path, DLT_EN10MB, &record, 1);
    strcpy(config.record_path, in_path);
    stat(in_path, &before);
    expect_refused(&config, -EINVAL, "also the capture to replay");
    stat(in_path, &after);
    assert_int_equal(before.st_size, after.st_size);
}

// No file of this process may grow beyond `bytes`: a full disk for whoever is not root.
static void disk_limit(rlim_t bytes)
{
    struct rlimit limit;

    signal(SIGXFSZ, bytes == RLIM_INFINITY ? SIG_DFL : SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_full_disk_refuses(void **state)
{
    struct uplink_config config = {.kind = UPLINK_PCAP};
    FILE *file;

    (void)state;
    strcpy(config.record_path, out_path);
    unlink(out_path);
    disk_limit(8);
    expect_refused(&config, -EFBIG, "cannot write the capture's header: File too large");
    assert_int_equal(access(out_path, F_OK), -1); // what it made goes again
    disk_limit(RLIM_INFINITY);
    file = fopen(out_path, "w");
    fclose(file);
    disk_limit(8);
    expect_refused(&config, -EFBIG, "cannot write the capture's header: File too large");
    disk_limit(RLIM_INFINITY);
    assert_int_equal(access(out_path, F_OK), 0); // what was there stays
}

// What was said on stderr while it was redirected to `path`.
static unsigned lines_with(const char *path, const char *words)
{
    FILE *file = fopen(path, "r");
    char line[1024];
    unsigned n = 0;

    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        n += strstr(line, words) != NULL;
    fclose(file);
    return n;
}

static void test_full_disk_ends_recording(void **state)
{
    struct uplink_config config = {.kind = UPLINK_PCAP};
    uint8_t frame[1000] = {0};
    struct iovec iov = {frame, sizeof frame};
    int log_fd = open(in_path, O_RDWR | O_CREAT | O_TRUNC, 0600), saved_fd = dup(STDERR_FILENO);
    char error[1024] = "";
    struct uplink_counts counts;
    struct uplink *up;
    struct stat st;

    (void)state;
    strcpy(config.record_path, out_path);
    assert_int_equal(uplink_open(&config, &up, error, sizeof error), 0);
    disk_limit(24 + 3 * (16 + sizeof frame) + 500); // three frames and a part of one
    dup2(log_fd, STDERR_FILENO);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(uplink_send(up, 0, &iov, 1), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(uplink_send(up, 0, &iov, 1), -EIO);
    dup2(saved_fd, STDERR_FILENO);
    disk_limit(RLIM_INFINITY);
    assert_int_equal(uplink_send(up, 0, &iov, 1), -EIO);
    uplink_counts_get(up, &counts);
    assert_int_equal(counts.tx_frames, 3);
    assert_int_equal(counts.tx_drops, 4);
    uplink_close(up);
    assert_int_equal(lines_with(in_path, "File too large: recording stops after 3 frames"), 1);
    assert_int_equal(lines_with(in_path, ""), 1);
    assert_int_equal(stat(out_path, &st), 0);
    assert_int_equal(st.st_size, 24 + 3 * (16 + sizeof frame));
    close(log_fd);
    close(saved_fd);
}

static void test_cut_file_ends_replay(void **state)
{
    static const struct record records[] = {{60, 60, 0}, {61, 61, 0}};
    uint8_t buf[UPLINK_FRAME_MAX];
    struct stat st;
    struct uplink *up;

    (void)state;
    capture_write(in_path, DLT_EN10MB, records, 2);
    stat(in_path, &st);
    assert_int_equal(truncate(in_path, st.st_size - 1), 0);
    up = replay_uplink(0, true);
    assert_int_equal(frame_wait(up, buf, 5000), 60);
    assert_int_equal(frame_wait(up, buf, 20), 0);
    uplink_close(up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths_and_truncated),
        cmocka_unit_test(test_own_timestamps),
        cmocka_unit_test(test_pps_and_loop),
        cmocka_unit_test(test_batches),
        cmocka_unit_test(test_stream_loops),
        cmocka_unit_test(test_loop_without_frames_ends),
        cmocka_unit_test(test_record_and_replay),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_full_disk_refuses),
        cmocka_unit_test(test_full_disk_ends_recording),
        cmocka_unit_test(test_cut_file_ends_replay),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

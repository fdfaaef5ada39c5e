// SPDX-License-Identifier: BSD-3-Clause
// `vireo demo`: the embedded form, end to end, in a few seconds. This process only directs: one
// child holds the card, two more are guests that each drive VFs with our own driver.
#include "demo/embedded.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine/config.h"
#include "demo/card.h"
#include "demo/guest.h"
#include "demo/report.h"
#include "machine/methods.h"
#include "machine/run_dir.h"
#include "base/clock.h"
#include "base/log.h"
#include "ctl/ctl.h"

#define GUESTS        2u
#define TMPDIR_MAX    64u
#define TASK_LIMIT_MS 600000 // a task itself finds out that it is stuck
#define CTL_LIMIT_MS  60000u
#define PING_COUNT    2000u
#define SLEEP_COUNT   300u
#define BULK_MS       400u
#define OFFLOAD_COUNT 20u
#define SHOUT_COUNT   50u
#define TSO_MSS       1448u
#define FRAME_NORMAL  1514u
#define FRAME_JUMBO   9014u // MTU 9000

struct child {
    pid_t pid;
    int fd; // socket pair to a guest, -1 to the card
};

struct demo {
    struct demo_report report;
    char dir[128];
    struct child card, guests[GUESTS];
    unsigned first_vf; // of the three with the doorbells that are looked at
    uint8_t macs[GUESTS][6];
    uint64_t faults_expected;
};

// --- children ---

static void child_end(struct child *c, int signal_number)
{
    if (c->fd >= 0)
        close(c->fd);
    if (c->pid > 0) {
        if (signal_number)
            kill(c->pid, signal_number);
        waitpid(c->pid, NULL, 0);
    }
    *c = (struct child){.fd = -1};
}

// In the child: dies with its parent, also where that died before this was set; and lets go of what
// is the parent's.
static void child_start(struct demo *d, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_FAILURE);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    for (unsigned i = 0; i < GUESTS; i++) {
        if (d->guests[i].fd >= 0)
            close(d->guests[i].fd);
    }
}

static int card_spawn(struct demo *d)
{
    struct pollfd wait = {.events = POLLIN};
    pid_t parent = getpid();
    int pipe_fds[2];
    char byte;
    bool ready;

    if (pipe(pipe_fds))
        return -errno;
    d->card.pid = fork();
    if (!d->card.pid) {
        child_start(d, parent);
        close(pipe_fds[0]);
        _exit(demo_card_run(d->dir, pipe_fds[1]));
    }
    close(pipe_fds[1]);
    wait.fd = pipe_fds[0];
    ready =
        d->card.pid > 0 && poll(&wait, 1, TASK_LIMIT_MS) == 1 && read(pipe_fds[0], &byte, 1) == 1;
    close(pipe_fds[0]);
    return ready ? 0 : -EIO;
}

static int guest_spawn(struct demo *d, unsigned index)
{
    struct child *guest = &d->guests[index];
    pid_t parent = getpid();
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds))
        return -errno;
    guest->pid = fork();
    if (!guest->pid) {
        child_start(d, parent);
        close(fds[0]);
        log_set_level(LOG_LEVEL_ERROR);
        _exit(demo_guest_run(fds[1]));
    }
    close(fds[1]);
    guest->fd = fds[0];
    return guest->pid > 0 ? 0 : -EAGAIN;
}

// --- tasks ---

static struct demo_task task_for(const struct demo *d, unsigned guest, enum demo_op op)
{
    struct demo_task task = {.op = op, .len_min = DEMO_FRAME_MIN, .len_max = FRAME_NORMAL};

    memcpy(task.peer, d->macs[!guest], 6);
    memcpy(task.source, d->macs[guest], 6);
    return task;
}

static void task_start(struct demo *d, unsigned guest, const struct demo_task *task)
{
    if (send(d->guests[guest].fd, task, sizeof *task, MSG_NOSIGNAL) != sizeof *task)
        log_error("vireo demo: guest %u is gone", guest);
}

static struct demo_answer task_finish(struct demo *d, unsigned guest)
{
    struct pollfd wait = {.fd = d->guests[guest].fd, .events = POLLIN};
    struct demo_answer answer;

    if (poll(&wait, 1, TASK_LIMIT_MS) == 1 &&
        recv(d->guests[guest].fd, &answer, sizeof answer, 0) == sizeof answer)
        return answer;
    answer = (struct demo_answer){.ret = -ETIMEDOUT};
    snprintf(answer.text, sizeof answer.text, "guest %u did not answer", guest);
    return answer;
}

static struct demo_answer task_do(struct demo *d, unsigned guest, const struct demo_task *task)
{
    task_start(d, guest, task);
    return task_finish(d, guest);
}

// Guest `receiver` first, so that it is there when the other starts. answers[guest].
static void tasks_pair(struct demo *d, unsigned receiver, const struct demo_task *receive,
                       const struct demo_task *send_task, struct demo_answer answers[GUESTS])
{
    task_start(d, receiver, receive);
    task_start(d, !receiver, send_task);
    answers[!receiver] = task_finish(d, !receiver);
    answers[receiver] = task_finish(d, receiver);
}

// What went wrong in either, or NULL.
static const char *pair_problem(const struct demo_answer answers[GUESTS])
{
    if (answers[0].ret)
        return answers[0].text;
    return answers[1].ret ? answers[1].text : NULL;
}

// --- the card's counters ---

static json_t *stats_get(const struct demo *d)
{
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)], error[512];
    json_t *result = NULL;

    if (run_dir_ctl_path(d->dir, path, sizeof path, error, sizeof error) ||
        ctl_call(path, "stats", NULL, CTL_LIMIT_MS, &result, error, sizeof error))
        log_error("vireo demo: %s", error);
    return result;
}

static json_t *stats_vf(const json_t *stats, unsigned vf)
{
    return json_object_get(json_array_get(json_object_get(stats, "ports"), 0), "vfs")
               ? json_array_get(
                     json_object_get(json_array_get(json_object_get(stats, "ports"), 0), "vfs"), vf)
               : NULL;
}

// A counter of VF `vf`; `section` "counts", "writes_by_region", … or NULL.
static uint64_t vf_count(const struct demo *d, unsigned vf, const char *section, const char *key)
{
    json_t *stats = stats_get(d);
    const json_t *from = stats_vf(stats, vf);
    uint64_t value;

    if (section)
        from = json_object_get(from, section);
    value = (uint64_t)json_integer_value(json_object_get(from, key));
    json_decref(stats);
    return value;
}

// --- checks ---

static int guests_open(struct demo *d, bool interrupts, uint32_t frame_bytes_max,
                       struct demo_answer answers[GUESTS])
{
    for (unsigned i = 0; i < GUESTS; i++) {
        struct demo_task task = {
            .op = DEMO_OP_OPEN, .interrupts = interrupts, .frame_bytes_max = frame_bytes_max};

        snprintf(task.socket, sizeof task.socket, "%.90s/port0-vf%u.sock", d->dir, d->first_vf + i);
        answers[i] = task_do(d, i, &task);
        memcpy(d->macs[i], answers[i].mac, 6);
    }
    return answers[0].ret ? answers[0].ret : answers[1].ret;
}

static void guests_close(struct demo *d)
{
    for (unsigned i = 0; i < GUESTS; i++) {
        struct demo_task task = {.op = DEMO_OP_CLOSE};
        task_do(d, i, &task);
    }
}

static bool check_open(struct demo *d)
{
    struct demo_answer answers[GUESTS];
    char macs[GUESTS][METHODS_MAC_TEXT_LEN];
    bool ok = !guests_open(d, true, FRAME_NORMAL, answers);

    if (ok && !memcmp(d->macs[0], d->macs[1], 6)) {
        ok = false;
        snprintf(answers[0].text, sizeof answers[0].text, "both have the same MAC");
    }
    for (unsigned i = 0; i < GUESTS; i++)
        methods_mac_text(d->macs[i], macs[i]);
    if (ok)
        demo_report_add(&d->report, true, "two processes drive a VF each", NULL,
                        "VF %u %s, VF %u %s, link up, mailbox API %s", d->first_vf, macs[0],
                        d->first_vf + 1, macs[1], card_config_api_name(answers[0].api));
    else
        demo_report_add(&d->report, false, "two processes drive a VF each", NULL, "%s",
                        pair_problem(answers) ? pair_problem(answers) : answers[0].text);
    return ok;
}

static bool check_ping(struct demo *d, const char *name, bool sleep, uint32_t count)
{
    struct demo_task answer = task_for(d, 1, DEMO_OP_ANSWER), ping = task_for(d, 0, DEMO_OP_PING);
    struct demo_answer a[GUESTS];
    const char *problem;

    answer.sleep = sleep;
    answer.count = ping.count = count;
    tasks_pair(d, 1, &answer, &ping, a);
    problem = pair_problem(a);
    if (!problem && sleep && !a[1].interrupts)
        problem = "no interrupt came";
    if (problem) {
        demo_report_add(&d->report, false, name, NULL, "%s", problem);
        return false;
    }
    demo_report_add(
        &d->report, true, name,
        json_pack("{s:f, s:f, s:i, s:I}", "rtt_median_us", (double)a[0].median_ns / NS_PER_US,
                  "rtt_min_us", (double)a[0].min_ns / NS_PER_US, "count", (int)count, "interrupts",
                  (json_int_t)a[1].interrupts),
        "RTT median %.1f us, least %.1f us, of %u%s", (double)a[0].median_ns / NS_PER_US,
        (double)a[0].min_ns / NS_PER_US, count, sleep ? "; the answering side sleeps" : "");
    return true;
}

// From guest `from` to the other, with every byte verified. *messages: to BAR0, both VFs.
static bool check_bulk(struct demo *d, const char *name, unsigned from, uint32_t len_min,
                       uint32_t len_max)
{
    struct demo_task receive = task_for(d, !from, DEMO_OP_RECEIVE);
    struct demo_task send_task = task_for(d, from, DEMO_OP_SEND);
    bool mapped = !strcmp(d->report.group, "mapped");
    uint64_t messages = 0;
    struct demo_answer a[GUESTS];
    double seconds, gbps, per_frame;
    const char *problem;

    receive.len_min = send_task.len_min = len_min;
    receive.len_max = send_task.len_max = len_max;
    send_task.ms = BULK_MS;
    for (unsigned i = 0; i < GUESTS; i++)
        messages -= vf_count(d, d->first_vf + i, "writes_by_region", "0");
    tasks_pair(d, !from, &receive, &send_task, a);
    for (unsigned i = 0; i < GUESTS; i++)
        messages += vf_count(d, d->first_vf + i, "writes_by_region", "0");
    problem = pair_problem(a);
    if (!problem &&
        (!a[!from].frames || a[!from].frames != a[from].frames || a[!from].bytes != a[from].bytes))
        problem = "not as much came as was sent";
    if (!problem && mapped && messages)
        problem = "mapped doorbells, and yet there were register writes as messages";
    if (!problem && !mapped && !messages)
        problem = "trapped doorbells, and yet there were no messages";
    if (problem) {
        demo_report_add(&d->report, false, name, NULL, "%s", problem);
        return false;
    }
    seconds = (double)a[from].ns / NS_PER_S;
    gbps = (double)a[from].bytes * 8 / seconds / 1e9;
    per_frame = (double)messages / (double)a[from].frames;
    demo_report_add(
        &d->report, true, name,
        json_pack("{s:I, s:I, s:f, s:f, s:f}", "frames", (json_int_t)a[from].frames, "bytes",
                  (json_int_t)a[from].bytes, "gbit_per_s", gbps, "frames_per_s",
                  (double)a[from].frames / seconds, "messages_per_frame", per_frame),
        "%" PRIu64 " frames, %.2f Gbit/s, %.3f messages a frame", a[from].frames, gbps, per_frame);
    return true;
}

static bool check_offload(struct demo *d, const char *name, bool tso)
{
    struct demo_task receive = task_for(d, 1, tso ? DEMO_OP_CHECK_TSO : DEMO_OP_CHECK_UDP);
    struct demo_task send_task = task_for(d, 0, tso ? DEMO_OP_TSO : DEMO_OP_UDP);
    struct demo_answer a[GUESTS];

    receive.count = send_task.count = OFFLOAD_COUNT;
    receive.mss = send_task.mss = TSO_MSS;
    tasks_pair(d, 1, &receive, &send_task, a);
    if (pair_problem(a)) {
        // What the receiver found wrong is why the sender waited.
        demo_report_add(&d->report, false, name, NULL, "%s", a[1].ret ? a[1].text : a[0].text);
        return false;
    }
    demo_report_add(&d->report, true, name,
                    json_pack("{s:I, s:I}", "sent", (json_int_t)a[0].frames, "received",
                              (json_int_t)a[1].frames),
                    tso ? "%" PRIu64 " packets of 60000 bytes became %" PRIu64
                          " segments, all right"
                        : "%" PRIu64 " UDP packets sent, %" PRIu64 " with right checksums",
                    a[0].frames, a[1].frames);
    return true;
}

// Guest 0 shouts; how many of the frames guest 1 hears. -1 where a task failed.
static int shout(struct demo *d, const struct demo_task *shout_task, struct demo_answer a[GUESTS])
{
    struct demo_task listen = task_for(d, 1, DEMO_OP_LISTEN);

    // One after the other: what was shouted waits in the listener's ring.
    listen.ms = 100;
    a[0] = task_do(d, 0, shout_task);
    a[1] = task_do(d, 1, &listen);
    return pair_problem(a) ? -1 : (int)a[1].frames;
}

static void check_vlan(struct demo *d)
{
    struct demo_task open = {.op = DEMO_OP_OPEN, .slot = 1, .frame_bytes_max = FRAME_NORMAL};
    struct demo_task close_task = {.op = DEMO_OP_CLOSE, .slot = 1};
    struct demo_task task = task_for(d, 0, DEMO_OP_SHOUT);
    struct demo_answer a[GUESTS], opened;
    int broadcast = -1, unicast = -1, control;

    snprintf(open.socket, sizeof open.socket, "%.90s/port0-vf%u.sock", d->dir, d->first_vf + 2);
    opened = task_do(d, 0, &open);
    task.count = SHOUT_COUNT;
    // First without the VLAN between them: so that "nothing came" means something.
    memset(task.peer, 0xff, 6);
    control = shout(d, &task, a);
    if (!opened.ret && control == SHOUT_COUNT) {
        task.slot = 1;
        memcpy(task.source, opened.mac, 6);
        broadcast = shout(d, &task, a);
        memcpy(task.peer, d->macs[1], 6);
        unicast = shout(d, &task, a);
    }
    if (!opened.ret)
        task_do(d, 0, &close_task);
    demo_report_add(&d->report, !broadcast && !unicast, "a VF on another VLAN is alone",
                    json_pack("{s:i, s:i, s:i}", "same_vlan", control, "broadcast", broadcast,
                              "unicast", unicast),
                    opened.ret ? "%s"
                               : "%s%u broadcasts on the same VLAN: %d came; from VLAN 20: %d, "
                                 "unicast: %d",
                    opened.ret ? opened.text : "", SHOUT_COUNT, control, broadcast, unicast);
}

static void check_spoof(struct demo *d)
{
    static const uint8_t stranger[6] = {0x02, 0xde, 0xad, 0xbe, 0xef, 0x01};
    struct demo_task task = task_for(d, 0, DEMO_OP_SHOUT);
    uint64_t before = vf_count(d, d->first_vf, "counts", "tx_spoof_drops");
    struct demo_answer a[GUESTS];
    uint64_t drops;
    int heard;

    task.count = SHOUT_COUNT;
    memcpy(task.source, stranger, 6);
    heard = shout(d, &task, a);
    drops = vf_count(d, d->first_vf, "counts", "tx_spoof_drops") - before;
    demo_report_add(&d->report, !heard && drops == SHOUT_COUNT, "a spoofed source MAC is dropped",
                    json_pack("{s:i, s:I}", "arrived", heard, "drops", (json_int_t)drops),
                    heard < 0 ? "%s" : "%s%u sent, %d arrived, %" PRIu64 " counted as spoofed",
                    heard < 0 ? pair_problem(a) : "", SHOUT_COUNT, heard, drops);
}

static void check_second_client(struct demo *d)
{
    char path[160], error[256] = "";
    uint64_t before = vf_count(d, d->first_vf, NULL, "refused_clients"), refused;
    struct driver_bus *bus = NULL;
    int ret;

    snprintf(path, sizeof path, "%s/port0-vf%u.sock", d->dir, d->first_vf);
    ret = driver_bus_vfiouser_open(path, &bus, error, sizeof error);
    if (!ret)
        bus->ops->close(bus);
    refused = vf_count(d, d->first_vf, NULL, "refused_clients") - before;
    demo_report_add(&d->report, ret == -EBUSY && refused == 1, "a second client is refused", NULL,
                    "VF %u: %s; %" PRIu64 " counted", d->first_vf,
                    ret ? strerror(-ret) : "it was let in", refused);
}

static void check_dma_fault(struct demo *d)
{
    struct demo_task task = task_for(d, 0, DEMO_OP_SHOUT);
    uint64_t faults = vf_count(d, d->first_vf, NULL, "dma_faults");
    uint64_t drops = vf_count(d, d->first_vf, "counts", "tx_fault_drops");
    struct demo_answer a[GUESTS];
    int heard;

    task.count = SHOUT_COUNT;
    task.off_mapping = true;
    heard = shout(d, &task, a);
    faults = vf_count(d, d->first_vf, NULL, "dma_faults") - faults;
    drops = vf_count(d, d->first_vf, "counts", "tx_fault_drops") - drops;
    d->faults_expected += faults;
    demo_report_add(&d->report, !heard && faults >= SHOUT_COUNT && drops == SHOUT_COUNT,
                    "DMA outside its memory is refused",
                    json_pack("{s:i, s:I, s:I}", "arrived", heard, "dma_faults", (json_int_t)faults,
                              "drops", (json_int_t)drops),
                    heard < 0 ? "%s"
                              : "%s%u frames at addresses it has not: %d arrived, %" PRIu64
                                " faults, %" PRIu64 " drops",
                    heard < 0 ? pair_problem(a) : "", SHOUT_COUNT, heard, faults, drops);
}

static void check_jumbo(struct demo *d)
{
    struct demo_answer answers[GUESTS];

    guests_close(d);
    if (guests_open(d, false, FRAME_JUMBO, answers))
        demo_report_add(&d->report, false, "jumbo frames", NULL, "%s", pair_problem(answers));
    else
        check_bulk(d, "jumbo frames to 9014 bytes", 1, DEMO_FRAME_MIN, FRAME_JUMBO);
}

static void checks_of_group(struct demo *d, const char *group, unsigned first_vf)
{
    d->report.group = group;
    d->first_vf = first_vf;
    if (!check_open(d))
        return;
    check_ping(d, "ping-pong, both sides poll", false, PING_COUNT);
    check_ping(d, "ping-pong by interrupts", true, SLEEP_COUNT);
    check_bulk(d, "bulk, every byte verified", 0, DEMO_FRAME_MIN, FRAME_NORMAL);
    check_bulk(d, "bulk the other way", 1, FRAME_NORMAL, FRAME_NORMAL);
    check_offload(d, "checksum offload", false);
    check_offload(d, "TCP segmentation offload", true);
    check_vlan(d);
    check_spoof(d);
    check_second_client(d);
    check_dma_fault(d);
    check_ping(d, "and still they talk", false, 100);
    check_jumbo(d);
    guests_close(d);
}

// --- beginning and end ---

// Ends the card as vireod is ended, and looks at what it leaves.
static void check_end(struct demo *d)
{
    json_t *stats = stats_get(d);
    uint64_t faults = (uint64_t)json_integer_value(json_object_get(stats, "iommu_faults"));
    unsigned left = 0;
    int status = 0;
    struct dirent *entry;
    DIR *dir;

    json_decref(stats);
    d->report.group = "all";
    // A fault that finds the unit's records full is counted with the function, not recorded.
    demo_report_add(&d->report, d->faults_expected && faults && faults <= d->faults_expected,
                    "no DMA fault but those provoked",
                    json_pack("{s:I, s:I}", "recorded", (json_int_t)faults, "provoked",
                              (json_int_t)d->faults_expected),
                    "%" PRIu64 " provoked, %" PRIu64 " recorded by the IOMMU", d->faults_expected,
                    faults);
    kill(d->card.pid, SIGTERM);
    waitpid(d->card.pid, &status, 0);
    d->card.pid = 0;
    dir = opendir(d->dir);
    while (dir && (entry = readdir(dir)))
        left += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
    if (dir)
        closedir(dir);
    demo_report_add(&d->report, WIFEXITED(status) && !WEXITSTATUS(status) && !left,
                    "the card ends clean", NULL, "exit status %d, %u sockets left",
                    WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), left);
}

// Whatever the card could not remove itself. Safe in a signal handler.
static void dir_remove(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    for (char vf = '0'; vf < '0' + (char)DEMO_CARD_VFS; vf++) {
        char name[] = "port0-vf?.sock";

        name[8] = vf;
        unlinkat(fd, name, 0);
    }
    unlinkat(fd, RUN_DIR_CTL, 0);
    close(fd);
    rmdir(path);
}

static struct demo *interrupted; // what a signal has to clean up after

static void on_signal(int signal_number)
{
    // The children die with us.
    if (interrupted->card.pid > 0)
        kill(interrupted->card.pid, SIGKILL);
    dir_remove(interrupted->dir);
    _exit(128 + signal_number);
}

int demo_embedded_run(bool json)
{
    const char *tmp = getenv("TMPDIR");
    uint64_t start_ns = clock_now_ns();
    struct demo d = {.card = {.fd = -1}, .guests = {{.fd = -1}, {.fd = -1}}};
    int ret;

    // A socket's path has 107 bytes.
    snprintf(d.dir, sizeof d.dir, "%s/vireo-demo-XXXXXX",
             tmp && tmp[0] && strlen(tmp) <= TMPDIR_MAX ? tmp : "/tmp");
    if (!mkdtemp(d.dir)) {
        fprintf(stderr, "vireo demo: %s: %s\n", d.dir, strerror(errno));
        return EXIT_FAILURE;
    }
    interrupted = &d;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    demo_report_init(&d.report, json);
    ret = card_spawn(&d);
    if (ret)
        demo_report_add(&d.report, false, "the card starts", NULL, "it did not: %s",
                        strerror(-ret));
    for (unsigned i = 0; !ret && i < GUESTS; i++)
        ret = guest_spawn(&d, i);
    if (!ret) {
        checks_of_group(&d, "trapped", 0);
        checks_of_group(&d, "mapped", 3);
    }
    for (unsigned i = 0; i < GUESTS; i++)
        child_end(&d.guests[i], 0); // its socket closes: it ends by itself
    if (!ret)
        check_end(&d);
    child_end(&d.card, SIGKILL);
    dir_remove(d.dir);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    return demo_report_finish(&d.report, (double)(clock_now_ns() - start_ns) / NS_PER_S);
}

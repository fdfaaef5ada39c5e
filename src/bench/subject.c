// SPDX-License-Identifier: BSD-3-Clause
#include "bench/subject.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_LEN        1024u
#define ANSWER_LIMIT_MS 60000 // a peer may have to start again for a shape
#define END_LIMIT_MS    8000

struct bench_subject {
    pid_t pid;
    int to, from; // pipes
    char line[LINE_LEN];
    size_t line_len; // what has come of the next line
};

// --- the benchmark's side ---

static _Noreturn void exec_child(char *const argv[], int in, int out, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(127);
    // Ctrl-C is the benchmark's: it ends its subjects itself.
    setpgid(0, 0);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    execv(argv[0], argv);
    dprintf(STDOUT_FILENO, "failed cannot start %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

// The next line, without its end. NULL where none comes in time.
static char *read_line(struct bench_subject *s, int limit_ms, char out[LINE_LEN])
{
    uint64_t end_ns = clock_now_ns() + (uint64_t)limit_ms * NS_PER_MS;

    for (;;) {
        struct pollfd wait = {.fd = s->from, .events = POLLIN};
        char *newline = memchr(s->line, '\n', s->line_len);
        uint64_t now_ns = clock_now_ns();
        ssize_t got;

        if (newline) {
            size_t len = (size_t)(newline - s->line);

            memcpy(out, s->line, len);
            out[len] = 0;
            s->line_len -= len + 1;
            memmove(s->line, newline + 1, s->line_len);
            return out;
        }
        if (s->line_len == sizeof s->line || now_ns >= end_ns ||
            poll(&wait, 1, (int)((end_ns - now_ns) / NS_PER_MS) + 1) != 1)
            return NULL;
        got = read(s->from, s->line + s->line_len, sizeof s->line - s->line_len);
        if (got <= 0)
            return NULL;
        s->line_len += (size_t)got;
    }
}

// What follows a word at the beginning of a line, or NULL.
static const char *after_word(const char *line, const char *word)
{
    size_t len = strlen(word);

    if (strncmp(line, word, len) || (line[len] && line[len] != ' '))
        return NULL;
    return line[len] ? line + len + 1 : line + len;
}

// What a line that is not the hoped-for one says, as -errno and a sentence.
static int refusal(const char *line, char *why, size_t why_len)
{
    static const struct {
        const char *word;
        int error;
    } words[] = {{"missing", -ENOENT}, {"no", -ENOTSUP}, {"again", -EAGAIN}, {"failed", -EIO}};

    for (unsigned i = 0; line && i < sizeof words / sizeof words[0]; i++) {
        const char *text = after_word(line, words[i].word);

        if (text) {
            snprintf(why, why_len, "%s", text);
            return words[i].error;
        }
    }
    snprintf(why, why_len, line ? "it said '%s'" : "it did not answer", line);
    return -EIO;
}

int bench_subject_start(char *const argv[], struct bench_subject **out, char *why, size_t why_len)
{
    struct bench_subject *s = calloc(1, sizeof *s);
    int to[2], from[2], ret;
    char line[LINE_LEN], *said;
    pid_t parent = getpid();

    if (!s)
        return -ENOMEM;
    if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC)) { // the process ends soon if one is left
        free(s);
        snprintf(why, why_len, "no pipe: %s", strerror(errno));
        return -errno;
    }
    s->pid = fork();
    if (!s->pid)
        exec_child(argv, to[0], from[1], parent);
    close(to[0]);
    close(from[1]);
    s->to = to[1];
    s->from = from[0];
    said = s->pid > 0 ? read_line(s, ANSWER_LIMIT_MS, line) : NULL;
    if (said && after_word(said, "ready")) {
        *out = s;
        return 0;
    }
    ret = refusal(said, why, why_len);
    bench_subject_end(s);
    return ret;
}

void bench_subject_end(struct bench_subject *s)
{
    uint64_t end_ns = clock_now_ns() + END_LIMIT_MS * NS_PER_MS;

    if (!s)
        return;
    close(s->to);
    while (s->pid > 0 && !waitpid(s->pid, NULL, WNOHANG)) {
        if (clock_now_ns() > end_ns) {
            kill(s->pid, SIGKILL);
            waitpid(s->pid, NULL, 0);
            break;
        }
        usleep(2000);
    }
    close(s->from);
    free(s);
}

// Says it, and gives the answer.
static const char *ask(struct bench_subject *s, const char *text, char line[LINE_LEN])
{
    ssize_t len = (ssize_t)strlen(text);

    return write(s->to, text, (size_t)len) == len ? read_line(s, ANSWER_LIMIT_MS, line) : NULL;
}

int bench_subject_shape(struct bench_subject *s, const struct bench_shape *shape, char *why,
                        size_t why_len)
{
    char text[128], line[LINE_LEN];
    const char *said;

    snprintf(text, sizeof text, "shape %s %u %u\n", shape->mode, shape->size_bytes, shape->ring);
    said = ask(s, text, line);
    return said && after_word(said, "ok") ? 0 : refusal(said, why, why_len);
}

int bench_subject_run(struct bench_subject *s, unsigned ms, struct bench_sample *out, char *why,
                      size_t why_len)
{
    char text[32], line[LINE_LEN];
    const char *said;

    *out = (struct bench_sample){0};
    snprintf(text, sizeof text, "run %u\n", ms);
    said = ask(s, text, line);
    if (said &&
        sscanf(said, "frames %" SCNu64 " ns %" SCNu64 " wait %lf value %lf", &out->frames, &out->ns,
               &out->wait_share, &out->value) >= 3 &&
        out->ns)
        return 0;
    return refusal(said, why, why_len);
}

// --- the subject's side ---

static void answer_shape(const struct bench_subject_ops *ops, void *ctx, const char *line)
{
    char why[BENCH_WHY_LEN] = "";
    struct bench_shape shape;
    int ret;

    if (sscanf(line, "shape %31s %u %u", shape.mode, &shape.size_bytes, &shape.ring) != 3) {
        printf("failed not understood\n");
        return;
    }
    ret = ops->shape(ctx, &shape, why, sizeof why);
    if (!ret)
        printf("ok\n");
    else
        printf("%s %s\n", ret == -ENOTSUP ? "no" : "failed", why[0] ? why : strerror(-ret));
}

static void answer_run(const struct bench_subject_ops *ops, void *ctx, const char *line)
{
    char why[BENCH_WHY_LEN] = "";
    struct bench_sample sample = {0};
    unsigned ms;
    int ret = -EINVAL;

    if (sscanf(line, "run %u", &ms) == 1)
        ret = ops->run(ctx, ms, &sample, why, sizeof why);
    if (ret)
        printf("%s %s\n", ret == -EAGAIN ? "again" : "failed", why[0] ? why : strerror(-ret));
    else
        printf("frames %" PRIu64 " ns %" PRIu64 " wait %.4f value %.6f\n", sample.frames, sample.ns,
               sample.wait_share, sample.value);
}

int bench_subject_serve(const struct bench_subject_ops *ops, void *ctx)
{
    char line[LINE_LEN];

    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("ready\n");
    while (fgets(line, sizeof line, stdin) && !after_word(line, "end\n")) {
        if (after_word(line, "shape"))
            answer_shape(ops, ctx, line);
        else if (after_word(line, "run"))
            answer_run(ops, ctx, line);
        else
            printf("failed not understood\n");
    }
    ops->end(ctx);
    return EXIT_SUCCESS;
}

int bench_cpu(const char *variable)
{
    const char *text = getenv(variable);

    return text && *text ? atoi(text) : -1;
}

void bench_cpu_bind(const char *variable)
{
    int cpu = bench_cpu(variable);
    cpu_set_t set;

    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

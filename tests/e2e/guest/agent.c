// SPDX-License-Identifier: BSD-3-Clause
// Runs the harness's commands inside a test guest, over a serial line.
//
//   harness to agent:  "RUN id limit_s length\n" and length bytes of shell script
//                      "KILL id\n"
//   agent to harness:  "HELLO 1\n" when it starts
//                      "DONE id code length\n" and length bytes: stdout and stderr together
//
// Commands run side by side, each in its own process group; code is the exit code, 128 + n after
// signal n, and 124 where the limit ran out. Usage: agent TTY
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX         16
#define SCRIPT_MAX_BYTES 65536
#define OUTPUT_MAX_BYTES (1024 * 1024)

struct job {
    unsigned id;
    pid_t pid; // 0: a free place
    int fd;    // read end of its output, -1 after end of file
    char *output;
    size_t output_len_bytes;
    time_t deadline_s;
    bool exited, timed_out;
    int status;
};

static struct job jobs[JOBS_MAX];
static int tty;

static time_t now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

static void fail(const char *what)
{
    fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void tty_write(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(tty, data, len);

        if (n < 0 && errno != EINTR)
            fail("write");
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
}

static void reply(unsigned id, int code, const char *output, size_t len)
{
    char line[64];
    int n = snprintf(line, sizeof(line), "DONE %u %d %zu\n", id, code, len);

    tty_write(line, (size_t)n);
    tty_write(output, len);
}

static void job_start(unsigned id, unsigned limit_s, char *script)
{
    struct job *job = NULL;
    int ends[2];

    for (int i = 0; i < JOBS_MAX; i++) {
        if (jobs[i].pid == 0) {
            job = &jobs[i];
            break;
        }
    }
    if (!job || pipe2(ends, O_CLOEXEC) < 0) {
        const char *text = "agent: cannot start another job\n";

        reply(id, 126, text, strlen(text));
        return;
    }
    *job = (struct job){.id = id, .fd = ends[0], .deadline_s = now_s() + (time_t)limit_s};
    job->output = malloc(OUTPUT_MAX_BYTES);
    job->pid = fork();
    if (!job->output || job->pid < 0)
        fail("fork");
    if (job->pid == 0) {
        int null = open("/dev/null", O_RDONLY);
        sigset_t none;

        // A shell whose children's ends are kept from it would wait for them for ever.
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        setpgid(0, 0);
        dup2(null, 0);
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        execl("/bin/sh", "sh", "-c", script, (char *)NULL);
        _exit(127);
    }
    setpgid(job->pid, job->pid); // in both, so that a KILL cannot come before it
    close(ends[1]);
}

static void job_read(struct job *job)
{
    char spill[4096];
    size_t room = OUTPUT_MAX_BYTES - job->output_len_bytes;
    ssize_t n = room > 0 ? read(job->fd, job->output + job->output_len_bytes, room)
                         : read(job->fd, spill, sizeof(spill));

    if (n > 0 && room > 0)
        job->output_len_bytes += (size_t)n;
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
        close(job->fd);
        job->fd = -1;
    }
}

// A job is over when its shell is, even where something in the background still holds the pipe.
static void job_finish(struct job *job)
{
    int code = WIFEXITED(job->status) ? WEXITSTATUS(job->status) : 128 + WTERMSIG(job->status);

    if (job->fd >= 0) {
        fcntl(job->fd, F_SETFL, O_NONBLOCK);
        for (size_t before = SIZE_MAX; job->fd >= 0 && before != job->output_len_bytes;) {
            before = job->output_len_bytes;
            job_read(job);
        }
        if (job->fd >= 0)
            close(job->fd);
    }
    reply(job->id, job->timed_out ? 124 : code, job->output, job->output_len_bytes);
    free(job->output);
    job->pid = 0;
}

static void reap(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (int i = 0; i < JOBS_MAX; i++) {
            if (jobs[i].pid == pid && !jobs[i].exited) {
                jobs[i].exited = true;
                jobs[i].status = status;
            }
        }
    }
    for (int i = 0; i < JOBS_MAX; i++) {
        if (jobs[i].pid != 0 && !jobs[i].exited && now_s() >= jobs[i].deadline_s) {
            jobs[i].timed_out = true;
            kill(-jobs[i].pid, SIGKILL);
        }
        if (jobs[i].pid != 0 && jobs[i].exited)
            job_finish(&jobs[i]);
    }
}

// Takes one whole request off the front of the buffer. Returns the bytes used, 0: not whole yet.
static size_t request_take(char *data, size_t len)
{
    char *newline = memchr(data, '\n', len);
    unsigned id, limit_s, script_len;

    if (!newline)
        return 0;
    *newline = '\0';
    size_t line_len = (size_t)(newline - data) + 1;
    if (sscanf(data, "KILL %u", &id) == 1) {
        for (int i = 0; i < JOBS_MAX; i++) {
            if (jobs[i].pid != 0 && jobs[i].id == id && !jobs[i].exited)
                kill(-jobs[i].pid, SIGTERM);
        }
        return line_len;
    }
    if (sscanf(data, "RUN %u %u %u", &id, &limit_s, &script_len) != 3 ||
        script_len >= SCRIPT_MAX_BYTES)
        return line_len; // noise on the line
    if (len - line_len < script_len) {
        *newline = '\n';
        return 0;
    }
    char *script = strndup(newline + 1, script_len);
    if (!script)
        fail("strndup");
    job_start(id, limit_s, script);
    free(script);
    return line_len + script_len;
}

static void tty_open(const char *path)
{
    struct termios t;

    tty = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (tty < 0 || tcgetattr(tty, &t) < 0)
        fail(path);
    cfmakeraw(&t);
    t.c_cflag |= CLOCAL;
    cfsetspeed(&t, B115200);
    if (tcsetattr(tty, TCSANOW, &t) < 0)
        fail(path);
}

static void child_exited(int signal_number)
{
    (void)signal_number; // interrupts poll(); reap() does the work
}

int main(int argc, char **argv)
{
    static char buffer[2 * SCRIPT_MAX_BYTES];
    size_t len = 0;
    struct sigaction act = {.sa_handler = child_exited};
    sigset_t chld, none;

    if (argc != 2)
        return 2;
    sigemptyset(&none);
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL); // delivered in ppoll() only, so that none is missed
    sigaction(SIGCHLD, &act, NULL);
    tty_open(argv[1]);
    tty_write("HELLO 1\n", 8);
    for (;;) {
        struct pollfd fds[JOBS_MAX + 1] = {{.fd = tty, .events = POLLIN}};
        struct timespec tick = {.tv_sec = 1};

        for (int i = 0; i < JOBS_MAX; i++) {
            fds[i + 1] =
                (struct pollfd){.fd = jobs[i].pid != 0 ? jobs[i].fd : -1, .events = POLLIN};
        }
        if (ppoll(fds, JOBS_MAX + 1, &tick, &none) < 0) {
            if (errno != EINTR)
                fail("poll");
            reap();
            continue;
        }
        for (int i = 0; i < JOBS_MAX; i++) {
            if (fds[i + 1].revents)
                job_read(&jobs[i]);
        }
        if (fds[0].revents) {
            ssize_t n = read(tty, buffer + len, sizeof(buffer) - len);
            size_t used;

            if (n <= 0 && errno != EINTR)
                fail("read");
            len += n > 0 ? (size_t)n : 0;
            while ((used = request_take(buffer, len)) > 0) {
                len -= used;
                memmove(buffer, buffer + used, len);
            }
            if (len == sizeof(buffer))
                len = 0; // a line longer than any request
        }
        reap();
    }
}

// SPDX-License-Identifier: BSD-3-Clause
// A whole daemon in a process of its own, two well-behaved VF drivers that exchange traffic through
// it all the time, and a third client that does the worst a VM or its process can do. After each
// attack: the daemon lives, the neighbours' traffic has gone on and is intact, and the attacker's
// VF can be assigned again.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine/config.h"
#include "machine/machine.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/le.h"
#include "driver/vf.h"
#include "hw82599/mailbox.h"
#include "hw82599/regs.h"
#include "mem/space.h"
#include "vfiouser/client.h"

#define VF_TRAPPED      2u // the attacker's
#define VF_MAPPED       3u
#define MEMORY_BYTES    (8u << 20)
#define MEMORY_IOVA     0x40000000ull
#define TALK_FRAMES     300u // that the neighbours must exchange after an attack
#define TALK_TIMEOUT_MS 20000u
#define FRAME_BYTES     600u
#define RING_LEN        256u
#define WINDOW_FRAMES   32u // on their way at most
#define REGION_BAR0     0u
#define REGION_CONFIG   7u
#define IRQ_MSIX        2u

static const char config_text[] =
    "seed = \"neighbours\"; log_level = \"error\"; ports = ({ uplink = { kind = \"null\"; }; vfs = "
    "4;"
    "  vf = ({ index = 1; doorbells = \"mapped\"; }, { index = 3; doorbells = \"mapped\"; }); });";

static char dir[] = "/tmp/vireo-neighbours-XXXXXX";
static pid_t daemon_pid;
static pthread_t talker;
static atomic_bool talker_stop;
static _Atomic uint64_t frames_good, frames_bad;
static uint32_t random_state = 1;

// ---- The daemon

static void daemon_run(int ready_fd)
{
    static struct card_config config;
    struct machine *machine;
    sd_event *loop = NULL;
    char error[512] = "";
    sigset_t signals;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    log_set_level(LOG_LEVEL_ERROR);
    if (card_config_parse(config_text, strlen(config_text), "test", &config, error, sizeof error) ||
        mem_sigbus_install() || sd_event_default(&loop) < 0 ||
        sd_event_add_signal(loop, NULL, SIGTERM, NULL, NULL) < 0 ||
        machine_create(&config, dir, loop, &machine, error, sizeof error)) {
        fprintf(stderr, "daemon: %s\n", error);
        _exit(1);
    }
    if (write(ready_fd, "r", 1) != 1)
        _exit(1);
    close(ready_fd);
    if (sd_event_loop(loop) < 0)
        _exit(2);
    machine_destroy(machine);
    sd_event_unref(loop);
    exit(0); // not _exit: a leak is a failure too
}

static void socket_path(char *path, size_t len, unsigned vf)
{
    snprintf(path, len, "%s/port0-vf%u.sock", dir, vf);
}

// ---- The neighbours: VF 0 and VF 1

struct neighbour {
    struct driver_bus *bus;
    struct vf_driver *vf;
    uint8_t mac[6];
    uint32_t sent, expected;
    unsigned unheard; // frames received since the card has certainly heard of their room
};

static struct neighbour neighbours[2];

static void neighbour_open(struct neighbour *n, unsigned vf)
{
    const struct vf_config config = {.queue_count = 1,
                                     .ring_len = RING_LEN,
                                     .buffer_count = 600,
                                     .buffer_bytes = 2048,
                                     .frame_bytes_max = 1514,
                                     .reset_timeout_ms = 5000};
    char path[108], error[256] = "";

    socket_path(path, sizeof path, vf);
    if (driver_bus_vfiouser_open(path, &n->bus, error, sizeof error) ||
        vf_driver_open(n->bus, &config, &n->vf, error, sizeof error))
        fail_msg("VF %u: %s", vf, error);
    vf_driver_mac(n->vf, n->mac);
}

static void frame_fill(uint8_t *data, uint32_t sequence)
{
    le32_put(data + 16, sequence);
    for (unsigned i = 20; i < FRAME_BYTES; i++)
        data[i] = (uint8_t)(sequence * 31 + i);
}

static bool neighbour_send(struct neighbour *n, const struct neighbour *to)
{
    struct vf_buffer *b = vf_buffer_alloc(n->vf);

    if (!b)
        return false;
    memcpy(b->data, to->mac, 6);
    memcpy(b->data + 6, n->mac, 6);
    memcpy(b->data + 12, "\x88\xb5\0\0", 4); // EtherType for local experiments
    frame_fill(b->data, n->sent);
    b->len_bytes = FRAME_BYTES;
    b->flags = 0;
    b->next = NULL;
    if (vf_send(n->vf, 0, &b, 1) == 1) {
        n->sent++;
        return true;
    }
    vf_buffer_free(n->vf, b);
    return false;
}

static void bad_frame_say(const uint8_t *data, uint32_t expected)
{
    uint32_t sequence = le32_get(data + 16);
    uint8_t want[FRAME_BYTES];

    frame_fill(want, sequence);
    print_error("frame %u where %u was due; its bytes %s\n", sequence, expected,
                memcmp(data + 16, want + 16, FRAME_BYTES - 16) ? "are not its own" : "are whole");
}

// Only frames of the other neighbour count; each must be the next one, byte for byte.
static void neighbour_receive(struct neighbour *n, const struct neighbour *from)
{
    struct vf_buffer *got[32];
    unsigned count = vf_receive(n->vf, 0, got, ARRAY_LEN(got));
    uint8_t want[FRAME_BYTES];

    for (unsigned i = 0; i < count; i++) {
        if (got[i]->len_bytes == FRAME_BYTES && !memcmp(got[i]->data + 6, from->mac, 6)) {
            frame_fill(want, n->expected);
            if (memcmp(got[i]->data + 16, want + 16, FRAME_BYTES - 16)) {
                if (!frames_bad++)
                    bad_frame_say(got[i]->data, n->expected);
            } else
                frames_good++;
            n->expected = le32_get(got[i]->data + 16) + 1;
        }
        vf_buffer_free(n->vf, got[i]);
    }
    // The tail of a ring is written without waiting for an answer, and a daemon that gets little of
    // the machine may read it late. A read is behind it.
    n->unheard += count;
    if (n->unheard >= RING_LEN / 4) {
        driver_reg_read(n->bus, HW_VFSTATUS);
        n->unheard = 0;
    }
}

static void *talk(void *arg)
{
    (void)arg;
    while (!talker_stop) {
        for (unsigned i = 0; i < 2; i++) {
            struct neighbour *n = &neighbours[i], *other = &neighbours[!i];

            // A window well within the ring, so that nothing is dropped for want of descriptors
            // (of which the card knows: see neighbour_receive()).
            if (n->sent - other->expected < WINDOW_FRAMES)
                neighbour_send(n, other);
            neighbour_receive(n, other);
        }
        usleep(20);
    }
    return NULL;
}

static void neighbours_must_talk(void)
{
    uint64_t start = frames_good, deadline_ns = clock_now_ns() + TALK_TIMEOUT_MS * NS_PER_MS;

    while (frames_good - start < TALK_FRAMES && clock_now_ns() < deadline_ns)
        usleep(1000);
    assert_true(frames_good - start >= TALK_FRAMES);
    assert_int_equal(frames_bad, 0);
    assert_int_equal(waitpid(daemon_pid, NULL, WNOHANG), 0);
}

// ---- The attacker: a VF through the raw client, with memory whose file it holds

struct attacker {
    struct vfiouser_client *client;
    int fd;
    uint8_t *memory;
};

static struct vfiouser_client *held; // by the attacker of now

static uint32_t random_u32(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static void reg_write(struct attacker *a, uint32_t offset, uint32_t value)
{
    uint8_t bytes[4];

    le32_put(bytes, value);
    vfiouser_client_write(a->client, REGION_BAR0, offset, bytes, 4, true);
}

static uint32_t reg_read(struct attacker *a, uint32_t offset)
{
    uint8_t bytes[4] = {0};

    vfiouser_client_read(a->client, REGION_BAR0, offset, bytes, 4);
    return le32_get(bytes);
}

// As a VM that just lost the VF to a crash would be followed: it may take the daemon a moment to
// see that the last holder is gone.
static void attacker_open(struct attacker *a, unsigned vf)
{
    char path[108], error[256] = "";
    uint8_t command[2];
    int ret = -1;

    socket_path(path, sizeof path, vf);
    for (unsigned i = 0; i < 2000 && ret; i++) {
        ret = vfiouser_client_open(path, &a->client, error, sizeof error);
        if (ret)
            usleep(10000);
    }
    if (ret)
        fail_msg("VF %u: %s", vf, error);
    held = a->client;
    a->fd = memfd_create("attacker", MFD_CLOEXEC);
    assert_true(a->fd >= 0);
    assert_int_equal(ftruncate(a->fd, MEMORY_BYTES), 0);
    a->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0);
    assert_true(a->memory != MAP_FAILED);
    assert_int_equal(
        vfiouser_client_dma_map(a->client, MEMORY_IOVA, MEMORY_BYTES, a->fd, 0, true, true), 0);
    le16_put(command, 0x6);
    assert_int_equal(vfiouser_client_write(a->client, REGION_CONFIG, 4, command, 2, false), 0);
}

static void attacker_close(struct attacker *a)
{
    vfiouser_client_close(a->client);
    held = NULL;
    munmap(a->memory, MEMORY_BYTES);
    close(a->fd);
}

// After an attack that failed: so that the next one has its VF, and says something of its own.
static int attack_end(void **state)
{
    (void)state;
    if (held)
        vfiouser_client_close(held);
    held = NULL;
    frames_bad = 0;
    return 0;
}

// VF_RESET through the mailbox: from then on the PF lets the VF send.
static void attacker_handshake(struct attacker *a)
{
    uint64_t deadline_ns = clock_now_ns() + 5 * NS_PER_S;

    reg_write(a, HW_VFCTRL, HW_VFCTRL_RST);
    usleep(10000);
    reg_write(a, HW_VFMAILBOX, HW_VFMAILBOX_VFU);
    reg_write(a, HW_VFMBMEM(0), HW_MSG_VF_RESET);
    reg_write(a, HW_VFMAILBOX, HW_VFMAILBOX_REQ);
    while (!(reg_read(a, HW_VFMAILBOX) & HW_VFMAILBOX_PFSTS)) {
        assert_true(clock_now_ns() < deadline_ns);
        usleep(1000);
    }
    reg_write(a, HW_VFMAILBOX, HW_VFMAILBOX_ACK);
}

// Both rings of queue 0 at `iova`, `len_bytes` each.
static void attacker_rings(struct attacker *a, uint64_t iova, uint32_t len_bytes)
{
    reg_write(a, HW_VFTDBAL(0), (uint32_t)iova);
    reg_write(a, HW_VFTDBAH(0), (uint32_t)(iova >> 32));
    reg_write(a, HW_VFTDLEN(0), len_bytes);
    reg_write(a, HW_VFTXDCTL(0), HW_TXDCTL_ENABLE);
    reg_write(a, HW_VFRDBAL(0), (uint32_t)(iova + len_bytes));
    reg_write(a, HW_VFRDBAH(0), (uint32_t)(iova >> 32));
    reg_write(a, HW_VFRDLEN(0), len_bytes);
    reg_write(a, HW_VFRXDCTL(0), HW_RXDCTL_ENABLE);
    reg_read(a, HW_VFSTATUS); // with mapped pages: they are sampled now
}

// ---- The attacks; each for both doorbell forms

static void test_memory_file_truncated(void **state)
{
    static const unsigned vfs[] = {VF_TRAPPED, VF_MAPPED};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(vfs); i++) {
        struct attacker a;
        uint64_t deadline_ns = clock_now_ns() + 5 * NS_PER_S;

        attacker_open(&a, vfs[i]);
        attacker_handshake(&a);
        attacker_rings(&a, MEMORY_IOVA, 4096);
        assert_int_equal(ftruncate(a.fd, 0), 0);
        reg_write(&a, HW_VFTDT(0), 100); // the daemon now touches memory that is gone
        // It costs the attacker its device, and nobody else anything.
        while (!vfiouser_client_is_lost(a.client) && clock_now_ns() < deadline_ns) {
            reg_read(&a, HW_VFSTATUS);
            usleep(1000);
        }
        assert_true(vfiouser_client_is_lost(a.client));
        neighbours_must_talk();
        attacker_close(&a);
        attacker_open(&a, vfs[i]);
        attacker_close(&a);
    }
}

static void test_random_registers(void **state)
{
    (void)state;
    for (unsigned vf = VF_TRAPPED; vf <= VF_MAPPED; vf++) {
        struct attacker a;

        attacker_open(&a, vf);
        attacker_handshake(&a);
        for (unsigned i = 0; i < 20000; i++) {
            uint32_t value = random_u32();

            reg_write(&a, random_u32() % 16384 & ~3u, i & 1 ? value : value >> (value & 31));
            if (i % 512 == 0)
                reg_read(&a, random_u32() % 16384 & ~3u);
        }
        neighbours_must_talk();
        attacker_close(&a);
    }
}

static void test_random_descriptors(void **state)
{
    (void)state;
    for (unsigned vf = VF_TRAPPED; vf <= VF_MAPPED; vf++) {
        struct attacker a;

        attacker_open(&a, vf);
        attacker_handshake(&a);
        for (unsigned round = 0; round < 50; round++) {
            attacker_rings(&a, MEMORY_IOVA + (round % 8) * 128, 65536);
            for (unsigned i = 0; i < 131072 / 4; i++)
                le32_put(a.memory + i * 4, random_u32());
            // Half the rounds: addresses in range, so that most packets are whole but strange.
            for (unsigned i = 0; round & 1 && i < 131072 / 16; i++)
                le64_put(a.memory + i * 16, MEMORY_IOVA + random_u32() % (2 * MEMORY_BYTES));
            reg_write(&a, HW_VFRDT(0), random_u32() % 4096);
            reg_write(&a, HW_VFTDT(0), random_u32() % 4096);
            reg_read(&a, HW_VFSTATUS);
            usleep(2000);
            reg_write(&a, HW_VFTXDCTL(0), 0);
            reg_write(&a, HW_VFRXDCTL(0), 0);
        }
        neighbours_must_talk();
        attacker_close(&a);
    }
}

static void test_mailbox_storm(void **state)
{
    struct attacker a;

    (void)state;
    attacker_open(&a, VF_TRAPPED);
    attacker_handshake(&a);
    for (unsigned i = 0; i < 3000; i++) {
        for (unsigned w = 0; w < 4; w++)
            reg_write(&a, HW_VFMBMEM(w), w || i & 1 ? random_u32() : random_u32() & 0x1f);
        reg_write(&a, HW_VFMAILBOX, random_u32() & 0xff);
        if (i % 64 == 0)
            reg_read(&a, HW_VFMAILBOX);
    }
    neighbours_must_talk();
    // The mailbox itself comes back with a reset.
    attacker_handshake(&a);
    attacker_close(&a);
}

static void descriptors_fill(struct attacker *a, unsigned count)
{
    for (unsigned d = 0; d < count; d++) {
        le64_put(a->memory + d * 16, MEMORY_IOVA + 0x10000);
        le32_put(a->memory + d * 16 + 8, 0x2b000000 | 1500); // data, DEXT, RS, EOP, FCS
        le32_put(a->memory + d * 16 + 12, 1500u << 14);
    }
}

// All up to there, though perhaps not at once.
static void attacker_has_sent(struct attacker *a, uint32_t head)
{
    uint64_t deadline_ns = clock_now_ns() + TALK_TIMEOUT_MS * NS_PER_MS;

    while (reg_read(a, HW_VFTDH(0)) != head && clock_now_ns() < deadline_ns)
        usleep(1000);
    assert_int_equal(reg_read(a, HW_VFTDH(0)), head);
}

// The eventfd for its interrupts is shared with the daemon, flags and count too: full, and with
// O_NONBLOCK cleared, a write to it blocks. The control thread (VTEICS) and the worker (a packet
// sent) both have signals for it.
static void test_interrupts_that_would_block(void **state)
{
    const uint64_t full = UINT64_MAX - 1;
    struct attacker a;
    int fd = eventfd(0, EFD_CLOEXEC), fds[3] = {fd, fd, fd};

    (void)state;
    for (unsigned vf = VF_TRAPPED; vf <= VF_MAPPED; vf++) {
        uint64_t count = 0;

        attacker_open(&a, vf);
        attacker_handshake(&a);
        assert_int_equal(vfiouser_client_set_irqs(a.client, IRQ_MSIX, 0, 3, fds), 0);
        attacker_rings(&a, MEMORY_IOVA, 4096);
        descriptors_fill(&a, 256);
        reg_write(&a, HW_VTEIAC, HW_VTEICR_MASK);
        reg_write(&a, HW_VTIVAR(0), HW_IVAR_VALID | HW_IVAR_VALID << 8);
        reg_write(&a, HW_VTEIMS, HW_VTEICR_MASK);
        reg_write(&a, HW_VTEICS, HW_VTEICR_MASK);
        reg_read(&a, HW_VFSTATUS);
        assert_int_equal(read(fd, &count, sizeof count), sizeof count); // they do arrive
        assert_int_equal(write(fd, &full, sizeof full), sizeof full);
        assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
        for (unsigned i = 1; i < 256; i++) {
            reg_write(&a, HW_VTEICS, HW_VTEICR_MASK);
            reg_write(&a, HW_VFTDT(0), i);
            usleep(100);
        }
        neighbours_must_talk();
        attacker_has_sent(&a, 255);
        assert_int_equal(read(fd, &count, sizeof count), sizeof count);
        assert_true(count > full); // signalled since
        attacker_close(&a);
    }
    close(fd);
}

static void test_unmap_under_dma(void **state)
{
    struct attacker a;

    (void)state;
    attacker_open(&a, VF_TRAPPED);
    attacker_handshake(&a);
    for (unsigned i = 0; i < 200; i++) {
        attacker_rings(&a, MEMORY_IOVA, 4096);
        descriptors_fill(&a, 256);
        reg_write(&a, HW_VFTDT(0), 255);
        assert_int_equal(vfiouser_client_dma_unmap(a.client, MEMORY_IOVA, MEMORY_BYTES), 0);
        assert_int_equal(
            vfiouser_client_dma_map(a.client, MEMORY_IOVA, MEMORY_BYTES, a.fd, 0, true, true), 0);
        reg_write(&a, HW_VFTXDCTL(0), 0);
        reg_write(&a, HW_VFRXDCTL(0), 0);
    }
    neighbours_must_talk();
    attacker_close(&a);
}

// A range may end with the address space, where its end is 0.
static void test_unmap_to_the_end(void **state)
{
    struct attacker a;

    (void)state;
    attacker_open(&a, VF_TRAPPED);
    assert_int_equal(
        vfiouser_client_dma_unmap(a.client, MEMORY_IOVA + 0x1000, -(MEMORY_IOVA + 0x1000)),
        -EINVAL); // half of a map
    assert_int_equal(vfiouser_client_dma_map(a.client, 0x1000, -0x1000ull, -1, 0, true, true),
                     -EEXIST);
    assert_int_equal(vfiouser_client_dma_unmap(a.client, MEMORY_IOVA, -MEMORY_IOVA), 0);
    assert_int_equal(
        vfiouser_client_dma_map(a.client, MEMORY_IOVA, MEMORY_BYTES, a.fd, 0, true, true), 0);
    neighbours_must_talk();
    attacker_close(&a);
}

static void test_config_and_resets(void **state)
{
    struct attacker a;
    uint8_t bytes[4];

    (void)state;
    attacker_open(&a, VF_TRAPPED);
    for (unsigned i = 0; i < 3000; i++) {
        le32_put(bytes, random_u32());
        vfiouser_client_write(a.client, REGION_CONFIG, random_u32() % 4096 & ~3u, bytes, 4, false);
        if (i % 100 == 0)
            assert_int_equal(vfiouser_client_reset(a.client), 0);
    }
    neighbours_must_talk();
    attacker_close(&a);
}

static void test_gone_in_the_middle(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        struct attacker a;

        attacker_open(&a, i & 1 ? VF_MAPPED : VF_TRAPPED);
        attacker_handshake(&a);
        attacker_rings(&a, MEMORY_IOVA, 4096);
        reg_write(&a, HW_VFTDT(0), 200);
        attacker_close(&a);
    }
    neighbours_must_talk();
}

// ---- Set-up

static int setup(void **state)
{
    int ready[2];
    char byte;

    (void)state;
    if (!mkdtemp(dir) || pipe(ready))
        return -1;
    daemon_pid = fork();
    if (daemon_pid < 0)
        return -1;
    if (!daemon_pid) {
        close(ready[0]);
        daemon_run(ready[1]);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        return -1;
    close(ready[0]);
    for (unsigned i = 0; i < 2; i++)
        neighbour_open(&neighbours[i], i);
    return pthread_create(&talker, NULL, talk, NULL);
}

static int teardown(void **state)
{
    int status = -1;

    (void)state;
    talker_stop = true;
    pthread_join(talker, NULL);
    for (unsigned i = 0; i < 2; i++) {
        vf_driver_close(neighbours[i].vf);
        neighbours[i].bus->ops->close(neighbours[i].bus);
    }
    kill(daemon_pid, SIGTERM);
    waitpid(daemon_pid, &status, 0);
    if (status)
        print_error("the daemon ended with status %#x\n", status);
    return status || rmdir(dir); // rmdir fails where a socket is left
}

int main(void)
{
#define ATTACK(test) cmocka_unit_test_teardown(test, attack_end)
    const struct CMUnitTest tests[] = {
        ATTACK(test_memory_file_truncated),
        ATTACK(test_random_registers),
        ATTACK(test_random_descriptors),
        ATTACK(test_mailbox_storm),
        ATTACK(test_interrupts_that_would_block),
        ATTACK(test_unmap_under_dma),
        ATTACK(test_unmap_to_the_end),
        ATTACK(test_config_and_resets),
        ATTACK(test_gone_in_the_middle),
    };
    return cmocka_run_group_tests_name("neighbours", tests, setup, teardown);
}

// SPDX-License-Identifier: BSD-3-Clause
// The data path alone, in one thread, for a profiler: two VFs with mapped doorbells send to each
// other, 32 frames a batch, and nic_worker_poll() moves them. Counts of instructions do not depend
// on who else uses the machine:
//
//   valgrind --tool=callgrind --toggle-collect=nic_worker_poll profile_datapath 64 20000
//   callgrind_annotate callgrind.out.PID
//
// Without valgrind it prints the best time a frame over short rounds: warm caches, one core.
// Usage: profile_datapath BYTES FRAMES [udp|raw [RING]]
// RING: 256, or 1024, where the buffers cycle through a larger working set.
#define TEST_MEM_BYTES (64u << 20)
#include "nic/profile_card.h"

#include <stdio.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/le.h"
#include "hw82599/desc.h"
#include "nic/doorbell.h"

#define VFS          2u
#define RING_MAX     1024u
#define BATCH        32u
#define BUFFER_BYTES 10240u
#define RING_BYTES   (RING_MAX * 16u)
#define RINGS        0u            // VF 0 rx, tx, VF 1 rx, tx
#define BUFFERS      0x200000u     // in 2 MiB pages, as a pool of any size would be
#define ROUND        (64u * BATCH) // frames between two looks at the clock

static uint32_t ring_len = 256;

struct side {
    uint8_t *page;
    unsigned rx, tx;
    uint64_t received;
};

static uint32_t ring_at(unsigned vf, bool tx)
{
    return RINGS + (vf * 2 + tx) * RING_BYTES;
}

static uint32_t buffer_at(unsigned vf, bool tx, unsigned i)
{
    return BUFFERS + ((vf * 2 + tx) * ring_len + i) * BUFFER_BYTES;
}

static void frame_make(uint8_t *out, unsigned from, uint32_t len, bool udp)
{
    static const uint8_t ip[] = {0x08, 0,  0x45, 0, 0, 0,  0, 0, 0x40, 0, 64, 17, 0,
                                 0,    10, 0,    0, 1, 10, 0, 0, 2,    0, 53, 0,  53};

    memset(out, 0x5a, len);
    vf_mac(!from, out);
    vf_mac(from, out + 6);
    out[12] = 0x88;
    out[13] = 0xb5;
    if (udp) {
        memcpy(out + 12, ip, sizeof ip);
        out[16] = (uint8_t)((len - 14) >> 8);
        out[17] = (uint8_t)(len - 14);
    }
}

static void guest_write(struct side *s, uint32_t offset, uint32_t value)
{
    le32_put(s->page + offset - NIC_DOORBELL_BAR_OFFSET, value);
}

static void side_start(struct test_card *t, struct side *s, unsigned vf, uint32_t len, bool udp)
{
    s->page = mmap(NULL, NIC_DOORBELL_LEN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                   nic_doorbell_fd(t->port->doorbells[vf]), NIC_DOORBELL_BAR_OFFSET);
    assert(s->page != MAP_FAILED);
    for (unsigned i = 0; i < ring_len; i++) {
        frame_make(t->mem + buffer_at(vf, true, i), vf, len, udp);
        le64_put(t->mem + ring_at(vf, false) + 16 * i, TEST_IOVA + buffer_at(vf, false, i));
    }
    guest_write(s, HW_VFRDBAL(0), (uint32_t)TEST_IOVA + ring_at(vf, false));
    guest_write(s, HW_VFRDLEN(0), ring_len * 16);
    guest_write(s, HW_VFSRRCTL(0),
                BUFFER_BYTES / 1024 | HW_SRRCTL_DESCTYPE_ADV << HW_SRRCTL_DESCTYPE_SHIFT);
    guest_write(s, HW_VFRXDCTL(0), HW_RXDCTL_ENABLE | HW_RXDCTL_VME);
    guest_write(s, HW_VFRDT(0), ring_len - 1);
    guest_write(s, HW_VFTDBAL(0), (uint32_t)TEST_IOVA + ring_at(vf, true));
    guest_write(s, HW_VFTDLEN(0), ring_len * 16);
    guest_write(s, HW_VFTXDCTL(0), HW_TXDCTL_ENABLE);
}

static void side_send(struct test_card *t, struct side *s, unsigned vf, uint32_t len)
{
    for (unsigned n = 0; n < BATCH; n++) {
        uint8_t *desc = t->mem + ring_at(vf, true) + 16 * s->tx;

        le64_put(desc, TEST_IOVA + buffer_at(vf, true, s->tx));
        le32_put(desc + 8, HW_TXD_DEXT | HW_TXD_TYPE_DATA | HW_TXD_IFCS | HW_TXD_EOP |
                               (n == BATCH - 1 ? HW_TXD_RS : 0) | len);
        le32_put(desc + 12, len << HW_TXO_PAYLEN_SHIFT);
        s->tx = (s->tx + 1) % ring_len;
    }
    guest_write(s, HW_VFTDT(0), s->tx);
}

static void side_receive(struct test_card *t, struct side *s, unsigned vf)
{
    for (;;) {
        uint8_t *desc = t->mem + ring_at(vf, false) + 16 * s->rx;

        if (!(le32_get(desc + 8) & HW_RXS_DD))
            break;
        le64_put(desc, TEST_IOVA + buffer_at(vf, false, s->rx));
        le64_put(desc + 8, 0);
        guest_write(s, HW_VFRDT(0), s->rx);
        s->rx = (s->rx + 1) % ring_len;
        s->received++;
    }
}

int main(int argc, char **argv)
{
    uint32_t len = argc > 1 ? (uint32_t)atoi(argv[1]) : 64;
    uint64_t frames = argc > 2 ? (uint64_t)atoll(argv[2]) : 1000000, done, best_ns = UINT64_MAX;
    struct test_card *t = test_card_open(1, VFS, NIC_DOORBELLS_MAPPED);
    struct side side[VFS] = {0};

    if (argc > 4)
        ring_len = (uint32_t)atoi(argv[4]);
    assert(len >= 60 && len <= 9014 && ring_len >= 2 * BATCH && ring_len <= RING_MAX &&
           !(ring_len % 8));
    test_card_start_pf(t, 2);
    filters_start(t);
    for (unsigned vf = 0; vf < VFS; vf++)
        side_start(t, &side[vf], vf, len, argc > 3 && !strcmp(argv[3], "udp"));
    nic_worker_poll(t->worker);
    for (done = 0; done < frames; done += ROUND) {
        uint64_t spent_ns = 0;

        for (unsigned n = 0; n < ROUND; n += VFS * BATCH) {
            uint64_t start_ns;

            for (unsigned vf = 0; vf < VFS; vf++)
                side_send(t, &side[vf], vf, len);
            start_ns = clock_now_ns();
            nic_worker_poll(t->worker);
            spent_ns += clock_now_ns() - start_ns;
            for (unsigned vf = 0; vf < VFS; vf++)
                side_receive(t, &side[vf], vf);
        }
        if (spent_ns < best_ns)
            best_ns = spent_ns;
    }
    printf("%llu frames of %u bytes, %llu arrived; at best %.1f ns a frame\n",
           (unsigned long long)done, len, (unsigned long long)(side[0].received + side[1].received),
           (double)best_ns / ROUND);
    test_card_close(t);
    return side[0].received + side[1].received != done;
}

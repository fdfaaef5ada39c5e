// SPDX-License-Identifier: BSD-3-Clause
// Two hostile VFs: register cycles of every width anywhere in their BAR0, mailbox words, rings and
// descriptors made of whatever the input says, resets and loss of bus mastering, with the worker
// polled in between; trapped and mapped doorbells. Afterwards: the gate is open, and no register
// changed that is not a VF's own.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fuzz.h"

#include "base/le.h"
#include "base/log.h"
#include "nic/doorbell.h"
#include "nic/regs.h"
#include "nic/test_card.h"
#include "nic/vfwin.h"

#define OP_LEN      8u // what, which VF, offset (16 bits), value (32 bits)
#define OPS_MAX     512u
#define MORE_OPS    48u
#define VFS         2u
#define FRAME_BYTES 256u
#define RING_LEN    64u                  // descriptors of the rings that the harness sets up
#define RINGS       TEST_IOVA            // 4 KiB each: VF 0 rx, tx, VF 1 rx, tx
#define SCRATCH     (TEST_IOVA + 0x8000) // buffers

static uint32_t known[512]; // offsets of VF registers
static unsigned known_count;

static void find_known(void)
{
    for (uint32_t at = 0; at < HW_VF_BAR_BYTES && !known[511]; at += 4) {
        unsigned index;

        if (nic_vfwin_find(at, &index) != HW_VFROW_NONE)
            known[known_count++] = at;
    }
}

// Rings that work, so that the input starts from traffic and not from nothing.
static void start_rings(struct test_card *t, unsigned vf)
{
    uint64_t rx = RINGS + vf * 0x2000, tx = rx + 0x1000;

    for (unsigned i = 0; i < RING_LEN; i++) {
        uint8_t *desc = t->mem + (tx - TEST_IOVA) + 16 * i;
        uint8_t *frame = t->mem + (SCRATCH - TEST_IOVA) + i * FRAME_BYTES;

        le64_put(t->mem + (rx - TEST_IOVA) + 16 * i, SCRATCH + 0x10000 + i * 2048);
        le64_put(desc, SCRATCH + i * FRAME_BYTES);
        le32_put(desc + 8, 0x2b300000 | FRAME_BYTES); // data, EOP, RS, one frame
        le32_put(desc + 12, FRAME_BYTES << 14);
        // To everybody, to the other VF, to somebody on the cable.
        memset(frame, i % 3 ? 0 : 0xff, 6);
        if (i % 3) {
            frame[0] = 2;
            frame[3] = i % 3 == 1 ? (uint8_t)(2 - vf) : 9;
        }
        le16_put(frame + 12, 0x0008);
    }
    vf_write(t, vf, HW_VFRDBAL(0), (uint32_t)rx);
    vf_write(t, vf, HW_VFRDLEN(0), RING_LEN * 16);
    vf_write(t, vf, HW_VFSRRCTL(0), HW_SRRCTL_DESCTYPE_ADV << HW_SRRCTL_DESCTYPE_SHIFT | 2);
    vf_write(t, vf, HW_VFRXDCTL(0), HW_RXDCTL_ENABLE | HW_RXDCTL_VME);
    vf_write(t, vf, HW_VFRDT(0), RING_LEN - 1);
    vf_write(t, vf, HW_VFTDBAL(0), (uint32_t)tx);
    vf_write(t, vf, HW_VFTDLEN(0), RING_LEN * 16);
    vf_write(t, vf, HW_VFTXDCTL(0), HW_TXDCTL_ENABLE);
    vf_write(t, vf, HW_VTIVAR(0), 0x80808080);
    vf_write(t, vf, HW_VTIVAR_MISC, 0x82);
    vf_write(t, vf, HW_VTEIMS, 7);
}

// One card of each kind for all inputs: building one takes longer than most inputs. A function
// level reset of the PF takes its VFs and everything that they left behind with it.
static struct test_card *start(enum nic_doorbells doorbells)
{
    static struct test_card *cards[2];
    struct test_card *t = cards[doorbells];

    if (!t) {
        t = cards[doorbells] = test_card_open(1, VFS, doorbells);
    } else {
        pf_config_write(t, HW_CAP_PCIE + 8, 2, 0x8000);
        memset(t->mem, 0, TEST_MEM_BYTES);
        test_card_enable_pf(t, 0);
        test_card_enable_vfs(t, 0, VFS);
    }
    test_card_start_pf(t, 2);
    for (unsigned vf = 0; vf < VFS; vf++) {
        pf_write(t, HW_RAL(1 + vf), 0x00000002 | (vf + 1) << 24);
        pf_write(t, HW_RAH(1 + vf), HW_RAH_AV);
        pf_write(t, HW_MPSAR_LO(1 + vf), 1u << vf);
        pf_write(t, HW_PFVML2FLT(vf),
                 HW_PFVML2FLT_AUPE | HW_PFVML2FLT_BAM | HW_PFVML2FLT_MPE | HW_PFVML2FLT_ROMPE);
        start_rings(t, vf);
    }
    nic_worker_poll(t->worker);
    return t;
}

// A 16-byte descriptor of the ring the harness made: its words come from the input, its address
// mostly leads into memory.
static void put_descriptor(struct test_card *t, unsigned vf, uint16_t at, uint32_t value)
{
    uint8_t *desc = t->mem + vf * 0x2000 + 0x1000 + at % RING_LEN * 16;
    uint64_t addr = SCRATCH + (value & 0xffff);
    // Mostly a data descriptor that ends a packet, else a context, else as it comes.
    uint32_t command = at & 0x8000 ? value : at & 0x4000 ? 0x20200000 : 0x2b300000;

    if (at & 0x2000)
        addr = (uint64_t)value << 20 | at;
    le64_put(desc, addr);
    le32_put(desc + 8, command | (value >> 16 & 0x3fff));
    le32_put(desc + 12, (value >> 18 & 0x3fff) << 14 | (at >> 6 & 0x7f) << 8);
}

static void op(struct test_card *t, const uint8_t *in)
{
    unsigned vf = in[1] % VFS;
    uint16_t at = le16_get(in + 2);
    uint32_t value = le32_get(in + 4);
    uint64_t bar = TEST_VF_BAR0 + vf * HW_VF_BAR_BYTES;
    uint32_t offset = known[at % known_count];

    switch (in[0] % 16) {
    case 0: // anywhere, any width
        pci_mem_write(t->seg, bar + (at & 0x3ff8), 8, value | (uint64_t)value << 32);
        break;
    case 1:
        pci_mem_write(t->seg, bar + (at & 0x3fff & ~1u), 2, value & 0xffff);
        pci_mem_read(t->seg, bar + (at & 0x3fff), 1);
        break;
    case 2:
        vf_read(t, vf, at & 0x3ffc);
        vf_read(t, vf, offset);
        break;
    case 3:
    case 4:
    case 5:
        vf_write(t, vf, offset, value);
        break;
    case 6: // a tail: mostly one that makes sense
        value = at & 0xf0 ? value % RING_LEN : value;
        vf_write(t, vf, at & 1 ? HW_VFRDT(at >> 1 & 1) : HW_VFTDT(at >> 1 & 1), value);
        nic_worker_poll(t->worker);
        break;
    case 7:
        put_descriptor(t, vf, at, value);
        break;
    case 8: // frame bytes
        le32_put(t->mem + (SCRATCH - TEST_IOVA) + (at & 0xfffc), value);
        break;
    case 9: // rings and buffers, as they come
        le32_put(t->mem + (at & 0x3ffc), value);
        break;
    case 10:
        vf_write(t, vf, HW_VFMBMEM(at % 16), value);
        vf_write(t, vf, HW_VFMAILBOX, value >> 24);
        break;
    case 11: // the PF answers
        pf_write(t, HW_PFMAILBOX(vf), value & 0x1f);
        pf_write(t, HW_PFMBICR(0), value);
        break;
    case 12:
        if (at % 4 == 0)
            pci_config_write(t->seg, test_card_vf_rid(0, vf), HW_CAP_PCIE + 8, 2, 0x8000);
        else
            pci_config_write(t->seg, test_card_vf_rid(0, vf), 4, 2, value & 4);
        break;
    case 13:
        if (t->port->doorbells[vf]) {
            // The guest's own stores: no cycle at all. The mapping is the harness's.
            int fd = nic_doorbell_fd(t->port->doorbells[vf]);
            uint8_t *pages =
                mmap(NULL, NIC_DOORBELL_LEN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

            MUST(pages != MAP_FAILED);
            le32_put(pages + (at & 0x1ffc), value);
            munmap(pages, NIC_DOORBELL_LEN_BYTES);
        }
        break;
    case 14:
        if (at & 3)
            vf_write(t, vf, HW_VFTDT(0), at >> 8 & (RING_LEN - 1));
        else
            start_rings(t, vf); // what the input broke
        nic_worker_poll(t->worker);
        break;
    default:
        nic_worker_poll(t->worker);
        break;
    }
}

// A short run of the fuzzer knows only short inputs: goes on from where this one ends, the same way
// every time.
static void go_on(struct test_card *t, const uint8_t *data, size_t len)
{
    uint64_t x = 0x9e3779b97f4a7c15;
    uint8_t in[OP_LEN];

    for (size_t i = 0; i < len; i++)
        x = (x ^ data[i]) * 0x100000001b3;
    x |= 1;
    for (unsigned i = 0; i < MORE_OPS; i++) {
        le64_put(in, fuzz_random(&x));
        op(t, in);
    }
}

// What a VF may have changed: its queues, its pool, its bits of the mailbox.
static bool is_vfs_own(enum hw_row row, unsigned index)
{
    switch (row) {
    case HW_ROW_PSRTYPE:
        return index < VFS;
    case HW_ROW_PFMBICR:
    case HW_ROW_PFVFLRE:
        return index == 0;
    default:
        return row != HW_ROW_NONE && nic_regs_count(row) == HW_QUEUES && index < VFS * 2;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint32_t before[NIC_REGS_LEN_BYTES / 4];
    struct test_card *t;

    log_set_level(LOG_LEVEL_ERROR);
    if (!len)
        return 0;
    if (!known_count)
        find_known();
    t = start(data[0] & 1 ? NIC_DOORBELLS_MAPPED : NIC_DOORBELLS_TRAPPED);
    memcpy(before, t->port->regs, sizeof before);
    for (size_t at = 1, ops = 0; at + OP_LEN <= len && ops < OPS_MAX; at += OP_LEN, ops++)
        op(t, data + at);
    go_on(t, data, len);
    for (unsigned i = 0; i < 4; i++)
        nic_worker_poll(t->worker);
    MUST(!gate_is_closed(&t->gate));
    for (uint32_t at = 0; at < NIC_REGS_LEN_BYTES; at += 4) {
        unsigned index;
        enum hw_row row = nic_regs_find(at, &index);

        if (before[at / 4] != t->port->regs[at / 4])
            MUST(is_vfs_own(row, index));
    }
    return 0;
}

#ifdef VIREO_FUZZ_REPLAY
int main(int argc, char **argv)
{
    static uint8_t buf[1 + 256 * OP_LEN];

    return fuzz_replay(argc, argv, 200, buf, sizeof buf);
}
#endif

// SPDX-License-Identifier: BSD-3-Clause
// The VF driver's data path alone, without a card, for a profiler: descriptors are filled and
// reported here as a card would, 32 frames are received and sent on from where they lie. Counts of
// instructions do not depend on who else uses the machine:
//
//   valgrind --tool=callgrind --toggle-collect=vf_receive profile_vf 640000
//   valgrind --tool=callgrind --toggle-collect=vf_send profile_vf 640000
//
// Usage: profile_vf FRAMES
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/vf_state.h"
#include "hw82599/regs.h"

#define RING_LEN    256u
#define BATCH       32u
#define FRAME_BYTES 60u

static uint8_t bar[HW_VF_BAR_BYTES];

static int dma_alloc(struct driver_bus *bus, uint64_t len_bytes, struct driver_dma *out)
{
    void *host = aligned_alloc(4096, (len_bytes + 4095) / 4096 * 4096);

    (void)bus;
    if (!host)
        return -1;
    memset(host, 0, len_bytes);
    *out = (struct driver_dma){.host = host, .iova = (uintptr_t)host, .len_bytes = len_bytes};
    return 0;
}

static const struct driver_bus_ops ops = {.dma_alloc = dma_alloc};

// The card's side: a batch arrives, and what was sent is reported where a report was asked for.
static void card(struct vf_driver *vf, unsigned *received, unsigned *sent)
{
    for (unsigned i = 0; i < BATCH; i++) {
        volatile uint64_t *words = vf->rx[0].ring[*received].words;

        words[0] = 0;
        words[1] = htole64((uint64_t)FRAME_BYTES << 32 | HW_RXS_EOP | HW_RXS_DD);
        *received = (*received + 1) % RING_LEN;
    }
    for (; *sent != vf->tx[0].use; *sent = (*sent + 1) % RING_LEN) {
        volatile struct hw_tx_data_desc *desc = &vf->tx[0].ring[*sent].data;

        if (le32toh(desc->cmd_type_len) & HW_TXD_RS)
            desc->olinfo_status = htole32(HW_TXO_DD);
    }
}

int main(int argc, char **argv)
{
    static struct driver_bus bus = {.ops = &ops, .mapped = bar, .mapped_len = sizeof bar};
    static struct vf_driver vf = {
        .bus = &bus,
        .config = {.queue_count = 1,
                   .ring_len = RING_LEN,
                   .buffer_bytes = 2048,
                   .frame_bytes_max = 1514,
                   .buffer_count = 2048},
    };
    unsigned long frames = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned received = 0, sent = 0;

    if (!frames) {
        fprintf(stderr, "usage: profile_vf FRAMES\n");
        return EXIT_FAILURE;
    }
    if (vf_pool_create(&bus, 2048, 2048, &vf.pool) || vf_rx_create(&vf, 0) || vf_tx_create(&vf, 0))
        return EXIT_FAILURE;
    for (unsigned long done = 0; done < frames; done += BATCH) {
        struct vf_buffer *b[BATCH];

        card(&vf, &received, &sent);
        if (vf_receive(&vf, 0, b, BATCH) != BATCH || vf_send(&vf, 0, b, BATCH) != BATCH)
            return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

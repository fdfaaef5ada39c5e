// SPDX-License-Identifier: BSD-3-Clause
// The VF driver against the PF driver, over the test card's mailbox; the test plays the card on the
// rings. For test_vf*.c.
#ifndef VIREO_DRIVER_TEST_VF_FIXTURE_H
#define VIREO_DRIVER_TEST_VF_FIXTURE_H

#include "driver/test_pf_fixture.h"

#include "driver/vf.h"

struct vf_fixture {
    struct pf_fixture pf;
    struct test_vf_bus *bus;
    struct vf_config config;
    struct vf_driver *vf;
};

static inline void run_pf(void *ctx)
{
    struct pf_fixture *f = ctx;
    static bool inside;

    // The PF's own accesses raise nothing, but be sure.
    if (!inside && f->pf) {
        inside = true;
        pf_driver_service(f->pf);
        inside = false;
    }
}

static inline void vf_fixture_init(struct vf_fixture *f)
{
    *f = (struct vf_fixture){0};
    fixture_init(&f->pf);
    f->bus = &f->pf.card->vf[0];
    f->config = (struct vf_config){
        .queue_count = 1,
        .ring_len = 64,
        .buffer_count = 100,
        .buffer_bytes = 2048,
        .frame_bytes_max = 1514,
        .reset_timeout_ms = 50,
    };
}

static inline int vf_fixture_try(struct vf_fixture *f, char *error, size_t error_len)
{
    f->pf.card->on_event = run_pf;
    f->pf.card->on_event_ctx = &f->pf;
    return vf_driver_open(&f->bus->bus, &f->config, &f->vf, error, error_len);
}

static inline void vf_fixture_open(struct vf_fixture *f)
{
    char error[200] = "";
    int ret;

    fixture_open(&f->pf);
    ret = vf_fixture_try(f, error, sizeof error);
    if (ret)
        print_error("%s\n", error);
    assert_int_equal(ret, 0);
}

static inline void vf_fixture_end(struct vf_fixture *f)
{
    vf_driver_close(f->vf);
    assert_int_equal(f->bus->dma_count, 0); // gave all memory back
    f->pf.card->on_event = NULL;
    fixture_end(&f->pf);
}

static inline uint32_t vf_reg(const struct vf_fixture *f, uint32_t offset)
{
    return f->bus->regs[offset / 4];
}

// Where the card finds what the driver put at `iova`: [iova, iova + len) must lie in its memory.
static inline void *card_memory(const struct vf_fixture *f, uint64_t iova, uint64_t len)
{
    for (unsigned i = 0; i < f->bus->dma_count; i++) {
        const struct driver_dma *dma = &f->bus->dma[i];

        if (bits_range_within(iova, len, dma->iova, dma->len_bytes))
            return (uint8_t *)dma->host + (iova - dma->iova);
    }
    fail_msg("the card would have faulted at %llx", (unsigned long long)iova);
    return NULL;
}

static inline unsigned pool_size(struct vf_driver *vf)
{
    struct vf_buffer *all = NULL, *b;
    unsigned n = 0;

    while ((b = vf_buffer_alloc(vf))) {
        b->next = all;
        all = b;
        n++;
    }
    vf_buffer_free(vf, all);
    return n;
}

// A buffer of one frame, or of a piece of one.
static inline struct vf_buffer *make_frame(struct vf_driver *vf, unsigned len)
{
    struct vf_buffer *b = vf_buffer_alloc(vf);

    assert_non_null(b);
    b->len_bytes = (uint16_t)len;
    return b;
}

#endif

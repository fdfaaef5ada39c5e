// SPDX-License-Identifier: BSD-3-Clause
// The VF driver under a PF that gives no MAC: Linux ixgbe, where no administrator set one.
#include "driver/test_pf_fixture.h"

#include <errno.h>
#include <string.h>

#include "driver/vf.h"

// Our PF driver, whose answer to VF_RESET becomes ixgbe's.
static void run_pf_without_mac(void *ctx)
{
    struct pf_fixture *f = ctx;
    static bool inside;
    uint32_t *words = f->card->mailbox[0].words;

    if (inside)
        return;
    inside = true;
    pf_driver_service(f->pf);
    if (words[0] == (HW_MSG_VF_RESET | HW_MSG_ACK)) {
        words[0] = HW_MSG_VF_RESET | HW_MSG_NACK;
        words[1] = words[2] = 0;
    }
    inside = false;
}

static int open_vf(struct pf_fixture *f, bool trusted, struct vf_driver **vf, char *error,
                   size_t error_len)
{
    static const struct vf_config config = {.queue_count = 1,
                                            .ring_len = 64,
                                            .buffer_count = 100,
                                            .buffer_bytes = 2048,
                                            .frame_bytes_max = 1514,
                                            .reset_timeout_ms = 50};

    fixture_init(f);
    f->config.vf[0].trusted = trusted;
    fixture_open(f);
    f->card->on_event = run_pf_without_mac;
    f->card->on_event_ctx = f;
    return vf_driver_open(&f->card->vf[0].bus, &config, vf, error, error_len);
}

static void test_chosen(void **state)
{
    uint8_t macs[2][6];
    char error[200];

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct pf_fixture f;
        struct vf_driver *vf;

        assert_int_equal(open_vf(&f, true, &vf, error, sizeof error), 0);
        vf_driver_mac(vf, macs[i]);
        assert_int_equal(macs[i][0] & 3, 2); // locally administered, no group
        // The PF knows it: the filter of VF 0 is the second.
        assert_int_equal(test_card_reg(f.card, HW_RAL(1)),
                         (uint32_t)macs[i][0] | (uint32_t)macs[i][1] << 8 |
                             (uint32_t)macs[i][2] << 16 | (uint32_t)macs[i][3] << 24);
        vf_driver_close(vf);
        f.card->on_event = NULL;
        fixture_end(&f);
    }
    assert_memory_not_equal(macs[0], macs[1], 6);
}

static void test_refused(void **state)
{
    struct pf_fixture f;
    struct vf_driver *vf = NULL;
    char error[200] = "";

    (void)state;
    assert_int_equal(open_vf(&f, false, &vf, error, sizeof error), -EPERM);
    assert_null(vf);
    assert_non_null(strstr(error, "no MAC given"));
    f.card->on_event = NULL;
    fixture_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chosen),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/le.h"
#include "vfiouser/message.h"
#include "vfiouser/version.h"

// The payload that carries `json`, with its NUL.
static size_t payload_put(uint8_t *payload, uint16_t major, uint16_t minor, const char *json)
{
    le16_put(payload, major);
    le16_put(payload + 2, minor);
    strcpy((char *)payload + 4, json);
    return 4 + strlen(json) + 1;
}

// What QEMU 11.1 says, word for word.
static const char qemu_json[] =
    "{\"capabilities\": {\"max_msg_fds\": 16, \"max_data_xfer_size\": 1048576, "
    "\"max_dma_maps\": 65535, \"pgsizes\": 4096, \"write_multiple\": true, "
    "\"migration\": {\"pgsize\": 4096, \"max_bitmap_size\": 268435456}}}";

static void test_qemu(void **state)
{
    struct vfiouser_version theirs, agreed, read_back;
    uint8_t payload[512];
    const char *why;
    size_t len = payload_put(payload, 0, 1, qemu_json);
    int n;

    (void)state;
    assert_int_equal(vfiouser_version_parse(payload, len, &theirs, &why), 0);
    assert_int_equal(theirs.named, BIT(VFIOUSER_CAPS) - 1);
    assert_int_equal(vfiouser_version_agree(&theirs, &agreed), 0);
    n = vfiouser_version_build(payload, sizeof payload, &agreed);
    assert_true(n > 4);
    assert_int_equal(payload[n - 1], 0);
    assert_null(strstr((char *)payload + 4, "migration"));
    assert_int_equal(vfiouser_version_parse(payload, (size_t)n, &read_back, &why), 0);
    assert_int_equal(read_back.caps[VFIOUSER_CAP_MAX_MSG_FDS], 16);
    assert_int_equal(read_back.caps[VFIOUSER_CAP_MAX_DATA_XFER_SIZE], 1048576);
    assert_int_equal(read_back.caps[VFIOUSER_CAP_PGSIZES], 4096);
    assert_int_equal(read_back.caps[VFIOUSER_CAP_WRITE_MULTIPLE], 1);
}

static void test_lengths(void **state)
{
    struct vfiouser_version v;
    uint8_t payload[512];
    const char *why;
    size_t len = payload_put(payload, 0, 1, "{}");

    (void)state;
    assert_int_equal(vfiouser_version_parse(NULL, 0, &v, &why), -EINVAL);
    for (size_t cut = 0; cut < 4; cut++)
        assert_int_equal(vfiouser_version_parse(payload, cut, &v, &why), -EINVAL);
    assert_int_equal(vfiouser_version_parse(payload, 4, &v, &why), 0); // the data are optional
    assert_int_equal(v.named, 0);
    assert_int_equal(v.caps[VFIOUSER_CAP_MAX_MSG_FDS], 1);
    assert_int_equal(vfiouser_version_parse(payload, len - 1, &v, &why), -EINVAL); // no NUL
    assert_int_equal(vfiouser_version_parse(payload, len, &v, &why), 0);
    payload[len] = 0; // a second NUL
    assert_int_equal(vfiouser_version_parse(payload, len + 1, &v, &why), -EINVAL);
    assert_int_equal(vfiouser_version_parse(payload, 5, &v, &why), -EINVAL);
    payload[4] = 0; // empty text is not JSON
    assert_int_equal(vfiouser_version_parse(payload, 5, &v, &why), -EINVAL);
}

static void test_bad_json(void **state)
{
    static const char *const bad[] = {
        "{",
        "[]",
        "null",
        "{} {}",
        "{\"capabilities\": []}",
        "{\"capabilities\": 1}",
        "{\"capabilities\": {\"max_msg_fds\": \"16\"}}",
        "{\"capabilities\": {\"max_msg_fds\": 0}}",
        "{\"capabilities\": {\"max_msg_fds\": -1}}",
        "{\"capabilities\": {\"max_msg_fds\": 1.5}}",
        "{\"capabilities\": {\"max_msg_fds\": 99999999999999999999}}",
        "{\"capabilities\": {\"pgsizes\": 8192}}",
        "{\"capabilities\": {\"pgsizes\": 2048}}",
        "{\"capabilities\": {\"write_multiple\": 1}}",
        "{\"capabilities\": {}, \"capabilities\": {}}",
        "{\"capabilities\": {\"max_msg_fds\": 1, \"max_msg_fds\": 2}}",
        "{\"a\": \"\\u0000\xff\"}",
    };
    struct vfiouser_version v;
    uint8_t payload[512];
    const char *why;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        size_t len = payload_put(payload, 0, 1, bad[i]);

        if (vfiouser_version_parse(payload, len, &v, &why) != -EINVAL)
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(why);
    }
}

// As deep as a VERSION can nest must not end the stack.
static void test_deep_json(void **state)
{
    static uint8_t payload[VFIOUSER_VERSION_MAX];
    struct vfiouser_version v;
    const char *why;

    (void)state;
    memset(payload, '[', sizeof payload);
    le32_put(payload, 0x10000);
    payload[sizeof payload - 1] = 0;
    assert_int_equal(vfiouser_version_parse(payload, sizeof payload, &v, &why), -EINVAL);
}

static void test_agree(void **state)
{
    struct vfiouser_version theirs, agreed;
    uint8_t payload[512];
    const char *why;
    size_t len = payload_put(payload, 0, 7,
                             "{\"capabilities\": {\"max_data_xfer_size\": 100, "
                             "\"pgsizes\": 2101248, \"max_msg_fds\": 1, \"new\": {}}}");

    (void)state;
    assert_int_equal(vfiouser_version_parse(payload, len, &theirs, &why), 0);
    assert_int_equal(vfiouser_version_agree(&theirs, &agreed), 0);
    assert_int_equal(agreed.minor, 1);
    assert_int_equal(agreed.caps[VFIOUSER_CAP_MAX_DATA_XFER_SIZE], 100);
    assert_int_equal(agreed.caps[VFIOUSER_CAP_PGSIZES], 4096);
    assert_int_equal(agreed.caps[VFIOUSER_CAP_MAX_MSG_FDS], 16);
    // A subset of what the client named.
    assert_int_equal(agreed.named, BIT(VFIOUSER_CAP_MAX_DATA_XFER_SIZE) |
                                       BIT(VFIOUSER_CAP_PGSIZES) | BIT(VFIOUSER_CAP_MAX_MSG_FDS));
    theirs.minor = 0;
    assert_int_equal(vfiouser_version_agree(&theirs, &agreed), 0);
    assert_int_equal(agreed.minor, 0);
    theirs.major = 1;
    assert_int_equal(vfiouser_version_agree(&theirs, &agreed), -EINVAL);
}

static void test_build_room(void **state)
{
    struct vfiouser_version ours;
    uint8_t payload[512];
    int n;

    (void)state;
    vfiouser_version_ours(&ours);
    n = vfiouser_version_build(payload, sizeof payload, &ours);
    assert_true(n > 4);
    assert_int_equal(vfiouser_version_build(payload, (size_t)n, &ours), n);
    assert_int_equal(vfiouser_version_build(payload, (size_t)n - 1, &ours), -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qemu),     cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_bad_json), cmocka_unit_test(test_deep_json),
        cmocka_unit_test(test_agree),    cmocka_unit_test(test_build_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: BSD-3-Clause
#include "vfiouser/version.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "base/bits.h"
#include "base/le.h"
#include "vfiouser/message.h"

static const struct {
    const char *name;
    uint64_t default_value, ours;
    bool is_bool, is_mask; // neither: a limit, of which the smaller holds
} caps[VFIOUSER_CAPS] = {
    [VFIOUSER_CAP_MAX_MSG_FDS] = {"max_msg_fds", 1, VFIOUSER_FDS_MAX, false, false},
    [VFIOUSER_CAP_MAX_DATA_XFER_SIZE] = {"max_data_xfer_size", VFIOUSER_DATA_MAX, VFIOUSER_DATA_MAX,
                                         false, false},
    [VFIOUSER_CAP_MAX_DMA_MAPS] = {"max_dma_maps", VFIOUSER_DMA_MAPS, VFIOUSER_DMA_MAPS, false,
                                   false},
    [VFIOUSER_CAP_PGSIZES] = {"pgsizes", VFIOUSER_PAGE, VFIOUSER_PAGE, false, true},
    [VFIOUSER_CAP_WRITE_MULTIPLE] = {"write_multiple", 0, 1, true, false},
};

void vfiouser_version_ours(struct vfiouser_version *out)
{
    out->major = VFIOUSER_VERSION_MAJOR;
    out->minor = VFIOUSER_VERSION_MINOR;
    out->named = BIT(VFIOUSER_CAPS) - 1;
    for (unsigned i = 0; i < VFIOUSER_CAPS; i++)
        out->caps[i] = caps[i].ours;
}

static int capabilities_parse(json_t *object, struct vfiouser_version *out, const char **why)
{
    for (unsigned i = 0; i < VFIOUSER_CAPS; i++) {
        json_t *value = json_object_get(object, caps[i].name);

        if (!value)
            continue;
        if (caps[i].is_bool) {
            if (!json_is_boolean(value)) {
                *why = "a capability that must be a boolean is none";
                return -EINVAL;
            }
            out->caps[i] = json_is_true(value);
        } else {
            if (!json_is_integer(value) || json_integer_value(value) <= 0) {
                *why = "a capability that must be a positive integer is none";
                return -EINVAL;
            }
            out->caps[i] = (uint64_t)json_integer_value(value);
        }
        out->named |= BIT(i);
    }
    return 0;
}

static int json_parse(const char *text, struct vfiouser_version *out, const char **why)
{
    json_error_t error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    json_t *object;
    int err = -EINVAL;

    if (!json_is_object(root)) {
        *why = "version data is not a JSON object";
    } else {
        object = json_object_get(root, "capabilities");
        if (!object)
            err = 0;
        else if (!json_is_object(object))
            *why = "capabilities are not a JSON object";
        else
            err = capabilities_parse(object, out, why);
    }
    json_decref(root);
    return err;
}

int vfiouser_version_parse(const uint8_t *payload, size_t len, struct vfiouser_version *out,
                           const char **why)
{
    const char *text; // only where there is a payload at all
    size_t text_len;
    int err;

    *why = "too short";
    if (len < sizeof(struct vfiouser_wire_version))
        return -EINVAL;
    out->major = le16_get(payload);
    out->minor = le16_get(payload + 2);
    out->named = 0;
    for (unsigned i = 0; i < VFIOUSER_CAPS; i++)
        out->caps[i] = caps[i].default_value;
    text = (const char *)payload + sizeof(struct vfiouser_wire_version);
    text_len = len - sizeof(struct vfiouser_wire_version);
    if (!text_len)
        return 0;
    *why = "version data does not end with its only NUL";
    if (strnlen(text, text_len) != text_len - 1)
        return -EINVAL;
    err = json_parse(text, out, why);
    if (err)
        return err;
    *why = "4096 byte pages are not among pgsizes";
    return out->caps[VFIOUSER_CAP_PGSIZES] & VFIOUSER_PAGE ? 0 : -EINVAL;
}

int vfiouser_version_agree(const struct vfiouser_version *client, struct vfiouser_version *out)
{
    vfiouser_version_ours(out);
    if (client->major != out->major)
        return -EINVAL;
    if (client->minor < out->minor)
        out->minor = client->minor;
    out->named = client->named;
    for (unsigned i = 0; i < VFIOUSER_CAPS; i++) {
        if (caps[i].is_mask)
            out->caps[i] &= client->caps[i];
        else if (client->caps[i] < out->caps[i])
            out->caps[i] = client->caps[i];
    }
    // Each side's own limit of what it can receive; the client's does not bound ours.
    out->caps[VFIOUSER_CAP_MAX_MSG_FDS] = caps[VFIOUSER_CAP_MAX_MSG_FDS].ours;
    return 0;
}

int vfiouser_version_build(uint8_t *payload, size_t size, const struct vfiouser_version *in)
{
    json_t *object = json_object();
    json_t *root = json_pack("{s:o?}", "capabilities", object);
    size_t fixed = sizeof(struct vfiouser_wire_version);
    size_t text_len = 0;
    char *text = NULL;
    int err = root ? 0 : -ENOMEM;

    for (unsigned i = 0; i < VFIOUSER_CAPS && !err; i++) {
        if (!(in->named & BIT(i)))
            continue;
        if (json_object_set_new(object, caps[i].name,
                                caps[i].is_bool ? json_boolean(in->caps[i])
                                                : json_integer((json_int_t)in->caps[i])))
            err = -ENOMEM;
    }
    if (!err) {
        text = json_dumps(root, JSON_COMPACT);
        err = text ? 0 : -ENOMEM;
    }
    if (!err) {
        text_len = strlen(text) + 1;
        if (size < fixed + text_len)
            err = -ENOSPC;
    }
    if (!err) {
        le16_put(payload, in->major);
        le16_put(payload + 2, in->minor);
        memcpy(payload + fixed, text, text_len);
        err = (int)(fixed + text_len);
    }
    free(text);
    json_decref(root);
    return err;
}

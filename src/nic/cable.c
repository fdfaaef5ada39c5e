// SPDX-License-Identifier: BSD-3-Clause
#include "nic/cable.h"

#include <string.h>

#include "base/bits.h"
#include "hw82599/desc.h"
#include "nic/delivery.h"
#include "nic/path.h"
#include "nic/port.h"
#include "nic/sum.h"

#define ETHER_HEADER_LEN 14u
#define IP_PROTO_TCP     6u
#define IP_PROTO_UDP     17u

#define LEN_MIN NIC_PATH_KEY_LEN

// A batch of frames.
struct batch {
    struct nic_port *port;
    const struct nic_path *path; // the last frame's
    struct nic_delivery to;
    struct nic_cable_sums sums;
    uint32_t xsum_errors;
};

// The pseudo-header's sum, of a packet whose L4 part has `l4_len` bytes.
static uint64_t pseudo_sum(const struct nic_path *path, const uint8_t *data, uint32_t l4_len)
{
    uint64_t sum = nic_sum_word(path->l4_protocol) + nic_sum_word(l4_len), w;

    if (path->ip_version == 4) {
        memcpy(&w, data + ETHER_HEADER_LEN + 12, sizeof w);
        return sum + (w & UINT32_MAX) + (w >> 32);
    }
    return sum + nic_sum(data + ETHER_HEADER_LEN + 8, 32);
}

// Copies a frame whose IP packet ends at `end`, and returns what is said of its L4 checksum, as
// nic_frame_verify_l4() has it. The bytes are read once more than they are copied where the head is
// concerned: nobody else writes them.
static uint32_t copy_and_verify(const struct nic_path *path, uint8_t *dst, const uint8_t *data,
                                uint32_t len, uint32_t end)
{
    uint32_t at = path->l4_offset, wrong = 0;
    uint64_t sum;

    if (!path->ip_version) {
        memcpy(dst, data, len);
        return 0;
    }
    if (path->l4_protocol == IP_PROTO_UDP && !data[at + 6] && !data[at + 7]) {
        // None was made over IPv4; over IPv6 there must be one (RFC 8200 §8.1).
        memcpy(dst, data, len);
        return path->ip_version == 4 ? 0 : HW_RXS_L4CS | HW_RXE_L4E;
    }
    nic_copy_head(dst, data, at); // 34 or 54
    sum = nic_sum_copy(dst + at, data + at, end - at);
    if (end < len)
        memcpy(dst + end, data + end, len - end);
    if (nic_sum_fold(sum + pseudo_sum(path, data, end - at)) != 0xffff)
        wrong = HW_RXE_L4E;
    return HW_RXS_L4CS | wrong;
}

// One frame. False, with nothing done, where it cannot go this way.
static bool receive_one(struct batch *b, const struct uplink_frame *in)
{
    const struct nic_path *path = b->path;
    uint32_t len = in->len_bytes, status, end = 0;
    const uint8_t *data = in->data;
    uint8_t *dst;

    if (len < LEN_MIN)
        return false;
    if (unlikely(!path || !nic_path_matches(path, data, 0))) {
        path = nic_path_find(&b->port->derived, b->port->cable_paths, NIC_SOURCE_UPLINK, data, len,
                             len, 0);
        // SCTP has a checksum of another kind.
        if (!path || (path->ip_version && path->l4_protocol != IP_PROTO_TCP &&
                      path->l4_protocol != IP_PROTO_UDP))
            return false;
        b->path = path;
    }
    status = path->rx_status;
    if (path->ip_version &&
        unlikely(!nic_path_check_ip(path, data + NIC_PATH_L3_OFFSET, len, &status, &end)))
        return false;
    dst = nic_delivery_buffer(&b->to, path->queue, len);
    if (unlikely(!dst))
        return false;
    status |= copy_and_verify(path, dst, data, len, end);
    if (unlikely(status & (HW_RXE_IPE | HW_RXE_L4E)))
        b->xsum_errors++;
    nic_delivery_fill(&b->to, path->rx_low, status, len);
    nic_cable_note(&b->sums, len);
    b->sums.broadcast += path->broadcast;
    return true;
}

unsigned nic_cable_receive(struct nic_port *port, const struct uplink_frame *in, unsigned count)
{
    struct batch b = {.port = port};
    struct nic_totals *total;
    unsigned n;

    if (port->cable_general_only)
        return 0;
    b.to.port = port;
    b.to.lane = nic_lane_of_cable(port);
    total = &port->counters.total[b.to.lane->index];
    for (n = 0; n < count && receive_one(&b, in + n); n++) {
    }
    nic_delivery_leave(&b.to);
    if (!n)
        return 0;
    nic_cable_add_rx(total, &b.sums);
    nic_count(&total->rx_l3_l4_xsum_errors, b.xsum_errors);
    return n;
}

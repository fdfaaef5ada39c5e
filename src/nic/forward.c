// SPDX-License-Identifier: BSD-3-Clause
#include "nic/forward.h"

#include <string.h>
#include <sys/uio.h>

#include "base/bits.h"
#include "hw82599/desc.h"
#include "nic/cable.h"
#include "nic/port.h"
#include "uplink/uplink.h"

#define ETHER_HEADER_LEN 14u
#define MACS_LEN         12u
#define VLAN_TAG_LEN     4u
#define CABLE_LEN_MIN    60u // without FCS

#define ETHERTYPE_MAC_CONTROL 0x8808u // pause frames: the MAC's own, no pool sees them

static struct nic_totals *totals(struct nic_port *port, const struct nic_frame *frame)
{
    return &port->counters.total[frame->lane->index];
}

static void count_cable_tx(struct nic_totals *c, const struct nic_frame *frame, uint32_t len)
{
    nic_count(&c->tx_uplink_frames, 1);
    nic_count(&c->tx_uplink_bytes, len);
    nic_count(&c->tx_uplink_size_bins[nic_cable_bin(len)], 1);
    if (nic_frame_mac(frame->head) == NIC_MAC_BROADCAST)
        nic_count(&c->tx_uplink_broadcast, 1);
    else if (frame->head[0] & 1)
        nic_count(&c->tx_uplink_multicast, 1);
}

static void count_cable_rx(struct nic_totals *c, const struct nic_frame *frame, uint32_t len)
{
    nic_count(&c->rx_uplink_frames, 1);
    nic_count(&c->rx_uplink_bytes, len);
    nic_count(&c->rx_uplink_size_bins[nic_cable_bin(len)], 1);
    if (nic_frame_mac(frame->head) == NIC_MAC_BROADCAST)
        nic_count(&c->rx_uplink_broadcast, 1);
    else if (frame->head[0] & 1)
        nic_count(&c->rx_uplink_multicast, 1);
}

// A parsed frame that came in from the cable.
static void deliver_from_cable(struct nic_port *port, const struct nic_frame *frame)
{
    struct nic_destinations to;

    if (frame->rx_status & (HW_RXE_IPE | HW_RXE_L4E))
        nic_count(&totals(port, frame)->rx_l3_l4_xsum_errors, 1);
    nic_switch_decide(&port->derived, frame, &to);
    if (!to.pools) {
        nic_count(&totals(port, frame)->rx_no_match, 1);
        return;
    }
    for (uint64_t left = to.pools; left; left &= left - 1)
        nic_rxq_deliver(port, (unsigned)__builtin_ctzll(left), frame);
}

// HLREG0.LPBK: the frame turns round at the MAC.
static void loop_at_mac(struct nic_port *port, struct nic_frame *frame)
{
    int source = frame->source_pool;
    uint32_t status = frame->rx_status;

    frame->source_pool = NIC_SOURCE_UPLINK;
    frame->rx_status &= ~(HW_RXS_L4CS | HW_RXE_L4E);
    nic_frame_verify_l4(frame);
    count_cable_rx(totals(port, frame), frame, frame->len_bytes);
    if (port->derived.rx_enabled)
        deliver_from_cable(port, frame);
    frame->source_pool = source;
    frame->rx_status = status;
}

static void send_on_cable(struct nic_port *port, struct nic_frame *frame)
{
    static const uint8_t padding[CABLE_LEN_MIN];
    uint32_t len = frame->len_bytes + (frame->has_vlan ? VLAN_TAG_LEN : 0);
    struct iovec iov[NIC_FRAME_SPANS_MAX + 4];
    uint16_t ethertype = port->derived.vlan_ethertype;
    uint8_t tag[VLAN_TAG_LEN] = {(uint8_t)(ethertype >> 8), (uint8_t)ethertype,
                                 (uint8_t)(frame->vlan_tci >> 8), (uint8_t)frame->vlan_tci};
    unsigned n = 0;

    if (frame->has_vlan) {
        iov[n++] = (struct iovec){frame->head, MACS_LEN};
        iov[n++] = (struct iovec){tag, VLAN_TAG_LEN};
        iov[n++] = (struct iovec){frame->head + MACS_LEN, frame->head_len - MACS_LEN};
    } else {
        iov[n++] = (struct iovec){frame->head, frame->head_len};
    }
    for (unsigned i = 0; i < frame->span_count; i++)
        iov[n++] = (struct iovec){(void *)frame->spans[i].data, frame->spans[i].len_bytes};
    if (len < CABLE_LEN_MIN && port->derived.tx_pad) {
        iov[n++] = (struct iovec){(void *)padding, CABLE_LEN_MIN - len};
        len = CABLE_LEN_MIN;
    }
    nic_rx_leave(port, frame->lane); // the far end may take its time
    count_cable_tx(totals(port, frame), frame, len);
    if (unlikely(port->derived.mac_loopback))
        loop_at_mac(port, frame);
    else
        (void)uplink_send(port->uplink, frame->lane->index, iov,
                          n); // what it could not take, it has counted
}

bool nic_forward_from_pool(struct nic_port *port, struct nic_txq *q, struct nic_frame *frame,
                           struct nic_forwarded *done, struct nic_tx_sums *sums)
{
    const struct nic_destinations *to = nic_switch_decide_flow(&port->derived, q->flows, frame);
    bool waiting = false;

    if (unlikely(to->spoofed)) {
        nic_count(&port->counters.pool[frame->source_pool].tx_spoof_drops, 1);
        return true;
    }
    for (uint64_t left = to->pools & ~done->pools; left; left &= left - 1) {
        unsigned pool = (unsigned)__builtin_ctzll(left);
        enum nic_rx_result result = nic_rxq_deliver(port, pool, frame);

        if (unlikely(result == NIC_RX_WAIT)) {
            waiting = true;
            continue;
        }
        done->pools |= BIT64(pool);
        if (likely(result == NIC_RX_DONE)) {
            sums->loopback_frames++;
            sums->loopback_bytes += frame->len_bytes;
        }
    }
    if (to->uplink && !done->uplink) {
        send_on_cable(port, frame);
        done->uplink = true;
    }
    if (waiting)
        return false;
    sums->pool_frames++;
    sums->pool_bytes += frame->len_bytes + (frame->has_vlan ? VLAN_TAG_LEN : 0);
    return true;
}

// Makes a frame of `len` bytes in `buf`. False where it is none that any pool may see.
static bool frame_from_cable(struct nic_port *port, struct nic_frame *frame, const uint8_t *buf,
                             uint32_t len)
{
    const struct nic_derived *t = &port->derived;

    if (len < ETHER_HEADER_LEN) {
        nic_count(&totals(port, frame)->rx_undersize, 1);
        return false;
    }
    frame->source_pool = NIC_SOURCE_UPLINK;
    frame->has_vlan = false;
    frame->vlan_tci = 0;
    frame->len_bytes = len;
    // All of a head: whatever the L4 header is behind, it is ours already.
    frame->head_len = len < NIC_FRAME_HEAD_MAX ? len : NIC_FRAME_HEAD_MAX;
    memcpy(frame->head, buf, frame->head_len);
    frame->span_count = 0;
    if (len > frame->head_len)
        frame->spans[frame->span_count++] =
            (struct nic_span){buf + frame->head_len, len - frame->head_len};
    nic_frame_take_vlan(frame, t->vlan_ethertype);
    if (frame->len_bytes > t->frame_len_max) {
        nic_count(&totals(port, frame)->rx_oversize, 1);
        return false;
    }
    if (frame->head[12] == ETHERTYPE_MAC_CONTROL >> 8 &&
        frame->head[13] == (ETHERTYPE_MAC_CONTROL & 0xff))
        return false;
    nic_frame_parse(frame);
    nic_frame_verify_l4(frame);
    nic_rss_classify(&t->rss, frame);
    count_cable_rx(totals(port, frame), frame, len);
    return true;
}

unsigned nic_forward_from_cable(struct nic_port *port)
{
    struct nic_lane *lane = nic_lane_of_cable(port);
    struct uplink_frame in[NIC_CABLE_BATCH];
    struct nic_frame frame;
    int n = uplink_receive(port->uplink, in, NIC_CABLE_BATCH);

    if (n <= 0)
        return 0;
    frame.lane = lane;
    // Taken from the uplink even where nobody is to have them: a receiver that is off loses frames,
    // it does not store them.
    for (int i = 0; i < n && port->derived.rx_enabled && !port->derived.mac_loopback; i++) {
        i += (int)nic_cable_receive(port, in + i, (unsigned)(n - i));
        if (i < n && frame_from_cable(port, &frame, in[i].data, in[i].len_bytes))
            deliver_from_cable(port, &frame);
    }
    nic_rxq_flush(port, lane);
    return (unsigned)n;
}

// SPDX-License-Identifier: BSD-3-Clause
// What the PF answers to a VF's mailbox messages. The policy is that of Linux's ixgbe, message by
// message, with these differences, each to the host's advantage:
//   - a VF that is not trusted can never change its MAC (ixgbe: only where the host has set it)
//   - RETA and RSS key are always answered (ixgbe: only after a host command)
//   - a VF with a port VLAN may "remove" others, which it is not in (ixgbe: NACK, and ixgbevf
//   complains
//     at every unbind)
//   - a trusted VF of API ≥ 1.3 may go promiscuous (ixgbe refuses it on an 82599): see ROPE below
// A VF is hostile until proven otherwise: words were copied once, each field is checked here, the
// work a message can cause is bounded by the tables' sizes.
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/le.h"
#include "base/log.h"
#include "driver/pf_state.h"
#include "hw82599/regs.h"

// Handlers: `msg` is the request, and becomes the answer. 0: ACK; -errno: NACK.

// Bytes of the message from word 1 on, in the order they have in the VF's memory.
static void get_bytes(const uint32_t *msg, uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        bytes[i] = (uint8_t)(msg[1 + i / 4] >> 8 * (i % 4));
}

static void put_bytes(uint32_t *msg, const uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        unsigned word = 1 + i / 4, shift = 8 * (i % 4);

        msg[word] = (msg[word] & ~(0xffu << shift)) | (uint32_t)bytes[i] << shift;
    }
}

static unsigned get_info(const uint32_t *msg)
{
    return (msg[0] & HW_MSG_INFO_MASK) >> HW_MSG_INFO_SHIFT;
}

static int handle_set_mac(struct pf_driver *pf, unsigned vf, uint32_t *msg)
{
    struct pf_vf *v = &pf->vf[vf];
    uint8_t mac[6];

    get_bytes(msg, mac, sizeof mac);
    if (!pf_mac_is_valid(mac))
        return -EINVAL;
    if (!v->policy.trusted && memcmp(mac, v->policy.mac, sizeof mac)) {
        log_warn_limited("pf %s: VF %u may not change its MAC address", pf->bus->name, vf);
        return -EPERM;
    }
    memcpy(v->mac, mac, sizeof mac);
    pf_filter_set_mac(&pf->filter, 1 + vf, mac, vf);
    return 0;
}

static int handle_set_multicast(struct pf_driver *pf, unsigned vf, uint32_t *msg)
{
    uint16_t hashes[PF_VF_HASHES_MAX];
    unsigned count = get_info(msg);

    if (count > PF_VF_HASHES_MAX)
        count = PF_VF_HASHES_MAX;
    for (unsigned i = 0; i < count; i++)
        hashes[i] = (uint16_t)(msg[1 + i / 2] >> 16 * (i % 2));
    pf_filter_set_multicast(&pf->filter, vf, hashes, count);
    pf_vf_update_accept_modes(pf, vf);
    return 0;
}

static int handle_set_vlan(struct pf_driver *pf, unsigned vf, uint32_t *msg)
{
    bool add = get_info(msg) != 0;
    uint16_t vlan = msg[1] & HW_PFVLVF_VLAN_MASK;

    // VLAN 0 stands for untagged frames, a port VLAN for all: they stay. To leave a VLAN that one
    // is not in needs no leave.
    if (!add && (!vlan || (pf->vf[vf].policy.vlan && vlan != pf->vf[vf].policy.vlan)))
        return 0;
    if (pf->vf[vf].policy.vlan) {
        log_warn_limited("pf %s: VF %u has a port VLAN, and may not change VLANs", pf->bus->name,
                         vf);
        return -EPERM;
    }
    if (add)
        return pf_filter_add_vlan(&pf->filter, vlan, vf);
    pf_filter_remove_vlan(&pf->filter, vlan, vf);
    return 0;
}

static int handle_set_lpe(struct pf_driver *pf, unsigned vf, uint32_t *msg)
{
    int ret = pf_vf_set_frame(pf, vf, msg[1]);

    if (ret)
        log_warn_limited("pf %s: VF %u asks for frames of %u bytes: refused", pf->bus->name, vf,
                         msg[1]);
    return ret;
}

static int handle_set_macvlan(struct pf_driver *pf, unsigned vf, uint32_t *msg)
{
    struct pf_vf *v = &pf->vf[vf];
    unsigned index = get_info(msg);
    uint8_t mac[6];
    int ret;

    // Index 0 clears the list, 1 starts a new one, more adds to it.
    if (index && !v->policy.trusted) {
        log_warn_limited("pf %s: VF %u may not add MAC addresses", pf->bus->name, vf);
        return -EPERM;
    }
    get_bytes(msg, mac, sizeof mac);
    if (index && !pf_mac_is_valid(mac))
        return -EINVAL;
    if (index <= 1)
        pf_filter_clear_macvlans(&pf->filter, vf);
    if (!index)
        return 0;
    ret = pf_filter_add_macvlan(&pf->filter, mac, vf);
    if (ret) {
        log_warn_limited("pf %s: VF %u: no room for another MAC address", pf->bus->name, vf);
        return ret;
    }
    v->macvlans = true;
    pf_vf_update_spoof_check(pf, vf);
    return 0;
}

static int handle_api_negotiate(struct pf_driver *pf, unsigned vf, uint32_t *msg)
{
    struct pf_vf *v = &pf->vf[vf];
    uint32_t api = msg[1];

    // 2.0 has a 1.x number, and means something else.
    if (api == HW_API_20 || api > (uint32_t)pf->api_max)
        return -EPROTONOSUPPORT;
    v->api = (enum pf_mailbox_api)api;
    v->negotiated = true;
    return 0;
}

static int handle_get_queues(struct pf_driver *pf, unsigned vf, uint32_t *msg)
{
    const struct pf_vf *v = &pf->vf[vf];

    if (v->api < PF_API_11)
        return -EOPNOTSUPP;
    msg[HW_MSG_QUEUES_TX] = pf->queues_per_pool;
    msg[HW_MSG_QUEUES_RX] = pf->queues_per_pool;
    msg[HW_MSG_QUEUES_TRANS_VLAN] = v->policy.vlan || v->policy.qos;
    msg[HW_MSG_QUEUES_DEFAULT] = 0;
    return 0;
}

static int handle_get_reta(struct pf_driver *pf, unsigned vf, uint32_t *msg)
{
    if (pf->vf[vf].api < PF_API_12)
        return -EOPNOTSUPP;
    // 128 entries, 2 bits each: a pool has at most 4 queues.
    for (unsigned i = 0; i < PF_RETA_ENTRIES; i++) {
        if (!(i % 16))
            msg[1 + i / 16] = 0;
        msg[1 + i / 16] |= (uint32_t)(pf->reta[i] & 3) << 2 * (i % 16);
    }
    return 0;
}

static int handle_get_rss_key(struct pf_driver *pf, unsigned vf, uint32_t *msg)
{
    if (pf->vf[vf].api < PF_API_12)
        return -EOPNOTSUPP;
    put_bytes(msg, pf->rss_key, sizeof pf->rss_key);
    return 0;
}

static int handle_update_xcast_mode(struct pf_driver *pf, unsigned vf, uint32_t *msg)
{
    struct pf_vf *v = &pf->vf[vf];
    uint32_t mode = msg[1];

    if (v->api < PF_API_12 || mode > HW_XCAST_PROMISC ||
        (mode == HW_XCAST_PROMISC && v->api < PF_API_13))
        return -EOPNOTSUPP;
    // More than its own multicast groups is for trusted VFs; others get what they may have.
    if (mode > HW_XCAST_MULTI && !v->policy.trusted)
        mode = HW_XCAST_MULTI;
    if (v->xcast_mode != mode) {
        v->xcast_mode = mode;
        pf_vf_update_accept_modes(pf, vf);
    }
    msg[1] = mode;
    return 0;
}

static int handle_get_link_state(struct pf_driver *pf, unsigned vf, uint32_t *msg)
{
    if (pf->vf[vf].api < PF_API_12)
        return -EOPNOTSUPP;
    msg[1] = pf->vf[vf].policy.link_up;
    return 0;
}

// VF_RESET has an answer of its own form: no CTS, four words.
static void handle_reset(struct pf_driver *pf, unsigned vf, uint64_t now_ns)
{
    struct pf_vf *v = &pf->vf[vf];
    uint32_t answer[HW_MSG_PERMADDR_WORDS] = {HW_MSG_VF_RESET | HW_MSG_ACK};

    log_info("pf %s: VF %u: reset by its driver", pf->bus->name, vf);
    pf_vf_to_defaults(pf, vf);
    pf_mailbox_clear_memory(&v->mailbox);
    // A VF reset does not clear the write-back addresses (82599 §4.2): the next owner's memory
    // must not be written at the last one's address.
    for (unsigned i = 0; i < pf->queues_per_pool; i++) {
        driver_reg_write(pf->bus, HW_TDWBAL(vf * pf->queues_per_pool + i), 0);
        driver_reg_write(pf->bus, HW_TDWBAH(vf * pf->queues_per_pool + i), 0);
    }
    v->clear_to_send = true;
    pf_vf_update_data_path(pf, vf);
    put_bytes(answer, v->mac, sizeof v->mac);
    answer[HW_MSG_PERMADDR_MC_TYPE_WORD] = PF_MULTICAST_TYPE;
    pf_mailbox_reply(&v->mailbox, answer, HW_MSG_PERMADDR_WORDS, now_ns);
}

static const struct {
    enum hw_vf_message id;
    int (*handle)(struct pf_driver *pf, unsigned vf, uint32_t *msg);
} messages[] = {
    {HW_MSG_SET_MAC_ADDR, handle_set_mac},
    {HW_MSG_SET_MULTICAST, handle_set_multicast},
    {HW_MSG_SET_VLAN, handle_set_vlan},
    {HW_MSG_SET_LPE, handle_set_lpe},
    {HW_MSG_SET_MACVLAN, handle_set_macvlan},
    {HW_MSG_API_NEGOTIATE, handle_api_negotiate},
    {HW_MSG_GET_QUEUES, handle_get_queues},
    {HW_MSG_GET_RETA, handle_get_reta},
    {HW_MSG_GET_RSS_KEY, handle_get_rss_key},
    {HW_MSG_UPDATE_XCAST_MODE, handle_update_xcast_mode},
    {HW_MSG_GET_LINK_STATE, handle_get_link_state},
};

// All others, IPsec (this card has no engine) and what newer APIs have: NACK.
static int dispatch(struct pf_driver *pf, unsigned vf, uint32_t *msg)
{
    uint32_t id = msg[0] & HW_MSG_TYPE_MASK;

    for (unsigned i = 0; i < ARRAY_LEN(messages); i++) {
        if (messages[i].id == id)
            return messages[i].handle(pf, vf, msg);
    }
    log_warn_limited("pf %s: VF %u: message %08x not supported", pf->bus->name, vf, msg[0]);
    return -EOPNOTSUPP;
}

void pf_message_handle(struct pf_driver *pf, unsigned vf, uint64_t now_ns)
{
    struct pf_vf *v = &pf->vf[vf];
    uint32_t msg[HW_MAILBOX_WORDS];
    uint32_t id;
    int ret;

    pf_mailbox_receive(&v->mailbox, msg);
    v->requests++;
    // An answer of ours, sent back.
    if (msg[0] & (HW_MSG_ACK | HW_MSG_NACK))
        return;
    if (msg[0] == HW_MSG_VF_RESET) {
        handle_reset(pf, vf, now_ns);
        return;
    }
    if (!v->clear_to_send) {
        v->nacks++;
        msg[0] |= HW_MSG_NACK;
        pf_mailbox_reply(&v->mailbox, msg, 1, now_ns);
        return;
    }
    id = msg[0] & HW_MSG_TYPE_MASK;
    // By what was agreed before this message: a VF that negotiates 1.5 uses its locking from the
    // next one on.
    v->mailbox.keep_lock = v->api == PF_API_15;
    if (id != HW_MSG_API_NEGOTIATE)
        v->settled = true;
    ret = dispatch(pf, vf, msg);
    if (ret)
        v->nacks++;
    msg[0] |= HW_MSG_CTS | (ret ? HW_MSG_NACK : HW_MSG_ACK);
    pf_mailbox_reply(&v->mailbox, msg, HW_MAILBOX_WORDS, now_ns);
}

// SPDX-License-Identifier: BSD-3-Clause
// What the card is told about one VF: 82599 §4.6.10, §7.10.3.
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "driver/pf_state.h"
#include "hw82599/regs.h"

// The MAC of a VF that was given none. The VF's number goes into the first octet's upper six bits,
// where a vendor's part is, and the address is marked as locally administered; all other octets are
// the PF's. So no two VFs of ports whose addresses differ after the first octet can collide, nor a
// VF with a PF, and the same VF has the same address every time.
static void derive_mac(const uint8_t pf_mac[6], unsigned vf, uint8_t mac[6])
{
    memcpy(mac, pf_mac, 6);
    mac[0] = (uint8_t)(((pf_mac[0] >> 2) + vf + 1) << 2 | 2);
}

void pf_vf_take_policy(struct pf_driver *pf, unsigned vf, const struct pf_vf_policy *policy)
{
    struct pf_vf *v = &pf->vf[vf];

    v->policy = *policy;
    if (!pf_mac_is_valid(policy->mac))
        derive_mac(pf->mac, vf, v->policy.mac);
}

static bool port_is_jumbo(const struct pf_driver *pf)
{
    return pf->frame_current > PF_FRAME_STANDARD;
}

static bool vf_is_legacy(const struct pf_vf *v)
{
    return v->api < PF_API_11;
}

void pf_vf_update_data_path(struct pf_driver *pf, unsigned vf)
{
    const struct pf_vf *v = &pf->vf[vf];
    unsigned word = vf / 32;
    uint32_t bit = BIT(vf % 32);
    uint32_t rx = pf->rx_pools[word] & ~bit, tx = pf->tx_pools[word] & ~bit;

    if (v->clear_to_send && v->policy.link_up) {
        tx |= bit;
        // Long frames would overrun the buffers of a driver that does not expect any; one that
        // does says so with LPE.
        if (!port_is_jumbo(pf) || (!vf_is_legacy(v) && v->frame_bytes))
            rx |= bit;
    }
    if (rx != pf->rx_pools[word]) {
        pf->rx_pools[word] = rx;
        driver_reg_write(pf->bus, HW_PFVFRE(word), rx);
    }
    if (tx != pf->tx_pools[word]) {
        pf->tx_pools[word] = tx;
        driver_reg_write(pf->bus, HW_PFVFTE(word), tx);
    }
}

void pf_vf_update_accept_modes(struct pf_driver *pf, unsigned vf)
{
    const struct pf_vf *v = &pf->vf[vf];
    uint32_t modes = HW_PFVML2FLT_BAM;

    // Untagged frames belong to VLAN 0: a VF with a port VLAN is in that one alone.
    if (!v->policy.vlan)
        modes |= HW_PFVML2FLT_AUPE;
    if (v->xcast_mode >= HW_XCAST_MULTI || pf->filter.vf_multicast[vf].count)
        modes |= HW_PFVML2FLT_ROMPE;
    if (v->xcast_mode >= HW_XCAST_ALLMULTI)
        modes |= HW_PFVML2FLT_MPE;
    if (v->xcast_mode >= HW_XCAST_PROMISC)
        modes |= HW_PFVML2FLT_ROPE;
    pf_filter_set_promiscuous(&pf->filter, vf, v->xcast_mode >= HW_XCAST_PROMISC);
    driver_reg_write(pf->bus, HW_PFVML2FLT(vf), modes);
}

void pf_vf_update_spoof_check(struct pf_driver *pf, unsigned vf)
{
    const struct pf_vf *v = &pf->vf[vf];
    uint32_t bits =
        BIT(HW_PFVFSPOOF_MACAS_SHIFT + vf % 8) | BIT(HW_PFVFSPOOF_VLANAS_SHIFT + vf % 8);

    // A trusted VF that adds addresses of its own would be caught by its own check, as in ixgbe.
    driver_reg_update(pf->bus, HW_PFVFSPOOF(vf / 8), bits,
                      v->policy.spoof_check && !v->macvlans ? bits : 0);
}

int pf_vf_update_port_vlan(struct pf_driver *pf, unsigned vf, uint16_t old_vlan)
{
    const struct pf_vf_policy *policy = &pf->vf[vf].policy;
    int ret = pf_filter_add_vlan(&pf->filter, policy->vlan, vf);

    if (ret)
        return ret;
    if (old_vlan != policy->vlan)
        pf_filter_remove_vlan(&pf->filter, old_vlan, vf);
    if (policy->vlan || policy->qos)
        driver_reg_write(pf->bus, HW_PFVMVIR(vf),
                         HW_PFVMVIR_VLANA_DEFAULT | (uint32_t)policy->qos << 13 | policy->vlan);
    else
        driver_reg_write(pf->bus, HW_PFVMVIR(vf), 0);
    return 0;
}

void pf_vf_update_frame_limit(struct pf_driver *pf)
{
    uint32_t frame = pf->frame_limit;

    if (!frame) {
        frame = PF_FRAME_STANDARD;
        for (unsigned i = 0; i < pf->vf_count; i++) {
            if (pf->vf[i].frame_bytes > frame)
                frame = pf->vf[i].frame_bytes;
        }
    }
    if (frame == pf->frame_current)
        return;
    pf->frame_current = frame;
    driver_reg_write(pf->bus, HW_MAXFRS, frame << HW_MAXFRS_MFS_SHIFT);
    for (unsigned i = 0; i < pf->vf_count; i++)
        pf_vf_update_data_path(pf, i);
}

// True where raising the port's limit would take receive away from a VF that is at work.
static bool legacy_vf_is_up(const struct pf_driver *pf)
{
    for (unsigned i = 0; i < pf->vf_count; i++) {
        const struct pf_vf *v = &pf->vf[i];

        // One that has not said much yet may still negotiate.
        if (v->clear_to_send && v->settled && vf_is_legacy(v))
            return true;
    }
    return false;
}

int pf_vf_set_frame(struct pf_driver *pf, unsigned vf, uint32_t frame_bytes)
{
    struct pf_vf *v = &pf->vf[vf];

    if (frame_bytes < PF_FRAME_MIN || frame_bytes > PF_FRAME_MAX)
        return -EINVAL;
    if (frame_bytes > PF_FRAME_STANDARD && vf_is_legacy(v))
        return -EINVAL;
    if (pf->frame_limit ? frame_bytes > pf->frame_limit && frame_bytes > PF_FRAME_STANDARD
                        : frame_bytes > pf->frame_current && legacy_vf_is_up(pf))
        return -EINVAL;
    v->frame_bytes = frame_bytes;
    pf_vf_update_frame_limit(pf);
    pf_vf_update_data_path(pf, vf);
    // ixgbe: a VF of API 1.0 is told when the port's frames are too long for it.
    return port_is_jumbo(pf) && vf_is_legacy(v) ? -EINVAL : 0;
}

void pf_vf_to_defaults(struct pf_driver *pf, unsigned vf)
{
    struct pf_vf *v = &pf->vf[vf];

    v->clear_to_send = false;
    v->negotiated = false;
    v->settled = false;
    v->api = PF_API_10;
    v->xcast_mode = HW_XCAST_NONE;
    v->macvlans = false;
    v->frame_bytes = 0;
    v->last_nack_ns = 0;
    memcpy(v->mac, v->policy.mac, sizeof v->mac);
    // Off first, so that no frame passes by half of the new rules.
    pf_vf_update_data_path(pf, vf);
    pf_mailbox_reset(&v->mailbox);
    pf_filter_set_mac(&pf->filter, 1 + vf, v->mac, vf);
    pf_filter_clear_macvlans(&pf->filter, vf);
    pf_filter_set_multicast(&pf->filter, vf, NULL, 0);
    // The port VLAN keeps its filter entry all the time, whatever other VFs take.
    pf_filter_clear_vlans(&pf->filter, vf, v->policy.vlan);
    pf_vf_update_port_vlan(pf, vf, v->policy.vlan);
    pf_vf_update_accept_modes(pf, vf);
    pf_vf_update_spoof_check(pf, vf);
    pf_vf_update_frame_limit(pf);
}

void pf_vf_start_over(struct pf_driver *pf, unsigned vf)
{
    struct pf_vf *v = &pf->vf[vf];

    if (!v->clear_to_send)
        return;
    v->clear_to_send = false;
    pf_vf_update_data_path(pf, vf);
    pf_mailbox_notify(&v->mailbox, HW_MSG_PF_CONTROL, 0);
}

// SPDX-License-Identifier: BSD-3-Clause
// From the register file to the tables that the data path reads.
#include <string.h>

#include "base/bits.h"
#include "base/le.h"
#include "hw82599/regs.h"
#include "nic/port.h"

#define FRAME_LEN_STANDARD 1518u // with FCS: largest frame while HLREG0.JUMBOEN is clear
#define FCS_LEN            4u

static uint64_t reg_pair(const struct nic_port *port, uint32_t lo, uint32_t hi)
{
    return nic_reg(port, lo) | (uint64_t)nic_reg(port, hi) << 32;
}

// How queues are cut into pools. Receive (MRQC) and transmit (MTQC) say it each; drivers program
// them alike, and the receive side decides here.
static void derive_pools(const struct nic_port *port, struct nic_derived *d)
{
    uint32_t vtctl = nic_reg(port, HW_PFVTCTL);

    d->vt_mode = vtctl & HW_PFVTCTL_VT_ENA;
    d->rss.enabled = false;
    switch (nic_reg(port, HW_MRQC) & HW_MRQC_MRQE_MASK) {
    case HW_MRQC_VMDQ32_RSS:
        d->queues_per_pool = 4;
        d->rss.enabled = true;
        break;
    case 0xd: // 32 pools, 4 traffic classes each: no RSS
        d->queues_per_pool = 4;
        break;
    case 0xc: // 16 pools, 8 traffic classes each
        d->queues_per_pool = 8;
        break;
    case HW_MRQC_VMDQ64_RSS:
        d->queues_per_pool = 2;
        d->rss.enabled = true;
        break;
    case HW_MRQC_RSS:
    case 0x4: // RSS within 8 or 4 traffic classes: there is one class here
    case 0x5:
        d->rss.enabled = !d->vt_mode;
        d->queues_per_pool = 2;
        break;
    default:
        d->queues_per_pool = 2;
        break;
    }
    d->replication = vtctl & HW_PFVTCTL_RPL_EN;
    d->default_pool_disabled = vtctl & HW_PFVTCTL_DIS_DEF_POOL;
    d->default_pool = (vtctl & HW_PFVTCTL_DEF_PL_MASK) >> HW_PFVTCTL_DEF_PL_SHIFT;
    if (!d->vt_mode) {
        d->queues_per_pool = 0;
        d->pool_count = 1;
        d->default_pool = 0;
        d->rx_pools = d->tx_pools = UINT64_MAX;
        return;
    }
    d->pool_count = NIC_QUEUES_MAX / d->queues_per_pool;
    if (d->pool_count > NIC_POOLS_MAX)
        d->pool_count = NIC_POOLS_MAX;
    // A pool that this cut does not have has no queues: frames for it end here.
    uint64_t exist = d->pool_count == 64 ? UINT64_MAX : BIT64(d->pool_count) - 1;
    d->rx_pools = reg_pair(port, HW_PFVFRE(0), HW_PFVFRE(1)) & exist;
    d->tx_pools = reg_pair(port, HW_PFVFTE(0), HW_PFVFTE(1)) & exist;
}

static void derive_pool_modes(const struct nic_port *port, struct nic_derived *d)
{
    d->spoof_mac_pools = d->spoof_vlan_pools = 0;
    for (unsigned i = 0; i < HW_PFVFSPOOF_COUNT; i++) {
        uint32_t v = nic_reg(port, HW_PFVFSPOOF(i));

        d->spoof_mac_pools |= (uint64_t)(v >> HW_PFVFSPOOF_MACAS_SHIFT & 0xff) << (8 * i);
        d->spoof_vlan_pools |= (uint64_t)(v >> HW_PFVFSPOOF_VLANAS_SHIFT & 0xff) << (8 * i);
    }
    d->accept_broadcast = d->accept_multicast_hash = d->accept_unicast_hash = 0;
    d->accept_multicast_all = d->accept_untagged = d->insert_vlan_pools = 0;
    for (unsigned pool = 0; pool < NIC_POOLS_MAX; pool++) {
        uint32_t modes = nic_reg(port, HW_PFVML2FLT(pool));
        uint64_t bit = BIT64(pool);
        unsigned rss_bits = nic_reg(port, HW_PSRTYPE(pool)) >> HW_PSRTYPE_RQPL_SHIFT;

        d->accept_broadcast |= modes & HW_PFVML2FLT_BAM ? bit : 0;
        d->accept_multicast_hash |= modes & HW_PFVML2FLT_ROMPE ? bit : 0;
        d->accept_unicast_hash |= modes & HW_PFVML2FLT_ROPE ? bit : 0;
        d->accept_multicast_all |= modes & HW_PFVML2FLT_MPE ? bit : 0;
        d->accept_untagged |= modes & HW_PFVML2FLT_AUPE ? bit : 0;
        d->vmvir[pool] = nic_reg(port, HW_PFVMVIR(pool));
        if (d->vt_mode && (d->vmvir[pool] & HW_PFVMVIR_VLANA_MASK) == HW_PFVMVIR_VLANA_DEFAULT)
            d->insert_vlan_pools |= bit;
        // Without VT the redirection table names any of 16 queues.
        d->rss_queue_mask[pool] =
            (uint8_t)(d->vt_mode ? (BIT(rss_bits) - 1) & (d->queues_per_pool - 1) : 0xf);
    }
}

static void derive_mac_table(const struct nic_port *port, struct nic_derived *d)
{
    memset(d->mac, 0, sizeof d->mac);
    for (unsigned i = 0; i < NIC_RAR_COUNT; i++) {
        uint32_t high = nic_reg(port, HW_RAH(i));
        uint64_t mac = nic_reg(port, HW_RAL(i)) | (uint64_t)(high & 0xffff) << 32;
        struct nic_mac_slot *slot;

        if (!(high & HW_RAH_AV))
            continue;
        slot = &d->mac[nic_switch_mac_slot(d->mac, mac)];
        slot->mac = mac | NIC_MAC_USED;
        slot->pools |= reg_pair(port, HW_MPSAR_LO(i), HW_MPSAR_HI(i));
    }
}

static void derive_vlans(const struct nic_port *port, struct nic_derived *d)
{
    uint32_t vlnctrl = nic_reg(port, HW_VLNCTRL);

    d->vlan_filter = vlnctrl & HW_VLNCTRL_VFE;
    d->vlan_ethertype = (uint16_t)(vlnctrl & HW_VLNCTRL_VET);
    memset(d->vlan_pools, 0, sizeof d->vlan_pools);
    for (unsigned i = 0; i < NIC_VLVF_COUNT; i++) {
        uint32_t entry = nic_reg(port, HW_PFVLVF(i));

        if (entry & HW_PFVLVF_VI_EN)
            d->vlan_pools[entry & HW_PFVLVF_VLAN_MASK] |=
                reg_pair(port, HW_PFVLVFB(2 * i), HW_PFVLVFB(2 * i + 1));
    }
    for (unsigned i = 0; i < 128; i++) {
        d->mta[i] = nic_reg(port, HW_MTA(i));
        d->vfta[i] = nic_reg(port, HW_VFTA(i));
        d->uta[i] = nic_reg(port, HW_PFUTA(i));
    }
}

static void derive_rss(const struct nic_port *port, struct nic_derived *d)
{
    uint8_t key[NIC_RSS_KEY_LEN];

    d->rss.types = nic_reg(port, HW_MRQC) & 0xffff0000u;
    for (unsigned i = 0; i < NIC_RSS_KEY_LEN / 4; i++)
        le32_put(key + 4 * i, nic_reg(port, HW_RSSRK(i)));
    nic_rss_set_key(&d->rss, key);
    for (unsigned i = 0; i < NIC_RETA_ENTRIES; i++)
        d->rss.reta[i] = (uint8_t)(nic_reg(port, HW_RETA(i / 4)) >> (8 * (i % 4)) & 0xf);
}

void nic_derive(struct nic_port *port)
{
    struct nic_derived *d = &port->derived;
    uint32_t hlreg0 = nic_reg(port, HW_HLREG0), fctrl = nic_reg(port, HW_FCTRL);
    uint32_t mcstctrl = nic_reg(port, HW_MCSTCTRL);
    static const unsigned multicast_shifts[] = {36, 35, 34, 32}; // MCSTCTRL.MO

    d->rx_enabled = nic_reg(port, HW_RXCTRL) & HW_RXCTRL_RXEN;
    d->tx_enabled = nic_reg(port, HW_DMATXCTL) & HW_DMATXCTL_TE;
    d->loopback = nic_reg(port, HW_PFDTXGSWC) & HW_PFDTXGSWC_LBE;
    d->mac_loopback = hlreg0 & HW_HLREG0_LPBK;
    d->crc_strip = hlreg0 & HW_HLREG0_RXCRCSTRP || nic_reg(port, HW_RDRXCTL) & HW_RDRXCTL_CRCSTRIP;
    d->tx_pad = hlreg0 & HW_HLREG0_TXPADEN;
    d->unicast_promisc = fctrl & HW_FCTRL_UPE;
    d->multicast_promisc = fctrl & HW_FCTRL_MPE;
    d->broadcast_accept = fctrl & HW_FCTRL_BAM;
    d->multicast_filter = mcstctrl & HW_MCSTCTRL_MFE;
    d->multicast_shift = multicast_shifts[mcstctrl & HW_MCSTCTRL_MO_MASK];
    d->hash_reported = nic_reg(port, HW_RXCSUM) & HW_RXCSUM_PCSD;
    d->frame_len_max = FRAME_LEN_STANDARD;
    if (hlreg0 & HW_HLREG0_JUMBOEN)
        d->frame_len_max = nic_reg(port, HW_MAXFRS) >> HW_MAXFRS_MFS_SHIFT;
    d->frame_len_max -= d->frame_len_max < FCS_LEN ? d->frame_len_max : FCS_LEN;
    d->tcp_flags_first = nic_reg(port, HW_DTXTCPFLGL) & 0xfff;
    d->tcp_flags_mid = nic_reg(port, HW_DTXTCPFLGL) >> 16 & 0xfff;
    d->tcp_flags_last = nic_reg(port, HW_DTXTCPFLGH) & 0xfff;
    derive_pools(port, d);
    derive_pool_modes(port, d);
    derive_mac_table(port, d);
    derive_vlans(port, d);
    derive_rss(port, d);
    d->version++;
}

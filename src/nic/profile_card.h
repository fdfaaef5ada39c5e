// SPDX-License-Identifier: BSD-3-Clause
// The card of profile_datapath and profile_offload: what a PF driver sets, so that two VFs reach
// each other with everything on. For programs of one file; TEST_MEM_BYTES as for test_card.h.
#ifndef VIREO_NIC_PROFILE_CARD_H
#define VIREO_NIC_PROFILE_CARD_H

#include "nic/test_card.h"

// What a PF driver sets for the VFs: addresses, anti-spoofing, VLAN filters, jumbo frames.
static void filters_start(struct test_card *t)
{
    pf_write(t, HW_HLREG0, HW_HLREG0_RXCRCSTRP | HW_HLREG0_TXPADEN | HW_HLREG0_JUMBOEN);
    pf_write(t, HW_MAXFRS, 9728u << HW_MAXFRS_MFS_SHIFT);
    pf_write(t, HW_RXCSUM, HW_RXCSUM_PCSD);
    pf_write(t, HW_MRQC, HW_MRQC_VMDQ64_RSS | HW_MRQC_RSS_IPV4 | HW_MRQC_RSS_IPV4_TCP);
    pf_write(t, HW_DTXTCPFLGL, 0x0f760ff6);
    pf_write(t, HW_DTXTCPFLGH, 0xf7f);
    pf_write(t, HW_VLNCTRL, HW_VLNCTRL_VFE | 0x8100);
    pf_write(t, HW_PFVLVF(0), HW_PFVLVF_VI_EN | 5);
    pf_write(t, HW_PFVLVFB(0), 3);
    pf_write(t, HW_PFVFSPOOF(0), 3u << HW_PFVFSPOOF_MACAS_SHIFT | 3u << HW_PFVFSPOOF_VLANAS_SHIFT);
    vf_macs_start(t, 2);
}

#endif

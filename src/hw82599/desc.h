// SPDX-License-Identifier: BSD-3-Clause
// Descriptors of the 82599, as they lie in memory: 16 bytes each, every field little-endian (read
// and write them with base/le.h or le*toh()). Facts only, for the model and for drivers.
#ifndef VIREO_HW82599_DESC_H
#define VIREO_HW82599_DESC_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define HW_DESC_LEN_BYTES   16u
#define HW_RING_ALIGN_BYTES 128u // base address and length of a ring (82599 §8.2.3.8.1, .3)

// --- Transmit, advanced data descriptor (82599 §7.2.3.2.4) ---
struct hw_tx_data_desc {
    uint64_t buffer_addr;
    uint32_t cmd_type_len;  // HW_TXD_*: length, type, commands
    uint32_t olinfo_status; // HW_TXO_*; the card writes HW_TXO_DD here
};

#define HW_TXD_LEN_MASK     0x0000ffffu // DTALEN: bytes in this buffer
#define HW_TXD_TYPE_MASK    0x00f00000u // DTYP
#define HW_TXD_TYPE_CONTEXT 0x00200000u
#define HW_TXD_TYPE_DATA    0x00300000u
#define HW_TXD_EOP          0x01000000u // last descriptor of the packet
#define HW_TXD_IFCS         0x02000000u // add the FCS
#define HW_TXD_IC           0x04000000u // legacy only: insert checksum at CSO
#define HW_TXD_RS           0x08000000u // report status: write DD back
#define HW_TXD_DEXT         0x20000000u // advanced format
#define HW_TXD_VLE          0x40000000u // insert the VLAN tag
#define HW_TXD_TSE          0x80000000u // segment

#define HW_TXO_DD           0x00000001u // done, written by the card
#define HW_TXO_IDX_SHIFT    4           // context 0 or 1
#define HW_TXO_IDX_MASK     0x00000070u
#define HW_TXO_CC           0x00000080u // check context
#define HW_TXO_IXSM         0x00000100u // insert IPv4 header checksum
#define HW_TXO_TXSM         0x00000200u // insert TCP, UDP or SCTP checksum
#define HW_TXO_PAYLEN_SHIFT 14          // 18 bits: packet length; with TSE: without the headers
#define HW_TXO_PAYLEN_MAX   0x3ffffu

// --- Transmit, advanced context descriptor (82599 §7.2.3.2.3) ---
struct hw_tx_context_desc {
    uint32_t vlan_macip_lens;
    uint32_t seed; // FCoE and IPsec only
    uint32_t type_tucmd;
    uint32_t mss_l4len_idx;
};

#define HW_TXC_IPLEN_MASK     0x000001ffu // vlan_macip_lens: length of the IP header
#define HW_TXC_MACLEN_SHIFT   9           // 7 bits: length of what is before it
#define HW_TXC_MACLEN_MASK    0x0000fe00u
#define HW_TXC_VLAN_SHIFT     16          // tag to insert where the data descriptor says VLE
#define HW_TXC_TUCMD_IPV4     0x00000400u // type_tucmd: IPv4, else IPv6
#define HW_TXC_TUCMD_L4T_MASK 0x00001800u
#define HW_TXC_TUCMD_L4T_UDP  0x00000000u
#define HW_TXC_TUCMD_L4T_TCP  0x00000800u
#define HW_TXC_TUCMD_L4T_SCTP 0x00001000u
#define HW_TXC_IDX_SHIFT      4 // mss_l4len_idx: which context this loads
#define HW_TXC_IDX_MASK       0x00000070u
#define HW_TXC_L4LEN_SHIFT    8 // 8 bits
#define HW_TXC_L4LEN_MASK     0x0000ff00u
#define HW_TXC_MSS_SHIFT      16 // 16 bits

// --- Transmit, legacy descriptor (82599 §7.2.3.2.2): DEXT clear ---
struct hw_tx_legacy_desc {
    uint64_t buffer_addr;
    uint32_t cmd_cso_len;     // commands as in HW_TXD_*, CSO, length
    uint32_t vlan_css_status; // VLAN tag, CSS, HW_TXO_DD
};

#define HW_TXL_CSO_SHIFT  16 // 8 bits: where the checksum goes
#define HW_TXL_CSS_SHIFT  8  // 8 bits: where summing starts
#define HW_TXL_VLAN_SHIFT 16

// --- Receive, advanced descriptor as the driver writes it (82599 §7.1.6.1) ---
struct hw_rx_read_desc {
    uint64_t packet_addr;
    uint64_t header_addr; // bit 0 is where DD will be
};

// --- Receive, advanced descriptor as the card writes it back (82599 §7.1.6.2) ---
struct hw_rx_writeback_desc {
    uint32_t info;         // HW_RXI_*
    uint32_t rss_hash;     // where RXCSUM.PCSD is set
    uint32_t status_error; // HW_RXS_*
    uint16_t len_bytes;    // in this buffer
    uint16_t vlan;         // tag that was stripped
};

#define HW_RXI_RSS_TYPE_MASK 0x0000000fu
#define HW_RSS_TYPE_NONE     0u
#define HW_RSS_TYPE_IPV4_TCP 1u
#define HW_RSS_TYPE_IPV4     2u
#define HW_RSS_TYPE_IPV6_TCP 3u
#define HW_RSS_TYPE_IPV6     5u
#define HW_RSS_TYPE_IPV4_UDP 7u
#define HW_RSS_TYPE_IPV6_UDP 8u

#define HW_RXI_TYPE_MASK    0x0001fff0u // packet type
#define HW_RXI_TYPE_IPV4    0x00000010u
#define HW_RXI_TYPE_IPV4_EX 0x00000020u // with options
#define HW_RXI_TYPE_IPV6    0x00000040u
#define HW_RXI_TYPE_IPV6_EX 0x00000080u // with extension headers
#define HW_RXI_TYPE_TCP     0x00000100u
#define HW_RXI_TYPE_UDP     0x00000200u
#define HW_RXI_TYPE_SCTP    0x00000400u

#define HW_RXS_DD   0x00000001u
#define HW_RXS_EOP  0x00000002u
#define HW_RXS_VP   0x00000008u // a VLAN tag was stripped (VME) or the packet has one
#define HW_RXS_L4CS 0x00000020u // L4 checksum was looked at
#define HW_RXS_IPCS 0x00000040u // IPv4 header checksum was looked at
#define HW_RXS_PIF  0x00000080u // passed an inexact filter
#define HW_RXS_LB   0x00040000u // from another pool, not from the cable
#define HW_RXE_RXE  0x20000000u // MAC error: the packet's bytes are not to be used
#define HW_RXE_L4E  0x40000000u // L4 checksum is wrong
#define HW_RXE_IPE  0x80000000u // IPv4 header checksum is wrong

// --- Receive, legacy descriptor as the card writes it back (82599 §7.1.5): SRRCTL.DESCTYPE 0 ---
struct hw_rx_legacy_desc {
    uint64_t buffer_addr;
    uint16_t len_bytes;
    uint16_t checksum;
    uint8_t status; // DD, EOP, VP, L4CS, IPCS as above
    uint8_t errors; // bit 5 RXE, bit 6 L4E, bit 7 IPE
    uint16_t vlan;
};

static_assert(sizeof(struct hw_tx_data_desc) == HW_DESC_LEN_BYTES, "16 bytes");
static_assert(offsetof(struct hw_tx_data_desc, cmd_type_len) == 8, "82599 §7.2.3.2.4");
static_assert(offsetof(struct hw_tx_data_desc, olinfo_status) == 12, "82599 §7.2.3.2.4");
static_assert(sizeof(struct hw_tx_context_desc) == HW_DESC_LEN_BYTES, "16 bytes");
static_assert(offsetof(struct hw_tx_context_desc, type_tucmd) == 8, "82599 §7.2.3.2.3");
static_assert(sizeof(struct hw_tx_legacy_desc) == HW_DESC_LEN_BYTES, "16 bytes");
static_assert(sizeof(struct hw_rx_read_desc) == HW_DESC_LEN_BYTES, "16 bytes");
static_assert(sizeof(struct hw_rx_writeback_desc) == HW_DESC_LEN_BYTES, "16 bytes");
static_assert(offsetof(struct hw_rx_writeback_desc, status_error) == 8, "82599 §7.1.6.2");
static_assert(offsetof(struct hw_rx_writeback_desc, len_bytes) == 12, "82599 §7.1.6.2");
static_assert(offsetof(struct hw_rx_writeback_desc, vlan) == 14, "82599 §7.1.6.2");
static_assert(sizeof(struct hw_rx_legacy_desc) == HW_DESC_LEN_BYTES, "16 bytes");
static_assert(offsetof(struct hw_rx_legacy_desc, status) == 12, "82599 §7.1.5");

#endif

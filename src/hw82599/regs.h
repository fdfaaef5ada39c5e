// SPDX-License-Identifier: BSD-3-Clause
// Register facts of the 82599, shared by the model (src/nic) and our drivers (src/driver): offsets
// generated from regs.def and vfregs.def, and the bits of the fields.
//
//   HW_CTRL         byte offset of a single register in the PF's BAR0
//   HW_RDT(n)       byte offset of register n of an array (n < HW_RDT_COUNT, not checked)
//   HW_VFCTRL, HW_VFRDT(n)   the same in a VF's BAR0
//   HW_ROW_RDT, HW_VFROW_VFRDT   row numbers of the tables
// Constants and pure functions: any thread.
#ifndef VIREO_HW82599_REGS_H
#define VIREO_HW82599_REGS_H

#include <stdint.h>

// PF and VF identity (82599 §9).
#define HW_VENDOR_ID     0x8086u
#define HW_PF_DEVICE_ID  0x10fbu
#define HW_VF_DEVICE_ID  0x10edu
#define HW_CLASS_CODE    0x020000u
#define HW_REVISION_ID   0x01u
#define HW_PF_BAR0_BYTES 0x80000u
#define HW_PF_IO_BYTES   0x20u
#define HW_PF_MSIX_BYTES 0x4000u
#define HW_VF_BAR_BYTES  0x4000u
#define HW_MSIX_PBA      0x2000u // in the MSI-X BAR, PF and VF
#define HW_PF_VECTORS    64u
#define HW_VF_VECTORS    3u
#define HW_POOLS         64u
#define HW_QUEUES        128u

// Capabilities in configuration space (82599 §9); some drivers hard-code them.
#define HW_CAP_PM                 0x40u
#define HW_CAP_MSI                0x50u
#define HW_CAP_MSIX               0x70u
#define HW_CAP_PCIE               0xa0u
#define HW_CAP_VPD                0xe0u
#define HW_EXTCAP_AER             0x100u
#define HW_EXTCAP_DSN             0x140u
#define HW_EXTCAP_ARI             0x150u
#define HW_EXTCAP_SRIOV           0x160u
#define HW_FIRST_VF_OFFSET_ARI    128u
#define HW_FIRST_VF_OFFSET_NO_ARI 384u
#define HW_VF_STRIDE              2u
#define HW_VF_PAGE_SIZES          0x553u

// Rows of regs.def, in the order of the file.
enum hw_row {
#define REG(name, ...)   HW_ROW_##name,
#define REGS(name, ...)  HW_ROW_##name,
#define SPLIT(name, ...) HW_ROW_##name,
#define ALIAS(name, ...)
#include "hw82599/regs.def"
#undef REG
#undef REGS
#undef SPLIT
#undef ALIAS
    HW_ROW_NONE, // also the number of rows
};

// Offsets of single registers, and how many registers an array has.
enum hw_offset {
#define REG(name, offset, ...)                 HW_##name = (offset),
#define REGS(name, offset, stride, count, ...) HW_##name##_COUNT = (count),
#define SPLIT(name, offset, stride, count, offset2, stride2, count2, ...)                          \
    HW_##name##_COUNT = (count) + (count2),
#define ALIAS(name, ...)
#include "hw82599/regs.def"
#undef REG
#undef REGS
#undef SPLIT
#undef ALIAS
};

// Offsets in arrays.
#define REG(name, ...)
#define REGS(name, offset, stride, count, ...)                                                     \
    static inline uint32_t HW_##name(unsigned n)                                                   \
    {                                                                                              \
        return (offset) + (stride) * (uint32_t)n;                                                  \
    }
#define SPLIT(name, offset, stride, count, offset2, stride2, count2, ...)                          \
    static inline uint32_t HW_##name(unsigned n)                                                   \
    {                                                                                              \
        return n < (count) ? (offset) + (stride) * (uint32_t)n                                     \
                           : (offset2) + (stride2) * (uint32_t)(n - (count));                      \
    }
#define ALIAS(name, ...)
#include "hw82599/regs.def"
#undef REG
#undef REGS
#undef SPLIT
#undef ALIAS

// Rows and offsets of vfregs.def, in a VF's BAR0.
enum hw_vfrow {
#define VFREG(name, ...)  HW_VFROW_##name,
#define VFREGS(name, ...) HW_VFROW_##name,
#include "hw82599/vfregs.def"
#undef VFREG
#undef VFREGS
    HW_VFROW_NONE, // also the number of rows
};

enum hw_vfoffset {
#define VFREG(name, offset, ...)                 HW_##name = (offset),
#define VFREGS(name, offset, stride, count, ...) HW_##name##_COUNT = (count),
#include "hw82599/vfregs.def"
#undef VFREG
#undef VFREGS
};

#define VFREG(name, ...)
#define VFREGS(name, offset, stride, count, ...)                                                   \
    static inline uint32_t HW_##name(unsigned n)                                                   \
    {                                                                                              \
        return (offset) + (stride) * (uint32_t)n;                                                  \
    }
#include "hw82599/vfregs.def"
#undef VFREG
#undef VFREGS

// --- fields ---------------------------------------------------------------------------------

#define HW_BIT(n) (UINT32_C(1) << (n))

// CTRL, VFCTRL
#define HW_CTRL_MASTER_DISABLE HW_BIT(2) // GIO_DIS
#define HW_CTRL_LRST           HW_BIT(3)
#define HW_CTRL_RST            HW_BIT(26)
#define HW_VFCTRL_RST          HW_BIT(26)
// STATUS
#define HW_STATUS_LAN_ID_SHIFT  2
#define HW_STATUS_NUM_VFS_SHIFT 10 // bits 17:10
#define HW_STATUS_IOV_ACTIVE    HW_BIT(18)
#define HW_STATUS_MASTER_ENABLE HW_BIT(19) // GIO
// CTRL_EXT
#define HW_CTRL_EXT_PFRSTD   HW_BIT(14) // PF reset done: clears RSTI, sets RSTD in every VFMAILBOX
#define HW_CTRL_EXT_NS_DIS   HW_BIT(16)
#define HW_CTRL_EXT_RO_DIS   HW_BIT(17)
#define HW_CTRL_EXT_DRV_LOAD HW_BIT(28)
// ESDP
#define HW_ESDP_SDP2      HW_BIT(2) // module present
#define HW_ESDP_DIR_SHIFT 8         // bit 8+n: SDPn is an output
// I2CCTL
#define HW_I2C_CLK_IN   HW_BIT(0)
#define HW_I2C_CLK_OUT  HW_BIT(1)
#define HW_I2C_DATA_IN  HW_BIT(2)
#define HW_I2C_DATA_OUT HW_BIT(3)
// EEC
#define HW_EEC_SK         HW_BIT(0)
#define HW_EEC_CS         HW_BIT(1)
#define HW_EEC_DI         HW_BIT(2) // into the EEPROM
#define HW_EEC_DO         HW_BIT(3) // out of it
#define HW_EEC_REQ        HW_BIT(6)
#define HW_EEC_GNT        HW_BIT(7)
#define HW_EEC_PRES       HW_BIT(8)
#define HW_EEC_AUTO_RD    HW_BIT(9)
#define HW_EEC_ADDR_SIZE  HW_BIT(10) // 16-bit addresses
#define HW_EEC_SIZE_SHIFT 11
// EERD, EEWR
#define HW_EERD_START      HW_BIT(0)
#define HW_EERD_DONE       HW_BIT(1)
#define HW_EERD_ADDR_SHIFT 2
#define HW_EERD_DATA_SHIFT 16
// EEPROM words
#define HW_EEPROM_WORDS         1024u
#define HW_EEPROM_CHECKSUM_WORD 0x3fu
#define HW_EEPROM_SUM           0xbabau
// SWSM
#define HW_SWSM_SMBI    HW_BIT(0) // taken by reading it as 0
#define HW_SWSM_SWESMBI HW_BIT(1)
// GCR_EXT, GPIE: how queues and pools are cut
#define HW_GCR_EXT_VT_MODE_MASK  0x3u
#define HW_GCR_EXT_VT_MODE_16    0x1u
#define HW_GCR_EXT_VT_MODE_32    0x2u
#define HW_GCR_EXT_VT_MODE_64    0x3u
#define HW_GCR_EXT_BUFFERS_CLEAR HW_BIT(30)
#define HW_GCR_EXT_MSIX_EN       HW_BIT(31)
#define HW_GPIE_MULTIPLE_MSIX    HW_BIT(4)
#define HW_GPIE_OCD              HW_BIT(5) // other causes: clear only by EICR write
#define HW_GPIE_EIMEN            HW_BIT(6) // EICS writes are immediate
#define HW_GPIE_VT_MODE_SHIFT    14
#define HW_GPIE_EIAME            HW_BIT(30) // extended auto mask on MSI-X
#define HW_GPIE_PBA_SUPPORT      HW_BIT(31)
// EICR and friends
#define HW_EICR_QUEUES           0x0000ffffu
#define HW_EICR_FLOW_DIR         HW_BIT(16)
#define HW_EICR_RX_MISS          HW_BIT(17)
#define HW_EICR_PCI              HW_BIT(18)
#define HW_EICR_MAILBOX          HW_BIT(19)
#define HW_EICR_LSC              HW_BIT(20)
#define HW_EICR_LINKSEC          HW_BIT(21)
#define HW_EICR_MNG              HW_BIT(22)
#define HW_EICR_TS               HW_BIT(23)
#define HW_EICR_GPI_SDP0         HW_BIT(24)
#define HW_EICR_GPI_SDP1         HW_BIT(25)
#define HW_EICR_GPI_SDP2         HW_BIT(26)
#define HW_EICR_ECC              HW_BIT(28)
#define HW_EICR_DHER             HW_BIT(29)
#define HW_EICR_TCP_TIMER        HW_BIT(30)
#define HW_EICR_OTHER            HW_BIT(31)  // any of the other causes, read only
#define HW_EITR_INTERVAL_MASK    0x00000ff8u // 2 us units, after the shift
#define HW_EITR_INTERVAL_SHIFT   3
#define HW_EITR_UNIT_NS          2048u // 2.048 us at 10 Gb/s
#define HW_EITR_CNT_WDIS         HW_BIT(31)
#define HW_IVAR_VECTOR_MASK      0x3fu // of each byte
#define HW_IVAR_VALID            0x80u
#define HW_IVAR_MISC_TIMER_SHIFT 0
#define HW_IVAR_MISC_OTHER_SHIFT 8
#define HW_VTIVAR_VECTOR_MASK    0x03u
// AUTOC, LINKS
#define HW_AUTOC_LMS_SHIFT      13
#define HW_AUTOC_LMS_10G_SERIAL 3u
#define HW_AUTOC_AN_RESTART     HW_BIT(12)
#define HW_LINKS_UP             HW_BIT(30)
#define HW_LINKS_SPEED_MASK     0x30000000u
#define HW_LINKS_SPEED_10G      0x30000000u
#define HW_LINKS_SPEED_1G       0x20000000u
#define HW_LINKS_SPEED_100M     0x10000000u
// HLREG0, MAXFRS
#define HW_HLREG0_TXCRCEN   HW_BIT(0)
#define HW_HLREG0_RXCRCSTRP HW_BIT(1)
#define HW_HLREG0_JUMBOEN   HW_BIT(2)
#define HW_HLREG0_TXPADEN   HW_BIT(10)
#define HW_HLREG0_LPBK      HW_BIT(15)
#define HW_MAXFRS_MFS_SHIFT 16
// MSCA
#define HW_MSCA_MDI_COMMAND HW_BIT(30)
// RXCTRL, DMATXCTL, RDRXCTL, SECTX/SECRX
#define HW_RXCTRL_RXEN         HW_BIT(0)
#define HW_DMATXCTL_TE         HW_BIT(0)
#define HW_DMATXCTL_GDV        HW_BIT(3)
#define HW_DMATXCTL_VT_SHIFT   16
#define HW_RDRXCTL_CRCSTRIP    HW_BIT(1)
#define HW_RDRXCTL_DMAIDONE    HW_BIT(3)
#define HW_RDRXCTL_RSCFRSTSIZE 0x003e0000u
#define HW_RDRXCTL_RSCACKC     HW_BIT(25)
#define HW_SECTXCTRL_TX_DIS    HW_BIT(1)
#define HW_SECTXSTAT_RDY       HW_BIT(0)
#define HW_SECRXCTRL_RX_DIS    HW_BIT(1)
#define HW_SECRXSTAT_RDY       HW_BIT(0)
#define HW_RTTDCS_ARBDIS       HW_BIT(6)
#define HW_FDIRCTRL_INIT_DONE  HW_BIT(3)
// RTTBCNRC
#define HW_RTTBCNRC_ENABLE HW_BIT(31)
#define HW_RTTBCNRC_FACTOR 0x00ffffffu // link rate by limit: 10 bits, and 14 after the point
// RXDCTL, TXDCTL, SRRCTL
#define HW_RXDCTL_ENABLE                HW_BIT(25)
#define HW_RXDCTL_SWFLSH                HW_BIT(26)
#define HW_RXDCTL_VME                   HW_BIT(30)
#define HW_TXDCTL_PTHRESH_SHIFT         0
#define HW_TXDCTL_HTHRESH_SHIFT         8
#define HW_TXDCTL_WTHRESH_SHIFT         16
#define HW_TXDCTL_ENABLE                HW_BIT(25)
#define HW_TXDCTL_SWFLSH                HW_BIT(26)
#define HW_TDWBAL_HEAD_WB_ENABLE        HW_BIT(0)
#define HW_SRRCTL_BSIZEPACKET_MASK      0x0000001fu // KiB
#define HW_SRRCTL_BSIZEHEADER_MASK      0x00003f00u
#define HW_SRRCTL_BSIZEHEADER_SHIFT     8 // 64-byte units
#define HW_SRRCTL_DESCTYPE_MASK         0x0e000000u
#define HW_SRRCTL_DESCTYPE_SHIFT        25
#define HW_SRRCTL_DESCTYPE_LEGACY       0u
#define HW_SRRCTL_DESCTYPE_ADV          1u // advanced, one buffer
#define HW_SRRCTL_DESCTYPE_SPLIT        2u // advanced, header split
#define HW_SRRCTL_DESCTYPE_SPLIT_ALWAYS 5u
#define HW_SRRCTL_DROP_EN               HW_BIT(28)
// PFQDE
#define HW_PFQDE_QDE         HW_BIT(0)
#define HW_PFQDE_INDEX_SHIFT 8
#define HW_PFQDE_WE          HW_BIT(16)
#define HW_PFQDE_RE          HW_BIT(17)
// FCTRL, VLNCTRL, MCSTCTRL, RXCSUM, RFCTL
#define HW_FCTRL_SBP        HW_BIT(1)
#define HW_FCTRL_MPE        HW_BIT(8)
#define HW_FCTRL_UPE        HW_BIT(9)
#define HW_FCTRL_BAM        HW_BIT(10)
#define HW_VLNCTRL_VET      0x0000ffffu
#define HW_VLNCTRL_CFI      HW_BIT(28)
#define HW_VLNCTRL_CFIEN    HW_BIT(29)
#define HW_VLNCTRL_VFE      HW_BIT(30)
#define HW_MCSTCTRL_MO_MASK 0x3u
#define HW_MCSTCTRL_MFE     HW_BIT(2)
#define HW_RXCSUM_IPPCSE    HW_BIT(12)
#define HW_RXCSUM_PCSD      HW_BIT(13)
#define HW_RAH_AV           HW_BIT(31)
#define HW_RAR_COUNT        128u
// PFVTCTL
#define HW_PFVTCTL_VT_ENA       HW_BIT(0)
#define HW_PFVTCTL_DEF_PL_SHIFT 7
#define HW_PFVTCTL_DEF_PL_MASK  0x00001f80u
#define HW_PFVTCTL_DIS_DEF_POOL HW_BIT(29)
#define HW_PFVTCTL_RPL_EN       HW_BIT(30)
#define HW_PFDTXGSWC_LBE        HW_BIT(0)
// PFVML2FLT (VMOLR)
#define HW_PFVML2FLT_UPE   HW_BIT(22)
#define HW_PFVML2FLT_VPE   HW_BIT(23)
#define HW_PFVML2FLT_AUPE  HW_BIT(24)
#define HW_PFVML2FLT_ROMPE HW_BIT(25)
#define HW_PFVML2FLT_ROPE  HW_BIT(26)
#define HW_PFVML2FLT_BAM   HW_BIT(27)
#define HW_PFVML2FLT_MPE   HW_BIT(28)
// PFVMVIR
#define HW_PFVMVIR_VLANA_MASK    0xc0000000u
#define HW_PFVMVIR_VLANA_DESC    0x00000000u // as the descriptor says
#define HW_PFVMVIR_VLANA_DEFAULT 0x40000000u // always the default tag
#define HW_PFVMVIR_VLANA_NEVER   0x80000000u
// PFVLVF
#define HW_PFVLVF_VI_EN           HW_BIT(31)
#define HW_PFVLVF_VLAN_MASK       0x00000fffu
#define HW_PFVFSPOOF_MACAS_SHIFT  0
#define HW_PFVFSPOOF_VLANAS_SHIFT 8
// MRQC, MTQC, PSRTYPE
#define HW_MRQC_MRQE_MASK     0x0000000fu
#define HW_MRQC_RSS           0x1u
#define HW_MRQC_VMDQ64        0x8u
#define HW_MRQC_VMDQ32_RSS    0xau // 32 pools, 4 queues each
#define HW_MRQC_VMDQ64_RSS    0xbu // 64 pools, 2 queues each
#define HW_MRQC_RSS_IPV4_TCP  HW_BIT(16)
#define HW_MRQC_RSS_IPV4      HW_BIT(17)
#define HW_MRQC_RSS_IPV6      HW_BIT(20)
#define HW_MRQC_RSS_IPV6_TCP  HW_BIT(21)
#define HW_MRQC_RSS_IPV4_UDP  HW_BIT(22)
#define HW_MRQC_RSS_IPV6_UDP  HW_BIT(23)
#define HW_MTQC_RT_ENA        HW_BIT(0)
#define HW_MTQC_VT_ENA        HW_BIT(1)
#define HW_MTQC_64Q_1PB       0x0u
#define HW_MTQC_64VF          0x4u
#define HW_MTQC_32VF          0x8u
#define HW_PSRTYPE_TCPHDR     HW_BIT(4)
#define HW_PSRTYPE_UDPHDR     HW_BIT(5)
#define HW_PSRTYPE_IPV4HDR    HW_BIT(8)
#define HW_PSRTYPE_IPV6HDR    HW_BIT(9)
#define HW_PSRTYPE_L2HDR      HW_BIT(12)
#define HW_PSRTYPE_RQPL_SHIFT 29 // log2 of the pool's RSS queues
// RTTBCNRC: rate factor = link speed / rate, 10.14 fixed point
#define HW_RTTBCNRC_RS_ENA       HW_BIT(31)
#define HW_RTTBCNRC_RF_INT_SHIFT 14
#define HW_RTTBCNRC_RF_DEC_MASK  0x00003fffu
// VTEICR and friends: bit n is MSI-X vector n
#define HW_VTEICR_MASK 0x7u

#endif

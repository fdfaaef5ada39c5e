// SPDX-License-Identifier: BSD-3-Clause
// Facts of VT-d: where registers are, and the formats in memory and in registers. For the unit and
// for those who program it. Bits are masks of the value as the CPU sees it; everything in memory is
// little-endian. Sections are those of the VT-d specification.
#ifndef VIREO_IOMMU_VTD_FORMAT_H
#define VIREO_IOMMU_VTD_FORMAT_H

#include <stdint.h>

#define VTD_MASK64(hi, lo) ((~0ull >> (63 - (hi))) & (~0ull << (lo)))

// Register offsets: VTD_GCMD, VTD_RTADDR, …; of an array, that of its first register.
enum vtd_register {
#define VTD_REG(name, offset, stride, count, width, reset, mask, kind, section, text)              \
    VTD_##name = (offset),
#include "iommu/vtd_regs.def"
#undef VTD_REG
};

#define VTD_PAGE_BYTES       4096u
#define VTD_PAGE_SHIFT       12
#define VTD_LEVEL_BITS       9
#define VTD_TABLE_ENTRIES    512u // 8 bytes each
#define VTD_HOST_ADDR_BITS   48   // HAW: table and page addresses above it are reserved bits
#define VTD_ADDR_MASK        VTD_MASK64(VTD_HOST_ADDR_BITS - 1, 12)
#define VTD_FAULT_RECORDS    8u
#define VTD_FAULT_RECORD_LEN 16u

// CAP (§11.4.2). What this unit can do.
#define VTD_CAP_ND_16BIT   6ull          // domain IDs of 16 bits
#define VTD_CAP_SAGAW_39   (1ull << 9)   // 3 levels
#define VTD_CAP_SAGAW_48   (1ull << 10)  // 4 levels
#define VTD_CAP_MGAW_48    (47ull << 16) // guest address width - 1
#define VTD_CAP_ZLR        (1ull << 22)
#define VTD_CAP_FRO(off)   ((uint64_t)(off) / 16 << 24)
#define VTD_CAP_SLLPS_2M   (1ull << 34)
#define VTD_CAP_SLLPS_1G   (1ull << 35)
#define VTD_CAP_PSI        (1ull << 39)
#define VTD_CAP_NFR(n)     ((uint64_t)((n)-1) << 40)
#define VTD_CAP_MAMV(bits) ((uint64_t)(bits) << 48)
#define VTD_CAP_DWD        (1ull << 54)
#define VTD_CAP_DRD        (1ull << 55)
#define VTD_MAMV           18u // page-selective invalidation: at most 2^18 pages, a 1 GiB page
#define VTD_CAP_VALUE                                                                              \
    (VTD_CAP_ND_16BIT | VTD_CAP_SAGAW_39 | VTD_CAP_SAGAW_48 | VTD_CAP_MGAW_48 | VTD_CAP_ZLR |      \
     VTD_CAP_FRO(VTD_FRCD_LO) | VTD_CAP_SLLPS_2M | VTD_CAP_SLLPS_1G | VTD_CAP_PSI |                \
     VTD_CAP_NFR(VTD_FAULT_RECORDS) | VTD_CAP_MAMV(VTD_MAMV) | VTD_CAP_DWD | VTD_CAP_DRD)

// ECAP (§11.4.3).
#define VTD_ECAP_C        (1ull << 0) // the walk snoops caches: no flushing of tables
#define VTD_ECAP_QI       (1ull << 1)
#define VTD_ECAP_PT       (1ull << 6)
#define VTD_ECAP_SC       (1ull << 7) // the SNP bit is allowed in leaf entries
#define VTD_ECAP_IRO(off) ((uint64_t)(off) / 16 << 8)
#define VTD_ECAP_VALUE                                                                             \
    (VTD_ECAP_C | VTD_ECAP_QI | VTD_ECAP_PT | VTD_ECAP_SC | VTD_ECAP_IRO(VTD_IVA))

// GCMD and GSTS (§11.4.4): the same bit asks and answers.
#define VTD_GCMD_TE   (1u << 31)
#define VTD_GCMD_SRTP (1u << 30)
#define VTD_GCMD_QIE  (1u << 26)
#define VTD_GSTS_TES  VTD_GCMD_TE
#define VTD_GSTS_RTPS VTD_GCMD_SRTP
#define VTD_GSTS_QIES VTD_GCMD_QIE

// CCMD (§11.4.6.1). Granularities: global, domain, device; 0 is what the unit answers to nonsense.
#define VTD_CCMD_ICC        (1ull << 63)
#define VTD_CCMD_CIRG_SHIFT 61
#define VTD_CCMD_CAIG_SHIFT 59
#define VTD_CCMD_CAIG_MASK  (3ull << VTD_CCMD_CAIG_SHIFT)

// IOTLB (§11.4.6.2). Granularities: global, domain, page.
#define VTD_IOTLB_IVT        (1ull << 63)
#define VTD_IOTLB_IIRG_SHIFT 60
#define VTD_IOTLB_IAIG_SHIFT 57
#define VTD_IOTLB_IAIG_MASK  (3ull << VTD_IOTLB_IAIG_SHIFT)
#define VTD_IOTLB_DRAIN      (3ull << 48) // DR, DW
#define VTD_IOTLB_DID_SHIFT  32
#define VTD_IVA_AM_MASK      0x3full
#define VTD_IVA_IH           (1ull << 6)

enum vtd_granularity {
    VTD_GRAN_NONE = 0,
    VTD_GRAN_GLOBAL = 1,
    VTD_GRAN_DOMAIN = 2,
    VTD_GRAN_SELECTIVE = 3, // of a device (context cache), of pages (IOTLB)
};

// FSTS (§11.4.7.1).
#define VTD_FSTS_PFO       (1u << 0)
#define VTD_FSTS_PPF       (1u << 1)
#define VTD_FSTS_IQE       (1u << 4)
#define VTD_FSTS_FRI_SHIFT 8
#define VTD_FSTS_FRI_MASK  (0xffu << VTD_FSTS_FRI_SHIFT)

// FECTL, IECTL (§11.4.7.2, §11.4.9.5), each followed by data, address, upper address.
#define VTD_EVENT_IM (1u << 31)
#define VTD_EVENT_IP (1u << 30)

// ICS, IQA, IQERCD (§11.4.9).
#define VTD_ICS_IWC         (1u << 0)
#define VTD_IQA_QS_MASK     7ull // 2^QS pages of 256 descriptors
#define VTD_IQ_DESC_BYTES   16u
#define VTD_IQ_DESCS_MAX    (256u << 7)
#define VTD_IQERCD_TAIL     1u // IQEI: tail outside the queue
#define VTD_IQERCD_FETCH    2u // the descriptor could not be read
#define VTD_IQERCD_TYPE     3u // unknown type
#define VTD_IQERCD_RESERVED 4u // reserved bits, or a reserved value of a field

// Fault record, high half (§11.4.7.6); the low half is the page address.
#define VTD_FRCD_F            (1ull << 63)
#define VTD_FRCD_READ         (1ull << 62) // T: 1 a read, 0 a write
#define VTD_FRCD_REASON_SHIFT 32
#define VTD_FRCD_REASON(hi)   ((unsigned)((hi) >> VTD_FRCD_REASON_SHIFT) & 0xff)
#define VTD_FRCD_SID(hi)      ((uint16_t)(hi))

// Fault reasons of legacy mode (§7.1.3).
enum vtd_fault {
    VTD_FAULT_NONE = 0,
    VTD_FAULT_ROOT_NOT_PRESENT = 0x1,
    VTD_FAULT_CONTEXT_NOT_PRESENT = 0x2,
    VTD_FAULT_CONTEXT_INVALID = 0x3,
    VTD_FAULT_ADDRESS_WIDTH = 0x4,
    VTD_FAULT_WRITE_DENIED = 0x5,
    VTD_FAULT_READ_DENIED = 0x6,
    VTD_FAULT_TABLE_ACCESS = 0x7,
    VTD_FAULT_ROOT_ACCESS = 0x8,
    VTD_FAULT_CONTEXT_ACCESS = 0x9,
    VTD_FAULT_ROOT_RESERVED = 0xa,
    VTD_FAULT_CONTEXT_RESERVED = 0xb,
    VTD_FAULT_ENTRY_RESERVED = 0xc,
    VTD_FAULT_INTERRUPT_RANGE = 0xe,
};

// Root entry, 16 bytes, indexed by bus (§9.1).
#define VTD_ROOT_ENTRY_BYTES 16u
#define VTD_ROOT_P           (1ull << 0)
#define VTD_ROOT_RESERVED    (~(VTD_ROOT_P | VTD_ADDR_MASK))

// Context entry, 16 bytes, indexed by device and function (§9.3).
#define VTD_CONTEXT_ENTRY_BYTES    16u
#define VTD_CONTEXT_LO_P           (1ull << 0)
#define VTD_CONTEXT_LO_FPD         (1ull << 1)
#define VTD_CONTEXT_LO_T_SHIFT     2
#define VTD_CONTEXT_LO_T_MASK      (3ull << VTD_CONTEXT_LO_T_SHIFT)
#define VTD_CONTEXT_T_SECOND_STAGE 0u
#define VTD_CONTEXT_T_PASS_THROUGH 2u
#define VTD_CONTEXT_LO_RESERVED                                                                    \
    (~(VTD_CONTEXT_LO_P | VTD_CONTEXT_LO_FPD | VTD_CONTEXT_LO_T_MASK | VTD_ADDR_MASK))
#define VTD_CONTEXT_HI_AW_MASK   7ull
#define VTD_CONTEXT_AW_39        1u // 3 levels
#define VTD_CONTEXT_AW_48        2u // 4 levels
#define VTD_CONTEXT_HI_DID_SHIFT 8
#define VTD_CONTEXT_HI_RESERVED  (VTD_MASK64(63, 24) | 1ull << 7) // 6:3 are ignored

// Second-stage entry, 8 bytes (§9.8). Bits 6:2, 10:8, 61:52 and 63 are ignored.
#define VTD_SS_R        (1ull << 0)
#define VTD_SS_W        (1ull << 1)
#define VTD_SS_PS       (1ull << 7) // a page of 2 MiB (level 2) or 1 GiB (level 3)
#define VTD_SS_SNP      (1ull << 11)
#define VTD_SS_RESERVED (1ull << 62 | VTD_MASK64(51, VTD_HOST_ADDR_BITS)) // at every level

// Level 1 is the last table. Shift of the page, or of what one entry covers, at `level`.
#define VTD_LEVEL_SHIFT(level) (VTD_PAGE_SHIFT + ((level)-1) * VTD_LEVEL_BITS)

// Invalidation descriptors, 16 bytes (§6.5.2).
#define VTD_INV_TYPE_MASK           0xfull
#define VTD_INV_CONTEXT             1u
#define VTD_INV_IOTLB               2u
#define VTD_INV_WAIT                5u
#define VTD_INV_GRAN_SHIFT          4
#define VTD_INV_DID_SHIFT           16
#define VTD_INV_CONTEXT_SID_SHIFT   32
#define VTD_INV_CONTEXT_LO_RESERVED (VTD_MASK64(63, 50) | VTD_MASK64(15, 6))
#define VTD_INV_IOTLB_DW            (1ull << 6)
#define VTD_INV_IOTLB_DR            (1ull << 7)
#define VTD_INV_IOTLB_LO_RESERVED   (VTD_MASK64(63, 32) | VTD_MASK64(15, 8))
#define VTD_INV_IOTLB_HI_RESERVED   VTD_MASK64(11, 7) // the rest is as in IVA
#define VTD_INV_WAIT_IF             (1ull << 4)       // interrupt
#define VTD_INV_WAIT_SW             (1ull << 5)       // write the status
#define VTD_INV_WAIT_FN             (1ull << 6)       // fence
#define VTD_INV_WAIT_LO_RESERVED    VTD_MASK64(31, 7)
#define VTD_INV_WAIT_DATA_SHIFT     32
#define VTD_INV_WAIT_HI_RESERVED    3ull // status address, of a double word

#endif

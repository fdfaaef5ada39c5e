// SPDX-License-Identifier: BSD-3-Clause
// The PF-VF mailbox: bits of the hardware (82599 §7.10, §8.2.3.27, §8.3), and the messages
// that Intel's PF and VF drivers send through it. The hardware never looks at a message.
#ifndef VIREO_HW82599_MAILBOX_H
#define VIREO_HW82599_MAILBOX_H

#include <stdint.h>

#define HW_MAILBOX_WORDS 16u // 32 bits each

// VFMAILBOX
#define HW_VFMAILBOX_REQ     0x01u // wo: request to the PF; releases VFU
#define HW_VFMAILBOX_ACK     0x02u // wo: the PF's message was received; releases VFU
#define HW_VFMAILBOX_VFU     0x04u // the VF holds the buffer; not set while PFU is
#define HW_VFMAILBOX_PFU     0x08u // ro: the PF holds the buffer
#define HW_VFMAILBOX_PFSTS   0x10u // rc: the PF wrote a message
#define HW_VFMAILBOX_PFACK   0x20u // rc: the PF acknowledged ours
#define HW_VFMAILBOX_RSTI    0x40u // ro: the PF is in reset; not read to clear
#define HW_VFMAILBOX_RSTD    0x80u // rc: the PF's reset is done
#define HW_VFMAILBOX_RC_BITS (HW_VFMAILBOX_PFSTS | HW_VFMAILBOX_PFACK | HW_VFMAILBOX_RSTD) // 0xb0

// PFMAILBOX
#define HW_PFMAILBOX_STS  0x01u // wo: a message for the VF; releases PFU
#define HW_PFMAILBOX_ACK  0x02u // wo: the VF's message was received; releases PFU
#define HW_PFMAILBOX_VFU  0x04u // ro: the VF holds the buffer
#define HW_PFMAILBOX_PFU  0x08u // the PF holds the buffer; not set while VFU is
#define HW_PFMAILBOX_RVFU 0x10u // wo: take VFU from a VF that is stuck

// PFMBICR[vf / 16]: bit vf % 16 a request, bit 16 + vf % 16 an acknowledgement.
#define HW_PFMBICR_INDEX(vf) ((vf) / 16u)
#define HW_PFMBICR_REQ(vf)   (UINT32_C(1) << ((vf) % 16u))
#define HW_PFMBICR_ACK(vf)   (UINT32_C(0x10000) << ((vf) % 16u))
// PFVFLRE[vf / 32]: bit vf % 32.
#define HW_PFVFLRE_INDEX(vf) ((vf) / 32u)
#define HW_PFVFLRE_BIT(vf)   (UINT32_C(1) << ((vf) % 32u))

// --- messages: word 0 -----------------------------------------------------------------------

#define HW_MSG_TYPE_MASK  0x0000ffffu
#define HW_MSG_ACK        0x80000000u // or'ed into the reply: done
#define HW_MSG_NACK       0x40000000u // or'ed into the reply: refused
#define HW_MSG_CTS        0x20000000u // the PF knows the VF: clear to send
#define HW_MSG_INFO_SHIFT 16
#define HW_MSG_INFO_MASK  0x00ff0000u // extra information of the request

enum hw_vf_message {
    HW_MSG_VF_RESET = 0x01,           // reply: ACK, MAC in words 1-2, multicast type in word 3
    HW_MSG_SET_MAC_ADDR = 0x02,       // MAC in words 1-2
    HW_MSG_SET_MULTICAST = 0x03,      // info: count; 16-bit hashes from word 1
    HW_MSG_SET_VLAN = 0x04,           // info: 1 add, 0 remove; word 1: VLAN ID
    HW_MSG_SET_LPE = 0x05,            // word 1: largest frame, bytes with FCS
    HW_MSG_SET_MACVLAN = 0x06,        // info: index, 0 clears all; MAC in words 1-2
    HW_MSG_API_NEGOTIATE = 0x08,      // word 1: enum hw_mailbox_api
    HW_MSG_GET_QUEUES = 0x09,         // 1.1; reply words: HW_MSG_QUEUES_*
    HW_MSG_GET_RETA = 0x0a,           // 1.2; reply: words 1 …, 2 bits an entry
    HW_MSG_GET_RSS_KEY = 0x0b,        // 1.2; reply: 40 bytes from word 1
    HW_MSG_UPDATE_XCAST_MODE = 0x0c,  // 1.2; word 1: enum hw_xcast_mode
    HW_MSG_IPSEC_ADD = 0x0d,          // 1.4
    HW_MSG_IPSEC_DEL = 0x0e,          // 1.4
    HW_MSG_GET_LINK_STATE = 0x10,     // reply: word 1, 1 where the PF lets the VF's link be up
    HW_MSG_GET_PF_LINK_STATE = 0x11,  // 1.6
    HW_MSG_FEATURES_NEGOTIATE = 0x12, // 1.7
    HW_MSG_PF_CONTROL = 0x0100,       // from the PF, unasked: look at the link, with or without CTS
};

// Word 1 of API_NEGOTIATE: wire values in the order of history, not of version.
enum hw_mailbox_api {
    HW_API_10 = 0,
    HW_API_20 = 1,
    HW_API_11 = 2,
    HW_API_12 = 3,
    HW_API_13 = 4,
    HW_API_14 = 5,
    HW_API_15 = 6,
    HW_API_16 = 7,
    HW_API_17 = 8,
};

// Words of the reply to GET_QUEUES.
enum {
    HW_MSG_QUEUES_TX = 1, // queues that the VF may use
    HW_MSG_QUEUES_RX = 2,
    HW_MSG_QUEUES_TRANS_VLAN = 3, // traffic classes or a port VLAN in force
    HW_MSG_QUEUES_DEFAULT = 4,    // default queue
};

#define HW_MSG_PERMADDR_WORDS        4u // length of the reply to VF_RESET
#define HW_MSG_PERMADDR_MC_TYPE_WORD 3u
#define HW_MSG_RETA_ENTRIES          128u // of a VF: 2 bits each, 16 a word
#define HW_MSG_RSS_KEY_BYTES         40u

enum hw_xcast_mode {
    HW_XCAST_NONE = 0,
    HW_XCAST_MULTI = 1, // default: multicast by table, broadcast
    HW_XCAST_ALLMULTI = 2,
    HW_XCAST_PROMISC = 3, // 1.3
};

#endif

// SPDX-License-Identifier: BSD-3-Clause
// The frames of the embedded demo, whose every byte follows from a sequence number, and a plain
// software check of Internet checksums: independent of the card and of the driver.
// Pure; any thread.
#ifndef VIREO_DEMO_FRAME_H
#define VIREO_DEMO_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver/vf.h"

#define DEMO_ETHERTYPE   0x88b5u // IEEE 802 local experimental
#define DEMO_HEADER_LEN  24u     // Ethernet, kind, sequence number
#define DEMO_FRAME_MIN   60u
#define DEMO_BUFFER_SIZE 2048u // bytes of a pool buffer

enum demo_kind { DEMO_PING = 1, DEMO_ECHO, DEMO_DATA, DEMO_ACK, DEMO_END, DEMO_SHOUT };

struct demo_addresses {
    uint8_t destination[6], source[6];
};

// A frame of len_bytes (DEMO_FRAME_MIN …) in a chain of the driver's buffers; all bytes after the
// header are a pattern that follows from `seq`. NULL where the pool is short.
struct vf_buffer *demo_frame_make(struct vf_driver *vf, const struct demo_addresses *addresses,
                                  enum demo_kind kind, uint64_t seq, uint32_t len_bytes);
// The demo's header of a received frame. False where it is not one of ours.
bool demo_frame_read(const struct vf_buffer *frame, enum demo_kind *kind, uint64_t *seq);
uint32_t demo_frame_len_bytes(const struct vf_buffer *frame);
// True where it is len_bytes long and every byte after the header is the pattern of `seq`.
bool demo_frame_verify(const struct vf_buffer *frame, uint64_t seq, uint32_t len_bytes);

// `len` bytes of the pattern of `seq`, from `offset` in it on.
void demo_pattern(uint64_t seq, uint64_t offset, uint8_t *out, size_t len);

// Internet checksum (RFC 1071) of `len` bytes added to `sum`: not folded, not inverted.
uint32_t demo_sum(uint32_t sum, const void *data, size_t len);
uint16_t demo_sum_fold(uint32_t sum); // 0xffff for bytes with a right checksum in them

// IPv4 packets between the demo's addresses, whose payload is the pattern of `seq`.
#define DEMO_IPV4_UDP_HEADERS 42u // Ethernet, IPv4, UDP
#define DEMO_IPV4_TCP_HEADERS 54u
#define DEMO_TCP_SEQ_FIRST    1000u
// UDP with checksums left to the card. payload up to one buffer.
struct vf_buffer *demo_udp_make(struct vf_driver *vf, const struct demo_addresses *addresses,
                                uint64_t seq, uint32_t payload_bytes);
// TCP to be cut into segments of mss bytes by the card.
struct vf_buffer *demo_tso_make(struct vf_driver *vf, const struct demo_addresses *addresses,
                                uint64_t seq, uint32_t payload_bytes, uint16_t mss);

// A received IPv4 packet of the demo, checked: lengths, both checksums, the card's verdict on them.
struct demo_packet {
    uint8_t protocol;
    uint32_t tcp_seq;
    uint16_t ip_id;
    uint8_t tcp_flags;
    const uint8_t *payload;
    uint32_t payload_bytes;
};
// NULL, or what is wrong with it. `frame` is one buffer long.
const char *demo_packet_check(const struct vf_buffer *frame, struct demo_packet *out);
bool demo_packet_is_ipv4(const struct vf_buffer *frame);

#endif

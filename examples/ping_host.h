// SPDX-License-Identifier: BSD-3-Clause
// A host of one address, as far as that is needed to ping it: for vf-ping.
#ifndef VIREO_EXAMPLES_PING_HOST_H
#define VIREO_EXAMPLES_PING_HOST_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "driver/vf.h"

struct ping_host {
    int family; // of the address: AF_INET or AF_INET6
    union {
        struct in_addr v4;
        struct in6_addr v6;
    } address;
    uint8_t mac[6];
    unsigned long long asked, echoes; // questions for its MAC and echo requests that it answered
};

// The address, of either kind. False: it is none.
bool ping_host_parse(struct ping_host *h, const char *text);
// The multicast groups to receive: none, or where IPv6 asks for the MAC, which the last three bytes
// of the address make. How many.
unsigned ping_host_groups(const struct ping_host *h, uint8_t groups[1][6]);
// True: `b`, a frame that came, is now the answer to it. Else it is nothing for us.
bool ping_host_answer(struct ping_host *h, struct vf_buffer *b);

#endif

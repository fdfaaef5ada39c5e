// SPDX-License-Identifier: BSD-3-Clause
// Whether other threads want the core that a polling worker spins on. A worker that spins there
// takes time from the very guests it polls for, so it had better sleep between looks. Known by how
// long the worker itself had to wait for a core (/proc/thread-self/schedstat); where the kernel
// does not tell, nothing is ever crowded. Nor is it where the worker's affinity names one core of
// several: who pins a worker means it to spin. Worker's thread only. Private to src/nic.
#ifndef VIREO_NIC_CROWD_H
#define VIREO_NIC_CROWD_H

#include <stdbool.h>
#include <stdint.h>

#define NIC_CROWD_LOOK_MS      10u  // how often a worker that spins looks
#define NIC_CROWD_WAIT_PERCENT 10u  // of the time since the last look: more is crowded
#define NIC_CROWD_HOLD_MS      500u // how long it counts as crowded, before the next try
#define NIC_CROWD_TEXT_LEN_MAX 64u

struct nic_crowd {
    int fd;              // -1: not known
    uint64_t looked_ns;  // CLOCK_MONOTONIC
    uint64_t waited_ns;  // at that time, since the thread began
    uint64_t crowded_ns; // crowded until then
};

void nic_crowd_open(struct nic_crowd *crowd); // of the calling thread
void nic_crowd_close(struct nic_crowd *crowd);
bool nic_crowd_is(struct nic_crowd *crowd, uint64_t now_ns);
// What nic_crowd_is() does with the kernel's figure.
void nic_crowd_note(struct nic_crowd *crowd, uint64_t waited_ns, uint64_t now_ns);

#endif

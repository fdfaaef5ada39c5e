// SPDX-License-Identifier: BSD-3-Clause
// Our own card as a subject: a machine in one process, a guest with its VFs in this one.
//
// Modes of a shape:
//   circulate      two VFs, frames circulate between them through the guest
//   verify         the same, every byte and number of each frame checked; value: bad frames
//   circulate63    the same, with 61 more VFs assigned that do nothing
//   one-way        VF 0 sends to VF 1 as fast as it can; fan-in: VFs 0 to 3 to VF 4; fan-out: VF 0
//                  to VFs 1 to 4 in turn; to-uplink: VF 0 to the cable, where nothing is;
//                  from-uplink: from a capture to VF 0
//   ring63         63 VFs, each sends to the next; value: Jain's index of what arrived
//   round-trip     one frame there and back at a time, by polling: `frames` counts round trips
//   step-N         63 VFs, doorbells mapped: one frame there, sent while the worker's back-off is
//                  at step N (nic_worker_backoff_step()): ns is the time under way; value: what the
//                  machine used of a core in that step
//   asleep         the same with trapped doorbells, which need no looking
//   idle-mapped, idle-trapped   63 VFs assigned, nothing is sent. frames: times that a thread of
//                  the machine woke; value: what the machine used of a core
//   irq-mapped, irq-trapped     as round-trip, the guest sleeps until the interrupt, 20 ms between
#ifndef VIREO_BENCH_CARD_H
#define VIREO_BENCH_CARD_H

#include "bench/capture.h"
#include "bench/guest.h"
#include "bench/machine.h"
#include "bench/sched.h"
#include "bench/subject.h"

struct bench_card {
    struct bench_machine *machine;
    struct bench_guest guest;
    struct bench_lane *lane[2];
    struct bench_shape shape;
    const struct bench_mode *mode;        // NULL: no shape
    char capture[BENCH_CAPTURE_PATH_LEN]; // the machine's uplink reads it again and again
    uint64_t bad;                         // frames that were not as they should be
    // Traffic from a generator: who sends to whom.
    unsigned sender_count, receiver_first, receiver_count;
    // After a frame, when the next one may be sent so that it meets the step that is measured.
    uint64_t step_from_ns, step_to_ns, step_trips;
};

struct bench_mode {
    const char *name; // of the shape; where it ends with '-', a number follows
    unsigned vfs, shared;
    bool trapped, interrupts, replay;
    int (*open)(struct bench_card *card);   // NULL: nothing to prepare
    int (*settle)(struct bench_card *card); // before each sample; NULL: nothing to do
    // Until `end_ns`; adds to out->frames, and to out->ns where it is not simply the time. May set
    // out->value.
    int (*run)(struct bench_card *card, uint64_t end_ns, struct bench_sample *out);
};

// By name; NULL. (bench/card_modes.c)
const struct bench_mode *bench_mode_find(const char *name);

int bench_card_main(void); // an exit code

#endif

// SPDX-License-Identifier: BSD-3-Clause
#include "nic/crowd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

static bool has_core_of_its_own(void)
{
    cpu_set_t cores;

    return sysconf(_SC_NPROCESSORS_ONLN) > 1 && !sched_getaffinity(0, sizeof cores, &cores) &&
           CPU_COUNT(&cores) == 1;
}

void nic_crowd_open(struct nic_crowd *crowd)
{
    *crowd = (struct nic_crowd){.fd = -1};
    if (!has_core_of_its_own())
        crowd->fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

void nic_crowd_close(struct nic_crowd *crowd)
{
    if (crowd->fd >= 0)
        close(crowd->fd);
    crowd->fd = -1;
}

void nic_crowd_note(struct nic_crowd *crowd, uint64_t waited_ns, uint64_t now_ns)
{
    uint64_t past_ns = now_ns - crowd->looked_ns;

    // After a pause, in which nobody span, the share would say nothing: only a beginning.
    if (past_ns <= 2 * NIC_CROWD_LOOK_MS * NS_PER_MS &&
        (waited_ns - crowd->waited_ns) * 100 > past_ns * NIC_CROWD_WAIT_PERCENT)
        crowd->crowded_ns = now_ns + NIC_CROWD_HOLD_MS * NS_PER_MS;
    crowd->looked_ns = now_ns;
    crowd->waited_ns = waited_ns;
}

bool nic_crowd_is(struct nic_crowd *crowd, uint64_t now_ns)
{
    char text[NIC_CROWD_TEXT_LEN_MAX + 1];
    uint64_t ran_ns, waited_ns;
    ssize_t len;

    if (now_ns < crowd->crowded_ns)
        return true;
    if (crowd->fd < 0 || now_ns - crowd->looked_ns < NIC_CROWD_LOOK_MS * NS_PER_MS)
        return false;
    len = pread(crowd->fd, text, NIC_CROWD_TEXT_LEN_MAX, 0);
    text[len > 0 ? len : 0] = '\0';
    // "time on a core, time waiting for one, slices"
    if (sscanf(text, "%" SCNu64 " %" SCNu64, &ran_ns, &waited_ns) != 2) {
        nic_crowd_close(crowd);
        return false;
    }
    nic_crowd_note(crowd, waited_ns, now_ns);
    return now_ns < crowd->crowded_ns;
}

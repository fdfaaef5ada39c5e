// SPDX-License-Identifier: BSD-3-Clause
#include "machine/loop.h"

#include <signal.h>

#include "mem/space.h"

int machine_loop_create(sd_event **out)
{
    sd_event *loop = NULL;
    sigset_t signals;
    int ret;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    ret = mem_sigbus_install();
    if (ret >= 0)
        ret = sd_event_default(&loop);
    if (ret >= 0)
        ret = sd_event_add_signal(loop, NULL, SIGTERM, NULL, NULL); // NULL: ends the loop with 0
    if (ret >= 0)
        ret = sd_event_add_signal(loop, NULL, SIGINT, NULL, NULL);
    if (ret < 0) {
        sd_event_unref(loop);
        return ret;
    }
    *out = loop;
    return 0;
}

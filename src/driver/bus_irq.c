// SPDX-License-Identifier: BSD-3-Clause
#include "driver/bus_irq.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

void bus_irqs_close(struct bus_irqs *irqs)
{
    while (irqs->count)
        close(irqs->fds[--irqs->count]);
}

static int fds_open(struct bus_irqs *irqs, unsigned count)
{
    while (irqs->count < count) {
        int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

        if (fd < 0)
            return -errno;
        irqs->fds[irqs->count++] = fd;
    }
    return 0;
}

int bus_irqs_enable(struct bus_irqs *irqs, struct driver_bus *bus, bus_irqs_set *set,
                    unsigned available, unsigned vectors, int *fds)
{
    int ret;

    if (!vectors || vectors > available || vectors > BUS_VECTORS_MAX)
        return -ENOTSUP;
    if (irqs->count) {
        ret = set(bus, NULL, 0);
        if (ret)
            return ret;
        bus_irqs_close(irqs);
    }
    ret = fds_open(irqs, vectors);
    if (!ret)
        ret = set(bus, irqs->fds, vectors);
    if (ret)
        bus_irqs_close(irqs);
    else
        memcpy(fds, irqs->fds, vectors * sizeof fds[0]);
    return ret;
}

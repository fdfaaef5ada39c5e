// SPDX-License-Identifier: BSD-3-Clause
// A bus's interrupts as eventfds: for the kinds of bus, not for drivers.
// Threads: one, the bus's.
#ifndef VIREO_DRIVER_BUS_IRQ_H
#define VIREO_DRIVER_BUS_IRQ_H

#include "driver/bus.h"

#define BUS_VECTORS_MAX 64u

struct bus_irqs {
    int fds[BUS_VECTORS_MAX];
    unsigned count;
};

// How a kind of bus says who is to be signalled: fds[i] for vector i; count 0: nobody. 0 or -errno.
typedef int bus_irqs_set(struct driver_bus *bus, const int *fds, unsigned count);

// driver_bus_ops.irq_enable where the function has `available` vectors: takes back what was there,
// makes new eventfds and hands them out. 0, -ENOTSUP (none or too many), -errno: none is left.
int bus_irqs_enable(struct bus_irqs *irqs, struct driver_bus *bus, bus_irqs_set *set,
                    unsigned available, unsigned vectors, int *fds);
void bus_irqs_close(struct bus_irqs *irqs); // who signals them is gone, or told

#endif

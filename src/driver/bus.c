// SPDX-License-Identifier: BSD-3-Clause
#include "driver/bus.h"

#define COMMAND_OFFSET       0x04u
#define COMMAND_MEMORY_SPACE (1u << 1)
#define COMMAND_BUS_MASTER   (1u << 2)

void driver_bus_enable(struct driver_bus *bus)
{
    uint32_t command = bus->ops->config_read(bus, COMMAND_OFFSET, 2);

    bus->ops->config_write(bus, COMMAND_OFFSET, 2,
                           (command | COMMAND_MEMORY_SPACE | COMMAND_BUS_MASTER) & 0xffff);
}

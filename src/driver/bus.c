// SPDX-License-Identifier: BSD-3-Clause
#include "driver/bus.h"

#include <string.h>

#include "driver/vfio_place.h"

#define COMMAND_OFFSET       0x04u
#define COMMAND_MEMORY_SPACE (1u << 1)
#define COMMAND_BUS_MASTER   (1u << 2)

void driver_bus_enable(struct driver_bus *bus)
{
    uint32_t command = bus->ops->config_read(bus, COMMAND_OFFSET, 2);

    bus->ops->config_write(bus, COMMAND_OFFSET, 2,
                           (command | COMMAND_MEMORY_SPACE | COMMAND_BUS_MASTER) & 0xffff);
}

int driver_bus_open(const char *spec, struct driver_bus **out, char *error, size_t error_len)
{
    static const char prefix[] = "vfio:";
    char address[VFIO_ADDRESS_BYTES];

    if (strncmp(spec, prefix, sizeof prefix - 1) == 0)
        return driver_bus_vfio_open(spec + sizeof prefix - 1, out, error, error_len);
    if (vfio_parse_address(spec, address))
        return driver_bus_vfio_open(address, out, error, error_len);
    return driver_bus_vfiouser_open(spec, out, error, error_len);
}

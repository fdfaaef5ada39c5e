// SPDX-License-Identifier: BSD-3-Clause
#include "driver/vfio_place.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char hex_digits[] = "0123456789abcdefABCDEF";

// Takes min to max hex digits and, if it is not 0, the character after them. NULL: not there.
static const char *take_hex(const char *text, size_t min, size_t max, char end,
                            unsigned long *value)
{
    size_t len = strspn(text, hex_digits);

    if (len < min || len > max || text[len] != end)
        return NULL;
    *value = strtoul(text, NULL, 16);
    return text + len + (end ? 1 : 0);
}

bool vfio_parse_address(const char *text, char address[VFIO_ADDRESS_BYTES])
{
    unsigned long domain = 0, bus, device, function;
    const char *next = take_hex(text, 4, 8, ':', &domain);

    if (next)
        text = next;
    text = take_hex(text, 2, 2, ':', &bus);
    text = text ? take_hex(text, 2, 2, '.', &device) : NULL;
    text = text ? take_hex(text, 1, 1, '\0', &function) : NULL;
    if (!text || device > 31 || function > 7)
        return false;
    snprintf(address, VFIO_ADDRESS_BYTES, "%04lx:%02lx:%02lx.%lx", domain & UINT32_MAX, bus & 0xff,
             device, function);
    return true;
}

// The last part of what a symbolic link of sysfs points to; empty where there is none.
static void link_name(const char *path, char *name, size_t len)
{
    char target[PATH_MAX];
    ssize_t n = readlink(path, target, sizeof target - 1);
    const char *last;

    name[0] = '\0';
    if (n < 0)
        return;
    target[n] = '\0';
    last = strrchr(target, '/');
    snprintf(name, len, "%.*s", (int)len - 1, last ? last + 1 : target);
}

static void driver_name(const char *sysfs, const char *address, char *name, size_t len)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/bus/pci/devices/%s/driver", sysfs, address);
    link_name(path, name, len);
}

int vfio_find_group(const char *sysfs, const char *address, unsigned *group, char *error,
                    size_t error_len)
{
    char path[PATH_MAX], name[64], *end;

    snprintf(path, sizeof path, "%s/bus/pci/devices/%s", sysfs, address);
    if (access(path, F_OK)) {
        snprintf(error, error_len,
                 "%s: no such PCI function; a VF is there once its PF has VFs: "
                 "echo N > /sys/bus/pci/devices/PF/sriov_numvfs",
                 address);
        return -ENODEV;
    }
    driver_name(sysfs, address, name, sizeof name);
    if (strcmp(name, "vfio-pci") != 0) {
        char unbind[64] = "";

        if (name[0])
            snprintf(unbind, sizeof unbind, "echo %s > devices/%s/driver/unbind; ", address,
                     address);
        snprintf(error, error_len,
                 "%s has %s%s, not vfio-pci; as root: modprobe vfio-pci; cd /sys/bus/pci; "
                 "%secho vfio-pci > devices/%s/driver_override; echo %s > drivers_probe",
                 address, name[0] ? "the driver " : "no driver", name, unbind, address, address);
        return -EPERM;
    }
    snprintf(path, sizeof path, "%s/bus/pci/devices/%s/iommu_group", sysfs, address);
    link_name(path, name, sizeof name);
    errno = 0;
    *group = (unsigned)strtoul(name, &end, 10);
    if (!name[0] || *end || errno) {
        snprintf(error, error_len,
                 "%s is in no IOMMU group: the IOMMU is off; boot with "
                 "intel_iommu=on (AMD: amd_iommu=on)",
                 address);
        return -ENOTSUP;
    }
    return 0;
}

unsigned vfio_list_strangers(const char *sysfs, unsigned group, char *out, size_t len)
{
    char path[PATH_MAX], name[64];
    unsigned count = 0;
    size_t used = 0;
    struct dirent *entry;
    DIR *dir;

    out[0] = '\0';
    snprintf(path, sizeof path, "%s/kernel/iommu_groups/%u/devices", sysfs, group);
    dir = opendir(path);
    if (!dir)
        return 0;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        driver_name(sysfs, entry->d_name, name, sizeof name);
        // A bridge's driver and a function without one are no harm.
        if (!name[0] || strcmp(name, "vfio-pci") == 0 || strcmp(name, "pcieport") == 0)
            continue;
        if (used < len)
            used += (size_t)snprintf(out + used, len - used, "%s%s (%s)", count ? ", " : "",
                                     entry->d_name, name);
        count++;
    }
    closedir(dir);
    return count;
}

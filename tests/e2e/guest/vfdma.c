// SPDX-License-Identifier: BSD-3-Clause
// Makes a VF without a driver fetch a transmit descriptor from an address that nobody gave it: what
// a driver gone wild would do. Usage: vfdma 0001:01:10.0 IOVA
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BAR_LEN       0x4000
#define CONFIG_CMD    4
#define CMD_MASTER    4
#define VFTDBAL       0x2000
#define VFTDBAH       0x2004
#define VFTDLEN       0x2008
#define VFTDH         0x2010
#define VFTDT         0x2018
#define VFTXDCTL      0x2028
#define TXDCTL_ENABLE (1u << 25)

static int open_file(const char *device, const char *name)
{
    char path[256];
    int fd;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", device, name);
    fd = open(path, O_RDWR | O_SYNC);
    if (fd < 0) {
        perror(path);
        exit(1);
    }
    return fd;
}

static void pause_ms(unsigned ms)
{
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000l};

    nanosleep(&ts, NULL);
}

int main(int argc, char **argv)
{
    uint64_t iova = argc == 3 ? strtoull(argv[2], NULL, 0) : 0;
    volatile uint32_t *regs;
    uint16_t command;
    int config;

    if (!iova) {
        fprintf(stderr, "usage: vfdma DEVICE IOVA\n");
        return 2;
    }
    if (write(open_file(argv[1], "enable"), "1", 1) != 1)
        perror("enable");
    config = open_file(argv[1], "config");
    if (pread(config, &command, 2, CONFIG_CMD) != 2)
        return 1;
    command |= CMD_MASTER;
    if (pwrite(config, &command, 2, CONFIG_CMD) != 2)
        return 1;
    regs =
        mmap(NULL, BAR_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, open_file(argv[1], "resource0"), 0);
    if (regs == MAP_FAILED) {
        perror("resource0");
        return 1;
    }
    regs[VFTXDCTL / 4] = 0;
    regs[VFTDBAL / 4] = (uint32_t)iova;
    regs[VFTDBAH / 4] = (uint32_t)(iova >> 32);
    regs[VFTDLEN / 4] = 4096;
    regs[VFTDH / 4] = 0;
    regs[VFTDT / 4] = 0;
    regs[VFTXDCTL / 4] = TXDCTL_ENABLE;
    for (int i = 0; i < 100 && !(regs[VFTXDCTL / 4] & TXDCTL_ENABLE); i++)
        pause_ms(10);
    regs[VFTDT / 4] = 1;
    pause_ms(200);
    printf("enabled %d, head %u\n", !!(regs[VFTXDCTL / 4] & TXDCTL_ENABLE), regs[VFTDH / 4]);
    regs[VFTXDCTL / 4] = 0;
    // As it was: a function that counts as enabled is not woken for its next driver.
    if (write(open_file(argv[1], "enable"), "0", 1) != 1)
        perror("enable");
    return 0;
}

// SPDX-License-Identifier: BSD-3-Clause
#include "nic/sfp.h"

#include <string.h>

#include "nic/port.h"

#define DEVICE_ADDRESS 0xa0u // bit 0 says read

static uint8_t sum(const uint8_t *bytes, unsigned count)
{
    uint8_t total = 0;

    for (unsigned i = 0; i < count; i++)
        total = (uint8_t)(total + bytes[i]);
    return total;
}

void nic_sfp_init(struct nic_sfp *sfp)
{
    uint8_t *e = sfp->eeprom;

    memset(sfp, 0, sizeof *sfp);
    sfp->clock = sfp->data = sfp->release = true;
    // SFF-8472 table 4-1.
    e[0] = 0x03;  // identifier: SFP
    e[1] = 0x04;  // identified by this EEPROM
    e[2] = 0x07;  // LC connector
    e[3] = 0x10;  // 10GBASE-SR, and not 1 Gb/s too
    e[11] = 0x06; // 64B/66B
    e[12] = 103;  // 10.3 Gb/s
    e[16] = 8;    // 80 m of 50 um fibre
    e[17] = 3;    // 30 m of 62.5 um fibre
    e[19] = 30;   // 300 m of OM3
    memcpy(e + 20, "Vireo           ", 16);
    e[37] = 0x00; // an Intel OUI: PF drivers refuse others
    e[38] = 0x1b;
    e[39] = 0x21;
    memcpy(e + 40, "VIREO-SR        ", 16);
    memcpy(e + 56, "A   ", 4);
    e[60] = 0x03; // 850 nm
    e[61] = 0x52;
    e[63] = sum(e, 63);
    e[65] = 0x1a; // TX disable, TX fault, loss of signal
    memcpy(e + 68, "0000000000000001", 16);
    memcpy(e + 84, "260101  ", 8);
    e[95] = sum(e + 64, 31);
}

// The eighth bit of a byte has been clocked in. True to acknowledge it.
static bool byte_received(struct nic_sfp *sfp)
{
    switch (sfp->state) {
    case NIC_I2C_ADDRESS:
        if ((sfp->shift & 0xfe) != DEVICE_ADDRESS) {
            sfp->state = NIC_I2C_IDLE; // somebody else's: no diagnostics page (A2) here
            return false;
        }
        sfp->state = sfp->shift & 1 ? NIC_I2C_READ : NIC_I2C_OFFSET;
        return true;
    case NIC_I2C_OFFSET:
        sfp->offset = sfp->shift;
        sfp->state = NIC_I2C_WRITE;
        return true;
    default:
        return false; // write-protected
    }
}

static void clock_rises(struct nic_sfp *sfp)
{
    if (sfp->state == NIC_I2C_IDLE)
        return;
    if (sfp->bit_count < 8) {
        sfp->shift = (uint8_t)(sfp->shift << 1 | (sfp->data && sfp->release));
        sfp->bit_count++;
    } else {
        sfp->acked = !(sfp->data && sfp->release); // whoever received pulls the line low
        sfp->bit_count = 9;
    }
}

static void send_bit(struct nic_sfp *sfp)
{
    sfp->release = sfp->eeprom[sfp->offset] >> (7 - sfp->bit_count) & 1;
}

static void clock_falls(struct nic_sfp *sfp)
{
    bool sending = sfp->state == NIC_I2C_READ;

    switch (sfp->bit_count) {
    case 8:
        // A byte was sent: leave the line to the card's acknowledge. One was received: ours.
        if (sending) {
            sfp->release = true;
            sfp->offset++;
        } else {
            sfp->release = !byte_received(sfp);
        }
        break;
    case 9:
        sfp->bit_count = 0;
        sfp->release = true;
        if (sending && !sfp->acked)
            sfp->state = NIC_I2C_IDLE; // the card has enough
        else if (sending)
            send_bit(sfp);
        break;
    default:
        if (sending)
            send_bit(sfp);
        break;
    }
}

void nic_sfp_i2cctl_write(struct nic_port *port, unsigned index, uint32_t value)
{
    struct nic_sfp *sfp = &port->sfp;
    bool clock = value & HW_I2C_CLK_OUT;
    bool data = value & HW_I2C_DATA_OUT;

    (void)index;
    // Data first: a driver that moves both lines at once moves data while the clock is low.
    if (sfp->clock && clock && data != sfp->data) {
        // Data moves while the clock is high: start (falls) or stop (rises).
        sfp->state = data ? NIC_I2C_IDLE : NIC_I2C_ADDRESS;
        sfp->bit_count = 0;
        sfp->release = true;
    }
    sfp->data = data;
    if (clock && !sfp->clock)
        clock_rises(sfp);
    else if (!clock && sfp->clock)
        clock_falls(sfp);
    sfp->clock = clock;
}

uint32_t nic_sfp_i2cctl_read(struct nic_port *port, unsigned index)
{
    const struct nic_sfp *sfp = &port->sfp;

    (void)index;
    return (sfp->clock ? HW_I2C_CLK_IN | HW_I2C_CLK_OUT : 0) | (sfp->data ? HW_I2C_DATA_OUT : 0) |
           (sfp->data && sfp->release ? HW_I2C_DATA_IN : 0);
}

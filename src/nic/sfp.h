// SPDX-License-Identifier: BSD-3-Clause
// The SFP+ module in a port's cage: a 10GBASE-SR module whose identification EEPROM (SFF-8472 §4-5,
// I2C address A0) answers on the lines of I2CCTL. Control thread. Private to src/nic.
#ifndef VIREO_NIC_SFP_H
#define VIREO_NIC_SFP_H

#include <stdbool.h>
#include <stdint.h>

struct nic_port;

enum nic_i2c_state {
    NIC_I2C_IDLE,
    NIC_I2C_ADDRESS, // receives a device address
    NIC_I2C_OFFSET,  // receives the byte offset
    NIC_I2C_WRITE,   // receives data: the module is read-only, they are dropped
    NIC_I2C_READ,    // sends data
};

struct nic_sfp {
    uint8_t eeprom[256];
    bool clock, data; // as the card drives them
    bool release;     // what the module puts on the data line: false pulls it low
    enum nic_i2c_state state;
    unsigned bit_count; // 0…8 data bits, 9 after the acknowledge bit was clocked
    uint8_t shift, offset;
    bool acked;
};

void nic_sfp_init(struct nic_sfp *sfp);

// Register hooks: I2CCTL.
uint32_t nic_sfp_i2cctl_read(struct nic_port *port, unsigned index);
void nic_sfp_i2cctl_write(struct nic_port *port, unsigned index, uint32_t value);

#endif

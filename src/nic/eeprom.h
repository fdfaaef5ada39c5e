// SPDX-License-Identifier: BSD-3-Clause
// The card's EEPROM: contents (82599 §6), the EERD/EEWR registers, and its SPI lines behind EEC.
// What software writes lasts as long as the card. Control thread. Private to src/nic.
#ifndef VIREO_NIC_EEPROM_H
#define VIREO_NIC_EEPROM_H

#include <stdbool.h>
#include <stdint.h>

#include "hw82599/regs.h"

struct nic_port;

// Words that others look at.
#define NIC_EEPROM_CORE0_PTR     0x09u // LAN core section of port 0: length, MAC in the next 3
#define NIC_EEPROM_CORE1_PTR     0x0au
#define NIC_EEPROM_FW_PTR        0x0fu // firmware block, not in the checksum
#define NIC_EEPROM_SFP_LIST_PTR  0x2bu // init sequences by module type
#define NIC_EEPROM_FIRST_SECTION 0x03u // pointers to sections that the checksum covers:
#define NIC_EEPROM_LAST_SECTION  0x0eu // words 03 … 0e

struct nic_eeprom {
    uint16_t word[HW_EEPROM_WORDS];
    struct {            // an SPI EEPROM of 16-bit addresses, as EEC's bits drive it
        uint32_t shift; // bits clocked in, newest lowest
        unsigned bit_count;
        uint8_t opcode;
        uint16_t address; // in bytes
        uint8_t out;
        bool data_out, write_enabled, clock, selected;
    } spi;
};

// Contents for a card whose ports have these MACs.
void nic_eeprom_init(struct nic_eeprom *eeprom, const uint8_t macs[2][6]);
// The sum as drivers make it: words 00 … 3e and the sections. The checksum word makes it 0xbaba.
uint16_t nic_eeprom_checksum(const struct nic_eeprom *eeprom);
// MAC of port 0 or 1.
void nic_eeprom_mac(const struct nic_eeprom *eeprom, unsigned port, uint8_t mac[6]);

// Register hooks.
uint32_t nic_eeprom_eec_read(struct nic_port *port, unsigned index);
void nic_eeprom_eec_write(struct nic_port *port, unsigned index, uint32_t value);
void nic_eeprom_eerd_write(struct nic_port *port, unsigned index, uint32_t value);
void nic_eeprom_eewr_write(struct nic_port *port, unsigned index, uint32_t value);

#endif

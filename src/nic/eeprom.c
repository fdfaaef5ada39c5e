// SPDX-License-Identifier: BSD-3-Clause
#include "nic/eeprom.h"

#include <string.h>

#include "base/bits.h"
#include "nic/port.h"

#define NONE 0xffffu // an EEPROM pointer to nothing

// SPI opcodes.
enum {
    SPI_WRITE_STATUS = 0x01,
    SPI_WRITE = 0x02,
    SPI_READ = 0x03,
    SPI_WRITE_DISABLE = 0x04,
    SPI_READ_STATUS = 0x05,
    SPI_WRITE_ENABLE = 0x06,
};

// Where the sections lie, in words.
enum {
    CORE0 = 0x80,
    CORE1 = 0x90,
    FIRMWARE = 0xa0,
    FIRMWARE_PTP = 0xb0, // pass-through patch configuration: its word 7 is the firmware's version
    SFP_LIST = 0xc0,
    SFP_SEQUENCE = 0xe0,
    CORE_LEN = 6,
};

static void put_core(struct nic_eeprom *eeprom, unsigned at, const uint8_t mac[6])
{
    eeprom->word[at] = CORE_LEN;
    for (unsigned i = 0; i < 3; i++)
        eeprom->word[at + 1 + i] = (uint16_t)(mac[2 * i] | mac[2 * i + 1] << 8);
    for (unsigned i = 4; i <= CORE_LEN; i++)
        eeprom->word[at + i] = 0;
}

// Module types as 82599 drivers number them: direct attach copper, SR/LR, limiting active cable,
// 1 Gb/s copper, SX, LX; each for ports 0 and 1.
static void put_sfp_list(struct nic_eeprom *eeprom)
{
    unsigned at = SFP_LIST + 1; // word 0 is the length

    for (unsigned type = 3; type <= 14; type++) {
        eeprom->word[at++] = (uint16_t)type;
        eeprom->word[at++] = SFP_SEQUENCE;
    }
    eeprom->word[at] = NONE;
    eeprom->word[SFP_LIST] = (uint16_t)(at - SFP_LIST);
    eeprom->word[SFP_SEQUENCE] = 2;
    eeprom->word[SFP_SEQUENCE + 1] = 0x0001; // what a driver writes to CORECTL
    eeprom->word[SFP_SEQUENCE + 2] = NONE;
}

void nic_eeprom_init(struct nic_eeprom *eeprom, const uint8_t macs[2][6])
{
    uint16_t *word = eeprom->word;

    memset(eeprom, 0, sizeof *eeprom);
    memset(word, 0xff, sizeof eeprom->word);
    word[0x00] = 0x4020; // EEPROM control: valid signature, size
    word[0x01] = 0x0000;
    word[0x02] = 0x0000;
    word[NIC_EEPROM_CORE0_PTR] = CORE0;
    word[NIC_EEPROM_CORE1_PTR] = CORE1;
    word[NIC_EEPROM_FW_PTR] = FIRMWARE;
    for (unsigned i = 0; i < 3; i++)
        word[0x11 + i] = (uint16_t)(macs[0][2 * i] | macs[0][2 * i + 1] << 8); // serial number
    word[0x15] = 0xe665; // board number E66560-002
    word[0x16] = 0x6002;
    word[0x18] = 0x0002; // EEPROM version
    word[0x29] = 0x0002;
    word[NIC_EEPROM_SFP_LIST_PTR] = SFP_LIST;
    word[0x2c] = 0x0080; // device capabilities: SDP2 needs no workaround; no wake on LAN
    word[0x2d] = 0x0001; // unique ID of this content
    word[0x2e] = 0x8000;
    word[0x38] = 0x0000;

    put_core(eeprom, CORE0, macs[0]);
    put_core(eeprom, CORE1, macs[1]);
    // Drivers refuse 82599s with SFI whose firmware is older than 0.6.
    word[FIRMWARE + 2] = NONE; // no link establishment state machine
    word[FIRMWARE + 4] = FIRMWARE_PTP;
    word[FIRMWARE_PTP + 7] = 0x0009;
    put_sfp_list(eeprom);
    word[HW_EEPROM_CHECKSUM_WORD] = (uint16_t)(HW_EEPROM_SUM - nic_eeprom_checksum(eeprom));
}

// Guests can write the EEPROM: pointers and lengths may say anything. Words past its end are FFFF.
static uint16_t word_at(const struct nic_eeprom *eeprom, unsigned at)
{
    return at < HW_EEPROM_WORDS ? eeprom->word[at] : NONE;
}

uint16_t nic_eeprom_checksum(const struct nic_eeprom *eeprom)
{
    uint16_t sum = 0;

    for (unsigned i = 0; i < HW_EEPROM_CHECKSUM_WORD; i++)
        sum = (uint16_t)(sum + eeprom->word[i]);
    for (unsigned i = NIC_EEPROM_FIRST_SECTION; i <= NIC_EEPROM_LAST_SECTION; i++) {
        unsigned at = eeprom->word[i];
        unsigned len;

        if (!at || at == NONE)
            continue;
        len = word_at(eeprom, at);
        if (!len || len == NONE)
            continue;
        for (unsigned k = at + 1; k <= at + len; k++)
            sum = (uint16_t)(sum + word_at(eeprom, k));
    }
    return sum;
}

void nic_eeprom_mac(const struct nic_eeprom *eeprom, unsigned port, uint8_t mac[6])
{
    unsigned at = eeprom->word[port ? NIC_EEPROM_CORE1_PTR : NIC_EEPROM_CORE0_PTR];

    for (unsigned i = 0; i < 3; i++) {
        uint16_t word = word_at(eeprom, at + 1 + i);

        mac[2 * i] = (uint8_t)word;
        mac[2 * i + 1] = (uint8_t)(word >> 8);
    }
}

// --- EERD, EEWR: done at once -------------------------------------------------------------------

void nic_eeprom_eerd_write(struct nic_port *port, unsigned index, uint32_t value)
{
    uint32_t address = (value & 0xfffc) >> HW_EERD_ADDR_SHIFT;
    uint32_t reg = HW_EERD_DONE | (value & 0xfffc);

    (void)index;
    if (value & HW_EERD_START)
        reg |= (uint32_t)word_at(&port->eeprom, address) << HW_EERD_DATA_SHIFT;
    nic_reg_store(port, HW_EERD, reg);
}

void nic_eeprom_eewr_write(struct nic_port *port, unsigned index, uint32_t value)
{
    uint32_t address = (value & 0xfffc) >> HW_EERD_ADDR_SHIFT;

    (void)index;
    if ((value & HW_EERD_START) && address < HW_EEPROM_WORDS)
        port->eeprom.word[address] = (uint16_t)(value >> HW_EERD_DATA_SHIFT);
    nic_reg_store(port, HW_EEWR, HW_EERD_DONE | (value & 0xfffffffc));
}

// --- EEC: bit-banged SPI ------------------------------------------------------------------------

static uint8_t byte_at(const struct nic_eeprom *eeprom, uint16_t address)
{
    return (uint8_t)(word_at(eeprom, address / 2) >> 8 * (address & 1));
}

static void byte_put(struct nic_eeprom *eeprom, uint16_t address, uint8_t value)
{
    unsigned at = address / 2;
    unsigned shift = 8 * (address & 1);

    if (at >= HW_EEPROM_WORDS)
        return;
    eeprom->word[at] =
        (uint16_t)((eeprom->word[at] & ~(0xffu << shift)) | (unsigned)value << shift);
}

// Bits before data: opcode, and an address for READ and WRITE.
static unsigned header_bits(uint8_t opcode)
{
    return opcode == SPI_READ || opcode == SPI_WRITE ? 24 : 8;
}

static void spi_clock_rises(struct nic_eeprom *eeprom, bool data_in)
{
    unsigned header;

    eeprom->spi.shift = eeprom->spi.shift << 1 | data_in;
    eeprom->spi.bit_count++;
    if (eeprom->spi.bit_count == 8) {
        eeprom->spi.opcode = (uint8_t)eeprom->spi.shift;
        if (eeprom->spi.opcode == SPI_WRITE_ENABLE)
            eeprom->spi.write_enabled = true;
        else if (eeprom->spi.opcode == SPI_WRITE_DISABLE)
            eeprom->spi.write_enabled = false;
        else if (eeprom->spi.opcode == SPI_READ_STATUS)
            eeprom->spi.out = eeprom->spi.write_enabled ? 2 : 0; // never busy
    }
    header = header_bits(eeprom->spi.opcode);
    if (eeprom->spi.bit_count == 24 && header == 24) {
        eeprom->spi.address = (uint16_t)eeprom->spi.shift;
        eeprom->spi.out = byte_at(eeprom, eeprom->spi.address);
    }
    if (eeprom->spi.bit_count != header + 8)
        return;
    // A byte of data has gone by: on to the next.
    eeprom->spi.bit_count = header;
    if (eeprom->spi.opcode == SPI_WRITE) {
        if (eeprom->spi.write_enabled)
            byte_put(eeprom, eeprom->spi.address, (uint8_t)eeprom->spi.shift);
        eeprom->spi.address++;
    } else if (eeprom->spi.opcode == SPI_READ) {
        eeprom->spi.out = byte_at(eeprom, ++eeprom->spi.address);
    }
}

static void spi_clock_falls(struct nic_eeprom *eeprom)
{
    unsigned header = header_bits(eeprom->spi.opcode);

    if (eeprom->spi.bit_count >= header)
        eeprom->spi.data_out = eeprom->spi.out >> (7 - (eeprom->spi.bit_count - header)) & 1;
}

void nic_eeprom_eec_write(struct nic_port *port, unsigned index, uint32_t value)
{
    struct nic_eeprom *eeprom = &port->eeprom;
    bool selected = !(value & HW_EEC_CS) && (value & HW_EEC_REQ); // chip select is active low
    bool clock = value & HW_EEC_SK;

    (void)index;
    nic_reg_store(port, HW_EEC, (nic_reg(port, HW_EEC) & ~0x77u) | value);
    if (!selected) {
        if (eeprom->spi.selected && eeprom->spi.opcode == SPI_WRITE)
            eeprom->spi.write_enabled = false; // a write has ended
        eeprom->spi.bit_count = 0;
        eeprom->spi.opcode = 0;
        eeprom->spi.data_out = false;
    } else if (clock != eeprom->spi.clock && eeprom->spi.selected) {
        if (clock)
            spi_clock_rises(eeprom, value & HW_EEC_DI);
        else
            spi_clock_falls(eeprom);
    }
    eeprom->spi.selected = selected;
    eeprom->spi.clock = clock;
}

uint32_t nic_eeprom_eec_read(struct nic_port *port, unsigned index)
{
    uint32_t value = nic_reg(port, HW_EEC);

    (void)index;
    if (value & HW_EEC_REQ)
        value |= HW_EEC_GNT;
    if (port->eeprom.spi.data_out)
        value |= HW_EEC_DO;
    return value;
}

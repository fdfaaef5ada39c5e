// SPDX-License-Identifier: BSD-3-Clause
// The EEPROM by EERD, EEWR and bit-banged SPI, and the SFP+ module on bit-banged I2C, with the
// sequences that drivers use.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "nic/test_card.h"

static struct test_card *t;

static int setup(void **state)
{
    (void)state;
    t = test_card_open(2, 0, NIC_DOORBELLS_TRAPPED);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_card_close(t);
    return 0;
}

static uint16_t eerd(unsigned word)
{
    uint32_t value;

    pf_write(t, HW_EERD, word << HW_EERD_ADDR_SHIFT | HW_EERD_START);
    value = pf_read(t, HW_EERD);
    assert_true(value & HW_EERD_DONE);
    return (uint16_t)(value >> HW_EERD_DATA_SHIFT);
}

// As a PF driver sums it, through EERD alone.
static uint16_t driver_checksum(void)
{
    uint16_t sum = 0;

    for (unsigned i = 0; i < 0x3f; i++)
        sum = (uint16_t)(sum + eerd(i));
    for (unsigned i = 3; i < 0xf; i++) {
        unsigned at = eerd(i), len;

        if (!at || at == 0xffff)
            continue;
        len = eerd(at);
        if (!len || len == 0xffff)
            continue;
        for (unsigned k = at + 1; k <= at + len; k++)
            sum = (uint16_t)(sum + eerd(k));
    }
    return (uint16_t)(0xbaba - sum);
}

static void test_checksum(void **state)
{
    (void)state;
    assert_int_equal(eerd(0x3f), driver_checksum());
    assert_int_equal((uint16_t)(nic_eeprom_checksum(&t->port->eeprom) + eerd(0x3f)), 0xbaba);
}

// Pointers and lengths that lead outside do not lead anybody outside.
static void test_checksum_of_hostile_contents(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HW_EEPROM_WORDS; i++)
        t->port->eeprom.word[i] = 0xfffe;
    nic_eeprom_checksum(&t->port->eeprom);
    t->port->eeprom.word[9] = HW_EEPROM_WORDS - 1;
    nic_eeprom_checksum(&t->port->eeprom);
    t->port->eeprom.word[9] = 0xffff;
    pf_write(t, HW_CTRL, HW_CTRL_RST); // loads the MAC from there
    assert_int_equal(pf_read(t, HW_RAL(0)), 0xffffffff);
}

static void test_contents(void **state)
{
    unsigned list, firmware;

    (void)state;
    assert_int_equal(eerd(eerd(0x09) + 1), 0x1102);
    assert_int_equal(eerd(eerd(0x09) + 3), 0x5044);
    assert_int_equal(eerd(eerd(0x0a) + 3), 0x5144); // the second port's
    assert_int_equal(pf_read(t, HW_RAL(0)), 0x33221102);
    assert_int_equal(pf_read(t, HW_RAH(0)), 0x80005044);
    assert_int_equal((uint32_t)pci_mem_read(t->seg, TEST_PF_BAR0 + 0x100000 + HW_RAH(0), 4),
                     0x80005144);
    // An init sequence for SR/LR on port 0 (5) and 1 (6): pairs up to ffff.
    list = eerd(0x2b) + 1;
    for (unsigned type = 0, found = 0; found != 3; list += 2) {
        type = eerd(list);
        assert_int_not_equal(type, 0xffff);
        if (type == 5 || type == 6) {
            found |= type == 5 ? 1 : 2;
            assert_int_not_equal(eerd(list + 1), 0);
            assert_int_not_equal(eerd(list + 1), 0xffff);
        }
    }
    // Firmware newer than 0.5, or drivers take the card for a prototype.
    firmware = eerd(0x0f);
    assert_true(eerd(eerd(firmware + 4) + 7) > 5);
    assert_int_equal(eerd(firmware + 2), 0xffff);
}

static void test_boundaries(void **state)
{
    (void)state;
    assert_int_equal(eerd(HW_EEPROM_WORDS - 1), 0xffff);
    assert_int_equal(eerd(HW_EEPROM_WORDS), 0xffff);
    assert_int_equal(eerd(0x3fff), 0xffff);
    pf_write(t, HW_EEWR, 0x1234u << 16 | (HW_EEPROM_WORDS - 1) << 2 | HW_EERD_START);
    assert_int_equal(eerd(HW_EEPROM_WORDS - 1), 0x1234);
    pf_write(t, HW_EEWR, 0x1234u << 16 | HW_EEPROM_WORDS << 2 | HW_EERD_START);
    assert_int_equal(eerd(HW_EEPROM_WORDS), 0xffff);
    pf_write(t, HW_EEWR, 0x5678u << 16 | (HW_EEPROM_WORDS - 1) << 2); // not started
    assert_int_equal(eerd(HW_EEPROM_WORDS - 1), 0x1234);
}

// --- SPI ----------------------------------------------------------------------------------------

static void eec_set(uint32_t set, uint32_t clear)
{
    pf_write(t, HW_EEC, (pf_read(t, HW_EEC) | set) & ~clear);
}

static void spi_acquire(void)
{
    eec_set(HW_EEC_REQ, 0);
    assert_true(pf_read(t, HW_EEC) & HW_EEC_GNT);
    eec_set(0, HW_EEC_CS | HW_EEC_SK);
}

static void spi_standby(void)
{
    eec_set(HW_EEC_CS, 0);
    eec_set(0, HW_EEC_CS);
}

static void spi_out(uint16_t data, unsigned count)
{
    for (uint32_t mask = 1u << (count - 1); mask; mask >>= 1) {
        eec_set(data & mask ? HW_EEC_DI : 0, data & mask ? 0 : HW_EEC_DI);
        eec_set(HW_EEC_SK, 0);
        eec_set(0, HW_EEC_SK);
    }
    eec_set(0, HW_EEC_DI);
}

static uint16_t spi_in(unsigned count)
{
    uint16_t data = 0;

    for (unsigned i = 0; i < count; i++) {
        eec_set(HW_EEC_SK, 0);
        data = (uint16_t)(data << 1 | !!(pf_read(t, HW_EEC) & HW_EEC_DO));
        eec_set(0, HW_EEC_SK);
    }
    return data;
}

static uint16_t swap(uint16_t word)
{
    return (uint16_t)(word >> 8 | word << 8);
}

static void test_spi_read(void **state)
{
    (void)state;
    spi_acquire();
    spi_out(0x05, 8); // ready, not write-enabled
    assert_int_equal(spi_in(8), 0);
    spi_standby();
    spi_out(0x03, 8);
    spi_out(0x3f * 2, 16);
    assert_int_equal(swap(spi_in(16)), eerd(0x3f));
    spi_standby();
    // A run of words.
    spi_out(0x03, 8);
    spi_out(0, 16);
    for (unsigned i = 0; i < 0x40; i++)
        assert_int_equal(swap(spi_in(16)), eerd(i));
}

static void test_spi_write(void **state)
{
    (void)state;
    spi_acquire();
    // Without the enable nothing is written.
    spi_out(0x02, 8);
    spi_out(0x100 * 2, 16);
    spi_out(swap(0xbeef), 16);
    spi_standby();
    assert_int_equal(eerd(0x100), 0xffff);
    spi_out(0x06, 8);
    spi_standby();
    spi_out(0x05, 8);
    assert_int_equal(spi_in(8), 2);
    spi_standby();
    spi_out(0x02, 8);
    spi_out(0x100 * 2, 16);
    spi_out(swap(0xbeef), 16);
    spi_out(swap(0xcafe), 16);
    spi_standby();
    assert_int_equal(eerd(0x100), 0xbeef);
    assert_int_equal(eerd(0x101), 0xcafe);
    // The write took the enable with it; past the end nothing happens.
    spi_out(0x05, 8);
    assert_int_equal(spi_in(8), 0);
    spi_standby();
    spi_out(0x06, 8);
    spi_standby();
    spi_out(0x02, 8);
    spi_out(HW_EEPROM_WORDS * 2, 16);
    spi_out(0x1111, 16);
    spi_standby();
    assert_int_equal(eerd(0), 0x4020);
}

// --- I2C ----------------------------------------------------------------------------------------

static uint32_t i2c; // as the driver last wrote it

static void i2c_lines(bool clock, bool data)
{
    i2c = (clock ? HW_I2C_CLK_OUT : 0) | (data ? HW_I2C_DATA_OUT : 0);
    pf_write(t, HW_I2CCTL, i2c);
}

static void i2c_clock(bool clock)
{
    i2c_lines(clock, i2c & HW_I2C_DATA_OUT);
    assert_int_equal(!!(pf_read(t, HW_I2CCTL) & HW_I2C_CLK_IN), clock);
}

static void i2c_data(bool data)
{
    i2c_lines(i2c & HW_I2C_CLK_OUT, data);
}

static bool i2c_sample(void)
{
    bool data;

    i2c_clock(true);
    data = pf_read(t, HW_I2CCTL) & HW_I2C_DATA_IN;
    i2c_clock(false);
    return data;
}

static void i2c_start(void)
{
    i2c_data(true);
    i2c_clock(true);
    i2c_data(false);
    i2c_clock(false);
}

static void i2c_stop(void)
{
    i2c_data(false);
    i2c_clock(true);
    i2c_data(true);
}

// True where it was acknowledged.
static bool i2c_out(uint8_t byte)
{
    for (int i = 7; i >= 0; i--) {
        i2c_data(byte >> i & 1);
        i2c_clock(true);
        i2c_clock(false);
    }
    i2c_data(true);
    return !i2c_sample();
}

static uint8_t i2c_in(bool acknowledge)
{
    uint8_t byte = 0;

    for (int i = 0; i < 8; i++)
        byte = (uint8_t)(byte << 1 | i2c_sample());
    i2c_data(!acknowledge);
    i2c_clock(true);
    i2c_clock(false);
    i2c_data(true);
    return byte;
}

static uint8_t i2c_read_byte(uint8_t offset)
{
    uint8_t byte;

    i2c_start();
    assert_true(i2c_out(0xa0));
    assert_true(i2c_out(offset));
    i2c_start();
    assert_true(i2c_out(0xa1));
    byte = i2c_in(false);
    i2c_stop();
    return byte;
}

static void test_i2c_module(void **state)
{
    uint8_t sum = 0;

    (void)state;
    assert_int_equal(i2c_read_byte(0x00), 0x03); // SFP
    assert_int_equal(i2c_read_byte(0x03), 0x10); // 10GBASE-SR
    assert_int_equal(i2c_read_byte(0x06), 0x00); // and no 1 Gb/s
    assert_int_equal(i2c_read_byte(0x08), 0x00); // no cable
    assert_int_equal(i2c_read_byte(0x25), 0x00);
    assert_int_equal(i2c_read_byte(0x26), 0x1b);
    assert_int_equal(i2c_read_byte(0x27), 0x21);
    for (unsigned i = 0; i < 63; i++)
        sum = (uint8_t)(sum + i2c_read_byte((uint8_t)i));
    assert_int_equal(i2c_read_byte(63), sum);
}

static void test_i2c_sequential_read(void **state)
{
    (void)state;
    i2c_start();
    assert_true(i2c_out(0xa0));
    assert_true(i2c_out(20));
    i2c_start();
    assert_true(i2c_out(0xa1));
    assert_int_equal(i2c_in(true), 'V');
    assert_int_equal(i2c_in(true), 'i');
    assert_int_equal(i2c_in(false), 'r');
    i2c_stop();
    // The offset stays where it was, and wraps at the end.
    i2c_start();
    assert_true(i2c_out(0xa1));
    assert_int_equal(i2c_in(false), 'e');
    i2c_stop();
    i2c_start();
    assert_true(i2c_out(0xa0));
    assert_true(i2c_out(255));
    i2c_start();
    assert_true(i2c_out(0xa1));
    i2c_in(true);
    assert_int_equal(i2c_in(false), 0x03);
    i2c_stop();
}

static void test_i2c_others_stay_silent(void **state)
{
    (void)state;
    i2c_start();
    assert_false(i2c_out(0xa2)); // no diagnostics page
    i2c_stop();
    i2c_start();
    assert_false(i2c_out(0xf8)); // no thermal sensor
    i2c_stop();
    // Data are not taken: write-protected.
    i2c_start();
    assert_true(i2c_out(0xa0));
    assert_true(i2c_out(0));
    assert_false(i2c_out(0x55));
    i2c_stop();
    assert_int_equal(i2c_read_byte(0), 0x03);
    // A driver that lost its place clocks nine times and starts over.
    i2c_start();
    i2c_data(true);
    for (unsigned i = 0; i < 9; i++)
        i2c_sample();
    i2c_start();
    i2c_stop();
    assert_int_equal(i2c_read_byte(2), 0x07);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_checksum, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checksum_of_hostile_contents, setup, teardown),
        cmocka_unit_test_setup_teardown(test_contents, setup, teardown),
        cmocka_unit_test_setup_teardown(test_boundaries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spi_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spi_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_i2c_module, setup, teardown),
        cmocka_unit_test_setup_teardown(test_i2c_sequential_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_i2c_others_stay_silent, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

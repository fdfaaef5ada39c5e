// SPDX-License-Identifier: BSD-3-Clause
#include "chassis/acpi.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/le.h"
#include "chassis/layout.h"

// --- bytes
// ----------------------------------------------------------------------------------------

struct table {
    uint8_t *bytes;
    size_t len;
};

static void put(struct table *t, const void *bytes, size_t len)
{
    assert(len <= ACPI_TABLE_MAX_BYTES - t->len);
    memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
}

static void put8(struct table *t, uint8_t value)
{
    put(t, &value, 1);
}

static void put16(struct table *t, uint16_t value)
{
    uint8_t bytes[2];

    le16_put(bytes, value);
    put(t, bytes, sizeof bytes);
}

static void put32(struct table *t, uint32_t value)
{
    uint8_t bytes[4];

    le32_put(bytes, value);
    put(t, bytes, sizeof bytes);
}

enum { HEADER_LEN = 36, HEADER_LENGTH_AT = 4, HEADER_CHECKSUM_AT = 9 };

// Length and checksum come with table_end() (ACPI §5.2.6).
static void table_begin(struct table *t, const char *signature, uint8_t revision)
{
    put(t, signature, 4);
    put32(t, 0);
    put8(t, revision);
    put8(t, 0);
    put(t, "VIREO ", 6);
    put(t, "CHASSIS ", 8);
    put32(t, 1);
    put(t, "VIRE", 4);
    put32(t, 1);
    assert(t->len == HEADER_LEN);
}

static size_t table_end(struct table *t)
{
    uint8_t sum = 0;

    le32_put(t->bytes + HEADER_LENGTH_AT, (uint32_t)t->len);
    for (size_t i = 0; i < t->len; i++)
        sum = (uint8_t)(sum + t->bytes[i]);
    t->bytes[HEADER_CHECKSUM_AT] = (uint8_t)-sum;
    return t->len;
}

// --- AML (ACPI §20.2)
// -----------------------------------------------------------------------------

enum {
    AML_ONE = 0x01,
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_DWORD = 0x0c,
    AML_SCOPE = 0x10,
    AML_BUFFER = 0x11,
    AML_METHOD = 0x14,
    AML_EXTENDED = 0x5b,
    AML_ROOT = 0x5c,
    AML_ARG3 = 0x6b,
    AML_STORE = 0x70,
    AML_AND = 0x7b,
    AML_NO_TARGET = 0x00,
    AML_EQUAL = 0x93,
    AML_IF = 0xa0,
    AML_RETURN = 0xa4,
    // after AML_EXTENDED
    AML_REGION = 0x80,
    AML_FIELD = 0x81,
    AML_DEVICE = 0x82,
};

// A package's length comes before what is in it: it is left open, in the form of two bytes, and
// filled in at the end.
static size_t package_begin(struct table *t)
{
    put16(t, 0);
    return t->len - 2;
}

static void package_end(struct table *t, size_t at)
{
    size_t len = t->len - at; // the length's own bytes count

    assert(len < 0x1000);
    t->bytes[at] = (uint8_t)(0x40 | (len & 0xf));
    t->bytes[at + 1] = (uint8_t)(len >> 4);
}

static void put_integer(struct table *t, uint32_t value)
{
    put8(t, value < 0x100 ? AML_BYTE : AML_DWORD);
    if (value < 0x100)
        put8(t, (uint8_t)value);
    else
        put32(t, value);
}

static void put_segment(struct table *t, const char name[4])
{
    put(t, name, 4);
}

static void put_named_integer(struct table *t, const char name[4], uint32_t value)
{
    put8(t, AML_NAME);
    put_segment(t, name);
    put_integer(t, value);
}

// "PNP0C02" in the packed form of EisaId(): 5 bits a letter, then 4 digits, big-endian.
static uint32_t eisa_id(const char *text)
{
    unsigned number;
    uint16_t letters = (uint16_t)((text[0] & 31) << 10 | (text[1] & 31) << 5 | (text[2] & 31));

    sscanf(text + 3, "%4x", &number);
    return (uint32_t)(letters >> 8) | (letters & 0xffu) << 8 | (number & 0xff00) << 8 |
           (number & 0xff) << 24;
}

static void put_eisa_name(struct table *t, const char name[4], const char *id)
{
    put8(t, AML_NAME);
    put_segment(t, name);
    put8(t, AML_DWORD);
    put32(t, eisa_id(id));
}

static size_t device_begin(struct table *t, const char name[4])
{
    size_t at;

    put8(t, AML_EXTENDED);
    put8(t, AML_DEVICE);
    at = package_begin(t);
    put_segment(t, name);
    return at;
}

static size_t method_begin(struct table *t, const char name[4], unsigned args, bool serialized)
{
    size_t at;

    put8(t, AML_METHOD);
    at = package_begin(t);
    put_segment(t, name);
    put8(t, (uint8_t)(args | (serialized ? 8u : 0)));
    return at;
}

static void put_store(struct table *t, uint32_t value, const char name[4])
{
    put8(t, AML_STORE);
    put_integer(t, value);
    put_segment(t, name);
}

// A resource template as a Buffer (ACPI §6.4), with its end tag.
static void put_resources(struct table *t, const struct table *resources)
{
    put8(t, AML_NAME);
    put_segment(t, "_CRS");
    put8(t, AML_BUFFER);

    size_t at = package_begin(t);

    put_integer(t, (uint32_t)resources->len + 2);
    put(t, resources->bytes, resources->len);
    put8(t, 0x79);
    put8(t, 0);
    package_end(t, at);
}

// §6.4.3.4
static void put_memory32_fixed(struct table *t, uint32_t base, uint32_t len)
{
    put8(t, 0x86);
    put16(t, 9);
    put8(t, 1); // read and write
    put32(t, base);
    put32(t, len);
}

// §6.4.3.5.2 and .3: producer, both ends fixed, decoded positively.
static void put_bus_numbers(struct table *t, uint16_t last)
{
    put8(t, 0x88);
    put16(t, 13);
    put8(t, 2);
    put8(t, 0x0c);
    put8(t, 0);
    put16(t, 0);
    put16(t, 0);
    put16(t, last);
    put16(t, 0);
    put16(t, (uint16_t)(last + 1));
}

static void put_memory_window(struct table *t, uint32_t first, uint32_t len)
{
    put8(t, 0x87);
    put16(t, 23);
    put8(t, 0);
    put8(t, 0x0c);
    put8(t, 1); // read and write, not cacheable
    put32(t, 0);
    put32(t, first);
    put32(t, first + (len - 1));
    put32(t, 0);
    put32(t, len);
}

// --- the tables
// -----------------------------------------------------------------------------------

#define CONFIG_ADDRESS(reg) (0x80000000u | CHASSIS_CARRIER_SLOT << 11 | (reg))
#define COMMAND_MEM_MASTER  0x0006u
#define UNIQUE_ID           0x51u

// Through CF8/CFC: ECAM of segment 0 may not be known yet when _INI runs. CFOK is what the host
// bridge's _STA returns. That the kernel has come is said first: with the BAR elsewhere, or
// nowhere, nothing else would tell.
static void put_init(struct table *t)
{
    size_t method = method_begin(t, "_INI", 0, true), body;

    put_store(t, CONFIG_ADDRESS(CHASSIS_CARRIER_HIDE), "CADR");
    put_store(t, CHASSIS_CARRIER_COME_VALUE, "CDAT");
    put_store(t, CONFIG_ADDRESS(0x10), "CADR");
    put8(t, AML_IF);
    body = package_begin(t);
    put8(t, AML_EQUAL);
    put8(t, AML_AND);
    put_segment(t, "CDAT");
    put_integer(t, 0xfffffff0);
    put8(t, AML_NO_TARGET);
    put_segment(t, "CBAS");
    put_store(t, CONFIG_ADDRESS(0x04), "CADR");
    put_store(t, COMMAND_MEM_MASTER, "CDAT");
    put_store(t, CONFIG_ADDRESS(CHASSIS_CARRIER_HIDE), "CADR");
    put_store(t, CHASSIS_CARRIER_HIDE_VALUE, "CDAT");
    put_store(t, 0x0f, "CFOK");
    package_end(t, body);
    put_store(t, 0, "CADR");
    package_end(t, method);
}

static void put_reservation(struct table *t, uint32_t base)
{
    uint8_t bytes[64];
    struct table resources = {bytes, 0};
    size_t device = device_begin(t, "VRRS"), field;

    put_eisa_name(t, "_HID", "PNP0C02");
    put_named_integer(t, "_UID", UNIQUE_ID);
    put_named_integer(t, "CBAS", base);
    put_named_integer(t, "CFOK", 0);
    // OperationRegion (CFIO, SystemIO, 0xCF8, 8), as two dwords.
    put8(t, AML_EXTENDED);
    put8(t, AML_REGION);
    put_segment(t, "CFIO");
    put8(t, 1);
    put_integer(t, 0xcf8);
    put_integer(t, 8);
    put8(t, AML_EXTENDED);
    put8(t, AML_FIELD);
    field = package_begin(t);
    put_segment(t, "CFIO");
    put8(t, 3);
    put_segment(t, "CADR");
    put8(t, 32);
    put_segment(t, "CDAT");
    put8(t, 32);
    package_end(t, field);
    put_init(t);
    put_memory32_fixed(&resources, base + CHASSIS_ECAM_OFFSET, CHASSIS_ECAM_LEN_BYTES);
    put_memory32_fixed(&resources, base + CHASSIS_DRHD_OFFSET, 0x1000);
    put_resources(t, &resources);
    package_end(t, device);
}

static void put_host_bridge(struct table *t, uint32_t base)
{
    uint8_t bytes[64];
    struct table resources = {bytes, 0};
    size_t device = device_begin(t, "VR01"), method;

    put_eisa_name(t, "_HID", "PNP0A08");
    put_eisa_name(t, "_CID", "PNP0A03");
    put_named_integer(t, "_UID", UNIQUE_ID);
    put_named_integer(t, "_SEG", CHASSIS_SEGMENT);
    put_named_integer(t, "_BBN", 0);
    put_named_integer(t, "_CBA", base + CHASSIS_ECAM_OFFSET);
    method = method_begin(t, "_STA", 0, false);
    put8(t, AML_RETURN);
    put8(t, AML_ROOT);
    put8(t, 0x2f); // three segments follow
    put8(t, 3);
    put_segment(t, "_SB_");
    put_segment(t, "VRRS");
    put_segment(t, "CFOK");
    package_end(t, method);
    put_bus_numbers(&resources, CHASSIS_BUSES - 1);
    put_memory_window(&resources, base + CHASSIS_WINDOW_OFFSET, CHASSIS_WINDOW_LEN_BYTES);
    put_resources(t, &resources);
    // All that the OS asks to control is its own.
    method = method_begin(t, "_OSC", 4, false);
    put8(t, AML_RETURN);
    put8(t, AML_ARG3);
    package_end(t, method);
    package_end(t, device);
}

size_t acpi_ssdt_build(uint8_t out[ACPI_TABLE_MAX_BYTES], uint32_t base)
{
    struct table t = {out, 0};
    size_t scope;

    assert(!(base & (CHASSIS_BAR_LEN_BYTES - 1)));
    table_begin(&t, "SSDT", 2);
    put8(&t, AML_SCOPE);
    scope = package_begin(&t);
    put8(&t, AML_ROOT);
    put_segment(&t, "_SB_");
    put_reservation(&t, base);
    put_host_bridge(&t, base);
    package_end(&t, scope);
    return table_end(&t);
}

size_t acpi_dmar_build(uint8_t out[ACPI_TABLE_MAX_BYTES], uint32_t base)
{
    static const uint8_t reserved[10];
    struct table t = {out, 0};

    assert(!(base & (CHASSIS_BAR_LEN_BYTES - 1)));
    table_begin(&t, "DMAR", 1);
    put8(&t, 48 - 1); // host address width
    put8(&t, 0);      // no interrupt remapping
    put(&t, reserved, sizeof reserved);
    // DRHD (VT-d §8.3): INCLUDE_PCI_ALL.
    put16(&t, 0);
    put16(&t, 16);
    put8(&t, 1);
    put8(&t, 0);
    put16(&t, CHASSIS_SEGMENT);
    put32(&t, base + CHASSIS_DRHD_OFFSET);
    put32(&t, 0);
    return table_end(&t);
}

static int file_write(const char *dir, const char *name, const uint8_t *bytes, size_t len,
                      char *error, size_t error_len)
{
    char path[4096];
    ssize_t written = -1;
    int fd, ret = 0;

    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path) {
        snprintf(error, error_len, "%s: the path is too long", dir);
        return -ENAMETOOLONG;
    }
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd >= 0)
        written = write(fd, bytes, len);
    if (written < 0)
        ret = -errno;
    else if (written != (ssize_t)len)
        ret = -ENOSPC;
    if (fd >= 0 && close(fd) && !ret)
        ret = -errno;
    if (ret && fd >= 0)
        unlink(path); // a half table would be loaded
    if (ret)
        snprintf(error, error_len, "%s: %s", path, strerror(-ret));
    return ret;
}

int acpi_tables_write(const char *dir, uint32_t base, char *error, size_t error_len)
{
    uint8_t bytes[ACPI_TABLE_MAX_BYTES];
    size_t len = acpi_ssdt_build(bytes, base);
    int ret = file_write(dir, ACPI_SSDT_NAME, bytes, len, error, error_len);

    if (ret)
        return ret;
    len = acpi_dmar_build(bytes, base);
    ret = file_write(dir, ACPI_DMAR_NAME, bytes, len, error, error_len);
    if (ret)
        acpi_tables_remove(dir);
    return ret;
}

void acpi_tables_remove(const char *dir)
{
    static const char *const names[] = {ACPI_SSDT_NAME, ACPI_DMAR_NAME};
    char path[4096];

    for (unsigned i = 0; i < 2; i++) {
        if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, names[i]) < sizeof path)
            unlink(path);
    }
}

// SPDX-License-Identifier: BSD-3-Clause
// The carrier as QEMU has it: where its BAR must be, when it hides, the VM's memory, interrupts on
// the socket, and resets of every kind.
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/le.h"
#include "chassis/test_card.h"
#include "iommu/vtd_format.h"
#include "support/raw_vfiouser.h"

#define ONES    0xffffffffu
#define MSI     0xfee01000u
#define RAM_LEN 0x200000u
#define HIDE(t) test_config_set((t), CHASSIS_CARRIER_HIDE, 4, CHASSIS_CARRIER_HIDE_VALUE)

static int setup(void **state)
{
    struct test_chassis *t = calloc(1, sizeof *t);

    *state = t;
    return test_chassis_create(t);
}

static int teardown(void **state)
{
    test_chassis_destroy(*state);
    free(*state);
    return 0;
}

static int ram_map(struct test_chassis *t, uint64_t addr, int fd)
{
    struct vfiouser_dma_map map = {
        .iova = addr, .len_bytes = RAM_LEN, .read = true, .write = true, .fd = fd};

    return t->device.ops->dma_map(t->chassis, &map);
}

static int ram_create(void)
{
    int fd = memfd_create("vireo-test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, RAM_LEN), 0);
    assert_int_equal(pwrite(fd, "x", 1, 0x103f), 1); // as firmware would
    return fd;
}

static void test_bases(void **state)
{
    struct gate gate;
    struct chassis *c;

    (void)state;
    gate_init(&gate);
    assert_int_equal(chassis_create(&gate, 0, &c), -EINVAL);
    assert_int_equal(chassis_create(&gate, 0xe0000000, &c), -EINVAL);
    assert_int_equal(chassis_create(&gate, 0xc0001000, &c), -EINVAL);
    assert_int_equal(chassis_create(&gate, 0x80000000, &c), 0);
    chassis_destroy(c);
    gate_destroy(&gate);
}

// The size of the BAR is read by writing ones; nothing is in it anywhere but at its place.
static void test_placement(void **state)
{
    struct test_chassis *t = *state;

    test_config_set(t, 0x10, 4, ONES);
    assert_int_equal(test_config_get(t, 0x10, 4), 0xe0000000);
    test_config_set(t, 0x14, 4, ONES);
    assert_int_equal(test_config_get(t, 0x14, 4), 0);
    test_place(t, 0x80000000);
    assert_int_equal(test_bar_get(t, test_ecam((rid_t){0}, 0), 4), ONES);
    assert_int_equal(test_bar_get(t, CHASSIS_DRHD_OFFSET, 4), ONES);
    HIDE(t); // the tables would not; and it is refused
    assert_int_equal(test_config_get(t, 0, 4), 0x00015649);
    assert_false(chassis_is_booted(t->chassis));
    test_place(t, TEST_BASE);
    assert_int_equal(test_bar_get(t, test_ecam((rid_t){0}, 0), 4), 0x00025649);
    assert_int_equal(test_bar_get(t, CHASSIS_DRHD_OFFSET, 4), 0x10);
}

// What is logged while `cycles` runs.
static void log_capture(struct test_chassis *t, void (*cycles)(struct test_chassis *t), char *text,
                        size_t len)
{
    int file = memfd_create("vireo-log", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
    ssize_t n;

    fflush(stderr);
    assert_true(file >= 0 && saved >= 0 && dup2(file, STDERR_FILENO) >= 0);
    cycles(t);
    fflush(stderr);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    n = pread(file, text, len - 1, 0);
    assert_true(n >= 0);
    text[n] = 0;
    close(saved);
    close(file);
}

static void kernel_comes(struct test_chassis *t)
{
    test_config_set(t, CHASSIS_CARRIER_HIDE, 4, CHASSIS_CARRIER_COME_VALUE);
}

static void place_elsewhere(struct test_chassis *t)
{
    test_place(t, 0x80000000);
    kernel_comes(t);
}

// Where the BAR is not where the tables say, the log says what to do; once.
static void test_wrong_places_are_named(void **state)
{
    struct test_chassis *t = *state;
    char text[2048];

    log_capture(t, place_elsewhere, text, sizeof text);
    assert_non_null(strstr(text, "--chassis-base 0x80000000"));
    log_capture(t, place_elsewhere, text, sizeof text);
    assert_string_equal(text, "");
    // Firmware found no room: no place, no decoding.
    assert_int_equal(t->device.ops->reset(t->chassis), 0);
    log_capture(t, kernel_comes, text, sizeof text);
    assert_non_null(strstr(text, "has not placed the carrier's BAR, which needs 512 MiB"));
    log_capture(t, kernel_comes, text, sizeof text);
    assert_string_equal(text, "");
    // All is well.
    assert_int_equal(t->device.ops->reset(t->chassis), 0);
    test_place(t, TEST_BASE);
    log_capture(t, kernel_comes, text, sizeof text);
    assert_string_equal(text, "");
    assert_int_equal(test_config_get(t, 0, 4), 0x00015649);
    HIDE(t);
    assert_true(chassis_is_booted(t->chassis));
}

static void test_hides_until_reset(void **state)
{
    struct test_chassis *t = *state;

    test_place(t, TEST_BASE);
    test_config_set(t, CHASSIS_CARRIER_HIDE, 4, CHASSIS_CARRIER_HIDE_VALUE + 1);
    assert_int_equal(test_config_get(t, 0, 4), 0x00015649);
    HIDE(t);
    assert_true(chassis_is_booted(t->chassis));
    for (unsigned at = 0; at < 4096; at += 8)
        assert_int_equal(test_config_get(t, at, 8), UINT64_MAX);
    // Sizing and moving it does nothing any more.
    test_config_set(t, 0x10, 4, ONES);
    test_config_set(t, 0x10, 4, 0x80000000);
    test_config_set(t, 0x04, 2, 0);
    assert_int_equal(test_bar_get(t, test_ecam((rid_t){0}, 0), 4), 0x00025649);
    assert_int_equal(t->device.ops->reset(t->chassis), 0);
    assert_int_equal(test_config_get(t, 0, 4), 0x00015649);
    assert_int_equal(test_config_get(t, 0x10, 4), 0);
    assert_false(chassis_is_booted(t->chassis));
}

static void test_reset_takes_all_back(void **state)
{
    struct test_chassis *t = *state;
    unsigned before;

    test_boot(t);
    test_bar_set(t, CHASSIS_DRHD_OFFSET + VTD_GCMD, 4, VTD_GCMD_TE);
    assert_int_equal(test_bar_get(t, CHASSIS_DRHD_OFFSET + VTD_GSTS, 4), VTD_GSTS_TES);
    before = t->resets;
    assert_int_equal(t->device.ops->reset(t->chassis), 0);
    assert_int_equal(t->resets, before + 1);
    test_place(t, TEST_BASE);
    assert_int_equal(test_bar_get(t, CHASSIS_DRHD_OFFSET + VTD_GSTS, 4), 0);
    assert_int_equal(test_bar_get(t, test_ecam((rid_t){0}, 0x18), 4), 0);
    test_boot(t);
    assert_int_equal(test_bar_get(t, test_ecam(TEST_PF, 0), 4), 0x10fb8086);
}

static void test_memory(void **state)
{
    struct test_chassis *t = *state;
    struct dma_port *port = pci_function_dma(t->pf);
    int fd = ram_create();
    struct vfiouser_dma_map rom = {
        .iova = 0xfffc0000, .len_bytes = 0x40000, .read = true, .fd = -1};
    struct vfiouser_dma_map bar = {
        .iova = 0xfd000000, .len_bytes = 0x1000, .read = true, .write = true, .fd = -1};
    uint32_t value = 0x12345678, back = 0;

    test_boot(t);
    assert_int_equal(ram_map(t, 0, -1), -EINVAL); // the VM's RAM without a file
    assert_int_equal(t->device.ops->dma_map(t->chassis, &rom), 0);
    assert_int_equal(t->device.ops->dma_map(t->chassis, &bar), 0);
    assert_int_equal(ram_map(t, 0, fd), 0);
    assert_int_equal(ram_map(t, RAM_LEN - 0x1000, fd), -EEXIST);
    assert_int_equal(ram_map(t, 0x100000000, fd), 0);
    // Guest-physical addresses, as long as the IOMMU is off.
    assert_int_equal(dma_write(port, (iova_t){0x1000}, &value, 4), 0);
    assert_int_equal(dma_read(port, (iova_t){0x100001000}, &back, 4), 0);
    assert_int_equal(back, value);
    assert_int_equal(dma_write(port, (iova_t){RAM_LEN - 2}, &value, 4), -EFAULT);
    assert_int_equal(dma_write(port, (iova_t){0xfd000000}, &value, 4), -EFAULT);
    // Part of a map cannot go; what was never there can.
    assert_int_equal(t->device.ops->dma_unmap(t->chassis, 0, 0x1000, false), -EINVAL);
    assert_int_equal(t->device.ops->dma_unmap(t->chassis, 0x1000, RAM_LEN, false), -EINVAL);
    assert_int_equal(t->device.ops->dma_unmap(t->chassis, 0x40000000, 0x1000, false), 0);
    assert_int_equal(t->device.ops->dma_unmap(t->chassis, 0, RAM_LEN, false), 0);
    assert_int_equal(dma_write(port, (iova_t){0x1000}, &value, 4), -EFAULT);
    assert_int_equal(dma_read(port, (iova_t){0x100001000}, &back, 4), 0);
    assert_int_equal(t->device.ops->dma_unmap(t->chassis, 0, 0, true), 0);
    assert_int_equal(dma_read(port, (iova_t){0x100001000}, &back, 4), -EFAULT);
    close(fd);
}

// A VM whose memory we cannot share sees no card, and boots.
static void test_memory_without_a_file(void **state)
{
    struct test_chassis *t = *state;

    assert_int_equal(ram_map(t, 0, -1), -EINVAL);
    test_place(t, TEST_BASE);
    assert_int_equal(test_bar_get(t, CHASSIS_DRHD_OFFSET, 8), UINT64_MAX);
    assert_int_equal(test_bar_get(t, test_ecam((rid_t){0}, 0), 4), ONES);
    HIDE(t);
    assert_int_equal(test_config_get(t, 0, 4), ONES);
    assert_false(chassis_is_booted(t->chassis));
}

static void test_private_memory(void **state)
{
    struct test_chassis *t = *state;
    int fd = memfd_create("vireo-test", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, RAM_LEN), 0);
    assert_int_equal(ram_map(t, 0, fd), 0);
    test_place(t, TEST_BASE);
    assert_int_equal(test_bar_get(t, CHASSIS_DRHD_OFFSET, 8), UINT64_MAX);
    // The next reset looks again.
    assert_int_equal(pwrite(fd, "x", 1, 0), 1);
    test_place(t, TEST_BASE);
    assert_int_equal(test_bar_get(t, CHASSIS_DRHD_OFFSET, 8), UINT64_MAX);
    assert_int_equal(t->device.ops->reset(t->chassis), 0);
    test_place(t, TEST_BASE);
    assert_int_equal(test_bar_get(t, CHASSIS_DRHD_OFFSET, 4), 0x10);
    close(fd);
}

// OVMF clears the first pages, and is itself behind the holes for VGA and ROMs.
static void test_memory_with_holes(void **state)
{
    const uint64_t hole = 0xa0000;
    struct test_chassis *t = *state;
    int fd = memfd_create("vireo-test", MFD_CLOEXEC);
    struct vfiouser_dma_map low = {.len_bytes = hole, .read = true, .write = true, .fd = fd};
    struct vfiouser_dma_map high = {
        .len_bytes = RAM_LEN, .iova = 0x100000, .read = true, .write = true, .fd = fd};

    high.fd_offset = high.iova;
    assert_int_equal(ftruncate(fd, 0x100000 + RAM_LEN), 0);
    assert_int_equal(t->device.ops->dma_map(t->chassis, &low), 0);
    assert_int_equal(t->device.ops->dma_map(t->chassis, &high), 0);
    test_place(t, TEST_BASE);
    assert_int_equal(test_bar_get(t, CHASSIS_DRHD_OFFSET, 8), UINT64_MAX);
    // The last byte of a page in the second region.
    assert_int_equal(pwrite(fd, "x", 1, 0x100fff), 1);
    assert_int_equal(t->device.ops->reset(t->chassis), 0);
    test_place(t, TEST_BASE);
    assert_int_equal(test_bar_get(t, CHASSIS_DRHD_OFFSET, 4), 0x10);
    close(fd);
}

// --- interrupts, on a real socket
// -----------------------------------------------------------------

struct listening {
    struct test_chassis t;
    char dir[32], path[64];
    sd_event *loop;
    int sock;
};

static void pump(struct listening *l)
{
    while (sd_event_run(l->loop, 0) > 0)
        ;
}

static int listen_setup(void **state)
{
    struct listening *l = calloc(1, sizeof *l);
    uint8_t bytes[512];
    char error[256];

    *state = l;
    strcpy(l->dir, "/tmp/vireo-test-XXXXXX");
    if (!mkdtemp(l->dir) || sd_event_new(&l->loop) < 0 || test_chassis_create(&l->t))
        return -1;
    snprintf(l->path, sizeof l->path, "%s/c.sock", l->dir);
    if (chassis_listen(l->t.chassis, l->loop, l->path, error, sizeof error))
        return -1;
    l->sock = raw_connect(l->path);
    if (raw_send(l->sock, bytes, raw_version(bytes, 1), NULL, 0) < 0)
        return -1;
    pump(l);
    return raw_receive(l->sock, bytes, sizeof bytes, NULL, NULL) > 0 ? 0 : -1;
}

static int listen_teardown(void **state)
{
    struct listening *l = *state;

    chassis_stop(l->t.chassis);
    test_chassis_destroy(&l->t);
    close(l->sock);
    sd_event_unref(l->loop);
    rmdir(l->dir);
    free(l);
    return 0;
}

// The message that is there, or 0.
static uint32_t message_take(struct listening *l, uint64_t *addr)
{
    uint8_t bytes[64];

    if (raw_receive(l->sock, bytes, 36, NULL, NULL) != 36)
        return 0;
    assert_int_equal(le16_get(bytes + 2), VFIOUSER_DMA_WRITE);
    *addr = le64_get(bytes + 16);
    return le32_get(bytes + 32);
}

static void vector_set(struct test_chassis *t, unsigned vector, uint64_t addr, uint32_t data)
{
    uint64_t at = TEST_BAR4 - TEST_BASE + vector * 16;

    test_bar_set(t, at, 8, addr);
    test_bar_set(t, at + 8, 8, data);
    test_bar_set(t, test_ecam(TEST_PF, TEST_MSIX + 2), 2, 0x8000);
}

static void test_interrupts(void **state)
{
    struct listening *l = *state;
    struct test_chassis *t = &l->t;
    struct chassis_counts counts;
    uint64_t addr = 0;
    int fd = ram_create();

    test_boot(t);
    vector_set(t, 1, MSI, 0x4041);
    pci_msix_raise(t->pf, 1);
    assert_int_equal(message_take(l, &addr), 0x4041);
    assert_int_equal(addr, MSI);
    // The range's last dword, and what is right outside of it: that is memory, or nothing.
    vector_set(t, 1, 0xfeeffffc, 0x42);
    pci_msix_raise(t->pf, 1);
    assert_int_equal(message_take(l, &addr), 0x42);
    vector_set(t, 1, 0xfef00000, 0x43);
    pci_msix_raise(t->pf, 1);
    assert_int_equal(message_take(l, &addr), 0);
    assert_int_equal(ram_map(t, 0, fd), 0);
    vector_set(t, 1, 0x1ffffc, 0x44);
    pci_msix_raise(t->pf, 1);
    assert_int_equal(message_take(l, &addr), 0);
    assert_int_equal(pread(fd, &addr, 4, 0x1ffffc), 4);
    assert_int_equal((uint32_t)addr, 0x44);
    chassis_counts_get(t->chassis, &counts);
    assert_int_equal(counts.interrupts, 2);
    assert_int_equal(counts.interrupts_lost, 1);
    close(fd);
}

// A refused DMA becomes a fault record and the unit's own interrupt.
static void test_fault_interrupt(void **state)
{
    struct listening *l = *state;
    struct test_chassis *t = &l->t;
    uint64_t drhd = CHASSIS_DRHD_OFFSET, addr = 0;
    uint32_t value = 1;
    int fd = ram_create();

    assert_int_equal(ram_map(t, 0, fd), 0);
    test_boot(t);
    test_bar_set(t, drhd + VTD_FEDATA, 4, 0x31);
    test_bar_set(t, drhd + VTD_FEADDR, 4, MSI);
    test_bar_set(t, drhd + VTD_FECTL, 4, 0);
    test_bar_set(t, drhd + VTD_RTADDR, 8, 0x10000); // an empty root table
    test_bar_set(t, drhd + VTD_GCMD, 4, VTD_GCMD_SRTP);
    test_bar_set(t, drhd + VTD_GCMD, 4, VTD_GCMD_TE);
    assert_int_equal(dma_write(pci_function_dma(t->pf), (iova_t){0x5000}, &value, 4), -EFAULT);
    assert_int_equal(message_take(l, &addr), 0x31);
    assert_int_equal(addr, MSI);
    assert_int_equal(test_bar_get(t, drhd + VTD_FRCD_LO, 8), 0x5000);
    assert_int_equal(VTD_FRCD_SID(test_bar_get(t, drhd + VTD_FRCD_LO + 8, 8)), TEST_PF.v);
    close(fd);
}

static void test_client_goes(void **state)
{
    struct listening *l = *state;
    struct test_chassis *t = &l->t;
    unsigned before;

    test_boot(t);
    HIDE(t);
    assert_int_equal(chassis_client_pid(t->chassis), getpid());
    before = t->resets;
    close(l->sock);
    pump(l);
    assert_int_equal(chassis_client_pid(t->chassis), 0);
    assert_int_equal(t->resets, before + 1);
    assert_false(chassis_is_booted(t->chassis));
    pci_msix_raise(t->pf, 1); // nobody there
    l->sock = raw_connect(l->path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bases),
        cmocka_unit_test_setup_teardown(test_placement, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_places_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hides_until_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reset_takes_all_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_without_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_private_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory_with_holes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interrupts, listen_setup, listen_teardown),
        cmocka_unit_test_setup_teardown(test_fault_interrupt, listen_setup, listen_teardown),
        cmocka_unit_test_setup_teardown(test_client_goes, listen_setup, listen_teardown),
    };

    return cmocka_run_group_tests_name("chassis/chassis", tests, NULL, NULL);
}

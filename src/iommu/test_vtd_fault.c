// SPDX-License-Identifier: BSD-3-Clause
// The fault log: records, overflow, collapsing, and the fault event interrupt.
#include "iommu/test_vtd_machine.h"

// A fault of requester `rid`, on its own page. No table is there, so each access is one.
static void fault(struct machine *m, unsigned rid, enum dma_access access)
{
    struct dma_translation t;

    assert_int_equal(vtd_dma_ops()->translate(m->vtd, (rid_t){(uint16_t)rid},
                                              (iova_t){rid * PAGE + 0x18}, access, &t),
                     -EFAULT);
}

static uint64_t record_high(struct machine *m, unsigned i)
{
    return reg(m, VTD_FRCD_LO + i * VTD_FAULT_RECORD_LEN + 8);
}

static void record_clear(struct machine *m, unsigned i)
{
    reg32_set(m, VTD_FRCD_LO + i * VTD_FAULT_RECORD_LEN + 12, (uint32_t)(VTD_FRCD_F >> 32));
}

static unsigned first_index(struct machine *m)
{
    return reg32(m, VTD_FSTS) >> VTD_FSTS_FRI_SHIFT & 0xff;
}

static void log_on(struct machine *m)
{
    machine_on(m); // the root table is all zero: nobody is present
    reg32_set(m, VTD_FEDATA, 0x30);
    reg32_set(m, VTD_FEADDR, 0xfee01000);
    reg32_set(m, VTD_FEUADDR, 0);
}

static void test_record_contents(void **state)
{
    struct machine *m = *state;

    log_on(m);
    fault(m, 0xabcd, DMA_WRITE);
    fault(m, 0x0010, DMA_READ);
    assert_true(reg(m, VTD_FRCD_LO) == 0xabcd * PAGE);
    assert_true(record_high(m, 0) == (VTD_FRCD_F | 1ull << 32 | 0xabcd));
    assert_true(reg(m, VTD_FRCD_LO + 16) == 0x10 * PAGE);
    assert_true(record_high(m, 1) == (VTD_FRCD_F | VTD_FRCD_READ | 1ull << 32 | 0x10));
    assert_int_equal(reg32(m, VTD_FSTS), VTD_FSTS_PPF);
    // Only F can be written, only to 0.
    vtd_reg_write(m->vtd, VTD_FRCD_LO + 8, 8, ~VTD_FRCD_F);
    vtd_reg_write(m->vtd, VTD_FRCD_LO, 8, UINT64_MAX);
    assert_true(record_high(m, 0) == (VTD_FRCD_F | 1ull << 32 | 0xabcd));
    assert_true(reg(m, VTD_FRCD_LO) == 0xabcd * PAGE);
    vtd_reg_write(m->vtd, VTD_FRCD_LO + 8, 8, UINT64_MAX);
    assert_true(record_high(m, 0) == (1ull << 32 | 0xabcd));
    assert_int_equal(reg32(m, VTD_FSTS), VTD_FSTS_PPF); // the other one is still pending
    record_clear(m, 1);
    assert_int_equal(reg32(m, VTD_FSTS), 0);
}

static void test_ring_wraps(void **state)
{
    struct machine *m = *state;

    log_on(m);
    for (unsigned i = 0; i < 3 * VTD_FAULT_RECORDS; i++) {
        fault(m, 0x100 + i, DMA_READ);
        assert_int_equal(first_index(m), i % VTD_FAULT_RECORDS);
        assert_int_equal(VTD_FRCD_SID(record_high(m, i % VTD_FAULT_RECORDS)), 0x100 + i);
        record_clear(m, i % VTD_FAULT_RECORDS);
        assert_int_equal(reg32(m, VTD_FSTS) & VTD_FSTS_PPF, 0);
    }
    // Wrapped with pending ones on both sides of the end: FRI stays with the first.
    for (unsigned i = 0; i < 5; i++)
        fault(m, 0x200 + i, DMA_READ);
    for (unsigned i = 0; i < 5; i++)
        record_clear(m, i);
    for (unsigned i = 0; i < 5; i++)
        fault(m, 0x300 + i, DMA_READ);
    assert_int_equal(first_index(m), 5);
    assert_int_equal(VTD_FRCD_SID(record_high(m, 1)), 0x304);
    assert_false(record_high(m, 2) & VTD_FRCD_F);
}

static void test_overflow(void **state)
{
    struct machine *m = *state;

    log_on(m);
    for (unsigned i = 0; i < VTD_FAULT_RECORDS; i++)
        fault(m, 0x100 + i, DMA_READ);
    assert_int_equal(reg32(m, VTD_FSTS), VTD_FSTS_PPF);
    fault(m, 0x900, DMA_READ);
    assert_int_equal(reg32(m, VTD_FSTS), VTD_FSTS_PPF | VTD_FSTS_PFO);
    for (unsigned i = 0; i < VTD_FAULT_RECORDS; i++)
        assert_int_equal(VTD_FRCD_SID(record_high(m, i)), 0x100 + i);
    // While PFO stands nothing is recorded, though there is room again.
    record_clear(m, 0);
    fault(m, 0x901, DMA_READ);
    assert_false(record_high(m, 0) & VTD_FRCD_F);
    reg32_set(m, VTD_FSTS, VTD_FSTS_PFO);
    assert_int_equal(reg32(m, VTD_FSTS), VTD_FSTS_PPF);
    fault(m, 0x902, DMA_READ);
    assert_int_equal(VTD_FRCD_SID(record_high(m, 0)), 0x902);
    // PPF and FRI are not software's to clear.
    reg32_set(m, VTD_FSTS, UINT32_MAX);
    assert_int_equal(reg32(m, VTD_FSTS), VTD_FSTS_PPF);
}

// A requester that has a fault pending gets no second record, until the first is cleared.
static void test_collapse(void **state)
{
    struct machine *m = *state;

    log_on(m);
    for (unsigned i = 0; i < 100; i++)
        fault(m, 0x100, i & 1 ? DMA_READ : DMA_WRITE);
    fault(m, 0x101, DMA_READ);
    fault(m, 0x100, DMA_READ);
    assert_int_equal(VTD_FRCD_SID(record_high(m, 1)), 0x101);
    assert_int_equal(record_high(m, 2), 0);
    assert_int_equal(reg32(m, VTD_FSTS), VTD_FSTS_PPF);
    record_clear(m, 0);
    fault(m, 0x100, DMA_READ);
    assert_int_equal(VTD_FRCD_SID(record_high(m, 2)), 0x100);
}

static void test_event_interrupt(void **state)
{
    struct machine *m = *state;

    log_on(m);
    // Masked after reset: held pending; sent when unmasked.
    fault(m, 0x100, DMA_READ);
    assert_int_equal(reg32(m, VTD_FECTL), VTD_EVENT_IM | VTD_EVENT_IP);
    assert_int_equal(m->msg_count, 0);
    reg32_set(m, VTD_FECTL, 0);
    assert_int_equal(m->msg_count, 1);
    assert_true(m->msg_addr == 0xfee01000);
    assert_int_equal(m->msg_data, 0x30);
    assert_int_equal(reg32(m, VTD_FECTL), 0);
    // While PPF stands, further faults are no new event.
    fault(m, 0x101, DMA_READ);
    assert_int_equal(m->msg_count, 1);
    record_clear(m, 0);
    fault(m, 0x102, DMA_READ);
    assert_int_equal(m->msg_count, 1);
    record_clear(m, 1);
    record_clear(m, 2);
    fault(m, 0x103, DMA_READ);
    assert_int_equal(m->msg_count, 2);
    record_clear(m, 3);
}

// The cause is served by polling before the message could go out.
static void test_event_is_withdrawn(void **state)
{
    struct machine *m = *state;

    log_on(m);
    for (unsigned i = 0; i <= VTD_FAULT_RECORDS; i++)
        fault(m, 0x100 + i, DMA_READ);
    for (unsigned i = 0; i < VTD_FAULT_RECORDS; i++)
        record_clear(m, i);
    assert_int_equal(reg32(m, VTD_FSTS) & (VTD_FSTS_PFO | VTD_FSTS_PPF), VTD_FSTS_PFO);
    assert_int_equal(reg32(m, VTD_FECTL), VTD_EVENT_IM | VTD_EVENT_IP);
    reg32_set(m, VTD_FSTS, VTD_FSTS_PFO);
    assert_int_equal(reg32(m, VTD_FECTL), VTD_EVENT_IM);
    reg32_set(m, VTD_FECTL, 0);
    assert_int_equal(m->msg_count, 0);
    fault(m, 0x200, DMA_READ);
    assert_int_equal(m->msg_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_MACHINE(test_record_contents), WITH_MACHINE(test_ring_wraps),
        WITH_MACHINE(test_overflow),        WITH_MACHINE(test_collapse),
        WITH_MACHINE(test_event_interrupt), WITH_MACHINE(test_event_is_withdrawn),
    };

    return cmocka_run_group_tests_name("vtd_fault", tests, NULL, NULL);
}

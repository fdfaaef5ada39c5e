// SPDX-License-Identifier: BSD-3-Clause
// Translation: what the tables say, and every way in which they can be wrong.
#include "iommu/test_vtd_machine.h"

static void test_disabled_is_identity(void **state)
{
    struct machine *m = *state;
    struct outcome o;

    machine_add(m, 16 * MIB, PAGE, MEM_READ);
    o = machine_try(m, 0x1234, DMA_WRITE);
    assert_ptr_equal(o.host, m->mem + 0x1234);
    assert_int_equal(o.t.shift, DMA_LARGE_SHIFT);
    assert_int_equal(o.t.access, DMA_READ | DMA_WRITE);
    assert_ptr_equal(machine_try(m, MEM_LEN - 1, DMA_READ).host, m->mem + MEM_LEN - 1);
    assert_null(machine_try(m, MEM_LEN, DMA_READ).host);
    assert_null(machine_try(m, UINT64_MAX, DMA_READ).host);

    // Read-only memory: a smaller piece, with fewer rights.
    o = machine_try(m, 16 * MIB + 5, DMA_READ);
    assert_non_null(o.host);
    assert_int_equal(o.t.shift, DMA_SMALL_SHIFT);
    assert_int_equal(o.t.access, DMA_READ);
    assert_null(machine_try(m, 16 * MIB + 5, DMA_WRITE).host);
    assert_null(machine_try(m, 16 * MIB + PAGE, DMA_READ).host);

    // The unit takes no part, so it records nothing.
    assert_int_equal(reg32(m, VTD_FSTS), 0);
}

static void test_four_levels(void **state)
{
    struct machine *m = *state;
    struct outcome o;

    machine_tables(m, 4);
    machine_on(m);
    o = machine_try(m, IOVA + 0x123, DMA_READ);
    assert_ptr_equal(o.host, m->mem + DATA_AT + 0x123);
    assert_int_equal(o.t.shift, DMA_SMALL_SHIFT);
    assert_int_equal(o.t.access, DMA_READ | DMA_WRITE);
    assert_ptr_equal(machine_try(m, IOVA + PAGE - 1, DMA_WRITE).host, m->mem + DATA_AT + PAGE - 1);
    // The pages next to it, and the same low bits elsewhere.
    assert_int_equal(machine_try(m, IOVA + PAGE, DMA_READ).reason, VTD_FAULT_READ_DENIED);
    assert_int_equal(machine_try(m, IOVA - 1, DMA_WRITE).reason, VTD_FAULT_WRITE_DENIED);
    assert_int_equal(machine_try(m, IOVA + 2 * MIB, DMA_READ).reason, VTD_FAULT_READ_DENIED);
    assert_int_equal(machine_try(m, IOVA + GIB, DMA_READ).reason, VTD_FAULT_READ_DENIED);
    assert_int_equal(machine_try(m, IOVA + 512 * GIB, DMA_READ).reason, VTD_FAULT_READ_DENIED);
}

static void test_three_levels(void **state)
{
    struct machine *m = *state;
    const uint64_t iova = IOVA & (BIT64(39) - 1);

    machine_tables(m, 3);
    put64(m, TABLE3_AT + 511 * 8, RW | VTD_SS_PS); // the last GiB, at address 0
    machine_on(m);
    assert_ptr_equal(machine_try(m, iova + 7, DMA_READ).host, m->mem + DATA_AT + 7);
    assert_ptr_equal(machine_try(m, BIT64(39) - GIB, DMA_READ).host, m->mem);
    // Beyond the domain's width, though within the unit's.
    assert_int_equal(machine_try(m, BIT64(39) - 1, DMA_READ).reason, VTD_FAULT_READ_DENIED);
    assert_int_equal(machine_try(m, BIT64(39), DMA_READ).reason, VTD_FAULT_ADDRESS_WIDTH);
    assert_int_equal(machine_try(m, IOVA, DMA_READ).reason, VTD_FAULT_ADDRESS_WIDTH);
}

static void test_address_width(void **state)
{
    struct machine *m = *state;

    machine_tables(m, 4);
    put64(m, TABLE4_AT + 511 * 8, TABLE3_AT | RW);
    put64(m, TABLE3_AT + 511 * 8, RW | VTD_SS_PS);
    machine_on(m);
    assert_non_null(machine_try(m, BIT64(48) - GIB, DMA_READ).host);
    assert_int_equal(machine_try(m, BIT64(48), DMA_READ).reason, VTD_FAULT_ADDRESS_WIDTH);
    assert_int_equal(machine_try(m, BIT64(48) + IOVA, DMA_WRITE).reason, VTD_FAULT_ADDRESS_WIDTH);
    assert_int_equal(machine_try(m, UINT64_MAX, DMA_WRITE).reason, VTD_FAULT_ADDRESS_WIDTH);
}

// A right must be given on every level.
static void test_rights(void **state)
{
    static const uint64_t entries[] = {TABLE4_AT + 5 * 8, TABLE3_AT + 6 * 8, TABLE2_AT + 7 * 8,
                                       TABLE1_AT + 8 * 8};
    struct machine *m = *state;

    machine_tables(m, 4);
    machine_on(m);
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        uint64_t entry = le64_get(m->mem + entries[i]);
        struct outcome o;

        put64(m, entries[i], entry & ~VTD_SS_W);
        o = machine_try(m, IOVA, DMA_READ);
        assert_non_null(o.host);
        assert_int_equal(o.t.access, DMA_READ);
        assert_int_equal(machine_try(m, IOVA, DMA_WRITE).reason, VTD_FAULT_WRITE_DENIED);
        put64(m, entries[i], entry & ~VTD_SS_R);
        o = machine_try(m, IOVA, DMA_WRITE);
        assert_non_null(o.host);
        assert_int_equal(o.t.access, DMA_WRITE);
        assert_int_equal(machine_try(m, IOVA, DMA_READ).reason, VTD_FAULT_READ_DENIED);
        put64(m, entries[i], entry & ~RW);
        assert_int_equal(machine_try(m, IOVA, DMA_READ).reason, VTD_FAULT_READ_DENIED);
        put64(m, entries[i], entry);
    }
}

static void test_large_pages(void **state)
{
    struct machine *m = *state;
    struct outcome o;

    machine_tables(m, 4);
    machine_on(m);
    put64(m, TABLE2_AT + 7 * 8, 4 * MIB | RW | VTD_SS_PS);
    o = machine_try(m, IOVA, DMA_READ); // 8 pages into it
    assert_int_equal(o.t.shift, DMA_LARGE_SHIFT);
    assert_ptr_equal(o.host, m->mem + 4 * MIB + 8 * PAGE);
    o = machine_try(m, IOVA - 8 * PAGE + 2 * MIB - 1, DMA_READ);
    assert_ptr_equal(o.host, m->mem + 6 * MIB - 1);

    // 1 GiB, of which 8 MiB are memory: 2 MiB pieces up to there, then nothing.
    put64(m, TABLE3_AT + 6 * 8, 0 | RW | VTD_SS_PS);
    o = machine_try(m, bits_align_down(IOVA, GIB) + 3 * MIB + 1, DMA_WRITE);
    assert_int_equal(o.t.shift, DMA_LARGE_SHIFT);
    assert_ptr_equal(o.host, m->mem + 3 * MIB + 1);
    assert_non_null(machine_try(m, bits_align_down(IOVA, GIB) + MEM_LEN - 1, DMA_READ).host);
    assert_int_equal(machine_try(m, bits_align_down(IOVA, GIB) + MEM_LEN, DMA_READ).reason,
                     VTD_FAULT_READ_DENIED);
}

// A large page that memory covers only in part comes in small pieces, by what is there.
static void test_large_page_over_pieces_of_memory(void **state)
{
    struct machine *m = *state;
    const uint64_t base = bits_align_down(IOVA, 2 * MIB);
    struct mem_region *a = machine_add(m, 32 * MIB, 3 * PAGE, MEM_READ | MEM_WRITE);
    struct mem_region *b = machine_add(m, 32 * MIB + 3 * PAGE, PAGE, MEM_READ);
    struct outcome o;

    machine_tables(m, 4);
    machine_on(m);
    put64(m, TABLE2_AT + 7 * 8, 32 * MIB | RW | VTD_SS_PS);
    o = machine_try(m, base + 2 * PAGE + 9, DMA_WRITE);
    assert_int_equal(o.t.shift, DMA_SMALL_SHIFT);
    assert_ptr_equal(o.host, (uint8_t *)mem_region_host(a) + 2 * PAGE + 9);
    o = machine_try(m, base + 3 * PAGE, DMA_READ);
    assert_int_equal(o.t.access, DMA_READ);
    assert_ptr_equal(o.host, mem_region_host(b));
    assert_int_equal(machine_try(m, base + 3 * PAGE, DMA_WRITE).reason, VTD_FAULT_WRITE_DENIED);
    assert_int_equal(machine_try(m, base + 4 * PAGE, DMA_READ).reason, VTD_FAULT_READ_DENIED);
}

static void expect_entry(struct machine *m, uint64_t at, uint64_t extra, unsigned reason)
{
    uint64_t entry = le64_get(m->mem + at);

    put64(m, at, entry | extra);
    assert_int_equal(machine_try(m, IOVA, DMA_READ).reason, reason);
    put64(m, at, entry);
}

static void test_reserved_and_ignored_bits_of_entries(void **state)
{
    static const uint64_t entries[] = {TABLE1_AT + 8 * 8, TABLE2_AT + 7 * 8, TABLE3_AT + 6 * 8,
                                       TABLE4_AT + 5 * 8};
    struct machine *m = *state;

    machine_tables(m, 4);
    machine_on(m);
    for (unsigned level = 1; level <= 4; level++) {
        uint64_t at = entries[level - 1];

        for (unsigned bit = 0; bit < 64; bit++) {
            bool is_address = bit >= 12 && bit < VTD_HOST_ADDR_BITS;
            bool is_reserved = (bit >= VTD_HOST_ADDR_BITS && bit <= 51) || bit == 62 ||
                               (bit == 11 && level > 1) || (bit == 7 && level == 4);
            bool is_page_size = bit == 7 && (level == 2 || level == 3);

            if (!is_address && !is_page_size)
                expect_entry(m, at, BIT64(bit),
                             is_reserved ? VTD_FAULT_ENTRY_RESERVED : VTD_FAULT_NONE);
        }
    }
    // There are no pages of 512 GiB, not even at address 0.
    put64(m, TABLE4_AT + 5 * 8, RW);
    expect_entry(m, TABLE4_AT + 5 * 8, VTD_SS_PS, VTD_FAULT_ENTRY_RESERVED);
    put64(m, TABLE4_AT + 5 * 8, TABLE3_AT | RW);
    // The address of a large page: aligned to the page, SNP allowed.
    put64(m, TABLE2_AT + 7 * 8, 4 * MIB | RW | VTD_SS_PS);
    expect_entry(m, TABLE2_AT + 7 * 8, VTD_SS_SNP, VTD_FAULT_NONE);
    expect_entry(m, TABLE2_AT + 7 * 8, BIT64(12), VTD_FAULT_ENTRY_RESERVED);
    expect_entry(m, TABLE2_AT + 7 * 8, BIT64(20), VTD_FAULT_ENTRY_RESERVED);
    expect_entry(m, TABLE2_AT + 7 * 8, BIT64(21), VTD_FAULT_NONE);
    put64(m, TABLE3_AT + 6 * 8, RW | VTD_SS_PS);
    expect_entry(m, TABLE3_AT + 6 * 8, BIT64(29), VTD_FAULT_ENTRY_RESERVED);
    expect_entry(m, TABLE3_AT + 6 * 8, BIT64(12), VTD_FAULT_ENTRY_RESERVED);
}

static void test_root_and_context_faults(void **state)
{
    struct machine *m = *state;
    static const struct {
        uint64_t at, value;
        unsigned reason;
    } cases[] = {
        {ROOT_AT, CTX_AT, VTD_FAULT_ROOT_NOT_PRESENT},
        {ROOT_AT, CTX_AT | VTD_ROOT_P | BIT64(1), VTD_FAULT_ROOT_RESERVED},
        {ROOT_AT, CTX_AT | VTD_ROOT_P | BIT64(11), VTD_FAULT_ROOT_RESERVED},
        {ROOT_AT, CTX_AT | VTD_ROOT_P | BIT64(VTD_HOST_ADDR_BITS), VTD_FAULT_ROOT_RESERVED},
        {ROOT_AT, CTX_AT | VTD_ROOT_P | BIT64(63), VTD_FAULT_ROOT_RESERVED},
        {ROOT_AT + 8, 1, VTD_FAULT_ROOT_RESERVED},
        {ROOT_AT + 8, BIT64(63), VTD_FAULT_ROOT_RESERVED},
        {ROOT_AT, MEM_LEN | VTD_ROOT_P, VTD_FAULT_CONTEXT_ACCESS},
        {CTX_ENTRY, TABLE4_AT, VTD_FAULT_CONTEXT_NOT_PRESENT},
        {CTX_ENTRY, TABLE4_AT | 1 | BIT64(4), VTD_FAULT_CONTEXT_RESERVED},
        {CTX_ENTRY, TABLE4_AT | 1 | BIT64(11), VTD_FAULT_CONTEXT_RESERVED},
        {CTX_ENTRY, TABLE4_AT | 1 | BIT64(VTD_HOST_ADDR_BITS), VTD_FAULT_CONTEXT_RESERVED},
        {CTX_ENTRY + 8, VTD_CONTEXT_AW_48 | BIT64(7), VTD_FAULT_CONTEXT_RESERVED},
        {CTX_ENTRY + 8, VTD_CONTEXT_AW_48 | BIT64(24), VTD_FAULT_CONTEXT_RESERVED},
        {CTX_ENTRY + 8, VTD_CONTEXT_AW_48 | BIT64(63), VTD_FAULT_CONTEXT_RESERVED},
        {CTX_ENTRY + 8, VTD_CONTEXT_AW_48 | 0xffff78, VTD_FAULT_NONE},  // ignored bits, domain
        {CTX_ENTRY, TABLE4_AT | 1 | 1 << 2, VTD_FAULT_CONTEXT_INVALID}, // device TLB
        {CTX_ENTRY, TABLE4_AT | 1 | 3 << 2, VTD_FAULT_CONTEXT_INVALID},
        {CTX_ENTRY + 8, 0, VTD_FAULT_CONTEXT_INVALID},
        {CTX_ENTRY + 8, 3, VTD_FAULT_CONTEXT_INVALID},
        {CTX_ENTRY + 8, 7, VTD_FAULT_CONTEXT_INVALID},
        {CTX_ENTRY, MEM_LEN | 1, VTD_FAULT_CONTEXT_INVALID},
        {TABLE4_AT + 5 * 8, MEM_LEN | RW, VTD_FAULT_TABLE_ACCESS},
        {TABLE3_AT + 6 * 8, (VTD_ADDR_MASK) | RW, VTD_FAULT_TABLE_ACCESS},
        {TABLE2_AT + 7 * 8, MEM_LEN | RW, VTD_FAULT_TABLE_ACCESS},
        {TABLE1_AT + 8 * 8, MEM_LEN | RW, VTD_FAULT_READ_DENIED}, // no memory there
        {TABLE1_AT + 8 * 8, 0xfee00000 | RW, VTD_FAULT_INTERRUPT_RANGE},
        {TABLE1_AT + 8 * 8, 0xfeeff000 | RW, VTD_FAULT_INTERRUPT_RANGE},
    };

    machine_tables(m, 4);
    machine_on(m);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t saved = le64_get(m->mem + cases[i].at);

        put64(m, cases[i].at, cases[i].value);
        assert_int_equal(machine_try(m, IOVA, DMA_READ).reason, cases[i].reason);
        put64(m, cases[i].at, saved);
        assert_int_equal(machine_try(m, IOVA, DMA_READ).reason, VTD_FAULT_NONE);
    }
}

static void test_root_table_outside_memory(void **state)
{
    struct machine *m = *state;

    vtd_reg_write(m->vtd, VTD_RTADDR, 8, MEM_LEN);
    reg32_set(m, VTD_GCMD, VTD_GCMD_SRTP);
    reg32_set(m, VTD_GCMD, VTD_GCMD_TE);
    assert_int_equal(machine_try(m, IOVA, DMA_READ).reason, VTD_FAULT_ROOT_ACCESS);
    vtd_reg_write(m->vtd, VTD_RTADDR, 8, UINT64_MAX);
    reg32_set(m, VTD_GCMD, VTD_GCMD_SRTP | VTD_GCMD_TE);
    assert_int_equal(machine_try(m, IOVA, DMA_READ).reason, VTD_FAULT_ROOT_ACCESS);
}

// FPD: faults that §7.1.3 qualifies are not recorded, present or not; the access fails the same.
static void test_fault_processing_disable(void **state)
{
    struct machine *m = *state;
    struct outcome o;

    machine_tables(m, 4);
    machine_on(m);
    put64(m, CTX_ENTRY, TABLE4_AT | VTD_CONTEXT_LO_P | VTD_CONTEXT_LO_FPD);
    assert_non_null(machine_try(m, IOVA, DMA_READ).host);
    o = machine_try(m, IOVA + PAGE, DMA_READ);
    assert_int_equal(o.reason, 0);
    assert_null(o.host);
    vtd_dma_ops()->refuse(m->vtd, RID, (iova_t){DMA_INTERRUPT_BASE}, DMA_WRITE);
    assert_int_equal(reg32(m, VTD_FSTS), 0);
    put64(m, CTX_ENTRY, VTD_CONTEXT_LO_FPD);
    o = machine_try(m, IOVA, DMA_READ);
    assert_int_equal(o.reason, 0);
    assert_null(o.host);
    put64(m, ROOT_AT, 0); // not qualified
    assert_int_equal(machine_try(m, IOVA, DMA_READ).reason, VTD_FAULT_ROOT_NOT_PRESENT);
}

static void test_pass_through(void **state)
{
    struct machine *m = *state;
    struct outcome o;

    machine_tables(m, 4);
    machine_on(m);
    // The table pointer does not matter then.
    put64(m, CTX_ENTRY, VTD_CONTEXT_LO_P | VTD_CONTEXT_T_PASS_THROUGH << VTD_CONTEXT_LO_T_SHIFT);
    o = machine_try(m, 3 * MIB + 5, DMA_WRITE);
    assert_ptr_equal(o.host, m->mem + 3 * MIB + 5);
    assert_int_equal(o.t.shift, DMA_LARGE_SHIFT);
    assert_int_equal(machine_try(m, MEM_LEN, DMA_WRITE).reason, VTD_FAULT_WRITE_DENIED);
    assert_int_equal(machine_try(m, BIT64(48), DMA_READ).reason, VTD_FAULT_ADDRESS_WIDTH);
    assert_int_equal(machine_try(m, DMA_INTERRUPT_BASE, DMA_WRITE).reason,
                     VTD_FAULT_INTERRUPT_RANGE);
}

static void test_interrupt_range(void **state)
{
    struct machine *m = *state;
    const uint64_t end = DMA_INTERRUPT_BASE + DMA_INTERRUPT_LEN;
    uint64_t lo, hi;
    struct outcome o;

    // Recorded even while translation is off.
    assert_int_equal(machine_try(m, DMA_INTERRUPT_BASE, DMA_WRITE).reason,
                     VTD_FAULT_INTERRUPT_RANGE);
    machine_tables(m, 4);
    put64(m, TABLE4_AT, TABLE3_AT | RW);
    put64(m, TABLE3_AT + 3 * 8, RW | VTD_SS_PS); // 3 GiB … 4 GiB, at address 0
    machine_on(m);
    assert_int_equal(machine_try(m, DMA_INTERRUPT_BASE, DMA_READ).reason,
                     VTD_FAULT_INTERRUPT_RANGE);
    assert_int_equal(machine_try(m, end - 1, DMA_WRITE).reason, VTD_FAULT_INTERRUPT_RANGE);
    // Its neighbours are translated: to where no memory is, here.
    assert_int_equal(machine_try(m, DMA_INTERRUPT_BASE - 1, DMA_READ).reason,
                     VTD_FAULT_READ_DENIED);
    assert_int_equal(machine_try(m, end, DMA_WRITE).reason, VTD_FAULT_WRITE_DENIED);
    // With memory behind the large page around the range, no piece covers the range.
    put64(m, TABLE3_AT + 3 * 8, TABLE2_AT | RW);
    put64(m, TABLE2_AT + (DMA_INTERRUPT_BASE >> 21 & 511) * 8, 2 * MIB | RW | VTD_SS_PS);
    o = machine_try(m, end + 3, DMA_READ);
    assert_ptr_equal(o.host, m->mem + 3 * MIB + 3);
    assert_int_equal(o.t.shift, DMA_SMALL_SHIFT);
    vtd_dma_ops()->refuse(m->vtd, RID, (iova_t){DMA_INTERRUPT_BASE + 0x5004}, DMA_WRITE);
    assert_int_equal(machine_take_fault(m, &lo, &hi), VTD_FAULT_INTERRUPT_RANGE);
    assert_int_equal(lo, DMA_INTERRUPT_BASE + 0x5000);
    vtd_dma_ops()->refuse(m->vtd, RID, (iova_t){UINT64_MAX - 3}, DMA_READ);
    assert_int_equal(machine_take_fault(m, &lo, &hi), VTD_FAULT_ADDRESS_WIDTH);
}

// All levels in one page that points to itself; every entry to itself as a page as well.
static void test_tables_that_point_to_themselves(void **state)
{
    struct machine *m = *state;

    machine_tables(m, 4);
    for (unsigned i = 0; i < VTD_TABLE_ENTRIES; i++)
        put64(m, TABLE4_AT + i * 8, TABLE4_AT | RW);
    machine_on(m);
    assert_ptr_equal(machine_try(m, IOVA + 5, DMA_READ).host, m->mem + TABLE4_AT + 5);
    assert_ptr_equal(machine_try(m, BIT64(48) - 1, DMA_WRITE).host, m->mem + TABLE4_AT + PAGE - 1);
    // Root, context and second stage in one page.
    put64(m, TABLE4_AT, TABLE4_AT | 1);
    put64(m, TABLE4_AT + 8, 0);
    put64(m, TABLE4_AT + 0x100, TABLE4_AT | 1);
    put64(m, TABLE4_AT + 0x108, VTD_CONTEXT_AW_39);
    vtd_reg_write(m->vtd, VTD_RTADDR, 8, TABLE4_AT);
    reg32_set(m, VTD_GCMD, VTD_GCMD_SRTP | VTD_GCMD_TE);
    assert_int_equal(machine_try(m, 0x20ull << 30, DMA_WRITE).reason, VTD_FAULT_WRITE_DENIED);
    assert_non_null(machine_try(m, 0x55ull << 30 | 0x66ull << 21 | 0x77 << 12, DMA_WRITE).host);
}

// A table in the last page of memory, one half in, and requesters at both ends of the tables.
static void test_edges_of_tables_and_memory(void **state)
{
    struct machine *m = *state;
    struct dma_translation t;
    const rid_t last = {0xffff};

    machine_tables(m, 4);
    put64(m, TABLE2_AT + 7 * 8, (MEM_LEN - PAGE) | RW);
    put64(m, MEM_LEN - 8, DATA_AT | RW); // entry 511
    put64(m, ROOT_AT + 255 * 16, (MEM_LEN - PAGE) | VTD_ROOT_P);
    machine_on(m);
    assert_ptr_equal(machine_try(m, bits_align_down(IOVA, 2 * MIB) + 511 * PAGE, DMA_READ).host,
                     m->mem + DATA_AT);
    put64(m, MEM_LEN - 16, TABLE4_AT | VTD_CONTEXT_LO_P);
    put64(m, MEM_LEN - 8, VTD_CONTEXT_AW_48);
    put64(m, TABLE2_AT + 7 * 8, TABLE1_AT | RW);
    machine_flush(m);
    assert_int_equal(vtd_dma_ops()->translate(m->vtd, last, (iova_t){IOVA}, DMA_READ, &t), 0);
    assert_ptr_equal(t.host, m->mem + DATA_AT);
    assert_int_equal(
        vtd_dma_ops()->translate(m->vtd, (rid_t){0xfffe}, (iova_t){IOVA}, DMA_READ, &t), -EFAULT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_MACHINE(test_disabled_is_identity),
        WITH_MACHINE(test_four_levels),
        WITH_MACHINE(test_three_levels),
        WITH_MACHINE(test_address_width),
        WITH_MACHINE(test_rights),
        WITH_MACHINE(test_large_pages),
        WITH_MACHINE(test_large_page_over_pieces_of_memory),
        WITH_MACHINE(test_reserved_and_ignored_bits_of_entries),
        WITH_MACHINE(test_root_and_context_faults),
        WITH_MACHINE(test_root_table_outside_memory),
        WITH_MACHINE(test_fault_processing_disable),
        WITH_MACHINE(test_pass_through),
        WITH_MACHINE(test_interrupt_range),
        WITH_MACHINE(test_tables_that_point_to_themselves),
        WITH_MACHINE(test_edges_of_tables_and_memory),
    };

    return cmocka_run_group_tests_name("vtd_translate", tests, NULL, NULL);
}

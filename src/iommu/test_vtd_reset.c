// SPDX-License-Identifier: BSD-3-Clause
// Power-up again, and memory that goes away.
#include "iommu/test_vtd_machine.h"

#include "mem/dma.h"

static void test_reset_is_power_up(void **state)
{
    struct machine *m = *state;
    uint64_t fresh[VTD_REGS_LEN_BYTES / 8];
    struct dma_translation t;

    for (unsigned i = 0; i < ARRAY_LEN(fresh); i++)
        fresh[i] = reg(m, i * 8);
    machine_tables(m, 4);
    machine_on(m);
    reg32_set(m, VTD_FECTL, 0);
    reg32_set(m, VTD_FEADDR, 0xfee00000);
    assert_int_equal(machine_translate(m, IOVA, DMA_READ, &t), 0);
    assert_int_equal(machine_translate(m, IOVA + PAGE, DMA_READ, &t), -EFAULT);
    // The queue, stopped at a bad descriptor.
    vtd_reg_write(m->vtd, VTD_IQA, 8, QUEUE_AT);
    reg32_set(m, VTD_GCMD, VTD_GCMD_TE | VTD_GCMD_QIE);
    put64(m, QUEUE_AT, 0xf);
    vtd_reg_write(m->vtd, VTD_IQT, 8, 16);
    assert_true(reg32(m, VTD_FSTS) & VTD_FSTS_IQE);

    vtd_reset(m->vtd);
    for (unsigned i = 0; i < ARRAY_LEN(fresh); i++)
        assert_int_equal(reg(m, i * 8), fresh[i]);
    // Addresses are physical again.
    assert_int_equal(machine_translate(m, DATA_AT, DMA_READ, &t), 0);
    assert_ptr_equal(t.host + (DATA_AT - t.iova), m->mem + DATA_AT);
    // And the queue runs.
    vtd_reg_write(m->vtd, VTD_IQA, 8, QUEUE_AT);
    put64(m, QUEUE_AT, VTD_INV_CONTEXT | VTD_GRAN_GLOBAL << VTD_INV_GRAN_SHIFT);
    reg32_set(m, VTD_GCMD, VTD_GCMD_QIE);
    vtd_reg_write(m->vtd, VTD_IQT, 8, 16);
    assert_int_equal(reg(m, VTD_IQH), 16);
}

// A port never uses a translation of memory that was taken away.
static void test_memory_changed(void **state)
{
    struct machine *m = *state;
    struct mem_region *more = machine_add(m, 16 * MIB, MIB, MEM_READ | MEM_WRITE);
    struct dma_port *port = calloc(1, sizeof *port);
    uint32_t run;

    assert_non_null(port);
    dma_port_init(port, RID, vtd_dma_ops(), m->vtd, vtd_generation(m->vtd));
    port->bus_master = true;
    assert_non_null(dma_at(port, (iova_t){16 * MIB}, 4, DMA_WRITE, &run));
    gate_close(&m->gate);
    vtd_memory_changed(m->vtd);
    mem_region_remove(m->space, more);
    gate_open(&m->gate);
    assert_null(dma_at(port, (iova_t){16 * MIB}, 4, DMA_WRITE, &run));
    free(port);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_MACHINE(test_reset_is_power_up),
        WITH_MACHINE(test_memory_changed),
    };

    return cmocka_run_group_tests_name("vtd_reset", tests, NULL, NULL);
}

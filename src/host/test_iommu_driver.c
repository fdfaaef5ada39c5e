// SPDX-License-Identifier: BSD-3-Clause
// The host's VT-d driver against the real unit: what it writes into tables is what a DMA port sees.
#include "host/iommu_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#define PAGE 4096ull
#define MIB  (1ull << 20)
#define GIB  (1ull << 30)

struct fixture {
    sd_event *loop;
    struct gate gate;
    struct mem_space *space;
    struct vtd *vtd;
    struct host_iommu *iommu;
    struct host_domain *domain;
    struct mem_region *region;
    struct dma_port port;
    rid_t rid;
};

static struct host_iommu *fault_target;

static void fault_msi(void *ctx, uint64_t addr, uint32_t data)
{
    (void)ctx, (void)addr, (void)data;
    if (fault_target)
        host_iommu_fault_signal(fault_target);
}

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);

    f->rid = rid_make(1, 0x10, 0);
    assert_true(sd_event_new(&f->loop) >= 0);
    gate_init(&f->gate);
    assert_int_equal(mem_space_create(&f->gate, &f->space), 0);
    assert_int_equal(vtd_create(f->space, &f->gate, fault_msi, NULL, &f->vtd), 0);
    assert_int_equal(host_iommu_create(f->loop, &f->gate, f->space, f->vtd, &f->iommu), 0);
    fault_target = f->iommu;
    assert_int_equal(host_domain_create(f->iommu, &f->domain), 0);
    gate_close(&f->gate);
    assert_int_equal(mem_region_alloc(f->space, 8 * MIB, &f->region), 0);
    gate_open(&f->gate);
    dma_port_init(&f->port, f->rid, vtd_dma_ops(), f->vtd, vtd_generation(f->vtd));
    f->port.bus_master = true;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    fault_target = NULL;
    host_domain_destroy(f->domain);
    gate_close(&f->gate);
    mem_region_remove(f->space, f->region);
    gate_open(&f->gate);
    host_iommu_destroy(f->iommu);
    vtd_destroy(f->vtd);
    mem_space_destroy(f->space);
    gate_destroy(&f->gate);
    sd_event_unref(f->loop);
    test_free(f);
    return 0;
}

static int map(struct fixture *f, uint64_t iova, uint64_t offset, uint64_t len, unsigned prot)
{
    int ret;

    gate_close(&f->gate);
    ret =
        host_domain_map(f->domain, iova, (hpa_t){mem_region_hpa(f->region).v + offset}, len, prot);
    gate_open(&f->gate);
    return ret;
}

static void unmap(struct fixture *f, uint64_t iova, uint64_t len)
{
    gate_close(&f->gate);
    host_domain_unmap(f->domain, iova, len);
    gate_open(&f->gate);
}

static bool reaches(struct fixture *f, uint64_t iova, enum dma_access access)
{
    uint32_t run;

    return dma_at(&f->port, (iova_t){iova}, 1, access, &run) != NULL;
}

static void test_nothing_without_domain(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(map(f, 0, 0, PAGE, MEM_READ), 0);
    assert_false(reaches(f, 0, DMA_READ));
    // The fault is in the unit's records and reaches the host through its event.
    while (sd_event_run(f->loop, 0) > 0)
        ;
    assert_int_equal(host_iommu_faults(f->iommu), 1);
    assert_int_equal(host_domain_attach(f->domain, f->rid), 0);
    assert_true(reaches(f, 0, DMA_READ));
    host_domain_detach(f->domain, f->rid);
    assert_false(reaches(f, 0, DMA_READ));
}

static void test_bounds_and_rights(void **state)
{
    struct fixture *f = *state;
    uint8_t *host = mem_region_host(f->region);
    uint8_t buf[4] = {1, 2, 3, 4};

    assert_int_equal(host_domain_attach(f->domain, f->rid), 0);
    assert_int_equal(map(f, 5 * PAGE, PAGE, 2 * PAGE, MEM_READ), 0);
    assert_false(reaches(f, 5 * PAGE - 1, DMA_READ));
    assert_true(reaches(f, 5 * PAGE, DMA_READ));
    assert_true(reaches(f, 7 * PAGE - 1, DMA_READ));
    assert_false(reaches(f, 7 * PAGE, DMA_READ));
    assert_false(reaches(f, 5 * PAGE, DMA_WRITE));
    host[3 * PAGE - 2] = 0xaa;
    host[3 * PAGE - 1] = 0xbb;
    assert_int_equal(dma_read(&f->port, (iova_t){7 * PAGE - 2}, buf, 2), 0);
    assert_int_equal(buf[0], 0xaa);
    assert_int_equal(buf[1], 0xbb);
    // Half of it unmapped: refused.
    assert_int_equal(dma_read(&f->port, (iova_t){7 * PAGE - 2}, buf, 4), -EFAULT);
    host_domain_detach(f->domain, f->rid);
}

static void test_bad_arguments(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(map(f, 1, 0, PAGE, MEM_READ), -EINVAL);
    assert_int_equal(map(f, 0, 1, PAGE, MEM_READ), -EINVAL);
    assert_int_equal(map(f, 0, 0, PAGE - 1, MEM_READ), -EINVAL);
    assert_int_equal(map(f, 0, 0, 0, MEM_READ), -EINVAL);
    assert_int_equal(map(f, 0, 0, PAGE, 0), -EINVAL);
    assert_int_equal(map(f, 1ull << 48, 0, PAGE, MEM_READ), -ERANGE);
    assert_int_equal(map(f, (1ull << 48) - PAGE, 0, 2 * PAGE, MEM_READ), -ERANGE);
    assert_int_equal(map(f, (1ull << 48) - PAGE, 0, PAGE, MEM_READ), 0);
    assert_int_equal(map(f, UINT64_MAX - PAGE + 1, 0, 2 * PAGE, MEM_READ), -ERANGE);
}

static void test_superpages(void **state)
{
    struct fixture *f = *state;
    uint64_t hpa = mem_region_hpa(f->region).v;
    uint64_t skip = (2 * MIB - hpa % (2 * MIB)) % (2 * MIB); // first 2 MiB boundary of the region
    uint64_t walks;

    assert_int_equal(host_domain_attach(f->domain, f->rid), 0);
    assert_int_equal(map(f, GIB, skip, 4 * MIB, MEM_READ | MEM_WRITE), 0);
    assert_true(reaches(f, GIB, DMA_WRITE));
    walks = f->port.miss_count;
    assert_true(reaches(f, GIB + 2 * MIB - 1, DMA_WRITE)); // the same page
    assert_int_equal(f->port.miss_count, walks);
    assert_true(reaches(f, GIB + 2 * MIB, DMA_WRITE)); // the next
    assert_int_equal(f->port.miss_count, walks + 1);
    host_domain_detach(f->domain, f->rid);
}

// Firmware maps memory in pieces and then again whole: the tables of the pieces must not stay.
static void test_remap_small_to_large(void **state)
{
    struct fixture *f = *state;
    uint64_t hpa = mem_region_hpa(f->region).v;
    uint64_t skip = (2 * MIB - hpa % (2 * MIB)) % (2 * MIB);

    assert_int_equal(host_domain_attach(f->domain, f->rid), 0);
    for (unsigned round = 0; round < 5; round++) {
        assert_int_equal(map(f, 0, skip, 0xa0000, MEM_READ | MEM_WRITE), 0);
        assert_int_equal(map(f, 0x100000, skip + 0x100000, 3 * MIB, MEM_READ | MEM_WRITE), 0);
        assert_true(reaches(f, 0x9ffff, DMA_READ));
        assert_false(reaches(f, 0xa0000, DMA_READ));
        assert_true(reaches(f, 4 * MIB - 1, DMA_READ));
        unmap(f, 0, 0xa0000);
        assert_false(reaches(f, 0x9ffff, DMA_READ));
        assert_true(reaches(f, 4 * MIB - 1, DMA_READ));
        unmap(f, 0x100000, 3 * MIB);
        assert_false(reaches(f, 4 * MIB - 1, DMA_READ));
        assert_int_equal(map(f, 0, skip, 4 * MIB, MEM_READ | MEM_WRITE), 0);
        assert_true(reaches(f, 0xa0000, DMA_READ));
        unmap(f, 0, 4 * MIB);
        assert_false(reaches(f, 0, DMA_READ));
    }
    host_domain_detach(f->domain, f->rid);
}

static void test_interrupt_range_is_never_memory(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(host_domain_attach(f->domain, f->rid), 0);
    assert_int_equal(map(f, 0xfee00000, 0, MIB, MEM_READ | MEM_WRITE), 0);
    assert_false(reaches(f, 0xfee00000, DMA_WRITE));
    assert_false(reaches(f, 0xfeefffff, DMA_WRITE));
    host_domain_detach(f->domain, f->rid);
}

// Faults of many requesters, in and past the records' number: each round of them is seen, so no
// record is ever left behind without an event.
static void test_faults_are_all_taken(void **state)
{
    struct fixture *f = *state;
    struct dma_port *port = test_calloc(1, sizeof *port);
    uint64_t before;
    uint32_t run;

    for (unsigned round = 1; round <= 20; round++) {
        before = host_iommu_faults(f->iommu);
        for (unsigned i = 0; i < round; i++) {
            dma_port_init(port, (rid_t){(uint16_t)(0x200 + round * 32 + i)}, vtd_dma_ops(), f->vtd,
                          vtd_generation(f->vtd));
            port->bus_master = true;
            assert_null(dma_at(port, (iova_t){0}, 1, DMA_READ, &run));
        }
        while (sd_event_run(f->loop, 0) > 0)
            ;
        assert_int_equal(host_iommu_faults(f->iommu) - before, round < 8 ? round : 8);
    }
    test_free(port);
}

static void test_two_functions_two_domains(void **state)
{
    struct fixture *f = *state;
    struct host_domain *other;
    struct dma_port *port = test_calloc(1, sizeof *port);
    rid_t rid = rid_make(1, 0x10, 2);
    uint32_t run;

    assert_int_equal(host_domain_create(f->iommu, &other), 0);
    assert_int_equal(host_domain_attach(f->domain, f->rid), 0);
    assert_int_equal(host_domain_attach(other, rid), 0);
    dma_port_init(port, rid, vtd_dma_ops(), f->vtd, vtd_generation(f->vtd));
    port->bus_master = true;
    assert_int_equal(map(f, 0, 0, PAGE, MEM_READ), 0);
    assert_true(reaches(f, 0, DMA_READ));
    assert_null(dma_at(port, (iova_t){0}, 1, DMA_READ, &run));
    assert_int_equal(port->fault_count, 1);
    host_domain_detach(other, rid);
    host_domain_destroy(other);
    host_domain_detach(f->domain, f->rid);
    test_free(port);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_without_domain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds_and_rights, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_superpages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remap_small_to_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interrupt_range_is_never_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_faults_are_all_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_functions_two_domains, setup, teardown),
    };
    return cmocka_run_group_tests_name("host/iommu_driver", tests, NULL, NULL);
}

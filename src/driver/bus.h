// SPDX-License-Identifier: BSD-3-Clause
// The bus seam: how a user-space driver reaches its function. Implementations: a vfio-user socket
// (bus_vfiouser.c, here), Linux VFIO (bus_vfio.c, here), the card in the same process
// (src/host/bus_inproc.c).
// Threads: one thread a driver, the one that opened the bus.
#ifndef VIREO_DRIVER_BUS_H
#define VIREO_DRIVER_BUS_H

#include <endian.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Memory that the device may reach by DMA.
struct driver_dma {
    void *host;    // where this process sees it
    uint64_t iova; // where the device sees it
    uint64_t len_bytes;
    void *opaque; // the bus's own
};

struct driver_bus;

struct driver_bus_ops {
    // `len` 1, 2 or 4. All-ones where the far side is gone.
    uint32_t (*config_read)(struct driver_bus *bus, uint32_t offset, unsigned len);
    void (*config_write)(struct driver_bus *bus, uint32_t offset, unsigned len, uint32_t value);
    uint32_t (*reg_read)(struct driver_bus *bus, uint32_t offset); // BAR0, 32 bits
    void (*reg_write)(struct driver_bus *bus, uint32_t offset, uint32_t value);
    // Zeroed, at least 4 KiB aligned here and at its IOVA. 0, -ENOMEM, -errno of the far side.
    // The PF driver allocates none: a bus for it alone may leave both NULL.
    int (*dma_alloc)(struct driver_bus *bus, uint64_t len_bytes, struct driver_dma *out);
    void (*dma_free)(struct driver_bus *bus, struct driver_dma *dma);
    // Enables MSI-X with `vectors` vectors; fds[i] polls readable when vector i was raised (a
    // non-blocking eventfd: the driver reads it; owned by the bus, good until close). A second call
    // gives new ones. 0, -ENOTSUP, -errno.
    int (*irq_enable)(struct driver_bus *bus, unsigned vectors, int *fds);
    // Function level reset. BARs are as before; the Command register is not: see
    // driver_bus_enable(). 0 or -errno. May be NULL.
    int (*reset)(struct driver_bus *bus);
    void (*close)(struct driver_bus *bus);
};

struct driver_bus {
    const struct driver_bus_ops *ops;
    char name[32]; // for messages: "0000:01:00.0" or the socket's path, cut
    // BAR0 pages that are mapped here, for doorbells without a message: host address of BAR0 offset
    // `mapped_start`, or NULL. Queue registers within go straight to memory.
    volatile uint8_t *mapped;
    uint32_t mapped_start, mapped_len;
    // Set by the bus when the far side is gone: reads are all-ones from then on.
    bool lost;
};

static inline bool driver_reg_is_mapped(const struct driver_bus *bus, uint32_t offset)
{
    return bus->mapped && offset - bus->mapped_start < bus->mapped_len;
}

static inline uint32_t driver_reg_read(struct driver_bus *bus, uint32_t offset)
{
    if (driver_reg_is_mapped(bus, offset)) {
        uint32_t value =
            le32toh(*(const volatile uint32_t *)(bus->mapped + (offset - bus->mapped_start)));

        // acquire: pairs with the device's release when it publishes the page
        atomic_thread_fence(memory_order_acquire);
        return value;
    }
    return bus->ops->reg_read(bus, offset);
}

// A write to a mapped page is a request that the device samples some time later; an access to page
// 0 makes it look at once, unless it is to a register of interrupts (cause, mask, moderation).
static inline void driver_reg_write(struct driver_bus *bus, uint32_t offset, uint32_t value)
{
    if (driver_reg_is_mapped(bus, offset)) {
        // release: descriptors first, then the tail; pairs with the worker's acquire when it polls
        // the page
        atomic_thread_fence(memory_order_release);
        *(volatile uint32_t *)(bus->mapped + (offset - bus->mapped_start)) = htole32(value);
        return;
    }
    bus->ops->reg_write(bus, offset, value);
}

// Sets and clears bits of a register.
static inline void driver_reg_update(struct driver_bus *bus, uint32_t offset, uint32_t clear,
                                     uint32_t set)
{
    driver_reg_write(bus, offset, (driver_reg_read(bus, offset) & ~clear) | set);
}

// Memory Space and Bus Master on, in the Command register (PCI §6.2.2): before the first register
// access, and after every reset.
void driver_bus_enable(struct driver_bus *bus);

// Connects to a vfio-user socket. 0 and *out; on error -errno with a sentence in `error`.
// -EBUSY: the function is assigned to somebody else.
int driver_bus_vfiouser_open(const char *socket_path, struct driver_bus **out, char *error,
                             size_t error_len);

// From now on `bus` and `with`, and who else was joined with either, see the same DMA memory, as
// the functions of one VM do: what one allocates is mapped for all at the same IOVA until it is
// freed, through any of them. So join buses before their drivers are opened. All are of one thread.
// 0 (also where they were joined); -EINVAL: not both of driver_bus_vfiouser_open().
int driver_bus_vfiouser_join(struct driver_bus *bus, struct driver_bus *with);

// Takes a PCI function that is bound to vfio-pci, by its address: "0001:01:10.0". 0 and *out; on
// error -errno with a sentence in `error` that says what to do. -EBUSY: another program has it;
// -EINVAL: no PCI address; -ENODEV: no such function; -EPERM: not bound to vfio-pci, its IOMMU
// group is shared with other drivers, or interrupts can't be remapped; -EACCES: no right to open
// the group; -ENOTSUP: no IOMMU. `lost` is also set when the kernel wants the function back, at
// the next register read: close the bus soon, the kernel waits for that.
int driver_bus_vfio_open(const char *address, struct driver_bus **out, char *error,
                         size_t error_len);

// One of the two: "0001:01:10.0", "01:10.0" and "vfio:ADDRESS" are PCI functions, all else is the
// path of a vfio-user socket. Errors as theirs.
int driver_bus_open(const char *spec, struct driver_bus **out, char *error, size_t error_len);

#endif

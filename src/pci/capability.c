// SPDX-License-Identifier: BSD-3-Clause
// The capabilities as registers: offsets, values after reset, masks. What a real 82599 shows after
// reset is the model for the values; where SR-IOV makes a VF's differ, pci_function_make_vf().
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/le.h"
#include "pci/state.h"

enum {
    CAP_ID_PM = 0x01,
    CAP_ID_VPD = 0x03,
    CAP_ID_MSI = 0x05,
    CAP_ID_EXPRESS = 0x10,
    CAP_ID_MSIX = 0x11,
    EXTCAP_ID_AER = 0x0001,
    EXTCAP_ID_DSN = 0x0003,
    EXTCAP_ID_ACS = 0x000d,
    EXTCAP_ID_ARI = 0x000e,
};

#define HDR_STATUS  0x06u
#define HDR_CAP_PTR 0x34u

// Claims and links a capability in the first 256 bytes. The 16 bits after ID and next pointer are
// the caller's to define.
static void cap_claim(struct pci_function *fn, unsigned offset, unsigned id, unsigned len,
                      enum pci_owner owner)
{
    struct pci_space *space = &fn->space;
    unsigned link = fn->last_cap ? fn->last_cap + 1 : HDR_CAP_PTR;

    assert(offset >= 0x40 && offset + len <= 0x100 && !fn->cap_offset[owner] && !fn->seg);
    pci_space_claim(space, offset, len, owner);
    space->bytes[link] = space->reset[link] = (uint8_t)offset;
    space->bytes[offset] = space->reset[offset] = (uint8_t)id;
    space->bytes[HDR_STATUS] |= 0x10; // Capabilities List
    space->reset[HDR_STATUS] |= 0x10;
    fn->last_cap = offset;
    fn->cap_offset[owner] = offset;
}

unsigned pci_extcap_claim(struct pci_function *fn, unsigned offset, unsigned id, unsigned version,
                          unsigned len, enum pci_owner owner)
{
    struct pci_space *space = &fn->space;

    assert(offset >= 0x100 && !fn->cap_offset[owner] && !fn->seg);
    // The list starts at 100 (PCIe §7.6.2), with a null capability where the first is elsewhere.
    if (!fn->last_extcap && offset != 0x100) {
        pci_space_claim(space, 0x100, 4, PCI_OWNER_NULL);
        fn->last_extcap = 0x100;
    }
    pci_space_claim(space, offset, len, owner);
    pci_space_define32(space, offset, id | version << 16, 0, 0);
    if (fn->last_extcap) {
        uint32_t header = le32_get(space->bytes + fn->last_extcap);

        pci_space_define32(space, fn->last_extcap, header | offset << 20, 0, 0);
    }
    fn->last_extcap = offset;
    fn->cap_offset[owner] = offset;
    return offset;
}

// PCI Power Management 1.2 §3.2: D0 and D3hot; D3hot to D0 resets (No_Soft_Reset 0).
void pci_cap_add_pm(struct pci_function *fn, unsigned offset)
{
    cap_claim(fn, offset, CAP_ID_PM, 8, PCI_OWNER_PM);
    // Version 3, Device Specific Initialization, PME# from D0 and D3hot.
    pci_space_define16(&fn->space, offset + 2, 0x4823, 0, 0);
    // Data_Scale 1; writable: PowerState, PME_En, Data_Select; PME_Status clears.
    pci_space_define16(&fn->space, offset + 4, 0x2000, 0x1f03, 0x8000);
}

// PCI 3.0 §6.8.1: one message, 64-bit address, per-vector masking.
void pci_cap_add_msi(struct pci_function *fn, unsigned offset)
{
    cap_claim(fn, offset, CAP_ID_MSI, 0x18, PCI_OWNER_MSI);
    pci_space_define16(&fn->space, offset + 2, 0x0180, 0x0071, 0);
    pci_space_define32(&fn->space, offset + 0x04, 0, 0xfffffffc, 0);
    pci_space_define32(&fn->space, offset + 0x08, 0, 0xffffffff, 0);
    pci_space_define32(&fn->space, offset + 0x0c, 0, 0x0000ffff, 0);
    pci_space_define32(&fn->space, offset + 0x10, 0, 0x00000001, 0);
    pci_space_define32(&fn->space, offset + 0x14, 0, 0, 0);
}

// PCI 3.0 §6.8.2.
int pci_cap_add_msix(struct pci_function *fn, unsigned offset, unsigned vectors, unsigned bar,
                     uint32_t table_offset, uint32_t pba_offset)
{
    assert(vectors >= 1 && vectors <= PCI_MSIX_VECTORS_MAX && bar < PCI_BARS);
    assert(table_offset % 8 == 0 && pba_offset % 8 == 0);
    assert(pba_offset >= table_offset + vectors * 16 ||
           table_offset >= pba_offset + (vectors + 63) / 64 * 8);
    cap_claim(fn, offset, CAP_ID_MSIX, 12, PCI_OWNER_MSIX);
    pci_space_define16(&fn->space, offset + 2, (uint16_t)(vectors - 1), 0xc000, 0);
    pci_space_define32(&fn->space, offset + 4, table_offset | bar, 0, 0);
    pci_space_define32(&fn->space, offset + 8, pba_offset | bar, 0, 0);
    return pci_irq_init(&fn->irq, vectors, bar, table_offset, pba_offset);
}

// PCIe §7.5.3, capability version 2, endpoint.
void pci_cap_add_express(struct pci_function *fn, unsigned offset)
{
    struct pci_space *space = &fn->space;

    cap_claim(fn, offset, CAP_ID_EXPRESS, 0x3c, PCI_OWNER_EXPRESS);
    pci_space_define16(space, offset + 0x02, 0x0002, 0, 0);
    // Device Capabilities: FLR, role-based errors, L1 <64us, L0s <512ns, payload 512.
    pci_space_define32(space, offset + 0x04, 0x10008cc2, 0, 0);
    // Device Control: no snoop, relaxed ordering, read request 512. FLR (bit 15) reads as zero.
    pci_space_define16(space, offset + 0x08, 0x2810, 0x78ff, 0);
    pci_space_keep16(space, offset + 0x08, 0x00e0);
    pci_space_define16(space, offset + 0x0a, 0, 0, 0x000f);
    // Link: 5 GT/s x8, L0s. It is always up, at full width.
    pci_space_define32(space, offset + 0x0c, 0x00023482, 0, 0);
    pci_space_define16(space, offset + 0x10, 0, 0x00cb, 0);
    pci_space_keep16(space, offset + 0x10, 0x00cb);
    pci_space_define16(space, offset + 0x12, 0x1082, 0, 0);
    // Device 2: completion timeout ranges A-D and disable.
    pci_space_define32(space, offset + 0x24, 0x0000001f, 0, 0);
    pci_space_define16(space, offset + 0x28, 0, 0x001f, 0);
    // Link Control 2: target 5 GT/s.
    pci_space_define16(space, offset + 0x30, 0x0002, 0x1f9f, 0);
    pci_space_keep16(space, offset + 0x30, 0x1f9f);
}

// PCI 3.0 appendix I.
void pci_cap_add_vpd(struct pci_function *fn, unsigned offset)
{
    cap_claim(fn, offset, CAP_ID_VPD, 8, PCI_OWNER_VPD);
    pci_space_define16(&fn->space, offset + 2, 0, 0xfffc, 0);
    pci_space_define32(&fn->space, offset + 4, 0, 0xffffffff, 0);
}

int pci_vpd_set(struct pci_function *fn, const void *data, uint32_t len_bytes)
{
    uint8_t *copy;

    if (!len_bytes || len_bytes > 0x8000)
        return -EINVAL;
    copy = malloc(len_bytes);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, data, len_bytes);
    free(fn->vpd);
    fn->vpd = copy;
    fn->vpd_len_bytes = len_bytes;
    return 0;
}

// Software writes the address with the flag clear and waits for the flag to be set (read), or
// writes the data, then the address with the flag set, and waits for it to be clear (write). Both
// are over at once here. The byte that holds the flag starts it.
void pci_vpd_written(struct pci_function *fn, const struct pci_config_cycle *cycle)
{
    static const uint8_t end_tag[] = {0x78};
    const uint8_t *vpd = fn->vpd ? fn->vpd : end_tag;
    uint32_t len = fn->vpd ? fn->vpd_len_bytes : sizeof end_tag;
    uint8_t *cap = fn->space.bytes + fn->cap_offset[PCI_OWNER_VPD];
    uint32_t address = le16_get(cap + 2) & 0x7fff;

    if (cycle->rel != 0 || !(cycle->enable & 0xff000000))
        return;
    if (le16_get(cap + 2) & 0x8000) {
        le16_put(cap + 2, (uint16_t)address);
        return;
    }
    for (unsigned i = 0; i < 4; i++)
        cap[4 + i] = address + i < len ? vpd[address + i] : 0;
    le16_put(cap + 2, (uint16_t)(address | 0x8000));
}

// PCIe §7.8.4. Nothing here makes errors, so the status registers stay clear.
void pci_extcap_add_aer(struct pci_function *fn, unsigned offset)
{
    const uint32_t uncorrectable = 0x001ff010, correctable = 0x000031c1;
    struct pci_space *space = &fn->space;

    pci_extcap_claim(fn, offset, EXTCAP_ID_AER, 1, 0x2c, PCI_OWNER_AER);
    pci_space_define32(space, offset + 0x04, 0, 0, uncorrectable);
    pci_space_define32(space, offset + 0x08, 0, uncorrectable, 0);
    pci_space_define32(space, offset + 0x0c, 0x00062010, uncorrectable, 0);
    pci_space_define32(space, offset + 0x10, 0, 0, correctable);
    pci_space_define32(space, offset + 0x14, 0x00002000, correctable, 0);
    // ECRC generation and checking: capable; enables.
    pci_space_define32(space, offset + 0x18, 0x000000a0, 0x00000140, 0);
    // All of it is sticky.
    for (unsigned rel = 0x04; rel < 0x2c; rel += 4)
        pci_space_keep32(space, offset + rel, 0xffffffff);
}

void pci_extcap_add_dsn(struct pci_function *fn, unsigned offset, uint64_t serial)
{
    pci_extcap_claim(fn, offset, EXTCAP_ID_DSN, 1, 12, PCI_OWNER_DSN);
    pci_space_define32(&fn->space, offset + 4, (uint32_t)serial, 0, 0);
    pci_space_define32(&fn->space, offset + 8, (uint32_t)(serial >> 32), 0, 0);
}

void pci_extcap_add_ari(struct pci_function *fn, unsigned offset, unsigned next_function)
{
    assert(next_function < 256);
    pci_extcap_claim(fn, offset, EXTCAP_ID_ARI, 1, 8, PCI_OWNER_ARI);
    pci_space_define16(&fn->space, offset + 4, (uint16_t)(next_function << 8), 0, 0);
}

// PCIe §7.7.8, as a multi-function endpoint has it whose functions do not reach each other.
void pci_extcap_add_acs(struct pci_function *fn, unsigned offset)
{
    pci_extcap_claim(fn, offset, EXTCAP_ID_ACS, 1, 8, PCI_OWNER_ACS);
}

static void express_make_vf(struct pci_function *vf, unsigned offset)
{
    struct pci_space *space = &vf->space;

    // PCIe §9.3.5: the link and the way to use it are the PF's; FLR and status are its own.
    pci_space_define16(space, offset + 0x08, 0, 0, 0);
    pci_space_keep16(space, offset + 0x08, 0);
    pci_space_define16(space, offset + 0x10, 0, 0, 0);
    pci_space_keep16(space, offset + 0x10, 0);
    pci_space_define16(space, offset + 0x12, 0, 0, 0);
    pci_space_define16(space, offset + 0x28, 0, 0, 0);
    pci_space_define16(space, offset + 0x30, 0, 0, 0);
    pci_space_keep16(space, offset + 0x30, 0);
}

void pci_function_make_vf(struct pci_function *vf)
{
    struct pci_space *space = &vf->space;
    unsigned aer = vf->cap_offset[PCI_OWNER_AER];

    // PCIe §9.3.4.1: IDs, command bits but Bus Master Enable, BARs, interrupt line and pin.
    pci_space_define32(space, 0x00, 0xffffffff, 0, 0);
    le16_put(space->write_mask + PCI_HDR_COMMAND, PCI_CMD_MASTER);
    pci_space_define32(space, 0x0c, 0, 0, 0); // cache line size, latency timer, header type 00
    for (unsigned i = 0; i < PCI_BARS; i++)
        assert(!vf->bars[i].present); // a VF's BARs are in the PF's capability
    pci_space_define32(space, 0x3c, 0, 0, 0);
    if (vf->cap_offset[PCI_OWNER_EXPRESS])
        express_make_vf(vf, vf->cap_offset[PCI_OWNER_EXPRESS]);
    if (aer) {
        // PCIe §9.4.2: masks, severities and ECRC are the PF's.
        pci_space_define32(space, aer + 0x08, 0, 0, 0);
        pci_space_define32(space, aer + 0x0c, 0, 0, 0);
        pci_space_define32(space, aer + 0x14, 0, 0, 0);
        pci_space_define32(space, aer + 0x18, 0, 0, 0);
    }
}

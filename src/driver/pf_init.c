// SPDX-License-Identifier: BSD-3-Clause
// The PF driver's initialization sequence, in the datasheet's order: 82599 §4.6.3 and the sections
// that it names.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/bits.h"
#include "base/clock.h"
#include "driver/pf_state.h"
#include "hw82599/regs.h"

#define POLL_INTERVAL_US 100u
#define RESET_TRIES      1000u // 100 ms
#define EERD_TRIES       1000u
#define SECRX_TRIES      400u // 40 ms

// Pointers to EEPROM sections that the checksum covers (82599 §6): words 3 … 0xe.
#define EEPROM_FIRST_POINTER 0x03u
#define EEPROM_LAST_POINTER  0x0eu

static void sleep_us(unsigned us)
{
    struct timespec ts = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L};

    nanosleep(&ts, NULL);
}

// Waits until (register & mask) == value. 0, -ETIMEDOUT, -ENODEV where the card is gone.
static int wait_for(struct driver_bus *bus, uint32_t offset, uint32_t mask, uint32_t value,
                    unsigned tries)
{
    while (tries--) {
        uint32_t reg = driver_reg_read(bus, offset);

        if (bus->lost)
            return -ENODEV;
        if ((reg & mask) == value)
            return 0;
        sleep_us(POLL_INTERVAL_US);
    }
    return -ETIMEDOUT;
}

// 4.6.3.1: interrupts are off until all is set up.
static void mask_interrupts(struct driver_bus *bus)
{
    driver_reg_write(bus, HW_EIMC, 0x7fffffff);
    driver_reg_write(bus, HW_EIMC_EX(0), UINT32_MAX);
    driver_reg_write(bus, HW_EIMC_EX(1), UINT32_MAX);
}

// 4.6.3.2: global reset and what has to end after it.
static int reset_card(struct driver_bus *bus, char *error, size_t error_len)
{
    int ret;

    driver_bus_enable(bus);
    mask_interrupts(bus);
    driver_reg_update(bus, HW_CTRL, 0, HW_CTRL_RST | HW_CTRL_LRST);
    ret = wait_for(bus, HW_CTRL, HW_CTRL_RST | HW_CTRL_LRST, 0, RESET_TRIES);
    if (ret) {
        snprintf(error, error_len, "%s: reset does not end", bus->name);
        return ret;
    }
    sleep_us(10000); // 4.2.1.6.1: 10 ms before the next access to the device's blocks
    mask_interrupts(bus);
    ret = wait_for(bus, HW_EEC, HW_EEC_AUTO_RD, HW_EEC_AUTO_RD, RESET_TRIES);
    if (!ret)
        ret = wait_for(bus, HW_RDRXCTL, HW_RDRXCTL_DMAIDONE, HW_RDRXCTL_DMAIDONE, RESET_TRIES);
    if (ret)
        snprintf(error, error_len, "%s: EEPROM or DMA initialization does not end", bus->name);
    return ret;
}

// --- EEPROM (6.2, 6.3) ---

static int read_eeprom(struct driver_bus *bus, unsigned word, uint16_t *out)
{
    int ret;

    driver_reg_write(bus, HW_EERD, word << HW_EERD_ADDR_SHIFT | HW_EERD_START);
    ret = wait_for(bus, HW_EERD, HW_EERD_DONE, HW_EERD_DONE, EERD_TRIES);
    *out = (uint16_t)(driver_reg_read(bus, HW_EERD) >> HW_EERD_DATA_SHIFT);
    return ret;
}

// Adds words [first, last] to *sum.
static int sum_eeprom(struct driver_bus *bus, unsigned first, unsigned last, uint16_t *sum)
{
    for (unsigned i = first; i <= last; i++) {
        uint16_t word;
        int ret = read_eeprom(bus, i, &word);

        if (ret)
            return ret;
        *sum = (uint16_t)(*sum + word);
    }
    return 0;
}

static int check_eeprom(struct driver_bus *bus, char *error, size_t error_len)
{
    uint16_t sum = 0, pointer, len;
    int ret = sum_eeprom(bus, 0, HW_EEPROM_CHECKSUM_WORD, &sum);

    for (unsigned i = EEPROM_FIRST_POINTER; !ret && i <= EEPROM_LAST_POINTER; i++) {
        ret = read_eeprom(bus, i, &pointer);
        if (ret || !pointer || pointer == 0xffff)
            continue;
        if (pointer >= HW_EEPROM_WORDS) {
            snprintf(error, error_len, "%s: EEPROM pointer %u is outside", bus->name, i);
            return -EIO;
        }
        ret = read_eeprom(bus, pointer, &len);
        if (ret || !len || len == 0xffff)
            continue;
        if (len >= HW_EEPROM_WORDS - pointer) {
            snprintf(error, error_len, "%s: EEPROM section %u is too long", bus->name, i);
            return -EIO;
        }
        ret = sum_eeprom(bus, pointer + 1u, pointer + len, &sum);
    }
    if (ret) {
        snprintf(error, error_len, "%s: EEPROM can not be read", bus->name);
        return ret;
    }
    if (sum != HW_EEPROM_SUM) {
        snprintf(error, error_len, "%s: EEPROM checksum is %04x, not %04x", bus->name, sum,
                 HW_EEPROM_SUM);
        return -EIO;
    }
    return 0;
}

// The card has loaded RAR 0 from the EEPROM (6).
static int read_mac(struct pf_driver *pf, char *error, size_t error_len)
{
    uint32_t low = driver_reg_read(pf->bus, HW_RAL(0));
    uint32_t high = driver_reg_read(pf->bus, HW_RAH(0));

    for (unsigned i = 0; i < 4; i++)
        pf->mac[i] = (uint8_t)(low >> 8 * i);
    for (unsigned i = 0; i < 2; i++)
        pf->mac[4 + i] = (uint8_t)(high >> 8 * i);
    if (!(high & HW_RAH_AV) || !pf_mac_is_valid(pf->mac)) {
        snprintf(error, error_len, "%s: the EEPROM has no valid MAC address", pf->bus->name);
        return -EIO;
    }
    return 0;
}

// --- Blocks ---

// 4.6.4: 10 Gb/s serial, and start. The module's laser is on after reset.
static void init_link(struct driver_bus *bus)
{
    driver_reg_update(bus, HW_AUTOC, 7u << HW_AUTOC_LMS_SHIFT,
                      HW_AUTOC_LMS_10G_SERIAL << HW_AUTOC_LMS_SHIFT);
    driver_reg_update(bus, HW_AUTOC, 0, HW_AUTOC_AN_RESTART);
}

// 7.1.2.8: key and redirection table belong to the port; a VF can ask for them.
static int init_rss(struct pf_driver *pf)
{
    bool wide = pf->queues_per_pool == 4; // 32 pools
    uint32_t word = 0;

    if (getrandom(pf->rss_key, sizeof pf->rss_key, 0) != sizeof pf->rss_key)
        return -EIO;
    for (unsigned i = 0; i < PF_RSS_KEY_BYTES; i++) {
        word |= (uint32_t)pf->rss_key[i] << 8 * (i % 4);
        if (i % 4 == 3) {
            driver_reg_write(pf->bus, HW_RSSRK(i / 4), word);
            word = 0;
        }
    }
    for (unsigned i = 0; i < PF_RETA_ENTRIES; i++) {
        pf->reta[i] = (uint8_t)(i % pf->queues_per_pool);
        word |= (uint32_t)pf->reta[i] << 8 * (i % 4);
        if (i % 4 == 3) {
            driver_reg_write(pf->bus, HW_RETA(i / 4), word);
            word = 0;
        }
    }
    driver_reg_write(pf->bus, HW_MRQC,
                     (wide ? HW_MRQC_VMDQ32_RSS : HW_MRQC_VMDQ64_RSS) | HW_MRQC_RSS_IPV4 |
                         HW_MRQC_RSS_IPV4_TCP | HW_MRQC_RSS_IPV6 | HW_MRQC_RSS_IPV6_TCP);
    return 0;
}

// 4.6.7: filters and offloads of the receive side. RXEN comes last of all.
static int init_receive(struct pf_driver *pf)
{
    struct driver_bus *bus = pf->bus;

    driver_reg_update(bus, HW_RXCTRL, HW_RXCTRL_RXEN, 0);
    pf_filter_init(&pf->filter, bus);
    pf_filter_set_mac(&pf->filter, 0, pf->mac, pf->pf_pool);
    driver_reg_write(bus, HW_MCSTCTRL, PF_MULTICAST_TYPE | HW_MCSTCTRL_MFE);
    driver_reg_write(bus, HW_FCTRL, HW_FCTRL_BAM);
    driver_reg_update(bus, HW_VLNCTRL, 0, HW_VLNCTRL_VFE);
    driver_reg_update(bus, HW_RXCSUM, 0, HW_RXCSUM_PCSD); // RSS hash in place of a raw checksum
    driver_reg_update(bus, HW_RDRXCTL, HW_RDRXCTL_RSCFRSTSIZE,
                      HW_RDRXCTL_CRCSTRIP | HW_RDRXCTL_RSCACKC);
    driver_reg_update(bus, HW_HLREG0, 0, HW_HLREG0_RXCRCSTRP | HW_HLREG0_JUMBOEN);
    // JUMBOEN stays on: MAXFRS is what limits frames.
    pf_vf_update_frame_limit(pf);
    return init_rss(pf);
}

// 4.6.8, 4.6.11.3.3: one packet buffer, virtualisation on.
static void init_transmit(struct pf_driver *pf)
{
    struct driver_bus *bus = pf->bus;

    driver_reg_update(bus, HW_HLREG0, 0, HW_HLREG0_TXCRCEN | HW_HLREG0_TXPADEN);
    driver_reg_update(bus, HW_RTTDCS, 0, HW_RTTDCS_ARBDIS); // MTQC changes under a stopped arbiter
    driver_reg_write(bus, HW_MTQC,
                     HW_MTQC_VT_ENA | (pf->queues_per_pool == 4 ? HW_MTQC_32VF : HW_MTQC_64VF));
    driver_reg_update(bus, HW_RTTDCS, HW_RTTDCS_ARBDIS, 0);
    driver_reg_update(bus, HW_DMATXCTL, 0, HW_DMATXCTL_TE);
}

// 4.6.10: pools and the switch between them.
static void init_virtualization(struct pf_driver *pf)
{
    struct driver_bus *bus = pf->bus;

    driver_reg_write(bus, HW_GCR_EXT,
                     pf->queues_per_pool == 4 ? HW_GCR_EXT_VT_MODE_32 : HW_GCR_EXT_VT_MODE_64);
    // The default pool is the PF's, and off: it has no queues yet.
    driver_reg_write(bus, HW_PFVTCTL,
                     HW_PFVTCTL_VT_ENA | pf->pf_pool << HW_PFVTCTL_DEF_PL_SHIFT |
                         HW_PFVTCTL_DIS_DEF_POOL | HW_PFVTCTL_RPL_EN);
    for (unsigned i = 0; i < 2; i++) {
        pf->rx_pools[i] = 0;
        pf->tx_pools[i] = 0;
        driver_reg_write(bus, HW_PFVFRE(i), 0);
        driver_reg_write(bus, HW_PFVFTE(i), 0);
        driver_reg_write(bus, HW_PFVMECM(i), UINT32_MAX); // count what anti-spoofing drops
    }
    for (unsigned i = 0; i < PF_POOLS; i++)
        driver_reg_write(bus, HW_PFVML2FLT(i), 0);
    // Drop when a ring is full, whatever the VF would like: a VF that does not take its frames
    // must not hold up the others (7.10.3).
    for (unsigned i = 0; i < HW_QUEUES; i++)
        driver_reg_write(bus, HW_PFQDE, i << HW_PFQDE_INDEX_SHIFT | HW_PFQDE_WE | HW_PFQDE_QDE);
    for (unsigned i = 0; i < pf->vf_count; i++) {
        struct pf_vf_policy policy = pf->vf[i].policy;

        pf_vf_take_policy(pf, i, &policy);
        pf_vf_to_defaults(pf, i);
    }
    driver_reg_write(bus, HW_PFDTXGSWC, HW_PFDTXGSWC_LBE);
}

// The security block has to be stopped while RXEN is set, or frames that come just then hang the
// receive unit (82599 specification update).
static void start_receive(struct driver_bus *bus)
{
    driver_reg_update(bus, HW_SECRXCTRL, 0, HW_SECRXCTRL_RX_DIS);
    // Goes on after the time limit, as there is nothing better to do.
    wait_for(bus, HW_SECRXSTAT, HW_SECRXSTAT_RDY, HW_SECRXSTAT_RDY, SECRX_TRIES);
    driver_reg_update(bus, HW_RXCTRL, 0, HW_RXCTRL_RXEN);
    driver_reg_update(bus, HW_SECRXCTRL, HW_SECRXCTRL_RX_DIS, 0);
}

// 4.6.6: one MSI-X vector for mailboxes, VF resets and the link.
static int init_interrupts(struct pf_driver *pf, char *error, size_t error_len)
{
    struct driver_bus *bus = pf->bus;
    uint32_t vt_mode = pf->queues_per_pool == 4 ? HW_GCR_EXT_VT_MODE_32 : HW_GCR_EXT_VT_MODE_64;
    int ret = bus->ops->irq_enable(bus, 1, &pf->irq_fd);

    if (ret) {
        snprintf(error, error_len, "%s: MSI-X: %s", bus->name, strerror(-ret));
        return ret;
    }
    // EIAME is for the VFs' sake; the PF masks nothing by itself.
    driver_reg_write(bus, HW_GPIE,
                     HW_GPIE_MULTIPLE_MSIX | HW_GPIE_PBA_SUPPORT | HW_GPIE_OCD | HW_GPIE_EIAME |
                         vt_mode << HW_GPIE_VT_MODE_SHIFT);
    driver_reg_write(bus, HW_EIAC, 0);
    driver_reg_write(bus, HW_EIAM, 0);
    for (unsigned i = 0; i < 2; i++)
        driver_reg_write(bus, HW_EIAM_EX(i), 0);
    if (pf->vf_count > 32)
        driver_reg_write(bus, HW_EITRSEL, BIT(pf->vf_count - 32) - 1);
    driver_reg_write(bus, HW_EITR(0), 0);
    driver_reg_write(bus, HW_IVAR_MISC, HW_IVAR_VALID << HW_IVAR_MISC_OTHER_SHIFT);
    for (unsigned i = 0; i < HW_PFMBIMR_COUNT; i++)
        driver_reg_write(bus, HW_PFMBIMR(i), UINT32_MAX);
    driver_reg_write(bus, HW_EICR, UINT32_MAX);
    driver_reg_write(bus, HW_EIMS, HW_EICR_MAILBOX | HW_EICR_LSC);
    return 0;
}

int pf_init_port(struct pf_driver *pf, char *error, size_t error_len)
{
    struct driver_bus *bus = pf->bus;
    int ret;

    ret = reset_card(bus, error, error_len);
    if (!ret)
        ret = check_eeprom(bus, error, error_len);
    if (!ret)
        ret = read_mac(pf, error, error_len);
    if (ret)
        return ret;
    driver_reg_update(bus, HW_CTRL_EXT, 0, HW_CTRL_EXT_NS_DIS | HW_CTRL_EXT_DRV_LOAD);
    init_link(bus);
    ret = init_receive(pf);
    if (ret) {
        snprintf(error, error_len, "%s: no random numbers for the RSS key", bus->name);
        return ret;
    }
    init_transmit(pf);
    init_virtualization(pf);
    start_receive(bus);
    return init_interrupts(pf, error, error_len);
}

void pf_init_stop(struct pf_driver *pf)
{
    struct driver_bus *bus = pf->bus;

    mask_interrupts(bus);
    // VFs read RSTI from now on (4.6.10).
    driver_reg_update(bus, HW_CTRL_EXT, HW_CTRL_EXT_PFRSTD | HW_CTRL_EXT_DRV_LOAD, 0);
    for (unsigned i = 0; i < 2; i++) {
        driver_reg_write(bus, HW_PFVFRE(i), 0);
        driver_reg_write(bus, HW_PFVFTE(i), 0);
    }
    driver_reg_update(bus, HW_RXCTRL, HW_RXCTRL_RXEN, 0);
    driver_reg_update(bus, HW_DMATXCTL, HW_DMATXCTL_TE, 0);
}

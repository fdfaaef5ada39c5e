// SPDX-License-Identifier: BSD-3-Clause
// A VF from reset to running: 82599 §4.6.10 (VF driver initialization), and what can be asked
// of the PF afterwards. The data path is in vf_receive.c and vf_transmit.c.
#include "driver/vf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "driver/vf_state.h"
#include "hw82599/regs.h"

#define DEFAULT_TIMEOUT_MS 1000u
#define FCS_BYTES          4u
#define ENABLE_TRIES       100u // 100 ms: the PF's host may have other things to do
#define RING_LEN_MIN       64u
#define RING_LEN_MAX       4096u

// --- Asking the PF ---

// One request. 0; -EPERM: refused; -EIO: the PF wants us to start over; or the mailbox failed.
static int ask_pf(struct vf_driver *vf, uint32_t *msg, unsigned send_words, unsigned answer_words)
{
    uint32_t id = msg[0] & HW_MSG_TYPE_MASK;
    int ret = vf_mailbox_request(&vf->mailbox, msg, send_words, answer_words);

    if (ret)
        return ret;
    if (!(msg[0] & HW_MSG_CTS) || (msg[0] & HW_MSG_TYPE_MASK) != id)
        return -EIO;
    return msg[0] & HW_MSG_ACK ? 0 : -EPERM;
}

static void put_mac(uint32_t *msg, const uint8_t mac[6])
{
    msg[1] =
        (uint32_t)mac[0] | (uint32_t)mac[1] << 8 | (uint32_t)mac[2] << 16 | (uint32_t)mac[3] << 24;
    msg[2] = (uint32_t)mac[4] | (uint32_t)mac[5] << 8;
}

// Our MAC comes with the answer to the first message, which has no CTS yet. A PF that has none for
// us refuses (Linux ixgbe, where no administrator gave one): then it is ours to choose.
static int reset_message(struct vf_driver *vf)
{
    uint32_t msg[HW_MSG_PERMADDR_WORDS] = {HW_MSG_VF_RESET};
    int ret = vf_mailbox_request(&vf->mailbox, msg, 1, HW_MSG_PERMADDR_WORDS);

    if (ret)
        return ret;
    if (msg[0] == (HW_MSG_VF_RESET | HW_MSG_ACK)) {
        for (unsigned i = 0; i < 6; i++)
            vf->mac[i] = (uint8_t)(msg[1 + i / 4] >> 8 * (i % 4));
    } else if (msg[0] != (HW_MSG_VF_RESET | HW_MSG_NACK)) {
        return -EIO;
    }
    vf->multicast_type = msg[HW_MSG_PERMADDR_MC_TYPE_WORD] & HW_MCSTCTRL_MO_MASK;
    return 0;
}

// The newest API that both sides know. A PF that refuses them all is taken as 1.0, which has no
// negotiation.
static int negotiate_api(struct vf_driver *vf)
{
    static const enum hw_mailbox_api apis[] = {HW_API_14, HW_API_13, HW_API_12, HW_API_11,
                                               HW_API_10};

    vf->api = HW_API_10;
    for (unsigned i = 0; i < ARRAY_LEN(apis); i++) {
        uint32_t msg[3] = {HW_MSG_API_NEGOTIATE, apis[i]};
        int ret = ask_pf(vf, msg, ARRAY_LEN(msg), ARRAY_LEN(msg));

        if (!ret)
            vf->api = apis[i];
        if (ret != -EPERM)
            return ret;
    }
    return 0;
}

static int choose_mac(struct vf_driver *vf)
{
    static const uint8_t none[6];
    uint8_t mac[6];

    if (memcmp(vf->mac, none, sizeof none) != 0)
        return 0;
    if (getrandom(mac, sizeof mac, 0) != sizeof mac)
        return -errno;
    mac[0] = (mac[0] & 0xfc) | 2; // locally administered, of one station
    return vf_driver_set_mac(vf, mac);
}

static int get_queues(struct vf_driver *vf)
{
    uint32_t msg[HW_MSG_QUEUES_DEFAULT + 1] = {HW_MSG_GET_QUEUES};
    uint32_t allowed;
    int ret;

    if (vf->api < HW_API_11) {
        vf->config.queue_count = 1;
        return 0;
    }
    ret = ask_pf(vf, msg, ARRAY_LEN(msg), ARRAY_LEN(msg));
    if (ret)
        return ret;
    allowed = msg[HW_MSG_QUEUES_RX] < msg[HW_MSG_QUEUES_TX] ? msg[HW_MSG_QUEUES_RX]
                                                            : msg[HW_MSG_QUEUES_TX];
    if (allowed && allowed < vf->config.queue_count)
        vf->config.queue_count = allowed;
    return 0;
}

static int set_frame_size(struct vf_driver *vf)
{
    uint32_t msg[2] = {HW_MSG_SET_LPE, vf->config.frame_bytes_max + FCS_BYTES};

    return ask_pf(vf, msg, ARRAY_LEN(msg), ARRAY_LEN(msg));
}

static int get_admin_link(struct vf_driver *vf)
{
    uint32_t msg[2] = {HW_MSG_GET_LINK_STATE};
    int ret;

    vf->admin_link = true;
    if (vf->api < HW_API_12)
        return 0;
    ret = ask_pf(vf, msg, ARRAY_LEN(msg), ARRAY_LEN(msg));
    if (!ret)
        vf->admin_link = msg[1] != 0;
    return ret == -EPERM ? 0 : ret; // a PF that does not know this message lets it be up
}

// --- From reset to running ---

// Also what ends all DMA, when we leave.
static void reset_function(struct vf_driver *vf)
{
    driver_reg_write(vf->bus, HW_VTEIMC, HW_VTEICR_MASK);
    driver_reg_write(vf->bus, HW_VFCTRL, HW_VFCTRL_RST);
    driver_reg_read(vf->bus, HW_VFSTATUS); // the write has arrived when this is answered
}

// Reset and mailbox: from here on the PF knows us.
static int meet_pf(struct vf_driver *vf, char *error, size_t error_len)
{
    const char *what = "the PF is in reset; is it up?";
    int ret;

    driver_bus_enable(vf->bus);
    reset_function(vf);
    ret = vf_mailbox_wait_pf(&vf->mailbox);
    if (!ret) {
        what = "no answer to VF_RESET";
        ret = reset_message(vf);
    }
    if (!ret) {
        what = "no mailbox API in common";
        ret = negotiate_api(vf);
    }
    if (!ret) {
        what = "no MAC given, and ours refused";
        ret = choose_mac(vf);
    }
    if (!ret) {
        what = "no queues";
        ret = get_queues(vf);
    }
    if (!ret) {
        what = "frame size refused";
        ret = set_frame_size(vf);
    }
    if (!ret) {
        what = "no link state";
        ret = get_admin_link(vf);
    }
    if (ret)
        snprintf(error, error_len, "%s: %s: %s", vf->bus->name, what, strerror(-ret));
    return ret;
}

// Waits until the queue's control register has ENABLE set.
static int wait_enabled(struct vf_driver *vf, uint32_t offset, uint32_t enable)
{
    struct timespec ms = {.tv_nsec = 1000000};

    // Where the register is in a mapped page this reads our own write; the read of page 0 makes the
    // card look at it.
    driver_reg_read(vf->bus, HW_VFSTATUS);
    for (unsigned i = 0; i < ENABLE_TRIES && !vf->bus->lost; i++) {
        if (driver_reg_read(vf->bus, offset) & enable)
            return vf->bus->lost ? -ENODEV : 0;
        nanosleep(&ms, NULL);
    }
    return vf->bus->lost ? -ENODEV : -ETIMEDOUT;
}

static int start_queue(struct vf_driver *vf, unsigned queue)
{
    int ret = vf_rx_create(vf, queue);

    if (!ret)
        ret = vf_tx_create(vf, queue);
    if (ret)
        return ret;
    vf_tx_enable(vf, queue);
    ret = wait_enabled(vf, HW_VFTXDCTL(queue), HW_TXDCTL_ENABLE);
    if (ret)
        return ret;
    vf_rx_enable(vf, queue);
    ret = wait_enabled(vf, HW_VFRXDCTL(queue), HW_RXDCTL_ENABLE);
    if (ret)
        return ret;
    vf_rx_post(vf, queue);
    return 0;
}

static int get_pool(struct vf_driver *vf)
{
    const struct vf_config *c = &vf->config;

    if (!c->pool_of)
        return vf_pool_create(vf->bus, c->buffer_count, c->buffer_bytes, &vf->pool);
    vf->pool = c->pool_of->pool;
    vf->pool->users++;
    vf->next_in_pool = c->pool_of->next_in_pool;
    c->pool_of->next_in_pool = vf;
    return 0;
}

static int start_queues(struct vf_driver *vf)
{
    unsigned log2_queues = vf->config.queue_count > 1;
    int ret = get_pool(vf);

    // RQPL: how many queues RSS spreads over (82599 §8.3).
    driver_reg_write(vf->bus, HW_VFPSRTYPE, log2_queues << HW_PSRTYPE_RQPL_SHIFT);
    for (unsigned i = 0; !ret && i < vf->config.queue_count; i++)
        ret = start_queue(vf, i);
    // Buffers are posted when this is answered: from here on nothing need be lost.
    driver_reg_read(vf->bus, HW_VFSTATUS);
    return ret;
}

// Vector n is receive queue n. Sent frames need no interrupt: they are collected on the way.
static int start_interrupts(struct vf_driver *vf)
{
    unsigned count = vf->config.queue_count;
    uint32_t ivar = 0;
    int ret;

    if (!vf->config.interrupts)
        return 0;
    ret = vf->bus->ops->irq_enable(vf->bus, count, vf->irq_fds);
    if (ret)
        return ret;
    for (unsigned i = 0; i < count; i++) {
        ivar |= (i | HW_IVAR_VALID) << 16 * i;
        driver_reg_write(vf->bus, HW_VTEITR(i), 0);
    }
    driver_reg_write(vf->bus, HW_VTIVAR(0), ivar);
    // A vector that was raised masks and clears itself, until vf_irq_arm().
    driver_reg_write(vf->bus, HW_VTEIAC, BIT(count) - 1);
    driver_reg_write(vf->bus, HW_VTEIAM, BIT(count) - 1);
    return 0;
}

static int check_config(const struct vf_config *c, char *error, size_t error_len)
{
    const char *wrong = NULL;

    if (!c->queue_count || c->queue_count > VF_QUEUES_MAX)
        wrong = "queue_count: 1 … 2";
    else if (c->ring_len < RING_LEN_MIN || c->ring_len > RING_LEN_MAX || c->ring_len % 8)
        wrong = "ring_len: 64 … 4096, multiple of 8";
    else if (c->buffer_bytes < 2048 || c->buffer_bytes > 16384 || c->buffer_bytes % 1024)
        wrong = "buffer_bytes: 2048 … 16384, multiple of 1024";
    else if (c->buffer_count / c->queue_count < c->ring_len)
        wrong = "buffer_count: at least queue_count × ring_len";
    else if (c->frame_bytes_max < 1514 || c->frame_bytes_max > 9710)
        wrong = "frame_bytes_max: 1514 … 9710";
    if (!wrong)
        return 0;
    snprintf(error, error_len, "%s", wrong);
    return -EINVAL;
}

static int check_identity(struct driver_bus *bus, char *error, size_t error_len)
{
    uint32_t id = bus->ops->config_read(bus, 0, 4);

    // A VF's own config space has no IDs (PCIe §9.3.4.1.1); whoever assigned it filled them in.
    if (id == (HW_VENDOR_ID | HW_VF_DEVICE_ID << 16) || id == UINT32_MAX)
        return bus->lost ? -ENODEV : 0;
    snprintf(error, error_len, "%s: not an 82599 VF but %04x:%04x", bus->name, id & 0xffff,
             id >> 16);
    return -ENODEV;
}

int vf_driver_open(struct driver_bus *bus, const struct vf_config *config, struct vf_driver **out,
                   char *error, size_t error_len)
{
    struct vf_config own = *config;
    struct vf_driver *vf;
    int ret;

    if (own.pool_of) {
        own.buffer_count = own.pool_of->config.buffer_count;
        own.buffer_bytes = own.pool_of->config.buffer_bytes;
    }
    ret = check_config(&own, error, error_len);
    if (!ret)
        ret = check_identity(bus, error, error_len);
    if (ret)
        return ret;
    vf = calloc(1, sizeof *vf);
    if (!vf) {
        snprintf(error, error_len, "out of memory");
        return -ENOMEM;
    }
    vf->bus = bus;
    vf->config = own;
    vf->next_in_pool = vf;
    for (unsigned i = 0; i < VF_QUEUES_MAX; i++)
        vf->irq_fds[i] = -1;
    vf_mailbox_init(&vf->mailbox, bus,
                    config->reset_timeout_ms ? config->reset_timeout_ms : DEFAULT_TIMEOUT_MS);
    ret = meet_pf(vf, error, error_len);
    if (!ret) {
        ret = start_queues(vf);
        if (!ret)
            ret = start_interrupts(vf);
        if (ret)
            snprintf(error, error_len, "%s: queues or interrupts: %s", bus->name, strerror(-ret));
    }
    if (ret) {
        vf_driver_close(vf);
        return ret;
    }
    *out = vf;
    return 0;
}

void vf_driver_close(struct vf_driver *vf)
{
    struct vf_driver *before = vf;

    if (!vf)
        return;
    if (!vf->bus->lost)
        reset_function(vf);
    for (unsigned i = 0; i < VF_QUEUES_MAX; i++) {
        vf_rx_destroy(vf, i);
        vf_tx_destroy(vf, i);
    }
    while (before->next_in_pool != vf)
        before = before->next_in_pool;
    before->next_in_pool = vf->next_in_pool;
    vf_pool_leave(vf->pool);
    free(vf);
}

// --- While it runs ---

int vf_driver_service(struct vf_driver *vf)
{
    uint32_t notice;

    if (vf->bus->lost)
        return -ENODEV;
    if (vf_mailbox_pf_was_reset(&vf->mailbox))
        return vf->bus->lost ? -ENODEV : -EIO;
    if (!vf_mailbox_take_notice(&vf->mailbox, &notice))
        return vf->bus->lost ? -ENODEV : 0;
    // Without CTS the PF does not know us any more, and a NACK says so.
    if (!(notice & HW_MSG_CTS) || (notice & HW_MSG_NACK))
        return -EIO;
    return get_admin_link(vf);
}

bool vf_driver_link_is_up(struct vf_driver *vf)
{
    uint32_t links = driver_reg_read(vf->bus, HW_VFLINKS);

    return !vf->bus->lost && vf->admin_link && (links & HW_LINKS_UP);
}

int vf_irq_fd(const struct vf_driver *vf, unsigned queue)
{
    return queue < vf->config.queue_count ? vf->irq_fds[queue] : -1;
}

void vf_irq_arm(struct vf_driver *vf, unsigned queue)
{
    uint64_t count;

    if (vf_irq_fd(vf, queue) < 0)
        return;
    // Nothing to read is as good: the next interrupt makes it readable.
    if (read(vf->irq_fds[queue], &count, sizeof count) < 0 && errno == EBADF)
        return;
    driver_reg_write(vf->bus, HW_VTEIMS, BIT(queue));
}

int vf_driver_set_mac(struct vf_driver *vf, const uint8_t mac[6])
{
    uint32_t msg[3] = {HW_MSG_SET_MAC_ADDR};
    int ret;

    put_mac(msg, mac);
    ret = ask_pf(vf, msg, ARRAY_LEN(msg), ARRAY_LEN(msg));
    if (!ret)
        memcpy(vf->mac, mac, sizeof vf->mac);
    return ret;
}

int vf_driver_add_vlan(struct vf_driver *vf, uint16_t vlan, bool on)
{
    uint32_t msg[2] = {HW_MSG_SET_VLAN | (uint32_t)on << HW_MSG_INFO_SHIFT, vlan};

    return vlan > 4095 ? -EINVAL : ask_pf(vf, msg, ARRAY_LEN(msg), ARRAY_LEN(msg));
}

// 12 bits of the address, which ones MCSTCTRL.MO says: [47:36], [46:35], [45:34] or [43:32].
static uint16_t multicast_hash(const struct vf_driver *vf, const uint8_t mac[6])
{
    static const unsigned shifts[] = {4, 3, 2, 0};

    return ((unsigned)mac[5] << 8 | mac[4]) >> shifts[vf->multicast_type] & 0xfff;
}

int vf_driver_set_multicast(struct vf_driver *vf, const uint8_t (*macs)[6], unsigned count)
{
    uint32_t msg[HW_MAILBOX_WORDS] = {HW_MSG_SET_MULTICAST | count << HW_MSG_INFO_SHIFT};

    if (count > VF_MULTICAST_MAX)
        return -ENOSPC;
    for (unsigned i = 0; i < count; i++)
        msg[1 + i / 2] |= (uint32_t)multicast_hash(vf, macs[i]) << 16 * (i % 2);
    return ask_pf(vf, msg, HW_MAILBOX_WORDS, 1);
}

_Static_assert(VF_RECEIVE_BROADCAST == (int)HW_XCAST_NONE &&
                   VF_RECEIVE_GROUPS == (int)HW_XCAST_MULTI &&
                   VF_RECEIVE_ALL_MULTICAST == (int)HW_XCAST_ALLMULTI &&
                   VF_RECEIVE_PROMISCUOUS == (int)HW_XCAST_PROMISC,
               "they are the message's numbers");

int vf_driver_set_receive_mode(struct vf_driver *vf, enum vf_receive_mode mode)
{
    uint32_t msg[2] = {HW_MSG_UPDATE_XCAST_MODE, mode};
    int ret;

    if (vf->api < (mode == VF_RECEIVE_PROMISCUOUS ? HW_API_13 : HW_API_12))
        return -ENOTSUP;
    ret = ask_pf(vf, msg, ARRAY_LEN(msg), ARRAY_LEN(msg));
    if (ret)
        return ret;
    return msg[1] == mode ? 0 : -EPERM; // a PF may give less than was asked, and says what
}

void vf_driver_mac(const struct vf_driver *vf, uint8_t mac[6])
{
    memcpy(mac, vf->mac, sizeof vf->mac);
}

unsigned vf_driver_queue_count(const struct vf_driver *vf)
{
    return vf->config.queue_count;
}

int vf_driver_api(const struct vf_driver *vf)
{
    return vf->api;
}

void vf_driver_stats(const struct vf_driver *vf, struct vf_stats *out)
{
    *out = vf->stats;
}

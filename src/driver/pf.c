// SPDX-License-Identifier: BSD-3-Clause
#include "driver/pf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/log.h"
#include "driver/pf_state.h"
#include "hw82599/regs.h"

// --- Configuration ---

static int check_policy(const struct pf_vf_policy *policy)
{
    static const uint8_t none[6];

    if (memcmp(policy->mac, none, sizeof none) && !pf_mac_is_valid(policy->mac))
        return -EINVAL;
    return policy->vlan > 4094 || policy->qos > 7 ? -EINVAL : 0;
}

static int check_config(const struct pf_config *config, char *error, size_t error_len)
{
    int api = config->mailbox_api_max;

    if (config->vf_count > PF_VFS_MAX) {
        snprintf(error, error_len, "%u VFs: at most %u", config->vf_count, PF_VFS_MAX);
        return -EINVAL;
    }
    if (api < PF_API_10 || api > PF_API_15 || api == HW_API_20) {
        snprintf(error, error_len, "mailbox API %d: not known", api);
        return -EINVAL;
    }
    if (config->mtu && (config->mtu < PF_FRAME_STANDARD - PF_FRAME_OVERHEAD ||
                        config->mtu > PF_FRAME_MAX - PF_FRAME_OVERHEAD)) {
        snprintf(error, error_len, "MTU %u: 1500 … 9710", config->mtu);
        return -EINVAL;
    }
    for (unsigned i = 0; i < config->vf_count; i++) {
        if (check_policy(&config->vf[i])) {
            snprintf(error, error_len, "VF %u: bad MAC address, VLAN or priority", i);
            return -EINVAL;
        }
    }
    return 0;
}

// --- Events ---

static void update_link(struct pf_driver *pf)
{
    bool up = driver_reg_read(pf->bus, HW_LINKS) & HW_LINKS_UP;

    if (pf->bus->lost || up == pf->link_up)
        return;
    pf->link_up = up;
    log_info("pf %s: link is %s", pf->bus->name, up ? "up" : "down");
    // Below API 1.5 a VF believes in a link only after a message that says CTS.
    for (unsigned i = 0; i < pf->vf_count; i++)
        pf_mailbox_notify(&pf->vf[i].mailbox,
                          HW_MSG_PF_CONTROL | (pf->vf[i].clear_to_send ? HW_MSG_CTS : 0), 0);
}

// A VF that was told to start over and only acknowledges: tell it again, louder, but not at its
// own pace.
static void handle_ack(struct pf_driver *pf, unsigned vf, uint64_t now_ns)
{
    struct pf_vf *v = &pf->vf[vf];
    uint64_t due_ns = v->last_nack_ns ? v->last_nack_ns + PF_NACK_REPEAT_MS * NS_PER_MS : now_ns;

    pf_mailbox_acknowledged(&v->mailbox);
    if (v->clear_to_send || v->mailbox.notice)
        return;
    if (due_ns < now_ns)
        due_ns = now_ns;
    v->last_nack_ns = due_ns;
    pf_mailbox_notify(&v->mailbox, HW_MSG_NACK, due_ns);
}

static void drain(int fd)
{
    uint64_t count;
    ssize_t n;

    do
        n = read(fd, &count, sizeof count);
    while (n < 0 && errno == EINTR);
}

static void arm_timer(struct pf_driver *pf, uint64_t at_ns)
{
    struct itimerspec when = {0};

    // 0 disarms.
    if (at_ns != UINT64_MAX) {
        when.it_value.tv_sec = (time_t)(at_ns / NS_PER_S);
        when.it_value.tv_nsec = (long)(at_ns % NS_PER_S) + !at_ns;
    }
    timerfd_settime(pf->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void run_mailboxes(struct pf_driver *pf, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;

    for (unsigned i = 0; i < pf->vf_count; i++) {
        uint64_t at_ns = pf_mailbox_run(&pf->vf[i].mailbox, now_ns);

        if (at_ns < next_ns)
            next_ns = at_ns;
    }
    arm_timer(pf, next_ns);
}

// Mailbox causes of all VFs, taken and cleared.
static void take_causes(struct pf_driver *pf, uint32_t mailbox[4], uint32_t resets[2])
{
    for (unsigned i = 0; i < 4; i++) {
        mailbox[i] = driver_reg_read(pf->bus, HW_PFMBICR(i));
        if (mailbox[i])
            driver_reg_write(pf->bus, HW_PFMBICR(i), mailbox[i]);
    }
    // After the requests: a request that was seen has its VF's reset before it, and that is seen
    // here too.
    for (unsigned i = 0; i < 2; i++) {
        resets[i] = driver_reg_read(pf->bus, HW_PFVFLRE(i));
        if (resets[i])
            driver_reg_write(pf->bus, HW_PFVFLREC(i), resets[i]);
    }
}

void pf_driver_service(struct pf_driver *pf)
{
    uint32_t mailbox[4], resets[2];
    uint64_t now_ns = clock_now_ns();

    drain(pf->irq_fd);
    drain(pf->timer_fd);
    if (pf->bus->lost)
        return;
    // Acknowledge first, look afterwards: what comes in between raises the interrupt again.
    driver_reg_write(pf->bus, HW_EICR, driver_reg_read(pf->bus, HW_EICR));
    take_causes(pf, mailbox, resets);
    if (pf->bus->lost)
        return;
    for (unsigned i = 0; i < pf->vf_count; i++) {
        uint32_t causes = mailbox[HW_PFMBICR_INDEX(i)];

        if (resets[HW_PFVFLRE_INDEX(i)] & HW_PFVFLRE_BIT(i))
            pf_vf_to_defaults(pf, i);
        if (causes & HW_PFMBICR_ACK(i))
            handle_ack(pf, i, now_ns);
        if (causes & HW_PFMBICR_REQ(i))
            pf_message_handle(pf, i, now_ns);
    }
    update_link(pf);
    run_mailboxes(pf, now_ns);
}

// --- Life ---

static int make_poll_fd(struct pf_driver *pf)
{
    struct epoll_event event = {.events = EPOLLIN};

    pf->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (pf->timer_fd < 0)
        return -errno;
    pf->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (pf->poll_fd < 0)
        return -errno;
    if (epoll_ctl(pf->poll_fd, EPOLL_CTL_ADD, pf->timer_fd, &event) ||
        epoll_ctl(pf->poll_fd, EPOLL_CTL_ADD, pf->irq_fd, &event))
        return -errno;
    return 0;
}

static int check_identity(struct driver_bus *bus, char *error, size_t error_len)
{
    uint32_t id = bus->ops->config_read(bus, 0, 4);

    if (id == (HW_VENDOR_ID | HW_PF_DEVICE_ID << 16))
        return 0;
    snprintf(error, error_len, "%s: not an 82599 PF but %04x:%04x", bus->name, id & 0xffff,
             id >> 16);
    return -ENODEV;
}

static void free_driver(struct pf_driver *pf)
{
    if (pf->poll_fd >= 0)
        close(pf->poll_fd);
    if (pf->timer_fd >= 0)
        close(pf->timer_fd);
    free(pf);
}

static struct pf_driver *new_driver(struct driver_bus *bus, const struct pf_config *config)
{
    struct pf_driver *pf = calloc(1, sizeof *pf);

    if (!pf)
        return NULL;
    pf->bus = bus;
    pf->vf_count = config->vf_count;
    pf->pf_pool = config->vf_count;
    // 82599 §7.10: as many queues a pool as the number of pools leaves.
    pf->queues_per_pool = config->vf_count < 32 ? 4 : 2;
    pf->api_max = config->mailbox_api_max;
    pf->frame_limit = config->mtu ? config->mtu + PF_FRAME_OVERHEAD : 0;
    pf->irq_fd = pf->timer_fd = pf->poll_fd = -1;
    for (unsigned i = 0; i < pf->vf_count; i++)
        pf_mailbox_init(&pf->vf[i].mailbox, bus, i);
    return pf;
}

int pf_driver_open(struct driver_bus *bus, const struct pf_config *config, struct pf_driver **out,
                   char *error, size_t error_len)
{
    struct pf_driver *pf;
    int ret = check_config(config, error, error_len);

    if (!ret)
        ret = check_identity(bus, error, error_len);
    if (ret)
        return ret;
    pf = new_driver(bus, config);
    if (!pf) {
        snprintf(error, error_len, "out of memory");
        return -ENOMEM;
    }
    for (unsigned i = 0; i < pf->vf_count; i++)
        pf->vf[i].policy = config->vf[i];
    ret = pf_init_port(pf, error, error_len);
    if (!ret) {
        ret = make_poll_fd(pf);
        if (ret)
            snprintf(error, error_len, "%s: %s", bus->name, strerror(-ret));
    }
    if (ret) {
        free_driver(pf);
        return ret;
    }
    // Mailboxes work from here on (4.6.10).
    driver_reg_update(bus, HW_CTRL_EXT, 0, HW_CTRL_EXT_PFRSTD);
    pf->link_up = driver_reg_read(bus, HW_LINKS) & HW_LINKS_UP;
    log_info("pf %s: MAC %02x:%02x:%02x:%02x:%02x:%02x, %u VFs with %u queue pairs each, link %s",
             bus->name, pf->mac[0], pf->mac[1], pf->mac[2], pf->mac[3], pf->mac[4], pf->mac[5],
             pf->vf_count, pf->queues_per_pool, pf->link_up ? "up" : "down");
    *out = pf;
    return 0;
}

void pf_driver_close(struct pf_driver *pf)
{
    if (!pf)
        return;
    if (!pf->bus->lost) {
        pf_init_stop(pf);
        if (pf->bus->ops->reset)
            pf->bus->ops->reset(pf->bus);
        else
            driver_reg_update(pf->bus, HW_CTRL, 0, HW_CTRL_RST);
    }
    free_driver(pf);
}

int pf_driver_irq_fd(const struct pf_driver *pf)
{
    return pf->poll_fd;
}

void pf_driver_vf_reset(struct pf_driver *pf, unsigned vf)
{
    if (vf >= pf->vf_count)
        return;
    pf_vf_to_defaults(pf, vf);
    pf_mailbox_clear_memory(&pf->vf[vf].mailbox);
    // What the last owner still had in its mailbox dies with it.
    driver_reg_write(pf->bus, HW_PFMBICR(HW_PFMBICR_INDEX(vf)),
                     HW_PFMBICR_REQ(vf) | HW_PFMBICR_ACK(vf));
}

int pf_driver_vf_set_policy(struct pf_driver *pf, unsigned vf, const struct pf_vf_policy *policy)
{
    struct pf_vf_policy before;
    bool start_over;
    struct pf_vf *v;
    int ret;

    if (vf >= pf->vf_count || check_policy(policy))
        return -EINVAL;
    v = &pf->vf[vf];
    before = v->policy;
    pf_vf_take_policy(pf, vf, policy);
    ret = pf_vf_update_port_vlan(pf, vf, before.vlan);
    if (ret) {
        v->policy = before;
        return ret;
    }
    start_over = before.link_up != policy->link_up;
    // What it was allowed before may not be so now: back to the start, and let it ask again.
    if (memcmp(before.mac, v->policy.mac, sizeof before.mac) || before.trusted != policy->trusted) {
        start_over = true;
        memcpy(v->mac, v->policy.mac, sizeof v->mac);
        pf_filter_set_mac(&pf->filter, 1 + vf, v->mac, vf);
        pf_filter_clear_macvlans(&pf->filter, vf);
        v->macvlans = false;
        v->xcast_mode = HW_XCAST_NONE;
    }
    if (before.vlan != policy->vlan)
        start_over |= pf_filter_clear_vlans(&pf->filter, vf, policy->vlan);
    pf_vf_update_accept_modes(pf, vf);
    pf_vf_update_spoof_check(pf, vf);
    if (start_over)
        pf_vf_start_over(pf, vf);
    run_mailboxes(pf, clock_now_ns());
    return 0;
}

int pf_driver_vf_state(const struct pf_driver *pf, unsigned vf, struct pf_vf_state *out)
{
    const struct pf_vf *v;

    if (vf >= pf->vf_count)
        return -EINVAL;
    v = &pf->vf[vf];
    *out = (struct pf_vf_state){
        .up = v->clear_to_send,
        .api = v->negotiated ? (int)v->api : -1,
        .mtu_frame_bytes = (uint16_t)v->frame_bytes,
        .requests = v->requests,
        .nacks = v->nacks,
        .answers_dropped = v->mailbox.dropped,
    };
    memcpy(out->mac, v->mac, sizeof out->mac);
    return 0;
}

void pf_driver_mac(const struct pf_driver *pf, uint8_t mac[6])
{
    memcpy(mac, pf->mac, sizeof pf->mac);
}

bool pf_driver_link_is_up(const struct pf_driver *pf)
{
    return pf->link_up;
}

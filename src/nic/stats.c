// SPDX-License-Identifier: BSD-3-Clause
#include "nic/stats.h"

#include <stddef.h>
#include <string.h>

#include "base/bits.h"
#include "nic/port.h"

#define FCS_BYTES 4u // octet counters of the MAC include it, the card's own do not

// Deviation: counters of pools (PVF…) are not cleared by any reset: what the PF reads of a VF is
// not the VF's to clear.
enum part {
    PART_NONE, // not a row of statistics
    PART_ALL,  // 32 bits, sticks at all ones
    PART_LOW,  // bits 31:0 of a pair
    PART_HIGH, // bits 35:32; reading it clears the pair
    PART_FREE_LOW,
    PART_FREE_HIGH,
};

// A row's value: the sum of a counter and, for octets, FCS_BYTES for each of `frames`. Both are
// offsets in struct nic_counters, or, where `stride` is not 0, in the first of an array.
struct source {
    enum part part;
    enum hw_row low; // of a pair: the row with the low half
    size_t counter, frames;
    bool octets;
    enum { OF_PORT, OF_POOL, OF_RX_COUNTER, OF_TX_COUNTER, OF_ALL_POOLS } of;
};

#define AT(field)    offsetof(struct nic_counters, field)
#define TOTAL(field) AT(total[0].field)
#define POOL(field)  AT(pool) + offsetof(struct nic_pool_counters, field)
#define QUEUE(field) AT(queue) + offsetof(struct nic_queue_counters, field)

#define COUNT(row, field) [HW_ROW_##row] = {.part = PART_ALL, .counter = TOTAL(field)}
#define OCTETS(l, h, bytes_, frames_)                                                              \
    [HW_ROW_##l] = {PART_LOW, HW_ROW_##l, TOTAL(bytes_), TOTAL(frames_), true, OF_PORT},           \
    [HW_ROW_##h] = {PART_HIGH, HW_ROW_##l, TOTAL(bytes_), TOTAL(frames_), true, OF_PORT}
#define QUEUE_COUNT(row, field, of_)                                                               \
    [HW_ROW_##row] = {.part = PART_ALL, .counter = QUEUE(field), .of = of_}
#define QUEUE_OCTETS(l, h, bytes_, frames_, of_)                                                   \
    [HW_ROW_##l] = {PART_LOW, HW_ROW_##l, QUEUE(bytes_), QUEUE(frames_), true, of_},               \
    [HW_ROW_##h] = {PART_HIGH, HW_ROW_##l, QUEUE(bytes_), QUEUE(frames_), true, of_}
#define POOL_COUNT(row, field)                                                                     \
    [HW_ROW_##row] = {.part = PART_FREE_LOW, .counter = POOL(field), .of = OF_POOL}
#define POOL_OCTETS(l, h, bytes_, frames_)                                                         \
    [HW_ROW_##l] = {PART_FREE_LOW, HW_ROW_##l, POOL(bytes_), POOL(frames_), true, OF_POOL},        \
    [HW_ROW_##h] = {PART_FREE_HIGH, HW_ROW_##l, POOL(bytes_), POOL(frames_), true, OF_POOL}

static const struct source sources[HW_ROW_NONE] = {
    COUNT(PRC64, rx_uplink_size_bins[0]),
    COUNT(PRC127, rx_uplink_size_bins[1]),
    COUNT(PRC255, rx_uplink_size_bins[2]),
    COUNT(PRC511, rx_uplink_size_bins[3]),
    COUNT(PRC1023, rx_uplink_size_bins[4]),
    COUNT(PRC1522, rx_uplink_size_bins[5]),
    COUNT(GPRC, rx_uplink_frames),
    COUNT(BPRC, rx_uplink_broadcast),
    COUNT(MPRC, rx_uplink_multicast),
    COUNT(GPTC, tx_uplink_frames),
    OCTETS(GORCL, GORCH, rx_uplink_bytes, rx_uplink_frames),
    OCTETS(GOTCL, GOTCH, tx_uplink_bytes, tx_uplink_frames),
    COUNT(RUC, rx_undersize),
    COUNT(ROC, rx_oversize),
    OCTETS(TORL, TORH, rx_uplink_bytes, rx_uplink_frames),
    COUNT(TPR, rx_uplink_frames),
    COUNT(TPT, tx_uplink_frames),
    COUNT(PTC64, tx_uplink_size_bins[0]),
    COUNT(PTC127, tx_uplink_size_bins[1]),
    COUNT(PTC255, tx_uplink_size_bins[2]),
    COUNT(PTC511, tx_uplink_size_bins[3]),
    COUNT(PTC1023, tx_uplink_size_bins[4]),
    COUNT(PTC1522, tx_uplink_size_bins[5]),
    COUNT(MPTC, tx_uplink_multicast),
    COUNT(BPTC, tx_uplink_broadcast),
    COUNT(XEC, rx_l3_l4_xsum_errors),
    COUNT(RXNFGPC, rx_uplink_frames),
    OCTETS(RXNFGBCL, RXNFGBCH, rx_uplink_bytes, rx_uplink_frames),
    COUNT(RXMPC, rx_missed),
    [HW_ROW_RXDGPC] = {.part = PART_ALL, .counter = POOL(rx_frames), .of = OF_ALL_POOLS},
    [HW_ROW_RXDGBCL] = {PART_LOW, HW_ROW_RXDGBCL, POOL(rx_bytes), POOL(rx_frames), true,
                        OF_ALL_POOLS},
    [HW_ROW_RXDGBCH] = {PART_HIGH, HW_ROW_RXDGBCL, POOL(rx_bytes), POOL(rx_frames), true,
                        OF_ALL_POOLS},
    COUNT(RXLPBKGPC, loopback_frames),
    OCTETS(RXLPBKGBCL, RXLPBKGBCH, loopback_bytes, loopback_frames),
    [HW_ROW_TXDGPC] = {.part = PART_ALL, .counter = POOL(tx_frames), .of = OF_ALL_POOLS},
    [HW_ROW_TXDGBCL] = {PART_LOW, HW_ROW_TXDGBCL, POOL(tx_bytes), POOL(tx_frames), true,
                        OF_ALL_POOLS},
    [HW_ROW_TXDGBCH] = {PART_HIGH, HW_ROW_TXDGBCL, POOL(tx_bytes), POOL(tx_frames), true,
                        OF_ALL_POOLS},
    [HW_ROW_SSVPC] = {.part = PART_ALL, .counter = POOL(tx_spoof_drops), .of = OF_ALL_POOLS},
    QUEUE_COUNT(QPRC, rx_frames, OF_RX_COUNTER),
    QUEUE_OCTETS(QBRC_L, QBRC_H, rx_bytes, rx_frames, OF_RX_COUNTER),
    QUEUE_COUNT(QPRDC, rx_drops, OF_RX_COUNTER),
    QUEUE_COUNT(QPTC, tx_frames, OF_TX_COUNTER),
    QUEUE_OCTETS(QBTC_L, QBTC_H, tx_bytes, tx_frames, OF_TX_COUNTER),
    POOL_COUNT(PVFGPRC, rx_frames),
    POOL_COUNT(PVFMPRC, rx_multicast_frames),
    POOL_COUNT(PVFGPTC, tx_frames),
    POOL_OCTETS(PVFGORC_LSB, PVFGORC_MSB, rx_bytes, rx_frames),
    POOL_OCTETS(PVFGOTC_LSB, PVFGOTC_MSB, tx_bytes, tx_frames),
};

static uint64_t load(const struct nic_port *port, size_t offset)
{
    const _Atomic uint64_t *counter =
        (const _Atomic uint64_t *)((const char *)&port->counters + offset);

    return atomic_load_explicit(counter, memory_order_relaxed);
}

static uint64_t one(const struct nic_port *port, const struct source *source, size_t base)
{
    uint64_t value = load(port, source->counter + base);

    return source->octets ? value + FCS_BYTES * load(port, source->frames + base) : value;
}

// Which of the 16 queue counters a queue counts in (82599 §8.2.3.23.71 RQSMR, .73 TQSM).
static unsigned counter_of_queue(const struct nic_port *port, bool is_tx, unsigned queue)
{
    uint32_t map = nic_reg(port, is_tx ? HW_TQSM(queue / 4) : HW_RQSMR(queue / 4));

    return map >> 8 * (queue % 4) & 0xf;
}

static uint64_t total(const struct nic_port *port, const struct source *source, unsigned index)
{
    uint64_t sum = 0;

    switch (source->of) {
    case OF_PORT:
        for (unsigned i = 0; !index && i < NIC_WORKERS_MAX; i++)
            sum += one(port, source, i * sizeof(struct nic_totals));
        return sum;
    case OF_POOL:
        return one(port, source, index * sizeof(struct nic_pool_counters));
    case OF_ALL_POOLS:
        for (unsigned i = 0; i < HW_POOLS; i++)
            sum += one(port, source, i * sizeof(struct nic_pool_counters));
        return sum;
    case OF_RX_COUNTER:
    case OF_TX_COUNTER:
        for (unsigned q = 0; q < NIC_QUEUES_MAX; q++) {
            if (counter_of_queue(port, source->of == OF_TX_COUNTER, q) == index)
                sum += one(port, source, q * sizeof(struct nic_queue_counters));
        }
        return sum;
    }
    return 0;
}

uint32_t nic_stats_read(struct nic_port *port, enum hw_row row, unsigned index)
{
    const struct source *source = &sources[row];
    struct nic_stats_marks *marks = &port->stats_marks;
    uint64_t now = total(port, source, index);
    uint64_t since;

    switch (source->part) {
    case PART_FREE_LOW:
        return (uint32_t)now;
    case PART_FREE_HIGH:
        return (uint32_t)(now >> 32) & 0xf;
    case PART_ALL:
        since = now - marks->read[row][index];
        marks->read[row][index] = now;
        return since > UINT32_MAX ? UINT32_MAX : (uint32_t)since;
    case PART_LOW:
        // The high half goes with this one; what comes in between is counted the next time.
        marks->latched[row][index] = now;
        return (uint32_t)(now - marks->read[row][index]);
    case PART_HIGH:
        now = marks->latched[source->low][index];
        since = now - marks->read[source->low][index];
        marks->read[source->low][index] = now;
        return (uint32_t)(since >> 32) & 0xf;
    case PART_NONE:
        break;
    }
    return 0;
}

void nic_stats_clear(struct nic_port *port)
{
    struct nic_stats_marks *marks = &port->stats_marks;

    for (unsigned row = 0; row < HW_ROW_NONE; row++) {
        if (sources[row].part != PART_ALL && sources[row].part != PART_LOW)
            continue;
        for (unsigned i = 0; i < NIC_STATS_INDEX_MAX; i++)
            marks->read[row][i] = marks->latched[row][i] = total(port, &sources[row], i);
    }
}

// Changes which queues the counters of one direction sum up, and moves the marks along so that what
// each has counted since it was cleared stays the same.
static void remap(struct nic_port *port, uint32_t offset, uint32_t value, int direction)
{
    struct nic_stats_marks *marks = &port->stats_marks;
    uint64_t before[HW_ROW_NONE][NIC_STATS_INDEX_MAX];

    for (int after = 0; after < 2; after++) {
        for (unsigned row = 0; row < HW_ROW_NONE; row++) {
            const struct source *source = &sources[row];

            if ((int)source->of != direction || source->part == PART_HIGH)
                continue;
            for (unsigned i = 0; i < NIC_STATS_INDEX_MAX; i++) {
                uint64_t now = total(port, source, i);

                if (after) {
                    marks->read[row][i] += now - before[row][i];
                    marks->latched[row][i] += now - before[row][i];
                } else {
                    before[row][i] = now;
                }
            }
        }
        nic_reg_store(port, offset, value);
    }
}

void nic_stats_rqsmr_write(struct nic_port *port, unsigned index, uint32_t value)
{
    remap(port, HW_RQSMR(index), value, OF_RX_COUNTER);
}

void nic_stats_tqsm_write(struct nic_port *port, unsigned index, uint32_t value)
{
    remap(port, HW_TQSM(index), value, OF_TX_COUNTER);
}

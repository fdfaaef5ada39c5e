# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: what the VM's administrator says of a VF takes effect on real frames."""

import time

from chassis_vfs import recorded
from scene import TEST_ETHERTYPE

RATE_MBPS = 40
SPOOFED_MAC = "02:de:ad:be:ef:01"
ADMIN_MAC = "02:11:22:33:44:00"
OTHER_MAC = "02:99:88:77:66:55"
FOREIGN_GROUP = "01:00:5e:7f:12:34"  # that nobody joins, with a filter bit that nobody sets


def check_mac(scene, check):
    scene.set_vf(0, f"mac {ADMIN_MAC}")
    scene.restart_vf(check, 0)
    mac = scene.mac("vf0")
    check.expect(mac == ADMIN_MAC, ADMIN_MAC, mac)
    scene.ns("vf1", "ip neigh flush all")
    scene.expect_ping(check, "vf1", "10.0.0.1")
    seen = scene.ns("vf1", "ip neigh show 10.0.0.1").output
    check.expect(ADMIN_MAC in seen, "that MAC in VF 1's neighbour table", seen)
    check.note(f"{mac} seen by VF 1")


def check_vlan(scene, check):
    scene.set_vf(0, "vlan 20 qos 3")
    scene.set_vf(1, "vlan 20")
    for vf in (0, 1):
        scene.restart_vf(check, vf)
    rtt = scene.expect_ping(check, "vf0", "10.0.0.2")
    scene.expect_no_ping(check, "vf0", "10.0.0.3")
    scene.expect_no_ping(check, "vf2", "10.0.0.1")
    # On the wire: the priority in the tag of a frame to everybody.
    before = recorded(scene)
    scene.ns("vf0", f"frames send vf0 3 ff:ff:ff:ff:ff:ff {scene.mac('vf0')} {TEST_ETHERTYPE}")
    time.sleep(0.5)
    tag = bytes.fromhex("8100" + f"{3 << 13 | 20:04x}" + TEST_ETHERTYPE)
    count = recorded(scene)[len(before):].count(tag)
    check.expect(count == 3, "3 frames with VLAN 20, priority 3, on the uplink", count)
    for vf in (0, 1):
        scene.set_vf(vf, "vlan 0")
        scene.restart_vf(check, vf)
    scene.expect_ping(check, "vf0", "10.0.0.3")
    check.note(f"VLAN 20 apart, tag with priority 3 on the uplink; RTT {rtt:.2f} ms")


def check_spoof(scene, check):
    target = scene.mac("vf1")

    def send():
        scene.ns("vf0", f"frames send vf0 50 {target} {SPOOFED_MAC} {TEST_ETHERTYPE}")
    before = scene.vf_counts(0)["tx_spoof_drops"]
    with_check = scene.arrived(scene.count_frames("vf1", send), SPOOFED_MAC)
    drops = scene.vf_counts(0)["tx_spoof_drops"] - before
    scene.set_vf(0, "spoofchk off")
    without = scene.arrived(scene.count_frames("vf1", send), SPOOFED_MAC)
    scene.set_vf(0, "spoofchk on")
    check.expect((with_check, drops, without) == (0, 50, 50),
                 "0 of 50 with it, 50 counted, 50 of 50 without",
                 (with_check, drops, without))
    said, seen = scene.guest.poll("dmesg", "50 Spoofed packets detected", 6)
    check.expect(said, "ixgbe to say so", seen[-300:])
    check.note("50 dropped and reported by ixgbe; 50 arrive without")


def check_trust(scene, check):
    """A VF hears all multicast only when it is trusted. (An 82599 has no unicast promiscuous
    mode for VFs: ixgbe refuses that in either case.)"""
    source = scene.mac("vf0")
    seen = {}
    for trust in ("off", "on"):
        scene.set_vf(2, f"trust {trust}")
        scene.restart_vf(check, 2)
        scene.ns("vf2", "ip link set vf2 allmulticast off; ip link set vf2 allmulticast on", 20)
        time.sleep(0.5)
        seen[trust] = tuple(scene.arrived(scene.count_frames("vf2", lambda target=target: scene.ns(
            "vf0", f"frames send vf0 50 {target} {source} {TEST_ETHERTYPE}")), source)
            for target in (FOREIGN_GROUP, OTHER_MAC))
    scene.ns("vf2", "ip link set vf2 allmulticast off")
    scene.set_vf(2, "trust off")
    check.expect(seen == {"off": (0, 0), "on": (50, 0)},
                 "multicast of others with trust only, others' unicast never", seen)
    check.note("foreign multicast: 0 of 50 without trust, 50 with")


def check_state(scene, check):
    scene.set_vf(0, "state disable")
    down, seen = scene.guest.poll(scene.inside("vf0", "ip -br link show vf0"), "NO-CARRIER", 10)
    check.expect(down, "NO-CARRIER", seen)
    scene.expect_no_ping(check, "vf1", "10.0.0.1")
    scene.set_vf(0, "state auto")
    scene.restart_vf(check, 0)
    scene.expect_ping(check, "vf1", "10.0.0.1")
    check.note("down and silent, then up again")


def check_rate(scene, check):
    free = scene.iperf("vf0", "vf1", "10.0.0.2")
    scene.set_vf(0, f"max_tx_rate {RATE_MBPS}")
    bound = scene.iperf("vf0", "vf1", "10.0.0.2", seconds=3)
    scene.set_vf(0, "max_tx_rate 0")
    again = scene.iperf("vf0", "vf1", "10.0.0.2")
    rates = []
    for data in (free, bound, again):
        check.expect("error" not in data, "iperf3's result", data.get("error"))
        rates.append(data["end"]["sum_received"]["bits_per_second"] / 1e6)
    check.note(f"{rates[0]:.0f}, {rates[1]:.1f} (of {RATE_MBPS}), {rates[2]:.0f} Mbit/s",
               mbps=[round(rate, 1) for rate in rates])
    check.expect(RATE_MBPS * 0.5 <= rates[1] <= RATE_MBPS * 1.05,
                 f"one flow at {RATE_MBPS} Mbit/s at most", rates)
    check.expect(min(rates[0], rates[2]) > RATE_MBPS * 1.5, "more without a limit", rates)


def vf_statistics(scene, vf):
    """(received, sent) packets of `ip -s link show`."""
    text = scene.guest.must(f"ip -s link show {scene.pf}")
    part = text.split(f"vf {vf} ")[1].split("\n")
    return int(part[2].split()[1]), int(part[4].split()[1])


def check_counters(scene, check):
    source, target = scene.mac("vf0"), scene.mac("vf1")
    time.sleep(3)  # ixgbe's service task
    before, card = vf_statistics(scene, 1), scene.vf_counts(1)["rx_frames"]
    scene.ns("vf0", f"frames send vf0 500 {target} {source} {TEST_ETHERTYPE}")
    end = time.monotonic() + 8
    rise = 0
    while rise < 500 and time.monotonic() < end:
        time.sleep(0.3)
        rise = vf_statistics(scene, 1)[0] - before[0]
    card = scene.vf_counts(1)["rx_frames"] - card
    check.expect(500 <= rise <= card, "500 and no more than the card counted", (rise, card))
    check.note(f"{rise} packets, the card says {card}")


def check_mac_change(scene, check):
    said = scene.ns("vf0", f"ip link set vf0 address {OTHER_MAC}")
    check.expect(said.code != 0, "VF 0, whose MAC the administrator set, refused", said)
    said = scene.ns("vf3", f"ip link set vf3 address {OTHER_MAC}")
    check.expect(said.code == 0, "VF 3's own choice honoured", said)
    scene.ns("vf1", "ip neigh flush all")
    scene.expect_ping(check, "vf1", "10.0.0.4")
    seen = scene.ns("vf1", "ip neigh show 10.0.0.4").output
    check.expect(OTHER_MAC in seen, f"{OTHER_MAC} at the far end", seen)
    scene.restart_vf(check, 0)
    scene.expect_ping(check, "vf1", "10.0.0.1")
    check.note("refused where an administrator set it")


def check_vf_selftest(scene, check):
    text = scene.ns("vf3", "ethtool -t vf3 offline", 60).output
    check.expect("result is PASS" in text, "PASS on the VF", text)
    scene.wait_link(check, "vf3", "vf3")
    text = scene.guest.run(f"ethtool -t {scene.pf} offline", 30).output
    check.expect("result is FAIL" in text, "FAIL on the PF, by ixgbe's design", text)
    said = scene.guest.must("dmesg | tail -30")
    check.expect("offline diagnostic is not supported when VFs are present" in said,
                 "ixgbe's reason", said)
    check.note("VF: PASS; PF: refused while VFs are there")


CHECKS = (
    ("ip link set vf: mac", check_mac),
    ("ip link set vf: vlan, qos", check_vlan),
    ("ip link set vf: spoofchk", check_spoof),
    ("ip link set vf: trust", check_trust),
    ("ip link set vf: state", check_state),
    ("ip link set vf: max_tx_rate", check_rate),
    ("ip -s link show tells the truth", check_counters),
    ("guest's MAC change, refused and honoured", check_mac_change),
    ("ethtool -t on a VF, refused on the PF", check_vf_selftest),
)

# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: what the VM's administrator says of a VF takes effect on real frames."""

import re
import time

from chassis_scene import BROADCAST, UPLINK

RATE_MBPS = 40
FLOWS = 8  # so many that each of two queues has some, but once in 128 times
FRAMES = 50
UNSEEN = 3
SPOOFED_MAC = "02:de:ad:be:ef:01"
ADMIN_MAC = "02:11:22:33:44:00"
OTHER_MAC, TRUSTED_MAC = "02:99:88:77:66:55", "02:99:88:77:66:01"
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
    if scene.far_end:  # on the wire: the priority in the tag of a frame to everybody
        source = scene.mac("vf0")
        lines = scene.heard((UPLINK,), lambda: scene.send("vf0", 3, BROADCAST, source))[UPLINK]
        count = scene.arrived(lines, source, "20/3")
        check.expect(count == 3, "3 frames with VLAN 20, priority 3, on the uplink", lines)
    for vf in (0, 1):
        scene.set_vf(vf, "vlan 0")
        scene.restart_vf(check, vf)
    scene.expect_ping(check, "vf0", "10.0.0.3")
    check.note(f"VLAN 20 apart, tag with priority 3 on the uplink; RTT {rtt:.2f} ms")


def check_spoof(scene, check):
    target = scene.mac("vf1")

    def arrived():
        heard = scene.heard(("vf1",), lambda: scene.send("vf0", FRAMES, target, SPOOFED_MAC))
        return scene.arrived(heard["vf1"], SPOOFED_MAC)
    before = scene.vf_counts(0)["tx_spoof_drops"]
    with_check = arrived()
    drops = scene.vf_counts(0)["tx_spoof_drops"] - before
    scene.set_vf(0, "spoofchk off")
    without = arrived()
    scene.set_vf(0, "spoofchk on")
    again = arrived()
    check.expect((with_check, drops, without, again) == (0, FRAMES, FRAMES, 0),
                 f"none with it, {FRAMES} counted, all without, none with it again",
                 (with_check, drops, without, again))
    # ixgbe looks every 2 s.
    end = time.monotonic() + 6
    told = 0
    while told < 2 * FRAMES and time.monotonic() < end:
        time.sleep(0.3)
        text = scene.guest.must("dmesg")
        told = sum(map(int, re.findall(r"(\d+) Spoofed packets detected", text)))
    check.expect(told == 2 * FRAMES, f"ixgbe to report {2 * FRAMES}", told)
    check.note(f"{FRAMES} dropped and reported by ixgbe; {FRAMES} arrive without")


def check_trust(scene, check):
    """A VF hears all multicast only when it is trusted.

    An 82599 has no unicast promiscuous mode for VFs: ixgbe refuses that even to a trusted one.
    """
    source = scene.mac("vf0")

    def arrived(target):
        heard = scene.heard(("vf2",), lambda: scene.send("vf0", FRAMES, target, source))
        return scene.arrived(heard["vf2"], source)
    seen = {}
    for trust in ("off", "on"):
        scene.set_vf(2, f"trust {trust}")
        scene.restart_vf(check, 2)
        scene.ns("vf2", "ip link set vf2 allmulticast off; ip link set vf2 allmulticast on", 20)
        time.sleep(0.5)
        seen[trust] = [arrived(FOREIGN_GROUP)]
        scene.ns("vf2", "ip link set vf2 promisc on", 20)
        time.sleep(0.5)
        seen[trust].append(arrived(OTHER_MAC))
        scene.ns("vf2", "ip link set vf2 promisc off; ip link set vf2 allmulticast off")
    scene.set_vf(2, "trust off")
    check.expect(seen == {"off": [0, 0], "on": [FRAMES, 0]},
                 "multicast of others with trust only, others' unicast never", seen)
    check.note(f"allmulti: 0 of {FRAMES} without trust, {FRAMES} with; promisc: refused by ixgbe "
               "on an 82599")


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
    """ixgbe programs each queue with the rate: so much for a flow, twice that for two queues."""
    def mbps(flows=1, seconds=2):
        data = scene.iperf("vf0", "vf1", "10.0.0.2", f"-P {flows}", seconds)
        check.expect("error" not in data, "iperf3's result", data.get("error"))
        return data["end"]["sum_received"]["bits_per_second"] / 1e6

    def queues():
        text = scene.ns("vf0", "ethtool -S vf0").output
        return [int(count) for count in re.findall(r"tx_queue_\d+_packets: (\d+)", text)]
    free = mbps()
    scene.set_vf(0, f"max_tx_rate {RATE_MBPS}")
    one = mbps(seconds=3)
    before = queues()
    many = mbps(FLOWS, 3)
    used = [after - first > 100 for after, first in zip(queues(), before)].count(True)
    scene.set_vf(0, "max_tx_rate 0")
    again = mbps()
    check.note(f"{free:.0f} Mbit/s; one flow {one:.1f} of {RATE_MBPS}, {FLOWS} on {used} queues "
               f"{many:.1f}; {again:.0f}", mbps=[round(v, 1) for v in (free, one, many, again)],
               queues=used)
    check.expect(RATE_MBPS * 0.5 <= one <= RATE_MBPS * 1.05,
                 f"one flow at {RATE_MBPS} Mbit/s at most", one)
    check.expect(len(before) == scene.cpus, f"{scene.cpus} queues", before)
    check.expect(RATE_MBPS * 0.5 * used <= many <= RATE_MBPS * 1.05 * used,
                 f"{RATE_MBPS} Mbit/s for each of {used} queues", many)
    check.expect(used == scene.cpus, f"{scene.cpus} queues at work", used)
    check.expect(min(free, again) > RATE_MBPS * 1.5, "more without a limit", (free, again))


def vf_statistics(scene, vf):
    """(received, sent) packets of `ip -s link show`."""
    text = scene.guest.must(f"ip -s link show {scene.pf}")
    part = text.split(f"vf {vf} ")[1].split("\n")
    return int(part[2].split()[1]), int(part[4].split()[1])


def check_counters(scene, check):
    """Polled: ixgbe reads the card's counters about every 2 s.

    Before that it may not have seen a frame or two (of IPv6, say) that the card has.
    """
    target = scene.mac("vf1")

    def card(field, vf):
        return scene.vf_counts(vf)[f"{field}_frames"]
    time.sleep(3)
    before = vf_statistics(scene, 1)[0], vf_statistics(scene, 0)[1]
    counted = card("rx", 1), card("tx", 0)
    scene.send("vf0", 500, target)
    end = time.monotonic() + 8
    rise = (0, 0)
    while min(rise) < 500 and time.monotonic() < end:
        time.sleep(0.3)
        rise = (vf_statistics(scene, 1)[0] - before[0], vf_statistics(scene, 0)[1] - before[1])
    counted = card("rx", 1) - counted[0], card("tx", 0) - counted[1]
    check.expect(all(500 <= seen <= there + UNSEEN for seen, there in zip(rise, counted)),
                 "500 received and sent, and no more than the card counted", (rise, counted))
    check.note(f"{rise[0]} received by VF 1, {rise[1]} sent by VF 0; the card says {counted[0]}, "
               f"{counted[1]}")


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
    scene.set_vf(0, "trust on")
    scene.restart_vf(check, 0)
    said = scene.ns("vf0", f"ip link set vf0 address {TRUSTED_MAC}")
    check.expect(said.code == 0, "VF 0's own choice honoured once it is trusted", said)
    scene.ns("vf1", "ip neigh flush all")
    scene.expect_ping(check, "vf1", "10.0.0.1")
    seen = scene.ns("vf1", "ip neigh show 10.0.0.1").output
    check.expect(TRUSTED_MAC in seen, f"{TRUSTED_MAC} at the far end", seen)
    scene.set_vf(0, "trust off")
    scene.set_vf(0, f"mac {ADMIN_MAC}")
    scene.restart_vf(check, 0)
    check.note("refused where an administrator set it, unless the VF is trusted")


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

# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: the card and its physical function, as the VM's stock kernel and tools see them."""

import re

from chassis import PF, SYS_PF


def check_lspci(scene, check):
    text = scene.guest.must("lspci -vvv -D -s 0001:00:00.0")
    for wanted in ("PCI bridge", "Root Port", "ARIFwd", "Access Control Services"):
        check.expect(wanted in text, f"{wanted} in lspci of the root port", text)
    check.expect("ARIFwd+" in text, "ARI forwarding enabled", text)
    text = scene.guest.must(f"lspci -vvv -D -s {PF}")
    for wanted in (r"\[160 v1\] Single Root I/O Virtualization", r"\[150 v1\] Alternative",
                   r"\[100 v1\] Advanced Error", r"\[140 v1\] Device Serial",
                   r"Total VFs: 64", r"ARIHierarchy\+", r"\[70\] MSI-X: .*Count=64"):
        check.expect(re.search(wanted, text), f"/{wanted}/ in lspci of the PF", text)
    check.note("ARI, ACS, SR-IOV, AER, DSN")


def check_driver(scene, check):
    driver = scene.guest.must(f"basename $(readlink -f {SYS_PF}/driver)").strip()
    check.expect(driver == "ixgbe", "ixgbe", driver)
    text = scene.guest.must("dmesg | grep ixgbe")
    found = re.search(r"MAC: 2, PHY: \d+, SFP\+: \d+, PBA No: (\S+)", text)
    check.expect(found, "MAC, PHY, SFP+ and PBA number", text)
    check.expect(not re.search("checksum|failed|error", text, re.IGNORECASE),
                 "no complaint", text)
    check.note(f"SFP+, PBA {found.group(1)}", pba=found.group(1))


def check_link(scene, check):
    scene.guest.must(f"ip addr add 10.0.0.100/24 dev {scene.pf}; ip link set {scene.pf} up")
    scene.wait_link(check, None, scene.pf)
    text = scene.guest.must(f"ethtool {scene.pf}")
    speed = re.search(r"Speed: (\d+)Mb/s", text)
    check.expect(speed and speed.group(1) == "10000", "10000Mb/s", text)
    check.note("10 Gbit/s", mbps=10000)


def check_ethtool(scene, check):
    for option, wanted in (("-i", f"bus-info: {PF}"), ("-S", "rx_packets"),
                           ("-k", "tcp-segmentation-offload: on"),
                           ("-m", "10G Ethernet: 10G Base-SR")):
        text = scene.guest.must(f"ethtool {option} {scene.pf}")
        check.expect(wanted in text, f"{wanted} in ethtool {option}", text)
    check.note("all answer")


def check_pf_selftest(scene, check):
    text = scene.guest.run(f"ethtool -t {scene.pf} offline", 60).output
    results = re.findall(r"(\w+ test)\s+\((?:on/)?offline\)\s+(\d+)", text)
    check.expect("result is PASS" in text and len(results) == 5 and
                 all(value == "0" for _, value in results), "five sub-tests with 0", text)
    scene.wait_link(check, None, scene.pf)
    check.note(", ".join(name.split()[0].lower() for name, _ in results))


CHECKS = (
    ("lspci -vvv: root port and PF", check_lspci),
    ("stock ixgbe binds, SFP+ and EEPROM", check_driver),
    ("link up", check_link),
    ("ethtool -i -S -k -m", check_ethtool),
    ("ethtool -t offline on the PF", check_pf_selftest),
)

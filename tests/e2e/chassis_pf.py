# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: the card and its physical function, as the VM's stock kernel and tools see them."""

import re

from chassis import PF, SYS_PF
from chassis_scene import PF_ADDRESS

# Of the EEPROM: the word with the checksum, what all words sum up to, the words that point to
# sections which count as well.
CHECKSUM_WORD, CHECKSUM = 0x3f, 0xbaba
FIRST_SECTION, LAST_SECTION = 0x03, 0x0e
MODULE_SFP = 0x03


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
    scene.guest.must(f"ip addr add {PF_ADDRESS}/24 dev {scene.pf}; ip link set {scene.pf} up")
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


def dump(scene, option, offset, length):
    """Bytes that `ethtool -e` or `-m` shows."""
    text = scene.guest.must(f"ethtool {option} {scene.pf} offset {offset} length {length}", 20)
    return bytes.fromhex("".join(re.findall(r"(?m)^0x[0-9a-f]+:?\s+(.*)$", text)))


def check_eeproms(scene, check):
    """The checksums that a driver cannot do without: the card's (82599 6.4.5) and the module's."""
    def words(first, count):
        data = dump(scene, "-e", 2 * first, 2 * count)
        return [data[at] | data[at + 1] << 8 for at in range(0, 2 * count, 2)]
    head = words(0, CHECKSUM_WORD + 1)
    total = sum(head[:CHECKSUM_WORD])
    sections = 0
    for pointer in head[FIRST_SECTION:LAST_SECTION + 1]:
        length = words(pointer, 1)[0] if pointer not in (0, 0xffff) else 0
        if length not in (0, 0xffff):
            total += sum(words(pointer + 1, length))
            sections += 1
    wanted = (CHECKSUM - total) & 0xffff
    check.expect(head[CHECKSUM_WORD] == wanted, f"the EEPROM's checksum {wanted:04x}",
                 f"{head[CHECKSUM_WORD]:04x}")
    module = dump(scene, "-m", 0, 128)
    check.expect(len(module) == 128 and module[0] == MODULE_SFP, "an SFP module's EEPROM", module)
    for first, last in ((0, 63), (64, 95)):  # SFF-8472: CC_BASE, CC_EXT
        total = sum(module[first:last]) & 0xff
        check.expect(module[last] == total, f"{total:02x} in byte {last} of the module's",
                     f"{module[last]:02x}")
    vendor = module[20:36].decode(errors="replace").strip()
    check.note(f"checksum {wanted:04x} over {sections} sections; SFP+ by {vendor}, its two right")


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
    ("EEPROM and SFP+ checksums", check_eeproms),
    ("ethtool -t offline on the PF", check_pf_selftest),
)

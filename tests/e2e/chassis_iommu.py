# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: the IOMMU that the VM's kernel programs, in each of its modes, and VFIO."""

import re

from chassis import PF, VFS
from chassis_vfs import per_packet

STRAY_IOVA = 0x12345000
STRAY_VFS = (0, 2)
UNIT = "/sys/class/iommu/dmar0/intel-iommu"
# {mode: (what dmesg says, the groups' type)}
MODES = {"iommu=pt": ("Passthrough", "identity"),
         "iommu.strict=1": ("DMA-strict|strict mode", "DMA"),
         "iommu.strict=0": ("lazy|Lazy", "DMA-FQ")}


def bits(register, last, first):
    return register >> first & (1 << last - first + 1) - 1


def check_unit(scene, check):
    """What the kernel found in the unit's capability registers (VT-d 10.4.2, 10.4.3)."""
    cap, ecap = (int(scene.guest.must(f"cat {UNIT}/{name}"), 16) for name in ("cap", "ecap"))
    seen = {"caching mode": bits(cap, 7, 7), "superpages": bits(cap, 37, 34),
            "page-selective invalidation": bits(cap, 39, 39),
            "fault records": bits(cap, 47, 40) + 1,
            "queued invalidation": bits(ecap, 1, 1)}
    check.expect(seen["caching mode"] == 0 and seen["superpages"] == 3 and
                 seen["page-selective invalidation"] and seen["fault records"] > 1 and
                 seen["queued invalidation"], "no caching mode, and all of the others", seen)
    text = scene.guest.must("dmesg")
    check.expect("Using Queued invalidation" in text, "Linux to use queued invalidation", "not so")
    check.note(f"queued and page-selective invalidation, 2 MiB and 1 GiB pages, "
               f"{seen['fault records']} fault records, caching mode off", **seen)


def check_stray_dma(scene, check):
    """Two VFs without a driver read what nobody gave them."""
    before = scene.cycles()["cycles"]["iommu_interrupts"]
    reasons = []
    for vf in STRAY_VFS:
        device, iova = f"0001:01:10.{2 * vf}", STRAY_IOVA + 0x1000 * vf
        scene.guest.must(f"ip netns del vf{vf}; sleep 0.5; "
                         f"printf {device} >/sys/bus/pci/drivers/ixgbevf/unbind", 20)
        said = scene.guest.run(f"vfdma {device} {iova:#x}", 20)
        wanted = (rf"\[01:10\.{2 * vf}\] fault addr {iova:#x} "
                  r"\[fault reason (0x[0-9a-f]+)\]")
        named, text = scene.guest.poll("dmesg | tail -20", wanted, 5)
        check.expect(named, f"/{wanted}/ in dmesg", f"{said}\n{text}")
        check.expect("head 0" in said.output, "a transmit queue that stands still", said)
        reasons.append(re.search(wanted, text).group(1))
    rise = scene.cycles()["cycles"]["iommu_interrupts"] - before
    check.expect(rise >= len(STRAY_VFS), "a fault interrupt each", rise)
    scene.expect_ping(check, "vf3", "10.0.0.2")
    check.note(f"DMAR names 01:10.0 and 01:10.4, reason {reasons[0]}; the others go on")


def check_vfio(scene, check):
    scene.drop_namespaces()
    for vf in range(VFS):
        device = f"0001:01:10.{2 * vf}"
        path = f"/sys/bus/pci/devices/{device}"
        scene.guest.run(f"printf {device} >{path}/driver/unbind 2>/dev/null; "
                        f"printf vfio-pci >{path}/driver_override; "
                        f"printf {device} >/sys/bus/pci/drivers_probe", 20)
        driver = scene.guest.must(f"basename $(readlink -f {path}/driver)").strip()
        check.expect(driver == "vfio-pci", f"vfio-pci on {device}", driver)
    groups = scene.guest.must("ls /dev/vfio").split()
    check.expect(len(groups) == VFS + 1, f"{VFS} groups in /dev/vfio", groups)
    # Back to the kernel's driver.
    for vf in range(VFS):
        device = f"0001:01:10.{2 * vf}"
        path = f"/sys/bus/pci/devices/{device}"
        scene.guest.must(f"printf {device} >{path}/driver/unbind; echo >{path}/driver_override; "
                         f"printf {device} >/sys/bus/pci/drivers_probe", 20)
    scene.vfs_up(check)
    scene.expect_ping(check, "vf0", "10.0.0.3")
    check.note(f"/dev/vfio has {', '.join(g for g in groups if g != 'vfio')}; and back to ixgbevf")


def check_mode(scene, check, option):
    """A new guest with another setting: what Linux says, and what it writes to the unit."""
    wanted, kind = MODES[option]
    scene.new_guest(check, f"host-{option.replace('=', '-')}", option)
    text = scene.guest.must("dmesg | grep -i iommu")
    check.expect(re.search(wanted, text), f"/{wanted}/ in dmesg", text)
    rtt = scene.bring_up(check)
    for device in (PF, "0001:01:10.0"):
        seen = scene.guest.must(f"cat /sys/bus/pci/devices/{device}/iommu_group/type").strip()
        check.expect(seen == kind, f"'{kind}' as the type of {device}'s group", seen)
    before = scene.cycles()
    data = scene.iperf("vf0", "vf1", "10.0.0.2")
    check.expect("error" not in data, "iperf3's result", data.get("error"))
    _, per = per_packet(before, scene.cycles())
    writes = per["iommu_writes"]
    # Strict: an invalidation for each buffer, before it is used again. Lazy: now and then.
    right = {"identity": writes == 0, "DMA": writes > 0.05, "DMA-FQ": 0 < writes < 0.05}[kind]
    check.expect(right, f"as many invalidations as '{kind}' makes", f"{writes} for each packet")
    gbps = data["end"]["sum_received"]["bits_per_second"] / 1e9
    check.note(f"RTT {rtt:.2f} ms, TCP {gbps:.2f} Gbit/s, IOMMU writes for each packet "
               f"{writes:.3f}", gbps=round(gbps, 3), iommu_writes_per_packet=writes)


CHECKS = (
    ("stray DMA is blocked and named", check_stray_dma),
    ("vfio-pci takes the VFs", check_vfio),
)
UNIT_CHECKS = (("the unit that Linux programs", check_unit),)
MODE_CHECKS = tuple(
    (option, lambda scene, check, option=option: check_mode(scene, check, option))
    for option in MODES)

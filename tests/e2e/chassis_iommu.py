# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: the IOMMU that the VM's kernel programs, in each of its modes, and VFIO."""

import re
import time

from chassis import VFS

STRAY_IOVA = 0x12345000
FAULT = r"\[01:10\.0\] fault addr 0x12345000 \[fault reason (0x[0-9a-f]+)\]"
# The other SR-IOV card that a VM can have, for comparison.
IGB = ("-device", "pcie-root-port,id=igbport,chassis=9,slot=9", "-netdev", "hubport,id=h0,hubid=0",
       "-device", "igb,bus=igbport,netdev=h0")


def check_stray_dma(scene, check):
    scene.guest.must("ip netns del vf0; sleep 0.5; printf 0001:01:10.0 >"
                    "/sys/bus/pci/drivers/ixgbevf/unbind", 20)
    before = scene.cycles()["cycles"]["iommu_interrupts"]
    said = scene.guest.run(f"vfdma 0001:01:10.0 {STRAY_IOVA:#x}", 20)
    named, text = scene.guest.poll("dmesg | tail -20", FAULT, 5)
    rise = scene.cycles()["cycles"]["iommu_interrupts"] - before
    check.expect(named, f"/{FAULT}/ in dmesg", f"{said}\n{text}")
    check.expect(rise >= 1, "a fault interrupt", rise)
    scene.expect_ping(check, "vf2", "10.0.0.2")
    reason = re.search(FAULT, text).group(1)
    check.note(f"DMAR names 01:10.0, reason {reason}; the others go on")


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
    check.note(f"/dev/vfio has {', '.join(g for g in groups if g != 'vfio')}")


def check_other_boot(scene, check, cmdline, wanted, extra=()):
    """Another guest on the same daemon, with other IOMMU settings."""
    scene.complaints(check)
    scene.guest.start("poweroff -f")
    end = time.monotonic() + 20
    while scene.machine.process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    check.expect(scene.machine.process.poll() is not None, "QEMU to end", "it runs on")
    scene.machine.stop()
    scene.start_machine(f"host-{cmdline.replace('=', '-')}", cmdline, extra)
    scene.wait_boot(check)
    text = scene.guest.must("dmesg | grep -i iommu")
    check.expect(re.search(wanted, text), f"/{wanted}/ in dmesg", text)
    rtt = scene.bring_up(check)
    data = scene.iperf("vf0", "vf1", "10.0.0.2")
    check.expect("error" not in data, "iperf3's result", data.get("error"))
    gbps = data["end"]["sum_received"]["bits_per_second"] / 1e9
    check.note(f"RTT {rtt:.2f} ms, TCP VF to VF {gbps:.2f} Gbit/s", gbps=round(gbps, 3))


CHECKS = (
    ("stray DMA is blocked and named", check_stray_dma),
    ("vfio-pci takes the VFs", check_vfio),
)
MODES = (
    ("iommu=pt",
     lambda scene, check: check_other_boot(scene, check, "iommu=pt", "Passthrough")),
    ("iommu.strict=1",
     lambda scene, check: check_other_boot(scene, check, "iommu.strict=1",
                                           "DMA-strict|strict mode")),
    ("power-off, new guest, lazy mode",
     lambda scene, check: check_other_boot(scene, check, "iommu.strict=0", "lazy|Lazy", IGB)),
)

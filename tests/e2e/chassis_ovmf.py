#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode under OVMF: what docs/chassis.md tells to do there, done.

A group of demo_chassis.py, and a program for other firmware and sizes of memory.

Usage: chassis_ovmf.py [--json FILE] [--config FILE] [--vireod FILE] [--newer-kernel]
                       [--memory MIB] [--firmware DIR]
Exit: 0 all passed (or skipped: no OVMF there), 1 something failed, 2 it could not be tried.
"""

import contextlib
import re
import shutil
import sys
import time
from pathlib import Path

import chassis
import process
import program
from scene import ping_figures

# Debian's package ovmf, by age: the 2 MiB images are gone from newer ones.
FIRMWARE = (("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), ("OVMF_CODE.fd", "OVMF_VARS.fd"))
OWN_FIRMWARE = program.CACHE / "ovmf/root/usr/share/OVMF"
PLACED = r"placed the carrier's BAR at ([0-9a-f]{8}), and the ACPI tables say ([0-9a-f]{8})"
FOUND = r"has found segment 1 at ([0-9a-f]{8})"
PLACE_LIMIT_S = 90
BOOT_LIMIT_S = 120
LINK_LIMIT_S = 20


def find_firmware(folder):
    for code, variables in FIRMWARE:
        if (folder / code).exists():
            return folder / code, folder / variables
    return None


class OvmfMachine(chassis.HostMachine):
    """The VM with another firmware, which starts the kernel as an EFI program."""

    firmware = None

    def command(self, vf_socket, cpus=1):
        code, variables = self.firmware
        own = self.run_dir / f"{self.name}.vars"
        shutil.copyfile(variables, own)
        return super().command(vf_socket, cpus) + [
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}",
            "-drive", f"if=pflash,unit=1,format=raw,file={own}"]


class Setup(chassis.Setup):
    """The kernel as its package has it: OVMF starts no ELF file."""

    def __init__(self, cache, run_dir, say=lambda text: None, kernel_link="guest"):
        super().__init__(cache, run_dir, say, kernel_link)
        self.kernel = self.bzimage


class OvmfScene:
    """`folder` has OVMF's files."""

    def __init__(self, report, setup, args, run_dir, folder, memory_mib=chassis.MEMORY_MIB):
        self.report, self.setup, self.args, self.run_dir = report, setup, args, run_dir
        self.folder, self.firmware = folder, find_firmware(folder)
        self.memory_mib = memory_mib
        self.stack = contextlib.ExitStack()
        self.daemon = self.machine = self.guest = None

    def run(self):
        if not self.firmware:
            self.report.check("the whole group", lambda check: check.skip(
                f"no OVMF in {self.folder}: scripts/setup chassis fetches it"))
            return
        with self.stack:
            if not self.report.check("the place that OVMF chooses is named", self.check_place,
                                     self.logs):
                return
            for name, function in (("segment 1 is there", self.check_boot),
                                   ("stock ixgbe binds", self.check_driver),
                                   ("VFs in IOMMU groups, and ping", self.check_vfs),
                                   ("vireod ends cleanly", self.check_end)):
                if not self.report.check(name, function, self.logs):
                    return

    def logs(self):
        if not self.daemon:
            return []
        lines = process.tail(self.daemon.log, 8)
        return lines + process.tail(self.machine.qemu_log, 5) + process.tail(
            self.machine.serial_log, 10)

    def start(self, name, options):
        folder = self.run_dir / name
        folder.mkdir()
        self.daemon = chassis.ChassisDaemon(self.args.vireod, folder, self.args.config.read_text())
        self.daemon.options = (*chassis.ChassisDaemon.options, *options)
        self.stack.callback(self.daemon.stop)
        self.daemon.start()
        self.machine = OvmfMachine(self.setup, folder, name)
        self.machine.firmware = self.firmware
        self.machine.memory_mib = self.memory_mib
        self.machine.cmdline = f"{chassis.CMDLINE} intel_iommu=on"
        self.stack.callback(self.machine.stop)
        self.guest = self.machine.start(self.daemon.socket_path())

    def check_place(self, check):
        """With the default base: either it is the right one, or the log says which is."""
        self.start("first", ())
        end = time.monotonic() + PLACE_LIMIT_S
        wrong, right = [], []
        while not wrong and not right and time.monotonic() < end:
            time.sleep(0.2)
            wrong, right = self.daemon.log_lines(PLACED), self.daemon.log_lines(FOUND)
        check.expect(wrong or right, f"/{PLACED}/ or /{FOUND}/ in vireod's log",
                     process.tail(self.daemon.log, 5))
        if right:
            check.note(f"the default, {re.search(FOUND, right[0]).group(1)}, with "
                       f"{self.memory_mib} MiB")
            return
        base = re.search(PLACED, wrong[0]).group(1)
        self.machine.stop()
        self.daemon.stop()
        self.start("second", ("--chassis-base", base))
        check.note(f"{base} with {self.memory_mib} MiB: started with --chassis-base {base}")

    def check_boot(self, check):
        failure = self.machine.wait_up(BOOT_LIMIT_S)
        check.expect(not failure, "the VM to boot", failure)
        text = self.guest.must("lspci -D -n; dmesg | grep -i 'EFI v'")
        check.expect("0001:00:00.0" in text and f"{chassis.PF} 0200: 8086:10fb" in text,
                     "root port and PF in segment 1", text)
        check.expect("EDK II" in text, "OVMF to have started the kernel", text)
        check.note(f"Linux {self.setup.kernel_version}")

    def check_driver(self, check):
        path = f"/sys/bus/pci/devices/{chassis.PF}"
        found, text = self.guest.poll(f"ls {path}/net", r"\w", LINK_LIMIT_S)
        check.expect(found, "ixgbe's interface", text)
        name = text.split()[0]
        self.guest.must(f"ip addr add 10.0.0.100/24 dev {name}; ip link set {name} up")
        self.wait_link(check, "", name)
        check.note("link up")

    def wait_link(self, check, prefix, name):
        up, text = self.guest.poll(f"{prefix} ip link show {name}", "LOWER_UP", LINK_LIMIT_S)
        check.expect(up, f"link of {name}", text)

    def check_vfs(self, check):
        path = f"/sys/bus/pci/devices/{chassis.PF}"
        self.guest.must(f"printf 2 >{path}/sriov_numvfs", 40)
        self.guest.must(
            f"for i in 0 1; do ip netns add vf$i; V=$(ls {path}/virtfn$i/net); "
            "ip link set $V netns vf$i; ip netns exec vf$i sh -c \"ip link set $V name v; "
            "ip addr add 10.0.0.$((i + 1))/24 dev v; ip link set v up\"; done", 40)
        rtts = []
        for number, address in ((0, "10.0.0.2"), (1, "10.0.0.100")):
            self.wait_link(check, f"ip netns exec vf{number}", "v")
            output = self.guest.run(f"ip netns exec vf{number} ping -c 5 -i 0.2 -W 2 {address}",
                                    20).output
            lost, rtt = ping_figures(output)
            check.expect(lost == 0, f"{address} to answer", output)
            rtts.append(rtt)
        groups = self.guest.must("ls -d /sys/kernel/iommu_groups/*/devices/0001:01:10.*").split()
        check.expect(len({group.split("/")[4] for group in groups}) == 2, "a group each", groups)
        faults = self.guest.run("dmesg | grep 'fault addr'").output
        check.expect(not faults.strip(), "no DMA fault", faults)
        check.note(f"RTT {rtts[0]:.2f} and {rtts[1]:.2f} ms")

    def check_end(self, check):
        self.machine.stop()
        code = self.daemon.stop()
        check.expect(code == 0, "exit 0 after SIGTERM", code)
        check.note("exit 0")


def run_scene(args, report):
    with process.run_directory() as run_dir:
        setup = program.describe(report, Setup(program.CACHE, run_dir, report.say,
                                               args.kernel_link), "guest")
        report.start_group("ovmf", "== the VM's firmware is OVMF")
        OvmfScene(report, setup, args, run_dir, args.firmware, args.memory).run()


def main():
    parser = program.arguments("Chassis mode under OVMF, checked.", newer_kernel=True)
    parser.add_argument("--memory", type=int, default=chassis.MEMORY_MIB, metavar="MIB")
    parser.add_argument("--firmware", type=Path, metavar="DIR", default=OWN_FIRMWARE)
    return program.run("chassis-ovmf", parser.parse_args(), run_scene)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: BSD-3-Clause
"""A VM inside the VM: QEMU in the chassis VM gives one VF to a guest of its own, through vfio-pci.

Usage: nested.py [--json FILE] [--transcript FILE] [--newer-kernel] [--config FILE] [--vireod FILE]
Exit: 0 all passed, 1 something failed, 2 it could not be tried.
"""

import functools
import re
import subprocess
import sys
import time
from pathlib import Path

import chassis
import chassis_pf
import chassis_vfs
import initramfs
import process
import program
import qemu
from chassis import SYS_PF
from chassis_scene import HostScene
from scene import ping_figures

# Under emulation inside emulation, what takes 3 s for a guest takes minutes.
BOOT_LIMIT_S = 600
PING_LIMIT_S = 120
FILE_LIMIT_S = 120
END_LIMIT_S = 60
QEMU_LIMIT_S = BOOT_LIMIT_S + PING_LIMIT_S + FILE_LIMIT_S + END_LIMIT_S
HOST_MEMORY_MIB = 2048
FILE_KIB = 256
VF = "0001:01:10.0"
MAC = "02:11:22:33:44:01"
CONSOLE = "/tmp/nested.console"
PLACE = "nested"  # of QEMU, its libraries and the inner guest, in the host VM's initramfs
FIRMWARE = ("bios-256k.bin", "pvh.bin", "linuxboot_dma.bin", "kvmvapic.bin")
INNER_CMDLINE = ("console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable cryptomgr.notests "
                 "no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1")
INNER_QEMU = ("-nodefaults -no-user-config -display none -no-reboot -machine q35 -cpu qemu64 "
              "-accel tcg,tb-size=128 -m 192 "
              f"-kernel /{PLACE}/vmlinux -initrd /{PLACE}/initrd -append '{INNER_CMDLINE}' "
              f"-serial file:{CONSOLE} -device vfio-pci,host={VF},rombar=0")


def inner_initramfs(kernel_root, guest_root):
    """The inner guest's: busybox, ixgbevf and its first process."""
    cpio = initramfs.Cpio()
    for folder in ("dev", "proc", "sys", "tmp", "bin", "modules"):
        cpio.add(folder, 0o040755)
    cpio.add("dev/console", 0o020600, device=(5, 1))
    busybox = initramfs.find_in(guest_root, initramfs.BIN_DIRS, "busybox")
    cpio.file("bin/busybox", busybox, 0o755)
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    for name in applets.stdout.split():
        if name != "busybox":
            cpio.link(f"bin/{name}", "busybox")
    modules = initramfs.modules_in_load_order(kernel_root, ("ixgbevf",))
    for name, data in modules:
        cpio.file(f"modules/{name}", data)
    cpio.file("modules.list", "".join(f"/modules/{name}\n" for name, _ in modules).encode())
    cpio.file("init", initramfs.HERE / "guest" / "nested-init", 0o755)
    return cpio.finish()


def qemu_files(emulator):
    """{name in the initramfs: (path, mode)} of a QEMU, its libraries and its firmware."""
    emulator = emulator.resolve()
    # scripts/setup's own is a script beside the tree that its packages were unpacked into.
    root = emulator.parent / "root"
    if root.is_dir():
        binary = root / "usr/bin/qemu-system-x86_64"
    else:
        root, binary = Path("/"), emulator
    with open(binary, "rb") as file:
        if file.read(4) != b"\x7fELF":
            raise qemu.QemuError(f"{binary} is no program that could run in the VM as well: "
                                 "let VIREO_QEMU name one")
    files = {f"{PLACE}/qemu": (binary, 0o755)}
    libraries = initramfs.needed_libraries(root, [binary])
    libraries[initramfs.LOADER] = initramfs.find_in(root, initramfs.LIB_DIRS, initramfs.LOADER)
    for name, path in libraries.items():
        files[f"{PLACE}/lib/{name}"] = (path, 0o755)
    for name in FIRMWARE:
        path = initramfs.find_in(root, ("usr/share/qemu", "usr/share/seabios"), name)
        files[f"{PLACE}/firmware/{name}"] = (path, 0o644)
    return files


class Setup(chassis.Setup):
    """A host VM that has a QEMU and a guest for it."""

    def __init__(self, cache, run_dir, say, kernel_link):
        super().__init__(cache, run_dir, say, kernel_link)
        kernel_root = (cache / kernel_link).resolve() / "root"
        inner = inner_initramfs(kernel_root, (cache / "guest").resolve() / "root")
        more = {**qemu_files(self.qemu), f"{PLACE}/vmlinux": (self.kernel, 0o644),
                f"{PLACE}/initrd": (inner, 0o644)}
        _, self.image = initramfs.build(cache, f"nested-{kernel_link}-initramfs", chassis.MODULES,
                                        None, kernel_link, more)


class NestedScene(HostScene):
    """The host VM's life as in the chassis demo; its VF 0 goes to a guest inside."""

    memory_mib = HOST_MEMORY_MIB

    def __init__(self, report, setup, args, run_dir):
        super().__init__(report, setup, args, run_dir)
        self.inner = None
        self.started = 0.0

    def list_checks(self):
        return [
            ("PF up", functools.partial(chassis_pf.check_link, self)),
            ("sriov_numvfs: stock ixgbevf binds", functools.partial(chassis_vfs.check_vfs, self)),
            ("vfio-pci takes VF 0", self.check_take),
            ("QEMU in the VM boots a guest with VF 0", self.check_inner_boot),
            ("the guest inside binds ixgbevf", self.check_inner_driver),
            ("the guest inside pings the PF", self.check_inner_ping),
            ("the PF and a VF of the host ping it", self.check_outer_ping),
            (f"{FILE_KIB} KiB file over TCP, SHA-256", self.check_file_inside),
            ("the guest inside ends", self.check_inner_end),
            ("VF 0 goes back to the host", self.check_back),
            ("no complaint from the kernel", self.check_complaints),
            ("vireod ends cleanly", self.check_end),
        ]

    def console(self):
        return self.guest.run(f"cat {CONSOLE} 2>/dev/null").output.replace("\r", "")

    def wait_console(self, check, wanted, limit_s):
        """The console's text, once it matches; ends early when the inner QEMU does."""
        end = time.monotonic() + limit_s
        text = ""
        while time.monotonic() < end:
            over = self.inner.done()
            text = self.console()
            if re.search(wanted, text):
                return text
            if over:
                check.expect(False, f"/{wanted}/ on the inner console",
                             f"QEMU ended: {self.inner.wait()}\n{text[-1500:]}")
            time.sleep(1)
        check.expect(False, f"/{wanted}/ on the inner console within {limit_s} s", text[-1500:])
        return text

    def check_take(self, check):
        path = f"/sys/bus/pci/devices/{VF}"
        # vfio-pci wants interrupt remapping, which QEMU's IOAPIC has none of, or this word. (insmod
        # reads no parameters from the kernel's command line.)
        self.guest.must("echo Y >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
        self.guest.must(f"ip netns del vf0; sleep 0.5; printf {VF} >{path}/driver/unbind; "
                        f"printf vfio-pci >{path}/driver_override; "
                        f"printf {VF} >/sys/bus/pci/drivers_probe", 20)
        self.set_vf(0, f"mac {MAC}")
        driver = self.guest.must(f"basename $(readlink -f {path}/driver)").strip()
        check.expect(driver == "vfio-pci", f"vfio-pci on {VF}", driver)
        group = self.guest.must(f"basename $(readlink -f {path}/iommu_group)").strip()
        check.note(f"/dev/vfio/{group}")

    def check_inner_boot(self, check):
        self.started = time.monotonic()
        command = (f"ulimit -l unlimited; exec /{PLACE}/lib/{initramfs.LOADER} "
                   f"--library-path /{PLACE}/lib /{PLACE}/qemu -L /{PLACE}/firmware {INNER_QEMU}")
        self.inner = self.guest.start(command, QEMU_LIMIT_S)
        text = self.wait_console(check, r"nested: Linux \S+ is up", BOOT_LIMIT_S)
        version = re.search(r"nested: Linux (\S+) is up", text).group(1)
        seconds = time.monotonic() - self.started
        check.note(f"Linux {version}, TCG in {self.setup.accel}, {seconds:.0f} s",
                   seconds=round(seconds, 1))

    def check_inner_driver(self, check):
        text = self.wait_console(check, r"nested: \S*, driver .*", PING_LIMIT_S)
        check.expect("0x8086 0x10ed" in text, "8086:10ed on the inner PCI bus", text)
        check.expect(re.search(r"nested: \S+, driver ixgbevf", text), "driver ixgbevf", text)
        check.expect(MAC in text, f"{MAC}, which the host's administrator set", text)
        check.note(f"8086:10ed, {MAC}")

    def check_inner_ping(self, check):
        text = self.wait_console(check, "nested: listening", PING_LIMIT_S)
        check.expect("LOWER_UP" in text, "the inner link up", text)
        lost, rtt = ping_figures(text)
        check.expect(lost == 0, "answers from 10.0.0.100", text)
        check.note(f"RTT {rtt:.1f} ms", rtt_ms=rtt)

    def check_outer_ping(self, check):
        rtts = []
        for name in (None, "vf1"):
            # The inner guest answers an emulated interrupt late, not never.
            output = self.ns(name, "ping -c 5 -i 0.5 -W 10 10.0.0.1", 60).output
            lost, rtt = ping_figures(output)
            check.expect(lost == 0, f"answers to {name or 'the PF'}", output)
            rtts.append(rtt)
        check.note(f"RTT {rtts[0]:.1f} and {rtts[1]:.1f} ms")

    def check_file_inside(self, check):
        self.guest.must(f"dd if=/dev/urandom of=/tmp/file bs=1024 count={FILE_KIB} 2>/dev/null")
        wanted = self.guest.must("sha256sum </tmp/file").split()[0]
        start = time.monotonic()
        said = self.guest.run("nc 10.0.0.1 5000 </tmp/file", FILE_LIMIT_S)
        check.expect(said.code == 0, "nc to end well", said)
        text = self.wait_console(check, r"nested: file [0-9a-f]{64}", FILE_LIMIT_S)
        seen = re.search(r"nested: file ([0-9a-f]{64})", text).group(1)
        check.expect(seen == wanted, wanted, seen)
        check.note(f"{wanted[:16]}… agrees, {time.monotonic() - start:.1f} s")

    def check_inner_end(self, check):
        text = self.wait_console(check, "nested: over", END_LIMIT_S)
        if self.args.transcript:
            self.args.transcript.write_text(text)
        vectors = re.findall(r"(?m)^ *\d+: +(\d+) .*MSI.*", text)
        check.expect(vectors and sum(map(int, vectors)) > 0, "MSI-X interrupts inside", text)
        end = time.monotonic() + END_LIMIT_S
        while not self.inner.done() and time.monotonic() < end:
            time.sleep(0.5)
        check.expect(self.inner.done(), "the inner QEMU to end", "it runs on")
        result = self.inner.wait()
        check.expect(result.code == 0, "exit 0", result)
        faults = self.guest.run("dmesg | grep 'fault addr'").output
        check.expect(not faults.strip(), "no DMAR fault", faults)
        check.note(f"{sum(map(int, vectors))} interrupts inside, no DMAR fault")

    def check_back(self, check):
        path = f"/sys/bus/pci/devices/{VF}"
        self.guest.must(f"printf {VF} >{path}/driver/unbind; echo >{path}/driver_override; "
                        f"printf {VF} >/sys/bus/pci/drivers_probe", 20)
        self.guest.must(
            f"V=$(ls {SYS_PF}/virtfn0/net) && ip netns add vf0 && ip link set $V netns vf0 && "
            "ip netns exec vf0 sh -c \"ip link set $V name vf0; ip addr add 10.0.0.1/24 dev vf0; "
            "ip link set vf0 up\"", 20)
        self.wait_link(check, "vf0", "vf0")
        rtt = self.expect_ping(check, "vf0", "10.0.0.100")
        check.note(f"RTT {rtt:.2f} ms")


def run_scene(args, report):
    with process.run_directory() as run_dir:
        setup = program.describe(report, Setup(program.CACHE, run_dir, report.say,
                                               args.kernel_link), "both guests")
        report.start_group("nested", "== a guest inside the VM that has the card")
        NestedScene(report, setup, args, run_dir / "n").run()


def main():
    parser = program.arguments("A guest inside the chassis VM, checked.", newer_kernel=True)
    parser.add_argument("--transcript", metavar="FILE", type=Path,
                        help="write what the guest inside prints on its console")
    return program.run("test-nested", parser.parse_args(), run_scene)


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: BSD-3-Clause
"""Starts and ends the test guests' QEMUs, and finds out whether KVM works here."""

import ctypes
import json
import lzma
import mmap
import os
import platform
import re
import socket
import struct
import subprocess
import time
import zlib
from pathlib import Path

import initramfs
import process
from guest import PATIENCE, Guest

# For a host that has no time for its guests for a while: without no_timer_check their boot may end
# in a panic ("IO-APIC + timer doesn't work"), as some first timer interrupts do not come in time;
# and CPUs that stood still are complained of after 2 minutes rather than 20 s.
CMDLINE = ("console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable cryptomgr.notests "
           "no_timer_check watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120")
KVM_PROBE_LIMIT_S = 8
MEMORY_MIB = 384


class QemuError(Exception):
    """QEMU could not be found or started."""


def find(cache):
    """The QEMU that scripts/setup chose."""
    path = Path(os.environ.get("VIREO_QEMU") or cache / "qemu-system-x86_64")
    if not path.exists():
        raise QemuError(f"{path} is missing: run scripts/setup demo")
    return path


def unpacked_kernel(bzimage, cache):
    """The same kernel without its decompressor (x86 boot protocol, payload_offset/_length).

    An emulated CPU takes longer to unpack the kernel than to boot it; QEMU starts the ELF file
    inside directly (PVH). The bzImage itself where we cannot unpack it.
    """
    elf = cache / f"{bzimage.name.replace('vmlinuz', 'vmlinux')}.elf"
    if elf.exists() and elf.stat().st_mtime >= bzimage.stat().st_mtime:
        return elf
    data = bzimage.read_bytes()
    sectors = data[0x1F1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)
    payload = data[(sectors + 1) * 512 + offset:][:length]
    try:
        if payload.startswith(b"\xfd7zXZ"):
            image = lzma.LZMADecompressor().decompress(payload)
        elif payload.startswith(b"\x1f\x8b"):
            image = zlib.decompressobj(31).decompress(payload)
        elif payload.startswith(b"\x28\xb5\x2f\xfd"):
            run = subprocess.run(["zstd", "-dcq"], input=payload, capture_output=True, check=False)
            image = run.stdout
        else:
            return bzimage
    except (lzma.LZMAError, zlib.error, FileNotFoundError):
        return bzimage
    # The note that carries the PVH entry point: type 18, owner "Xen".
    if not image.startswith(b"\x7fELF") or b"\x12\0\0\0Xen\0" not in image:
        return bzimage
    initramfs.write_whole(elf, image)
    return elf


def tsc_khz():
    """The rate of this processor's time stamp counter, which is an emulated guest's too; None where
    we cannot tell. A guest that measures it on a busy host may take a second for twenty."""
    rights = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    if platform.machine() != "x86_64":
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=rights)
    except OSError:  # some systems let nobody write code
        return None
    with page as code:
        # rdtsc; shl rdx, 32; or rax, rdx; ret
        code.write(bytes.fromhex("0f31 48c1e220 4809d0 c3"))
        place = ctypes.c_char.from_buffer(code)
        rdtsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(place))

        def sample():
            """(counter, ns) of one moment: of several, the one least disturbed."""
            tries = []
            for _ in range(50):
                before = time.monotonic_ns()
                ticks = rdtsc()
                tries.append((time.monotonic_ns() - before, ticks, before))
            width, ticks, before = min(tries)
            return ticks, before + width // 2
        first = sample()
        time.sleep(0.1)
        last = sample()
        del rdtsc, place  # before the mapping goes
    return round((last[0] - first[0]) * 1e6 / (last[1] - first[1]))


def base_command(qemu, accel, cpus=1, sealed=True):
    cpu = "host" if accel == "kvm" else "max,la57=off"
    accel = "kvm" if accel == "kvm" else "tcg,tb-size=256"
    return [qemu, "-nodefaults", "-no-user-config", "-display", "none",
            "-machine", "q35,memory-backend=m", "-accel", accel, "-cpu", cpu, "-smp", str(cpus),
            "-object", f"memory-backend-memfd,id=m,size={MEMORY_MIB}M,share=on,"
            f"seal={'on' if sealed else 'off'}"]


def _kvm_boots(qemu, kernel, image, run_dir):
    serial = run_dir / "kvm-probe.serial"
    command = base_command(qemu, "kvm")
    command += ["-kernel", kernel, "-initrd", image, "-append", f"{CMDLINE} vireo.probe",
                "-no-reboot", "-serial", f"file:{serial}"]
    machine = process.spawn(command, run_dir / "kvm-probe.log")
    try:
        end = time.monotonic() + KVM_PROBE_LIMIT_S
        while time.monotonic() < end and machine.poll() is None:
            time.sleep(0.1)
        return "vireo-guest: up" in "\n".join(process.tail(serial))
    finally:
        process.end(machine, 0)


def find_accelerator(qemu, kernel, image, cache, run_dir, say=lambda text: None):
    """("kvm"|"tcg", why). Boots a guest under KVM with a time limit; remembers the answers."""
    if os.environ.get("VIREO_ACCEL") in ("kvm", "tcg"):
        return os.environ["VIREO_ACCEL"], "VIREO_ACCEL says so"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg", "no /dev/kvm that we may open"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    key = f"{boot} {platform.release()} {qemu.resolve()} {kernel.name}"
    answers = cache / "kvm-probe.json"
    try:
        known = dict(json.loads(answers.read_text())["known"])
    except (OSError, ValueError, LookupError, TypeError):  # or of another form
        known = {}
    if key not in known:
        say(f"finding out whether KVM works here (at most {KVM_PROBE_LIMIT_S} s) ...")
        # One for each kernel that is in use; those of earlier boots are of no use.
        known = {old: works for old, works in known.items() if old.startswith(boot)}
        known[key] = _kvm_boots(qemu, kernel, image, run_dir)
        initramfs.write_whole(answers, json.dumps({"known": known}).encode())
    if known[key]:
        return "kvm", "a guest boots under it"
    return "tcg", "a guest did not boot under KVM"


class Machine:
    """One guest in one QEMU, with at most one VF of the daemon's."""

    cmdline = CMDLINE

    def __init__(self, setup, run_dir, name):
        self.setup, self.run_dir, self.name = setup, run_dir, name
        self.serial_log = run_dir / f"{name}.serial"
        self.qemu_log = run_dir / f"{name}.qemu"
        self.sealed = True  # nobody can shrink the guest's memory
        self.process = None
        self.guest = None

    def command(self, vf_socket, cpus=1):
        command = base_command(self.setup.qemu, self.setup.accel, cpus, self.sealed)
        command += ["-name", self.name]
        if vf_socket:
            device = {"driver": "vfio-user-pci", "bus": "rp1", "rombar": 0,
                      "socket": {"type": "unix", "path": str(vf_socket)}}
            command += ["-device", "pcie-root-port,id=rp1,chassis=1,slot=1",
                        "-device", json.dumps(device)]
        return command

    def start(self, vf_socket=None, cpus=1, reboots=False):
        """Starts QEMU and the guest's boot; wait_up() tells when it is there."""
        agent_path = self.run_dir / f"{self.name}.agent"
        agent_path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(agent_path))
        listener.listen(1)
        command = self.command(vf_socket, cpus)
        if not reboots:
            command += ["-no-reboot"]
        command += ["-kernel", self.setup.kernel, "-initrd", self.setup.image, "-append",
                    self.cmdline + self.setup.clock, "-serial", f"file:{self.serial_log}",
                    "-chardev", f"socket,id=agent,path={agent_path}", "-serial", "chardev:agent"]
        self.process = process.spawn(command, self.qemu_log)
        self.guest = Guest(self.name, listener)
        return self.guest

    def start_without_guest(self, vf_socket):
        """Starts QEMU for the device alone: nothing boots. Returns the process."""
        self.process = process.spawn(self.command(vf_socket) + ["-S"], self.qemu_log)
        return self.process

    def wait_up(self, timeout_s):
        """Waits for the agent. Returns None, or why there is none."""
        end = time.monotonic() + PATIENCE * timeout_s
        while time.monotonic() < end:
            if self.guest.is_up():
                return None
            if self.process.poll() is not None:
                return f"QEMU ended with {self.process.returncode}"
            time.sleep(0.05)
        return f"no sign of the agent after {PATIENCE * timeout_s:.0f} s"

    def stop(self):
        """Ends the machine, by its PID. Returns QEMU's exit code, None when it never ran."""
        code = process.end(self.process) if self.process else None
        if self.guest:
            self.guest.close()
        return code


class Setup:
    """What all machines of a run share: QEMU, accelerator, kernel, initramfs."""

    def __init__(self, cache, run_dir, say=lambda text: None, kernel_link="guest"):
        self.qemu = find(cache)
        kind = "" if kernel_link == "guest" else f"{kernel_link}-"
        self.bzimage, self.image = initramfs.build(cache, f"{kind}initramfs",
                                                   kernel_link=kernel_link)
        self.kernel_version = self.bzimage.name.removeprefix("vmlinuz-")
        self.kernel = unpacked_kernel(self.bzimage, cache)
        self.accel, self.accel_why = find_accelerator(self.qemu, self.kernel, self.image, cache,
                                                      run_dir, say)
        khz = tsc_khz() if self.accel == "tcg" else None
        self.clock = f" tsc_early_khz={khz}" if khz else ""
        text = subprocess.run([self.qemu, "--version"], capture_output=True, text=True,
                              check=True).stdout
        self.qemu_version = re.search(r"version (\S+)", text).group(1)

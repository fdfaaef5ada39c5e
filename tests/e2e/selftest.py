# SPDX-License-Identifier: BSD-3-Clause
"""Tries the harness itself, without vireod: a guest boots and its agent answers."""

import os
import sys
import time
from pathlib import Path

import process
import qemu

CACHE = Path(os.environ.get("VIREO_CACHE") or
             Path(__file__).resolve().parents[2] / "build" / "cache")


def expect(name, ok, seen):
    print(f"{'PASS' if ok else 'FAIL'}  {name}: {seen}", flush=True)
    return bool(ok)


def try_agent(guest):
    good = True
    result = guest.run("echo out; echo err >&2; exit 3")
    good &= expect("exit code and both outputs", (result.code, result.output) == (3, "out\nerr\n"),
                   result)
    big = guest.run("seq 1 20000").output
    good &= expect("much output", big.split() == [str(n) for n in range(1, 20001)],
                   f"{len(big)} bytes")
    slow = guest.start("sleep 1; echo slow")
    start = time.monotonic()
    quick = guest.run("echo quick").output
    good &= expect("side by side", quick == "quick\n" and not slow.done() and
                   slow.wait().output == "slow\n", f"{time.monotonic() - start:.2f} s")
    good &= expect("time limit", guest.run("sleep 60", limit_s=1).code == 124, "124")
    job = guest.start("sleep 60", limit_s=60)
    job.stop()
    good &= expect("stop", job.wait().code == 128 + 15, "143")
    good &= expect("framing survives anything", guest.run("printf 'DONE 1 0 5\\nxx'").output ==
                   "DONE 1 0 5\nxx", "ok")
    start = time.monotonic()
    for _ in range(50):
        guest.must("true")
    good &= expect("round trip", True, f"{(time.monotonic() - start) * 20:.1f} ms")
    return good


def try_tools(guest):
    good = True
    for tool in ("iperf3 --version", "lspci -nn", "ethtool --version", "ip -V", "ping -V",
                 "frames send lo 5 02:00:00:00:00:02 02:00:00:00:00:01 88b5", "grep ixgbevf "
                 "/proc/modules", "grep 8021q /proc/modules"):
        result = guest.run(tool)
        first = (result.output.splitlines() or [""])[0]
        good &= expect(tool, result.code == 0, first if result.code == 0 else result)
    count = guest.start("frames count lo 20 /tmp/stop", limit_s=30)
    guest.must("sleep 0.5; frames send lo 7 02:00:00:00:00:02 02:00:00:00:00:01 88b5 42; "
               "touch /tmp/stop")
    output = count.wait().output
    good &= expect("frames count", "02:00:00:00:00:01 88b5 42 7" in output, output.split())
    return good


def main():
    process.catch_signals()
    with process.run_directory() as run_dir:
        setup = qemu.Setup(CACHE, run_dir, print)
        print(f"QEMU {setup.qemu_version}, {setup.accel} ({setup.accel_why}), "
              f"kernel {setup.kernel_version} from {setup.kernel.name}")
        machine = qemu.Machine(setup, run_dir, "vm0")
        try:
            start = time.monotonic()
            machine.start()
            failed = machine.wait_up(90)
            if failed:
                print(f"FAIL  boot: {failed}", *process.tail(machine.serial_log), sep="\n")
                return 1
            print(f"PASS  boot: {time.monotonic() - start:.1f} s")
            good = try_agent(machine.guest) and try_tools(machine.guest)
        finally:
            machine.stop()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The vfio-user server against the real QEMU, with the toy device and no guest but the firmware.

    test_vfiouser_qemu.py TOY_SERVER [mapped]

QEMU (10.1 or newer) is the one that VIREO_QEMU names, else the one that scripts/setup fetched. One
must come through its start-up and a system reset; a second must be refused with EBUSY and exit
non-zero while the first runs on; and after the first has gone a third must get the device. Exit
status 0: it is so, 1: it is not, 77: there is no QEMU.
"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("VIREO_CACHE") or TOP / "build" / "cache")
LIMIT_S = 60


def fail(why):
    raise SystemExit(f"FAIL: {why}")


def check(ok, why):
    print("ok  " if ok else "FAIL", why, flush=True)
    if not ok:
        fail(why)


class Qmp:
    """QEMU's monitor, as far as this needs it."""

    def __init__(self, path):
        deadline = time.monotonic() + LIMIT_S
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(LIMIT_S)
            try:
                self.sock.connect(path)
                break
            except OSError:
                self.sock.close()
                if time.monotonic() > deadline:
                    fail("QEMU did not open its monitor")
                time.sleep(0.1)
        self.file = self.sock.makefile("r")
        self.file.readline()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        request = {"execute": command, "arguments": arguments}
        self.sock.sendall(json.dumps(request).encode() + b"\n")
        for line in self.file:
            answer = json.loads(line)
            if "return" in answer or "error" in answer:
                return answer.get("return")
        return fail("QEMU's monitor closed")


def qemu_command(qemu, toy_path, qmp_path):
    device = {"driver": "vfio-user-pci", "bus": "rp1", "rombar": 0,
              "socket": {"type": "unix", "path": toy_path}}
    return [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg",
            "-machine", "q35,memory-backend=m",
            "-object", "memory-backend-memfd,id=m,size=128M,share=on",
            "-device", "pcie-root-port,id=rp1,chassis=1", "-device", json.dumps(device),
            "-qmp", f"unix:{qmp_path},server=on,wait=off"]


def wait_for(log_path, pattern):
    """Until the server's log has it."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        with open(log_path) as log:
            match = re.search(pattern, log.read())
        if match:
            return match
        time.sleep(0.05)
    with open(log_path) as log:
        return fail(f"the server never said '{pattern}'; it said: {log.read()}")


def run(qemu, toy_server, mode, folder, children):
    toy_path, log_path = os.path.join(folder, "toy.sock"), os.path.join(folder, "log")
    with open(log_path, "w") as log:
        server = subprocess.Popen([toy_server, toy_path] + mode, text=True,
                                  stdout=subprocess.PIPE, stderr=log)
    children.append(server)
    while not os.path.exists(toy_path):
        check(server.poll() is None, "the toy server runs")
        time.sleep(0.05)

    def start(number):
        qmp_path = os.path.join(folder, f"qmp{number}")
        child = subprocess.Popen(qemu_command(qemu, toy_path, qmp_path), text=True,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE)
        children.append(child)
        return child, qmp_path

    first, qmp_path = start(1)
    match = wait_for(log_path, r"toy: attached to client PID (\d+)")
    check(int(match.group(1)) == first.pid, "the first QEMU holds the device, by its PID")
    qmp = Qmp(qmp_path)
    check(qmp.call("query-status")["status"] == "running", "the first QEMU runs")

    second, _ = start(2)
    code = second.wait(LIMIT_S)
    check(code != 0, f"the second QEMU exits with {code}")
    check("Device or resource busy" in second.stderr.read(), "and says that the device is busy")
    match = wait_for(log_path, r"toy: PID (\d+) is refused \(EBUSY\): PID (\d+) holds")
    check([int(n) for n in match.groups()] == [second.pid, first.pid],
          "the server's log names both PIDs")

    qmp.call("system_reset")
    time.sleep(3)  # the firmware finds the device again
    check(qmp.call("query-status")["status"] == "running", "the first QEMU did not notice")
    qmp.call("quit")
    check(first.wait(LIMIT_S) == 0, "the first QEMU ends well")
    complaints = first.stderr.read()
    check(complaints == "", f"and had nothing to complain about: {complaints!r}")

    third, qmp_path = start(3)
    wait_for(log_path, rf"toy: attached to client PID {third.pid}")
    Qmp(qmp_path).call("quit")
    check(third.wait(LIMIT_S) == 0, "a third QEMU gets the device when it is free")
    wait_for(log_path, rf"toy: client PID {third.pid} is gone")

    server.send_signal(signal.SIGTERM)
    counts = dict(line.split() for line in server.communicate(timeout=LIMIT_S)[0].splitlines())
    print(counts)
    counts = {name: int(value) for name, value in counts.items()}
    check(counts["malformed"] == 0, "every message was well-formed")
    check(counts["VERSION"] == 3 and counts["refused"] == 1 and counts["attaches"] == 2,
          "three VERSIONs, one refused")
    check(counts["DEVICE_RESET"] >= 3, "the resets arrived")
    check(counts["DMA_MAP"] > 2 and counts["maps"] == 0, "RAM was mapped, and let go at the end")


def find_qemu():
    """Its path. Without one the test is skipped, and says so."""
    qemu = os.environ.get("VIREO_QEMU") or str(CACHE / "qemu-system-x86_64")
    if not os.path.exists(qemu):
        print(f"SKIP: no QEMU at {qemu}: scripts/setup demo fetches it, or set VIREO_QEMU")
        raise SystemExit(77)
    return qemu


def main():
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    qemu = find_qemu()
    children = []
    with tempfile.TemporaryDirectory(prefix="vireo-") as folder:
        try:
            run(qemu, sys.argv[1], sys.argv[2:], folder, children)
        finally:
            for child in children:
                if child.poll() is None:
                    child.kill()
                child.wait()
                for stream in (child.stdout, child.stderr):
                    if stream:
                        stream.close()


if __name__ == "__main__":
    main()

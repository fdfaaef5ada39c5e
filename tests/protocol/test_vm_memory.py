#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""VMs whose memory the card cannot reach, on the real QEMU: vireod's log and `vireo` say so.

    test_vm_memory.py VIREOD VIREO

No guest but the firmware; QEMU's monitor reads a register of the VF in a driver's place. Exit
status 0: all is as it should be, 1: it is not, 77: there is no QEMU.
"""
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from test_vfiouser_qemu import LIMIT_S, TOP, Qmp, check, fail, find_qemu

sys.path.insert(0, str(TOP / "tests" / "e2e"))
sys.dont_write_bytecode = True

from daemon import Daemon  # noqa: E402

CONFIG = 'ports = ({ uplink = { kind = "null"; }; vfs = 1; });\n'
WITH_FILE = ("-machine", "q35,memory-backend=m", "-object")
# QEMU's memory, and what is said of it.
MEMORY = {
    "share=on": ((*WITH_FILE, "memory-backend-memfd,id=m,size=128M,share=on"), None),
    "share=off": ((*WITH_FILE, "memory-backend-memfd,id=m,size=128M,share=off"),
                  "is private to it (share=off)"),
    "memory-backend-ram": ((*WITH_FILE, "memory-backend-ram,id=m,size=128M"),
                           "has no file that the card could map"),
    "no memory backend": (("-machine", "q35", "-m", "128M"),
                          "has no file that the card could map"),
}
VFSTATUS = 0x8


def bar0_address(qmp):
    """Where the firmware has put the VF's BAR0."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        for device in qmp.call("query-pci")[0]["devices"]:
            for vf in device.get("pci_bridge", {}).get("devices", []):
                address = vf["regions"][0]["address"] if vf["regions"] else -1
                if address > 0:
                    return address
        time.sleep(0.1)
    return fail("the firmware did not find the VF")


def try_one(name, daemon, vireo, start):
    memory, fault = MEMORY[name]
    log_before = len(daemon.log.read_text())
    qemu, qmp = start(memory)
    address = bar0_address(qmp)
    for _ in range(3):
        qmp.call("human-monitor-command", **{"command-line": f"xp /1wx {address + VFSTATUS:#x}"})
    said = [line for line in daemon.log.read_text()[log_before:].splitlines()
            if line.startswith("error")]
    answers = [subprocess.run([vireo, "--run-dir", daemon.run_dir, *words], text=True, check=True,
                              stdout=subprocess.PIPE, timeout=LIMIT_S).stdout
               for words in (("stats",), ("vf", "list"), ("stats", "--json"))]
    qmp.call("quit")
    qemu.wait(LIMIT_S)
    shown = json.loads(answers[2])["ports"][0]["vfs"][0]["memory_fault"]
    if not fault:
        check(not said and not shown and "no frame" not in answers[0] + answers[1],
              f"{name}: nothing is said: {said} {shown}")
        return
    wanted = f"the memory of process {qemu.pid} {fault}: "
    check(len(said) == 1 and wanted in said[0] and "share=on" in said[0] and
          "<access mode='shared'/>" in said[0], f"{name}: one line in the log says it: {said}")
    check(shown == fault, f"{name}: so do the stats: {shown}")
    for answer in answers[:2]:
        check(f"the memory of PID {qemu.pid} {fault}" in answer, f"{name}: and people see it")


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    qemu = find_qemu()
    children = []
    with tempfile.TemporaryDirectory(prefix="vireo-") as folder:
        daemon = Daemon(sys.argv[1], Path(folder), CONFIG)
        daemon.start()

        def start(memory):
            device = {"driver": "vfio-user-pci", "bus": "rp1", "rombar": 0,
                      "socket": {"type": "unix", "path": f"{folder}/port0-vf0.sock"}}
            qmp_path = f"{folder}/qmp{len(children)}"
            children.append(subprocess.Popen(
                [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg",
                 *memory, "-device", "pcie-root-port,id=rp1,chassis=1", "-device",
                 json.dumps(device), "-qmp", f"unix:{qmp_path},server=on,wait=off"]))
            return children[-1], Qmp(qmp_path)

        try:
            for name in MEMORY:
                try_one(name, daemon, sys.argv[2], start)
        finally:
            for child in children:
                if child.poll() is None:
                    child.kill()
                child.wait()
            daemon.stop()


if __name__ == "__main__":
    main()

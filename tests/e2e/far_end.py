# SPDX-License-Identifier: BSD-3-Clause
"""What is plugged into a port: a tap in a network namespace that vireod has to itself."""

import os
import subprocess
import sys
import time

import initramfs
import process

FRAMES_LIMIT_S = 200
FLOOD_LIMIT = 10_000_000


class FarEnd:
    """The far end of a chassis daemon's first cable. Frames of any kind, and the host's own TCP/IP.

    Needs no root where users may have namespaces of their own; reason() says why there is none.
    """

    name, address, mac = "vireotap0", "10.0.0.200", "02:00:00:00:99:00"
    uplink = f'uplink = {{ kind = "tap"; ifname = "{name}"; }};'

    def __init__(self, daemon, run_dir):
        self.daemon, self.run_dir = daemon, run_dir
        self.frames = run_dir / "frames"
        initramfs.compile_static(initramfs.HERE / "guest" / "frames.c", self.frames)
        self.counted = 0
        # vireod ends with us: entering a namespace of users forgets the wish that spawn() made.
        daemon.prefix = ["unshare", *self.own_namespace(), "setpriv", "--pdeathsig", "KILL"]

    @staticmethod
    def own_namespace():
        return ("-n",) if os.geteuid() == 0 else ("-U", "-r", "-n")

    @classmethod
    def reason(cls):
        """Why there can be none here; None where there can."""
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            return "/dev/net/tun is not there, or not for us"
        if subprocess.run(["unshare", *cls.own_namespace(), "true"], capture_output=True,
                          check=False).returncode:
            return "no network namespace for us"
        return None

    def inside(self, *command):
        join = ("-n",) if os.geteuid() == 0 else ("-U", "--preserve-credentials", "-n")
        return ["nsenter", "-t", str(self.daemon.process.pid), *join, *map(str, command)]

    def run(self, *command, limit_s=process.WAIT_S):
        """Runs a command at the far end that has to work. Returns its output."""
        return subprocess.run(self.inside(*command), check=True, capture_output=True, text=True,
                              timeout=limit_s).stdout

    def plug_in(self):
        """The tap exists when vireod runs; here it gets an address and the link comes up."""
        self.run("ip", "link", "set", self.name, "address", self.mac)
        self.run("ip", "addr", "add", f"{self.address}/24", "dev", self.name)
        self.run("ip", "link", "set", self.name, "up")

    def send(self, count, target, source, ethertype):
        self.run(self.frames, "send", self.name, count, target, source, ethertype,
                 limit_s=FRAMES_LIMIT_S)

    def flood(self, target, source, ethertype, per_second):
        """Frames from here until the process that this returns is ended."""
        return process.spawn(self.inside(self.frames, "send", self.name, FLOOD_LIMIT, target,
                                         source, ethertype, "-", 60, per_second),
                             self.run_dir / "flood.log")

    def count(self):
        """Starts counting what arrives here. Returns a function that ends it: its output."""
        self.counted += 1
        log = self.run_dir / f"count{self.counted}.log"
        stop = self.run_dir / f"count{self.counted}.stop"
        child = process.spawn(self.inside(self.frames, "count", self.name, FRAMES_LIMIT_S, stop),
                              log, stdout=subprocess.PIPE)
        end = time.monotonic() + process.WAIT_S
        while "ready" not in log.read_text() and time.monotonic() < end:
            time.sleep(0.02)

        def finish():
            stop.touch()
            output, _ = child.communicate(timeout=FRAMES_LIMIT_S)
            return output.decode()
        return finish

    def python(self, program):
        """Starts a Python program here, with its output in a pipe."""
        return process.spawn(self.inside(sys.executable, "-c", program),
                             self.run_dir / "python.log", stdout=subprocess.PIPE)

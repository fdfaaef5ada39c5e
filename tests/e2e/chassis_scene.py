# SPDX-License-Identifier: BSD-3-Clause
"""One VM that has the whole card: its life, and what the checks on it share."""

import contextlib
import functools
import json
import re
import subprocess
import time

import chassis
import process
from chassis import SYS_PF, VFS
from far_end import FarEnd
from guest import PATIENCE, GuestError
from scene import FRAMES_LIMIT_S, TEST_ETHERTYPE, ping_all, ping_figures, unanswered

BOOT_LIMIT_S = 120
LINK_LIMIT_S = 20
IPERF_S = 2
# An answer that a lost interrupt held up comes when the driver looks again, after 2 s.
STALL_MS = 1000
PF_ADDRESS = "10.0.0.100"
BROADCAST = "ff:ff:ff:ff:ff:ff"
FLOOD_SOURCE = "02:00:00:00:99:ff"
FLOOD_PER_S = 200
# A guest on a busy machine takes frames late that the card has long delivered.
SETTLE_S = 0.5
UPLINK = "uplink"  # a place where frames can be counted, besides namespaces
COMPLAINT = (r"tx hang|hung|timed out|reset adapter|is not valid|BUG:|WARNING:|Oops:|"
             r"firmware error|lockup|call trace|EEPROM")


class HostScene:
    """One VM that has the whole card; its network namespaces stand for the hosts behind VFs.

    `checks` are ((name, function(scene, check)), ...), in order; two more come at the end. vireod
    has the host's own network, in a namespace, at the far end of its cable.
    """

    cpus = 1
    memory_mib = chassis.MEMORY_MIB
    kernel_options = ""

    def __init__(self, report, setup, args, run_dir, checks=()):
        self.report, self.setup, self.args, self.run_dir = report, setup, args, run_dir
        run_dir.mkdir()
        self.checks = checks
        self.no_far_end = FarEnd.reason()
        text = args.config.read_text()
        if not self.no_far_end:
            text = text.replace('uplink = { kind = "null"; };', FarEnd.uplink, 1)
        self.daemon = chassis.ChassisDaemon(args.vireod, run_dir, text)
        self.far_end = None if self.no_far_end else FarEnd(self.daemon, run_dir)
        self.machine = self.guest = None
        self.pf = ""
        self.boots = 0
        self.logged = set()
        self.stack = contextlib.ExitStack()

    # -- life of the run -------------------------------------------------------------------------

    def run(self):
        with self.stack:
            self.stack.callback(self.daemon.stop)
            if not self.report.check("vireod --chassis starts",
                                     self.check_start, self.logs):
                return
            self.start_machine("host")
            if not self.report.check("the VM's kernel finds segment 1", self.check_boot, self.logs):
                return
            for name, function in self.list_checks():
                self.report.check(name, function, self.logs)

    def list_checks(self):
        """((name, function(check)), ...)."""
        return [(name, functools.partial(function, self)) for name, function in self.checks] + [
            ("no complaint from the kernel", self.check_complaints),
            ("vireod ends cleanly", self.check_end)]

    def start_machine(self, name, cmdline="", extra=()):
        self.machine = chassis.HostMachine(self.setup, self.run_dir, name)
        self.machine.extra, self.machine.memory_mib = extra, self.memory_mib
        words = (chassis.CMDLINE, "intel_iommu=on", self.kernel_options, cmdline)
        self.machine.cmdline = " ".join(filter(None, words))
        self.stack.callback(self.machine.stop)
        self.guest = self.machine.start(self.daemon.socket_path(), cpus=self.cpus, reboots=True)
        self.boots = 1

    def logs(self):
        lines = [f"vireod: {line}" for line in process.tail(self.daemon.log, 8)]
        if self.guest and self.guest.is_up():
            try:
                text = self.guest.run("dmesg | tail -8", limit_s=5).output
            except GuestError as error:
                text = str(error)
            lines += [f"dmesg: {line}" for line in text.splitlines()]
        elif self.machine:
            lines += [f"serial: {line}" for line in process.tail(self.machine.serial_log, 6)]
        if self.machine:
            lines += [f"QEMU: {line}" for line in process.tail(self.machine.qemu_log, 3)]
        new = [line for line in lines if line not in self.logged]
        self.logged.update(new)
        return new

    # -- what checks share -----------------------------------------------------------------------

    def ns(self, name, script, limit_s=10):
        """Runs a script in a VF's namespace; None is the PF's."""
        return self.guest.run(self.inside(name, script), limit_s)

    @staticmethod
    def inside(name, script):
        quoted = script.replace("'", "'\\''")
        return f"ip netns exec {name} sh -c '{quoted}'" if name else script

    def wait_link(self, check, name, interface):
        up, seen = self.guest.poll(self.inside(name, f"ip -br link show {interface}"), "LOWER_UP",
                                   LINK_LIMIT_S)
        check.expect(up, f"LOWER_UP on {interface}", seen)

    def numvfs(self, count, limit_s=90):
        """Writes sriov_numvfs. Returns what the kernel said: nothing, or an error's text."""
        result = self.guest.run(f"printf {count} | dd of={SYS_PF}/sriov_numvfs 2>&1", limit_s)
        said = "".join(re.findall(r"error.*: (.*)", result.output))
        return said or ("" if result.code == 0 else str(result))

    def vfs_up(self, check):
        """A namespace for each VF, with an address and the link up."""
        for vf in range(VFS):
            self.guest.must(
                f"V=$(ls {SYS_PF}/virtfn{vf}/net) && ip netns add vf{vf} && "
                f"ip link set $V netns vf{vf} && ip netns exec vf{vf} sh -c \""
                f"ip link set lo up; ip link set $V name vf{vf}; "
                f"ip addr add 10.0.0.{vf + 1}/24 dev vf{vf}; ip link set vf{vf} up\"", 20)
        for vf in range(VFS):
            self.wait_link(check, f"vf{vf}", f"vf{vf}")

    def interface(self, name):
        return name or self.pf

    def mac(self, name):
        """Of a VF in its namespace, of the PF (None)."""
        return self.ns(name, f"cat /sys/class/net/{self.interface(name)}/address").output.strip()

    def ping(self, name, address, count=5):
        """(lost in percent, RTT in ms, ping's words) after a first one that may wait for ARP."""
        self.guest.poll(self.inside(name, f"ping -c 1 -W 1 {address}"), " 0% packet", 6)
        output = self.ns(name, ping_all(count, 0.05, address), 20).output
        lost = unanswered(output, count)
        return 100 * len(lost[0]) / count if lost else 100, ping_figures(output)[1], output

    def expect_ping(self, check, name, address, count=5):
        lost, rtt, output = self.ping(name, address, count)
        check.expect(lost == 0, f"answers from {address}", output)
        worst = max(map(float, re.findall(r"time=([\d.]+) ms", output)))
        check.expect(worst < STALL_MS, f"answers within {STALL_MS} ms", output)
        return rtt

    def expect_no_ping(self, check, name, address):
        output = self.ns(name, f"ping -c 3 -i 0.2 -W 1 {address}", 15).output
        check.expect(ping_figures(output)[0] == 100, f"no answer from {address}", output)

    def iperf(self, client, server, address, options="", seconds=IPERF_S):
        listening = self.guest.start(self.inside(server, "iperf3 -s -1 -p 5201"), seconds + 30)
        try:
            self.guest.poll(self.inside(server, "netstat -ltn"), ":5201 ", 5, 0.05)
            output = self.ns(client, f"iperf3 -J -c {address} -p 5201 -t {seconds} {options}",
                             seconds + 20).output
        finally:
            listening.stop()
            listening.wait()
        try:
            return json.loads(output)
        except ValueError:
            return {"error": output}

    def counting(self, place):
        """Starts counting frames at a place. Returns a function that ends it: frames's output."""
        if place == UPLINK:
            return self.far_end.count()
        # "ready" must not be in the name: cat's complaint that there is no such file has it too.
        ready = f"/tmp/counting.{place}"
        self.guest.must(f"rm -f /tmp/stop {ready}")
        job = self.guest.start(self.inside(
            place, f"frames count {self.interface(place)} {FRAMES_LIMIT_S} /tmp/stop "
            f"2>{ready}"), FRAMES_LIMIT_S)
        self.guest.poll(f"cat {ready}", "ready", 5, 0.05)

        def finish():
            self.guest.must("touch /tmp/stop")
            return job.wait().output
        return finish

    def heard(self, places, send):
        """{place: [[source, type, vlan, count]]} of what arrives while send() runs.

        A place is a VF's namespace, None (the PF), or UPLINK: the far end of the port's cable.
        """
        ends = {place: self.counting(place) for place in places}
        send()
        time.sleep(SETTLE_S)
        return {place: [line.split() for line in end().splitlines()]
                for place, end in ends.items()}

    @staticmethod
    def arrived(lines, source, tag=None):
        """How many of heard()'s frames have this source, and this VLAN tag where one is given."""
        return sum(int(line[3]) for line in lines if line[0] == source and
                   line[1] == TEST_ETHERTYPE and tag in (None, line[2]))

    def send(self, name, count, target, source=None, limit_s=20):
        """Frames from a namespace, with its own MAC unless told otherwise."""
        self.guest.must(self.inside(name, f"frames send {self.interface(name)} {count} {target} "
                                    f"{source or self.mac(name)} {TEST_ETHERTYPE}"), limit_s)

    # -- traffic all the while -------------------------------------------------------------------

    @contextlib.contextmanager
    def traffic(self):
        """The PF talks with the far end, which talks to everybody; VF 0 sends VF 1 what it can."""
        ping = f"ping -q -i 0.02 {FarEnd.address}" if self.far_end else "ping -q -i 0.02 10.0.0.1"
        jobs = [self.guest.start(f"while true; do {ping}; sleep 0.2; done", 300), *self.flow()]
        flood = None
        if self.far_end:
            flood = self.far_end.flood(BROADCAST, FLOOD_SOURCE, TEST_ETHERTYPE, FLOOD_PER_S)
        try:
            yield
        finally:
            if flood:
                process.end(flood)
            with contextlib.suppress(GuestError):  # it may have been switched off
                for job in jobs:
                    job.stop()

    def flow(self):
        """TCP from VF 0 to VF 1 that starts over when it breaks. Returns the jobs."""
        server = self.guest.start(self.inside("vf1", "iperf3 -s -p 5210 >/dev/null 2>&1"), 300)
        self.guest.poll(self.inside("vf1", "netstat -ltn"), ":5210 ", 5, 0.05)
        return [server, self.guest.start(self.inside(
            "vf0", "while true; do iperf3 -c 10.0.0.2 -p 5210 -t 60 >/dev/null 2>&1; sleep 0.2; "
            "done"), 300)]

    def moving(self, check, *what):
        """Each of these counters rises: "uplink" is both directions of it, a number is a VF's."""
        def read():
            port = self.cycles()["ports"][0]
            for item in what:
                if item == UPLINK and self.far_end:
                    yield from (port["uplink"]["tx_frames"], port["uplink"]["rx_frames"])
                elif item != UPLINK:
                    yield port["vfs"][item]["rx_frames"]
        before = after = tuple(read())
        end = time.monotonic() + PATIENCE * LINK_LIMIT_S
        while not all(a > b + 3 for a, b in zip(after, before)) and time.monotonic() < end:
            time.sleep(0.05)
            after = tuple(read())
        check.expect(all(a > b + 3 for a, b in zip(after, before)),
                     f"traffic by {what}", f"{before}, then {after}")

    def cycles(self):
        return self.daemon.cycles()

    def vf_counts(self, vf):
        return self.cycles()["ports"][0]["vfs"][vf]

    def set_vf(self, vf, words):
        self.guest.must(f"ip link set {self.pf} vf {vf} {words}")

    def restart_vf(self, check, vf):
        """The administrator's change reaches a VF's driver at its next start, at the latest."""
        self.ns(f"vf{vf}", f"ip link set vf{vf} down; ip link set vf{vf} up", 20)
        self.wait_link(check, f"vf{vf}", f"vf{vf}")

    # -- checks that every scene has -------------------------------------------------------------

    def check_start(self, check):
        self.daemon.start()
        if self.far_end:
            self.far_end.plug_in()
        for name in ("chassis.sock", "ssdt.aml", "dmar.aml"):
            check.expect((self.run_dir / name).exists(), f"{name} in the run directory", "none")
        vireo = self.args.vireod.parent / "vireo"
        text = subprocess.run([vireo, "chassis", "qemu-args", "--run-dir", self.run_dir],
                              capture_output=True, text=True, check=False).stdout
        for wanted in ("share=on", "ssdt.aml", "dmar.aml", "chassis.sock", "vfio-user-pci"):
            check.expect(wanted in text, f"{wanted} in vireo chassis qemu-args", text)
        check.note("chassis.sock, ssdt.aml, dmar.aml")

    def wait_boot(self, check):
        start = time.monotonic()
        failure = self.machine.wait_up(BOOT_LIMIT_S)
        check.expect(not failure, "the guest's agent to say hello", failure)
        info = self.daemon.call("chassis.info")
        check.expect(info["booted"] and info["client_pid"] == self.machine.process.pid,
                     "the tables read by QEMU's guest", info)
        self.pf = self.guest.must(f"ls {SYS_PF}/net").strip()
        return time.monotonic() - start

    def check_boot(self, check):
        seconds = self.wait_boot(check)
        text = self.guest.must("dmesg")
        for wanted in (r"PCI Root Bridge \[VR01\] \(domain 0001", r"DMAR: DRHD base",
                       r"Using Queued invalidation",
                       r"(?:MMCONFIG at|ECAM) .*reserved (?:in|as) ACPI"):
            check.expect(re.search(wanted, text), f"/{wanted}/ in dmesg", "none")
        seen = self.guest.must("lspci -D -n -s 0000:00:10.0")
        check.expect(not seen, "the carrier hidden", seen)
        check.note(f"Linux {self.setup.kernel_version}, {self.setup.accel}, {seconds:.1f} s",
                   seconds=round(seconds, 2))

    # -- coming and going ------------------------------------------------------------------------

    def drop_namespaces(self):
        self.guest.run("for i in 0 1 2 3; do ip netns del vf$i; done 2>/dev/null; sleep 0.5", 20)

    def bring_up(self, check):
        """PF, VFs and a ping, from a driver that has just been loaded."""
        self.guest.must(f"ip addr add {PF_ADDRESS}/24 dev {self.pf}; ip link set {self.pf} up")
        self.wait_link(check, None, self.pf)
        if self.guest.must(f"cat {SYS_PF}/sriov_numvfs").strip() != "0":
            self.numvfs(0)
        said = self.numvfs(VFS)
        check.expect(not said, "no error", said)
        self.vfs_up(check)
        self.expect_ping(check, "vf0", "10.0.0.2")
        if self.far_end:
            self.expect_ping(check, "vf1", FarEnd.address)
        return self.expect_ping(check, None, "10.0.0.1")

    def new_guest(self, check, name, cmdline="", extra=()):
        """The guest switches itself off, and another one starts on the same daemon."""
        self.complaints(check)
        self.guest.start("poweroff -f")
        end = time.monotonic() + process.WAIT_S
        while self.machine.process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        check.expect(self.machine.process.poll() is not None, "QEMU to end", "it runs on")
        self.machine.stop()
        self.start_machine(name, cmdline, extra)
        self.wait_boot(check)

    # -- at the end ------------------------------------------------------------------------------

    def complaints(self, check):
        text = self.guest.run(f"dmesg | grep -iE '{COMPLAINT}' | grep -v 'report a bug\\|not a bug'"
                              ).output
        check.expect(not text.strip(), "nothing in dmesg", text)

    def check_complaints(self, check):
        self.complaints(check)
        bad = self.daemon.log_lines("error|DMA_WRITE failed")
        check.expect(not bad, "nothing in vireod's log", "\n".join(bad))

    def check_end(self, check):
        lost = self.cycles()["cycles"]["interrupts_lost"]
        check.expect(lost == 0, "no interrupt lost", lost)
        self.machine.stop()
        end = time.monotonic() + process.WAIT_S
        while self.daemon.call("chassis.info")["client_pid"] and time.monotonic() < end:
            time.sleep(0.05)
        code = self.daemon.stop()
        check.expect(code == 0, "exit 0 after SIGTERM", code)
        check.expect(not (self.run_dir / "chassis.sock").exists(), "no socket left", "one")
        check.note("exit 0")

# SPDX-License-Identifier: BSD-3-Clause
"""A scene: one vireod and some guests, what is checked on them, and what checks share."""

import contextlib
import json
import re
import time

import process
import qemu
from checks import CheckFailed
from daemon import Daemon, DaemonError
from guest import PATIENCE, GuestError

BOOT_LIMIT_S = 120
# Stock ixgbevf starts over at most every 10 s, and its watchdog looks every 2 s.
LINK_LIMIT_S = 20
FRAMES_LIMIT_S = 200  # of counting, which is to be told to end
TEST_ETHERTYPE = "88b5"  # IEEE 802 local experimental
# That TCP moves at all: how fast, the machine and its other work decide.
SLOWEST_GBPS = 0.001
LINK_CHECK = "link up"
DRIVER_CHECK = "stock ixgbevf drives it"
LSPCI_CHECK = "lspci shows the VF"
# Where one of these fails, the checks after it are not tried: why.
BASICS = {LSPCI_CHECK: "there is no VF to drive",
          DRIVER_CHECK: "there is no network interface",
          LINK_CHECK: "there is no link"}
END_CHECK = "vireod ends cleanly"
ALWAYS_TRIED = ("no DMA fault", "no complaint from the drivers", END_CHECK)


def ping_figures(output):
    """(lost in percent, average RTT in ms or None) of ping's summary."""
    lost = re.search(r"([\d.]+)% packet loss", output)
    rtt = re.search(r"= [\d.]+/([\d.]+)/", output)
    return (float(lost.group(1)) if lost else 100.0), (float(rtt.group(1)) if rtt else None)


def ping_all(count, interval_s, address):
    """The command: ends when `count` answers came. Without a deadline, ping would leave one
    interval after its last request, and call lost what a busy machine answers later."""
    return f"ping -c {count} -i {interval_s} -w {process.WAIT_S} {address}"


def unanswered(output, count):
    """For each ping_all() in the output, which of the first `count` requests had no answer: with a
    deadline ping sends more than those, where an answer takes its time."""
    asked = set(range(1, count + 1))
    return [sorted(asked - set(map(int, re.findall(r"icmp_seq=(\d+) ttl", part))))
            for part in re.split(r"(?m)^PING ", output)[1:]]


def offloads_on(text):
    return sorted(line.strip().split(":")[0] for line in text.splitlines()
                  if re.search(r": on\b", line))


def run_iperf(client, server, options, limit_s):
    """Runs iperf3 between two VMs. Returns its JSON."""
    listening = server.guest.start("iperf3 -s -1 -p 5201", limit_s + 20)
    try:
        server.guest.poll("netstat -ltn", r":5201 ", 5, 0.02)
        result = client.guest.run(f"iperf3 -J -c {server.address} -p 5201 {options}",
                                  limit_s + 15)
    finally:
        # That the server's guest is gone must not hide why we leave.
        with contextlib.suppress(GuestError):
            listening.stop()
            listening.wait()
    try:
        data = json.loads(result.output)
    except ValueError:
        data = {"error": result.output}
    return data


class Vm:
    """A machine, its guest, and what we know of its network card."""

    def __init__(self, index, machine):
        self.index, self.machine, self.guest = index, machine, machine.guest
        self.name = machine.name
        self.up = False
        self.pci = self.interface = self.mac = ""
        self.offloads = []
        self.address = f"10.0.0.{index + 1}"

    def irq_count(self):
        text = self.guest.must(f"grep -E ' {self.interface}(-|$|:)' /proc/interrupts")
        kinds = set(re.findall(r"(PCI-MSI[\w-]*)", text))
        total = 0
        for line in text.splitlines():
            counts = line.partition(":")[2].partition("PCI")[0]
            total += sum(int(word) for word in counts.split() if word.isdigit())
        return total, len(text.splitlines()), kinds


class Scene:
    """Runs its checks in order. A subclass says which, on how many VMs, with what configuration."""

    vm_count = 2
    doorbells = "trapped"
    reboots = False     # QEMU starts a guest again that reboots, rather than ending
    skip_reason = None  # why this scene cannot be played here

    def __init__(self, name, report, setup, vireod, config_text, run_dir):
        self.name, self.report, self.setup, self.run_dir = name, report, setup, run_dir
        run_dir.mkdir()
        self.daemon = Daemon(vireod, run_dir, config_text)
        self.vms = []
        self.missing = None  # a basic thing that failed, without which most checks mean nothing
        self.logged = set()
        self.stack = contextlib.ExitStack()

    # -- life of the run ---------------------------------------------------------------------

    def run(self):
        if self.skip_reason:
            self.report.check("the whole scene", lambda check: check.skip(self.skip_reason))
            return
        with self.stack:
            start = time.monotonic()
            self.stack.callback(self.daemon.stop)
            if not self.report.check("vireod starts one port", self.check_start, self.logs):
                return
            if self.vm_count:
                self.boot()
            self.report.phase("boot", time.monotonic() - start)
            start = time.monotonic()
            for name, function in self.list_checks():
                passed = self.report.check(name, self.only_when_up(name, function), self.logs)
                self.missing = self.missing or (None if passed else BASICS.get(name))
            self.report.phase("checks", time.monotonic() - start)

    def list_checks(self):
        """((name, function(check)), …), in order."""
        raise NotImplementedError

    def basic_checks(self):
        return ((LSPCI_CHECK, self.check_lspci), (DRIVER_CHECK, self.check_driver),
                (LINK_CHECK, self.check_link))

    def last_checks(self):
        return (("no DMA fault", self.check_faults),
                ("no complaint from the drivers", self.check_complaints),
                (END_CHECK, self.check_end))

    def boot(self):
        """Starts all guests at once, and waits for each. One that fails fails its checks."""
        for index in range(self.vm_count):
            machine = qemu.Machine(self.setup, self.run_dir, f"{self.name}-vm{index}")
            self.stack.callback(machine.stop)
            # RSS needs a second CPU: ixgbevf uses as many queues as there are CPUs, two at most.
            machine.start(self.daemon.vf_socket(index), cpus=2 if index == 1 else 1,
                          reboots=self.reboots)
            self.vms.append(Vm(index, machine))
        self.report.check(f"{self.vm_count} VMs boot the stock kernel", self.check_boot, self.logs)

    def check_boot(self, check):
        start, wrong = time.monotonic(), []
        while time.monotonic() - start < PATIENCE * BOOT_LIMIT_S:
            waiting = [vm for vm in self.vms if not vm.guest.is_up()
                       and vm.machine.process.poll() is None]
            if not waiting:
                break
            self.report.progress(f"booting {', '.join(vm.name for vm in waiting)}")
            time.sleep(0.1)
        for vm in self.vms:
            failure = vm.machine.wait_up(0.2)
            if failure:
                wrong.append(f"{vm.name}: {failure}")
            else:
                vm.up = True
        seconds = time.monotonic() - start
        check.note(f"Linux {self.setup.kernel_version}, {self.setup.accel}, {seconds:.1f} s",
                   seconds=round(seconds, 2))
        check.expect(not wrong, "every agent to say hello", "; ".join(wrong))

    def only_when_up(self, name, function):
        def run(check):
            down = [vm.name for vm in self.vms if not vm.up]
            check.expect(not down, "all VMs", f"not tried: {', '.join(down)} did not boot")
            check.expect(self.daemon.alive(), "vireod to run",
                         f"it ended with {self.daemon.process.returncode}")
            check.expect(not self.missing or name in ALWAYS_TRIED,
                         "to be tried", f"not tried: {self.missing}")
            function(check)
        return run

    def logs(self):
        """The ends of the logs that may say why."""
        lines = [f"vireod: {line}" for line in process.tail(self.daemon.log, 12)]
        for vm in self.vms:
            if vm.guest.is_up():
                try:
                    text = vm.guest.run("dmesg | grep -E 'ixgbevf|eth|NETDEV|BUG|WARN' | tail -6",
                                        limit_s=5).output
                except Exception as error:  # pylint: disable=broad-except # already failing
                    text = str(error)
                lines += [f"{vm.name} dmesg: {line}" for line in text.splitlines()]
            else:
                lines += [f"{vm.name} serial: {line}" for line in
                          process.tail(vm.machine.serial_log, 6)]
            lines += [f"{vm.name} QEMU: {line}" for line in process.tail(vm.machine.qemu_log, 3)]
        new = [line for line in lines if line not in self.logged]
        self.logged.update(new)
        return new

    # -- checks that most scenes have -----------------------------------------------------------

    def check_start(self, check):
        try:
            self.daemon.start()
            vfs = self.daemon.stats().vfs
        except DaemonError as error:
            check.expect(False, '"vireod: ready", and an answer to stats', error)
        check.note(f"{len(vfs)} VFs", vfs=len(vfs))
        check.expect(len(vfs) >= 4, "at least 4 VFs", vfs)
        for index in range(self.vm_count):
            path = self.daemon.vf_socket(index)
            check.expect(path.is_socket(), f"a socket at {path.name}", "none")
            form = vfs[index]["doorbells"]
            check.expect(form == self.doorbells, f"{self.doorbells} doorbells at VF {index}", form)

    def check_lspci(self, check):
        for vm in self.vms:
            text = vm.guest.must("lspci -D -n -d 8086:10ed")
            check.expect(len(text.splitlines()) == 1, "one 8086:10ed", text or "none")
            vm.pci = text.split()[0]
            parent = vm.guest.must(f"readlink -f /sys/bus/pci/devices/{vm.pci}").split("/")[-2]
            check.expect(not vm.pci.startswith("0000:00:") and parent.startswith("0000:00:"),
                         "it behind a root port", f"{vm.pci} below {parent}")
            text = vm.guest.must(f"lspci -vvv -s {vm.pci}")
            for wanted in (r"\[70\] MSI-X: .*Count=3 ", r"\[a0\] Express .*Endpoint",
                           r"Advanced Error Reporting", r"size=16K.*[\s\S]*size=16K",
                           r"FLReset\+"):
                check.expect(re.search(wanted, text), f"/{wanted}/ in lspci -vvv", text)
        name = vm.guest.must(f"lspci -s {vm.pci}").split(": ", 1)[1].strip()
        check.note(f"{vm.pci[5:]} {name}", device=name)

    def check_driver(self, check):
        for vm in self.vms:
            path = f"/sys/bus/pci/devices/{vm.pci}"
            driver = vm.guest.run(f"basename $(readlink -f {path}/driver)").output.strip()
            check.expect(driver == "ixgbevf", f"ixgbevf on {vm.name}", driver or "no driver")
            vm.interface = vm.guest.must(f"ls {path}/net").strip()
            vm.mac = vm.guest.must(f"cat /sys/class/net/{vm.interface}/address").strip()
            vm.offloads = offloads_on(vm.guest.must(f"ethtool -k {vm.interface}"))
        macs = [vm.mac for vm in self.vms]
        told = [vf["mac"] for vf in self.daemon.stats().vfs[:len(macs)]]
        check.expect(len(set(macs)) == len(macs) and macs == told, f"the MACs {told}", macs)
        check.note(" ".join(macs), macs=macs)

    def check_link(self, check):
        for vm in self.vms:
            vm.guest.must(f"ip addr add {vm.address}/24 dev {vm.interface} && "
                          f"ip link set {vm.interface} up")
        self.wait_link()
        for vm in self.vms:
            text = vm.guest.must(f"ethtool {vm.interface}")
            check.expect("Link detected: yes" in text, "Link detected: yes", text)
        speed = re.search(r"Speed: (\d+)Mb/s", text)
        check.expect(speed and speed.group(1) == "10000", "10000Mb/s", text)
        check.note("10 Gbit/s, full duplex", mbps=10000)

    def check_ping(self, check):
        jobs = []
        for here, there in ((0, 1), (1, 0)):
            # The first packet waits for ARP.
            self.vms[here].guest.poll(f"ping -c 1 -W 1 {self.vms[there].address}", " 0% packet", 5)
            output = self.vms[here].guest.run(ping_all(20, 0.05, self.vms[there].address),
                                              15).output
            jobs.append((here, there, ping_figures(output)[1], output))
        for here, there, rtt, output in jobs:
            check.expect(unanswered(output, 20) == [[]] and rtt is not None, "no loss", output)
            check.note(f"{here}→{there} RTT {rtt:.2f} ms", **{f"rtt_ms_{here}_{there}": rtt})

    def check_faults(self, check):
        stats = self.daemon.stats()
        faults, unit = stats.dma_faults(), stats.data["iommu_faults"]
        check.note(f"{faults} by the VFs, {unit} recorded by the IOMMU", dma_faults=faults,
                   iommu_faults=unit)
        check.expect(faults == 0 and unit == 0, "none", check.figures)

    def check_complaints(self, check):
        for vm in self.vms:
            text = vm.guest.run(
                "dmesg | grep -E 'ixgbevf|NETDEV WATCHDOG|BUG:|WARNING:|Oops' | "
                "grep -iE 'hang|timeout|timed out|reset adapter|error|fail|BUG|WARN|Oops|"
                "not responding|unable'").output
            check.expect(not text.strip(), f"nothing in {vm.name}'s dmesg", text)
            check.expect(vm.machine.process.poll() is None, f"{vm.name} to run", "it ended")

    def check_end(self, check):
        for vm in self.vms:
            vm.machine.stop()
        deadline = time.monotonic() + process.WAIT_S
        while any(vf["client_pid"] for vf in self.daemon.stats().vfs):
            check.expect(time.monotonic() < deadline, "every VF free again",
                         [vf["client_pid"] for vf in self.daemon.stats().vfs])
            time.sleep(0.05)
        code = self.daemon.stop()
        left = [path.name for path in self.run_dir.glob("*.sock")]
        check.expect(code == 0, "exit 0 after SIGTERM", code)
        check.expect(not left, "no socket left behind", left)
        check.note("exit 0, no socket left")

    # -- what checks share ---------------------------------------------------------------------

    def wait_link(self, vms=None):
        """Waits until the interfaces are up and have link."""
        for vm in vms or self.vms:
            up, seen = vm.guest.poll(f"ip -br link show {vm.interface}", "LOWER_UP", LINK_LIMIT_S)
            if not up:
                raise CheckFailed(f"LOWER_UP on {vm.name}", seen)

    def iperf(self, client, server, options, limit_s):
        return run_iperf(client, server, options, limit_s)

    def send_file(self, mib, limit_s):
        """Carries a random file from VM 0 to VM 1: (sum here, sum there, seconds, bytes)."""
        here, there = self.vms[0].guest, self.vms[1].guest
        here.must(f"randomfile {mib << 20} >/tmp/file", limit_s)
        # nc tells its peer when its own input ends, and the peer would leave: hold the input open.
        receiving = there.start("rm -f /tmp/hold; mkfifo /tmp/hold; exec 3<>/tmp/hold; "
                                "exec nc -l -p 5002 <&3 >/tmp/file", limit_s)
        there.poll("netstat -ltn", r":5002 ", 5, 0.02)
        start = time.monotonic()
        here.must(f"nc {self.vms[1].address} 5002 </tmp/file", limit_s)
        receiving.wait()
        seconds = time.monotonic() - start
        sum_here = here.start("sha256sum </tmp/file", limit_s)
        after = there.must("sha256sum </tmp/file; stat -c %s /tmp/file", limit_s).split()
        before = sum_here.wait().output.split()[:1]
        here.must("rm /tmp/file")
        there.must("rm /tmp/file")
        return before, after[:1], seconds, int(after[2])

    def rx_queues(self, vm):
        text = vm.guest.must(f"ethtool -S {vm.interface}")
        return [int(n) for n in re.findall(r"rx_queue_\d+_packets: (\d+)", text)]

    def count_frames(self, vms):
        """Starts counting in these VMs. Returns a function that ends it: {vm index: lines}."""
        jobs = []
        for vm in vms:
            vm.guest.must("rm -f /tmp/stop /tmp/counting")
            jobs.append((vm, vm.guest.start(
                f"frames count {vm.interface} {FRAMES_LIMIT_S} /tmp/stop 2>/tmp/counting",
                FRAMES_LIMIT_S)))
        for vm, _ in jobs:
            vm.guest.poll("cat /tmp/counting", "ready", 5, 0.02)

        def finish():
            time.sleep(0.3)  # what was sent is on its way
            for vm, _ in jobs:
                vm.guest.must("touch /tmp/stop")
            return {vm.index: [line.split() for line in job.wait().output.splitlines()]
                    for vm, job in jobs}
        return finish

    @staticmethod
    def counted(lines, mac, vlan=None):
        return sum(int(count) for src, _, tag, count in lines
                   if src == mac and vlan in (None, tag))

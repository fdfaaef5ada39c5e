# SPDX-License-Identifier: BSD-3-Clause
"""The main job: stock guests on QEMU talk through VFs of one card that vireod is.

Usage: demo.py [--json FILE] [--form trapped|mapped] [--config FILE] [--vireod FILE]
Exit: 0 all passed, 1 something failed, 2 it could not be tried.
"""

import argparse
import contextlib
import json
import os
import re
import sys
import time
from pathlib import Path

import initramfs
import process
import qemu
from checks import Report
from daemon import Daemon, DaemonError, with_doorbells

TOP = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("VIREO_CACHE") or TOP / "build" / "cache")
FORMS = {
    "trapped": "each doorbell is a message to vireod",
    "mapped": "doorbells are shared memory that vireod polls",
}
BOOT_LIMIT_S = 120
FILE_MIB = 64
IPERF_S = 2
JUMBO_MTU = 9000
TEST_ETHERTYPE = "88b5"  # IEEE 802 local experimental
SPOOFED_MAC = "02:de:ad:be:ef:01"
GUEST_VLAN = 42
VLAN_VM = 2  # examples/card.conf puts VF 2 on a VLAN of its own
# What stock ixgbevf turns on by itself (ethtool -k).
DEFAULT_OFFLOADS = ("rx-checksumming", "tx-checksumming", "tx-checksum-ip-generic",
                    "scatter-gather", "tcp-segmentation-offload", "tx-tcp-segmentation",
                    "tx-tcp6-segmentation", "generic-segmentation-offload",
                    "generic-receive-offload", "rx-vlan-offload", "tx-vlan-offload",
                    "rx-vlan-filter")
# Where one of these fails, the checks after it are not tried: why.
BASICS = {"lspci shows the VF": "there is no VF to drive",
          "stock ixgbevf drives it": "there is no network interface",
          "link up": "there is no link"}
ALWAYS_TRIED = ("no DMA fault", "no complaint from the drivers", "vireod ends cleanly")


def ping_figures(output):
    """(lost in percent, average RTT in ms or None) of ping's summary."""
    lost = re.search(r"([\d.]+)% packet loss", output)
    rtt = re.search(r"= [\d.]+/([\d.]+)/", output)
    return (float(lost.group(1)) if lost else 100.0), (float(rtt.group(1)) if rtt else None)


def offloads_on(text):
    return sorted(line.strip().split(":")[0] for line in text.splitlines()
                  if re.search(r": on\b", line))


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
            total += sum(int(word) for word in re.findall(r"(?<=\s)\d+(?=\s)", line.split("PCI")[0]))
        return total, len(text.splitlines()), kinds


class Form:
    """The whole job with one doorbell form: one vireod, three guests."""

    def __init__(self, name, report, setup, vireod, config_text, run_dir):
        self.name, self.report, self.setup, self.run_dir = name, report, setup, run_dir
        self.daemon = Daemon(vireod, run_dir, with_doorbells(config_text, name))
        self.vms = []
        self.missing = None  # a basic thing that failed, without which most checks mean nothing
        self.logged = set()
        self.stack = contextlib.ExitStack()

    # -- life of the run ---------------------------------------------------------------------

    def run(self):
        with self.stack:
            start = time.monotonic()
            self.stack.callback(self.daemon.stop)
            if not self.report.check("vireod starts one port", self.check_start, self.logs):
                return
            self.boot()
            self.report.phase("boot", time.monotonic() - start)
            start = time.monotonic()
            for name, function in self.list_checks():
                passed = self.report.check(name, self.only_when_up(name, function), self.logs)
                self.missing = self.missing or (None if passed else BASICS.get(name))
            self.report.phase("checks", time.monotonic() - start)

    def list_checks(self):
        return (
            ("lspci shows the VF", self.check_lspci),
            ("stock ixgbevf drives it", self.check_driver),
            ("link up", self.check_link),
            ("default offloads are on", self.check_offloads),
            ("ping both ways", self.check_ping),
            ("IPv6 (multicast) ping", self.check_ping6),
            ("MSI-X interrupts arrive", self.check_interrupts),
            ("TCP, VM 0 to VM 1", lambda check: self.check_tcp(check, "")),
            ("TCP, VM 1 to VM 0", lambda check: self.check_tcp(check, "-R")),
            (f"{FILE_MIB} MiB file over TCP, SHA-256", self.check_file),
            ("RSS spreads over two queues", self.check_rss),
            ("VLAN interface in the guests", self.check_guest_vlan),
            ("another VLAN is out of reach", self.check_vlan),
            ("spoofed source MAC does not arrive", self.check_spoof),
            ("assigned VF refused to a second VM", self.check_refused),
            (f"jumbo frames, MTU {JUMBO_MTU}", self.check_jumbo),
            ("offloads still the same", self.check_offloads_kept),
            ("no DMA fault", self.check_faults),
            ("no complaint from the drivers", self.check_complaints),
            ("vireod ends cleanly", self.check_end),
        )

    def boot(self):
        """Starts all guests at once, and waits for each. One that fails fails its checks."""
        for index in range(3):
            machine = qemu.Machine(self.setup, self.run_dir, f"{self.name}-vm{index}")
            self.stack.callback(machine.stop)
            # RSS needs a second CPU: ixgbevf uses as many queues as there are CPUs, two at most.
            machine.start(self.daemon.vf_socket(index), cpus=2 if index == 1 else 1)
            self.vms.append(Vm(index, machine))
        self.report.check("3 VMs boot the stock kernel", self.check_boot, self.logs)

    def check_boot(self, check):
        start, wrong = time.monotonic(), []
        while time.monotonic() - start < BOOT_LIMIT_S:
            waiting = [vm for vm in self.vms if not vm.guest.is_up()
                       and vm.machine.process.poll() is None]
            if not waiting:
                break
            self.report.progress(f"      booting {', '.join(vm.name for vm in waiting)} ... "
                                 f"{time.monotonic() - start:.0f} s")
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
            check.expect(not down, "three VMs", f"not tried: {', '.join(down)} did not boot")
            check.expect(self.daemon.alive(), "vireod to run",
                         f"it ended with {self.daemon.process.returncode}")
            check.expect(not self.missing or name in BASICS or name in ALWAYS_TRIED,
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

    # -- the checks --------------------------------------------------------------------------

    def check_start(self, check):
        try:
            self.daemon.start()
            vfs = self.daemon.stats().vfs
        except DaemonError as error:
            check.expect(False, '"vireod: ready", and an answer to stats', error)
        check.note(f"{len(vfs)} VFs", vfs=len(vfs))
        check.expect(len(vfs) >= 4, "at least 4 VFs", vfs)
        for index in range(3):
            path = self.daemon.vf_socket(index)
            check.expect(path.is_socket(), f"a socket at {path.name}", "none")
            form = self.daemon.stats().vf(index)["doorbells"]
            check.expect(form == self.name, f"VF {index} with {self.name} doorbells", form)

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
        check.note(f"{vm.pci[5:]} {name}"[:58], device=name)

    def check_driver(self, check):
        for vm in self.vms:
            path = f"/sys/bus/pci/devices/{vm.pci}"
            driver = vm.guest.run(f"basename $(readlink -f {path}/driver)").output.strip()
            check.expect(driver == "ixgbevf", f"ixgbevf on {vm.name}", driver or "no driver")
            vm.interface = vm.guest.must(f"ls {path}/net").strip()
            vm.mac = vm.guest.must(f"cat /sys/class/net/{vm.interface}/address").strip()
            vm.offloads = offloads_on(vm.guest.must(f"ethtool -k {vm.interface}"))
        macs = [vm.mac for vm in self.vms]
        check.expect(len(set(macs)) == 3, "three MAC addresses", macs)
        check.note(" ".join(macs), macs=macs)

    def check_link(self, check):
        for vm in self.vms:
            vm.guest.must(f"ip addr add {vm.address}/24 dev {vm.interface} && "
                          f"ip link set {vm.interface} up")
        for vm in self.vms:
            up, seen = vm.guest.poll(f"ip -br link show {vm.interface}", "LOWER_UP", 10)
            check.expect(up, f"LOWER_UP on {vm.name}", seen)
            text = vm.guest.must(f"ethtool {vm.interface}")
            check.expect("Link detected: yes" in text, "Link detected: yes", text)
        speed = re.search(r"Speed: (\d+)Mb/s", text)
        check.expect(speed and speed.group(1) == "10000", "10000Mb/s", text)
        check.note("10 Gbit/s, full duplex", mbps=10000)

    def check_offloads(self, check):
        for vm in self.vms:
            off = [name for name in DEFAULT_OFFLOADS if name not in vm.offloads]
            check.expect(not off, "what ixgbevf turns on by default", f"off: {', '.join(off)}")
        check.note("checksums, TSO, scatter, VLAN insertion and stripping", on=vm.offloads)

    def check_ping(self, check):
        jobs = []
        for here, there in ((0, 1), (1, 0)):
            # The first packet waits for ARP.
            self.vms[here].guest.poll(f"ping -c 1 -W 1 {self.vms[there].address}", " 0% packet", 5)
            output = self.vms[here].guest.run(
                f"ping -c 20 -i 0.05 -W 1 {self.vms[there].address}", 15).output
            jobs.append((here, there, ping_figures(output), output))
        for here, there, (lost, rtt), output in jobs:
            check.expect(lost == 0 and rtt is not None, "no loss", output)
            check.note(f"{here}→{there} RTT {rtt:.2f} ms", **{f"rtt_ms_{here}_{there}": rtt})

    def check_ping6(self, check):
        target = self.vms[1].guest.must(
            f"ip -6 -br addr show dev {self.vms[1].interface} scope link").split()
        check.expect(len(target) >= 3, "a link-local address", target)
        address = target[2].split("/")[0]
        interface = self.vms[0].interface
        # Duplicate address detection may still be under way.
        up, output = self.vms[0].guest.poll(f"ping -6 -c 2 -i 0.1 -W 1 {address}%{interface}",
                                            " 0% packet loss", 8)
        check.expect(up, "answers", output)
        check.note(f"{address}")

    def check_interrupts(self, check):
        notes = []
        for vm in self.vms[:2]:
            before, _, _ = vm.irq_count()
            self.vms[0].guest.must(f"ping -c 5 -i 0.05 -W 1 {self.vms[1].address}")
            after, vectors, kinds = vm.irq_count()
            check.expect(after > before and vectors >= 2 and kinds,
                         "two MSI vectors or more, whose counts rise",
                         f"{vectors} vectors of kind {kinds}, {before} then {after}")
            notes.append(f"{vm.name.split('-')[1]} {after} on {vectors} vectors")
            check.figures[f"interrupts_vm{vm.index}"] = after
        check.note(", ".join(notes))

    def iperf(self, client, server, options, limit_s):
        """Runs iperf3 between two VMs. Returns its JSON."""
        listening = server.guest.start("iperf3 -s -1 -p 5201", limit_s + 20)
        try:
            server.guest.poll("netstat -ltn", r":5201 ", 5, 0.02)
            result = client.guest.run(f"iperf3 -J -c {server.address} -p 5201 {options}",
                                      limit_s + 15)
        finally:
            listening.stop()
            listening.wait()
        try:
            data = json.loads(result.output)
        except ValueError:
            data = {"error": result.output}
        return data

    def check_tcp(self, check, direction):
        sender, receiver = self.vms[0], self.vms[1]
        before = self.daemon.stats()
        data = self.iperf(sender, receiver, f"-t {IPERF_S} {direction}", IPERF_S)
        after = self.daemon.stats()
        check.expect("error" not in data, "iperf3's result", data.get("error"))
        gbps = data["end"]["sum_received"]["bits_per_second"] / 1e9
        resent = data["end"]["sum_sent"].get("retransmits", 0)
        check.expect(gbps > 0.01, "more than 0.01 Gbit/s", f"{gbps:.4f}")
        packets = sum(after.count(vf, "tx_frames") - before.count(vf, "tx_frames") for vf in (0, 1))
        messages = after.messages(0, 1) - before.messages(0, 1)
        interrupts = sum(after.vf(vf)["interrupts"] - before.vf(vf)["interrupts"] for vf in (0, 1))
        check.expect(packets > 100, "the packets in the VFs' counters", packets)
        check.note(f"{gbps:.2f} Gbit/s, {messages / packets:.3f} messages/packet "
                   f"({packets} packets, {messages} messages, {interrupts} interrupts), "
                   f"{resent} resent", gbps=round(gbps, 3), packets=packets, messages=messages,
                   messages_per_packet=round(messages / packets, 4), interrupts=interrupts,
                   retransmits=resent)

    def send_file(self, mib, limit_s):
        """Carries a random file from VM 0 to VM 1. Returns (sum here, sum there, seconds, bytes)."""
        here, there = self.vms[0].guest, self.vms[1].guest
        here.must(f"head -c {mib << 20} /dev/urandom >/tmp/file", limit_s)
        sum_here = here.start("sha256sum </tmp/file", limit_s)
        # nc tells its peer when its own input ends, and the peer would leave: hold the input open.
        receiving = there.start("rm -f /tmp/hold; mkfifo /tmp/hold; exec 3<>/tmp/hold; "
                                "exec nc -l -p 5002 <&3 >/tmp/file", limit_s)
        there.poll("netstat -ltn", r":5002 ", 5, 0.02)
        before = sum_here.wait().output.split()[:1]
        start = time.monotonic()
        here.must(f"nc {self.vms[1].address} 5002 </tmp/file", limit_s)
        receiving.wait()
        seconds = time.monotonic() - start
        after = there.must("sha256sum </tmp/file; stat -c %s /tmp/file", limit_s).split()
        here.must("rm /tmp/file")
        there.must("rm /tmp/file")
        return before, after[:1], seconds, int(after[2])

    def check_file(self, check):
        before, after, seconds, size = self.send_file(FILE_MIB, 60)
        check.expect(size == FILE_MIB * 1024 * 1024, f"{FILE_MIB} MiB at the far end", size)
        check.expect(before == after, f"SHA-256 {before}", after)
        check.note(f"{after[0][:16]}… agrees, {seconds:.1f} s", sha256=after[0],
                   seconds=round(seconds, 2), bytes=size)

    def rx_queues(self, vm):
        text = vm.guest.must(f"ethtool -S {vm.interface}")
        return [int(n) for n in re.findall(r"rx_queue_\d+_packets: (\d+)", text)]

    def check_rss(self, check):
        vm = self.vms[1]
        before = self.rx_queues(vm)
        check.expect(len(before) == 2, "two receive queues on the VM with two CPUs", before)
        # Connections to closed ports: a SYN each, with 48 source ports to hash.
        self.vms[0].guest.run("for p in $(seq 20000 20047); do "
                              f"nc -w 1 -p $p {vm.address} 9 </dev/null 2>/dev/null; done", 30)
        rise = [after - first for first, after in zip(before, self.rx_queues(vm))]
        check.note(f"{rise[0]} and {rise[1]} packets", packets=rise)
        check.expect(min(rise) > 0, "packets in both queues", rise)

    def count_frames(self, vms):
        """Starts counting in these VMs. Returns a function that ends it: {vm index: lines}."""
        jobs = []
        for vm in vms:
            vm.guest.must("rm -f /tmp/stop /tmp/ready")
            jobs.append((vm, vm.guest.start(
                f"frames count {vm.interface} 30 /tmp/stop 2>/tmp/ready", 40)))
        for vm, _ in jobs:
            vm.guest.poll("cat /tmp/ready", "ready", 5, 0.02)

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

    def check_guest_vlan(self, check):
        name = "vlan0"
        for vm in self.vms[:2]:
            vm.guest.must(f"ip link add link {vm.interface} name {name} type vlan id {GUEST_VLAN} "
                          f"&& ip addr add 10.42.0.{vm.index + 1}/24 dev {name} && "
                          f"ip link set {name} up")
        finish = self.count_frames([self.vms[1]])
        up, output = self.vms[0].guest.poll("ping -c 5 -i 0.05 -W 1 10.42.0.2", " 0% packet", 8)
        tagged = self.counted(finish()[1], self.vms[0].mac, str(GUEST_VLAN))
        for vm in self.vms[:2]:
            vm.guest.must(f"ip link del {name}")
        check.expect(up, f"answers on VLAN {GUEST_VLAN}", output)
        check.expect(tagged >= 5, f"frames with tag {GUEST_VLAN} at VM 1", tagged)
        _, rtt = ping_figures(output)
        check.note(f"RTT {rtt:.2f} ms, {tagged} frames tagged {GUEST_VLAN}", rtt_ms=rtt,
                   tagged_frames=tagged)

    def check_vlan(self, check):
        alone = self.vms[VLAN_VM]
        before = self.daemon.stats().count(VLAN_VM, "tx_frames")
        finish = self.count_frames(self.vms[:2])
        jobs = [(alone, alone.guest.start(f"ping -c 10 -i 0.05 -w 2 {self.vms[0].address}", 15)),
                (self.vms[0], self.vms[0].guest.start(f"ping -c 10 -i 0.05 -w 2 {alone.address}",
                                                      15))]
        # To everybody, and to VM 0's own MAC, in case the sender could learn it.
        for target in ("ff:ff:ff:ff:ff:ff", self.vms[0].mac):
            alone.guest.must(f"frames send {alone.interface} 50 {target} {alone.mac} "
                             f"{TEST_ETHERTYPE}")
        outputs = [(vm, job.wait().output) for vm, job in jobs]
        seen = finish()
        sent = self.daemon.stats().count(VLAN_VM, "tx_frames") - before
        for vm, output in outputs:
            lost, _ = ping_figures(output)
            check.expect(lost == 100, f"no answer to {vm.name}", output)
        arrived = sum(self.counted(lines, alone.mac) for lines in seen.values())
        check.expect(arrived == 0, "no frame of VM 2 at VM 0 or 1", f"{arrived}: {seen}")
        check.expect(sent >= 100, "the card to have taken 100 frames or more of VM 2", sent)
        check.note(f"{sent} frames sent, none arrived", sent=sent, arrived=arrived)

    def check_spoof(self, check):
        sender, receiver = self.vms[0], self.vms[1]
        before = self.daemon.stats().count(0, "tx_spoof_drops")
        finish = self.count_frames([receiver])
        for mac, count in ((SPOOFED_MAC, 100), (sender.mac, 50)):
            sender.guest.must(f"frames send {sender.interface} {count} {receiver.mac} {mac} "
                              f"{TEST_ETHERTYPE}")
        lines = [line for line in finish()[1] if line[1] == TEST_ETHERTYPE]
        drops = self.daemon.stats().count(0, "tx_spoof_drops") - before
        own, spoofed = self.counted(lines, sender.mac), self.counted(lines, SPOOFED_MAC)
        check.note(f"100 sent, {spoofed} arrived, {drops} counted as dropped (own MAC: {own} of 50)",
                   spoofed_sent=100, spoofed_arrived=spoofed, dropped=drops, own_arrived=own)
        check.expect(own == 50, "50 frames with its own MAC", lines)
        check.expect(spoofed == 0, "no frame with a spoofed MAC", lines)
        check.expect(drops == 100, "100 in tx_spoof_drops", drops)

    def check_refused(self, check):
        holder = self.vms[0]
        pinging = holder.guest.start(f"ping -c 60 -i 0.05 -W 1 {self.vms[1].address}", 20)
        second = qemu.Machine(self.setup, self.run_dir, f"{self.name}-second")
        self.stack.callback(second.stop)
        running = second.start_without_guest(self.daemon.vf_socket(0))
        end = time.monotonic() + 15
        while running.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        code = running.poll()
        second.stop()
        output = pinging.wait().output
        pid = holder.machine.process.pid
        named = self.daemon.log_lines(rf"(?i)\bvf ?0\b.*\b{pid}\b|\b{pid}\b.*\bvf ?0\b")
        said = " ".join(process.tail(second.qemu_log, 2))
        check.expect(code is not None and code > 0, "the second QEMU to exit non-zero",
                     f"{code}: {said}")
        check.expect(named, f"a line with VF 0 and PID {pid} in vireod's log",
                     "\n".join(process.tail(self.daemon.log, 5)))
        busy = re.search(r"busy|EBUSY|refus|VERSION", said, re.IGNORECASE)
        check.expect(busy, "QEMU to say that VERSION was refused", said)
        lost, rtt = ping_figures(output)
        check.expect(lost == 0, "the first VM not to notice (no ping lost)", output)
        check.note(f"exit {code}; log names VF 0 and PID {pid}; first VM lost 0 of 60 pings",
                   exit=code, pid=pid, rtt_ms=rtt)

    def check_jumbo(self, check):
        for vm in self.vms[:2]:
            vm.guest.must(f"ip link set {vm.interface} mtu {JUMBO_MTU}")
        for vm in self.vms[:2]:
            up, seen = vm.guest.poll(f"ip -br link show {vm.interface}", "LOWER_UP", 10)
            check.expect(up, f"LOWER_UP on {vm.name} after the change", seen)
        target = self.vms[1].address
        size = JUMBO_MTU - 28
        up, output = self.vms[0].guest.poll(f"ping -M do -s {size} -c 5 -i 0.1 -W 1 {target}",
                                            " 0% packet loss", 8)
        check.expect(up, f"answers to {size} bytes with DF set", output)
        data = self.iperf(self.vms[0], self.vms[1], f"-t {IPERF_S}", IPERF_S)
        check.expect("error" not in data, "iperf3's result", data.get("error"))
        gbps = data["end"]["sum_received"]["bits_per_second"] / 1e9
        mss = data["start"].get("tcp_mss_default", 0)
        check.expect(mss > 8000, "a TCP segment size above 8000", mss)
        before, after, _, size = self.send_file(8, 30)
        check.expect(before == after and size == 8 << 20, f"SHA-256 {before}", after)
        check.note(f"{JUMBO_MTU - 28}-byte pings with DF, TCP {gbps:.2f} Gbit/s at MSS {mss}, "
                   "8 MiB SHA-256 agrees", gbps=round(gbps, 3), mss=mss)

    def check_offloads_kept(self, check):
        for vm in self.vms:
            now = offloads_on(vm.guest.must(f"ethtool -k {vm.interface}"))
            check.expect(now == vm.offloads, "the list of the start",
                         f"{vm.name}: changed {sorted(set(now) ^ set(vm.offloads))}")
        check.note(f"{len(vm.offloads)} on")

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
        deadline = time.monotonic() + 5
        while any(vf["client_pid"] for vf in self.daemon.stats().vfs):
            check.expect(time.monotonic() < deadline, "every VF free again",
                         [vf["client_pid"] for vf in self.daemon.stats().vfs])
            time.sleep(0.05)
        code = self.daemon.stop()
        left = [path.name for path in self.run_dir.glob("*.sock")]
        check.expect(code == 0, "exit 0 after SIGTERM", code)
        check.expect(not left, "no socket left behind", left)
        check.note("exit 0, no socket left")


def run_forms(args, report):
    with process.run_directory() as run_dir:
        setup = qemu.Setup(CACHE, run_dir, report.say)
        report.facts.update(qemu=setup.qemu_version, accelerator=setup.accel,
                            accelerator_why=setup.accel_why, kernel=setup.kernel_version,
                            config=str(args.config.name))
        report.say(f"QEMU {setup.qemu_version}, {setup.accel} ({setup.accel_why}); guests: Debian's "
                   f"Linux {setup.kernel_version}; vireod --config {args.config.name}")
        for form in args.form or FORMS:
            report.start_group(form, f"== {form} doorbells: {FORMS[form]}")
            form_dir = run_dir / form
            form_dir.mkdir()
            Form(form, report, setup, args.vireod, args.config.read_text(), form_dir).run()


def main():
    parser = argparse.ArgumentParser(description="Vireo's main job, checked.")
    parser.add_argument("--json", metavar="FILE", help="write the results for programs")
    parser.add_argument("--form", action="append", choices=FORMS, help="one doorbell form only")
    parser.add_argument("--config", type=Path, default=TOP / "examples" / "card.conf")
    parser.add_argument("--vireod", type=Path, default=TOP / "build" / "vireod")
    args = parser.parse_args()
    report = Report()
    process.catch_signals()
    try:
        run_forms(args, report)
    except (OSError, qemu.QemuError, initramfs.InitramfsError, DaemonError) as error:
        report.say(f"demo: {error}")
        return 2
    except (KeyboardInterrupt, process.Interrupted):
        report.say("\ndemo: interrupted")
        return 130
    failed = report.failed()
    seconds = time.monotonic() - report.started
    report.say(f"\n{len(report.checks) - len(failed)} checks passed, {len(failed)} failed, "
               f"in {seconds:.0f} s" + "".join(f"\n  FAIL {c.group}: {c.name}" for c in failed))
    if args.json:
        report.write_json(args.json)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

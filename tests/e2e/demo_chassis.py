# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: a stock Linux in one VM is the SR-IOV host, with stock ixgbe and intel-iommu.

Usage: demo_chassis.py [--json FILE] [--config FILE] [--vireod FILE] [--smoke] [--newer-kernel]
Exit: 0 all passed, 1 something failed, 2 it could not be tried.
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import chassis
import initramfs
import process
import qemu
from checks import Report
from daemon import DaemonError
from demo import CACHE, TOP, finish
from guest import GuestError
from scene import ping_figures

PF = chassis.PF
SYS_PF = f"/sys/bus/pci/devices/{PF}"
BOOT_LIMIT_S = 120
LINK_LIMIT_S = 20
VFS = 4
FILE_MIB = 16
IPERF_S = 2
RATE_MBPS = 40
STRAY_IOVA = 0x12345000
SPOOFED_MAC = "02:de:ad:be:ef:01"
ADMIN_MAC = "02:11:22:33:44:00"
OTHER_MAC = "02:99:88:77:66:55"
FOREIGN_GROUP = "01:00:5e:7f:12:34"  # that nobody joins, with a filter bit that nobody sets
ETHERTYPE = "88b5"
FAULT = r"\[01:10\.0\] fault addr 0x12345000 \[fault reason (0x[0-9a-f]+)\]"
COMPLAINT = (r"tx hang|hung|timed out|reset adapter|is not valid|BUG:|WARNING:|Oops:|firmware error|"
             r"lockup|call trace|EEPROM")


# The other SR-IOV card that a VM can have, for comparison.
IGB = ("-device", "pcie-root-port,id=igbport,chassis=9,slot=9", "-netdev", "hubport,id=h0,hubid=0",
       "-device", "igb,bus=igbport,netdev=h0")


class HostScene:
    """One VM that has the whole card; its network namespaces stand for the hosts behind VFs."""

    def __init__(self, report, setup, args, run_dir):
        self.report, self.setup, self.args, self.run_dir = report, setup, args, run_dir
        run_dir.mkdir()
        self.record = run_dir / "uplink.pcap"
        text = args.config.read_text().replace(
            'uplink = { kind = "null"; };',
            f'uplink = {{ kind = "pcap"; record = "{self.record}"; }};', 1)
        self.daemon = chassis.ChassisDaemon(args.vireod, run_dir, text)
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
        checks = [
            ("lspci -vvv: root port and PF", self.check_lspci),
            ("stock ixgbe binds, SFP+ and EEPROM", self.check_driver),
            ("link up", self.check_link),
            ("ethtool -i -S -k -m", self.check_ethtool),
            ("ethtool -t offline on the PF", self.check_pf_selftest),
            (f"sriov_numvfs {VFS}: stock ixgbevf binds", self.check_vfs),
            ("an IOMMU group each", self.check_groups),
            ("PF and VFs ping each other", self.check_ping),
            ("the uplink hears them", self.check_uplink),
            ("TCP, VF to VF", lambda c: self.check_tcp(c, "vf0", "vf1", "10.0.0.2")),
            ("TCP, PF to VF", lambda c: self.check_tcp(c, None, "vf1", "10.0.0.2")),
            ("TCP, VF to PF", lambda c: self.check_tcp(c, "vf1", None, "10.0.0.100")),
            (f"{FILE_MIB} MiB file over TCP, SHA-256", self.check_file),
        ]
        if not self.args.smoke:
            checks += [
                ("ip link set vf: mac", self.check_mac),
                ("ip link set vf: vlan, qos", self.check_vlan),
                ("ip link set vf: spoofchk", self.check_spoof),
                ("ip link set vf: trust", self.check_trust),
                ("ip link set vf: state", self.check_state),
                ("ip link set vf: max_tx_rate", self.check_rate),
                ("ip -s link show tells the truth", self.check_counters),
                ("guest's MAC change, refused and honoured", self.check_mac_change),
                ("ethtool -t on a VF, refused on the PF", self.check_vf_selftest),
                ("VF FLR and unbind under traffic", self.check_flr),
            ]
        checks += [
            ("stray DMA is blocked and named", self.check_stray_dma),
            ("vfio-pci takes the VFs", self.check_vfio),
        ]
        if not self.args.smoke:
            checks += [
                ("sriov_numvfs 8, 0, 63, 0, 4; EBUSY, ERANGE", self.check_numvfs),
                ("PF driver unloaded and loaded", self.check_reload),
                ("guest reboot", self.check_reboot),
                ("iommu=pt", lambda c: self.check_other_boot(c, "iommu=pt", "Passthrough")),
                ("iommu.strict=1", lambda c: self.check_other_boot(c, "iommu.strict=1",
                                                                   "DMA-strict|strict mode")),
                ("power-off, new guest, lazy mode",
                 lambda c: self.check_other_boot(c, "iommu.strict=0", "lazy|Lazy", IGB)),
                ("speed beside igb/igbvf on QEMU's igb", self.check_speed),
            ]
        checks += [
            ("no complaint from the kernel", self.check_complaints),
            ("vireod ends cleanly", self.check_end),
        ]
        return checks

    def start_machine(self, name, cmdline="", extra=()):
        self.machine = chassis.HostMachine(self.setup, self.run_dir, name)
        self.machine.extra = extra
        self.machine.cmdline = f"{chassis.CMDLINE} intel_iommu=on {cmdline}".strip()
        self.stack.callback(self.machine.stop)
        self.guest = self.machine.start(self.daemon.socket_path(), reboots=True)
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
        """A script in a VF's namespace; None is the PF's."""
        return self.guest.run(self.inside(name, script), limit_s)

    @staticmethod
    def inside(name, script):
        quoted = script.replace("'", "'\\''")
        return f"ip netns exec {name} sh -c '{quoted}'" if name else script

    def wait_link(self, check, name, interface):
        up, seen = self.guest.poll(self.inside(name, f"ip -br link show {interface}"), "LOWER_UP",
                                   LINK_LIMIT_S)
        check.expect(up, f"LOWER_UP on {interface}", seen)

    def numvfs(self, count):
        """Writes sriov_numvfs. Returns what the kernel said: nothing, or an error's text."""
        output = self.guest.run(f"printf {count} | dd of={SYS_PF}/sriov_numvfs 2>&1", 60).output
        return "".join(re.findall(r"error.*: (.*)", output))

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

    def mac(self, name):
        return self.ns(f"{name}", f"cat /sys/class/net/{name}/address").output.strip()

    def ping(self, name, address, count=5):
        """(lost in percent, RTT) after a first ping that may wait for ARP."""
        self.guest.poll(self.inside(name, f"ping -c 1 -W 1 {address}"), " 0% packet", 6)
        output = self.ns(name, f"ping -c {count} -i 0.05 -W 3 {address}", 20).output
        return (*ping_figures(output), output)

    def expect_ping(self, check, name, address):
        lost, rtt, output = self.ping(name, address)
        check.expect(lost == 0, f"answers from {address}", output)
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

    def count_frames(self, name, send, seconds=3):
        """Frames that arrive in a namespace while `send()` runs: [[source, type, vlan, count]]."""
        self.guest.must("rm -f /tmp/stop /tmp/ready")
        job = self.guest.start(self.inside(
            name, f"frames count {name} {seconds + 20} /tmp/stop 2>/tmp/ready"), seconds + 30)
        self.guest.poll("cat /tmp/ready", "ready", 5, 0.05)
        send()
        time.sleep(0.3)
        self.guest.must("touch /tmp/stop")
        return [line.split() for line in job.wait().output.splitlines()]

    @staticmethod
    def arrived(lines, mac):
        return sum(int(line[3]) for line in lines if line[0] == mac and line[1] == ETHERTYPE)

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

    # -- start -----------------------------------------------------------------------------------

    def check_start(self, check):
        self.daemon.start()
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

    def check_lspci(self, check):
        text = self.guest.must("lspci -vvv -D -s 0001:00:00.0")
        for wanted in ("PCI bridge", "Root Port", "ARIFwd", "Access Control Services"):
            check.expect(wanted in text, f"{wanted} in lspci of the root port", text)
        check.expect("ARIFwd+" in text, "ARI forwarding enabled", text)
        text = self.guest.must(f"lspci -vvv -D -s {PF}")
        for wanted in (r"\[160 v1\] Single Root I/O Virtualization", r"\[150 v1\] Alternative",
                       r"\[100 v1\] Advanced Error", r"\[140 v1\] Device Serial",
                       r"Total VFs: 64", r"ARIHierarchy\+", r"\[70\] MSI-X: .*Count=64"):
            check.expect(re.search(wanted, text), f"/{wanted}/ in lspci of the PF", text)
        check.note("ARI, ACS, SR-IOV, AER, DSN")

    def check_driver(self, check):
        driver = self.guest.must(f"basename $(readlink -f {SYS_PF}/driver)").strip()
        check.expect(driver == "ixgbe", "ixgbe", driver)
        text = self.guest.must("dmesg | grep ixgbe")
        found = re.search(r"MAC: 2, PHY: \d+, SFP\+: \d+, PBA No: (\S+)", text)
        check.expect(found, "MAC, PHY, SFP+ and PBA number", text)
        check.expect(not re.search("checksum|failed|error", text, re.IGNORECASE),
                     "no complaint", text)
        check.note(f"SFP+, PBA {found.group(1)}", pba=found.group(1))

    def check_link(self, check):
        self.guest.must(f"ip addr add 10.0.0.100/24 dev {self.pf}; ip link set {self.pf} up")
        self.wait_link(check, None, self.pf)
        text = self.guest.must(f"ethtool {self.pf}")
        speed = re.search(r"Speed: (\d+)Mb/s", text)
        check.expect(speed and speed.group(1) == "10000", "10000Mb/s", text)
        check.note("10 Gbit/s", mbps=10000)

    def check_ethtool(self, check):
        for option, wanted in (("-i", f"bus-info: {PF}"), ("-S", "rx_packets"),
                               ("-k", "tcp-segmentation-offload: on"),
                               ("-m", "10G Ethernet: 10G Base-SR")):
            text = self.guest.must(f"ethtool {option} {self.pf}")
            check.expect(wanted in text, f"{wanted} in ethtool {option}", text)
        check.note("all answer")

    def check_pf_selftest(self, check):
        text = self.guest.run(f"ethtool -t {self.pf} offline", 60).output
        results = re.findall(r"(\w+ test)\s+\((?:on/)?offline\)\s+(\d+)", text)
        check.expect("result is PASS" in text and len(results) == 5 and
                     all(value == "0" for _, value in results), "five sub-tests with 0", text)
        self.wait_link(check, None, self.pf)
        check.note(", ".join(name.split()[0].lower() for name, _ in results))

    # -- VFs -------------------------------------------------------------------------------------

    def check_vfs(self, check):
        start = time.monotonic()
        said = self.numvfs(VFS)
        check.expect(not said, "no error", said)
        ids = self.guest.must("lspci -D -n -d 8086:10ed").split("\n")[:-1]
        check.expect([line.split()[0] for line in ids] ==
                     [f"0001:01:10.{2 * vf}" for vf in range(VFS)],
                     "VFs at 01:10.0, .2, .4, .6", ids)
        for vf in range(VFS):
            driver = self.guest.must(f"basename $(readlink -f {SYS_PF}/virtfn{vf}/driver)").strip()
            check.expect(driver == "ixgbevf", f"ixgbevf on VF {vf}", driver)
        self.vfs_up(check)
        check.note(f"{VFS} VFs, links up, {time.monotonic() - start:.1f} s")

    def check_groups(self, check):
        groups = {}
        for line in self.guest.must("ls -d /sys/kernel/iommu_groups/*/devices/*").split():
            groups.setdefault(line.split("/")[4], []).append(line.split("/")[-1])
        ours = {devices[0]: devices for devices in groups.values() if devices[0] >= "0001:01"}
        check.expect(len(ours) == VFS + 1 and all(len(d) == 1 for d in ours.values()),
                     f"{VFS + 1} groups with one function each", groups)
        check.note(f"{VFS + 1} groups")

    def check_ping(self, check):
        rtts = []
        for name, address in (("vf0", "10.0.0.2"), ("vf1", "10.0.0.1"), ("vf2", "10.0.0.4"),
                              (None, "10.0.0.1"), ("vf3", "10.0.0.100")):
            rtts.append(self.expect_ping(check, name, address))
        check.note(f"RTT {min(rtts):.2f} to {max(rtts):.2f} ms", rtt_ms=rtts)

    def recorded(self):
        return self.record.read_bytes() if self.record.exists() else b""

    def check_uplink(self, check):
        """Broadcasts leave by the port's uplink, frames between the card's functions do not."""
        macs = {name: self.mac(name) for name in ("vf0", "vf1")}
        pair = bytes.fromhex((macs["vf1"] + macs["vf0"]).replace(":", ""))
        outside = "02:00:00:00:99:99"
        before = len(self.recorded())
        for target in (outside, macs["vf1"], "ff:ff:ff:ff:ff:ff"):
            self.ns("vf0", f"frames send vf0 20 {target} {macs['vf0']} {ETHERTYPE}")
        time.sleep(0.5)
        new = self.recorded()[before:]
        counts = [new.count(bytes.fromhex((target + macs["vf0"]).replace(":", "") + ETHERTYPE))
                  for target in (outside, "ff:ff:ff:ff:ff:ff")]
        check.expect(counts == [20, 20], "20 to a stranger and 20 to everybody", counts)
        check.expect(new.count(pair) == 0, "none of VF 0 to VF 1", new.count(pair))
        check.note("what is for outside or everybody, and nothing else")

    def check_tcp(self, check, client, server, address):
        before = self.cycles()
        data = self.iperf(client, server, address)
        after = self.cycles()
        check.expect("error" not in data, "iperf3's result", data.get("error"))
        gbps = data["end"]["sum_received"]["bits_per_second"] / 1e9
        check.expect(gbps > 0.01, "more than 0.01 Gbit/s", f"{gbps:.4f}")

        def frames(stats):
            port = stats["ports"][0]
            return sum(c["tx_frames"] for c in [port["counts"], *port["vfs"]])
        packets = frames(after) - frames(before)
        check.expect(packets > 100, "the packets in the card's counters", packets)
        per = {kind: (after["cycles"][kind] - before["cycles"][kind]) / packets
               for kind in ("window_reads", "window_writes", "interrupts", "iommu_writes",
                            "iommu_reads")}
        check.note(f"{gbps:.2f} Gbit/s; per packet: {per['window_reads']:.3f} reads, "
                   f"{per['window_writes']:.3f} writes, {per['interrupts']:.3f} interrupts, "
                   f"{per['iommu_reads'] + per['iommu_writes']:.3f} IOMMU",
                   gbps=round(gbps, 3), packets=packets,
                   per_packet={kind: round(value, 4) for kind, value in per.items()})

    def check_file(self, check):
        self.guest.must(f"randomfile {FILE_MIB << 20} >/tmp/file", 30)
        receiving = self.guest.start(self.inside(
            "vf1", "rm -f /tmp/hold; mkfifo /tmp/hold; exec 3<>/tmp/hold; "
            "exec nc -l -p 5002 <&3 >/tmp/copy"), 60)
        self.guest.poll(self.inside("vf1", "netstat -ltn"), ":5002 ", 5, 0.05)
        start = time.monotonic()
        self.ns("vf0", "nc 10.0.0.2 5002 </tmp/file", 60)
        receiving.wait()
        seconds = time.monotonic() - start
        sums = [line.split()[0] for line in
                self.guest.must("sha256sum /tmp/file /tmp/copy", 30).splitlines()]
        size = int(self.guest.must("stat -c %s /tmp/copy"))
        self.guest.must("rm /tmp/file /tmp/copy")
        check.expect(size == FILE_MIB << 20, f"{FILE_MIB} MiB at the far end", size)
        check.expect(sums[0] == sums[1], f"SHA-256 {sums[0]}", sums[1])
        check.note(f"{sums[0][:16]}… agrees, {seconds:.1f} s", sha256=sums[0])

    # -- ip link set vf --------------------------------------------------------------------------

    def check_mac(self, check):
        self.set_vf(0, f"mac {ADMIN_MAC}")
        self.restart_vf(check, 0)
        mac = self.mac("vf0")
        check.expect(mac == ADMIN_MAC, ADMIN_MAC, mac)
        self.ns("vf1", "ip neigh flush all")
        self.expect_ping(check, "vf1", "10.0.0.1")
        seen = self.ns("vf1", "ip neigh show 10.0.0.1").output
        check.expect(ADMIN_MAC in seen, "that MAC in VF 1's neighbour table", seen)
        check.note(f"{mac} seen by VF 1")

    def check_vlan(self, check):
        self.set_vf(0, "vlan 20 qos 3")
        self.set_vf(1, "vlan 20")
        for vf in (0, 1):
            self.restart_vf(check, vf)
        rtt = self.expect_ping(check, "vf0", "10.0.0.2")
        self.expect_no_ping(check, "vf0", "10.0.0.3")
        self.expect_no_ping(check, "vf2", "10.0.0.1")
        # On the wire: the priority in the tag of a frame to everybody.
        before = self.recorded()
        self.ns("vf0", f"frames send vf0 3 ff:ff:ff:ff:ff:ff {self.mac('vf0')} {ETHERTYPE}")
        time.sleep(0.5)
        tag = bytes.fromhex("8100" + f"{3 << 13 | 20:04x}" + ETHERTYPE)
        count = self.recorded()[len(before):].count(tag)
        check.expect(count == 3, "3 frames with VLAN 20, priority 3, on the uplink", count)
        for vf in (0, 1):
            self.set_vf(vf, "vlan 0")
            self.restart_vf(check, vf)
        self.expect_ping(check, "vf0", "10.0.0.3")
        check.note(f"VLAN 20 apart, tag with priority 3 on the uplink; RTT {rtt:.2f} ms")

    def check_spoof(self, check):
        target = self.mac("vf1")

        def send():
            self.ns("vf0", f"frames send vf0 50 {target} {SPOOFED_MAC} {ETHERTYPE}")
        before = self.vf_counts(0)["tx_spoof_drops"]
        with_check = self.arrived(self.count_frames("vf1", send), SPOOFED_MAC)
        drops = self.vf_counts(0)["tx_spoof_drops"] - before
        self.set_vf(0, "spoofchk off")
        without = self.arrived(self.count_frames("vf1", send), SPOOFED_MAC)
        self.set_vf(0, "spoofchk on")
        check.expect((with_check, drops, without) == (0, 50, 50),
                     "0 of 50 with it, 50 counted, 50 of 50 without",
                     (with_check, drops, without))
        said, seen = self.guest.poll("dmesg", "50 Spoofed packets detected", 6)
        check.expect(said, "ixgbe to say so", seen[-300:])
        check.note("50 dropped and reported by ixgbe; 50 arrive without")

    def check_trust(self, check):
        """A VF hears all multicast only when it is trusted. (An 82599 has no unicast promiscuous
        mode for VFs: ixgbe refuses that in either case.)"""
        source = self.mac("vf0")
        seen = {}
        for trust in ("off", "on"):
            self.set_vf(2, f"trust {trust}")
            self.restart_vf(check, 2)
            self.ns("vf2", "ip link set vf2 allmulticast off; ip link set vf2 allmulticast on", 20)
            time.sleep(0.5)
            seen[trust] = tuple(self.arrived(self.count_frames("vf2", lambda target=target: self.ns(
                "vf0", f"frames send vf0 50 {target} {source} {ETHERTYPE}")), source)
                for target in (FOREIGN_GROUP, OTHER_MAC))
        self.ns("vf2", "ip link set vf2 allmulticast off")
        self.set_vf(2, "trust off")
        check.expect(seen == {"off": (0, 0), "on": (50, 0)},
                     "multicast of others with trust only, others' unicast never", seen)
        check.note("foreign multicast: 0 of 50 without trust, 50 with")

    def check_state(self, check):
        self.set_vf(0, "state disable")
        down, seen = self.guest.poll(self.inside("vf0", "ip -br link show vf0"), "NO-CARRIER", 10)
        check.expect(down, "NO-CARRIER", seen)
        self.expect_no_ping(check, "vf1", "10.0.0.1")
        self.set_vf(0, "state auto")
        self.restart_vf(check, 0)
        self.expect_ping(check, "vf1", "10.0.0.1")
        check.note("down and silent, then up again")

    def check_rate(self, check):
        free = self.iperf("vf0", "vf1", "10.0.0.2")
        self.set_vf(0, f"max_tx_rate {RATE_MBPS}")
        bound = self.iperf("vf0", "vf1", "10.0.0.2", seconds=3)
        self.set_vf(0, "max_tx_rate 0")
        again = self.iperf("vf0", "vf1", "10.0.0.2")
        rates = []
        for data in (free, bound, again):
            check.expect("error" not in data, "iperf3's result", data.get("error"))
            rates.append(data["end"]["sum_received"]["bits_per_second"] / 1e6)
        check.note(f"{rates[0]:.0f}, {rates[1]:.1f} (of {RATE_MBPS}), {rates[2]:.0f} Mbit/s",
                   mbps=[round(rate, 1) for rate in rates])
        check.expect(RATE_MBPS * 0.5 <= rates[1] <= RATE_MBPS * 1.05,
                     f"one flow at {RATE_MBPS} Mbit/s at most", rates)
        check.expect(min(rates[0], rates[2]) > RATE_MBPS * 1.5, "more without a limit", rates)

    def vf_statistics(self, vf):
        """(received, sent) packets of `ip -s link show`."""
        text = self.guest.must(f"ip -s link show {self.pf}")
        part = text.split(f"vf {vf} ")[1].split("\n")
        return int(part[2].split()[1]), int(part[4].split()[1])

    def check_counters(self, check):
        source, target = self.mac("vf0"), self.mac("vf1")
        time.sleep(3)  # ixgbe's service task
        before, card = self.vf_statistics(1), self.vf_counts(1)["rx_frames"]
        self.ns("vf0", f"frames send vf0 500 {target} {source} {ETHERTYPE}")
        end = time.monotonic() + 8
        rise = 0
        while rise < 500 and time.monotonic() < end:
            time.sleep(0.3)
            rise = self.vf_statistics(1)[0] - before[0]
        card = self.vf_counts(1)["rx_frames"] - card
        check.expect(500 <= rise <= card, "500 and no more than the card counted", (rise, card))
        check.note(f"{rise} packets, the card says {card}")

    def check_mac_change(self, check):
        said = self.ns("vf0", f"ip link set vf0 address {OTHER_MAC}")
        check.expect(said.code != 0, "VF 0, whose MAC the administrator set, refused", said)
        said = self.ns("vf3", f"ip link set vf3 address {OTHER_MAC}")
        check.expect(said.code == 0, "VF 3's own choice honoured", said)
        self.ns("vf1", "ip neigh flush all")
        self.expect_ping(check, "vf1", "10.0.0.4")
        seen = self.ns("vf1", "ip neigh show 10.0.0.4").output
        check.expect(OTHER_MAC in seen, f"{OTHER_MAC} at the far end", seen)
        self.restart_vf(check, 0)
        self.expect_ping(check, "vf1", "10.0.0.1")
        check.note("refused where an administrator set it")

    def check_vf_selftest(self, check):
        text = self.ns("vf3", "ethtool -t vf3 offline", 60).output
        check.expect("result is PASS" in text, "PASS on the VF", text)
        self.wait_link(check, "vf3", "vf3")
        text = self.guest.run(f"ethtool -t {self.pf} offline", 30).output
        check.expect("result is FAIL" in text, "FAIL on the PF, by ixgbe's design", text)
        said = self.guest.must("dmesg | tail -30")
        check.expect("offline diagnostic is not supported when VFs are present" in said,
                     "ixgbe's reason", said)
        check.note("VF: PASS; PF: refused while VFs are there")

    def check_flr(self, check):
        """VF 2 is reset and loses its driver while VF 0 and 1 carry a flow."""
        flow = self.guest.start(self.inside("vf1", "iperf3 -s -1 -p 5201"), 40)
        self.guest.poll(self.inside("vf1", "netstat -ltn"), ":5201 ", 5, 0.05)
        client = self.guest.start(self.inside("vf0", "iperf3 -J -c 10.0.0.2 -p 5201 -t 5"), 40)
        device = "0001:01:10.4"
        path = f"/sys/bus/pci/devices/{device}"
        time.sleep(0.5)
        said = self.guest.run(f"printf 1 | tee {path}/reset 2>&1 >/dev/null", 20).output
        check.expect(not said.strip(), "VF 2 reset while its driver is there", said)
        self.guest.must(f"printf {device} >{path}/driver/unbind; printf 1 >{path}/reset; "
                        f"printf {device} >/sys/bus/pci/drivers/ixgbevf/bind", 30)
        output = client.wait().output
        flow.wait()
        data = json.loads(output)
        check.expect("error" not in data, "the flow to go on", data.get("error"))
        # The namespace gave its interface back to the driver that went; a new one has come.
        self.guest.must("V=$(ls " + path + "/net) && ip link set $V netns vf2 && "
                        "ip netns exec vf2 sh -c \"ip link set $V name vf2; "
                        "ip addr add 10.0.0.3/24 dev vf2; ip link set vf2 up\"", 20)
        self.wait_link(check, "vf2", "vf2")
        self.expect_ping(check, "vf0", "10.0.0.3")
        gbps = data["end"]["sum_received"]["bits_per_second"] / 1e9
        check.note(f"the others' flow went on at {gbps:.2f} Gbit/s")

    # -- IOMMU, VFIO -----------------------------------------------------------------------------

    def drop_namespaces(self):
        self.guest.run("for i in 0 1 2 3; do ip netns del vf$i; done 2>/dev/null; sleep 0.5", 20)

    def check_stray_dma(self, check):
        self.guest.must("ip netns del vf0; sleep 0.5; printf 0001:01:10.0 >"
                        "/sys/bus/pci/drivers/ixgbevf/unbind", 20)
        before = self.cycles()["cycles"]["iommu_interrupts"]
        said = self.guest.run(f"vfdma 0001:01:10.0 {STRAY_IOVA:#x}", 20)
        named, text = self.guest.poll("dmesg | tail -20", FAULT, 5)
        rise = self.cycles()["cycles"]["iommu_interrupts"] - before
        check.expect(named, f"/{FAULT}/ in dmesg", f"{said}\n{text}")
        check.expect(rise >= 1, "a fault interrupt", rise)
        self.expect_ping(check, "vf2", "10.0.0.2")
        reason = re.search(FAULT, text).group(1)
        check.note(f"DMAR names 01:10.0, reason {reason}; the others go on")

    def check_vfio(self, check):
        self.drop_namespaces()
        for vf in range(VFS):
            device = f"0001:01:10.{2 * vf}"
            path = f"/sys/bus/pci/devices/{device}"
            self.guest.run(f"printf {device} >{path}/driver/unbind 2>/dev/null; "
                           f"printf vfio-pci >{path}/driver_override; "
                           f"printf {device} >/sys/bus/pci/drivers_probe", 20)
            driver = self.guest.must(f"basename $(readlink -f {path}/driver)").strip()
            check.expect(driver == "vfio-pci", f"vfio-pci on {device}", driver)
        groups = self.guest.must("ls /dev/vfio").split()
        check.expect(len(groups) == VFS + 1, f"{VFS} groups in /dev/vfio", groups)
        check.note(f"/dev/vfio has {', '.join(g for g in groups if g != 'vfio')}")

    # -- coming and going ------------------------------------------------------------------------

    def check_numvfs(self, check):
        said = [self.numvfs(0)]
        seconds = {}
        for count in (8, 0, 63):
            start = time.monotonic()
            said.append(self.numvfs(count))
            seconds[count] = round(time.monotonic() - start, 1)
        check.expect(not any(said), "no error", said)
        seen = len(self.guest.must("lspci -D -n -d 8086:10ed").splitlines())
        check.expect(seen == 63, "63 VFs", seen)
        busy = self.numvfs(8)
        check.expect("busy" in busy, "EBUSY for 63 to 8", busy)
        said = [self.numvfs(0)]
        wide = self.numvfs(64)
        check.expect("range" in wide, "ERANGE for 64", wide)
        said.append(self.numvfs(VFS))
        check.expect(not any(said), "no error", said)
        self.vfs_up(check)
        self.expect_ping(check, "vf0", "10.0.0.2")
        check.note(f"63 VFs in {seconds[63]} s; EBUSY, ERANGE", seconds=seconds)

    def check_reload(self, check):
        self.drop_namespaces()
        self.guest.must("rmmod ixgbe", 60)
        left = self.guest.must("lspci -D -n -d 8086:10ed")
        self.guest.must("insmod /modules/ixgbe.ko", 60)
        self.pf = self.guest.must(f"ls {SYS_PF}/net").strip()
        self.bring_up(check)
        check.note(f"VFs after rmmod: {len(left.splitlines())}")

    def bring_up(self, check):
        """PF, VFs and a ping, from a driver that has just been loaded."""
        self.guest.must(f"ip addr add 10.0.0.100/24 dev {self.pf}; ip link set {self.pf} up")
        self.wait_link(check, None, self.pf)
        if self.guest.must(f"cat {SYS_PF}/sriov_numvfs").strip() != "0":
            self.numvfs(0)
        said = self.numvfs(VFS)
        check.expect(not said, "no error", said)
        self.vfs_up(check)
        self.expect_ping(check, "vf0", "10.0.0.2")
        return self.expect_ping(check, None, "10.0.0.1")

    def check_reboot(self, check):
        start = time.monotonic()
        self.guest.start("reboot -f")
        self.boots += 1
        check.expect(self.guest.wait_hello(self.boots, BOOT_LIMIT_S), "the agent again", "nothing")
        self.wait_boot(check)
        rtt = self.bring_up(check)
        check.note(f"all again after {time.monotonic() - start:.1f} s, RTT {rtt:.2f} ms")

    def check_other_boot(self, check, cmdline, wanted, extra=()):
        """Another guest on the same daemon, with other IOMMU settings."""
        self.complaints(check)
        self.guest.start("poweroff -f")
        end = time.monotonic() + 20
        while self.machine.process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        check.expect(self.machine.process.poll() is not None, "QEMU to end", "it runs on")
        self.machine.stop()
        self.start_machine(f"host-{cmdline.replace('=', '-')}", cmdline, extra)
        self.wait_boot(check)
        text = self.guest.must("dmesg | grep -i iommu")
        check.expect(re.search(wanted, text), f"/{wanted}/ in dmesg", text)
        rtt = self.bring_up(check)
        data = self.iperf("vf0", "vf1", "10.0.0.2")
        check.expect("error" not in data, "iperf3's result", data.get("error"))
        gbps = data["end"]["sum_received"]["bits_per_second"] / 1e9
        check.note(f"RTT {rtt:.2f} ms, TCP VF to VF {gbps:.2f} Gbit/s", gbps=round(gbps, 3))

    def igb_up(self, check):
        """QEMU's igb, in the same VM: the PF here, a VF in the namespace igb0."""
        self.guest.must("while read -r m; do insmod $m; done </modules.igb", 20)
        path, text = "", self.guest.must("lspci -D -n -d 8086:10c9")
        check.expect(text, "QEMU's igb", "none")
        path = f"/sys/bus/pci/devices/{text.split()[0]}"
        self.guest.must(
            f"P=$(ls {path}/net) && ip link set $P name igbpf && ip link set igbpf up && "
            f"ip addr add 10.1.0.100/24 dev igbpf && printf 1 >{path}/sriov_numvfs && sleep 0.5 && "
            f"V=$(ls {path}/virtfn0/net) && ip netns add igb0 && ip link set $V netns igb0 && "
            "ip netns exec igb0 sh -c \"ip link set $V name igb0; ip addr add 10.1.0.1/24 dev igb0; "
            "ip link set igb0 up\"", 30)
        self.wait_link(check, "igb0", "igb0")

    def check_speed(self, check):
        """PF in one namespace, VF in another: rounds of both cards take turns."""
        self.igb_up(check)
        cards = {"vireo": ("vf0", "10.0.0.1"), "igb": ("igb0", "10.1.0.1")}
        figures = {card: {"rtt": [], "to_vf": [], "to_pf": []} for card in cards}
        for _ in range(3):
            for card, (name, address) in cards.items():
                lost, rtt, output = self.ping(None, address, 20)
                check.expect(lost == 0, f"no loss on {card}", output)
                figures[card]["rtt"].append(rtt)
                for direction, option in (("to_vf", ""), ("to_pf", "-R")):
                    data = self.iperf(None, name, address, option, 2)
                    check.expect("error" not in data, f"iperf3's result on {card}",
                                 data.get("error"))
                    figures[card][direction].append(
                        data["end"]["sum_received"]["bits_per_second"] / 1e9)
        median = {card: {kind: sorted(values)[1] for kind, values in kinds.items()}
                  for card, kinds in figures.items()}
        ratios = {kind: median["vireo"][kind] / median["igb"][kind] for kind in ("to_vf", "to_pf")}
        ratios["rtt"] = median["igb"]["rtt"] / median["vireo"]["rtt"]
        check.note(", ".join(f"{text} {median['vireo'][kind]:.2f} to {median['igb'][kind]:.2f} "
                             f"({ratios[kind]:.2f}×)" for kind, text in
                             (("to_vf", "PF→VF Gbit/s"), ("to_pf", "VF→PF"), ("rtt", "RTT ms"))),
                   medians=median, ratios={k: round(v, 3) for k, v in ratios.items()})

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
        end = time.monotonic() + 5
        while self.daemon.call("chassis.info")["client_pid"] and time.monotonic() < end:
            time.sleep(0.05)
        code = self.daemon.stop()
        check.expect(code == 0, "exit 0 after SIGTERM", code)
        check.expect(not (self.run_dir / "chassis.sock").exists(), "no socket left", "one")
        check.note("exit 0")


def without_backend(command):
    """QEMU's own memory instead of a shared file."""
    at = command.index("-object")
    words = command[:at] + command[at + 2:]
    return [word.replace(",memory-backend=m", "") for word in words] + [
        "-m", f"{chassis.MEMORY_MIB}M"]


TWO_PORTS = ('seed = "two"; ports = ( { uplink = { kind = "null"; }; vfs = 1; }, '
             '{ uplink = { kind = "null"; }; vfs = 1; } );')


class TwoPorts(HostScene):
    """A dual-port card, all its VFs, in a VM with memory above 4 GiB and two CPUs."""

    def __init__(self, report, setup, args, run_dir):
        super().__init__(report, setup, args, run_dir)
        self.daemon = chassis.ChassisDaemon(args.vireod, run_dir, TWO_PORTS)

    def start_machine(self, name, cmdline="", extra=()):
        self.machine = chassis.HostMachine(self.setup, self.run_dir, name)
        self.machine.cmdline = f"{chassis.CMDLINE} intel_iommu=on"
        self.machine.memory_mib = 5120
        self.stack.callback(self.machine.stop)
        self.guest = self.machine.start(self.daemon.socket_path(), cpus=2)

    def list_checks(self):
        return (("63 VFs on each of two PFs", self.check_two),
                ("VFs of both ports in namespaces", self.check_both),
                ("no complaint from the kernel", self.check_complaints),
                ("vireod ends cleanly", self.check_end))

    def each(self, script):
        for port in range(2):
            self.guest.must(f"D=/sys/bus/pci/devices/0001:01:00.{port}; N=$(ls $D/net); "
                            f"P={port}; {script}", 90)

    def check_two(self, check):
        self.each("ip link set $N up; printf 63 >$D/sriov_numvfs")
        seen = [line.split()[0] for line in
                self.guest.must("lspci -D -n -d 8086:10ed").splitlines()]
        check.expect(len(seen) == 126 and seen[:3] == ["0001:01:10.0", "0001:01:10.1",
                                                       "0001:01:10.2"],
                     "126 VFs, 01:10.0, .1, .2, …", seen[:4])
        groups = len(self.guest.must("ls /sys/kernel/iommu_groups").split())
        check.expect(groups == 129, "129 IOMMU groups, with the PFs and the root port", groups)
        check.note(f"126 VFs, {groups} IOMMU groups")

    def check_both(self, check):
        self.each("printf 0 >$D/sriov_numvfs; printf 1 >$D/sriov_numvfs; sleep 0.5; "
                  "V=$(ls $D/virtfn0/net); ip addr add 10.$P.0.100/24 dev $N; ip netns add p$P; "
                  "ip link set $V netns p$P; ip netns exec p$P sh -c \"ip link set $V name v; "
                  "ip addr add 10.$P.0.1/24 dev v; ip link set v up\"")
        rtts = []
        for port in range(2):
            self.wait_link(check, f"p{port}", "v")
            rtts.append(self.expect_ping(check, None, f"10.{port}.0.1"))
        queues = self.guest.must("grep -c 'eth[01]-TxRx' /proc/interrupts").strip()
        check.note(f"RTT {rtts[0]:.2f} and {rtts[1]:.2f} ms, {queues} queue vectors of the PFs")


class Limits:
    """What cannot work is named in vireod's log, and the VM boots all the same."""

    cases = (
        ("memory without a file", without_backend, (), "the VM's memory has no file"),
        ("share=off", lambda words: [w.replace("share=on", "share=off") for w in words], (),
         r"private to QEMU \(share=off\)"),
        ("the BAR is not where the tables say", lambda words: words,
         ("--chassis-base", "80000000"),
         "placed the carrier's BAR at c0000000, and the ACPI tables say 80000000"),
        ("a second IOMMU in QEMU", lambda words: [
            words[0], "-device", "intel-iommu,caching-mode=on", *words[1:]], (),
         "QEMU has an IOMMU of its own"),
    )

    def __init__(self, report, setup, args, run_dir):
        self.report, self.setup, self.args, self.run_dir = report, setup, args, run_dir

    def run(self):
        for number, (name, edit, options, wanted) in enumerate(self.cases):
            self.report.check(name, lambda check, case=(number, edit, options, wanted):
                              self.check_case(check, *case))

    def check_case(self, check, number, edit, options, wanted):
        folder = self.run_dir / f"l{number}"
        folder.mkdir()
        daemon = chassis.ChassisDaemon(self.args.vireod, folder, self.args.config.read_text())
        daemon.options = (*chassis.ChassisDaemon.options, *options)
        machine = chassis.HostMachine(self.setup, folder, f"limit{number}")
        machine.edit = edit
        machine.cmdline = f"{chassis.CMDLINE} intel_iommu=on"
        try:
            daemon.start()
            machine.start(daemon.socket_path())
            failure = machine.wait_up(BOOT_LIMIT_S)
            check.expect(not failure, "the VM to boot", failure)
            said = daemon.log_lines(wanted)
            check.expect(said, f"/{wanted}/ in vireod's log", process.tail(daemon.log, 5))
            check.note(said[0].split("chassis: ", 1)[-1][:70])
        finally:
            machine.stop()
            daemon.stop()


def run_scenes(args, report):
    with process.run_directory() as run_dir:
        setup = chassis.Setup(CACHE, run_dir, report.say,
                              "newer-kernel" if args.newer_kernel else "guest")
        report.facts.update(qemu=setup.qemu_version, accelerator=setup.accel,
                            accelerator_why=setup.accel_why, kernel=setup.kernel_version)
        report.say(f"QEMU {setup.qemu_version}, {setup.accel} ({setup.accel_why}); "
                   f"guest: Debian's Linux {setup.kernel_version}")
        report.start_group("chassis", "== one VM has the card: its kernel is the SR-IOV host")
        HostScene(report, setup, args, run_dir / "c").run()
        if not args.smoke:
            report.start_group("two-ports", "== a dual-port card, 5 GiB of memory, two CPUs")
            TwoPorts(report, setup, args, run_dir / "t").run()
            report.start_group("limits", "== what cannot work is named, and the VM boots")
            Limits(report, setup, args, run_dir).run()


def main():
    parser = argparse.ArgumentParser(description="Chassis mode, checked.")
    parser.add_argument("--json", metavar="FILE", help="write the results for programs")
    parser.add_argument("--smoke", action="store_true", help="the shortest way through")
    parser.add_argument("--newer-kernel", action="store_true",
                        help="the stock kernel of the next Debian")
    parser.add_argument("--config", type=Path, default=TOP / "examples" / "card.conf")
    parser.add_argument("--vireod", type=Path, default=TOP / "build" / "vireod")
    args = parser.parse_args()
    report = Report()
    process.catch_signals()
    try:
        run_scenes(args, report)
    except (OSError, qemu.QemuError, initramfs.InitramfsError, DaemonError) as error:
        report.say(f"demo-chassis: {error}")
        return 2
    except (KeyboardInterrupt, process.Interrupted):
        report.say("\ndemo-chassis: interrupted")
        return 130
    return finish(report, args.json)


if __name__ == "__main__":
    sys.exit(main())

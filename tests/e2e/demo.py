# SPDX-License-Identifier: BSD-3-Clause
"""The main job: stock guests on QEMU talk through VFs of one card that vireod is.

Usage: demo.py [--json FILE] [--form trapped|mapped] [--config FILE] [--vireod FILE]
Exit: 0 all passed, 1 something failed, 2 it could not be tried.
"""

import os
import re
import sys
import time

import process
import program
import qemu
from daemon import with_doorbells
from scene import (SLOWEST_GBPS, TEST_ETHERTYPE, Scene, offloads_on, ping_all, ping_figures,
                   unanswered)

FORMS = {
    "trapped": "each doorbell is a message to vireod",
    "mapped": "doorbells are shared memory that vireod polls",
}
FILE_MIB = 64
IPERF_S = 2
JUMBO_MTU = 9000
SPOOFED_MAC = "02:de:ad:be:ef:01"
GUEST_VLAN = 42
VLAN_VM = 2  # examples/card.conf puts VF 2 on a VLAN of its own
# What stock ixgbevf turns on by itself (ethtool -k).
DEFAULT_OFFLOADS = ("rx-checksumming", "tx-checksumming", "tx-checksum-ip-generic",
                    "scatter-gather", "tcp-segmentation-offload", "tx-tcp-segmentation",
                    "tx-tcp6-segmentation", "generic-segmentation-offload",
                    "generic-receive-offload", "rx-vlan-offload", "tx-vlan-offload",
                    "rx-vlan-filter")


class MainJob(Scene):
    """The whole job with one doorbell form: one vireod, three guests."""

    vm_count = 3

    def __init__(self, *args):
        super().__init__(*args)
        self.tcp_interrupts = 0
        self.tcp_cycles = dict.fromkeys(("doorbell", "interrupt", "moderation", "mailbox", "other"),
                                        0)

    def list_checks(self):
        return (
            *self.basic_checks(),
            ("default offloads are on", self.check_offloads),
            ("ping both ways", self.check_ping),
            ("IPv6 (multicast) ping", self.check_ping6),
            ("MSI-X interrupts arrive", self.check_interrupts),
            ("TCP, VM 0 to VM 1", lambda check: self.check_tcp(check, "")),
            ("TCP, VM 1 to VM 0", lambda check: self.check_tcp(check, "-R")),
            ("messages for an interrupt, by kind", self.check_messages),
            (f"{FILE_MIB} MiB file over TCP, SHA-256", self.check_file),
            ("RSS spreads over two queues", self.check_rss),
            ("VLAN interface in the guests", self.check_guest_vlan),
            ("another VLAN is out of reach", self.check_vlan),
            ("spoofed source MAC does not arrive", self.check_spoof),
            ("assigned VF refused to a second VM", self.check_refused),
            (f"jumbo frames, MTU {JUMBO_MTU}", self.check_jumbo),
            ("offloads still the same", self.check_offloads_kept),
            *self.last_checks(),
        )

    # -- the checks --------------------------------------------------------------------------

    def check_offloads(self, check):
        for vm in self.vms:
            off = [name for name in DEFAULT_OFFLOADS if name not in vm.offloads]
            check.expect(not off, "what ixgbevf turns on by default", f"off: {', '.join(off)}")
        check.note("checksums, TSO, scatter, VLAN insertion and stripping", on=vm.offloads)

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
        check.note(f"answers from {address}")

    def check_interrupts(self, check):
        notes = []
        for vm in self.vms[:2]:
            before, _, _ = vm.irq_count()
            self.vms[0].guest.must(f"ping -c 5 -i 0.05 -W 1 {self.vms[1].address}")
            after, vectors, kinds = vm.irq_count()
            check.expect(after > before and vectors >= 2 and kinds,
                         "two MSI vectors or more, whose counts rise",
                         f"{vectors} vectors of kind {kinds}, {before} then {after}")
            notes.append(f"VM {vm.index}: {after} on {vectors} vectors")
            check.figures[f"interrupts_vm{vm.index}"] = after
        check.note(", ".join(notes))

    def check_tcp(self, check, direction):
        sender, receiver = self.vms[0], self.vms[1]
        before = self.daemon.stats()
        data = self.iperf(sender, receiver, f"-t {IPERF_S} {direction}", IPERF_S)
        after = self.daemon.stats()
        check.expect("error" not in data, "iperf3's result", data.get("error"))
        gbps = data["end"]["sum_received"]["bits_per_second"] / 1e9
        resent = data["end"]["sum_sent"].get("retransmits", 0)
        check.expect(gbps > SLOWEST_GBPS, f"more than {SLOWEST_GBPS} Gbit/s", f"{gbps:.5f}")
        packets = sum(after.count(vf, "tx_frames") - before.count(vf, "tx_frames") for vf in (0, 1))
        messages = after.messages(0, 1) - before.messages(0, 1)
        interrupts = sum(after.vf(vf)["interrupts"] - before.vf(vf)["interrupts"] for vf in (0, 1))
        check.expect(packets > 100, "the packets in the VFs' counters", packets)
        if self.doorbells == "mapped":
            # What is left are the register accesses of each interrupt's handler.
            check.expect(messages <= 3 * interrupts + 100, "no message for a packet, and no more "
                         "than 3 for an interrupt", f"{messages} for {interrupts} interrupts")
        check.note(f"{gbps:.2f} Gbit/s, {messages / packets:.3f} messages/packet "
                   f"({packets} packets, {messages} messages, {interrupts} interrupts), "
                   f"{resent} resent", gbps=round(gbps, 3), packets=packets, messages=messages,
                   messages_per_packet=round(messages / packets, 4), interrupts=interrupts,
                   retransmits=resent)
        self.tcp_interrupts += interrupts
        for kind in self.tcp_cycles:
            self.tcp_cycles[kind] += sum(after.count(vf, f"{kind}_cycles") -
                                         before.count(vf, f"{kind}_cycles") for vf in (0, 1))

    def check_messages(self, check):
        """What the messages of TCP were for. Stock ixgbevf unmasks its vector after each interrupt
        (VTEIMS), and rewrites its interval (VTEITR) nearly as often."""
        check.expect(self.tcp_interrupts > 0, "interrupts during TCP", self.tcp_interrupts)
        each = {kind: count / self.tcp_interrupts for kind, count in self.tcp_cycles.items()}
        check.note(f"{each['doorbell']:.2f} doorbells, "
                   f"{each['interrupt']:.2f} to unmask it (VTEIMS), "
                   f"{each['moderation']:.2f} for its interval (VTEITR), "
                   f"{each['mailbox'] + each['other']:.2f} others",
                   interrupts=self.tcp_interrupts, **self.tcp_cycles)
        if self.doorbells == "mapped":
            check.expect(not self.tcp_cycles["doorbell"], "no doorbell message", self.tcp_cycles)

    def check_file(self, check):
        before, after, seconds, size = self.send_file(FILE_MIB, 60)
        check.expect(size == FILE_MIB * 1024 * 1024, f"{FILE_MIB} MiB at the far end", size)
        check.expect(before == after, f"SHA-256 {before}", after)
        check.note(f"{after[0][:16]}… agrees, {seconds:.1f} s", sha256=after[0],
                   seconds=round(seconds, 2), bytes=size)

    def check_rss(self, check):
        vm = self.vms[1]
        before = self.rx_queues(vm)
        check.expect(len(before) == 2, "two receive queues on the VM with two CPUs", before)
        # Connections to 48 closed ports: a SYN each. The key is random, and the queue is a sum of
        # bits of the ports that it chooses: ports that have nearly all bits in common, as a kernel
        # chooses its own, came to one queue once in some hundred runs.
        self.vms[0].guest.run("for p in $(seq 1000 1307 62429); do "
                              f"nc -w 1 {vm.address} $p </dev/null 2>/dev/null; done", 30)
        rise = [after - first for first, after in zip(before, self.rx_queues(vm))]
        check.note(f"{rise[0]} and {rise[1]} packets", packets=rise)
        check.expect(min(rise) > 0, "packets in both queues", rise)

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
        check.note(f"100 sent, {spoofed} arrived, {drops} counted as dropped "
                   f"(own MAC: {own} of 50)", spoofed_sent=100, spoofed_arrived=spoofed,
                   dropped=drops, own_arrived=own)
        check.expect(own == 50, "50 frames with its own MAC", lines)
        check.expect(spoofed == 0, "no frame with a spoofed MAC", lines)
        check.expect(drops == 100, "100 in tx_spoof_drops", drops)

    def check_refused(self, check):
        holder = self.vms[0]
        pinging = holder.guest.start(ping_all(60, 0.05, self.vms[1].address), 20)
        second = qemu.Machine(self.setup, self.run_dir, f"{self.name}-second")
        self.stack.callback(second.stop)
        running = second.start_without_guest(self.daemon.vf_socket(0))
        end = time.monotonic() + process.WAIT_S
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
        _, rtt = ping_figures(output)
        check.expect(unanswered(output, 60) == [[]], "the first VM not to notice (no ping lost)",
                     output)
        check.note(f"exit {code}; log names VF 0 and PID {pid}; first VM lost 0 of 60 pings",
                   exit=code, pid=pid, rtt_ms=rtt)

    def check_jumbo(self, check):
        for vm in self.vms[:2]:
            vm.guest.must(f"ip link set {vm.interface} mtu {JUMBO_MTU}")
        self.wait_link()
        target = self.vms[1].address
        size = JUMBO_MTU - 28
        up, output = self.vms[0].guest.poll(f"ping -M do -s {size} -c 5 -i 0.1 -W 1 {target}",
                                            " 0% packet loss", 8)
        check.expect(up, f"answers to {size} bytes with DF set", output)
        data = self.iperf(self.vms[0], self.vms[1], "-t 1", 1)
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
        check.note(f"{len(vm.offloads)} on, as at the start")


def run_forms(args, report):
    with process.run_directory() as run_dir:
        setup = program.prepare(report, run_dir)
        config_text = args.config.read_text()
        report.facts["config"] = args.config.name
        report.say(f"vireod --config {args.config.name}, with one doorbell form for all VFs")
        for form in args.form or FORMS:
            report.start_group(form, f"== {form} doorbells: {FORMS[form]}")
            job = MainJob(form, report, setup, args.vireod, with_doorbells(config_text, form),
                          run_dir / form)
            job.doorbells = form
            job.run()
    if not report.failed():
        report.say("\nWith a VM of your own: build/vireod --config "
                   f"{os.path.relpath(args.config)} --run-dir DIR\n"
                   "starts the card, and build/vireo --run-dir DIR qemu-args 0 0 prints what to "
                   "give QEMU\nfor VF 0.")


def main():
    parser = program.arguments("Vireo's main job, checked.")
    parser.add_argument("--form", action="append", choices=FORMS, help="one doorbell form only")
    return program.run("demo", parser.parse_args(), run_forms)


if __name__ == "__main__":
    sys.exit(main())

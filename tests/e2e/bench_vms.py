# SPDX-License-Identifier: BSD-3-Clause
"""Network cards of virtual machines compared: two guests of the same kind, joined by each.

Usage: bench_vms.py [--json FILE] [--rounds N] [--seconds S] [--only NAME]... [--config FILE]
       [--vireod FILE]
Exit: 0 all was measured, 1 something was not, 2 it could not be tried. Goals that are missed are
printed, and change no exit code.

Every pair of guests is booted once; then, round by round, each gives one sample of ping and TCP
while the others are stopped (SIGSTOP). Ratios are made round by round.
"""

import json
import os
import re
import shutil
import signal
import statistics
import sys
import time
from pathlib import Path

import initramfs
import process
import program
import qemu
from checks import Report
from daemon import Daemon, DaemonError, with_doorbells
from guest import GuestError
from program import CACHE
from scene import Vm, run_iperf

MODULES = (*initramfs.MODULES, "virtio_pci", "virtio_net", "e1000e", "igb")
BOOT_LIMIT_S = 90
LINK_LIMIT_S = 25
SETTLE_LIMIT_S = 10
PINGS = 60
# No round begins after this: so a run takes less than 10 minutes on a slow machine too.
ROUNDS_LIMIT_S = 480
FIXED_USECS = 50
# As long as those of stock ixgbevf.
RX_RING, TX_RING = 512, 1024
CYCLES = ("doorbell", "interrupt", "moderation", "mailbox", "other")
NS_PER_S = 1e9


class BenchError(Exception):
    """A subject that could not be measured: why."""


class NicMachine(qemu.Machine):
    """A guest whose network card is QEMU's own."""

    def __init__(self, setup, run_dir, name, devices):
        super().__init__(setup, run_dir, name)
        self.devices = devices

    def command(self, vf_socket, cpus=1):
        return super().command(vf_socket, cpus) + [
            "-device", "pcie-root-port,id=rp1,chassis=1,slot=1", *self.devices]


class Subject:
    """Two guests and what joins them."""

    is_ours = False

    def __init__(self, name, title, setup, run_dir):
        self.name, self.title, self.setup, self.run_dir = name, title, setup, run_dir
        self.vms, self.machines, self.helpers = [], [], []
        self.samples = []  # one a round; None where it failed
        self.why = None    # it could not be measured

    def create_machines(self):
        """Starts what joins the guests. Returns two machines and what each is started with."""
        raise NotImplementedError

    def before_sample(self):
        """In the guests, before each sample."""

    def counts(self):
        """{name: number}, of which a sample holds the rise."""
        return {}

    # -- life

    def start(self):
        run_dir = self.run_dir / self.name
        run_dir.mkdir()
        for index, (machine, arguments) in enumerate(self.create_machines(run_dir)):
            self.machines.append(machine)
            machine.start(*arguments)
            self.vms.append(Vm(index, machine))
        end = time.monotonic() + BOOT_LIMIT_S
        for vm in self.vms:
            failure = vm.machine.wait_up(max(0.0, end - time.monotonic()))
            if failure:
                raise BenchError(f"{vm.name}: {failure}")
        for vm in self.vms:
            # The only network card there is, whatever the kernel calls it.
            vm.interface = vm.guest.must("basename $(dirname $(ls -d /sys/class/net/*/device))"
                                         ).strip()
            vm.guest.must(f"ip addr add {vm.address}/24 dev {vm.interface} && "
                          f"ip link set {vm.interface} up")
        for vm in self.vms:
            up, seen = vm.guest.poll(f"ip -br link show {vm.interface}", "LOWER_UP", LINK_LIMIT_S)
            if not up:
                raise BenchError(f"{vm.name} has no link: {seen.strip()}")
        self.settle()

    def processes(self):
        return [m.process for m in self.machines if m.process] + [
            p for p in self.helpers if p is not None]

    def signal(self, number):
        for one in self.processes():
            if one.poll() is None:
                os.kill(one.pid, number)

    def stop(self):
        self.signal(signal.SIGCONT)
        for machine in self.machines:
            machine.stop()
        for helper in self.helpers:
            process.end(helper)

    # -- measuring

    def settle(self):
        up, seen = self.vms[0].guest.poll(f"ping -c 2 -i 0.1 -W 1 {self.vms[1].address}",
                                          " 0% packet loss", SETTLE_LIMIT_S)
        if not up:
            raise BenchError(f"no answer to pings: {seen.strip()[-200:]}")

    def cpu_ns(self):
        """CPU time of all that takes part, so far."""
        total = 0
        for one in self.processes():
            for task in Path(f"/proc/{one.pid}/task").glob("*/schedstat"):
                try:
                    total += int(task.read_text().split()[0])
                except OSError:
                    continue
        return total

    def guest_counts(self):
        """Interrupts that the guests took from their cards, and packets that these sent."""
        total = {"guest_interrupts": 0, "guest_packets": 0}
        for vm in self.vms:
            text = vm.guest.must(f"grep -E ' ({vm.interface}|virtio[0-9])(-|$|:)' "
                                 f"/proc/interrupts; cat /sys/class/net/{vm.interface}"
                                 "/statistics/tx_packets")
            *lines, packets = text.splitlines()
            total["guest_packets"] += int(packets)
            for line in lines:
                counts = line.partition(":")[2].partition("PCI")[0]
                total["guest_interrupts"] += sum(int(word) for word in counts.split()
                                                 if word.isdigit())
        return total

    def sample(self, seconds):
        """One ping and one TCP figure, and what was counted meanwhile."""
        self.settle()
        self.before_sample()
        output = self.vms[0].guest.run(
            f"ping -c {PINGS} -i 0.01 -W 1 {self.vms[1].address}", 30).output
        times = [float(ms) for ms in re.findall(r"time=([\d.]+) ms", output)]
        if not times:
            raise BenchError(f"no answer to pings: {output.strip()[-200:]}")
        before, cpu = {**self.guest_counts(), **self.counts()}, self.cpu_ns()
        start = time.monotonic()
        data = run_iperf(self.vms[0], self.vms[1], f"-t {seconds}", seconds)
        wall, cpu = time.monotonic() - start, self.cpu_ns() - cpu
        after = {**self.guest_counts(), **self.counts()}
        if "error" in data:
            raise BenchError(f"iperf3: {str(data['error'])[:200]}")
        received = data["end"]["sum_received"]["bytes"]
        return {"gbps": data["end"]["sum_received"]["bits_per_second"] / 1e9,
                "rtt_ms": statistics.median(times), "pings_lost": PINGS - len(times),
                "bytes": received, "resent": data["end"]["sum_sent"].get("retransmits", 0),
                "cpu_s_per_gb": cpu / NS_PER_S / (received / 1e9) if received else None,
                "cores": cpu / NS_PER_S / wall,
                **{key: after[key] - before[key] for key in after}}


class VireoSubject(Subject):
    """Stock ixgbevf on VFs of one vireod."""

    is_ours = True

    def __init__(self, form, title, setup, run_dir, vireod, config_text):
        super().__init__(form, title, setup, run_dir)
        self.form, self.vireod, self.config_text = form, vireod, config_text
        self.daemon = None

    def create_machines(self, run_dir):
        self.daemon = Daemon(self.vireod, run_dir, with_doorbells(self.config_text, self.form))
        self.daemon.start()
        self.helpers.append(self.daemon.process)
        return [(qemu.Machine(self.setup, run_dir, f"{self.name}-vm{i}"),
                 (self.daemon.vf_socket(i),)) for i in (0, 1)]

    def before_sample(self):
        for vm in self.vms:
            vm.guest.must(f"ethtool -C {vm.interface} rx-usecs 1")  # 1: adaptive, the default

    def counts(self):
        stats = self.daemon.stats()
        total = {"messages": stats.messages(0, 1)}
        for key in ("tx_frames", "rx_no_descriptor_drops", *(f"{kind}_cycles" for kind in CYCLES)):
            total[key] = sum(stats.count(vf, key) for vf in (0, 1))
        total["interrupts"] = sum(stats.vf(vf)["interrupts"] for vf in (0, 1))
        return total


class FixedModeration(Subject):
    """The guests of another subject, with a fixed interrupt interval."""

    is_ours = True

    def __init__(self, name, title, other):
        super().__init__(name, title, other.setup, other.run_dir)
        self.other = other

    def start(self):
        if self.other.why or not self.other.vms:
            raise BenchError(self.other.why or f"its guests are those of '{self.other.name}'")
        self.vms, self.machines, self.helpers = (self.other.vms, self.other.machines,
                                                 self.other.helpers)

    def stop(self):
        pass  # they are the other's

    def before_sample(self):
        for vm in self.vms:
            vm.guest.must(f"ethtool -C {vm.interface} rx-usecs {FIXED_USECS}")

    def counts(self):
        return self.other.counts()


class VhostSubject(Subject):
    """QEMU's virtio-net over vhost-user, with testpmd as the switch."""

    def __init__(self, name, title, setup, run_dir, whole_gso):
        super().__init__(name, title, setup, run_dir)
        self.whole_gso = whole_gso

    def create_machines(self, run_dir):
        if not shutil.which("dpdk-testpmd"):
            raise BenchError("dpdk-testpmd is not installed (scripts/bench-setup)")
        paths = [run_dir / f"vhost{i}" for i in (0, 1)]
        # The guests' offload requests go through as they are, so that testpmd need not be told to
        # make them anew.
        extra = ",tso=1,legacy-ol-flags=1" if self.whole_gso else ""
        cpus = ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0)))
        command = ["dpdk-testpmd", "--no-huge", "-m", "512", "--no-pci", "--file-prefix",
                   f"vireo-{os.getpid()}-{self.name}", "--lcores", f"0@({cpus}),1@({cpus})"]
        for i, path in enumerate(paths):
            command += ["--vdev", f"net_vhost{i},iface={path}{extra}"]
        # A period, since it would otherwise wait for a key and end without a terminal.
        command += ["--", "--forward-mode=io", "--auto-start", "--nb-cores=1",
                    "--disable-link-check", "--total-num-mbufs=32768", "--stats-period=600"]
        log = run_dir / "testpmd.log"
        switch = process.spawn(command, log, env={**os.environ, "RUNTIME_DIRECTORY": str(run_dir)})
        self.helpers.append(switch)
        end = time.monotonic() + 20
        while not all(path.is_socket() for path in paths):
            if switch.poll() is not None or time.monotonic() > end:
                raise BenchError("testpmd: " + " / ".join(process.tail(log, 3)))
            time.sleep(0.05)
        # Without these the guest's kernel segments, as it does for a card that cannot.
        features = "" if self.whole_gso else "".join(
            f",{name}=off" for name in ("host_tso4", "host_tso6", "host_ufo", "host_uso",
                                        "guest_tso4", "guest_tso6", "guest_ufo", "guest_uso4",
                                        "guest_uso6"))
        return [(NicMachine(self.setup, run_dir, f"{self.name}-vm{i}", [
            "-chardev", f"socket,id=vhost,path={path}", "-netdev",
            "vhost-user,id=net,chardev=vhost", "-device",
            f"virtio-net-pci,bus=rp1,netdev=net,mac=02:00:00:00:20:{i:02x},romfile=,"
            f"rx_queue_size={RX_RING},tx_queue_size={TX_RING}{features}"]), ())
                for i, path in enumerate(paths)]


class EmulatedSubject(Subject):
    """A card that QEMU emulates, joined to its peer by a stream socket."""

    def create_machines(self, run_dir):
        path = run_dir / "wire"
        machines = []
        for i, end in enumerate(("server=on", "server=off,reconnect-ms=100")):
            machines.append((NicMachine(self.setup, run_dir, f"{self.name}-vm{i}", [
                "-netdev", f"stream,id=net,{end},addr.type=unix,addr.path={path}", "-device",
                f"{self.name},bus=rp1,netdev=net,mac=02:00:00:00:30:{i:02x},romfile="]), ()))
        return machines


def spread(values, digits):
    """median [min..max]"""
    if not values:
        return "-"
    return (f"{statistics.median(values):.{digits}f} "
            f"[{min(values):.{digits}f}..{max(values):.{digits}f}]")


def table(report, heads, rows):
    """Columns that line up: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    for row in [heads, *rows]:
        cells = [row[0].ljust(widths[0])] + [text.rjust(width) for text, width in
                                             zip(row[1:], widths[1:])]
        report.say("  ".join(cells).rstrip())


class Bench:
    def __init__(self, args, report, run_dir):
        self.args, self.report, self.run_dir = args, report, run_dir
        self.subjects = []
        self.ratios = {}

    def create(self):
        setup = program.prepare(self.report, self.run_dir)
        _, setup.image = initramfs.build(CACHE, "bench-initramfs", modules=MODULES)
        text = self.args.config.read_text()
        common = (setup, self.run_dir)
        trapped = VireoSubject("trapped", "Vireo, trapped doorbells", *common, self.args.vireod,
                               text)
        mapped = VireoSubject("mapped", "Vireo, mapped doorbells", *common, self.args.vireod, text)
        wanted = [
            trapped, mapped,
            FixedModeration("mapped-fixed", f"Vireo, mapped, rx-usecs {FIXED_USECS}", mapped),
            VhostSubject("virtio", "virtio, testpmd vhost, segmented", *common, False),
            VhostSubject("virtio-gso", "virtio, testpmd vhost, 64 KiB GSO", *common, True),
            EmulatedSubject("igb", "QEMU igb", *common),
            EmulatedSubject("e1000e", "QEMU e1000e", *common),
        ]
        only = set(self.args.only or [s.name for s in wanted])
        self.subjects = [s for s in wanted if s.name in only]
        self.report.facts.update(rounds=self.args.rounds, seconds=self.args.seconds)

    def run(self):
        start = time.monotonic()
        for number, subject in enumerate(self.subjects, 1):
            self.report.say(f"[{time.monotonic() - start:4.0f} s] guests {number} of "
                            f"{len(self.subjects)}: {subject.title}")
            try:
                subject.start()
            except (BenchError, GuestError, DaemonError, OSError) as error:
                subject.why = str(error).splitlines()[0]
                self.report.say(f"         not measured: {subject.why}")
            subject.signal(signal.SIGSTOP)
        for number in range(self.args.rounds):
            if time.monotonic() - start > ROUNDS_LIMIT_S:
                self.report.say(f"stopping after {number} rounds: {ROUNDS_LIMIT_S} s are over")
                break
            for subject in self.subjects:
                subject.samples.append(self.one_sample(subject))
            self.report.say(f"[{time.monotonic() - start:4.0f} s] round {number + 1} of "
                            f"{self.args.rounds}: Gbit/s " + ", ".join(
                                f"{s.name} {s.samples[-1]['gbps']:.2f}" if s.samples[-1] else
                                f"{s.name} -" for s in self.subjects))

    def one_sample(self, subject):
        if subject.why:
            return None
        subject.signal(signal.SIGCONT)
        try:
            return subject.sample(self.args.seconds)
        except (BenchError, GuestError, DaemonError) as error:
            why = str(error).splitlines()[0]
            self.report.say(f"         {subject.title}: no sample: {why}")
            if any(one.poll() is not None for one in subject.processes()):
                subject.why = why
            return None
        finally:
            subject.signal(signal.SIGSTOP)

    def stop(self):
        for subject in self.subjects:
            subject.stop()

    # -- results

    @staticmethod
    def values(subject, key):
        return [s[key] for s in subject.samples if s and s.get(key) is not None]

    def ratio(self, ours, peer):
        """Our Gbit/s by the peer's, of each round that has both."""
        return [a["gbps"] / b["gbps"] for a, b in zip(ours.samples, peer.samples)
                if a and b and b["gbps"]]

    def print_speed(self):
        rows = []
        for subject in self.subjects:
            if any(subject.samples):
                rows.append([subject.title, spread(self.values(subject, "gbps"), 2),
                             spread(self.values(subject, "rtt_ms"), 2),
                             f"{statistics.median(self.values(subject, 'cpu_s_per_gb')):.1f}",
                             f"{statistics.median(self.values(subject, 'cores')):.2f}",
                             f"{statistics.median(self.values(subject, 'resent')):.0f}"])
        self.report.say()
        if rows:
            table(self.report, ["median [min..max]", "TCP, Gbit/s", "ping, ms", "CPU s/GB", "cores",
                                "resent"], rows)
            self.report.say(f"{max(len(s.samples) for s in self.subjects)} rounds of "
                            f"{self.args.seconds} s of TCP and {PINGS} pings; CPU and cores: all "
                            "processes that take part")
        for subject in self.subjects:
            if not any(subject.samples):
                self.report.say(f"{subject.title}: not measured: {subject.why}")

    def print_ratios(self):
        """Our TCP by each peer's, round by round."""
        ours = [s for s in self.subjects if s.is_ours and any(s.samples)]
        peers = [s for s in self.subjects if not s.is_ours and any(s.samples)]
        for one in ours:
            self.ratios[one.name] = {peer.name: self.ratio(one, peer) for peer in peers}
        if ours and peers:
            self.report.say()
            table(self.report, ["TCP, by the peer's of the same round", *(s.name for s in ours)],
                  [[peer.title, *(spread(self.ratios[one.name][peer.name], 2) for one in ours)]
                   for peer in peers])

    def print_costs(self):
        """By counters of the card's: what a frame and an interrupt cost in messages."""
        rows = []
        for subject in self.subjects:
            samples = [s for s in subject.samples if s and s.get("tx_frames")]
            if not samples:
                continue
            total = {key: sum(s[key] for s in samples) for key in samples[0]
                     if isinstance(samples[0][key], int)}
            frames, interrupts = total["tx_frames"], max(1, total["interrupts"])
            rows.append([subject.title, f"{interrupts / frames:.4f}",
                         f"{total['messages'] / frames:.4f}",
                         f"{total['messages'] / interrupts:.2f}",
                         *(f"{total[kind + '_cycles'] / interrupts:.2f}" for kind in CYCLES),
                         f"{100 * total['rx_no_descriptor_drops'] / frames:.2f} %"])
        if rows:
            self.report.say("\nMessages during TCP, both guests, by frame and by interrupt. "
                            "Drops: the receive ring was full.")
            table(self.report, ["", "interrupts/frame", "messages/frame", "/interrupt: all",
                                "doorbell", "VTEIMS", "VTEITR", "mailbox", "other", "drops"], rows)
        rows = []
        for subject in self.subjects:
            samples = [s for s in subject.samples if s]
            if samples:
                data = sum(s["bytes"] for s in samples)
                interrupts = sum(s["guest_interrupts"] for s in samples)
                packets = sum(s["guest_packets"] for s in samples)
                rows.append([subject.title, f"{interrupts / packets:.4f}",
                             f"{interrupts / data * 1e6:.1f}", f"{packets / data * 1e6:.1f}"])
        if not rows:
            return
        self.report.say()
        table(self.report, ["As the guests count, during TCP", "interrupts/packet sent",
                            "interrupts/MB", "packets sent/MB"], rows)

    def print_goals(self):
        named = {s.name: s for s in self.subjects}
        peer = named.get("virtio")
        goals = []
        if peer:
            for name in ("trapped", "mapped"):
                ratios = self.ratios.get(name, {}).get("virtio")
                if name in named and ratios:
                    goals.append((f"{named[name].title}: at least 1x virtio segmented",
                                  statistics.median(ratios) >= 1, spread(ratios, 2) + "x"))
        for name in ("mapped", "mapped-fixed"):
            samples = [s for s in named[name].samples if s] if name in named else []
            if samples:
                doorbells = sum(s["doorbell_cycles"] for s in samples)
                each = sum(s["messages"] for s in samples) / max(1, sum(s["interrupts"]
                                                                        for s in samples))
                goals.append((f"{named[name].title}: no doorbell message", doorbells == 0,
                              str(doorbells)))
                goals.append((f"{named[name].title}: at most 1.1 messages an interrupt",
                              each <= 1.1, f"{each:.2f}"))
        self.report.say()
        for text, reached, seen in goals:
            self.report.say(f"{'reached' if reached else 'MISSED ':7}  {text}: {seen}")
        return [{"goal": text, "reached": reached, "seen": seen} for text, reached, seen in goals]

    def write_json(self, path, goals):
        data = {"facts": self.report.facts, "goals": goals, "ratios": self.ratios,
                "subjects": [{"name": s.name, "title": s.title, "why_not": s.why,
                              "samples": s.samples} for s in self.subjects]}
        text = json.dumps(data, indent=1) + "\n"
        if path == "-":
            sys.stdout.write(text)
        else:
            Path(path).write_text(text)


def main():
    parser = program.arguments("Network cards of virtual machines compared.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2, help="TCP in each sample")
    parser.add_argument("--only", action="append", metavar="NAME", help="this subject only: "
                        "trapped, mapped, mapped-fixed, virtio, virtio-gso, igb, e1000e")
    args = parser.parse_args()
    report = Report()
    process.catch_signals()
    try:
        with process.run_directory() as run_dir:
            bench = Bench(args, report, run_dir)
            try:
                bench.create()
                bench.run()
            finally:
                bench.stop()
    except program.ERRORS as error:
        report.say(f"bench-vms: {error}")
        return 2
    except (KeyboardInterrupt, process.Interrupted):
        report.say("\nbench-vms: interrupted")
        return 130
    bench.print_speed()
    bench.print_ratios()
    bench.print_costs()
    goals = bench.print_goals()
    report.say(f"\nin {time.monotonic() - report.started:.0f} s")
    if args.json:
        bench.write_json(args.json, goals)
    return 0 if all(subject.samples and all(subject.samples) for subject in bench.subjects) else 1


if __name__ == "__main__":
    sys.exit(main())

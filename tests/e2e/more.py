# SPDX-License-Identifier: BSD-3-Clause
"""What `make test` tries on stock guests beyond the main job: mailbox API versions, the life of
guests and drivers, settings changed while they run, several workers, and uplinks.

Usage: more.py [--json FILE] [--only SCENE]... [--vireod FILE]
"""

import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import process
import program
import qemu
from daemon import Daemon, DaemonError
from scene import (BOOT_LIMIT_S, LINK_LIMIT_S, SLOWEST_GBPS, TEST_ETHERTYPE, Scene, Vm, ping_all,
                   ping_figures, unanswered)
from workers import WORKERS, Workers

PORT = """ports = ({{
  uplink = {{ {uplink} }};
  {extra}
  vfs = 4;
  vf_defaults = {{ doorbells = "{doorbells}"; }};
}});
"""
NULL_UPLINK = 'kind = "null";'
TAP_NAME = "vireotap0"
TAP_ADDRESS = "10.0.0.254"
REPLAYED_FRAMES = 200
PINGS = 5  # in a row
NOBODY = "02:00:00:00:ee:ee"  # a MAC address that no VF has


def config(doorbells="trapped", uplink=NULL_UPLINK, extra=""):
    return 'seed = "e2e";\n' + PORT.format(uplink=uplink, extra=extra, doorbells=doorbells)


class MailboxApi(Scene):
    """What stock ixgbevf makes of a PF driver that offers at most this version."""

    version = ""

    def list_checks(self):
        return (*self.basic_checks(),
                (f"ixgbevf negotiates API {self.version}", self.check_api),
                ("ping both ways", self.check_ping),
                ("TCP", self.check_tcp),
                ("MTU 9000", self.check_mtu),
                *self.last_checks())

    def check_api(self, check):
        seen = [vf["mailbox_api"] for vf in self.daemon.stats().vfs[:self.vm_count]]
        check.expect(seen == [self.version] * self.vm_count, self.version, seen)
        check.note("/".join(seen), api=seen)

    def check_tcp(self, check):
        data = self.iperf(self.vms[0], self.vms[1], "-t 1", 1)
        check.expect("error" not in data, "iperf3's result", data.get("error"))
        gbps = data["end"]["sum_received"]["bits_per_second"] / 1e9
        check.expect(gbps > SLOWEST_GBPS, f"more than {SLOWEST_GBPS} Gbit/s", f"{gbps:.5f}")
        check.note(f"{gbps:.2f} Gbit/s", gbps=round(gbps, 3))

    def check_mtu(self, check):
        """Version 1.0 has no jumbo frames; all later ones have."""
        results = [vm.guest.run(f"ip link set {vm.interface} mtu 9000") for vm in self.vms]
        if self.version == "1.0":
            check.expect(all(r.code != 0 for r in results), "the VF driver to refuse it", results)
            check.note("refused, as it must be below 1.1")
            return
        check.expect(all(r.code == 0 for r in results), "it to be accepted", results)
        self.wait_link()
        up, output = self.vms[0].guest.poll(
            f"ping -M do -s 8900 -c 3 -i 0.1 -W 1 {self.vms[1].address}", " 0% packet loss", 8)
        check.expect(up, "answers to 8900 bytes with DF set", output)
        check.note("8900-byte pings with DF")


class Life(Scene):
    """Drivers and guests come and go; the host changes its mind. Nobody else notices."""

    vm_count = 3

    def list_checks(self):
        return (
            *self.basic_checks(),
            ("ping both ways", self.check_ping),
            ("ethtool -t", self.check_ethtool),
            ("link switched off and on by the host", self.check_link_state),
            ("VLAN changed by the host", self.check_vlan_change),
            ("driver unbound and bound, 3 times", self.check_rebind),
            ("function-level reset", self.check_flr),
            ("guest reboots", self.check_reboot),
            ("QEMU killed, VF given to a new VM", self.check_killed),
            ("100 malformed connections", self.check_malformed),
            ("a VM's memory is taken away under load", self.check_truncated),
            *self.last_checks(),
        )

    def restart_network(self, vm):
        """After a new start of the driver: its address again, and link."""
        vm.interface = vm.guest.must(f"ls /sys/bus/pci/devices/{vm.pci}/net").strip()
        vm.guest.must(f"ip addr add {vm.address}/24 dev {vm.interface}; "
                      f"ip link set {vm.interface} up")
        self.wait_link([vm])

    def expect_ping(self, check, here, there, why):
        up, output = here.guest.poll(f"ping -c 3 -i 0.05 -W 1 {there.address}", " 0% packet", 8)
        check.expect(up, f"answers {why}", output)

    def expect_no_ping(self, check, here, there, why):
        output = here.guest.run(f"ping -c 5 -i 0.05 -w 1 {there.address}").output
        check.expect(ping_figures(output)[0] == 100, f"no answer {why}", output)

    def check_ethtool(self, check):
        vm = self.vms[0]
        result = vm.guest.run(f"ethtool -t {vm.interface} offline", 30)
        self.wait_link([vm])
        if self.doorbells == "mapped":
            # Write masks cannot hold in shared memory: a known difference from the hardware.
            check.expect("Link test   (on/offline)\t 0" in result.output, "a good link", result)
            check.note("link; the register test cannot pass with mapped doorbells")
        else:
            check.expect("result is PASS" in result.output, "PASS", result)
            check.note("registers and link")
        self.expect_ping(check, vm, self.vms[1], "after it")

    def check_link_state(self, check):
        vm = self.vms[0]
        carrier = f"cat /sys/class/net/{vm.interface}/carrier"
        for link, value in ((False, "0"), (True, "1")):
            self.daemon.call("vf.set", {"port": 0, "vf": 0, "link": link})
            ok, seen = vm.guest.poll(carrier, f"^{value}", LINK_LIMIT_S)
            check.expect(ok, f"carrier {value} in the guest after link = {link}", seen)
        self.expect_ping(check, vm, self.vms[1], "with the link up again")

    def check_vlan_change(self, check):
        first, second = self.vms[:2]
        start = time.monotonic()
        try:
            self.daemon.call("vf.set", {"port": 0, "vf": 0, "vlan": 30})
            self.wait_link([first])
            self.expect_no_ping(check, first, second, "from VLAN 30 to none")
            self.daemon.call("vf.set", {"port": 0, "vf": 1, "vlan": 30})
            self.wait_link([second])
            self.expect_ping(check, first, second, "when both are on VLAN 30")
        finally:
            for vf in (0, 1):
                self.daemon.call("vf.set", {"port": 0, "vf": vf, "vlan": 0})
        self.wait_link([first, second])
        self.expect_ping(check, first, second, "on none again")
        check.note(f"three changes in {time.monotonic() - start:.1f} s")

    def check_rebind(self, check):
        vm, mac = self.vms[0], self.vms[0].mac
        driver = "/sys/bus/pci/drivers/ixgbevf"
        for _ in range(3):
            vm.guest.must(f"echo {vm.pci} >{driver}/unbind; echo {vm.pci} >{driver}/bind", 20)
            self.restart_network(vm)
            self.expect_ping(check, vm, self.vms[1], "after a new start of the driver")
            now = vm.guest.must(f"cat /sys/class/net/{vm.interface}/address").strip()
            check.expect(now == mac, f"the same MAC {mac}", now)
        check.note(f"MAC still {mac}")

    def check_flr(self, check):
        vm = self.vms[0]
        device, driver = f"/sys/bus/pci/devices/{vm.pci}", "/sys/bus/pci/drivers/ixgbevf"
        methods = vm.guest.must(f"cat {device}/reset_method")
        check.expect("flr" in methods, "flr among the reset methods", methods)
        vm.guest.must(f"echo {vm.pci} >{driver}/unbind; echo flr >{device}/reset_method; "
                      f"echo 1 >{device}/reset; echo {vm.pci} >{driver}/bind", 20)
        self.restart_network(vm)
        self.expect_ping(check, vm, self.vms[1], "after the reset")

    def watched(self, function):
        """Runs something while VM 0 pings VM 1. Returns (pings sent, pings lost)."""
        pinging = self.vms[0].guest.start(
            f"until [ -e /tmp/enough ]; do {ping_all(PINGS, 0.1, self.vms[1].address)}; done; "
            "rm /tmp/enough", BOOT_LIMIT_S)
        try:
            function()
        finally:
            self.vms[0].guest.run("touch /tmp/enough")
        losses = unanswered(pinging.wait().output, PINGS)
        return PINGS * len(losses), sum(map(len, losses))

    def expect_unnoticed(self, check, function):
        sent, lost = self.watched(function)
        check.expect(sent > 0 and lost == 0, "the others not to notice",
                     f"{lost} of {sent} pings lost")
        check.note(f"the others lost 0 of {sent} pings", pings=sent)

    def check_reboot(self, check):
        vm = self.vms[2]

        def reboot():
            vm.guest.start("reboot -f")
            ok = vm.guest.wait_hello(2, BOOT_LIMIT_S)
            check.expect(ok, "the agent's second hello", process.tail(vm.machine.serial_log, 5))
            self.restart_network(vm)
            self.expect_ping(check, vm, self.vms[1], "after the reboot")
        self.expect_unnoticed(check, reboot)

    def check_killed(self, check):
        old = self.vms[2]

        def kill_and_replace():
            os.kill(old.machine.process.pid, signal.SIGKILL)
            old.machine.stop()
            self.wait_free(check, 2)
            machine = qemu.Machine(self.setup, self.run_dir, f"{self.name}-vm2b")
            self.stack.callback(machine.stop)
            machine.sealed = False  # for check_truncated
            machine.start(self.daemon.vf_socket(2))
            failure = machine.wait_up(BOOT_LIMIT_S)
            check.expect(not failure, "the new VM to boot", failure)
            new = Vm(2, machine)
            new.up, new.pci, new.mac = True, old.pci, old.mac
            self.vms[2] = new
            self.restart_network(new)
            mac = new.guest.must(f"cat /sys/class/net/{new.interface}/address").strip()
            check.expect(mac == old.mac, f"the VF's MAC {old.mac}", mac)
            self.expect_ping(check, new, self.vms[1], "to the new VM")
        self.expect_unnoticed(check, kill_and_replace)

    def check_truncated(self, check):
        """VM 2's memory file shrinks to nothing while the card copies from and to it."""
        vm = self.vms.pop()
        running = vm.machine.process
        peer = self.vms[1]
        # Many out of it, to nobody; some into it, so few that VM 1's pings need not suffer.
        vm.guest.start(f"while frames send {vm.interface} 10000 {NOBODY} {vm.mac} "
                       f"{TEST_ETHERTYPE}; do :; done", 15)
        sending = peer.guest.start(
            f"while frames send {peer.interface} 20 {vm.mac} {peer.mac} {TEST_ETHERTYPE}; "
            "do sleep 0.02; done", 15)

        def truncate():
            time.sleep(0.5)
            memory = [link for link in Path(f"/proc/{running.pid}/fd").iterdir()
                      if os.readlink(link).startswith("/memfd:")
                      and link.stat().st_size == qemu.MEMORY_MIB << 20]
            check.expect(len(memory) == 1, "one memory file", memory)
            with memory[0].open("r+b") as file:
                file.truncate(0)
            time.sleep(1)
            vm.machine.stop()
            self.wait_free(check, 2)
        try:
            self.expect_unnoticed(check, truncate)
        finally:
            sending.stop()
            vm.machine.stop()
        check.expect(self.daemon.alive(), "vireod to run", "it ended")

    def wait_free(self, check, vf):
        end = time.monotonic() + process.WAIT_S
        while (pid := self.daemon.stats().vf(vf)["client_pid"]) and time.monotonic() < end:
            time.sleep(0.02)
        check.expect(not pid, f"VF {vf} free again", f"still held by {pid}")

    def check_malformed(self, check):
        """Garbage on a free VF's socket and on the control socket."""
        def shout():
            for number in range(100):
                garbage = hashlib.sha512(str(number).encode()).digest() * (1 + number % 40)
                if number % 4 == 0:
                    # A header that looks right, with a size that is not: VERSION, length, flags.
                    size = (0, 15, 17, 1 << 31)[number // 4 % 4]
                    garbage = struct.pack("<HHIII", number, 1, size, 0, 0) + garbage
                self.daemon.send_raw(self.daemon.vf_socket(3), garbage)
            for line in (b"\n", b"{}\n", b"[1,2\n", b'{"jsonrpc":"2.0","id":1}\n', b"\xff" * 70000):
                self.daemon.send_raw(self.run_dir / "ctl.sock", line)
        self.expect_unnoticed(check, shout)
        check.expect(self.daemon.alive(), "vireod to run", "it ended")
        check.expect(not self.daemon.stats().vf(3)["client_pid"], "VF 3 free", "it is held")


class Tap(Scene):
    """The host itself at the far end of the cable; vireod has a network namespace of its own."""

    vm_count = 1

    def list_checks(self):
        return (*self.basic_checks(),
                ("guest pings the host", self.check_ping_host),
                ("the tap set down and up", self.check_cable),
                ("TCP guest to host, SHA-256", self.check_to_host),
                ("TCP host to guest, SHA-256", self.check_from_host),
                *self.last_checks())

    def in_namespace(self, *command):
        return ["nsenter", "-t", str(self.daemon.process.pid), "-n", *command]

    def ip(self, *words):
        subprocess.run(self.in_namespace("ip", *words), check=True, capture_output=True)

    def check_ping_host(self, check):
        self.ip("addr", "add", f"{TAP_ADDRESS}/24", "dev", TAP_NAME)
        self.ip("link", "set", TAP_NAME, "up")
        self.expect_ping_host(check)

    def check_cable(self, check):
        """Pulled and plugged in again: what the guest's kernel sees."""
        guest, seconds = self.vms[0].guest, []
        carrier = f"cat /sys/class/net/{self.vms[0].interface}/carrier"
        for state, value in (("down", "0"), ("up", "1")):
            start = time.monotonic()
            self.ip("link", "set", TAP_NAME, state)
            ok, seen = guest.poll(carrier, f"^{value}", LINK_LIMIT_S)
            check.expect(ok, f"carrier {value} in the guest", seen)
            seconds.append(round(time.monotonic() - start, 1))
        self.expect_ping_host(check)
        check.note(f"seen after {seconds[0]} and {seconds[1]} s", seconds=seconds)

    def expect_ping_host(self, check):
        vm = self.vms[0]
        up, output = vm.guest.poll(f"ping -c 10 -i 0.05 -W 1 {TAP_ADDRESS}", " 0% packet loss", 10)
        check.expect(up, "answers", output)
        check.note(f"RTT {ping_figures(output)[1]:.2f} ms")

    def peer(self, program):
        """A Python program at the host's end. Its stdout comes back from finish()."""
        child = subprocess.Popen(self.in_namespace(sys.executable, "-c", program),
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True)
        self.stack.callback(process.end, child)
        return child

    def check_to_host(self, check):
        child = self.peer(
            "import socket,hashlib\n"
            f"s=socket.create_server(('{TAP_ADDRESS}',5003))\n"
            "print('ready',flush=True)\n"
            f"s.settimeout({process.WAIT_S})\n"
            "c,_=s.accept()\n"
            "h=hashlib.sha256()\n"
            "while (d:=c.recv(65536)): h.update(d)\n"
            "print(h.hexdigest())\n")
        child.stdout.readline()
        vm = self.vms[0]
        before = vm.guest.must(f"randomfile {16 << 20} >/tmp/file; sha256sum </tmp/file",
                               30).split()[0]
        vm.guest.must(f"nc {TAP_ADDRESS} 5003 </tmp/file", 30)
        output, _ = child.communicate(timeout=process.WAIT_S)
        check.expect(output.strip() == before, before, output)
        check.note("16 MiB agree")

    def check_from_host(self, check):
        vm = self.vms[0]
        receiving = vm.guest.start("rm -f /tmp/hold; mkfifo /tmp/hold; exec 3<>/tmp/hold; "
                                   "nc -l -p 5004 <&3 | sha256sum", 60)
        vm.guest.poll("netstat -ltn", r":5004 ", 5, 0.02)
        child = self.peer(
            "import socket,hashlib,os\n"
            f"c=socket.create_connection(('{vm.address}',5004),{process.WAIT_S})\n"
            "d=os.urandom(16<<20)\n"
            "c.sendall(d)\n"
            "c.close()\n"
            "print(hashlib.sha256(d).hexdigest())\n")
        output, _ = child.communicate(timeout=process.WAIT_S)
        there = receiving.wait().output.split()
        check.expect(there and there[0] == output.strip(), output.strip(), there)
        check.note("16 MiB agree")


class Pcap(Scene):
    """A capture comes in by the cable, another records what goes out."""

    vm_count = 1

    def list_checks(self):
        return (*self.basic_checks(),
                ("replayed frames arrive", self.check_replay),
                ("frames that leave are recorded", self.check_record),
                *self.last_checks())

    def check_replay(self, check):
        vm = self.vms[0]
        start = time.monotonic()
        seen = self.count_frames([vm])
        before = self.daemon.stats().count(vm.index, "rx_frames")
        end = time.monotonic() + process.WAIT_S
        while self.daemon.stats().count(vm.index, "rx_frames") < before + 2 * REPLAYED_FRAMES and \
                time.monotonic() < end:
            time.sleep(0.1)
        count = sum(int(line[3]) for line in seen()[vm.index] if line[1] == TEST_ETHERTYPE)
        most = int(2 * REPLAYED_FRAMES * (time.monotonic() - start))
        check.expect(REPLAYED_FRAMES <= count <= most, f"{REPLAYED_FRAMES} to {most} frames at "
                     f"{REPLAYED_FRAMES} a second", count)
        check.note(f"{count} frames")

    def check_record(self, check):
        vm = self.vms[0]
        vm.guest.must(f"frames send {vm.interface} 20 {NOBODY} {vm.mac} 88b6")
        path, end = self.run_dir / "out.pcap", time.monotonic() + process.WAIT_S
        while (found := count_in_capture(path, bytes.fromhex("88b6"))) < 20 and \
                time.monotonic() < end:
            time.sleep(0.1)
        check.expect(found == 20, "20 frames in the capture", found)
        check.note("20 frames")


def write_capture(path, frame, count):
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number in range(count):
            file.write(struct.pack("<IIII", number // 1000, number % 1000 * 1000, len(frame),
                                   len(frame)) + frame)


def count_in_capture(path, ethertype):
    """Frames of an EtherType in a capture that may still be growing."""
    data, at, found = path.read_bytes() if path.exists() else b"", 24, 0
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        found += data[at + 16 + 12:at + 16 + 14] == ethertype
        at += 16 + length
    return found


class Host(Scene):
    """The daemon without guests: what lspci says about the whole card, and a second daemon."""

    vm_count = 0

    def list_checks(self):
        return (("lspci reads the card's config spaces", self.check_dump),
                ("vireo stats --json", self.check_stats),
                ("a second daemon in the same directory", self.check_second),
                *self.last_checks())

    def vireo(self, *words):
        return subprocess.run([self.daemon.vireod.parent / "vireo", "--run-dir", self.run_dir,
                               *words], capture_output=True, text=True, check=False,
                              timeout=process.WAIT_S)

    def check_dump(self, check):
        run = self.vireo("pci", "dump")
        check.expect(run.returncode == 0, "vireo pci dump to work", run.stderr)
        path = self.run_dir / "dump.txt"
        path.write_text(run.stdout)
        lspci = shutil.which("lspci") or "/usr/bin/lspci"
        text = subprocess.run([lspci, "-F", path, "-nvvv"], capture_output=True, text=True,
                              check=True).stdout
        check.expect(len(re.findall(r"(?m)^\S+ 0200: 8086:10fb", text)) == 1, "one PF", text[:2000])
        for wanted in (r"Single Root I/O Virtualization", r"Initial VFs: 64, Total VFs: 64, "
                       r"Number of VFs: 4", r"VF offset: 128, stride: 2, Device ID: 10ed",
                       r"Supported Page Size: 00000553", r"Alternative Routing-ID",
                       r"Device Serial Number", r"MSI-X: .*Count=64"):
            check.expect(re.search(wanted, text), f"/{wanted}/ in lspci -vvv", text[:6000])
        check.note("PF with SR-IOV, ARI, DSN, AER")

    def check_stats(self, check):
        run = self.vireo("stats", "--json")
        check.expect(run.returncode == 0, "exit 0", run.stderr)
        data = json.loads(run.stdout)
        check.expect(len(data["ports"][0]["vfs"]) == 4, "4 VFs", data)

    def check_second(self, check):
        second = Daemon(self.daemon.vireod, self.run_dir, config(), "second")
        try:
            second.start()
            check.expect(False, "it to refuse", "it started")
        except DaemonError as error:
            check.expect("ended with" in str(error), "it to say why and end", error)
        finally:
            second.stop()
        self.daemon.stats()


def make_mailbox(version):
    def make(common, run_dir):
        scene = MailboxApi(f"api-{version}", *common, config(extra=f'mailbox_api = "{version}";'),
                           run_dir)
        scene.version = version
        return scene
    return make


def make_life(form):
    def make(common, run_dir):
        scene = Life(f"life-{form}", *common, config(form), run_dir)
        scene.doorbells, scene.reboots = form, True
        return scene
    return make


def make_workers(form):
    def make(common, run_dir):
        # Once in the configuration, once on the command line.
        in_config = form == "trapped"
        text = (f"workers = {WORKERS};\n" if in_config else "") + config(form)
        scene = Workers(f"workers-{form}", *common, text, run_dir)
        scene.doorbells = form
        if not in_config:
            scene.daemon.options = ("--workers", WORKERS)
        return scene
    return make


def make_tap(common, run_dir):
    scene = Tap("tap", *common, config(uplink=f'kind = "tap"; ifname = "{TAP_NAME}";'), run_dir)
    scene.daemon.prefix = ["unshare", "-n"]
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        scene.skip_reason = "/dev/net/tun is not there, or not for us"
    elif subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        scene.skip_reason = "needs root: no network namespace for us"
    return scene


def make_pcap(common, run_dir):
    frame = bytes.fromhex("ffffffffffff" "0200000000aa" + TEST_ETHERTYPE) + bytes(46)
    capture = run_dir.parent / "in.pcap"
    write_capture(capture, frame, REPLAYED_FRAMES)
    uplink = (f'kind = "pcap"; replay = "{capture}"; replay_loop = true; '
              f'replay_pps = {REPLAYED_FRAMES}; record = "{run_dir}/out.pcap";')
    return Pcap("pcap", *common, config(uplink=uplink), run_dir)


def make_host(common, run_dir):
    return Host("host", *common, config(), run_dir)


SCENES = {
    "host": ("the card as its host sees it", make_host),
    "life-trapped": ("guests come and go, trapped doorbells", make_life("trapped")),
    "life-mapped": ("guests come and go, mapped doorbells", make_life("mapped")),
    **{f"api-{v}": (f"mailbox API {v} is the newest offered", make_mailbox(v))
       for v in ("1.0", "1.1", "1.2", "1.3", "1.5")},
    "workers-trapped": ("two workers, trapped doorbells", make_workers("trapped")),
    "workers-mapped": ("two workers, mapped doorbells", make_workers("mapped")),
    "tap": ("uplink: a tap", make_tap),
    "pcap": ("uplink: captures", make_pcap),
}


def run_scenes(args, report):
    with process.run_directory() as run_dir:
        setup = program.prepare(report, run_dir)
        for name in args.only or SCENES:
            title, make = SCENES[name]
            report.start_group(name, f"== {title}")
            make((report, setup, args.vireod), run_dir / name).run()


def main():
    parser = program.arguments("More tests on stock guests.", config=False)
    parser.add_argument("--only", action="append", choices=SCENES, help="these scenes only")
    return program.run("more", parser.parse_args(), run_scenes)


if __name__ == "__main__":
    sys.exit(main())

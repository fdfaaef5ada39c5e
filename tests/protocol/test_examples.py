#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The example programs against a real vireod.

    test_examples.py VIREOD VF_PKTGEN VF_L2FWD VF_PING VF_TAP

Prints TAP. Exit status 0: all is as it should be (a case may be skipped: it says why), 1: not.
"""
import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "e2e"))
sys.dont_write_bytecode = True

import process  # noqa: E402
from daemon import Daemon, DaemonError  # noqa: E402

WAIT_S = 60
TRIES = 4
MACS = [f"02:00:00:00:10:{i:02x}" for i in range(4)]
VFS = ", ".join(f'{{ index = {i}; mac = "{mac}"; }}' for i, mac in enumerate(MACS))
FORMS = ("trapped", "mapped")
ADDRESS = "10.9.0.9"
ADDRESS6 = "fd09::9"
NOBODY = "02:00:00:00:ee:ee"


def config(form):
    return (f'seed = "examples"; ports = ({{ uplink = {{ kind = "null"; }}; vfs = 4; '
            f'vf_defaults = {{ doorbells = "{form}"; }}; vf = ({VFS}); }});\n')


class Failure(Exception):
    pass


class Skip(Exception):
    pass


def check(ok, why):
    if not ok:
        raise Failure(why)


def wait_until(condition, why, limit_s=WAIT_S):
    end = time.monotonic() + limit_s
    while not condition():
        check(time.monotonic() < end, why() if callable(why) else why)
        time.sleep(0.02)


class Program:
    """One run of an example."""

    def __init__(self, bench, *command):
        self.log = bench.folder / f"program{len(bench.programs)}"
        self.process = process.spawn(command, self.log)
        self.name = " ".join(Path(str(word)).name for word in command)
        bench.programs.append(self)

    def text(self):
        return self.log.read_text(errors="replace")

    def says(self, pattern, limit_s=WAIT_S):
        wait_until(lambda: re.search(pattern, self.text(), re.MULTILINE),
                   lambda: f"'{self.name}' never said '{pattern}' but: {self.text()}", limit_s)
        return re.search(pattern, self.text(), re.MULTILINE)

    def ends(self, code, limit_s=WAIT_S):
        try:
            found = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise Failure(f"'{self.name}' did not end; it said: {self.text()}") from None
        check(found == code, f"'{self.name}' ended with {found}, not {code}: {self.text()}")
        return self.text()

    def stop(self):
        """SIGTERM: it is to end well."""
        self.process.terminate()
        return self.ends(0)


class Bench:
    def __init__(self, folder, programs, form):
        self.folder = folder
        folder.mkdir()
        self.vireod, self.pktgen, self.l2fwd, self.ping, self.tap = programs
        self.programs = []
        self.daemon = Daemon(self.vireod, folder, config(form))

    def run(self, *command):
        return Program(self, *command)

    def socket(self, vf):
        return self.daemon.vf_socket(vf)

    def sink(self, vf, *options):
        sink = self.run(self.pktgen, *options, self.socket(vf))
        sink.says("link up")
        return sink

    def full_rings(self):
        """How many frames the card dropped for want of descriptors."""
        return sum(vf["counts"]["rx_no_descriptor_drops"] for vf in self.daemon.stats().vfs)

    def stop_all(self):
        for program in self.programs:
            process.end(program.process)
        self.daemon.stop()


# --- Frames ---

def mac_bytes(mac):
    return bytes.fromhex(mac.replace(":", ""))


def ip_bytes(address):
    return bytes(int(part) for part in address.split("."))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[i:i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def arp_request(source, source_ip, target_ip):
    return (b"\xff" * 6 + mac_bytes(source) + bytes.fromhex("0806" "0001" "0800" "0604" "0001") +
            mac_bytes(source) + ip_bytes(source_ip) + bytes(6) + ip_bytes(target_ip))


def echo_request(source, destination, source_ip, target_ip, payload, fragment=0):
    icmp = bytes.fromhex("0800" "0000" "1234" "0007") + payload
    icmp = icmp[:2] + checksum(icmp).to_bytes(2, "big") + icmp[4:]
    ip = (b"\x45\0" + (20 + len(icmp)).to_bytes(2, "big") + b"\xab\xcd" +
          fragment.to_bytes(2, "big") + b"\x05\x01\0\0" + ip_bytes(source_ip) +
          ip_bytes(target_ip))
    ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
    return mac_bytes(destination) + mac_bytes(source) + b"\x08\0" + ip + icmp


def icmp6(source, destination, source_ip, target_ip, message, hop_limit=64):
    """An ICMPv6 frame; the message's checksum is filled in."""
    addresses = (ipaddress.IPv6Address(source_ip).packed + ipaddress.IPv6Address(target_ip).packed)
    total = checksum(addresses + len(message).to_bytes(4, "big") + b"\0\0\0\x3a" + message)
    return (mac_bytes(destination) + mac_bytes(source) + b"\x86\xdd\x60\0\0\0" +
            len(message).to_bytes(2, "big") + b"\x3a" + bytes([hop_limit]) + addresses +
            message[:2] + total.to_bytes(2, "big") + message[4:])


def solicitation(target_ip, hop_limit=255):
    target = ipaddress.IPv6Address(target_ip).packed
    group = "ff02::1:ff" + target[-3:].hex()[:2] + ":" + target[-2:].hex()
    return icmp6(MACS[0], "33:33:ff:" + target[-3:].hex(":"), "fd09::1", group,
                 b"\x87" + bytes(7) + target + b"\x01\x01" + mac_bytes(MACS[0]), hop_limit)


def ask(bench, frame):
    """Sends a frame from VF 0 until one comes back; returns that."""
    before = bench.daemon.stats().count(1, "tx_frames")
    asker = bench.run(bench.pktgen, "--frame", frame.hex(), "--rate", "20", "--burst", "1",
                      "--print", "1", bench.socket(0))
    answer = asker.says("^([0-9a-f]{120,})$").group(1)
    sent = int(re.search("sent ([0-9]+) frames", asker.stop()).group(1))
    # Who asks next is not to get what comes late.
    wait_until(lambda: bench.daemon.stats().count(1, "tx_frames") >= before + sent,
               f"not every one of {sent} questions was answered")
    return bytes.fromhex(answer)


class FullRing(Failure):
    """Nothing of ours is wrong with it: a program had no processor for longer than its ring had
    room, and the card says how many frames it dropped."""


def all_counted(bench, sink, dropped_before):
    """Waits for the end of a sink that was told how many frames come. What it said."""
    wait_until(lambda: sink.process.poll() is not None or bench.full_rings() > dropped_before,
               lambda: f"frames are missing that nobody dropped; the sink said: {sink.text()}")
    if sink.process.poll() is None:
        raise FullRing(f"the sink said: {sink.text()}")
    return sink.ends(0)


def unhurried(bench, rate, act):
    """act(rate), once more at a lower rate where a full ring was in the way."""
    for left in reversed(range(TRIES)):
        first = len(bench.programs)
        try:
            return act(rate)
        except FullRing:
            if not left:
                raise
            for program in bench.programs[first:]:
                process.end(program.process)
        rate //= 4
    return None


# --- Cases ---

def test_pktgen(bench):
    for size, fast, count in (60, 10000, 10000), (1514, 5000, 5000), (9710, 1000, 1000):
        def send(rate, size=str(size), count=count):
            dropped = bench.full_rings()
            sink = bench.sink(1, "--count", str(count), "--size", size)
            sent = bench.run(bench.pktgen, "-d", MACS[1], "-s", size, "-n", str(count), "-r",
                             str(rate), bench.socket(0)).ends(0)
            check(f"sent {count} frames, received 0" in sent, f"the generator said: {sent}")
            came = all_counted(bench, sink, dropped)
            check(f"sent 0 frames, received {count}" in came, f"the sink said: {came}")
        unhurried(bench, fast, send)
    sink = bench.sink(1, "--print", "1")
    bench.run(bench.pktgen, "-d", MACS[1], "-n", "1", bench.socket(0)).ends(0)
    frame = bytes.fromhex(sink.says("^([0-9a-f]{120})$").group(1))
    check(frame == mac_bytes(MACS[1]) + mac_bytes(MACS[0]) + b"\x88\xb5" + bytes(46),
          f"not the frame that was sent: {frame.hex()}")
    sink.stop()


def test_sleeps(bench):
    sink = bench.sink(1)

    def ticks():
        fields = Path(f"/proc/{sink.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(1.0)
    used = ticks() - before
    check(used <= 10, f"an idle sink used {used} of {os.sysconf('SC_CLK_TCK')} ticks in a second")
    sink.stop()


def test_l2fwd(bench):
    unhurried(bench, 5000, lambda rate: forward(bench, rate))


def forward(bench, rate):
    dropped = bench.full_rings()
    forwarder = bench.run(bench.l2fwd, "--peer-a", MACS[0], "--peer-b", MACS[3], bench.socket(1),
                          bench.socket(2))
    forwarder.says("forwarding")
    for source, into, out, sink_vf in (0, 1, 2, 3), (3, 2, 1, 0):
        sink = bench.sink(sink_vf, "--count", "2500", "--print", "1")
        bench.run(bench.pktgen, "-d", MACS[into], "-n", "2500", "-r", str(rate),
                  bench.socket(source)).ends(0)
        came = all_counted(bench, sink, dropped)
        check("received 2500" in came, f"the sink said: {came}")
        frame = re.search("^([0-9a-f]{120})$", came, re.MULTILINE).group(1)
        check(bytes.fromhex(frame)[:12] == mac_bytes(MACS[sink_vf]) + mac_bytes(MACS[out]),
              f"addresses of a forwarded frame: {frame[:24]}")
    said = forwarder.stop()
    for name in "AB":
        check(f"{name}: received 2500 frames, sent 2500, dropped 0" in said, said)


def test_l2fwd_swap_is_spoofing(bench):
    before = bench.daemon.stats().count(2, "tx_spoof_drops")
    forwarder = bench.run(bench.l2fwd, "--mac-swap", bench.socket(1), bench.socket(2))
    forwarder.says("forwarding")
    bench.run(bench.pktgen, "-d", MACS[1], "-n", "100", "-r", "10000", bench.socket(0)).ends(0)
    wait_until(lambda: bench.daemon.stats().count(2, "tx_spoof_drops") == before + 100,
               "frames with another VF's source were not counted as spoofed")
    check("A: received 100 frames" in forwarder.stop(), "A did not get them all")


def test_ping(bench):
    host = bench.run(bench.ping, ADDRESS, bench.socket(1))
    host.says(f"{ADDRESS} is at {MACS[1]}")
    arp = ask(bench, arp_request(MACS[0], "10.9.0.1", ADDRESS))
    check(arp[:42] == mac_bytes(MACS[0]) + mac_bytes(MACS[1]) +
          bytes.fromhex("0806" "0001" "0800" "0604" "0002") + mac_bytes(MACS[1]) +
          ip_bytes(ADDRESS) + mac_bytes(MACS[0]) + ip_bytes("10.9.0.1"), f"reply: {arp.hex()}")
    for payload in b"", b"odd", bytes(range(256)) * 5, b"\xff" * 1400:
        echo = ask(bench, echo_request(MACS[0], MACS[1], "10.9.0.1", ADDRESS, payload))
        total = 28 + len(payload)
        check(echo[:14] == mac_bytes(MACS[0]) + mac_bytes(MACS[1]) + b"\x08\0" and
              int.from_bytes(echo[16:18], "big") == total and echo[22] == 64 and
              echo[26:34] == ip_bytes(ADDRESS) + ip_bytes("10.9.0.1"), f"header: {echo.hex()}")
        check(checksum(echo[14:34]) == 0, "the reply's IPv4 checksum is wrong")
        check(echo[34:36] == b"\0\0" and echo[38:42] == b"\x12\x34\0\x07" and
              echo[42:14 + total] == payload, f"echo: {echo.hex()}")
        check(checksum(echo[34:14 + total]) == 0, "the reply's ICMP checksum is wrong")
    # What is not for it, or cut short, it leaves alone.
    whole = echo_request(MACS[0], MACS[1], "10.9.0.1", ADDRESS, b"x" * 40)
    bad = [arp_request(MACS[0], "10.9.0.1", "10.9.0.10"),
           echo_request(MACS[0], MACS[1], "10.9.0.1", "10.9.0.10", b"other address"),
           echo_request(MACS[0], MACS[1], "10.9.0.1", ADDRESS, b"fragment", 0x2000),
           whole[:60],                                # shorter than its IPv4 length says
           whole[:14] + b"\x4f" + whole[15:],         # options that are not there
           whole[:14] + b"\x44" + whole[15:]]         # a header of 16 bytes
    for frame in bad:
        bench.run(bench.pktgen, "-f", frame.hex(), "-n", "1", bench.socket(0)).ends(0)
    ask(bench, whole)  # answered after those
    said = host.stop()
    check(re.search(rf"ignored {len(bad)} frames", said), said)


def test_ping6(bench):
    host = bench.run(bench.ping, ADDRESS6, bench.socket(1))
    host.says(f"{ADDRESS6} is at {MACS[1]}")
    us, them = (ipaddress.IPv6Address(address).packed for address in (ADDRESS6, "fd09::1"))
    advert = ask(bench, solicitation(ADDRESS6))
    check(advert == icmp6(MACS[1], MACS[0], ADDRESS6, "fd09::1", b"\x88\0\0\0\x60\0\0\0" + us +
                          b"\x02\x01" + mac_bytes(MACS[1]), 255), f"advertisement: {advert.hex()}")
    for payload in b"", b"odd", bytes(range(256)) * 5, b"\xff" * 1400:
        message = b"\x80\0\0\0\x12\x34\0\x07" + payload
        echo = ask(bench, icmp6(MACS[0], MACS[1], "fd09::1", ADDRESS6, message))
        check(echo[22:54] == us + them, f"addresses: {echo.hex()}")
        check(echo == icmp6(MACS[1], MACS[0], ADDRESS6, "fd09::1", b"\x81" + message[1:]),
              f"echo: {echo.hex()}")
    whole = icmp6(MACS[0], MACS[1], "fd09::1", ADDRESS6, b"\x80" + bytes(47))
    to_us = solicitation(ADDRESS6).replace(mac_bytes("33:33:ff:00:00:09"), mac_bytes(MACS[1]))
    bad = [icmp6(MACS[0], MACS[1], "fd09::1", "fd09::a", b"\x80" + bytes(47)),
           icmp6(MACS[0], MACS[1], "ff02::1", ADDRESS6, b"\x80" + bytes(47)),
           whole[:90],                                 # shorter than its payload length says
           whole[:14] + b"\x40" + whole[15:],          # version 4
           solicitation(ADDRESS6, 254),                # by way of a router
           to_us[:60] + b"\x55" + to_us[61:],          # a wrong checksum
           arp_request(MACS[0], "10.9.0.1", ADDRESS)]
    for frame in bad:
        bench.run(bench.pktgen, "-f", frame.hex(), "-n", "1", bench.socket(0)).ends(0)
    ask(bench, whole)  # answered after those
    said = host.stop()
    check(re.search(rf"ignored {len(bad)} frames", said), said)


def test_starts_over(bench):
    """The administrator changes the VF's MAC under a running program."""
    host = bench.run(bench.ping, ADDRESS, bench.socket(1))
    host.says(f"is at {MACS[1]}")
    for mac in "02:00:00:00:77:01", MACS[1]:
        bench.daemon.call("vf.set", {"port": 0, "vf": 1, "mac": mac})
        host.says(f"starting over\n(.*\n)*.* is at {mac}")
    arp = ask(bench, arp_request(MACS[0], "10.9.0.1", ADDRESS))
    check(arp[6:12] == mac_bytes(MACS[1]), f"reply: {arp.hex()}")
    host.stop()


def test_busy(bench):
    holder = bench.sink(1)
    for command in ([bench.pktgen], [bench.ping, ADDRESS], [bench.tap, "vireo-none"],
                    [bench.l2fwd, "--as-is", bench.socket(0)]):
        said = bench.run(*command, bench.socket(1)).ends(1)
        check("somebody else holds the device" in said, said)
    holder.stop()


def test_arguments(bench):
    for command in ([bench.pktgen], [bench.pktgen, "-d", "02:00:00:00:10", "x"],
                    [bench.pktgen, "-s", "59", "x"], [bench.pktgen, "-s", "9711", "x"],
                    [bench.pktgen, "-b", "257", "x"], [bench.pktgen, "-n", "-1", "x"],
                    [bench.pktgen, "-f", "0g" * 20, "x"], [bench.pktgen, "x", "y"],
                    [bench.l2fwd, "x", "y"], [bench.l2fwd, "--as-is", "x"],
                    [bench.l2fwd, "--peer-a", MACS[0], "x", "y"], [bench.ping, "10.9.0", "x"],
                    [bench.ping, ADDRESS], [bench.tap, "x"], [bench.tap, "i" * 16, "x"],
                    [bench.tap, "--mtu", "9697", "i", "x"]):
        said = bench.run(*command).ends(64)
        check("--help" in said, said)
    said = bench.run(bench.ping, ADDRESS, bench.folder / "none.sock").ends(1)
    check("No such file" in said, said)


def ping_command():
    cached = TOP / "build" / "cache" / "guest" / "root" / "bin" / "busybox"
    if shutil.which("ping"):
        return ["ping"]
    for busybox in filter(None, [shutil.which("busybox"), cached.exists() and str(cached)]):
        return [busybox, "ping"]
    raise Skip("neither ping nor busybox is installed")


def inside(tap, *command):
    """Runs a command in a tap's network namespace. Returns (exit code, output)."""
    done = subprocess.run(["nsenter", "-t", str(tap.process.pid), "-n", *command],
                          capture_output=True, text=True, timeout=WAIT_S, check=False)
    return done.returncode, done.stdout + done.stderr


def expect_pong(tap, *command):
    """Every answer, at some time: the first need a neighbour, whom a busy machine may find late."""
    seen = []

    def answered():
        code, said = inside(tap, *command)
        seen.append(said)
        return code == 0 and " 0% packet loss" in said

    wait_until(answered, lambda: seen[-1])


def need_taps():
    if os.geteuid() != 0:
        raise Skip("making a tap needs root")
    if not os.path.exists("/dev/net/tun") or not shutil.which("ip"):
        raise Skip("no /dev/net/tun, or no iproute2")
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        raise Skip("no network namespaces here")


def test_tap(bench):
    need_taps()
    ping = ping_command()
    host6 = bench.run(bench.ping, ADDRESS6, bench.socket(0))
    host = bench.run(bench.ping, "--frame", "9014", ADDRESS, bench.socket(1))
    host.says("is at")
    taps = [bench.run("unshare", "-n", bench.tap, "--mtu", "9000", "eth0", bench.socket(vf))
            for vf in (2, 3)]

    for number, tap in enumerate(taps, 2):
        tap.says("eth0 is up, MTU 9000")
        for address in ([f"10.9.0.{number}/24"], [f"fd09::{number}/64", "nodad"]):
            code, said = inside(tap, "ip", "address", "add", *address, "dev", "eth0")
            check(code == 0, said)
        said = inside(tap, "ip", "link", "show", "eth0")[1]
        check(MACS[number] in said and "mtu 9000" in said, f"the interface: {said}")
    for options in ([], ["-s", "1472"], ["-s", "8972"]):
        expect_pong(taps[0], *ping, "-c", "2", "-W", "2", *options, ADDRESS)
    # Neighbour discovery is multicast: once the taps' groups have arrived at the card.
    for address in "fd09::3", ADDRESS6:
        expect_pong(taps[0], *ping, "-6", "-c", "2", "-W", "2", address)
    # vf-ping defends its address: who would take it, and waits for longer than usual, learns that
    # it is taken.
    inside(taps[1], "sh", "-c", "echo 10 >/proc/sys/net/ipv6/conf/eth0/dad_transmits")
    inside(taps[1], "ip", "address", "add", f"{ADDRESS6}/64", "dev", "eth0")
    wait_until(lambda: "dadfailed" in inside(taps[1], "ip", "address", "show", "dev", "eth0")[1],
               "the kernel took vf-ping's address")
    check(not re.search("answered 0|and 0 echo", host6.stop()), host6.text())
    for tap in taps:
        check("frames to the VF" in tap.stop(), tap.text())
    host.stop()


def test_tap_promiscuous(bench):
    need_taps()

    def start():
        return bench.run("unshare", "-n", bench.tap, "--promiscuous", "eth0", bench.socket(2))

    check("the VF needs trust" in start().ends(1), "an untrusted VF became promiscuous")
    bench.daemon.call("vf.set", {"port": 0, "vf": 2, "trust": True})
    tap = start()
    tap.says("eth0 is up")
    for destination in NOBODY, MACS[3]:
        bench.run(bench.pktgen, "-d", destination, "-n", "100", "-r", "5000",
                  bench.socket(0)).ends(0)

    def received():
        said = inside(tap, "ip", "-s", "-j", "link", "show", "eth0")[1]
        return json.loads(said)[0]["stats64"]["rx"]["packets"]

    wait_until(lambda: received() >= 100, "frames to a MAC that no VF has did not come")
    said = tap.stop()
    to_tap = int(re.search(r"(\d+) to the tap", said).group(1))
    check(100 <= to_tap < 200, f"another VF's frames came, too: {said}")
    bench.daemon.call("vf.set", {"port": 0, "vf": 2, "trust": False})


def test_daemon_goes(bench):
    programs = [bench.sink(0), bench.run(bench.l2fwd, "--as-is", bench.socket(1), bench.socket(2)),
                bench.run(bench.ping, ADDRESS, bench.socket(3))]
    programs[1].says("forwarding")
    programs[2].says("is at")
    check(bench.daemon.stop() == 0, "vireod did not end well")
    for program in programs:
        said = program.ends(1)
        check("the VF went away" in said, said)


def test_daemon_is_killed(bench):
    """No goodbye: sockets that close, mapped pages that nobody reads any more."""
    programs = [bench.sink(0), bench.run(bench.ping, ADDRESS, bench.socket(3)),
                bench.run(bench.l2fwd, "--as-is", bench.socket(1), bench.socket(2))]
    programs[1].says("is at")
    programs[2].says("forwarding")
    kill_daemon(bench, programs)
    # And while they are busy: a generator that has nothing to wait for, and who gets its frames.
    programs = [bench.run(bench.ping, ADDRESS, bench.socket(3)), bench.sink(1),
                bench.run(bench.pktgen, "-d", MACS[1], bench.socket(0))]
    programs[1].says(r"rx +(?!0\.0000)\d")
    try:
        need_taps()
    except Skip:
        pass
    else:
        programs.append(bench.run("unshare", "-n", bench.tap, "eth0", bench.socket(2)))
        programs[-1].says("eth0 is up")
    kill_daemon(bench, programs)


def kill_daemon(bench, programs):
    """Each program ends by itself, and says why. Then a daemon is there again."""
    bench.daemon.process.kill()
    bench.daemon.process.wait()
    for program in programs:
        said = program.ends(1)
        check(re.search("^vf-[a-z0-9]+: .*: the VF went away$", said, re.MULTILINE), said)
    bench.daemon.ready_log.write_text("")
    bench.daemon.start()


CASES = [("pktgen sends, a sink counts each frame", test_pktgen),
         ("an idle program sleeps", test_sleeps),
         ("l2fwd forwards both ways", test_l2fwd),
         ("l2fwd --mac-swap is spoofing, where that is checked", test_l2fwd_swap_is_spoofing),
         ("vf-ping answers ARP and echo, and nothing else", test_ping),
         ("vf-ping answers solicitations and ICMPv6 echo, and nothing else", test_ping6),
         ("a program starts over when its VF was changed", test_starts_over),
         ("a VF that is taken", test_busy),
         ("wrong arguments", test_arguments),
         ("vf-tap: a namespace pings vf-ping and another tap", test_tap),
         ("vf-tap --promiscuous, where the VF is trusted", test_tap_promiscuous),
         ("the daemon is killed", test_daemon_is_killed),
         ("the daemon goes away", test_daemon_goes)]
# What doorbells have nothing to do with.
TRAPPED_ONLY = (test_busy, test_arguments, test_l2fwd_swap_is_spoofing)


def run_case(bench, number, name, case):
    start = time.monotonic()
    try:
        case(bench)
        print(f"ok {number} - {name} ({time.monotonic() - start:.1f} s)", flush=True)
    except Skip as why:
        print(f"ok {number} - {name} # SKIP {why}", flush=True)
    except (Failure, DaemonError, subprocess.SubprocessError) as why:
        print(f"not ok {number} - {name}\n# " + str(why).replace("\n", "\n# "), flush=True)
        return False
    finally:
        for program in bench.programs:
            process.end(program.process)
    return True


def main():
    process.catch_signals()
    runs = [(form, name, case) for form in FORMS for name, case in CASES
            if form == "trapped" or case not in TRAPPED_ONLY]
    failed = 0
    print(f"1..{len(runs)}", flush=True)
    with process.run_directory() as folder:
        bench, running = None, None
        try:
            for number, (form, name, case) in enumerate(runs, 1):
                if form != running:
                    if bench:
                        bench.stop_all()
                    bench, running = Bench(folder / form, sys.argv[1:6], form), form
                    bench.daemon.start()
                failed += not run_case(bench, number, f"{name}, {form}", case)
        finally:
            bench.stop_all()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

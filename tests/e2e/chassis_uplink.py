# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: the port's uplink, the PF and VFs reach each other, by the switch's rules."""

import time

from chassis_scene import BROADCAST, UPLINK
from far_end import FarEnd
from scene import TEST_ETHERTYPE

FRAMES = 20
STRANGER = "02:00:00:00:99:99"
FILE_MIB = 8
PORT = 5003
RECEIVER = f"""
import hashlib, socket
server = socket.create_server(("{FarEnd.address}", {PORT}))
print("ready", flush=True)
server.settimeout(200)
connection, _ = server.accept()
connection.settimeout(200)
digest = hashlib.sha256()
while data := connection.recv(65536):
    digest.update(data)
print(digest.hexdigest())
"""


def needs_far_end(function):
    def checked(scene, check):
        if scene.no_far_end:
            check.skip(scene.no_far_end)
        function(scene, check)
    return checked


def show(seen):
    return {place or "pf": count for place, count in seen.items()}


@needs_far_end
def check_ping(scene, check):
    rtts = [scene.expect_ping(check, name, FarEnd.address) for name in (None, "vf0", "vf1")]
    check.note(f"RTT {min(rtts):.2f} to {max(rtts):.2f} ms", rtt_ms=rtts)


@needs_far_end
def check_from_uplink(scene, check):
    """Frames that arrive by the cable go to who owns the MAC, to everybody, or to no VF."""
    places = (None, "vf0", "vf1", "vf2")
    cases = ((scene.mac("vf0"), "02:00:00:00:99:01", {"vf0"}),
             (scene.mac(None), "02:00:00:00:99:02", {None}),
             (STRANGER, "02:00:00:00:99:03", set()),
             (BROADCAST, "02:00:00:00:99:04", set(places)))

    def send():
        for target, source, _ in cases:
            scene.far_end.send(FRAMES, target, source, TEST_ETHERTYPE)
    before = scene.cycles()["ports"][0]
    heard = scene.heard(places, send)
    after = scene.cycles()["ports"][0]
    card = {name: {key: now[key] - then[key] for key in now if now[key] != then[key]}
            for name, now, then in (("pf", after["counts"], before["counts"]),
                                    *((f"vf{vf}", after["vfs"][vf], before["vfs"][vf])
                                      for vf in range(3)))}
    for target, source, receivers in cases:
        seen = {place: scene.arrived(lines, source) for place, lines in heard.items()}
        wanted = {place: FRAMES if place in receivers else 0 for place in places}
        check.expect(seen == wanted, f"of {FRAMES} to {target}: {show(wanted)}",
                     f"{show(seen)}; by the card's counters {card}")
    check.note(f"{FRAMES} to a VF, the PF, everybody; a stranger's to nobody")


@needs_far_end
def check_to_uplink(scene, check):
    """What is for outside or for everybody leaves by the cable, what is for a neighbour stays."""
    macs = {name: scene.mac(name) for name in (None, "vf0", "vf1")}
    wanted = {}
    for sender, neighbour in (("vf0", "vf1"), ("vf0", None), (None, "vf1")):
        for target, count in ((STRANGER, FRAMES), (BROADCAST, FRAMES), (macs[neighbour], 0)):
            lines = scene.heard((UPLINK,), lambda to=target, by=sender: scene.send(
                by, FRAMES, to, macs[by]))[UPLINK]
            seen = scene.arrived(lines, macs[sender])
            check.expect(seen == count, f"{count} of {FRAMES} from {sender or 'PF'} to {target}",
                         seen)
            wanted[target] = seen
    check.note("what is for outside or everybody, and nothing else")


@needs_far_end
def check_file(scene, check):
    receiver = scene.far_end.python(RECEIVER)
    scene.stack.callback(receiver.kill)
    receiver.stdout.readline()
    wanted = scene.guest.must(f"randomfile {FILE_MIB << 20} >/tmp/file; sha256sum </tmp/file",
                              30).split()[0]
    start = time.monotonic()
    said = scene.ns("vf0", f"nc {FarEnd.address} {PORT} </tmp/file; rm /tmp/file", 40)
    output, _ = receiver.communicate(timeout=200)
    seen = output.decode().strip()
    check.expect(seen == wanted, f"SHA-256 {wanted}", seen or said)
    check.note(f"{wanted[:16]}… agrees, {time.monotonic() - start:.1f} s")


CHECKS = (
    ("PF and VFs ping the uplink", check_ping),
    ("frames from the uplink", check_from_uplink),
    ("frames to the uplink", check_to_uplink),
    (f"{FILE_MIB} MiB by TCP, VF to uplink, SHA-256", check_file),
)

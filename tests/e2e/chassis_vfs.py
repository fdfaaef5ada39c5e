# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: VFs come and go, and all that the card connects reach each other."""

import time

from chassis import SYS_PF, VFS
from scene import TEST_ETHERTYPE

FILE_MIB = 16


def check_vfs(scene, check):
    start = time.monotonic()
    said = scene.numvfs(VFS)
    check.expect(not said, "no error", said)
    ids = scene.guest.must("lspci -D -n -d 8086:10ed").split("\n")[:-1]
    check.expect([line.split()[0] for line in ids] ==
                 [f"0001:01:10.{2 * vf}" for vf in range(VFS)],
                 "VFs at 01:10.0, .2, .4, .6", ids)
    for vf in range(VFS):
        driver = scene.guest.must(f"basename $(readlink -f {SYS_PF}/virtfn{vf}/driver)").strip()
        check.expect(driver == "ixgbevf", f"ixgbevf on VF {vf}", driver)
    scene.vfs_up(check)
    check.note(f"{VFS} VFs, links up, {time.monotonic() - start:.1f} s")


def check_groups(scene, check):
    groups = {}
    for line in scene.guest.must("ls -d /sys/kernel/iommu_groups/*/devices/*").split():
        groups.setdefault(line.split("/")[4], []).append(line.split("/")[-1])
    ours = {devices[0]: devices for devices in groups.values() if devices[0] >= "0001:01"}
    check.expect(len(ours) == VFS + 1 and all(len(d) == 1 for d in ours.values()),
                 f"{VFS + 1} groups with one function each", groups)
    check.note(f"{VFS + 1} groups")


def check_ping(scene, check):
    rtts = []
    for name, address in (("vf0", "10.0.0.2"), ("vf1", "10.0.0.1"), ("vf2", "10.0.0.4"),
                          (None, "10.0.0.1"), ("vf3", "10.0.0.100")):
        rtts.append(scene.expect_ping(check, name, address))
    check.note(f"RTT {min(rtts):.2f} to {max(rtts):.2f} ms", rtt_ms=rtts)


def recorded(scene):
    return scene.record.read_bytes() if scene.record.exists() else b""


def check_uplink(scene, check):
    """Broadcasts leave by the port's uplink, frames between the card's functions do not."""
    macs = {name: scene.mac(name) for name in ("vf0", "vf1")}
    pair = bytes.fromhex((macs["vf1"] + macs["vf0"]).replace(":", ""))
    outside = "02:00:00:00:99:99"
    before = len(recorded(scene))
    for target in (outside, macs["vf1"], "ff:ff:ff:ff:ff:ff"):
        scene.ns("vf0", f"frames send vf0 20 {target} {macs['vf0']} {TEST_ETHERTYPE}")
    time.sleep(0.5)
    new = recorded(scene)[before:]
    counts = [new.count(bytes.fromhex((target + macs["vf0"]).replace(":", "") + TEST_ETHERTYPE))
              for target in (outside, "ff:ff:ff:ff:ff:ff")]
    check.expect(counts == [20, 20], "20 to a stranger and 20 to everybody", counts)
    check.expect(new.count(pair) == 0, "none of VF 0 to VF 1", new.count(pair))
    check.note("what is for outside or everybody, and nothing else")


def check_tcp(scene, check, client, server, address):
    before = scene.cycles()
    data = scene.iperf(client, server, address)
    after = scene.cycles()
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


def check_file(scene, check):
    scene.guest.must(f"randomfile {FILE_MIB << 20} >/tmp/file", 30)
    receiving = scene.guest.start(scene.inside(
        "vf1", "rm -f /tmp/hold; mkfifo /tmp/hold; exec 3<>/tmp/hold; "
        "exec nc -l -p 5002 <&3 >/tmp/copy"), 60)
    scene.guest.poll(scene.inside("vf1", "netstat -ltn"), ":5002 ", 5, 0.05)
    start = time.monotonic()
    scene.ns("vf0", "nc 10.0.0.2 5002 </tmp/file", 60)
    receiving.wait()
    seconds = time.monotonic() - start
    sums = [line.split()[0] for line in
            scene.guest.must("sha256sum /tmp/file /tmp/copy", 30).splitlines()]
    size = int(scene.guest.must("stat -c %s /tmp/copy"))
    scene.guest.must("rm /tmp/file /tmp/copy")
    check.expect(size == FILE_MIB << 20, f"{FILE_MIB} MiB at the far end", size)
    check.expect(sums[0] == sums[1], f"SHA-256 {sums[0]}", sums[1])
    check.note(f"{sums[0][:16]}… agrees, {seconds:.1f} s", sha256=sums[0])


def check_numvfs(scene, check):
    said = [scene.numvfs(0)]
    seconds = {}
    for count in (8, 0, 63):
        start = time.monotonic()
        said.append(scene.numvfs(count))
        seconds[count] = round(time.monotonic() - start, 1)
    check.expect(not any(said), "no error", said)
    seen = len(scene.guest.must("lspci -D -n -d 8086:10ed").splitlines())
    check.expect(seen == 63, "63 VFs", seen)
    busy = scene.numvfs(8)
    check.expect("busy" in busy, "EBUSY for 63 to 8", busy)
    said = [scene.numvfs(0)]
    wide = scene.numvfs(64)
    check.expect("range" in wide, "ERANGE for 64", wide)
    said.append(scene.numvfs(VFS))
    check.expect(not any(said), "no error", said)
    scene.vfs_up(check)
    scene.expect_ping(check, "vf0", "10.0.0.2")
    check.note(f"63 VFs in {seconds[63]} s; EBUSY, ERANGE", seconds=seconds)


CHECKS = (
    (f"sriov_numvfs {VFS}: stock ixgbevf binds", check_vfs),
    ("an IOMMU group each", check_groups),
    ("PF and VFs ping each other", check_ping),
    ("the uplink hears them", check_uplink),
    ("TCP, VF to VF", lambda scene, check: check_tcp(scene, check, "vf0", "vf1", "10.0.0.2")),
    ("TCP, PF to VF", lambda scene, check: check_tcp(scene, check, None, "vf1", "10.0.0.2")),
    ("TCP, VF to PF", lambda scene, check: check_tcp(scene, check, "vf1", None, "10.0.0.100")),
    (f"{FILE_MIB} MiB file over TCP, SHA-256", check_file),
)
COMING_AND_GOING = (("sriov_numvfs 8, 0, 63, 0, 4; EBUSY, ERANGE", check_numvfs),)

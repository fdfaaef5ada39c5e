# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: VFs come and go, and all that the card connects reach each other."""

import time

from chassis import SYS_PF, VFS
from chassis_scene import PF_ADDRESS, UPLINK
from scene import SLOWEST_GBPS

FILE_MIB = 16
# Each is a message between QEMU and vireod; a read is two.
KINDS = ("window_reads", "window_writes", "interrupts", "iommu_reads", "iommu_writes",
         "config_reads", "config_writes")
ROUNDS = 3


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
                          (None, "10.0.0.1"), ("vf3", PF_ADDRESS)):
        rtts.append(scene.expect_ping(check, name, address))
    check.note(f"RTT {min(rtts):.2f} to {max(rtts):.2f} ms", rtt_ms=rtts)


def check_tcp(scene, check, client, server, address):
    before = scene.cycles()
    data = scene.iperf(client, server, address)
    after = scene.cycles()
    check.expect("error" not in data, "iperf3's result", data.get("error"))
    gbps = data["end"]["sum_received"]["bits_per_second"] / 1e9
    check.expect(gbps > SLOWEST_GBPS, f"more than {SLOWEST_GBPS} Gbit/s", f"{gbps:.5f}")
    packets, per = per_packet(before, after)
    check.expect(packets > 100, "the packets in the card's counters", packets)
    check.note(f"{gbps:.2f} Gbit/s; per packet: {words(per)}", gbps=round(gbps, 3),
               packets=packets, per_packet=per)


def per_packet(before, after):
    """(packets sent by all functions, {kind of message: how many for each packet})."""
    def frames(stats):
        port = stats["ports"][0]
        return sum(c["tx_frames"] for c in [port["counts"], *port["vfs"]])
    packets = frames(after) - frames(before)
    return packets, {kind: round((after["cycles"][kind] - before["cycles"][kind]) /
                                 max(packets, 1), 4) for kind in KINDS}


def words(per):
    iommu = per["iommu_reads"] + per["iommu_writes"]
    return (f"{per['window_reads']:.3f} reads, {per['window_writes']:.3f} writes, "
            f"{per['interrupts']:.3f} interrupts, {iommu:.3f} IOMMU")


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
    """The numbers of the issue, and the errors between them, while everything talks."""
    seconds = {}
    with scene.traffic():
        scene.moving(check, UPLINK, 1)
        said = [scene.numvfs(0)]
        for count in (8, 0, 63):
            start = time.monotonic()
            said.append(scene.numvfs(count))
            seconds[count] = round(time.monotonic() - start, 1)
            scene.moving(check, UPLINK)
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
        scene.moving(check, UPLINK)
    scene.drop_namespaces()
    scene.vfs_up(check)
    scene.expect_ping(check, "vf0", "10.0.0.2")
    check.note(f"63 VFs in {seconds[63]} s; EBUSY, ERANGE; the PF's traffic goes on",
               seconds=seconds)


def check_rounds(scene, check):
    """VFs are taken away amid a TCP connection between them, and given back, again and again."""
    start = time.monotonic()
    with scene.traffic():
        for number in range(ROUNDS):
            jobs = scene.flow() if number else []
            scene.moving(check, UPLINK, 1)
            said = [scene.numvfs(count) for count in (0, 2, 0, VFS)]
            check.expect(not any(said), "no error", said)
            for job in jobs:
                job.stop()
            scene.drop_namespaces()
            scene.vfs_up(check)
            scene.expect_ping(check, "vf0", "10.0.0.2")
    scene.complaints(check)
    check.note(f"{ROUNDS} times 0, 2, 0, {VFS} amid TCP, {time.monotonic() - start:.1f} s")


CHECKS = (
    (f"sriov_numvfs {VFS}: stock ixgbevf binds", check_vfs),
    ("an IOMMU group each", check_groups),
    ("PF and VFs ping each other", check_ping),
    ("TCP, VF to VF", lambda scene, check: check_tcp(scene, check, "vf0", "vf1", "10.0.0.2")),
    ("TCP, PF to VF", lambda scene, check: check_tcp(scene, check, None, "vf1", "10.0.0.2")),
    ("TCP, VF to PF", lambda scene, check: check_tcp(scene, check, "vf1", None, PF_ADDRESS)),
    (f"{FILE_MIB} MiB file over TCP, SHA-256", check_file),
)
UNDER_TRAFFIC = (("sriov_numvfs 8, 0, 63, 0, 4 amid traffic", check_numvfs),)
AGAIN_AND_AGAIN = ((f"sriov_numvfs {ROUNDS} more times amid TCP", check_rounds),)

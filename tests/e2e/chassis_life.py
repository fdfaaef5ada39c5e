# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: functions, drivers and guests that go and come back while others work."""

import json
import time

import chassis_vfs
import process
from chassis import SYS_PF
from chassis_scene import BOOT_LIMIT_S, FLOOD_SOURCE, UPLINK
from scene import TEST_ETHERTYPE

FLR_VF = 2
FLR_DEVICE = "0001:01:10.4"
FLR_PATH = f"/sys/bus/pci/devices/{FLR_DEVICE}"
FLR_FLOW_S = 6


def check_up(scene, check):
    rtt = scene.bring_up(check)
    check.note(f"RTT {rtt:.2f} ms")


def check_flr(scene, check):
    """VF 2 is reset and loses its driver amid its own traffic; VF 0 and 1 carry a flow."""
    flow = scene.guest.start(scene.inside("vf1", "iperf3 -s -1 -p 5201"), 40)
    scene.guest.poll(scene.inside("vf1", "netstat -ltn"), ":5201 ", 5, 0.05)
    client = scene.guest.start(
        scene.inside("vf0", f"iperf3 -J -c 10.0.0.2 -p 5201 -t {FLR_FLOW_S}"), 40)
    # What arrives for VF 2, and what it sends.
    ping = scene.guest.start(scene.inside("vf2", "ping -q -i 0.01 10.0.0.100"), 60)
    flood = scene.far_end and scene.far_end.flood(scene.mac("vf2"), FLOOD_SOURCE, TEST_ETHERTYPE,
                                                  500)
    try:
        scene.moving(check, FLR_VF, 1)
        said = scene.guest.run(f"printf 1 | tee {FLR_PATH}/reset 2>&1 >/dev/null", 20).output
        check.expect(not said.strip(), "VF 2 reset while its driver is there", said)
        scene.guest.must(f"printf {FLR_DEVICE} >{FLR_PATH}/driver/unbind; "
                         f"printf 1 >{FLR_PATH}/reset; "
                         f"printf {FLR_DEVICE} >/sys/bus/pci/drivers/ixgbevf/bind", 30)
        output = client.wait().output
    finally:
        if flood:
            process.end(flood)
        ping.stop()
    flow.wait()
    data = json.loads(output)
    check.expect("error" not in data, "the flow to go on", data.get("error"))
    # The namespace gave its interface back to the driver that went; a new one has come.
    scene.guest.must("V=$(ls " + FLR_PATH + "/net) && ip link set $V netns vf2 && "
                     "ip netns exec vf2 sh -c \"ip link set $V name vf2; "
                     "ip addr add 10.0.0.3/24 dev vf2; ip link set vf2 up\"", 20)
    scene.wait_link(check, "vf2", "vf2")
    scene.expect_ping(check, "vf0", "10.0.0.3")
    gbps = data["end"]["sum_received"]["bits_per_second"] / 1e9
    check.note(f"the others' flow went on at {gbps:.2f} Gbit/s; VF 2 is back")


def check_reload(scene, check):
    with scene.traffic():
        scene.moving(check, UPLINK, 1)
        scene.guest.must("rmmod ixgbe", 60)
        left = scene.guest.must("lspci -D -n -d 8086:10ed")
        check.expect(not left, "no VF without the PF's driver", left)
        scene.guest.must("insmod /modules/ixgbe.ko", 60)
        scene.pf = scene.guest.must(f"ls {SYS_PF}/net").strip()
    scene.drop_namespaces()
    rtt = scene.bring_up(check)
    check.note(f"no VF in between; RTT {rtt:.2f} ms after it")


def check_reboot(scene, check):
    scene.complaints(check)
    with scene.traffic():
        scene.moving(check, UPLINK, 1)
        start = time.monotonic()
        scene.guest.start("reboot -f")
        scene.boots += 1
        check.expect(scene.guest.wait_hello(scene.boots, BOOT_LIMIT_S), "the agent again",
                     "nothing")
        scene.wait_boot(check)
        rtt = scene.bring_up(check)
    check.note(f"all again after {time.monotonic() - start:.1f} s, RTT {rtt:.2f} ms")


def check_power_off(scene, check):
    with scene.traffic():
        scene.moving(check, UPLINK, 1)
        start = time.monotonic()
        scene.new_guest(check, "host-again")
        rtt = scene.bring_up(check)
    check.note(f"all again after {time.monotonic() - start:.1f} s, RTT {rtt:.2f} ms")


CHECKS = (
    ("VF FLR and unbind under traffic", check_flr),
    ("PF unloaded and loaded under traffic", check_reload),
    ("guest reboot under traffic", check_reboot),
    ("power-off under traffic, a new guest", check_power_off),
)
ALONE = (("PF, VFs, uplink", check_up), *CHECKS, *chassis_vfs.AGAIN_AND_AGAIN)

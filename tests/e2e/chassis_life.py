# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: functions, drivers and guests that go and come back while others work."""

import json
import time

from chassis import SYS_PF
from chassis_scene import BOOT_LIMIT_S


def check_flr(scene, check):
    """VF 2 is reset and loses its driver while VF 0 and 1 carry a flow."""
    flow = scene.guest.start(scene.inside("vf1", "iperf3 -s -1 -p 5201"), 40)
    scene.guest.poll(scene.inside("vf1", "netstat -ltn"), ":5201 ", 5, 0.05)
    client = scene.guest.start(scene.inside("vf0", "iperf3 -J -c 10.0.0.2 -p 5201 -t 5"), 40)
    device = "0001:01:10.4"
    path = f"/sys/bus/pci/devices/{device}"
    time.sleep(0.5)
    said = scene.guest.run(f"printf 1 | tee {path}/reset 2>&1 >/dev/null", 20).output
    check.expect(not said.strip(), "VF 2 reset while its driver is there", said)
    scene.guest.must(f"printf {device} >{path}/driver/unbind; printf 1 >{path}/reset; "
                    f"printf {device} >/sys/bus/pci/drivers/ixgbevf/bind", 30)
    output = client.wait().output
    flow.wait()
    data = json.loads(output)
    check.expect("error" not in data, "the flow to go on", data.get("error"))
    # The namespace gave its interface back to the driver that went; a new one has come.
    scene.guest.must("V=$(ls " + path + "/net) && ip link set $V netns vf2 && "
                    "ip netns exec vf2 sh -c \"ip link set $V name vf2; "
                    "ip addr add 10.0.0.3/24 dev vf2; ip link set vf2 up\"", 20)
    scene.wait_link(check, "vf2", "vf2")
    scene.expect_ping(check, "vf0", "10.0.0.3")
    gbps = data["end"]["sum_received"]["bits_per_second"] / 1e9
    check.note(f"the others' flow went on at {gbps:.2f} Gbit/s")


def check_reload(scene, check):
    scene.drop_namespaces()
    scene.guest.must("rmmod ixgbe", 60)
    left = scene.guest.must("lspci -D -n -d 8086:10ed")
    scene.guest.must("insmod /modules/ixgbe.ko", 60)
    scene.pf = scene.guest.must(f"ls {SYS_PF}/net").strip()
    scene.bring_up(check)
    check.note(f"VFs after rmmod: {len(left.splitlines())}")


def check_reboot(scene, check):
    start = time.monotonic()
    scene.guest.start("reboot -f")
    scene.boots += 1
    check.expect(scene.guest.wait_hello(scene.boots, BOOT_LIMIT_S), "the agent again", "nothing")
    scene.wait_boot(check)
    rtt = scene.bring_up(check)
    check.note(f"all again after {time.monotonic() - start:.1f} s, RTT {rtt:.2f} ms")


UNDER_TRAFFIC = (("VF FLR and unbind under traffic", check_flr),)
CHECKS = (
    ("PF driver unloaded and loaded", check_reload),
    ("guest reboot", check_reboot),
)

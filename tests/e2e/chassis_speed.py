# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: ixgbe and ixgbevf on Vireo beside igb and igbvf on QEMU's igb, in one VM."""

import statistics

from chassis_scene import HostScene
from chassis_vfs import per_packet, words

# The other SR-IOV card that a VM can have.
IGB = ("-device", "pcie-root-port,id=igbport,chassis=9,slot=9", "-netdev", "hubport,id=h0,hubid=0",
       "-device", "igb,bus=igbport,netdev=h0")
CARDS = {"vireo": ("vf0", "10.0.0.1"), "igb": ("igb0", "10.1.0.1")}  # namespace of a VF, address
KINDS = {"to_vf": "TCP, PF to VF, Gbit/s", "to_pf": "TCP, VF to PF, Gbit/s", "rtt": "ping, ms"}
ROUNDS = 5
ROUND_S = 1
PINGS = 20
GOAL = 1.0


class SpeedScene(HostScene):
    """The chassis VM, which has QEMU's igb besides."""

    def start_machine(self, name, cmdline="", extra=()):
        super().start_machine(name, cmdline, extra or IGB)


def check_vireo_up(scene, check):
    rtt = scene.bring_up(check)
    check.note(f"RTT {rtt:.2f} ms")


def check_igb_up(scene, check):
    """QEMU's igb, in the same VM: the PF here, a VF in the namespace igb0."""
    scene.guest.must("while read -r m; do insmod $m; done </modules.igb", 20)
    text = scene.guest.must("lspci -D -n -d 8086:10c9")
    check.expect(text, "QEMU's igb", "none")
    path = f"/sys/bus/pci/devices/{text.split()[0]}"
    scene.guest.must(
        f"P=$(ls {path}/net) && ip link set $P name igbpf && ip link set igbpf up && "
        f"ip addr add 10.1.0.100/24 dev igbpf && printf 1 >{path}/sriov_numvfs && sleep 0.5 && "
        f"V=$(ls {path}/virtfn0/net) && ip netns add igb0 && ip link set $V netns igb0 && "
        "ip netns exec igb0 sh -c \"ip link set $V name igb0; ip addr add 10.1.0.1/24 dev igb0; "
        "ip link set igb0 up\"", 30)
    scene.wait_link(check, "igb0", "igb0")
    rtt = scene.expect_ping(check, None, CARDS["igb"][1])
    check.note(f"RTT {rtt:.2f} ms")


def measure(scene, check, card, figures):
    """One short round on one card."""
    name, address = CARDS[card]
    lost, rtt, output = scene.ping(None, address, PINGS)
    check.expect(lost == 0, f"no loss on {card}", output)
    figures["rtt"].append(rtt)
    for direction, option in (("to_vf", ""), ("to_pf", "-R")):
        data = scene.iperf(None, name, address, option, ROUND_S)
        check.expect("error" not in data, f"iperf3's result on {card}", data.get("error"))
        figures[direction].append(data["end"]["sum_received"]["bits_per_second"] / 1e9)


def check_speed(scene, check):
    """Rounds of both cards take turns, so that what else the machine does hits both."""
    figures = {card: {kind: [] for kind in KINDS} for card in CARDS}
    messages = []
    for number in range(ROUNDS):
        scene.report.progress(f"round {number + 1} of {ROUNDS}")
        for card in CARDS:
            before = scene.cycles()
            measure(scene, check, card, figures[card])
            if card == "vireo":
                messages.append(per_packet(before, scene.cycles())[1])
    scene.report.say(f"      {'medians (least to most)':24} {'Vireo':21} {'igb':21} ratio of the "
                     "medians (of single rounds)")
    ratios = {kind: ratio_line(scene, kind, text, figures) for kind, text in KINDS.items()}
    per = {kind: statistics.median(one[kind] for one in messages) for kind in messages[0]}
    scene.report.say(f"      messages for each packet: {words(per)}")
    missed = [text for kind, text in KINDS.items() if ratios[kind] < GOAL]
    check.note(f"{ROUNDS} rounds each; goal of {GOAL:.0f}×: " +
               (f"not reached by {'; '.join(missed)}" if missed else "reached"),
               rounds=figures, ratios=ratios, per_packet=per, goal_reached=not missed)


def ratio_line(scene, kind, text, figures):
    """Prints one line of the comparison. Returns Vireo's figure in igb's; more is better."""
    ours, theirs = figures["vireo"][kind], figures["igb"][kind]
    better = (lambda a, b: b / a) if kind == "rtt" else (lambda a, b: a / b)
    ratio = better(statistics.median(ours), statistics.median(theirs))
    single = [better(a, b) for a, b in zip(ours, theirs)]

    def spread(values):
        return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
    scene.report.say(f"      {text:24} {spread(ours):21} {spread(theirs):21} "
                     f"{ratio:.2f}× ({min(single):.2f} to {max(single):.2f}) "
                     f"{'reached' if ratio >= GOAL else 'not reached'}")
    return round(ratio, 3)


CHECKS = (
    ("ixgbe PF and ixgbevf on Vireo", check_vireo_up),
    ("igb PF and igbvf on QEMU's igb", check_igb_up),
    ("TCP and ping, PF to VF, on both", check_speed),
)

# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: ixgbe and ixgbevf on Vireo beside igb and igbvf on QEMU's igb, in one VM."""


def igb_up(scene, check):
    """QEMU's igb, in the same VM: the PF here, a VF in the namespace igb0."""
    scene.guest.must("while read -r m; do insmod $m; done </modules.igb", 20)
    path, text = "", scene.guest.must("lspci -D -n -d 8086:10c9")
    check.expect(text, "QEMU's igb", "none")
    path = f"/sys/bus/pci/devices/{text.split()[0]}"
    scene.guest.must(
        f"P=$(ls {path}/net) && ip link set $P name igbpf && ip link set igbpf up && "
        f"ip addr add 10.1.0.100/24 dev igbpf && printf 1 >{path}/sriov_numvfs && sleep 0.5 && "
        f"V=$(ls {path}/virtfn0/net) && ip netns add igb0 && ip link set $V netns igb0 && "
        "ip netns exec igb0 sh -c \"ip link set $V name igb0; ip addr add 10.1.0.1/24 dev igb0; "
        "ip link set igb0 up\"", 30)
    scene.wait_link(check, "igb0", "igb0")


def check_speed(scene, check):
    """PF in one namespace, VF in another: rounds of both cards take turns."""
    igb_up(scene, check)
    cards = {"vireo": ("vf0", "10.0.0.1"), "igb": ("igb0", "10.1.0.1")}
    figures = {card: {"rtt": [], "to_vf": [], "to_pf": []} for card in cards}
    for _ in range(3):
        for card, (name, address) in cards.items():
            lost, rtt, output = scene.ping(None, address, 20)
            check.expect(lost == 0, f"no loss on {card}", output)
            figures[card]["rtt"].append(rtt)
            for direction, option in (("to_vf", ""), ("to_pf", "-R")):
                data = scene.iperf(None, name, address, option, 2)
                check.expect("error" not in data, f"iperf3's result on {card}",
                             data.get("error"))
                figures[card][direction].append(
                    data["end"]["sum_received"]["bits_per_second"] / 1e9)
    median = {card: {kind: sorted(values)[1] for kind, values in kinds.items()}
              for card, kinds in figures.items()}
    ratios = {kind: median["vireo"][kind] / median["igb"][kind] for kind in ("to_vf", "to_pf")}
    ratios["rtt"] = median["igb"]["rtt"] / median["vireo"]["rtt"]
    check.note(", ".join(f"{text} {median['vireo'][kind]:.2f} to {median['igb'][kind]:.2f} "
                         f"({ratios[kind]:.2f}×)" for kind, text in
                         (("to_vf", "PF→VF Gbit/s"), ("to_pf", "VF→PF"), ("rtt", "RTT ms"))),
               medians=median, ratios={k: round(v, 3) for k, v in ratios.items()})


CHECKS = (("speed beside igb/igbvf on QEMU's igb", check_speed),)

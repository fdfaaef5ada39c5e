# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode with a dual-port card."""

import re

import chassis
from chassis_scene import BROADCAST, HostScene
from scene import TEST_ETHERTYPE

TWO_PORTS = ('seed = "two"; ports = ( { uplink = { kind = "null"; }; vfs = 1; }, '
             '{ uplink = { kind = "null"; }; vfs = 1; } );')


class TwoPorts(HostScene):
    """A dual-port card in a VM with memory above 4 GiB and two CPUs; with all its VFs if asked."""

    cpus = 2
    memory_mib = 5120

    def __init__(self, report, setup, args, run_dir, many_vfs):
        super().__init__(report, setup, args, run_dir)
        self.many_vfs = many_vfs
        self.daemon = chassis.ChassisDaemon(args.vireod, run_dir, TWO_PORTS)
        self.far_end = None
        self.names = []

    def list_checks(self):
        many = (("63 VFs on each of two PFs", self.check_two),) if self.many_vfs else ()
        return (("lspci: two PFs; ixgbe binds to both", self.check_pfs),
                ("both ports' links up", self.check_links),
                *many,
                ("VFs of both ports in namespaces", self.check_both),
                ("nothing passes from port to port", self.check_apart),
                ("no complaint from the kernel", self.check_complaints),
                ("vireod ends cleanly", self.check_end))

    def each(self, script):
        for port in range(2):
            self.guest.must(f"D=/sys/bus/pci/devices/0001:01:00.{port}; N=$(ls $D/net); "
                            f"P={port}; {script}", 90)

    def check_pfs(self, check):
        text = self.guest.must("lspci -D -n -d 8086:10fb")
        seen = [line.split()[0] for line in text.splitlines()]
        check.expect(seen == ["0001:01:00.0", "0001:01:00.1"], "01:00.0 and 01:00.1", text)
        found = []
        for device in seen:
            path = f"/sys/bus/pci/devices/{device}"
            driver = self.guest.must(f"basename $(readlink -f {path}/driver)").strip()
            check.expect(driver == "ixgbe", f"ixgbe on {device}", driver)
            self.names.append(self.guest.must(f"ls {path}/net").strip())
            mac = self.guest.must(f"cat {path}/net/*/address").strip()
            text = self.guest.must(f"lspci -vvv -D -s {device}")
            serial = re.search(r"Device Serial Number (\S+)", text)
            check.expect("Single Root I/O" in text and serial, f"SR-IOV and DSN on {device}", text)
            found.append((mac, serial.group(1)))
        check.expect(found[0][0] != found[1][0] and found[0][1] == found[1][1],
                     "a MAC each, and one serial number", found)
        check.note(f"{found[0][0]}, {found[1][0]}")

    def check_links(self, check):
        for name in self.names:
            self.guest.must(f"ip link set {name} up")
            self.wait_link(check, None, name)
        check.note(", ".join(self.names))

    def check_two(self, check):
        self.each("printf 63 >$D/sriov_numvfs")
        seen = [line.split()[0] for line in
                self.guest.must("lspci -D -n -d 8086:10ed").splitlines()]
        check.expect(len(seen) == 126 and seen[:3] == ["0001:01:10.0", "0001:01:10.1",
                                                       "0001:01:10.2"],
                     "126 VFs, 01:10.0, .1, .2, …", seen[:4])
        groups = len(self.guest.must("ls /sys/kernel/iommu_groups").split())
        check.expect(groups == 129, "129 IOMMU groups, with the PFs and the root port", groups)
        check.note(f"126 VFs, {groups} IOMMU groups")

    def check_both(self, check):
        self.each("printf 0 >$D/sriov_numvfs; printf 1 >$D/sriov_numvfs; sleep 0.5; "
                  "V=$(ls $D/virtfn0/net); ip addr add 10.$P.0.100/24 dev $N; ip netns add p$P; "
                  "ip link set $V netns p$P; ip netns exec p$P sh -c \"ip link set $V name p$P; "
                  "ip addr add 10.$P.0.1/24 dev p$P; ip link set p$P up\"")
        rtts = []
        for port in range(2):
            self.wait_link(check, f"p{port}", f"p{port}")
            rtts.append(self.expect_ping(check, None, f"10.{port}.0.1"))
        queues = self.guest.must("grep -c 'eth[01]-TxRx' /proc/interrupts").strip()
        check.note(f"RTT {rtts[0]:.2f} and {rtts[1]:.2f} ms, {queues} queue vectors of the PFs")

    def check_apart(self, check):
        """Two ports are two switches: what one VF sends to everybody stays at its port."""
        source = self.mac("p0")

        def send():
            self.guest.must(self.inside(
                "p0", f"frames send p0 20 {BROADCAST} {source} {TEST_ETHERTYPE}"))
        self.pf = self.names[0]
        heard = self.heard((None, "p1"), send)
        seen = [self.arrived(heard[place], source) for place in (None, "p1")]
        check.expect(seen == [20, 0], "20 of 20 at its own port's PF, none at the other's VF", seen)
        check.note("20 at the port's own PF, none at the other port's VF")

# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode with a dual-port card."""

import chassis
from chassis_scene import HostScene

TWO_PORTS = ('seed = "two"; ports = ( { uplink = { kind = "null"; }; vfs = 1; }, '
             '{ uplink = { kind = "null"; }; vfs = 1; } );')


class TwoPorts(HostScene):
    """A dual-port card, all its VFs, in a VM with memory above 4 GiB and two CPUs."""

    def __init__(self, report, setup, args, run_dir):
        super().__init__(report, setup, args, run_dir)
        self.daemon = chassis.ChassisDaemon(args.vireod, run_dir, TWO_PORTS)

    def start_machine(self, name, cmdline="", extra=()):
        self.machine = chassis.HostMachine(self.setup, self.run_dir, name)
        self.machine.cmdline = f"{chassis.CMDLINE} intel_iommu=on"
        self.machine.memory_mib = 5120
        self.stack.callback(self.machine.stop)
        self.guest = self.machine.start(self.daemon.socket_path(), cpus=2)

    def list_checks(self):
        return (("63 VFs on each of two PFs", self.check_two),
                ("VFs of both ports in namespaces", self.check_both),
                ("no complaint from the kernel", self.check_complaints),
                ("vireod ends cleanly", self.check_end))

    def each(self, script):
        for port in range(2):
            self.guest.must(f"D=/sys/bus/pci/devices/0001:01:00.{port}; N=$(ls $D/net); "
                            f"P={port}; {script}", 90)

    def check_two(self, check):
        self.each("ip link set $N up; printf 63 >$D/sriov_numvfs")
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
                  "ip link set $V netns p$P; ip netns exec p$P sh -c \"ip link set $V name v; "
                  "ip addr add 10.$P.0.1/24 dev v; ip link set v up\"")
        rtts = []
        for port in range(2):
            self.wait_link(check, f"p{port}", "v")
            rtts.append(self.expect_ping(check, None, f"10.{port}.0.1"))
        queues = self.guest.must("grep -c 'eth[01]-TxRx' /proc/interrupts").strip()
        check.note(f"RTT {rtts[0]:.2f} and {rtts[1]:.2f} ms, {queues} queue vectors of the PFs")

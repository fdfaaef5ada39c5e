# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: a stock Linux in one VM is the SR-IOV host, with stock ixgbe and intel-iommu.

Usage: demo_chassis.py [--json FILE] [--config FILE] [--vireod FILE] [--newer-kernel]
                       [--all | --smoke | --groups NAME,...]
Exit: 0 all passed, 1 something failed, 2 it could not be tried.
"""

import sys
import time

import chassis
import chassis_iommu
import chassis_life
import chassis_ovmf
import chassis_pf
import chassis_settings
import chassis_speed
import chassis_uplink
import chassis_vfio
import chassis_vfs
import process
import program
from chassis_limits import Limits
from chassis_ports import TwoPorts
from chassis_scene import HostScene

SMOKE_CHECKS = (*chassis_pf.CHECKS, *chassis_vfs.CHECKS, *chassis_uplink.CHECKS,
                *chassis_iommu.UNIT_CHECKS, *chassis_iommu.CHECKS)
HOST_CHECKS = (*chassis_pf.CHECKS, *chassis_vfs.CHECKS, *chassis_uplink.CHECKS,
               *chassis_settings.CHECKS, *chassis_vfs.UNDER_TRAFFIC, *chassis_iommu.UNIT_CHECKS,
               *chassis_iommu.CHECKS, *chassis_iommu.MODE_CHECKS)


class HostWithTwoCpus(HostScene):
    cpus = 2  # with one, ixgbevf makes one queue only


def play_host(args, report, run_dir, setup):
    HostWithTwoCpus(report, setup(), args, run_dir, HOST_CHECKS).run()


def play_smoke(args, report, run_dir, setup):
    HostScene(report, setup(), args, run_dir, SMOKE_CHECKS).run()


def play_user_space(args, report, run_dir, setup):
    made = setup(chassis_vfio.Setup, args.vireod.parent)
    chassis_vfio.VfioScene(report, made, args, run_dir).run()


def play_speed(args, report, run_dir, setup):
    chassis_speed.SpeedScene(report, setup(), args, run_dir, chassis_speed.CHECKS).run()


def play_ports(args, report, run_dir, setup):
    TwoPorts(report, setup(), args, run_dir, many_vfs=args.groups != DEMO).run()


def play_life(args, report, run_dir, setup):
    HostScene(report, setup(), args, run_dir, chassis_life.ALONE).run()


def play_limits(args, report, run_dir, setup):
    run_dir.mkdir()
    Limits(report, setup(), args, run_dir).run()


def play_ovmf(args, report, run_dir, setup):
    run_dir.mkdir()
    link = "ovmf" if args.kernel_link == "guest" else "newer-ovmf"
    firmware = program.CACHE / link / "root/usr/share/OVMF"
    chassis_ovmf.OvmfScene(report, setup(chassis_ovmf.Setup), args, run_dir, firmware).run()


# {name: (title, function)}; each has a vireod and VMs of its own.
GROUPS = {
    "smoke": ("the shortest way through", play_smoke),
    "host": ("one VM has the card: its kernel is the SR-IOV host", play_host),
    "two-ports": ("a dual-port card, 5 GiB of memory, two CPUs", play_ports),
    "user-space": ("VFs that are vfio-pci's: our driver, and DPDK's", play_user_space),
    "speed": ("as fast as QEMU's own SR-IOV card?", play_speed),
    "life": ("drivers and guests come and go", play_life),
    "ovmf": ("the VM's firmware is OVMF", play_ovmf),
    "limits": ("what cannot work is named, and the VM boots", play_limits),
}
SMOKE = ("smoke",)
DEMO = ("host", "two-ports", "user-space", "speed")
ALL = (*DEMO, "life", "ovmf", "limits")


def play(args, report):
    with process.run_directory() as run_dir:
        def setup(kind=chassis.Setup, *more):
            return kind(program.CACHE, run_dir, *more, say=report.say,
                        kernel_link=args.kernel_link)
        program.describe(report, setup(), "guest")
        for number, name in enumerate(args.groups):
            title, function = GROUPS[name]
            start = time.monotonic()
            report.start_group(name, f"== {number + 1} of {len(args.groups)}: {title}")
            function(args, report, run_dir / f"g{number}", setup)
            report.phase(name, time.monotonic() - start)


def parse(default):
    parser = program.arguments("Chassis mode, checked.", newer_kernel=True)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", dest="groups", action="store_const", const=ALL,
                       help="everything that there is to check")
    which.add_argument("--smoke", dest="groups", action="store_const", const=SMOKE,
                       help="the shortest way through")
    which.add_argument("--groups", type=lambda text: text.split(","), metavar="NAME,...",
                       help=f"of {', '.join(GROUPS)}; without any: {', '.join(DEMO)}")
    args = parser.parse_args()
    args.groups = args.groups or default
    unknown = set(args.groups) - set(GROUPS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    return args


def main():
    return program.run("demo-chassis", parse(DEMO), play)


if __name__ == "__main__":
    sys.exit(main())

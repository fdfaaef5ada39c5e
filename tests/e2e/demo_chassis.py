# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode: a stock Linux in one VM is the SR-IOV host, with stock ixgbe and intel-iommu.

Usage: demo_chassis.py [--json FILE] [--config FILE] [--vireod FILE] [--smoke] [--newer-kernel]
Exit: 0 all passed, 1 something failed, 2 it could not be tried.
"""

import argparse
import sys
from pathlib import Path

import chassis
import chassis_iommu
import chassis_life
import chassis_pf
import chassis_settings
import chassis_speed
import chassis_vfs
import initramfs
import process
import qemu
from chassis_limits import Limits
from chassis_ports import TwoPorts
from chassis_scene import HostScene
from checks import Report
from daemon import DaemonError
from demo import CACHE, TOP, finish


def list_checks(smoke):
    if smoke:
        return (*chassis_pf.CHECKS, *chassis_vfs.CHECKS, *chassis_iommu.CHECKS)
    return (*chassis_pf.CHECKS, *chassis_vfs.CHECKS, *chassis_settings.CHECKS,
            *chassis_life.UNDER_TRAFFIC, *chassis_iommu.CHECKS, *chassis_vfs.COMING_AND_GOING,
            *chassis_life.CHECKS, *chassis_iommu.MODES, *chassis_speed.CHECKS)


def run_scenes(args, report):
    with process.run_directory() as run_dir:
        setup = chassis.Setup(CACHE, run_dir, report.say,
                              "newer-kernel" if args.newer_kernel else "guest")
        report.facts.update(qemu=setup.qemu_version, accelerator=setup.accel,
                            accelerator_why=setup.accel_why, kernel=setup.kernel_version)
        report.say(f"QEMU {setup.qemu_version}, {setup.accel} ({setup.accel_why}); "
                   f"guest: Debian's Linux {setup.kernel_version}")
        report.start_group("chassis", "== one VM has the card: its kernel is the SR-IOV host")
        HostScene(report, setup, args, run_dir / "c", list_checks(args.smoke)).run()
        if not args.smoke:
            report.start_group("two-ports", "== a dual-port card, 5 GiB of memory, two CPUs")
            TwoPorts(report, setup, args, run_dir / "t").run()
            report.start_group("limits", "== what cannot work is named, and the VM boots")
            Limits(report, setup, args, run_dir).run()


def main():
    parser = argparse.ArgumentParser(description="Chassis mode, checked.")
    parser.add_argument("--json", metavar="FILE", help="write the results for programs")
    parser.add_argument("--smoke", action="store_true", help="the shortest way through")
    parser.add_argument("--newer-kernel", action="store_true",
                        help="the stock kernel of the next Debian")
    parser.add_argument("--config", type=Path, default=TOP / "examples" / "card.conf")
    parser.add_argument("--vireod", type=Path, default=TOP / "build" / "vireod")
    args = parser.parse_args()
    report = Report()
    process.catch_signals()
    try:
        run_scenes(args, report)
    except (OSError, qemu.QemuError, initramfs.InitramfsError, DaemonError) as error:
        report.say(f"demo-chassis: {error}")
        return 2
    except (KeyboardInterrupt, process.Interrupted):
        report.say("\ndemo-chassis: interrupted")
        return 130
    return finish(report, args.json)


if __name__ == "__main__":
    sys.exit(main())

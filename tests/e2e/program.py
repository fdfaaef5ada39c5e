# SPDX-License-Identifier: BSD-3-Clause
"""What the programs of this directory have in common: arguments, set-up, last lines, exit code."""

import argparse
import os
import time
from pathlib import Path

import initramfs
import process
import qemu
from checks import Report
from daemon import DaemonError

TOP = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("VIREO_CACHE") or TOP / "build" / "cache")
# That it cannot be tried here, which is not a check's failure.
ERRORS = (OSError, qemu.QemuError, initramfs.InitramfsError, DaemonError)


def arguments(description, config=True, newer_kernel=False):
    """A parser with what all programs take; newer_kernel: args.kernel_link, the guests' kernel."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", metavar="FILE", help="write the results for programs")
    parser.add_argument("--vireod", type=Path, default=TOP / "build" / "vireod")
    if config:
        parser.add_argument("--config", type=Path, default=TOP / "examples" / "card.conf")
    if newer_kernel:
        parser.add_argument("--newer-kernel", dest="kernel_link", action="store_const",
                            const="newer-kernel", default="guest",
                            help="the stock kernel of the next Debian")
    return parser


def describe(report, setup, guests="guests"):
    """Says on what it runs."""
    report.facts.update(qemu=setup.qemu_version, accelerator=setup.accel,
                        accelerator_why=setup.accel_why, kernel=setup.kernel_version)
    report.say(f"QEMU {setup.qemu_version}, {setup.accel} ({setup.accel_why}); "
               f"{guests}: Debian's Linux {setup.kernel_version}")
    return setup


def prepare(report, run_dir):
    """QEMU, kernel and initramfs for guests with a VF each; says which."""
    return describe(report, qemu.Setup(CACHE, run_dir, report.say))


def finish(report, json_path):
    """The last lines. Returns the exit code."""
    failed, skipped = report.failed(), report.skipped()
    seconds = time.monotonic() - report.started
    passed = len(report.checks) - len(failed) - len(skipped)
    report.say(f"\n{passed} checks passed, {len(failed)} failed"
               + (f", {len(skipped)} skipped" if skipped else "") + f", in {seconds:.0f} s"
               + "".join(f"\n  FAIL {c.group}: {c.name}" for c in failed))
    if failed and not os.environ.get("VIREO_KEEP_LOGS"):
        report.say("  To look further: the same with VIREO_KEEP_LOGS=DIR in the environment leaves "
                   "the\n  logs of vireod, of QEMU and of the guests' consoles in DIR.")
    if json_path:
        report.write_json(json_path)
    return 1 if failed else 0


def run(name, args, function):
    """The whole program: function(args, report), and the end. Returns the exit code: 0 all passed,
    1 something failed, 2 it could not be tried, 130 interrupted."""
    report = Report()
    process.catch_signals()
    try:
        if not args.vireod.exists():
            raise DaemonError(f"{args.vireod} is missing: run make, or say where with --vireod")
        function(args, report)
    except ERRORS as error:
        report.say(f"{name}: {error}")
        return 2
    except (KeyboardInterrupt, process.Interrupted):
        report.say(f"\n{name}: interrupted")
        return 130
    return finish(report, args.json)

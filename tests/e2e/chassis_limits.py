# SPDX-License-Identifier: BSD-3-Clause
"""What chassis mode cannot work with: named, and the VM boots."""

import chassis
import process
from chassis_scene import BOOT_LIMIT_S
from checks import shortened


def without_backend(command):
    """QEMU's own memory instead of a shared file."""
    at = command.index("-object")
    words = command[:at] + command[at + 2:]
    return [word.replace(",memory-backend=m", "") for word in words] + [
        "-m", f"{chassis.MEMORY_MIB}M"]


class Limits:
    """What cannot work is named in vireod's log, and the VM boots all the same."""

    cases = (
        ("memory without a file", without_backend, (), "the VM's memory has no file"),
        ("share=off", lambda words: [w.replace("share=on", "share=off") for w in words], (),
         r"private to QEMU \(share=off\)"),
        ("the BAR is not where the tables say", lambda words: words,
         ("--chassis-base", "80000000"),
         "placed the carrier's BAR at c0000000, and the ACPI tables say 80000000"),
        ("a second IOMMU in QEMU", lambda words: [
            words[0], "-device", "intel-iommu,caching-mode=on", *words[1:]], (),
         "QEMU has an IOMMU of its own"),
    )

    def __init__(self, report, setup, args, run_dir):
        self.report, self.setup, self.args, self.run_dir = report, setup, args, run_dir

    def run(self):
        for number, (name, edit, options, wanted) in enumerate(self.cases):
            self.report.check(name, lambda check, case=(number, edit, options, wanted):
                              self.check_case(check, *case))

    def check_case(self, check, number, edit, options, wanted):
        folder = self.run_dir / f"l{number}"
        folder.mkdir()
        daemon = chassis.ChassisDaemon(self.args.vireod, folder, self.args.config.read_text())
        daemon.options = (*chassis.ChassisDaemon.options, *options)
        machine = chassis.HostMachine(self.setup, folder, f"limit{number}")
        machine.edit = edit
        machine.cmdline = f"{chassis.CMDLINE} intel_iommu=on"
        try:
            daemon.start()
            machine.start(daemon.socket_path())
            failure = machine.wait_up(BOOT_LIMIT_S)
            check.expect(not failure, "the VM to boot", failure)
            said = daemon.log_lines(wanted)
            check.expect(said, f"/{wanted}/ in vireod's log", process.tail(daemon.log, 5))
            check.note(shortened(said[0].split("chassis: ", 1)[-1]))
        finally:
            machine.stop()
            daemon.stop()

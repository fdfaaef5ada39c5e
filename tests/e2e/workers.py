# SPDX-License-Identifier: BSD-3-Clause
"""Guests on VFs of different workers: what two threads share, under stock drivers' traffic."""

import os
import time
from pathlib import Path

import process
from demo import MainJob
from scene import SLOWEST_GBPS, TEST_ETHERTYPE, ping_all, unanswered

WORKERS = 2
FILE_MIB = 32
BOTH_WAYS_S = 2
RESETS = 4
PINGS = 5  # in a row
FLOOD_FRAMES = 500  # at a time, until told to stop
FLOOD_PER_S = 1000
FLOOD_OF_VM_0_PER_S = 20000
WATCHER = 2          # the VM that is not reset
# VM 1 shares no worker with VM 0 and 2.
WORKER_OF_VM = {vm: vm % WORKERS for vm in range(3)}


def thread_ms(pid):
    """{thread: CPU time} of a process's threads but the first."""
    used, tick_ms = {}, 1000 / os.sysconf("SC_CLK_TCK")
    for task in Path(f"/proc/{pid}/task").iterdir():
        if int(task.name) != pid:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            used[int(task.name)] = (int(fields[11]) + int(fields[12])) * tick_ms
    return used


class Workers(MainJob):
    """VF 0 and 2 are one worker's, VF 1 is the other's: each frame between 0 and 1 crosses."""

    vm_count = 3

    def list_checks(self):
        return (
            *self.basic_checks(),
            (f"{WORKERS} workers", self.check_threads),
            ("ping both ways", self.check_ping),
            ("TCP, VM 0 to VM 1", lambda check: self.check_tcp(check, "")),
            ("TCP, VM 1 to VM 0", lambda check: self.check_tcp(check, "-R")),
            ("messages for an interrupt, by kind", self.check_messages),
            ("TCP both ways at once, by both workers", self.check_both_ways),
            (f"{FILE_MIB} MiB file over TCP, SHA-256", self.check_file),
            (f"a VF is reset under traffic, {RESETS} times", self.check_resets),
            ("function-level reset under traffic", self.check_flr),
            (f"{FILE_MIB} MiB once more, SHA-256", self.check_file),
            *self.last_checks(),
        )

    def check_threads(self, check):
        threads = self.daemon.stats().data["worker"]["threads"]
        used = thread_ms(self.daemon.process.pid)
        check.expect(threads == WORKERS, f"{WORKERS} workers in vireod's stats", threads)
        check.expect(len(used) >= WORKERS, f"{WORKERS} threads besides the first", used)
        check.note(", ".join(f"VM {vm}: worker {worker}" for vm, worker in WORKER_OF_VM.items()))

    def frames_of_workers(self):
        return [worker["frames"] for worker in self.daemon.stats().data["worker"]["each"]]

    def check_both_ways(self, check):
        pid = self.daemon.process.pid
        before, frames_before = thread_ms(pid), self.frames_of_workers()
        data = self.iperf(self.vms[0], self.vms[1], f"-t {BOTH_WAYS_S} --bidir", BOTH_WAYS_S)
        after, frames_after = thread_ms(pid), self.frames_of_workers()
        check.expect("error" not in data, "iperf3's result", data.get("error"))
        rates = [data["end"][name]["bits_per_second"] / 1e9
                 for name in ("sum_received", "sum_received_bidir_reverse")]
        check.expect(min(rates) > SLOWEST_GBPS, f"more than {SLOWEST_GBPS} Gbit/s each way", rates)
        busy = sorted((after[thread] - before.get(thread, 0) for thread in after), reverse=True)
        moved = [after - before for before, after in zip(frames_before, frames_after)]
        check.expect(len(moved) == WORKERS and min(moved) > 100, "frames moved by both", moved)
        check.note(f"{rates[0]:.2f} and {rates[1]:.2f} Gbit/s; CPU time "
                   f"{' and '.join(f'{ms:.0f} ms' for ms in busy[:WORKERS])}",
                   gbps=[round(rate, 3) for rate in rates])

    def check_file(self, check):
        before, after, seconds, size = self.send_file(FILE_MIB, 60)
        check.expect(before == after and size == FILE_MIB << 20, f"SHA-256 {before}",
                     f"{after}, {size} bytes")
        check.note(f"{after[0][:16]}… agrees, {seconds:.1f} s", sha256=after[0])

    def under_traffic(self, check, function):
        """Runs function while everybody floods everybody, and VM 2 pings VM 1."""
        jobs = []
        for vm, targets in zip(self.vms, ((1, 2), (0, 2), (0, 1))):
            vm.guest.must("rm -f /tmp/enough")
            # Sending fails while the interface is down: then it tries again. What VM 1 and 2 get is
            # limited, so that pings between them find room in their rings.
            sends = "".join(f"while [ ! -e /tmp/enough ]; do frames send {vm.interface} "
                            f"{FLOOD_FRAMES} {self.vms[to].mac} {vm.mac} {TEST_ETHERTYPE} - 60 "
                            f"{FLOOD_OF_VM_0_PER_S if to == 0 else FLOOD_PER_S} || "
                            "sleep 0.05; done & " for to in targets)
            jobs.append(vm.guest.start(f"{{ {sends} wait; }} 2>/dev/null", 120))
        watcher = self.vms[WATCHER]
        pinging = watcher.guest.start(
            f"until [ -e /tmp/enough ]; do {ping_all(PINGS, 0.1, self.vms[1].address)}; done", 120)
        try:
            function()
        finally:
            for vm in self.vms:
                vm.guest.run("touch /tmp/enough")
        output = pinging.wait().output
        for job in jobs:
            job.wait()
        return unanswered(output, PINGS)

    def reset_by(self, check, script, again=lambda: None):
        """VM 0's VF is reset by a script, while frames come and go, and works again."""
        vm = self.vms[0]

        def reset():
            before = self.daemon.stats()
            vm.guest.must(script, 30)
            again()
            self.wait_link([vm])
            up, output = vm.guest.poll(f"ping -c 1 -W 1 {self.vms[1].address}", " 0% packet", 10)
            check.expect(up, "answers after the reset", output)
            end = time.monotonic() + process.WAIT_S
            while True:
                after = self.daemon.stats()
                moved = [after.count(n, "tx_frames") - before.count(n, "tx_frames")
                         for n in range(self.vm_count)]
                if min(moved) >= FLOOD_FRAMES or time.monotonic() > end:
                    break
                time.sleep(0.1)
            check.expect(min(moved) >= FLOOD_FRAMES, "every VM's frames meanwhile", moved)
            self.flooded += sum(moved)
        return reset

    def check_resets(self, check):
        """ixgbevf resets its VF each time that it is taken down."""
        vm = self.vms[0]
        reset = self.reset_by(check, f"ip link set {vm.interface} down; "
                              f"ip link set {vm.interface} up")
        self.run_resets(check, [reset] * RESETS)

    def check_flr(self, check):
        vm = self.vms[0]
        device, driver = f"/sys/bus/pci/devices/{vm.pci}", "/sys/bus/pci/drivers/ixgbevf"

        def again():
            vm.interface = vm.guest.must(f"ls {device}/net").strip()
            vm.guest.must(f"ip addr add {vm.address}/24 dev {vm.interface}; "
                          f"ip link set {vm.interface} up")
        # Once from under its driver, which then has to start over.
        reset = self.reset_by(check, f"echo flr >{device}/reset_method; echo 1 >{device}/reset; "
                              f"echo {vm.pci} >{driver}/unbind; echo {vm.pci} >{driver}/bind",
                              again)
        self.run_resets(check, [reset])

    def run_resets(self, check, resets):
        self.flooded = 0

        def run():
            for reset in resets:
                reset()
        before = self.daemon.stats()
        losses = self.under_traffic(check, run)
        after = self.daemon.stats()
        full = [after.count(vm, "rx_no_descriptor_drops") -
                before.count(vm, "rx_no_descriptor_drops") for vm in (1, WATCHER)]
        lost = sum(map(len, losses))
        # A guest that had no processor for a while, and so no room in its ring, loses its own.
        check.expect(losses and lost <= sum(full), "VM 2's pings of VM 1 all answered, but for "
                     "what was dropped at a full ring",
                     f"lost, by number: {losses}; dropped at full rings: {full}")
        check.expect(self.daemon.alive(), "vireod to run", "it ended")
        check.note(f"{self.flooded} frames meanwhile; VM 2 and 1 lost {lost} of "
                   f"{PINGS * len(losses)} pings", frames=self.flooded, pings_lost=lost,
                   dropped_at_full_rings=full)

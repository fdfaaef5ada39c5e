# SPDX-License-Identifier: BSD-3-Clause
"""Chassis mode with VFs that are vfio-pci's: driven by our own driver, and by DPDK's testpmd."""

import re

import chassis
import initramfs
from chassis_scene import HostScene
from scene import TEST_ETHERTYPE

PF = chassis.PF
LIB = "usr/lib/x86_64-linux-gnu"
PROGRAMS = ("vf-ping", "vf-pktgen")
# testpmd loads its drivers at run time: the memory pool's and the card's.
PLUGINS = ("librte_mempool_ring.so", "librte_net_ixgbe.so")
HUGE_PAGES = 64  # of 2 MiB
PING_ADDRESS, PMD_ADDRESS = "10.0.0.9", "10.0.0.77"
UNSAFE = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
KERNEL_VF, PING_VF, PKTGEN_VF, PMD_VF = range(4)


def device(vf):
    return f"0001:01:10.{2 * vf}"


def more_files(dpdk, build):
    """A second archive for the kernel to unpack after the guest's own: our programs, testpmd."""
    cpio = initramfs.Cpio()
    binaries = {name: build / "examples" / name for name in PROGRAMS}
    binaries["dpdk-testpmd"] = initramfs.find_in(dpdk, initramfs.BIN_DIRS, "dpdk-testpmd")
    plugins = {}
    for name in PLUGINS:
        found = sorted((dpdk / LIB).glob(f"{name}.*"), key=lambda path: len(path.name))
        if not found:
            raise initramfs.InitramfsError(f"no {name} below {dpdk}: run scripts/setup dpdk")
        plugins[name] = found[0].resolve()
    for name, path in binaries.items():
        if not path.exists():
            raise initramfs.InitramfsError(f"{path} is missing: run make")
        cpio.file(f"usr/bin/{name}", path, 0o755)
    libraries = initramfs.needed_libraries(dpdk, [*binaries.values(), *plugins.values()])
    libraries.update(plugins)
    for name, path in libraries.items():
        cpio.file(f"{LIB}/{name}", path, 0o755)
    # The libc of these libraries takes the place of the guest's, with its loader.
    cpio.file(f"lib64/{initramfs.LOADER}",
              initramfs.find_in(dpdk, initramfs.LIB_DIRS, initramfs.LOADER), 0o755)
    return cpio.finish()


class Setup(chassis.Setup):
    """The host's kernel and tools, and programs that drive VFs."""

    def __init__(self, cache, run_dir, build, say=lambda text: None, kernel_link="guest"):
        super().__init__(cache, run_dir, say, kernel_link)
        dpdk = (cache / "dpdk").resolve() / "root"
        if not dpdk.exists():
            raise initramfs.InitramfsError(f"{dpdk} is missing: run scripts/setup dpdk")
        image = run_dir / "vfio-initramfs.cpio"
        image.write_bytes(self.image.read_bytes() + more_files(dpdk, build))
        self.image = image


class VfioScene(HostScene):
    """VF 0 has its kernel driver; 1 and 2 are our driver's, 3 is testpmd's."""

    cpus = 2
    kernel_options = f"hugepages={HUGE_PAGES}"

    def list_checks(self):
        return [
            ("PF up, 4 VFs, VF 0 by ixgbevf", self.check_vfs_ready),
            ("a VF that has a kernel driver is refused", self.check_refusals),
            ("1, 2, 3 bound to vfio-pci", self.check_bind),
            ("no interrupt remapping: says what to do", self.check_unsafe),
            ("vf-ping on /dev/vfio answers the kernel", self.check_our_ping),
            ("a second program is refused", self.check_second),
            ("vf-pktgen to the kernel VF", self.check_pktgen_send),
            ("the kernel VF to vf-pktgen", self.check_pktgen_receive),
            ("vf-ping survives PF down, up", self.check_pf_down),
            ("DPDK's testpmd starts, with net_ixgbe_vf", self.check_testpmd),
            ("testpmd answers the kernel VF's ping", self.check_testpmd_ping),
            ("our driver's VF to testpmd's", self.check_both),
            ("testpmd's own counters, and its end", self.check_testpmd_end),
            ("no stray DMA by any of them", self.check_faults),
            ("vf-ping lets go as the kernel asks", self.check_let_go),
            ("no complaint from the kernel", self.check_complaints),
            ("vireod ends cleanly", self.check_end),
        ]

    # -- what checks share -----------------------------------------------------------------------

    def refused(self, check, vf, *wanted):
        """vf-ping on this VF fails, and says what is wanted to hear."""
        said = self.guest.run(f"vf-ping {PING_ADDRESS} {device(vf)} 2>&1", 10)
        check.expect(said.code == 1, "exit 1", said)
        for word in wanted:
            check.expect(word in said.output, f"'{word}' in what it says", said.output)
        return said.output

    def launch(self, command, log):
        """A program in the guest that goes on until it is told to end."""
        return self.guest.start(f"exec {command} >{log} 2>&1", 300)

    def finish_job(self, job, program):
        """Ends it by a signal. What it said last."""
        self.guest.run(f"kill -INT $(pidof {program})")
        result = job.wait()
        return result, self.guest.run(f"cat /tmp/{program}.log").output

    def start_ping(self, check):
        job = self.launch(f"vf-ping {PING_ADDRESS} {device(PING_VF)}", "/tmp/vf-ping.log")
        up, said = self.guest.poll("cat /tmp/vf-ping.log", r"is at (\S+)", 20)
        check.expect(up, "vf-ping's MAC", said)
        return job, re.search(r"is at (\S+)", said).group(1)

    # -- before ----------------------------------------------------------------------------------

    def check_vfs_ready(self, check):
        self.guest.must(f"ip addr add 10.0.0.100/24 dev {self.pf}; ip link set {self.pf} up")
        self.wait_link(check, None, self.pf)
        said = self.numvfs(4)
        check.expect(not said, "no error", said)
        self.guest.must(f"V=$(ls /sys/bus/pci/devices/{device(KERNEL_VF)}/net) && "
                        "ip netns add vf0 && ip link set $V netns vf0 && "
                        "ip netns exec vf0 sh -c \"ip link set $V name vf0; "
                        "ip addr add 10.0.0.1/24 dev vf0; ip link set vf0 up\"", 20)
        self.wait_link(check, "vf0", "vf0")
        self.expect_ping(check, "vf0", "10.0.0.100")

    def check_refusals(self, check):
        self.refused(check, PING_VF, "has the driver ixgbevf", "driver_override")
        said = self.guest.run(f"vf-ping {PING_ADDRESS} 0001:01:1f.7 2>&1", 10)
        check.expect(said.code == 1 and "no such PCI function" in said.output,
                     "'no such PCI function' for another address", said)
        check.note("and told how to bind it")

    def check_bind(self, check):
        for vf in (PING_VF, PKTGEN_VF, PMD_VF):
            path = f"/sys/bus/pci/devices/{device(vf)}"
            # As vf-ping said.
            self.guest.must(f"cd /sys/bus/pci; printf {device(vf)} >{path}/driver/unbind; "
                            f"printf vfio-pci >{path}/driver_override; "
                            f"printf {device(vf)} >drivers_probe", 20)
            driver = self.guest.must(f"basename $(readlink -f {path}/driver)").strip()
            check.expect(driver == "vfio-pci", f"vfio-pci on {device(vf)}", driver)
        groups = [name for name in self.guest.must("ls /dev/vfio").split() if name != "vfio"]
        check.expect(len(groups) == 3, "3 groups in /dev/vfio", groups)
        check.note(f"groups {', '.join(groups)}")

    def check_unsafe(self, check):
        self.guest.must(f"echo 0 >{UNSAFE}")
        try:
            self.refused(check, PING_VF, "allow_unsafe_interrupts")
        finally:
            self.guest.must(f"echo 1 >{UNSAFE}")
        check.note("names allow_unsafe_interrupts")

    # -- our driver ------------------------------------------------------------------------------

    def check_our_ping(self, check):
        job, mac = self.start_ping(check)
        self.ping_job = job
        rtt = self.expect_ping(check, "vf0", PING_ADDRESS)
        lost, _, output = self.ping(None, PING_ADDRESS)
        check.expect(lost == 0, "answers to the PF", output)
        lost = self.ns("vf0", f"ping -c 200 -i 0.01 -s 1400 -W 1 {PING_ADDRESS}", 40).output
        check.expect(" 0% packet loss" in lost, "200 large ones answered", lost[-300:])
        check.note(f"RTT {rtt:.2f} ms from VF 0", rtt_ms=rtt, mac=mac)

    def check_second(self, check):
        said = self.refused(check, PING_VF, "another program has it")
        check.note(said.splitlines()[0].split(";")[-1].strip())

    def check_pktgen_send(self, check):
        target = self.mac("vf0")

        def send():
            self.sent = self.guest.run(f"vf-pktgen -d {target} -s 1000 -n 1000 -r 500 -b 4 "
                                       f"{device(PKTGEN_VF)} 2>&1", 40)
        def kernel_frames():
            return int(self.ns("vf0", "cat /sys/class/net/vf0/statistics/rx_packets").output)
        before, kernel = self.vf_counts(KERNEL_VF)["rx_frames"], kernel_frames()
        lines = self.heard(("vf0",), send)["vf0"]
        card, kernel = self.vf_counts(KERNEL_VF)["rx_frames"] - before, kernel_frames() - kernel
        check.expect(self.sent.code == 0, "vf-pktgen ends well", self.sent)
        mac = re.search(r"MAC (\S+),", self.sent.output)
        check.expect(mac, "its MAC", self.sent.output)
        arrived = self.arrived(lines, mac.group(1))
        # The driver's own count is exact; the socket of `frames` may overflow in a slow guest.
        check.expect(card >= 1000 and kernel >= 1000 and arrived > 0,
                     "1000 frames at VF 0, by the card and by ixgbevf; some with that MAC",
                     (card, kernel, arrived))
        check.note(f"ixgbevf received {kernel}, {arrived} of them counted by MAC", frames=kernel)

    def check_pktgen_receive(self, check):
        job = self.launch(f"vf-pktgen -n 500 -p 1 {device(PKTGEN_VF)}", "/tmp/vf-pktgen.log")
        up, said = self.guest.poll("cat /tmp/vf-pktgen.log", r"MAC (\S+),", 20)
        check.expect(up, "its MAC", said)
        target = re.search(r"MAC (\S+),", said).group(1)
        # What is for everybody may come in between: it ends at 500 of whatever.
        self.ns("vf0", f"frames send vf0 500 {target} {self.mac('vf0')} {TEST_ETHERTYPE}", 20)
        end, said = self.guest.poll("pidof vf-pktgen || echo none", "none", 10)
        said = self.guest.run("cat /tmp/vf-pktgen.log").output
        check.expect(end and job.wait().code == 0, "an end after 500 frames", said)
        head = (target + self.mac("vf0") + TEST_ETHERTYPE).replace(":", "")
        check.expect(head in said.replace(" ", "").replace(":", ""), "a frame of VF 0", said)
        check.note("500 of 500")

    def check_pf_down(self, check):
        """The PF resets its VFs: vf-ping starts over by itself."""
        self.guest.must(f"ip link set {self.pf} down; sleep 1; ip link set {self.pf} up", 20)
        self.wait_link(check, None, self.pf)
        self.wait_link(check, "vf0", "vf0")
        back, seen = self.guest.poll(
            self.inside("vf0", f"ping -c 2 -W 1 {PING_ADDRESS}"), " 0% packet", 20)
        log = self.guest.run("cat /tmp/vf-ping.log").output
        check.expect(back, "answers again", f"{seen}\n{log}")
        check.note("started over" if "starting over" in log else "went on")

    # -- DPDK ------------------------------------------------------------------------------------

    def check_testpmd(self, check):
        self.pmd_mac = ""
        # icmpecho answers for every address: from here on nobody may ask whose vf-ping's is.
        result, said = self.finish_job(self.ping_job, "vf-ping")
        check.expect(result.code == 0, "vf-ping to end well", said)
        plugins = " ".join(f"-d /{LIB}/{name}" for name in PLUGINS)
        # DPDK wants a place of its own, and libraries where not everybody can write.
        self.guest.must("chmod 755 / /usr /usr/lib; mkdir -p /var/run; rm -f /tmp/pmd.in; "
                        "mkfifo /tmp/pmd.in")
        self.pmd_job = self.guest.start(
            "exec 3<>/tmp/pmd.in; exec dpdk-testpmd -l 0,1 --in-memory --no-telemetry -m 100 "
            f"-a {device(PMD_VF)} {plugins} -- -i --forward-mode=icmpecho --nb-cores=1 "
            "--total-num-mbufs=4096 --auto-start <&3 >/tmp/dpdk-testpmd.log 2>&1", 300)
        up, said = self.guest.poll(self.asking("show port info 0"),
                                   r"(?s)MAC address: [0-9A-F:]{17}.*Link status: up", 40, 1)
        check.expect(up, "a MAC and 'Link status: up'", said[-1500:])
        self.pmd_mac = re.findall(r"MAC address: ([0-9A-F:]{17})", said)[-1].lower()
        driver = re.search(r"Driver name: (\S+)", said)
        check.expect(driver and driver.group(1) == "net_ixgbe_vf", "net_ixgbe_vf",
                     driver and driver.group(1))
        speed = re.search(r"Link speed: (.+)", said).group(1)
        check.note(f"{driver.group(1)}, {speed}, {self.pmd_mac}")

    def check_testpmd_ping(self, check):
        rtt = self.expect_ping(check, "vf0", PMD_ADDRESS)
        seen = self.ns("vf0", f"ip neigh show {PMD_ADDRESS}").output
        check.expect(self.pmd_mac in seen, f"{self.pmd_mac} as its MAC", seen)
        said = self.ns("vf0", f"ping -c 100 -i 0.02 -s 1400 -W 1 {PMD_ADDRESS}", 40).output
        check.expect(" 0% packet loss" in said, "100 large ones answered", said[-300:])
        check.note(f"RTT {rtt:.2f} ms", rtt_ms=rtt)

    @staticmethod
    def asking(command):
        """Types a command where testpmd runs; all that it has said so far."""
        return (f"pidof dpdk-testpmd >/dev/null && echo '{command}' >/tmp/pmd.in; sleep 0.3; "
                "cat /tmp/dpdk-testpmd.log")

    def check_both(self, check):
        before = self.vf_counts(PMD_VF)["rx_frames"]
        said = self.guest.run(f"vf-pktgen -d {self.pmd_mac} -s 200 -n 1000 -r 1000 "
                              f"{device(PKTGEN_VF)} 2>&1", 30)
        check.expect(said.code == 0, "vf-pktgen ends well", said)
        rise = self.vf_counts(PMD_VF)["rx_frames"] - before
        check.expect(rise >= 1000, "1000 frames at testpmd's VF", rise)
        check.note(f"{rise} arrived", frames=rise)

    def check_testpmd_end(self, check):
        self.guest.must(self.asking("quit"))
        ended, _ = self.guest.poll("pidof dpdk-testpmd || echo none", "none", 15)
        said = self.guest.run("cat /tmp/dpdk-testpmd.log").output
        check.expect(ended and self.pmd_job.wait().code == 0, "exit 0 after quit", said[-600:])
        # Its last words: what it forwarded.
        received, sent = (max(map(int, re.findall(rf"{way}-packets: (\d+)", said)), default=0)
                          for way in ("RX", "TX"))
        check.expect(received >= 1100 and sent >= 100, "what it was sent and has answered",
                     said[-900:])
        check.note(f"received {received}, sent {sent}", received=received, sent=sent)

    # -- after -----------------------------------------------------------------------------------

    def check_faults(self, check):
        seen = self.guest.run("dmesg | grep -i 'DMAR.*fault'").output
        check.expect(not seen.strip(), "no DMAR fault", seen)

    def check_let_go(self, check):
        """sriov_numvfs 0 while a program holds a VF."""
        job, _ = self.start_ping(check)
        said = self.numvfs(0)
        check.expect(not said, "no error", said)
        end, log = self.guest.poll("pidof vf-ping || echo none", "none", 10)
        log = self.guest.run("cat /tmp/vf-ping.log").output
        check.expect(end and job.wait().code == 1 and "the VF went away" in log,
                     "vf-ping to end and say why", log)
        left = self.guest.must("lspci -D -n -d 8086:10ed")
        check.expect(not left, "no VF left", left)
        check.note("sriov_numvfs 0 while it has the VF")

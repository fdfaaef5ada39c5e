# SPDX-License-Identifier: BSD-3-Clause
"""One VM that is the SR-IOV host: vireod --chassis, and the QEMU that has the carrier."""

import json

import initramfs
import qemu
from daemon import Daemon

# iproute2's `ip netns` and the stock drivers; vfio-pci for those that take VFs away.
MODULES = ("ixgbe", "ixgbevf", "8021q", "vfio-pci", "vfio_iommu_type1")
# Not loaded as the guest starts: what its /modules.igb lists, for comparison.
IGB_MODULES = ("igb", "igbvf")
MEMORY_MIB = 1024
CARRIER_SLOT = 0x10
PF = "0001:01:00.0"
SYS_PF = f"/sys/bus/pci/devices/{PF}"
VFS = 4  # that most checks are made with
CMDLINE = qemu.CMDLINE + " vfio_iommu_type1.allow_unsafe_interrupts=1"


class ChassisDaemon(Daemon):
    """vireod in chassis mode."""

    options = ("--chassis",)

    def cycles(self):
        """Counters of one moment: cycles by kind, and vfio-user messages."""
        return self.call("stats")

    def socket_path(self):
        return self.run_dir / "chassis.sock"


class HostMachine(qemu.Machine):
    """The VM whose kernel drives the card."""

    cmdline = CMDLINE
    memory_mib = MEMORY_MIB
    extra = ()
    edit = staticmethod(lambda words: words)  # of the whole command, for VMs that cannot have it

    def command(self, vf_socket, cpus=1):
        command = qemu.base_command(self.setup.qemu, self.setup.accel, cpus)
        command = [str(word).replace(f"size={qemu.MEMORY_MIB}M", f"size={self.memory_mib}M")
                   for word in command]
        # Reboots are part of what is shown.
        command = [word for word in command if word != "-no-reboot"]
        command += ["-name", self.name]
        if vf_socket:
            device = {"driver": "vfio-user-pci", "bus": "pcie.0", "addr": f"{CARRIER_SLOT:#x}",
                      "rombar": 0, "socket": {"type": "unix", "path": str(vf_socket)}}
            for name in ("ssdt.aml", "dmar.aml"):
                command += ["-acpitable", f"file={vf_socket.parent / name}"]
            command += ["-device", json.dumps(device)]
        return self.edit(command + list(self.extra))


class Setup(qemu.Setup):
    """The kernel and tools of a VM that is a host."""

    def __init__(self, cache, run_dir, say=lambda text: None, kernel_link="guest"):
        super().__init__(cache, run_dir, say, kernel_link)
        kind = "host" if kernel_link == "guest" else f"host-{kernel_link}"
        _, self.image = initramfs.build(cache, f"{kind}-initramfs", MODULES,
                                        {"igb": IGB_MODULES}, kernel_link)

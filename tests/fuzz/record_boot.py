# SPDX-License-Identifier: BSD-3-Clause
"""Makes fuzz_vfiouser_message's first input from a boot of stock ixgbevf: of what it and QEMU send
to the socket of a VF, until there is link and a ping has gone, the first few messages of each kind.

Usage: record_boot.py [--vireod FILE]   (after scripts/setup demo; writes tests/fuzz/seeds)
"""

import os
import socket
import struct
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

import process  # noqa: E402 # pylint: disable=wrong-import-position
import program  # noqa: E402 # pylint: disable=wrong-import-position
import qemu  # noqa: E402 # pylint: disable=wrong-import-position
from daemon import Daemon  # noqa: E402 # pylint: disable=wrong-import-position

CONFIG = """seed = "fuzz";
ports = ({ uplink = { kind = "null"; }; vfs = 4; });
"""
HEADER = struct.Struct("<HHIII")
FDS_MAX = 64
VERSION, DMA_MAP, SET_IRQS, REGION_READ, REGION_WRITE = 1, 2, 8, 9, 10
# What the target takes of one connection's, and how often we keep what is alike.
SENDS, EACH_KIND, PAYLOAD_MAX, INPUT_MAX = 64, 3, 512, 4096
MEMORY_LEN = 0x10000  # of the file that it maps


class Relay:
    """Stands between QEMU and vireod, and keeps what QEMU says: [(bytes, number of fds)]."""

    def __init__(self, path, target):
        self.heard = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._target = target
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.connect(str(self._target))
        threading.Thread(target=self._carry, args=(server, client, None), daemon=True).start()
        self._carry(client, server, self.heard)

    @staticmethod
    def _carry(here, there, heard):
        try:
            while True:
                data, fds, _, _ = socket.recv_fds(here, 1 << 20, FDS_MAX)
                if not data:
                    break
                if heard is not None:
                    heard.append((data, len(fds)))
                sent = socket.send_fds(there, [data], fds) if fds else there.send(data)
                if sent < len(data):
                    there.sendall(data[sent:])
                for fd in fds:
                    os.close(fd)
        except OSError:
            pass
        there.close()


def messages(heard):
    """[(command, flags, payload, number of fds)] of the requests in a recorded stream."""
    data, fds_at, at, found = b"", [], 0, []
    for part, fds in heard:
        if fds:
            fds_at.append((len(data), fds))
        data += part
    while at + HEADER.size <= len(data):
        _, command, size, flags, _ = HEADER.unpack_from(data, at)
        fds = sum(count for where, count in fds_at if at <= where < at + size)
        if flags & 15 == 0:
            found.append((command, flags, data[at + HEADER.size:at + size], fds))
        at += size
    return found


def seed_messages(found):
    """An input of fuzz_vfiouser_message."""
    out, seen, sends = bytes([1]), {}, 0  # 1: after a good VERSION, and one at a time
    for command, flags, payload, fds in found:
        region = payload[8:12] if command in (REGION_READ, REGION_WRITE) else payload[12:20]
        kind = (command, region, fds)
        if command == DMA_MAP:
            head, size = payload[:24], struct.unpack_from("<Q", payload, 24)[0]
            payload = head[:8] + bytes(8) + head[16:] + struct.pack("<Q", min(size, MEMORY_LEN))
            kind = (command, fds)
        seen[kind] = seen.get(kind, 0) + 1
        if command == VERSION or seen[kind] > EACH_KIND or len(payload) > PAYLOAD_MAX or fds > 7:
            continue
        fd_bits = fds | (1 << 3 if command == DMA_MAP else 0)  # memory; eventfds otherwise
        send = bytes([1 | (4 if flags & 16 else 0), fd_bits, command, len(payload) & 0xff,
                      len(payload) >> 8]) + payload
        if sends == SENDS or len(out) + len(send) > INPUT_MAX:
            break
        out, sends = out + send, sends + 1
    return out, sends


def record(run_dir, vireod):
    """Boots one guest on VF 0, until it has sent something."""
    setup = qemu.Setup(program.CACHE, run_dir, print)
    daemon = Daemon(vireod, run_dir, CONFIG)
    daemon.start()
    machine = qemu.Machine(setup, run_dir, "vm0")
    try:
        relay = Relay(run_dir / "relay.sock", daemon.vf_socket(0))
        guest = machine.start(run_dir / "relay.sock")
        failure = machine.wait_up(120)
        if failure:
            raise qemu.QemuError(f"the guest did not boot: {failure}")
        guest.must("D=$(ls /sys/bus/pci/drivers/ixgbevf | grep ^0000); "
                   "I=$(ls /sys/bus/pci/devices/$D/net); ip addr add 10.0.0.1/24 dev $I; "
                   "ip link set $I up; sleep 3; ping -c 2 -W 1 10.0.0.2; true", 30)
        return messages(list(relay.heard))
    finally:
        machine.stop()
        daemon.stop()


def make(args):
    with process.run_directory() as run_dir:
        found = record(run_dir, args.vireod)
    data, sends = seed_messages(found)
    path = HERE / "seeds" / "vfiouser_message-ixgbevf"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    print(f"{path.name}: {len(data)} bytes, {sends} of {len(found)} messages")


def main():
    parser = program.arguments("The fuzz target's first input, from a recorded boot.",
                               config=False)
    process.catch_signals()
    try:
        make(parser.parse_args())
    except program.ERRORS as error:
        print(f"record-boot: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

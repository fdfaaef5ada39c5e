# SPDX-License-Identifier: BSD-3-Clause
"""Makes the guests' initramfs from the unpacked Debian packages that scripts/setup fetched.

The stock kernel's modules, busybox, a few tools with their libraries, our agent and our frame
tool. Written here as a cpio archive (newc), so that no root and no cpio is needed, and not
compressed, since an emulated guest pays for that.
"""

import contextlib
import hashlib
import lzma
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Debian's busybox shell prefers its own applets to what is on the PATH: hence dash.
TOOLS = ("dash", "ethtool", "ip", "iperf3", "lspci", "ping")
MODULES = ("ixgbevf", "8021q")
DATA = ("usr/share/misc/pci.ids",)
BIN_DIRS = ("usr/bin", "usr/sbin", "bin", "sbin")
LIB_DIRS = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib64", "lib64")
# Loaded at run time by libc when a thread is cancelled, as newer iperf3s do.
DLOPENED = ("libgcc_s.so.1",)
LOADER = "ld-linux-x86-64.so.2"
# An image's time is that of its last use. Longer than any run of ours is out of use.
UNUSED_S = 6 * 3600


class InitramfsError(Exception):
    """Something that the initramfs needs is not there."""


def find_in(root, dirs, name):
    for folder in dirs:
        path = root / folder / name
        if path.exists():
            return path.resolve()
    raise InitramfsError(f"{name} is in none of {', '.join(dirs)} below {root}")


def needed_libraries(root, binaries):
    """{soname: path} of all that the binaries are linked with, directly or not."""
    found, todo = {}, list(binaries)
    while todo:
        text = subprocess.run(["readelf", "-d", todo.pop()], check=True, capture_output=True,
                              text=True).stdout
        for name in re.findall(r"\(NEEDED\).*\[(.*)\]", text):
            if name not in found:
                found[name] = find_in(root, LIB_DIRS, name)
                todo.append(found[name])
    return found


def module_bytes(path):
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout
    return data


def modules_in_load_order(root, wanted):
    """[(file name, bytes)]: dependencies, which each module itself names, come first."""
    paths = {}
    for folder in ("lib/modules", "usr/lib/modules"):
        for path in (root / folder).glob("*/kernel/**/*.ko*"):
            paths[path.name.split(".ko")[0].replace("-", "_")] = path
    done = {}

    def load(name):
        name = name.replace("-", "_")
        if name in done:
            return
        if name not in paths:
            raise InitramfsError(f"the kernel package has no module {name}")
        data = module_bytes(paths[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for needed in filter(None, (depends.group(1) if depends else b"").decode().split(",")):
            load(needed)
        done[name] = data

    for name in wanted:
        load(name)
    return [(f"{name}.ko", data) for name, data in done.items()]


def write_whole(path, data):
    """A file that others see whole or not at all, and of which each of several writers may think
    that it made it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", suffix=".part",
                                     delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def delete_unused(cache):
    """Images of other days' guest files and kernels, and what an interrupted run left half."""
    for path in (*cache.glob("*.cpio"), *cache.glob("*.part")):
        with contextlib.suppress(FileNotFoundError):  # another run may have the same idea
            if time.time() - path.stat().st_mtime > UNUSED_S:
                path.unlink()


class Cpio:
    """A newc archive in memory."""

    def __init__(self):
        self.parts, self.inode, self.names = [], 0, set()

    def add(self, name, mode, data=b"", device=(0, 0)):
        if name in self.names:
            return
        parent = name.rpartition("/")[0]
        if parent and parent not in self.names:
            self.add(parent, 0o040755)
        self.names.add(name)
        self._entry(name, mode, data, device)

    def _entry(self, name, mode, data, device=(0, 0)):
        self.inode += 1
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        self.parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]

    def file(self, name, path_or_bytes, mode=0o644):
        data = path_or_bytes if isinstance(path_or_bytes, bytes) else path_or_bytes.read_bytes()
        self.add(name, 0o100000 | mode, data)

    def link(self, name, target):
        self.add(name, 0o120777, target.encode())

    def finish(self):
        self._entry("TRAILER!!!", 0, b"")
        return b"".join(self.parts)


def compile_static(source, to):
    command = ["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE",
               "-std=gnu11", "-o", str(to), str(source)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise InitramfsError(f"{' '.join(command)}:\n{run.stderr}")
    return to.read_bytes()


def assemble(root, kernel_root, wanted, later, more):
    cpio = Cpio()
    for folder in ("dev", "proc", "sys", "tmp", "run", "etc", "root", "usr/bin", "usr/sbin",
                   "usr/lib/x86_64-linux-gnu", "lib64"):
        cpio.add(folder, 0o040755)
    for link in ("bin", "sbin", "lib"):
        cpio.link(link, f"usr/{link}")
    cpio.add("dev/console", 0o020600, device=(5, 1))
    tools = {name: find_in(root, BIN_DIRS, name) for name in TOOLS}
    for name, path in tools.items():
        cpio.file(f"usr/bin/{name}", path, 0o755)
    cpio.link("usr/bin/sh", "dash")
    libraries = needed_libraries(root, tools.values())
    libraries.update({name: find_in(root, LIB_DIRS, name) for name in DLOPENED})
    for name, path in libraries.items():
        cpio.file(f"usr/lib/x86_64-linux-gnu/{name}", path, 0o755)
    cpio.file(f"lib64/{LOADER}", find_in(root, LIB_DIRS, LOADER), 0o755)
    busybox = find_in(root, BIN_DIRS, "busybox")
    cpio.file("usr/bin/busybox", busybox, 0o755)
    applets = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    for name in applets.stdout.split():
        if name not in TOOLS and name != "sh":
            cpio.link(f"usr/bin/{name}", "busybox")
    for name in DATA:
        cpio.file(name, root / name)
    modules = modules_in_load_order(kernel_root, wanted)
    for name, data in modules:
        cpio.file(f"modules/{name}", data)
    cpio.file("modules.list", "".join(f"/modules/{name}\n" for name, _ in modules).encode())
    loaded = {name for name, _ in modules}
    for kind, names in later.items():
        added = [pair for pair in modules_in_load_order(kernel_root, names)
                 if pair[0] not in loaded]
        for name, data in added:
            cpio.file(f"modules/{name}", data)
        cpio.file(f"modules.{kind}", "".join(f"/modules/{name}\n" for name, _ in added).encode())
    with tempfile.TemporaryDirectory(prefix="vireo-") as folder:
        for name in ("agent", "frames", "randomfile", "vfdma"):
            binary = compile_static(HERE / "guest" / f"{name}.c", Path(folder) / name)
            cpio.file(f"usr/bin/{name}", binary, 0o755)
    cpio.file("init", HERE / "guest" / "init", 0o755)
    for name, (path_or_bytes, mode) in more.items():
        cpio.file(name, path_or_bytes, mode)
    return cpio.finish()


def build(cache, name="initramfs", modules=MODULES, later=None, kernel_link="guest", more=None):
    """Returns (kernel, initramfs) paths; makes the initramfs where there is none of this content.

    `name` is that of a kind of guest, which loads these kernel modules as it starts; those of
    `later` {kind: modules} are there, and listed in /modules.KIND. Kernel and modules are those
    that `kernel_link` in the cache leads to, the tools always the guest's. `more` {name in the
    initramfs: (path or bytes, mode)} are files besides. Several runs may share a cache.
    """
    root = (cache / "guest").resolve() / "root"
    kernel_root = (cache / kernel_link).resolve() / "root"
    kernels = sorted((kernel_root / "boot").glob("vmlinuz-*"))
    if not kernels:
        raise InitramfsError(f"no kernel below {kernel_root}: run scripts/setup "
                             f"{'demo' if kernel_link == 'guest' else 'chassis'}")
    more = more or {}
    key = hashlib.sha256(f"{root} {kernel_root} {modules} {later}".encode())
    for inside, (path_or_bytes, mode) in more.items():
        if isinstance(path_or_bytes, bytes):
            version = hashlib.sha256(path_or_bytes).hexdigest()
        else:
            stat = path_or_bytes.stat()
            version = f"{path_or_bytes} {stat.st_size} {stat.st_mtime_ns}"
        key.update(f"{inside} {version} {mode}".encode())
    for path in (Path(__file__), *sorted((HERE / "guest").iterdir())):
        key.update(path.read_bytes())
    image = cache / f"{name}-{key.hexdigest()[:16]}.cpio"
    try:
        os.utime(image)
    except FileNotFoundError:
        write_whole(image, assemble(root, kernel_root, modules, later or {}, more))
        delete_unused(cache)
    return kernels[-1], image

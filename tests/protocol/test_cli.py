#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the programs say to arguments, files and directories that are wrong.

    test_cli.py VIREOD VIREO VIREO_BENCH VF_PKTGEN VF_L2FWD VF_PING VF_TAP

Each row is a command line, and what its complaint has to hold. It has to be one line (and argp's
hint at --help after it), without control characters, the exit status has to say that it failed, and
nothing may be left behind. Prints TAP. Exit status 0: all is as it should be, 1: not.
"""
import os
import re
import resource
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests" / "e2e"))
sys.dont_write_bytecode = True

from daemon import Daemon  # noqa: E402

LIMIT_S = 20
GOOD = 'seed = "cli"; ports = ({ uplink = { kind = "null"; }; vfs = 2; });\n'
NAMES = ("vireod", "vireo", "bench", "pktgen", "l2fwd", "ping", "tap")
HINT = re.compile(r"(Try `.* --help' or `.* --usage' for more\s+information\.\n)$")
MAC = "02:00:00:00:10:01"


def one_port(text):
    return f"ports = ({{ {text} }});\n"


def uplink(text):
    return one_port(f"uplink = {{ {text} }}; vfs = 2;")


# Configs, and what is wrong with them.
CONFIGS = {
    "empty": ("", r"empty\.conf: 'ports' is missing"),
    "binary": ("a\0b", "this is no text"),
    "cut": ("ports = (", r"cut\.conf:\d: syntax error"),
    "include": ('@include "other.conf"\n', "one file"),
    "negative": (one_port('uplink = { kind = "null"; }; vfs = -2;'), "found -2; allowed is 1 to 63"),
    "huge": (one_port('uplink = { kind = "null"; }; vfs = 99999999999;'), "larger than any"),
    "control": (one_port('uplink = { kind = "\x1b[31m\n"; }; vfs = 2;'), r'found "\?\[31m\?"'),
    "spelt": (one_port('uplnk = { kind = "null"; }; vfs = 2;'), "did you mean 'uplink'"),
    "long": (uplink('kind = "tap"; ifname = "x0123456789012345";'), "allowed is 1 to 15"),
    "slash": (uplink('kind = "tap"; ifname = "a/b";'), r"ifname: found \"a/b\"; allowed is"),
}

# Program, arguments ({} stands for the folder with good.conf in it), what it has to say.
ROWS = [
    ("vireod", "", "--config FILE is missing"),
    ("vireod", "--config {}/none.conf", r"none\.conf: No such file"),
    ("vireod", "--config {}", "not a regular file"),
    ("vireod", "--config {}/good.conf extra", "takes options only"),
    ("vireod", "--config {}/good.conf --workers 0", "allowed is 1 to 8"),
    ("vireod", "--config {}/good.conf --workers -1", "allowed is 1 to 8"),
    ("vireod", "--config {}/good.conf --workers 99999999999999999999", "allowed is 1 to 8"),
    ("vireod", "--config {}/good.conf --log-level loud", "error, warn, info, debug"),
    ("vireod", "--config {}/good.conf --run-dir=", "allowed is a directory's path"),
    ("vireod", "--config {}/good.conf --run-dir {}/no/dir", "parent directory is not there"),
    ("vireod", "--config {}/good.conf --run-dir {}/good.conf", "Not a directory"),
    ("vireod", "--config {}/good.conf --chassis --chassis-base 1", "multiple of 20000000"),
    ("vireod", "--config {}/good.conf --chassis-base 80000000", "without --chassis"),
    ("vireo", "statz", "did you mean 'stats'"),
    ("vireo", "vf", "'vf list' and 'vf set'"),
    ("vireo", "chassis", "'chassis qemu-args'"),
    ("vireo", "--run-dir {}/none stats", "is vireod running, with this --run-dir"),
    ("vireo", "--run-dir {}/none chassis qemu-args", "is 'vireod --chassis --run-dir .*' running"),
    ("vireo", "stats more", "one argument too many"),
    ("vireo", "vf set 0", "needs PORT VF KEY=VALUE"),
    ("vireo", "vf set 0 99 vlan=3", "VF: found '99'; allowed is 0 to 62"),
    ("vireo", "vf set 9 0 vlan=3", "PORT: found '9'; allowed is 0 to 1"),
    ("vireo", "vf set 0 0 vlan", "a setting is KEY=VALUE"),
    ("vireo", "vf set 0 0 vlan=", "vlan: found ''; allowed is 0 to 4094"),
    ("vireo", "vf set 0 0 vlan=-1", "allowed is 0 to 4094"),
    ("vireo", "vf set 0 0 qos=99999999999999999999", "allowed is 0 to 7"),
    ("vireo", "vf set 0 0 vlan=3 vlan=4", "vlan: given twice"),
    ("vireo", "vf set 0 0 trust=maybe", "allowed is on or off"),
    ("vireo", "vf set 0 0 \x1b[31m\n=1", r"no setting '\?\[31m\?'"),
    ("vireo", "qemu-args 0 0 --memory 0", "allowed is a size like"),
    ("vireo", "qemu-args 0 0 --memory 1GG", "allowed is a size like"),
    ("vireo", "qemu-args 0 0 --memory 9999999999999999G", "allowed is a size like"),
    ("vireo", "qemu-args 0 0 --qemu {}/none", "No such file"),
    ("bench", "", "which benchmark"),
    ("bench", "dataplane --ms 99999999999", "allowed is 1 to 10000"),
    ("bench", "dataplane --json {}/none/x.json", r"--json .*/none/x\.json: No such file"),
    ("bench", "dataplane --json {}", "--json .*: Is a directory"),
    ("bench", "dataplane --peers {}/none", r"--peers .*/none: No such file.*bench-setup installs"),
    ("bench", "dataplane --peers {}/good.conf", "--peers .*: Permission denied.*bench-setup"),
    ("bench", "dataplane --peers {}", "--peers .*: Is a directory.*bench-setup"),
    ("bench", "dataplane --json {}/x.json --only nothing", "nothing has 'nothing' in its name"),
    ("pktgen", "", "is missing"),
    ("pktgen", "{}/none", r"is its server \(vireod\) running"),
    ("pktgen", "{}/good.conf", r"is its server \(vireod\) running"),
    ("pktgen", "0000:99:00.0", "no such PCI function"),
    ("pktgen", f"-d {MAC} -n -1 {{}}/none", "a number from 1 to"),
    ("l2fwd", "{}/none {}/none", "--mac-swap"),
    ("ping", "10.0.0.256 {}/none", "an address is wanted"),
    ("ping", "10.0.0.9 {}/none", r"is its server \(vireod\) running"),
    ("tap", "x%d {}/none", "none of them"),
    ("tap", "a/b {}/none", "none of them"),
    ("tap", "--mtu 4294968796 x0 {}/none", "68 to 9696 is wanted"),
    ("tap", "x0 {}/none", r"is its server \(vireod\) running"),
]

# With a daemon in the folder "run": arguments of vireo, what it has to say.
ASKED = [
    ("pci dump 01:00.7", "no function '01:00.7': 'vireo pci list' shows all"),
    ("pci dump aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…", "no function 'a{30}'"),
    ("qemu-args 0 7", "'vireo vf list' shows all"),
    ("chassis qemu-args", "runs without --chassis"),
    ("vf set 0 62 vlan=3", "vf: found 62; allowed is 0 to "),
    ("vf set 1 0 vlan=3", "port: found 1; allowed is 0 to 0"),
    ("vf set 0 0 qos=3", "qos 3 without a vlan"),
    ("vf set 0 0 mac=01:00:00:00:00:01", "unicast MAC"),
]


class Failure(Exception):
    pass


def check(ok, why):
    if not ok:
        raise Failure(why)


class Bench:
    def __init__(self, programs, folder):
        self.programs, self.folder = programs, folder
        (folder / "good.conf").write_text(GOOD)

    def words(self, name, line):
        words = [word.replace("{}", str(self.folder)) for word in line.split(" ") if word]
        return [str(self.programs[name]), *words]

    def run(self, name, line, **options):
        options.setdefault("stdout", subprocess.PIPE)
        return subprocess.run(self.words(name, line), stdin=subprocess.DEVNULL, timeout=LIMIT_S,
                              stderr=subprocess.PIPE, check=False, **options)

    def complains(self, name, line, wanted, log_lines=False, **options):
        """One line that says `wanted`; with log_lines, the one with level "error"."""
        done = self.run(name, line, **options)
        said = HINT.sub("", done.stderr.decode())
        if log_lines:
            said = "".join(row + "\n" for row in said.split("\n") if row.startswith("error"))
        check(done.returncode not in (0, -6, -11), f"exit status {done.returncode}: {said}")
        check(said.count("\n") == 1, f"not one line but {said!r}")
        check(all(c.isprintable() for c in said[:-1]), f"control characters: {said!r}")
        check(re.search(wanted, said), f"{said!r} does not say '{wanted}'")
        check(not done.stdout, f"and {done.stdout!r} on stdout")


def case_arguments(bench):
    for name, line, wanted in ROWS:
        before = sorted(bench.folder.iterdir())
        try:
            bench.complains(name, line, wanted)
        except Failure as failure:
            raise Failure(f"{name} {line!r}: {failure}") from None
        check(sorted(bench.folder.iterdir()) == before, f"{name} {line!r} leaves files behind")


def case_configs(bench):
    for name, (text, wanted) in CONFIGS.items():
        path = bench.folder / f"{name}.conf"
        path.write_text(text)
        bench.complains("vireod", f"--config {path} --check", wanted)
        path.unlink()


def case_no_options_is_a_usage(bench):
    done = bench.run("vireo", "")
    check(done.returncode == 64 and b"COMMAND" in done.stderr, f"{done}")


def case_occupied(bench):
    """Another daemon, a file in a socket's place, a stale socket."""
    run = bench.folder / "run"
    run.mkdir()
    line = "--config {}/good.conf --run-dir {}/run"
    with_daemon(bench, run, lambda: bench.complains("vireod", line, "vireod with PID [0-9]+ uses it"))
    (run / "port0-vf1.sock").write_text("mine")
    bench.complains("vireod", line, "is no socket; move it away", log_lines=True)
    check([p.name for p in run.iterdir()] == ["port0-vf1.sock"], "leaves files behind")
    (run / "port0-vf1.sock").unlink()
    (run / "ctl.sock").mkdir()
    bench.complains("vireod", line, "is there and is no socket", log_lines=True)
    (run / "ctl.sock").rmdir()
    # The carrier's socket is taken only after the tables were written: they go again.
    (run / "chassis.sock").write_text("mine")
    bench.complains("vireod", line + " --chassis", "is no socket; move it away", log_lines=True)
    (run / "chassis.sock").unlink()
    check(not list(run.iterdir()), f"leaves {list(run.iterdir())}")
    run.rmdir()


def case_few_files(bench):
    run = bench.folder / "run"
    run.mkdir()
    bench.complains("vireod", "--config {}/good.conf --run-dir {}/run", "ulimit -n", log_lines=True,
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20)))
    check(not list(run.iterdir()), f"leaves {list(run.iterdir())}")
    run.rmdir()


def case_full_disk(bench):
    """No file may grow: the tables cannot be written."""
    run = bench.folder / "run"
    run.mkdir()
    bench.complains("vireod", "--chassis --config {}/good.conf --run-dir {}/run", r"ssdt\.aml: ",
                    log_lines=True, restore_signals=False,  # SIGXFSZ stays ignored
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16)))
    check(not list(run.iterdir()), f"leaves {list(run.iterdir())}")
    run.rmdir()


def case_not_ours(bench):
    """Directories that a plain user may not write."""
    if os.geteuid() == 0:
        print("# as root every directory can be written: not tried")
        return
    run = bench.folder / "run"
    run.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    bench.complains("vireod", "--config {}/good.conf --run-dir {}/run", "Permission denied",
                    log_lines=True)
    run.rmdir()


def with_daemon(bench, run, act):
    daemon = Daemon(bench.programs["vireod"], run, GOOD, name="daemon")
    daemon.start()
    try:
        act()
    finally:
        daemon.stop()
        for path in run.glob("daemon.*"):
            path.unlink()


def case_asked(bench):
    run = bench.folder / "run"
    run.mkdir()

    def ask():
        for line, wanted in ASKED:
            try:
                bench.complains("vireo", f"--run-dir {{}}/run {line}", wanted)
            except Failure as failure:
                raise Failure(f"vireo {line!r}: {failure}") from None
        with open("/dev/full", "w", encoding="ascii") as full:
            for line in ("stats", "vf list", "pci dump", "qemu-args 0 0", "stats --json"):
                done = bench.run("vireo", f"--run-dir {{}}/run {line}", stdout=full)
                check(done.returncode == 1 and b"cannot write the output" in done.stderr,
                      f"vireo {line} into a full disk: {done}")

    with_daemon(bench, run, ask)
    check(not list(run.iterdir()), f"leaves {list(run.iterdir())}")
    run.rmdir()


def case_chassis_stats(bench):
    """A daemon in chassis mode counts other things: and says which, without question marks."""
    run = bench.folder / "run"
    run.mkdir()
    daemon = Daemon(bench.programs["vireod"], run, GOOD, name="daemon")
    daemon.options = ("--chassis",)
    daemon.start()
    try:
        done = bench.run("vireo", "--run-dir {}/run stats")
        bench.complains("vireo", "--run-dir {}/run vf list", "runs with --chassis")
    finally:
        daemon.stop()
    said = done.stdout.decode()
    check(done.returncode == 0 and "client: none" in said and "config_reads 0" in said,
          said[:300])
    check("?" not in said and re.search(r"^ *0 +PF +0 +0 +0$", said, re.MULTILINE), said)
    check(not (run / "ssdt.aml").exists(), "the ACPI tables stay when the daemon has ended")


def main():
    if len(sys.argv) != len(NAMES) + 1:
        sys.exit(__doc__)
    programs = dict(zip(NAMES, sys.argv[1:]))
    cases = [value for name, value in globals().items() if name.startswith("case_")]
    failed = 0
    print(f"1..{len(cases)}")
    for number, case in enumerate(cases, 1):
        with tempfile.TemporaryDirectory(prefix="vireo-cli-") as folder:
            try:
                case(Bench(programs, Path(folder)))
                print(f"ok {number} - {case.__name__[5:]}")
            except (Failure, subprocess.TimeoutExpired) as failure:
                failed += 1
                print(f"not ok {number} - {case.__name__[5:]}\n# {failure}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: BSD-3-Clause
"""Runs every test, and ends with a line "N passed, N failed, N skipped".

What counts as one: a case of a test program that reports its cases (cmocka's and other TAP
output), a test program that does not, and a check of the demo. A build that fails counts as one
failed test.

Usage: run.py [--only STAGE]... [--json FILE]       STAGE: gcc, sanitizers, threads, fuzz,
                                                   embedded, demo, e2e, chassis
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
LINES_OF_A_FAILURE = 40
# Where threads meet: the workers, the gate, the doorbell pages.
THREAD_TESTS = {"nic/worker": "src/nic/test_nic_worker", "nic/workers": "src/nic/test_nic_workers",
                "nic/doorbell": "src/nic/test_nic_doorbell", "mem/gate": "src/mem/test_mem_gate"}
# Limits find what hangs; how fast the machine is, and what else it does, nobody knows.
SETUP_LIMIT_S, BUILD_LIMIT_S, STAGE_LIMIT_S = 600, 3600, 3600
EMBEDDED_LIMIT_S = 1200
TIMEOUT_MULTIPLIER = 10  # of a test's own limit in Meson; SLOWER where sanitizers take their time
SLOWER = 30
# A list, as Meson reads one: a comma would end up inside an argument.
SANITIZER_ARGS = "['-fno-sanitize-recover=all','-fno-omit-frame-pointer']"
FUZZ_ARGS = SANITIZER_ARGS.replace("[", "['-fsanitize=fuzzer-no-link',")


class Stop(BaseException):
    """SIGTERM: leaves through the same `finally`s as Ctrl-C."""


def on_terminate(_number, _frame):
    raise Stop()


class Totals:
    def __init__(self):
        self.passed, self.failed, self.skipped = [], [], []

    def add(self, verdict, name, why=""):
        {"ok": self.passed, "fail": self.failed, "skip": self.skipped}[verdict].append((name, why))

    def as_json(self):
        return {"passed": len(self.passed),
                "failed": [{"name": n, "why": w} for n, w in self.failed],
                "skipped": [{"name": n, "why": w} for n, w in self.skipped]}


def say(text=""):
    print(text, flush=True)


def run_streaming(command, limit_s, env=None, quiet=False):
    """Runs a program and shows its output as it comes. Returns (exit code, output)."""
    lines = []
    child = subprocess.Popen([str(word) for word in command], cwd=TOP, text=True, errors="replace",
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, env={**os.environ, **(env or {})})
    timer = None
    try:
        # The watchdog's SIGTERM lets the child clean up; it is not to outlive us in any case.
        timer = subprocess.Popen(["sh", "-c", f"sleep {int(limit_s)}; kill {child.pid}"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 start_new_session=True)
        for line in child.stdout:
            lines.append(line)
            if not quiet:
                print(line, end="", flush=True)
        return child.wait(), "".join(lines)
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if timer and timer.poll() is None:
            os.killpg(timer.pid, signal.SIGTERM)
        if timer:
            timer.wait()


def last_lines(text, count=LINES_OF_A_FAILURE):
    return "\n".join("    " + line for line in text.strip().splitlines()[-count:])


def build(totals, stage, folder, compiler, options, targets=()):
    """Meson and Ninja. Says little when it works."""
    start = time.monotonic()
    say(f"building {folder} with {compiler} ...")
    # A directory that another compiler or an interrupted run left is set up afresh.
    if not (TOP / folder / "build.ninja").exists():
        shutil.rmtree(TOP / folder / "meson-private", ignore_errors=True)
        command = ["meson", "setup", folder, *options]
        code, output = run_streaming(command, SETUP_LIMIT_S, {"CC": compiler}, quiet=True)
        if code != 0:
            say(last_lines(output))
            totals.add("fail", f"{stage}: meson setup {folder}", "it failed")
            return False
    code, output = run_streaming(["ninja", "-C", folder, *targets], BUILD_LIMIT_S,
                                 quiet=True)
    if code != 0:
        say(last_lines(re.sub(r"(?m)^\[\d+/\d+\] .*\n", "", output)))
        totals.add("fail", f"{stage}: build with {compiler}", "it failed")
        return False
    say(f"built {folder} with {compiler} in {time.monotonic() - start:.0f} s")
    return True


def add_tap(totals, name, lines, result):
    """Counts the cases of a program that printed TAP."""
    bad = 0
    for line in lines:
        found = re.match(r"(not ok|ok)\s+\d*\s*-?\s*(.*)", line)
        if not found:
            continue
        case = f"{name}: {found.group(2)}"
        if "# SKIP" in line:
            totals.add("skip", case, line.split("# SKIP", 1)[1].strip() or "no reason given")
        elif found.group(1) == "ok":
            totals.add("ok", case)
        else:
            bad += 1
            totals.add("fail", case, "not ok")
    if result not in ("OK", "SKIP", "EXPECTEDFAIL") and not bad:
        # It died, or a sanitizer complained at its end, with every case so far good.
        totals.add("fail", name, result)


def add_meson_results(totals, stage, folder):
    log = TOP / folder / "meson-logs" / "testlog.json"
    if not log.exists():
        totals.add("fail", f"{stage}: meson test", "it left no log")
        return
    for text in log.read_text(errors="replace").splitlines():
        try:
            test = json.loads(text)
        except ValueError:
            totals.add("fail", f"{stage}: meson test", "its log is cut off")
            break
        name, result = f"{stage}: {test['name']}", test["result"]
        lines = test.get("stdout", "").splitlines()
        output = test.get("stdout", "") + test.get("stderr", "")
        if result not in ("OK", "SKIP", "EXPECTEDFAIL"):
            say(f"\n{name}: {result} (exit {test.get('returncode')})")
            # A case that failed, and what it said; then the end of everything.
            for case in re.findall(r"(?m)^not ok .*(?:\n# .*)*", test.get("stdout", "")):
                say(last_lines(case))
            say(last_lines(output))
        if result != "SKIP" and any(re.match(r"(not ok|ok) \d", line) for line in lines):
            add_tap(totals, name, lines, result)
        elif result == "SKIP":
            totals.add("skip", name, (output.strip().splitlines() or ["no reason given"])[-1])
        elif result in ("OK", "EXPECTEDFAIL"):
            totals.add("ok", name)
        else:
            totals.add("fail", name, result)


def meson_tests(totals, stage, folder, options, env, multiplier=TIMEOUT_MULTIPLIER):
    log = TOP / folder / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    command = ["meson", "test", "-C", folder, "--no-rebuild", "--num-processes", "2",
               "--timeout-multiplier", multiplier, *options]
    code, output = run_streaming(command, STAGE_LIMIT_S,
                                 {"CMOCKA_MESSAGE_OUTPUT": "TAP", **env}, quiet=True)
    for line in output.splitlines():
        # Meson's line per test, without its own summary, which counts differently.
        if re.match(r"\s*\d+/\d+ ", line):
            say(f"  {line.strip()}")
    if code != 0 and not log.exists():
        say(last_lines(output))
    failed_before = len(totals.failed)
    add_meson_results(totals, stage, folder)
    if code != 0 and len(totals.failed) == failed_before:
        # It was ended before all tests had run: what its log does not name did not pass.
        say(last_lines(output))
        totals.add("fail", f"{stage}: meson test", f"exit {code}")


def stage_gcc(totals):
    if build(totals, "gcc", "build", "gcc", []):
        meson_tests(totals, "gcc", "build", [], {})


def stage_sanitizers(totals):
    options = ["-Db_sanitize=address,undefined", "-Db_lundef=false",
               f"-Dc_args={SANITIZER_ARGS}"]
    env = {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
           "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1"}
    if build(totals, "sanitizers", "build-asan", "clang", options):
        meson_tests(totals, "sanitizers", "build-asan",
                    ["--suite", "unit", "--suite", "protocol"], env, SLOWER)


def stage_threads(totals):
    options = ["-Db_sanitize=thread", "-Db_lundef=false", "-Dc_args=-fno-omit-frame-pointer"]
    if build(totals, "threads", "build-tsan", "clang", options, THREAD_TESTS.values()):
        meson_tests(totals, "threads", "build-tsan", THREAD_TESTS, {}, SLOWER)


def stage_fuzz(totals):
    options = ["-Dfuzz=true", "-Db_sanitize=address,undefined", "-Db_lundef=false",
               f"-Dc_args={FUZZ_ARGS}"]
    if build(totals, "fuzz", "build-fuzz", "clang", options):
        meson_tests(totals, "fuzz", "build-fuzz", ["--suite", "fuzz"], {})


def stage_embedded(totals):
    """`vireo demo`: no QEMU, no root."""
    with tempfile.TemporaryDirectory(prefix="vireo-") as folder:
        code, output = run_streaming([TOP / "build" / "vireo", "demo"],
                                     EMBEDDED_LIMIT_S,
                                     {"TMPDIR": folder})
    checks = re.findall(r"^(PASS|FAIL)\s+(.*)", output, re.MULTILINE)
    for verdict, name in checks:
        totals.add("ok" if verdict == "PASS" else "fail", f"vireo demo: {name}", "see above")
    if not checks or (code != 0 and not any(v == "FAIL" for v, _ in checks)):
        totals.add("fail", "vireo demo", f"exit {code}, {len(checks)} checks")


def e2e(totals, program, *options):
    """A program of tests/e2e, with stock guests."""
    with tempfile.NamedTemporaryFile(prefix="vireo-", suffix=".json") as results:
        code, _ = run_streaming([sys.executable, f"tests/e2e/{program}", "--json", results.name,
                                 *options],
                                STAGE_LIMIT_S)
        try:
            report = json.loads(Path(results.name).read_text())
        except ValueError:
            totals.add("fail", f"e2e: {program}", f"exit {code} without results")
            return
    for check in report["checks"]:
        name = f"e2e {check['group']}: {check['name']}"
        if "skipped" in check:
            totals.add("skip", name, check["skipped"])
        elif check["ok"]:
            totals.add("ok", name)
        else:
            totals.add("fail", name, f"expected {check['expected']}; seen: "
                                     f"{(check['seen'].splitlines() or [''])[0]}")


def stage_demo(totals):
    e2e(totals, "demo.py")


def stage_e2e(totals):
    e2e(totals, "more.py")


def stage_chassis(totals):
    e2e(totals, "demo_chassis.py", "--smoke")


STAGES = {"gcc": ("unit, protocol and tree tests, built with gcc", stage_gcc),
          "sanitizers": ("unit and protocol tests, built with clang and its sanitizers",
                         stage_sanitizers),
          "threads": ("what has several threads, built with clang's thread sanitizer",
                      stage_threads),
          "fuzz": ("libFuzzer, some seconds for each target", stage_fuzz),
          "embedded": ("the embedded demo", stage_embedded),
          "demo": ("the main job, with stock guests on QEMU", stage_demo),
          "e2e": ("what else stock guests do", stage_e2e),
          "chassis": ("chassis mode, the shortest way through", stage_chassis)}


def summary(totals, seconds):
    for name, why in totals.skipped:
        say(f"SKIPPED  {name}: {why}")
    for name, why in totals.failed:
        say(f"FAILED   {name}: {why}")
    say(f"all tests took {int(seconds) // 60} min {int(seconds) % 60} s")
    say(f"{len(totals.passed)} passed, {len(totals.failed)} failed, {len(totals.skipped)} skipped")


def main():
    parser = argparse.ArgumentParser(description="Runs every test.")
    parser.add_argument("--only", action="append", choices=STAGES, help="these stages only")
    parser.add_argument("--json", metavar="FILE", help="write the totals for programs")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, on_terminate)
    totals, start = Totals(), time.monotonic()
    if not shutil.which("meson"):
        say("run.py: meson is missing: run scripts/setup test")
        return 2
    try:
        for number, (name, (title, function)) in enumerate(STAGES.items(), 1):
            if args.only and name not in args.only:
                continue
            say(f"\n[{number}/{len(STAGES)}] {title}")
            began = time.monotonic()
            function(totals)
            say(f"[{number}/{len(STAGES)}] took {time.monotonic() - began:.0f} s")
    except (KeyboardInterrupt, Stop):
        say("interrupted")
        return 130
    say()
    summary(totals, time.monotonic() - start)
    if args.json:
        Path(args.json).write_text(json.dumps(totals.as_json(), indent=2) + "\n")
    return 1 if totals.failed or not totals.passed else 0


if __name__ == "__main__":
    sys.exit(main())

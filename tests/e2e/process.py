# SPDX-License-Identifier: BSD-3-Clause
"""Processes and directories that are gone when the run is over, however it ends."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

# How long what takes a moment may take: on a busy machine, with every guest emulated, many times
# longer. What never comes is still found; waiting costs nothing where all is well.
WAIT_S = 60
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Interrupted(BaseException):
    """SIGTERM or SIGHUP: leaves through the same `finally`s as Ctrl-C."""


def _on_signal(number, _frame):
    raise Interrupted(signal.Signals(number).name)


def catch_signals():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)


def _die_with_parent():
    # So that even a SIGKILL of the harness leaves nothing behind.
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def spawn(command, log_path, **options):
    """Starts a program with stderr (and stdout, unless asked otherwise) in a log file.

    To be called from the main thread only: the child dies with the thread that started it.
    """
    with open(log_path, "ab") as log:
        options.setdefault("stdout", log)
        return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                stderr=log, preexec_fn=_die_with_parent, **options)


def end(process, term_s=3.0):
    """Ends one process by its PID: SIGTERM, then SIGKILL. Returns its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(term_s)
        except subprocess.TimeoutExpired:
            process.kill()
    code = process.wait()
    if process.stdout:
        process.stdout.close()
    return code


def tail(path, lines=20, containing=None):
    """The last lines of a log, as a list; of those that contain a word where one is given."""
    try:
        text = Path(path).read_text(errors="replace").splitlines()
    except OSError as error:
        return [f"({error})"]
    if containing:
        text = [line for line in text if containing in line]
    return text[-lines:]


@contextlib.contextmanager
def run_directory():
    """A new directory for sockets and logs, with a path short enough for a socket's address."""
    base = tempfile.gettempdir()
    path = Path(tempfile.mkdtemp(prefix="vireo-", dir=base if len(base) < 40 else "/tmp"))
    try:
        yield path
    finally:
        keep = os.environ.get("VIREO_KEEP_LOGS")
        if keep:
            shutil.copytree(path, keep, dirs_exist_ok=True, ignore=_sockets)
        shutil.rmtree(path, ignore_errors=True)


def _sockets(folder, names):
    return [name for name in names if (Path(folder) / name).is_socket()]

# SPDX-License-Identifier: BSD-3-Clause
"""Starts and ends a vireod, and reads its counters."""

import json
import re
import socket
import time

import process



class DaemonError(Exception):
    """vireod did not start, or did not answer."""


def sum_counts(data):
    """All numbers below a JSON value."""
    if isinstance(data, dict):
        return sum(sum_counts(value) for value in data.values())
    return data if isinstance(data, (int, float)) else 0


class Stats:
    """One answer to "stats"."""

    def __init__(self, data):
        self.data = data
        self.vfs = data["ports"][0]["vfs"]

    def vf(self, index):
        for vf in self.vfs:
            if vf["vf"] == index:
                return vf
        raise DaemonError(f"the stats have no VF {index}")

    def count(self, index, name):
        return self.vf(index)["counts"][name]

    def messages(self, *indices):
        """vfio-user messages from these VFs' virtual machines, of every kind."""
        return sum(sum_counts(self.vf(index)["messages"]) for index in indices)

    def dma_faults(self):
        return sum(vf["dma_faults"] for vf in self.vfs)


class Daemon:
    options = ()  # of vireod's, before the others

    def __init__(self, vireod, run_dir, config_text, name="vireod"):
        self.vireod, self.run_dir = vireod, run_dir
        self.config = run_dir / f"{name}.conf"
        self.config.write_text(config_text)
        self.log = run_dir / f"{name}.log"
        self.ready_log = run_dir / f"{name}.out"
        self.process = None
        self.prefix = []  # a command that starts vireod in its own place

    def start(self):
        """Waits for "vireod: ready"."""
        with open(self.ready_log, "wb") as out:
            self.process = process.spawn([*self.prefix, self.vireod, *self.options, "--config",
                                          self.config, "--run-dir", self.run_dir, "--log-level",
                                          "info"],
                                         self.log, stdout=out)
        end = time.monotonic() + process.WAIT_S
        while time.monotonic() < end:
            if "vireod: ready" in self.ready_log.read_text():
                return
            if self.process.poll() is not None:
                raise DaemonError(f"vireod ended with {self.process.returncode}: " +
                                  " / ".join(process.tail(self.log, 5)))
            time.sleep(0.02)
        raise DaemonError(f"vireod was not ready after {process.WAIT_S} s")

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """Ends it. Returns its exit code, None when it never ran."""
        return process.end(self.process, process.WAIT_S) if self.process else None

    def vf_socket(self, index, port=0):
        return self.run_dir / f"port{port}-vf{index}.sock"

    def call(self, method, params=None, limit_s=process.WAIT_S):
        request = {"jsonrpc": "2.0", "id": 1, "method": method}
        if params is not None:
            request["params"] = params
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(limit_s)
            try:
                sock.connect(str(self.run_dir / "ctl.sock"))
                sock.sendall(json.dumps(request).encode() + b"\n")
                line = sock.makefile("rb").readline()
            except OSError as error:
                raise DaemonError(f"{method}: {error}") from error
        if not line:
            raise DaemonError(f"{method}: the daemon closed the connection")
        answer = json.loads(line)
        if "error" in answer:
            raise DaemonError(f"{method}: {answer['error']}")
        return answer["result"]

    @staticmethod
    def send_raw(path, data):
        """Sends bytes to a socket and hangs up, whatever the answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(0.2)
            try:
                sock.connect(str(path))
                sock.sendall(data)
                sock.recv(4096)
            except OSError:
                pass  # it may well hang up first

    def stats(self):
        return Stats(self.call("stats"))

    def log_lines(self, pattern):
        return [line for line in process.tail(self.log, 100000) if re.search(pattern, line)]


def with_doorbells(config_text, form):
    """The same configuration with one doorbell form for every VF."""
    text, count = re.subn(r'(\bdoorbells\s*[=:]\s*)"\w+"', rf'\1"{form}"', config_text)
    if count == 0:
        raise DaemonError('the configuration has no doorbells = "..." to set')
    return text

# SPDX-License-Identifier: BSD-3-Clause
"""Runs commands in a guest through the agent on its second serial port (guest/agent.c)."""

import re
import threading
import time


# By how much longer than on a quiet machine an emulated guest may take on one that others use.
PATIENCE = 6


class GuestError(Exception):
    """A guest did not answer, or a command that had to work failed."""


class Result:
    def __init__(self, code, output):
        self.code, self.output = code, output

    def __repr__(self):
        return f"exit {self.code}: {self.output.strip()}"


class Job:
    """A command under way in a guest."""

    def __init__(self, guest, number, script, limit_s):
        self.guest, self.number, self.script = guest, number, script
        self._deadline = time.monotonic() + limit_s + 30  # the agent's own limit comes first
        self._done = threading.Event()
        self._result = None

    def finish(self, result):
        self._result = result
        self._done.set()

    def wait(self):
        """The Result; GuestError when the guest is gone."""
        if not self._done.wait(max(0.0, self._deadline - time.monotonic())):
            raise GuestError(f"{self.guest.name} did not answer: {self.script}")
        if self._result is None:
            raise GuestError(f"{self.guest.name} is gone: {self.script}")
        return self._result

    def done(self):
        return self._done.is_set()

    def stop(self):
        self.guest.send(f"KILL {self.number}\n".encode())


class Guest:
    """The agent's side of one virtual machine. `listener` is the socket that QEMU connects to."""

    def __init__(self, name, listener):
        self.name = name
        self._listener = listener
        self._connection = None
        self._jobs = {}
        self._next = 1
        self._lock = threading.Lock()
        self._up = threading.Event()
        self._hellos = 0
        self._gone = False
        self._reader = threading.Thread(target=self._read, name=f"agent-{name}", daemon=True)
        self._reader.start()

    def wait_hello(self, count, timeout_s):
        """Waits for the agent's count-th start: a guest that reboots says hello again."""
        end = time.monotonic() + PATIENCE * timeout_s
        while self._hellos < count and not self._gone and time.monotonic() < end:
            time.sleep(0.05)
        return self._hellos >= count

    def is_up(self):
        return self._up.is_set() and not self._gone

    def send(self, data):
        with self._lock:
            if self._connection is None or self._gone:
                raise GuestError(f"{self.name} is gone")
            try:
                self._connection.sendall(data)
            except OSError as error:
                raise GuestError(f"{self.name} is gone: {error}") from error

    def start(self, script, limit_s=10):
        """Starts a shell script in the guest, which ends it after PATIENCE times limit_s. Returns a
        Job."""
        limit_s = int(PATIENCE * limit_s)
        job = Job(self, self._next, script, limit_s)
        self._next += 1
        self._jobs[job.number] = job
        data = script.encode()
        self.send(f"RUN {job.number} {limit_s} {len(data)}\n".encode() + data)
        return job

    def run(self, script, limit_s=10):
        """Runs a shell script to its end. Returns a Result, whatever the exit code."""
        return self.start(script, limit_s).wait()

    def must(self, script, limit_s=10):
        """Runs a script that has to work. Returns its output."""
        result = self.run(script, limit_s)
        if result.code != 0:
            raise GuestError(f"{self.name}: {script}: {result}")
        return result.output

    def poll(self, script, wanted, limit_s=10, every_s=0.1):
        """Runs a script until its output matches a pattern. Returns (matched, last output), the
        latter after PATIENCE times limit_s at the latest."""
        end = time.monotonic() + PATIENCE * limit_s
        while True:
            output = self.run(script).output
            if re.search(wanted, output):
                return True, output
            if time.monotonic() >= end:
                return False, output
            time.sleep(every_s)

    def close(self):
        self._gone = True
        for sock in (self._connection, self._listener):
            if sock:
                sock.close()

    def _read(self):
        try:
            self._connection, _ = self._listener.accept()
            stream = self._connection.makefile("rb")
            while line := stream.readline():
                # The firmware or the kernel may have written something before the first word.
                if line.endswith(b"HELLO 1\n"):
                    self._hellos += 1
                    self._up.set()
                found = re.search(rb"DONE (\d+) (-?\d+) (\d+)\n$", line)
                if found:
                    number, code, length = (int(word) for word in found.groups())
                    output = stream.read(length).decode(errors="replace")
                    job = self._jobs.pop(number, None)
                    if job:
                        job.finish(Result(code, output))
        except (OSError, ValueError):
            pass
        self._gone = True
        self._up.set()
        for job in list(self._jobs.values()):
            job.finish(None)

# SPDX-License-Identifier: BSD-3-Clause
"""Checks with a PASS or FAIL line each, their figures, and the same as JSON."""

import contextlib
import json
import sys
import threading
import time
import traceback

from daemon import DaemonError
from guest import GuestError

NAME_COLUMNS = 42
TICK_S = 1.0


def shortened(text, columns=72):
    """Text that a line has room for."""
    return text if len(text) <= columns else text[:columns - 1].rstrip() + "…"


class CheckFailed(Exception):
    """What was expected, and what was seen instead."""

    def __init__(self, expected, seen):
        super().__init__(f"expected {expected}; seen: {seen}")
        self.expected, self.seen = str(expected), str(seen)


class CheckSkipped(Exception):
    """The check cannot be made here: why."""


class Check:
    """Given to a check's function, to record what it saw."""

    def __init__(self, group, name):
        self.group, self.name = group, name
        self.figures = {}
        self.text = []
        self.ok, self.expected, self.seen, self.log = True, None, None, []
        self.skip_reason = None
        self.seconds = 0.0

    def note(self, text, **figures):
        """A few words for the line, and the figures in them for programs."""
        self.text.append(text)
        self.figures.update(figures)

    def expect(self, ok, expected, seen):
        if not ok:
            raise CheckFailed(expected, seen)

    def skip(self, reason):
        raise CheckSkipped(reason)

    def as_json(self):
        data = {"group": self.group, "name": self.name, "ok": self.ok,
                "seconds": round(self.seconds, 2), "figures": self.figures}
        if self.skip_reason:
            data["skipped"] = self.skip_reason
        if not self.ok:
            data.update(expected=self.expected, seen=self.seen, log=self.log)
        return data


class Report:
    def __init__(self, out=sys.stdout):
        self.out = out
        self.checks, self.phases, self.facts = [], [], {}
        self.group = ""
        self.started = time.monotonic()
        self._lock = threading.Lock()  # of the three below, and of what is written
        self._doing, self._since = None, 0.0
        self._progress_shown = False

    def say(self, text=""):
        with self._lock:
            self._clear_progress()
            print(text, file=self.out, flush=True)

    def progress(self, text):
        """What is being done, in a line that the next one replaces; for a terminal only."""
        with self._lock:
            if text != self._doing:
                self._doing = text
                self._show_progress()

    def _show_progress(self):
        if self._doing and self.out.isatty():
            seconds = time.monotonic() - self._since
            passed = f" {seconds:.0f} s" if seconds >= TICK_S else ""
            print(f"\r\033[K      {self._doing} ...{passed}", end="", file=self.out, flush=True)
            self._progress_shown = True

    def _clear_progress(self):
        if self._progress_shown:
            print("\r\033[K", end="", file=self.out)
            self._progress_shown = False

    @contextlib.contextmanager
    def _showing(self, text):
        """Says meanwhile what is being done, and for how long."""
        over = threading.Event()

        def tick():
            while not over.wait(TICK_S):
                with self._lock:
                    self._show_progress()
        self._since = time.monotonic()
        self.progress(text)
        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield
        finally:
            over.set()
            ticker.join()
            self.progress(None)

    def start_group(self, name, title):
        self.group = name
        self.say(f"\n{title}")

    def phase(self, name, seconds):
        self.phases.append({"group": self.group, "name": name, "seconds": round(seconds, 2)})

    def check(self, name, function, logs=lambda: []):
        """Runs function(check). Prints its line, and on failure why, with the logs' ends."""
        check = Check(self.group, name)
        start = time.monotonic()
        try:
            with self._showing(name):
                function(check)
        except CheckFailed as failure:
            check.ok, check.expected, check.seen = False, failure.expected, failure.seen
        except CheckSkipped as skipped:
            check.skip_reason = str(skipped)
            check.text = [check.skip_reason]
        except GuestError as failure:
            check.ok, check.expected = False, "the guest's command to work"
            check.seen = str(failure)
        except DaemonError as failure:
            check.ok, check.expected = False, "vireod to answer"
            check.seen = str(failure)
        except Exception:  # pylint: disable=broad-except # a broken check must not end the others
            check.ok, check.expected = False, "the check itself to work"
            check.seen = traceback.format_exc()
        check.seconds = time.monotonic() - start
        self.checks.append(check)
        verdict = "SKIP" if check.skip_reason else "PASS" if check.ok else "FAIL"
        line = f"{verdict}  {name}"
        if check.text:
            line += f" {'.' * max(2, NAME_COLUMNS - len(name))} {', '.join(check.text)}"
        self.say(line)
        if not check.ok:
            check.log = logs()
            self._explain(check)
        return check.ok

    def _explain(self, check):
        for label, text in (("expected", check.expected), ("seen", check.seen)):
            first, *rest = text.strip().splitlines() or [""]
            self.say(f"      {label + ':':10}{first}")
            for line in rest[-20:]:
                self.say(f"                {line}")
        for line in check.log:
            self.say(f"      | {line}")

    def failed(self):
        return [check for check in self.checks if not check.ok]

    def skipped(self):
        return [check for check in self.checks if check.skip_reason]

    def as_json(self):
        failed, skipped = len(self.failed()), len(self.skipped())
        return {"passed": len(self.checks) - failed - skipped, "failed": failed, "skipped": skipped,
                "seconds": round(time.monotonic() - self.started, 1), "facts": self.facts,
                "phases": self.phases, "checks": [check.as_json() for check in self.checks]}

    def write_json(self, path):
        text = json.dumps(self.as_json(), indent=2) + "\n"
        if path == "-":
            self.out.write(text)
            return
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

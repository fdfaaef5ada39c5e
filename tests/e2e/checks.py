# SPDX-License-Identifier: BSD-3-Clause
"""Checks with a PASS or FAIL line each, their figures, and the same as JSON."""

import json
import sys
import time
import traceback

from daemon import DaemonError
from guest import GuestError

NAME_COLUMNS = 42


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
        self._progress_shown = False

    def say(self, text=""):
        self._clear_progress()
        print(text, file=self.out, flush=True)

    def progress(self, text):
        """A line that the next one replaces; for a terminal only."""
        if self.out.isatty():
            print(f"\r\033[K{text}", end="", file=self.out, flush=True)
            self._progress_shown = True

    def _clear_progress(self):
        if self._progress_shown:
            print("\r\033[K", end="", file=self.out)
            self._progress_shown = False

    def start_group(self, name, title):
        self.group = name
        self.say(f"\n{title}")

    def phase(self, name, seconds):
        self.phases.append({"group": self.group, "name": name, "seconds": round(seconds, 2)})

    def check(self, name, function, logs=lambda: []):
        """Runs function(check). Prints its line, and on failure why, with the logs' ends."""
        check = Check(self.group, name)
        self.progress(f"      {name} ...")
        start = time.monotonic()
        try:
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
        dots = "." * max(2, NAME_COLUMNS - len(name))
        verdict = "SKIP" if check.skip_reason else "PASS" if check.ok else "FAIL"
        self.say(f"{verdict}  {name} {dots} {', '.join(check.text)}".rstrip())
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

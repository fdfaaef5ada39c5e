#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Lets pciutils decode a dump of our config space and compares what it says with expectations.

    test_lspci.py --expect FILE.json [--scenario NAME] (--dump FILE | PROGRAM [ARGS...])

PROGRAM writes the dump to its standard output. FILE.json:

    {"profiles":  {NAME: FUNCTION, ...},
     "scenarios": {NAME: {"RID": FUNCTION, ...}, ...}}

A FUNCTION has any of
    "profile":       start from this profile (and add or replace what stands here)
    "title":         regular expression for the line with the RID, after the RID
    "header":        texts that the part before the capabilities holds
    "capabilities":  {"OFFSET": [texts that this capability holds], ...}: exactly these offsets,
                     in this order; the first text is what the capability starts with
White space counts as one blank. The dump must hold exactly the scenario's functions, unless
"others": true stands among them. Exit status 0: all as expected, 1: not, 77: lspci is missing.
"""
import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile

FUNCTION_LINE = re.compile(r"^((?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) (.*)$")
CAPABILITY_LINE = re.compile(r"^\tCapabilities: \[([0-9a-f]+)(?: v\d+)?\] (.*)$")


def one_blank(text):
    return " ".join(text.split())


def parse_lspci(text):
    """{rid: {"title": str, "header": str, "capabilities": {offset: str}}}, in lspci's order."""
    functions = {}
    function = capability = None
    for line in text.splitlines():
        if match := FUNCTION_LINE.match(line):
            function = {"title": match[2], "header": "", "capabilities": {}}
            functions[match[1]] = function
            capability = None
        elif function is None or not line.strip():
            continue
        elif match := CAPABILITY_LINE.match(line):
            capability = match[1]
            function["capabilities"][capability] = match[2]
        elif line.startswith("\t\t") and capability:
            function["capabilities"][capability] += " " + line
        else:
            capability = None
            function["header"] += " " + line
    for function in functions.values():
        function["header"] = one_blank(function["header"])
        for offset, block in function["capabilities"].items():
            function["capabilities"][offset] = one_blank(block)
    return functions


def resolve(profiles, function):
    """A function with its profile's expectations under its own; texts are added up."""
    if "profile" not in function:
        return function
    base = resolve(profiles, profiles[function["profile"]])
    result = {
        "title": function.get("title", base.get("title")),
        "header": base.get("header", []) + function.get("header", []),
        "capabilities": {k: list(v) for k, v in base.get("capabilities", {}).items()},
    }
    for offset, texts in function.get("capabilities", {}).items():
        result["capabilities"][offset] = result["capabilities"].get(offset, []) + texts
    return result


def has_text(block, text):
    # As whole words: "VFs: 6" is not found in "VFs: 64".
    return re.search(r"(?<!\w)" + re.escape(one_blank(text)) + r"(?!\w)", block) is not None


def compare(rid, expected, got, complain):
    if expected.get("title") and not re.search(expected["title"], got["title"]):
        complain(f"{rid}: is '{got['title']}', expected '{expected['title']}'")
    for text in expected.get("header", []):
        if not has_text(got["header"], text):
            complain(f"{rid}: no '{text}' in header: {got['header']}")
    if "capabilities" not in expected:
        return
    offsets = list(expected["capabilities"])
    if list(got["capabilities"]) != offsets:
        complain(f"{rid}: capabilities at {list(got['capabilities'])}, expected {offsets}")
    for offset, texts in expected["capabilities"].items():
        block = got["capabilities"].get(offset, "")
        if texts and not block.startswith(one_blank(texts[0])):
            complain(f"{rid} [{offset}]: starts '{block[:60]}', expected '{texts[0]}'")
        for text in texts[1:]:
            if not has_text(block, text):
                complain(f"{rid} [{offset}]: no '{text}' in: {block}")


def decode(dump_path):
    run = subprocess.run(["lspci", "-vvv", "-F", dump_path], capture_output=True, text=True,
                         check=False, timeout=60)
    if run.returncode:
        sys.exit(f"lspci failed: {run.stderr}")
    return run.stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--expect", required=True)
    parser.add_argument("--scenario")
    parser.add_argument("--dump")
    parser.add_argument("--verbose", action="store_true", help="also print what lspci says")
    parser.add_argument("program", nargs="*")
    args = parser.parse_args()
    if not shutil.which("lspci"):
        print("SKIP: lspci (package pciutils) is not installed")
        return 77
    with open(args.expect, encoding="utf-8") as file:
        expect = json.load(file)
    scenario = dict(expect["scenarios"][args.scenario or next(iter(expect["scenarios"]))])
    if args.dump:
        text = decode(args.dump)
    else:
        with tempfile.NamedTemporaryFile() as dump:
            subprocess.run(args.program, stdout=dump, check=True, timeout=60)
            text = decode(dump.name)
    if args.verbose:
        print(text)
    others = scenario.pop("others", False)
    got = parse_lspci(text)
    complaints = []
    if set(scenario) - set(got) or (set(got) - set(scenario) and not others):
        complaints.append(f"functions {sorted(got)}, expected {sorted(scenario)}")
    checks = 0
    for rid, function in scenario.items():
        if rid in got:
            expected = resolve(expect.get("profiles", {}), function)
            checks += sum(len(t) for t in expected.get("capabilities", {}).values())
            checks += len(expected.get("header", []))
            compare(rid, expected, got[rid], complaints.append)
    if not checks:
        complaints.append("nothing was compared")
    for complaint in complaints:
        print("FAIL:", complaint)
    print(f"{len(scenario)} functions, {checks} texts, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Starts a vireod, prints `vireo pci dump` of its card, and ends it.

    dump_card.py VIREOD VIREO CONFIG
"""
import subprocess
import sys
import tempfile

READY = "vireod: ready"
LIMIT_S = 30


def main():
    vireod, vireo, config = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="vireo-dump-") as run_dir:
        daemon = subprocess.Popen([vireod, "--config", config, "--run-dir", run_dir,
                                   "--log-level", "error"], text=True, stdout=subprocess.PIPE)
        try:
            while (line := daemon.stdout.readline()) and line.strip() != READY:
                pass
            if not line:
                sys.exit("vireod ended before it was ready")
            subprocess.run([vireo, "--run-dir", run_dir, "pci", "dump"], check=True,
                           timeout=LIMIT_S)
        finally:
            daemon.terminate()
            daemon.communicate(timeout=LIMIT_S)
    return daemon.returncode


if __name__ == "__main__":
    sys.exit(main())

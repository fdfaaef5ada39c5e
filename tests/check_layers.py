# SPDX-License-Identifier: BSD-3-Clause
"""Proves the tree's structure: who includes whom (layers.txt), and how big a file may be.

Usage: check_layers.py TOP. Prints TAP, one test a rule; exit 1 when one fails.
"""

import re
import sys
from pathlib import Path

FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 80  # "about 70"


def read_layers(path):
    """{room: rooms that it may include}, None for all."""
    layers = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        room, colon, others = line.partition(":")
        if not colon:
            raise SystemExit(f"{path}:{number}: expected ROOM: ROOMS, found: {line}")
        names = others.split()
        unknown = [name for name in names if name != "*" and name not in layers]
        if unknown:
            raise SystemExit(f"{path}:{number}: {room} includes {', '.join(unknown)}, which "
                             "comes later or not at all (rooms must not include each other)")
        layers[room] = None if "*" in names else {room, *names}
    return layers


def sources(top):
    return sorted(p for p in (top / "src").rglob("*") if p.suffix in (".c", ".h", ".def"))


def numbered(path):
    return enumerate(path.read_text(errors="replace").splitlines(), 1)


def rule_rooms(top, layers):
    rooms = {p.name for p in (top / "src").iterdir() if p.is_dir()}
    for room in sorted(rooms - set(layers)):
        yield f"src/{room} is not in layers.txt"
    for room in sorted(set(layers) - rooms):
        yield f"layers.txt names {room}, and there is no src/{room}"


def rule_includes(top, layers):
    for path in sources(top):
        room = path.relative_to(top / "src").parts[0]
        allowed = layers.get(room, set())
        for number, line in numbered(path):
            found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not found:
                continue
            where = f"{path.relative_to(top)}:{number}"
            target = found.group(1)
            # Files that the build makes are not there; their room still counts.
            if "/" not in target:
                yield f'{where}: "{target}": write the room, as in "{room}/{target}"'
            elif target.startswith("support/") and path.name.startswith("test_"):
                pass  # tests/support is for every test, and for nothing else
            elif allowed is not None and target.split("/")[0] not in allowed:
                yield f"{where}: {room} may not include {target}"


def rule_file_size(top, _layers):
    for path in sources(top):
        lines = sum(1 for _ in numbered(path))
        if path.suffix != ".def" and lines > FILE_LINES_MAX:
            yield f"{path.relative_to(top)}: {lines} lines; {FILE_LINES_MAX} are allowed"


def rule_function_size(top, _layers):
    for path in sources(top):
        if path.suffix == ".def":
            continue
        start, name = 0, ""
        for number, line in numbered(path):
            head = re.match(r"[A-Za-z_].*?(\w+)\(", line)
            if head and not line.startswith(("#", "static const", "struct ", "enum ")):
                name = head.group(1)
            if line == "{":
                start = number
            elif line.startswith("}") and start:
                if number - start > FUNCTION_LINES_MAX:
                    yield (f"{path.relative_to(top)}:{start}: {name}() has {number - start} "
                           f"lines; {FUNCTION_LINES_MAX} are allowed")
                start = 0


def rule_licence(top, _layers):
    for path in sources(top):
        with path.open(errors="replace") as file:
            if "SPDX-License-Identifier: BSD-3-Clause" not in file.readline():
                yield f"{path.relative_to(top)}: the first line is not the SPDX line"


RULES = (
    ("every room is in layers.txt", rule_rooms),
    ("a room includes only what layers.txt allows", rule_includes),
    (f"no file has more than {FILE_LINES_MAX} lines", rule_file_size),
    (f"no function has more than {FUNCTION_LINES_MAX} lines", rule_function_size),
    ("every file says its licence", rule_licence),
)


def main():
    top = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])
    layers = read_layers(top / "layers.txt")
    failed = 0
    print(f"1..{len(RULES)}")
    for number, (name, rule) in enumerate(RULES, 1):
        wrong = list(rule(top, layers))
        failed += bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {number} - {name}")
        for text in wrong:
            print(f"# {text}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Holds what the instruction tests run, as the translator's log of it says, against the rows of insn.def.

    coverage.py WEFT INSN.DEF GUEST..."""

import re
import subprocess
import sys
import tempfile


def translated(weft, guest):
    """The mnemonics of everything that was translated for a guest."""
    with tempfile.NamedTemporaryFile(mode="r", suffix=".log") as log:
        subprocess.run([weft, "run", "-M", "virt", "-accel", "tcg,tier=t1", "-bios", "none", "-m", "128M", "-smp", "2",
                        "-nographic", "-d", "in_asm", "-D", log.name, "-kernel", guest], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, check=True, timeout=600)
        return set(re.findall(r"^0x[0-9a-f]+:  [0-9a-f]+  (\S+)", log.read(), re.M))


def main():
    """Fails when a row is not there."""
    with open(sys.argv[2], encoding="ascii") as f:
        rows = set(re.findall(r'^INSN\(\w+, "([^"]+)"', f.read(), re.M))
    seen = set()
    for guest in sys.argv[3:]:
        seen |= translated(sys.argv[1], guest)
    seen = {re.sub(r"(\.aq|\.rl|\.aqrl)$", "", name) for name in seen}
    missing = sorted(rows - seen)
    print(f"{len(rows) - len(missing)} of {len(rows)} rows run" + (f"; missing: {missing}" if missing else ""))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

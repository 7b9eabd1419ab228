"""The cost of a thousand requests on the fast path in instructions, which do not depend on how busy the machine is.

    python -m loadtest.bench.instructions    writes the budget for this Python

valgrind's callgrind counts machine instructions by C function. Bytecode instructions are counted by Python function in a second
process: they show where an excess comes from.
"""

import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from loadtest.system import tool

BUDGET = Path(__file__).with_name("instructions.json")

MARGIN = 0.03
"""The share of the budget by which a count may exceed it."""

_ROOT = Path(__file__).parents[2]
_NAMED = 60
"""How many functions of each kind a budget names: the most expensive ones."""

_PYTHON = f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}"


class Count(msgspec.Struct):
    """Instructions of a thousand requests: the total, *native* by C function, and *opcodes* by Python function."""

    python: str
    total: int
    native: dict[str, int]
    opcodes: dict[str, int]


def count_instructions() -> Count:
    """Count on this machine, in half a minute. Raises UnsupportedError without valgrind."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind"
        marks = ["--zero-before=getppid", "--dump-before=getpgrp"]
        _run(tool("valgrind", "valgrind"), "--tool=callgrind", f"--callgrind-out-file={out}", *marks, *_HOT)
        native = _by_function(out.with_name("callgrind.1").read_text())
    opcodes = Counter(msgspec.json.decode(_run(*_HOT, "opcodes"), type=dict[str, int]))
    return Count(_PYTHON, native.total(), dict(native.most_common(_NAMED)), dict(opcodes.most_common(_NAMED)))


def budget() -> Count:
    """The count that the repository allows."""
    return msgspec.json.decode(BUDGET.read_bytes(), type=Count)


def not_comparable() -> str:
    """Why the budget does not apply to this Python; empty if it does."""
    made_for = budget().python
    return "" if made_for == _PYTHON else f"the budget is for {made_for}, not for {_PYTHON}"


def excess(count: Count, allowed: Count) -> str:
    """By how much, and in which functions, *count* exceeds what is allowed; empty if it does not."""
    if count.total <= allowed.total * (1 + MARGIN):
        return ""
    more = f"{count.total / allowed.total - 1:.1%} more than the budget of {allowed.total:,}"
    text = f"1,000 requests take {count.total:,} instructions, {more}."
    return "\n".join(
        [
            text,
            *_increases("bytecode instructions in", count.opcodes, allowed.opcodes),
            *_increases("machine instructions in", count.native, allowed.native),
        ]
    )


def _increases(title: str, now: Mapping[str, int], before: Mapping[str, int]) -> list[str]:
    risen = sorted(((now[name] - before.get(name, 0), name) for name in now), reverse=True)
    return [f"  {title} {name}: {by:+,} to {now[name]:,}" for by, name in risen[:5] if by > 0]


_HOT = [sys.executable, "-m", "loadtest.bench.hot_requests"]


def _run(*command: str) -> str:
    """The output of *command*, with a fixed hash seed and without this environment."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{_ROOT}/src:{_ROOT}", "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def _by_function(profile: str) -> Counter[str]:
    """Instructions of each C function without those that it calls, from a profile in the Callgrind format."""
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    function, of_a_call = "", False
    for line in profile.splitlines():
        if named := re.match(r"(c?fn)=\((\d+)\)(?: (\S+?)(?:'\d+)?$)?", line):
            kind, number, name = named.groups()
            names.setdefault(number, name or number)
            function = names[number] if kind == "fn" else function
        elif line.startswith("calls="):
            of_a_call = True
        elif re.match(r"[+*\d-]", line):
            if not of_a_call:
                counts[function] += int((line + " 0").split()[1])
            of_a_call = False
    return counts


if __name__ == "__main__":
    BUDGET.write_bytes(msgspec.json.format(msgspec.json.encode(count_instructions()), indent=1) + b"\n")
    print(f"{BUDGET}: {budget().total:,} instructions with {budget().python}")

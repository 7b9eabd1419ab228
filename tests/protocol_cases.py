"""The cases of tests/protocol/*.txt: what is sent, what is expected, and where nginx decides otherwise."""

import re
from pathlib import Path
from typing import NamedTuple

from conftest import ROOT

FILES = sorted((ROOT / "tests/protocol").glob("*.txt"))


class Case(NamedTuple):
    """A line: the bytes that are *sent*, and the statuses and `open` or `close` that are *expected*; *nginx*'s if they differ."""

    line: int
    sent: bytes
    expected: str
    nginx: str


def unescape(text: str) -> bytes:
    """The bytes of a case: `{text*N}` repeats, `\\r`, `\\n`, `\\t` and `\\xNN` are escapes."""
    text = re.sub(r"\{([^{}]*)\*(\d+)\}", lambda match: match[1] * int(match[2]), text)
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def cases(path: Path) -> list[Case]:
    """All cases of a file."""
    lines = enumerate(path.read_text().splitlines(), start=1)
    return [_case(number, line) for number, line in lines if line and not line.startswith("#")]


def _case(number: int, line: str) -> Case:
    sent, expected, nginx = re.fullmatch(r"(.*?) ?-> ([^(>]*?)(?: \(nginx: (.*)\))?", line).groups()
    return Case(number, unescape(sent), unescape(expected).decode(), nginx or "")

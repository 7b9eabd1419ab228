"""The cases of tests/protocol/*.txt: what is sent, and what is expected."""

import re
from pathlib import Path

from conftest import ROOT

FILES = sorted((ROOT / "tests/protocol").glob("*.txt"))


def unescape(text: str) -> bytes:
    """The bytes of a case: `{text*N}` repeats, `\\r`, `\\n`, `\\t` and `\\xNN` are escapes."""
    text = re.sub(r"\{([^{}]*)\*(\d+)\}", lambda match: match[1] * int(match[2]), text)
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def cases(path: Path) -> list[tuple[int, bytes, str]]:
    """Line number, what is sent, and what is expected."""
    lines = enumerate(path.read_text().splitlines(), start=1)
    parts = [(number, line.rpartition("-> ")) for number, line in lines if line and not line.startswith("#")]
    return [(number, unescape(sent.removesuffix(" ")), unescape(said).decode()) for number, (sent, _, said) in parts]

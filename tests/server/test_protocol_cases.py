"""Raw HTTP/1.1 as it may come: each line of tests/protocol/*.txt, whole, and cut in two at every byte."""

import re
from pathlib import Path

import pytest

from conftest import ROOT
from wire import FakeClient, VirtualLoop, server_of

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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_each_case_is_answered_as_it_says_whatever_the_cut(app, path):
    config, state = server_of(app)
    wrong = []
    for number, sent, expected in cases(path):
        for cut in range(len(sent)) if 0 < len(sent) < 500 else (0, len(sent) // 2):
            client = FakeClient(config, state, VirtualLoop())
            await client.sends(sent[:cut])
            await client.sends(sent[cut:])
            said = " ".join([*map(str, client.statuses()), "open" if client.is_open else "close"])
            if said != expected:
                wrong.append(f"{path.name}:{number}, cut at {cut}: {said}, not {expected}")
                break
        await client.waits(60)
        if not client.transport.is_closed:
            wrong.append(f"{path.name}:{number}: its timers do not close it")
    assert wrong == []


def test_there_are_many_cases():
    assert sum(len(cases(path)) for path in FILES) >= 150

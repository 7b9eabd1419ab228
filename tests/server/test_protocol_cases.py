"""Raw HTTP/1.1 as it may come: each line of tests/protocol/*.txt, whole, and cut in two at every byte."""

import pytest

from protocol_cases import FILES, cases
from wire import FakeClient, VirtualLoop, server_of


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_each_case_is_answered_as_it_says_whatever_the_cut(app, path):
    config, state = server_of(app)
    wrong = []
    for number, sent, expected, _ in cases(path):
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

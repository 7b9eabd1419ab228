"""nginx plays the cases of tests/protocol, too: where it decides otherwise than Apidex, the case says so."""

import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from loadtest.system import free_port

from protocol_cases import FILES, Case, cases
from real.nginx import running

pytestmark = pytest.mark.real

REFUSALS = frozenset({400, 414, 431, 501, 505})
"""What is answered to a request that is not understood. All else is about the resource, and nginx has files only."""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory) -> Iterator[int]:
    """nginx with files of the same names; its port."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    for name in ("Cat", "v1/categories", "v1/search", "-/livez"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("[]")
    for path in (folder, *folder.parents[:2], *folder.rglob("*")):  # nginx gives up root
        path.chmod(0o755)
    with running(folder, port, f"root {folder};"):
        yield port


def played(port: int, sent: bytes, patience: float = 0.3) -> str:
    """The statuses that come back, and `open` or `close`, as in a case."""
    data, end = b"", "open"
    try:
        with socket.create_connection(("127.0.0.1", port), patience) as client:
            client.sendall(sent)
            while part := client.recv(2**16):
                data += part
        end = "close"
    except TimeoutError:
        pass
    except OSError:
        end = "close"
    statuses = [status.decode() for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data) if status != b"100"]
    return " ".join([*statuses, end])


def decision(said: str) -> tuple[list[bool], str]:
    """For each answer, whether the request was understood; and what became of the connection."""
    *statuses, end = said.split()
    return [int(status) not in REFUSALS for status in statuses], end


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_case_says_where_nginx_decides_otherwise(nginx, path: Path):
    def differs(case: Case) -> str:
        said, expected = "", case.nginx or case.expected
        for patience in (0.3, 3):  # it may have been late
            said = played(nginx, case.sent, patience)
            if decision(said) == decision(expected):
                return ""
        return f"{path.name}:{case.line}: {said}, not {expected}"

    with ThreadPoolExecutor(32) as clients:
        assert [text for text in clients.map(differs, cases(path)) if text] == []


def test_each_stated_difference_to_nginx_exists():
    vain = [
        case for path in FILES for case in cases(path) if case.nginx and decision(case.nginx) == decision(case.expected)
    ]
    assert vain == []

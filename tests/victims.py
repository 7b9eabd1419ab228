"""Raw attacks on a proxy, beside clients on connections of their own: each of them must get the answers to its own requests."""

import http.client
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from urllib.parse import quote

from processes import HANG
from protocol_cases import FILES, cases

_TAKEN = "GET /dog HTTP/1.1\r\nHost: a\r\n\r\n"
_OPEN = "GET /dog HTTP/1.1\r\nX: "


def _hidden(head: str, body: str) -> bytes:
    return f"{head}Host: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


HIDDEN = [
    _hidden(f"{method} {path} HTTP/1.1\r\n{upgrade}", body)
    for method in ("GET", "POST")
    for path in ("/Cat", "/v1/categories")
    for upgrade in (
        "",
        "Connection: Upgrade\r\nUpgrade: foo\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
        "Expect: 100-continue\r\n",
    )
    for body in (_TAKEN, _TAKEN * 3, _OPEN)
]
"""Requests with a request in the body, whole or open, so that a victim's would end it."""


def attacks() -> list[bytes]:
    """Every raw case that fits into a proxy's patience, and requests that hide others."""
    files = [case.sent for path in FILES for case in cases(path) if 0 < len(case.sent) < 4096]
    return files + HIDDEN * 5


def _attack(port: int, raw: bytes) -> None:
    """Send the head, then the rest, and read what comes."""
    head, end, body = raw.partition(b"\r\n\r\n")
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=HANG) as client:
        client.sendall(head + end)
        time.sleep(0.02)
        client.sendall(body)
        client.settimeout(0.05)
        while client.recv(2**16):
            pass


class _Victim(threading.Thread):
    """Requests names of its own on one connection until *ended*, then all of them again: a cache may have kept what was wrong."""

    def __init__(self, port: int, expected: Mapping[str, bytes], ended: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG)
        self._expected, self._ended = expected, ended
        self._asked: list[tuple[str, bytes]] = []
        self.wrong: list[str] = []
        self.answered = 0

    def run(self) -> None:
        for turn in count():
            for name, body in self._expected.items():
                path = f"/{quote(name, safe='')}?turn={turn}"  # a cache has not seen it
                self._asked.append((path, body))
                self._request(path, body)
            if self._ended.is_set():
                break
        for path, body in self._asked[-500:]:
            self._request(path, body)
        self._client.close()

    def _request(self, path: str, expected: bytes) -> None:
        try:
            self._client.request("GET", path)
            response = self._client.getresponse()
            status, body = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self.wrong.append(f"{path}: {error!r}")
            self._client.close()
            return
        self.answered += 1
        if (status, body) != (200, expected):
            self.wrong.append(f"{path}: {status} {body[:80]!r}")


def wrong_answers(port: int, expected: Mapping[str, bytes], victims: int = 8) -> list[str]:
    """What *victims* got that was not theirs while every attack was played against the proxy at *port*."""
    ended, names = threading.Event(), list(expected)
    clients = [_Victim(port, {name: expected[name] for name in names[i::victims]}, ended) for i in range(victims)]
    for client in clients:
        client.start()
    with ThreadPoolExecutor(8) as attackers:
        list(attackers.map(lambda raw: _attack(port, raw), attacks()))
    ended.set()
    for client in clients:
        client.join(HANG)
    print(f"\n{len(attacks())} attacks, {sum(client.answered for client in clients)} answers to {victims} victims")
    assert all(client.answered > len(expected) / victims for client in clients)
    return [wrong for client in clients for wrong in client.wrong]


def expected_bodies(url_of_replica: str, names: Iterable[str], size: int = 80) -> dict[str, bytes]:
    """The bodies that a replica answers to *names*, the first *size* that nothing else is answered with."""
    host, port = url_of_replica.removeprefix("http://").split(":")
    client, found = http.client.HTTPConnection(host, int(port), timeout=HANG), dict[bytes, str]()
    for name in names:
        client.request("GET", f"/{quote(name, safe='')}")
        found.setdefault(client.getresponse().read(), name)
        if len(found) == size:
            break
    client.close()
    return {name: body for body, name in found.items()}

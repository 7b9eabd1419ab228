"""The last response of a connection is read whole, and a replica that still starts ends at once."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from apidex.server import lifecycle
from apidex.server.connection import Connection
from processes import HANG, wait_until
from server.test_server import receive_all
from wire import server_of

BODY = b"x" * 100_000
"""More than a client with a small receive buffer takes before it reads."""


def respond_sync(_path, _headers, _is_overloaded):
    return 200, b"content-length: %d\r\n" % len(BODY), BODY


async def respond(_scope, _receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(BODY))]})
    await send({"type": "http.response.body", "body": BODY})


def sends_on(address: tuple[str, int], path: str) -> bytes:
    """All that a client reads which sends further requests behind the last one, before it reads."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.settimeout(HANG)
        client.connect(address)
        further = b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode() + further)
        client.recv(1, socket.MSG_PEEK)
        client.sendall(further)
        return receive_all(client)


@pytest.mark.parametrize("path", ["/a", "/a?q"], ids=["fast path", "ASGI"])
async def test_the_last_response_is_read_whole_by_a_client_that_sends_on(app, path):
    played = replace(app, server_options=replace(app.server_options, asgi=respond, respond_sync=respond_sync))
    config, state = server_of(played, keep_alive=600, request_timeout=600, send_timeout=600)
    listener = lifecycle.listen("127.0.0.1", 0)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(config, state, {}), sock=listener)
    async with server:
        read = await asyncio.to_thread(sends_on, listener.getsockname(), path)
    assert read.partition(b"\r\n\r\n")[2] == BODY


async def test_only_a_second_interrupt_ends_requests_in_flight(app):
    server = lifecycle.Server(app.server_options, on_listening=lambda: None, on_draining=lambda: None)
    forced = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
        server.handle_exit(number, None)
        forced.append((server.should_exit, server._skip_drain, server.force_exit))
    assert forced == [(True, False, False), (True, True, False), (True, True, True)]


def test_a_replica_that_waits_for_its_upstream_ends_at_once():
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(HANG)
        environ = {
            **os.environ,
            "APIDEX_UPSTREAM": f"http://127.0.0.1:{upstream.getsockname()[1]}/",
            "APIDEX_STARTUP_TIMEOUT_SECONDS": "600",
            "APIDEX_UPSTREAM_TIMEOUT_SECONDS": "600",
            "APIDEX_STATE_DIR": "none",
        }
        command = [sys.executable, "-m", "apidex", "serve", "--port", "0"]
        with subprocess.Popen(command, env=environ) as process, upstream.accept()[0]:
            process.terminate()
            wait_until(lambda: process.poll() is not None, "the replica has ended")
    assert process.returncode == 0

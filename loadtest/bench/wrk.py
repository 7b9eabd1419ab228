"""Driving a server with wrk: as many requests as it answers, one after the other on each of a few connections."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import msgspec

from loadtest.bench.process import CLIENT_CORE, ServerProcess, cpu_seconds, pinned
from loadtest.system import tool

CONNECTIONS = 8

_SCRIPT = Path(__file__).with_name("wrk.lua")


class _Output(msgspec.Struct):
    """What wrk.lua prints at the end; times in microseconds."""

    requests: int
    duration: float
    p99: float
    errors: int


class Measurement(NamedTuple):
    """A server under load: microseconds of server CPU for each request, requests a second, p99 in milliseconds."""

    cpu: float
    rate: float
    p99: float


class RequestsFailedError(Exception):
    """Some responses were missing or errors: the figures would mean nothing."""


def drive(
    server: ServerProcess, paths: Sequence[str], headers: Mapping[str, str], seconds: int, *, may_fail: bool = False
) -> Measurement:
    """Request *paths* in turn. Raises RequestsFailedError for any error, UnsupportedError without wrk.

    With *may_fail*, failed requests do not count into the rate.
    """
    command = [tool("wrk"), "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s"]
    command += [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    url = f"http://127.0.0.1:{server.inside or server.port}"
    command += ["--timeout", "60s", "--script", str(_SCRIPT), url, "--"]
    if server.inside:
        command = [tool("nsenter", "util-linux"), f"--net=/proc/{server.pid}/ns/net", *command]
    with NamedTemporaryFile("w") as file:
        file.writelines(f"{path}\n" for path in paths)
        file.flush()
        before = cpu_seconds(server.pid)
        done = subprocess.run([*pinned(CLIENT_CORE, command), file.name], check=True, capture_output=True, text=True)  # noqa: S603
        spent = cpu_seconds(server.pid) - before
    output = msgspec.json.decode(done.stdout.splitlines()[-1], type=_Output)
    if (output.errors and not may_fail) or not output.requests:
        raise RequestsFailedError(f"{output.errors} of {output.requests} requests for {paths[0]} … failed")
    rate = (output.requests - output.errors) / output.duration * 1e6
    return Measurement(spent / output.requests * 1e6, rate, output.p99 / 1000)

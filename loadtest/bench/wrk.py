"""Driving a server with wrk: as many requests as it answers, one after the other on each of a few connections."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from loadtest.bench.contenders import Contender
from loadtest.bench.process import CLIENT_CORE, cpu_seconds, pinned, tool

CONNECTIONS = 8

_SCRIPT = Path(__file__).with_name("wrk.lua")


class _Said(msgspec.Struct):
    """What wrk.lua says at the end; times in microseconds."""

    requests: int
    duration: float
    p99: float
    errors: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a server did under load. Microseconds of server CPU for each request, requests a second, milliseconds."""

    cpu: float
    rate: float
    p99: float


class RequestsFailedError(Exception):
    """Some requests were not answered, or by an error: the figures would mean nothing."""


def drive(
    contender: Contender,
    paths: Sequence[str],
    headers: Mapping[str, str],
    seconds: int,
    folder: Path,
    connections: int = CONNECTIONS,
    *,
    may_fail: bool = False,
) -> Measured:
    """Ask for *paths* in turn. Raises RequestsFailedError for any answer that is an error, MissingToolError without wrk.

    Where some may fail, they do not count into the rate.
    """
    asked = folder / "paths.txt"
    asked.write_text("\n".join(paths) + "\n")
    command = [tool("wrk", "wrk"), "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"]
    command += [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    command += ["--timeout", "60s", "--script", str(_SCRIPT), f"http://127.0.0.1:{contender.port}", "--", str(asked)]
    before = cpu_seconds(contender.pid)
    done = subprocess.run(pinned(CLIENT_CORE, command), check=True, capture_output=True, text=True)  # noqa: S603
    spent = cpu_seconds(contender.pid) - before
    said = msgspec.json.decode(done.stdout.splitlines()[-1], type=_Said)
    if (said.errors and not may_fail) or not said.requests:
        raise RequestsFailedError(f"{said.errors} of {said.requests} requests for {paths[0]} … failed")
    return Measured(spent / said.requests * 1e6, (said.requests - said.errors) / said.duration * 1e6, said.p99 / 1000)

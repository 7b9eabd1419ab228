"""Apidex and those that it is compared with: how each is started, and that all of them give the same responses."""

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
import redis
import structlog

from apidex.catalogue import formats
from apidex.catalogue.entry import to_dict
from loadtest import nginx
from loadtest.bench import naive_server
from loadtest.bench.process import PATIENCE, Response, ServerProcess, get, running, wait_for
from loadtest.bench.replica import redis_server
from loadtest.bench.workload import Workload, workloads
from loadtest.system import free_port

APIDEX, SMALL_CACHE = "Apidex", "Apidex, small cache"
REPLAY, LEAN, NAIVE_UPSTREAM = "bare uvicorn", "bare uvicorn, two headers", "naive server: upstream"

_SMALL_CACHE_BYTES = 64 * 2**10
"""For responses given before, where none may be known: too few for a name to be there still when its turn comes again."""

_SERVER_HEADERS = frozenset({"date", "connection"})
"""Headers that uvicorn adds by itself."""

_LEAN_HEADERS = frozenset({"content-type", "content-length", "content-encoding"})


class DisagreementError(Exception):
    """A contender's responses differ from the others': comparing them would mean nothing."""


class _Setup(NamedTuple):
    """What contenders are started with."""

    folder: Path
    upstream: Path
    redis: str
    workloads: list[Workload]


_Start = Callable[[_Setup, int], AbstractContextManager[int]]


def _module(module: str, /, *arguments: str, **environ: str) -> AbstractContextManager[int]:
    return running([sys.executable, "-m", module, *arguments], environ)


def _apidex(setup: _Setup, port: int, *command: str, **more: str) -> AbstractContextManager[int]:
    environ = {
        "APIDEX_PORT": str(port),
        "APIDEX_REDIS_URL": setup.redis,
        "APIDEX_UPSTREAM": setup.upstream.as_uri(),
        "APIDEX_STARTUP_TIMEOUT_SECONDS": str(int(PATIENCE)),  # else a busy machine would compare the starter catalogue
        "APIDEX_LOG_LEVEL": "error",
    }
    return _module(*(command or ("apidex", "serve")), **environ, **more)


def _replay(file: str, setup: _Setup, port: int) -> AbstractContextManager[int]:
    return _module("loadtest.bench.replay", str(port), str(setup.folder / file))


def _nginx(setup: _Setup, port: int) -> AbstractContextManager[int]:
    (setup.folder / "upstream").write_text(f"http://127.0.0.1:{port}/entries.json")
    http = "gzip_static on; keepalive_requests 100000000; open_file_cache max=10000;"
    root = f"root {setup.folder}/files;"
    return running(nginx.command(setup.folder, port, root, http=http, main="worker_processes 1;"))


def _naive(port: int, url: str) -> AbstractContextManager[int]:
    return _module("loadtest.bench.naive_server", str(port), url)


_CONTENDERS: dict[str, _Start] = {
    APIDEX: _apidex,
    SMALL_CACHE: partial(_apidex, APIDEX_RESPONSE_CACHE_BYTES=str(_SMALL_CACHE_BYTES)),
    "nginx, files": _nginx,
    REPLAY: partial(_replay, "whole"),
    LEAN: partial(_replay, "lean"),
    "Apidex without fast path": lambda setup, port: _apidex(setup, port, "loadtest.bench.without_fast_path"),
    "naive server: Redis": lambda setup, port: _naive(port, setup.redis),
    NAIVE_UPSTREAM: lambda setup, port: _naive(port, (setup.folder / "upstream").read_text()),
}


@contextmanager
def contenders(upstream: Path) -> Iterator[tuple[list[Workload], dict[str, ServerProcess]]]:
    """All of them, started on the catalogue in the file *upstream*, and their workloads. Raises UnsupportedError."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        setup = _setup(Path(name), upstream, stack.enter_context(redis_server()))
        servers: dict[str, ServerProcess] = {}
        for contender, start in _CONTENDERS.items():
            port = free_port()
            servers[contender] = ServerProcess(stack.enter_context(start(setup, port)), port)
            wait_for(port, setup.workloads[-1].paths[0])
            if contender == APIDEX:
                _record(setup, port)
        for workload in setup.workloads:
            _check_agreement(workload, servers)
        yield setup.workloads, servers


def headers_of(workload: Workload, port: int) -> dict[str, str]:
    """The headers of each request of a workload: the tag of If-None-Match is the server's own."""
    if not workload.conditional:
        return dict(workload.headers)
    return {"if-none-match": get(port, workload.paths[0]).headers.get("etag", '""')}


def _setup(folder: Path, upstream: Path, redis_url: str) -> _Setup:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    catalogue = formats.parse(upstream.read_bytes()).catalogue
    entries = [to_dict(entry) for entry in catalogue]
    redis.Redis.from_url(redis_url).set(naive_server.KEY, json.dumps(entries))
    folder.chmod(0o755)  # nginx gives up root
    (folder / "files").mkdir()
    (folder / "files" / "entries.json").write_text(json.dumps({"count": len(entries), "entries": entries}))
    return _Setup(folder, upstream, redis_url, workloads(catalogue.names()))


def _record(setup: _Setup, port: int) -> None:
    """Keep Apidex's responses for those that replay them: in files, and whole, with and without all of their headers."""
    recorded: dict[bytes, Response] = {}
    for workload in setup.workloads:
        headers = headers_of(workload, port)
        for path in dict.fromkeys(workload.paths):
            response = recorded[path.encode()] = get(port, path, headers)
            _write_file(setup.folder / "files" / unquote(path[1:]), get(port, path), response)
    for name, is_kept in (
        ("whole", lambda header: header not in _SERVER_HEADERS),
        ("lean", _LEAN_HEADERS.__contains__),
    ):
        responses = {path: _as_asgi(response, is_kept) for path, response in recorded.items()}
        (setup.folder / name).write_bytes(msgspec.msgpack.encode(responses))


def _as_asgi(response: Response, is_kept: Callable[[str], bool]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    fields = [(name.encode(), value.encode()) for name, value in response.headers.items() if is_kept(name)]
    return response.status, fields, response.body


def _write_file(file: Path, uncompressed: Response, response: Response) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(uncompressed.body)
    if response.headers.get("content-encoding") == "gzip":
        file.with_name(f"{file.name}.gz").write_bytes(response.body)


def _check_agreement(workload: Workload, servers: dict[str, ServerProcess]) -> None:
    """Raise DisagreementError when a contender's response differs from Apidex's, whatever its encoding."""
    for path in workload.paths[:3]:
        expected = _content(get(servers[APIDEX].port, path))
        for name, server in servers.items():
            response = get(server.port, path, headers_of(workload, server.port))
            succeeded = response.status in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED)
            if not succeeded or (response.body and _content(response) != expected):
                raise DisagreementError(f"{name} and {APIDEX} give different responses for {path}")


def _content(response: Response) -> Any:  # noqa: ANN401 - JSON
    compressed = response.headers.get("content-encoding") == "gzip"
    return json.loads(gzip.decompress(response.body) if compressed else response.body)

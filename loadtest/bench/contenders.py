"""Apidex and those that it is compared with: how each is started, and that all of them give the same answers."""

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote

import msgspec
import redis
import structlog

from apidex.catalogue import formats
from apidex.catalogue.entry import to_dict
from loadtest.bench import naive_server
from loadtest.bench.process import CLIENT_CORE, Answer, answer, running, tool, wait_for
from loadtest.bench.workload import Kind, kinds
from loadtest.targets import free_port

APIDEX, FLOODED, REPLAY, LEAN = "Apidex", "Apidex, flooded", "bare uvicorn", "bare uvicorn, two headers"

_FLOODED_CACHE = 64 * 2**10
"""Bytes for answers given before, where none may be known: too few for a name to be there still when its turn comes again."""

_OF_THE_SERVER = frozenset({"date", "connection"})
"""Headers that uvicorn adds by itself."""

_LEAN = frozenset({"content-type", "content-length", "content-encoding"})


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that runs: the number of its process, and its port."""

    pid: int
    port: int


Bench = dict[str, Contender]


class DisagreementError(Exception):
    """A contender answers something else than the others: comparing them would mean nothing."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What contenders are started with."""

    folder: Path
    upstream: Path
    redis: str
    kinds: list[Kind]


Start = Callable[[Stage, int], AbstractContextManager[int]]


def _module(name: str, *arguments: str, **environ: str) -> AbstractContextManager[int]:
    return running([sys.executable, "-m", name, *arguments], **environ)


def _apidex(stage: Stage, port: int, *command: str, **more: str) -> AbstractContextManager[int]:
    environ = {"APIDEX_PORT": str(port), "APIDEX_REDIS_URL": stage.redis, "APIDEX_UPSTREAM": stage.upstream.as_uri()}
    return _module(*(command or ("apidex", "serve")), APIDEX_LOG_LEVEL="error", **environ, **more)


def _flooded(stage: Stage, port: int) -> AbstractContextManager[int]:
    return _apidex(stage, port, APIDEX_RESPONSE_CACHE_BYTES=str(_FLOODED_CACHE))


def _without_fast_path(stage: Stage, port: int) -> AbstractContextManager[int]:
    return _apidex(stage, port, "loadtest.bench.without_fast_path")


def _replay(stage: Stage, port: int) -> AbstractContextManager[int]:
    return _module("loadtest.bench.replay", str(port), str(stage.folder / "whole"))


def _lean(stage: Stage, port: int) -> AbstractContextManager[int]:
    return _module("loadtest.bench.replay", str(port), str(stage.folder / "lean"))


def _nginx(stage: Stage, port: int) -> AbstractContextManager[int]:
    configuration = stage.folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=stage.folder, port=port))
    return running([tool("nginx", "nginx"), "-e", "stderr", "-c", str(configuration), "-p", str(stage.folder)])


def _from_redis(stage: Stage, port: int) -> AbstractContextManager[int]:
    return _module("loadtest.bench.naive_server", str(port), stage.redis)


def _from_upstream(stage: Stage, port: int) -> AbstractContextManager[int]:
    url = (stage.folder / "upstream").read_text()
    return _module("loadtest.bench.naive_server", str(port), url)


_CONTENDERS: dict[str, Start] = {
    APIDEX: _apidex,
    FLOODED: _flooded,
    "nginx, files": _nginx,
    REPLAY: _replay,
    LEAN: _lean,
    "Apidex without fast path": _without_fast_path,
    "naive server: Redis": _from_redis,
    "naive server: upstream": _from_upstream,
}

_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off; default_type application/json; gzip_static on; keepalive_requests 100000000; open_file_cache max=10000;
  client_body_temp_path {folder}/nginx; proxy_temp_path {folder}/nginx; fastcgi_temp_path {folder}/nginx;
  uwsgi_temp_path {folder}/nginx; scgi_temp_path {folder}/nginx;
  server {{ listen 127.0.0.1:{port}; root {folder}/files; }}
}}
"""


@contextmanager
def contenders(upstream: Path) -> Iterator[tuple[list[Kind], Bench]]:
    """All of them, started on the catalogue in the file *upstream*, and what to ask them. Raises MissingToolError."""
    with TemporaryDirectory() as name, ExitStack() as stack:
        stage = _stage(Path(name), upstream, stack.enter_context(redis_server()))
        bench = _all_started(stage, stack)
        for kind in stage.kinds:
            _agree(kind, bench)
        yield stage.kinds, bench


def headers_of(kind: Kind, port: int) -> dict[str, str]:
    """What is sent with each request of a kind: the tag of If-None-Match is the server's own."""
    if not kind.conditional:
        return dict(kind.headers)
    return {"if-none-match": answer(port, kind.paths[0]).headers.get("etag", '""')}


def _stage(folder: Path, upstream: Path, redis_url: str) -> Stage:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    catalogue = formats.parse(upstream.read_bytes()).catalogue
    entries = [to_dict(entry) for entry in catalogue]
    redis.Redis.from_url(redis_url).set(naive_server.KEY, json.dumps(entries))
    folder.chmod(0o755)  # nginx gives up root
    (folder / "files").mkdir()
    (folder / "files" / "entries.json").write_text(json.dumps({"count": len(entries), "entries": entries}))
    return Stage(folder, upstream, redis_url, kinds(catalogue.names()))


@contextmanager
def redis_server() -> Iterator[str]:
    port = free_port()
    command = [tool("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with running(command, CLIENT_CORE):
        client = redis.Redis(port=port)
        while not _listens(client):
            pass
        yield f"redis://127.0.0.1:{port}/0"


def _listens(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def _all_started(stage: Stage, stack: ExitStack) -> Bench:
    bench: Bench = {}
    for name, start in _CONTENDERS.items():
        port = free_port()
        bench[name] = Contender(stack.enter_context(start(stage, port)), port)
        wait_for(port, stage.kinds[-1].paths[0])
        if name == APIDEX:
            _record(stage, port)
        if start is _nginx:
            (stage.folder / "upstream").write_text(f"http://127.0.0.1:{port}/entries.json")
    return bench


def _record(stage: Stage, port: int) -> None:
    """Keep what Apidex answers for those that say it again: in files, and whole, with and without all of its headers."""
    told: dict[bytes, Answer] = {}
    for kind in stage.kinds:
        headers = headers_of(kind, port)
        for path in dict.fromkeys(kind.paths):
            said = answer(port, path, headers)
            told[path.encode()] = said
            _keep(stage.folder / "files" / unquote(path[1:]), answer(port, path), said)
    for name, left_out in (("whole", _OF_THE_SERVER), ("lean", None)):
        answers = {path: _as_asgi(said, left_out) for path, said in told.items()}
        (stage.folder / name).write_bytes(msgspec.msgpack.encode(answers))


def _as_asgi(said: Answer, left_out: frozenset[str] | None) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    kept = said.headers.keys() - left_out if left_out is not None else _LEAN & said.headers.keys()
    fields = [(name.encode(), value.encode()) for name, value in said.headers.items() if name in kept]
    return said.status, fields, said.body


def _keep(file: Path, whole: Answer, said: Answer) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(whole.body)
    if said.headers.get("content-encoding") == "gzip":
        file.with_name(f"{file.name}.gz").write_bytes(said.body)


def _agree(kind: Kind, bench: Bench) -> None:
    """Raises DisagreementError when a contender answers something else than Apidex, whatever its encoding."""
    for path in kind.paths[:3]:
        wanted = _meaning(answer(bench[APIDEX].port, path))
        for name, contender in bench.items():
            said = answer(contender.port, path, headers_of(kind, contender.port))
            if said.status not in (HTTPStatus.OK, HTTPStatus.NOT_MODIFIED) or (said.body and _meaning(said) != wanted):
                raise DisagreementError(f"{name} gives another answer for {path} than {APIDEX}")


def _meaning(said: Answer) -> Any:  # noqa: ANN401 - JSON
    return json.loads(gzip.decompress(said.body) if said.headers.get("content-encoding") == "gzip" else said.body)

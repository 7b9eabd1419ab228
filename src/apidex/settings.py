"""Every setting, read once from the environment into one frozen object. Knows nothing of what the settings are for.

The environment's name of a field is `APIDEX_` and the field's own, in capitals, with the unit of its values behind it:
`refresh` is `APIDEX_REFRESH_SECONDS`. `docs/settings.md` lists them all; a test holds the two together.
"""

import difflib
import math
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from apidex.errors import SettingsError

PREFIX = "APIDEX_"

RENAMED = {
    "APIDEX_LAG_SECONDS": "APIDEX_QUEUE_DELAY_TARGET_SECONDS",
    "APIDEX_CONCURRENCY": "APIDEX_MAX_IN_FLIGHT",
    "APIDEX_RECEIVE_SECONDS": "APIDEX_REQUEST_TIMEOUT_SECONDS",
    "APIDEX_CONNECTION_AGE_SECONDS": "APIDEX_MAX_CONNECTION_AGE_SECONDS",
    "APIDEX_KEEP_SHARE": "APIDEX_MIN_ENTRIES_RATIO",
    "APIDEX_START_SECONDS": "APIDEX_STARTUP_TIMEOUT_SECONDS",
    "APIDEX_ANSWER_CACHE_BYTES": "APIDEX_RESPONSE_CACHE_BYTES",
}
"""Variables of 0.1, each with its name since 0.2.0. The old name is an error: ignoring it would run with a default."""

DEFAULT_UPSTREAM = "https://raw.githubusercontent.com/public-apis/public-apis/master/README.md"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a setting's text becomes its value: *parse* raises ValueError for what is not *allowed*."""

    parse: Callable[[str], Any]
    allowed: str
    unit: str = ""


def _integer(low: int, high: int, unit: str = "") -> Kind:
    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d+", text, re.ASCII):
            raise ValueError(text)
        value = int(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return Kind(parse, f"a whole number from {low} to {high}", unit)


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError(text)
    return value


def _seconds(low: float, high: float) -> Kind:
    def parse(text: str) -> timedelta:
        value = float(text)
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(text)
        return timedelta(seconds=value)

    return Kind(parse, f"a number of seconds from {low:.10g} to {high:.10g}", "SECONDS")


def _one_of(*words: str) -> Kind:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return Kind(parse, "one of " + ", ".join(words))


def _url(*schemes: str) -> Kind:
    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in schemes or not (
            parts.path.strip("/") if parts.scheme in ("file", "unix") else parts.hostname
        ):
            raise ValueError(text)
        _ = parts.port  # raises ValueError if it is none
        return text

    return Kind(parse, "a URL that begins with " + " or ".join(f"{scheme}:" for scheme in schemes))


def _printable(text: str) -> str:
    if not (text.isascii() and text.isprintable() and text.strip()):
        raise ValueError(text)
    return text


def _redis(text: str) -> str:
    parts = urlsplit(text)
    _ = parts.port
    is_socket = parts.scheme == "unix" and parts.path.startswith("/") and re.fullmatch(r"(db=\d+)?", parts.query)
    is_server = parts.scheme in ("redis", "rediss") and parts.hostname and re.fullmatch(r"(/\d*)?", parts.path)
    if (not is_socket and not (is_server and not parts.query)) or parts.fragment:
        raise ValueError(text)
    return text


def _file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError(text)
    return text


def _word(text: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,64}", text, re.ASCII):
        raise ValueError(text)
    return text


def _setting(default: Any, kind: Kind, about: str, *, secret: bool = False) -> Any:  # noqa: ANN401 - stands for any field
    metadata = {"kind": kind, "about": about, "secret": secret}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


YEAR = 366 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `apidex serve` runs with."""

    host: str = _setting(
        "127.0.0.1", Kind(_printable, "an address or a host name of this machine"), "Address to listen on."
    )
    port: int = _setting(8000, _integer(0, 65535), "Port to listen on; 0 takes a free one.")
    served_by: str = _setting(
        socket.gethostname, Kind(_printable, "printable ASCII"), "Name of this replica, in `X-Served-By` and the logs."
    )

    drain: timedelta = _setting(
        timedelta(seconds=10),
        _seconds(0, 3600),
        "How long a replica goes on accepting after SIGTERM; 0, or longer than connections are kept alive.",
    )
    keep_alive: timedelta = _setting(
        timedelta(seconds=5), _seconds(1, 3600), "How long a connection may be silent between two requests."
    )
    max_connection_age: timedelta = _setting(
        timedelta(seconds=10),
        _seconds(0, YEAR),
        "How old a connection grows, give or take half, before an answer closes it, so that load spreads; 0 for never.",
    )
    request_timeout: timedelta = _setting(
        timedelta(seconds=10), _seconds(0.1, 3600), "How long a request may take to come, head and body."
    )
    queue_delay_target: timedelta = _setting(
        timedelta(seconds=0.05),
        _seconds(0, 60),
        "How long requests may wait for their turn, ten times over, before others get a 503; 0 for as long as it takes.",
    )
    max_in_flight: int = _setting(
        1000, _integer(1, 10**6), "How many answers may be in the making, wide ones to slow clients too, before a 503."
    )

    upstream: str = _setting(
        DEFAULT_UPSTREAM, _url("https", "http", "file"), "Where the catalogue comes from.", secret=True
    )
    upstream_format: str = _setting(
        "auto",
        _one_of("auto", "publicapis", "markdown", "apis.guru"),
        "The upstream's format; `auto` tells it by content.",
    )
    upstream_timeout: timedelta = _setting(
        timedelta(seconds=30), _seconds(0.1, 600), "How long one fetch from the upstream may take, start to end."
    )
    upstream_limit: int = _setting(
        64 * 2**20, _integer(1024, 2**32, "BYTES"), "The largest answer that is taken from the upstream, decompressed."
    )
    min_entries_ratio: float = _setting(
        0.5,
        Kind(_share, "a number above 0 and up to 1"),
        "A catalogue that has less than this share of the entries of the one before is refused.",
    )

    redis_url: str = _setting(
        "",
        Kind(
            _redis, "redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH?db=DB, with USER:PASSWORD@ before HOST"
        ),
        "The Redis that the replicas share; without one, this replica runs alone on an embedded one.",
        secret=True,
    )
    redis_password: str = _setting(
        "", Kind(_printable, "printable ASCII"), "Its password, instead of one in the URL.", secret=True
    )
    redis_ca: str = _setting(
        "", Kind(_file, "the path of a file that exists"), "Certificates (PEM) that a `rediss:` server is trusted by."
    )
    redis_prefix: str = _setting(
        "apidex",
        Kind(_word, "1 to 64 letters, digits, - _ ."),
        "What all keys in Redis begin with; replicas that share it are one fleet.",
    )
    redis_timeout: timedelta = _setting(
        timedelta(seconds=0.5),
        _seconds(0.01, 60),
        "How long Redis may take for an answer before it counts as unreachable.",
    )
    poll: timedelta = _setting(
        timedelta(seconds=5), _seconds(0.05, 3600), "How often a replica looks whether Redis has another catalogue."
    )

    refresh: timedelta = _setting(
        timedelta(hours=1), _seconds(1, YEAR), "How old the catalogue may grow before it is fetched anew."
    )
    startup_timeout: timedelta = _setting(
        timedelta(seconds=1.5),
        _seconds(0, 600),
        "How long the start waits for the first catalogue before it takes the starter one.",
    )
    stale_while_revalidate: timedelta = _setting(
        timedelta(minutes=5),
        _seconds(0, YEAR),
        "How long caches may serve a stale answer while they ask for a new one.",
    )
    stale_if_error: timedelta = _setting(
        timedelta(days=7),
        _seconds(0, YEAR),
        "How long caches may serve a stale answer while nothing better is to be had.",
    )

    response_cache: int = _setting(
        32 * 2**20,
        _integer(0, 2**40, "BYTES"),
        "Memory for answers that were given before, with their compressed forms.",
    )
    log_format: str = _setting("auto", _one_of("auto", "json", "text"), "`auto` is text on a terminal, JSON elsewhere.")
    log_level: str = _setting(
        "info", _one_of("debug", "info", "warning", "error"), "The least severe event that is logged."
    )

    def __post_init__(self) -> None:
        if timedelta(0) < self.drain <= self.keep_alive:
            raise SettingsError(
                f"APIDEX_DRAIN_SECONDS: {self.drain.total_seconds():g} is not allowed; allowed is 0, or more than the "
                f"{self.keep_alive.total_seconds():g} of APIDEX_KEEP_ALIVE_SECONDS, or requests would be lost at the end"
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings from *environ*. Raises SettingsError for a renamed variable or a value that is not allowed."""
        for old, new in RENAMED.items():
            if environ.get(old):
                raise SettingsError(f"{old} was renamed to {new} in 0.2.0.")
        values = {item.name: _read(item, text) for item in fields(cls) if (text := _text_of(item, environ)) is not None}
        return cls(**values)


def variable(item: "Field[Any]") -> str:
    """The environment's name of a field of Settings."""
    kind: Kind = item.metadata["kind"]
    return PREFIX + "_".join(filter(None, (item.name, kind.unit))).upper()


def parse(name: str, text: str, source: str) -> Any:  # noqa: ANN401 - the value of whichever setting
    """The value that *text* gives the setting *name*. Raises SettingsError, which calls the setting *source*."""
    item = next(item for item in fields(Settings) if item.name == name)
    return _read(item, text, source)


def unknown(environ: Mapping[str, str]) -> dict[str, str | None]:
    """The variables that look like settings but are none, each with the setting that may have been meant."""
    known = [name for item in fields(Settings) for name in _variables(item)]
    strangers = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    words = {name.removeprefix(PREFIX): name for name in known}
    close = {name: difflib.get_close_matches(name.removeprefix(PREFIX), words, 1) for name in strangers}
    return {name: words[matches[0]] if matches else None for name, matches in close.items()}


def _variables(item: "Field[Any]") -> tuple[str, ...]:
    name = variable(item)
    return (name, f"{name}_FILE") if item.metadata["secret"] else (name,)


def _text_of(item: "Field[Any]", environ: Mapping[str, str]) -> str | None:
    given = [name for name in _variables(item) if environ.get(name, "") != ""]
    if len(given) > 1:
        raise SettingsError(f"{given[0]} and {given[1]} are both set; only one of them is allowed")
    if not given:
        return None
    value = environ[given[0]]
    return _content(given[0], value) if given[0].endswith("_FILE") else value


def _content(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise SettingsError(f"{name}={path!r} cannot be read: {reason}; allowed is the path of a text file") from None


def _read(item: "Field[Any]", text: str, source: str | None = None) -> Any:  # noqa: ANN401 - see parse
    kind: Kind = item.metadata["kind"]
    name = source or variable(item)
    try:
        return kind.parse(text)
    except ValueError:
        shown = (
            "the value given"
            if item.metadata["secret"] and ("@" in text or "?" in text or "PASSWORD" in name)
            else repr(text)
        )
        hint = (
            "; Kubernetes sets this name for a Service called apidex: set enableServiceLinks to false"
            * text.startswith("tcp://")
        )
        raise SettingsError(f"{name}: {shown} is not allowed; allowed is {kind.allowed}{hint}") from None

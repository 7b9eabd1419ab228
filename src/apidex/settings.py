"""Every setting, read once into one frozen object. Knows the syntax of values, but not their use.

A field of `Settings` is the whole declaration of a setting: its default, allowed values and description, the commands that use
it, and whether they have it as an option. Its variable is `APIDEX_`, its name and the unit of its values: `refresh` is
`APIDEX_REFRESH_SECONDS`.
"""

import re
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from apidex.catalogue.formats import FORMATS
from apidex.errors import SettingsError
from apidex.regular_file import open_regular
from apidex.urls import split

PREFIX = "APIDEX_"

_PEM = "-----BEGIN"
"""What a key in the place of its path begins with; errors do not show it."""

_SECRET_LIMIT = 2**16

DEFAULT_UPSTREAM = "https://raw.githubusercontent.com/public-apis/public-apis/master/README.md"

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


@dataclass(frozen=True, slots=True)
class Setting:
    """The declaration of one setting.

    *convert* makes its value from a text, or raises ValueError; *is_allowed* and the text *allowed* say which values are allowed.
    If only a few texts are, they are the *words*. *commands* use it, and have it as an option if *is_option*. A *secret* can be
    the content of a file.
    """

    name: str
    convert: Callable[[str], Any]
    is_allowed: Callable[[Any], object]
    allowed: str
    description: str
    unit: str = ""
    words: Sequence[str] = ()
    secret: bool = False
    commands: tuple[str, ...] = ("serve", "doctor")
    is_option: bool = False

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + "_".join(filter(None, (self.name, self.unit))).upper()

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variable, and the one that names a file, for a secret."""
        return (self.variable, f"{self.variable}_FILE") if self.secret else (self.variable,)

    @property
    def option(self) -> str:
        """The command line's option."""
        return "--" + self.variable.removeprefix(PREFIX).lower().replace("_", "-")

    def parse(self, text: str, source: str) -> Any:
        """Return the value that *text* stands for. Raises SettingsError, which names *source*."""
        try:
            value = self.convert(text)
            if self.is_allowed(value):
                return value
        except (ValueError, OverflowError, OSError):  # the last for a path that no file can have
            pass
        has_password = self.secret and ("@" in text or "?" in text or "password" in self.name)
        shown = "the value given" if has_password or _PEM in text else repr(text)
        is_link = text.startswith("tcp://")
        hint = "; Kubernetes sets this name for a Service called apidex: set enableServiceLinks to false" * is_link
        raise SettingsError(f"{source}: {shown} is not allowed; allowed is {self.allowed}{hint}")

    def read(self, environ: Mapping[str, str], options: Mapping[str, str]) -> dict[str, Any]:
        """Return its value by its name; nothing if it is not given. Raises SettingsError."""
        for old in [old for old, new in RENAMED.items() if new == self.variable and environ.get(old)]:
            raise SettingsError(f"{old} was renamed to {self.variable} in 0.2.0.")
        if self.name in options:
            return {self.name: self.parse(options[self.name], self.option)}
        text = self.text(environ)
        source = self.variable if environ.get(self.variable) else f"the content of {self.variable}_FILE"
        return {} if text is None else {self.name: self.parse(text, source)}

    def text(self, environ: Mapping[str, str]) -> str | None:
        """Return what *environ*, or the file that it names, says. Raises SettingsError."""
        given = [name for name in self.variables if environ.get(name)]
        if len(given) > 1:
            raise SettingsError(f"{given[0]} and {given[1]} are both set; only one of them is allowed")
        if not given:
            return None
        value = environ[given[0]]
        return value if given[0] == self.variable else _content(given[0], value)


def _content(name: str, path: str) -> str:
    """The text in the file of a secret. Raises SettingsError for what is not one, such as a device that never ends."""
    try:
        with open_regular(Path(path)) as file:
            content = file.read(_SECRET_LIMIT + 1)
        if len(content) <= _SECRET_LIMIT:
            return content.decode("utf-8-sig").strip()  # editors on Windows write a byte order mark
        reason = "it is too large"
    except (OSError, UnicodeDecodeError) as error:
        reason = str(error.strerror) if isinstance(error, OSError) else "not UTF-8 text"
    shown = "the value given" if _PEM in path else repr(path)
    allowed = f"the path of a text file of at most {_SECRET_LIMIT:,} bytes"
    raise SettingsError(f"{name}={shown} cannot be read: {reason}; allowed is {allowed}")


# --- the fields of a setting, by type of value


def _field(
    default: Any,
    convert: Callable[[str], Any],
    is_allowed: Callable[[Any], object],
    allowed: str,
    description: str,
    **more: Any,
) -> Any:
    metadata = {"convert": convert, "is_allowed": is_allowed, "allowed": allowed, "description": description, **more}
    return field(default_factory=default if callable(default) else lambda: default, metadata=metadata)


def _text(default: str | Callable[[], str], *declaration: Any, **more: Any) -> Any:
    return _field(default, str, *declaration, **more)


def _one_of(default: str, words: Sequence[str], description: str, **more: Any) -> Any:
    return _text(default, words.__contains__, "one of " + ", ".join(words), description, words=words, **more)


def _integer(default: int | None, low: int, high: int, description: str, **more: Any) -> Any:
    def convert(text: str) -> int:
        return int(text if re.fullmatch(r"-?\d+", text, re.ASCII) else "")

    allowed = f"a whole number from {low} to {high}"
    return _field(default, convert, lambda value: low <= value <= high, allowed, description, **more)


def _seconds(default: float, low: float, high: float, description: str, **more: Any) -> Any:
    def convert(text: str) -> timedelta:
        return timedelta(seconds=float(text))

    def is_allowed(value: timedelta) -> bool:
        return low <= value.total_seconds() <= high

    allowed = f"a number of seconds from {low:.10g} to {high:.10g}"
    return _field(timedelta(seconds=default), convert, is_allowed, allowed, description, unit="SECONDS", **more)


def _ratio(default: float, description: str, **more: Any) -> Any:
    return _field(default, float, lambda value: 0 < value <= 1, "a number above 0 and up to 1", description, **more)


def _growth(default: float, description: str, **more: Any) -> Any:
    return _field(default, float, lambda value: 1 <= value <= 1000, "a number from 1 to 1000", description, **more)


def _is_printable(text: str) -> object:
    return text.isascii() and text.isprintable() and text.strip()


def _with_lower_scheme(text: str) -> str:
    """The URL *text* with its scheme in lower case, as RFC 3986, section 6.2.2.1, normalises it: others compare it."""
    scheme, colon, rest = text.partition(":")
    return scheme.lower() + colon + rest


def _is_url(text: str) -> object:
    parts = urlsplit(text)
    _ = parts.port  # raises ValueError for an invalid one
    is_file = parts.scheme == "file" and parts.path.strip("/")
    is_short = text.isprintable() and len(text.encode()) <= 8192  # Redis does not accept more
    return is_short and (is_file or (parts.scheme in ("https", "http") and parts.hostname))


_SENTINEL_URL = re.compile(
    r"rediss?\+sentinel://([^@/?#]*@)?HOST(,HOST)*/[\w.-]+(/\d*)?".replace(
        "HOST", r"([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?"
    ),
    re.ASCII,
)


def _is_redis_url(text: str) -> object:
    parts = split(text)
    if parts.scheme.endswith("+sentinel"):
        return bool(_SENTINEL_URL.fullmatch(text))
    _ = parts.port  # raises ValueError for an invalid one
    is_socket = parts.scheme == "unix" and parts.path.startswith("/") and re.fullmatch(r"(db=\d+)?", parts.query)
    is_server = parts.scheme in ("redis", "rediss") and parts.hostname and re.fullmatch(r"(/\d*)?", parts.path)
    return not parts.fragment and (is_socket or (is_server and not parts.query))


def _host_name() -> str:
    """The name of this machine, with ? for characters that a header may not have; the kernel allows any byte."""
    return re.sub("[^ -~]", "?", socket.gethostname())


def _user_cache() -> Path | None:
    """The user's cache directory, by the platform's convention; None if there is none."""
    from platformdirs import user_cache_path  # not imported if the setting is given

    try:
        path = user_cache_path("apidex", appauthor=False)
    except RuntimeError:  # without HOME, for a user that this machine does not know, as in a container
        return None
    return path if path.is_absolute() else None


_PRINTABLE = (_is_printable, "printable ASCII")
_HOST = (_is_printable, "an address or a host name of this machine")
_URL = (_is_url, "a URL that begins with https: or http: or file:, such as file:///srv/list.md")
_REDIS_URL = (
    _is_redis_url,
    "redis://HOST:PORT/DB, rediss://HOST:PORT/DB, unix:///PATH?db=DB or redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB "
    "(rediss+sentinel for TLS), with USER:PASSWORD@ before HOST",
)
_FILE = (lambda text: Path(text).is_file(), "the path of a file that exists")
_STATE_DIR = (lambda path: path is None or path.is_absolute(), "an absolute path, or none")
_HOSTS = (
    re.compile(r"\*|[\w.:-]+(, ?[\w.:-]+)*", re.ASCII).fullmatch,
    "host names or addresses with commas between them, or * for any",
)
_PREFIX = (re.compile(r"[\w.-]{1,64}", re.ASCII).fullmatch, "1 to 64 letters, digits, - _ .")

_SERVER = ("serve", "doctor")
_REPLICA = (*_SERVER, "mcp")
_FETCHING = (*_REPLICA, "catalogue")
_SEARCHING = (*_REPLICA, "search", "get", "open", "random", "categories", "changes")
_ALL_COMMANDS = (*_SEARCHING, "catalogue")

_YEAR = 366 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a replica runs with."""

    host: str = _text("127.0.0.1", *_HOST, "Address to listen on.", is_option=True)
    port: int = _integer(8000, 0, 65535, "Port to listen on; 0 takes a free one.", is_option=True)
    admin_port: int | None = _integer(
        None, 0, 65535, "Port for probes and metrics, which the other one does not answer then; 0 takes a free one."
    )
    served_by: str = _text(
        _host_name, *_PRINTABLE, "Name of this replica, in `X-Served-By` and the logs.", commands=_REPLICA
    )

    drain: timedelta = _seconds(
        10,
        0,
        3600,
        "How long a replica accepts connections after SIGTERM; 0, or longer than connections are kept alive.",
    )
    keep_alive: timedelta = _seconds(5, 1, 3600, "How long a connection may be silent between two requests.")
    max_connection_age: timedelta = _seconds(
        10, 0, _YEAR, "Age of a connection, give or take half, at which it is closed, to spread load; 0 for no limit."
    )
    request_timeout: timedelta = _seconds(10, 0.1, 3600, "How long a request may take to arrive, head and body.")
    queue_delay_target: timedelta = _seconds(
        0.05,
        0,
        60,
        "Queueing delay; if it is exceeded for ten times as long, other requests get a 503. 0 for no limit.",
    )
    send_timeout: timedelta = _seconds(
        20, 1, 3600, "How long a client may read nothing of a response, or less than 1 KiB a second on average."
    )
    max_in_flight: int = _integer(1000, 1, 10**6, "Requests being answered above which others get a 503.")
    max_connections: int = _integer(8192, 16, 10**6, "Connections above which one is closed for each new one.")

    upstream: str = _field(
        DEFAULT_UPSTREAM,
        _with_lower_scheme,
        *_URL,
        "Where the catalogue comes from.",
        secret=True,
        commands=_ALL_COMMANDS,
        is_option=True,
    )
    upstream_format: str = _one_of(
        "auto",
        ("auto", *FORMATS),
        "The upstream's format; `auto` tells it by content.",
        commands=_ALL_COMMANDS,
        is_option=True,
    )
    upstream_timeout: timedelta = _seconds(
        30, 0.1, 600, "How long one fetch from the upstream may take, start to end.", commands=_FETCHING
    )
    upstream_limit: int = _integer(
        64 * 2**20,
        1024,
        2**32,
        "The largest answer accepted from the upstream, or from the service at `--url`, decompressed.",
        unit="BYTES",
        commands=_ALL_COMMANDS,
    )
    upstream_redirect_hosts: str = _text(
        "", *_HOSTS, "Hosts that the upstream may redirect to, besides its own.", commands=_FETCHING
    )
    min_entries_ratio: float = _ratio(
        0.5, "A catalogue with fewer entries than this ratio of the previous one's is refused.", commands=_REPLICA
    )
    max_entries_ratio: float = _growth(
        1.5,
        "A catalogue with more entries than this ratio of the previous one's, and more than 20 more, is refused.",
        commands=_REPLICA,
    )
    max_rejected_ratio: float = _ratio(
        0.1,
        "A catalogue is refused if more than this ratio of its rows, and more than 20, are newly rejected.",
        commands=_REPLICA,
    )
    max_value_ratio: float = _ratio(
        0.9,
        "A catalogue is refused if a field changes to one value in more than this ratio of its entries; 1 for no limit.",
        commands=_REPLICA,
    )
    state_dir: Path | None = _field(
        _user_cache,
        lambda text: None if text == "none" else Path(text),
        *_STATE_DIR,
        "Directory for the last good copy of the catalogue, served after a restart until Redis or the upstream answers.",
        commands=_SEARCHING,
        is_option=True,
    )

    redis_url: str = _field(
        "",
        _with_lower_scheme,
        *_REDIS_URL,
        "The Redis that the replicas share; without one, this replica runs alone on an embedded one.",
        secret=True,
        is_option=True,
    )
    redis_password: str = _text("", *_PRINTABLE, "Its password, instead of one in the URL.", secret=True)
    redis_sentinel_password: str = _text(
        "", *_PRINTABLE, "The password of the sentinels, if they have one.", secret=True
    )
    redis_ca: str = _text("", *_FILE, "Certificates (PEM) that a `rediss:` server is trusted by.")
    redis_certificate: str = _text("", *_FILE, "Certificate (PEM) that a replica shows to a `rediss:` server.")
    redis_key: str = _text("", *_FILE, "The key (PEM) of that certificate, if its file does not contain it.")
    redis_prefix: str = _text(
        "apidex", *_PREFIX, "What all keys in Redis begin with; replicas that share it are one fleet."
    )
    redis_timeout: timedelta = _seconds(
        0.5, 0.01, 60, "How long Redis may take for an answer before it counts as unreachable."
    )
    poll: timedelta = _seconds(
        5,
        0.05,
        3600,
        "How often a replica looks whether Redis has another catalogue.",
        commands=_REPLICA,
        is_option=True,
    )

    refresh: timedelta = _seconds(
        3600,
        1,
        _YEAR,
        "How old the catalogue may become before it is fetched again.",
        commands=_SEARCHING,
        is_option=True,
    )
    startup_timeout: timedelta = _seconds(
        1.5, 0, 600, "How long the start waits for Redis or the upstream before it takes the starter catalogue."
    )
    stale_while_revalidate: timedelta = _seconds(
        300, 0, _YEAR, "How long caches may serve a stale response while they ask for a new one."
    )
    stale_if_error: timedelta = _seconds(
        7 * 86_400, 0, _YEAR, "How long caches may serve a stale response while nothing better is available."
    )

    response_cache: int = _integer(
        32 * 2**20, 0, 2**40, "Memory for cached responses, with their compressed forms.", unit="BYTES"
    )
    log_format: str = _one_of(
        "auto",
        ("auto", "json", "text"),
        "`auto` is text on a terminal, JSON elsewhere.",
        commands=_REPLICA,
        is_option=True,
    )
    access_log: str = _one_of(
        "off", ("off", "on"), "Whether each request is logged, as `request.ended` at the level info."
    )
    log_level: str = _one_of(
        "info", ("debug", "info", "warning", "error"), "The least severe event that is logged.", commands=_REPLICA
    )

    @property
    def format_name(self) -> str | None:
        """The upstream's format; None where it is recognised by content."""
        return None if self.upstream_format == "auto" else self.upstream_format

    @property
    def ports(self) -> dict[str, int]:
        """The ports to listen on, by their variables: that of searches first."""
        admin = {} if self.admin_port is None else {"APIDEX_ADMIN_PORT": self.admin_port}
        return {"APIDEX_PORT": self.port, **admin}

    @classmethod
    def from_env(cls, environ: Mapping[str, str], options: Mapping[str, str] | None = None) -> Self:
        """As `read`. Raises the first SettingsError."""
        settings, errors = cls.read(environ, options or {})
        for error in errors.values():
            raise error
        return settings

    @classmethod
    def read(
        cls, environ: Mapping[str, str], options: Mapping[str, str], command: str = ""
    ) -> tuple[Self, dict[str, SettingsError]]:
        """Read the settings from *options*, by name, and from *environ* if an option is not given.

        A setting with a value that is not allowed, or with its old name, has an error and its default. One that contradicts
        another has an error and its value. With a *command*, only the settings that it uses are read.
        """
        values: dict[str, Any] = {}
        errors: dict[str, SettingsError] = {}
        for setting in SETTINGS:
            try:
                if not command or command in setting.commands:
                    values |= setting.read(environ, options)
            except SettingsError as error:
                errors[setting.name] = error
        settings = cls(**values)
        for name, other, text in _contradictions(settings, values):
            if not {name, other} & errors.keys():
                errors[name] = SettingsError(_with_options(text, options))
        return settings, errors


SETTINGS = tuple(Setting(item.name, **item.metadata) for item in fields(Settings))
UPSTREAM = next(setting for setting in SETTINGS if setting.name == "upstream")


def _contradictions(settings: Settings, given: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """The names of two settings that contradict each other, of which the first was *given*, and what is allowed for it."""
    drain, keep_alive = settings.drain.total_seconds(), settings.keep_alive.total_seconds()
    if 0 < drain <= keep_alive and "drain" in given:
        allowed = (
            f"0, or more than the {keep_alive:g} of APIDEX_KEEP_ALIVE_SECONDS, or requests would be lost at the end"
        )
        yield "drain", "keep_alive", f"APIDEX_DRAIN_SECONDS: {drain:g} is not allowed; allowed is {allowed}"
    elif 0 < drain <= keep_alive:
        allowed = f"less than the {drain:g} of APIDEX_DRAIN_SECONDS, or requests would be lost at the end"
        yield "keep_alive", "drain", f"APIDEX_KEEP_ALIVE_SECONDS: {keep_alive:g} is not allowed; allowed is {allowed}"
    if settings.admin_port and settings.admin_port == settings.port:
        allowed = "another port than that of APIDEX_PORT, or 0"
        yield "admin_port", "port", f"APIDEX_ADMIN_PORT: {settings.admin_port} is not allowed; allowed is {allowed}"


def given_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings among the *options* of a command line."""
    return {item.name: text for item in SETTINGS if (text := options.get(item.variable)) is not None}


def as_given(text: str, options: Mapping[str, Any]) -> str:
    """Return *text* with the option instead of the variable, for each setting that is among the *options* of a command line."""
    return _with_options(text, given_options(options))


def _with_options(text: str, names: Collection[str]) -> str:
    for setting in SETTINGS:
        if setting.name in names:
            text = re.sub(rf"\b{setting.variable}\b", setting.option, text)
    return text


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Return the variables that look like settings but are not, each with the setting of the most similar name."""
    import difflib  # unknown names are rare

    known = {name.removeprefix(PREFIX): name for setting in SETTINGS for name in setting.variables}
    expected = {*known.values(), *RENAMED}  # a renamed one is an error, which says its new name
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in expected)
    similar = {name: difflib.get_close_matches(name.removeprefix(PREFIX), known, 1) for name in unknown}
    return {name: known[matches[0]] if matches else None for name, matches in similar.items()}

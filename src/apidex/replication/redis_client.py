"""A Redis client for each kind of URL: a server, TLS, a unix socket, the master that Sentinel names, and an embedded Redis.

Nothing is sent before the first command, so Redis may be down.
"""

import functools
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from apidex.errors import SettingsError
from apidex.urls import split, without_password

if TYPE_CHECKING:
    import ssl

_SENTINEL_PORT = 26379

EMBEDDED = "embedded"
"""The URL that is shown for an embedded Redis."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The address of Redis, and the credentials of a client. An empty *url* stands for an embedded Redis.

    *password* takes precedence over one in the URL; *sentinel_password* is that of the sentinels. For TLS, *ca* is the path of
    the trusted certificates, *certificate* and *key* are the paths of the client's own.
    """

    url: str = ""
    password: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)
    ca: str = ""
    certificate: str = ""
    key: str = ""

    @property
    def shown(self) -> str:
        """The URL without user and password."""
        return without_password(self.url) if self.url else EMBEDDED


def open_client(address: RedisAddress, timeout: timedelta, stack: AsyncExitStack) -> "Redis":
    """Return a client that *stack* closes. Raises SettingsError for a URL or certificates that cannot be used."""
    if not address.url:
        from fakeredis import FakeAsyncRedis  # a replica with a Redis server does not need it

        client: Redis = FakeAsyncRedis()
    else:
        try:
            connect = _connect_by_sentinel if "+sentinel:" in address.url else _connect
            client = connect(address, _options(timeout), stack)
            if address.url.startswith("rediss"):
                _use_tls(client, address)
        except (ValueError, TypeError) as error:
            raise SettingsError(f"APIDEX_REDIS_URL is not allowed: {error}") from None
    stack.push_async_callback(client.aclose)
    return client


def _options(timeout: timedelta) -> dict[str, Any]:
    """A client without retries, which would take up to a minute. `RedisStore` limits how long it waits for each answer."""
    waiting = {
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": timeout.total_seconds(),
    }
    return waiting | {"protocol": 2, "client_name": "apidex"}


def _connect(address: RedisAddress, options: dict[str, Any], _stack: AsyncExitStack) -> "Redis":
    client = Redis.from_url(address.url, **options)
    if address.password:  # from_url would prefer the password in the URL
        client.connection_pool.connection_kwargs["password"] = address.password
    return client


def _connect_by_sentinel(address: RedisAddress, options: dict[str, Any], stack: AsyncExitStack) -> "Redis":
    """A client of the current master, which the sentinels name at each new connection."""
    from redis.asyncio.sentinel import Sentinel  # few replicas need it

    parts = split(address.url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = (unquote(word) for word in login.partition(":"))
    name, _, database = parts.path.strip("/").partition("/")
    servers = [urlsplit(f"//{host}") for host in hosts.split(",")]
    sentinels = [(server.hostname or "", server.port or _SENTINEL_PORT) for server in servers]
    options |= {"ssl": parts.scheme.startswith("rediss")}
    # together the sentinels may take as long as one answer, so that one that hangs leaves time for the others
    shorter = options["socket_connect_timeout"] / (len(sentinels) + 1)
    asking = options | {"socket_timeout": shorter, "socket_connect_timeout": shorter}
    asking["password"] = address.sentinel_password or None
    sentinel = Sentinel(sentinels, sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call]
    stack.push_async_callback(sentinel.aclose)
    login_options: dict[str, Any] = {"username": user or None, "password": address.password or password or None}
    client: Redis = sentinel.master_for(name, db=int(database or 0), **login_options)
    return client


def _use_tls(client: "Redis", address: RedisAddress) -> None:
    """Have each new connection read the certificates again: they are renewed while a replica runs.

    Raises SettingsError for files that cannot be used.
    """
    import ssl  # a replica without TLS does not need it

    context = ssl.create_default_context()  # once: reading the system's certificates blocks the event loop for 20 ms
    _load_certificates(context, address)
    manager: Any = getattr(client.connection_pool, "sentinel_manager", None)
    for each in (client, *(manager.sentinels if manager else ())):
        pool: Any = each.connection_pool

        class Connection(pool.connection_class):  # type: ignore[misc]
            async def connect(self) -> None:
                if not self.is_connected:
                    _load_certificates(context, address)
                    self.ssl_context.context = context
                await super().connect()

        pool.connection_class = Connection


def _load_certificates(context: "ssl.SSLContext", address: RedisAddress) -> None:
    """Raises SettingsError for files that cannot be used."""
    key = address.key or None
    if key and not address.certificate:
        raise SettingsError("APIDEX_REDIS_KEY is set, but APIDEX_REDIS_CERTIFICATE is not; allowed are both, or none")
    # OpenSSL would ask for the passphrase of a key on the terminal
    load_certificate = functools.partial(context.load_cert_chain, keyfile=key, password="")
    certificate_allowed = "a certificate (PEM) with its key, which has no passphrase"
    for variable, path, load, allowed in (
        ("APIDEX_REDIS_CA", address.ca, context.load_verify_locations, "a file of certificates (PEM)"),
        ("APIDEX_REDIS_CERTIFICATE", address.certificate, load_certificate, certificate_allowed),
    ):
        try:
            if path:
                load(path)
        except OSError as error:  # ssl.SSLError is one
            text = f"{variable}={path!r} cannot be used: {error.strerror or error}; allowed is {allowed}"
            raise SettingsError(text) from None

"""The fleet's one catalogue, in Redis. Each method is one request, in one round trip, and raises StoreError.

Times are Redis's own, so that no replica's calendar matters: a reader learns what Redis's clock says now, and compares moments
with that. Nothing here decides anything. The fence, which protects the stored catalogue, is in `scripts`, where Redis itself
compares and writes in one step.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from apidex.catalogue.codec import CODEC_VERSION
from apidex.errors import SettingsError, StoreError, StoreReason
from apidex.indexing.shared_buffer import SharedBuffer
from apidex.replication import scripts
from apidex.replication.metadata import (
    OVERRIDE_FOR,
    StoredCatalogue,
    StoredState,
    decode_state,
    encode_catalogue,
    milliseconds,
)
from apidex.replication.validators import Validators
from apidex.urls import without_password

T = TypeVar("T")

_PAYLOAD_PATIENCE = 10
"""A payload may take this many times as long as everything else."""

_LONGEST_OVERRIDE = 80
"""The last byte that is read of an operator's override."""

_WHOLE, _PART = 2**20, 2**18
"""Payloads of more bytes than the first are read in parts of the second."""


Payload = bytes | SharedBuffer
"""The bytes that stand for a catalogue; a long one is in memory that the subprocess which reads it can map."""


class RedisStore:
    """One catalogue for all replicas, in Redis. Every method raises StoreError, and waits no longer than its *timeout*.

    *url* is where Redis is, without user and password. *prefix* begins the keys of one fleet. No payload over *max_bytes* is
    loaded; one may take longer than other answers.
    """

    def __init__(self, client: "Redis", url: str, *, prefix: str, timeout: timedelta, max_bytes: int) -> None:
        self.url = url
        self._client, self._timeout, self._max_bytes = client, timeout.total_seconds(), max_bytes
        # the braces keep all keys of a fleet in one slot of a cluster
        names = ("head", "payload", "head-before", "payload-before", "override", "lease")
        *self._keys, self._lease = (f"{{{prefix}:{CODEC_VERSION}}}:{name}" for name in names)
        self._hash, self._payload, _, _, self._override = self._keys

    async def read(self) -> StoredState:
        """Return what is stored, without the payload."""
        return await self._read_state(self._hash)

    async def _read_state(self, head: str) -> StoredState:
        pipeline = self._client.pipeline(transaction=False)
        pipeline.time()
        pipeline.hgetall(head)
        pipeline.getrange(self._override, 0, _LONGEST_OVERRIDE)
        return _state(*await self._execute(pipeline.execute(raise_on_error=False)))

    async def load_before(self) -> tuple[StoredState, Payload | None]:
        """As `load`, but for the catalogue that was stored before this one."""
        return await self._load(*self._keys[2:4])

    async def load(self) -> tuple[StoredState, Payload | None]:
        """Return what is stored with its payload, both of one moment; None for one that does not exist, or has another type."""
        return await self._load(self._hash, self._payload)

    async def _load(self, head: str, name: str) -> tuple[StoredState, Payload | None]:
        length = await self._execute(self._client.strlen(name), missing=("type",))
        if length is not None and length > self._max_bytes:
            text = f"the payload in Redis has {length} bytes; at most {self._max_bytes} are loaded"
            raise StoreError("too_large", text)
        if length is not None and length > _WHOLE:
            return await self._load_in_parts(head, name, length)
        pipeline = self._client.pipeline(transaction=True)
        pipeline.time()
        pipeline.hgetall(head)
        pipeline.get(name)
        time, fields, payload = await self._execute(pipeline.execute(raise_on_error=False), patience=_PAYLOAD_PATIENCE)
        return _state(time, fields), payload if isinstance(payload, bytes) else None

    async def _load_in_parts(self, head: str, name: str, length: int) -> tuple[StoredState, Payload | None]:
        """As `load`, but so that a large payload blocks neither Redis nor this event loop."""
        before = await self._read_state(head)
        parts = SharedBuffer()
        for start in range(0, length, _PART):
            part = self._client.getrange(name, start, start + _PART - 1)
            parts.write(await self._execute(part, patience=_PAYLOAD_PATIENCE))
        state = await self._read_state(head)
        if state.version == before.version:
            return state, parts
        return await self._load(head, name)  # another replica has published in between, which is rare

    async def publish(self, catalogue: StoredCatalogue, payload: bytes, expected: int | None, lead: timedelta) -> bool:
        """Store a catalogue, to be activated in *lead*, if the stored stamp is still *expected*; return whether it was.

        Refused too when the upstream validated the stored catalogue later than this one. Clears the fleet's failures.
        """
        head = ["" if expected is None else expected, *encode_catalogue(catalogue), milliseconds(lead.total_seconds())]
        arguments = [*head, payload]
        return await self._run(scripts.PUBLISH, arguments, patience=_PAYLOAD_PATIENCE)

    async def confirm(self, stamp: int, validated_at: float, validators: Validators) -> bool:
        """Record that the upstream validated the catalogue with this *stamp* again; return whether it is still stored."""
        arguments = [stamp, milliseconds(validated_at), validators.etag, validators.last_modified]
        return await self._run(scripts.CONFIRM, arguments)

    async def roll_back(self, lead: timedelta) -> bool:
        """Store the catalogue before again, to be activated in *lead*, and reject this one; return whether there was one."""
        spans = [milliseconds(span.total_seconds()) for span in (lead, OVERRIDE_FOR)]
        return await self._run(scripts.ROLLBACK, spans)

    async def accept(self) -> None:
        """Let replicas publish what a guard would refuse, and end the fleet's back-off."""
        await self._run(scripts.ACCEPT, [milliseconds(OVERRIDE_FOR.total_seconds())])

    async def back_off(self, failures: int, wait: timedelta) -> None:
        """Keep the fleet from asking the upstream for as long as *wait*, after so many consecutive failures."""
        await self._run(scripts.BACK_OFF, [failures, milliseconds(wait.total_seconds())])

    async def drop(self, stamp: int) -> bool:
        """Remove the catalogue with this *stamp*; return whether it was still stored."""
        return await self._run(scripts.DROP, [stamp])

    async def reset(self) -> None:
        """Remove everything under the keys of the catalogue."""
        await self._execute(self._client.delete(self._hash, self._payload))

    async def lease(self, token: str, ttl: timedelta) -> bool:
        """Take the lease for *ttl*, if it is free; return whether *token* holds it now."""
        return await self._run(scripts.LEASE, [token, milliseconds(ttl.total_seconds())], keys=[self._lease])

    async def renew(self, token: str, ttl: timedelta) -> bool:
        """Prolong the lease that *token* holds; return whether it still does."""
        return await self._run(scripts.RENEW, [token, milliseconds(ttl.total_seconds())], keys=[self._lease])

    async def release(self, token: str) -> None:
        """Give the lease back, if *token* holds it."""
        await self._run(scripts.RELEASE, [token], keys=[self._lease])

    async def _run(
        self, script: str, arguments: Iterable[Any], *, keys: list[str] | None = None, patience: int = 1
    ) -> bool:
        """Run one of `scripts`, by default on the keys of the catalogue; return whether it did what it is for."""
        registered = self._client.register_script(script)
        running = registered(keys=keys or self._keys, args=list(arguments))
        return bool(await self._execute(running, patience=patience))

    async def _execute(self, command: Awaitable[T], *, patience: int = 1, missing: tuple[StoreReason, ...] = ()) -> Any:  # noqa: ANN401
        """Return Redis's answer; None for an error whose kind counts as *missing*. Raises StoreError, also after the time-out."""
        try:
            async with asyncio.timeout(self._timeout * patience):
                return await command
        except Exception as error:  # whatever a client library comes upon, Redis is of no use just now
            cause = _classify(error)
            if cause.reason in missing:
                return None
            # an answer that comes too late must not be taken for the next one's
            await self._client.connection_pool.disconnect()
            raise cause from None


@asynccontextmanager
async def open_store(
    url: str, *, password: str, ca: str, prefix: str, timeout: timedelta, max_bytes: int
) -> AsyncIterator[RedisStore]:
    """Open the Redis at *url* (`redis:`, `rediss:`, `unix:`), or an embedded one where *url* is empty.

    *password* takes precedence over one in the URL; *ca* is the path of the certificates that `rediss:` trusts. Nothing is sent
    yet, so Redis may be down. Raises SettingsError for a URL or certificates that cannot be used.
    """
    client = _connect(url, password, ca, timeout) if url else _embedded()
    try:
        yield RedisStore(client, _shown(url), prefix=prefix, timeout=timeout, max_bytes=max_bytes)
    finally:
        await client.aclose()


def _connect(url: str, password: str, ca: str, timeout: timedelta) -> "Redis":
    """A client that gives up at once: redis-py's own retries and time-outs add up to a minute."""
    seconds = timeout.total_seconds()
    options: dict[str, Any] = {"ssl_ca_certs": ca} if ca and url.startswith("rediss:") else {}
    try:
        client = Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            protocol=2,
            client_name="apidex",
            **options,
        )
    except (ValueError, TypeError) as error:
        raise SettingsError(f"APIDEX_REDIS_URL is not allowed: {error}") from None
    if password:  # from_url would let the one in the URL win
        client.connection_pool.connection_kwargs["password"] = password
    return client


def _embedded() -> "Redis":
    from fakeredis import FakeAsyncRedis  # a replica with a Redis server does not need it

    client: Redis = FakeAsyncRedis()
    return client


def _shown(url: str) -> str:
    return without_password(url) if url else "embedded"


def _state(time: Any, fields: Any, override: Any = b"") -> StoredState:  # noqa: ANN401 - whatever Redis said
    """Raises StoreError when Redis did not tell the time; a key of another type than a hash is malformed."""
    if isinstance(time, exceptions.RedisError):
        raise _classify(time)
    now = time[0] + time[1] / 1_000_000
    if isinstance(fields, exceptions.RedisError):
        if _classify(fields).reason != "type":
            raise _classify(fields)
        return StoredState(now, None, malformed=True)
    text = override.decode("ascii", "replace") if isinstance(override, bytes) else ""
    return replace(decode_state(now, fields), override=text)


_KINDS: list[tuple[tuple[type[Exception], ...], StoreReason]] = [
    ((exceptions.TimeoutError, TimeoutError), "timeout"),
    ((exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError), "auth"),
    ((exceptions.OutOfMemoryError,), "oom"),
    ((exceptions.BusyLoadingError,), "loading"),
    ((exceptions.ReadOnlyError,), "readonly"),
    ((exceptions.ConnectionError, OSError), "connect"),
]
_WORDS: list[tuple[str, StoreReason]] = [
    *(("WRONGTYPE", "type"), ("OOM", "oom"), ("NOAUTH", "auth"), ("NOPERM", "auth"), ("READONLY", "readonly")),
]


def _classify(error: Exception) -> StoreError:
    found = [kind for types, kind in _KINDS if isinstance(error, types)]
    found += [kind for word, kind in _WORDS if word in str(error)]
    return StoreError(found[0] if found else "response", f"Redis: {str(error).strip() or type(error).__name__}")

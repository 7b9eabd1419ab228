"""The fleet's one copy, in Redis: each method is one thing to ask of it, in one round trip, and each raises StoreError.

Times are Redis's own, so that no replica's calendar matters: a reader learns what Redis's clock says now, and moments are
compared with that. Nothing here decides anything; what protects the copy (the fence) is in the scripts, where Redis itself
compares and writes in one step.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from apidex.catalogue.codec import CODEC_VERSION
from apidex.errors import SettingsError, StoreError, StoreReason
from apidex.indexing.shared_buffer import SharedBuffer
from apidex.replication.validators import Validators
from apidex.urls import without_password

T = TypeVar("T")

_PAYLOAD_PATIENCE = 10
"""A payload may take this many times as long as all else."""

_WHOLE, _PART = 2**20, 2**18
"""Payloads of more bytes than the first are read in parts of the second."""

_LONGEST_BACK_OFF = 86_400.0

_DIGITS = 16
"""No number that a replica writes has more."""


Payload = bytes | SharedBuffer
"""What stands for a catalogue: a long one in memory that the process which prepares it can be shown."""


@dataclass(frozen=True, slots=True)
class StoredCatalogue:
    """What the metadata hash says of the stored catalogue.

    *validated_at*, in seconds of Redis's clock, is when the upstream last validated it. *size_checked* says that the replica that
    fetched it knew how many entries there were before.
    """

    stamp: int
    digest: str
    entries: int
    size_checked: bool
    validated_at: float
    source: str
    validators: Validators

    @property
    def version(self) -> str:
        """As `Snapshot.version`."""
        return f"{self.stamp}-{self.digest[:12]}"


@dataclass(frozen=True, slots=True)
class StoredState:
    """All that a replica learns at a poll.

    *now* is Redis's clock, in seconds. *failures* in a row of the whole fleet at the upstream, which is to be left alone until
    *retry_at*, a day at most. *malformed*: there is something, but nothing that a replica would have written.
    """

    now: float
    catalogue: StoredCatalogue | None
    failures: int = 0
    retry_at: float = 0.0
    malformed: bool = False


class CatalogueStore(Protocol):
    """One copy for all replicas. Every method raises StoreError, and waits no longer than its time-out."""

    @property
    def url(self) -> str:
        """Where it is, without user and password."""
        ...

    async def read(self) -> StoredState:
        """What there is, without the payload."""
        ...

    async def load(self) -> tuple[StoredState, Payload | None]:
        """What there is with the payload that belongs to it, both of one moment; None for a payload that is not there."""
        ...

    async def publish(self, catalogue: StoredCatalogue, payload: bytes, expected: int | None) -> bool:
        """Put a copy there, if the stamp stored is still *expected*; whether it was.

        Refused too when the upstream vouched for the stored copy later than for this one. Clears the fleet's failures.
        """
        ...

    async def confirm(self, stamp: int, validated_at: float, validators: Validators) -> bool:
        """Note that the upstream vouched for the copy with this *stamp* again; whether it is still the one there."""
        ...

    async def back_off(self, failures: int, wait: timedelta) -> None:
        """Let nobody ask the upstream for as long as *wait*, after so many failures in a row."""
        ...

    async def drop(self, stamp: int) -> bool:
        """Remove the copy with this *stamp*, which cannot be read; whether it was still there."""
        ...

    async def reset(self) -> None:
        """Remove whatever stands where the copy should be."""
        ...

    async def lease(self, token: str, ttl: timedelta) -> bool:
        """Take the lease for *ttl*, if nobody has it; whether *token* holds it now."""
        ...

    async def renew(self, token: str, ttl: timedelta) -> bool:
        """Prolong the lease that *token* holds; whether it still does."""
        ...

    async def release(self, token: str) -> None:
        """Give the lease back, if *token* holds it."""
        ...


_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# A hash of another type is nobody's catalogue: it goes.
_FENCE = """
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
if (redis.call('HGET', KEYS[1], 'stamp') or '') ~= ARGV[1] then return 0 end
"""

# Moments are never later than now, whatever anybody believes of the time; one that is says that Redis's clock was set back.
_CHECKED_AT = """
local checked_at = math.min(tonumber(ARGV[2]), now)
local stored_at = tonumber(redis.call('HGET', KEYS[1], 'checked_at') or 0)
if stored_at > now then stored_at = 0 end
"""

# The second fence: another replica may have asked the upstream later and heard that the copy is still the one.
_PUBLISH = f"""
{_NOW} {_FENCE} {_CHECKED_AT}
if stored_at > checked_at then return 0 end
checked_at = string.format('%.0f', checked_at)
redis.call('SET', KEYS[2], ARGV[10])
redis.call('HSET', KEYS[1], 'checked_at', checked_at, 'stamp', ARGV[3], 'digest', ARGV[4], 'entries', ARGV[5],
           'vetted', ARGV[6], 'source', ARGV[7], 'etag', ARGV[8], 'last_modified', ARGV[9])
redis.call('HDEL', KEYS[1], 'failures', 'retry_at')
return 1
"""

_CONFIRM = f"""
{_NOW} {_FENCE} {_CHECKED_AT}
if checked_at > stored_at then
  redis.call('HSET', KEYS[1], 'checked_at', string.format('%.0f', checked_at), 'etag', ARGV[3], 'last_modified', ARGV[4])
end
redis.call('HDEL', KEYS[1], 'failures', 'retry_at')
return 1
"""

_BACK_OFF = f"""
{_NOW}
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'failures', ARGV[1], 'retry_at', string.format('%.0f', now + ARGV[2]))
return 1
"""

_DROP = f"{_FENCE} redis.call('DEL', KEYS[1], KEYS[2]) return 1"

# A lease without an end is nobody's: no replica takes one like that.
_LEASE = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('PTTL', KEYS[1]) ~= -1 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"

_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class RedisStore:
    """A CatalogueStore behind a Redis client. *prefix* begins the keys of one fleet; no payload over *max_bytes* is loaded."""

    def __init__(self, client: "Redis", url: str, *, prefix: str, timeout: timedelta, max_bytes: int) -> None:
        self.url = url
        self._client, self._timeout, self._max_bytes = client, timeout.total_seconds(), max_bytes
        # the braces keep all keys of a fleet in one slot of a cluster
        keys = [f"{{{prefix}:{CODEC_VERSION}}}:{name}" for name in ("head", "payload", "lease")]
        self._head, self._payload, self._lease = keys
        scripts = (_PUBLISH, _CONFIRM, _BACK_OFF, _DROP, _LEASE, _RENEW, _RELEASE)
        self._publish, self._confirm, self._back_off, self._drop, self._take, self._renew, self._release = (
            client.register_script(script) for script in scripts
        )

    async def read(self) -> StoredState:
        """As `CatalogueStore.read`."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.time()
        pipeline.hgetall(self._head)
        time, fields = await self._asked(pipeline.execute(raise_on_error=False))
        return _head_of(time, fields)

    async def load(self) -> tuple[StoredState, Payload | None]:
        """As `CatalogueStore.load`. A payload that is too long, or of another type, is none."""
        length = await self._asked(self._client.strlen(self._payload), missing=("type",))
        if length is not None and length > self._max_bytes:
            raise StoreError(
                "too_large", f"the payload in Redis has {length} bytes; at most {self._max_bytes} are loaded"
            )
        if length is not None and length > _WHOLE:
            return await self._load_in_parts(length)
        pipeline = self._client.pipeline(transaction=True)
        pipeline.time()
        pipeline.hgetall(self._head)
        pipeline.get(self._payload)
        time, fields, payload = await self._asked(pipeline.execute(raise_on_error=False), patience=_PAYLOAD_PATIENCE)
        return _head_of(time, fields), payload if isinstance(payload, bytes) else None

    async def _load_in_parts(self, length: int) -> tuple[StoredState, Payload | None]:
        """As `load`, so that neither Redis nor this event loop is held up by a large payload."""
        before = await self.read()
        parts = SharedBuffer()
        for start in range(0, length, _PART):
            part = self._client.getrange(self._payload, start, start + _PART - 1)
            parts.write(await self._asked(part, patience=_PAYLOAD_PATIENCE))
        state = await self.read()
        if _version(state) == _version(before):
            return state, parts
        return await self.load()  # another has published meanwhile, which does not happen often

    async def publish(self, catalogue: StoredCatalogue, payload: bytes, expected: int | None) -> bool:
        """As `CatalogueStore.publish`."""
        validators = catalogue.validators
        arguments: list[str | int | bytes] = [
            *(
                _text(expected),
                _milliseconds(catalogue.validated_at),
                catalogue.stamp,
                catalogue.digest,
                catalogue.entries,
                int(catalogue.size_checked),
            ),
            *(catalogue.source, validators.etag, validators.last_modified, payload),
        ]
        asked = self._publish(keys=[self._head, self._payload], args=arguments)
        return bool(await self._asked(asked, patience=_PAYLOAD_PATIENCE))

    async def confirm(self, stamp: int, validated_at: float, validators: Validators) -> bool:
        """As `CatalogueStore.confirm`."""
        arguments: list[str | int | bytes] = [
            stamp,
            _milliseconds(validated_at),
            validators.etag,
            validators.last_modified,
        ]
        return bool(await self._asked(self._confirm(keys=[self._head], args=arguments)))

    async def back_off(self, failures: int, wait: timedelta) -> None:
        """As `CatalogueStore.back_off`."""
        await self._asked(self._back_off(keys=[self._head], args=[failures, _milliseconds(wait.total_seconds())]))

    async def drop(self, stamp: int) -> bool:
        """As `CatalogueStore.drop`."""
        return bool(await self._asked(self._drop(keys=[self._head, self._payload], args=[stamp])))

    async def lease(self, token: str, ttl: timedelta) -> bool:
        """As `CatalogueStore.lease`."""
        asked = self._take(keys=[self._lease], args=[token, _milliseconds(ttl.total_seconds())])
        return bool(await self._asked(asked))

    async def reset(self) -> None:
        """As `CatalogueStore.reset`."""
        await self._asked(self._client.delete(self._head, self._payload))

    async def renew(self, token: str, ttl: timedelta) -> bool:
        """As `CatalogueStore.renew`."""
        asked = self._renew(keys=[self._lease], args=[token, _milliseconds(ttl.total_seconds())])
        return bool(await self._asked(asked))

    async def release(self, token: str) -> None:
        """As `CatalogueStore.release`."""
        await self._asked(self._release(keys=[self._lease], args=[token]))

    async def _asked(self, asked: Awaitable[T], *, patience: int = 1, missing: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
        """What Redis answers, in time; None for an error of the kinds that are as good as *missing*."""
        try:
            async with asyncio.timeout(self._timeout * patience):
                return await asked
        except Exception as error:  # whatever a client library comes upon, Redis is of no use just now
            cause = _cause(error)
            if cause.kind in missing:
                return None
            # an answer that comes too late must not be taken for the next one's
            await self._client.connection_pool.disconnect()
            raise cause from None


@asynccontextmanager
async def open_store(
    url: str, *, password: str, ca: str, prefix: str, timeout: timedelta, max_bytes: int
) -> AsyncIterator[RedisStore]:
    """Open the Redis at *url* (`redis:`, `rediss:`, `unix:`), or an embedded one where *url* is empty.

    *password* goes before one in the URL; *ca* is the path of the certificates that `rediss:` trusts. Nothing is asked yet, so
    that Redis need not be there. Raises SettingsError for a URL or certificates that cannot be used.
    """
    client = _client(url, password, ca, timeout) if url else _embedded()
    try:
        yield RedisStore(client, _shown(url), prefix=prefix, timeout=timeout, max_bytes=max_bytes)
    finally:
        await client.aclose()


def _client(url: str, password: str, ca: str, timeout: timedelta) -> "Redis":
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
    from fakeredis import FakeAsyncRedis  # only who runs alone pays for it

    client: Redis = FakeAsyncRedis()
    return client


def _shown(url: str) -> str:
    return without_password(url) if url else "embedded"


def _head_of(time: Any, fields: Any) -> StoredState:  # noqa: ANN401 - whatever Redis said
    """Raises StoreError when Redis did not tell the time; a hash that is none of ours is no copy."""
    if isinstance(time, exceptions.RedisError):
        raise _cause(time)
    now = time[0] + time[1] / 1_000_000
    if isinstance(fields, exceptions.RedisError):
        if _cause(fields).kind != "type":
            raise _cause(fields)
        return StoredState(now, None, malformed=True)
    try:
        text = {name.decode(): value.decode() for name, value in fields.items()}
        failures, retry_at = _number(text.get("failures", "0")), _number(text.get("retry_at", "0")) / 1000
        return StoredState(now, _copy_of(text), failures, min(retry_at, now + _LONGEST_BACK_OFF))
    except (ValueError, KeyError):
        return StoredState(now, None, malformed=True)


def _version(state: StoredState) -> str:
    return state.catalogue.version if state.catalogue else ""


def _copy_of(text: dict[str, str]) -> StoredCatalogue | None:
    if "stamp" not in text:
        return None
    return StoredCatalogue(
        stamp=_number(text["stamp"]),
        digest=text["digest"],
        entries=_number(text["entries"]),
        size_checked=text["vetted"] == "1",
        validated_at=_number(text["checked_at"]) / 1000,
        source=text["source"],
        validators=Validators(text["etag"], text["last_modified"]),
    )


def _number(text: str) -> int:
    if len(text) > _DIGITS or not text.isdecimal():
        raise ValueError(text)
    return int(text)


def _cause(error: Exception) -> StoreError:
    kinds: list[tuple[type[Exception] | tuple[type[Exception], ...], StoreReason]] = [
        ((exceptions.TimeoutError, TimeoutError), "timeout"),
        ((exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError), "auth"),
        (exceptions.OutOfMemoryError, "oom"),
        (exceptions.BusyLoadingError, "loading"),
        (exceptions.ReadOnlyError, "readonly"),
        ((exceptions.ConnectionError, OSError), "connect"),
    ]
    words: dict[str, StoreReason] = {
        "WRONGTYPE": "type",
        "OOM": "oom",
        "NOAUTH": "auth",
        "NOPERM": "auth",
        "READONLY": "readonly",
    }
    found = [kind for types, kind in kinds if isinstance(error, types)]
    found += [kind for word, kind in words.items() if word in str(error)]
    return StoreError(found[0] if found else "response", f"Redis: {str(error).strip() or type(error).__name__}")


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _text(stamp: int | None) -> str:
    return "" if stamp is None else str(stamp)

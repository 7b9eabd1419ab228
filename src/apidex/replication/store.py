"""The fleet's one catalogue, in Redis. Each method is one request, in one round trip, and raises StoreError.

Times are on Redis's clock, so that the wall clocks of replicas do not matter: each read returns Redis's clock, and moments are
compared with it. This module decides nothing. The fence, which protects the stored catalogue, is in `scripts`, where Redis itself
compares and writes in one step.
"""

import asyncio
import contextlib
import re
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

from redis import exceptions
from redis.asyncio import Redis

from apidex.catalogue.codec import CODEC_VERSION
from apidex.errors import CodecError, SettingsError, StoreError, StoreReason
from apidex.indexing.shared_buffer import SharedBuffer
from apidex.replication import scripts
from apidex.replication.metadata import (
    FIELDS,
    LONGEST_OVERRIDE,
    OVERRIDE_FOR,
    StoredCatalogue,
    StoredState,
    decode_override,
    decode_state,
    encode_catalogue,
    milliseconds,
)
from apidex.replication.redis_client import EMBEDDED, RedisAddress, open_client
from apidex.replication.validators import NO_VALIDATORS, Validators

_PAYLOAD_PATIENCE = 10
"""A payload may take this many times as long as other requests."""

_WHOLE, _PART = 2**20, 2**18
"""Payloads of more bytes than the first are read in parts of the second."""

_WITHOUT_PAYLOAD = -1

NO_PAYLOAD = "Redis has a metadata hash but no payload"

Payload = bytes | SharedBuffer
"""The bytes of a catalogue; a long one is in memory that the subprocess can map."""


class Keys(NamedTuple):
    """The names of the keys, in the order of the scripts' KEYS."""

    head: str
    payload: str
    head_before: str
    payload_before: str
    override: str
    lease: str
    probe: str

    @classmethod
    def of(cls, prefix: str) -> "Keys":
        """Return the keys of one fleet. The braces keep them in one slot of a cluster."""
        return cls(*(f"{{{prefix}:{CODEC_VERSION}}}:{name.replace('_', '-')}" for name in cls._fields))


class RedisStore:
    """One catalogue for all replicas, in Redis. Every method raises StoreError, and waits no longer than its *timeout*.

    *url* is where Redis is, without user and password; an embedded one has no other replicas. *prefix* begins the keys of one
    fleet. No payload over *max_bytes* is loaded; one may take longer than other answers.
    """

    def __init__(self, client: "Redis", url: str, *, prefix: str, timeout: timedelta, max_bytes: int) -> None:
        self.url, self.is_embedded = url, url == EMBEDDED
        self._client, self._timeout, self._max_bytes = client, timeout, max_bytes
        self._prefix, self.keys = prefix, Keys.of(prefix)

    async def read(self) -> StoredState:
        """Return what is stored, without the payload, and whether there is one and Redis can be written to."""
        state, length, _ = await self._read(self.keys, _WITHOUT_PAYLOAD)
        is_lost = state.catalogue is not None and length is None  # Redis may evict it, since it is read least
        return replace(state, unreadable="missing") if is_lost else state

    async def load(self) -> tuple[StoredState, Payload | CodecError]:
        """Return what is stored with its payload, both from one moment, or with the reason why the payload cannot be read."""
        return await self._load(self.keys)

    async def load_before(self) -> tuple[StoredState, Payload | CodecError]:
        """As `load`, but for the previous catalogue."""
        return await self._load(self.keys._replace(head=self.keys.head_before, payload=self.keys.payload_before))

    async def _load(self, keys: Keys) -> tuple[StoredState, Payload | CodecError]:
        state, length, payload = await self._read(keys, _WHOLE, patience=_PAYLOAD_PATIENCE)
        if length is None:
            return state, CodecError("missing", NO_PAYLOAD)
        if length > self._max_bytes:
            text = f"the payload in Redis has {length} bytes; at most {self._max_bytes} are loaded"
            return state, CodecError("too_large", text)
        return (state, payload) if payload is not None else await self._load_in_parts(keys, state, length)

    async def _load_in_parts(
        self, keys: Keys, before: StoredState, length: int
    ) -> tuple[StoredState, Payload | CodecError]:
        """As `load`, but so that a large payload blocks neither Redis nor this event loop."""
        parts = SharedBuffer()
        for start in range(0, length, _PART):
            async with self._answer_in_time(_PAYLOAD_PATIENCE):
                end = min(start + _PART, length) - 1
                part: Any = await self._client.getrange(keys.payload, start, end)
                parts.write(part)
        state, _, _ = await self._read(keys, _WITHOUT_PAYLOAD)
        if state.version == before.version:
            return state, parts
        return await self._load(keys)  # another replica has published in between, which is rare

    async def _read(self, keys: Keys, whole: int, patience: int = 1) -> tuple[StoredState, int | None, bytes | None]:
        """Return the state, the payload's length, and the payload if it has at most *whole* bytes."""
        arguments = [whole, LONGEST_OVERRIDE, *(word for field in FIELDS.items() for word in field)]
        async with self._answer_in_time(patience):
            answer = await self._client.eval(scripts.READ, len(keys), *keys, *arguments)
            seconds, microseconds, refused, kind, values, length, payload, override, override_left = answer
            if not (isinstance(length, int | None) and isinstance(payload, bytes | None)):
                raise TypeError(answer)
            now = int(seconds) + int(microseconds) / 1_000_000
            fields = {name: value for name, value in zip(FIELDS, values, strict=False) if value is not None}
            is_hash = kind in (b"hash", b"none")
            state = decode_state(now, fields) if is_hash else StoredState(now, None, malformed=True)
            unwritable = _classify(exceptions.ResponseError(refused.decode())) if refused else None
            if refused and refused.startswith(b"READONLY"):  # its name may lead to another Redis meanwhile
                await self._disconnect_idle()
            override = decode_override(override or b"", override_left)
            return replace(state, override=override, unwritable=unwritable), length, payload

    async def publish(self, catalogue: StoredCatalogue, payload: bytes, expected: int | None, lead: timedelta) -> float:
        """Store a catalogue, to be activated in *lead*, if the stored stamp is still *expected*; return the moment, or 0 if not.

        It is also refused when the upstream validated the stored catalogue later than this one. Clears the fleet's failures.
        """
        head = ["" if expected is None else expected, *encode_catalogue(catalogue), milliseconds(lead.total_seconds())]
        async with self._answer_in_time(_PAYLOAD_PATIENCE):
            return int(await self._eval(scripts.PUBLISH, [*head, payload])) / 1000

    async def confirm(self, stamp: int, validated_at: float, validators: Validators) -> bool:
        """Record that the upstream validated the catalogue with this *stamp* again; return whether it is still stored."""
        arguments = [stamp, milliseconds(validated_at), validators.etag, validators.last_modified]
        return await self._run(scripts.CONFIRM, arguments)

    async def roll_back(self, lead: timedelta) -> bool:
        """Publish the previous catalogue, to be active after *lead*, and reject the current one; return whether one existed."""
        spans = [milliseconds(span.total_seconds()) for span in (lead, OVERRIDE_FOR)]
        return await self._run(scripts.ROLLBACK, spans)

    async def accept(self) -> None:
        """Let replicas publish an answer that the guard would refuse, and end the fleet's back-off."""
        await self._run(scripts.ACCEPT, [milliseconds(OVERRIDE_FOR.total_seconds())])

    async def back_off(self, failures: int, wait: timedelta) -> None:
        """Keep the fleet from asking the upstream for as long as *wait*, after this number of consecutive *failures*."""
        await self._run(scripts.BACK_OFF, [failures, milliseconds(wait.total_seconds())])

    async def drop(self, stamp: int) -> bool:
        """Remove the catalogue with this *stamp*; return whether it was still stored."""
        return await self._run(scripts.DROP, [stamp])

    async def reset(self) -> None:
        """Remove everything under the keys of the catalogue."""
        await self._run(scripts.RESET, [])

    async def lease(self, token: str, ttl: timedelta) -> bool:
        """Take the lease for *ttl*, if it is free; return whether *token* holds it now."""
        return await self._run(scripts.LEASE, [token, milliseconds(ttl.total_seconds())])

    async def renew(self, token: str, ttl: timedelta) -> bool:
        """Prolong the lease that *token* holds; return whether it still does."""
        return await self._run(scripts.RENEW, [token, milliseconds(ttl.total_seconds())])

    async def release(self, token: str) -> None:
        """Give the lease back, if *token* holds it."""
        await self._run(scripts.RELEASE, [token])

    async def rehearse(self) -> None:
        """Run every operation of a replica, on other keys, which are removed again. Raises StoreError if Redis is not usable."""
        scratch: RedisStore = copy(self)
        scratch.keys = Keys.of(f"{self._prefix}:{uuid.uuid4().hex}")
        try:
            await scratch._rehearse()
        finally:
            with contextlib.suppress(StoreError):
                await scratch._run(scripts.CLEAR, [])

    async def _rehearse(self) -> None:
        state, token, minute = await self.read(), uuid.uuid4().hex, timedelta(minutes=1)
        if state.unwritable:
            raise state.unwritable
        stored = StoredCatalogue(
            milliseconds(state.now), "0" * 64, 1, True, state.now, "https://example.org/", NO_VALIDATORS
        )
        later = replace(stored, stamp=stored.stamp + 1, digest="1" * 64)
        done = [
            await self.lease(token, minute),
            await self.publish(stored, b"payload", None, timedelta(0)),
            await self.publish(later, b"payload", stored.stamp, minute),
            await self.confirm(later.stamp, state.now, NO_VALIDATORS),
            await self.roll_back(minute),
            await self.renew(token, minute),
        ]
        await self.back_off(1, minute)
        await self.accept()
        await self._load_in_parts(self.keys, await self.read(), 1)
        await self.drop(0)
        await self.release(token)
        if not all(done):
            raise StoreError("response", "Redis ran a script of Apidex, and did not do what it is for")

    async def _run(self, script: str, arguments: Iterable[Any]) -> bool:
        """Run one of `scripts`; return whether it changed something."""
        async with self._answer_in_time():
            return _DONE[await self._eval(script, arguments)]

    async def _eval(self, script: str, arguments: Iterable[Any]) -> Any:  # noqa: ANN401 - whatever Redis says
        return await self._client.eval(script, len(self.keys), *self.keys, *arguments)

    @asynccontextmanager
    async def _answer_in_time(self, patience: int = 1) -> AsyncIterator[None]:
        """Raise StoreError for exceptions of the client library, for an answer that no script gives, and after the time-out."""
        try:
            async with asyncio.timeout(self._timeout.total_seconds() * patience):
                yield
        except Exception as error:
            await self._disconnect_idle()
            raise _classify(error) from None

    async def _disconnect_idle(self) -> None:
        """Close the connections that no request uses: they may lead to a Redis that is gone."""
        with contextlib.suppress(Exception):
            await self._client.connection_pool.disconnect(inuse_connections=False)


_DONE = {0: False, 1: True}
"""The answers of the scripts that change something."""


@asynccontextmanager
async def open_store(
    address: RedisAddress, *, prefix: str, timeout: timedelta, max_bytes: int
) -> AsyncIterator[RedisStore]:
    """Open the Redis at *address*; it may be down. Raises SettingsError for a URL or certificates that cannot be used."""
    async with AsyncExitStack() as stack:
        client = open_client(address, timeout, stack)
        yield RedisStore(client, address.shown, prefix=prefix, timeout=timeout, max_bytes=max_bytes)


_MEANINGS: list[tuple[str, StoreReason, str]] = [
    ("NOAUTH|Authentication required", "auth", "Redis requires a password"),
    ("WRONGPASS", "auth", "Redis refuses the user or the password"),
    ("without any password configured", "auth", "Redis has no password, and refuses the one that is given"),
    (
        "NOPERM|NoPermissionError|user executing the script",
        "auth",
        "Redis's ACL does not allow this user what Apidex does",
    ),
    ("unknown command", "auth", "Redis does not have a command that Apidex uses"),
    ("READONLY|ReadOnlyError", "readonly", "Redis is a read-only replica of another Redis"),
    ("MISCONF", "readonly", "Redis refuses to write, because it cannot save to its disk"),
    ("NOREPLICAS", "readonly", "Redis refuses to write, because too few replicas are connected to it"),
    ("MASTERDOWN", "readonly", "Redis is a replica that has lost its master"),
    ("OOM|OutOfMemoryError", "oom", "Redis's memory is full"),
    ("LOADING|BusyLoadingError", "loading", "Redis is starting: it loads its data"),
    ("No master found", "connect", "Sentinel knows no master of this name that is up"),
    (
        "MOVED|MovedError|ASK|TRYAGAIN|CLUSTERDOWN|CROSSSLOT",
        "cluster",
        "Redis is a node of a cluster that does not serve these keys; allowed is a single Redis, or Sentinel",
    ),
]
"""What an error means: words that it contains (its code, its class in redis-py), the reason, and a sentence."""


_SENTINEL = re.compile(r"<redis\.asyncio\.client\.Redis\(.*?,host=([^,]*),port=(\d+).*?\)>\)>\)>")
"""How redis-py shows a sentinel that could not be asked, in a thousand characters."""


def _classify(error: Exception) -> StoreError:
    """Return the StoreError for *error*; for an unknown one, with its own text."""
    if isinstance(error, StoreError):
        return error
    shown = _SENTINEL.sub(r"\1:\2", str(error).strip())
    detail = " ".join(filter(None, (getattr(error, "status_code", None), shown)))
    for words, reason, text in _MEANINGS:
        if re.search(rf"\b({words})\b", f"{type(error).__name__} {detail}"):
            return StoreError(reason, f"{text} ({detail})")
    match error:
        case exceptions.TimeoutError() | TimeoutError():
            return StoreError("timeout", "Redis did not answer in time")
        case exceptions.AuthenticationError() | exceptions.AuthorizationError():
            return StoreError("auth", f"Redis refuses the user or the password ({detail})")
        case exceptions.ConnectionError() | OSError() | SettingsError():  # the last is about a certificate
            return StoreError("connect", f"Redis cannot be reached: {detail or type(error).__name__}")
        case exceptions.RedisError() if not isinstance(error, exceptions.InvalidResponse):
            return StoreError("response", f"Redis answered with an error: {detail or type(error).__name__}")
    return StoreError("response", f"Redis gave an answer that no Redis gives ({error!r})")

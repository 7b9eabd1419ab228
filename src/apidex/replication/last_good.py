"""The last good copy: the catalogue on disk, which survives restarts. Written atomically, and checked when it is read.

It always counts as older than the catalogues of Redis and the upstream. A replica answers from it until one of the two answers,
and never publishes it.
"""

import asyncio
import hashlib
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from apidex import __version__
from apidex.catalogue import codec
from apidex.catalogue.formats import Parsed
from apidex.errors import CodecError, StateError
from apidex.indexing.builder import IndexedCatalogue, from_payload
from apidex.regular_file import open_regular
from apidex.replication.clock import Clock
from apidex.replication.fetcher import Offload
from apidex.replication.snapshot import Snapshot
from apidex.replication.status import RefreshStats, broken
from apidex.replication.validators import NO_VALIDATORS, Validators

_WIRE = 1
"""The version of the file's format. Files of another version are not read; a new copy replaces them."""

_CHECKSUM = 64
"""Characters at the start of the file: the SHA-256 of the rest."""

_LABELS = 2**14
"""Bytes that a file may have in addition to its payload."""

_ABANDONED = 3600.0
"""Age in seconds from which on a temporary file was left by a killed process."""

_READ_TIMEOUT = 10.0
"""Seconds that a start waits for the disk."""

_INTERVAL = 60.0
"""Seconds between two copies of the same version, which differ only in when it was validated."""


@dataclass(frozen=True, slots=True)
class CopyLabels:
    """What a copy says of its catalogue. *validated_at*, in seconds since 1970, is when the upstream last validated it."""

    stamp: int
    validated_at: float
    size_checked: bool
    validators: Validators


class _Wire(msgspec.Struct):
    wire: int


class _Envelope(_Wire):
    release: str
    labels: CopyLabels
    payload: bytes


_decode_wire = msgspec.msgpack.Decoder(_Wire).decode
_decode = msgspec.msgpack.Decoder(_Envelope).decode


class LastGoodCopy:
    """The file at *path*, with a catalogue of at most *max_bytes*, compressed or not."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self._max_bytes = path, max_bytes

    def read(self) -> tuple[CopyLabels, IndexedCatalogue] | None:
        """Return the copy; None if there is none. Raises StateError for one that cannot be read, or is not a valid catalogue."""
        content = self.content()
        return None if content is None else self.opened(content)

    def opened(self, content: bytes) -> tuple[CopyLabels, IndexedCatalogue]:
        """Return the copy from the *content* of its file. Raises StateError."""
        try:
            envelope = _open(content)
            built = from_payload(envelope.payload, self._max_bytes)
        except CodecError as error:
            reason = "damaged" if error.reason == "missing" else error.reason
            raise StateError(reason, f"the last good copy {str(self.path)!r} is not used: {error}") from None
        labels = envelope.labels
        if envelope.release != __version__:  # the other release may have read the same list differently
            labels = replace(labels, validators=NO_VALIDATORS)
        return labels, built

    def content(self) -> bytes | None:
        """Return the bytes of the file, which may be no copy; None without a file. Raises StateError."""
        limit = self._max_bytes + _LABELS
        try:
            with open_regular(self.path) as file:
                content = file.read(limit + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(
                "read", f"the last good copy {str(self.path)!r} cannot be read: {error.strerror}"
            ) from None
        if len(content) > limit:
            raise StateError("too_large", f"the last good copy {str(self.path)!r} is larger than {limit} bytes")
        return content

    def write(self, parsed: Parsed, labels: CopyLabels) -> None:
        """Replace the copy. Raises StateError; then the previous copy stays."""
        body = msgspec.msgpack.encode(_Envelope(_WIRE, __version__, labels, codec.to_bytes(parsed)))
        content = hashlib.sha256(body).hexdigest().encode() + body
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._replace(content)
            self._remove_abandoned()
        except OSError as error:
            text = f"the last good copy {str(self.path)!r} cannot be written: {error.strerror}"
            raise StateError("write", text) from None

    def _replace(self, content: bytes) -> None:
        descriptor, temporary = tempfile.mkstemp(".tmp", f"{self.path.name}-", self.path.parent)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # otherwise a power failure could leave the name without the bytes
            os.replace(temporary, self.path)  # noqa: PTH105
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise

    def _remove_abandoned(self) -> None:
        for path in self.path.parent.glob(f"{self.path.name}-*.tmp"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()


def open_copy(directory: Path | None, upstream: str, format_name: str, list_bytes: int) -> LastGoodCopy | None:
    """Return the copy in *directory* of what *upstream* sends, *list_bytes* at most, read as *format_name*.

    None without a directory.
    """
    if directory is None:
        return None
    name = hashlib.sha256(f"{format_name} {upstream}".encode(errors="surrogateescape")).hexdigest()[:16]
    return LastGoodCopy(directory / f"catalogue-{name}", codec.size_limit(list_bytes))


def _open(content: bytes) -> _Envelope:
    """Return the envelope in a file's *content*. Raises CodecError."""
    checksum, body = content[:_CHECKSUM], memoryview(content)[_CHECKSUM:]
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        raise CodecError("damaged", "its bytes differ from its checksum")
    try:
        wire = _decode_wire(body).wire
        if wire != _WIRE:
            raise CodecError("version", f"it has version {wire}; only {_WIRE} is supported")
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError("damaged", f"it is malformed: {error}") from None


class LastGood:
    """A replica's use of its *copy*. Does not wait for long; a failure is logged, and changes nothing else."""

    def __init__(self, copy: LastGoodCopy | None, clock: Clock, offload: Offload, stats: RefreshStats) -> None:
        self._copy, self._clock, self._offload, self._stats = copy, clock, offload, stats
        self._writing: asyncio.Task[None] | None = None
        self._tried = ("", 0.0)  # version and validation of the last attempt to write

    async def restore(self, source: str, unknown_age: float) -> Snapshot | None:
        """Return the copy as a snapshot of *source*, or None.

        Its age is *unknown_age*, in seconds, if its validation is in the future by this machine's wall clock.
        """
        if self._copy is None:
            return None
        try:
            async with asyncio.timeout(_READ_TIMEOUT):
                content = await self._offload(self._copy.content)
            # indexing takes as long as for a catalogue from elsewhere: a large one, or a busy machine, is no fault of the disk
            found = None if content is None else await self._offload(self._copy.opened, content)
        except StateError as error:
            self._stats.copy_failed(error)
        except TimeoutError:
            self._stats.copy_failed(StateError("read", f"the last good copy was not read within {_READ_TIMEOUT:g} s"))
        else:
            return self._snapshot(*found, source, unknown_age) if found else None
        return None

    def _snapshot(self, labels: CopyLabels, built: IndexedCatalogue, source: str, unknown_age: float) -> Snapshot:
        now = self._clock.wall()
        age = now - labels.validated_at if 0 <= labels.validated_at <= now else unknown_age
        stamp = min(labels.stamp, int(now * 1000))  # a stamp in the future would spread to other catalogues
        more = {"validators": labels.validators, "size_checked": labels.size_checked}
        return Snapshot.of(built, stamp, source, self._clock.steady() - age, **more)

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write a copy of *snapshot*, unless it is already written, or another write has not ended."""
        # the same content under a newer stamp too: after a restart without Redis, its version would go back
        tried, version = self._tried, snapshot.version
        is_new = version != tried[0] or snapshot.validated_at >= tried[1] + _INTERVAL
        if self._copy is None or snapshot.is_provisional or not is_new or (self._writing and not self._writing.done()):
            return
        self._tried = (version, snapshot.validated_at)
        validated_at = self._clock.wall() - snapshot.age(self._clock.steady())
        labels = CopyLabels(snapshot.stamp, validated_at, snapshot.size_checked, snapshot.validators)
        self._writing = asyncio.create_task(self._write(self._copy, snapshot.parsed, labels), name="last good copy")

    async def _write(self, copy: LastGoodCopy, parsed: Parsed, labels: CopyLabels) -> None:
        try:
            await self._offload(copy.write, parsed, labels)
        except StateError as error:
            self._stats.copy_failed(error)
        except Exception as error:
            broken(error)
        else:
            self._stats.copy_written()

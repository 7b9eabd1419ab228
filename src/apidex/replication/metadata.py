"""The metadata hash, which Redis holds besides the payload: as values, and as the fields of the hash. Pure.

Releases that differ share one Redis during a rolling update, so the names of the fields stay as they are: `checked_at` is
validated_at and `vetted` is size_checked. Times in the hash are in milliseconds of Redis's clock, in values in seconds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from apidex.errors import CodecReason, StoreError
from apidex.replication.freshness import LONGEST_BACK_OFF, LONGEST_LEAD
from apidex.replication.validators import Validators

_WINDOW = 86_400.0
"""Seconds by which a stamp or a validation may be ahead of Redis's clock, because that clock may have been set back."""

ACCEPT, REJECT = "accept", "reject:"
"""An operator's overrides for all replicas: accept an answer that the guard would refuse; reject the catalogue whose digest
follows."""

OVERRIDE_FOR = timedelta(days=1)
"""How long an override is valid; `accept` also ends with the next publication."""

FIELDS = {
    **dict.fromkeys(("stamp", "entries", "checked_at", "activate_at", "failed_at", "retry_at"), 16),
    "failures": 6,
    "vetted": 1,
    "digest": 64,
    "source": 8192,
    "etag": 514,
    "last_modified": 64,
}
"""The fields of the hash, each with the largest number of bytes that a replica writes."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_OVERRIDE = re.compile(f"{ACCEPT}|{REJECT}{_DIGEST.pattern}")

LONGEST_OVERRIDE = len(REJECT) + 64
"""Bytes that are read of an operator's override."""


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

    *now* is Redis's clock, in seconds. *failures* is the number of consecutive failed fetches of the whole fleet, which does not
    ask the upstream before *retry_at*, a day ahead at most. All replicas answer from the stored catalogue from *activate_at* on,
    0 for at once. *override* is the operator's, `ACCEPT`, or `REJECT` and a digest. *malformed*: no replica has written the hash.
    *unreadable*: why the payload cannot be read, as far as that is known; only a lost one is known without loading it.
    *unwritable*: why Redis cannot be written to, if it cannot.
    """

    now: float
    catalogue: StoredCatalogue | None
    failures: int = 0
    retry_at: float = 0.0
    activate_at: float = 0.0
    override: str = ""
    malformed: bool = False
    unreadable: CodecReason | None = None
    unwritable: StoreError | None = None

    @property
    def rejected(self) -> str:
        """The digest that an operator rejects; empty for none."""
        return rejected_by(self.override)

    @property
    def version(self) -> str:
        """The version of the stored catalogue; empty where there is none."""
        return self.catalogue.version if self.catalogue else ""


def decode_state(now: float, fields: Mapping[str, bytes]) -> StoredState:
    """Return what the *fields* of the hash say at *now*. A hash that no replica can have written is malformed."""
    try:
        text = {name: value.decode() for name, value in fields.items()}
        failures, retry_at = _decode_back_off(now, text)
        activate_at = _moment(text, "activate_at")
        at_once = activate_at > now + LONGEST_LEAD.total_seconds()
        return StoredState(now, _decode_catalogue(now, text), failures, retry_at, 0.0 if at_once else activate_at)
    except (ValueError, KeyError):
        return StoredState(now, None, malformed=True)


def _decode_back_off(now: float, text: Mapping[str, str]) -> tuple[int, float]:
    """Return the failures and the moment of the next attempt; 0 for a back-off that is too long, or begins in the future."""
    failures, failed_at, retry_at = (
        _number(text.get("failures", "0")),
        _moment(text, "failed_at"),
        _moment(text, "retry_at"),
    )
    is_possible = failed_at <= now + 1 and 0 <= retry_at - failed_at <= LONGEST_BACK_OFF.total_seconds()
    return failures, retry_at if is_possible else 0.0


def _decode_catalogue(now: float, text: Mapping[str, str]) -> StoredCatalogue | None:
    if "stamp" not in text:
        return None
    stored = StoredCatalogue(
        stamp=_number(text["stamp"]),
        digest=_matching(_DIGEST, text["digest"]),
        entries=_number(text["entries"]),
        size_checked=("0", "1").index(text["vetted"]) == 1,
        validated_at=_number(text["checked_at"]) / 1000,
        source=text["source"],
        validators=Validators(text["etag"], text["last_modified"]).sendable(),
    )
    if max(stored.stamp / 1000, stored.validated_at) > now + _WINDOW or not stored.source.isprintable():
        raise ValueError(stored)
    return stored


def decode_override(text: bytes, milliseconds_left: int) -> str:
    """Return the operator's override; empty for an invalid text, and for one that does not expire within a day."""
    is_possible = 0 < milliseconds_left <= milliseconds(OVERRIDE_FOR.total_seconds())
    demand = text.decode("ascii", "replace")
    return demand if is_possible and _OVERRIDE.fullmatch(demand) else ""


def rejected_by(override: str) -> str:
    """Return the digest that an operator's *override* rejects; empty for none."""
    return override.removeprefix(REJECT) if override.startswith(REJECT) else ""


def newest_possible_stamp(now: float) -> int:
    """Return the newest stamp that a reader accepts at *now*."""
    return milliseconds(now + _WINDOW)


def encode_catalogue(stored: StoredCatalogue) -> list[str | int]:
    """Return the arguments of the script that publishes: `checked_at`, and the other fields in the order of its HSET."""
    fields = (stored.stamp, stored.digest, stored.entries, int(stored.size_checked), stored.source)
    return [milliseconds(stored.validated_at), *fields, stored.validators.etag, stored.validators.last_modified]


def milliseconds(seconds: float) -> int:
    """Return *seconds* as Redis is told them."""
    return int(seconds * 1000)


def _moment(text: Mapping[str, str], name: str) -> float:
    return _number(text.get(name, "0")) / 1000


def _number(text: str) -> int:
    return int(_matching(_NUMBER, text))


def _matching(grammar: re.Pattern[str], text: str) -> str:
    if not grammar.fullmatch(text):
        raise ValueError(text)
    return text

"""What Redis holds beside the payload: the metadata hash, as values and as the fields of the hash. Pure.

Releases that differ share one Redis during a rolling update, so the names of the fields stay as they are: `checked_at` is
validated_at and `vetted` is size_checked. Times in the hash are in milliseconds of Redis's clock, in values in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from apidex.errors import CodecReason
from apidex.replication.validators import Validators

_LONGEST_BACK_OFF = 86_400.0

LONGEST_LEAD = 600.0
"""Seconds at most between a publication and its activation. A moment further ahead is not one that a replica wrote."""

ACCEPT, REJECT = "accept", "reject:"
"""What an operator may demand of all replicas: accept what a guard would refuse; reject the catalogue whose digest follows."""

OVERRIDE_FOR = timedelta(days=1)
"""How long that holds; `accept` also ends with the next catalogue that is published."""

_MAX_DIGITS = 16
"""No number that a replica writes has more."""


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
    0 for at once. *override* is what an operator demands, `ACCEPT` or `REJECT` and a digest. *malformed*: no replica has written
    the hash. *unreadable*: why the payload, once it was loaded, could not be read.
    """

    now: float
    catalogue: StoredCatalogue | None
    failures: int = 0
    retry_at: float = 0.0
    activate_at: float = 0.0
    override: str = ""
    malformed: bool = False
    unreadable: CodecReason | None = None

    @property
    def rejected(self) -> str:
        """The digest that an operator rejects; empty for none."""
        return self.override.removeprefix(REJECT) if self.override.startswith(REJECT) else ""

    @property
    def version(self) -> str:
        """The version of the stored catalogue; empty where there is none."""
        return self.catalogue.version if self.catalogue else ""


def decode_state(now: float, fields: Mapping[bytes, bytes]) -> StoredState:
    """Return what the *fields* of the hash say at *now*. A hash that no replica has written is malformed."""
    try:
        text = {name.decode(): value.decode() for name, value in fields.items()}
        failures, retry_at = _number(text.get("failures", "0")), _number(text.get("retry_at", "0")) / 1000
        activate_at = _number(text.get("activate_at", "0")) / 1000
        return StoredState(
            now,
            _decode_catalogue(text),
            failures,
            min(retry_at, now + _LONGEST_BACK_OFF),
            activate_at if activate_at <= now + LONGEST_LEAD else 0.0,
        )
    except (ValueError, KeyError):
        return StoredState(now, None, malformed=True)


def _decode_catalogue(text: Mapping[str, str]) -> StoredCatalogue | None:
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


def encode_catalogue(stored: StoredCatalogue) -> list[str | int]:
    """Return the arguments of the script that publishes: `checked_at`, and the other fields in the order of its HSET."""
    fields = (stored.stamp, stored.digest, stored.entries, int(stored.size_checked), stored.source)
    return [milliseconds(stored.validated_at), *fields, stored.validators.etag, stored.validators.last_modified]


def milliseconds(seconds: float) -> int:
    """Return *seconds* as Redis is told them."""
    return int(seconds * 1000)


def _number(text: str) -> int:
    if len(text) > _MAX_DIGITS or not text.isdecimal():
        raise ValueError(text)
    return int(text)

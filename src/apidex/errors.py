"""Every error that Apidex raises on purpose, and the words that failures are counted by.

I/O modules raise; only the refresh task decides what a failure means for the replica. `docs/events.md` describes every reason; a
test compares the two.
"""

from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

UpstreamReason = Literal[
    "environment", "connect", "timeout", "broken", "status", "redirect", "too_large", "encoding", "file"
]
CatalogueReason = Literal[
    "format", "empty", "unreadable", "too_costly", "shrunk", "grown", "rejected", "facts", "rolled_back", "internal"
]
CodecReason = Literal["missing", "damaged", "version", "digest", "too_large", "resources"]
StoreReason = Literal["connect", "timeout", "auth", "oom", "readonly", "loading", "cluster", "response", CodecReason]
StateReason = Literal["read", "write", "damaged", "version", "digest", "too_large", "resources"]
Reason = TypeVar("Reason", bound=str)


class ApidexError(Exception):
    """Base of every error below; its text is one sentence that a person can act on."""


class SettingsError(ApidexError):
    """A setting or an option cannot be used. The text names it, its value and what is allowed."""


class QueryError(ApidexError):
    """A parameter has a value that does not exist: *name* is the parameter, *allowed* the first hundred values that do."""

    def __init__(self, name: str, value: str, allowed: Sequence[str]) -> None:
        shown = value if len(value) <= 80 else f"{value[:80]}…"
        more = f" and {len(allowed) - 100:,} more" if len(allowed) > 100 else ""
        values = (
            f"allowed are {', '.join(allowed[:100])}{more}" if allowed else "this catalogue has no values to filter by"
        )
        super().__init__(f"{name}: {shown!r} is not allowed; {values}")
        self.name, self.value, self.allowed = name, value, allowed[:100]


class EntryError(ApidexError):
    """A row cannot become an entry; the text is the reason in the parse report."""


class _CountedError(ApidexError, Generic[Reason]):
    """A failure that is counted by its *reason*; the text says it to a person."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason: Reason = reason


class CatalogueError(_CountedError[CatalogueReason]):
    """An upstream answer is refused."""


class UpstreamError(_CountedError[UpstreamReason]):
    """The upstream could not be read. *retry_after* is its `Retry-After`, in seconds.

    *public* is what anybody may be told; without it, the text is.
    """

    def __init__(self, reason: UpstreamReason, text: str, retry_after: float | None = None, public: str = "") -> None:
        super().__init__(reason, text)
        self.retry_after, self.public = retry_after, public or text


class CodecError(_CountedError[CodecReason]):
    """Bytes from Redis are not a valid catalogue."""


class StoreError(_CountedError[StoreReason]):
    """Redis did not do what it was asked, or its answer was lost. What was asked may have been done all the same."""


class StateError(_CountedError[StateReason]):
    """The last good copy on disk cannot be read, is not a valid catalogue, or cannot be written."""


class ServiceError(ApidexError):
    """The service at `--url` cannot be reached, or is not Apidex."""

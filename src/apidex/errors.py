"""Every error that Apidex raises on purpose.

ApidexError
├── SettingsError       a setting is out of range, or names a thing that is not there: the start ends with exit status 2
├── QueryError          a search asks by a value that there is not; the text lists what there is
├── EntryError          one row of an upstream answer cannot become an entry
├── CatalogueError      an upstream answer is refused as a whole; the catalogue before it stays
├── UpstreamError       the upstream gave no answer that could be read
├── WireError           bytes from Redis are no catalogue
└── CacheError          Redis gave no answer, or none of use

I/O modules raise; `refresh` alone decides what a failure means for the replica.
"""

from collections.abc import Sequence


class ApidexError(Exception):
    """Base of every error below; its text is one sentence that a person can act on."""


class SettingsError(ApidexError):
    """A setting cannot be used. The text names the variable, the value and what is allowed."""


class QueryError(ApidexError):
    """A search cannot be done as asked: *name* is the filter, *value* what it said, *allowed* what it may say."""

    def __init__(self, name: str, value: str, allowed: Sequence[str]) -> None:
        shown = value if len(value) <= 80 else f"{value[:80]}…"
        super().__init__(f"{name}: {shown!r} is not allowed; allowed are {', '.join(allowed)}")
        self.name, self.value, self.allowed = name, value, allowed


class EntryError(ApidexError):
    """A row cannot become an entry; the text is the reason that the parse report shows."""


class CatalogueError(ApidexError):
    """An upstream answer is refused. *reason* is one word for counters; the text says it to a person."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class UpstreamError(ApidexError):
    """The upstream could not be read. *kind* is one word for counters, *retry_after* in seconds where it was told."""

    def __init__(self, kind: str, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.retry_after = retry_after


class WireError(ApidexError):
    """Bytes from Redis are not the catalogue that they should be. *kind* is one word for counters."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class CacheError(ApidexError):
    """Redis did not do what it was asked, or may have done it without saying so. *kind* is one word for counters."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind

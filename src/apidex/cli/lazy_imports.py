"""Starting fast: a server imports what it uses, and libraries are kept from what they import for terminals."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_FOR_TERMINALS = ("rich", "pygments", "rich.console")


@contextmanager
def without_terminals() -> Iterator[None]:
    """Import here what would import rich for nothing, as if that were not installed: structlog and httpx are made for that.

    Together they would spend a quarter of a second and eight megabytes on it at every start of a replica.
    """
    hidden = [name for name in _FOR_TERMINALS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # None makes an import fail (Python's reference, 5.3.1)
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]

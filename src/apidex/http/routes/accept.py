"""Which media type a request prefers (RFC 9110, section 12.5.1)."""

from collections.abc import Iterable, Sequence

from litestar.datastructures.headers import Accept

from apidex.http.headers import PREFERENCES_LIMIT, header_value


def preferred(headers: Iterable[tuple[bytes, bytes]], media_types: Sequence[str]) -> str:
    """The one of *media_types* that the Accept header prefers; the first if that accepts none, or is malformed or too long."""
    value = header_value(headers, b"accept")
    if len(value) > PREFERENCES_LIMIT:
        return media_types[0]
    try:
        accept = Accept(value.decode("latin-1"))
        best = accept.best_match(list(media_types), default=media_types[0])
    except OverflowError:  # Litestar takes any number for a weight, and cannot sort by `q=inf`
        best = None
    return best or media_types[0]

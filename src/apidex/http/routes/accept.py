"""Which media type a request prefers (RFC 9110, section 12.5.1)."""

from collections.abc import Iterable, Sequence

from apidex.http.headers import PREFERENCES_LIMIT, header_value, weights


def preferred(headers: Iterable[tuple[bytes, bytes]], media_types: Sequence[str]) -> str:
    """The one of *media_types* that the Accept header prefers; the first if that accepts none, or is malformed or too long."""
    value = header_value(headers, b"accept")
    ranges = weights(value) if len(value) <= PREFERENCES_LIMIT else {}
    order = list(ranges)

    def preference(media_type: str) -> tuple[float, int, int]:
        """The weight of the most specific range that has *media_type*; of equal weights, the more specific, then the first."""
        for less_specific, each in enumerate((media_type, f"{media_type.partition('/')[0]}/*", "*/*")):
            if weight := ranges.get(each.encode(), 0.0):
                return weight, -less_specific, -order.index(each.encode())
            if each.encode() in ranges:  # not acceptable, whatever a wider range says
                break
        return 0.0, 0, 0

    return max(media_types, key=preference)

"""The format `publicapis`: what api.publicapis.org/entries answered, `{"count": N, "entries": [{"API": …}, …]}`."""

from collections.abc import Iterator
from typing import TypeGuard

import msgspec

from apidex.catalogue.formats.report import Report, Row

NAME = "publicapis"

_TEXTS = {
    "API": "name",
    "Description": "description",
    "Auth": "auth",
    "Cors": "cors",
    "Link": "link",
    "Category": "category",
}

_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}

_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def recognises(document: object) -> TypeGuard[dict[str, msgspec.Raw]]:
    """Whether *document* is an object with a list of entries; the old service had null for an empty list."""
    if not isinstance(document, dict) or "entries" not in document:
        return False
    return _first_byte(document["entries"]) in b"[n"


def rows(document: dict[str, msgspec.Raw], report: Report) -> Iterator[Row]:  # noqa: ARG001 - one signature for every format
    """The rows of the list, in order."""
    entries = document["entries"]
    if _first_byte(entries) == b"[":
        for place, item in enumerate(_decode_list(entries), start=1):
            yield _row(place, msgspec.json.decode(item))


def _first_byte(raw: msgspec.Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def _row(place: int, item: object) -> Row:
    if not isinstance(item, dict):
        return Row(place, "", error=f"it is {_KINDS.get(type(item), 'null')}, not an object")
    name = item.get("API")
    row = Row(place, name if isinstance(name, str) else "")
    for key, attribute in _TEXTS.items():
        value = item.get(key, "")
        if isinstance(value, str):
            setattr(row, attribute, value)
        else:
            row.error = f"its {key!r} is {_KINDS.get(type(value), 'null')}, not a string"
            return row
    row.cors = row.cors or "unknown"
    row.https = item.get("HTTPS") is True
    if not isinstance(item.get("HTTPS"), bool):
        row.repairs.append("its 'HTTPS' is not a boolean; it became false")
    return row

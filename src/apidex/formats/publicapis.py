"""The format `publicapis`: what api.publicapis.org/entries answered, `{"count": N, "entries": [{"API": …}, …]}`."""

from collections.abc import Iterator
from typing import Any, TypeGuard

from apidex.formats.report import Report, Row

NAME = "publicapis"

_TEXTS = {
    "API": "name",
    "Description": "description",
    "Auth": "auth",
    "Cors": "cors",
    "Link": "link",
    "Category": "category",
}


def recognises(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether this is an object with a list of entries; a null in its place is the old service's empty list."""
    return isinstance(document, dict) and "entries" in document and isinstance(document["entries"], list | None)


def rows(document: dict[str, Any], report: Report) -> Iterator[Row]:  # noqa: ARG001 - one signature for every format
    """The rows of the list, in order."""
    for place, item in enumerate(document["entries"] or (), start=1):
        yield _row(place, item)


def _row(place: int, item: object) -> Row:
    if not isinstance(item, dict):
        return Row(place, "", wrong=f"it is {_kind(item)}, not an object")
    name = item.get("API")
    row = Row(place, name if isinstance(name, str) else "")
    for key, attribute in _TEXTS.items():
        value = item.get(key, "")
        if isinstance(value, str):
            setattr(row, attribute, value)
        else:
            row.wrong = f"its {key!r} is {_kind(value)}, not a string"
            return row
    row.cors = row.cors or "unknown"
    row.https = item.get("HTTPS") is True
    if not isinstance(item.get("HTTPS"), bool):
        row.mended.append("its 'HTTPS' is neither true nor false, and became false")
    return row


def _kind(value: object) -> str:
    return {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        type(None): "null",
    }[type(value)]

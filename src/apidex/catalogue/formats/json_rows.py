"""Rows of JSON: objects with the keys of an entry, or with synonyms of these. Pure."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from apidex.catalogue.entry import TEXT_LIMIT, Entry
from apidex.catalogue.formats.fields import field_of
from apidex.catalogue.formats.markup import plain_text
from apidex.catalogue.formats.row import Row, is_normal, kind_of, row_of, text_of


class _Auth(msgspec.Struct, gc=False, rename={"auth": "Auth"}):
    auth: str


_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_auth = msgspec.json.Decoder(_Auth).decode
_decode = msgspec.json.Decoder().decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_field_of = lru_cache(1024)(field_of)


def items_of(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """The members of a JSON list; none for another value."""
    return _decode_list(raw) if first_byte(raw) == b"[" else []


def first_byte(raw: msgspec.Raw) -> bytes:
    """The byte that tells the type of a JSON value."""
    return bytes(memoryview(raw)[:1])


def decoded(raw: msgspec.Raw) -> object:
    """The value of *raw*; None where it is malformed, such as a number out of range."""
    try:
        return _decode(raw)
    except _MALFORMED:
        return None


def row(place: int, raw: msgspec.Raw, category: str = "") -> Row | Entry:
    """The row that *raw* says, or its entry. *category* is that of objects which say none themselves."""
    try:
        entry = _decode_entry(raw)
    except _MALFORMED:
        return _row_of_any(place, raw, category)
    description = plain_text(entry.description)
    is_short = len(memoryview(raw)) <= TEXT_LIMIT
    if is_short and description is entry.description and (entry.category or not category) and is_normal(entry):
        return entry
    row = row_of(place, entry)
    row.description, row.category = description, entry.category or category
    return row


def _row_of_any(place: int, raw: msgspec.Raw, category: str) -> Row:
    try:
        item = _decode(raw)
    except _MALFORMED as error:
        return Row(place, "", error=f"it is malformed JSON: {error}")
    if not isinstance(item, dict):
        return Row(place, "", error=f"it is {kind_of(item)}, not an object")
    said = fields_of(item)
    row = Row(place, said.pop("name", None), category=category)
    for field, value in said.items():
        setattr(row, field, value)
    if isinstance(row.description, str):
        row.description = plain_text(row.description)
    return row


def fields_of(item: dict[str, Any]) -> dict[str, Any]:
    """The values of an object that say something, by the field of an entry. Of two synonyms, the first counts."""
    said: dict[str, Any] = {}
    for key, value in item.items():
        if value is not None and value != "" and (field := _field_of(key)) and field not in said:
            said[field] = _simple(field, value)
    return said


def _simple(field: str, value: Any) -> Any:  # noqa: ANN401 - any value of JSON
    """The first category of a list, and the link or the name of an object, such as `{"url": …}`."""
    if field == "category" and isinstance(value, list):
        return next(filter(None, map(text_of, value)), None)
    if isinstance(value, dict):
        inner = [
            each for key, each in value.items() if isinstance(each, str) and _field_of(key) in (field, "link", "name")
        ]
        return inner[0] if inner else value
    return value


def auths(raws: Iterable[msgspec.Raw]) -> Iterator[object]:
    """What each of *raws* says of authentication, as it says it."""
    for raw in raws:
        try:
            yield _decode_auth(raw).auth
        except _MALFORMED:
            item = decoded(raw)
            if isinstance(item, dict):
                yield next((value for key, value in item.items() if _field_of(key) == "auth"), None)

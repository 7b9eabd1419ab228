"""Rows of JSON: objects with the keys of an entry, or with synonyms of these. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from apidex.catalogue.entry import TEXT_LIMIT, Entry
from apidex.catalogue.formats.fields import rank_of
from apidex.catalogue.formats.markup import plain_text
from apidex.catalogue.formats.row import Row, is_normal, kind_of, row_of, text_of


class _Auth(msgspec.Struct, gc=False, rename={"auth": "Auth"}):
    auth: str


MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a text that is not JSON, or not of the expected type."""

_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_auth = msgspec.json.Decoder(_Auth).decode
_decode = msgspec.json.Decoder(float_hook=str).decode  # reading a float can take a microsecond for each byte
decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def items_of(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """The members of a JSON list; none for another value."""
    return decode_list(raw) if first_byte(raw) == b"[" else []


def members_of(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The members of a JSON object; none for another value."""
    try:
        return decode_members(raw) if first_byte(raw) == b"{" else {}
    except MALFORMED:
        return {}


def first_byte(raw: msgspec.Raw) -> bytes:
    """The byte that tells the type of a JSON value."""
    return bytes(memoryview(raw)[:1])


def decoded(raw: msgspec.Raw) -> object:
    """The value of *raw*; None where it is malformed, such as a number out of range."""
    try:
        return _decode(raw)
    except MALFORMED:
        return None


def row(place: int, raw: msgspec.Raw, category: str = "", name: str = "") -> Row | Entry:
    """The row of *raw*, or its entry. *category* and *name* are used if the object does not have its own."""
    try:
        entry = _decode_entry(raw)
    except MALFORMED:
        return _row_of_any(place, raw, category, name)
    description = plain_text(entry.description)
    is_short = len(memoryview(raw)) <= TEXT_LIMIT
    if is_short and description is entry.description and (entry.category or not category) and is_normal(entry):
        return entry
    row = row_of(place, entry)
    row.description, row.category = description, entry.category or category
    return row


def _row_of_any(place: int, raw: msgspec.Raw, category: str, name: str) -> Row:
    try:
        item = _decode(raw)
    except MALFORMED as error:  # of one value, perhaps, such as a number out of range
        item = {key: decoded(value) for key, value in members_of(raw).items()}
        if not item:
            return Row(place, name, error=f"it is malformed JSON: {error}")
    if not isinstance(item, dict):
        return Row(place, name, error=f"it is {kind_of(item)}, not an object")
    said = fields_of(item)
    row = Row(place, said.pop("name", name or None), category=category)
    for field, value in said.items():
        setattr(row, field, value)
    if isinstance(row.description, str):
        row.description = plain_text(row.description)
    return row


def fields_of(item: dict[str, Any]) -> dict[str, Any]:
    """The values of an object that are not empty, by the field of an entry. Of two synonyms, the one listed first counts."""
    said: dict[str, tuple[int, Any]] = {}
    for key, value in item.items():
        if value not in (None, "", [], {}) and (ranked := rank_of(key)):
            rank, field = ranked
            if field not in said or rank < said[field][0]:
                said[field] = rank, value
    return {field: _simple(field, value) for field, (_, value) in said.items()}


def _simple(field: str, value: Any) -> Any:  # noqa: ANN401 - any value of JSON
    """The first category or link of a list, and the link or the name of an object, such as `{"url": …}`."""
    if field in ("category", "link") and isinstance(value, list):
        return next(filter(None, (text_of(_simple(field, each)) for each in value if not isinstance(each, list))), None)
    if isinstance(value, dict):
        texts = {key: each for key, each in value.items() if isinstance(each, str)}
        inner = fields_of(texts)
        kind = texts.get("type") if field == "auth" else None  # as OpenAPI calls it
        return inner.get(field) or inner.get("name") or kind or inner.get("link") or value
    return value


def auths(raws: Iterable[msgspec.Raw]) -> Iterator[object]:
    """What each of *raws* says of authentication, as it says it."""
    for raw in raws:
        try:
            yield _decode_auth(raw).auth
        except MALFORMED:
            item = decoded(raw)
            if isinstance(item, dict):
                yield fields_of(item).get("auth")

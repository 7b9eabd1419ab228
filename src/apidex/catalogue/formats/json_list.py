"""The format `json`: other lists of objects with a name. Their keys are those of `publicapis`, or synonyms.

[{"name": "Cat Facts", "url": "https://…"}]
{"apis": [{"name": "Cat Facts"}]}
{"Animals": [{"name": "Cat Facts"}], "Games": [{"name": "Chess"}]}
{"categories": [{"name": "Animals", "apis": [{"name": "Cat Facts"}]}]}
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import TypeGuard

import msgspec

from apidex.catalogue.entry import Entry
from apidex.catalogue.formats import json_rows
from apidex.catalogue.formats.report import Report
from apidex.catalogue.formats.row import Row, text_of

NAME = "json"

_LIST_KEYS = {
    "apis",
    "api",
    "entries",
    "items",
    "data",
    "results",
    "list",
    "services",
    "categories",
    "resources",
    "endpoints",
}
"""Keys, in lower case, that say of a list that it is one. Other keys are the category of their list."""

_SAMPLE = 1000
"""Rows that are looked at, across the document, to recognise it."""

_HAS_LIST = re.compile(rb'":\s{0,8}\[\s{0,8}\{').search

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

Document = list[msgspec.Raw] | dict[str, msgspec.Raw]


def recognises(document: object) -> TypeGuard[Document]:
    """Whether *document* is a list, or an object with lists, in which most members are objects with a name."""
    if isinstance(document, list) and not document:
        return True
    members = _sample(document)
    named = [member for member in members if isinstance(member, dict) and "name" in json_rows.fields_of(member)]
    return len(named) * 2 > len(members)


def seen(document: object) -> str:
    """The keys of *document*, or of the first object in its list, and what is missing; empty for other values."""
    member = next((each for each in _sample(document) if isinstance(each, dict)), None)
    if member is not None:
        lacks = (
            "one for names, such as API or name"
            if "name" not in json_rows.fields_of(member)
            else "names in most objects"
        )
        return f"its objects have the keys {_names(member)}; missing is {lacks}"
    if isinstance(document, dict) and document:
        return f"it has the keys {_names(document)}; missing is a list of objects"
    return ""


def rows(document: Document, report: Report) -> Iterator[Row | Entry]:  # noqa: ARG001 - one signature for every format
    """The rows of all lists, in order."""
    for place, (raw, category) in enumerate(_members(document), start=1):
        yield json_rows.row(place, raw, category)


def auths(document: Document) -> Iterator[object]:
    """What each object says of authentication."""
    return json_rows.auths(raw for raw, _ in _members(document))


def _names(keys: dict[str, object]) -> str:
    return ", ".join(repr(key[:40]) for key in islice(keys, 20))


def _sample(document: object) -> list[object]:
    if not isinstance(document, list | dict):
        return []
    members = list(_members(document))
    return [json_rows.decoded(raw) for raw, _ in members[:: len(members) // _SAMPLE + 1]]


def _members(document: Document) -> Iterator[tuple[msgspec.Raw, str]]:
    """Every object of the document's lists, with the category that it stands under."""
    if isinstance(document, list):
        yield from _inner_members(document, "")
    else:
        for key, raw in document.items():
            yield from _inner_members(json_rows.items_of(raw), "" if key.lower() in _LIST_KEYS else key)


def _inner_members(raws: list[msgspec.Raw], category: str) -> Iterator[tuple[msgspec.Raw, str]]:
    for raw in raws:
        members = _group(raw)
        if members is None:
            yield raw, category
        else:
            yield from members


def _group(raw: msgspec.Raw) -> list[tuple[msgspec.Raw, str]] | None:
    """The members of an object that stands for a category, `{"name": "Animals", "apis": […]}`; None for another value."""
    if not _HAS_LIST(memoryview(raw)):
        return None
    try:
        item = _decode_members(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    inner = next(
        (raw for key, raw in item.items() if key.lower() in _LIST_KEYS and json_rows.first_byte(raw) == b"["), None
    )
    if inner is None:
        return None
    texts = {key: json_rows.decoded(raw) for key, raw in item.items() if json_rows.first_byte(raw) not in b"[{"}
    category = text_of(json_rows.fields_of(texts).get("name"))
    return [(each, category) for each in json_rows.items_of(inner)]

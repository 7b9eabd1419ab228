"""The format `json`: other lists of objects with a name. Their keys are those of `publicapis`, or synonyms.

[{"name": "Cat Facts", "url": "https://…"}]
{"apis": [{"name": "Cat Facts"}], "maintainers": [{"name": "Ann"}]}
{"Animals": [{"name": "Cat Facts"}], "Games": [{"name": "Chess"}]}
{"categories": [{"name": "Animals", "apis": [{"name": "Cat Facts"}]}]}
{"data": {"items": [{"name": "Cat Facts"}]}}
{"Cat Facts": {"url": "https://…"}}
{"Animals": {"Cat Facts": {"url": "https://…"}}}
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
    "_embedded",
}
"""Keys, in lower case, that say of a list that it is one. Other keys are the category of their list."""

_LISTS_OF_APIS = {"apis", "api", "entries", "services"}
"""Those of them that say what its items are. The others are also lists of one API."""

_ALL_APIS = {"apis", "entries"}
"""If an object has one of these keys, its other lists are something else, such as maintainers or tags."""

_SAMPLE = 1000
"""Rows that are looked at, across the document, to recognise it."""

_HAS_LIST = re.compile(rb'":\s{0,8}\[\s{0,8}[{\]]').search

Document = list[msgspec.Raw] | dict[str, msgspec.Raw]


def recognises(document: object) -> TypeGuard[Document]:
    """Whether *document* is a list, or an object with lists, in which most members are objects with a name."""
    if isinstance(document, list) and not document:
        return True
    members = _sample(document)
    return sum(map(_has_name, members)) * 2 > len(members)


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


def rows(document: Document, report: Report) -> Iterator[Row | Entry]:
    """The rows of all lists of APIs, in order. Other lists beside them go to *report* as ignored."""
    unwrapped = _unwrapped(document)
    if isinstance(unwrapped, dict) and (lists := _lists(unwrapped)):
        for place, (key, raw) in enumerate(unwrapped.items(), start=1):
            if key not in lists and json_rows.items_of(raw):
                report.ignored.add(place, key, "not a list of APIs")
    for place, member in enumerate(_members(document), start=1):
        yield json_rows.row(place, *member)


def auths(document: Document) -> Iterator[object]:
    """What each object says of authentication."""
    return json_rows.auths(raw for raw, _, _ in _members(document))


def _names(keys: dict[str, object]) -> str:
    return ", ".join(repr(key[:40]) for key in islice(keys, 20))


def _sample(document: object) -> list[object]:
    if not isinstance(document, list | dict):
        return []
    members = list(_members(document))
    return [_decoded(*member) for member in members[:: len(members) // _SAMPLE + 1]]


def _decoded(raw: msgspec.Raw, category: str, name: str) -> object:  # noqa: ARG001 - a member
    """The value of a member. An object that has its key for a name has it, if it says what it is or where."""
    value = json_rows.decoded(raw)
    is_named = name and isinstance(value, dict) and not {"link", "description"}.isdisjoint(json_rows.fields_of(value))
    return {"name": name, **value} if is_named else value  # type: ignore[dict-item] # a dict


def _has_name(value: object) -> bool:
    return isinstance(value, dict) and "name" in json_rows.fields_of(value)


_Member = tuple[msgspec.Raw, str, str]
"""A value with its category and its key; both are empty in lists."""


def _members(document: Document) -> Iterator[_Member]:
    """Every value of the document's `_lists`. If it has none: its objects, and the members of those that are not entries."""
    document = _unwrapped(document)
    if isinstance(document, list):
        yield from _in_list(document, "")
    elif lists := _lists(document):
        for key, raw in lists.items():
            yield from _in_list(json_rows.items_of(raw), _category(key))
    else:
        for key, raw in document.items():
            inner = json_rows.members_of(raw)
            if inner and all(json_rows.first_byte(each) == b"{" for each in inner.values()):
                yield from ((each, _category(key), name) for name, each in inner.items())
            else:
                yield raw, "", key


def _unwrapped(document: Document) -> Document:
    """The object in an object that has no list, such as `{"data": {"items": […]}}`, if it has one."""
    if isinstance(document, list) or _lists(document):
        return document
    inner = [json_rows.members_of(raw) for key, raw in document.items() if key.lower() in _LIST_KEYS]
    return next(filter(_lists, inner), document)


def _lists(members: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """The lists of objects among *members*; only those of APIs, if a key says that they are."""
    lists = {key: raw for key, raw in members.items() if _has_object(json_rows.items_of(raw))}
    return {key: raw for key, raw in lists.items() if key in _ALL_APIS} or lists


def _category(key: str) -> str:
    return "" if key.lower() in _LIST_KEYS else key


def _in_list(raws: list[msgspec.Raw], category: str) -> Iterator[_Member]:
    for raw in raws:
        members = _group(raw)
        if members is None:
            yield raw, category, ""
        else:
            yield from members


def _group(raw: msgspec.Raw) -> list[_Member] | None:
    """The members of an object that stands for a category, `{"name": "Animals", "apis": […]}`; None for another value.

    An object with a link and a description is an entry if its list has another name than one of APIs, and so is one with a link
    if its list is empty.
    """
    if not _HAS_LIST(memoryview(raw)):
        return None
    item = json_rows.members_of(raw)
    lists = {key.lower(): json_rows.items_of(raw) for key, raw in item.items() if json_rows.first_byte(raw) == b"["}
    name = next((key for key, items in lists.items() if key in _LIST_KEYS and (not items or _has_object(items))), None)
    if name is None:
        return None
    texts = {key: json_rows.decoded(raw) for key, raw in item.items() if json_rows.first_byte(raw) not in b"[{"}
    fields = json_rows.fields_of(texts)
    if name not in _LISTS_OF_APIS and fields.keys() >= {"link", "description"}:
        return None
    if not lists[name] and (name not in _LISTS_OF_APIS or "link" in fields):
        return None
    category = text_of(fields.get("name"))
    return [(each, category, "") for each in lists[name]]


def _has_object(items: list[msgspec.Raw]) -> bool:
    return any(json_rows.first_byte(item) == b"{" for item in items)

"""The format `apis.guru`: its `list.json`, `{"provider:service": {"preferred": "1.0", "versions": {"1.0": {"info": …}}}}`.

It has neither authentication nor CORS, which are "unknown" here. The category is the first one that the list names. The provider
is the one that the list names, or else the first part of the key.
"""

from collections.abc import Iterator
from typing import Any, TypeGuard

import msgspec

from apidex.catalogue.formats.json_rows import MALFORMED, decoded
from apidex.catalogue.formats.markup import plain_text
from apidex.catalogue.formats.report import Report
from apidex.catalogue.formats.row import Row, kind_of

NAME = "apis.guru"


class _API(msgspec.Struct, gc=False):
    versions: dict[str, msgspec.Raw]


_decode_api = msgspec.json.Decoder(_API).decode


def recognises(document: object) -> TypeGuard[dict[str, msgspec.Raw]]:
    """Whether *document* is an object of which most members are objects with versions."""
    return isinstance(document, dict) and sum(map(_has_versions, document.values())) * 2 > len(document)


def _has_versions(raw: msgspec.Raw) -> bool:
    try:
        _decode_api(raw)
    except MALFORMED:
        return False
    return True


def rows(document: dict[str, msgspec.Raw], report: Report) -> Iterator[Row]:  # noqa: ARG001 - one signature for every format
    """A row for each API, in document order: its preferred version, or else its last one."""
    for place, (key, raw) in enumerate(document.items(), start=1):
        yield _row(place, key, decoded(raw))


def auths(document: dict[str, msgspec.Raw]) -> Iterator[object]:  # noqa: ARG001 - one signature for every format
    """Nothing: the list says nothing of authentication."""
    return iter(())


def _row(place: int, key: str, item: object) -> Row:
    if not isinstance(item, dict):
        return Row(place, key, error=f"it is {kind_of(item)}, not an object")
    versions, preferred = item.get("versions"), item.get("preferred")
    if not isinstance(versions, dict):
        return Row(place, key, error="it has no 'versions' object")
    version = versions.get(preferred if isinstance(preferred, str) else "") or next(reversed(versions.values()), None)
    if not isinstance(version, dict) or not isinstance(version.get("info"), dict):
        return Row(place, key, error="its version has no 'info' object")
    info = version["info"]
    row = Row(place, info.get("title"), auth="unknown", link=_link(version, info), category=_category(info))
    row.provider = _text(info, "x-providerName") or key.partition(":")[0]
    if not _text(info, "title").strip():
        row.name = key
        row.repair("name", "", key, "it has no title; its key became the name")
    row.description = plain_text(_text(info, "description").strip())
    return row


def _text(mapping: dict[str, Any], key: str) -> str:
    value = mapping.get(key)
    return value if isinstance(value, str) else ""


def _link(version: dict[str, Any], info: dict[str, Any]) -> str:
    """The API's own pages if it names any, else its description file."""
    for holder in (version.get("externalDocs"), info.get("contact")):
        if isinstance(holder, dict) and (url := _text(holder, "url")):
            return url
    return _text(version, "link") or _text(version, "swaggerUrl")


def _category(info: dict[str, Any]) -> str:
    categories = info.get("x-apisguru-categories")
    first = categories[0] if isinstance(categories, list) and categories else ""
    return first if isinstance(first, str) and first else "uncategorized"

"""The format `apis.guru`: its `list.json`, `{"provider:service": {"preferred": "1.0", "versions": {"1.0": {"info": …}}}}`.

It has neither authentication nor CORS, which are "unknown" here. The category is the first of its list.
"""

from collections.abc import Iterator
from typing import Any, TypeGuard

import msgspec

from apidex.catalogue.formats.report import Report, Row

NAME = "apis.guru"


def recognises(document: object) -> TypeGuard[dict[str, msgspec.Raw]]:
    """Whether *document* is an object of objects that all have versions."""
    return isinstance(document, dict) and bool(document) and all(map(_has_versions, document.values()))


def _has_versions(raw: msgspec.Raw) -> bool:
    item = msgspec.json.decode(raw)
    return isinstance(item, dict) and isinstance(item.get("versions"), dict)


def rows(document: dict[str, msgspec.Raw], report: Report) -> Iterator[Row]:  # noqa: ARG001 - one signature for every format
    """A row for each API, in document order: its preferred version, or else its last one."""
    for place, (key, item) in enumerate(document.items(), start=1):
        yield _row(place, key, msgspec.json.decode(item))


def _row(place: int, key: str, item: dict[str, Any]) -> Row:
    versions = item["versions"]
    preferred = item.get("preferred")
    version = versions.get(preferred if isinstance(preferred, str) else "") or next(reversed(versions.values()), None)
    if not isinstance(version, dict) or not isinstance(version.get("info"), dict):
        return Row(place, key, error="its version has no 'info' object")
    info = version["info"]
    link = _link(version, info)
    row = Row(place, _text(info, "title"), auth="unknown", https=link.startswith("https:"), link=link)
    if not row.name.strip():
        row.name = key
        row.repairs.append("it has no title; its key became the name")
    row.description = next(iter(_text(info, "description").strip().splitlines()), "")
    row.category = _category(info)
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

"""Upstream formats: bytes -> Catalogue and a report of how they were read.

One module for each format, with a NAME, `recognises(document)` and `rows(document, report)`. Pure, like the catalogue.
"""

from types import ModuleType

import msgspec

from apidex.errors import CatalogueError
from apidex.formats import apis_guru, markdown, publicapis
from apidex.formats.report import Parsed, Remark, Report, parsed

__all__ = ["FORMATS", "Parsed", "Remark", "Report", "parse"]

FORMATS: dict[str, ModuleType] = {module.NAME: module for module in (publicapis, markdown, apis_guru)}

_HTML_STARTS = ("<!doctype html", "<html", "<head", "<body")


def parse(body: bytes, format_name: str | None = None) -> Parsed:
    """Read an upstream's answer, in the format named or in the one that it looks like.

    Raises CatalogueError, with reason `format` (no such format), `unreadable` or `empty`.
    """
    document = _document(body)
    module = FORMATS[format_name] if format_name else _recognise(document)
    if not module.recognises(document):
        raise CatalogueError("format", f"this is not the format {format_name!r}{_looks_like(document)}")
    report = Report(module.NAME)
    return parsed(report, module.rows(document, report))


def _document(body: bytes) -> object:
    """The JSON value that *body* holds, or else its text."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogueError("format", f"this is no UTF-8 text (byte {error.start})") from None
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise CatalogueError("format", "this JSON is nested too deeply") from None
    except msgspec.DecodeError as error:
        # a markdown text can begin with a link
        if text.lstrip().startswith("[") and markdown.recognises(text):
            return text
        raise CatalogueError("format", f"this begins like JSON, but is not: {error}") from None


def _recognise(document: object) -> ModuleType:
    for module in FORMATS.values():
        if module.recognises(document):
            return module
    known = ", ".join(FORMATS)
    raise CatalogueError("format", f"this is none of the formats {known}{_looks_like(document)}")


def _looks_like(document: object) -> str:
    if isinstance(document, str):
        if not document.strip():
            return ": it is empty"
        return (
            ": it is an HTML page"
            if document.lstrip()[:20].lower().startswith(_HTML_STARTS)
            else ": it is some other text"
        )
    return ": it is some other JSON"

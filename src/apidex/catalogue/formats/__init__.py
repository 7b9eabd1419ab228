"""Upstream formats: bytes -> Catalogue and a report of how they were read.

One module for each format, with a NAME, `recognises(document)` and `rows(document, report)`. A document is a text, or a JSON
value; the members of an object are decoded only as the rows are read, so that a large one is never there in whole. Pure, like the
catalogue.
"""

import codecs
from types import ModuleType

import msgspec

from apidex.catalogue.buffers import ByteBuffer
from apidex.catalogue.catalogue import CatalogueSink
from apidex.catalogue.formats import apis_guru, markdown, publicapis
from apidex.catalogue.formats.report import Parsed, Report, RowIssue, parsed
from apidex.errors import CatalogueError

__all__ = ["FORMATS", "Parsed", "Report", "RowIssue", "parse"]

FORMATS: dict[str, ModuleType] = {module.NAME: module for module in (publicapis, markdown, apis_guru)}

_PIECE = 2**20

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_HTML_STARTS = ("<!doctype html", "<html", "<head", "<body")


def parse(body: ByteBuffer, format_name: str | None = None, sink: CatalogueSink | None = None) -> Parsed:
    """Read an upstream's answer, in the format named or in the one that it looks like, and write the catalogue on *sink*.

    Raises CatalogueError, with reason `format` (no such format), `unreadable` or `empty`.
    """
    document = _document(body)
    module = FORMATS[format_name] if format_name else _recognise(document)
    if not module.recognises(document):
        raise CatalogueError("format", f"this is not the format {format_name!r}{_looks_like(document)}")
    report = Report(module.NAME)
    try:
        return parsed(report, module.rows(document, report), sink)
    except msgspec.DecodeError as error:
        raise _no_json(error) from None


def _document(body: ByteBuffer) -> object:
    """The JSON value that *body* holds, an object with its members as they came (`msgspec.Raw`); or else its text."""
    _check_text(body)
    body = body[len(codecs.BOM_UTF8) :] if body[:3] == codecs.BOM_UTF8 else body
    begin = bytes(body[:_PIECE]).lstrip()
    try:
        if begin.startswith(b"{"):
            return _decode_members(body)
        return msgspec.json.decode(body) if begin.startswith(b"[") else str(body, "utf-8")
    except RecursionError:
        raise CatalogueError("format", "this JSON is nested too deeply") from None
    except msgspec.DecodeError as error:
        # a markdown text can begin with a link
        if begin.startswith(b"[") and markdown.recognises(text := str(body, "utf-8")):
            return text
        raise _no_json(error) from None


def _check_text(body: ByteBuffer) -> None:
    """Raises CatalogueError for what is no UTF-8. Looks at some of it at a time: as a str it takes up to four times its size."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _PIECE):
        before = len(decoder.getstate()[0])
        try:
            decoder.decode(body[start : start + _PIECE], final=start + _PIECE >= len(body))
        except UnicodeDecodeError as error:
            raise CatalogueError("format", f"this is no UTF-8 text (byte {start - before + error.start})") from None


def _no_json(error: msgspec.DecodeError) -> CatalogueError:
    return CatalogueError("format", f"this begins like JSON, but is not: {error}")


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

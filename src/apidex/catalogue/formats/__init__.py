"""Upstream formats: from bytes to a Catalogue, with a Report of how they were read. Pure.

A format is a module, registered in FORMATS. A document is a text or a JSON value. The members of a JSON value are decoded only
when their rows are read, so that a large object is never in memory as a whole.
"""

import codecs
import re
from collections.abc import Iterable

import msgspec

from apidex.catalogue.buffers import ByteBuffer
from apidex.catalogue.catalogue import CatalogueSink
from apidex.catalogue.formats import apis_guru, bullets, json_list, markdown, publicapis
from apidex.catalogue.formats.delimited import CSV, TSV
from apidex.catalogue.formats.json_rows import decode_list, decode_members
from apidex.catalogue.formats.report import Format, Parsed, Report, RowIssue, read_rows
from apidex.errors import CatalogueError

__all__ = ["FORMATS", "Parsed", "Report", "RowIssue", "parse"]

_REGISTERED: tuple[Format, ...] = (publicapis, markdown, CSV, TSV, apis_guru, json_list, bullets)

FORMATS = {registered.NAME: registered for registered in _REGISTERED}
"""Every format by its name. Settings, command line and error texts follow."""

_PIECE = 2**20

_LEAD = 10
"""Lines among which an object tells that a text has one in each line."""

_ESCAPE = re.compile(
    rb"\\(?:u(?:(d[89ab]..(?!\\ud[c-f])|d[c-f]..)|d[89ab]..\\u....)|.)".replace(b"..", b"[0-9a-f]{2}"),
    re.IGNORECASE | re.DOTALL,
)
"""An escape in JSON. The group is half of a surrogate pair (RFC 8259, section 8.2), which JavaScript leaves where it cuts."""


def parse(
    body: ByteBuffer, format_name: str | None = None, sink: CatalogueSink | None = None, report: Report | None = None
) -> Parsed:
    """Read an upstream's response, in the format named or recognised by content, and write the catalogue to *sink*.

    The *report*, if one is given, is filled in, even if reading fails later.

    Raises CatalogueError with the reason `format` (another format, or an unknown one), `unreadable` or `empty`.
    """
    document = _document(body)
    recognised = _recognised(document, [FORMATS[format_name]] if format_name else _REGISTERED)
    if recognised is None:
        found = _description(document)
        unknown = f"unknown format: {found}; allowed are {', '.join(FORMATS)}"
        raise CatalogueError("format", f"the format is not {format_name!r}: {found}" if format_name else unknown)
    try:
        return read_rows(recognised, document, sink, report or Report())
    except msgspec.DecodeError as error:
        raise _malformed(error) from None


def _document(body: ByteBuffer) -> object:
    """The JSON value in *body*, with the members of an object or a list as `msgspec.Raw`; or its text if it is not JSON."""
    _check_text(body)
    body = body[len(codecs.BOM_UTF8) :] if body[:3] == codecs.BOM_UTF8 else body
    start = bytes(body[:_PIECE]).lstrip()
    try:
        if start.startswith(b"{"):
            return decode_members(body)
        return decode_list(body) if start.startswith(b"[") else str(body, "utf-8")
    except (msgspec.DecodeError, RecursionError) as error:
        if b"\\ud" in bytes(body).lower() and (whole := _ESCAPE.sub(_without_half, body)) != body:
            return _document(whole)
        if start.startswith(b"{") and (objects := _lines_of_json(body)):
            return objects
        # a text can begin with a link, as in Markdown
        if start.startswith(b"[") and _recognised(text := str(body, "utf-8"), _REGISTERED):
            return text
        nested = CatalogueError("format", "the JSON is nested too deeply")
        raise (_malformed(error) if isinstance(error, msgspec.DecodeError) else nested) from None


def _without_half(escape: re.Match[bytes]) -> bytes:
    """U+FFFD in place of half of a surrogate pair, so that it costs a character and not the list."""
    return b"\\ufffd" if escape[1] else escape[0]


def _lines_of_json(body: ByteBuffer) -> list[msgspec.Raw]:
    """The values of a text with one object in each line (NDJSON); none for other texts."""
    text = bytes(body)
    # the lines of an indented document are not objects, even if they hold some
    if not any(line.startswith(b"{") and _is_object(line) for line in text.split(b"\n", _LEAD)[:_LEAD]):
        return []
    return [msgspec.Raw(line) for line in text.split(b"\n") if line.strip()]


def _is_object(line: bytes) -> bool:
    try:
        decode_members(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _check_text(body: ByteBuffer) -> None:
    """Raise CatalogueError unless *body* is UTF-8. Decodes it in pieces: as a str it takes up to four times its size."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _PIECE):
        before = len(decoder.getstate()[0])
        try:
            decoder.decode(body[start : start + _PIECE], final=start + _PIECE >= len(body))
        except UnicodeDecodeError as error:
            raise CatalogueError("format", f"the text is not UTF-8 (byte {start - before + error.start})") from None


def _malformed(error: msgspec.DecodeError) -> CatalogueError:
    return CatalogueError("format", f"malformed JSON: {error}")


def _recognised(document: object, formats: Iterable[Format]) -> Format | None:
    """The first of *formats* that recognises *document*."""
    return next((each for each in formats if each.recognises(document)), None)


def _description(document: object) -> str:
    if not isinstance(document, str):
        return ": ".join(filter(None, ("it is other JSON", json_list.seen(document))))
    start = document.lstrip()[:20].lower()
    if not start:
        return "it is empty"
    if start.startswith(("<!doctype html", "<html", "<head", "<body")):
        return "it is an HTML page"
    return ": ".join(filter(None, ("it is other text", markdown.seen(document) or CSV.seen(document))))

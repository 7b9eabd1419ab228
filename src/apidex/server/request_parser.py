"""The input of a connection, one request at a time. llhttp parses (httptools); this module bounds the head, and finds its end."""

import re
from functools import lru_cache

import httptools

from apidex.http.asgi import Headers
from apidex.http.problem_details import Problem
from apidex.server.framing import HOST_LIMIT, is_host

HEAD_LIMIT = 64 * 2**10
"""The longest head of a request, in bytes."""

MALFORMED = "Malformed HTTP/1.1 request. Characters beyond ASCII are percent-encoded, as in /Pok%C3%A9."

_HEAD_END = b"\r\n\r\n"
_EMPTY_LINES = re.compile(rb"[\r\n]*")
_HEADER_OVERHEAD = 160
"""Bytes that CPython needs for each header besides its text: a tuple and two bytes objects."""

_SPECIAL = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
"""Headers that decide how a request is framed or routed."""

_is_host = lru_cache(maxsize=256)(is_host)


def skip_empty_lines(data: bytes, start: int) -> int:
    """Where a request begins in *data*: empty lines before it are skipped (RFC 9112, section 2.2)."""
    return _EMPTY_LINES.match(data, start).end()  # type: ignore[union-attr] # it matches nothing, too


class RequestParser:
    """The head of one request, as far as it has come. Once it *is_complete*, all attributes are known.

    *is_special* says that a header needs a closer look; *is_malformed*, that its body has no known end; *is_kept_alive* and
    *is_upgrade*, that the client wants to continue with requests, or with another protocol.
    """

    __slots__ = (
        "_hosts",
        "_llhttp",
        "_size",
        "_tail",
        "headers",
        "is_chunked",
        "is_complete",
        "is_kept_alive",
        "is_malformed",
        "is_special",
        "is_upgrade",
        "method",
        "url",
        "version",
    )

    def __init__(self) -> None:
        self._llhttp = httptools.HttpRequestParser(self)
        self.clear()

    def clear(self) -> None:
        """Expect the next request."""
        self.url = b""
        self.headers: Headers = []
        self._size, self._tail = 0, b""  # the bytes of the head so far, and its last three bytes
        self._hosts = 0
        self.is_special = self.is_chunked = self.is_complete = self.is_malformed = False

    def close(self) -> None:
        """Release the parser. It and llhttp refer to each other, so both would wait for the garbage collector."""
        del self._llhttp
        self.headers = []

    def is_head(self) -> bool:
        """Whether the method is HEAD, if it has arrived."""
        return self.url != b"" and self._llhttp.get_method() == b"HEAD"

    def is_plain(self) -> bool:
        """Whether the head needs no closer look, and the target is just a path."""
        return (
            not self.is_special
            and self._hosts == 1
            and self.version == "1.1"
            and b"?" not in self.url
            and b"#" not in self.url
        )

    def memory(self) -> int:
        """Bytes of memory that the head takes."""
        return self._size + len(self.headers) * _HEADER_OVERHEAD

    def feed_head(self, data: bytes, start: int) -> int:
        """Parse the head that begins or continues at *start*; return where the head or the data ends. Raises Problem."""
        end = -1 if self._tail else data.find(_HEAD_END, start)
        end = self._end_of_cut_head(data, start) if end < 0 else end + 4
        self._size += end - start
        if self._size > HEAD_LIMIT:
            raise Problem(431, f"The request head is too long. At most {HEAD_LIMIT} bytes are allowed.")
        try:
            self._llhttp.feed_data(data[start:end])
        except httptools.HttpParserUpgrade:
            pass  # answered like any request, and then closed, because llhttp reads the rest as another protocol
        except httptools.HttpParserError:
            self.is_malformed = True
            if not self.is_complete:  # llhttp checks Transfer-Encoding after it has reported the complete head
                raise Problem(400, MALFORMED) from None
        return end

    def _end_of_cut_head(self, data: bytes, start: int) -> int:
        if self._tail:
            spanning = (self._tail + data[start : start + 3]).find(_HEAD_END)
            if spanning >= 0:
                return start + spanning + len(_HEAD_END) - len(self._tail)
        found = data.find(_HEAD_END, start)
        if found >= 0:
            return found + len(_HEAD_END)
        self._tail = (self._tail + data[start:])[-3:]
        return len(data)

    def feed_body(self, data: bytes) -> None:
        """Parse a part of a body whose length is known. The data is not used."""
        self._llhttp.feed_data(data)

    # --- llhttp's calls

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of the head."""
        name = name.lower()
        if name in _SPECIAL:
            self._note(name, value)
        self.headers.append((name, value))

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
            self.is_special |= len(value) > HOST_LIMIT or not _is_host(value)
            return
        self.is_special = True
        self.is_chunked |= name == b"transfer-encoding"

    def on_headers_complete(self) -> None:
        """Store what llhttp forgets at the end of the request. The head is complete."""
        llhttp = self._llhttp
        self.is_complete = True
        self.method, self.version = llhttp.get_method(), llhttp.get_http_version()
        self.is_kept_alive = llhttp.should_keep_alive()
        self.is_upgrade = self.is_special and llhttp.should_upgrade()

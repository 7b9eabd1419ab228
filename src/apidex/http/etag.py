"""Entity tags, and which of them a conditional request names (RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2)."""

import re
from collections.abc import Sequence

from apidex import __version__
from apidex.http.content_encoding import Encoding
from apidex.http.problem_details import Problem
from apidex.replication.snapshot import Snapshot

_ETAG = re.compile(rb'(?:W/)?("[^"]*")')
_ANY_ETAG = re.compile(rb'(?:W/)?"[^"]*"')


def entity_tag(identity: str, encoding: Encoding) -> bytes:
    """The strong validator of a response for one URL, where *identity* stands for what it was made of.

    Another release may make other bytes of the same catalogue, and another encoder other bytes of the same content.
    """
    return f'"{identity}-{__version__}{encoding.suffix}"'.encode()


def identity_of(snapshot: Snapshot) -> str:
    """The identity of every response from the snapshot's catalogue."""
    return snapshot.catalogue.digest[:32]


def matching_etag(if_none_match: bytes, etags: Sequence[bytes]) -> bytes | None:
    """The first of *etags* that an If-None-Match header names, or None."""
    if if_none_match in etags:  # most clients send the one that they were given
        return if_none_match
    if if_none_match.strip() == b"*":
        return etags[0]
    named = set(_ETAG.findall(if_none_match))
    return next((etag for etag in etags if etag in named), None)


def check_if_match(if_match: bytes, etags: Sequence[bytes]) -> None:
    """Raise Problem if an If-Match header names none of *etags*. A weak tag matches nothing."""
    if if_match.strip() != b"*" and not set(_ANY_ETAG.findall(if_match)).intersection(etags):
        raise Problem(
            412, "If-Match does not name the current entity tag. Send the ETag of the current response, or *."
        )

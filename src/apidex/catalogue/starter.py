"""The starter catalogue: a few hundred well-known public APIs, part of the package.

A replica answers from it in its first seconds, and while it can reach no upstream.
"""

from datetime import UTC, date, datetime, time
from importlib.resources import files

import msgspec

from apidex.catalogue.catalogue import CatalogueSink
from apidex.catalogue.formats import Parsed, parse, publicapis

SOURCE = "the starter catalogue of this package"


class _Dated(msgspec.Struct):
    as_of: date


def load(sink: CatalogueSink | None = None) -> tuple[Parsed, float]:
    """Return the starter catalogue, written to *sink*, and the time from which its facts are, in seconds since 1970."""
    body = files("apidex.catalogue").joinpath("starter.json").read_bytes()
    as_of = msgspec.json.decode(body, type=_Dated).as_of
    return parse(body, publicapis.NAME, sink), datetime.combine(as_of, time(), UTC).timestamp()

"""The starter catalogue: a few hundred well-known public APIs that ship with the package.

It answers in the first seconds, and on machines that can reach no upstream.
"""

from datetime import datetime
from importlib.resources import files

import msgspec

from apidex.catalogue.formats import Parsed, publicapis
from apidex.catalogue.formats.report import Report, parsed

SOURCE = "the starter catalogue of this package"

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def load() -> tuple[Parsed, float]:
    """The starter catalogue as it was read, and the moment of which its facts are, in seconds since 1970."""
    document = _decode_members(files("apidex.catalogue").joinpath("starter.json").read_bytes())
    report = Report(publicapis.NAME)
    as_of = datetime.fromisoformat(msgspec.json.decode(document["as_of"], type=str) + "T00:00:00+00:00").timestamp()
    return parsed(report, publicapis.rows(document, report)), as_of

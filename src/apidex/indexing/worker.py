"""Builds a large catalogue in a subprocess, whose arguments are INPUT OUTPUT KIND ARGUMENT.

INPUT and OUTPUT are descriptors of shared buffers, KIND one of READERS, and ARGUMENT the JSON of its second argument. The worker
reads INPUT, appends every array of the result to OUTPUT, and prints as JSON where each array lies.
"""

import sys
from collections.abc import Callable
from typing import Any

import msgspec

from apidex.catalogue import codec, formats
from apidex.catalogue.buffers import ByteBuffer, IntArray
from apidex.catalogue.catalogue import CatalogueSink, MemorySink
from apidex.catalogue.entry import Entry
from apidex.catalogue.formats import Parsed, Report
from apidex.errors import CatalogueError, CodecError
from apidex.indexing.shared_buffer import SharedBuffer, Span
from apidex.search.filters import FacetIndexBuilder, FacetKey
from apidex.search.names import NameIndexBuilder
from apidex.search.ranking import FoldedNamesBuilder

READERS: dict[str, Callable[[memoryview, Any, CatalogueSink], Parsed]] = {
    "upstream": formats.parse,
    "payload": codec.from_bytes,
}
"""How each kind of data is read. The second argument is the format's name, or the largest size in bytes."""

ERRORS = {"upstream": CatalogueError, "payload": CodecError}
"""What each reader raises."""


class IndexingSink:
    """A CatalogueSink that indexes each batch, so that every entry is decoded once."""

    def __init__(self, sink: MemorySink | SharedBuffer) -> None:
        self.write, self.getvalue = sink.write, sink.getvalue
        self.names, self.folded_names, self.facets = NameIndexBuilder(), FoldedNamesBuilder(), FacetIndexBuilder()

    def on_batch(self, entries: list[Entry], /) -> None:
        """As `CatalogueSink.on_batch`."""
        names = [entry.name for entry in entries]
        self.names.add(names)
        self.folded_names.add(names)
        self.facets.add(entries)


class BuildResult(msgspec.Struct, frozen=True, tag=True):
    """What the worker built: *arrays* says where each array lies in the output."""

    report: Report
    digest: str
    categories: int
    facet_keys: list[FacetKey]
    arrays: dict[str, Span]


class BuildError(msgspec.Struct, frozen=True, tag=True):
    """Why the worker built nothing: what its reader raised."""

    reason: Any  # of the error's Literal
    text: str


def build(kind: str, argument: object, source: SharedBuffer, output: SharedBuffer) -> BuildResult | BuildError:
    """Read *source*, and leave the arrays of the result in *output*."""
    sink = IndexingSink(output)
    try:
        parsed = READERS[kind](source.getvalue(), argument, sink)
    except (CatalogueError, CodecError) as error:
        return BuildError(error.reason, str(error))
    source.close()  # so that its memory is released after reading
    catalogue = parsed.catalogue
    names, folded, facets = sink.names.finish(), sink.folded_names.finish(), sink.facets.finish()
    arrays: dict[str, ByteBuffer | IntArray] = {
        "bounds": catalogue.bounds,
        "names": memoryview(names.text),
        "name_starts": names.starts,
        "folded_names": memoryview(folded.text),
        "word_starts": folded.word_starts,
        "folded_starts": folded.starts,
        "facet_key_numbers": facets.key_numbers,
    }
    facet_keys = facets.keys
    del sink, names, folded, facets  # so that each array is released once it is written
    spans = {name: output.append(arrays.pop(name)) for name in list(arrays)}
    spans["canonical"] = 0, len(catalogue.canonical)
    return BuildResult(parsed.report, catalogue.digest, catalogue.categories, facet_keys, spans)


def main() -> None:
    """Build what the command line says. `builder` runs this in an isolated Python."""
    source, output, kind, argument = sys.argv[1:]
    result = build(kind, msgspec.json.decode(argument), SharedBuffer(int(source)), SharedBuffer(int(output)))
    sys.stdout.buffer.write(msgspec.json.encode(result))

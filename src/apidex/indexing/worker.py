"""Builds a large catalogue in a subprocess: `python -m apidex.indexing.worker INPUT OUTPUT JOB`.

INPUT and OUTPUT are descriptors of shared buffers, JOB is JSON. The worker reads INPUT, appends every array of the result to
OUTPUT, and prints as JSON where each array lies. The jobs and the sink serve small catalogues too, in the replica's own process.
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


class Job(msgspec.Struct, frozen=True):
    """The *kind* of the data, and the argument of its reader."""

    kind: str
    argument: str | int | None

    def read(self, data: memoryview, sink: CatalogueSink) -> Parsed:
        """Read *data* into *sink*. Raises CatalogueError or CodecError, as the reader does."""
        return READERS[self.kind](data, self.argument, sink)


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
    """Why the worker built nothing: the reason and the text of a CatalogueError or a CodecError."""

    is_codec_error: bool
    reason: Any  # of either error's Literal
    text: str

    def to_exception(self) -> CatalogueError | CodecError:
        """Return the error that the job raised."""
        return (CodecError if self.is_codec_error else CatalogueError)(self.reason, self.text)


def build(job: Job, source: SharedBuffer, output: SharedBuffer) -> BuildResult | BuildError:
    """Do *job* on the bytes of *source*, which is closed, and leave the arrays of the result in *output*."""
    sink = IndexingSink(output)
    try:
        parsed = job.read(_read_once(source), sink)
    except CatalogueError as error:
        return BuildError(False, error.reason, str(error))
    except CodecError as error:
        return BuildError(True, error.reason, str(error))
    names, folded, facets, catalogue = (
        sink.names.finish(),
        sink.folded_names.finish(),
        sink.facets.finish(),
        parsed.catalogue,
    )
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


def _read_once(buffer: SharedBuffer) -> memoryview:
    """The bytes of *buffer*, whose memory is released with the view."""
    view = buffer.getvalue()
    buffer.close()
    return view


def main() -> None:
    """Do the job that the command line names."""
    source, output, job = sys.argv[1:]
    result = build(msgspec.json.decode(job, type=Job), SharedBuffer(int(source)), SharedBuffer(int(output)))
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()

"""From bytes to what a replica answers from: a catalogue with its index, ready to be searched.

A large one is made in a process apart. Decoding a million entries takes seconds in which the interpreter of this process would
answer nobody; the other one has an interpreter of its own, and leaves what it made in memory that both can see. What it makes is
flat (the canonical bytes, the names as they are and folded, and where each begins), so that nothing is left to be done here.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import msgspec
from stringzilla import Str

from apidex.catalogue import codec, formats
from apidex.catalogue.buffers import ByteBuffer, IntArray
from apidex.catalogue.catalogue import Catalogue, CatalogueSink, MemorySink
from apidex.catalogue.entry import Entry
from apidex.catalogue.formats import Parsed, Report
from apidex.errors import CatalogueError, CodecError
from apidex.indexing.shared_buffer import SharedBuffer
from apidex.search.filters import FacetIndex, FacetKey
from apidex.search.index import SearchIndex, SearchIndexBuilder
from apidex.search.names import NameIndex, NameIndexBuilder
from apidex.search.ranking import FoldedNames

SUBPROCESS_THRESHOLD = 2**20
"""Fewer bytes are read in this process: that takes no longer than to start another."""

_NICE = 19
"""Whoever answers searches goes before whoever prepares. Between sessions it means nothing to Linux (sched(7), autogroup)."""


@dataclass(frozen=True, slots=True)
class IndexedCatalogue:
    """A catalogue that can be searched, and the report of how it was read."""

    parsed: Parsed
    index: NameIndex
    search: SearchIndex


class _FromUpstream(msgspec.Struct, frozen=True, tag=True):
    """Read an upstream's answer, in the format named or in the one that it looks like."""

    format_name: str | None

    def read(self, data: memoryview, sink: CatalogueSink) -> Parsed:
        return formats.parse(data, self.format_name, sink)


class _FromPayload(msgspec.Struct, frozen=True, tag=True):
    """Read what another replica published."""

    limit: int

    def read(self, data: memoryview, sink: CatalogueSink) -> Parsed:
        return codec.from_bytes(data, self.limit, sink)


_Job = _FromUpstream | _FromPayload


def from_upstream(body: bytes, format_name: str | None = None) -> IndexedCatalogue:
    """Read an upstream's answer. Raises CatalogueError, as `formats.parse` does."""
    return _prepare(_FromUpstream(format_name), body)


def from_payload(payload: bytes | SharedBuffer, limit: int) -> IndexedCatalogue:
    """Read what another replica published, which is used up. Raises CodecError, as `codec.from_bytes` does."""
    return _prepare(_FromPayload(limit), payload)


def _prepare(job: _Job, data: bytes | SharedBuffer) -> IndexedCatalogue:
    if len(data) >= SUBPROCESS_THRESHOLD:
        return _apart(job, data)
    draft = _Draft(MemorySink())
    parsed = job.read(data.getvalue() if isinstance(data, SharedBuffer) else memoryview(data), draft)
    return IndexedCatalogue(parsed, draft.index.finish(), SearchIndex.of(parsed.catalogue, *draft.search.finish()))


class _Draft:
    """CatalogueSink on which both indexes of a catalogue grow together with it, so that each entry is decoded once."""

    def __init__(self, sink: MemorySink | SharedBuffer) -> None:
        self.write, self.getvalue = sink.write, sink.getvalue
        self.index, self.search = NameIndexBuilder(), SearchIndexBuilder()

    def on_batch(self, entries: list[Entry], /) -> None:
        """As `CatalogueSink.on_batch`."""
        self.index.add([entry.name for entry in entries])
        self.search.add(entries)


# --- apart: what the two processes tell each other


class _Made(msgspec.Struct, tag=True):
    """What was made, and where each part of it lies."""

    report: Report
    digest: str
    categories: int
    facet_keys: list[FacetKey]
    places: dict[str, tuple[int, int]]


class _Refused(msgspec.Struct, tag=True):
    """Why nothing was made: a CatalogueError's reason or a CodecError's kind, and the sentence."""

    of_wire: bool
    word: Any  # of either error's Literal
    text: str

    def error(self) -> Exception:
        return (CodecError if self.of_wire else CatalogueError)(self.word, self.text)


_decode_answer = msgspec.json.Decoder(_Made | _Refused).decode
_decode_job = msgspec.json.Decoder(_Job).decode


def _apart(job: _Job, data: bytes | SharedBuffer) -> IndexedCatalogue:
    """Have *job* done by another process. Raises what it raised."""
    given, made = data if isinstance(data, SharedBuffer) else _holding(data), SharedBuffer()
    shown = (given.descriptor, made.descriptor)
    process = subprocess.Popen(  # noqa: S603 - this module
        [sys.executable, "-m", "apidex.indexing.builder", *map(str, shown), msgspec.json.encode(job).decode()],
        pass_fds=shown,
        stdout=subprocess.PIPE,
        process_group=0,  # Ctrl-C is for the one that answers; no session of its own, or _NICE means nothing
    )
    with process:
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        given.close()  # so that it is gone once the other one has read it
        said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the process that prepares a catalogue ended with {process.returncode}")
    answer = _decode_answer(said)
    if isinstance(answer, _Refused):
        raise answer.error()
    return _over(answer, made.getvalue_to_keep())


def _holding(data: bytes) -> SharedBuffer:
    memory = SharedBuffer()
    memory.write(data)
    return memory


def _over(made: _Made, memory: memoryview) -> IndexedCatalogue:
    """What lies in *memory*, which lives as long as something of it is in use."""
    part = {name: memory[start:end] for name, (start, end) in made.places.items()}
    catalogue = Catalogue(part["canonical"], part["bounds"].cast("Q"), made.digest, made.categories)
    index = NameIndex(Str(part["names"]), part["name_starts"].cast("Q"))
    folded = FoldedNames(Str(part["folded"]), part["word_starts"], part["folded_starts"].cast("Q"))
    facets = FacetIndex(made.facet_keys, part["facet_key_numbers"].cast("I"))
    return IndexedCatalogue(Parsed(catalogue, made.report), index, SearchIndex.of(catalogue, folded, facets))


def _answer(job: _Job, given: SharedBuffer, made: SharedBuffer) -> _Made | _Refused:
    draft = _Draft(made)
    try:
        parsed = job.read(_taken(given), draft)
    except CatalogueError as error:
        return _Refused(False, error.reason, str(error))
    except CodecError as error:
        return _Refused(True, error.kind, str(error))
    catalogue, index, (folded, facets) = parsed.catalogue, draft.index.finish(), draft.search.finish()
    facet_keys = facets.keys
    flat: dict[str, ByteBuffer | IntArray] = {
        "facet_key_numbers": facets.key_numbers,
        "folded_starts": folded.starts,
        "word_starts": folded.word_starts,
        "folded": memoryview(folded.text),
        "name_starts": index.starts,
        "names": memoryview(index.text),
        "bounds": catalogue.bounds,
    }
    del draft, index, folded, facets
    places = {"canonical": (0, len(catalogue.canonical))}
    while flat:  # each of them is let go of once it is written
        name, part = flat.popitem()
        places[name] = made.add(part)
        del part
    return _Made(parsed.report, catalogue.digest, catalogue.categories, facet_keys, places)


def _taken(memory: SharedBuffer) -> memoryview:
    """What lies in *memory*, for as long as it is being read."""
    view = memory.getvalue()
    memory.close()
    return view


def _main() -> None:
    given, made, job = sys.argv[1:]
    sys.stdout.buffer.write(
        msgspec.json.encode(_answer(_decode_job(job), SharedBuffer(int(given)), SharedBuffer(int(made))))
    )


if __name__ == "__main__":
    _main()

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
from apidex.catalogue.catalogue import Bytes, Catalogue, Entry, Numbers, Paper, Sheet
from apidex.catalogue.formats import Parsed, Report
from apidex.errors import CatalogueError, WireError
from apidex.indexing.shared_buffer import Memory
from apidex.search.names import Draft as IndexDraft
from apidex.search.names import Index
from apidex.search.ranking import Draft as SearchDraft
from apidex.search.ranking import Kind, Search

APART_FROM = 2**20
"""Fewer bytes are read in this process: that takes no longer than to start another."""

_NICE = 19
"""Whoever answers searches goes before whoever prepares. Between sessions it means nothing to Linux (sched(7), autogroup)."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A catalogue that can be searched, and the report of how it was read."""

    parsed: Parsed
    index: Index
    search: Search


class _FromUpstream(msgspec.Struct, frozen=True, tag=True):
    """Read an upstream's answer, in the format named or in the one that it looks like."""

    format_name: str | None

    def read(self, data: memoryview, paper: Paper) -> Parsed:
        return formats.parse(data, self.format_name, paper)


class _FromPayload(msgspec.Struct, frozen=True, tag=True):
    """Read what another replica published."""

    limit: int

    def read(self, data: memoryview, paper: Paper) -> Parsed:
        return codec.from_bytes(data, self.limit, paper)


_Job = _FromUpstream | _FromPayload


def from_upstream(body: bytes, format_name: str | None = None) -> Prepared:
    """Read an upstream's answer. Raises CatalogueError, as `formats.parse` does."""
    return _prepare(_FromUpstream(format_name), body)


def from_payload(payload: bytes | Memory, limit: int) -> Prepared:
    """Read what another replica published, which is used up. Raises WireError, as `codec.from_bytes` does."""
    return _prepare(_FromPayload(limit), payload)


def _prepare(job: _Job, data: bytes | Memory) -> Prepared:
    if len(data) >= APART_FROM:
        return _apart(job, data)
    draft = _Draft(Sheet())
    parsed = job.read(data.getvalue() if isinstance(data, Memory) else memoryview(data), draft)
    index = Index(Str(draft.index.text), draft.index.starts)
    return Prepared(parsed, index, Search.of(parsed.catalogue, *draft.search.closed()))


class _Draft:
    """Paper on which both indexes of a catalogue grow together with it, so that each entry is decoded once."""

    def __init__(self, paper: Sheet | Memory) -> None:
        self.write, self.getvalue = paper.write, paper.getvalue
        self.index, self.search = IndexDraft(), SearchDraft()

    def note(self, entries: list[Entry], /) -> None:
        """As `Paper.note`."""
        self.index.add([entry.name for entry in entries])
        self.search.add(entries)


# --- apart: what the two processes tell each other


class _Made(msgspec.Struct, tag=True):
    """What was made, and where it lies: the canonical bytes, their bounds; the names, their starts; what `Search.of` takes."""

    report: Report
    digest: str
    categories: int
    kinds: list[Kind]
    places: list[tuple[int, int]]


class _Refused(msgspec.Struct, tag=True):
    """Why nothing was made: a CatalogueError's reason or a WireError's kind, and the sentence."""

    of_wire: bool
    word: Any  # of either error's Literal
    text: str

    def error(self) -> Exception:
        return (WireError if self.of_wire else CatalogueError)(self.word, self.text)


_decode_answer = msgspec.json.Decoder(_Made | _Refused).decode
_decode_job = msgspec.json.Decoder(_Job).decode


def _apart(job: _Job, data: bytes | Memory) -> Prepared:
    """Have *job* done by another process. Raises what it raised."""
    given, made = data if isinstance(data, Memory) else _holding(data), Memory()
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


def _holding(data: bytes) -> Memory:
    memory = Memory()
    memory.write(data)
    return memory


def _over(made: _Made, memory: memoryview) -> Prepared:
    """What lies in *memory*, which lives as long as something of it is in use."""
    canonical, bounds, names, starts, *of_search = (memory[start:end] for start, end in made.places)
    catalogue = Catalogue(canonical, bounds.cast("Q"), made.digest, made.categories)
    folded, begins, starts_of_folded, of_kind = of_search
    search = Search.of(catalogue, folded, begins, starts_of_folded.cast("Q"), of_kind.cast("I"), made.kinds)
    return Prepared(Parsed(catalogue, made.report), Index(Str(names), starts.cast("Q")), search)


def _answer(job: _Job, given: Memory, made: Memory) -> _Made | _Refused:
    draft = _Draft(made)
    try:
        parsed = job.read(_taken(given), draft)
    except CatalogueError as error:
        return _Refused(False, error.reason, str(error))
    except WireError as error:
        return _Refused(True, error.kind, str(error))
    catalogue = parsed.catalogue
    folded, begins, starts_of_folded, of_kind, kinds = draft.search.closed()
    names, starts = draft.index.text, draft.index.starts
    flat: list[Bytes | Numbers] = [of_kind, starts_of_folded, begins, folded, starts, names, catalogue.bounds]
    del draft, folded, begins, starts_of_folded, of_kind, names, starts
    places = [(0, len(catalogue.canonical))]
    while flat:  # each of them is let go of once it is written
        places.append(made.add(flat.pop()))
    return _Made(parsed.report, catalogue.digest, catalogue.categories, kinds, places)


def _taken(memory: Memory) -> memoryview:
    """What lies in *memory*, for as long as it is being read."""
    view = memory.getvalue()
    memory.close()
    return view


def _main() -> None:
    given, made, job = sys.argv[1:]
    sys.stdout.buffer.write(msgspec.json.encode(_answer(_decode_job(job), Memory(int(given)), Memory(int(made)))))


if __name__ == "__main__":
    _main()

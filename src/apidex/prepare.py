"""From bytes to what a replica answers from: a catalogue with its index, ready to be searched.

A large one is made in a process apart. Decoding a million entries takes seconds in which the interpreter of this process would
answer nobody; the other one has an interpreter of its own, and leaves what it made in memory that both can see. What it makes is
flat (the canonical bytes, the names as they are and folded, and where each begins), so that nothing is left to be done here.
"""

import io
import mmap
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import BinaryIO

import msgspec
from stringzilla import Str

from apidex import formats, wire
from apidex.catalogue import Catalogue, Numbers
from apidex.errors import CatalogueError, WireError
from apidex.formats import Parsed, Report
from apidex.index import Index
from apidex.search import Kind, Search

APART_FROM = 2**20
"""Fewer bytes are read in this process: that takes no longer than to start another."""

_NICE = 10
"""Whoever answers searches goes before whoever prepares."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A catalogue that can be searched, and the report of how it was read."""

    parsed: Parsed
    index: Index
    search: Search


class _FromUpstream(msgspec.Struct, frozen=True, tag=True):
    """Read an upstream's answer, in the format named or in the one that it looks like."""

    format_name: str | None

    def read(self, data: memoryview, paper: "io.BytesIO | _Paper") -> Parsed:
        return formats.parse(data, self.format_name, paper)


class _FromPayload(msgspec.Struct, frozen=True, tag=True):
    """Read what another replica published."""

    limit: int

    def read(self, data: memoryview, paper: "io.BytesIO | _Paper") -> Parsed:
        return wire.from_bytes(data, self.limit, paper)


_Job = _FromUpstream | _FromPayload


def from_upstream(body: bytes, format_name: str | None = None) -> Prepared:
    """Read an upstream's answer. Raises CatalogueError, as `formats.parse` does."""
    return _prepare(_FromUpstream(format_name), body)


def from_payload(payload: bytes, limit: int) -> Prepared:
    """Read what another replica published. Raises WireError, as `wire.from_bytes` does."""
    return _prepare(_FromPayload(limit), payload)


def _prepare(job: _Job, data: bytes) -> Prepared:
    if len(data) >= APART_FROM:
        return _apart(job, data)
    parsed = job.read(memoryview(data), io.BytesIO())
    return Prepared(parsed, Index.build(parsed.catalogue.each_name()), Search.build(parsed.catalogue))


# --- apart: what the two processes tell each other


class _Made(msgspec.Struct, tag=True):
    """What was made, and where it lies: the canonical bytes, their bounds; the names, their starts; and as `Search.flat`."""

    report: Report
    digest: str
    categories: int
    kinds: list[Kind]
    places: list[tuple[int, int]]


class _Refused(msgspec.Struct, tag=True):
    """Why nothing was made: a CatalogueError's reason or a WireError's kind, and the sentence."""

    of_wire: bool
    word: str
    text: str

    def error(self) -> Exception:
        return (WireError if self.of_wire else CatalogueError)(self.word, self.text)


_decode_answer = msgspec.json.Decoder(_Made | _Refused).decode
_decode_job = msgspec.json.Decoder(_Job).decode


def _apart(job: _Job, data: bytes) -> Prepared:
    """Have *job* done by another process. Raises what it raised."""
    with _memory() as given, _memory() as made:
        given.write(data)
        given.flush()
        command = [sys.executable, "-m", "apidex.prepare", str(given.fileno()), str(made.fileno())]
        done = subprocess.run(  # noqa: S603 - this module
            [*command, msgspec.json.encode(job).decode()],
            pass_fds=(given.fileno(), made.fileno()),
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the one that answers
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the process that prepares a catalogue ended with {done.returncode}")
        answer = _decode_answer(done.stdout)
        if isinstance(answer, _Refused):
            raise answer.error()
        return _over(answer, memoryview(mmap.mmap(made.fileno(), 0, access=mmap.ACCESS_READ)))


def _over(made: _Made, memory: memoryview) -> Prepared:
    """What lies in *memory*, which lives as long as something of it is in use."""
    canonical, bounds, names, starts, *of_search = (memory[start:end] for start, end in made.places)
    catalogue = Catalogue(canonical, bounds.cast("Q"), made.digest, made.categories)
    folded, begins, starts_of_folded, of_kind = of_search
    search = Search.of(catalogue, folded, begins, starts_of_folded.cast("Q"), of_kind.cast("I"), made.kinds)
    return Prepared(Parsed(catalogue, made.report), Index(Str(names), starts.cast("Q")), search)


def _memory() -> BinaryIO:
    """A file that is nowhere but in memory, where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("apidex"), "w+b")
    return tempfile.TemporaryFile()


class _Paper:
    """A file to write on in turn and to read back without copying it. Stands for an io.BytesIO."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.write = file.write

    def getvalue(self) -> memoryview:
        """All that was written."""
        self._file.flush()
        return memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))

    def add(self, part: "bytes | Numbers") -> tuple[int, int]:
        """Write *part* where a number may begin; where it lies."""
        start = self._file.seek(-self._file.tell() % 8, os.SEEK_CUR)
        return start, start + self.write(memoryview(part).cast("B"))


def _answer(job: _Job, given: int, made: int) -> _Made | _Refused:
    data = memoryview(mmap.mmap(given, 0, access=mmap.ACCESS_READ))
    with os.fdopen(made, "w+b") as file:
        paper = _Paper(file)
        try:
            parsed = job.read(data, paper)
        except CatalogueError as error:
            return _Refused(False, error.reason, str(error))
        except WireError as error:
            return _Refused(True, error.kind, str(error))
        catalogue = parsed.catalogue
        text, starts = Index.flat(catalogue.each_name())
        folded, begins, starts_of_folded, of_kind, kinds = Search.flat(catalogue)
        flat: list[bytes | Numbers] = [catalogue.bounds, text, starts, folded, begins, starts_of_folded, of_kind]
        parts = [(0, len(catalogue.canonical)), *map(paper.add, flat)]
        return _Made(parsed.report, catalogue.digest, catalogue.categories, kinds, parts)


def _main() -> None:
    os.nice(_NICE)
    given, made, job = sys.argv[1:]
    sys.stdout.buffer.write(msgspec.json.encode(_answer(_decode_job(job), int(given), int(made))))


if __name__ == "__main__":
    _main()

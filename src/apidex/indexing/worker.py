"""Builds a large catalogue in a subprocess, whose arguments are INPUT OUTPUT KIND ARGUMENT REPLICA.

INPUT and OUTPUT are descriptors of shared buffers, KIND one of READERS, ARGUMENT the JSON of its second argument, and REPLICA the
process that has started it. The worker reads INPUT, appends every array of the result to OUTPUT, and prints the place of each
array as JSON.

A list may be made to exhaust the worker. Its memory and its CPU time are limited by the size of the input, so that only the
worker fails.
"""

import contextlib
import errno
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from stringzilla import Str

from apidex.catalogue import codec, formats
from apidex.catalogue.buffers import ByteBuffer, IntArray, narrowed
from apidex.catalogue.catalogue import CatalogueSink, MemorySink
from apidex.catalogue.entry import Entry
from apidex.catalogue.formats import Parsed, Report
from apidex.errors import CatalogueError, CodecError, CodecReason
from apidex.indexing.shared_buffer import SharedBuffer
from apidex.search.descriptions import DescriptionIndexBuilder
from apidex.search.filters import FacetIndexBuilder, FacetKey
from apidex.search.names import NameIndex, NameIndexBuilder
from apidex.search.ranking import FoldedNamesBuilder

READERS: dict[str, Callable[[memoryview, Any, CatalogueSink], Parsed]] = {
    "upstream": formats.parse,
    "payload": codec.from_bytes,
}
"""How each kind of data is read. The second argument is the format's name, or the largest size in bytes."""

_MEMORY, _MEMORY_PER_BYTE = 128 * 2**20, 32
"""Bytes of memory that the worker may take besides its interpreter, and for each byte that it reads. Real lists take 10, names
alone 25."""

_PR_SET_PDEATHSIG = 1
"""The option of prctl(2) for the signal that a process gets when the thread that started it ends."""

_CPU_SECONDS, _CPU_SECONDS_PER_MIB = 30, 4
"""Seconds of CPU that the worker may take, and for each MiB that it reads. Real lists take 0.1 to 1 second for a MiB."""


class IndexingSink:
    """A CatalogueSink that indexes each batch, so that every entry is decoded once."""

    def __init__(self, sink: MemorySink | SharedBuffer) -> None:
        self.write, self.getvalue = sink.write, sink.getvalue
        self.names, self.folded_names, self.facets = NameIndexBuilder(), FoldedNamesBuilder(), FacetIndexBuilder()
        self.descriptions = DescriptionIndexBuilder()

    def on_batch(self, entries: list[Entry], /) -> None:
        """As `CatalogueSink.on_batch`."""
        names = [entry.name for entry in entries]
        self.names.add(names)
        self.folded_names.add(names)
        self.facets.add(entries)
        self.descriptions.add(entries)


class BuildResult(msgspec.Struct, frozen=True, tag=True):
    """What the worker built: *arrays* has the place of each array in the output, and the type of its items."""

    report: Report
    digest: str
    categories: int
    longest: int
    facet_keys: list[FacetKey]
    arrays: dict[str, "Array"]


class BuildError(msgspec.Struct, frozen=True, tag=True):
    """Why the worker built nothing: the error of its reader, or the limit that it reached."""

    reason: Any  # of the error's Literal
    text: str

    def error(self, kind: str) -> CatalogueError | CodecError:
        """The error that the reader of *kind* raises."""
        return (CodecError if kind == "payload" else CatalogueError)(self.reason, self.text)


def size_of(kind: str, argument: Any, data: ByteBuffer) -> int:  # noqa: ANN401 - as in READERS
    """How many bytes are read: those of a list; for a payload, also those that it decompresses to, up to half of their limit.

    That is twice the limit of a list (`codec.size_limit`), whose entries are the same: more memory than the list gets, but not
    four times as much for a forged payload.
    """
    return min(len(data) + codec.declared_size(data), argument // 2) if kind == "payload" else len(data)


def memory_limit(size: int) -> int:
    """Bytes of memory that the worker may take to read *size* bytes, besides its interpreter."""
    return _MEMORY + _MEMORY_PER_BYTE * size


def cpu_limit(size: int) -> int:
    """Seconds of CPU time that the worker may take to read *size* bytes."""
    return _CPU_SECONDS + _CPU_SECONDS_PER_MIB * size // 2**20


def too_costly(kind: str, cost: str, of_payload: CodecReason = "too_large") -> BuildError:
    """The error for data whose reading would have taken more than *cost*; *of_payload* is the reason for a payload."""
    return BuildError(of_payload if kind == "payload" else "too_costly", f"reading it takes more than {cost}")


def build(kind: str, argument: object, source: SharedBuffer, output: SharedBuffer) -> BuildResult | BuildError:
    """Read *source*, and leave the arrays of the result in *output*."""
    sink = IndexingSink(output)
    try:
        parsed = READERS[kind](source.getvalue(), argument, sink)
    except (CatalogueError, CodecError) as error:
        return BuildError(error.reason, str(error))
    source.close()  # so that its memory is released after reading
    from apidex.search import suffix_array  # imports numpy, which a replica may never need

    catalogue, descriptions = parsed.catalogue, sink.descriptions
    names, folded, facets = sink.names.finish(), sink.folded_names.finish(), sink.facets.finish()
    arrays: Arrays = {
        "bounds": narrowed(catalogue.bounds, catalogue.bounds[-1]),
        "names": memoryview(names.text),
        "name_starts": narrowed(names.starts, names.starts[-1]),
        "folded_names": memoryview(folded.text),
        "word_starts": suffix_array.bits_of(sink.folded_names.word_starts),
        "folded_starts": narrowed(folded.starts, folded.starts[-1]),
        "facet_key_numbers": narrowed(facets.key_numbers, len(facets.keys)),
    }
    facet_keys = facets.keys
    del sink, names, folded, facets  # so that each array is released once it is written
    written = _write_all(arrays, output)
    written |= _write_all(descriptions.finish().arrays(), output)
    written["canonical"] = 0, len(catalogue.canonical), "B"
    written |= _suffixes(written, output)
    described = catalogue.digest, catalogue.categories, catalogue.longest
    return BuildResult(parsed.report, *described, facet_keys, written)


Array = tuple[int, int, str]
"""Where an array begins and ends, in bytes, and the type of its items."""


def view(memory: memoryview, array: Array) -> memoryview:
    """Return the *array* in *memory*."""
    start, end, typecode = array
    return memory[start:end].cast(typecode)  # type: ignore[call-overload,no-any-return] # of those that arrays have


Arrays = dict[str, ByteBuffer | IntArray]


def _write_all(arrays: Arrays, output: SharedBuffer) -> dict[str, Array]:
    """Append all *arrays* to *output*. Empties the dictionary, and returns the memory to the system."""
    import ctypes  # a replica imports this module, and does not need it

    written = {name: _written(arrays.pop(name), output) for name in list(arrays)}
    with contextlib.suppress(AttributeError):  # glibc keeps freed memory for later, and has this function
        ctypes.CDLL(None).malloc_trim(0)
    return written


def _written(array: ByteBuffer | IntArray, output: SharedBuffer) -> Array:
    return *output.append(array), memoryview(array).format


def _suffixes(written: Mapping[str, Array], output: SharedBuffer) -> dict[str, Array]:
    """Index the folded names in *output*, and append the index there."""
    from apidex.search import suffix_array  # as above

    memory = output.getvalue()
    text, starts, word_starts, names, name_starts, key_numbers = (
        view(memory, written[name])
        for name in ("folded_names", "folded_starts", "word_starts", "names", "name_starts", "facet_key_numbers")
    )
    size = suffix_array.item_size(starts)
    span, suffixes = output.reserve(size * (len(text) - 1))
    spelled = NameIndex(Str(names), name_starts)
    arrays = suffix_array.build(text, starts, word_starts, spelled, key_numbers, suffixes)
    written = {name: _written(memoryview(array), output) for name, array in arrays._asdict().items()}
    return {"suffixes": (*span, "I" if size == 4 else "Q"), **written}


def main() -> None:
    """Build what the command line says. `builder` runs this in an isolated Python."""
    descriptor, output, kind, argument, replica = sys.argv[1:]
    _end_with_replica(int(replica))
    import apidex.search.suffix_array  # noqa: F401 - numpy takes memory and cannot be imported with little; that is not the list's

    source = SharedBuffer(int(descriptor))
    second_argument = msgspec.json.decode(argument)
    size = size_of(kind, second_argument, source.getvalue())
    _limit_resources(size)
    try:
        result = build(kind, second_argument, source, SharedBuffer(int(output)))
    except (MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOMEM, errno.EFBIG):
            raise
        result = too_costly(kind, f"{memory_limit(size) >> 20} MiB of memory")
    sys.stdout.buffer.write(msgspec.json.encode(result))


def _end_with_replica(pid: int) -> None:
    """Have this process killed when the replica ends, which waits for it in a thread: a killed replica cannot end it."""
    import ctypes  # as above

    with contextlib.suppress(AttributeError):  # Linux has this call
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != pid:
        sys.exit("the replica has ended")


def _limit_resources(size: int) -> None:
    """Limit what this process takes to read *size* bytes. If memory runs out, the kernel ends this process before the replica."""
    with contextlib.suppress(OSError):  # Linux has these files
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_limit(size))
        Path("/proc/self/oom_score_adj").write_text("1000")
    _lower(resource.RLIMIT_FSIZE, memory_limit(size))
    _lower(resource.RLIMIT_CPU, cpu_limit(size))
    _lower(resource.RLIMIT_CORE, 0)


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))

"""Builds a catalogue with its indexes: in this process, or in a subprocess if it is large.

Decoding a million entries takes seconds, in which the interpreter of this process would answer no request. A subprocess has its
own interpreter, and returns its result in shared memory as flat arrays, which need no decoding here.
"""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
from stringzilla import Str

from apidex.catalogue import starter
from apidex.catalogue.catalogue import Catalogue, MemorySink
from apidex.catalogue.formats import Parsed
from apidex.indexing.shared_buffer import SharedBuffer
from apidex.indexing.worker import (
    READERS,
    BuildError,
    BuildResult,
    IndexingSink,
    cpu_limit,
    memory_limit,
    size_of,
    too_costly,
    view,
)
from apidex.search.descriptions import DescriptionIndex
from apidex.search.index import SearchIndex
from apidex.search.names import NameIndex

SUBPROCESS_THRESHOLD = 2**18
"""A subprocess reads lists of this many bytes or more. A shorter one takes 0.1 s in a thread, and some seconds in the worst
case."""

_NICE = 19
"""Priority of the subprocess: requests go first. Between sessions it has no effect on Linux (sched(7), autogroup)."""

_TIMEOUT = 900.0
"""Seconds after which the subprocess is ended. A million entries take about 10 s of CPU."""

_SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC)
"""Errors of a machine that has no process, memory, descriptor or space left."""

_ENVIRONMENT = ("LD_LIBRARY_PATH", "SYSTEMROOT", "COVERAGE_PROCESS_CONFIG")
"""The variables that the subprocess gets: none that holds a secret, and none that changes which modules are imported."""

_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1"}
"""numpy would start threads for products of matrices, which are not used."""

# Isolated (-I), Python imports nothing from the working directory or PYTHONPATH. So the paths of the packages of this process are
# passed on, which may be in a checkout or among a user's own packages.
_PACKAGES = list(dict.fromkeys([str(Path(__file__).parents[2]), str(Path(str(msgspec.__file__)).parents[1])]))
_PROGRAM = f"import sys; sys.path[:0] = {_PACKAGES!r}; from apidex.indexing.worker import main; main()"

_decode_result = msgspec.json.Decoder(BuildResult | BuildError).decode


@dataclass(frozen=True, slots=True)
class IndexedCatalogue:
    """A catalogue with its indexes, and the report of how it was read."""

    parsed: Parsed
    index: NameIndex
    search: SearchIndex


def from_upstream(body: bytes | bytearray, format_name: str | None = None) -> IndexedCatalogue:
    """Build from an upstream's response; a large bytearray is emptied. Raises CatalogueError, as `formats.parse` does."""
    return _build("upstream", format_name, body)


def from_payload(payload: bytes | SharedBuffer, max_bytes: int) -> IndexedCatalogue:
    """Build from a payload in Redis; a SharedBuffer is closed. Raises CodecError, as `codec.from_bytes` does."""
    return _build("payload", max_bytes, payload)


def from_starter() -> tuple[IndexedCatalogue, float]:
    """Build the starter catalogue; return it with the time from which its facts are, in seconds since 1970."""
    sink = IndexingSink(MemorySink())
    parsed, as_of = starter.load(sink)
    return _indexed(parsed, sink), as_of


def _build(kind: str, argument: object, data: bytes | bytearray | SharedBuffer) -> IndexedCatalogue:
    memory = data.getvalue() if isinstance(data, SharedBuffer) else memoryview(data)
    if (size := size_of(kind, argument, memory)) >= SUBPROCESS_THRESHOLD:
        del memory
        try:
            return _build_in_subprocess(kind, argument, data, size)
        except OSError as error:
            if error.errno not in _SHORTAGES:
                raise
            raise too_costly(kind, f"this machine has: {error.strerror}", "resources").error(kind) from None
    sink = IndexingSink(MemorySink())
    return _indexed(READERS[kind](memory, argument, sink), sink)


def _indexed(parsed: Parsed, sink: IndexingSink) -> IndexedCatalogue:
    """*parsed* with the indexes of *sink*, which has received its entries."""
    parts = sink.folded_names.finish(), sink.facets.finish(), sink.descriptions.finish()
    return IndexedCatalogue(parsed, sink.names.finish(), SearchIndex(parsed.catalogue, *parts))


def _build_in_subprocess(
    kind: str, argument: object, data: bytes | bytearray | SharedBuffer, size: int
) -> IndexedCatalogue:
    """As `_build`. Raises what the reader raised in the subprocess, and the same error where that reached a limit."""
    source, output = data if isinstance(data, SharedBuffer) else SharedBuffer.of(data), SharedBuffer()
    if isinstance(data, bytearray):
        data.clear()  # the copy is enough
    descriptors = (source.descriptor, output.descriptor)
    arguments = [*map(str, descriptors), kind, msgspec.json.encode(argument).decode(), str(os.getpid())]
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-I", "-c", _PROGRAM, *arguments],
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _NO_THREADS,
        pass_fds=descriptors,
        stdout=subprocess.PIPE,
        process_group=0,  # Ctrl-C is for the replica; a session of its own would make _NICE ineffective
    )
    with process:
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        source.close()  # so that its memory is released once the worker has read it
        try:
            printed, _ = process.communicate(timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise RuntimeError(f"the subprocess that builds a catalogue did not end within {_TIMEOUT:g} s") from None
    result = _result_of(process.returncode, printed, kind, size)
    if isinstance(result, BuildError):
        raise result.error(kind)
    return _from_shared(result, output.getvalue(free_in_thread=True))


def _result_of(status: int, printed: bytes, kind: str, size: int) -> BuildResult | BuildError:
    """What a subprocess that read *size* bytes did, by its exit *status* and what it *printed*."""
    if status == -signal.SIGXCPU:
        return too_costly(kind, f"{cpu_limit(size)} seconds of CPU time")
    if status == -signal.SIGKILL:  # the container has less memory than the limit
        cost = f"the memory that there is, {memory_limit(size) >> 20} MiB at most"
        return too_costly(kind, cost, "resources")
    if status:
        raise RuntimeError(f"the subprocess that builds a catalogue ended with exit status {status}")
    result: BuildResult | BuildError = _decode_result(printed)
    return result


def _from_shared(result: BuildResult, memory: memoryview) -> IndexedCatalogue:
    """The catalogue and indexes whose arrays lie in *memory*, which lives until none of them is in use."""
    # numpy takes a tenth of a second to import
    from apidex.search.description_arrays import DescriptionArrays
    from apidex.search.facet_columns import FacetColumns
    from apidex.search.sorted_names import MAX_SCANNED, Bits, SortedNames, VerifiedNames

    at = {name: view(memory, array) for name, array in result.arrays.items()}
    catalogue = Catalogue(at["canonical"], at["bounds"], result.digest, result.categories, result.longest)
    folded = SortedNames(
        Str(at["folded_names"]),
        Bits(at["word_starts"]),
        at["folded_starts"],
        at["suffixes"],
        at["positions"],
        at["name_ranks"],
        Bits(at["first_spellings"]),
        at["key_numbers"],
    )
    names = NameIndex(Str(at["names"]), at["name_starts"])
    if len(at["names"]) > MAX_SCANNED:
        names = VerifiedNames(names.text, names.starts, folded)
    facets = FacetColumns(result.facet_keys, at["facet_key_numbers"])
    described = DescriptionArrays if "signatures" in at else DescriptionIndex
    descriptions = described(**{each.name: at[each.name] for each in dataclasses.fields(described)})
    search = SearchIndex(catalogue, folded, facets, descriptions)
    for query in ("", "a"):  # computes here what is computed only once
        search.search(query, {}, limit=1)
    facets.values("category")  # the event loop checks filters
    return IndexedCatalogue(Parsed(catalogue, result.report), names, search)

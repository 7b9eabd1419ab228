"""Compares the search of names with other engines: build time, memory, exactness, and CPU for each kind of question.

All index the same folded names, in this process, and answer with how many names contain a string and the best twenty: Apidex with
ranks, highlights and facets; SQLite by length and alphabet; tantivy by its score. tantivy's grams of 1 to 3 letters have no
positions, so it also finds names that have them in another order.
"""

import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import tantivy

from apidex.catalogue.buffers import narrowed
from apidex.catalogue.catalogue import Catalogue
from apidex.search.facet_columns import FacetColumns
from apidex.search.index import SearchIndex
from apidex.search.names import NameIndex
from apidex.search.ranking import Scope
from apidex.search.sorted_names import index_names
from apidex.search.text import fold
from loadtest.bench.plot import draw
from loadtest.bench.synthetic_catalogue import entries
from loadtest.bench.table import Cell, formatted

_LIMIT = 20
_SECONDS = 0.3
"""How long a question is repeated; the median counts."""

_COUNTS = {"1,000 hits": 1_000, "26,000 hits": 26_000}
"""Questions with about so many hits among a million names, and proportionally fewer among fewer names."""

_SLIPS = "slip, ms CPU"
_NOT_DRAWN = ("exact", _SLIPS)

_LETTER, _MISS, _SLIP = "a", "qzxwvk", "oepn wether"


class _Engine(ABC):
    """A search engine with an index of *catalogue*, which may have files in *folder*."""

    @abstractmethod
    def __init__(self, catalogue: Catalogue, folder: Path) -> None: ...

    @abstractmethod
    def search(self, query: str) -> int:
        """How many names contain *query*. Also makes the first page."""

    def correct(self, _query: str) -> str | None:
        """A query that finds something and is near *query*, which finds nothing; None if the engine has no corrections."""
        return None

    @abstractmethod
    def bytes(self) -> int:
        """Bytes of the index, without the catalogue."""


class _Scan(_Engine):
    """The search of small catalogues, whatever the size."""

    def __init__(self, catalogue: Catalogue, _folder: Path) -> None:
        self.index = SearchIndex.build(catalogue)

    def search(self, query: str) -> int:
        return self.index.search(query, {}, scope=Scope.NAME, limit=_LIMIT).total

    def correct(self, query: str) -> str | None:
        return self.index.correct(query, Scope.NAME)

    def bytes(self) -> int:
        return self.index.names.size


class _SuffixArray(_Scan):
    """The search of large catalogues."""

    def __init__(self, catalogue: Catalogue, folder: Path) -> None:
        super().__init__(catalogue, folder)
        scanned = self.index
        keys = narrowed(scanned.facets.key_numbers, len(scanned.facets.keys))
        flags = memoryview(scanned.names.word_starts)  # type: ignore[arg-type] # bytes in this process
        names = index_names(scanned.names, NameIndex.build(catalogue.names()), flags, keys)
        self.index = replace(scanned, names=names, facets=FacetColumns(scanned.facets.keys, keys))


class _Sqlite(_Engine):
    """SQLite's FTS5 with its trigrams; shorter strings are found by LIKE."""

    def __init__(self, catalogue: Catalogue, _folder: Path) -> None:
        self._database = sqlite3.connect(":memory:")
        self._database.execute("CREATE VIRTUAL TABLE names USING fts5(name, tokenize = 'trigram')")
        folded = ((fold(name),) for name in catalogue.names())
        self._database.executemany("INSERT INTO names VALUES (?)", folded)
        self._database.execute("INSERT INTO names (names) VALUES ('optimize')")

    def search(self, query: str) -> int:
        condition, value = ("name MATCH ?", f'"{query}"') if len(query) > 2 else ("name LIKE ?", f"%{query}%")
        page = f"SELECT rowid FROM names WHERE {condition} ORDER BY length(name), name LIMIT {_LIMIT}"  # noqa: S608 - constants
        self._database.execute(page, [value]).fetchall()
        count = f"SELECT count(*) FROM names WHERE {condition}"  # noqa: S608 - constants
        return int(self._database.execute(count, [value]).fetchone()[0])

    def bytes(self) -> int:
        (pages,), (size,) = (
            self._database.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size")
        )
        return int(pages * size)


class _Tantivy(_Engine):
    """tantivy with grams of 1 to 3 letters. Its fuzzy queries compare words with whole grams, so they correct nothing."""

    def __init__(self, catalogue: Catalogue, folder: Path) -> None:
        grams = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.ngram(1, 3, prefix_only=False)).build()
        builder = tantivy.SchemaBuilder()
        builder.add_text_field("name", tokenizer_name="grams", index_option="basic")
        self._schema, self._folder = builder.build(), folder
        index = tantivy.Index(self._schema, str(folder))
        index.register_tokenizer("grams", grams)
        writer = index.writer(heap_size=256 * 2**20, num_threads=1)
        for name in catalogue.names():
            writer.add_document(tantivy.Document(name=fold(name)))
        writer.commit()
        writer.wait_merging_threads()
        index.reload()
        self._searcher = index.searcher()

    def search(self, query: str) -> int:
        size = min(3, len(query))
        grams = {query[start : start + size] for start in range(len(query) - size + 1)}
        terms = [(tantivy.Occur.Must, tantivy.Query.term_query(self._schema, "name", gram)) for gram in grams]
        found: Any = self._searcher.search(tantivy.Query.boolean_query(terms), _LIMIT, count=True)
        return int(found.count)

    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self._folder.iterdir())


_ENGINES: dict[str, type[_Engine]] = {
    "Apidex, suffix array": _SuffixArray,
    "Apidex, scan": _Scan,
    "SQLite FTS5, trigrams": _Sqlite,
    "tantivy, 1- to 3-grams": _Tantivy,
}


Figures = dict[str, list[Cell]]
"""A value for each engine and column."""


class _Measured(NamedTuple):
    """The measurements of *size* names, with the titles and formats of the columns."""

    size: int
    columns: dict[str, str]
    figures: Figures


def measure(sizes: Sequence[int], plot: Path | None) -> str:
    """A table for each number of names, the smallest first; the curves are drawn into *plot*."""
    measured = [_measured(size) for size in sizes]
    if plot:
        _draw(measured, plot)
    return "\n".join(
        formatted({f"{each.size:,} names": "", **each.columns}, [[name, *row] for name, row in each.figures.items()])
        for each in measured
    )


def _draw(measured: Sequence[_Measured], file: Path) -> None:
    """Draw a part for each column with numbers, and a curve for each engine."""
    drawn = [place for place, title in enumerate(measured[0].columns) if title not in _NOT_DRAWN]
    titles = [list(measured[-1].columns)[place] for place in drawn]
    counts = [each.size for each in measured]
    curves = {
        name: [[each.figures[name][place] for each in measured] for place in drawn] for name in measured[0].figures
    }
    draw(file, counts, titles, curves)


def _measured(count: int) -> _Measured:
    catalogue = Catalogue.of(entries(count))
    questions = _questions([fold(name) for name in catalogue.names()])
    hits = [f"{title} ({truth:,}), ms CPU" for title, (_, truth) in questions.items()]
    columns = {"build, s CPU": ",.2f", "memory, MB": ",.1f", "exact": "", **dict.fromkeys([*hits, _SLIPS], ",.3f")}
    return _Measured(
        count, columns, {title: _row(engine, catalogue, questions.values()) for title, engine in _ENGINES.items()}
    )


def _row(engine: type[_Engine], catalogue: Catalogue, questions: Iterable[tuple[str, int]]) -> list[Cell]:
    with TemporaryDirectory() as folder:
        began = time.process_time()
        index = engine(catalogue, Path(folder))
        build = time.process_time() - began
        wrong = [query for query, truth in questions if index.search(query) != truth]
        exact = f"not {', '.join(wrong)}" if wrong else "yes"
        took = [_milliseconds(lambda: index.search(query)) for query, _ in questions]  # noqa: B023 - called at once
        slip = _milliseconds(lambda: index.correct(_SLIP)) if index.correct(_SLIP) else "not corrected"
        return [build, index.bytes() / 1e6, exact, *took, slip]


def _milliseconds(ask: Callable[[], object]) -> float:
    """The median CPU time of a question, of all threads together."""
    took, until = list[float](), time.perf_counter() + _SECONDS
    while not took or time.perf_counter() < until:
        began = time.process_time_ns()
        ask()
        took.append((time.process_time_ns() - began) / 1e6)
    return median(took)


def _questions(folded: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Titles, and for each a query and how many of the *folded* names contain it."""
    text = "\n".join(folded)
    rare = folded[len(folded) // 2]
    words = {name[:size] for name in folded[:: max(1, len(folded) // 400)] for size in (3, 4, 7, 11)}
    counts = {word: text.count(word) for word in words}  # a little more than names that contain it
    queries = {"rare": rare[2:-2], "miss": _MISS, "one letter": _LETTER}
    for title, wanted in _COUNTS.items():
        target = wanted * len(folded) / 1_000_000
        queries[title] = min(sorted(counts), key=lambda word: abs(counts[word] - target))
    order = ["miss", "rare", *_COUNTS, "one letter"]
    return {title: (queries[title], sum(queries[title] in name for name in folded)) for title in order}

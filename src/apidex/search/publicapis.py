"""Compatibility with api.publicapis.org: what its parameters meant, and what they find. Pure.

A text matches as a substring, without regard to case, and all parameters must match; an empty one is ignored. `auth=null` means
"no authentication", and `https` is a boolean as Go reads it. One fault is not kept: `cors=no` found `unknown`, too.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.diff import Steps
from apidex.catalogue.entry import Entry
from apidex.errors import QueryError
from apidex.search.filters import FILTERS

YES = ("true", "True", "TRUE", "1", "t", "T")
NO = ("false", "False", "FALSE", "0", "f", "F")
CORS = FILTERS["cors"].values

_KEPT = 2000
"""The largest number of positions that a count returns."""

_TRIES = 100


class MatchCount(NamedTuple):
    """The number of entries that match, and the positions of the first ones; of all, if they are few."""

    total: int
    first: list[int]


@dataclass(frozen=True, slots=True)
class PublicApisQuery:
    """The parameters of the old service. Raises QueryError for a value of *https* or *cors* that is not allowed."""

    title: str = ""
    description: str = ""
    auth: str = ""
    https: str = ""
    cors: str = ""
    category: str = ""

    def __post_init__(self) -> None:
        if self.https not in (*YES, *NO, ""):
            raise QueryError("https", self.https, ("true", "false"))
        if self.cors.lower() not in (*CORS, ""):
            raise QueryError("cors", self.cors, CORS)

    def select(self, catalogue: Catalogue) -> Iterator[Sequence[int]]:
        """The positions of the entries that match all parameters, in order, in batches that may be empty."""
        tests, start = list(self._tests()), 0
        for batch in catalogue.batches() if tests else ():
            yield [position for position, entry in enumerate(batch, start) if all(test(entry) for test in tests)]
            start += len(batch)
        if not tests:
            yield range(len(catalogue))

    def count(self, catalogue: Catalogue) -> Steps[MatchCount]:
        """Count the entries that match, and return the first of them, too."""
        count, first = 0, list[int]()
        for positions in self.select(catalogue):
            first += positions[: _KEPT - count] if count < _KEPT else ()
            count += len(positions)
            yield
        return MatchCount(count, first)

    def draw(self, catalogue: Catalogue, random: Random) -> Steps[int | None]:
        """Return the position of a random entry of those that match; None if there is none."""
        tests, count, drawn = list(self._tests()), 0, None
        for _ in range(_TRIES):  # in most cases this finds an entry without a look at all entries
            position = random.randrange(len(catalogue))
            if all(test(catalogue[position]) for test in tests):
                return position
        for positions in self.select(catalogue):
            count += len(positions)
            if positions and random.randrange(count) < len(positions):
                drawn = random.choice(positions)
            yield
        return drawn

    def _tests(self) -> Iterator[Callable[[Entry], bool]]:
        """A test for each parameter that is not empty, the fastest first."""
        if self.https:
            https = self.https in YES
            yield lambda entry: entry.https is https
        if self.cors:
            cors = self.cors.lower()
            yield lambda entry: entry.cors == cors
        if self.auth:
            auth = self.auth.casefold()
            yield lambda entry: auth in entry.auth.casefold() or (auth == "null" and not entry.auth)
        if self.category:
            category = self.category.casefold()
            yield lambda entry: category in entry.category.casefold()
        if self.title:
            title = self.title.casefold()
            yield lambda entry: title in entry.name.casefold()
        if self.description:
            description = self.description.casefold()
            yield lambda entry: description in entry.description.casefold()


def normalize_query(query: bytes) -> bytes:
    """Return a query string as the old service read it: names in any case, and `%20&%20` as text, as in Science & Math."""
    query = query.replace(b"%20&%20", b"%20%26%20")
    return re.sub(rb"(?:^|(?<=&))[^=&]+", lambda name: name[0].lower(), query)

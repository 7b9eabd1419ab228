"""What api.publicapis.org understood by the parameters of its searches. Pure.

Every text is found as a substring in any case, and all that is given must match; what is given empty is not given. Two words
stand for more: `auth=null` is "needs none", and `https` is as Go reads a boolean. One fault is not kept: `no` was found in
`unknown`, so that `cors=no` gave both; here *cors* is one of its three words.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from apidex.catalogue.entry import NAME_LIMIT, Entry
from apidex.search.filters import ENUM_FILTERS

YES = ("true", "True", "TRUE", "1", "t", "T")
NO = ("false", "False", "FALSE", "0", "f", "F")


@dataclass(frozen=True, slots=True)
class PublicApisQuery:
    """What the entries are to have: texts as `text` gives them, and an empty one asks for nothing."""

    title: str = ""
    description: str = ""
    auth: str = ""
    https: bool | None = None
    cors: str = ""
    category: str = ""

    def select(self, entries: Iterable[Entry]) -> list[int]:
        """The positions of the *entries* that have all of it, in their order."""
        tests = list(self._tests())
        return [position for position, entry in enumerate(entries) if all(test(entry) for test in tests)]

    def _tests(self) -> Iterator[Callable[[Entry], bool]]:
        """A test for each filter that was given, those that are done fastest first."""
        if self.https is not None:
            yield lambda entry: entry.https is self.https
        if self.cors:
            yield lambda entry: entry.cors == self.cors
        if self.auth:
            yield lambda entry: self.auth in entry.auth.casefold() or (self.auth == "null" and not entry.auth)
        if self.category:
            yield lambda entry: self.category in entry.category.casefold()
        if self.title:
            yield lambda entry: self.title in entry.name.casefold()
        if self.description:
            yield lambda entry: self.description in entry.description.casefold()


def text(given: str) -> str:
    """What a text is compared by. Raises ValueError for one that is longer than a name can be."""
    if len(given) > NAME_LIMIT:
        raise ValueError(given)
    return given.casefold()


def https(given: str) -> bool | None:
    """Yes, no, or None for an empty one. Raises ValueError for all else; the old service took that for no."""
    if given not in (*YES, *NO, ""):
        raise ValueError(given)
    return given in YES if given else None


def cors(given: str) -> str:
    """One of the three words, or an empty one. Raises ValueError for all else."""
    if given.lower() not in (*ENUM_FILTERS["cors"], ""):
        raise ValueError(given)
    return given.lower()


def normalize_query(query: bytes) -> bytes:
    """A query string as the old service read it: names in any case, the ampersand of `Science%20&%20Math` part of the text."""
    query = query.replace(b"%20&%20", b"%20%26%20")
    return re.sub(rb"(?:^|(?<=&))[^=&]+", lambda name: name[0].lower(), query)

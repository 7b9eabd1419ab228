"""What has changed from one catalogue to another. Pure."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from apidex.catalogue.catalogue import Catalogue
from apidex.catalogue.entry import Entry


class Change(msgspec.Struct, frozen=True):
    """An entry as it was, and as it is."""

    before: Entry
    after: Entry


class Changes(NamedTuple):
    """Entries that came, that went, and that are others than they were. Those that only stand elsewhere are none of them."""

    added: list[Entry]
    removed: list[Entry]
    changed: list[Change]


def changes(before: Catalogue, after: Catalogue) -> Changes:
    """Compare two catalogues. An entry is taken for the same if it has the same name, or else the same link."""
    gone, come = _without(before, after), _without(after, before)
    renewed, gone, come = _paired(gone, come, lambda entry: entry.name)
    renamed, gone, come = _paired(gone, come, lambda entry: entry.link)
    return Changes(come, gone, renewed + renamed)


def _without(these: Catalogue, those: Catalogue) -> list[Entry]:
    """The entries of one catalogue that are not, letter for letter, in the other: as often as they are missing there."""
    others = Counter(map(those.encoded, range(len(those))))
    missing = []
    for position in range(len(these)):
        encoded = these.encoded(position)
        if others[encoded]:
            others[encoded] -= 1
        else:
            missing.append(these[position])
    return missing


def _paired(
    gone: list[Entry], come: list[Entry], key: Callable[[Entry], str]
) -> tuple[list[Change], list[Entry], list[Entry]]:
    """Those of both lists that have the same *key*, the first with the first, and what is left of each list."""
    waiting = defaultdict[str, deque[Entry]](deque)
    for entry in gone:
        waiting[key(entry)].append(entry)
    pairs, new = [], []
    for entry in come:
        if key(entry) and waiting[key(entry)]:
            pairs.append(Change(waiting[key(entry)].popleft(), entry))
        else:
            new.append(entry)
    paired = {id(pair.before) for pair in pairs}  # by identity: entries can be equal
    return pairs, [entry for entry in gone if id(entry) not in paired], new
